//! SUBSCRIBE and UNSUBSCRIBE.

use std::sync::Arc;

use super::open::Open;
use super::options::{Entry, WrongOption};
use super::pending::Asked;
use super::resume::{Durably, Resuming, want};
use crate::node::groups::MEMBER_WINDOW;
use crate::node::mailbox::Mailbox;
use crate::node::past::Since;
use crate::queue::command::DurableRow;
use crate::router::authorize::Action;
use crate::router::broker::Variant;
use crate::types::event::{Qos, Terms};
use crate::types::event_id::EventId;
use crate::types::fields::Fields;
use crate::types::ids::{RequestId, SubscriptionId};
use crate::types::topic::{MatchPolicy, Topic, TopicPattern};
use crate::types::value::Raw;
use crate::wamp::message::{Dict, Kind, Message};
use crate::wamp::serializer::Wire;

/// Events that a member of a group is given before it is done with them, at most.
const WINDOW_MAX: u64 = 65_535;

#[derive(Default)]
struct Options {
    policy: MatchPolicy,
    get_retained: bool,
    /// Retained values are read when the log has got so far.
    after_id: Option<EventId>,
    filter: Option<Arc<Fields>>,
    since: Option<Since>,
    snapshot: bool,
    /// The node of a sharded subscription.
    node_key: Option<Arc<str>>,
    /// Name of the durable subscription or consumer group.
    name: Option<String>,
    /// What is said of it.
    row: DurableRow,
    /// Events that a member of a group is given before it is done with them.
    window: Option<usize>,
    /// An option that only makes sense for one; the last that was there.
    of_named: Option<&'static str>,
}

/// Retained values come first.
#[derive(Clone, Copy, Default)]
pub(super) struct Retained {
    /// Not before the log has got so far.
    pub after_id: Option<EventId>,
}

impl Options {
    fn read(options: &Dict<'_>) -> Result<Self, WrongOption> {
        let mut read = Self::default();
        for (key, value) in options.entries() {
            // Some clients let no options through but those they know and those that begin so.
            read.set(key.strip_prefix('_').unwrap_or(&key), value)?;
        }
        if let (None, Some(name)) = (&read.name, read.of_named) {
            return Err(WrongOption { name, expected: "there with the name of a durable subscription only" });
        }
        if read.node_key.is_some() && (read.name.is_some() || read.since.is_some() || read.snapshot) {
            return Err(WrongOption { name: "nkey", expected: "there without after, rewind, snapshot and durable" });
        }
        if read.row.group && read.filter.is_some() {
            return Err(WrongOption { name: "filter", expected: "there without group: members share what there is" });
        }
        if read.snapshot && (read.name.is_some() || (read.since.is_none() && !read.get_retained)) {
            return Err(WrongOption {
                name: "snapshot",
                expected: "there with after, rewind or get_retained, and without durable",
            });
        }
        Ok(read)
    }

    fn set(&mut self, name: &str, value: Raw<'_>) -> Result<(), WrongOption> {
        let entry = |name| Entry { name, value };
        match name {
            "match" => self.policy = match_policy(entry("match"))?,
            "get_retained" => self.get_retained = entry("get_retained").bool()?,
            "filter" => {
                let filter = Fields::of(value.to_value()).map(Arc::new);
                self.filter = Some(entry("filter").or_wrong(filter, "a dict of fields")?);
            }
            "after" => {
                let since = Since::after(value).ok();
                let expected = "a publication id, an event id or an RFC 3339 time";
                self.set_since("after", Some(entry("after").or_wrong(since, expected)?))?;
            }
            "rewind" => {
                let count = entry("rewind").uint("a number of events")?;
                self.set_since("rewind", Some(Since::Last(count)))?;
            }
            "after_id" => {
                let id = value.as_text().and_then(|text| text.parse().ok());
                self.after_id = Some(entry("after_id").or_wrong(id, "an event id")?);
            }
            "nkey" => self.node_key = Some(entry("nkey").text()?.into()),
            "snapshot" => self.snapshot = entry("snapshot").bool()?,
            _ => return self.set_named(name, value),
        }
        Ok(())
    }

    fn set_since(&mut self, name: &'static str, since: Option<Since>) -> Result<(), WrongOption> {
        if self.since.is_some() {
            return Err(WrongOption { name, expected: "there without the other of after and rewind" });
        }
        self.since = since;
        Ok(())
    }

