//! Bytes to messages.

use std::borrow::Cow;

use super::{Dict, Kind, Message};
use crate::types::ids::{ID_MAX, PublicationId, RegistrationId, RequestId, SessionId, SubscriptionId};
use crate::types::payload::{Format, PayloadRef};
use crate::types::value::raw::split_list;
use crate::types::value::read::Scalar;
use crate::types::value::{Malformed, Raw};

/// Most elements that a message has (ERROR).
const ELEMENTS_MAX: usize = 7;

/// Why bytes are no message. The peer broke the protocol: ABORT with `wamp.error.protocol_violation`, and this as its text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the message is not {format}: {source}")]
    NotDecodable { format: Format, source: Malformed },
    #[error("a message must be a list of 1 to {ELEMENTS_MAX} elements")]
    NotList,
    #[error("the first element of a message must be the number of a message type")]
    NoKind,
    #[error("unknown message type {0}")]
    UnknownKind(u64),
    #[error("{} has {found} elements, {expected} expected", .kind.name())]
    Elements { kind: Kind, found: usize, expected: &'static str },
    #[error("{}: {element} must be {expected}", .kind.name())]
    Element { kind: Kind, element: &'static str, expected: &'static str },
}

/// Decodes one message, which must be all of `bytes`, and checks it down to the last byte of its arguments.
#[inline]
pub fn decode(format: Format, bytes: &[u8]) -> Result<Message<'_>, DecodeError> {
    let mut elements = [&[] as &[u8]; ELEMENTS_MAX];
    let found = split_list(format, bytes, &mut elements)
        .map_err(|source| DecodeError::NotDecodable { format, source })?
        .ok_or(DecodeError::NotList)?;
    let first = elements[..found].first().ok_or(DecodeError::NotList)?;
    let code = Raw::checked(format, first).as_u64().ok_or(DecodeError::NoKind)?;
    let kind = Kind::from_code(code).ok_or(DecodeError::UnknownKind(code))?;
    Elements { format, kind, elements: &elements[1..found] }.message()
}

/// What follows the kind.
struct Elements<'a, 'e> {
    format: Format,
    kind: Kind,
    elements: &'e [&'a [u8]],
}

