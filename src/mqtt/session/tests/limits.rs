//! What a connection may cost: aliases towards it, its outbox, its answers (MQTT 5, 3.1.2.11.5, 4.9; design: outbox).

use super::*;
use crate::types::limits::OutboxFull;

fn with_aliases(client_id: &str, topic_alias_maximum: u16) -> Connect<'_> {
    let properties = ConnectProperties { topic_alias_maximum, ..kept(client_id, 100).properties };
    Connect { properties, ..kept(client_id, 100) }
}

/// [MQTT-3.1.2-26], [MQTT-3.1.2-27]
#[test]
fn topics_are_sent_by_alias_as_far_as_the_client_takes_them() {
    let world = World::new();
    let mut peer = world.join(with_aliases("s", 2));
    peer.subscribe("#", Q0);
    let mut none = world.join(v5("t"));
    none.subscribe("#", Q0);
    let mut publisher = world.join(v5("p"));
    for topic in ["a", "b", "a", "c", "b", "c"] {
        publisher.publish(topic, "x", Q0);
    }
    let by_alias = ["a x alias=1", "b x alias=2", " x alias=1", "c x", " x alias=2", "c x"];
    assert_eq!(peer.hear(), by_alias.map(|event| format!("publish {event}")));
    assert_eq!(none.hear(), ["a", "b", "a", "c", "b", "c"].map(|topic| format!("publish {topic} x")));
}

#[test]
fn broker_uses_no_more_aliases_than_configured() {
    let world = Setup::limited(|limits| limits.mqtt_outbound_topic_alias_max = 1).build();
    let mut peer = world.join(with_aliases("s", 100));
    peer.subscribe("#", Q0);
    let mut publisher = world.join(v5("p"));
    publisher.publish("a", "x", Q0);
    publisher.publish("b", "x", Q0);
    assert_eq!(peer.hear(), ["publish a x alias=1", "publish b x"]);
}

/// MQTT 5, 3.3.2.3.4: aliases are of one connection.
#[test]
fn aliases_end_with_the_connection() {
    let world = World::new();
    let mut peer = world.join(with_aliases("s", 2));
    peer.subscribe("a", Q1);
    let mut publisher = world.join(v5("p"));
    publisher.publish("a", "1", Q1);
    publisher.publish("a", "2", Q1);
    assert_eq!(peer.hear(), ["publish a 1 q1 #1 alias=1", "publish  2 q1 #2 alias=1"]);
    peer.cut();
    publisher.publish("a", "3", Q1);
    let mut peer = world.connect(with_aliases("s", 2));
    let heard = peer.hear();
    assert!(heard[1..].iter().all(|line| line.starts_with("publish a ") || line.contains("alias=1")), "{heard:?}");
    assert!(heard[1].starts_with("publish a 1 q1 #1 dup"), "{heard:?}");
    peer.cut();
    let peer = world.connect(kept("s", 100)).hear();
    assert!(peer.iter().all(|line| !line.contains("alias")), "{peer:?}");
}

#[test]
fn message_that_is_too_large_teaches_no_alias() {
    let world = World::new();
    let properties =
        ConnectProperties { topic_alias_maximum: 2, maximum_packet_size: Some(100), ..ConnectProperties::default() };
    let mut peer = world.join(Connect { properties, ..v5("s") });
    peer.subscribe("a", Q0);
    let mut publisher = world.join(v5("p"));
    publisher.publish("a", &"x".repeat(100), Q0);
    publisher.publish("a", "1", Q0);
    publisher.publish("a", "2", Q0);
    assert_eq!(peer.hear(), ["publish a 1 alias=1", "publish  2 alias=1"]);
}

/// Publishes QoS 0 messages of 10 kB until a subscriber's outbox of 64 KiB is more than full.
fn overfill(world: &World) {
    let mut publisher = world.join(v5("p"));
    let payload = "x".repeat(10_000);
    for _ in 0..40 {
        publisher.publish("a", &payload, Q0);
    }
}

#[test]
fn events_beyond_a_full_outbox_are_dropped_and_counted() {
    let world = Setup::limited(|limits| limits.outbox_bytes_max = 65_536).build();
    let mut peer = world.join(v5("s"));
    peer.subscribe("a", Q0);
    overfill(&world);
    let heard = peer.hear().len();
    assert!((6..=15).contains(&heard), "{heard}");
    assert_eq!(dropped(&world, Drop::QueueFull), 40 - heard as u64);
    world.join(v5("p")).publish("a", "x", Q0);
    assert_eq!(peer.hear(), ["publish a x"], "it goes on when there is room");
}

#[test]
fn client_with_a_full_outbox_is_closed_where_that_is_the_policy() {
    let world = Setup::limited(|limits| {
        limits.outbox_bytes_max = 65_536;
        limits.outbox_full = OutboxFull::Disconnect;
    })
    .build();
    let mut peer = world.join(v5("s"));
    peer.subscribe("a", Q0);
    overfill(&world);
    let heard = peer.hear();
    assert_eq!(heard[heard.len() - 2..], ["disconnect QuotaExceeded", "closed"]);
}

/// QoS 1 is owed: it waits in the backlog, and comes in order when there is room.
#[test]
fn owed_messages_survive_a_full_outbox() {
    let world = Setup::limited(|limits| limits.outbox_bytes_max = 65_536).build();
    let mut peer = world.join(v5("s"));
    peer.subscribe("a", Q1);
    let mut publisher = world.join(v5("p"));
    let filler = "x".repeat(10_000);
    for number in 0..40 {
        publisher.publish("a", &format!("{number:02}{filler}"), Q1);
    }
    let numbers: Vec<String> = peer.hear().iter().map(|line| line["publish a ".len()..][..2].to_owned()).collect();
    assert_eq!(numbers, (0..40).map(|number| format!("{number:02}")).collect::<Vec<_>>());
    assert_eq!(dropped(&world, Drop::QueueFull), 0);
}

/// A client that sends and does not read is not read any more when many answers wait.
#[test]
fn answers_do_not_pile_up() {
    let world = World::new();
    let mut peer = world.join(v5("c"));
    let pings = b"\xc0\x00".repeat(32 * 1024);
    let mut reads = 0;
    while peer.gate.may_read() {
        peer.feed(&pings);
        reads += 1;
        assert!(reads < 100);
    }
    assert_eq!(reads, 4, "256 KiB of answers");
    peer.bytes();
    assert!(peer.gate.may_read());
}
