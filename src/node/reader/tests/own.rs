//! An MQTT session, which has one cursor for all its subscriptions.

use super::*;
use crate::types::event::Qos::{AtLeastOnce, AtMostOnce, ExactlyOnce};

/// So large that nothing is driven out of memory.
const MUCH: usize = 1 << 20;
/// So little that only the last segments stay in memory.
const LITTLE: usize = 1000;

/// A connected session that is subscribed to `a/#` with this QoS.
fn subscribed(world: &World, qos: Qos, receive_max: u16) -> Peer {
    let mut peer = Peer::new(world, "own", true);
    peer.subscribe(world, "a/#", qos, None);
    peer.connect(world, receive_max);
    peer.run();
    peer
}

fn many(count: usize, qos: Qos) -> Vec<Said> {
    vec![said("a/x", qos); count]
}

/// Frames that were written, as lines.
fn written(peer: &mut Peer) -> Vec<String> {
    let written = std::mem::take(&mut peer.written);
    Frame::read_all(&written).iter().map(Frame::to_string).collect()
}

#[test]
fn qos_1_is_pushed_live_without_a_copy_of_the_message() {
    let mut world = World::new(MUCH);
    let mut peer = subscribed(&world, AtLeastOnce, 10);
    world.publish(&many(2, AtLeastOnce));
    assert_eq!(peer.mailbox().inflight.bytes(), 0);
    assert!(peer.run());
    assert_eq!(written(&mut peer), ["1# a/x=1", "2# a/x=2"]);
}

#[test]
fn what_came_while_it_was_away_is_read_from_the_store() {
    let mut world = World::new(LITTLE);
    let mut peer = subscribed(&world, AtLeastOnce, 100);
    peer.disconnect(&world);
    for _ in 0..50 {
        world.publish(&[said("a/x", AtLeastOnce), said("c", AtLeastOnce)]);
    }
    assert_eq!(peer.mailbox().backlog.len(), 0);
    peer.connect(&world, 100);
    peer.settle(&mut world);
    assert_eq!(peer.numbers(), (1..100).step_by(2).collect::<Vec<_>>());
}

#[test]
fn nothing_is_offered_to_a_session_that_is_away() {
    let mut world = World::new(MUCH);
    let mut peer = subscribed(&world, AtLeastOnce, 10);
    let topic = Topic::from_name("a/x").unwrap();
    assert_eq!(world.realm.route(&topic).0.lanes.len(), 1);
    peer.disconnect(&world);
    let (route, _) = world.realm.route(&topic);
    assert!(route.lanes.is_empty());
    assert_eq!(route.log_qos, AtLeastOnce, "what it wants goes to the log all the same");
    peer.connect(&world, 10);
    assert_eq!(world.realm.route(&topic).0.lanes.len(), 1);
    world.publish(&many(1, AtLeastOnce));
    peer.settle(&mut world);
    assert_eq!(peer.numbers(), [1]);
}

#[test]
fn a_full_window_makes_it_read_on_when_there_is_room_again() {
    let mut world = World::new(MUCH);
    let mut peer = subscribed(&world, AtLeastOnce, 3);
    world.publish(&many(10, AtLeastOnce));
    peer.run();
    peer.receive(10);
    assert_eq!(peer.numbers(), [1, 2, 3]);
    peer.acknowledge(0);
    peer.run();
    peer.receive(10);
    assert_eq!(peer.numbers(), [1, 2, 3, 4]);
    peer.settle(&mut world);
    assert_eq!(peer.numbers(), (1..=10).collect::<Vec<_>>());
    world.publish(&many(1, AtLeastOnce));
    assert!(!peer.mailbox().outbox.is_empty(), "it is live again");
}

#[test]
fn qos_0_is_sent_live_and_not_read() {
    let mut world = World::new(MUCH);
    let mut peer = subscribed(&world, AtLeastOnce, 10);
    world.publish(&[said("a/x", AtMostOnce)]);
    peer.disconnect(&world);
    world.publish(&[said("a/x", AtMostOnce), said("a/x", AtLeastOnce)]);
    peer.connect(&world, 10);
    peer.settle(&mut world);
    assert_eq!(peer.numbers(), [3]);
}

