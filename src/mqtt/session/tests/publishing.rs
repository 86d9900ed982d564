//! PUBLISH from clients: how it is answered and what is passed on (MQTT 5, 3.3 to 3.7, 4.3).

use super::*;
use crate::router::rules::{Disclosure, Scope};
use crate::types::payload::Codec;
use crate::types::topic::Topic;

#[test]
fn publish_is_answered_by_its_qos() {
    let world = World::new();
    let mut peer = world.join(v5("s"));
    peer.subscribe("#", Q0);
    for level in [Level::V3, Level::V4, Level::V5] {
        let mut publisher = world.join(Connect { level, ..v5("p") });
        publisher.publish("a", "x", Q0);
        publisher.publish("a", "x", Q1);
        publisher.publish("a", "x", Q2);
        assert_eq!(publisher.hear(), ["puback #1", "pubrec #2"]);
        publisher.ack(AckType::Pubrel, 2);
        assert_eq!(publisher.hear(), ["pubcomp #2"]);
        assert_eq!(peer.hear(), ["publish a x"; 3]);
    }
}

/// [MQTT-4.6.0-2] to [MQTT-4.6.0-4]
#[test]
fn acknowledgements_leave_in_the_order_of_their_packets() {
    let world = World::new();
    let mut publisher = world.join(v4("p"));
    let mut bytes = Vec::new();
    for (id, qos) in [(9, Q1), (3, Q2), (4, Q1), (1, Q2)] {
        let publish = Publish { packet_id: Some(packet_id(id)), ..publish("a", "x", qos) };
        publish.encode(Level::V4, &mut bytes).unwrap();
    }
    bytes.extend_from_slice(b"\x62\x02\0\x03\xc0\x00\x62\x02\0\x01");
    publisher.feed(&bytes);
    let answers = ["puback #9", "pubrec #3", "puback #4", "pubrec #1", "pubcomp #3", "pingresp", "pubcomp #1"];
    assert_eq!(publisher.hear(), answers);
}

/// MQTT 5, 3.4.2.1.
#[test]
fn publisher_is_told_that_nobody_is_subscribed() {
    let world = World::new();
    let mut level_5 = world.join(v5("p"));
    level_5.publish("a", "x", Q1);
    level_5.publish("a", "x", Q2);
    assert_eq!(level_5.hear(), ["puback #1 NoMatchingSubscribers", "pubrec #2 NoMatchingSubscribers"]);
    level_5.ack(AckType::Pubrel, 2);
    assert_eq!(level_5.hear(), ["pubcomp #2"]);
    let mut level_4 = world.join(v4("q"));
    level_4.publish("a", "x", Q1);
    assert_eq!(level_4.hear(), ["puback #1"]);
}

/// [MQTT-4.3.3-10], [MQTT-4.3.3-11]
#[test]
fn message_of_qos_2_is_delivered_once() {
    let world = World::new();
    let mut peer = world.join(v5("s"));
    peer.subscribe("a", Q0);
    let mut publisher = world.join(kept("p", 100));
    let message = Publish { packet_id: Some(packet_id(5)), ..publish("a", "x", Q2) };
    let again = Publish { dup: true, ..message };
    publisher.send_publish(message);
    publisher.send_publish(again);
    assert_eq!(publisher.hear(), ["pubrec #5", "pubrec #5"]);
    publisher.cut();
    let mut publisher = world.join(kept("p", 100));
    publisher.send_publish(again);
    assert_eq!(publisher.hear(), ["pubrec #5"], "a reconnect changes nothing");
    assert_eq!(peer.hear(), ["publish a x"]);
    publisher.ack(AckType::Pubrel, 5);
    publisher.send_publish(message);
    assert_eq!(publisher.hear(), ["pubcomp #5", "pubrec #5"]);
    assert_eq!(peer.hear(), ["publish a x"], "after PUBREL the number stands for a new message [MQTT-4.3.3-12]");
}

