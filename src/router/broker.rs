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
use super::shard::{NodeHash, node_of, node_of_key};
use super::stable;
use crate::types::event::{Identifiers, Qos, Terms};
use crate::types::fields::Fields;
use crate::types::ids::{SessionId, SubscriptionId};
use crate::types::topic::{Topic, TopicPattern};

mod meta;
#[cfg(test)]
mod tests;

pub use meta::SubscriptionInfo;

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

/// What the copies of a lane have in common.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// EVENT of this subscription; `with_topic` when a pattern matched, so that the subscriber needs to be told the topic.
    Each { subscription: SubscriptionId, with_topic: bool },
    /// PUBLISH with at most this QoS.
    Merged { qos: Qos, retain_as_published: bool, identifiers: Identifiers },
}

impl Form {
    /// What a subscription with these options gets.
    pub fn of(options: &Options, subscription: SubscriptionId, with_topic: bool) -> Self {
        match options {
            Options::Each => Self::Each { subscription, with_topic },
            Options::Merged { qos, retain_as_published, identifier, .. } => Self::Merged {
                qos: *qos,
                retain_as_published: *retain_as_published,
                identifiers: identifier.iter().copied().collect(),
            },
        }
    }

    /// Overlapping subscriptions of one session give one copy: the highest QoS, all identifiers (MQTT 5, 3.3.4). `Each` has
    /// nothing to be merged with.
    pub fn merge(&mut self, other: Self) {
        if let (
            Self::Merged { qos, retain_as_published, identifiers },
            Self::Merged { qos: more, retain_as_published: too, identifiers: others },
        ) = (self, other)
        {
            *qos = (*qos).max(more);
            *retain_as_published |= too;
            identifiers.extend(others);
        }
    }

    /// The terms of a live copy of an event that was published with `qos` and `retain`.
    pub fn terms(&self, published: Qos, retain: bool) -> Terms {
        match self {
            Self::Each { subscription, with_topic } => {
                Terms { subscription: Some(*subscription), with_topic: *with_topic, ..Terms::default() }
            }
            Self::Merged { qos, retain_as_published, identifiers } => Terms {
                qos: published.min(*qos),
                retain: retain && *retain_as_published,
                identifiers: identifiers.clone(),
                ..Terms::default()
            },
        }
    }
}

/// A subscriber in a lane.
#[derive(Clone, Debug)]
pub struct Member<S> {
    pub session: S,
    /// Does not want what it published itself (MQTT 5, 3.8.3.1).
    pub no_local: bool,
}

/// Subscribers whose copies are the same bytes.
#[derive(Clone, Debug)]
pub struct Lane<S: Subscriber> {
    pub wire: S::Wire,
    pub form: Form,
    /// See [`Subscriber::apart`].
    pub apart: bool,
    /// Only events with these fields are for its members.
    pub filter: Option<Arc<Fields>>,
    /// The node that its members are on.
    pub node: Option<Node>,
    pub members: Vec<Member<S>>,
}

/// One of the nodes among which the resources of a pattern's topics are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// The plain subscription of the pattern.
    pub pattern: SubscriptionId,
    pub hash: NodeHash,
}

/// Names a shared subscription.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupKey {
    pub name: Box<str>,
    pub pattern: TopicPattern,
}

/// A shared subscription: each event goes to one member (MQTT 5, 4.8.2).
#[derive(Clone, Debug)]
pub struct Group<S> {
    pub key: Arc<GroupKey>,
    pub members: Arc<Vec<(S, Form)>>,
    /// Whose turn it is; shared by all routes through this group.
    pub turn: Arc<AtomicUsize>,
}

/// Everybody who gets the events of one topic.
#[derive(Clone, Debug)]
pub struct Route<S: Subscriber> {
    /// The highest QoS that somebody who outlives a connection is subscribed with: events that are published with more than
    /// [`Qos::AtMostOnce`] go to the durable log if this is more, too.
    pub log_qos: Qos,
    pub lanes: Vec<Lane<S>>,
    pub groups: Vec<Group<S>>,
    /// The nodes of all lanes that have one: nearly always none.
    pub nodes: Vec<Node>,
}

impl<S: Subscriber> Route<S> {
    /// Whether an event with this resource key is another node's.
    #[inline]
    pub fn passes_over(&self, lane: &Lane<S>, resource: Option<&str>) -> bool {
        match (lane.node, resource) {
            (Some(node), Some(resource)) => self.owner(node.pattern, resource) != Some(node.hash),
            _ => false,
        }
    }

