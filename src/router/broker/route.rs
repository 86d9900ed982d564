//! The route of a topic: who gets its events, and in which form.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::{Options, Subscriber, Subscription, VariantSubscription};
use crate::router::shard::{NodeHash, node_of, node_of_key};
use crate::types::event::{Identifiers, Qos, Terms};
use crate::types::fields::Fields;
use crate::types::ids::{SessionId, SubscriptionId};
use crate::types::topic::TopicPattern;

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

/// A route that is put together, pattern by pattern.
pub(super) struct RouteBuilder<S: Subscriber> {
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
    pub fn add(&mut self, pattern: &TopicPattern, subscription: &Subscription<S>) {
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

    pub fn finish(mut self) -> Route<S> {
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
