//! Shared subscriptions.

use super::*;

#[test]
fn lists_hold_for_members_of_shared_subscriptions_too() {
    let world = world();
    let clients = ["a", "b"].map(|name| world.client(name));
    clients.iter().for_each(|client| {
        world.subscribe_with(client, &filter("t"), Some("g"), merged(AtMostOnce));
    });
    let without_a = Filter { exclude: [clients[0].session.id].into(), ..Filter::default() };
    let for_nobody = Filter { eligible: Some([].into()), ..Filter::default() };
    let mut publisher = world.publisher();
    for filter in [&without_a, &for_nobody, &without_a, &for_nobody] {
        publisher.say("t", &Publication { filter: Some(filter), ..publication(b"x", AtMostOnce) }).unwrap();
    }
    publisher.finish();
    assert_eq!((clients[0].take().len(), clients[1].take().len()), (0, 2));
}

#[test]
fn members_of_a_shared_subscription_take_turns() {
    let world = world();
    let clients = ["a", "b", "c"].map(|name| world.client(name));
    clients.iter().for_each(|client| {
        world.subscribe_with(client, &filter("t"), Some("g"), merged(AtLeastOnce));
    });
    let alone = world.client("d");
    world.subscribe(&alone, "t", AtMostOnce);
    world.publisher().send("t", &["1", "2", "3", "4", "5", "6"], AtLeastOnce);
    let mut all: Vec<_> = clients.iter().map(|client| client.take()).collect();
    all.sort();
    assert_eq!(all, [["1# t=1", "2# t=4"], ["1# t=2", "2# t=5"], ["1# t=3", "2# t=6"]]);
    assert_eq!(alone.take().len(), 6);
}

#[test]
fn a_shared_subscription_prefers_who_is_connected_and_has_nothing_waiting() {
    let world = world();
    let [free, busy, away, gone] = ["free", "busy", "away", "gone"].map(|name| {
        let client = world.client(name);
        world.subscribe_with(&client, &filter("t"), Some("g"), merged(AtLeastOnce));
        client
    });
    let waiting = Owed {
        event: Arc::new(Event::store(&event_for_test(&Arc::new(Topic::from_name("w").unwrap())), None)),
        terms: Terms { qos: AtLeastOnce, ..Terms::default() },
    };
    busy.session.mailbox().backlog.push(waiting, 0).unwrap();
    away.go_offline();
    gone.go_offline();
    gone.session.mailbox().keeps = false;
    let backlogs = || [&free, &busy, &away, &gone].map(|client| client.session.mailbox().backlog.len());
    let mut publisher = world.publisher();
    publisher.send("t", &["1", "2", "3", "4"], AtLeastOnce);
    assert_eq!((free.take().len(), backlogs()), (4, [0, 1, 0, 0]));
    free.go_offline();
    publisher.send("t", &["5", "6", "7", "8"], AtLeastOnce);
    assert_eq!(backlogs(), [0, 5, 0, 0]);
    busy.go_offline();
    publisher.send("t", &["9", "10", "11", "12", "13", "14"], AtLeastOnce);
    let [at_free, at_busy, at_away, at_gone] = backlogs();
    assert_eq!((at_free + at_busy + at_away, at_gone), (11, 0), "kept for who comes back");
    assert!(at_free > 0 && at_away > 0);
}
