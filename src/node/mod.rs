//! The node: the realms of this process, the locks around their routers, the hot path of a publish.
//!
//! ```text
//! gate (mqtt, wamp, http) --Publisher / Realm--> router rules --> mailboxes of other sessions --Link--> their connections
//! ```
//!
//! Everything here is synchronous and takes `now` as an argument; connections of any thread call it side by side. The routers'
//! rules are on the floor below, sockets and tasks on the floors above.

mod access;
pub mod authenticate;
pub mod authorize;
pub mod clients;
pub mod consumer;
pub mod durables;
pub mod files;
pub mod groups;
pub mod house;
pub mod link;
pub mod log;
pub mod mailbox;
pub mod memory;
pub mod metrics;
pub mod past;
pub mod peers;
pub mod publish;
pub mod reader;
pub mod realm;
pub mod request_rates;
pub mod revoke;
pub mod rpc;
pub mod session;
mod sys;
pub mod throttle;
pub mod user_seats;
pub mod users;
pub mod wire;

#[cfg(test)]
pub mod testing;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use crate::delivery::backlog::Backlog;
use crate::delivery::outbox::Outbox;
use crate::queue::retention::{Policy, Retention};
use crate::queue::state::{Change, StateLimits};
use crate::router::authorize::Authorizer;
use crate::router::rules::Rules;
use crate::store::{Store, StoreReader};
use crate::types::event::Qos;
use crate::types::ids::{ID_MAX, SessionId};
use crate::types::limits::Limits;
use crate::types::payload::Codec;
use crate::types::topic::{Topic, TopicPattern};

use authenticate::Deciders;
use authenticate::cookies::Cookies;
use consumer::Consumers;
use house::House;
use link::End;
use log::keys::Loader;
use log::{ClockFn, Engine, Feed, Log, LogError, Submission, Threads};
use mailbox::Mailbox;
use memory::Memory;
use metrics::{Metrics, Protocol};
use peers::Peers;
use publish::{Publication, Publisher};
use reader::moved::MovedSessions;
use realm::Realm;
use session::{Identity, Session};
use throttle::Throttle;
use user_seats::UserSeats;
use users::Users;
use wire::WireRef;

/// Threads that read the log for subscribers.
const HISTORY_THREADS: usize = 2;

/// Who may do what in the realm of a name.
pub type Authorize = Box<dyn Fn(&str) -> Authorizer + Send + Sync>;

/// What a node is made of; checked by who builds it.
pub struct Settings {
    pub limits: Limits,
    pub realms: Vec<RealmSettings>,
    /// Realms are made when somebody names them.
    pub auto_realms: bool,
    pub default_realm: String,
    pub authorize: Authorize,
    pub users: Users,
    /// Which events are in the durable log, and how long.
    pub policies: Vec<Policy>,
    /// Of all realms.
    pub rules: Rules,
}

/// One configured realm.
#[derive(Debug, Default)]
pub struct RealmSettings {
    pub name: String,
    /// First match counts.
    pub codecs: Vec<(TopicPattern, Codec)>,
    pub star_is_wildcard: bool,
}

/// See the module.
pub struct Node {
    pub limits: Limits,
    pub metrics: Metrics,
    pub memory: Memory,
    /// Logins that failed.
    pub throttle: Throttle,
    request_rates: request_rates::RequestRates,
    visits: authorize::Visits,
    user_seats: UserSeats,
    /// What the clock showed at the last tick.
    ticked_ms: AtomicU64,
    pub log: Log,
    /// Cursors to be recorded.
    pub moved: MovedSessions,
    /// What passes events on to elsewhere.
    pub consumers: Consumers,
    /// Answers the broker's own procedures.
    pub house: House,
    /// The other entries of the cluster.
    pub peers: Arc<Peers>,
    /// The number by which the log knows this entry of a cluster; none: this node is alone.
    pub entry: OnceLock<u64>,
    pub users: Users,
    /// Who decides about users that the configuration does not have.
    pub deciders: Deciders,
    /// Browsers that come back.
    pub cookies: Cookies,
    /// The HTTP hook that is asked what sessions may do.
    pub authorize_hook: authorize::Hooks,
    pub default_realm: String,
    auto_realms: bool,
    authorize: RwLock<Authorize>,
    policies: Vec<Policy>,
    rules: Rules,
    realms: RwLock<HashMap<String, Arc<Realm>>>,
    dice: Mutex<u64>,
    /// Retained values of the log that were not read yet, until somebody reads them.
    unread_keys: Mutex<Option<Loader>>,
    /// They are being read.
    loads_keys: AtomicBool,
    draining: AtomicBool,
    sessions_made: AtomicU64,
}

