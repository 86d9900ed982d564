//! Groups over a log that the test writes ([`World`]), and one over a log that works.

use proptest::prelude::*;

use super::*;
use crate::node::link::Link;
use crate::node::reader::Reading;
use crate::node::reader::tests::{Held, Peer, Said, World, said};
use crate::node::reader::wants::Want;
use crate::node::session::Session;
use crate::node::testing::{self, NOW_MS, filter, identity, merged, publication, publisher, wire};
use crate::queue::command::{Cursor, Flight};
use crate::types::event::Qos::{self, AtLeastOnce, AtMostOnce, ExactlyOnce};

const MUCH: usize = 1 << 20;
const LITTLE: usize = 2000;

fn key() -> GroupKey {
    GroupKey { name: "g".into(), pattern: filter("a/#") }
}

fn row() -> DurableRow {
    DurableRow { group: true, acknowledged: true, ..DurableRow::default() }
}

const NAME: &str = "$share/g/a/#";

fn open(realm: &Realm, row: &DurableRow) -> Arc<Group> {
    realm.groups.open(realm, NAME, &filter("a/#"), row, Begin::After(0))
}

/// Subscribes a session to the group, and makes it a member.
fn join(realm: &Realm, session: &Arc<Session>, group: &Arc<Group>, qos: Qos, window: usize) {
    realm.subscribe(session, &filter("a/#"), Some("g"), merged(qos), |subscribed, mailbox| {
        let want = Want {
            pattern: filter("a/#"),
            options: merged(qos),
            subscription: subscribed.id,
            since: 0,
            follows: false,
        };
        mailbox.join_group(NAME, group.clone(), want, window);
    });
}

/// A member with a connection.
fn member(world: &World, group: &Arc<Group>, name: &str, window: usize) -> Peer {
    let mut peer = Peer::new(world, name, true);
    join(&world.realm, &peer.session, group, AtLeastOnce, window);
    peer.connect(world, 100);
    peer.run();
    peer
}

fn some(count: usize) -> Vec<Said> {
    vec![said("a/x", AtLeastOnce); count]
}

/// What it was sent since this was asked last.
fn read(peer: &mut Peer) -> Vec<u64> {
    let before = peer.got.len();
    while peer.run() {}
    peer.receive(usize::MAX);
    peer.numbers().split_off(before)
}

fn acknowledge_all(peer: &mut Peer) {
    while peer.acknowledge(0) {}
}

fn woken(peer: &Peer) -> bool {
    peer.link.as_ref().unwrap().take_ready()
}

#[test]
fn each_event_goes_to_one_member_in_turn() {
    let mut world = World::new(MUCH);
    let group = open(&world.realm, &row());
    let (mut a, mut b) = (member(&world, &group, "a", 10), member(&world, &group, "b", 10));
    woken(&a);
    woken(&b);
    world.publish(&some(5));
    assert!(woken(&a) && woken(&b));
    assert_eq!((read(&mut a), read(&mut b)), (vec![1, 3, 5], vec![2, 4]));
    assert_eq!(a.mailbox().backlog.len() + b.mailbox().backlog.len(), 0);
    assert_eq!(group.undone_len(), 5);
    acknowledge_all(&mut a);
    acknowledge_all(&mut b);
    assert_eq!((group.undone_len(), group.cursor()), (0, Cursor { sent_to: 5, ..Cursor::default() }));
}

#[test]
fn only_the_member_whose_turn_it_is_is_woken() {
    let mut world = World::new(MUCH);
    let group = open(&world.realm, &row());
    let (a, b) = (member(&world, &group, "a", 10), member(&world, &group, "b", 10));
    woken(&a);
    woken(&b);
    world.publish(&some(1));
    assert!(woken(&a) && !woken(&b));
}