#[test]
fn packet_identifiers_of_qos_2_are_recorded_before_the_first_send() {
    let mut world = World::new(MUCH);
    let mut peer = subscribed(&world, ExactlyOnce, 10);
    world.publish(&many(2, ExactlyOnce));
    assert!(!peer.run(), "nothing is sent");
    let cursor = peer.progress.clone().unwrap();
    let flights: Vec<_> = cursor.inflight.iter().map(|it| (it.number, it.packet_id, it.qos, it.released)).collect();
    assert_eq!((cursor.sent_to, flights), (2, vec![(1, 1, 2, false), (2, 2, 2, false)]));
    peer.record();
    assert!(peer.run());
    assert_eq!(written(&mut peer), ["1## a/x=1", "2## a/x=2"]);
    assert_eq!(peer.mailbox().inflight.bytes(), 0, "it need not be kept any more");
}

#[test]
fn pubrec_is_recorded_before_pubrel() {
    let mut world = World::new(MUCH);
    let mut peer = subscribed(&world, ExactlyOnce, 10);
    world.publish(&many(1, ExactlyOnce));
    peer.run();
    peer.record();
    peer.run();
    peer.receive(1);
    peer.acknowledge(0);
    assert!(!peer.run(), "no PUBREL yet");
    assert!(peer.progress.as_ref().unwrap().inflight[0].released);
    peer.record();
    peer.run();
    peer.receive(1);
    assert_eq!(peer.held.values().collect::<Vec<_>>(), [&Held::Released]);
}

#[test]
fn qos_1_does_not_overtake_qos_2_that_is_being_recorded() {
    let mut world = World::new(MUCH);
    let mut peer = subscribed(&world, ExactlyOnce, 10);
    world.publish(&[said("a/x", ExactlyOnce), said("a/x", AtLeastOnce)]);
    peer.run();
    world.publish(&[said("a/x", AtLeastOnce)]);
    assert!(!peer.run());
    peer.settle(&mut world);
    assert_eq!(peer.numbers(), [1, 2, 3]);
}

#[test]
fn a_record_that_is_refused_is_asked_for_again() {
    let mut world = World::new(MUCH);
    let mut peer = subscribed(&world, ExactlyOnce, 10);
    world.publish(&many(1, ExactlyOnce));
    peer.run();
    let first = peer.progress.take().unwrap();
    peer.mailbox().progress_refused(&peer.link.clone().unwrap());
    assert!(!peer.run(), "nothing is sent");
    assert_eq!(peer.progress, Some(first));
    peer.settle(&mut world);
    assert_eq!(peer.numbers(), [1]);
}

#[test]
fn a_connection_that_is_gone_cannot_say_that_something_was_recorded() {
    let mut world = World::new(MUCH);
    let mut peer = subscribed(&world, ExactlyOnce, 10);
    world.publish(&many(1, ExactlyOnce));
    peer.run();
    let old = peer.link.clone().unwrap();
    peer.connect(&world, 10);
    peer.mailbox().progress_recorded(&old, release);
    assert!(!peer.run());
    assert!(peer.record() && peer.run());
    assert_eq!(written(&mut peer), ["1## a/x=1"]);
}

#[test]
fn what_is_unacknowledged_comes_again_from_the_log_with_its_packet_identifier() {
    let mut world = World::new(LITTLE);
    let mut peer = subscribed(&world, AtLeastOnce, 10);
    world.publish(&many(2, AtLeastOnce));
    for _ in 0..20 {
        world.publish(&[said("c", AtLeastOnce)]);
    }
    peer.run();
    peer.connect(&world, 10);
    assert!(!peer.run(), "it has to be read first");
    while world.read_store() {}
    peer.run();
    assert_eq!(written(&mut peer), ["1# a/x=1 dup", "2# a/x=2 dup"]);
}

