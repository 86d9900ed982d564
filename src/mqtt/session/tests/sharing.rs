//! Shared subscriptions (MQTT 5, 4.8.2).

use super::*;

fn members(world: &World, count: usize, qos: Qos) -> Vec<Peer> {
    let ids: Vec<String> = (0..count).map(|number| format!("m{number}")).collect();
    let join = |id: &String| {
        let mut peer = world.join(kept(id, 100));
        peer.subscribe("$share/g/a", qos);
        peer
    };
    ids.iter().map(join).collect()
}

#[test]
fn each_message_goes_to_one_member_and_they_take_turns() {
    let world = World::new();
    let mut members = members(&world, 3, Q0);
    let mut publisher = world.join(v5("p"));
    for number in 0..9 {
        publisher.publish("a", &number.to_string(), Q0);
    }
    let mut heard: Vec<Vec<String>> = members.iter_mut().map(Peer::hear).collect();
    assert!(heard.iter().all(|heard| heard.len() == 3), "{heard:?}");
    heard.iter_mut().for_each(|heard| heard.sort());
    let mut all = heard.concat();
    all.sort();
    assert_eq!(all, (0..9).map(|number| format!("publish a {number}")).collect::<Vec<_>>());
}

#[test]
fn groups_and_plain_subscriptions_get_copies_of_their_own() {
    let world = World::new();
    let mut peer = world.join(v5("s"));
    peer.subscribe_with(Some(1), to("$share/g/a", Q1));
    peer.subscribe_with(Some(2), to("$share/h/a", Q0));
    peer.subscribe_with(Some(3), to("$share/g/#", Q0));
    peer.subscribe_with(Some(4), to("a", Q0));
    world.join(v5("p")).publish("a", "x", Q1);
    let mut heard = peer.hear();
    heard.sort();
    assert_eq!(heard, ["publish a x id=2", "publish a x id=3", "publish a x id=4", "publish a x q1 #1 id=1"]);
}

#[test]
fn member_that_is_away_is_passed_over_while_others_are_there() {
    let world = World::new();
    let mut members = members(&world, 3, Q1);
    members.remove(0).cut();
    let mut publisher = world.join(v5("p"));
    for number in 0..6 {
        publisher.publish("a", &number.to_string(), Q1);
    }
    let counts: Vec<usize> = members.iter_mut().map(|peer| peer.hear().len()).collect();
    assert_eq!(counts.iter().sum::<usize>(), 6);
    assert!(counts.iter().all(|count| *count >= 2), "{counts:?}");
    assert_eq!(world.connect(kept("m0", 100)).hear(), ["connack Success present"]);
}

#[test]
fn messages_wait_for_a_group_that_is_away() {
    let world = World::new();
    let all = members(&world, 2, Q1);
    drop(all);
    let mut publisher = world.join(v5("p"));
    for number in 0..4 {
        publisher.publish("a", &number.to_string(), Q1);
        publisher.publish("a", "lost", Q0);
    }
    let waited: Vec<usize> = ["m0", "m1"].iter().map(|id| world.connect(kept(id, 100)).hear().len() - 1).collect();
    assert_eq!(waited.iter().sum::<usize>(), 4);
}

/// A member that is there and busy is better than one that is away.
#[test]
fn messages_wait_for_a_busy_member_rather_than_for_one_that_is_away() {
    let world = Setup::limited(|limits| limits.inflight_max = 1).build();
    let mut members = members(&world, 3, Q1);
    members.remove(0).cut();
    let mut publisher = world.join(v5("p"));
    for number in 0..8 {
        publisher.publish("a", &number.to_string(), Q1);
    }
    let mut got = 0;
    for peer in &mut members {
        let mut id = 0;
        while !peer.hear().is_empty() {
            got += 1;
            id += 1;
            peer.ack(AckType::Puback, id);
        }
    }
    assert_eq!(got, 8);
}

