//! Clients that speak packets to their machines, on one node, with a clock of their own. Each test states a rule.
//!
//! What a client is sent is compared as words, one line per packet: see [`words`].

mod acknowledging;
mod asking;
mod connecting;
mod delivering;
mod entering;
mod fuzz;
mod limits;
mod proving;
mod publishing;
mod resuming;
mod retaining;
mod rpc;
mod sharing;
mod subscribing;
mod surviving;
mod waiting;
mod wills;
mod words;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;

use super::MqttGate;
use crate::mqtt::Settings;
use crate::mqtt::codec::{
    Ack, AckType, ConnackProperties, Connect, ConnectProperties, Disconnect, EVENT_ID, Level, Packet, PacketId,
    PropertySource, Publish, PublishProperties, ReasonCode, Role as Side, Subscribe, Subscription, Subscriptions,
    TopicFilters, Unsubscribe, UserProperties, Will, decode, frame_length,
};
use crate::net::gate::{Flow, Gate, Machine};
use crate::node::authenticate::Check;
use crate::node::metrics::{Drop, Protocol};
use crate::node::realm::Realm;
use crate::node::testing::{let_time_pass, recover, run_log_on};
use crate::node::users::{Credentials, UserEntry, Users};
use crate::node::{Node, RealmSettings, Settings as NodeSettings};
use crate::queue::retention::Policy;
use crate::router::authorize::{Authorizer, Role};
use crate::router::rules::Rules;
use crate::store::memory::MemoryStore;
use crate::store::{Commit, Store, StoreError, StoreReader};
use crate::types::event::Qos;
use crate::types::limits::Limits;
use crate::types::topic::TopicPattern;
use words::{encode, frames, words};

const NOW_MS: u64 = 1_700_000_000_000;

const Q0: Qos = Qos::AtMostOnce;
const Q1: Qos = Qos::AtLeastOnce;
const Q2: Qos = Qos::ExactlyOnce;

/// A node and what its clients come through.
struct World {
    node: Arc<Node>,
    settings: Arc<Settings>,
    setup: Setup,
    store: TestStore,
    now_ms: Arc<AtomicU64>,
}

/// A store that outlives its node, and fails while it is told to.
#[derive(Clone, Default)]
struct TestStore {
    kept: MemoryStore,
    fails: Arc<AtomicBool>,
}

impl Store for TestStore {
    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("told to fail".to_owned()));
        }
        self.kept.commit(commit)
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.kept.get(key)
    }

    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        self.kept.reader()
    }
}

#[derive(Clone)]
struct Setup {
    limits: Limits,
    users: Vec<UserEntry>,
    roles: Vec<Role>,
    realms: Vec<&'static str>,
    settings: Settings,
    /// Topics whose events are all in the log.
    durable: Vec<TopicPattern>,
    rules: Rules,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            users: Vec::new(),
            roles: vec![Role::unrestricted("anonymous"), Role::unrestricted("user")],
            realms: vec!["realm1"],
            settings: Settings { realm: None, anonymous: true, refuse_filters: Vec::new() },
            durable: Vec::new(),
            rules: Rules::default(),
        }
    }
}

impl Setup {
    fn limited(limit: impl FnOnce(&mut Limits)) -> Setup {
        let mut setup = Setup::default();
        limit(&mut setup.limits);
        setup
    }

    fn build(self) -> World {
        let world = self.build_stalled();
        world.run_log();
        world
    }

    /// A world whose log takes what it is given, and does nothing until it is run.
    fn build_stalled(self) -> World {
        let (store, now_ms) = (TestStore::default(), Arc::new(AtomicU64::new(NOW_MS)));
        World { node: self.node(), settings: Arc::new(self.settings.clone()), setup: self, store, now_ms }
    }

