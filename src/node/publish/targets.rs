//! What a connection remembers of the topics that it publishes to.

use std::collections::HashMap;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

use crate::node::realm::{Realm, SharedRoute};
use crate::router::authorize::{Action, Rights, Verdict};
use crate::router::interest::Reached;
use crate::router::rules::{Disclosure, Ruled};
use crate::types::event::Properties;
use crate::types::payload::Codec;
use crate::types::topic::Topic;

/// Topics whose routes a connection remembers.
pub(super) const TARGETS_MAX: usize = 512;

/// The topics of a connection; when they are too many, all are forgotten.
#[derive(Default)]
pub(super) struct Targets {
    all: Vec<Target>,
    by_name: HashMap<Box<[u8]>, usize>,
    /// That of the publication before: most publishers stay with one.
    last: usize,
}

/// A place in a publisher's cache of topics; good until the next [`Publisher::look_up`](super::Publisher::look_up).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetId(pub(super) usize);

pub(super) struct Target {
    /// The topic as this connection writes it.
    pub name: Box<[u8]>,
    pub topic: Arc<Topic>,
    pub codec: Codec,
    pub may_publish: Verdict,
    /// What the configuration has to say of the topic: nothing of most.
    pub rules: Option<Arc<TopicRules>>,
    pub durable: Durable,
    /// Which of the connection's logged messages was the last to this topic.
    pub logged: u64,
    pub route: SharedRoute,
    /// Other entries that want its events; as old as the route.
    pub reached: Arc<Reached>,
    pub version: u64,
}

/// What the configuration says of publications of one connection to one topic.
pub(super) struct TopicRules {
    pub disclosure: Disclosure,
    /// Of what comes without properties: the trust level alone.
    trusted: Option<Arc<Properties>>,
}

impl TopicRules {
    /// `None`: nothing but what holds anyway.
    pub fn of(ruled: Ruled) -> Option<Arc<Self>> {
        let trusted = ruled.trust.map(|trust| Arc::new(Properties { trust: Some(trust), ..Properties::default() }));
        (ruled != Ruled::default()).then(|| Arc::new(Self { disclosure: ruled.disclosure, trusted }))
    }

    /// The properties of a publication, if there is a trust level to add.
    pub fn properties(&self, properties: Option<&Arc<Properties>>) -> Option<Arc<Properties>> {
        let trusted = self.trusted.as_ref()?;
        Some(match properties {
            None => trusted.clone(),
            Some(properties) => Arc::new(Properties { trust: trusted.trust, ..(**properties).clone() }),
        })
    }
}

/// Which events of a topic go through the log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Durable {
    /// None: the topic is the broker's own ([`Topic::is_reserved`]), and what it says there it says anew.
    Never,
    /// Those that change a retained value, and those that somebody wants who may be away.
    Wanted,
    /// All: the configuration says so.
    Always,
}

impl Targets {
    /// The place of a topic, if it is remembered.
    pub fn find(&mut self, name: &[u8]) -> Option<usize> {
        if self.all.get(self.last).is_none_or(|target| *target.name != *name) {
            self.last = *self.by_name.get(name)?;
        }
        Some(self.last)
    }

    /// A topic, if it is remembered.
    pub fn peek(&self, name: &[u8]) -> Option<&Target> {
        let last = self.all.get(self.last).filter(|target| *target.name == *name);
        last.or_else(|| self.by_name.get(name).map(|at| &self.all[*at]))
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn is_full(&self) -> bool {
        self.len() >= TARGETS_MAX
    }

    pub fn clear(&mut self) {
        self.all.clear();
        self.by_name.clear();
    }

    /// Remembers a topic.
    pub fn add(&mut self, target: Target) -> usize {
        self.last = self.all.len();
        self.by_name.insert(target.name.clone(), self.last);
        self.all.push(target);
        self.last
    }
}

impl Index<usize> for Targets {
    type Output = Target;

    fn index(&self, at: usize) -> &Target {
        &self.all[at]
    }
}

impl IndexMut<usize> for Targets {
    fn index_mut(&mut self, at: usize) -> &mut Target {
        &mut self.all[at]
    }
}

impl Target {
    /// `name`: the topic as the connection writes it. `rights`: those of the publisher; `None`: it may publish anywhere.
    pub fn new(realm: &Realm, rights: Option<&Rights>, name: &[u8], topic: Arc<Topic>, logged: u64) -> Self {
        let (route, version) = realm.route(&topic);
        Target {
            name: name.into(),
            codec: realm.codec(&topic),
            may_publish: rights.map_or(Verdict::Yes, |rights| rights.judge_for_long(Action::Publish, &topic)),
            rules: None,
            durable: match realm.is_durable(&topic) {
                true => Durable::Always,
                false if topic.is_reserved() => Durable::Never,
                false => Durable::Wanted,
            },
            logged,
            route,
            reached: realm.reached(&topic),
            version,
            topic,
        }
    }

    /// Looks the route up again.
    pub fn refresh(&mut self, realm: &Realm) {
        (self.route, self.version) = realm.route(&self.topic);
        self.reached = realm.reached(&self.topic);
    }
}
