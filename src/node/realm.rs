//! One realm: its router, the locks around it, its sessions and retained values.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::clients::Clients;
use super::durables::Durables;
use super::groups::Groups;
use super::house::Bell;
use super::link::End;
use super::mailbox::Mailbox;
use super::peers::Peers;
use super::session::Session;
use super::wire::WireRef;
use crate::delivery::replay::{Fetched, Source};
use crate::router::authorize::{Action, Authorizer, RoleId, covers};
use crate::router::broker::{Broker, GroupKey, Options, Route, Subscribed, Unsubscribed, Variant};
use crate::router::dealer::{Dealer, Offer, is_reserved};
use crate::router::interest::{PeerId, Reach, Reached, Wanted};
use crate::router::retained::{Retained, Walk};
use crate::types::event::{StoredEvent, Terms};
use crate::types::fields::Fields;
use crate::types::ids::{SessionId, SubscriptionId};
use crate::types::limits::{CallLimits, Limits};
use crate::types::payload::Codec;
use crate::types::topic::{Topic, TopicPattern};

/// The route of a topic, as publishers cache it.
pub type SharedRoute = Arc<Route<Arc<Session>>>;

/// Retained values that a subscription is given at a time, and topics that are looked at for them: so long others wait who want
/// to change one.
const SLICE_EVENTS: usize = 64;
const SLICE_TOPICS_MAX: usize = 1000;
/// Retained topics that one tick looks at to find expired ones.
const SWEEP_TOPICS_MAX: usize = 2000;

/// See the module. Lock order: clients, broker or dealer, a session's mailbox, retained.
pub struct Realm {
    pub name: Arc<str>,
    pub authorizer: Authorizer,
    /// First match counts; else [`Codec::Auto`].
    pub codecs: Vec<(TopicPattern, Codec)>,
    /// Events of topics that these match are in the durable log, all of them.
    pub durable: Vec<TopicPattern>,
    /// `*` in a WAMP pattern stands for one component (realm option).
    pub star_is_wildcard: bool,
    broker: RwLock<Broker<Arc<Session>>>,
    /// Mirrors the broker's version, so that publishers see without a lock whether their routes are good.
    version: AtomicU64,
    pub dealer: Mutex<Dealer<Arc<Session>>>,
    retained: RwLock<Retained<Arc<StoredEvent>>>,
    /// Topics that were cleared while the values that the store has are being read; `None`: they are read.
    cleared: Mutex<Option<HashSet<Box<str>>>>,
    /// The walk that removes expired values, while one is under way.
    sweep: Mutex<Option<Walk>>,
    /// A value that expires was set, or met by the sweep.
    may_expire: AtomicBool,
    retained_messages_max: usize,
    retained_bytes_max: usize,
    sessions: Mutex<HashMap<SessionId, Arc<Session>>>,
    pub clients: Clients,
    /// Consumer groups whose events are in the log.
    pub groups: Groups,
    /// Named durable subscriptions.
    pub(super) durables: Durables,
    /// Rung when keys change that somebody watches.
    pub(super) bell: Bell,
    /// Keys that are held, by name.
    holders: Mutex<HashMap<Box<str>, SessionId>>,
    /// The other entries of the cluster.
    pub(super) peers: Arc<Peers>,
    /// What they want of what is published here; what is changed here must make the routes stale.
    reach: RwLock<Reach>,
}

impl Realm {
    pub fn new(
        name: &str,
        authorizer: Authorizer,
        codecs: Vec<(TopicPattern, Codec)>,
        limits: &Limits,
        seed: u64,
    ) -> Self {
        let calls = CallLimits {
            registrations_per_session_max: limits.registrations_per_session_max,
            calls_per_session_max: limits.calls_pending_per_session_max,
            ..CallLimits::default()
        };
        Self {
            name: name.into(),
            authorizer,
            codecs,
            durable: Vec::new(),
            star_is_wildcard: false,
            broker: RwLock::default(),
            version: AtomicU64::new(0),
            dealer: Mutex::new(Dealer::new(calls, seed)),
            retained: RwLock::new(Retained::new()),
            cleared: Mutex::default(),
            sweep: Mutex::default(),
            may_expire: AtomicBool::new(false),
            retained_messages_max: limits.retained_messages_max,
            retained_bytes_max: usize::try_from(limits.retained_bytes_max).unwrap_or(usize::MAX),
            sessions: Mutex::default(),
            clients: Clients::default(),
            groups: Groups::default(),
            durables: Durables::default(),
            bell: Bell::default(),
            holders: Mutex::default(),
            peers: Arc::default(),
            reach: RwLock::default(),
        }
    }