#[test]
fn what_comes_while_nobody_is_there_waits_in_the_log() {
    let mut world = World::new(LITTLE);
    let group = open(&world.realm, &row());
    let mut a = member(&world, &group, "a", 1000);
    a.disconnect(&world);
    for _ in 0..30 {
        world.publish(&[said("a/x", AtLeastOnce), said("c", AtLeastOnce)]);
    }
    a.connect(&world, 1000);
    a.settle(&mut world);
    assert_eq!(a.numbers(), (1..60).step_by(2).collect::<Vec<_>>());
    assert_eq!(group.cursor().inflight, []);
}

#[test]
fn a_member_that_goes_leaves_what_it_had_to_another() {
    let mut world = World::new(MUCH);
    let group = open(&world.realm, &row());
    let (mut a, mut b) = (member(&world, &group, "a", 10), member(&world, &group, "b", 10));
    world.publish(&some(4));
    assert_eq!((read(&mut a), read(&mut b)), (vec![1, 3], vec![2, 4]));
    a.acknowledge(0);
    a.disconnect(&world);
    assert!(woken(&b));
    assert_eq!(read(&mut b), [3]);
    a.connect(&world, 10);
    assert_eq!(read(&mut a), [0; 0], "it is another's now");
    assert!(a.mailbox().inflight.is_empty());
    acknowledge_all(&mut b);
    assert_eq!(group.undone_len(), 0);
}

#[test]
fn a_node_that_stops_gives_what_a_member_had_to_nobody_there() {
    let mut world = World::new(MUCH);
    let group = open(&world.realm, &row());
    let (mut a, mut b) = (member(&world, &group, "a", 10), member(&world, &group, "b", 10));
    world.publish(&some(4));
    assert_eq!((read(&mut a), read(&mut b)), (vec![1, 3], vec![2, 4]));
    b.acknowledge(0);
    world.publish(&some(1));
    world.node.drain();
    a.disconnect(&world);
    assert_eq!(read(&mut b), [0; 0], "its connection is about to end, too");
    let attempts = group.cursor().inflight.into_iter().map(|it| (it.number, it.attempts));
    assert_eq!(attempts.collect::<Vec<_>>(), [(1, 1), (3, 1), (4, 1), (5, 0)]);
}

#[test]
fn a_session_that_ends_is_a_member_no_more() {
    let mut world = World::new(MUCH);
    let group = open(&world.realm, &row());
    let (mut a, mut b) = (member(&world, &group, "a", 10), member(&world, &group, "b", 10));
    world.publish(&some(2));
    read(&mut a);
    a.mailbox().clear();
    assert_eq!(group.members_len(), 1);
    assert_eq!(read(&mut b), [2, 1]);
}

#[test]
fn who_unsubscribes_leaves_its_events_to_others() {
    let mut world = World::new(MUCH);
    let group = open(&world.realm, &row());
    let (mut a, mut b) = (member(&world, &group, "a", 10), member(&world, &group, "b", 10));
    world.publish(&some(2));
    read(&mut a);
    world.realm.unsubscribe(&a.session, &filter("a/#"), Some("g"), |_, mailbox| {
        mailbox.leave_group(NAME);
    });
    assert_eq!(read(&mut b), [2, 1]);
    world.publish(&some(2));
    assert_eq!(read(&mut b), [3, 4]);
}

#[test]
fn a_window_bounds_what_a_member_has_and_the_rest_waits_in_the_log() {
    let mut world = World::new(MUCH);
    let group = open(&world.realm, &row());
    let mut a = member(&world, &group, "a", 2);
    world.publish(&some(5));
    assert_eq!(read(&mut a), [1, 2]);
    assert_eq!(group.dealt_to(), 2);
    a.acknowledge(0);
    assert_eq!(read(&mut a), [3]);
    a.settle(&mut world);
    assert_eq!(a.numbers(), [1, 2, 3, 4, 5]);
}

#[test]
fn who_takes_few_at_a_time_leaves_the_rest_to_others() {
    let mut world = World::new(MUCH);
    let group = open(&world.realm, &row());
    let mut few = Peer::new(&world, "few", true);
    few.connect(&world, 2);
    join(&world.realm, &few.session, &group, AtLeastOnce, 10);
    let mut other = member(&world, &group, "other", 10);
    world.publish(&some(6));
    assert_eq!((read(&mut few), read(&mut other)), (vec![1, 3], vec![2, 4, 5, 6]));
}

