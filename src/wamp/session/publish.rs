//! PUBLISH.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use super::open::{Leave, Open};
use super::options::{Entry, WrongOption};
use super::passthru::Attributes;
use super::pending::Asked;
use crate::node::Node;
use crate::node::publish::{Fate, Publication, PublishRefused, Settled};
use crate::queue::condition::{Condition, KeyWill, When};
use crate::queue::outcome::{Done, Refused, Void, WaitEnd};
use crate::types::event::{Discloser, Filter, Properties};
use crate::types::ids::{PublicationId, RequestId};
use crate::types::passthru::{Attribute, Passthru};
use crate::types::payload::PayloadRef;
use crate::types::topic::Topic;
use crate::types::value::Raw;
use crate::wamp::message::{Dict, Kind, Message};

/// The options of a PUBLISH.
#[derive(Default)]
pub(super) struct Options {
    acknowledge: bool,
    include_me: bool,
    disclose_me: bool,
    retain: bool,
    expires_in_s: Option<u32>,
    filter: Option<Box<Filter>>,
    properties: Option<Arc<Properties>>,
    condition: Option<Box<Condition>>,
    /// For [`Condition::watch`].
    timeout_ms: Option<u64>,
    attributes: Attributes,
}

impl Options {
    /// Reads them all, so that `acknowledge` is known even if another one is wrong.
    pub fn read(options: &Dict<'_>) -> (Self, Result<(), WrongOption>) {
        let mut read = Self::default();
        let mut outcome = Ok(());
        for (key, value) in options.as_raw().into_iter().flat_map(Raw::entries) {
            // Some clients let no options through but those they know and those that begin so.
            let name = key.strip_prefix('_').unwrap_or(&key);
            if !value.is_null() || (matches!(name, "when" | "will") && !value.is_undefined()) {
                outcome = outcome.and(read.set(name, value));
            }
        }
        if let Some(passthru) = std::mem::take(&mut read.attributes).finish() {
            read.properties().passthru = Some(Box::new(passthru));
        }
        let outcome = outcome.and_then(|()| read.complete());
        (read, outcome)
    }

    /// What one option asks of another.
    fn complete(&mut self) -> Result<(), WrongOption> {
        let Some(condition) = &mut self.condition else { return Ok(()) };
        condition.timeout_ms = self.timeout_ms.filter(|_| condition.watch);
        if condition.watch && condition.when.is_none() {
            return Err(WrongOption { name: "watch", expected: "there with the option when only" });
        }
        Ok(())
    }

    #[inline]
    fn set(&mut self, name: &str, value: Raw<'_>) -> Result<(), WrongOption> {
        let entry = |name| Entry { name, value };
        match name {
            // Who is wrong about this one is told so.
            "acknowledge" => {
                self.acknowledge = true;
                self.acknowledge = entry("acknowledge").bool()?;
            }
            "exclude_me" => self.include_me = !entry("exclude_me").bool()?,
            "disclose_me" => self.disclose_me = entry("disclose_me").bool()?,
            "retain" => self.retain = entry("retain").bool()?,
            "exclude" => self.filter().exclude = entry("exclude").sessions()?,
            "exclude_authid" => self.filter().exclude_authid = entry("exclude_authid").texts()?,
            "exclude_authrole" => self.filter().exclude_authrole = entry("exclude_authrole").texts()?,
            "eligible" => self.filter().eligible = Some(entry("eligible").sessions()?),
            "eligible_authid" => self.filter().eligible_authid = Some(entry("eligible_authid").texts()?),
            "eligible_authrole" => self.filter().eligible_authrole = Some(entry("eligible_authrole").texts()?),
            "message_expiry_interval" => {
                let entry = entry("message_expiry_interval");
                let seconds = entry.value.as_u64().and_then(|seconds| u32::try_from(seconds).ok());
                self.expires_in_s = Some(entry.or_wrong(seconds, "a number of seconds below 2^32")?);
            }
            "content_type" => self.properties().content_type = Some(entry("content_type").text()?),
            "response_topic" => self.properties().response_topic = Some(response_topic(entry("response_topic"))?),
            "correlation_data" => {
                self.properties().correlation_data = Some(text_or_binary(entry("correlation_data"))?);
            }
            "user_properties" => {
                self.properties().user_properties = user_properties(entry("user_properties"))?;
            }
            "payload_format_indicator" => {
                self.properties().payload_is_text = Some(match entry("payload_format_indicator").uint("0 or 1")? {
                    0 => false,
                    1 => true,
                    _ => return entry("payload_format_indicator").wrong("0 or 1"),
                });
            }
            // Null is a value of these two: there is none, and there will be none.
            "when" => {
                let entry = entry("when");
                let when = entry.or_wrong(When::read(value), "null, a dict of fields or the number of an event")?;
                self.condition().when = Some(when);
            }
            "will" => self.condition().will = Some(KeyWill::read(value)),
            "watch" if entry("watch").bool()? => self.condition().watch = true,
            "stays" if entry("stays").bool()? => self.condition().stays = true,
            "rkey" => self.properties().resource_key = Some(entry("rkey").text()?.into()),
            "timeout" => self.timeout_ms = Some(entry("timeout").uint("a number of milliseconds")?),
            name => {
                if let Some(attribute) = Attribute::from_name(name) {
                    self.attributes.add(attribute, value)?;
                }
            }
        }
        Ok(())
    }

