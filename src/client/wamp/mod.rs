//! A client of WAMP v2, in all roles of the basic profile.
//!
//! ```text
//! HELLO --> [CHALLENGE --> AUTHENTICATE] --> WELCOME; then requests by number, each with its answer
//! ```
//!
//! - `login`: up to WELCOME. `receive`: the router's messages. `details`: properties in options and details.

mod details;
mod login;
mod receive;

#[cfg(test)]
mod tests;

pub use details::user_properties;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::Error;
use super::machine::{
    Answer, Call, Event, InvocationNumber, Machine, Publication, Registration, Subscription, Token, UNACKNOWLEDGED_MAX,
};
use super::transport::Speech;
use crate::types::event::Qos;
use crate::types::ids::RequestId;
use crate::types::payload::{Format, Payload};
use crate::types::topic::{MatchPolicy, Topic, TopicPattern};
use crate::wamp::message::{self, Dict, DictWriter, Kind, Message};
use crate::wamp::serializer::{Encoding, is_text};

/// Who connects, and how.
#[derive(Clone, Debug)]
pub struct Options {
    pub realm: String,
    pub user: Option<String>,
    pub password: Option<String>,
    pub format: Format,
    /// Zero: never ask for a sign of life.
    pub keep_alive: Duration,
}

/// See [`Machine`].
pub struct Wamp {
    options: Options,
    state: State,
    out: VecDeque<Bytes>,
    events: VecDeque<Event>,
    /// In the order of the requests.
    pending: BTreeMap<u64, Pending>,
    /// Publications that the last connection left without an answer.
    unanswered: Vec<Stored>,
    /// What is subscribed to and registered, by the broker's ids.
    subscriptions: HashMap<u64, String>,
    registrations: HashMap<u64, String>,
    last_request: u64,
    last_token: u64,
    message_bytes_max: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    /// HELLO is sent.
    Login,
    Open,
}

/// A request without an answer.
enum Pending {
    Publish(Stored),
    Subscribe(Token, String),
    Register(Token, String),
    Call(Token),
}

/// A publication that can be sent again.
#[derive(Clone)]
struct Stored {
    token: Token,
    options: Dict<'static>,
    topic: String,
    payload: Payload,
}

/// How WAMP in this format is carried.
pub fn speech(format: Format) -> Speech {
    let subprotocol = Encoding { format, batched: false }.subprotocol();
    Speech { subprotocol, text: is_text(format), format }
}

impl Wamp {
    pub fn new(options: Options) -> Self {
        Self {
            options,
            state: State::Closed,
            out: VecDeque::new(),
            events: VecDeque::new(),
            pending: BTreeMap::new(),
            unanswered: Vec::new(),
            subscriptions: HashMap::new(),
            registrations: HashMap::new(),
            last_request: 0,
            last_token: 0,
            message_bytes_max: usize::MAX,
        }
    }

    /// Says something that carries nothing of an application's, and is small enough for any connection.
    fn say_small(&mut self, message: &Message<'_>) {
        let mut bytes = Vec::new();
        message::encode(message, self.options.format, &mut bytes);
        self.out.push_back(bytes.into());
    }

    /// # Errors
    /// [`Error::Invalid`]: the message is larger than the connection takes. Nothing is sent.
    fn say(&mut self, message: &Message<'_>) -> Result<(), Error> {
        let mut bytes = Vec::new();
        message::encode(message, self.options.format, &mut bytes);
        let (is, max) = (bytes.len(), self.message_bytes_max);
        if is > max {
            return Err(Error::Invalid(format!("the message has {is} bytes, the broker takes {max}")));
        }
        self.out.push_back(bytes.into());
        Ok(())
    }

    /// Says a request; its number is [`Wamp::next_request`].
    fn ask(&mut self, message: &Message<'_>, pending: Option<Pending>) -> Result<(), Error> {
        let request = self.next_request();
        self.say(message)?;
        self.last_request = request.0;
        self.pending.extend(pending.map(|pending| (request.0, pending)));
        Ok(())
    }

    fn dict(&self) -> DictWriter {
        DictWriter::new(self.options.format)
    }

    fn next_token(&mut self) -> Token {
        self.last_token += 1;
        Token(self.last_token)
    }

    /// Requests of a session are numbered from 1 on, without gaps (WAMP, Identifiers).
    fn next_request(&self) -> RequestId {
        RequestId(self.last_request + 1)
    }

    fn send_publish(&mut self, publication: Stored, acknowledge: bool) -> Result<(), Error> {
        let Stored { options, topic, payload, .. } = publication.clone();
        let (request, topic) = (self.next_request(), topic.into());
        let message = Message::Publish { request, options, topic, payload: payload.as_ref() };
        self.ask(&message, acknowledge.then_some(Pending::Publish(publication)))
    }
}

impl Machine for Wamp {
    fn open(&mut self, unit_bytes_max: usize) {
        self.message_bytes_max = unit_bytes_max;
        self.out.clear();
        self.events.clear();
        self.subscriptions.clear();
        self.registrations.clear();
        self.last_request = 0;
        for pending in std::mem::take(&mut self.pending).into_values() {
            if let Pending::Publish(publication) = pending {
                self.unanswered.push(publication);
            }
        }
        self.hello();
    }