    /// What concerns named durable subscriptions.
    fn set_named(&mut self, name: &str, value: Raw<'_>) -> Result<(), WrongOption> {
        let entry = |name| Entry { name, value };
        let name_of = |entry: Entry<'_>| {
            let name = entry.text()?;
            entry.or_wrong(Some(name).filter(|name| is_name(name)), "a name of 1 to 256 bytes without NUL")
        };
        let row = &mut self.row;
        let known = match name {
            "durable" => {
                self.name = Some(name_of(entry("durable"))?);
                return Ok(());
            }
            "group" if value.as_text().is_some() => {
                row.group = true;
                let name = name_of(entry("group"))?;
                self.name.get_or_insert(name);
                "group"
            }
            "group" => {
                row.group = entry("group").or_wrong(value.as_bool(), "a boolean or the name of a group")?;
                "group"
            }
            "acknowledge" => {
                row.acknowledged = match value.as_text().as_deref() {
                    Some("client") => true,
                    Some("auto") => false,
                    _ => return entry("acknowledge").wrong("one of client, auto"),
                };
                "acknowledge"
            }
            "ack_timeout" => {
                row.ack_timeout_ms = entry("ack_timeout").uint("a number of milliseconds")?;
                "ack_timeout"
            }
            "window" => {
                let count = value.as_u64().filter(|count| (1..=WINDOW_MAX).contains(count));
                self.window = Some(entry("window").or_wrong(count, "a number from 1 to 65535")? as usize);
                "window"
            }
            "deliveries_max" => {
                let count = value.as_u64().and_then(|count| u16::try_from(count).ok());
                row.deliveries_max = entry("deliveries_max").or_wrong(count, "a number below 65536")?;
                "deliveries_max"
            }
            "dead_letter_topic" => {
                let topic = value.as_text().and_then(|uri| Topic::from_uri(&uri).ok());
                let topic = entry("dead_letter_topic").or_wrong(topic, "a URI")?;
                row.dead_letter_topic = Some(topic.name().to_owned());
                "dead_letter_topic"
            }
            "order_by" => {
                row.order_by = Some(entry("order_by").text()?);
                "order_by"
            }
            _ => return Ok(()),
        };
        self.of_named = Some(known);
        Ok(())
    }
}

/// Whether this may be the name of a durable subscription: it is part of the key of a row.
fn is_name(name: &str) -> bool {
    // Names that begin so are those of MQTT's shared subscriptions.
    (1..=256).contains(&name.len()) && !name.contains('\0') && !name.starts_with("$share/")
}

/// The option `match`.
pub(super) fn match_policy(entry: Entry<'_>) -> Result<MatchPolicy, WrongOption> {
    let policy = entry.value.as_text().and_then(|name| name.parse().ok());
    entry.or_wrong(policy, "one of exact, prefix, wildcard, fox")
}

pub(super) fn reply(wire: Wire, mailbox: &mut Mailbox, message: &Message<'_>) {
    mailbox.outbox.reply_with(|out| {
        // Two ids are never too large for a frame.
        let _ = wire.append(message, out);
    });
}

impl Open {
    /// Answers SUBSCRIBED before the first event, or ERROR.
    pub(super) fn subscribe(&mut self, request: RequestId, options: &Dict<'_>, topic: &str) {
        let options = match Options::read(options) {
            Ok(options) => options,
            Err(wrong) => return self.error(Kind::Subscribe, request, super::INVALID_ARGUMENT, &wrong.to_string()),
        };
        let pattern = match TopicPattern::from_uri(topic, self.policy(&options, topic)) {
            Ok(pattern) => pattern,
            Err(error) => {
                return self.error(Kind::Subscribe, request, super::INVALID_URI, &format!("the topic {error}"));
            }
        };
        if !self.rights.allows_pattern(Action::Subscribe, &pattern) {
            let text = "not authorized to subscribe to this topic";
            return self.error(Kind::Subscribe, request, super::NOT_AUTHORIZED, text);
        }
        if self.session.mailbox().subscriptions.len() >= self.node.limits.subscriptions_per_session_max {
            let text = "the session has as many subscriptions as it may";
            return self.error(Kind::Subscribe, request, super::QUOTA_EXCEEDED, text);
        }
        if self.node.is_tight() {
            return self.error(Kind::Subscribe, request, super::QUOTA_EXCEEDED, super::NO_MEMORY);
        }
        let Options { get_retained, after_id, filter, since, snapshot, name, row, window, node_key, .. } = options;
        let retained = get_retained.then_some(Retained { after_id });
        if let Some(name) = name {
            if !self.may_bury(&row, &pattern) {
                let text = "not authorized to publish to the dead-letter topic, or the group wants it itself";
                return self.error(Kind::Subscribe, request, super::NOT_AUTHORIZED, text);
            }
            let window = window.unwrap_or(MEMBER_WINDOW);
            let durably = Durably { request, pattern, filter, name: name.into(), row, window, retained };
            return self.subscribe_durably(durably, since);
        }
        let resuming = Resuming { pattern, filter, snapshot, durable: None, group: None, node_key };
        let subscription = self.subscribed(request, &resuming, since.is_some());
        if snapshot {
            self.snapshots.insert(subscription, retained.map(|retained| (resuming.pattern.clone(), retained)));
        } else if let Some(retained) = retained {
            self.retained(&resuming.pattern, subscription, retained);
        }
        match since {
            Some(since) => self.look_back(subscription, since, resuming),
            None if snapshot => self.end_of_log(subscription),
            None => {}
        }
    }

