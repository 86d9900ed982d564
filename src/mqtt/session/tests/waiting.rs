//! Answers that wait for the log, and what is said when it refuses.

use super::*;
use crate::types::topic::TopicPattern;

/// A world whose log has not begun to work, and a client of a session that is not kept.
fn stalled() -> (World, Peer) {
    let world = Setup::default().build_stalled();
    let peer = world.join(v5("p"));
    (world, peer)
}

fn retained<'a>(topic: &'a str, payload: &'a str, qos: Qos) -> Publish<'a> {
    Publish { retain: true, ..publish(topic, payload, qos) }
}

#[test]
fn durable_publish_is_acknowledged_when_it_is_in_the_log() {
    let (world, mut peer) = stalled();
    peer.send_publish(retained("a", "1", Q1));
    peer.send_publish(retained("a", "2", Q2));
    assert!(peer.hear().is_empty());
    world.run_log();
    assert_eq!(peer.hear(), ["puback #1", "pubrec #2"]);
}

/// [MQTT-4.6.0-2]: also those that would have been answered at once.
#[test]
fn acknowledgements_wait_for_those_before_them() {
    let (world, mut peer) = stalled();
    peer.publish("other", "0", Q1);
    assert_eq!(peer.hear(), ["puback #1 NoMatchingSubscribers"]);
    peer.send_publish(retained("a", "1", Q1));
    peer.publish("other", "2", Q1);
    peer.publish("$SYS/x", "3", Q1);
    peer.publish("a", "4", Q2);
    peer.send_subscribe(None, &[to("b", Q1)]);
    peer.send_unsubscribe(&["b"]);
    peer.ack(AckType::Pubrel, 77);
    assert!(peer.hear().is_empty());
    peer.feed(b"\xc0\x00");
    assert_eq!(peer.hear(), ["pingresp"], "which answers for the connection");
    world.run_log();
    let expected = [
        "puback #2",
        "puback #3 NoMatchingSubscribers",
        "puback #4 NotAuthorized",
        "pubrec #5 NoMatchingSubscribers",
        "suback #6 GrantedQos1",
        "unsuback #7 Success",
        "pubcomp #77 PacketIdentifierNotFound",
    ];
    assert_eq!(peer.hear(), expected);
}

/// [MQTT-4.6.0-6]: a message that need not be in the log does not overtake one of its topic that must.
#[test]
fn messages_of_a_topic_keep_their_order_through_the_log() {
    let (world, mut peer) = stalled();
    let mut heir = world.join(v5("s"));
    heir.subscribe("#", Q1);
    peer.send_publish(retained("a", "1", Q1));
    peer.publish("a", "2", Q0);
    peer.publish("a", "3", Q1);
    assert!(heir.hear().is_empty());
    world.run_log();
    assert_eq!(peer.hear(), ["puback #1", "puback #2"]);
    assert_eq!(heir.hear(), ["publish a 1 q1 #1", "publish a 2", "publish a 3 q1 #2"]);
}

/// DISCONNECT does not take back what was sent before it, whatever that waits for.
#[test]
fn messages_that_wait_for_the_log_are_not_lost_with_their_connection() {
    let (world, mut peer) = stalled();
    let mut heir = world.join(v5("s"));
    heir.subscribe("#", Q1);
    peer.send_publish(retained("a", "1", Q1));
    peer.publish("a", "2", Q0);
    peer.send_publish(retained("a", "3", Q0));
    peer.leave();
    world.run_log();
    assert_eq!(heir.hear(), ["publish a 1 q1 #1", "publish a 2", "publish a 3"]);
}

#[test]
fn session_that_is_kept_is_given_when_it_is_in_the_log() {
    let world = Setup::default().build_stalled();
    let mut peer = world.connect(kept("c", 100));
    let mut with_will = world.connect(Connect { will: Some(will("w", "x")), ..v4("d") });
    assert!(peer.hear().is_empty() && with_will.hear().is_empty());
    assert!(peer.gate.must_wait(), "and nothing is read meanwhile");
    world.run_log();
    assert_eq!(peer.hear(), ["connack Success"]);
    assert_eq!(with_will.hear(), ["connack Success"]);
    assert!(!peer.gate.must_wait());
}

