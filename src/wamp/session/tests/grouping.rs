//! SUBSCRIBE with `durable` and `group`: each event goes to one member.

use super::resuming::{publish, publish_to};
use super::*;

const JOIN: &str = r#"[32,1,{"durable":"jobs","group":true,"acknowledge":"client"OPTIONS},"log.a"]"#;

/// A member, and its subscription.
fn member(world: &World, options: &str) -> (Client, u32) {
    let mut client = world.join();
    client.send(&JOIN.replace("OPTIONS", options));
    let subscription = client.received_subscription();
    (client, subscription)
}

/// The first arguments of the events that came, and their publication ids.
fn got(client: &mut Client, subscription: u32) -> (Vec<u32>, Vec<u64>) {
    let received = client.received();
    let read = |event: &String| {
        let rest = event.strip_prefix(&format!("[36,{subscription},")).unwrap_or_else(|| panic!("{event}"));
        let id: u64 = rest.split(',').next().unwrap().parse().unwrap();
        let value: u32 = rest.rsplit_once('[').unwrap().1.trim_end_matches(']').parse().unwrap();
        (value, id)
    };
    received.iter().map(read).unzip()
}

fn ack(client: &mut Client, subscription: u32, publication: u64) {
    client.send(&format!(r#"[48,9,{{}},"fennec.subscription.ack",[{subscription},{publication}]]"#));
    assert_eq!(client.received_answer(), "[50,9,{},[true]]");
}

#[test]
fn each_event_goes_to_one_member_in_turn() {
    let world = World::new();
    let (mut a, id) = member(&world, "");
    let (mut b, same) = member(&world, "");
    assert_eq!(id, same, "the group has one subscription id");
    publish(&mut world.join(), 1..=4);
    assert_eq!((got(&mut a, id).0, got(&mut b, id).0), (vec![1, 3], vec![2, 4]));
}

#[test]
fn what_a_member_has_not_acknowledged_goes_to_another_when_it_is_gone() {
    let world = World::new();
    let (mut a, id) = member(&world, "");
    let (mut b, _) = member(&world, "");
    publish(&mut world.join(), 1..=4);
    let (values, publications) = got(&mut a, id);
    assert_eq!(values, [1, 3]);
    // Each event is acknowledged alone, in whatever order.
    ack(&mut a, id, publications[1]);
    assert_eq!(got(&mut b, id).0, [2, 4]);
    drop(a);
    assert_eq!(got(&mut b, id).0, [1]);
}

#[test]
fn who_acknowledges_what_another_was_done_with_is_told_so() {
    let world = World::new();
    let (mut a, id) = member(&world, "");
    publish(&mut world.join(), 1..=1);
    let (_, publications) = got(&mut a, id);
    ack(&mut a, id, publications[0]);
    a.send(&format!(r#"[48,9,{{}},"fennec.subscription.ack",[{id},{}]]"#, publications[0]));
    assert_eq!(a.received_answer(), "[50,9,{},[false]]");
}

#[test]
fn who_unsubscribes_leaves_the_group() {
    let world = World::new();
    let (mut a, id) = member(&world, "");
    let (mut b, _) = member(&world, "");
    publish(&mut world.join(), 1..=2);
    assert_eq!(got(&mut a, id).0, [1]);
    a.check(&format!("[34,2,{id}]"), &["[35,2]"]);
    assert_eq!(got(&mut b, id).0, [2, 1]);
    publish(&mut world.join(), 3..=4);
    a.expect(&[]);
    assert_eq!(got(&mut b, id).0, [3, 4]);
}

#[test]
fn a_group_goes_on_where_it_was_when_nobody_was_there() {
    let world = World::new();
    let (a, _) = member(&world, "");
    drop(a);
    publish(&mut world.join(), 1..=3);
    let (mut b, id) = member(&world, "");
    assert_eq!(got(&mut b, id).0, [1, 2, 3]);
}

#[test]
fn a_new_group_begins_where_its_maker_says() {
    let world = World::new();
    publish(&mut world.join(), 1..=5);
    let (mut a, id) = member(&world, r#","rewind":2"#);
    assert_eq!(got(&mut a, id).0, [4, 5]);
}

#[test]
fn without_acknowledgements_an_event_is_done_when_it_is_sent() {
    let world = World::new();
    let join = r#"[32,1,{"durable":"jobs","group":true},"log.a"]"#;
    let mut a = world.join();
    a.send(join);
    let id = a.received_subscription();
    publish(&mut world.join(), 1..=2);
    assert_eq!(got(&mut a, id).0, [1, 2]);
    drop(a);
    let mut b = world.join();
    b.send(join);
    let id = b.received_subscription();
    publish(&mut world.join(), 3..=3);
    assert_eq!(got(&mut b, id).0, [3]);
}

#[test]
fn who_takes_too_long_loses_the_event_and_in_the_end_it_is_a_dead_letter() {
    let mut world = World::new();
    let mut watcher = world.join();
    watcher.send(r#"[32,1,{},"dead"]"#);
    watcher.received_subscription();
    let (mut a, id) = member(&world, r#","ack_timeout":1000,"deliveries_max":2,"dead_letter_topic":"dead""#);
    publish(&mut world.join(), 1..=1);
    assert_eq!(got(&mut a, id).0, [1]);
    world.tick(1001);
    assert_eq!(got(&mut a, id).0, [1]);
    watcher.expect(&[]);
    world.tick(1001);
    a.expect(&[]);
    let letters = watcher.received();
    assert!(letters.len() == 1 && letters[0].contains(r#""fennec-dead-attempts""#), "{letters:?}");
}

#[test]
fn events_with_one_value_of_a_field_come_one_at_a_time() {
    let world = World::new();
    let (mut a, id) = member(&world, r#","order_by":"key""#);
    let (mut b, _) = member(&world, r#","order_by":"key""#);
    let mut publisher = world.join();
    for number in 1..=3 {
        publish_to(&mut publisher, "log.a", &format!(r#"{{"key":"k","number":{number}}}"#));
    }
    let first = a.received();
    assert_eq!(first.len(), 1, "{first:?}");
    b.expect(&[]);
    let publication: u64 = first[0].split(',').nth(2).unwrap().parse().unwrap();
    ack(&mut a, id, publication);
    assert_eq!(a.received().len() + b.received().len(), 1);
}

#[test]
fn a_group_is_no_single_subscription_and_has_no_filter() {
    let world = World::new();
    let (_a, _) = member(&world, "");
    let mut b = world.join();
    b.check_error(r#"[32,1,{"durable":"jobs"},"log.a"]"#, 32, 1, "fennec.error.conflict");
    let filtered = JOIN.replace("OPTIONS", r#","filter":{"a":1}"#);
    b.check_error(&filtered, 32, 1, "wamp.error.invalid_argument");
    let own = JOIN.replace("OPTIONS", r#","dead_letter_topic":"log.a""#);
    b.check_error(&own, 32, 1, "wamp.error.not_authorized");
}