    /// A route from before this number has to be looked up again.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Everybody who gets the events of `topic`, and the version for which this is true.
    pub fn route(&self, topic: &Topic) -> (SharedRoute, u64) {
        let broker = self.broker.read();
        (Arc::new(broker.route(topic)), broker.version())
    }

    /// The other entries that want the events of `topic`. Asked behind [`Realm::route`], it is as good as that.
    pub(super) fn reached(&self, topic: &Topic) -> Arc<Reached> {
        Arc::new(self.reach.read().of(topic))
    }

    /// Another entry begins or ends to want what these patterns match, for all who are subscribed there or for a group.
    pub fn set_reach<'a>(
        &self,
        peer: PeerId,
        wanted: bool,
        patterns: impl IntoIterator<Item = (&'a TopicPattern, Option<&'a str>)>,
    ) {
        let mut reach = self.reach.write();
        patterns.into_iter().for_each(|(pattern, group)| reach.set(peer, pattern, group, wanted));
        drop(reach);
        self.reach_has_changed();
    }

    /// Another entry begins or ends to want everything.
    pub(super) fn set_reach_everything(&self, peer: PeerId, wanted: bool) {
        self.reach.write().set_everything(peer, wanted);
        self.reach_has_changed();
    }

    fn reach_has_changed(&self) {
        let mut broker = self.broker.write();
        broker.touch();
        self.changed(&broker);
    }

    /// Has it noted from now on which patterns are subscribed to.
    pub(super) fn watch_interest(&self) {
        let mut broker = self.broker.write();
        broker.watch();
        self.changed(&broker);
    }

    /// The sessions that are subscribed to these have come from another entry, or gone there.
    pub(super) fn note_interest<'a>(&self, patterns: impl IntoIterator<Item = &'a TopicPattern>) {
        let mut broker = self.broker.write();
        patterns.into_iter().for_each(|pattern| broker.note_change(pattern));
        self.changed(&broker);
    }

    /// Patterns that were subscribed to or are not any more, and who wants them here now.
    pub fn take_interest(&self) -> Vec<(TopicPattern, Wanted)> {
        let has_changed = self.broker.read().has_changed();
        if !has_changed {
            return Vec::new();
        }
        let changed = self.broker.write().take_changed();
        let now = |pattern: TopicPattern| {
            let wanted = self.broker.read().wanted_here(&pattern);
            (pattern, wanted)
        };
        changed.into_iter().map(now).collect()
    }

    /// Patterns that somebody has registered or unregistered here, and what other entries are told of them now.
    pub fn take_offers(&self) -> Vec<(TopicPattern, Vec<Offer>)> {
        let mut dealer = self.dealer.lock();
        if dealer.has_changed() { dealer.take_changed() } else { Vec::new() }
    }

    /// The broker has changed, and publishers are to see it.
    fn changed(&self, broker: &Broker<Arc<Session>>) {
        self.version.store(broker.version(), Ordering::Release);
        if broker.has_changed() {
            self.peers.note_change();
        }
    }

    /// The codec configured for a topic.
    pub fn codec(&self, topic: &Topic) -> Codec {
        let found = self.codecs.iter().find(|(pattern, _)| pattern.matches(topic));
        found.map(|(_, codec)| *codec).unwrap_or_default()
    }

    /// Number of subscriptions.
    pub fn subscriptions_len(&self) -> usize {
        self.broker.read().len()
    }

    /// The pattern behind a subscription id.
    pub fn pattern(&self, id: SubscriptionId) -> Option<TopicPattern> {
        self.broker.read().pattern(id).cloned()
    }

    /// Subscribes. `reply` is called with the mailbox locked and before any event can be routed to the new subscription, so that
    /// SUBSCRIBED precedes them (WAMP, Publish and Subscribe; MQTT allows either).
    pub fn subscribe(
        &self,
        session: &Arc<Session>,
        pattern: &TopicPattern,
        group: Option<&str>,
        options: Options,
        reply: impl FnOnce(Subscribed, &mut Mailbox),
    ) -> Subscribed {
        let each = options == Options::Each;
        let mut broker = self.broker.write();
        let subscribed = broker.subscribe(pattern, group, session.clone(), options);
        let mut mailbox = session.mailbox();
        if each {
            mailbox.subscriptions.insert(subscribed.id);
        }
        reply(subscribed, &mut mailbox);
        self.changed(&broker);
        subscribed
    }

    /// Unsubscribes. `reply` is called with the mailbox locked; no event of the subscription follows what it appends.
    pub fn unsubscribe(
        &self,
        session: &Arc<Session>,
        pattern: &TopicPattern,
        group: Option<&str>,
        reply: impl FnOnce(Option<Unsubscribed>, &mut Mailbox),
    ) -> Option<Unsubscribed> {
        let mut broker = self.broker.write();
        let removed = broker.unsubscribe(pattern, group, session.id);
        self.changed(&broker);
        let mut mailbox = session.mailbox();
        if let Some(removed) = removed {
            mailbox.subscriptions.remove(&removed.id);
            mailbox.unsubscribed_at = broker.version();
            mailbox.replay.forget(removed.id);
        }
        reply(removed, &mut mailbox);
        removed
    }

    /// Subscribes to a variant of a pattern, for events of its own; see [`Realm::subscribe`].
    pub fn subscribe_variant(
        &self,
        session: &Arc<Session>,
        pattern: &TopicPattern,
        variant: &Variant,
        reply: impl FnOnce(Subscribed, &mut Mailbox),
    ) -> Subscribed {
        let mut broker = self.broker.write();
        let subscribed = broker.subscribe_variant(pattern, variant, session.clone());
        let mut mailbox = session.mailbox();
        mailbox.subscriptions.insert(subscribed.id);
        reply(subscribed, &mut mailbox);
        self.changed(&broker);
        subscribed
    }

    /// Subscribes to the past of a pattern: what is published from now on is not for this subscription.
    pub fn subscribe_past(
        &self,
        session: &Arc<Session>,
        pattern: &TopicPattern,
        variant: &Variant,
        reply: impl FnOnce(SubscriptionId, &mut Mailbox),
    ) -> SubscriptionId {
        let mut broker = self.broker.write();
        let id = broker.subscribe_past(pattern, variant);
        let mut mailbox = session.mailbox();
        mailbox.subscriptions.insert(id);
        reply(id, &mut mailbox);
        id
    }

    /// Ends a subscription for events of its own by its id; see [`Realm::unsubscribe`].
    pub fn unsubscribe_id(
        &self,
        session: &Arc<Session>,
        id: SubscriptionId,
        reply: impl FnOnce(Option<Unsubscribed>, &mut Mailbox),
    ) -> Option<Unsubscribed> {
        let mut broker = self.broker.write();
        let removed = broker.unsubscribe_id(id, session.id);
        self.changed(&broker);
        let mut mailbox = session.mailbox();
        if removed.is_some() {
            mailbox.subscriptions.remove(&id);
            mailbox.unsubscribed_at = broker.version();
            mailbox.replay.forget(id);
            mailbox.stop_reader(id);
        }
        reply(removed, &mut mailbox);
        removed
    }

    /// Ends many such subscriptions of a session that ends.
    pub fn unsubscribe_ids(&self, session: SessionId, ids: impl IntoIterator<Item = SubscriptionId>) {
        let mut broker = self.broker.write();
        for id in ids {
            broker.unsubscribe_id(id, session);
        }
        self.changed(&broker);
    }

    /// The members of a shared subscription, and how they want its events.
    pub(super) fn share_members(&self, key: &GroupKey) -> Vec<(Arc<Session>, Options)> {
        self.broker.read().share_members(key)
    }

    /// What a subscription is a variant by.
    pub fn variant(&self, id: SubscriptionId) -> Variant {
        self.broker.read().variant(id)
    }

    /// Begins or ends to have the events of a pattern in the log, whoever is subscribed.
    pub(super) fn want(&self, pattern: &TopicPattern, wanted: bool) {
        let mut broker = self.broker.write();
        if wanted {
            broker.want(pattern);
        } else {
            broker.unwant(pattern);
        }
        self.changed(&broker);
    }

    /// Removes many subscriptions of a session that ends.
    pub fn unsubscribe_all<'a>(
        &self,
        session: SessionId,
        all: impl Iterator<Item = (&'a TopicPattern, Option<&'a str>)>,
    ) {
        let mut broker = self.broker.write();
        for (pattern, group) in all {
            broker.unsubscribe(pattern, group, session);
        }
        self.changed(&broker);
    }

    /// Makes every cached route stale, because a session's encoding changed.
    pub fn set_wire(&self, session: &Session, wire: WireRef, apart: bool) {
        if session.set_wire(wire, apart) {
            let mut broker = self.broker.write();
            broker.touch();
            self.changed(&broker);
        }
    }

    /// Says whether a session that reads the log is away: nothing is offered to it then. To be called when it lost its connection,
    /// and behind the attaching of a new one, before that refills. Does nothing for other sessions.
    pub fn set_away(&self, session: &Session, away: bool) {
        let away = away && session.mailbox().reads_log();
        if session.away.swap(away, Ordering::AcqRel) != away {
            let mut broker = self.broker.write();
            broker.touch();
            self.changed(&broker);
        }
    }

    /// A session has its connection at another entry: nothing is offered to it here.
    pub fn set_mirrored(&self, session: &Session) {
        session.away.store(true, Ordering::Release);
        session.mirrored.store(true, Ordering::Release);
        let mut broker = self.broker.write();
        broker.touch();
        self.changed(&broker);
    }

    /// Whether the configuration wants all events of the topic in the durable log.
    pub fn is_durable(&self, topic: &Topic) -> bool {
        !topic.is_reserved() && self.durable.iter().any(|pattern| pattern.matches(topic))
    }

    /// The same of all topics that a pattern matches.
    pub fn are_all_durable(&self, pattern: &TopicPattern) -> bool {
        !is_reserved(pattern) && self.durable.iter().any(|durable| covers(durable, pattern))
    }

    /// Whether a retained value of so many bytes fits, near enough: what is on its way through the log is not counted.
    pub fn has_room_for(&self, topic: &Topic, payload_bytes: usize) -> bool {
        let retained = self.retained.read();
        let bytes = topic.name().len() + payload_bytes;
        match retained.get(topic).map(|old| old.bytes()) {
            None => retained.len() < self.retained_messages_max && retained.bytes() + bytes <= self.retained_bytes_max,
            Some(old) => bytes <= old || retained.bytes() - old + bytes <= self.retained_bytes_max,
        }
    }

    /// Sets or (with an empty payload) clears the retained value of the event's topic.
    ///
    /// Whether it has room was asked before ([`Realm::has_room_for`]): what is in the log is set.
    pub fn retain(&self, event: Arc<StoredEvent>) {
        let topic = event.topic.clone();
        self.set_retained(event);
        self.bell.ring(&self.name, &topic);
    }

    fn set_retained(&self, event: Arc<StoredEvent>) {
        let topic = event.topic.clone();
        let mut retained = self.retained.write();
        if event.payload.is_empty() {
            if let Some(cleared) = &mut *self.cleared.lock() {
                cleared.insert(topic.name().into());
            }
            return mark_replaced(retained.remove(&topic));
        }
        if event.expires_at_ms.is_some() {
            self.may_expire.store(true, Ordering::Relaxed);
        }
        let bytes = event.bytes();
        mark_replaced(retained.set(&topic, event, bytes));
    }

    /// Sets a retained value that was read from the store, unless the topic was written to since the start.
    pub(super) fn load_retained(&self, event: Arc<StoredEvent>) {
        let topic = event.topic.clone();
        let mut retained = self.retained.write();
        let newer = retained.get(&topic).is_some();
        let cleared = self.cleared.lock().as_ref().is_some_and(|cleared| cleared.contains(topic.name()));
        if newer || cleared {
            return;
        }
        if event.expires_at_ms.is_some() {
            self.may_expire.store(true, Ordering::Relaxed);
        }
        let bytes = event.bytes();
        retained.set(&topic, event, bytes);
    }

    /// What the store has is about to be read ([`Realm::load_retained`]). Nobody is told what is retained before all of it is.
    pub(super) fn begin_loading(&self) {
        self.cleared.lock().get_or_insert_default();
    }

    /// All that the store has was read: who waits for it is woken.
    pub(super) fn retained_is_loaded(&self) {
        let was_loading = self.cleared.lock().take().is_some();
        if was_loading {
            self.sessions().iter().for_each(|session| session.mailbox().wake_replay());
        }
    }

    /// Not all that the store has was read.
    pub fn is_loading(&self) -> bool {
        self.cleared.lock().is_some()
    }

    /// Removes expired values, so that they leave their room to others: with each call a slice of the store is looked at, as
    /// long as there are values that expire. Returns what was removed.
    pub(super) fn sweep_retained(&self, now_ms: u64) -> Vec<Arc<StoredEvent>> {
        let mut swept = Vec::new();
        let mut sweep = self.sweep.lock();
        if sweep.is_none() && self.may_expire.swap(false, Ordering::Relaxed) {
            *sweep = TopicPattern::from_filter("#").ok().map(Walk::new);
        }
        let Some(walk) = sweep.as_mut() else { return swept };
        let mut expired = Vec::new();
        let done = self.retained.read().slice(walk, SWEEP_TOPICS_MAX, |event| {
            match event.expires_at_ms {
                Some(at) if at <= now_ms => expired.push(event.topic.clone()),
                Some(_) => self.may_expire.store(true, Ordering::Relaxed),
                None => {}
            }
            ControlFlow::Continue(())
        });
        if done {
            *sweep = None;
        }
        if expired.is_empty() {
            return swept;
        }
        let mut retained = self.retained.write();
        for topic in expired {
            let still = retained.get(&topic).is_some_and(|event| event.expires_at_ms.is_some_and(|at| at <= now_ms));
            if still && let Some(event) = retained.remove(&topic) {
                event.replaced.set();
                self.bell.ring(&self.name, &topic);
                swept.push(event);
            }
        }
        swept
    }

    /// The retained value of a topic.
    pub fn retained(&self, topic: &Topic, now_ms: u64) -> Option<Arc<StoredEvent>> {
        self.retained.read().get(topic).filter(|event| !is_expired(event, now_ms)).cloned()
    }

    /// Shows `visit` the retained values that a pattern matches, sorted level by level, those behind the topic `after` if it is
    /// given, as long as it wants more. `false`: those were all.
    pub fn walk_retained(
        &self,
        pattern: &TopicPattern,
        after: Option<&Topic>,
        now_ms: u64,
        visit: &mut dyn FnMut(&Arc<StoredEvent>) -> bool,
    ) -> bool {
        let mut walk = Walk::new(pattern.clone());
        after.into_iter().for_each(|topic| walk.go_behind(topic));
        let mut wants_more = true;
        while wants_more {
            let done = self.retained.read().slice(&mut walk, SLICE_TOPICS_MAX, |event| {
                wants_more = is_expired(event, now_ms) || visit(event);
                if wants_more { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            if done {
                return false;
            }
        }
        true
    }

    /// Who holds a key.
    pub fn lock_holder(&self, topic: &Topic) -> Option<SessionId> {
        self.holders.lock().get(topic.name()).copied()
    }

    /// The log has given a key to somebody, or to nobody.
    pub(super) fn set_lock_holder(&self, topic: &str, holder: Option<SessionId>) {
        let mut holders = self.holders.lock();
        match holder {
            Some(session) => holders.insert(topic.into(), session),
            None => holders.remove(topic),
        };
    }

    /// Owes a subscription the retained values that `pattern` matches and `role` may be sent, on these terms (`terms.qos` is the
    /// granted one). The first of them are looked up now, or in a cluster as soon as this entry has what was acknowledged before; the
    /// others when the session has room for them, with the value they have then.
    pub fn replay(
        self: &Arc<Self>,
        session: &Session,
        subscription: SubscriptionId,
        pattern: &TopicPattern,
        role: RoleId,
        terms: Terms,
    ) {
        let filter = self.variant(subscription).filter;
        self.replay_those(session, subscription, pattern, filter, role, terms);
    }

    /// The same, of values with these fields.
    pub fn replay_those(
        self: &Arc<Self>,
        session: &Session,
        subscription: SubscriptionId,
        pattern: &TopicPattern,
        filter: Option<Arc<Fields>>,
        role: RoleId,
        terms: Terms,
    ) {
        // What is the broker's own is each entry's own.
        let fresh = if is_reserved(pattern) { None } else { self.bell.await_fresh(&self.name, session.id) };
        let realm = self.clone();
        let mut walk = Walk::new(pattern.clone());
        let mut fetch = move |events: &mut VecDeque<_>| {
            if fresh.as_ref().is_some_and(|fresh| !fresh.is_there()) {
                return Fetched::Later;
            }
            let wanted = |event: &StoredEvent| {
                let filter = filter.as_ref();
                filter.is_none_or(|filter| filter.hold(event.payload.as_ref()))
                    && realm.authorizer.allows(role, Action::Subscribe, &event.topic)
            };
            realm.fetch_retained(&mut walk, &wanted, events)
        };
        let mut events = VecDeque::new();
        let fetched = fetch(&mut events);
        let source = (fetched != Fetched::Last).then(|| Box::new(fetch) as Source);
        let mut mailbox = session.mailbox();
        mailbox.replay.push(subscription, events, source, terms);
        if fetched == Fetched::Later && !self.is_loading() {
            // What it waits for may have come just now, and whoever waited then has been woken.
            mailbox.wake_replay();
        }
    }

    /// Goes on with a walk.
    fn fetch_retained(
        &self,
        walk: &mut Walk,
        wanted: &dyn Fn(&StoredEvent) -> bool,
        events: &mut VecDeque<Arc<StoredEvent>>,
    ) -> Fetched {
        if self.is_loading() {
            return Fetched::Later;
        }
        let done = self.retained.read().slice(walk, SLICE_TOPICS_MAX, |event| {
            if wanted(event) {
                events.push_back(event.clone());
            }
            if events.len() < SLICE_EVENTS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        if done { Fetched::Last } else { Fetched::More }
    }

    /// `(values, bytes)` retained.
    pub fn retained_size(&self) -> (usize, usize) {
        let retained = self.retained.read();
        (retained.len(), retained.bytes())
    }

    /// Adds a session.
    pub fn join(&self, session: Arc<Session>) {
        self.sessions.lock().insert(session.id, session);
    }

    /// Removes a session from the table; its subscriptions and registrations are the caller's business.
    pub fn forget(&self, session: SessionId) {
        self.sessions.lock().remove(&session);
    }

    pub fn session(&self, id: SessionId) -> Option<Arc<Session>> {
        self.sessions.lock().get(&id).cloned()
    }

    pub fn sessions_len(&self) -> usize {
        self.sessions.lock().len()
    }

    /// All sessions at this moment.
    pub fn sessions(&self) -> Vec<Arc<Session>> {
        self.sessions.lock().values().cloned().collect()
    }

    /// Asks every connection to end.
    pub fn end_all(&self, reason: End) {
        for session in self.sessions() {
            let link = session.mailbox().online().map(|online| online.link.clone());
            if let Some(link) = link {
                link.end(reason);
            }
        }
    }
}

fn is_expired(event: &StoredEvent, now_ms: u64) -> bool {
    event.expires_at_ms.is_some_and(|at| at <= now_ms)
}

fn mark_replaced(old: Option<Arc<StoredEvent>>) {
    if let Some(old) = old {
        old.replaced.set();
    }
}
