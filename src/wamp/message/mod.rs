//! The messages of WAMP v2 and their lists on the wire (WAMP, Message Definitions).
//!
//! [`decode`] checks the whole message but builds no values: arguments stay encoded slices of the buffer, and so do options
//! and details until somebody asks a [`Dict`] for its entries. [`encode`] writes any message in any format,
//! copying what is in that format already.
//!
//! Left to the session: whether a message is allowed now and from this side, what options mean, whether a URI is well-formed.

use std::borrow::Cow;

use crate::types::ids::{PublicationId, RegistrationId, RequestId, SessionId, SubscriptionId};
use crate::types::payload::PayloadRef;

mod decode;
mod dict;
mod encode;

#[cfg(test)]
mod tests;

pub use decode::{DecodeError, decode};
pub use dict::{Dict, DictWriter};
pub use encode::{Tail, encode};

/// The first element of a message (WAMP, Message Codes and Direction).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Hello = 1,
    Welcome = 2,
    Abort = 3,
    Challenge = 4,
    Authenticate = 5,
    Goodbye = 6,
    Error = 8,
    Publish = 16,
    Published = 17,
    Subscribe = 32,
    Subscribed = 33,
    Unsubscribe = 34,
    Unsubscribed = 35,
    Event = 36,
    Call = 48,
    Cancel = 49,
    Result = 50,
    Register = 64,
    Registered = 65,
    Unregister = 66,
    Unregistered = 67,
    Invocation = 68,
    Interrupt = 69,
    Yield = 70,
}

/// A message, borrowing from the buffer it was read from or the values it is made of.
///
/// `payload` is what follows details or options: args and kwargs. A decoded one is always [`PayloadRef::Args`]; to encode
/// one, [`PayloadRef::Bytes`] may stand there too, with [`PayloadRef::NONE`] for none.
#[derive(Clone, Debug)]
pub enum Message<'a> {
    Hello {
        realm: Cow<'a, str>,
        details: Dict<'a>,
    },
    Welcome {
        session: SessionId,
        details: Dict<'a>,
    },
    Abort {
        details: Dict<'a>,
        reason: Cow<'a, str>,
        payload: PayloadRef<'a>,
    },
    Challenge {
        method: Cow<'a, str>,
        extra: Dict<'a>,
    },
    Authenticate {
        signature: Cow<'a, str>,
        extra: Dict<'a>,
    },
    Goodbye {
        details: Dict<'a>,
        reason: Cow<'a, str>,
    },
    /// `request_kind` is the kind of the request that failed.
    Error {
        request_kind: Kind,
        request: RequestId,
        details: Dict<'a>,
        error: Cow<'a, str>,
        payload: PayloadRef<'a>,
    },

    Publish {
        request: RequestId,
        options: Dict<'a>,
        topic: Cow<'a, str>,
        payload: PayloadRef<'a>,
    },
    Published {
        request: RequestId,
        publication: PublicationId,
    },
    Subscribe {
        request: RequestId,
        options: Dict<'a>,
        topic: Cow<'a, str>,
    },
    Subscribed {
        request: RequestId,
        subscription: SubscriptionId,
    },
    Unsubscribe {
        request: RequestId,
        subscription: SubscriptionId,
    },
    /// Revoked by the router: request 0, and details that name the subscription (WAMP, Subscription Revocation).
    Unsubscribed {
        request: RequestId,
        details: Dict<'a>,
    },
    Event {
        subscription: SubscriptionId,
        publication: PublicationId,
        details: Dict<'a>,
        payload: PayloadRef<'a>,
    },

    Call {
        request: RequestId,
        options: Dict<'a>,
        procedure: Cow<'a, str>,
        payload: PayloadRef<'a>,
    },
    Cancel {
        request: RequestId,
        options: Dict<'a>,
    },
    Result {
        request: RequestId,
        details: Dict<'a>,
        payload: PayloadRef<'a>,
    },
    Register {
        request: RequestId,
        options: Dict<'a>,
        procedure: Cow<'a, str>,
    },
    Registered {
        request: RequestId,
        registration: RegistrationId,
    },
    Unregister {
        request: RequestId,
        registration: RegistrationId,
    },
    /// Revoked by the router: request 0, and details that name the registration (WAMP, Registration Revocation).
    Unregistered {
        request: RequestId,
        details: Dict<'a>,
    },
    Invocation {
        request: RequestId,
        registration: RegistrationId,
        details: Dict<'a>,
        payload: PayloadRef<'a>,
    },
    Interrupt {
        request: RequestId,
        options: Dict<'a>,
    },
    Yield {
        request: RequestId,
        options: Dict<'a>,
        payload: PayloadRef<'a>,
    },
}