    fn node(&self) -> Arc<Node> {
        let roles = self.roles.clone();
        let realm = |name: &&str| RealmSettings { name: (*name).to_owned(), ..RealmSettings::default() };
        let settings = NodeSettings {
            limits: self.limits.clone(),
            realms: self.realms.iter().map(realm).collect(),
            auto_realms: false,
            default_realm: self.realms[0].to_owned(),
            authorize: Box::new(move |_| Authorizer::new(roles.clone())),
            users: Users::new(self.users.clone()).unwrap(),
            policies: self.durable.iter().map(policy).collect(),
            rules: self.rules.clone(),
        };
        Node::new(settings, 1)
    }
}

fn policy(pattern: &TopicPattern) -> Policy {
    Policy { realm: None, pattern: pattern.clone(), age_us_max: u64::MAX, bytes_max: u64::MAX, messages_max: u64::MAX }
}

impl World {
    fn new() -> World {
        Setup::default().build()
    }

    fn run_log(&self) {
        let now_ms = self.now_ms.clone();
        run_log_on(&self.node, Box::new(self.store.clone()), Arc::new(move || now_ms.load(Ordering::Relaxed)));
    }

    /// The broker dies and is started anew on the same store.
    fn restart(&mut self) {
        // Whatever the old one still does gets nowhere.
        self.store.fails.store(true, Ordering::Relaxed);
        self.store.fails = Arc::default();
        self.node = self.setup.node();
        self.run_log();
        crate::mqtt::restore(&self.node, &mut *self.store.reader().unwrap()).unwrap();
    }

    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    /// A connection on which nothing was said yet.
    fn open(&self, level: Level) -> Peer {
        let gate = MqttGate::new(
            self.node.clone(),
            self.settings.clone(),
            crate::types::peer::Peer::direct(([127, 0, 0, 1], 40000).into()),
            self.now_ms(),
        );
        Peer { gate, level, now_ms: self.now_ms.clone(), check: None, open: true, told: false, last_id: 0 }
    }

    /// A connection that has sent its CONNECT.
    fn connect(&self, connect: Connect<'_>) -> Peer {
        let mut peer = self.open(connect.level);
        let mut frame = Vec::new();
        connect.encode(&mut frame).unwrap();
        peer.feed(&frame);
        peer
    }

    /// A client that was let in.
    fn join(&self, connect: Connect<'_>) -> Peer {
        self.join_and_hear(connect, &[])
    }

    /// A client that was let in, and what it was sent behind CONNACK.
    fn join_and_hear(&self, connect: Connect<'_>, expected: &[&str]) -> Peer {
        let mut peer = self.connect(connect);
        let heard = peer.hear();
        assert!(heard[0].starts_with("connack Success"), "{heard:?}");
        assert_eq!(heard[1..], *expected);
        peer
    }

    /// Lets time pass for the node. The log's own time is some microseconds ahead of it: it counts segments.
    fn pass(&self, ms: u64) {
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
        self.node.tick(self.now_ms());
        let_time_pass(&self.node);
    }

    /// Sets a retained message.
    fn retain(&self, topic: &str, payload: &str) {
        let mut peer = self.join(v5("retains"));
        peer.send_publish(Publish { retain: true, ..publish(topic, payload, Q0) });
        peer.send_packet(&Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
    }
}

fn v5(client_id: &str) -> Connect<'_> {
    Connect {
        level: Level::V5,
        clean_start: true,
        keep_alive_s: 0,
        client_id,
        will: None,
        user_name: None,
        password: None,
        properties: ConnectProperties::default(),
    }
}

fn v4(client_id: &str) -> Connect<'_> {
    Connect { level: Level::V4, ..v5(client_id) }
}

/// A session that is kept for so long, taken up again if it is there.
fn kept(client_id: &str, session_expiry_s: u32) -> Connect<'_> {
    let properties = ConnectProperties { session_expiry_s, ..ConnectProperties::default() };
    Connect { clean_start: false, properties, ..v5(client_id) }
}

fn realm(world: &World) -> Arc<Realm> {
    world.node.realm("realm1").unwrap()
}