/// What came with CONNECT is handled behind CONNACK, the beginning of a packet too.
#[test]
fn what_came_behind_connect_waits_for_the_session() {
    let world = Setup::default().build_stalled();
    let mut peer = world.open(Level::V5);
    let mut bytes = Vec::new();
    kept("c", 100).encode(&mut bytes).unwrap();
    for payload in ["1", "2", "3"] {
        Publish { packet_id: Some(packet_id(9)), ..publish("a", payload, Q1) }.encode(Level::V5, &mut bytes).unwrap();
    }
    let (first, rest) = bytes.split_at(bytes.len() - 3);
    peer.feed(first);
    assert!(peer.hear().is_empty());
    world.run_log();
    let ack = "puback #9 NoMatchingSubscribers";
    assert_eq!(peer.hear(), ["connack Success", ack, ack]);
    peer.feed(rest);
    assert_eq!(peer.hear(), [ack]);
    peer.feed(b"\xc0\x00");
    assert_eq!(peer.hear(), ["pingresp"]);
}

#[test]
fn connection_that_says_goodbye_before_it_has_its_session_is_closed() {
    let world = Setup::default().build_stalled();
    let mut peer = world.open(Level::V5);
    let mut bytes = Vec::new();
    kept("c", 100).encode(&mut bytes).unwrap();
    bytes.extend_from_slice(b"\xe0\x00");
    peer.feed(&bytes);
    world.run_log();
    assert_eq!(peer.hear(), ["connack Success", "closed"]);
    assert_eq!(world.connect(kept("c", 100)).hear(), ["connack Success present"]);
}

/// Of two that come for one session, the one that is second in the log has it, whichever hears first.
#[test]
fn connections_take_a_session_over_in_the_order_of_the_log() {
    let world = Setup::default().build_stalled();
    let mut first = world.connect(kept("c", 100));
    let mut second = world.connect(kept("c", 100));
    world.run_log();
    assert_eq!(second.hear(), ["connack Success present"]);
    assert_eq!(first.hear().last().map(String::as_str), Some("closed"));
    second.subscribe("a", Q1);
    world.join(v5("p")).publish("a", "x", Q1);
    assert_eq!(second.hear(), ["publish a x q1 #1"]);
}

/// The log has its CONNECT, so it has to be told that nobody is there.
#[test]
fn client_that_went_before_it_had_its_session_leaves_it() {
    let world = Setup::default().build_stalled();
    let mut heir = world.join(v5("heir"));
    heir.subscribe("w", Q0);
    world.connect(Connect { will: Some(will("w", "x")), ..kept("c", 10) }).cut();
    world.run_log();
    assert_eq!(heir.hear(), ["publish w x"]);
    world.pass(10_001);
    assert_eq!(realm(&world).sessions_len(), 1);
}

#[test]
fn connection_whose_session_does_not_come_in_time_is_refused() {
    let world = Setup::limited(|limits| limits.handshake_timeout_s = 5).build_stalled();
    let mut peer = world.connect(kept("c", 100));
    world.now_ms.fetch_add(5_000, Ordering::Relaxed);
    assert_eq!(peer.hear(), ["connack ServerUnavailable (the log is slow)", "closed"]);
}

#[test]
fn subscription_of_a_kept_session_is_granted_when_it_is_in_the_log() {
    let world = World::new();
    world.retain("a", "old");
    let mut peer = world.join(kept("c", 100));
    peer.send_subscribe(None, &[to("a", Q1), to("$rpc/", Q1), to("$SYS/#", Q0)]);
    let granted = "suback #1 GrantedQos1 TopicFilterInvalid Success";
    assert_eq!(peer.hear(), [granted, "publish a old retain"], "SUBACK precedes retained messages");
    peer.send_unsubscribe(&["a", "nothing"]);
    assert_eq!(peer.hear(), ["unsuback #2 Success NoSubscriptionExisted"]);
}