impl Node {
    /// A node with these realms. `seed` decides every random choice; at run time it comes from the system.
    pub fn new(settings: Settings, seed: u64) -> Arc<Self> {
        let node = Self {
            authorize: RwLock::new(settings.authorize),
            log: Log::new(settings.limits.log_unresolved_bytes_max, settings.policies.clone()),
            policies: settings.policies,
            rules: settings.rules,
            limits: settings.limits,
            metrics: Metrics::default(),
            memory: Memory::default(),
            throttle: Throttle::default(),
            request_rates: request_rates::RequestRates::default(),
            visits: authorize::Visits::default(),
            user_seats: UserSeats::default(),
            ticked_ms: AtomicU64::new(0),
            moved: MovedSessions::default(),
            consumers: Consumers::default(),
            house: House::default(),
            peers: Arc::default(),
            entry: OnceLock::new(),
            users: settings.users,
            deciders: Deciders::default(),
            cookies: Cookies::default(),
            authorize_hook: authorize::Hooks::default(),
            default_realm: settings.default_realm,
            auto_realms: settings.auto_realms,
            realms: RwLock::default(),
            dice: Mutex::new(seed),
            unread_keys: Mutex::default(),
            loads_keys: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            sessions_made: AtomicU64::new(0),
        };
        for realm in settings.realms {
            node.add_realm(realm);
        }
        Arc::new(node)
    }

    fn add_realm(&self, settings: RealmSettings) -> Arc<Realm> {
        let seed = self.random();
        let mut realms = self.realms.write();
        let make = || {
            let authorizer = (self.authorize.read())(&settings.name);
            let mut realm = Realm::new(&settings.name, authorizer, settings.codecs, &self.limits, seed);
            realm.star_is_wildcard = settings.star_is_wildcard;
            realm.rules = self.rules.of_realm(&settings.name);
            realm.durable = self.durable_in(&settings.name);
            realm.peers = self.peers.clone();
            if self.peers.are_open() {
                realm.watch_interest();
                self.peers.everything().into_iter().for_each(|peer| realm.set_reach_everything(peer, true));
            }
            if let Some(rank) = self.peers.rank() {
                realm.dealer.lock().watch(rank);
            }
            self.house.furnish(&realm);
            if self.loads_keys.load(Ordering::SeqCst) {
                realm.begin_loading();
            }
            Arc::new(realm)
        };
        let realm = realms.entry(settings.name.clone()).or_insert_with(make).clone();
        drop(realms);
        if !self.loads_keys.load(Ordering::SeqCst) {
            // It may have been made while the last was read.
            realm.retained_is_loaded();
        }
        realm
    }

    /// What of the log is to stay: for its own sake, and bytes of the rest that are kept for those who have not read it.
    pub fn retention(&self) -> (&[Policy], u64) {
        (&self.policies, self.limits.session_log_bytes_max)
    }

    /// Patterns whose events are in the durable log, of a realm.
    fn durable_in(&self, realm: &str) -> Vec<TopicPattern> {
        let here = |policy: &&Policy| policy.realm.as_ref().is_none_or(|name| name == realm);
        self.policies.iter().filter(here).map(|policy| policy.pattern.clone()).collect()
    }

    /// The realm of this name; made now if realms are made on demand. `None`: there is none.
    pub fn realm(&self, name: &str) -> Option<Arc<Realm>> {
        if let Some(realm) = self.realms.read().get(name) {
            return Some(realm.clone());
        }
        if !self.auto_realms || name.is_empty() {
            return None;
        }
        Some(self.add_realm(RealmSettings { name: name.to_owned(), ..RealmSettings::default() }))
    }

    /// Whether what this entry of the cluster holds is not this one's.
    pub fn is_elsewhere(&self, holder: Option<u64>) -> bool {
        self.entry.get().is_some_and(|own| holder != Some(*own))
    }

