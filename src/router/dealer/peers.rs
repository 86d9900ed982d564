//! Callees and callers at the other entries of a cluster.
//!
//! ```text
//! caller -> Dealer -INVOCATION, INTERRUPT to a peer-> link -> Dealer there -> callee
//! caller <- Dealer <------------------------------- link <- Dealer there -RESULT, ERROR to a peer <- callee
//! ```
//!
//! 1. Each entry tells the others what it has callees for: for each pattern and invocation policy how many, and since when
//!    ([`Offer`]). At their dealers it is a session of its own ([`peer_session`]) that stands for these callees.
//! 2. A call goes to the best match over all entries, by its policy over all callees. If the chosen one is at another entry, that
//!    entry is the callee whose INVOCATION names the pattern and policy. There it is the caller, its requests the invocations here.
//! 3. A call that came from an entry is given to callees of this entry alone, so that nothing goes round.
//! 4. All entries see the callees of a pattern in one order: by the time of their registration, then by entry. A time is later than all
//!    those that the entry knows of the pattern, so the order is that of cause and effect even if clocks are not.
//! 5. A second callee of a `single` procedure, or one with another policy, is refused by whoever knows the first. Where
//!    two entries did not know, the first in the order decides: it alone (`single`), or it and all who have its policy, are called;
//!    the others stand by. All who know both see the same first.
//! 6. The callee's entry minds concurrency, timeouts and disclosure, which depend on the callee.
//! 7. A call that an entry cannot give to anybody, for all its callees work on as many as they take or have just left, is returned
//!    with all that it had, so that nobody keeps a copy. The caller's entry gives it to another that is registered, each entry
//!    once. What was given to a callee is returned only if that has said that it is
//!    not available.
//! 8. When a link goes, or an entry begins a new life, its session leaves at both sides: calls to its callees fail, the
//!    callees of its calls are interrupted, and what it had offered is gone. So no caller waits for an answer that cannot come.
//!
//! Left out: the sending ([`crate::node`]), and who is told when (`cluster`).

use super::Dealer;
use super::command::{Call, CalleeFeatures, Notes, Violation};
use super::registration::is_reserved;
use super::session::{Pending, Place};
use crate::router::output::{InterruptMode, InvocationPolicy, Output, Refusal, Sink};
use crate::router::shard::NodeHash;
use crate::types::ids::{ID_MAX, InvocationId, RequestId, SessionId};
use crate::types::topic::TopicPattern;

/// Calls between two entries, one way and of one realm, that wait for their answer.
pub const CALLS_PER_PEER_MAX: usize = 16_384;

/// A number that one entry of a cluster has, below 2^63: an order in which all entries agree, whichever of them they know.
pub type Rank = u64;

/// The callees that an entry has for a pattern, of those with one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub policy: InvocationPolicy,
    /// At least one.
    pub members: u32,
    /// When the first of them registered, in milliseconds.
    pub first_ms: u64,
    /// When the last of them did.
    pub last_ms: u64,
    /// Whose callee it is, of a `single` one that has said so.
    pub authid: Option<Box<str>>,
    /// The same of its client id, if it has one.
    pub client_id: Option<Box<str>>,
    /// The nodes that they are on, each once (WAMP, Sharded Registration).
    pub nodes: Vec<NodeHash>,
}

/// Nodes that an entry tells of in one offer. Where more callees without a node key, or more nodes, are registered at one entry, entries
/// may choose different ones of them for a resource.
const NODES_MAX: usize = 1024;

impl Offer {
    pub(super) fn add_nodes(&mut self, nodes: &[NodeHash]) {
        for node in nodes {
            if self.nodes.len() < NODES_MAX && !self.nodes.contains(node) {
                self.nodes.push(*node);
            }
        }
    }
}

/// What the entry of the chosen callee has to know of a call beside its INVOCATION.
#[derive(Clone, Copy, Debug)]
pub struct Elsewhere<'a> {
    pub procedure: &'a crate::types::topic::Topic,
    /// The callee is registered with these.
    pub pattern: &'a TopicPattern,
    pub policy: InvocationPolicy,
    /// The caller wants to be disclosed; it is in the INVOCATION in any case.
    pub disclose_me: bool,
    pub notes: Notes<'a>,
}

