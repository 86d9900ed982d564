//! SUBSCRIBE and UNSUBSCRIBE.

use super::open::Open;
use super::options::{Entry, WrongOption};
use super::pending::Asked;
use crate::node::mailbox::Mailbox;
use crate::router::authorize::Action;
use crate::router::broker;
use crate::types::event::{Qos, Terms};
use crate::types::ids::{RequestId, SubscriptionId};
use crate::types::topic::{MatchPolicy, TopicPattern};
use crate::wamp::message::{Dict, Kind, Message};
use crate::wamp::serializer::Wire;

#[derive(Default)]
struct Options {
    policy: MatchPolicy,
    get_retained: bool,
}

impl Options {
    fn read(options: &Dict<'_>) -> Result<Self, WrongOption> {
        let mut read = Self::default();
        for (key, value) in options.entries() {
            match key.strip_prefix('_').unwrap_or(&key) {
                "match" => read.policy = match_policy(Entry { name: "match", value })?,
                "get_retained" => read.get_retained = Entry { name: "get_retained", value }.bool()?,
                _ => {}
            }
        }
        Ok(read)
    }
}

/// The option `match`.
pub(super) fn match_policy(entry: Entry<'_>) -> Result<MatchPolicy, WrongOption> {
    let policy = entry.value.as_text().and_then(|name| name.parse().ok());
    entry.or_wrong(policy, "one of exact, prefix, wildcard, fox")
}

fn reply(wire: Wire, mailbox: &mut Mailbox, message: &Message<'_>) {
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
        let policy = match options.policy {
            MatchPolicy::Exact if self.realm.star_is_wildcard && topic.split('.').any(|part| part == "*") => {
                MatchPolicy::Fox
            }
            policy => policy,
        };
        let pattern = match TopicPattern::from_uri(topic, policy) {
            Ok(pattern) => pattern,
            Err(error) => {
                return self.error(Kind::Subscribe, request, super::INVALID_URI, &format!("the topic {error}"));
            }
        };
        if !self.realm.authorizer.allows_pattern(self.role, Action::Subscribe, &pattern) {
            let text = "not authorized to subscribe to this topic";
            return self.error(Kind::Subscribe, request, super::NOT_AUTHORIZED, text);
        }
        if self.session.mailbox().subscriptions.len() >= self.node.limits.subscriptions_per_session_max {
            let text = "the session has as many subscriptions as it may";
            return self.error(Kind::Subscribe, request, super::QUOTA_EXCEEDED, text);
        }
        let wire = self.wire;
        let subscribed =
            self.realm.subscribe(&self.session, &pattern, None, broker::Options::Each, |subscribed, mailbox| {
                reply(wire, mailbox, &Message::Subscribed { request, subscription: subscribed.id });
            });
        if options.get_retained && self.pending.is_settled() {
            self.replay(&pattern, subscribed.id);
        } else if options.get_retained {
            self.pending.ask(Asked::Retained { pattern: Box::new(pattern), subscription: subscribed.id });
        }
    }

    /// Retained values that were asked for behind publications that are settled now.
    pub(super) fn settle_retained(&mut self) {
        while let Some((pattern, subscription)) = self.pending.settle_retained() {
            self.flush();
            self.replay(&pattern, subscription);
        }
    }

    /// Owes the subscription the retained values that it matches.
    fn replay(&mut self, pattern: &TopicPattern, subscription: SubscriptionId) {
        let terms = Terms {
            qos: Qos::AtMostOnce,
            retain: true,
            subscription: Some(subscription),
            with_topic: pattern.exact_name().is_none(),
            ..Terms::default()
        };
        self.realm.replay(&self.session, subscription, pattern, self.role, terms);
        // The first of them at once, so that live events rarely get ahead of older values.
        let offered = self.session.mailbox().refill(self.publisher.now_ms);
        self.publisher.count(offered);
    }

    /// Answers UNSUBSCRIBED, behind which there is no event of the subscription; or ERROR.
    pub(super) fn unsubscribe(&mut self, request: RequestId, subscription: SubscriptionId) {
        let held = self.session.mailbox().subscriptions.contains(&subscription);
        let Some(pattern) = self.realm.pattern(subscription).filter(|_| held) else {
            let text = "the session has no such subscription";
            return self.error(Kind::Unsubscribe, request, super::NO_SUCH_SUBSCRIPTION, text);
        };
        self.pending.forget(subscription);
        let wire = self.wire;
        self.realm.unsubscribe(&self.session, &pattern, None, |_, mailbox| {
            reply(wire, mailbox, &Message::Unsubscribed { request, details: Dict::Empty });
        });
    }
}