#[test]
fn a_restored_session_goes_on_where_it_was_recorded() {
    let mut world = World::new(MUCH);
    world.publish(&many(6, ExactlyOnce));
    let flight = |number, packet_id, released| crate::queue::command::Flight {
        number,
        packet_id,
        qos: 2,
        released,
        attempts: 0,
    };
    let mut peer = Peer::new(&world, "own", true);
    peer.mailbox().restore(&Cursor {
        sent_to: 4,
        inflight: vec![flight(2, 7, true), flight(3, 9, false)],
        ..Cursor::default()
    });
    peer.subscribe_as(&world, "a/#", crate::node::testing::merged(ExactlyOnce), 0, None);
    peer.connect(&world, 10);
    peer.receive(1);
    peer.run();
    peer.record();
    peer.run();
    let release_7 = [RELEASE, 0, 7];
    assert_eq!(peer.written.drain(..3).collect::<Vec<_>>(), release_7);
    assert_eq!(written(&mut peer), ["9## a/x=3 dup", "10## a/x=5", "11## a/x=6"]);
}

#[test]
fn qos_2_that_retention_has_given_up_gives_its_packet_identifier_back() {
    let mut world = World::new(LITTLE);
    let mut peer = subscribed(&world, ExactlyOnce, 10);
    world.publish(&many(1, ExactlyOnce));
    peer.run();
    peer.record();
    peer.run();
    for _ in 0..20 {
        world.publish(&[said("c", AtLeastOnce)]);
    }
    world.drop_segments(1);
    peer.connect(&world, 10);
    peer.run();
    while world.read_store() {}
    peer.settle(&mut world);
    assert_eq!(peer.numbers(), [0; 0], "it is not there any more");
    assert!(peer.mailbox().inflight.is_empty());
}

#[test]
fn acknowledgements_are_recorded_when_the_clock_asks_for_them() {
    let mut world = World::new(MUCH);
    let mut peer = subscribed(&world, AtLeastOnce, 10);
    world.publish(&many(2, AtLeastOnce));
    peer.run();
    assert_eq!(peer.progress, None, "nothing waits for it");
    assert!(peer.mailbox().is_dirty());
    world.node.record_moved(NOW_MS);
    assert!(peer.link.as_ref().unwrap().take_ready());
    peer.run();
    assert_eq!(peer.progress.as_ref().map(|cursor| (cursor.sent_to, cursor.inflight.len())), Some((2, 2)));
    peer.record();
    assert!(!peer.mailbox().is_dirty());
    world.node.record_moved(NOW_MS);
    peer.run();
    assert_eq!(peer.progress, None, "a session that does not move costs nothing");
}

#[test]
fn the_end_of_a_connection_says_how_far_it_came() {
    let mut world = World::new(MUCH);
    let mut peer = subscribed(&world, AtLeastOnce, 10);
    world.publish(&[said("a/x", AtLeastOnce), said("c", AtLeastOnce)]);
    world.publish(&[said("c", AtLeastOnce)]);
    world.publish(&[said("c", AtLeastOnce)]);
    peer.settle(&mut world);
    peer.disconnect(&world);
    assert_eq!(peer.recorded, Cursor { sent_to: 3, ..Cursor::default() }, "all that was routed to the end");
}

#[test]
fn a_live_cursor_that_gets_nothing_is_moved_on() {
    let mut world = World::new(MUCH);
    let mut peer = subscribed(&world, AtLeastOnce, 10);
    world.publish(&vec![said("c", AtLeastOnce); 1500]);
    world.publish(&[said("c", AtLeastOnce)]);
    peer.settle(&mut world);
    world.realm.join(peer.session.clone());
    world.node.record_moved(NOW_MS);
    world.node.record_moved(NOW_MS);
    peer.run();
    assert_eq!(peer.progress.as_ref().map(|cursor| cursor.sent_to), Some(1500));
    world.publish(&many(1, AtLeastOnce));
    peer.settle(&mut world);
    assert_eq!(peer.numbers(), [1502]);
}

