//! What a subscriber is sent, again after a reconnect and later if it is away (MQTT 5, 4.3 to 4.6).

use super::*;

/// [MQTT-3.8.4-8]
#[test]
fn qos_is_the_lower_of_published_and_granted() {
    let world = World::new();
    let mut publisher = world.join(v5("p"));
    for granted in [Q0, Q1, Q2] {
        let mut peer = world.join(v5("s"));
        peer.subscribe("a", granted);
        for published in [Q0, Q1, Q2] {
            publisher.publish("a", "x", published);
            let heard = peer.hear();
            let without_id = heard[0].split(" #").next();
            let expected = ["publish a x", "publish a x q1", "publish a x q2"][published.min(granted) as usize];
            assert_eq!(without_id, Some(expected), "{published:?} {granted:?}");
        }
    }
}

#[test]
fn qos_1_ends_with_puback() {
    let world = World::new();
    let mut peer = world.join(kept("s", 100));
    peer.subscribe("a", Q1);
    world.join(v5("p")).publish("a", "x", Q1);
    assert_eq!(peer.hear(), ["publish a x q1 #1"]);
    peer.ack(AckType::Puback, 1);
    peer.leave();
    assert_eq!(world.connect(kept("s", 100)).hear(), ["connack Success present"]);
}

#[test]
fn qos_2_goes_by_pubrec_pubrel_and_pubcomp() {
    let world = World::new();
    let mut peer = world.join(kept("s", 100));
    peer.subscribe("a", Q2);
    world.join(v5("p")).publish("a", "x", Q2);
    assert_eq!(peer.hear(), ["publish a x q2 #1"]);
    peer.ack(AckType::Pubrec, 1);
    assert_eq!(peer.hear(), ["pubrel #1"]);
    peer.ack(AckType::Pubrec, 1);
    assert_eq!(peer.hear(), ["pubrel #1"], "a repeated PUBREC is answered again");
    peer.ack(AckType::Pubcomp, 1);
    assert!(peer.hear().is_empty());
    peer.leave();
    assert_eq!(world.connect(kept("s", 100)).hear(), ["connack Success present"]);
}

/// [MQTT-4.4.0-1], [MQTT-4.6.0-1]: what was not acknowledged is sent again, in its order, with DUP.
#[test]
fn unacknowledged_messages_are_sent_again_in_order_after_a_reconnect() {
    let world = World::new();
    for level in [Level::V4, Level::V5] {
        let connect = Connect { level, ..kept("s", 100) };
        world.join(Connect { clean_start: true, ..connect.clone() }).leave();
        let mut peer = world.join(connect.clone());
        peer.subscribe("#", Q2);
        let mut publisher = world.join(v5("p"));
        for (payload, qos) in [("1", Q1), ("2", Q2), ("3", Q0), ("4", Q2), ("5", Q1), ("6", Q1)] {
            publisher.publish("a", payload, qos);
        }
        assert_eq!(peer.hear().len(), 6);
        peer.ack(AckType::Pubrec, 2);
        peer.ack(AckType::Puback, 4);
        assert_eq!(peer.hear(), ["pubrel #2"]);
        peer.cut();
        // PUBRELs keep their order, PUBLISHes theirs (MQTT 5, 4.6).
        let again = ["pubrel #2", "publish a 1 q1 #1 dup", "publish a 4 q2 #3 dup", "publish a 6 q1 #5 dup"];
        for _ in 0..2 {
            let mut peer = world.connect(connect.clone());
            let heard = peer.hear();
            assert_eq!(heard[1..], again);
        }
        let mut peer = world.connect(connect);
        peer.hear();
        peer.ack(AckType::Puback, 1);
        peer.ack(AckType::Pubcomp, 2);
        peer.ack(AckType::Pubrec, 3);
        peer.ack(AckType::Pubcomp, 3);
        peer.ack(AckType::Puback, 5);
        assert_eq!(peer.hear(), ["pubrel #3"]);
        publisher.publish("a", "7", Q1);
        assert_eq!(peer.hear(), ["publish a 7 q1 #6"], "a new message is no duplicate");
    }
}

#[test]
fn what_is_unacknowledged_is_sent_again_on_a_takeover_too() {
    let world = World::new();
    let mut old = world.join(kept("s", 100));
    old.subscribe("a", Q1);
    world.join(v5("p")).publish("a", "never read", Q1);
    let mut new = world.connect(kept("s", 100));
    assert_eq!(new.hear(), ["connack Success present", "publish a never read q1 #1 dup"]);
    assert_eq!(old.hear(), ["disconnect SessionTakenOver", "closed"]);
}

