//! Calls and answers by publications under `$rpc/`, as fennec has them (docs/mapping.md).

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;

use super::inflight::Purpose;
use super::{Mqtt, Request, check_topic};
use crate::client::Error;
use crate::client::machine::{Answer, Call, CallError, Event, Invocation, InvocationNumber, Registration, Token};
use crate::mqtt::codec::{self, Level, PropertySource, Publish, PublishProperties};
use crate::types::event::{Properties, Qos};
use crate::types::payload::{Codec, Payload, PayloadRef};
use crate::types::topic::MatchPolicy;

const PREFIX: &str = "$rpc/";
/// The user property that names an error.
const ERROR: &str = "error";

/// Calls that wait for their answers, and invocations that wait for ours.
pub(super) struct Rpc {
    response_topic: String,
    replies: Replies,
    calls: HashSet<Token>,
    invocations: BTreeMap<InvocationNumber, ReplyTo>,
    last_invocation: u64,
}

/// The subscription to the response topic.
enum Replies {
    None,
    /// Calls that are sent when it stands: until then nobody would hear the answers.
    Awaited(Vec<Delayed>),
    Subscribed,
}

/// A call kept for later.
struct Delayed {
    token: Token,
    topic: String,
    payload: Bytes,
    properties: Properties,
}

struct ReplyTo {
    topic: String,
    correlation: Option<Bytes>,
}

impl Rpc {
    pub fn new(response_topic: String) -> Self {
        Self {
            response_topic,
            replies: Replies::None,
            calls: HashSet::new(),
            invocations: BTreeMap::new(),
            last_invocation: 0,
        }
    }

    /// The connection is gone, and with it who waits.
    pub fn reset(&mut self) {
        self.replies = Replies::None;
        self.calls.clear();
        self.invocations.clear();
    }

    /// Whether somebody still waited.
    pub fn forget(&mut self, call: Token) -> bool {
        self.calls.remove(&call)
    }
}

impl Mqtt {
    pub(super) fn send_call(&mut self, call: &Call<'_>) -> Result<Token, Error> {
        let topic = self.procedure_topic(call.procedure)?;
        if call.progress {
            return Err(Error::Invalid("progressive results need WAMP".to_owned()));
        }
        check_topic(&self.rpc.response_topic)?;
        let token = self.next_token();
        let payload = Bytes::from(call.payload.as_bytes(Codec::Auto).into_owned());
        let delayed = Delayed { token, topic, payload, properties: call.properties.clone() };
        match &mut self.rpc.replies {
            Replies::Subscribed => self.publish_call(delayed)?,
            Replies::Awaited(calls) => calls.push(delayed),
            Replies::None => {
                let filter = self.rpc.response_topic.clone();
                let wanted =
                    codec::Subscription { filter: &filter, qos: Qos::AtLeastOnce, ..codec::Subscription::default() };
                self.send_subscribe(wanted, &[], Request::Replies)?;
                self.rpc.replies = Replies::Awaited(vec![delayed]);
            }
        }
        self.rpc.calls.insert(token);
        Ok(token)
    }

    fn procedure_topic(&self, procedure: &str) -> Result<String, Error> {
        if self.level() < Level::V5 {
            return Err(Error::Invalid("calls need MQTT 5 or WAMP".to_owned()));
        }
        let topic = format!("{PREFIX}{procedure}");
        check_topic(&topic)?;
        Ok(topic)
    }

    fn publish_call(&mut self, call: Delayed) -> Result<(), Error> {
        let response_topic = self.rpc.response_topic.clone();
        let correlation = call.token.0.to_be_bytes();
        let properties = PublishProperties {
            response_topic: Some(&response_topic),
            correlation_data: Some(&correlation),
            ..PublishProperties::of_event(&call.properties)
        };
        let publish = self.rpc_publish(&call.topic, &properties, &call.payload);
        self.send_publish(publish, Purpose::Call(call.token))
    }

    /// With QoS 1, by which a refusal is told, as long as the broker takes more of it.
    fn rpc_publish<'a>(&self, topic: &'a str, properties: &'a PublishProperties<'a>, payload: &'a [u8]) -> Publish<'a> {
        use crate::client::machine::Machine;
        let room = self.has_room() && self.server.maximum_qos > Qos::AtMostOnce;
        Publish {
            qos: if room { Qos::AtLeastOnce } else { Qos::AtMostOnce },
            topic: topic.as_bytes(),
            properties: PropertySource::Own(properties),
            payload,
            ..Publish::default()
        }
    }

