//! Three entries in one process, linked by hand: what they say waits until [`World::settle`] brings it there.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use super::*;
use crate::cluster::frame::Beside;
use crate::node::Node;
use crate::node::link::Link;
use crate::node::peers::Carried;
use crate::node::peers::calls::Unsaid;
use crate::node::publish::{Fate, Publication, Published};
use crate::node::realm::Realm;
use crate::node::session::{Session, Touched};
use crate::node::testing::{
    NOW_MS, TestWire, filter, identity, merged, node_of, publication, publisher, run_log, take, wire,
};
use crate::node::wire::{Encoded, Unencodable, Wire, WireId, WireRef};
use crate::queue::envelope::NodeId;
use crate::router::interest::PeerId;
use crate::router::output::Output;
use crate::types::event::{Discloser, Event, Filter, Properties, Qos, StoredEvent, Terms};
use crate::types::ids::SessionId;
use crate::types::limits::Limits;
use crate::types::payload::{Format, PayloadRef};
use crate::types::topic::Topic;

mod calls;

type Sent = Arc<Mutex<VecDeque<(usize, Bytes)>>>;

struct World {
    entries: Vec<Entry>,
    /// Pairs without a link.
    cut: BTreeSet<(usize, usize)>,
    wire: &'static TestWire,
}

struct Entry {
    id: NodeId,
    node: Arc<Node>,
    realm: Arc<Realm>,
    exchange: Exchange,
    /// Events that were sent: to whom, and the body.
    sent: Sent,
    /// Frames about calls.
    frames: Sent,
    /// What becomes of those that may be dropped; [`None`]: they are sent.
    unsaid: Arc<Mutex<Option<Unsaid>>>,
}

struct Client {
    session: Arc<Session>,
}

impl Client {
    fn take(&self) -> Vec<String> {
        take(&mut self.session.mailbox())
    }
}

fn ids() -> Vec<NodeId> {
    ["E1", "E2", "E3"].map(NodeId::entry).to_vec()
}

/// An entry that begins a life; `linked`: the others, by whether a link stands.
fn entry(at: usize, linked: impl Fn(usize) -> bool) -> Entry {
    let all = ids();
    let others: Vec<usize> = (0..all.len()).filter(|other| *other != at).collect();
    let peers: Vec<NodeId> = others.iter().map(|other| all[*other].clone()).collect();
    let node = node_of(&["realm1", "realm2"], Limits::default());
    let sent = Sent::default();
    let (out, to) = (sent.clone(), others.clone());
    let send = move |peer: PeerId, body| {
        out.lock().push_back((to[peer.0 as usize], body));
        Carried::Sent
    };
    node.open_peers(Box::new(send), Box::new(|| {}));
    let (frames, unsaid) = (Sent::default(), Arc::new(Mutex::new(None)));
    let (out, fate, to) = (frames.clone(), unsaid.clone(), others.clone());
    let say = move |peer: PeerId, frame, droppable: bool| match *fate.lock() {
        Some(unsaid) if droppable => Err(unsaid),
        _ => {
            out.lock().push_back((to[peer.0 as usize], frame));
            Ok(())
        }
    };
    node.open_calls(super::calls::rank(&all[at]), Box::new(say));
    run_log(&node);
    let stands = |node: &NodeId| all.iter().position(|known| known == node).is_some_and(&linked);
    // At run time no two nodes draw the same.
    static LIVES: AtomicUsize = AtomicUsize::new(0);
    for _ in 0..LIVES.fetch_add(1, Ordering::Relaxed) % 1000 {
        node.random();
    }
    let exchange = Exchange::new(node.clone(), &peers, stands);
    let realm = node.realm("realm1").unwrap();
    Entry { id: all[at].clone(), node, realm, exchange, sent, frames, unsaid }
}

/// Three entries, all linked.
fn world() -> World {
    let mut world =
        World { entries: (0..3).map(|at| entry(at, |_| false)).collect(), cut: BTreeSet::new(), wire: wire(1) };
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        world.connect(a, b);
    }
    world.settle();
    world
}