    fn receive(&mut self, unit: Bytes) -> Result<(), Error> {
        self.receive_message(&unit)
    }

    fn next_output(&mut self) -> Option<Bytes> {
        self.out.pop_front()
    }

    fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn ping(&mut self) -> bool {
        false
    }

    fn close(&mut self) {
        if std::mem::replace(&mut self.state, State::Closed) == State::Open {
            self.say_small(&Message::Goodbye { details: Dict::Empty, reason: "wamp.close.close_realm".into() });
        }
    }

    fn has_room(&self) -> bool {
        self.state == State::Open && self.pending.len() < UNACKNOWLEDGED_MAX
    }

    fn publish(&mut self, publication: &Publication<'_>) -> Result<Token, Error> {
        check_uri("topic", publication.topic)?;
        let acknowledge = publication.qos > Qos::AtMostOnce;
        if acknowledge && !self.has_room() {
            return Err(Error::Invalid("too many publications are not acknowledged".to_owned()));
        }
        let mut options = self.dict();
        if acknowledge {
            options.bool("acknowledge", true);
        }
        details::write_publication(publication, &mut options);
        publication.options.iter().for_each(|(name, value)| options.value(name, value));
        let token = self.next_token();
        let (options, topic) = (options.finish(), publication.topic.to_owned());
        self.send_publish(Stored { token, options, topic, payload: publication.payload.to_owned() }, acknowledge)?;
        if !acknowledge {
            self.events.push_back(Event::Published { token, outcome: Ok(None) });
        }
        Ok(token)
    }

    fn subscribe(&mut self, subscription: &Subscription<'_>) -> Result<Token, Error> {
        check_pattern("topic", subscription.topic, subscription.policy)?;
        let mut options = self.dict();
        write_policy(subscription.policy, &mut options);
        if subscription.retained {
            options.bool("get_retained", true);
        }
        subscription.options.iter().for_each(|(name, value)| options.value(name, value));
        let (request, token) = (self.next_request(), self.next_token());
        let topic = subscription.topic;
        let message = Message::Subscribe { request, options: options.finish(), topic: topic.into() };
        self.ask(&message, Some(Pending::Subscribe(token, topic.to_owned())))?;
        Ok(token)
    }

    fn call(&mut self, call: &Call<'_>) -> Result<Token, Error> {
        check_uri("procedure", call.procedure)?;
        let mut options = self.dict();
        if call.progress {
            options.bool("receive_progress", true);
        }
        if call.timeout_ms > 0 {
            options.uint("timeout", call.timeout_ms);
        }
        let (request, token) = (self.next_request(), self.next_token());
        let (options, procedure) = (options.finish(), call.procedure.into());
        let message = Message::Call { request, options, procedure, payload: call.payload };
        self.ask(&message, Some(Pending::Call(token)))?;
        Ok(token)
    }

    fn cancel(&mut self, call: Token) {
        let is_it = |pending: &Pending| matches!(pending, Pending::Call(token) if *token == call);
        let found = self.pending.iter().find(|(_, pending)| is_it(pending)).map(|(request, _)| *request);
        let Some(request) = found else { return };
        self.pending.remove(&request);
        let mut options = self.dict();
        options.text("mode", "killnowait");
        self.say_small(&Message::Cancel { request: RequestId(request), options: options.finish() });
    }

    fn register(&mut self, registration: &Registration<'_>) -> Result<Token, Error> {
        check_pattern("procedure", registration.procedure, registration.policy)?;
        let mut options = self.dict();
        write_policy(registration.policy, &mut options);
        if let Some(invoke) = registration.invoke {
            options.text("invoke", invoke);
        }
        if let Some(concurrency) = registration.concurrency {
            options.uint("concurrency", concurrency.into());
        }
        let (request, token) = (self.next_request(), self.next_token());
        let procedure = registration.procedure;
        let message = Message::Register { request, options: options.finish(), procedure: procedure.into() };
        self.ask(&message, Some(Pending::Register(token, procedure.to_owned())))?;
        Ok(token)
    }

    fn answer(&mut self, invocation: InvocationNumber, answer: &Answer<'_>) -> Result<(), Error> {
        let request = RequestId(invocation.0);
        match *answer {
            Answer::Result(payload) => self.say(&Message::Yield { request, options: Dict::Empty, payload }),
            Answer::Error { uri, payload } => self.say(&Message::Error {
                request_kind: Kind::Invocation,
                request,
                details: Dict::Empty,
                error: uri.into(),
                payload,
            }),
        }
    }
}

fn write_policy(policy: MatchPolicy, options: &mut DictWriter) {
    if policy != MatchPolicy::Exact {
        options.text("match", policy.as_str());
    }
}

fn check_uri(what: &str, uri: &str) -> Result<(), Error> {
    Topic::from_uri(uri).map(drop).map_err(|error| Error::Invalid(format!("the {what} {uri:?} {error}")))
}

fn check_pattern(what: &str, uri: &str, policy: MatchPolicy) -> Result<(), Error> {
    let checked = TopicPattern::from_uri(uri, policy);
    checked.map(drop).map_err(|error| Error::Invalid(format!("the {what} {uri:?} {error}")))
}
