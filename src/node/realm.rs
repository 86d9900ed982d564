//! One realm: its router, the locks around it, its sessions and retained values.

mod retained;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::clients::Clients;
use super::durables::Durables;
use super::groups::Groups;
use super::house::{Bell, Herald};
use super::link::End;
use super::mailbox::Mailbox;
use super::peers::Peers;
use super::session::{Identity, Session};
use super::users::{ANONYMOUS, User};
use super::wire::WireRef;
use crate::router::authorize::{Authorizer, Rights, Who, covers};
use crate::router::broker::{Broker, GroupKey, Options, Route, Subscribed, SubscriptionInfo, Unsubscribed, Variant};
use crate::router::dealer::{Dealer, Offer, is_reserved};
use crate::router::interest::{PeerId, Reach, Reached, Wanted};
use crate::router::retained::{Retained, Walk};
use crate::router::rules::Rules;
use crate::types::event::StoredEvent;
use crate::types::ids::{SessionId, SubscriptionId};
use crate::types::limits::{CallLimits, Limits};
use crate::types::payload::Codec;
use crate::types::topic::{Topic, TopicPattern};

/// The route of a topic, as publishers cache it.
pub type SharedRoute = Arc<Route<Arc<Session>>>;

/// See the module. Lock order: clients, broker or dealer, a session's mailbox, retained.
pub struct Realm {
    pub name: Arc<str>,
    authorizer: RwLock<Arc<Authorizer>>,
    /// First match counts; else [`Codec::Auto`].
    pub codecs: Vec<(TopicPattern, Codec)>,
    /// Events of topics that these match are in the durable log, all of them.
    pub durable: Vec<TopicPattern>,
    /// Trust levels, and who is disclosed.
    pub rules: Rules,
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
    /// Tells of sessions, subscriptions and registrations.
    pub(super) herald: Herald,
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
            authorizer: RwLock::new(Arc::new(authorizer)),
            codecs,
            durable: Vec::new(),
            rules: Rules::default(),
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
            herald: Herald::default(),
            holders: Mutex::default(),
            peers: Arc::default(),
            reach: RwLock::default(),
        }
    }

    /// Who may do what here, as of now.
    pub fn authorizer(&self) -> Arc<Authorizer> {
        self.authorizer.read().clone()
    }

    pub(super) fn set_authorizer(&self, authorizer: Authorizer) {
        *self.authorizer.write() = Arc::new(authorizer);
    }

    /// What somebody may do here that comes in now. `None`: its role does not hold in this realm.
    pub fn rights(&self, user: &User, client_id: Option<&str>) -> Option<Rights> {
        let who = Who { user: name_of(&user.name), client_id };
        if let Some(permissions) = &user.permissions {
            return Some(Rights::claimed(permissions, who));
        }
        self.authorizer().rights(&user.role, who)
    }

    /// The same for a session that was here before. Nothing, if its role does not hold any more.
    pub fn rights_of(&self, identity: &Identity) -> Rights {
        let who = Who { user: name_of(&identity.authid), client_id: identity.client_id.as_deref() };
        self.authorizer().rights(&identity.authrole, who).unwrap_or_default()
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
        let mut tells = false;
        for (pattern, group) in patterns {
            tells |= Herald::may_tell(pattern);
            reach.set(peer, pattern, group, wanted);
        }
        drop(reach);
        self.reach_has_changed(tells);
    }

    /// Another entry begins or ends to want everything.
    pub(super) fn set_reach_everything(&self, peer: PeerId, wanted: bool) {
        self.reach.write().set_everything(peer, wanted);
        self.reach_has_changed(true);
    }

    /// `tells`: others hear of sessions and the like than before.
    fn reach_has_changed(&self, tells: bool) {
        let mut broker = self.broker.write();
        broker.touch();
        self.changed(&broker);
        if tells {
            self.herald.look(&broker, &self.reach.read());
        }
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
        broker.now_ms = self.herald.now_ms();
        let subscribed = broker.subscribe(pattern, group, session.clone(), options);
        let mut mailbox = session.mailbox();
        if each {
            mailbox.subscriptions.insert(subscribed.id);
        }
        reply(subscribed, &mut mailbox);
        drop(mailbox);
        self.has_subscribed(&broker, session.id, pattern, subscribed);
        subscribed
    }

    /// A session was subscribed just now.
    fn has_subscribed(
        &self,
        broker: &Broker<Arc<Session>>,
        session: SessionId,
        pattern: &TopicPattern,
        Subscribed { id, existed, created }: Subscribed,
    ) {
        self.changed(broker);
        if existed {
            return;
        }
        // What a session has at another entry is told there.
        if !self.is_mirror(session) {
            let created = created && !(broker.variant(id).is_plain() && self.reach.read().has(pattern));
            self.herald.subscribed(&self.name, broker, session, id, created);
        }
        self.look_who_hears(broker, pattern);
    }

    fn is_mirror(&self, session: SessionId) -> bool {
        self.peers.are_open() && self.session(session).is_some_and(|session| session.is_mirror())
    }

    /// The subscribers of a pattern are others.
    fn look_who_hears(&self, broker: &Broker<Arc<Session>>, pattern: &TopicPattern) {
        if Herald::may_tell(pattern) {
            self.herald.look(broker, &self.reach.read());
        }
    }

    /// A session was unsubscribed just now, if it was subscribed. `plain`: not from a variant of the pattern.
    fn has_unsubscribed(
        &self,
        broker: &Broker<Arc<Session>>,
        session: SessionId,
        (pattern, plain): (&TopicPattern, bool),
        removed: Option<Unsubscribed>,
    ) {
        self.changed(broker);
        if let Some(Unsubscribed { id, deleted }) = removed {
            self.look_who_hears(broker, pattern);
            if !self.is_mirror(session) {
                let deleted = deleted && !(plain && self.reach.read().has(pattern));
                self.herald.unsubscribed(&self.name, broker, session, id, deleted);
            }
        }
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
        self.has_unsubscribed(&broker, session.id, (pattern, true), removed);
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
        broker.now_ms = self.herald.now_ms();
        let subscribed = broker.subscribe_variant(pattern, variant, session.clone());
        let mut mailbox = session.mailbox();
        mailbox.subscriptions.insert(subscribed.id);
        reply(subscribed, &mut mailbox);
        drop(mailbox);
        self.has_subscribed(&broker, session.id, pattern, subscribed);
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
        let removed = self.unsubscribe_one(&mut broker, session.id, id);
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
            self.unsubscribe_one(&mut broker, session, id);
        }
    }

    fn unsubscribe_one(
        &self,
        broker: &mut Broker<Arc<Session>>,
        session: SessionId,
        id: SubscriptionId,
    ) -> Option<Unsubscribed> {
        // One that is of the past alone is nobody else's.
        let pattern = broker.pattern(id).filter(|_| !broker.is_past(id)).cloned();
        let plain = broker.variant(id).is_plain();
        let removed = broker.unsubscribe_id(id, session);
        match pattern {
            Some(pattern) => self.has_unsubscribed(broker, session, (&pattern, plain), removed),
            None => self.changed(broker),
        }
        removed
    }

    /// All subscriptions that somebody has, in no order.
    pub(super) fn subscriptions(&self) -> Vec<SubscriptionInfo> {
        self.broker.read().subscriptions()
    }

    pub(super) fn subscription_info(&self, id: SubscriptionId) -> Option<SubscriptionInfo> {
        self.broker.read().subscription_info(id)
    }

    /// What some sessions are subscribed to.
    pub(super) fn held_by(&self, sessions: &[SessionId]) -> HashMap<SessionId, Vec<SubscriptionInfo>> {
        self.broker.read().held_by(sessions)
    }

    /// The plain subscription of exactly this pattern.
    pub(super) fn look_up_subscription(&self, pattern: &TopicPattern) -> Option<SubscriptionId> {
        self.broker.read().lookup(pattern)
    }

    /// The subscriptions that match a topic, sorted.
    pub(super) fn matching_subscriptions(&self, topic: &Topic) -> Vec<SubscriptionId> {
        self.broker.read().matching(topic)
    }

    /// The sessions that have a subscription; `None`: there is no such subscription.
    pub(super) fn subscribers(&self, id: SubscriptionId) -> Option<Vec<SessionId>> {
        self.broker.read().subscribers(id)
    }

    /// How many of the sessions that have a subscription count.
    pub(super) fn count_subscribers(&self, id: SubscriptionId, counts: impl Fn(&Session) -> bool) -> usize {
        self.broker.read().count(id, |session| counts(session))
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
            let removed = broker.unsubscribe(pattern, group, session);
            self.has_unsubscribed(&broker, session, (pattern, true), removed);
        }
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

    /// Adds a session. If it has a connection, that is told.
    pub fn join(&self, session: Arc<Session>) {
        self.sessions.lock().insert(session.id, session.clone());
        let connected = session.mailbox().online().is_some();
        if connected {
            self.note_joined(&session);
        }
    }

    /// Removes a session from the table; its subscriptions and registrations are the caller's business.
    pub fn forget(&self, session: SessionId) {
        let gone = self.sessions.lock().remove(&session);
        if let Some(gone) = gone {
            self.note_left(&gone);
        }
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

/// What stands for a user in patterns: those who did not say who they are have nothing in common that would be theirs.
fn name_of(user: &str) -> &str {
    if user == ANONYMOUS { "" } else { user }
}