    /// Answers can come: sends the calls that waited for it; or they cannot.
    pub(super) fn replies_subscribed(&mut self, outcome: Result<(), Error>) {
        let next = if outcome.is_ok() { Replies::Subscribed } else { Replies::None };
        let Replies::Awaited(calls) = std::mem::replace(&mut self.rpc.replies, next) else { return };
        for call in calls {
            let token = call.token;
            if !self.rpc.calls.contains(&token) {
                continue;
            }
            if let Err(error) = outcome.clone().and_then(|()| self.publish_call(call)) {
                self.rpc.forget(token);
                self.tell(Event::Failed { token, error: CallError::Refused(error) });
            }
        }
    }

    pub(super) fn send_register(&mut self, registration: &Registration<'_>) -> Result<Token, Error> {
        let filter = self.procedure_topic(registration.procedure)?;
        let plain = registration.policy == MatchPolicy::Exact && registration.invoke.is_none();
        if !plain || registration.concurrency.is_some() {
            return Err(Error::Invalid("options of a registration need WAMP".to_owned()));
        }
        let token = self.next_token();
        let wanted = codec::Subscription { filter: &filter, qos: Qos::AtLeastOnce, ..codec::Subscription::default() };
        self.send_subscribe(wanted, &[], Request::Register(token))?;
        Ok(token)
    }

    /// `None`: the message is about no call. `Some(None)`: it is, and nobody waits for it.
    pub(super) fn take_rpc(
        &mut self,
        topic: &str,
        properties: &PublishProperties<'_>,
        payload: &Payload,
    ) -> Option<Option<Event>> {
        if topic == self.rpc.response_topic && !matches!(self.rpc.replies, Replies::None) {
            return Some(self.take_reply(properties, payload));
        }
        let procedure = topic.strip_prefix(PREFIX)?.to_owned();
        let reply_to = ReplyTo {
            topic: properties.response_topic?.to_owned(),
            correlation: properties.correlation_data.map(Bytes::copy_from_slice),
        };
        self.rpc.last_invocation += 1;
        let number = InvocationNumber(self.rpc.last_invocation);
        self.rpc.invocations.insert(number, reply_to);
        Some(Some(Event::Invoked(Invocation { number, procedure, payload: payload.clone(), details: Vec::new() })))
    }

    fn take_reply(&mut self, properties: &PublishProperties<'_>, payload: &Payload) -> Option<Event> {
        let correlation = properties.correlation_data?.try_into().ok()?;
        let token = Token(u64::from_be_bytes(correlation));
        if !self.rpc.forget(token) {
            return None;
        }
        let payload = payload.clone();
        let error = properties.user_properties.iter().find(|(name, _)| *name == ERROR);
        Some(match error {
            Some((_, uri)) => Event::Failed { token, error: CallError::of_uri(uri, payload) },
            None => Event::Returned { token, progress: false, payload },
        })
    }

    pub(super) fn send_answer(&mut self, number: InvocationNumber, answer: &Answer<'_>) -> Result<(), Error> {
        let Some(reply_to) = self.rpc.invocations.remove(&number) else { return Ok(()) };
        let sent = self.publish_answer(&reply_to, answer);
        if sent.is_err() {
            self.rpc.invocations.insert(number, reply_to);
        }
        sent
    }

    fn publish_answer(&mut self, reply_to: &ReplyTo, answer: &Answer<'_>) -> Result<(), Error> {
        let (payload, error): (PayloadRef<'_>, _) = match answer {
            Answer::Result(payload) => (*payload, None),
            Answer::Error { uri, payload } => (*payload, Some((ERROR.to_owned(), (*uri).to_owned()))),
        };
        let properties = Properties {
            correlation_data: reply_to.correlation.clone(),
            user_properties: error.into_iter().collect(),
            ..Properties::default()
        };
        let properties = PublishProperties::of_event(&properties);
        let payload = payload.as_bytes(Codec::Auto);
        let publish = self.rpc_publish(&reply_to.topic, &properties, &payload);
        self.send_publish(publish, Purpose::Answer)
    }
}
