//! What sessions ask of the dealer, in no protocol's spelling.

use std::num::NonZeroU32;

use crate::router::output::InvocationPolicy;
use crate::router::rules::Disclosure;
use crate::types::event::Discloser;
use crate::types::ids::{InvocationId, RequestId};
use crate::types::passthru::Passthru;
use crate::types::payload::{Codec, PayloadRef};
use crate::types::topic::{Topic, TopicPattern};

/// What a callee announced that it can do. Those of its latest registration hold for all its registrations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CalleeFeatures {
    pub call_canceling: bool,
    /// Counts without `call_canceling`, too. The specification says otherwise (WAMP, Progressive Call Results), but
    /// autobahn-js announces only this one and its users want progress; when the caller goes, the rest is discarded.
    pub progressive_call_results: bool,
    pub call_timeout: bool,
    /// Counts with `call_canceling` only (WAMP, Progressive Call Invocations).
    pub progressive_call_invocations: bool,
    pub registration_revocation: bool,
    pub payload_passthru_mode: bool,
    /// Its `wamp.error.unavailable` gives the call to another (WAMP, Call Re-Routing).
    pub call_reroute: bool,
}

/// REGISTER: a session offers a procedure.
#[derive(Clone, Copy, Debug)]
pub struct Register<'a> {
    pub request: RequestId,
    pub pattern: &'a TopicPattern,
    pub policy: InvocationPolicy,
    /// Calls this callee works on at once; `None` is no limit.
    pub concurrency: Option<NonZeroU32>,
    /// The callee wants to know who calls.
    pub disclose_caller: bool,
    /// The callee minds the timeouts of calls itself; holds if it also announced `call_timeout`.
    pub forward_timeout: bool,
    /// Take the registration from the callees that are this session or have its `authid`: their connection may be dead.
    /// Callees of other users are never replaced (crossbar's `force_reregister` does).
    pub force_reregister: bool,
    /// Whose callee this is; without it only the session's own registration can be replaced.
    pub authid: Option<&'a str>,
    /// The node that it is on: calls with a resource key go to one of the nodes (WAMP, Sharded Registration). Without one it is a node
    /// of its own.
    pub node_key: Option<&'a str>,
    /// Client id of an MQTT callee. One of the same user and client id at another entry of the cluster is its own earlier connection,
    /// which is always replaced.
    pub client_id: Option<&'a str>,
    pub features: CalleeFeatures,
}

/// CALL: a session asks for a procedure.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Not in use by another call of this session that is under way.
    pub request: RequestId,
    pub procedure: &'a Topic,
    pub payload: PayloadRef<'a>,
    /// Handed back with every answer.
    pub codec: Codec,
    /// Time until the first and between any two results, in milliseconds; 0 is no limit (WAMP, Call Timeouts).
    pub timeout_ms: u64,
    pub receive_progress: bool,
    /// It is the first of several parts: see [`Part`](super::Part).
    pub progress: bool,
    pub disclose_me: bool,
    /// Who calls; told to the callee if either side asked for it.
    pub caller: &'a Discloser,
    pub notes: Notes<'a>,
}

/// What only some calls have.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Notes<'a> {
    /// The payload is for the callee alone to read.
    pub passthru: Option<&'a Passthru>,
    /// The caller has announced that it can be given results that are for it alone to read.
    pub takes_passthru: bool,
    /// How much the caller is trusted (WAMP, Call Trust Levels).
    pub trust: Option<u32>,
    /// Whether the callee may be told who calls.
    pub disclosure: Disclosure,
    /// What the call is about: all calls with the same go to the same node (WAMP, Sharded Registration).
    pub resource_key: Option<&'a str>,
}

/// What a peer says: a payload, and how it is to be read if not by everybody.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    pub payload: PayloadRef<'a>,
    pub passthru: Option<&'a Passthru>,
}

impl<'a> From<PayloadRef<'a>> for Said<'a> {
    fn from(payload: PayloadRef<'a>) -> Self {
        Self { payload, passthru: None }
    }
}

/// How a caller wants its call canceled (WAMP, Call Canceling). A callee that lacks call canceling is always skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CancelMode {
    /// Answer the caller now, leave the callee alone.
    Skip,
    /// Interrupt the callee and let it answer.
    Kill,
    /// Answer the caller now and interrupt the callee.
    #[default]
    KillNoWait,
}

/// A session broke the protocol. The gate closes it (WAMP: ABORT `wamp.error.protocol_violation`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("invocation {0} is not under way at this callee")]
    NoSuchInvocation(InvocationId),
    #[error("request {0} is a call under way already")]
    RequestInUse(RequestId),
}