/// The session that an entry is at the dealers of the others. No client has such an id.
pub fn peer_session(rank: Rank) -> SessionId {
    SessionId(ID_MAX + 1 + rank)
}

/// The entry that a session is.
pub fn peer_rank(session: SessionId) -> Option<Rank> {
    session.0.checked_sub(ID_MAX + 1)
}

impl<S: Clone> Dealer<S> {
    /// This is the entry of a cluster with this rank: what it is to tell the others is noted from now on.
    pub fn watch(&mut self, rank: Rank) {
        self.registrations.watch(rank);
    }

    /// Whether [`take_changed`](Self::take_changed) has something.
    pub fn has_changed(&self) -> bool {
        self.registrations.has_changed()
    }

    /// Patterns whose callees at this entry are others than before, and what the other entries are to be told of them: nothing
    /// if there are none any more.
    pub fn take_changed(&mut self) -> Vec<(TopicPattern, Vec<Offer>)> {
        let changed = self.registrations.take_changed();
        let now = |pattern: TopicPattern| {
            let found = self.registrations.find(&pattern).and_then(|id| self.registrations.get(id));
            let who = |callee| {
                let session = self.sessions.get(&callee);
                session.map(|session| (session.authid.clone(), session.client_id.clone())).unwrap_or_default()
            };
            let offers = found.map(|registration| registration.offers_here(who)).unwrap_or_default();
            (pattern, offers)
        };
        changed.into_iter().map(now).collect()
    }

    /// Another entry has these callees for a pattern now, instead of those that it had before.
    pub fn set_offers(&mut self, rank: Rank, handle: &S, pattern: &TopicPattern, offers: &[Offer], now_ms: u64) {
        let session = peer_session(rank);
        if let Some(known) = self.registrations.find(pattern)
            && self.registrations.remove(known, session).is_some()
            && let Some(peer) = self.sessions.get_mut(&session)
        {
            peer.registrations.remove(&known);
        }
        if offers.is_empty() || is_reserved(pattern) {
            return;
        }
        let registration = self.registrations.add_offers(rank, pattern, offers, now_ms);
        let peer = self.session(session, handle);
        peer.features = CalleeFeatures {
            call_canceling: true,
            progressive_call_results: true,
            call_timeout: true,
            progressive_call_invocations: true,
            registration_revocation: false,
            payload_passthru_mode: true,
            // It returns a call that none of its callees is available for.
            call_reroute: false,
        };
        peer.registrations.extend(registration);
    }

    /// Another entry calls a procedure that somebody is registered for here, with this pattern and policy. Outputs as
    /// [`call`](Self::call) does.
    ///
    /// # Errors
    /// [`Violation::RequestInUse`], as there.
    #[expect(clippy::too_many_arguments)] // as `call`, and what it names
    pub fn call_from_peer(
        &mut self,
        rank: Rank,
        handle: &S,
        call: &Call<'_>,
        pattern: &TopicPattern,
        policy: InvocationPolicy,
        now_ms: u64,
        out: &mut Sink<'_, S>,
    ) -> Result<(), Violation> {
        let session = peer_session(rank);
        let most = (CALLS_PER_PEER_MAX, Refusal::TooManyCallsBetweenEntries);
        let refusal = self.begin(session, handle, call, most, now_ms, out, |registrations, _| {
            if call.procedure.is_reserved() || !pattern.matches(call.procedure) {
                return Err(Refusal::NoSuchProcedure);
            }
            registrations.choose_here(pattern, policy, call.notes.resource_key, &[])
        })?;
        if let Some(why) = refusal {
            out(Output::Returned { to: handle, call: *call, why });
        }
        Ok(())
    }

