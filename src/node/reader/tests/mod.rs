//! Sessions that read a log which the test writes: what a segment holds, when the feed routes it, when the store is read, when a
//! connection runs and what its client does are all the test's to say.

mod each;
mod own;
mod random;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::delivery::inflight::Receipt;
use crate::node::Node;
use crate::node::link::Link;
use crate::node::log::history::History;
use crate::node::mailbox::{Mailbox, Offered};
use crate::node::metrics::Protocol;
use crate::node::publish::Publisher;
use crate::node::realm::Realm;
use crate::node::session::Session;
use crate::node::testing::{Frame, NOW_MS, filter, identity, node_without_log, wire};
use crate::queue::command::Cursor;
use crate::queue::message::{Batch, Head};
use crate::queue::segment::{Segment, TopicShare};
use crate::store::memory::MemoryStore;
use crate::store::{Commit, Store, StoreReader};
use crate::types::event::{Event, Place, Qos};
use crate::types::ids::{PublicationId, SessionId, SubscriptionId};
use crate::types::limits::Limits;
use crate::types::payload::{Codec, PayloadRef};
use crate::types::topic::Topic;

use super::wants::Want;
use super::{Reading, Start};
use crate::router::broker::Options;

const WIRE: u8 = 1;

/// What stands under a number.
#[derive(Clone, Debug)]
pub enum Said {
    Event {
        topic: &'static str,
        qos: Qos,
        from: Option<SessionId>,
    },
    /// Counts for nothing.
    Void {
        topic: &'static str,
    },
    /// Has no event.
    Gap,
}

pub fn said(topic: &'static str, qos: Qos) -> Said {
    Said::Event { topic, qos, from: None }
}

/// A log that is written by hand.
pub struct World {
    pub node: Arc<Node>,
    pub realm: Arc<Realm>,
    store: MemoryStore,
    publisher: Publisher,
    /// By number, from 1 on.
    pub log: Vec<Said>,
    /// Bytes of each payload, at least.
    pub width: usize,
    /// Unless 0: payloads are objects with so many different keys.
    pub keys: u64,
    segments: Vec<Segment>,
    /// Segments that the feed has begun to route.
    fed: usize,
    /// What it still has to route of the last of them.
    routing: VecDeque<u64>,
}

impl World {
    /// A world whose history keeps so many bytes.
    pub fn new(history_bytes: usize) -> Self {
        let limits = Limits { outbox_bytes_max: 4000, ..Limits::default() };
        let (mut node, realm) = node_without_log(limits);
        drop(realm);
        Arc::get_mut(&mut node).unwrap().log.history = History::impatient(history_bytes);
        node.log.history.begin(0);
        let realm = node.realm("realm1").unwrap();
        let publisher = Publisher::for_broker(node.clone(), realm.clone(), Protocol::Mqtt);
        Self {
            node,
            realm,
            store: MemoryStore::default(),
            publisher,
            log: Vec::new(),
            width: 0,
            keys: 0,
            segments: Vec::new(),
            fed: 0,
            routing: VecDeque::new(),
        }
    }

    pub fn last(&self) -> u64 {
        self.log.len() as u64
    }

    /// Commits a segment, of which the last `set_off` messages were set off. Payloads are their numbers.
    pub fn commit(&mut self, all: &[Said], set_off: usize) {
        let first = self.last() + 1;
        let (mut body, mut other) = (Batch::default(), Batch::default());
        let mut voids = Vec::new();
        let mut topics: BTreeMap<&str, u32> = BTreeMap::new();
        for (at, said) in all.iter().enumerate() {
            let batch = if at + set_off < all.len() { &mut body } else { &mut other };
            let text = self.text(first + at as u64);
            let (topic, qos, publisher) = match said {
                Said::Event { topic, qos, from } => (*topic, *qos, *from),
                Said::Void { topic } => {
                    voids.push(at as u32);
                    (*topic, Qos::AtLeastOnce, None)
                }
                Said::Gap => {
                    batch.gap(1);
                    continue;
                }
            };
            *topics.entry(topic).or_default() += 1;
            batch.message(&head(topic, qos, publisher), PayloadRef::Bytes(text.as_bytes()), None);
        }
        let position = self.segments.len() as u64 + 1;
        let share = |(topic, messages): (&str, u32)| TopicShare {
            realm: "realm1".into(),
            topic: topic.into(),
            messages,
            bytes: 1,
        };
        let segment = Segment {
            position,
            first,
            count: all.len() as u32,
            at_us: position,
            minute: 1,
            generator: position,
            body: body.into_bytes(),
            set_off: other.into_bytes(),
            voids,
            topics: topics.into_iter().map(share).collect(),
        };
        self.store.commit(&Commit { segments: vec![segment.clone()], ..Commit::default() }).unwrap();
        self.segments.push(segment);
        self.log.extend_from_slice(all);
    }

