//! What a client of either protocol can do, and what it is told.

use std::time::Duration;

use bytes::Bytes;

use super::Error;
use crate::types::event::{Properties, Qos};
use crate::types::payload::{Payload, PayloadRef};
use crate::types::topic::MatchPolicy;
use crate::types::value::Value;

/// Names a command until its outcome is told. Never repeated by a machine, also not after a reconnect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// Publications under way that a machine takes before [`Machine::has_room`] says no.
pub const UNACKNOWLEDGED_MAX: usize = 1024;

/// One connection's protocol, without IO and without a clock. It outlives connections: [`Machine::open`] begins the next.
///
/// Units are what the transport keeps apart: bytes for MQTT, which need not end where packets end; whole messages for WAMP.
pub trait Machine: Send {
    /// A new connection is there, on which a unit may have so many bytes. What was owed to the old one is forgotten, but for
    /// publications that are not acknowledged.
    fn open(&mut self, unit_bytes_max: usize);

    /// Takes what the broker sent.
    ///
    /// # Errors
    /// The connection is over: the broker said so, or broke the protocol.
    fn receive(&mut self, unit: Bytes) -> Result<(), Error>;

    /// The next thing to send.
    fn next_output(&mut self) -> Option<Bytes>;

    /// The next thing to know. Asking acknowledges the message that was told before.
    fn next_event(&mut self) -> Option<Event>;

    /// Asks the broker for a sign of life. False: the protocol has no such question, so the transport must ask.
    fn ping(&mut self) -> bool;

    /// Says goodbye.
    fn close(&mut self);

    /// Whether one more acknowledged publication can be taken now.
    fn has_room(&self) -> bool;

    /// Publishes. [`Event::Published`] follows, for QoS 0 without asking the broker.
    ///
    /// # Errors
    /// [`Error::Invalid`]. Nothing was sent.
    fn publish(&mut self, publication: &Publication<'_>) -> Result<Token, Error>;

    /// Subscribes. [`Event::Subscribed`] follows, perhaps after the first messages.
    ///
    /// # Errors
    /// [`Error::Invalid`]. Nothing was sent.
    fn subscribe(&mut self, subscription: &Subscription<'_>) -> Result<Token, Error>;

    /// Calls. [`Event::Returned`] or [`Event::Failed`] follows.
    ///
    /// # Errors
    /// [`Error::Invalid`]. Nothing was sent.
    fn call(&mut self, call: &Call<'_>) -> Result<Token, Error>;

    /// Says that nobody waits for the call any more.
    fn cancel(&mut self, call: Token);

    /// Offers a procedure. [`Event::Registered`] follows.
    ///
    /// # Errors
    /// [`Error::Invalid`]. Nothing was sent.
    fn register(&mut self, registration: &Registration<'_>) -> Result<Token, Error>;

    /// Answers an invocation; one that is no longer known is passed over.
    ///
    /// # Errors
    /// [`Error::Invalid`]. Nothing was sent, and the invocation still wants an answer.
    fn answer(&mut self, invocation: InvocationNumber, answer: &Answer<'_>) -> Result<(), Error>;
}

/// Names an invocation until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InvocationNumber(pub u64);

#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    pub topic: &'a str,
    pub payload: PayloadRef<'a>,
    /// Lowered to what the broker takes. WAMP: from 1 on it is acknowledged.
    pub qos: Qos,
    pub retain: bool,
    /// `response_topic` is spelt as the protocol spells topics.
    pub properties: &'a Properties,
    pub expiry_s: Option<u32>,
    /// What else the broker is told, by the names that it knows (`when`, `watch`, …). MQTT 5: user properties, their values as
    /// JSON unless they are text.
    pub options: &'a [(&'a str, Value)],
}

#[derive(Clone, Copy, Debug)]
pub struct Subscription<'a> {
    pub topic: &'a str,
    pub qos: Qos,
    /// Whether retained messages are wanted.
    pub retained: bool,
    /// MQTT 5: not what this client published itself. WAMP never delivers that.
    pub no_local: bool,
    /// MQTT 5: whether live messages keep their RETAIN flag.
    pub retain_as_published: bool,
    /// WAMP; an MQTT filter says it by its wildcards.
    pub policy: MatchPolicy,
    /// What else the broker is told (`after`, `durable`, …), as in [`Publication::options`].
    pub options: &'a [(&'a str, Value)],
}