#[test]
fn who_takes_too_long_loses_the_event_and_may_still_be_done_with_it() {
    let mut world = World::new(MUCH);
    let group = open(&world.realm, &DurableRow { ack_timeout_ms: 1000, ..row() });
    let (mut a, mut b) = (member(&world, &group, "a", 10), member(&world, &group, "b", 10));
    world.publish(&some(1));
    assert_eq!(read(&mut a), [1]);
    group.tick(NOW_MS + 999, 0);
    assert_eq!(read(&mut b), [0; 0]);
    group.tick(NOW_MS + 1000, 0);
    assert_eq!(read(&mut b), [1]);
    a.acknowledge(0);
    assert_eq!(group.undone_len(), 0);
    b.acknowledge(0);
}

#[test]
fn qos_0_is_done_with_when_the_connection_takes_it_and_qos_2_is_sent_as_qos_1() {
    let mut world = World::new(MUCH);
    let group = open(&world.realm, &row());
    let mut a = member(&world, &group, "a", 10);
    world.publish(&[said("a/x", AtMostOnce), said("a/x", ExactlyOnce)]);
    assert_eq!(read(&mut a), [1, 2]);
    assert_eq!(group.undone_len(), 1);
    assert_eq!(a.held.values().collect::<Vec<_>>(), [&Held::Received { qos: 1, number: 2 }]);
    assert_eq!(a.mailbox().cursor().unwrap().inflight, [], "what the group has given is the group's to remember");
}

#[test]
fn a_restored_group_gives_what_was_not_done_with_again() {
    let mut world = World::new(MUCH);
    world.publish(&some(6));
    let flight = |number, attempts| Flight { number, attempts, ..Flight::default() };
    let at = Cursor { sent_to: 4, inflight: vec![flight(2, 1), flight(3, 4)], ..Cursor::default() };
    let group = world.realm.groups.open(&world.realm, "n", &filter("a/#"), &row(), Begin::At(&at));
    assert_eq!(group.cursor(), at);
    let mut a = member(&world, &group, "a", 10);
    assert_eq!(read(&mut a), [2, 3, 5, 6]);
    let attempts: Vec<_> = group.cursor().inflight.iter().map(|it| it.attempts).collect();
    assert_eq!(attempts, [2, 5, 1, 1]);
}

#[test]
fn a_group_is_recorded_when_it_has_moved_and_only_then() {
    let mut world = World::new(MUCH);
    let group = open(&world.realm, &row());
    let mut a = member(&world, &group, "a", 10);
    assert_eq!(group.take_moved(), None);
    world.publish(&some(2));
    read(&mut a);
    a.acknowledge(0);
    let moved = group.take_moved().unwrap();
    assert_eq!((moved.sent_to, moved.inflight.len(), moved.inflight[0].number), (2, 1, 2));
    assert_eq!(group.take_moved(), None);
    group.touch();
    assert_eq!(group.take_moved(), Some(moved), "it was not recorded");
}

#[test]
fn events_with_one_value_of_a_field_come_one_at_a_time() {
    let mut world = World::new(MUCH);
    world.keys = 2;
    let group = open(&world.realm, &DurableRow { order_by: Some("key".to_owned()), ..row() });
    let (mut a, mut b) = (member(&world, &group, "a", 10), member(&world, &group, "b", 10));
    world.publish(&some(6));
    assert_eq!((read(&mut a), read(&mut b)), (vec![1], vec![2]));
    acknowledge_all(&mut a);
    let next = (read(&mut a), read(&mut b));
    assert!(next == (vec![3], vec![]) || next == (vec![], vec![3]), "{next:?}");
}

