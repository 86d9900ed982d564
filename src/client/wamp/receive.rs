//! The messages of the router.

use bytes::Bytes;

use super::{Pending, State, Wamp, details};
use crate::client::Error;
use crate::client::machine::{CallError, Event, Invocation, InvocationNumber, Token};
use crate::types::ids::RequestId;
use crate::types::payload::{Codec, Payload, PayloadRef};
use crate::wamp::message::{self, Dict, Message};

impl Wamp {
    pub(super) fn receive_message(&mut self, unit: &Bytes) -> Result<(), Error> {
        let message =
            message::decode(self.options.format, unit).map_err(|error| Error::Violation(error.to_string()))?;
        match (self.state, message) {
            (State::Login, Message::Welcome { session, .. }) => {
                self.welcome(session);
                Ok(())
            }
            (State::Login, Message::Challenge { method, extra }) => self.challenge(&method, &extra),
            (_, Message::Abort { details, reason, .. }) => Err(farewell(&reason, &details)),
            (State::Open, Message::Goodbye { details, reason }) => Err(farewell(&reason, &details)),
            (State::Open, message) => self.receive_open(unit, message),
            (_, other) => Err(Error::Violation(format!("{} before WELCOME", other.kind().name()))),
        }
    }

    fn receive_open(&mut self, unit: &Bytes, message: Message<'_>) -> Result<(), Error> {
        match message {
            Message::Event { subscription, publication, details, payload } => {
                // One that is not known came before its SUBSCRIBED was: no broker does that.
                let topic = self.subscriptions.get(&subscription.0).cloned().unwrap_or_default();
                let message = details::read_event(topic, publication.0, &details, share(payload, unit));
                self.events.push_back(Event::Message(message));
            }
            Message::Invocation { request, registration, details, payload } => {
                let mut all = details.to_map();
                let named = all.iter().position(|(name, _)| name == "procedure").map(|at| all.remove(at).1);
                let known = || self.registrations.get(&registration.0).cloned().unwrap_or_default();
                self.events.push_back(Event::Invoked(Invocation {
                    number: InvocationNumber(request.0),
                    procedure: named.and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_else(known),
                    payload: share(payload, unit),
                    details: all,
                }));
            }
            Message::Result { request, details, payload } => {
                let progress = details.get("progress").and_then(|value| value.as_bool()).unwrap_or(false);
                if let Some(token) = self.call_of(request, progress) {
                    self.events.push_back(Event::Returned { token, progress, payload: share(payload, unit) });
                }
            }
            Message::Interrupt { request, .. } => {
                self.events.push_back(Event::Cancelled(InvocationNumber(request.0)));
            }
            Message::Unsubscribed { request: RequestId(0), details } => return self.revoked(&details),
            Message::Error { request, error, payload, .. } => self.failed(request, &error, share(payload, unit)),
            other => return self.receive_answer(other),
        }
        Ok(())
    }

    /// The broker has ended a subscription (WAMP, Subscription Revocation).
    fn revoked(&mut self, details: &Dict<'_>) -> Result<(), Error> {
        let subscription = details.get("subscription").and_then(|id| id.as_u64());
        let Some(topic) = subscription.and_then(|id| self.subscriptions.remove(&id)) else {
            return Err(Error::Refused("a subscription was taken away".to_owned()));
        };
        let reason = details.get("reason").and_then(|reason| reason.as_text().map(|text| text.into_owned()));
        self.events.push_back(Event::Unsubscribed { topic, reason: reason.unwrap_or_default() });
        Ok(())
    }

    /// Answers that say that all is well.
    fn receive_answer(&mut self, message: Message<'_>) -> Result<(), Error> {
        let (request, id) = match message {
            Message::Published { request, publication } => (request, publication.0),
            Message::Subscribed { request, subscription } => (request, subscription.0),
            Message::Registered { request, registration } => (request, registration.0),
            Message::Unsubscribed { .. } => {
                return Err(Error::Refused("the subscription was taken away".to_owned()));
            }
            Message::Unregistered { .. } => {
                return Err(Error::Refused("the registration was taken away".to_owned()));
            }
            other => return Err(Error::Violation(format!("{} to a client", other.kind().name()))),
        };
        let event = match self.pending.remove(&request.0) {
            Some(Pending::Publish(publication)) => Event::Published { token: publication.token, outcome: Ok(Some(id)) },
            Some(Pending::Subscribe(token, topic)) => {
                self.subscriptions.insert(id, topic);
                Event::Subscribed { token, outcome: Ok(Some(id)) }
            }
            Some(Pending::Register(token, procedure)) => {
                self.registrations.insert(id, procedure);
                Event::Registered { token, outcome: Ok(()) }
            }
            Some(Pending::Call(_)) | None => {
                return Err(Error::Violation(format!("an answer to request {}, which asked for none", request.0)));
            }
        };
        self.events.push_back(event);
        Ok(())
    }

    /// The call that a result is for, unless nobody waits for it.
    fn call_of(&mut self, request: RequestId, progress: bool) -> Option<Token> {
        let Some(Pending::Call(token)) = self.pending.get(&request.0) else { return None };
        let token = *token;
        if !progress {
            self.pending.remove(&request.0);
        }
        Some(token)
    }

    fn failed(&mut self, request: RequestId, uri: &str, payload: Payload) {
        let error = refusal(uri, &text_of(&payload));
        let event = match self.pending.remove(&request.0) {
            Some(Pending::Publish(publication)) => Event::Published { token: publication.token, outcome: Err(error) },
            Some(Pending::Subscribe(token, _)) => Event::Subscribed { token, outcome: Err(error) },
            Some(Pending::Register(token, _)) => Event::Registered { token, outcome: Err(error) },
            Some(Pending::Call(token)) => Event::Failed { token, error: CallError::of_uri(uri, payload) },
            // A call that was cancelled, or an answer that came too late.
            None => return,
        };
        self.events.push_back(event);
    }
}

/// The payload of a message that came in `unit`, sharing its bytes.
fn share(payload: PayloadRef<'_>, unit: &Bytes) -> Payload {
    payload.store(Some(unit))
}

/// What an error has to say, for people.
fn text_of(payload: &Payload) -> String {
    // The codec `Raw` gives a single text as it is.
    String::from_utf8_lossy(&payload.as_ref().as_bytes(Codec::Raw)).into_owned()
}

/// What ABORT or GOODBYE means for this client.
fn farewell(reason: &str, details: &Dict<'_>) -> Error {
    let text = details.get("message").and_then(|text| text.as_text().map(|text| text.into_owned()));
    let text = text.unwrap_or_default();
    match reason {
        "wamp.close.system_shutdown" | "wamp.close.goodbye_and_out" | "wamp.close.close_realm" => {
            Error::Lost(format!("the broker ended the session: {}", with_text(reason, &text)))
        }
        _ => refusal(reason, &text),
    }
}

/// What the URI of an error means for this client.
fn refusal(uri: &str, text: &str) -> Error {
    const LOGIN: [&str; 5] = [
        "wamp.error.authentication_required",
        "wamp.error.authentication_denied",
        "wamp.error.authentication_failed",
        "wamp.error.no_matching_auth_method",
        "wamp.error.no_such_role",
    ];
    let what = with_text(uri, text);
    match uri {
        "wamp.error.not_authorized" | "wamp.error.authorization_failed" => Error::NotAuthorized(what),
        _ if LOGIN.contains(&uri) => Error::NotAuthorized(what),
        _ => Error::Refused(what),
    }
}

fn with_text(uri: &str, text: &str) -> String {
    if text.is_empty() { uri.to_owned() } else { format!("{uri}: {text}") }
}
