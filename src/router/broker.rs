//! Who is subscribed to what, and the route of a topic.
//!
//! ```text
//! subscribe / unsubscribe --> Broker (index of patterns -> subscriptions) --route(topic)--> Route (immutable, cached by publishers)
//! ```
//!
//! A WAMP subscriber gets one event for each of its matching subscriptions, an MQTT subscriber one merged copy for all of them
//! (MQTT 5, 3.3.4). A [`Route`] holds subscribers whose copies are byte for byte the same in one [`Lane`], so that a copy is
//! encoded once for all of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::index::Index;
use super::interest::Wanted;
use super::stable;
use crate::types::event::Qos;
use crate::types::fields::Fields;
use crate::types::ids::{SessionId, SubscriptionId};
use crate::types::topic::{Topic, TopicPattern};

mod meta;
mod route;
#[cfg(test)]
mod tests;

pub use meta::SubscriptionInfo;
use route::RouteBuilder;
pub use route::{Form, Group, GroupKey, Lane, Member, Node, Route};

/// What the router must know of a session that subscribes.
pub trait Subscriber: Clone {
    /// Names an encoding: copies for equal wires are equal bytes.
    type Wire: Copy + PartialEq + std::fmt::Debug;

    fn id(&self) -> SessionId;
    fn wire(&self) -> Self::Wire;
    /// Copies for this session are unlike anybody else's (it has topic aliases, say) and are encoded one by one.
    fn apart(&self) -> bool;
    /// It outlives its connection: what it is owed has to be in the durable log.
    fn persistent(&self) -> bool;
    /// Nothing is to be offered to it at the moment: it has no connection, and will read in the log what it missed.
    fn away(&self) -> bool;
    /// It has its connection at another entry of the cluster, or had it there last: that one sees to it.
    fn mirrored(&self) -> bool {
        false
    }
}

/// How a subscriber wants its events.
#[derive(Clone, Debug, PartialEq)]
pub enum Options {
    /// One event per subscription, with the subscription's id (WAMP).
    Each,
    /// One merged copy per session (MQTT).
    Merged { qos: Qos, no_local: bool, retain_as_published: bool, identifier: Option<u32> },
}

/// What makes a subscription another one than the plain one of its pattern, with an id of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Variant {
    /// Only events whose data have these fields.
    pub filter: Option<Arc<Fields>>,
    /// Name of the durable subscription that it is.
    pub name: Option<Arc<str>>,
    /// The node that its subscribers are on: of the events with a resource key it gets those of its own (WAMP, Sharded Subscription).
    pub node_key: Option<Arc<str>>,
}

impl Options {
    /// Its identifier (MQTT 5, 3.8.2.1.2).
    pub fn identifier(&self) -> Option<u32> {
        match self {
            Self::Merged { identifier, .. } => *identifier,
            Self::Each => None,
        }
    }
}

impl Variant {
    /// It is the plain one.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// The id that it has in a cluster with this pattern, unless that is `taken`.
    fn shared_id(&self, pattern: &TopicPattern, taken: impl Fn(u64) -> bool) -> u64 {
        let filter = self.filter.as_ref().map(|filter| filter.text());
        let texts =
            [filter.as_deref(), self.name.as_deref().map(str::as_bytes), self.node_key.as_deref().map(str::as_bytes)];
        let mut parts: Vec<&[u8]> = Vec::new();
        for (kind, text) in [b"filter", b"name  ", b"node  "].into_iter().zip(texts) {
            parts.extend(text.map(|text| [kind.as_slice(), text]).into_iter().flatten());
        }
        stable::id(pattern, &parts, taken)
    }
}

/// What a SUBSCRIBE found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribed {
    pub id: SubscriptionId,
    /// This session had the subscription already; its options were replaced.
    pub existed: bool,
    /// Nobody had it before.
    pub created: bool,
}

/// What an UNSUBSCRIBE removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribed {
    pub id: SubscriptionId,
    /// Nobody has it any more.
    pub deleted: bool,
}

