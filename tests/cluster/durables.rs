//! Named durable subscriptions that move from entry to entry.

use std::time::Duration;

use fennec::types::value::Value;

use crate::people::{Guest, World};

const QUIET: Duration = Duration::from_millis(300);

fn by_client() -> [(&'static str, Value); 2] {
    [("durable", "orders".into()), ("acknowledge", "client".into())]
}

/// What a reader gets up to the last event must be all from some event on that was not acknowledged, or not yet recorded.
#[track_caller]
fn check_goes_on(texts: &[String], first_owed: usize, last: usize) {
    let numbers: Vec<usize> = texts.iter().map(|text| text[1..].parse().expect("a number")).collect();
    let first = *numbers.first().expect("an event");
    assert!(first <= first_owed, "{numbers:?} leave out {first_owed}");
    assert_eq!(numbers, (first..=last).collect::<Vec<_>>());
}

#[test]
fn a_named_subscription_goes_on_at_another_entry_and_ends_where_it_was() {
    let mut world = World::start();
    let subscribed = |world: &World, entry| -> Guest {
        let mut guest = world.wamp(entry);
        world.subscribe(&mut guest, "crash.named", &by_client());
        guest
    };
    let mut first = subscribed(&world, 0);
    world.publish(2, "crash.named", &["e1", "e2", "e3"]);
    let seen = world.get("an event", first.message()).expect("a connection");
    assert_eq!(world.texts_to(&mut first, "e3"), ["e2", "e3"]);
    world.get("an answer", first.ack(&seen)).expect("it is acknowledged");

    let mut second = subscribed(&world, 1);
    assert_eq!(world.get("the end", first.unsubscribed()).expect("a connection"), "fennec.close.taken_over");
    check_goes_on(&world.texts_to(&mut second, "e3"), 2, 3);
    let late = world.get("an answer", first.ack(&seen));
    assert!(late.is_err(), "the older holder acknowledges: {late:?}");
    world.publish(0, "crash.named", &["e4"]);
    let fourth = world.get("an event", second.message()).expect("a connection");
    assert!(world.is_quiet(&mut first, QUIET), "two entries deliver for one name");
    world.get("an answer", second.ack(&fourth)).expect("it is acknowledged");

    // Its entry is dead, or only stands still.
    world.cluster.kill("E2");
    let mut third = subscribed(&world, 2);
    world.publish(0, "crash.named", &["e5"]);
    check_goes_on(&world.texts_to(&mut third, "e5"), 5, 5);
    world.cluster.pause("E3", false);
    let mut fourth = subscribed(&world, 0);
    world.publish(0, "crash.named", &["e6"]);
    check_goes_on(&world.texts_to(&mut fourth, "e6"), 5, 6);
    world.cluster.pause("E3", true);
    // Or its connection has ended, for its entry stood still for longer than a lease.
    if let Ok(why) = world.get("the end", third.unsubscribed()) {
        assert_eq!(why, "fennec.close.taken_over");
    }
}
