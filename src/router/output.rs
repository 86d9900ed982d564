//! What the router answers with: values that a gate writes to its wire.

use serde::{Deserialize, Serialize};

use super::dealer::{Call, Elsewhere};
use crate::types::event::Discloser;
use crate::types::ids::{InvocationId, RegistrationId, RequestId, SessionId};
use crate::types::passthru::Passthru;
use crate::types::payload::{Codec, PayloadRef};
use crate::types::topic::{Topic, TopicPattern};

/// Takes the outputs of one command, in the order in which they are to be sent. `S` is the handle of a session.
pub type Sink<'s, S> = dyn FnMut(Output<'_, S>) + 's;

/// One thing to tell one session, or the world.
#[derive(Clone, Copy, Debug)]
pub enum Output<'a, S> {
    Registered {
        to: &'a S,
        request: RequestId,
        registration: RegistrationId,
    },
    Unregistered {
        to: &'a S,
        request: RequestId,
    },
    /// The registration was taken from `to` unasked. Only to callees that announced it (WAMP, Registration Revocation).
    Revoked {
        to: &'a S,
        registration: RegistrationId,
    },
    Invocation(Invocation<'a, S>),
    /// The callee yielded: with `progress` more follows, without it the call is over.
    Result {
        to: &'a S,
        request: RequestId,
        progress: bool,
        /// As given in the call.
        codec: Codec,
        payload: PayloadRef<'a>,
        passthru: Option<&'a Passthru>,
    },
    /// A command failed. To a call this is the one final answer.
    Error {
        to: &'a S,
        command: Command,
        request: RequestId,
        failure: Failure<'a>,
    },
    /// Stop working on an invocation. Only to callees that announced call canceling.
    Interrupt {
        to: &'a S,
        invocation: InvocationId,
        mode: InterruptMode,
        reason: Refusal,
    },
    /// To another entry of the cluster: its call was given to nobody, and may be to others.
    Returned {
        to: &'a S,
        call: Call<'a>,
        why: Refusal,
    },
    /// To another entry of the cluster: a callee of this user (and client id) wants to have the registration alone, so those
    /// there are to be revoked.
    TakeOver {
        to: &'a S,
        pattern: &'a TopicPattern,
        authid: &'a str,
        client_id: Option<&'a str>,
    },
    /// To be published to `wamp.registration.*`.
    Registration(RegistrationEvent<'a>),
}

/// A call on its way to the callee that was chosen for it.
#[derive(Clone, Copy, Debug)]
pub struct Invocation<'a, S> {
    pub to: &'a S,
    /// Counts 1, 2, 3… per callee (WAMP, IDs, session scope).
    pub invocation: InvocationId,
    pub registration: RegistrationId,
    /// The procedure called, where a pattern was registered (WAMP, Pattern-based Registrations).
    pub procedure: Option<&'a Topic>,
    /// Set when the caller is disclosed (WAMP, Caller Identification).
    pub caller: Option<&'a Discloser>,
    /// The callee may answer with progressive results.
    pub receive_progress: bool,
    /// There are further parts of the call to come (WAMP, Progressive Call Invocations).
    pub progress: bool,
    /// It is such a part: the callee had this invocation before.
    pub continues: bool,
    /// Set when the callee minds the timeout itself (WAMP, Call Timeouts). In milliseconds.
    pub timeout_ms: Option<u64>,
    /// As given in the call.
    pub codec: Codec,
    pub payload: PayloadRef<'a>,
    /// Set when the payload is for the callee alone to read.
    pub passthru: Option<&'a Passthru>,
    /// How much the caller is trusted (WAMP, Call Trust Levels).
    pub trust: Option<u32>,
    /// Set when `to` is another entry of the cluster.
    pub elsewhere: Option<Elsewhere<'a>>,
}

/// The kind of request an error answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Register,
    Unregister,
    Call,
    /// An answer of a callee, that could not be passed on.
    Yield,
}

/// Why a command failed.
#[derive(Clone, Copy, Debug)]
pub enum Failure<'a> {
    Refused(Refusal),
    /// The callee's own error, passed on untouched.
    Callee {
        uri: &'a str,
        /// As given in the call.
        codec: Codec,
        payload: PayloadRef<'a>,
        passthru: Option<&'a Passthru>,
    },
}