    fn condition(&mut self) -> &mut Condition {
        self.condition.get_or_insert_default()
    }

    fn filter(&mut self) -> &mut Filter {
        self.filter.get_or_insert_default()
    }

    fn properties(&mut self) -> &mut Properties {
        // Nobody else has them yet.
        Arc::make_mut(self.properties.get_or_insert_default())
    }

    /// How the payload is to be read, if it is not for everybody.
    pub fn passthru(&self) -> Option<&Passthru> {
        self.properties.as_ref().and_then(|properties| properties.passthru.as_deref())
    }

    /// What it asks for ends with the session.
    pub fn needs_a_session(&self) -> bool {
        self.condition.as_ref().is_some_and(|condition| condition.watch || condition.will.is_some())
    }

    /// What is published. `backing`: the buffer that the payload lies in.
    pub fn publication<'a>(
        &'a self,
        payload: PayloadRef<'a>,
        discloser: &'a Arc<Discloser>,
        backing: Option<&'a Bytes>,
    ) -> Publication<'a> {
        Publication {
            payload,
            qos: Node::UNSAID_QOS,
            retain: self.retain,
            properties: self.properties.as_ref(),
            publisher: self.disclose_me.then_some(discloser),
            expires_in_s: self.expires_in_s,
            exclude_publisher: !self.include_me,
            filter: self.filter.as_deref(),
            condition: self.condition.as_deref(),
            packet: None,
            backing,
        }
    }
}

fn response_topic(entry: Entry<'_>) -> Result<String, WrongOption> {
    let topic = Topic::from_uri(&entry.text()?).ok();
    entry.or_wrong(topic, "a URI").map(|topic| topic.name().to_owned())
}

fn text_or_binary(entry: Entry<'_>) -> Result<Bytes, WrongOption> {
    let text = entry.value.as_text().map(|text| Bytes::from(text.into_owned()));
    let bytes = text.or_else(|| entry.value.as_binary().map(|bytes| Bytes::from(bytes.into_owned())));
    entry.or_wrong(bytes, "a string or binary")
}

/// A list of `[name, value]`, as events have it, or a dict.
fn user_properties(entry: Entry<'_>) -> Result<Vec<(String, String)>, WrongOption> {
    let text = |value: Raw<'_>| value.as_text().map(Cow::into_owned);
    let pair = |item: Raw<'_>| {
        let mut parts = item.items();
        let (name, value) = (text(parts.next()?)?, text(parts.next()?)?);
        parts.next().is_none().then_some((name, value))
    };
    let all = if entry.value.is_map() {
        let entries = entry.value.entries().filter(|(_, value)| !value.is_null());
        entries.map(|(name, value)| Some((name.into_owned(), text(value)?))).collect()
    } else {
        entry.value.is_list().then(|| entry.value.items().map(pair).collect()).flatten()
    };
    entry.or_wrong(all, "a list of [name, value] or a dict, all of strings")
}

impl Open {
    /// Publishes; answers only if that is asked for.
    ///
    /// # Errors
    /// Its payload is to be passed through, which the client has not announced.
    pub(super) fn publish(
        &mut self,
        request: RequestId,
        options: &Dict<'_>,
        topic: &str,
        payload: PayloadRef<'_>,
        backing: &Bytes,
    ) -> Result<(), Leave> {
        let (options, outcome) = Options::read(options);
        self.passthru.check(Kind::Publish, options.passthru())?;
        self.publish_checked(request, options, outcome, topic, payload, backing);
        Ok(())
    }