/// A store that fails refuses what has to be durable, and nothing else.
#[test]
fn publish_that_the_store_does_not_take_is_refused() {
    let world = World::new();
    let mut level_5 = world.join(v5("p"));
    let mut level_4 = world.join(v4("q"));
    world.store.fails.store(true, Ordering::Relaxed);
    level_5.send_publish(retained("a", "1", Q1));
    level_5.send_publish(retained("a", "2", Q2));
    level_5.publish("b", "3", Q1);
    let why = "ImplementationSpecificError (the store cannot write now)";
    let said = [&*format!("puback #1 {why}"), &format!("pubrec #2 {why}"), "puback #3 NoMatchingSubscribers"];
    assert_eq!(level_5.hear(), said);
    level_5.send_publish(Publish { packet_id: Some(packet_id(2)), ..publish("b", "again", Q2) });
    assert_eq!(level_5.hear(), ["pubrec #2 NoMatchingSubscribers"], "its number is free again [MQTT-4.3.3-9]");
    // In 3.1.1 nothing but the end of the connection says that it has to be sent again.
    level_4.publish("b", "0", Q1);
    level_4.send_publish(retained("a", "1", Q1));
    level_4.publish("b", "2", Q1);
    assert_eq!(level_4.hear(), ["puback #1", "closed"]);
}

#[test]
fn session_that_the_store_does_not_take_is_refused() {
    let world = World::new();
    let mut peer = world.join(kept("c", 100));
    peer.subscribe("a", Q1);
    world.store.fails.store(true, Ordering::Relaxed);
    let why = "connack ServerUnavailable (the store cannot write now)";
    assert_eq!(world.connect(kept("d", 100)).hear(), [why, "closed"]);
    assert_eq!(
        world.connect(Connect { clean_start: false, ..v4("e") }).hear(),
        ["connack ServerUnavailable", "closed"]
    );
    assert_eq!(world.connect(v5("f")).hear(), ["connack Success"], "one that the log need not know comes in");
    peer.send_subscribe(None, &[to("a", Q2), to("b", Q2)]);
    peer.send_unsubscribe(&["a"]);
    let refused = "ImplementationSpecificError";
    assert_eq!(peer.hear(), [format!("suback #2 {refused} {refused}"), format!("unsuback #3 {refused}")]);
    let record = realm(&world).clients.get("c").unwrap();
    let filters: Vec<_> = record.record.lock().subscriptions.keys().cloned().collect();
    assert_eq!(filters, ["a".into()], "what was there is there still");
    world.join(v5("p")).publish("a", "x", Q0);
    assert_eq!(peer.hear(), ["publish a x"]);
}

/// PUBREC was sent, so PUBREL has to be answered, some time: the client repeats it on its next connection.
#[test]
fn release_that_the_store_does_not_take_closes_the_connection() {
    let why = "disconnect ImplementationSpecificError (the store cannot write now)";
    for (level, said) in [(Level::V4, &["closed"][..]), (Level::V5, &[why, "closed"])] {
        let world = World::new();
        let mut peer = world.join(Connect { level, ..kept("p", 100) });
        peer.send_publish(retained("a", "x", Q2));
        assert_eq!(peer.hear(), ["pubrec #1"]);
        world.store.fails.store(true, Ordering::Relaxed);
        peer.ack(AckType::Pubrel, 1);
        assert_eq!(peer.hear(), said);
    }
}

#[test]
fn keep_alive_does_not_run_while_the_client_is_not_read() {
    let world = Setup::default().build_stalled();
    let mut peer = world.join(Connect { keep_alive_s: 10, ..v5("p") });
    let large = "x".repeat(600_000);
    peer.send_publish(retained("a", &large, Q1));
    peer.send_publish(retained("b", &large, Q1));
    assert!(peer.gate.must_wait());
    world.now_ms.fetch_add(100_000, Ordering::Relaxed);
    assert!(peer.hear().is_empty());
    world.run_log();
    assert_eq!(peer.hear(), ["puback #1", "puback #2"]);
    world.now_ms.fetch_add(14_000, Ordering::Relaxed);
    assert!(peer.hear().is_empty());
    world.now_ms.fetch_add(1_000, Ordering::Relaxed);
    assert_eq!(peer.hear(), ["disconnect KeepAliveTimeout", "closed"]);
}