/// MQTT 5, 2.2.1: identifiers are used again, 0 never.
#[test]
fn packet_identifiers_wrap_past_65535() {
    let world = World::new();
    let mut peer = world.join(kept("s", 100));
    peer.subscribe("a", Q2);
    let mut publisher = world.join(v5("p"));
    for id in 1..=65_534u32 {
        publisher.publish("a", "x", if id % 1000 == 0 { Q2 } else { Q1 });
        publisher.last_id = 0;
        publisher.hear();
        peer.bytes();
        if id % 1000 == 0 {
            publisher.ack(AckType::Pubrel, 1);
            peer.ack(AckType::Pubrec, id as u16);
            peer.bytes();
            peer.ack(AckType::Pubcomp, id as u16);
        } else {
            peer.ack(AckType::Puback, id as u16);
        }
    }
    peer.bytes();
    for payload in ["last", "first", "second"] {
        publisher.publish("a", payload, Q1);
    }
    let sent = ["publish a last q1 #65535", "publish a first q1 #1", "publish a second q1 #2"];
    assert_eq!(peer.hear(), sent);
    peer.cut();
    let mut peer = world.connect(kept("s", 100));
    assert_eq!(peer.hear()[1..], sent.map(|line| format!("{line} dup")), "in order across the end of the numbers");
    peer.ack(AckType::Puback, 1);
    peer.cut();
    let mut peer = world.connect(kept("s", 100));
    assert_eq!(peer.hear()[1..], [&*format!("{} dup", sent[0]), &format!("{} dup", sent[2])]);
}

/// [MQTT-3.3.4-9]
#[test]
fn no_more_is_sent_than_the_client_takes_at_a_time() {
    let world = World::new();
    let properties = ConnectProperties { receive_maximum: 2, ..ConnectProperties::default() };
    let mut peer = world.join(Connect { properties, ..v5("s") });
    peer.subscribe("a", Q2);
    let mut publisher = world.join(v5("p"));
    for payload in ["1", "2", "3", "4"] {
        publisher.publish("a", payload, Q2);
    }
    assert_eq!(peer.hear(), ["publish a 1 q2 #1", "publish a 2 q2 #2"]);
    publisher.publish("a", "free", Q0);
    assert_eq!(peer.hear(), ["publish a free"], "QoS 0 needs no place");
    peer.ack(AckType::Pubrec, 1);
    assert_eq!(peer.hear(), ["pubrel #1"], "its place is free with PUBCOMP");
    peer.ack(AckType::Pubcomp, 1);
    assert_eq!(peer.hear(), ["publish a 3 q2 #3"]);
    peer.ack_with(AckType::Pubrec, 2, ReasonCode::QuotaExceeded);
    assert_eq!(peer.hear(), ["publish a 4 q2 #4"], "a refusal frees the place too");
}

#[test]
fn no_more_is_sent_than_the_limit_at_a_time() {
    let world = Setup::limited(|limits| limits.inflight_max = 1).build();
    let mut peer = world.join(v4("s"));
    peer.subscribe("a", Q1);
    let mut publisher = world.join(v5("p"));
    publisher.publish("a", "1", Q1);
    publisher.publish("a", "2", Q1);
    assert_eq!(peer.hear(), ["publish a 1 q1 #1"]);
    peer.ack(AckType::Puback, 1);
    assert_eq!(peer.hear(), ["publish a 2 q1 #2"]);
}

/// [MQTT-3.3.4-9] holds for each connection anew: the client may take less than before.
#[test]
fn no_more_is_sent_again_than_the_client_takes_at_a_time() {
    let world = World::new();
    let mut peer = world.join(kept("s", 100));
    peer.subscribe("a", Q2);
    let mut publisher = world.join(v5("p"));
    for payload in ["1", "2", "3", "4"] {
        publisher.publish("a", payload, Q2);
    }
    assert_eq!(peer.hear().len(), 4);
    peer.ack(AckType::Pubrec, 2);
    peer.cut();
    let properties = ConnectProperties { receive_maximum: 1, session_expiry_s: 100, ..ConnectProperties::default() };
    let mut peer = world.connect(Connect { properties, ..kept("s", 100) });
    assert_eq!(peer.hear(), ["connack Success present", "pubrel #2"]);
    peer.ack(AckType::Pubcomp, 2);
    assert_eq!(peer.hear(), ["publish a 1 q2 #1 dup"]);
    publisher.publish("a", "5", Q2);
    assert!(peer.hear().is_empty(), "new messages wait for their turn");
    peer.ack_with(AckType::Pubrec, 1, ReasonCode::UnspecifiedError);
    assert_eq!(peer.hear(), ["publish a 3 q2 #3 dup"]);
    peer.ack_with(AckType::Pubrec, 3, ReasonCode::UnspecifiedError);
    assert_eq!(peer.hear(), ["publish a 4 q2 #4 dup"]);
    peer.ack_with(AckType::Pubrec, 4, ReasonCode::UnspecifiedError);
    assert_eq!(peer.hear(), ["publish a 5 q2 #5"]);
}