#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub procedure: &'a str,
    pub payload: PayloadRef<'a>,
    /// WAMP: progressive results are wanted.
    pub progress: bool,
    /// WAMP: the broker ends the call after this time; 0 = never.
    pub timeout_ms: u64,
    pub properties: &'a Properties,
}

#[derive(Clone, Copy, Debug)]
pub struct Registration<'a> {
    pub procedure: &'a str,
    /// WAMP.
    pub policy: MatchPolicy,
    /// WAMP: how several callees share the procedure (`single`, `roundrobin`, …).
    pub invoke: Option<&'a str>,
    /// WAMP: invocations that the broker gives at once.
    pub concurrency: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    Result(PayloadRef<'a>),
    Error { uri: &'a str, payload: PayloadRef<'a> },
}

/// What the broker has to say.
#[derive(Clone, Debug)]
pub enum Event {
    /// The connection stands.
    Opened(Opened),
    /// The broker has taken a publication. WAMP tells the id it gave it, if it was asked to acknowledge.
    Published {
        token: Token,
        outcome: Result<Option<u64>, Error>,
    },
    /// WAMP tells the subscription's id.
    Subscribed {
        token: Token,
        outcome: Result<Option<u64>, Error>,
    },
    Registered {
        token: Token,
        outcome: Result<(), Error>,
    },
    Message(Message),
    /// The broker has ended a subscription.
    Unsubscribed {
        /// As it was subscribed to.
        topic: String,
        /// Why, as a URI; empty: it does not say.
        reason: String,
    },
    /// A result; with `progress`, more follow.
    Returned {
        token: Token,
        progress: bool,
        payload: Payload,
    },
    /// A call failed.
    Failed {
        token: Token,
        error: CallError,
    },
    Invoked(Invocation),
    /// Nobody waits for the answer any more. One is due nevertheless.
    Cancelled(InvocationNumber),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The broker still has the session of the last connection, with its subscriptions.
    pub resumed: bool,
    /// Client id (MQTT) or session id (WAMP).
    pub id: String,
    /// After so long without a word from either side, a sign of life is due. Zero: never.
    pub keep_alive: Duration,
}

/// An event of a subscription.
#[derive(Clone, Debug)]
pub struct Message {
    pub topic: String,
    pub payload: Payload,
    pub retain: bool,
    /// Sent before, perhaps.
    pub dup: bool,
    /// MQTT only.
    pub qos: Option<Qos>,
    /// WAMP only: the publication's id.
    pub publication: Option<u64>,
    /// `response_topic` is spelt as the protocol spells topics.
    pub properties: Properties,
    pub expiry_s: Option<u32>,
    /// MQTT 5: identifiers of the subscriptions that it is for.
    pub subscription_identifiers: Vec<u32>,
    /// WAMP: details that have no place above, such as the publisher.
    pub details: Vec<(String, Value)>,
}

/// A call that this client is to answer.
#[derive(Clone, Debug)]
pub struct Invocation {
    pub number: InvocationNumber,
    pub procedure: String,
    pub payload: Payload,
    /// WAMP: details such as the caller.
    pub details: Vec<(String, Value)>,
}

/// Why a call has no result.
#[derive(Clone, Debug)]
pub enum CallError {
    /// The broker did not take it.
    Refused(Error),
    /// Who should answer did so with an error, such as `wamp.error.no_such_procedure`.
    Answered { uri: String, payload: Payload },
}

impl CallError {
    /// An error by its URI.
    pub(super) fn of_uri(uri: &str, payload: Payload) -> Self {
        match uri {
            "wamp.error.not_authorized" => CallError::Refused(Error::NotAuthorized(uri.to_owned())),
            _ => CallError::Answered { uri: uri.to_owned(), payload },
        }
    }
}