impl World {
    fn connect(&mut self, a: usize, b: usize) {
        self.cut.remove(&(a.min(b), a.max(b)));
        let (a_id, b_id) = (self.entries[a].id.clone(), self.entries[b].id.clone());
        self.entries[a].exchange.connected(&b_id);
        self.entries[b].exchange.connected(&a_id);
    }

    fn disconnect(&mut self, a: usize, b: usize) {
        self.cut.insert((a.min(b), a.max(b)));
        let (a_id, b_id) = (self.entries[a].id.clone(), self.entries[b].id.clone());
        self.entries[a].exchange.disconnected(&b_id);
        self.entries[b].exchange.disconnected(&a_id);
    }

    /// Brings everything where it belongs, until nothing more is said. Returns how many bodies of events went between which entries.
    fn settle(&mut self) -> Vec<(usize, usize)> {
        let mut carried = Vec::new();
        loop {
            let mut quiet = true;
            for at in 0..self.entries.len() {
                self.entries[at].exchange.finish();
                let from = self.entries[at].id.clone();
                for (to, what, body) in self.entries[at].exchange.take() {
                    quiet = false;
                    let to = self.entries.iter().position(|entry| entry.id == to).unwrap();
                    if self.cut.contains(&(at.min(to), at.max(to))) {
                        continue;
                    }
                    match what {
                        Beside::Callees => self.entries[to].exchange.hear_callees(&from, &body, NOW_MS),
                        _ => self.entries[to].exchange.hear(&from, &body),
                    }
                }
                let events: Vec<_> = self.entries[at].sent.lock().drain(..).collect();
                for (to, body) in events {
                    quiet = false;
                    carried.push((at, to));
                    self.entries[to].exchange.receive(&from, &body, NOW_MS);
                }
                let frames: Vec<_> = self.entries[at].frames.lock().drain(..).collect();
                for (to, frame) in frames {
                    quiet = false;
                    if !self.cut.contains(&(at.min(to), at.max(to))) {
                        self.entries[to].exchange.receive_call(&from, &frame, NOW_MS);
                    }
                }
            }
            if quiet {
                return carried;
            }
        }
    }

    fn client(&self, at: usize, name: &str) -> Client {
        let Entry { node, realm, .. } = &self.entries[at];
        let session = node.new_session(identity(name), self.wire.as_ref(), false);
        session.mailbox().attach(Arc::new(Link::default()), self.wire.as_ref(), 1000, usize::MAX, 0);
        realm.set_wire(&session, self.wire.as_ref(), false);
        realm.join(session.clone());
        Client { session }
    }

    /// A client at an entry that is subscribed to this, as MQTT subscribes.
    fn subscriber(&self, at: usize, text: &str, group: Option<&str>) -> Client {
        let client = self.client(at, &format!("{at}{text}"));
        let qos = merged(Qos::ExactlyOnce);
        self.entries[at].realm.subscribe(&client.session, &filter(text), group, qos, |_, _| {});
        client
    }