impl Kind {
    /// The number on the wire.
    pub fn code(self) -> u64 {
        self as u64
    }

    pub fn from_code(code: u64) -> Option<Kind> {
        Some(match code {
            1 => Kind::Hello,
            2 => Kind::Welcome,
            3 => Kind::Abort,
            4 => Kind::Challenge,
            5 => Kind::Authenticate,
            6 => Kind::Goodbye,
            8 => Kind::Error,
            16 => Kind::Publish,
            17 => Kind::Published,
            32 => Kind::Subscribe,
            33 => Kind::Subscribed,
            34 => Kind::Unsubscribe,
            35 => Kind::Unsubscribed,
            36 => Kind::Event,
            48 => Kind::Call,
            49 => Kind::Cancel,
            50 => Kind::Result,
            64 => Kind::Register,
            65 => Kind::Registered,
            66 => Kind::Unregister,
            67 => Kind::Unregistered,
            68 => Kind::Invocation,
            69 => Kind::Interrupt,
            70 => Kind::Yield,
            _ => return None,
        })
    }

    /// As the specification spells it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Hello => "HELLO",
            Kind::Welcome => "WELCOME",
            Kind::Abort => "ABORT",
            Kind::Challenge => "CHALLENGE",
            Kind::Authenticate => "AUTHENTICATE",
            Kind::Goodbye => "GOODBYE",
            Kind::Error => "ERROR",
            Kind::Publish => "PUBLISH",
            Kind::Published => "PUBLISHED",
            Kind::Subscribe => "SUBSCRIBE",
            Kind::Subscribed => "SUBSCRIBED",
            Kind::Unsubscribe => "UNSUBSCRIBE",
            Kind::Unsubscribed => "UNSUBSCRIBED",
            Kind::Event => "EVENT",
            Kind::Call => "CALL",
            Kind::Cancel => "CANCEL",
            Kind::Result => "RESULT",
            Kind::Register => "REGISTER",
            Kind::Registered => "REGISTERED",
            Kind::Unregister => "UNREGISTER",
            Kind::Unregistered => "UNREGISTERED",
            Kind::Invocation => "INVOCATION",
            Kind::Interrupt => "INTERRUPT",
            Kind::Yield => "YIELD",
        }
    }
}

impl Message<'_> {
    pub fn kind(&self) -> Kind {
        match self {
            Message::Hello { .. } => Kind::Hello,
            Message::Welcome { .. } => Kind::Welcome,
            Message::Abort { .. } => Kind::Abort,
            Message::Challenge { .. } => Kind::Challenge,
            Message::Authenticate { .. } => Kind::Authenticate,
            Message::Goodbye { .. } => Kind::Goodbye,
            Message::Error { .. } => Kind::Error,
            Message::Publish { .. } => Kind::Publish,
            Message::Published { .. } => Kind::Published,
            Message::Subscribe { .. } => Kind::Subscribe,
            Message::Subscribed { .. } => Kind::Subscribed,
            Message::Unsubscribe { .. } => Kind::Unsubscribe,
            Message::Unsubscribed { .. } => Kind::Unsubscribed,
            Message::Event { .. } => Kind::Event,
            Message::Call { .. } => Kind::Call,
            Message::Cancel { .. } => Kind::Cancel,
            Message::Result { .. } => Kind::Result,
            Message::Register { .. } => Kind::Register,
            Message::Registered { .. } => Kind::Registered,
            Message::Unregister { .. } => Kind::Unregister,
            Message::Unregistered { .. } => Kind::Unregistered,
            Message::Invocation { .. } => Kind::Invocation,
            Message::Interrupt { .. } => Kind::Interrupt,
            Message::Yield { .. } => Kind::Yield,
        }
    }
}