#[test]
fn a_group_that_gets_nothing_for_long_is_recorded_further_on() {
    let mut world = World::new(MUCH);
    let group = open(&world.realm, &row());
    let mut a = member(&world, &group, "a", 10);
    world.publish(&vec![said("c", AtLeastOnce); 1500]);
    world.publish(&[said("c", AtLeastOnce)]);
    group.tick(NOW_MS, world.node.log.history.routed());
    assert_eq!(group.take_moved().map(|at| at.sent_to), Some(1500));
    world.publish(&some(1));
    assert_eq!(read(&mut a), [1502]);
}

#[test]
fn a_group_that_is_closed_gives_nothing_more() {
    let mut world = World::new(MUCH);
    let group = open(&world.realm, &row());
    let mut a = member(&world, &group, "a", 10);
    assert_eq!(world.realm.groups.close(NAME), [a.session.id]);
    world.publish(&some(1));
    assert!(world.realm.groups.of_share(&key()).is_none() && world.realm.groups.get(NAME).is_none());
    group.touch();
    assert_eq!(group.take_moved(), None);
    // Without the log it is a plain shared subscription again.
    assert_eq!(read(&mut a), [1]);
}

/// A member of a node whose log works.
fn working_member(node: &Arc<Node>, realm: &Arc<Realm>, group: &Arc<Group>) -> (Arc<Session>, Arc<Link>) {
    let session = node.new_session(identity("m"), wire(1).as_ref(), true);
    let reading = Reading {
        node: Arc::downgrade(node),
        realm: Arc::downgrade(realm),
        session: Arc::downgrade(&session),
        rights: None,
        recorded: true,
    };
    let link = Arc::new(Link::default());
    session.mailbox().read_log(reading);
    session.mailbox().attach(link.clone(), wire(1).as_ref(), 10, usize::MAX, 0);
    join(realm, &session, group, AtLeastOnce, 10);
    (session, link)
}

#[test]
fn after_so_many_deliveries_an_event_goes_to_the_dead_letter_topic() {
    let (node, realm) = testing::node();
    let row = DurableRow { ack_timeout_ms: 10, deliveries_max: 2, dead_letter_topic: Some("dead".to_owned()), ..row() };
    let group = open(&realm, &row);
    realm.want(&filter("a/#"), true);
    let (session, _link) = working_member(&node, &realm, &group);
    let watcher = node.new_session(identity("w"), wire(2).as_ref(), false);
    watcher.mailbox().attach(Arc::default(), wire(2).as_ref(), 10, usize::MAX, 0);
    realm.subscribe(&watcher, &filter("dead"), None, merged(AtMostOnce), |_, _| {});
    let mut publisher = publisher(&node, &realm, None);
    let target = publisher.look_up(b"a/x", |_| crate::types::topic::Topic::from_name("a/x")).unwrap();
    publisher.publish(target, &publication(b"poison", AtLeastOnce)).unwrap();
    publisher.finish();
    for round in 0..2 {
        assert_eq!(testing::take(&mut session.mailbox()), [format!("{}# a/x=poison", round + 1)]);
        assert_eq!(testing::take(&mut watcher.mailbox()), [""; 0]);
        node.tick(NOW_MS + 10 * (round + 1));
    }
    assert_eq!(testing::take(&mut session.mailbox()), [""; 0]);
    assert_eq!(testing::take(&mut watcher.mailbox()), ["dead=poison"]);
    assert_eq!(group.undone_len(), 0);
}

#[test]
fn a_dead_letter_says_what_it_was() {
    let mut world = World::new(MUCH);
    world.publish(&some(3));
    let group = open(&world.realm, &row());
    let mut reader: Box<dyn crate::store::StoreReader> = Box::new(world.store());
    let topic = Arc::new(crate::types::topic::Topic::from_name("dead").unwrap());
    let dying = super::machine::Undone { number: 2, attempts: 7 };
    let batch = super::burial::letter(&mut *reader, "realm1", &group, dying, &topic).unwrap().unwrap();
    let mut runs = crate::queue::message::Runs::new(batch.as_bytes());
    let Some(Ok(crate::queue::message::Run::Events(head, events))) = runs.next() else { panic!("one run") };
    let message = events.iter().next().unwrap().unwrap();
    let properties = message.extras().unwrap().unwrap().properties.unwrap().user_properties;
    let said: Vec<_> = properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!((head.topic, head.qos), ("dead", AtLeastOnce));
    let id = world.event_id(2);
    let expected = [
        ("fennec-dead-topic", "a/x"),
        ("fennec-dead-event-id", id.as_str()),
        ("fennec-dead-attempts", "7"),
        ("fennec-dead-group", "$share/g/a/#"),
    ];
    assert_eq!(said, expected);
}

