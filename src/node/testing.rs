//! What the tests of this room and of those above it share: an encoding, a node, and publications, all as small as can be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::authorize::{Done, Hook, Question, Said};
use super::log::ClockFn;
use super::mailbox::Mailbox;
use super::metrics::Protocol;
use super::publish::{Publication, Publisher};
use super::realm::Realm;
use super::session::{Identity, Session, Touched};
use super::users::Users;
use super::wire::{Encoded, Unencodable, Wire, WireId, WireRef};
use super::{Node, RealmSettings, Settings};
use crate::delivery::outbox::Taken;
use crate::router::authorize::{Authorizer, Role, Who};
use crate::router::broker::Options;
use crate::router::output::Output;
use crate::router::rules::Rules;

use crate::store::memory::MemoryStore;
use crate::store::{Commit, Store, StoreError, StoreReader};
use crate::types::event::{Event, Qos, Terms};
use crate::types::ids::SubscriptionId;
use crate::types::limits::Limits;
use crate::types::payload::PayloadRef;
use crate::types::topic::{MatchPolicy, TopicPattern};

pub const NOW_MS: u64 = 1_700_000_000_000;

/// An event with this payload cannot be said by any [`TestWire`].
pub const UNSAYABLE: &[u8] = b"unsayable";

/// Events as frames:
///
/// ```text
/// length: u32, of all | wire: u8 | flags: u8 | packet identifier: u16 if QoS > 0 | alias: u16, 0 for none | expiry: u32 |
/// subscription: u64, 0 for none | length of the topic: u16 | topic | payload
/// ```
pub struct TestWire {
    id: WireId,
    /// How often an event was encoded.
    encoded: AtomicUsize,
}

/// An encoding that is equal to others of this id, but counts for itself.
pub fn wire(id: u8) -> &'static TestWire {
    Box::leak(Box::new(TestWire { id: WireId(id), encoded: AtomicUsize::new(0) }))
}

impl TestWire {
    pub fn as_ref(&'static self) -> WireRef {
        WireRef(self)
    }

    /// How often an event was encoded since the last call.
    pub fn encoded(&self) -> usize {
        self.encoded.swap(0, Ordering::Relaxed)
    }
}

impl Wire for TestWire {
    fn id(&self) -> WireId {
        self.id
    }

    fn event(&self, event: &Event<'_>, terms: &Terms, split: bool, out: &mut Vec<u8>) -> Result<Encoded, Unencodable> {
        let start = out.len();
        let payload = event.payload.as_bytes(event.codec);
        out.extend_from_slice(&[0; 4]);
        if *payload == *UNSAYABLE {
            return Err(Unencodable::Payload);
        }
        self.encoded.fetch_add(1, Ordering::Relaxed);
        let (alias, known) = terms.alias.unwrap_or_default();
        let topic = if known { "" } else { event.topic.name() };
        out.extend([self.id.0, terms.qos as u8 | u8::from(terms.dup) << 2 | u8::from(terms.retain) << 3]);
        let packet_id_at = (terms.qos != Qos::AtMostOnce).then_some(out.len());
        out.extend_from_slice(if packet_id_at.is_some() { &[0, 0] } else { &[] });
        out.extend(alias.to_be_bytes());
        out.extend(event.expires_in_s.unwrap_or_default().to_be_bytes());
        out.extend(terms.subscription.map_or(0, |subscription| subscription.0).to_be_bytes());
        out.extend((topic.len() as u16).to_be_bytes());
        out.extend(topic.bytes());
        let len = out.len() - start + payload.len();
        out[start..start + 4].copy_from_slice(&(len as u32).to_be_bytes());
        let body_left_out = split && matches!(event.payload, PayloadRef::Bytes(_));
        if !body_left_out {
            out.extend_from_slice(&payload);
        }
        Ok(Encoded { packet_id_at, body_left_out })
    }

    fn rpc(&self, _: &Arc<Session>, _: &Output<'_, Arc<Session>>, _: &mut Touched) -> Result<(), Unencodable> {
        Ok(())
    }
}

