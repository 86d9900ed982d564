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
    let mut again = ["m0", "m1"].map(|id| world.connect(kept(id, 100)));
    let waited: usize = again.iter_mut().map(|peer| peer.hear().len() - 1).sum();
    assert_eq!(waited, 4);
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
    assert_eq!(quick.hear(), ["publish a 4 q1 #3"], "nothing waits for the other");
    publisher.publish("a", "5", Q1);
    quick.ack(AckType::Puback, 3);
    assert_eq!(quick.hear(), ["publish a 5 q1 #4"]);
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
    // It is not a group any more when nobody has been there for a while who outlives a connection.
    world.pass(1);
    world.pass(10_001);
    assert_eq!(realm(&world).subscriptions_len(), 0);
}

/// A kept session is granted QoS 1 at most: what it has not acknowledged is another's when it goes (MQTT 5, 4.8.2).
#[test]
fn message_of_a_member_that_left_goes_to_another() {
    let world = World::new();
    let members = ["m0", "m1"].map(|id| {
        let mut peer = world.join(kept(id, 100));
        peer.send_subscribe(None, &[to("$share/g/a", Q2)]);
        assert_eq!(peer.hear(), ["suback #1 GrantedQos1"]);
        peer
    });
    world.join(v5("p")).publish("a", "x", Q2);
    let [mut first, mut second] = members;
    assert_eq!(first.hear(), ["publish a x q1 #1"]);
    first.cut();
    assert_eq!(second.hear(), ["publish a x q1 #1"]);
    second.ack(AckType::Puback, 1);
    let mut again = world.connect(kept("m0", 100));
    assert_eq!(again.hear(), ["connack Success present"]);
}

#[test]
fn what_nobody_is_done_with_goes_to_the_dead_letter_topic() {
    let world = World::new();
    let mut watcher = world.join(v5("w"));
    watcher.subscribe("dead", Q0);
    let mut member = world.join(kept("m", 100));
    let asked = [("ack_timeout", "1000"), ("deliveries_max", "2"), ("dead_letter_topic", "dead")];
    member.ask_past(&asked, &[to("$share/g/a", Q1)]);
    assert_eq!(member.hear(), ["suback #1 GrantedQos1"]);
    world.join(v5("p")).publish("a", "x", Q1);
    assert_eq!(member.hear(), ["publish a x q1 #1"]);
    world.pass(1001);
    assert_eq!(member.hear(), ["publish a x q1 #2"]);
    assert!(watcher.hear().is_empty());
    world.pass(1001);
    assert!(member.hear().is_empty());
    let heard = watcher.hear();
    assert!(heard.len() == 1 && heard[0].starts_with("publish dead x"), "{heard:?}");
    assert!(heard[0].contains("fennec-dead-topic:a") && heard[0].contains("fennec-dead-attempts:2"), "{heard:?}");
}

#[test]
fn group_survives_the_broker() {
    let mut world = World::new();
    let mut members = members(&world, 2, Q1);
    let mut publisher = world.join(v5("p"));
    for number in 0..4 {
        publisher.publish("a", &number.to_string(), Q1);
    }
    assert_eq!(members[0].hear().len(), 2);
    members[0].ack(AckType::Puback, 1);
    world.pass(1000);
    world.restart();
    let mut again = world.connect(kept("m1", 100));
    assert_eq!(again.hear().len(), 1 + 3, "all but what was acknowledged");
    world.join(v5("p")).publish("a", "4", Q1);
    assert_eq!(again.hear().len(), 1);
}

#[test]
fn session_that_is_not_kept_takes_its_turn_in_a_group() {
    let world = World::new();
    let mut before = world.join(v5("c0"));
    before.subscribe("$share/g/a", Q1);
    let mut members = members(&world, 1, Q1);
    let mut after = world.join(v5("c1"));
    after.subscribe("$share/g/a", Q1);
    let mut publisher = world.join(v5("p"));
    for number in 0..6 {
        publisher.publish("a", &number.to_string(), Q1);
    }
    let counts = [before.hear().len(), members[0].hear().len(), after.hear().len()];
    assert_eq!(counts, [2, 2, 2]);
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
    let publication = Publication { filter: Some(&filter), ..Publication::plain(PayloadRef::Bytes(b"x"), Q0) };
    let topic = Arc::new(Topic::from_name("a").unwrap());
    for _ in 0..4 {
        world.node.publish_as_broker(&realm(&world), &topic, &publication, Protocol::Wamp, NOW_MS);
    }
    assert!(members[0].hear().is_empty());
    assert_eq!(members[1].hear(), ["publish a x"; 4]);
}

/// An entry of a cluster, in which all events under `d/` are durable.
fn entry() -> World {
    let durable = vec![TopicPattern::from_filter("d/#").unwrap()];
    let world = Setup { durable, ..Setup::default() }.build();
    world.node.open_peers(Box::new(|_, _| crate::node::peers::Carried::Sent), Box::new(|| ()));
    // Nobody has to be waited for.
    world.node.peers.set_heard(u64::MAX);
    world
}

#[test]
fn in_a_cluster_what_is_shared_of_durable_topics_is_a_group_even_if_no_session_is_kept() {
    let world = entry();
    let mut members = ["c0", "c1"].map(|id| world.join(v5(id)));
    for member in &mut members {
        member.subscribe("$share/g/d/a", Q1);
    }
    let is_group = |filter: &str| realm(&world).groups.get(filter).is_some();
    assert!(is_group("$share/g/d/a"));
    let mut publisher = world.join(v5("p"));
    for number in 0..4 {
        publisher.publish("d/a", &number.to_string(), Q1);
    }
    assert_eq!(members.each_mut().map(|member| member.hear().len()), [2, 2]);
    // What one has not done with is given to the other when it goes.
    let [first, mut second] = members;
    drop(first);
    assert_eq!(second.hear().len(), 2);
    world.pass(20_000);
    assert!(is_group("$share/g/d/a"));
    drop(second);
    world.pass(1000);
    world.pass(20_000);
    assert!(!is_group("$share/g/d/a"), "nobody is there");
}

#[test]
fn what_is_shared_of_other_topics_is_no_group_and_keeps_nothing_in_the_log() {
    let world = entry();
    let mut client = world.join(v5("c"));
    for filter in ["$share/g/a", "$share/g/#", "$share/g/+/a"] {
        client.subscribe(filter, Q1);
        assert!(realm(&world).groups.get(filter).is_none(), "{filter}");
    }
    let alone = World::new();
    alone.join(v5("c")).subscribe("$share/g/a", Q1);
    assert!(realm(&alone).groups.all().is_empty());
}

#[test]
fn a_group_that_the_log_does_not_take_is_not_subscribed_to() {
    let world = entry();
    let mut client = world.join(v5("c"));
    world.store.fails.store(true, Ordering::Relaxed);
    client.send_subscribe(None, &[to("$share/g/d/a", Q1)]);
    let heard = client.hear();
    assert!(heard.len() == 1 && heard[0].starts_with("suback #1 ") && !heard[0].contains("Granted"), "{heard:?}");
    assert_eq!(realm(&world).subscriptions_len(), 0);
}