    fn text(&self, number: u64) -> String {
        match self.keys {
            0 => format!("{number:0width$}", width = self.width),
            keys => format!(r#"{{"number":{number},"key":{}}}"#, number % keys),
        }
    }

    pub fn store(&self) -> MemoryStore {
        self.store.clone()
    }

    pub fn event_id(&self, number: u64) -> String {
        let segment = self.segments.iter().find(|segment| segment.last() >= number).unwrap();
        segment.event_id(number).to_string()
    }

    /// Commits and routes.
    pub fn publish(&mut self, all: &[Said]) {
        self.commit(all, 0);
        self.feed_all();
    }

    /// One step of the feed thread; `false`: there is nothing to be fed.
    pub fn feed(&mut self) -> bool {
        if let Some(number) = self.routing.pop_front() {
            self.route(number);
            if self.routing.is_empty() {
                self.publisher.finish();
            }
            return true;
        }
        let Some(segment) = self.segments.get(self.fed) else { return false };
        self.fed += 1;
        self.node.log.history.fed_segment(Arc::new(segment.clone()));
        self.routing.extend(segment.first..=segment.last());
        true
    }

    /// What is staged is handed over, as happens when a run ends.
    pub fn flush(&mut self) {
        self.publisher.flush();
    }

    pub fn feed_all(&mut self) {
        while self.feed() {}
    }

    fn route(&mut self, number: u64) {
        let Said::Event { topic, qos, from } = self.log[number as usize - 1] else { return };
        self.publisher.now_ms = NOW_MS;
        let target = self.publisher.look_up(topic.as_bytes(), |_| Topic::from_name(topic)).unwrap();
        let topic = Arc::new(Topic::from_name(topic).unwrap());
        let text = self.text(number);
        let event = Event {
            topic: &topic,
            payload: PayloadRef::Bytes(text.as_bytes()),
            codec: Codec::Auto,
            qos,
            retain: false,
            publication: PublicationId(number),
            place: Some(Place { number, id: Default::default() }),
            properties: None,
            publisher: None,
            expires_at_ms: None,
            expires_in_s: None,
        };
        self.publisher.deliver(target, &event, from, false, None);
    }

    /// One piece of work of the thread that reads the store; `false`: there was none.
    pub fn read_store(&mut self) -> bool {
        let mut reader: Box<dyn StoreReader> = Box::new(self.store.clone());
        self.node.log.history.work(&mut *reader)
    }

    /// Gives up the oldest segments, as retention does.
    pub fn drop_segments(&mut self, count: usize) {
        let dropped = self.segments[..count].iter().map(|segment| segment.position).collect();
        self.store.commit(&Commit { dropped, ..Commit::default() }).unwrap();
    }
}

fn head(topic: &str, qos: Qos, publisher: Option<SessionId>) -> Head<'_> {
    Head {
        realm: "realm1",
        topic,
        publisher,
        exclude_publisher: false,
        qos,
        retain: false,
        format: None,
        judged: false,
    }
}

/// What a client holds of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// To be acknowledged.
    Received { qos: u8, number: u64 },
    /// PUBREC was sent: it will not be delivered again to the application until PUBREL came.
    Recorded,
    /// PUBREL came.
    Released,
}

/// A session, its connection and the client at the other end.
pub struct Peer {
    pub session: Arc<Session>,
    pub link: Option<Arc<Link>>,
    /// Written, and not read by the client.
    pub written: Vec<u8>,
    /// By packet identifier.
    pub held: BTreeMap<u16, Held>,
    /// What the application was given, in order: its number and whether it was marked as perhaps given before.
    pub got: Vec<(u64, bool)>,
    pub progress: Option<Cursor>,
    pub recorded: Cursor,
}

