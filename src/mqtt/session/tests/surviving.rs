//! What a session is after the broker has died (MQTT 5, 4.1), and what is answered only when it is in the log.

use super::*;

/// A client that has `filters` with QoS 2 in a session that is kept.
fn subscriber(world: &World, filters: &[&str]) -> Peer {
    let mut peer = world.join(kept("s", 1000));
    for filter in filters {
        peer.subscribe(filter, Q2);
    }
    peer
}

#[test]
fn session_and_subscriptions_survive_the_broker() {
    let mut world = World::new();
    let connect = Connect { level: Level::V4, ..kept("old", 0) };
    world.join(connect.clone()).subscribe("o/+", Q1);
    let mut peer = world.join(kept("s", 1000));
    peer.subscribe_with(Some(7), Subscription { no_local: true, retain_as_published: true, ..to("a/#", Q1) });
    peer.subscribe("b", Q2);
    peer.subscribe("$share/g/c", Q1);
    peer.subscribe("gone", Q1);
    peer.send_unsubscribe(&["gone"]);
    peer.hear();
    world.restart();
    assert_eq!(realm(&world).subscriptions_len(), 4);
    let mut publisher = world.join(v5("p"));
    for topic in ["a/1", "b", "c", "gone", "o/1"] {
        publisher.send_publish(Publish { retain: true, ..publish(topic, "x", Q2) });
    }
    let sent = ["publish a/1 x q1 #1 retain id=7", "publish b x q2 #2", "publish c x q1 #3"];
    let mut heard = world.connect(kept("s", 1000)).hear();
    assert_eq!(heard.remove(0), "connack Success present");
    heard.sort();
    let topic = |line: &&str| line.split(" #").next().unwrap().to_owned();
    let topics: Vec<_> = heard.iter().map(|line| topic(&line.as_str())).collect();
    assert_eq!(topics, sent.iter().map(topic).collect::<Vec<_>>());
    assert!(heard[0].ends_with("retain id=7"), "{heard:?}");
    assert_eq!(world.connect(connect).hear(), ["connack Success present", "publish o/1 x q1 #1"]);
}

/// Routes are live before the first client is there: what is published between start and return waits.
#[test]
fn nothing_is_missed_between_the_start_of_the_broker_and_the_return_of_the_client() {
    let mut world = World::new();
    subscriber(&world, &["a"]).leave();
    world.join(v5("p")).publish("a", "before", Q1);
    world.restart();
    world.join(v5("p")).publish("a", "between", Q1);
    world.restart();
    world.join(v5("p")).publish("a", "after", Q2);
    let sent = ["publish a before q1 #1", "publish a between q1 #2"];
    let mut peer = world.connect(kept("s", 1000));
    let heard = peer.hear();
    assert_eq!(heard[..3], ["connack Success present", sent[0], sent[1]]);
    assert_eq!(heard[3..], ["publish a after q2 #3"]);
}

#[test]
fn what_was_acknowledged_is_not_sent_again_after_the_broker_died() {
    let mut world = World::new();
    let mut peer = subscriber(&world, &["a"]);
    let mut publisher = world.join(v5("p"));
    for payload in ["1", "2", "3"] {
        publisher.publish("a", payload, Q1);
    }
    assert_eq!(peer.hear().len(), 3);
    peer.ack(AckType::Puback, 1);
    peer.ack(AckType::Puback, 3);
    world.pass(1000);
    peer.hear();
    world.restart();
    assert_eq!(world.connect(kept("s", 1000)).hear(), ["connack Success present", "publish a 2 q1 #2 dup"]);
}

/// MQTT 5, 4.3.3, from the broker: wherever it dies, the client gets the message under one packet identifier.
#[test]
fn message_of_qos_2_keeps_its_identifier_when_the_broker_dies() {
    let mut world = World::new();
    let mut peer = subscriber(&world, &["a"]);
    world.join(v5("p")).publish("a", "x", Q2);
    assert_eq!(peer.hear(), ["publish a x q2 #1"]);
    world.restart();
    let mut peer = world.connect(kept("s", 1000));
    assert_eq!(peer.hear(), ["connack Success present", "publish a x q2 #1 dup"]);
    peer.ack(AckType::Pubrec, 1);
    assert_eq!(peer.hear(), ["pubrel #1"]);
    world.restart();
    let mut peer = world.connect(kept("s", 1000));
    assert_eq!(peer.hear(), ["connack Success present", "pubrel #1"]);
    peer.ack(AckType::Pubcomp, 1);
    world.pass(1000);
    peer.hear();
    world.restart();
    assert_eq!(world.connect(kept("s", 1000)).hear(), ["connack Success present"]);
}

