//! Remote procedure calls of one realm: who is registered for what, which call waits for whom.
//!
//! `call` finds the registration that matches best, chooses one of its callees and keeps the call *pending* at that
//! callee until it yields or fails, the caller cancels, the time is up, or either side leaves. Whatever comes first
//! gives the caller its one final answer; what the callee says after that is dropped.
//!
//! Left out: queueing of calls. When all callees work on as many calls as they take (`concurrency`), the caller is
//! refused with `wamp.error.no_available_callee` and may try again: the specification knows no queue. Authorization, the `wamp.*` procedures and the publication of meta events are the node's.
//!
//! A callee that says that it is not available has its call given to another: see [`reroute`].
//! A call may come in several [`parts`]. Other entries of a cluster are callees and callers too: see [`peers`].

mod call;
mod callee;
mod command;
mod endpoints;
mod hash;
mod parts;
mod peers;
mod registration;
mod reroute;
mod session;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

pub use command::{Call, CalleeFeatures, CancelMode, Notes, Register, Said, Violation};
pub use parts::Part;
pub use peers::{CALLS_PER_PEER_MAX, Elsewhere, Offer, Rank, peer_rank, peer_session};

use crate::router::output::RegistrationInfo;
use crate::types::ids::{RegistrationId, RequestId, SessionId};
use crate::types::limits::CallLimits;
use crate::types::topic::{Topic, TopicPattern};
use hash::{IdHash, IdMap};
use registration::Registrations;
pub use registration::is_reserved;
use session::{Place, Session};

/// The dealer of one realm. `S` is the handle under which outputs name their receiver. A session is known from its first
/// command until it [`leave`](Dealer::leave)s, which every session must.
pub struct Dealer<S> {
    limits: CallLimits,
    hash: IdHash,
    sessions: IdMap<SessionId, Session<S>>,
    registrations: Registrations,
    /// Of these, those of the broker itself.
    provided: usize,
    /// Calls without a final answer; each is pending at one callee and listed at one caller, unless that has left.
    calls: usize,
    /// Payloads that are kept for other callees.
    kept_bytes: usize,
    /// Of the calls whose time the dealer minds.
    deadlines: BTreeSet<(u64, Place)>,
}

impl<S: Clone> Dealer<S> {
    /// `seed` decides random choices, and which ids share a place in a hash table: keep it secret.
    pub fn new(limits: CallLimits, seed: u64) -> Self {
        let hash = IdHash::new(seed);
        Self {
            limits,
            hash,
            sessions: IdMap::with_hasher(hash),
            registrations: Registrations::new(hash, seed),
            provided: 0,
            calls: 0,
            kept_bytes: 0,
            deadlines: BTreeSet::new(),
        }
    }

    fn session(&mut self, session: SessionId, handle: &S) -> &mut Session<S> {
        let hash = self.hash;
        self.sessions.entry(session).or_insert_with(|| Session::new(handle.clone(), hash))
    }
}

/// What `wamp.registration.*` tells.
impl<S> Dealer<S> {
    /// Those with callees at this entry; those of the broker itself are not counted.
    pub fn registration_count(&self) -> usize {
        self.registrations.len_here() - self.provided
    }

    /// All registrations, in no order, those of other entries too.
    pub fn registrations(&self) -> impl Iterator<Item = RegistrationInfo<'_>> {
        self.registrations.iter()
    }

    pub fn registration(&self, registration: RegistrationId) -> Option<RegistrationInfo<'_>> {
        self.registrations.get(registration).map(|found| found.info(registration))
    }

    /// The registration of exactly this pattern.
    pub fn lookup(&self, pattern: &TopicPattern) -> Option<RegistrationId> {
        self.registrations.find(pattern)
    }

    /// The registration that a call of `procedure` would go to.
    pub fn best_match(&self, procedure: &Topic) -> Option<RegistrationId> {
        self.registrations.best(procedure)
    }

    /// The callees in the order in which they registered, another entry once for all that it has of a policy; `None` if there is no
    /// such registration.
    pub fn callees(&self, registration: RegistrationId) -> Option<impl ExactSizeIterator<Item = SessionId>> {
        Some(self.registrations.get(registration)?.endpoints().iter().map(|endpoint| endpoint.callee))
    }

    /// How many callees the other entries have.
    pub fn callees_elsewhere(&self, registration: RegistrationId) -> usize {
        let endpoints = self.registrations.get(registration).map(|found| found.endpoints()).unwrap_or_default();
        endpoints.iter().filter_map(|endpoint| endpoint.offer.as_ref()).map(|offer| offer.members as usize).sum()
    }

    /// Whether a call of this session is under way.
    pub fn has_call(&self, session: SessionId, request: RequestId) -> bool {
        self.sessions.get(&session).is_some_and(|session| session.calls.contains_key(&request))
    }

    /// Calls without a final answer.
    pub fn calls_under_way(&self) -> usize {
        self.calls
    }
}