/// Why the router itself refuses or ends something. Its text is for people, its [`uri`](Refusal::uri) for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    #[error("procedures of the broker cannot be registered")]
    ReservedProcedure,
    #[error("the procedure is registered already")]
    ProcedureAlreadyExists,
    #[error("the procedure is registered with another invocation policy")]
    PolicyConflict,
    #[error("the session has no such registration")]
    NoSuchRegistration,
    #[error("no callee is registered for this procedure")]
    NoSuchProcedure,
    #[error("the callee cannot be called in parts (progressive call invocations and call canceling)")]
    NoCallInParts,
    #[error("the callee does not take payloads that are passed through (payload passthru mode)")]
    NoPassthru,
    #[error("the caller does not take payloads that are passed through (payload passthru mode)")]
    CallerTakesNoPassthru,
    #[error("every callee of this procedure works on as many calls as it takes at once")]
    NoAvailableCallee,
    #[error("the call was canceled")]
    Canceled,
    #[error("the callee left before it answered")]
    CalleeLeft,
    #[error("the caller left")]
    CallerLeft,
    #[error("the call timed out")]
    Timeout,
    #[error("the message is larger than its receiver accepts")]
    PayloadSizeExceeded,
    #[error("the receiver does not read what it is sent")]
    ReceiverBlocked,
    #[error("the payload cannot be said in its receiver's encoding")]
    Untranslatable,
    #[error("the session has as many registrations as it may")]
    TooManyRegistrations,
    #[error("the session has as many calls under way as it may")]
    TooManyCalls,
    #[error("the realm has as many calls under way as it may")]
    RealmTooBusy,
    #[error("there are as many calls under way to the callee's entry of the cluster as may be")]
    TooManyCallsBetweenEntries,
    #[error("there is no memory for more")]
    MemoryFull,
}

impl Refusal {
    /// The error URI (WAMP, Predefined URIs); limits of this broker have one of their own.
    pub const fn uri(self) -> &'static str {
        match self {
            Self::ReservedProcedure => "wamp.error.not_authorized",
            Self::ProcedureAlreadyExists | Self::PolicyConflict => "wamp.error.procedure_already_exists",
            Self::NoSuchRegistration => "wamp.error.no_such_registration",
            Self::NoSuchProcedure => "wamp.error.no_such_procedure",
            Self::NoCallInParts | Self::NoPassthru | Self::CallerTakesNoPassthru => "wamp.error.feature_not_supported",
            Self::NoAvailableCallee => "wamp.error.no_available_callee",
            Self::Canceled | Self::CalleeLeft | Self::CallerLeft => "wamp.error.canceled",
            Self::Timeout => "wamp.error.timeout",
            Self::ReceiverBlocked => "wamp.error.unavailable",
            Self::Untranslatable => "wamp.error.invalid_argument",
            Self::PayloadSizeExceeded => "wamp.error.payload_size_exceeded",
            Self::TooManyRegistrations
            | Self::TooManyCalls
            | Self::RealmTooBusy
            | Self::TooManyCallsBetweenEntries
            | Self::MemoryFull => "fennec.error.quota_exceeded",
        }
    }
}

/// What the callee of an interrupted invocation is expected to do (WAMP, Call Canceling).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InterruptMode {
    /// Its answer, most likely an error, is passed on to the caller.
    Kill,
    /// The caller has its answer; what the callee still says is ignored.
    KillNoWait,
}

/// How calls are spread over the callees of one registration (WAMP, Shared Registration).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum InvocationPolicy {
    /// One callee only.
    #[default]
    Single,
    /// The one registered first that has room.
    First,
    /// The one registered last that has room.
    Last,
    Random,
    RoundRobin,
}

/// The life of a registration (WAMP, Registration Meta Events).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RegistrationEvent<'a> {
    Created { session: SessionId, registration: RegistrationInfo<'a> },
    CalleeAdded { session: SessionId, registration: RegistrationId },
    CalleeRemoved { session: SessionId, registration: RegistrationId },
    Deleted { session: SessionId, registration: RegistrationId },
}

/// What can be told about a registration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RegistrationInfo<'a> {
    pub registration: RegistrationId,
    pub pattern: &'a TopicPattern,
    pub policy: InvocationPolicy,
    /// On the node's clock.
    pub created_ms: u64,
}

impl<S> Output<'_, S> {
    /// The session that this is for; `None` for what is to be published.
    pub fn receiver(&self) -> Option<&S> {
        match self {
            Self::Registered { to, .. }
            | Self::Unregistered { to, .. }
            | Self::Revoked { to, .. }
            | Self::Result { to, .. }
            | Self::Error { to, .. }
            | Self::Returned { to, .. }
            | Self::TakeOver { to, .. }
            | Self::Interrupt { to, .. } => Some(to),
            Self::Invocation(invocation) => Some(invocation.to),
            Self::Registration(_) => None,
        }
    }
}