/// A frame of [`TestWire`], read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub wire: u8,
    pub qos: u8,
    pub dup: bool,
    pub retain: bool,
    pub packet_id: u16,
    pub alias: u16,
    pub expires_in_s: u32,
    pub subscription: SubscriptionId,
    pub topic: String,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The frame at the front of `bytes` and its length; `None` if it is not all there.
    pub fn read(bytes: &[u8]) -> Option<(Frame, usize)> {
        let len = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let mut rest = bytes.get(4..len)?;
        let mut take = |count: usize| {
            let (taken, behind) = rest.split_at(count);
            rest = behind;
            taken.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        let (wire, flags) = (take(1) as u8, take(1) as u8);
        let qos = flags & 3;
        let packet_id = if qos > 0 { take(2) as u16 } else { 0 };
        let (alias, expires_in_s) = (take(2) as u16, take(4) as u32);
        let subscription = SubscriptionId(take(8));
        let topic_len = take(2) as usize;
        let (topic, payload) = rest.split_at(topic_len);
        let topic = String::from_utf8(topic.to_vec()).unwrap();
        let (dup, retain, payload) = (flags & 4 != 0, flags & 8 != 0, payload.to_vec());
        Some((Frame { wire, qos, dup, retain, packet_id, alias, expires_in_s, subscription, topic, payload }, len))
    }

    pub fn read_all(mut bytes: &[u8]) -> Vec<Frame> {
        let mut all = Vec::new();
        while !bytes.is_empty() {
            let (frame, len) = Frame::read(bytes).expect("whole frames");
            all.push(frame);
            bytes = &bytes[len..];
        }
        all
    }
}

impl std::fmt::Display for Frame {
    /// `t=payload`, before it the packet identifier (`1#` with QoS 1, `1##` with QoS 2), behind it what is not usual.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.qos {
            0 => {}
            qos => write!(f, "{}{} ", self.packet_id, "#".repeat(qos.into()))?,
        }
        write!(f, "{}={}", self.topic, String::from_utf8_lossy(&self.payload))?;
        for (flag, name) in [(self.dup, " dup"), (self.retain, " retain")] {
            f.write_str(if flag { name } else { "" })?;
        }
        for (number, name) in
            [(u64::from(self.alias), "alias"), (self.subscription.0, "of"), (u64::from(self.expires_in_s), "for")]
        {
            if number > 0 {
                write!(f, " {name} {number}")?;
            }
        }
        Ok(())
    }
}

/// What was taken from an outbox, a line for each frame.
pub fn lines(taken: &Taken) -> Vec<String> {
    let parts = taken.parts.iter().map(|part| &part[..]).chain([&taken.tail[..]]);
    Frame::read_all(&parts.collect::<Vec<_>>().concat()).iter().map(Frame::to_string).collect()
}

/// Refills and takes, as the session's own task does; a line for each frame.
pub fn take(mailbox: &mut Mailbox) -> Vec<String> {
    mailbox.refill(NOW_MS);
    lines(&mailbox.take(Vec::new()))
}

/// A node with one realm, `realm1`, in which the role `anyone` may do everything.
pub fn node_with(limits: Limits) -> (Arc<Node>, Arc<Realm>) {
    let (node, realm) = node_without_log(limits);
    run_log(&node);
    (node, realm)
}

/// The same, but what is given to its log stays there.
pub fn node_without_log(limits: Limits) -> (Arc<Node>, Arc<Realm>) {
    let node = node_of(&["realm1"], limits);
    let realm = node.realm("realm1").unwrap();
    (node, realm)
}

/// A node with these realms and no log.
pub fn node_of(realms: &[&str], limits: Limits) -> Arc<Node> {
    let realm = |name: &&str| RealmSettings { name: (*name).to_owned(), ..RealmSettings::default() };
    let settings = Settings {
        limits,
        realms: realms.iter().map(realm).collect(),
        auto_realms: false,
        default_realm: "realm1".to_owned(),
        authorize: Box::new(|_| Authorizer::new([Role::unrestricted("anyone")])),
        users: Users::new([]).unwrap(),
        policies: Vec::new(),
        rules: Rules::default(),
    };
    Node::new(settings, 1)
}

/// Nobody can be told what is retained from now on.
pub fn begin_loading_keys(node: &Node) {
    node.realms().iter().for_each(|realm| realm.begin_loading());
}

/// And now everybody can.
pub fn keys_are_loaded(node: &Arc<Node>) {
    node.keys_are_loaded();
    let_time_pass(node);
}

