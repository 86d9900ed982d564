//! What is refused, dropped and counted.

use super::*;

#[test]
fn a_retained_value_without_room_is_refused_and_nobody_gets_it() {
    let world = world_with(Limits { retained_messages_max: 1, ..Limits::default() });
    let client = world.client("a");
    world.subscribe(&client, "#", AtMostOnce);
    let mut publisher = world.publisher();
    let mut say = |topic: &str, payload: &[u8]| {
        let fate = publisher.say(topic, &Publication { retain: true, ..publication(payload, AtMostOnce) });
        publisher.finish();
        fate
    };
    assert!(say("a", b"x").is_ok());
    assert_eq!(say("b", b"x"), Err(PublishRefused::RetainedFull));
    assert!(say("a", b"y").is_ok(), "a change");
    assert!(say("a", b"").is_ok(), "cleared");
    assert!(say("b", b"x").is_ok(), "now there is room");
    assert_eq!(client.take(), ["a=x", "a=y", "a=", "b=x"]);
    assert_eq!(world.dropped(Drop::RetainedFull), 1);
}

#[test]
fn retained_values_do_not_grow_beyond_their_bound_by_being_changed() {
    let world = world_with(Limits { retained_bytes_max: 2000, ..Limits::default() });
    let mut publisher = world.publisher();
    let mut retain = |topic, bytes| {
        let payload = vec![b'x'; bytes];
        let taken = publisher.say(topic, &Publication { retain: true, ..publication(&payload, AtMostOnce) }).is_ok();
        publisher.finish();
        taken
    };
    assert!(retain("a", 100) && retain("b", 1000));
    assert!(!retain("a", 900), "the value before stays");
    assert!(!retain("c", 900));
    assert!(retain("a", 300) && retain("b", 900) && retain("a", 400));
    let (values, bytes) = world.realm.retained_size();
    assert!(values == 2 && bytes <= 2000, "{bytes}");
    assert!(retain("b", 0) && retain("a", 1500));
}