#[test]
fn unreleased_messages_are_forgotten_with_the_session() {
    let world = World::new();
    let mut peer = world.join(v5("s"));
    peer.subscribe("a", Q0);
    let message = Publish { packet_id: Some(packet_id(5)), ..publish("a", "x", Q2) };
    for _ in 0..2 {
        world.join(v5("p")).send_publish(message);
        assert_eq!(peer.hear(), ["publish a x"]);
    }
}

/// [MQTT-3.3.1-3]: DUP is of one hop.
#[test]
fn dup_is_not_passed_on() {
    let world = World::new();
    let mut peer = world.join(v5("s"));
    peer.subscribe("a", Q1);
    let mut publisher = world.join(v5("p"));
    publisher.send_publish(Publish { dup: true, ..publish("a", "x", Q1) });
    assert_eq!(peer.hear(), ["publish a x q1 #1"]);
}

#[test]
fn topics_of_the_broker_are_closed_to_clients() {
    let world = World::new();
    let mut peer = world.join(v5("s"));
    for filter in ["#", "$SYS/#", "$x/#", "wamp/#", "fennec/#"] {
        peer.send_subscribe(None, &[to(filter, Q0)]);
    }
    peer.bytes();
    for topic in ["$SYS/broker/uptime", "$SYS", "$x/y", "wamp/session/on_join", "fennec", "fennec/key/put"] {
        let mut level_5 = world.join(v5("p"));
        for retain in [false, true] {
            level_5.send_publish(Publish { retain, ..publish(topic, "x", Q0) });
            level_5.send_publish(Publish { retain, ..publish(topic, "x", Q1) });
            level_5.send_publish(Publish { retain, ..publish(topic, "x", Q2) });
        }
        let expected = ["puback #1", "pubrec #2", "puback #3", "pubrec #4"].map(|ack| format!("{ack} NotAuthorized"));
        assert_eq!(level_5.hear(), expected);
        // Closing would only make it send them again (3.1.1, 3.3.5).
        let mut level_4 = world.join(v4("p4"));
        level_4.publish(topic, "x", Q1);
        level_4.publish(topic, "x", Q2);
        level_4.ack(AckType::Pubrel, 2);
        assert_eq!(level_4.hear(), ["puback #1", "pubrec #2", "pubcomp #2"]);
        assert!(peer.hear().is_empty());
    }
    assert_eq!(dropped(&world, Drop::NotAuthorized), 6 * 8);
    assert_eq!(realm(&world).retained_size().0, 0);
}

/// [MQTT-4.3.3-9]: a PUBREC that refuses ends it, so that the identifier is free.
#[test]
fn refused_message_of_qos_2_needs_no_pubrel() {
    let world = World::new();
    let mut peer = world.join(v5("s"));
    peer.subscribe("a", Q0);
    let mut publisher = world.join(v5("p"));
    publisher.send_publish(Publish { packet_id: Some(packet_id(5)), ..publish("$SYS/x", "x", Q2) });
    publisher.send_publish(Publish { packet_id: Some(packet_id(5)), ..publish("a", "x", Q2) });
    assert_eq!(publisher.hear(), ["pubrec #5 NotAuthorized", "pubrec #5"]);
    assert_eq!(peer.hear(), ["publish a x"]);
}

/// [MQTT-3.3.4-7], [MQTT-3.3.4-8]: what counts is what is not released; PUBACK comes with the read that brought the PUBLISH.
#[test]
fn more_unreleased_messages_than_the_receive_maximum_close_the_connection() {
    let world = Setup::limited(|limits| limits.mqtt_receive_max = 2).build();
    let mut publisher = world.join(v5("p"));
    for _ in 0..5 {
        publisher.publish("a", "x", Q1);
    }
    publisher.publish("a", "x", Q2);
    publisher.publish("a", "x", Q2);
    publisher.ack(AckType::Pubrel, 6);
    publisher.publish("a", "x", Q2);
    publisher.bytes();
    publisher.publish("a", "x", Q2);
    assert_eq!(publisher.hear(), ["disconnect ReceiveMaximumExceeded (more than the receive maximum)", "closed"]);
    let mut level_4 = world.join(v4("p4"));
    for _ in 0..5 {
        level_4.publish("a", "x", Q2);
    }
    assert_eq!(level_4.hear().len(), 5, "which knows no such limit");
}