impl<'a> Elements<'a, '_> {
    fn message(&self) -> Result<Message<'a>, DecodeError> {
        Ok(match self.kind {
            Kind::Publish => {
                self.count(3..=5, "4 to 6")?;
                Message::Publish {
                    request: self.request()?,
                    options: self.dict(1, "options")?,
                    topic: self.text(2, "topic")?,
                    payload: self.payload(3)?,
                }
            }
            Kind::Call => {
                self.count(3..=5, "4 to 6")?;
                Message::Call {
                    request: self.request()?,
                    options: self.dict(1, "options")?,
                    procedure: self.text(2, "procedure")?,
                    payload: self.payload(3)?,
                }
            }
            Kind::Yield => {
                self.count(2..=4, "3 to 5")?;
                Message::Yield {
                    request: self.request()?,
                    options: self.dict(1, "options")?,
                    payload: self.payload(2)?,
                }
            }
            Kind::Event => {
                self.count(3..=5, "4 to 6")?;
                Message::Event {
                    subscription: SubscriptionId(self.id(0, "subscription")?),
                    publication: PublicationId(self.id(1, "publication")?),
                    details: self.dict(2, "details")?,
                    payload: self.payload(3)?,
                }
            }
            Kind::Result => {
                self.count(2..=4, "3 to 5")?;
                Message::Result {
                    request: self.request()?,
                    details: self.dict(1, "details")?,
                    payload: self.payload(2)?,
                }
            }
            Kind::Invocation => {
                self.count(3..=5, "4 to 6")?;
                Message::Invocation {
                    request: self.request()?,
                    registration: RegistrationId(self.id(1, "registration")?),
                    details: self.dict(2, "details")?,
                    payload: self.payload(3)?,
                }
            }
            Kind::Error => {
                self.count(4..=6, "5 to 7")?;
                Message::Error {
                    request_kind: self.request_kind()?,
                    request: RequestId(self.id(1, "request")?),
                    details: self.dict(2, "details")?,
                    error: self.text(3, "error")?,
                    payload: self.payload(4)?,
                }
            }
            Kind::Hello | Kind::Welcome | Kind::Abort | Kind::Challenge | Kind::Authenticate | Kind::Goodbye => {
                self.session_message()?
            }
            _ => self.request_message()?,
        })
    }

    /// Messages that open and close a session.
    fn session_message(&self) -> Result<Message<'a>, DecodeError> {
        if self.kind == Kind::Abort {
            self.count(2..=4, "3 to 5")?;
            let (details, reason) = (self.dict(0, "details")?, self.text(1, "reason")?);
            return Ok(Message::Abort { details, reason, payload: self.payload(2)? });
        }
        self.count(2..=2, "3")?;
        Ok(match self.kind {
            Kind::Hello => Message::Hello { realm: self.text(0, "realm")?, details: self.dict(1, "details")? },
            Kind::Welcome => {
                Message::Welcome { session: SessionId(self.id(0, "session")?), details: self.dict(1, "details")? }
            }
            Kind::Challenge => {
                Message::Challenge { method: self.text(0, "authmethod")?, extra: self.dict(1, "extra")? }
            }
            Kind::Authenticate => {
                Message::Authenticate { signature: self.text(0, "signature")?, extra: self.dict(1, "extra")? }
            }
            _ => Message::Goodbye { details: self.dict(0, "details")?, reason: self.text(1, "reason")? },
        })
    }

    /// Requests without arguments, and their answers.
    fn request_message(&self) -> Result<Message<'a>, DecodeError> {
        match self.kind {
            Kind::Subscribe | Kind::Register => self.count(3..=3, "4")?,
            Kind::Unsubscribed | Kind::Unregistered => self.count(1..=2, "2 or 3")?,
            _ => self.count(2..=2, "3")?,
        }
        if matches!(self.kind, Kind::Unsubscribed | Kind::Unregistered) {
            return self.revocable();
        }
        let request = self.request()?;
        Ok(match self.kind {
            Kind::Subscribe => {
                Message::Subscribe { request, options: self.dict(1, "options")?, topic: self.text(2, "topic")? }
            }
            Kind::Register => {
                Message::Register { request, options: self.dict(1, "options")?, procedure: self.text(2, "procedure")? }
            }
            Kind::Cancel => Message::Cancel { request, options: self.dict(1, "options")? },
            Kind::Interrupt => Message::Interrupt { request, options: self.dict(1, "options")? },
            Kind::Published => Message::Published { request, publication: PublicationId(self.id(1, "publication")?) },
            Kind::Subscribed => {
                Message::Subscribed { request, subscription: SubscriptionId(self.id(1, "subscription")?) }
            }
            Kind::Unsubscribe => {
                Message::Unsubscribe { request, subscription: SubscriptionId(self.id(1, "subscription")?) }
            }
            Kind::Registered => {
                Message::Registered { request, registration: RegistrationId(self.id(1, "registration")?) }
            }
            _ => Message::Unregister { request, registration: RegistrationId(self.id(1, "registration")?) },
        })
    }

    /// UNSUBSCRIBED and UNREGISTERED: an answer, or sent by the router on its own with request 0 and details.
    fn revocable(&self) -> Result<Message<'a>, DecodeError> {
        let (request, details) = match self.elements.len() {
            1 => (self.request()?, Dict::Empty),
            _ if self.raw(0).as_u64() == Some(0) => (RequestId(0), self.dict(1, "details")?),
            _ => (self.request()?, self.dict(1, "details")?),
        };
        Ok(match self.kind {
            Kind::Unsubscribed => Message::Unsubscribed { request, details },
            _ => Message::Unregistered { request, details },
        })
    }

    #[inline]
    fn count(&self, allowed: std::ops::RangeInclusive<usize>, expected: &'static str) -> Result<(), DecodeError> {
        if allowed.contains(&self.elements.len()) {
            return Ok(());
        }
        Err(DecodeError::Elements { kind: self.kind, found: self.elements.len() + 1, expected })
    }

    #[cold]
    fn wrong<T>(&self, element: &'static str, expected: &'static str) -> Result<T, DecodeError> {
        Err(DecodeError::Element { kind: self.kind, element, expected })
    }

    #[inline]
    fn raw(&self, index: usize) -> Raw<'a> {
        Raw::checked(self.format, self.elements[index])
    }

    #[inline]
    fn request(&self) -> Result<RequestId, DecodeError> {
        Ok(RequestId(self.id(0, "request")?))
    }

    #[inline]
    fn id(&self, index: usize, element: &'static str) -> Result<u64, DecodeError> {
        match self.raw(index).as_u64() {
            Some(id @ 1..=ID_MAX) => Ok(id),
            _ => self.wrong(element, "an integer from 1 to 2^53"),
        }
    }

    fn request_kind(&self) -> Result<Kind, DecodeError> {
        let kind = self.raw(0).as_u64().and_then(Kind::from_code);
        match kind {
            Some(
                kind @ (Kind::Publish
                | Kind::Subscribe
                | Kind::Unsubscribe
                | Kind::Call
                | Kind::Cancel
                | Kind::Register
                | Kind::Unregister
                | Kind::Invocation
                | Kind::Interrupt),
            ) => Ok(kind),
            _ => self.wrong("request type", "the message type of a request"),
        }
    }

    #[inline]
    fn text(&self, index: usize, element: &'static str) -> Result<Cow<'a, str>, DecodeError> {
        match self.raw(index).as_text() {
            // With NUL first, JSON would take it for binary.
            Some(text) if !text.starts_with('\0') => Ok(text),
            _ => self.wrong(element, "a string"),
        }
    }

    #[inline]
    fn dict(&self, index: usize, element: &'static str) -> Result<Dict<'a>, DecodeError> {
        let raw = self.raw(index);
        if !raw.is_map() {
            return self.wrong(element, "a dict");
        }
        if !has_text_keys(raw) {
            return self.wrong(element, "a dict with strings as keys");
        }
        Ok(Dict::from_raw(raw))
    }

    /// Args and kwargs from this element on. Null counts as absent. Binary in the place of args is arguments that the peers
    /// hide from the router, without kwargs.
    #[inline]
    fn payload(&self, index: usize) -> Result<PayloadRef<'a>, DecodeError> {
        let part = |index: usize| self.elements.get(index).map(|_| self.raw(index)).filter(|raw| !raw.is_null());
        let (args, kwargs) = (part(index), part(index + 1));
        if let Some(args) = args
            && !args.is_list()
            && (kwargs.is_some() || args.as_binary().is_none())
        {
            return self.wrong("args", "a list");
        }
        if let Some(kwargs) = kwargs {
            if !kwargs.is_map() {
                return self.wrong("kwargs", "a dict");
            }
            if !has_text_keys(kwargs) {
                return self.wrong("kwargs", "a dict with strings as keys");
            }
        }
        Ok(PayloadRef::Args { format: self.format, args: args.map(Raw::bytes), kwargs: kwargs.map(Raw::bytes) })
    }
}

/// JSON has no other keys.
#[inline]
fn has_text_keys(map: Raw<'_>) -> bool {
    if map.format() == Format::Json {
        return true;
    }
    let mut entries = map.entries();
    while let Some((key, _)) = entries.next_with_scalar_key() {
        if !matches!(key, Scalar::Text(_)) {
            return false;
        }
    }
    true
}
