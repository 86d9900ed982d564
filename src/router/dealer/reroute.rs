//! Calls whose callee is not available go to another (WAMP, Call Re-Routing).
//!
//! A callee that has announced `call_reroute` answers `wamp.error.unavailable`, and the call is given to one that has not had it, by the
//! policy of the registration; when there is none left the caller gets `wamp.error.no_available_callee`. For this the payload is kept
//! while such a callee works on a call, if there may be another: never of a `single` registration, of a call in parts, or behind the first
//! progressive result, for what has begun is not begun anew. A call that another entry of a cluster has sent is returned to it.

use std::sync::Arc;

use super::Dealer;
use super::command::{Call, Notes};
use super::peers::peer_rank;
use super::registration::Chosen;
use super::session::{Pending, Place};
use crate::router::output::{Command, Failure, InvocationPolicy, Output, Refusal, Sink};
use crate::types::event::Discloser;
use crate::types::ids::{RequestId, SessionId};
use crate::types::passthru::Passthru;
use crate::types::payload::{Codec, Payload};
use crate::types::topic::{Topic, TopicPattern};

/// Payloads that a realm keeps. What is beyond is not given to another callee.
const KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a kept call counts for beside its payload.
const OWN_BYTES: usize = 512;

/// A call that may be given to another callee.
#[derive(Debug)]
pub struct Kept {
    request: RequestId,
    procedure: Topic,
    /// The callee was chosen among those with these two.
    pattern: TopicPattern,
    policy: InvocationPolicy,
    payload: Payload,
    codec: Codec,
    timeout_ms: u64,
    receive_progress: bool,
    disclose_me: bool,
    caller: Discloser,
    passthru: Option<Passthru>,
    resource_key: Option<Box<str>>,
    /// What is owned aside.
    notes: Notes<'static>,
    began_ms: u64,
}

impl Kept {
    /// What it counts for.
    pub fn bytes(&self) -> usize {
        self.payload.len() + OWN_BYTES
    }

    fn call(&self) -> Call<'_> {
        Call {
            request: self.request,
            procedure: &self.procedure,
            payload: self.payload.as_ref(),
            codec: self.codec,
            timeout_ms: self.timeout_ms,
            receive_progress: self.receive_progress,
            progress: false,
            disclose_me: self.disclose_me,
            caller: &self.caller,
            notes: Notes { passthru: self.passthru.as_ref(), resource_key: self.resource_key.as_deref(), ..self.notes },
        }
    }
}

impl<S: Clone> Dealer<S> {
    /// What another callee would need of a call, if this one may turn out not to be available.
    pub(super) fn keep(
        &mut self,
        caller: SessionId,
        call: &Call<'_>,
        chosen: &Chosen,
        now_ms: u64,
    ) -> Option<Arc<Kept>> {
        let registration = self.registrations.get(chosen.registration)?;
        let may_be_another = registration.endpoints().len() > 1 || peer_rank(caller).is_some();
        let reroutes = self.sessions.get(&chosen.callee).is_some_and(|callee| callee.features.call_reroute);
        if !reroutes || !may_be_another || call.progress || chosen.policy == InvocationPolicy::Single {
            return None;
        }
        let bytes = call.payload.len() + OWN_BYTES;
        if self.kept_bytes + bytes > KEPT_BYTES_MAX {
            return None;
        }
        self.kept_bytes += bytes;
        let Notes { passthru, takes_passthru, trust, disclosure, resource_key } = call.notes;
        Some(Arc::new(Kept {
            request: call.request,
            procedure: call.procedure.clone(),
            pattern: registration.pattern.clone(),
            policy: chosen.policy,
            payload: call.payload.to_owned(),
            codec: call.codec,
            timeout_ms: call.timeout_ms,
            receive_progress: call.receive_progress,
            disclose_me: call.disclose_me,
            caller: call.caller.clone(),
            passthru: passthru.cloned(),
            resource_key: resource_key.map(Into::into),
            notes: Notes { passthru: None, takes_passthru, trust, disclosure, resource_key: None },
            began_ms: now_ms,
        }))
    }

    /// A callee is not available. `false`: it has not announced what that means, or has nothing to be available for.
    pub(super) fn reroute(&mut self, place: Place, out: &mut Sink<'_, S>) -> bool {
        let Some(callee) = self.sessions.get(&place.callee).filter(|callee| callee.features.call_reroute) else {
            return false;
        };
        // With an INTERRUPT of mode `kill`, whatever the callee answers is for the caller.
        let waits = callee.pending.get(&place.invocation).is_some_and(|pending| !pending.interrupted);
        let Some(pending) = waits.then(|| self.take(place)).flatten() else { return false };
        self.registrations.release(pending.slot);
        let Pending { caller, request, mut tried, kept, .. } = pending;
        let Some(kept) = kept else {
            self.refuse_call(caller, request, Refusal::NoAvailableCallee, out);
            return true;
        };
        tried.push(place.callee);
        let call = kept.call();
        let is_from_peer = peer_rank(caller).is_some();
        let resource = call.notes.resource_key;
        let chosen = self.choose_linked(&mut tried, |registrations, tried| match is_from_peer {
            true => registrations.choose_here(&kept.pattern, kept.policy, resource, tried),
            false => registrations.choose(call.procedure, resource, tried),
        });
        match chosen.and_then(|chosen| self.check_features(&call, chosen)) {
            // The time has run since the caller called.
            Ok(chosen) => self.invoke(caller, &call, chosen, tried, kept.began_ms, out),
            Err(_) if is_from_peer => self.give_back(caller, &call, out),
            Err(_) => self.refuse_call(caller, request, Refusal::NoAvailableCallee, out),
        }
        true
    }

    fn give_back(&self, peer: SessionId, call: &Call<'_>, out: &mut Sink<'_, S>) {
        if let Some(peer) = self.sessions.get(&peer) {
            out(Output::Returned { to: &peer.handle, call: *call, why: Refusal::NoAvailableCallee });
        }
    }

    /// A callee answers what its caller cannot read, for it has not announced payload passthru mode: the call fails, and both are told.
    /// `false`: the caller can.
    pub(super) fn refuse_passthru(&mut self, place: Place, out: &mut Sink<'_, S>) -> bool {
        let Some(callee) = self.sessions.get(&place.callee) else { return false };
        let takes = callee.pending.get(&place.invocation).is_none_or(|pending| pending.takes_passthru);
        if takes {
            return false;
        }
        let failure = Failure::Refused(Refusal::CallerTakesNoPassthru);
        let request = RequestId(place.invocation.0);
        out(Output::Error { to: &callee.handle, command: Command::Yield, request, failure });
        if let Some(pending) = self.take(place) {
            self.registrations.release(pending.slot);
            self.refuse_call(pending.caller, pending.request, Refusal::CallerTakesNoPassthru, out);
        }
        true
    }
}