/// A message that closed the connection was not taken: sent again, it is new.
#[test]
fn message_that_breaks_a_rule_does_not_use_up_its_identifier() {
    let world = World::new();
    let mut peer = world.join(v5("s"));
    peer.subscribe("a", Q0);
    let mut publisher = world.join(kept("p", 100));
    let message = Publish { packet_id: Some(packet_id(5)), ..publish("", "x", Q2) };
    let alias = PublishProperties { topic_alias: Some(1), ..PublishProperties::default() };
    publisher.publish_with(message, &alias);
    assert_eq!(publisher.hear(), ["disconnect ProtocolError (topic alias without a topic)", "closed"]);
    let mut publisher = world.join(kept("p", 100));
    publisher.send_publish(Publish { dup: true, topic: b"a", ..message });
    assert_eq!(publisher.hear(), ["pubrec #5"]);
    assert_eq!(peer.hear(), ["publish a x"]);
}

/// [MQTT-3.3.2-4], [MQTT-3.3.2-15], [MQTT-3.3.2-16], [MQTT-3.3.2-17], [MQTT-3.3.2-20]
#[test]
fn properties_are_passed_on_unaltered() {
    let world = World::new();
    let mut level_5 = world.join(v5("s"));
    level_5.subscribe("a", Q1);
    let mut level_4 = world.join(v4("t"));
    level_4.subscribe("a", Q1);
    let pairs = owned(&[("k", "1"), ("k", "2"), ("", "")]);
    let properties = PublishProperties {
        payload_is_text: Some(true),
        content_type: Some("text/plain"),
        response_topic: Some("r"),
        correlation_data: Some(b"c"),
        user_properties: UserProperties::new(&pairs),
        expiry_s: Some(30),
        ..PublishProperties::default()
    };
    let mut publisher = world.join(v5("p"));
    publisher.publish_with(publish("a", "x", Q0), &properties);
    publisher.publish_with(publish("a", "x", Q1), &properties);
    let said = "text=true expires=30 type=text/plain reply=r correlation=c k:1 k:2 :";
    assert_eq!(level_5.hear(), [format!("publish a x {said}"), format!("publish a x q1 #1 {said}")]);
    assert_eq!(level_4.hear(), ["publish a x", "publish a x q1 #1"]);
    level_4.publish("a", "plain", Q0);
    assert_eq!(level_5.hear(), ["publish a plain"]);
}

#[test]
fn attributes_of_payloads_that_are_passed_through_are_user_properties() {
    let world = World::new();
    let mut subscriber = world.join(v5("s"));
    subscriber.subscribe("#", Q0);
    let pairs = owned(&[("k", "1"), ("ppt_scheme", "mqtt"), ("ppt_keyid", "x")]);
    let properties = PublishProperties { user_properties: UserProperties::new(&pairs), ..PublishProperties::default() };
    let mut publisher = world.join(v5("p"));
    publisher.publish_with(Publish { retain: true, ..publish("a", "[1]", Q1) }, &properties);
    let heard = subscriber.hear();
    assert!(heard.len() == 1 && heard[0].ends_with("k:1 ppt_scheme:mqtt ppt_keyid:x"), "{heard:?}");
    let event = realm(&world).retained(&Topic::from_name("a").unwrap(), NOW_MS).unwrap();
    let passthru = event.properties.as_ref().unwrap().passthru.as_ref().unwrap();
    assert_eq!(passthru.iter().collect::<Vec<_>>(), [("ppt_scheme", "mqtt"), ("ppt_keyid", "x")]);
    // WAMP subscribers get one binary argument, though it could be read as JSON.
    assert_eq!(event.as_event(NOW_MS).translation(), Codec::Raw);
    // Without a scheme they are properties like all others.
    let pairs = owned(&[("ppt_keyid", "x")]);
    let properties = PublishProperties { user_properties: UserProperties::new(&pairs), ..PublishProperties::default() };
    publisher.publish_with(publish("b", "x", Q0), &properties);
    assert_eq!(subscriber.hear(), ["publish b x ppt_keyid:x"]);
}