#[test]
fn messages_wait_for_a_session_that_is_away() {
    let world = World::new();
    let mut peer = world.join(kept("s", 100));
    peer.subscribe("a", Q1);
    peer.leave();
    let mut publisher = world.join(v5("p"));
    for (payload, qos) in [("1", Q1), ("lost", Q0), ("2", Q2)] {
        publisher.publish("a", payload, qos);
    }
    let mut peer = world.connect(kept("s", 100));
    assert_eq!(peer.hear(), ["connack Success present", "publish a 1 q1 #1", "publish a 2 q1 #2"]);
    publisher.publish("a", "3", Q1);
    assert_eq!(peer.hear(), ["publish a 3 q1 #3"]);
}

#[test]
fn what_waits_comes_behind_what_was_sent_before_and_ahead_of_what_is_new() {
    let world = World::new();
    let properties = ConnectProperties { receive_maximum: 2, session_expiry_s: 100, ..ConnectProperties::default() };
    let connect = Connect { properties, ..kept("s", 100) };
    let mut peer = world.join(connect.clone());
    peer.subscribe("a", Q1);
    let mut publisher = world.join(v5("p"));
    publisher.publish("a", "1", Q1);
    assert_eq!(peer.hear(), ["publish a 1 q1 #1"]);
    peer.cut();
    publisher.publish("a", "2", Q1);
    publisher.publish("a", "3", Q1);
    let mut peer = world.connect(connect);
    assert_eq!(peer.hear()[1..], ["publish a 1 q1 #1 dup", "publish a 2 q1 #2"]);
    publisher.publish("a", "4", Q1);
    peer.ack(AckType::Puback, 1);
    assert_eq!(peer.hear(), ["publish a 3 q1 #3"]);
    peer.ack(AckType::Puback, 2);
    assert_eq!(peer.hear(), ["publish a 4 q1 #4"]);
}

/// What a session that is kept is owed waits in the log; that of others in memory, within bounds.
#[test]
fn full_backlog_drops_the_new_message_and_counts_it() {
    let world = Setup::limited(|limits| (limits.backlog_messages_max, limits.inflight_max) = (2, 1)).build();
    let mut peer = world.join(v5("s"));
    peer.subscribe("a", Q1);
    let mut publisher = world.join(v5("p"));
    for payload in ["1", "2", "3", "4"] {
        publisher.publish("a", payload, Q1);
        publisher.hear();
    }
    assert_eq!(dropped(&world, Drop::QueueFull), 1);
    for (id, payload) in [(1, "1"), (2, "2"), (3, "3")] {
        assert_eq!(peer.hear(), [format!("publish a {payload} q1 #{id}")]);
        peer.ack(AckType::Puback, id);
    }
    assert!(peer.hear().is_empty());
}

#[test]
fn backlog_is_bounded_in_bytes() {
    let world = Setup::limited(|limits| (limits.backlog_bytes_max, limits.inflight_max) = (1000, 1)).build();
    let mut peer = world.join(v5("s"));
    peer.subscribe("a", Q1);
    let mut publisher = world.join(v5("p"));
    let large = "x".repeat(600);
    for _ in 0..4 {
        publisher.publish("a", &large, Q1);
    }
    assert_eq!(dropped(&world, Drop::QueueFull), 2);
    assert_eq!(peer.hear().len(), 1);
    peer.ack(AckType::Puback, 1);
    assert_eq!(peer.hear().len(), 1);
    peer.ack(AckType::Puback, 2);
    assert!(peer.hear().is_empty());
}

/// A session owes nothing to a client that will not come back.
#[test]
fn nothing_waits_for_a_session_that_has_ended() {
    let world = World::new();
    let mut peer = world.join(v5("s"));
    peer.subscribe("a", Q1);
    peer.cut();
    let mut publisher = world.join(v5("p"));
    publisher.publish("a", "x", Q1);
    assert_eq!(publisher.hear(), ["puback #1 NoMatchingSubscribers"]);
}