#[test]
fn an_event_that_one_encoding_cannot_say_is_dropped_there_and_the_others_keep_their_places() {
    struct Squeamish(&'static TestWire);
    impl crate::node::wire::Wire for Squeamish {
        fn id(&self) -> crate::node::wire::WireId {
            crate::node::wire::WireId(9)
        }
        fn event(
            &self,
            event: &Event<'_>,
            terms: &Terms,
            split: bool,
            out: &mut Vec<u8>,
        ) -> Result<crate::node::wire::Encoded, Unencodable> {
            match event.payload {
                PayloadRef::Bytes(b"b") => Err(Unencodable::Payload),
                _ => self.0.as_ref().0.event(event, terms, split, out),
            }
        }
        fn rpc(
            &self,
            _: &Arc<Session>,
            _: &crate::router::output::Output<'_, Arc<Session>>,
            _: &mut Touched,
        ) -> Result<(), Unencodable> {
            Ok(())
        }
    }
    let squeamish = crate::node::wire::WireRef(Box::leak(Box::new(Squeamish(wire(9)))));
    let world = world();
    let (a, b) = (world.client("a"), world.client("b"));
    b.session.mailbox().attach(b.link.clone(), squeamish, 1000, usize::MAX, 0);
    world.realm.set_wire(&b.session, squeamish, false);
    for client in [&a, &b] {
        world.subscribe(client, "t", AtLeastOnce);
    }
    world.publisher().send("t", &["a", "b", "c"], AtLeastOnce);
    assert_eq!(a.take(), ["1# t=a", "2# t=b", "3# t=c"]);
    assert_eq!(b.take(), ["1# t=a", "2# t=c"]);
    b.session.mailbox().attach(b.link.clone(), squeamish, 1000, usize::MAX, 0);
    assert_eq!(b.take(), ["1# t=a dup", "2# t=c dup"], "what is sent again is what was sent");
    assert_eq!(world.dropped(Drop::Untranslatable), 1);
}

#[test]
fn every_drop_is_counted_by_its_reason() {
    let limits = Limits { outbox_bytes_max: 100, backlog_messages_max: 1, inflight_max: 1, ..Limits::default() };
    let world = world_with(limits);
    let client = world.client_as("a", world.wire, 90, 0);
    world.subscribe(&client, "t", AtLeastOnce);
    let mut publisher = world.publisher();
    publisher.send("t", &["x".repeat(60).as_str()], AtMostOnce);
    publisher.send("t", &["x".repeat(60).as_str(), "x"], AtMostOnce);
    assert_eq!(world.dropped(Drop::QueueFull), 2, "no room in the outbox");
    publisher.send("t", &["x".repeat(70).as_str()], AtLeastOnce);
    assert_eq!(world.dropped(Drop::TooLarge), 1);
    publisher.say("t", &publication(UNSAYABLE, AtMostOnce)).unwrap();
    publisher.finish();
    assert_eq!(world.dropped(Drop::Untranslatable), 1);
    publisher.send("t", &["x".repeat(60).as_str(), "b", "c"], AtLeastOnce);
    assert_eq!(world.dropped(Drop::QueueFull), 4, "no room in the backlog");
    let totals = world.node.metrics.of(Protocol::Mqtt);
    assert_eq!(totals.publishes_in.load(Ordering::Relaxed), 8);
    assert_eq!(totals.deliveries.load(Ordering::Relaxed), 1);
}

#[test]
fn a_subscriber_that_does_not_read_is_disconnected_where_that_is_the_policy() {
    for (outbox_full, expected) in [(OutboxFull::Drop, None), (OutboxFull::Disconnect, Some(End::SlowConsumer))] {
        let world = world_with(Limits { outbox_bytes_max: 100, outbox_full, ..Limits::default() });
        let (slow, quick) = (world.client("slow"), world.client("quick"));
        for client in [&slow, &quick] {
            world.subscribe(client, "t", AtMostOnce);
        }
        let mut publisher = world.publisher();
        for _ in 0..10 {
            publisher.send("t", &["x"], AtMostOnce);
            assert_eq!(quick.take().len(), 1);
        }
        assert_eq!(slow.link.asked_to_end(), expected);
        assert_eq!(quick.link.asked_to_end(), None);
    }
}

#[test]
fn who_may_not_publish_is_refused_and_counted() {
    let world = world();
    let client = world.client("a");
    world.subscribe(&client, "$SYS/#", AtMostOnce);
    let mut publisher = world.publisher();
    assert_eq!(publisher.say("$SYS/x", &publication(b"x", AtMostOnce)), Err(PublishRefused::NotAuthorized));
    publisher.finish();
    assert_eq!((client.take().len(), world.dropped(Drop::NotAuthorized)), (0, 1));
    let own = Arc::new(Topic::from_name("$SYS/x").unwrap());
    world.node.publish_as_broker(&world.realm, &own, &publication(b"x", AtMostOnce), Protocol::Mqtt, NOW_MS);
    assert_eq!(client.take(), ["$SYS/x=x"], "the broker itself may");
    let received = Protocol::ALL.map(|of| world.node.metrics.of(of).publishes_in.load(Ordering::Relaxed));
    assert_eq!(received.iter().sum::<u64>(), 1, "and was not received");
}

#[test]
fn a_publisher_is_told_once_that_its_subscribers_fell_behind() {
    let world = world_with(Limits { backlog_messages_max: 4, inflight_max: 1, ..Limits::default() });
    let (slow, quick) = (world.client("slow"), world.client("quick"));
    slow.session.mailbox().attach(slow.link.clone(), world.wire.as_ref(), 1, usize::MAX, 0);
    world.subscribe(&slow, "t", AtLeastOnce);
    world.subscribe(&quick, "t", AtLeastOnce);
    let mut publisher = world.publisher();
    publisher.send("t", &["1", "2", "3"], AtLeastOnce);
    assert!(!publisher.take_crowded());
    publisher.send("t", &["4"], AtLeastOnce);
    assert!(publisher.take_crowded() && !publisher.take_crowded());
    publisher.send("t", &["5", "6"], AtLeastOnce);
    assert!(!publisher.take_crowded(), "it is full: waiting would not help, and what does not fit is dropped");
    assert_eq!(world.dropped(Drop::QueueFull), 1);
}