    fn publish(&self, at: usize, topic: &str, publications: &[Publication<'_>]) -> Vec<Fate> {
        let Entry { node, realm, .. } = &self.entries[at];
        let mut publisher = publisher(node, realm, None);
        let target = publisher.look_up(topic.as_bytes(), |_| Topic::from_name(topic)).unwrap();
        let fates = publications.iter().map(|publication| publisher.publish(target, publication).unwrap()).collect();
        publisher.finish();
        fates
    }

    fn say(&self, at: usize, topic: &str, payloads: &[&str]) -> Vec<Fate> {
        let all: Vec<_> = payloads.iter().map(|text| publication(text.as_bytes(), Qos::AtMostOnce)).collect();
        self.publish(at, topic, &all)
    }
}

#[test]
fn events_go_to_the_entries_that_want_them_and_to_no_other() {
    let mut world = world();
    let (here, there) = (world.subscriber(0, "t/+", None), world.subscriber(1, "t/1", None));
    let other = world.subscriber(2, "u", None);
    world.settle();
    world.say(0, "t/1", &["a"]);
    assert_eq!(world.settle(), [(0, 1)]);
    world.say(0, "t/2", &["b"]);
    assert_eq!(world.settle(), []);
    assert_eq!(here.take(), ["t/1=a", "t/2=b"]);
    assert_eq!(there.take(), ["t/1=a"]);
    assert!(other.take().is_empty());
}

#[test]
fn what_came_from_an_entry_is_not_passed_on() {
    let mut world = world();
    let all: Vec<_> = (0..3).map(|at| world.subscriber(at, "#", None)).collect();
    world.settle();
    world.say(1, "t", &["a"]);
    assert_eq!(world.settle(), [(1, 0), (1, 2)]);
    for client in &all {
        assert_eq!(client.take(), ["t=a"]);
    }
}

#[test]
fn events_of_a_publisher_arrive_in_their_order_and_a_batch_is_one_body() {
    let mut world = world();
    let there = world.subscriber(1, "t", None);
    world.settle();
    world.say(0, "t", &["a", "b", "c"]);
    assert_eq!(world.settle(), [(0, 1)]);
    assert_eq!(there.take(), ["t=a", "t=b", "t=c"]);
}

#[test]
fn an_event_that_only_another_entry_wants_has_found_somebody() {
    let mut world = world();
    let _there = world.subscriber(1, "t", None);
    world.settle();
    let matched = |fates: Vec<Fate>| matches!(fates[..], [Fate::Routed(Published { matched: true, .. })]);
    assert!(matched(world.say(0, "t", &["a"])));
    assert!(!matched(world.say(0, "u", &["a"])));
}

#[test]
fn the_last_who_unsubscribes_ends_it() {
    let mut world = world();
    let (one, two) = (world.subscriber(1, "t", None), world.subscriber(1, "t", None));
    world.settle();
    for (client, expected) in [(&one, vec![(0, 1)]), (&two, vec![])] {
        world.entries[1].realm.unsubscribe(&client.session, &filter("t"), None, |_, _| {});
        world.settle();
        world.say(0, "t", &["a"]);
        assert_eq!(world.settle(), expected);
    }
}

#[test]
fn a_lost_link_ends_it_and_a_new_one_tells_all_anew() {
    let mut world = world();
    let there = world.subscriber(1, "t", None);
    world.settle();
    world.disconnect(0, 1);
    world.say(0, "t", &["lost"]);
    assert_eq!(world.settle(), []);
    let later = world.subscriber(1, "u", None);
    world.settle();
    world.connect(0, 1);
    world.settle();
    world.say(0, "t", &["a"]);
    world.say(0, "u", &["b"]);
    assert_eq!(world.settle(), [(0, 1), (0, 1)]);
    assert_eq!((there.take(), later.take()), (vec!["t=a".to_owned()], vec!["u=b".to_owned()]));
}

#[test]
fn a_new_life_of_an_entry_asks_what_the_others_want_and_they_forget_what_the_old_one_wanted() {
    let mut world = world();
    let there = world.subscriber(1, "t", None);
    let _before = world.subscriber(0, "old", None);
    world.settle();
    // The links stay.
    world.entries[0] = entry(0, |_| true);
    world.settle();
    world.say(0, "t", &["a"]);
    world.say(1, "old", &["b"]);
    assert_eq!(world.settle(), [(0, 1)]);
    assert_eq!(there.take(), ["t=a"]);
}

#[test]
fn qos_publication_id_properties_publisher_and_time_to_live_travel_along() {
    let mut world = world();
    let there = world.subscriber(1, "t", None);
    let recorder: &'static Recorder = Box::leak(Box::new(Recorder(Mutex::default(), world.wire)));
    world.entries[1].realm.set_wire(&there.session, WireRef(recorder), false);
    there.session.mailbox().attach(Arc::new(Link::default()), WireRef(recorder), 1000, usize::MAX, 0);
    world.settle();
    let properties = Arc::new(Properties { content_type: Some("text/x".to_owned()), ..Properties::default() });
    let publisher = Arc::new(Discloser { session: SessionId(7), authid: Some("joe".to_owned()), authrole: None });
    let fates = world.publish(
        0,
        "t",
        &[Publication {
            properties: Some(&properties),
            publisher: Some(&publisher),
            expires_in_s: Some(60),
            ..publication(b"x", Qos::AtLeastOnce)
        }],
    );
    let [Fate::Routed(published)] = fates[..] else { panic!("{fates:?}") };
    world.settle();
    assert_eq!(there.take(), ["1# t=x for 60"]);
    let seen = recorder.0.lock();
    assert_eq!(seen[0].publication, published.publication);
    assert_eq!(seen[0].properties.as_deref(), Some(&*properties));
    assert_eq!(seen[0].publisher.as_deref(), Some(&*publisher));
}

/// An encoding that remembers what it was given, as [`TestWire`] writes it.
struct Recorder(Mutex<Vec<StoredEvent>>, &'static TestWire);

impl Wire for Recorder {
    fn id(&self) -> WireId {
        WireId(99)
    }

    fn event(&self, event: &Event<'_>, terms: &Terms, split: bool, out: &mut Vec<u8>) -> Result<Encoded, Unencodable> {
        self.0.lock().push(event.store(None));
        self.1.event(event, terms, split, out)
    }

    fn rpc(&self, _: &Arc<Session>, _: &Output<'_, Arc<Session>>, _: &mut Touched) -> Result<(), Unencodable> {
        Ok(())
    }
}

#[test]
fn arguments_keep_their_encoding() {
    let mut world = world();
    let _there = world.subscriber(1, "t", None);
    world.settle();
    let args = [0x81, 0xf9, 0x3c, 0x00];
    let payload = PayloadRef::Args { format: Format::Cbor, args: Some(&args), kwargs: None };
    world.publish(0, "t", &[Publication { payload, ..publication(b"", Qos::AtMostOnce) }]);
    let body = world.entries[0].sent.lock()[0].1.clone();
    assert!(body.windows(args.len()).any(|window| window == args), "not encoded anew");
}

#[test]
fn who_may_get_an_event_is_asked_at_every_entry() {
    let mut world = world();
    let (one, two) = (world.subscriber(1, "t", None), world.subscriber(1, "+", None));
    world.settle();
    let not_one = Filter { exclude: [one.session.id].into(), ..Filter::default() };
    let only_two = Filter { eligible_authid: Some(["1+".to_owned()].into()), ..Filter::default() };
    let filtered = |filter| Publication { filter: Some(filter), ..publication(b"x", Qos::AtMostOnce) };
    world.publish(0, "t", &[filtered(&not_one), filtered(&only_two)]);
    world.settle();
    assert_eq!((one.take().len(), two.take().len()), (0, 2));
}

#[test]
fn an_event_is_for_one_member_of_a_group_wherever_its_members_are() {
    let mut world = world();
    let members: Vec<_> = (0..3).map(|at| world.subscriber(at, "t", Some("g"))).collect();
    let plain = world.subscriber(1, "t", None);
    world.settle();
    for payload in ["a", "b", "c", "d", "e", "f"] {
        world.say(0, "t", &[payload]);
    }
    world.settle();
    assert_eq!(members.iter().map(|member| member.take().len()).collect::<Vec<_>>(), [2, 2, 2]);
    assert_eq!(plain.take().len(), 6);
}

#[test]
fn a_group_without_members_at_the_publishers_entry_gets_its_events() {
    let mut world = world();
    let member = world.subscriber(2, "t", Some("g"));
    let others = world.subscriber(2, "t", Some("h"));
    world.settle();
    world.say(0, "t", &["a", "b"]);
    world.settle();
    assert_eq!((member.take().len(), others.take().len()), (2, 2));
}

#[test]
fn sessions_of_other_entries_are_not_told_until_they_come_home() {
    let mut world = world();
    let moved = world.client(1, "moved");
    world.entries[1].realm.set_mirrored(&moved.session);
    let qos = merged(Qos::AtMostOnce);
    world.entries[1].realm.subscribe(&moved.session, &filter("t"), None, qos, |_, _| {});
    world.settle();
    world.say(0, "t", &["a"]);
    assert_eq!(world.settle(), []);
}

#[test]
fn what_goes_by_the_log_and_the_brokers_own_is_not_sent() {
    let mut world = world();
    let _there = world.subscriber(1, "#", None);
    let _sys = world.subscriber(1, "$SYS/#", None);
    let _own = world.subscriber(1, "fennec/#", None);
    world.settle();
    world.publish(0, "t", &[Publication { retain: true, ..publication(b"x", Qos::AtMostOnce) }]);
    let Entry { node, realm, .. } = &world.entries[0];
    // Who wants everything does not mean what happens to sessions.
    for name in ["$SYS/x", "fennec/x", "wamp/session/on_join"] {
        let topic = Arc::new(Topic::from_name(name).unwrap());
        let said = publication(b"x", Qos::AtMostOnce);
        node.publish_as_broker(realm, &topic, &said, crate::node::metrics::Protocol::Mqtt, NOW_MS);
    }
    assert_eq!(world.settle(), []);
}

impl World {
    /// Has every entry tell what has happened, and brings it where it belongs.
    fn tell(&mut self) -> Vec<(usize, usize)> {
        self.entries.iter().for_each(|entry| entry.node.house.work(&entry.node, NOW_MS));
        self.settle()
    }
}

/// The topics of events.
fn topics(client: &Client) -> Vec<String> {
    let topic = |event: String| {
        event.split('=').next().and_then(|head| head.split(' ').next_back()).unwrap_or_default().to_owned()
    };
    client.take().into_iter().map(topic).collect()
}

#[test]
fn what_happens_to_sessions_is_heard_at_all_entries_and_told_only_if_somebody_hears_it() {
    let mut world = world();
    let _first = world.client(0, "first");
    assert_eq!(world.tell(), []);
    let there = world.subscriber(1, "wamp/session/+", None);
    world.settle();
    world.tell();
    let here = world.client(0, "here");
    assert_eq!(world.tell(), [(0, 1)]);
    assert_eq!(topics(&there), ["wamp/session/on_join"]);
    world.entries[0].realm.forget(here.session.id);
    world.tell();
    assert_eq!(topics(&there), ["wamp/session/on_leave"]);
    world.entries[1].realm.unsubscribe(&there.session, &filter("wamp/session/+"), None, |_, _| {});
    world.settle();
    let _last = world.client(0, "last");
    assert_eq!(world.tell(), []);
}

#[test]
fn a_subscription_is_created_by_the_first_and_deleted_by_the_last_of_all_entries() {
    let mut world = world();
    let there = world.subscriber(2, "wamp/subscription/+", None);
    world.settle();
    world.tell();
    there.take();
    let one = world.subscriber(0, "t", None);
    world.tell();
    assert_eq!(topics(&there), ["wamp/subscription/on_create", "wamp/subscription/on_subscribe"]);
    let two = world.subscriber(1, "t", None);
    world.tell();
    assert_eq!(topics(&there), ["wamp/subscription/on_subscribe"]);
    let ids = [0, 1].map(|at: usize| {
        let broker = world.entries[at].realm.clone();
        broker.subscribe(&[&one, &two][at].session, &filter("t"), None, merged(Qos::ExactlyOnce), |_, _| {}).id
    });
    assert_eq!(ids[0], ids[1], "it has one id");
    world.entries[0].realm.unsubscribe(&one.session, &filter("t"), None, |_, _| {});
    world.tell();
    assert_eq!(topics(&there), ["wamp/subscription/on_unsubscribe"]);
    world.entries[1].realm.unsubscribe(&two.session, &filter("t"), None, |_, _| {});
    world.tell();
    assert_eq!(topics(&there), ["wamp/subscription/on_unsubscribe", "wamp/subscription/on_delete"]);
}

#[test]
fn a_session_that_moves_is_told_of_by_the_entry_that_it_comes_to() {
    let mut world = world();
    let there = world.subscriber(2, "wamp/session/+", None);
    world.settle();
    world.tell();
    there.take();
    let before = world.client(0, "moves");
    world.tell();
    assert_eq!(topics(&there), ["wamp/session/on_join"]);
    // The log has told both.
    world.entries[0].realm.note_moved(&before.session);
    let Entry { node, realm, .. } = &world.entries[1];
    let after = node.new_session_with_id(before.session.id, identity("moves"), world.wire.as_ref(), false);
    after.set_elsewhere(true);
    after.mailbox().attach(Arc::new(Link::default()), world.wire.as_ref(), 1000, usize::MAX, 0);
    realm.join(after.clone());
    world.tell();
    assert_eq!(topics(&there), ["wamp/session/on_leave", "wamp/session/on_join"]);
}

#[test]
fn realms_are_apart() {
    let mut world = world();
    let there = world.client(1, "there");
    let realm = world.entries[1].node.realm("realm2").unwrap();
    realm.subscribe(&there.session, &filter("t"), None, merged(Qos::AtMostOnce), |_, _| {});
    world.settle();
    world.say(0, "t", &["a"]);
    assert_eq!(world.settle(), []);
}

#[test]
fn it_goes_on_without_the_log() {
    let mut world = world();
    for entry in &world.entries {
        entry.node.log.set_trouble(Some("too few storages of the cluster are linked".to_owned()));
    }
    let there = world.subscriber(1, "t", None);
    world.settle();
    world.publish(0, "t", &[publication(b"a", Qos::ExactlyOnce)]);
    world.settle();
    assert_eq!(there.take(), ["1## t=a"]);
}

#[test]
fn bytes_that_say_nothing_change_nothing() {
    let mut world = world();
    let there = world.subscriber(1, "t", None);
    world.settle();
    let from = world.entries[1].id.clone();
    for body in [&b""[..], b"\xff", b"\x81\xa4Told\x95", &[0xdd, 0xff, 0xff, 0xff, 0xff]] {
        world.entries[0].exchange.hear(&from, body);
        world.entries[0].exchange.receive(&from, body, NOW_MS);
    }
    world.entries[0].exchange.hear(&NodeId::entry("E9"), b"");
    world.say(0, "t", &["a"]);
    world.settle();
    assert_eq!(there.take(), ["t=a"]);
}

/// Subscribers come and go, links break and come, entries publish: whoever is subscribed and linked gets every event once.
#[test]
fn whatever_happens_every_linked_subscriber_gets_every_event_once() {
    for seed in 1..=30_u64 {
        let mut dice = seed;
        let mut roll = |sides: usize| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (dice >> 33) as usize % sides
        };
        let mut world = world();
        let topics = ["a", "a/b", "c"];
        let mut subscribers: Vec<(usize, &str, Client)> = Vec::new();
        for step in 0..60 {
            match roll(6) {
                0 | 1 => {
                    let (at, text) = (roll(3), ["a", "a/#", "+", "c", "#"][roll(5)]);
                    subscribers.push((at, text, world.subscriber(at, text, None)));
                }
                2 if !subscribers.is_empty() => {
                    let (at, text, client) = subscribers.swap_remove(roll(subscribers.len()));
                    world.entries[at].realm.unsubscribe(&client.session, &filter(text), None, |_, _| {});
                }
                3 => {
                    let (a, b) = [(0, 1), (0, 2), (1, 2)][roll(3)];
                    match world.cut.contains(&(a, b)) {
                        true => world.connect(a, b),
                        false => world.disconnect(a, b),
                    }
                }
                _ => {
                    world.settle();
                    let (at, topic) = (roll(3), topics[roll(3)]);
                    world.say(at, topic, &["x"]);
                    world.settle();
                    for (to, text, client) in &subscribers {
                        let linked = at == *to || !world.cut.contains(&(at.min(*to), at.max(*to)));
                        let wanted = linked && filter(text).matches(&Topic::from_name(topic).unwrap());
                        let got = client.take().len();
                        assert_eq!(
                            got,
                            usize::from(wanted),
                            "seed {seed}, step {step}: {topic} at {at}, {text} at {to}"
                        );
                    }
                }
            }
        }
    }
}
