//! Acknowledgements from the client that fit, and that do not (MQTT 5, 3.4 to 3.7, 4.3).

use super::*;

/// [MQTT-4.8.2-6] for shared subscriptions; MQTT 5, 4.3.2: the message is done, whatever the code says.
#[test]
fn refused_message_is_done() {
    let world = World::new();
    let mut peer = world.join(kept("s", 100));
    peer.subscribe("a", Q2);
    let mut publisher = world.join(v5("p"));
    publisher.publish("a", "1", Q1);
    publisher.publish("a", "2", Q2);
    assert_eq!(peer.hear(), ["publish a 1 q1 #1", "publish a 2 q2 #2"]);
    peer.ack_with(AckType::Puback, 1, ReasonCode::UnspecifiedError);
    peer.ack_with(AckType::Pubrec, 2, ReasonCode::QuotaExceeded);
    assert!(peer.hear().is_empty(), "no PUBREL follows a PUBREC that refuses [MQTT-4.3.3-4]");
    peer.cut();
    assert_eq!(world.connect(kept("s", 100)).hear(), ["connack Success present"]);
}

#[test]
fn pubrec_with_a_warning_is_answered_with_pubrel() {
    let world = World::new();
    let mut peer = world.join(v5("s"));
    peer.subscribe("a", Q2);
    world.join(v5("p")).publish("a", "x", Q2);
    peer.hear();
    peer.ack_with(AckType::Pubrec, 1, ReasonCode::NoMatchingSubscribers);
    assert_eq!(peer.hear(), ["pubrel #1"]);
}

/// MQTT 5, 3.6.2.1 and 3.7.2.1; before, the sender may have lost our answer and is answered again (3.1.1, 4.3.3).
#[test]
fn unknown_packet_identifier_is_told_at_level_5_only() {
    let world = World::new();
    let mut level_5 = world.join(v5("c"));
    level_5.ack(AckType::Pubrec, 7);
    level_5.ack(AckType::Pubrel, 8);
    assert_eq!(level_5.hear(), ["pubrel #7 PacketIdentifierNotFound", "pubcomp #8 PacketIdentifierNotFound"]);
    let mut level_4 = world.join(v4("d"));
    level_4.ack(AckType::Pubrec, 7);
    level_4.ack(AckType::Pubrel, 8);
    assert_eq!(level_4.hear(), ["pubrel #7", "pubcomp #8"]);
}

#[test]
fn acknowledgement_for_nothing_does_no_harm() {
    let world = World::new();
    let mut peer = world.join(v5("s"));
    peer.subscribe("a", Q2);
    peer.ack(AckType::Puback, 1);
    peer.ack(AckType::Pubcomp, 1);
    let mut publisher = world.join(v5("p"));
    publisher.publish("a", "1", Q1);
    publisher.publish("a", "2", Q2);
    assert_eq!(peer.hear(), ["publish a 1 q1 #1", "publish a 2 q2 #2"]);
    // Each of the wrong kind.
    peer.ack(AckType::Pubcomp, 1);
    peer.ack(AckType::Puback, 2);
    peer.ack(AckType::Pubcomp, 2);
    peer.ack(AckType::Puback, 65_535);
    assert!(peer.hear().is_empty());
    peer.ack(AckType::Puback, 1);
    peer.ack(AckType::Pubrec, 2);
    assert_eq!(peer.hear(), ["pubrel #2"]);
}

#[test]
fn acknowledgements_may_come_out_of_turn() {
    let world = Setup::limited(|limits| limits.inflight_max = 3).build();
    let mut peer = world.join(v5("s"));
    peer.subscribe("a", Q1);
    let mut publisher = world.join(v5("p"));
    for payload in ["1", "2", "3", "4", "5"] {
        publisher.publish("a", payload, Q1);
    }
    assert_eq!(peer.hear().len(), 3);
    peer.ack(AckType::Puback, 3);
    assert_eq!(peer.hear(), ["publish a 4 q1 #4"]);
    peer.ack(AckType::Puback, 2);
    assert_eq!(peer.hear(), ["publish a 5 q1 #5"]);
}