/// The publish-subscribe half of a realm's router.
pub struct Broker<S: Subscriber> {
    index: Index<Subscription<S>>,
    by_id: HashMap<SubscriptionId, TopicPattern>,
    /// Of subscriptions that are not plain.
    variants: HashMap<SubscriptionId, Variant>,
    /// Subscriptions to the past alone.
    past: HashSet<SubscriptionId>,
    last_id: u64,
    version: u64,
    /// The time, as far as it is told what of subscriptions: set by who locks the broker.
    pub now_ms: u64,
    /// Patterns whose subscribers have changed; `None`: nobody asks.
    changed: Option<HashSet<TopicPattern>>,
}

struct Subscription<S> {
    id: SubscriptionId,
    /// When the first of those came who have it.
    created_ms: u64,
    /// How many that are nobody's want its events in the durable log ([`Broker::want`]).
    wanted: usize,
    /// Sorted by session.
    subscribers: Vec<(SessionId, S, Options)>,
    groups: Vec<SharedGroup<S>>,
    variants: Vec<VariantSubscription<S>>,
}

/// A subscription to the same pattern with an id of its own; each of its subscribers gets an event of its own.
struct VariantSubscription<S> {
    id: SubscriptionId,
    created_ms: u64,
    variant: Variant,
    /// Sorted by session.
    subscribers: Vec<(SessionId, S)>,
}

struct SharedGroup<S> {
    key: Arc<GroupKey>,
    /// Sorted by session.
    members: Vec<(SessionId, S, Options)>,
    turn: Arc<AtomicUsize>,
}

impl<S: Subscriber> Default for Broker<S> {
    fn default() -> Self {
        Self {
            index: Index::default(),
            by_id: HashMap::new(),
            variants: HashMap::new(),
            past: HashSet::new(),
            last_id: 0,
            version: 0,
            now_ms: 0,
            changed: None,
        }
    }
}

impl<S: Subscriber> Broker<S> {
    /// Counts the changes: a route taken at one version is good until the next.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Makes every cached route stale, because something outside changed what routes depend on: a session's wire, a permission.
    pub fn touch(&mut self) {
        self.version += 1;
    }

    /// This is one of several entries. Changes are noted from now on, for [`Broker::take_changed`]; all that there are so far are.
    /// New subscriptions have ids that are the same at all entries.
    pub fn watch(&mut self) {
        if self.changed.is_none() {
            self.changed = Some(self.by_id.values().cloned().collect());
        }
    }

    /// Notes that the subscribers of a pattern are others.
    pub fn note_change(&mut self, pattern: &TopicPattern) {
        if let Some(changed) = &mut self.changed
            && !changed.contains(pattern)
        {
            changed.insert(pattern.clone());
        }
    }

    /// Some changes were noted.
    pub fn has_changed(&self) -> bool {
        self.changed.as_ref().is_some_and(|changed| !changed.is_empty())
    }