#[test]
fn a_subscription_with_after_gets_older_events_before_anything_newer() {
    let mut world = World::new(MUCH);
    let mut peer = subscribed(&world, AtLeastOnce, 100);
    world.publish(&[said("b", AtLeastOnce), said("a/x", AtLeastOnce), said("b", AtMostOnce)]);
    peer.settle(&mut world);
    assert_eq!(peer.numbers(), [2]);
    peer.subscribe(&world, "b", AtLeastOnce, Some(0));
    world.publish(&[said("a/x", AtLeastOnce), said("b", AtLeastOnce)]);
    peer.settle(&mut world);
    // The event with QoS 0, too: it was asked for.
    assert_eq!(peer.numbers(), [2, 1, 3, 4, 5]);
}

#[test]
fn a_clean_session_with_after_keeps_no_backlog_of_what_it_follows() {
    let mut world = World::new(LITTLE);
    for _ in 0..10 {
        world.publish(&many(2, AtLeastOnce));
    }
    let mut peer = Peer::new(&world, "clean", false);
    peer.connect(&world, 2);
    peer.subscribe(&world, "b", AtLeastOnce, None);
    peer.subscribe(&world, "a/#", AtLeastOnce, Some(17));
    for _ in 0..5 {
        world.publish(&[said("a/y", AtLeastOnce), said("b", AtLeastOnce)]);
    }
    assert_eq!(peer.mailbox().backlog.len(), 3, "b goes its own way: two are under way");
    peer.settle(&mut world);
    let of_a: Vec<_> = peer.numbers().into_iter().filter(|number| *number <= 20 || number % 2 == 1).collect();
    assert_eq!(of_a, [18, 19, 20, 21, 23, 25, 27, 29]);
    assert_eq!(peer.got.len(), 8 + 5);
}

#[test]
fn no_local_and_permissions_hold_for_what_is_read() {
    let mut world = World::new(MUCH);
    let mut peer = Peer::new(&world, "own", true);
    let options = Options::Merged { qos: AtLeastOnce, no_local: true, retain_as_published: false, identifier: None };
    peer.subscribe_as(&world, "a/#", options, 0, None);
    let from = |from| Said::Event { topic: "a/x", qos: AtLeastOnce, from: Some(from) };
    world.publish(&[from(peer.session.id), from(SessionId(1)), from(peer.session.id)]);
    peer.connect(&world, 10);
    peer.settle(&mut world);
    assert_eq!(peer.numbers(), [2]);
}

#[test]
fn a_subscription_that_is_gone_gets_nothing_more() {
    let mut world = World::new(MUCH);
    let mut peer = subscribed(&world, AtLeastOnce, 1);
    peer.subscribe(&world, "b", AtLeastOnce, None);
    world.publish(&[said("a/x", AtLeastOnce), said("b", AtLeastOnce), said("a/x", AtLeastOnce)]);
    world.realm.unsubscribe(&peer.session, &filter("b"), None, |_, mailbox| mailbox.unwant("b"));
    peer.settle(&mut world);
    assert_eq!(peer.numbers(), [1, 3]);
}

#[test]
fn large_messages_take_the_same_way() {
    let mut world = World::new(MUCH);
    world.width = 20_000;
    let mut peer = subscribed(&world, ExactlyOnce, 10);
    world.publish(&many(3, AtLeastOnce));
    world.publish(&many(2, ExactlyOnce));
    peer.settle(&mut world);
    assert_eq!(peer.numbers(), [1, 2, 3, 4, 5]);
    let mut reading = Peer::new(&world, "each", false);
    reading.connect(&world, 10);
    reading.read(&world, "a/#", 3, |_| {});
    reading.run();
    world.publish(&many(3, AtLeastOnce));
    reading.settle(&mut world);
    assert_eq!(reading.numbers(), [4, 5, 6, 7, 8]);
}