    /// Whether what a group gives up may go where the client says.
    fn policy(&self, options: &Options, topic: &str) -> MatchPolicy {
        match options.policy {
            MatchPolicy::Exact if self.realm.star_is_wildcard && topic.split('.').any(|part| part == "*") => {
                MatchPolicy::Fox
            }
            policy => policy,
        }
    }

    /// What a SUBSCRIBE is for; `None`: there is something wrong with it.
    pub(super) fn wanted_pattern(&self, options: &Dict<'_>, topic: &str) -> Option<TopicPattern> {
        let options = Options::read(options).ok()?;
        TopicPattern::from_uri(topic, self.policy(&options, topic)).ok()
    }

    fn may_bury(&self, row: &DurableRow, pattern: &TopicPattern) -> bool {
        let Some(name) = &row.dead_letter_topic else { return true };
        let Ok(topic) = Topic::from_name(name) else { return false };
        let allowed = self.rights.allows(Action::Publish, &topic);
        allowed && !topic.is_reserved() && !pattern.matches(&topic)
    }

    /// Subscribes and answers SUBSCRIBED. `parked`: what is in the log is held back until it is known from where on it is wanted.
    pub(super) fn subscribed(&mut self, request: RequestId, resuming: &Resuming, parked: bool) -> SubscriptionId {
        let Resuming { pattern, filter, snapshot, durable, node_key, .. } = resuming;
        let (wire, reading) = (self.wire, parked.then(|| self.reading()));
        let begin = |id: SubscriptionId, mailbox: &mut Mailbox| {
            reply(wire, mailbox, &Message::Subscribed { request, subscription: id });
            if let Some(reading) = reading {
                mailbox.read_log(reading);
                mailbox.park_reader(id, want(pattern, id));
            }
        };
        let variant = Variant {
            filter: filter.clone(),
            name: durable.as_ref().map(|durable| durable.name.clone()),
            node_key: node_key.clone(),
        };
        if *snapshot {
            return self.realm.subscribe_past(&self.session, pattern, &variant, begin);
        }
        let subscribed = self.realm.subscribe_variant(&self.session, pattern, &variant, |subscribed, mailbox| {
            begin(subscribed.id, mailbox);
        });
        self.session.mailbox().hold(&self.node.peers, self.publisher.now_ms, &self.arrivals.link);
        subscribed.id
    }

    /// Owes the subscription the retained values that it matches, behind what was published before, and as soon as the log has
    /// got so far.
    pub(super) fn retained(&mut self, pattern: &TopicPattern, subscription: SubscriptionId, retained: Retained) {
        if let Some(id) = retained.after_id.filter(|id| self.node.log.last_event_id().is_none_or(|last| last < *id)) {
            return self.await_event(id, pattern, subscription);
        }
        if self.pending.is_settled() {
            return self.replay(pattern, subscription);
        }
        self.pending.ask(Asked::Retained { pattern: Box::new(pattern.clone()), subscription });
    }

    /// Retained values that were asked for behind publications that are settled now.
    pub(super) fn settle_retained(&mut self) {
        while let Some((pattern, subscription)) = self.pending.settle_retained() {
            self.flush();
            self.replay(&pattern, subscription);
        }
    }

    /// Owes the subscription the retained values that it matches.
    pub(super) fn replay(&mut self, pattern: &TopicPattern, subscription: SubscriptionId) {
        let terms = Terms {
            qos: Qos::AtMostOnce,
            retain: true,
            subscription: Some(subscription),
            with_topic: pattern.exact_name().is_none(),
            ..Terms::default()
        };
        self.realm.replay(&self.session, subscription, pattern, &self.rights, terms);
        // The first of them at once, so that live events rarely get ahead of older values.
        let offered = self.session.mailbox().refill(self.publisher.now_ms);
        self.publisher.count(offered);
    }

    /// Answers UNSUBSCRIBED, behind which there is no event of the subscription; or ERROR.
    pub(super) fn unsubscribe(&mut self, request: RequestId, subscription: SubscriptionId) {
        if !self.session.mailbox().subscriptions.contains(&subscription) {
            let text = "the session has no such subscription";
            return self.error(Kind::Unsubscribe, request, super::NO_SUCH_SUBSCRIPTION, text);
        }
        self.pending.forget(subscription);
        self.snapshots.remove(&subscription);
        let moved = self.session.mailbox().halt_reader(subscription);
        let wire = self.wire;
        self.realm.unsubscribe_id(&self.session, subscription, |_, mailbox| {
            reply(wire, mailbox, &Message::Unsubscribed { request, details: Dict::Empty });
        });
        self.node.record(&self.realm.name, moved.into_iter().collect());
    }
}