/// MQTT 5, 4.3.3, to the broker: a message that it has in its log is not taken again.
#[test]
fn message_of_qos_2_is_delivered_once_though_the_broker_died() {
    let mut world = World::new();
    let mut heir = world.join(kept("heir", 1000));
    heir.subscribe("a", Q1);
    let message = Publish { packet_id: Some(packet_id(5)), ..publish("a", "x", Q2) };
    let mut publisher = world.join(kept("p", 1000));
    publisher.send_publish(message);
    assert_eq!(publisher.hear(), ["pubrec #5"]);
    world.restart();
    let mut publisher = world.join(kept("p", 1000));
    publisher.send_publish(Publish { dup: true, ..message });
    assert_eq!(publisher.hear(), ["pubrec #5"]);
    publisher.ack(AckType::Pubrel, 5);
    assert_eq!(publisher.hear(), ["pubcomp #5"]);
    world.restart();
    let mut publisher = world.join(kept("p", 1000));
    publisher.send_publish(message);
    assert_eq!(publisher.hear(), ["pubrec #5"], "after PUBREL the number stands for a new message");
    let mut heir = world.connect(kept("heir", 1000));
    assert_eq!(heir.hear()[1..], ["publish a x q1 #1", "publish a x q1 #2"]);
}

#[test]
fn will_is_published_when_the_broker_died_under_its_client() {
    let mut world = World::new();
    let mut heir = world.join(kept("heir", 1000));
    heir.subscribe("w", Q1);
    let will = Will { qos: Q1, retain: true, ..will("w", "x") };
    let _peer = world.join(Connect { will: Some(will), ..v5("c") });
    let orderly = world.join(Connect { will: Some(Will { qos: Q1, ..self::will("w", "never") }), ..v4("d") });
    orderly.leave();
    world.restart();
    world.pass(1);
    assert_eq!(world.connect(kept("heir", 1000)).hear(), ["connack Success present", "publish w x q1 #1"]);
    assert_eq!(world.join(v5("late")).subscribe("w", Q0), ["publish w x retain"]);
}

/// The time of a session and of its will is the log's: it passes while the broker is down.
#[test]
fn session_expires_while_the_broker_is_down() {
    let mut world = World::new();
    subscriber(&world, &["a"]).leave();
    world.join(Connect { will: Some(Will { delay_s: 50, ..will("w", "x") }), ..kept("c", 2000) }).cut();
    world.now_ms.fetch_add(1_000_001, Ordering::Relaxed);
    world.restart();
    world.pass(1);
    assert_eq!(world.connect(kept("s", 1000)).hear(), ["connack Success"]);
    assert_eq!(world.connect(kept("c", 2000)).hear(), ["connack Success present"]);
    assert_eq!(realm(&world).subscriptions_len(), 0);
}

#[test]
fn message_expires_while_the_broker_is_down() {
    let mut world = World::new();
    subscriber(&world, &["a"]).leave();
    let expiring = |s| PublishProperties { expiry_s: Some(s), ..PublishProperties::default() };
    let mut publisher = world.join(v5("p"));
    publisher.publish_with(publish("a", "short", Q1), &expiring(10));
    publisher.publish_with(publish("a", "long", Q1), &expiring(60));
    world.now_ms.fetch_add(10_000, Ordering::Relaxed);
    world.restart();
    assert_eq!(world.connect(kept("s", 1000)).hear()[1..], ["publish a long q1 #1 expires=50"]);
}

#[test]
fn client_id_belongs_to_its_user_though_the_broker_died() {
    let mut world = Setup { users: vec![], ..Setup::default() }.build();
    subscriber(&world, &["a"]).leave();
    world.restart();
    let known = realm(&world).clients.get("s").unwrap();
    assert_eq!(known.session.identity.authid, "anonymous");
    assert_eq!(known.record.lock().expiry_s, 1000);
}

#[test]
fn procedure_of_a_kept_session_is_answered_after_the_broker_died() {
    let mut world = World::new();
    world.join(kept("callee", 1000)).subscribe("$rpc/p", Q0);
    world.restart();
    let mut callee = world.join(kept("callee", 1000));
    let mut caller = world.join(v5("caller"));
    let properties = PublishProperties { response_topic: Some("answers"), ..PublishProperties::default() };
    caller.publish_with(publish("$rpc/p", "x", Q0), &properties);
    assert!(callee.hear().iter().any(|line| line.starts_with("publish $rpc/p x")));
}
