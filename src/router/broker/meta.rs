//! What can be told of subscriptions (WAMP, Subscription Meta API). A subscription is there as long as it has a subscriber.

use std::collections::{BTreeSet, HashMap};

use super::{Broker, Options, Subscriber, Subscription, Variant};
use crate::types::ids::{SessionId, SubscriptionId};
use crate::types::topic::{Topic, TopicPattern};

/// A subscription that has subscribers.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscriptionInfo {
    pub id: SubscriptionId,
    pub pattern: TopicPattern,
    pub variant: Variant,
    /// When the first of its subscribers came.
    pub created_ms: u64,
    /// Sessions that have it, members of shared subscriptions too.
    pub subscribers: usize,
}

impl<S: Subscriber> Broker<S> {
    /// All subscriptions, in no order.
    pub fn subscriptions(&self) -> Vec<SubscriptionInfo> {
        self.index.iter().flat_map(|(pattern, subscription)| subscription.infos(pattern)).collect()
    }

    /// The subscription of this id.
    pub fn subscription_info(&self, id: SubscriptionId) -> Option<SubscriptionInfo> {
        let pattern = self.by_id.get(&id)?;
        self.index.get(pattern)?.infos(pattern).into_iter().find(|info| info.id == id)
    }

    /// The plain subscription of exactly this pattern.
    pub fn lookup(&self, pattern: &TopicPattern) -> Option<SubscriptionId> {
        let subscription = self.index.get(pattern)?;
        subscription.has_plain().then_some(subscription.id)
    }

    /// The subscriptions whose patterns match a topic: those that get its events, but for filters. Sorted.
    pub fn matching(&self, topic: &Topic) -> Vec<SubscriptionId> {
        let mut found = Vec::new();
        let is_meta = topic.is_meta();
        self.index.matches(topic, |pattern, subscription| {
            if !is_meta || !pattern.passes_hidden_by() {
                found.extend(subscription.infos(pattern).iter().map(|info| info.id));
            }
        });
        found.sort_unstable();
        found
    }

    /// The sessions that have a subscription, sorted; `None`: there is no such subscription.
    pub fn subscribers(&self, id: SubscriptionId) -> Option<Vec<SessionId>> {
        let sessions = self.index.get(self.by_id.get(&id)?)?.sessions(id);
        (!sessions.is_empty()).then(|| sessions.into_iter().collect())
    }

    /// How many of the sessions that have a subscription count.
    pub fn count(&self, id: SubscriptionId, counts: impl Fn(&S) -> bool) -> usize {
        let found = self.by_id.get(&id).and_then(|pattern| self.index.get(pattern));
        found.map_or(0, |subscription| subscription.holders(id, counts).len())
    }

    /// What some sessions have, by session. Looks at all that there is.
    pub fn held_by(&self, sessions: &[SessionId]) -> HashMap<SessionId, Vec<SubscriptionInfo>> {
        let mut held: HashMap<SessionId, Vec<SubscriptionInfo>> = HashMap::new();
        for info in self.subscriptions() {
            let Some(subscription) = self.index.get(&info.pattern) else { continue };
            for session in sessions.iter().filter(|session| subscription.times_held(info.id, **session) > 0) {
                held.entry(*session).or_default().push(info.clone());
            }
        }
        held
    }

    /// Whether it is a subscription to the past alone, of one session.
    pub fn is_past(&self, id: SubscriptionId) -> bool {
        self.past.contains(&id)
    }

    /// How often a session has a subscription: for itself, and as a member of groups.
    pub fn times_held(&self, id: SubscriptionId, session: SessionId) -> usize {
        let found = self.by_id.get(&id).and_then(|pattern| self.index.get(pattern));
        found.map_or(0, |subscription| subscription.times_held(id, session))
    }

    /// Whether events of a topic have subscribers.
    pub fn is_wanted(&self, topic: &Topic) -> bool {
        !self.matching(topic).is_empty()
    }
}

impl<S> Subscription<S> {
    /// Somebody has the plain one.
    pub(super) fn has_plain(&self) -> bool {
        !self.subscribers.is_empty() || self.groups.iter().any(|group| !group.members.is_empty())
    }

    /// What can be told of the plain one and of its variants.
    fn infos(&self, pattern: &TopicPattern) -> Vec<SubscriptionInfo> {
        let info = |id, created_ms, variant, subscribers| {
            let pattern = pattern.clone();
            SubscriptionInfo { id, pattern, variant, created_ms, subscribers }
        };
        let plain = self.has_plain().then(|| info(self.id, self.created_ms, Variant::default(), self.plain_len()));
        let variants = self.variants.iter().filter(|variant| !variant.subscribers.is_empty());
        let variants = variants.map(|one| info(one.id, one.created_ms, one.variant.clone(), one.subscribers.len()));
        plain.into_iter().chain(variants).collect()
    }

    /// A session may be subscribed for itself and in groups.
    fn plain_len(&self) -> usize {
        if self.groups.is_empty() { self.subscribers.len() } else { self.sessions(self.id).len() }
    }

    fn sessions(&self, id: SubscriptionId) -> BTreeSet<SessionId> {
        self.holders(id, |_| true)
    }

    fn holders(&self, id: SubscriptionId, counts: impl Fn(&S) -> bool) -> BTreeSet<SessionId> {
        if let Some(variant) = self.variants.iter().find(|variant| variant.id == id) {
            let counting = variant.subscribers.iter().filter(|(_, handle)| counts(handle));
            return counting.map(|(session, _)| *session).collect();
        }
        let members = self.groups.iter().flat_map(|group| &group.members);
        let counting = self.subscribers.iter().chain(members).filter(|(_, handle, _)| counts(handle));
        counting.map(|(session, ..)| *session).collect()
    }

    fn times_held(&self, id: SubscriptionId, session: SessionId) -> usize {
        if let Some(variant) = self.variants.iter().find(|variant| variant.id == id) {
            return usize::from(variant.subscribers.binary_search_by_key(&session, |(id, _)| *id).is_ok());
        }
        let has =
            |members: &Vec<(SessionId, S, Options)>| members.binary_search_by_key(&session, |(id, ..)| *id).is_ok();
        let groups = self.groups.iter().filter(|group| has(&group.members)).count();
        groups + usize::from(has(&self.subscribers))
    }
}