    /// Another entry returns a call that it has given to nobody: another callee gets it, or the caller an ERROR. `call` is what was sent
    /// there, its request aside.
    ///
    /// # Errors
    /// As [`yield_result`](Self::yield_result).
    pub fn call_returned(
        &mut self,
        callee: SessionId,
        invocation: InvocationId,
        call: &Call<'_>,
        why: Refusal,
        now_ms: u64,
        out: &mut Sink<'_, S>,
    ) -> Result<(), Violation> {
        let place = Place { callee, invocation };
        let Some(pending) = self.take(place) else { return self.late_answer(place, true) };
        self.registrations.release(pending.slot);
        let Pending { caller, request, receive_progress, codec, mut tried, parts, .. } = pending;
        if pending.interrupted {
            self.refuse_call(caller, request, Refusal::Canceled, out);
            return Ok(());
        }
        if parts.as_ref().is_some_and(|parts| parts.continued) {
            // What was sent behind the first part is gone.
            self.refuse_call(caller, request, why, out);
            return Ok(());
        }
        tried.push(callee);
        let call = Call { request, receive_progress, codec, progress: parts.is_some(), ..*call };
        let chosen = self.choose_linked(&mut tried, |registrations, tried| {
            registrations.choose(call.procedure, call.notes.resource_key, tried)
        });
        match chosen.and_then(|chosen| self.check_features(&call, chosen)) {
            Ok(chosen) => {
                self.invoke(caller, &call, chosen, tried, now_ms, out);
            }
            Err(_) => self.refuse_call(caller, request, why, out),
        }
        Ok(())
    }

    /// The entry of the callee has refused or ended a call, or what it has said of it got lost. `goes_on`: its callee works on, and
    /// is interrupted.
    ///
    /// # Errors
    /// As [`yield_result`](Self::yield_result).
    pub fn invocation_refused(
        &mut self,
        callee: SessionId,
        invocation: InvocationId,
        why: Refusal,
        goes_on: bool,
        out: &mut Sink<'_, S>,
    ) -> Result<(), Violation> {
        let place = Place { callee, invocation };
        let pending = if goes_on { self.abandon(place, why, true, out) } else { self.take(place) };
        let Some(pending) = pending else { return self.late_answer(place, !goes_on) };
        if !goes_on {
            self.registrations.release(pending.slot);
        }
        self.refuse_call(pending.caller, pending.request, why, out);
        Ok(())
    }

    /// The entry of the caller interrupts a call that it has sent, for this reason. Nobody waits for the answer but with
    /// [`InterruptMode::Kill`].
    pub fn interrupt_from_peer(
        &mut self,
        rank: Rank,
        request: RequestId,
        mode: InterruptMode,
        why: Refusal,
        out: &mut Sink<'_, S>,
    ) {
        let session = peer_session(rank);
        match mode {
            InterruptMode::Kill => self.cancel(session, request, super::CancelMode::Kill, out),
            InterruptMode::KillNoWait => {
                if let Some(place) = self.place(session, request) {
                    self.abandon(place, why, true, out);
                }
            }
        }
    }

    /// A callee of this user, and of this client id if one is given, has registered at another entry and wants to be the one: those
    /// that are here are revoked.
    pub fn take_over(&mut self, pattern: &TopicPattern, authid: &str, client_id: Option<&str>, out: &mut Sink<'_, S>) {
        let Some(id) = self.registrations.find(pattern) else { return };
        let Some(registration) = self.registrations.get(id) else { return };
        let here = registration.endpoints().iter().filter(|endpoint| endpoint.is_here());
        let is_client = |callee: &SessionId| {
            let client = self.sessions.get(callee).and_then(|session| session.client_id.as_deref());
            client_id.is_none() || client == client_id
        };
        let own = here.map(|endpoint| endpoint.callee);
        let own = own.filter(|callee| self.has_authid(*callee, Some(authid)) && is_client(callee));
        for callee in own.collect::<Vec<_>>() {
            self.revoke(id, callee, out);
        }
    }

    /// Asks the other entries that have callees for a pattern to revoke those of this user, or client of this user.
    pub(super) fn ask_to_take_over(
        &self,
        pattern: &TopicPattern,
        authid: &str,
        client_id: Option<&str>,
        out: &mut Sink<'_, S>,
    ) {
        let found = self.registrations.find(pattern).and_then(|id| self.registrations.get(id));
        let Some(registration) = found else { return };
        let mut asked = Vec::new();
        for endpoint in registration.endpoints().iter().filter(|endpoint| !endpoint.is_here()) {
            if let Some(peer) = self.sessions.get(&endpoint.callee).filter(|_| !asked.contains(&endpoint.callee)) {
                asked.push(endpoint.callee);
                out(Output::TakeOver { to: &peer.handle, pattern, authid, client_id });
            }
        }
    }
}