/// The number that a frame tells.
pub fn number_of(frame: &Frame) -> u64 {
    let text = String::from_utf8(frame.payload.clone()).unwrap();
    let text = text.strip_prefix(r#"{"number":"#).and_then(|text| text.split(',').next()).unwrap_or(&text);
    text.parse().unwrap()
}

/// Stands before a packet identifier in place of a frame: PUBREL.
const RELEASE: u8 = 255;

fn release(packet_id: u16, out: &mut Vec<u8>) {
    out.push(RELEASE);
    out.extend(packet_id.to_be_bytes());
}

impl Peer {
    /// A session that is recorded, or not; without a connection.
    pub fn new(world: &World, name: &str, recorded: bool) -> Self {
        Self::with_id(world, world.node.new_session_id(), name, recorded)
    }

    pub fn with_id(world: &World, id: SessionId, name: &str, recorded: bool) -> Self {
        let session = world.node.new_session_with_id(id, identity(name), wire(WIRE).as_ref(), recorded);
        let reading = Reading {
            node: Arc::downgrade(&world.node),
            realm: Arc::downgrade(&world.realm),
            session: Arc::downgrade(&session),
            rights: None,
            recorded,
        };
        session.mailbox().read_log(reading);
        world.realm.set_away(&session, true);
        let (held, recorded) = (BTreeMap::new(), Cursor { sent_to: world.last(), ..Cursor::default() });
        Self { session, link: None, written: Vec::new(), held, got: Vec::new(), progress: None, recorded }
    }

    /// Subscribes as MQTT does; with `after` to older events, too.
    pub fn subscribe(&self, world: &World, pattern: &str, qos: Qos, after: Option<u64>) {
        let options = Options::Merged {
            qos,
            no_local: false,
            retain_as_published: false,
            identifier: Some(pattern.len() as u32),
        };
        let since = world.node.log.fed();
        self.subscribe_as(world, pattern, options, since, after);
    }

    pub fn subscribe_as(&self, world: &World, pattern: &str, options: Options, since: u64, after: Option<u64>) {
        let made = options.clone();
        world.realm.subscribe(&self.session, &filter(pattern), None, made, |subscribed, mailbox| {
            let want = Want { pattern: filter(pattern), options, subscription: subscribed.id, since, follows: false };
            mailbox.want(pattern, want, after);
        });
    }

    /// Subscribes as WAMP does, with a reader from `after` on.
    pub fn read(&self, world: &World, pattern: &str, after: u64, change: impl FnOnce(&mut Start)) -> SubscriptionId {
        let subscribed =
            world.realm.subscribe(&self.session, &filter(pattern), None, Options::Each, |subscribed, mailbox| {
                let mut start = start(pattern, subscribed.id, after);
                change(&mut start);
                mailbox.start_reader(subscribed.id, start);
            });
        subscribed.id
    }

    pub fn connect(&mut self, world: &World, receive_max: u16) {
        let link = Arc::new(Link::default());
        {
            let mut mailbox = self.session.mailbox();
            mailbox.attach(link.clone(), wire(WIRE).as_ref(), receive_max, usize::MAX, 0);
            mailbox.release_again(release);
        }
        world.realm.set_away(&self.session, false);
        self.link = Some(link);
        self.written.clear();
        self.progress = None;
        // What it has seen of QoS 2 it remembers; all else will come again.
        self.held.retain(|_, held| *held != Held::Released && !matches!(held, Held::Received { qos: 1, .. }));
    }

    pub fn disconnect(&mut self, world: &World) {
        let Some(link) = self.link.take() else { return };
        {
            let mut mailbox = self.session.mailbox();
            assert!(mailbox.detach(&link));
            if let Some(cursor) = mailbox.take_progress() {
                self.recorded = cursor;
            }
        }
        world.realm.set_away(&self.session, true);
        self.written.clear();
    }

    /// The connection's task runs: it refills and writes once. Whether there was anything to be written.
    pub fn run(&mut self) -> bool {
        if self.link.is_none() {
            return false;
        }
        let mut mailbox = self.session.mailbox();
        let offered = mailbox.refill(NOW_MS);
        assert_eq!(dropped(offered), 0, "{offered:?}");
        let taken = mailbox.take(Vec::new());
        if let Some(cursor) = mailbox.take_progress() {
            assert_eq!(self.progress.replace(cursor), None, "one at a time");
        }
        drop(mailbox);
        let before = self.written.len();
        taken.parts.iter().for_each(|part| self.written.extend_from_slice(part));
        self.written.extend_from_slice(&taken.tail);
        self.written.len() > before
    }

    /// The log has what the connection asked it to record.
    pub fn record(&mut self) -> bool {
        let Some(cursor) = self.progress.take() else { return false };
        self.recorded = cursor;
        if let Some(link) = &self.link {
            self.session.mailbox().progress_recorded(link, release);
        }
        true
    }

    /// The client reads what was written, up to `count` packets.
    pub fn receive(&mut self, count: usize) {
        for _ in 0..count {
            let Some(&first) = self.written.first() else { return };
            if first == RELEASE {
                let packet_id = u16::from_be_bytes([self.written[1], self.written[2]]);
                self.written.drain(..3);
                self.held.insert(packet_id, Held::Released);
                continue;
            }
            let (frame, len) = Frame::read(&self.written).unwrap();
            self.written.drain(..len);
            self.take(&frame);
        }
    }

    fn take(&mut self, frame: &Frame) {
        let number = number_of(frame);
        if frame.qos == 0 {
            return self.got.push((number, frame.dup));
        }
        match self.held.get_mut(&frame.packet_id) {
            // QoS 2, seen before: it is not given to the application.
            Some(Held::Received { qos: 2, number: known }) => {
                assert_eq!(*known, number, "another under its identifier")
            }
            Some(held @ Held::Recorded) => *held = Held::Received { qos: 2, number },
            Some(other) => panic!("{number}: the packet identifier is in use: {other:?}"),
            None => {
                self.held.insert(frame.packet_id, Held::Received { qos: frame.qos, number });
                self.got.push((number, frame.dup));
            }
        }
    }

    /// The client sends one acknowledgement that it owes; `false`: it owes none.
    pub fn acknowledge(&mut self, place: usize) -> bool {
        let owing = self.held.iter().filter(|(_, held)| **held != Held::Recorded);
        let Some((&packet_id, &held)) = owing.clone().nth(place).or(owing.clone().next()) else { return false };
        let mut mailbox = self.session.mailbox();
        match held {
            Held::Received { qos: 1, .. } => {
                mailbox.acknowledge(packet_id);
                self.held.remove(&packet_id);
            }
            Held::Received { .. } => {
                match mailbox.receive(packet_id) {
                    Receipt::Record => {}
                    Receipt::Release => mailbox.outbox.reply_with(|out| release(packet_id, out)),
                    Receipt::Unknown => panic!("PUBREC {packet_id} for nothing"),
                }
                self.held.insert(packet_id, Held::Recorded);
            }
            Held::Recorded => {}
            Held::Released => {
                mailbox.complete(packet_id);
                self.held.remove(&packet_id);
            }
        }
        true
    }

    /// Numbers that the application was given.
    pub fn numbers(&self) -> Vec<u64> {
        self.got.iter().map(|(number, _)| *number).collect()
    }

    pub fn mailbox(&self) -> impl std::ops::DerefMut<Target = Mailbox> + '_ {
        self.session.mailbox()
    }

    /// Everything goes on until nothing more happens.
    pub fn settle(&mut self, world: &mut World) {
        loop {
            let mut busy = world.feed() | self.run() | self.record() | world.read_store();
            self.receive(usize::MAX);
            while self.acknowledge(0) {
                busy = true;
            }
            let woken = self.link.as_ref().is_some_and(|link| link.take_ready());
            if !busy && !woken {
                return;
            }
        }
    }
}

fn start(pattern: &str, subscription: SubscriptionId, after: u64) -> Start {
    let want = Want { pattern: filter(pattern), options: Options::Each, subscription, since: after, follows: true };
    Start { want, after, until: None, route: None, durable: None, filter: None, recovery: None }
}

fn dropped(offered: Offered) -> u32 {
    offered.dropped_full + offered.dropped_large + offered.untranslatable
}
