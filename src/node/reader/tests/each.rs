//! WAMP sessions, whose subscriptions have cursors of their own.

use super::*;
use crate::node::reader::Durable;
use crate::node::reader::moved::Moved;
use crate::queue::command::CursorName;
use crate::types::event::Qos::AtLeastOnce;

const MUCH: usize = 1 << 20;

fn connected(world: &World) -> Peer {
    let mut peer = Peer::new(world, "each", false);
    peer.connect(world, u16::MAX);
    peer
}

fn some(count: usize) -> Vec<Said> {
    vec![said("a/x", AtLeastOnce); count]
}

/// Numbers that came for a subscription.
fn of(peer: &mut Peer, subscription: SubscriptionId) -> Vec<u64> {
    let frames = Frame::read_all(&std::mem::take(&mut peer.written));
    let mine = frames.iter().filter(|frame| frame.subscription == subscription);
    mine.map(|frame| String::from_utf8(frame.payload.clone()).unwrap().parse().unwrap()).collect()
}

#[test]
fn each_subscription_reads_for_itself() {
    let mut world = World::new(MUCH);
    world.publish(&some(5));
    let mut peer = connected(&world);
    let all = peer.read(&world, "a/#", 0, |_| {});
    let last = peer.read(&world, "a/x", 4, |_| {});
    assert!(peer.run());
    world.publish(&some(1));
    peer.run();
    let written = peer.written.clone();
    assert_eq!(of(&mut peer, all), [1, 2, 3, 4, 5, 6]);
    peer.written = written;
    assert_eq!(of(&mut peer, last), [5, 6]);
}

#[test]
fn a_subscription_without_a_reader_gets_what_is_live_beside_one_that_reads() {
    let mut world = World::new(MUCH);
    world.publish(&some(2));
    let mut peer = connected(&world);
    let reading = peer.read(&world, "a/#", 0, |_| {});
    let plain = world.realm.subscribe(&peer.session, &filter("a/x"), None, Options::Each, |_, _| {}).id;
    world.publish(&some(1));
    peer.run();
    let written = peer.written.clone();
    assert_eq!(of(&mut peer, plain), [3]);
    peer.written = written;
    assert_eq!(of(&mut peer, reading), [1, 2, 3]);
}

#[test]
fn a_replay_of_a_subscription_begins_again_where_it_is_told() {
    let mut world = World::new(MUCH);
    let mut peer = connected(&world);
    let id = peer.read(&world, "a/#", 0, |_| {});
    world.publish(&some(3));
    peer.run();
    assert_eq!(of(&mut peer, id), [1, 2, 3]);
    peer.mailbox().start_reader(id, start("a/#", id, 1));
    world.publish(&some(1));
    peer.run();
    assert_eq!(of(&mut peer, id), [2, 3, 4]);
}

#[test]
fn a_snapshot_ends_and_says_so() {
    let mut world = World::new(MUCH);
    world.publish(&some(3));
    let mut peer = connected(&world);
    let id = peer.read(&world, "a/#", 0, |start| start.until = Some(3));
    world.publish(&some(2));
    peer.run();
    assert_eq!(of(&mut peer, id), [1, 2, 3]);
    assert_eq!(peer.mailbox().take_ended(), [id]);
    assert_eq!(peer.mailbox().take_ended(), []);
}

#[test]
fn a_full_outbox_makes_it_read_on_and_drops_nothing() {
    let mut world = World::new(MUCH);
    let mut peer = connected(&world);
    let id = peer.read(&world, "a/#", 0, |_| {});
    peer.run();
    for _ in 0..20 {
        world.publish(&some(50));
    }
    while peer.run() {}
    assert_eq!(of(&mut peer, id), (1..=1000).collect::<Vec<_>>());
}

/// A named durable subscription with an id of its own, which goes by the route of `a/#`.
fn durable(peer: &Peer, world: &World, after: u64, acknowledged: bool) -> SubscriptionId {
    let own = SubscriptionId(1 << 40);
    let routed = world.realm.subscribe(&peer.session, &filter("a/#"), None, Options::Each, |_, _| {}).id;
    let mut mailbox = peer.session.mailbox();
    mailbox.subscriptions.remove(&routed);
    let durable = Some(Durable { name: "jobs".into(), acknowledged });
    mailbox.start_reader(own, Start { route: Some(routed), durable, ..start("a/#", own, after) });
    own
}

fn moved(sent_to: u64) -> Moved {
    Moved { name: CursorName::Durable("jobs".to_owned()), at: Cursor { sent_to, ..Cursor::default() } }
}

#[test]
fn a_subscription_with_an_id_of_its_own_is_told_by_the_route_and_reads_itself() {
    let mut world = World::new(MUCH);
    let mut peer = connected(&world);
    let id = durable(&peer, &world, 0, true);
    peer.run();
    world.publish(&some(2));
    assert!(peer.mailbox().outbox.is_empty(), "nothing is pushed under another id");
    assert!(peer.link.as_ref().unwrap().take_ready());
    peer.run();
    assert_eq!(of(&mut peer, id), [1, 2]);
    world.publish(&some(1));
    peer.run();
    assert_eq!(of(&mut peer, id), [3]);
}

#[test]
fn what_the_client_has_acknowledged_is_done_and_the_rest_comes_again() {
    let mut world = World::new(MUCH);
    let mut peer = connected(&world);
    let id = durable(&peer, &world, 0, true);
    world.publish(&some(5));
    peer.run();
    assert_eq!(peer.mailbox().ack(id, 3), Some(true));
    assert_eq!(peer.mailbox().ack(id, 2), Some(true), "an older one changes nothing");
    assert_eq!(peer.mailbox().ack(SubscriptionId(9), 2), None);
    assert_eq!(peer.mailbox().take_moved(), [], "nobody asked");
    peer.mailbox().ask_progress();
    assert_eq!(peer.mailbox().take_moved(), [moved(3)]);
    assert!(!peer.mailbox().is_dirty());
    let mut again = connected(&world);
    let id = durable(&again, &world, 3, true);
    again.run();
    assert_eq!(of(&mut again, id), [4, 5]);
}

#[test]
fn more_than_was_sent_cannot_be_acknowledged() {
    let mut world = World::new(MUCH);
    let mut peer = connected(&world);
    let id = durable(&peer, &world, 0, true);
    world.publish(&some(2));
    peer.run();
    peer.mailbox().ack(id, 100);
    world.publish(&some(2));
    assert_eq!(peer.mailbox().stop_reader(id), Some(moved(2)));
}

#[test]
fn without_acknowledgements_what_the_connection_takes_is_done() {
    let mut world = World::new(MUCH);
    let mut peer = connected(&world);
    let id = durable(&peer, &world, 0, false);
    world.publish(&some(2));
    peer.mailbox().refill(NOW_MS);
    assert!(!peer.mailbox().is_dirty(), "it is in the outbox still");
    peer.run();
    peer.mailbox().ask_progress();
    assert_eq!(peer.mailbox().take_moved(), [moved(2)]);
    assert_eq!(peer.mailbox().ack(id, 2), None, "it does not wait for that");
    world.publish(&some(1));
    peer.mailbox().refill(NOW_MS);
    let link = peer.link.take().unwrap();
    peer.mailbox().detach(&link);
    assert_eq!(peer.mailbox().stop_reader(id), Some(moved(2)), "what was not taken comes again");
}