/// Opens a log in memory that is worked by whoever submits.
pub fn run_log(node: &Arc<Node>) {
    run_log_on(node, Box::new(MemoryStore::default()), Arc::new(|| NOW_MS));
}

/// The same on this store and with this clock. What was submitted before is worked off.
pub fn run_log_on(node: &Arc<Node>, store: Box<dyn Store>, clock: ClockFn) {
    let log = node.open_log(store, clock()).unwrap();
    node.run_log_inline(log, clock);
    let_time_pass(node);
}

/// Has the log do what is due by its clock, and whoever else works in the background.
pub fn let_time_pass(node: &Arc<Node>) {
    node.house.work(node, NOW_MS);
    node.log.run_inline(node);
}

/// Opens a log on a store, worked by whoever submits, at the time that the clock says.
pub fn run_log_at(node: &Arc<Node>, store: Box<dyn Store>, clock_ms: &Arc<AtomicU64>) {
    let log = node.open_log(store, clock_ms.load(Ordering::Relaxed)).unwrap();
    let clock_ms = clock_ms.clone();
    node.run_log_inline(log, Arc::new(move || clock_ms.load(Ordering::Relaxed)));
}

/// Has the log do what is due.
pub fn run_due(node: &Arc<Node>) {
    node.log.run_inline(node);
}

/// Has the log go on after its store has failed.
pub fn recover(node: &Arc<Node>) {
    node.log.recover_inline(node).unwrap();
}

/// A store in memory that cannot be written while it is `broken`.
#[derive(Default)]
pub struct Flaky {
    store: MemoryStore,
    pub broken: Arc<AtomicBool>,
}

impl Store for Flaky {
    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("the disk is full".to_owned()));
        }
        self.store.commit(commit)
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.get(key)
    }

    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        self.store.reader()
    }
}

pub fn node() -> (Arc<Node>, Arc<Realm>) {
    node_with(Limits::default())
}

pub fn identity(name: &str) -> Identity {
    Identity { client_id: Some(name.to_owned()), ..Identity::new(name, "anyone", "anonymous") }
}

/// As MQTT subscribes.
pub fn merged(qos: Qos) -> Options {
    Options::Merged { qos, no_local: false, retain_as_published: false, identifier: None }
}

/// The pattern that MQTT writes so.
pub fn filter(text: &str) -> TopicPattern {
    TopicPattern::from_filter(text).unwrap()
}

/// The pattern that WAMP writes so.
pub fn uri(text: &str, policy: MatchPolicy) -> TopicPattern {
    TopicPattern::from_uri(text, policy).unwrap()
}

/// A publication of these bytes with nothing unusual about it.
pub fn publication(payload: &[u8], qos: Qos) -> Publication<'_> {
    Publication::plain(PayloadRef::Bytes(payload), qos)
}

/// A publisher for this session that may publish everywhere.
pub fn publisher(node: &Arc<Node>, realm: &Arc<Realm>, session: Option<&Session>) -> Publisher {
    let rights = realm.authorizer().rights("anyone", Who::default());
    let mut publisher =
        Publisher::new(node.clone(), realm.clone(), session.map(|session| session.id), rights, Protocol::Mqtt);
    publisher.now_ms = NOW_MS;
    publisher
}

/// A hook that answers when the test does.
#[derive(Clone, Default)]
pub struct TestHook(Arc<parking_lot::Mutex<std::collections::VecDeque<(Question, Done)>>>);

impl Hook for TestHook {
    fn ask(&self, question: Question, done: Done) {
        self.0.lock().push_back((question, done));
    }
}

impl TestHook {
    /// A node asks it from now on.
    pub fn of(node: &Arc<Node>) -> TestHook {
        let hook = TestHook::default();
        node.authorize_hook.set(Arc::new(hook.clone()));
        hook
    }

    /// What is asked first, as `action pattern`, and gives it this answer; `None`: it is dropped.
    pub fn answer(&self, said: Option<Said>) -> String {
        let (question, done) = self.0.lock().pop_front().expect("a question");
        if let Some(said) = said {
            done(said);
        }
        format!("{} {}", question.action.name(), question.pattern.uri().0)
    }

    /// Questions that wait.
    pub fn waiting(&self) -> usize {
        self.0.lock().len()
    }
}