/// A client that takes its messages and acknowledges none must not hold any number of bytes.
#[test]
fn what_is_unacknowledged_is_bounded_in_bytes() {
    let world = Setup::limited(|limits| limits.backlog_bytes_max = 1000).build();
    let mut peer = world.join(v5("s"));
    peer.subscribe("a", Q1);
    let mut publisher = world.join(v5("p"));
    let large = "x".repeat(600);
    for _ in 0..4 {
        publisher.publish("a", &large, Q1);
    }
    assert_eq!(peer.hear().len(), 2, "the window is closed by the message that fills it");
    assert_eq!(dropped(&world, Drop::QueueFull), 1, "one waits");
    peer.ack(AckType::Puback, 1);
    assert_eq!(peer.hear().len(), 1);
}

/// An outbox that holds a few answers takes a frame of any size, as an empty one does.
#[test]
fn message_larger_than_the_outbox_is_sent_behind_others() {
    let world = Setup::limited(|limits| limits.outbox_bytes_max = 65_536).build();
    let mut peer = world.join(kept("s", 100));
    peer.subscribe("a", Q1);
    let mut publisher = world.join(v5("p"));
    let large = "x".repeat(100_000);
    for qos in [Q0, Q1] {
        publisher.publish("a", "small", Q0);
        publisher.publish("a", &large, qos);
        assert_eq!(peer.hear().len(), 2, "{qos:?}");
    }
    peer.leave();
    publisher.publish("a", &large, Q1);
    publisher.publish("a", &large, Q1);
    let mut peer = world.connect(kept("s", 100));
    assert_eq!(peer.hear().len(), 4, "CONNACK, one again and two that waited");
    assert_eq!(dropped(&world, Drop::QueueFull), 0);
}

/// [MQTT-3.1.2-24], [MQTT-3.1.2-25]: it counts as sent.
#[test]
fn message_larger_than_the_client_takes_is_dropped_and_counted() {
    let world = World::new();
    let small = |session_expiry_s| ConnectProperties {
        maximum_packet_size: Some(100),
        session_expiry_s,
        ..ConnectProperties::default()
    };
    let mut peer = world.join(Connect { properties: small(0), ..v5("s") });
    peer.subscribe("a", Q1);
    let mut publisher = world.join(v5("p"));
    let large = "x".repeat(100);
    for qos in [Q0, Q1] {
        publisher.publish("a", &large, qos);
        publisher.publish("a", "small", qos);
    }
    assert_eq!(peer.hear(), ["publish a small", "publish a small q1 #1"]);
    assert_eq!(dropped(&world, Drop::TooLarge), 2);
    let fits = "y".repeat(100 - b"\x30\x62\0\x01a\0".len());
    publisher.publish("a", &fits, Q0);
    publisher.publish("a", &format!("{fits}y"), Q0);
    assert_eq!(peer.hear(), [format!("publish a {fits}")]);
}

#[test]
fn what_waited_or_was_sent_before_is_dropped_if_the_client_takes_no_such_size_any_more() {
    let world = World::new();
    let mut peer = world.join(kept("s", 100));
    peer.subscribe("a", Q2);
    let mut publisher = world.join(v5("p"));
    let large = "x".repeat(100);
    publisher.publish("a", &large, Q2);
    publisher.publish("a", "1", Q1);
    assert_eq!(peer.hear().len(), 2);
    peer.cut();
    publisher.publish("a", &large, Q1);
    publisher.publish("a", "2", Q1);
    let properties = ConnectProperties { maximum_packet_size: Some(100), ..kept("s", 100).properties };
    let mut peer = world.connect(Connect { properties, ..kept("s", 100) });
    assert_eq!(peer.hear(), ["connack Success present", "publish a 1 q1 #2 dup", "publish a 2 q1 #3"]);
    peer.cut();
    assert_eq!(dropped(&world, Drop::TooLarge), 2);
    let mut peer = world.connect(kept("s", 100));
    assert_eq!(peer.hear()[1..], ["publish a 1 q1 #2 dup", "publish a 2 q1 #3 dup"], "it is done with");
}