    /// Patterns whose subscribers have changed since this was asked last.
    pub fn take_changed(&mut self) -> HashSet<TopicPattern> {
        self.changed.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// What is wanted of a pattern by sessions of this entry.
    pub fn wanted_here(&self, pattern: &TopicPattern) -> Wanted {
        let Some(subscription) = self.index.get(pattern) else { return Wanted::default() };
        let variants = subscription.variants.iter().flat_map(|variant| &variant.subscribers);
        let plain = subscription.subscribers.iter().any(|(_, session, _)| !session.mirrored())
            || variants.into_iter().any(|(_, session)| !session.mirrored());
        let present = |group: &&SharedGroup<S>| group.members.iter().any(|(_, session, _)| !session.mirrored());
        let groups = subscription.groups.iter().filter(present).map(|group| group.key.name.clone()).collect();
        Wanted { plain, groups }
    }

    /// Number of subscriptions (patterns with at least one subscriber).
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The pattern of a subscription.
    pub fn pattern(&self, id: SubscriptionId) -> Option<&TopicPattern> {
        self.by_id.get(&id)
    }

    /// Subscribes a session, alone or as a member of a shared group. A repeated subscription replaces the options.
    pub fn subscribe(
        &mut self,
        pattern: &TopicPattern,
        group: Option<&str>,
        session: S,
        options: Options,
    ) -> Subscribed {
        let now_ms = self.now_ms;
        let subscription = self.subscription(pattern);
        let created = !subscription.has_plain();
        if created {
            subscription.created_ms = now_ms;
        }
        let members = match group {
            None => &mut subscription.subscribers,
            Some(name) => subscription.group(name, pattern),
        };
        let key = session.id();
        let existed = match members.binary_search_by_key(&key, |m| m.0) {
            Ok(at) => {
                members[at] = (key, session, options);
                true
            }
            Err(at) => {
                members.insert(at, (key, session, options));
                false
            }
        };
        Subscribed { id: subscription.id, existed, created }
    }

    /// The subscription of a pattern, made now if there is none.
    fn subscription(&mut self, pattern: &TopicPattern) -> &mut Subscription<S> {
        self.version += 1;
        self.note_change(pattern);
        let (last_id, by_id, shared) = (&mut self.last_id, &mut self.by_id, self.changed.is_some());
        self.index.get_or_insert_with(pattern, || {
            let id = new_id(last_id, by_id, shared.then_some((pattern, &Variant::default())));
            by_id.insert(id, pattern.clone());
            Subscription {
                id,
                created_ms: 0,
                wanted: 0,
                subscribers: Vec::new(),
                groups: Vec::new(),
                variants: Vec::new(),
            }
        })
    }

    /// Subscribes a session to a variant of a pattern, for events of its own.
    pub fn subscribe_variant(&mut self, pattern: &TopicPattern, variant: &Variant, session: S) -> Subscribed {
        if variant.is_plain() {
            return self.subscribe(pattern, None, session, Options::Each);
        }
        // A subscription that the pattern itself need not have.
        let subscription = self.subscription(pattern);
        let known = subscription.variants.iter().position(|known| known.variant == *variant);
        let created = known.is_none();
        let at = known.unwrap_or(subscription.variants.len());
        if created {
            let shared = self.changed.is_some().then_some((pattern, variant));
            let id = new_id(&mut self.last_id, &self.by_id, shared);
            self.by_id.insert(id, pattern.clone());
            self.variants.insert(id, variant.clone());
            let (created_ms, variant) = (self.now_ms, variant.clone());
            let made = VariantSubscription { id, created_ms, variant, subscribers: Vec::new() };
            self.subscription(pattern).variants.push(made);
        }
        let found = &mut self.subscription(pattern).variants[at];
        let key = session.id();
        let existed = match found.subscribers.binary_search_by_key(&key, |(id, _)| *id) {
            Ok(at) => {
                found.subscribers[at] = (key, session);
                true
            }
            Err(at) => {
                found.subscribers.insert(at, (key, session));
                false
            }
        };
        Subscribed { id: found.id, existed, created }
    }

    /// An id for a subscription of one session that gets no events from here, only what the session reads of the past.
    pub fn subscribe_past(&mut self, pattern: &TopicPattern, variant: &Variant) -> SubscriptionId {
        let id = new_id(&mut self.last_id, &self.by_id, None);
        self.by_id.insert(id, pattern.clone());
        self.past.insert(id);
        if !variant.is_plain() {
            self.variants.insert(id, variant.clone());
        }
        id
    }

    /// The members of a shared subscription, and how they want its events.
    pub fn share_members(&self, key: &GroupKey) -> Vec<(S, Options)> {
        let groups = self.index.get(&key.pattern).map(|subscription| &subscription.groups);
        let group = groups.and_then(|groups| groups.iter().find(|group| group.key.name == key.name));
        let members = group.map(|group| &group.members).into_iter().flatten();
        members.map(|(_, session, options)| (session.clone(), options.clone())).collect()
    }

    /// What a subscription is a variant by; the default for a plain one.
    pub fn variant(&self, id: SubscriptionId) -> Variant {
        self.variants.get(&id).cloned().unwrap_or_default()
    }

    /// Removes a session's subscription for events of its own; `None` if it had none.
    pub fn unsubscribe_id(&mut self, id: SubscriptionId, session: SessionId) -> Option<Unsubscribed> {
        if self.past.remove(&id) {
            self.by_id.remove(&id);
            self.variants.remove(&id);
            return Some(Unsubscribed { id, deleted: true });
        }
        let pattern = self.by_id.get(&id)?.clone();
        if !self.variants.contains_key(&id) {
            return self.unsubscribe(&pattern, None, session);
        }
        let subscription = self.index.get_mut(&pattern)?;
        let at = subscription.variants.iter().position(|variant| variant.id == id)?;
        let subscribers = &mut subscription.variants[at].subscribers;
        subscribers.remove(subscribers.binary_search_by_key(&session, |(id, _)| *id).ok()?);
        let deleted = subscribers.is_empty();
        if deleted {
            subscription.variants.remove(at);
            let (plain, is_empty) = (subscription.id, subscription.is_empty());
            self.by_id.remove(&id);
            self.variants.remove(&id);
            if is_empty {
                self.index.remove(&pattern);
                self.by_id.remove(&plain);
            }
        }
        self.version += 1;
        self.note_change(&pattern);
        Some(Unsubscribed { id, deleted })
    }

    /// A named durable subscription wants the events of a pattern in the durable log, whether or not anybody is there.
    pub fn want(&mut self, pattern: &TopicPattern) {
        self.subscription(pattern).wanted += 1;
    }

    /// Undoes one [`Broker::want`].
    pub fn unwant(&mut self, pattern: &TopicPattern) {
        let Some(subscription) = self.index.get_mut(pattern) else { return };
        subscription.wanted = subscription.wanted.saturating_sub(1);
        let id = subscription.id;
        if subscription.is_empty() {
            self.index.remove(pattern);
            self.by_id.remove(&id);
        }
        self.version += 1;
    }

    /// Removes a session's subscription; `None` if it had none.
    pub fn unsubscribe(
        &mut self,
        pattern: &TopicPattern,
        group: Option<&str>,
        session: SessionId,
    ) -> Option<Unsubscribed> {
        let subscription = self.index.get_mut(pattern)?;
        let members = match group {
            None => &mut subscription.subscribers,
            Some(name) => &mut subscription.groups.iter_mut().find(|g| &*g.key.name == name)?.members,
        };
        let at = members.binary_search_by_key(&session, |m| m.0).ok()?;
        members.remove(at);
        subscription.groups.retain(|g| !g.members.is_empty());
        let id = subscription.id;
        let deleted = !subscription.has_plain();
        if subscription.is_empty() {
            self.index.remove(pattern);
            self.by_id.remove(&id);
        }
        self.version += 1;
        self.note_change(pattern);
        Some(Unsubscribed { id, deleted })
    }

    /// Everybody who gets the events of `topic`.
    pub fn route(&self, topic: &Topic) -> Route<S> {
        let mut route = RouteBuilder::default();
        let is_meta = topic.is_meta();
        self.index.matches(topic, |pattern, subscription| {
            if !is_meta || !pattern.passes_hidden_by() {
                route.add(pattern, subscription);
            }
        });
        route.finish()
    }
}

/// An id that is free; what is `shared` with other entries gets there the same.
fn new_id(
    last_id: &mut u64,
    by_id: &HashMap<SubscriptionId, TopicPattern>,
    shared: Option<(&TopicPattern, &Variant)>,
) -> SubscriptionId {
    let taken = |id| by_id.contains_key(&SubscriptionId(id));
    if let Some((pattern, variant)) = shared {
        return SubscriptionId(variant.shared_id(pattern, taken));
    }
    *last_id += 1;
    while taken(*last_id) {
        *last_id += 1;
    }
    SubscriptionId(*last_id)
}

impl<S> Subscription<S> {
    fn is_empty(&self) -> bool {
        self.subscribers.is_empty() && self.groups.is_empty() && self.variants.is_empty() && self.wanted == 0
    }

    fn group(&mut self, name: &str, pattern: &TopicPattern) -> &mut Vec<(SessionId, S, Options)> {
        let at = self.groups.iter().position(|g| &*g.key.name == name).unwrap_or_else(|| {
            let key = Arc::new(GroupKey { name: name.into(), pattern: pattern.clone() });
            self.groups.push(SharedGroup { key, members: Vec::new(), turn: Arc::default() });
            self.groups.len() - 1
        });
        &mut self.groups[at].members
    }
}
