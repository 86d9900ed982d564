//! Calls whose arguments come in parts (WAMP, Progressive Call Invocations).
//!
//! The first part chooses the callee, and its options hold for all. Each part is an INVOCATION of the same id. The callee may answer
//! before the last part: then the caller goes on until it hears of that, and what it sends is dropped.

use std::collections::BTreeSet;

use super::Dealer;
use super::command::{Call, Said, Violation};
use super::peers::{Rank, peer_session};
use super::registration::Chosen;
use super::session::Pending;
use crate::router::output::{Invocation, Output, Refusal, Sink};
use crate::types::event::Discloser;
use crate::types::ids::{InvocationId, RegistrationId, RequestId, SessionId};
use crate::types::passthru::Passthru;
use crate::types::payload::{Codec, PayloadRef};
use crate::types::topic::Topic;

/// Calls of a session that ended before their last part came, and are remembered. Past that the one with the lowest id is forgotten.
const ENDED_MAX: usize = 1024;

/// What the parts of a call have in common.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The last one has not come.
    pub open: bool,
    /// The callee was given more than the first.
    pub continued: bool,
    procedure: Topic,
    registration: RegistrationId,
    /// The callee is told which procedure is called.
    is_pattern: bool,
    /// Set when it is told who calls.
    caller: Option<Discloser>,
    receive_progress: bool,
    timeout_ms: Option<u64>,
    trust: Option<u32>,
}

/// What the callee is told of a call, the same with every part.
pub struct Told<'a> {
    pub registration: RegistrationId,
    pub procedure: Option<&'a Topic>,
    pub caller: Option<&'a Discloser>,
    pub receive_progress: bool,
    pub timeout_ms: Option<u64>,
    pub trust: Option<u32>,
}

impl<'a> Told<'a> {
    /// The first INVOCATION. `progress`: there is more to come.
    pub fn invocation<S>(
        &self,
        to: &'a S,
        invocation: InvocationId,
        (codec, said): (Codec, Said<'a>),
        progress: bool,
    ) -> Invocation<'a, S> {
        let &Self { registration, procedure, caller, receive_progress, timeout_ms, trust } = self;
        Invocation {
            to,
            invocation,
            registration,
            procedure,
            caller,
            receive_progress,
            progress,
            continues: false,
            timeout_ms,
            codec,
            payload: said.payload,
            passthru: said.passthru,
            trust,
            elsewhere: None,
        }
    }
}

/// A CALL that may go on with one that is under way. Its options count for nothing but whether there is more to follow.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    pub request: RequestId,
    /// As the caller writes it; `None`: that was looked at.
    pub procedure: Option<&'a str>,
    pub payload: PayloadRef<'a>,
    pub passthru: Option<&'a Passthru>,
    pub progress: bool,
}

/// The calls of a session that ended before their last part came.
#[derive(Debug, Default)]
pub struct EndedEarly {
    requests: BTreeSet<RequestId>,
}

impl EndedEarly {
    pub fn insert(&mut self, request: RequestId) {
        self.requests.insert(request);
        if self.requests.len() > ENDED_MAX {
            self.requests.pop_first();
        }
    }

    pub fn remove(&mut self, request: RequestId) {
        self.requests.remove(&request);
    }

    /// Whether a part is of one of them; after the last one nothing more comes.
    fn take_part(&mut self, part: &Part<'_>) -> bool {
        match part.progress {
            true => self.requests.contains(&part.request),
            false => self.requests.remove(&part.request),
        }
    }
}

impl Parts {
    /// Of a call whose first part has come.
    pub fn new(procedure: &Topic, told: &Told<'_>) -> Self {
        Self {
            open: true,
            continued: false,
            procedure: procedure.clone(),
            registration: told.registration,
            is_pattern: told.procedure.is_some(),
            caller: told.caller.cloned(),
            receive_progress: told.receive_progress,
            timeout_ms: told.timeout_ms,
            trust: told.trust,
        }
    }

    fn told(&self) -> Told<'_> {
        Told {
            registration: self.registration,
            procedure: self.is_pattern.then_some(&self.procedure),
            caller: self.caller.as_ref(),
            receive_progress: self.receive_progress,
            timeout_ms: self.timeout_ms,
            trust: self.trust,
        }
    }
}

impl<S: Clone> Dealer<S> {
    /// A CALL that goes on with one of this session: its callee gets it, if the call is still under way. `false`: it goes on with none,
    /// and is a call of its own.
    ///
    /// # Errors
    /// [`Violation::RequestInUse`]: the call under way is none in parts, had its last one, or is of another procedure.
    pub fn continue_call(
        &mut self,
        session: SessionId,
        part: &Part<'_>,
        out: &mut Sink<'_, S>,
    ) -> Result<bool, Violation> {
        let Some(caller) = self.sessions.get_mut(&session) else { return Ok(false) };
        if !caller.calls.contains_key(&part.request) {
            return Ok(caller.ended_early.take_part(part));
        }
        match self.give_part(session, part, out) {
            true => Ok(true),
            false => Err(Violation::RequestInUse(part.request)),
        }
    }

    /// Another entry goes on with a call. If it is over here, that is told already.
    pub fn continue_from_peer(&mut self, rank: Rank, part: &Part<'_>, out: &mut Sink<'_, S>) {
        self.give_part(peer_session(rank), part, out);
    }

    /// What goes on with the call is dropped: it was refused before the dealer knew of it.
    pub fn drop_parts(&mut self, session: SessionId, handle: &S, request: RequestId) {
        self.session(session, handle).ended_early.insert(request);
    }

    /// Gives a part to the callee. `false`: none was to come.
    fn give_part(&mut self, session: SessionId, part: &Part<'_>, out: &mut Sink<'_, S>) -> bool {
        let Some(place) = self.place(session, part.request) else { return false };
        let Some(callee) = self.sessions.get_mut(&place.callee) else { return false };
        let Some(Pending { parts: Some(parts), interrupted, codec, .. }) = callee.pending.get_mut(&place.invocation)
        else {
            return false;
        };
        let is_same = part.procedure.is_none_or(|procedure| procedure == parts.procedure.uri());
        if !parts.open || !is_same {
            return false;
        }
        (parts.open, parts.continued) = (part.progress, true);
        if *interrupted {
            return true;
        }
        let (invocation, payload) =
            (place.invocation, (*codec, Said { payload: part.payload, passthru: part.passthru }));
        let given = parts.told().invocation(&callee.handle, invocation, payload, part.progress);
        out(Output::Invocation(Invocation { continues: true, ..given }));
        true
    }

    /// Whether the callee that was chosen can be called so: in parts, with a payload that is passed through.
    pub(super) fn check_features(&mut self, call: &Call<'_>, chosen: Chosen) -> Result<Chosen, Refusal> {
        let features = self.sessions.get(&chosen.callee).map(|callee| callee.features).unwrap_or_default();
        let in_parts = features.progressive_call_invocations && features.call_canceling;
        let is_passed = call.notes.passthru.is_some_and(Passthru::is_announced);
        let refusal = if call.progress && !in_parts {
            Refusal::NoCallInParts
        } else if is_passed && !features.payload_passthru_mode {
            Refusal::NoPassthru
        } else {
            return Ok(chosen);
        };
        self.registrations.release(chosen.slot);
        Err(refusal)
    }
}