    fn publish_checked(
        &mut self,
        request: RequestId,
        options: Options,
        outcome: Result<(), WrongOption>,
        topic: &str,
        payload: PayloadRef<'_>,
        backing: &Bytes,
    ) {
        let refuse = |open: &mut Self, uri: &str, text: &str| {
            if options.acknowledge {
                open.error(Kind::Publish, request, uri, text);
            }
        };
        if let Err(wrong) = outcome {
            return refuse(self, super::INVALID_ARGUMENT, &wrong.to_string());
        }
        let target = match self.publisher.look_up(topic.as_bytes(), |_| Topic::from_uri(topic)) {
            Ok(target) => target,
            Err(error) => return refuse(self, super::INVALID_URI, &format!("the topic {error}")),
        };
        if options.needs_a_session() {
            self.session.note_holds();
        }
        let publication = options.publication(payload, &self.discloser, Some(backing));
        match self.publisher.publish(target, &publication) {
            Ok(Fate::Routed(published)) if options.acknowledge => self.published(request, published.publication),
            Ok(Fate::Routed(_)) => {}
            Ok(Fate::Pending) => {
                self.pending.ask(if options.acknowledge { Asked::Publish(request) } else { Asked::Silent });
            }
            Err(refused @ PublishRefused::ConditionWithoutRetain) => {
                refuse(self, super::INVALID_ARGUMENT, &refused.to_string());
            }
            Err(refused @ PublishRefused::DisclosureDenied) => refuse(self, super::DISCLOSURE, &refused.to_string()),
            Err(refused @ PublishRefused::NotAuthorized) => refuse(self, super::NOT_AUTHORIZED, &refused.to_string()),
            Err(refused @ (PublishRefused::RetainedFull | PublishRefused::MemoryFull)) => {
                refuse(self, super::QUOTA_EXCEEDED, &refused.to_string())
            }
        }
    }

    fn published(&mut self, request: RequestId, publication: PublicationId) {
        // Cannot be too large for any frame.
        let _ = self.wire.append(&Message::Published { request, publication }, &mut self.acknowledgements);
    }

    /// Tells the client what became of something that was pending.
    pub(super) fn settle(&mut self, settled: Settled) {
        let (asked, outcome) = match settled {
            Settled::Waiting { ticket } => return self.pending.wait(ticket),
            Settled::Granted { ticket, number } => {
                let publication = self.node.log.publication_of(number);
                let asked = self.pending.end_wait(ticket).map(Asked::Publish);
                (asked, Ok(Told::Published(publication)))
            }
            Settled::Ended { ticket, why } => (self.pending.end_wait(ticket).map(Asked::Publish), Err(wait_error(why))),
            Settled::Event { number } => {
                let publication = self.node.log.publication_of(number);
                (self.pending.settle(), Ok(Told::Published(publication)))
            }
            Settled::Routed(published) => (self.pending.settle(), Ok(Told::Published(published.publication))),
            Settled::Done(done) => (self.pending.settle(), Ok(Told::Done(done))),
            Settled::Void(void) => (self.pending.settle(), Err(void_error(void))),
            Settled::Refused(why) => (self.pending.settle(), Err(refused_error(why))),
        };
        match (asked, outcome) {
            (Some(Asked::Publish(request)), Ok(Told::Published(publication))) => self.published(request, publication),
            (Some(Asked::Publish(request)), Err((uri, text))) => self.error(Kind::Publish, request, uri, text),
            (Some(Asked::Durable(durably)), Ok(Told::Done(done))) => self.opened_durable(*durably, done),
            (Some(Asked::Durable(durably)), Err((uri, text))) => {
                self.error(Kind::Subscribe, durably.request, uri, text);
            }
            // What nobody is to be told of, or (`None`) a command that was not asked for by the client.
            _ => {}
        }
    }
}

/// What the log says of something that it took.
enum Told {
    Published(PublicationId),
    Done(Done),
}

fn void_error(void: Void) -> (&'static str, &'static str) {
    match void {
        Void::ConditionFailed => (super::CONDITION_FAILED, "the condition does not hold"),
        Void::QuotaExceeded => (super::QUOTA_EXCEEDED, "as many publications wait, or locks are held, as may"),
        // Only MQTT knows these two.
        Void::Repeated | Void::Stale => ("wamp.error.canceled", "the publication came before"),
    }
}

fn refused_error(why: Refused) -> (&'static str, &'static str) {
    match why {
        Refused::StoreUnavailable => {
            (super::STORE_UNAVAILABLE, "the store cannot write: durable publishing has stopped until it can")
        }
        Refused::Full => (super::STORE_UNAVAILABLE, "as many messages wait for the store as may"),
        Refused::Stopping => ("wamp.close.system_shutdown", "the broker stops"),
    }
}

fn wait_error(why: WaitEnd) -> (&'static str, &'static str) {
    match why {
        WaitEnd::Timeout => ("wamp.error.timeout", "the condition did not hold in time"),
        WaitEnd::Canceled | WaitEnd::SessionGone => ("wamp.error.canceled", "the wait was canceled"),
    }
}