/// Two or three members that come, go, take and are done with events at random.
#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<bool>),
    Feed(usize),
    ReadStore,
    Run(usize),
    Receive(usize, usize),
    Acknowledge(usize, usize),
    Disconnect(usize),
    Connect(usize),
    Tick(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let peer = || 0..3_usize;
    prop_oneof![
        4 => prop::collection::vec(any::<bool>(), 1..10).prop_map(Step::Commit),
        8 => (1..15_usize).prop_map(Step::Feed),
        4 => Just(Step::ReadStore),
        10 => peer().prop_map(Step::Run),
        10 => (peer(), 1..9_usize).prop_map(|(peer, count)| Step::Receive(peer, count)),
        10 => (peer(), 0..4_usize).prop_map(|(peer, place)| Step::Acknowledge(peer, place)),
        1 => peer().prop_map(Step::Disconnect),
        3 => peer().prop_map(Step::Connect),
        1 => (0..2000_u64).prop_map(Step::Tick),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn every_event_is_given_and_done_with_in_the_end(
        steps in prop::collection::vec(step(), 0..200),
        keys in 0..3_u64,
    ) {
        let mut world = World::new(LITTLE);
        world.keys = keys;
        let order_by = (keys > 0).then(|| "key".to_owned());
        let group = open(&world.realm, &DurableRow { ack_timeout_ms: 5000, order_by, ..row() });
        let mut peers: Vec<_> = (0..3).map(|at| member(&world, &group, &at.to_string(), at + 1)).collect();
        let mut now_ms = NOW_MS;
        for step in steps {
            match step {
                Step::Commit(all) => {
                    let all: Vec<_> = all.iter().map(|ours| said(if *ours { "a/x" } else { "c" }, AtLeastOnce)).collect();
                    world.commit(&all, 0);
                }
                Step::Feed(count) => {
                    for _ in 0..count {
                        world.feed();
                    }
                }
                Step::ReadStore => {
                    world.read_store();
                }
                Step::Run(at) => {
                    peers[at].run();
                }
                Step::Receive(at, count) => peers[at].receive(count),
                Step::Acknowledge(at, place) => {
                    if peers[at].link.is_some() {
                        peers[at].acknowledge(place);
                    }
                }
                Step::Disconnect(at) => peers[at].disconnect(&world),
                Step::Connect(at) => peers[at].connect(&world, 20),
                Step::Tick(ms) => {
                    now_ms += ms;
                    group.tick(now_ms, world.node.log.history.routed());
                }
            }
        }
        for peer in &mut peers {
            if peer.link.is_none() {
                peer.connect(&world, 20);
            }
        }
        // A connection runs only when it is woken, but for the first time.
        for _ in 0..3 {
            peers.iter_mut().for_each(|peer| peer.settle(&mut world));
        }
        let mut settled = false;
        while !settled {
            settled = true;
            for peer in &mut peers {
                if woken(peer) {
                    settled = false;
                    peer.settle(&mut world);
                }
            }
        }
        let ours = world.log.iter().zip(1..).filter(|(said, _)| matches!(said, Said::Event { topic: "a/x", .. }));
        let wanted: Vec<u64> = ours.map(|(_, number)| number).collect();
        let mut got: Vec<u64> = peers.iter().flat_map(Peer::numbers).collect();
        got.sort_unstable();
        got.dedup();
        prop_assert_eq!(got, wanted);
        prop_assert_eq!(group.undone_len(), 0);
        prop_assert!(group.cursor().inflight.is_empty());
    }
}