/// [MQTT-3.3.2-5], [MQTT-3.3.2-6]
#[test]
fn message_expires_while_it_waits_and_the_rest_of_its_time_is_told() {
    let world = World::new();
    let mut peer = world.join(kept("s", 100));
    peer.subscribe("a", Q1);
    let mut publisher = world.join(v5("p"));
    let expiring = |s| PublishProperties { expiry_s: Some(s), ..PublishProperties::default() };
    publisher.publish_with(publish("a", "live", Q1), &expiring(10));
    assert_eq!(peer.hear(), ["publish a live q1 #1 expires=10"]);
    peer.ack(AckType::Puback, 1);
    peer.leave();
    publisher.publish_with(publish("a", "short", Q1), &expiring(10));
    publisher.publish_with(publish("a", "long", Q1), &expiring(60));
    world.pass(9_000);
    let mut peer = world.connect(kept("s", 100));
    assert_eq!(peer.hear()[1..], ["publish a short q1 #2 expires=1", "publish a long q1 #3 expires=51"]);
    peer.ack(AckType::Puback, 2);
    peer.ack(AckType::Puback, 3);
    peer.leave();
    publisher.publish_with(publish("a", "short", Q1), &expiring(10));
    publisher.publish_with(publish("a", "long", Q1), &expiring(60));
    world.pass(10_000);
    assert_eq!(world.connect(kept("s", 100)).hear()[1..], ["publish a long q1 #4 expires=50"]);
}

/// [MQTT-4.6.0-5], [MQTT-4.6.0-6]
#[test]
fn messages_of_a_topic_keep_their_order_through_window_and_backlog() {
    let world = Setup::limited(|limits| limits.inflight_max = 3).build();
    let mut peer = world.join(v5("s"));
    peer.subscribe("#", Q1);
    let mut publisher = world.join(v5("p"));
    let mut got = Vec::new();
    for number in 0..50 {
        publisher.publish(if number % 2 == 0 { "a" } else { "b" }, &number.to_string(), Q1);
        publisher.hear();
        if number % 5 == 0 {
            take_and_acknowledge(&mut peer, &mut got);
        }
    }
    while take_and_acknowledge(&mut peer, &mut got) {}
    assert_eq!(got, (0..50).map(|number| number.to_string()).collect::<Vec<_>>());
}

/// Takes what is sent and acknowledges it; false if that was nothing.
fn take_and_acknowledge(peer: &mut Peer, got: &mut Vec<String>) -> bool {
    let heard = peer.hear();
    for line in &heard {
        let words: Vec<&str> = line.split(' ').collect();
        got.push(words[2].to_owned());
        peer.ack(AckType::Puback, words[4][1..].parse().unwrap());
    }
    !heard.is_empty()
}

#[test]
fn unsubscribed_topics_are_not_sent_any_more_but_what_was_owed_is() {
    let world = World::new();
    let mut peer = world.join(kept("s", 100));
    peer.subscribe("a", Q1);
    let mut publisher = world.join(v5("p"));
    publisher.publish("a", "1", Q1);
    peer.send_unsubscribe(&["a", "b"]);
    publisher.publish("a", "2", Q1);
    assert_eq!(peer.hear(), ["publish a 1 q1 #1", "unsuback #2 Success NoSubscriptionExisted"]);
    peer.cut();
    assert_eq!(world.connect(kept("s", 100)).hear()[1..], ["publish a 1 q1 #1 dup"]);
}

/// Whatever its packets cross: messages that come while others wait for their identifiers to be recorded.
#[test]
fn messages_of_qos_2_come_once_each_however_they_interleave() {
    let world = World::new();
    let mut peer = world.join(kept("s", 100));
    peer.subscribe("#", Q2);
    let mut publisher = world.join(v5("p"));
    let (mut got, mut sent) = (Vec::new(), 0);
    for round in 0..60 {
        let mut bytes = Vec::new();
        for _ in 0..round % 4 {
            sent += 1;
            let (topic, payload) = (format!("k/{}", sent % 3), sent.to_string());
            let message = Publish { packet_id: Some(publisher.next_id()), ..publish(&topic, &payload, Q2) };
            message.encode(Level::V5, &mut bytes).unwrap();
        }
        publisher.feed(&bytes);
        publisher.hear();
        for line in peer.hear() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[0] {
                "publish" => {
                    got.push(words[2].to_owned());
                    peer.ack(AckType::Pubrec, words[4][1..].parse().unwrap());
                }
                "pubrel" => peer.ack(AckType::Pubcomp, words[1][1..].parse().unwrap()),
                _ => {}
            }
        }
    }
    peer.hear();
    assert_eq!(got, (1..=sent).map(|number| number.to_string()).collect::<Vec<_>>());
}