/// Publications and copies that were dropped for this reason.
fn dropped(world: &World, reason: Drop) -> u64 {
    world.node.metrics.of(Protocol::Mqtt).dropped[reason as usize].load(Ordering::Relaxed)
}

/// Asks the properties of the CONNACK that a client is sent.
fn connack_properties<T>(peer: &mut Peer, ask: impl Fn(&ConnackProperties<'_>) -> T) -> T {
    let bytes = peer.bytes();
    match decode(frames(&bytes)[0], peer.level, Side::Client).unwrap() {
        Packet::Connack(connack) => ask(&connack.properties),
        other => panic!("no CONNACK: {other:?}"),
    }
}

fn publish<'a>(topic: &'a str, payload: &'a str, qos: Qos) -> Publish<'a> {
    Publish { topic: topic.as_bytes(), payload: payload.as_bytes(), qos, ..Publish::default() }
}

fn will<'a>(topic: &'a str, payload: &'a str) -> Will<'a> {
    Will { topic, payload: payload.as_bytes(), ..Will::default() }
}

fn to(filter: &str, qos: Qos) -> Subscription<'_> {
    Subscription { filter, qos, ..Subscription::default() }
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn packet_id(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

/// One connection, and what a pump would do with its machine.
struct Peer {
    gate: MqttGate,
    level: Level,
    now_ms: Arc<AtomicU64>,
    /// A password check that is under way.
    check: Option<Check>,
    open: bool,
    /// That it was closed has been heard.
    told: bool,
    last_id: u16,
}

impl Peer {
    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    /// Bytes from the client, all of them complete packets.
    fn feed(&mut self, bytes: &[u8]) {
        assert!(self.open, "fed after the end");
        let received = self.gate.receive(&Bytes::copy_from_slice(bytes), self.now_ms());
        if matches!(received.flow, Flow::Continue) {
            assert_eq!(received.consumed, bytes.len());
        }
        self.follow(received.flow);
        // Its task would be woken.
        self.gate.hear(self.now_ms());
    }

    fn follow(&mut self, flow: Flow) {
        match flow {
            Flow::Continue => {}
            Flow::Close => self.open = false,
            Flow::Verify(check) => self.check = Some(check),
        }
    }

    /// Runs the password check that the machine asked for.
    fn verify(&mut self) {
        let Some(Check::Blocking(check)) = self.check.take() else { panic!("no check of a password") };
        let flow = self.gate.verified(check(), self.now_ms());
        self.follow(flow);
    }

    /// Everything that the client is sent now, and `closed` behind it when the connection is.
    fn hear(&mut self) -> Vec<String> {
        let mut heard = words(&self.bytes(), self.level);
        if !self.open && !self.told {
            self.told = true;
            heard.push("closed".to_owned());
        }
        heard
    }

    /// The bytes of what the client is sent now.
    fn bytes(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        if let Some(reason) = self.gate.link().asked_to_end()
            && self.open
        {
            self.gate.end(reason, self.now_ms());
            self.open = false;
        }
        if self.open && self.gate.deadline_ms().is_some_and(|at| at <= self.now_ms()) {
            let flow = self.gate.expired(self.now_ms());
            self.follow(flow);
        }
        self.write(&mut bytes);
        bytes
    }

    /// Appends what the machine has to be written, until neither it has any nor was woken for more.
    fn write(&mut self, bytes: &mut Vec<u8>) {
        loop {
            let taken = self.gate.take(Vec::new(), self.now_ms());
            if taken.bytes() == 0 && !self.gate.link().take_ready() {
                return;
            }
            taken.parts.iter().for_each(|part| bytes.extend_from_slice(part));
            bytes.extend_from_slice(&taken.tail);
        }
    }

    /// The socket is gone.
    fn cut(self) {}

    /// The client says goodbye.
    fn leave(mut self) {
        self.send_packet(&Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
        assert_eq!(self.hear(), ["closed"]);
    }

    fn send_packet(&mut self, packet: &Packet<'_>) {
        let mut frame = Vec::new();
        encode(packet, self.level, &mut frame);
        self.feed(&frame);
    }

    /// A PUBLISH, with the next packet identifier if it needs one and has none.
    fn send_publish(&mut self, mut publish: Publish<'_>) {
        if publish.qos != Q0 && publish.packet_id.is_none() {
            publish.packet_id = Some(self.next_id());
        }
        self.send_packet(&Packet::Publish(publish));
    }

    fn publish(&mut self, topic: &str, payload: &str, qos: Qos) {
        self.send_publish(publish(topic, payload, qos));
    }

    fn publish_with(&mut self, publish: Publish<'_>, properties: &PublishProperties<'_>) {
        self.send_publish(Publish { properties: PropertySource::Own(properties), ..publish });
    }

    fn send_subscribe(&mut self, identifier: Option<u32>, subscriptions: &[Subscription<'_>]) {
        let subscribe = Subscribe {
            packet_id: self.next_id(),
            subscription_identifier: identifier,
            user_properties: UserProperties::default(),
            subscriptions: Subscriptions::new(subscriptions),
        };
        self.send_packet(&Packet::Subscribe(subscribe));
    }

    /// A SUBSCRIBE with user properties.
    fn ask_past(&mut self, pairs: &[(&str, &str)], subscriptions: &[Subscription<'_>]) {
        self.ask_past_with(None, pairs, subscriptions);
    }

    fn ask_past_with(&mut self, identifier: Option<u32>, pairs: &[(&str, &str)], subscriptions: &[Subscription<'_>]) {
        let pairs = owned(pairs);
        let subscribe = Subscribe {
            packet_id: self.next_id(),
            subscription_identifier: identifier,
            user_properties: UserProperties::new(&pairs),
            subscriptions: Subscriptions::new(subscriptions),
        };
        self.send_packet(&Packet::Subscribe(subscribe));
    }

    /// Subscribes; nothing else may have been sent meanwhile. What follows SUBACK is returned.
    fn subscribe(&mut self, filter: &str, qos: Qos) -> Vec<String> {
        self.subscribe_with(None, to(filter, qos))
    }

    fn subscribe_with(&mut self, identifier: Option<u32>, subscription: Subscription<'_>) -> Vec<String> {
        self.send_subscribe(identifier, &[subscription]);
        let granted = ["Success", "GrantedQos1", "GrantedQos2"][subscription.qos as usize];
        let mut heard = self.hear();
        assert!(!heard.is_empty(), "no SUBACK");
        assert_eq!(heard.remove(0), format!("suback #{} {granted}", self.last_id));
        heard
    }

    fn send_unsubscribe(&mut self, filters: &[&str]) {
        let unsubscribe = Unsubscribe {
            packet_id: self.next_id(),
            user_properties: UserProperties::default(),
            filters: TopicFilters::new(filters),
        };
        self.send_packet(&Packet::Unsubscribe(unsubscribe));
    }

    fn ack(&mut self, kind: AckType, id: u16) {
        self.ack_with(kind, id, ReasonCode::Success);
    }

    fn ack_with(&mut self, kind: AckType, id: u16, reason: ReasonCode) {
        let ack = Ack::new(packet_id(id), reason);
        self.send_packet(&match kind {
            AckType::Puback => Packet::Puback(ack),
            AckType::Pubrec => Packet::Pubrec(ack),
            AckType::Pubrel => Packet::Pubrel(ack),
            AckType::Pubcomp => Packet::Pubcomp(ack),
        });
    }

    fn next_id(&mut self) -> PacketId {
        self.last_id += 1;
        packet_id(self.last_id)
    }
}

impl std::ops::Drop for Peer {
    fn drop(&mut self) {
        self.gate.closed(self.now_ms());
    }
}