#[test]
fn what_mqtt_clients_publish_has_the_trust_level_of_their_role() {
    let scope = |filter: &str, role: &str| Scope {
        realm: None,
        pattern: TopicPattern::from_filter(filter).unwrap(),
        roles: vec![role.into()],
    };
    let trust = vec![(scope("app/#", "user"), 9), (scope("app/#", "anonymous"), 2)];
    let disclosure = vec![(scope("app/#", "anonymous"), Disclosure::Forced)];
    let world = Setup { rules: Rules { trust, disclosure }, ..Setup::default() }.build();
    let mut publisher = world.join(v5("p"));
    for (topic, trust) in [("app/t", Some(2)), ("other", None)] {
        publisher.publish_with(Publish { retain: true, ..publish(topic, "x", Q1) }, &PublishProperties::default());
        publisher.hear();
        let event = realm(&world).retained(&Topic::from_name(topic).unwrap(), NOW_MS).unwrap();
        assert_eq!(event.properties.as_ref().and_then(|properties| properties.trust), trust, "{topic}");
        let told = event.publisher.as_ref().and_then(|publisher| publisher.authrole.as_deref());
        assert_eq!(told, trust.map(|_| "anonymous"), "{topic}");
    }
}

/// MQTT 5, 3.3.2.3.2.
#[test]
fn payload_that_is_not_the_text_it_says_closes_the_connection() {
    let world = World::new();
    let mut peer = world.join(v5("p"));
    let properties = PublishProperties { payload_is_text: Some(true), ..PublishProperties::default() };
    peer.publish_with(Publish { payload: b"\xff", ..publish("a", "", Q1) }, &properties);
    let what = "a payload is said to be UTF-8 and is not";
    assert_eq!(peer.hear(), [&*format!("disconnect PayloadFormatInvalid ({what})"), "closed"]);
}

/// MQTT 5, 3.3.2.3.4.
#[test]
fn topic_alias_stands_for_the_topic_it_came_with_last() {
    let world = World::new();
    let mut peer = world.join(v5("s"));
    peer.subscribe("#", Q0);
    let mut publisher = world.join(v5("p"));
    let alias = |alias| PublishProperties { topic_alias: Some(alias), ..PublishProperties::default() };
    publisher.publish_with(publish("a", "1", Q0), &alias(1));
    publisher.publish_with(publish("b", "2", Q0), &alias(64));
    publisher.publish_with(publish("", "3", Q0), &alias(1));
    publisher.publish_with(publish("", "4", Q0), &alias(64));
    publisher.publish_with(publish("c", "5", Q0), &alias(1));
    publisher.publish_with(publish("", "6", Q0), &alias(1));
    assert_eq!(peer.hear(), ["a 1", "b 2", "a 3", "b 4", "c 5", "c 6"].map(|event| format!("publish {event}")));
    // Aliases end with the connection [MQTT-3.3.2-7].
    let mut publisher = world.join(v5("p"));
    publisher.publish_with(publish("", "x", Q0), &alias(1));
    assert_eq!(publisher.hear(), ["disconnect ProtocolError (topic alias without a topic)", "closed"]);
}