#[test]
fn topic_that_is_durable_by_configuration_goes_through_the_log() {
    let durable = vec![TopicPattern::from_filter("d/#").unwrap()];
    let world = Setup { durable, ..Setup::default() }.build_stalled();
    let mut peer = world.join(v5("p"));
    peer.publish("d/1", "x", Q0);
    peer.publish("d/1", "x", Q1);
    assert!(peer.hear().is_empty());
    world.run_log();
    assert_eq!(peer.hear(), ["puback #1"]);
}

fn event_ids(peer: &mut Peer) -> Vec<String> {
    let (bytes, level) = (peer.bytes(), peer.level);
    let mut ids = Vec::new();
    for frame in frames(&bytes) {
        if let Packet::Publish(publish) = decode(frame, level, Side::Client).unwrap() {
            let properties = publish.properties().unwrap();
            ids.extend(properties.user_properties.iter().filter(|(n, _)| *n == EVENT_ID).map(|(_, id)| id.to_owned()));
        }
    }
    ids
}

#[test]
fn durable_events_tell_their_event_id() {
    let world = World::new();
    let mut peer = world.join(v5("s"));
    peer.subscribe("#", Q1);
    let mut publisher = world.join(v5("p"));
    publisher.publish("a", "volatile", Q1);
    assert!(event_ids(&mut peer).is_empty());
    publisher.send_publish(retained("a", "1", Q0));
    let live = event_ids(&mut peer);
    publisher.send_publish(retained("a", "2", Q1));
    let next = event_ids(&mut peer);
    assert!(live.len() == 1 && next.len() == 1 && live < next, "{live:?} {next:?}");
    let mut late = world.join(v5("late"));
    late.send_subscribe(None, &[to("a", Q1)]);
    assert_eq!(event_ids(&mut late), next, "the retained one is the same event");
}

/// The options of a publish that concern the key of its topic (`docs/mqtt.md`).
#[test]
fn condition_is_judged_by_the_log() {
    let world = World::new();
    let mut peer = world.join(v5("p"));
    let mut ask = |pairs: &[(&str, &str)], message: Publish<'_>| {
        let pairs = owned(pairs);
        let properties =
            PublishProperties { user_properties: UserProperties::new(&pairs), ..PublishProperties::default() };
        peer.publish_with(message, &properties);
        peer.hear().remove(0).split(' ').skip(2).collect::<Vec<_>>().join(" ")
    };
    let failed = "ImplementationSpecificError (the condition does not hold)";
    assert_eq!(ask(&[("when", "null")], retained("k", "{\"owner\":1}", Q1)), "");
    assert_eq!(ask(&[("when", "null")], retained("k", "{\"owner\":2}", Q1)), failed);
    assert_eq!(ask(&[("when", "{\"owner\":2}")], retained("k", "{\"owner\":2}", Q2)), failed);
    assert_eq!(ask(&[("when", "{\"owner\":1}")], retained("k", "{\"owner\":3}", Q2)), "");
    let flag = "ImplementationSpecificError (a condition needs the retain flag)";
    assert_eq!(ask(&[("when", "null")], publish("k", "x", Q1)), flag);
    assert_eq!(world.join(v5("late")).subscribe("k", Q0), ["publish k {\"owner\":3} retain when:{\"owner\":1}"]);
}

#[test]
fn key_changes_when_the_client_that_set_it_goes() {
    let world = World::new();
    let mut heir = world.join(v5("heir"));
    heir.subscribe("k/#", Q0);
    for (client_id, topic, left) in [("c", "k/1", "free"), ("d", "k/2", "")] {
        for connect in [v5(client_id), kept(client_id, 100)] {
            let mut peer = world.join(connect);
            let pairs = owned(&[("will", if left.is_empty() { "null" } else { "\"free\"" })]);
            let properties =
                PublishProperties { user_properties: UserProperties::new(&pairs), ..PublishProperties::default() };
            peer.publish_with(retained(topic, "taken", Q1), &properties);
            assert_eq!(heir.hear().len(), 1);
            peer.cut();
            let left = if left.is_empty() { String::new() } else { format!("\"{left}\"") };
            assert_eq!(heir.hear(), [format!("publish {topic} {left}")]);
        }
    }
}