#[test]
fn member_that_is_busy_is_passed_over() {
    let world = Setup::limited(|limits| limits.inflight_max = 1).build();
    let mut members = members(&world, 2, Q1);
    let mut publisher = world.join(v5("p"));
    publisher.publish("a", "1", Q1);
    publisher.publish("a", "2", Q1);
    publisher.publish("a", "3", Q1);
    publisher.publish("a", "4", Q1);
    assert!(members.iter_mut().all(|peer| peer.hear().len() == 1));
    let quick = &mut members[0];
    quick.ack(AckType::Puback, 1);
    assert_eq!(quick.hear().len(), 1);
    quick.ack(AckType::Puback, 2);
    publisher.publish("a", "5", Q1);
    assert_eq!(quick.hear(), ["publish a 5 q1 #3"], "the other has one waiting");
}

#[test]
fn member_may_leave_the_group() {
    let world = World::new();
    let mut members = members(&world, 2, Q0);
    members[0].send_unsubscribe(&["$share/g/a"]);
    assert_eq!(members[0].hear(), ["unsuback #2 Success"]);
    let mut publisher = world.join(v5("p"));
    publisher.publish("a", "1", Q0);
    publisher.publish("a", "2", Q0);
    assert_eq!(members[1].hear(), ["publish a 1", "publish a 2"]);
    members.clear();
    world.pass(100_001);
    assert_eq!(realm(&world).subscriptions_len(), 0);
}

/// [MQTT-4.8.2-5]: what was sent to a member is its own, also after a reconnect.
#[test]
fn message_of_a_member_that_left_waits_for_that_member() {
    let world = World::new();
    let mut members = members(&world, 2, Q2);
    world.join(v5("p")).publish("a", "x", Q2);
    let at = members.iter_mut().position(|peer| !peer.hear().is_empty()).unwrap();
    members.remove(at).cut();
    assert!(members[0].hear().is_empty());
    let again = world.connect(kept(&format!("m{at}"), 100)).hear();
    assert_eq!(again, ["connack Success present", "publish a x q2 #1 dup"]);
}

#[test]
fn level_4_may_share_too() {
    let world = World::new();
    let mut first = world.join(v4("s"));
    let mut second = world.join(v4("t"));
    first.subscribe("$share/g/a", Q0);
    second.subscribe("$share/g/a", Q0);
    let mut publisher = world.join(v4("p"));
    publisher.publish("a", "1", Q0);
    publisher.publish("a", "2", Q0);
    assert_eq!((first.hear().len(), second.hear().len()), (1, 1));
    first.send_subscribe(None, &[to("$share/g", Q0), to("$share//a", Q0)]);
    assert_eq!(first.hear(), ["suback #2 UnspecifiedError UnspecifiedError"]);
}

/// WAMP publishers may say who gets an event; members of a group are no exception (WAMP, Subscriber Black- and Whitelisting).
#[test]
fn member_that_the_publisher_excludes_is_passed_over() {
    use crate::node::publish::Publication;
    use crate::types::event::Filter;
    use crate::types::payload::PayloadRef;
    use crate::types::topic::Topic;

    let world = World::new();
    let mut members = members(&world, 2, Q0);
    let excluded =
        realm(&world).sessions().iter().find(|session| session.identity.client_id.as_deref() == Some("m0")).unwrap().id;
    let filter = Filter { exclude: [excluded].into(), ..Filter::default() };
    let publication = Publication {
        payload: PayloadRef::Bytes(b"x"),
        qos: Q0,
        retain: false,
        properties: None,
        publisher: None,
        expires_in_s: None,
        exclude_publisher: false,
        filter: Some(&filter),
        condition: None,
        packet: None,
        backing: None,
    };
    let topic = Arc::new(Topic::from_name("a").unwrap());
    for _ in 0..4 {
        world.node.publish_as_broker(&realm(&world), &topic, &publication, Protocol::Wamp, NOW_MS);
    }
    assert!(members[0].hear().is_empty());
    assert_eq!(members[1].hear(), ["publish a x"; 4]);
}
