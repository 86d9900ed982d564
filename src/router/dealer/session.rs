//! What the dealer keeps of one session, as a caller and as a callee.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::command::CalleeFeatures;
use super::hash::{IdHash, IdMap, IdSet};
use super::parts::{EndedEarly, Parts};
use super::reroute::Kept;
use crate::types::ids::{InvocationId, RegistrationId, RequestId, SessionId};
use crate::types::payload::Codec;

/// Ended calls per callee whose slots are kept for their late answers. Past that the oldest counts as free.
const ABANDONED_MAX: usize = 1024;

/// Made by a session's first command, dropped when it leaves.
pub struct Session<S> {
    pub handle: S,
    pub authid: Option<Box<str>>,
    pub client_id: Option<Box<str>>,
    pub features: CalleeFeatures,
    pub registrations: IdSet<RegistrationId>,
    /// The calls it made that have no final answer yet, and where each of them is pending.
    pub calls: IdMap<RequestId, Place>,
    /// The calls it is to answer.
    pub pending: IdMap<InvocationId, Pending>,
    pub abandoned: Abandoned,
    pub ended_early: EndedEarly,
    pub last_invocation: InvocationId,
}

impl<S> Session<S> {
    pub fn new(handle: S, hash: IdHash) -> Self {
        Self {
            handle,
            authid: None,
            client_id: None,
            features: CalleeFeatures::default(),
            registrations: IdSet::with_hasher(hash),
            calls: IdMap::with_hasher(hash),
            pending: IdMap::with_hasher(hash),
            abandoned: Abandoned::default(),
            ended_early: EndedEarly::default(),
            last_invocation: InvocationId(0),
        }
    }
}

/// Where a call is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub callee: SessionId,
    pub invocation: InvocationId,
}

/// A call that waits for its callee. What the caller asked for stays as its first CALL said (WAMP, Progressive Call
/// Invocations, Freezing of Options).
#[derive(Clone, Debug)]
pub struct Pending {
    pub caller: SessionId,
    pub request: RequestId,
    /// Set where the callee limits how many calls it works on.
    pub slot: Option<Slot>,
    /// An INTERRUPT was sent; there is never a second one.
    pub interrupted: bool,
    pub receive_progress: bool,
    pub codec: Codec,
    /// 0: the dealer does not mind the time.
    pub timeout_ms: u64,
    /// Also in the dealer's list of deadlines.
    pub deadline_ms: Option<u64>,
    /// Callees that were not available, and other entries that have returned it.
    pub tried: Vec<SessionId>,
    /// Of a call in parts.
    pub parts: Option<Box<Parts>>,
    pub takes_passthru: bool,
    /// What another callee is to be given, if this one is not available.
    pub kept: Option<Arc<Kept>>,
}

/// One of the calls that an endpoint takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    pub registration: RegistrationId,
    /// Never reused, so that a callee which registers anew begins with all its slots free.
    pub endpoint: u64,
}

/// Slots of invocations that ended without the callee: nobody told it to stop, so it works on until it answers.
#[derive(Debug, Default)]
pub struct Abandoned {
    late: BTreeMap<InvocationId, Slot>,
}

impl Abandoned {
    /// Returns the slot of the one that had to be forgotten for it.
    pub fn insert(&mut self, invocation: InvocationId, slot: Slot) -> Option<Slot> {
        self.late.insert(invocation, slot);
        if self.late.len() <= ABANDONED_MAX {
            return None;
        }
        self.late.pop_first().map(|(_, slot)| slot)
    }

    #[cfg(test)]
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        self.late.values().copied()
    }

    /// The callee answered for good: the slot that is free now.
    pub fn answer(&mut self, invocation: InvocationId) -> Option<Slot> {
        self.late.remove(&invocation)
    }
}