    /// All realms at this moment.
    pub fn realms(&self) -> Vec<Arc<Realm>> {
        self.realms.read().values().cloned().collect()
    }

    /// Milliseconds on the node's clock when time passed last.
    pub fn ticked_ms(&self) -> u64 {
        self.ticked_ms.load(Ordering::Relaxed)
    }

    /// A random number (splitmix64).
    pub fn random(&self) -> u64 {
        let mut dice = self.dice.lock();
        *dice = dice.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = *dice;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// An id for a session that may be made with it (WAMP, IDs, global scope).
    pub fn new_session_id(&self) -> SessionId {
        SessionId(self.random() % ID_MAX + 1)
    }

    /// A new session, not yet in a realm. `keeps`: its QoS 1 and 2 messages are kept while it is offline.
    pub fn new_session(&self, identity: Identity, wire: WireRef, keeps: bool) -> Arc<Session> {
        self.new_session_with_id(self.new_session_id(), identity, wire, keeps)
    }

    /// A new session with an id that was told to its client before.
    pub fn new_session_with_id(&self, id: SessionId, identity: Identity, wire: WireRef, keeps: bool) -> Arc<Session> {
        self.sessions_made.fetch_add(1, Ordering::Relaxed);
        let limits = &self.limits;
        let backlog_bytes = usize::try_from(limits.backlog_bytes_max).unwrap_or(usize::MAX);
        let backlog = Backlog::new(limits.backlog_messages_max, backlog_bytes);
        let mut mailbox = Mailbox::new(Outbox::new(limits.outbox_bytes_max), backlog, keeps);
        mailbox.clock_ms = self.house.clock_ms();
        Arc::new(Session::new(id, identity, wire, mailbox))
    }

    /// Says what time it is, before it passes by [`Node::tick`].
    pub fn begin_time(&self, now_ms: u64) {
        self.house.tick(now_ms);
    }

    /// Does what time brings, as far as that is not the log's business: expired retained values, calls that took too long. Called
    /// several times a second.
    pub fn tick(self: &Arc<Self>, now_ms: u64) {
        self.ticked_ms.store(now_ms, Ordering::Relaxed);
        for realm in self.realms() {
            self.tick_calls(&realm, now_ms);
            self.sweep_keys(&realm, now_ms);
            self.tick_groups(&realm, now_ms);
        }
        self.record_moved(now_ms);
        self.consumers.tick();
        self.peers.give_up_waiting(now_ms);
        self.house.tick(now_ms);
    }

    /// Gives messages to the durable log. Not to be called with a lock held.
    pub fn submit(self: &Arc<Self>, submission: Submission) {
        self.log.submit(submission);
        self.log.run_inline(self);
    }

    /// Opens the log on a store, as far as that concerns the store: what it holds is there for clients when this returns, but for
    /// retained values if there are many: who asks for these waits. It works when [`Node::run_log`] or [`Node::run_log_inline`]
    /// was called.
    ///
    /// # Errors
    /// The store cannot be read or written, or is damaged.
    pub fn open_log(self: &Arc<Self>, store: Box<dyn Store>, now_ms: u64) -> Result<(Engine, Feed), LogError> {
        self.begin_time(now_ms);
        let mut key = [0; 16];
        key[..8].copy_from_slice(&self.random().to_le_bytes());
        key[8..].copy_from_slice(&self.random().to_le_bytes());
        let retention = Retention::new(self.policies.clone(), self.limits.session_log_bytes_max);
        let mut engine = Engine::new(store, retention, self.state_limits())?;
        self.log.open_publications(engine.store_mut(), key)?;
        self.log.history.begin(engine.state().last_number());
        self.expect_keys();
        let mut feed = Feed::new(Arc::downgrade(self));
        // The entry begins a new life: what was connected in the last one is gone.
        while let Some(fed) = engine.step(now_ms * 1000) {
            feed.feed(fed, now_ms);
            if let Some(error) = engine.failed() {
                return Err(error.clone());
            }
        }
        self.log.set_floors(engine.state().floors());
        self.load_keys(engine.store().reader()?)?;
        for (realm, topic, session, _) in engine.state().locks() {
            if let Some(realm) = self.realm(&realm) {
                realm.set_lock_holder(&topic, Some(SessionId(session)));
            }
        }
        let mut reader = engine.store().reader()?;
        self.load_durables(&mut *reader)?;
        self.load_consumers(&mut *reader)?;
        if let Some(last) = reader.segment_before(engine.state().last_number() + 1)? {
            self.log.note_head(&last);
        }
        Ok((engine, feed))
    }

    fn state_limits(&self) -> StateLimits {
        StateLimits {
            waits_per_key_max: self.limits.waits_per_key_max,
            waits_per_session_max: self.limits.waits_per_session_max,
            wait_bytes_max: self.limits.wait_bytes_max,
            locks_per_session_max: self.limits.locks_per_session_max,
            ..StateLimits::default()
        }
    }

    /// Has the log worked by threads of its own, and the broker's procedures by one.
    ///
    /// # Errors
    /// The system has no threads left, or the store none for readers.
    pub fn run_log(
        self: &Arc<Self>,
        (engine, feed): (Engine, Feed),
        clock: ClockFn,
        sync_every: Option<Duration>,
    ) -> std::io::Result<Threads> {
        let readers = (0..HISTORY_THREADS).map(|_| engine.store().reader().map_err(std::io::Error::other));
        self.start_readers(readers, clock.clone())?;
        Threads::start(self, engine, feed, clock, sync_every)
    }

    /// Starts a thread for each of these, which reads for subscribers; the one of the broker's procedures; and the one that reads the
    /// retained values that were not read yet.
    fn start_readers(
        self: &Arc<Self>,
        readers: impl Iterator<Item = std::io::Result<Box<dyn StoreReader>>>,
        clock: ClockFn,
    ) -> std::io::Result<()> {
        for reader in readers {
            self.log.history.start(reader?)?;
        }
        House::start(self, clock)?;
        match self.unread_keys.lock().take() {
            Some(rest) => rest.go_on(Arc::downgrade(self)),
            None => Ok(()),
        }
    }

    /// Has the log worked by whoever submits.
    pub fn run_log_inline(self: &Arc<Self>, (engine, feed): (Engine, Feed), clock: ClockFn) {
        match engine.store().reader() {
            Ok(reader) => self.log.history.inline(reader),
            Err(error) => tracing::error!(%error, "the log cannot be read"),
        }
        self.log.set_inline(engine, feed, clock);
    }

    /// Follows what the log has decided.
    fn follow(self: &Arc<Self>, change: &Change) {
        match change {
            Change::SessionEnded { realm, client_id, session } => {
                if let Some(realm) = self.realm(realm) {
                    realm.clients.ended(self, &realm, client_id, SessionId(*session));
                }
            }
            Change::Consumer { realm, name, row } => self.follow_consumer(realm, name, row.as_deref().cloned()),
            Change::LockHeld { realm, topic, session } => {
                if let Some(realm) = self.realm(realm) {
                    realm.set_lock_holder(topic, session.map(SessionId));
                }
            }
        }
    }

    /// Publishes something of the broker's own, `$SYS` and `wamp.*` included.
    pub fn publish_as_broker(
        self: &Arc<Self>,
        realm: &Arc<Realm>,
        topic: &Arc<Topic>,
        publication: &Publication<'_>,
        protocol: Protocol,
        now_ms: u64,
    ) {
        let mut publisher = Publisher::for_broker(self.clone(), realm.clone(), protocol);
        publisher.now_ms = now_ms;
        publisher.publish_own(topic, publication);
        publisher.finish();
    }

    /// Ends the connections of all sessions that may hold locks or wait for some: nobody can tell any more whether they do.
    pub fn end_holders(&self) {
        for realm in self.realms() {
            for session in realm.sessions().iter().filter(|session| session.may_hold()) {
                if let Some(online) = session.mailbox().online() {
                    online.link.end(End::Shutdown);
                }
            }
        }
    }

    /// The node stops: no new sessions, and every connection is asked to end.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        for realm in self.realms() {
            realm.end_all(End::Shutdown);
        }
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// QoS of what WAMP and HTTP publish: the highest, so that the subscription decides.
    pub const UNSAID_QOS: Qos = Qos::ExactlyOnce;
}
