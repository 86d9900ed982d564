use crate::load::{Fed, Sink, Source};
use crate::mqtt_load::*;
use crate::payload::Shape;
use crate::tracker::{Faults, Tracker};

/// Lets a source talk to a sink as if the broker were a wire; returns the faults of both.
fn talk(qos: u8, messages: usize) -> (u64, Faults) {
    let mut source = MqttSource::new(0, "bench/0", qos, Shape::Text);
    let (mut sink, mut tracker) = (MqttSink::default(), Tracker::new(1));
    let (mut to_sink, mut sent, mut acked) = (Vec::new(), 0, 0);
    while sent < messages || !to_sink.is_empty() {
        if sent < messages {
            sent += source.fill((messages - sent).min(700));
            to_sink.extend(source.bytes());
        }
        let mut to_source = Vec::new();
        let consumed = sink.feed(&to_sink, &mut to_source, &mut tracker).unwrap();
        assert_eq!(consumed, to_sink.len());
        to_sink.clear();
        let fed = source.feed(&to_source, &mut to_sink).unwrap();
        assert_eq!(fed.consumed, to_source.len());
        acked += fed.acked;
    }
    let mut faults = source.faults();
    faults.add(tracker.faults(&[sent as u64]));
    (acked, faults)
}

#[test]
fn every_qos_ends_with_all_delivered_and_acknowledged_also_when_packet_ids_wrap() {
    assert_eq!(talk(0, 5000), (0, Faults::default()));
    assert_eq!(talk(1, 150_000), (150_000, Faults::default()));
    assert_eq!(talk(2, 150_000), (150_000, Faults::default()));
}

#[test]
fn an_incomplete_packet_is_left_for_later() {
    let mut source = MqttSource::new(0, "t", 1, Shape::Text);
    source.fill(1);
    for cut in 0..source.bytes().len() {
        let (mut replies, mut tracker) = (Vec::new(), Tracker::new(1));
        let consumed = MqttSink::default().feed(&source.bytes()[..cut], &mut replies, &mut tracker).unwrap();
        assert_eq!((consumed, tracker.delivered(), replies.len()), (0, 0, 0));
    }
    assert_eq!(source.feed(&[0x40, 2, 0], &mut Vec::new()).unwrap(), Fed::default());
}

#[test]
fn acknowledgements_in_another_order_are_counted() {
    let mut source = MqttSource::new(0, "t", 1, Shape::Text);
    source.fill(2);
    source.feed(&[0x40, 2, 0, 2, 0x40, 2, 0, 1], &mut Vec::new()).unwrap();
    assert_eq!(source.faults().acks_reordered, 2);
}

#[test]
fn packets_are_as_the_specification_draws_them() {
    assert_eq!(connect_packet("ab"), b"\x10\x0e\x00\x04MQTT\x04\x02\x02\x58\x00\x02ab");
    assert_eq!(subscribe_packet(1, &["a/+".into()], 2), b"\x82\x08\x00\x01\x00\x03a/+\x02");
    assert_eq!(packet(0x30, &[0; 200])[..3], [0x30, 0xC8, 0x01]);
    assert_eq!(frame(&packet(0x30, &[0; 200])).unwrap(), Some((3, 203)));
    assert!(frame(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF]).is_err());
}

#[test]
fn retained_messages_have_a_topic_each() {
    let mut source = MqttSource::retained(2, "kept/2", 1, Shape::Text);
    source.fill(3);
    let packets: Vec<&[u8]> = source.bytes().chunks(source.bytes().len() / 3).collect();
    let topics = packets.iter().map(|packet| &packet[4..4 + 15]);
    assert_eq!(topics.collect::<Vec<_>>(), [b"kept/2/aaaaaaaa", b"kept/2/baaaaaaa", b"kept/2/caaaaaaa"]);
    assert!(packets.iter().all(|packet| packet[0] == 0x33));
    assert_eq!(packets.iter().map(|packet| packet[20]).collect::<Vec<_>>(), [1, 2, 3]);
}