    fn owner(&self, pattern: SubscriptionId, resource: &str) -> Option<NodeHash> {
        node_of(resource, self.nodes.iter().filter(|node| node.pattern == pattern).map(|node| node.hash))
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

struct RouteBuilder<S: Subscriber> {
    log_qos: Qos,
    lanes: Vec<Lane<S>>,
    merged: HashMap<SessionId, (Member<S>, Form)>,
    groups: Vec<Group<S>>,
}

impl<S: Subscriber> Default for RouteBuilder<S> {
    fn default() -> Self {
        Self { log_qos: Qos::default(), lanes: Vec::new(), merged: HashMap::new(), groups: Vec::new() }
    }
}

impl<S: Subscriber> RouteBuilder<S> {
    fn add(&mut self, pattern: &TopicPattern, subscription: &Subscription<S>) {
        if subscription.wanted > 0 {
            self.log_qos = Qos::ExactlyOnce;
        }
        let members = subscription.groups.iter().flat_map(|group| &group.members);
        for (_, session, options) in subscription.subscribers.iter().chain(members) {
            if let Options::Merged { qos, .. } = options
                && *qos > self.log_qos
                && session.persistent()
            {
                self.log_qos = *qos;
            }
        }
        let with_topic = pattern.exact_name().is_none();
        // Lanes of this subscription begin here: an `Each` lane never holds subscribers of two subscriptions.
        let first = self.lanes.len();
        for (_, session, options) in subscription.subscribers.iter().filter(|(_, session, _)| !session.away()) {
            match options {
                Options::Each => {
                    let form = Form::Each { subscription: subscription.id, with_topic };
                    let member = Member { session: session.clone(), no_local: false };
                    place(&mut self.lanes, first, member, form, None, None);
                }
                Options::Merged { no_local, .. } => {
                    self.merge(session, *no_local, Form::of(options, subscription.id, with_topic));
                }
            }
        }
        for VariantSubscription { id, variant, subscribers, .. } in &subscription.variants {
            for (_, session) in subscribers.iter().filter(|(_, session)| !session.away()) {
                let form = Form::Each { subscription: *id, with_topic };
                let member = Member { session: session.clone(), no_local: false };
                let node = variant.node_key.as_deref().map(node_of_key);
                let node = node.map(|hash| Node { pattern: subscription.id, hash });
                place(&mut self.lanes, first, member, form, variant.filter.as_ref(), node);
            }
        }
        for group in &subscription.groups {
            let members =
                group.members.iter().map(|(_, s, o)| (s.clone(), Form::of(o, subscription.id, true))).collect();
            let (key, turn) = (group.key.clone(), group.turn.clone());
            self.groups.push(Group { key, members: Arc::new(members), turn });
        }
    }

    /// Adds to the one copy that a session gets. Its own publications are kept from it only if every matching subscription says
    /// so.
    fn merge(&mut self, session: &S, no_local: bool, form: Form) {
        match self.merged.get_mut(&session.id()) {
            Some((member, known)) => {
                member.no_local &= no_local;
                known.merge(form);
            }
            None => {
                self.merged.insert(session.id(), (Member { session: session.clone(), no_local }, form));
            }
        }
    }

    fn finish(mut self) -> Route<S> {
        let first = self.lanes.len();
        for (_, (member, form)) in self.merged {
            place(&mut self.lanes, first, member, form, None, None);
        }
        let nodes = self.lanes.iter().filter_map(|lane| lane.node).collect();
        Route { log_qos: self.log_qos, lanes: self.lanes, groups: self.groups, nodes }
    }
}

/// Puts a member into the lane (from `first` on) of its wire and form.
fn place<S: Subscriber>(
    lanes: &mut Vec<Lane<S>>,
    first: usize,
    member: Member<S>,
    form: Form,
    filter: Option<&Arc<Fields>>,
    node: Option<Node>,
) {
    let (wire, apart) = (member.session.wire(), member.session.apart());
    match lanes[first..].iter_mut().find(|l| l.wire == wire && l.apart == apart && l.form == form) {
        Some(lane) => lane.members.push(member),
        None => lanes.push(Lane { wire, form, apart, filter: filter.cloned(), node, members: vec![member] }),
    }
}