/// [MQTT-3.3.2-8], [MQTT-3.3.2-9]
#[test]
fn topic_alias_out_of_range_closes_the_connection() {
    let world = Setup::limited(|limits| limits.mqtt_topic_alias_max = 2).build();
    for (alias, what) in [(0, "topic alias 0"), (3, "topic alias above the maximum")] {
        let mut peer = world.join(v5("p"));
        let properties = PublishProperties { topic_alias: Some(alias), ..PublishProperties::default() };
        peer.publish_with(publish("a", "x", Q0), &properties);
        assert_eq!(peer.hear(), [&*format!("disconnect TopicAliasInvalid ({what})"), "closed"]);
    }
}

/// MQTT 5, 3.2.2.3.6.
#[test]
fn packet_larger_than_allowed_closes_the_connection_before_it_has_come() {
    let world = Setup::limited(|limits| limits.mqtt_packet_bytes_max = 2000).build();
    let fits = "x".repeat(2000 - b"\x30\x80\x80\0\x01a\0".len());
    let mut peer = world.join(v5("s"));
    peer.subscribe("a", Q0);
    let mut publisher = world.join(v5("p"));
    publisher.publish("a", &fits, Q0);
    assert_eq!(peer.hear(), [format!("publish a {fits}")]);
    publisher.feed(b"\x30\xce\x0f");
    assert_eq!(publisher.hear(), ["disconnect PacketTooLarge (the packet is larger than what was agreed)", "closed"]);
    let mut level_4 = world.join(v4("p4"));
    level_4.feed(b"\x30\xce\x0f");
    assert_eq!(level_4.hear(), ["closed"]);
}

/// [MQTT-3.1.2-29]
#[test]
fn reason_strings_are_kept_from_clients_that_do_not_want_them() {
    let world = Setup::limited(|limits| limits.retained_messages_max = 0).build();
    for wanted in [true, false] {
        let properties = ConnectProperties { request_problem_information: wanted, ..ConnectProperties::default() };
        let mut peer = world.join(Connect { properties, ..v5("c") });
        peer.send_publish(Publish { retain: true, ..publish("a", "x", Q1) });
        let explained = if wanted { " (no room for retained messages)" } else { "" };
        assert_eq!(peer.hear(), [format!("puback #1 QuotaExceeded{explained}")]);
    }
}

/// [MQTT-3.4.2-2], [MQTT-3.14.2-3]: rather no reason string than a packet that is too large.
#[test]
fn explanations_do_not_make_a_packet_larger_than_the_client_takes() {
    let world = Setup::limited(|limits| limits.retained_messages_max = 0).build();
    let properties = ConnectProperties { maximum_packet_size: Some(20), ..ConnectProperties::default() };
    let mut peer = world.connect(Connect { properties, ..v5("c") });
    peer.bytes();
    peer.send_publish(Publish { retain: true, ..publish("a", "x", Q1) });
    assert_eq!(peer.hear(), ["puback #1 QuotaExceeded"]);
    peer.feed(b"\x00\x00");
    assert_eq!(peer.hear(), ["disconnect MalformedPacket", "closed"]);
}

#[test]
fn packet_in_pieces_is_the_same_packet() {
    let world = World::new();
    let mut peer = world.join(v5("s"));
    peer.subscribe("a", Q0);
    let mut publisher = world.join(v5("p"));
    let mut bytes = Vec::new();
    for _ in 0..3 {
        publish("a", "xyz", Q0).encode(Level::V5, &mut bytes).unwrap();
    }
    let frame = bytes.len() / 3;
    for end in 1..=bytes.len() {
        let begin = (end - 1) / frame * frame;
        let received = publisher.gate.receive(&Bytes::copy_from_slice(&bytes[begin..end]), NOW_MS);
        assert_eq!(received.consumed, if end % frame == 0 { frame } else { 0 });
        assert_eq!(received.needs, if end % frame == 0 || end - begin < 2 { 0 } else { frame });
        let expected = usize::from(end % frame == 0);
        assert_eq!(peer.hear(), vec!["publish a xyz"; expected]);
    }
}
