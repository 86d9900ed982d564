//! `wamp.subscription.get_events` (WAMP, Event History).

use std::sync::Arc;

use super::answer::{Answer, Failure, Given};
use super::arguments::{Arguments, Options};
use super::asked::Asked;
use super::callee::Call;
use super::{Item, Room};
use crate::node::past::{Page, Past, Query, TIME_MAX_US, Target, Viewer};
use crate::router::authorize::Action;
use crate::types::event::{Properties, StoredEvent};
use crate::types::ids::{PublicationId, SubscriptionId};
use crate::types::payload::Format;
use crate::types::time::{parse_rfc3339, rfc3339};
use crate::types::topic::Topic;
use crate::types::value::{Raw, Value};

const OPTIONS: [&str; 11] = [
    "reverse",
    "limit",
    "from_time",
    "after_time",
    "before_time",
    "until_time",
    "topic",
    "from_publication",
    "after_publication",
    "before_publication",
    "until_publication",
];

impl Room<'_> {
    pub fn get_events(&mut self, call: &Call) -> Result<Given, Failure> {
        let mut arguments = Arguments::read(call)?;
        let subscription = SubscriptionId(arguments.id("subscription")?);
        let mut options = arguments.options(&OPTIONS)?;
        let realm = self.realm(call)?;
        let rights = self.rights(&realm, call)?;
        let pattern = realm.pattern(subscription).ok_or_else(Failure::no_such_subscription)?;
        if !rights.allows_pattern(Action::Subscribe, &pattern) {
            return Err(Failure::new("wamp.error.not_authorized", "not authorized to subscribe to this topic"));
        }
        let filter = realm.variant(subscription).filter;
        let with_topic = pattern.exact_name().is_none();
        let query = Query {
            target: Target { realm: realm.name.clone(), pattern, filter },
            viewer: Viewer { rights, authid: call.caller.authid.clone(), authrole: call.caller.authrole.clone() },
            topic: options.topic("topic")?,
            numbers: self.numbers(&mut options)?,
            times_us: times(&mut options)?,
            now_ms: self.now_ms,
            limit: limit(&mut options, self.node.limits.events_per_call_max)?,
            reverse: options.bool("reverse")?.unwrap_or(false),
        };
        let (key, queue) = (call.key.clone(), self.queue.clone());
        self.node.read_past(query, move |_, page| queue.push(Item::Page { key, page }))?;
        self.desk.asked.insert(call.key.clone(), Asked::Events { call: call.clone(), subscription, with_topic });
        Ok(Given::Later)
    }

    /// The lowest and the highest number that is asked for.
    fn numbers(&self, options: &mut Options) -> Result<(u64, u64), Failure> {
        let mut number = |name: &str| -> Result<Option<u64>, Failure> {
            let Some(id) = options.uint(name, "a publication id")? else { return Ok(None) };
            let number = self.node.log.number_of(PublicationId(id));
            number.map(Some).ok_or_else(|| Failure::invalid(format!("{name} is the id of no event of the log")))
        };
        let from = number("from_publication")?.unwrap_or(1);
        let after = number("after_publication")?.map_or(1, |number| number + 1);
        let until = number("until_publication")?.unwrap_or(u64::MAX);
        let before = number("before_publication")?.map_or(u64::MAX, |number| number - 1);
        Ok((from.max(after), until.min(before)))
    }

    /// Answers with what was read.
    pub fn tell_events(&self, call: &Call, subscription: SubscriptionId, with_topic: bool, page: Page) {
        let args = page.events.into_iter().map(|past| event(&past, subscription, with_topic)).collect();
        let kwargs = vec![
            ("is_limit_reached".to_owned(), Value::Bool(page.more)),
            ("recovered".to_owned(), Value::Bool(page.complete)),
        ];
        self.answer(call, Ok(Answer { args, kwargs }));
    }
}

/// The first and the last time that is asked for.
fn times(options: &mut Options) -> Result<(u64, u64), Failure> {
    let mut time = |name: &str| -> Result<Option<u64>, Failure> {
        let Some(text) = options.text(name)? else { return Ok(None) };
        let time = parse_rfc3339(&text);
        time.map(Some).ok_or_else(|| Failure::invalid(format!("{name} must be an RFC 3339 time")))
    };
    let from = time("from_time")?.unwrap_or(0);
    let after = time("after_time")?.map_or(0, |us| us + 1);
    let until = time("until_time")?.unwrap_or(TIME_MAX_US);
    let before = time("before_time")?.map_or(TIME_MAX_US, |us| us.saturating_sub(1));
    Ok((from.max(after), until.min(before)))
}

/// How many events; `max` at most, and if it is not said.
fn limit(options: &mut Options, max: usize) -> Result<usize, Failure> {
    match options.uint("limit", "a positive number")? {
        Some(0) => Err(Failure::invalid("limit must be a positive number")),
        limit => Ok(limit.and_then(|limit| usize::try_from(limit).ok()).map_or(max, |limit| limit.min(max))),
    }
}

fn event(past: &Past, subscription: SubscriptionId, with_topic: bool) -> Value {
    let Past { event, at_us, .. } = past;
    let mut entry = vec![
        ("timestamp", Value::from(rfc3339(*at_us))),
        ("subscription", Value::from(subscription.0)),
        ("publication", Value::from(event.publication.0)),
        ("details", details(event, with_topic)),
    ];
    if let Ok(args) = event.payload.as_ref().as_args(event.codec, Format::MsgPack) {
        let value = |part: &[u8]| Raw::checked(Format::MsgPack, part).to_value();
        entry.extend(args.args.as_deref().map(|part| ("args", value(part))));
        entry.extend(args.kwargs.as_deref().map(|part| ("kwargs", value(part))));
    }
    Value::map(entry)
}

/// As they were in EVENT.
fn details(event: &StoredEvent, with_topic: bool) -> Value {
    let mut details = Vec::new();
    if with_topic {
        details.push(("topic", Value::from(event.topic.uri())));
    }
    if let Some(place) = event.place {
        details.push(("event_id", Value::from(place.id.to_string())));
    }
    if let Some(publisher) = &event.publisher {
        details.push(("publisher", Value::from(publisher.session.0)));
        details.extend(publisher.authid.as_deref().map(|authid| ("publisher_authid", Value::from(authid))));
        details.extend(publisher.authrole.as_deref().map(|authrole| ("publisher_authrole", Value::from(authrole))));
    }
    if let Some(properties) = &event.properties {
        add_properties(&mut details, properties);
    }
    Value::map(details)
}

fn add_properties(details: &mut Vec<(&'static str, Value)>, properties: &Arc<Properties>) {
    if let Some(is_text) = properties.payload_is_text {
        details.push(("payload_format_indicator", Value::Int(is_text.into())));
    }
    if let Some(content_type) = &properties.content_type {
        details.push(("content_type", Value::from(content_type.as_str())));
    }
    if let Some(name) = &properties.response_topic {
        let topic = Topic::from_name(name);
        details.push(("response_topic", Value::from(topic.as_ref().map_or(name.as_str(), Topic::uri))));
    }
    if let Some(data) = &properties.correlation_data {
        details.push(("correlation_data", Value::Bytes(data.to_vec())));
    }
    if !properties.user_properties.is_empty() {
        let pair = |(name, value): &(String, String)| Value::List(vec![name.as_str().into(), value.as_str().into()]);
        details.push(("user_properties", Value::List(properties.user_properties.iter().map(pair).collect())));
    }
}
