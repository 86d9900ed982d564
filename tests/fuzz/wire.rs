//! What clients and peers send.

use bytes::{Bytes, BytesMut};
use fennec::cluster::frame::{Beside, Frame, Front, front};
use fennec::mqtt::codec::{self, Connect, Packet};
use fennec::net::websocket::frame as websocket;
use fennec::net::x509;
use fennec::outbound::uplink::machine::wire::Exchange;
use fennec::queue::envelope::{NodeId, Role as NodeRole};
use fennec::types::payload::Format;
use fennec::wamp::message::{decode, encode};
use fennec::wamp::rawsocket;
use fennec::wamp::serializer::Encoding;

use crate::counterexamples::{MALFORMED, MALFORMED_FRAMES};
use crate::{Level, Role, fuzz, notation, unhex};

const ROUNDS: usize = 5000;

/// Bytes of the vectors' messages in this format.
fn vectors(format: &str) -> Vec<Vec<u8>> {
    let text = include_str!("../vectors/wamp-messages.json");
    let vectors: Vec<serde_json::Value> = serde_json::from_str(text).unwrap();
    let bytes = |vector: &serde_json::Value| match format {
        "json" => vector["json"].as_str().unwrap().as_bytes().to_vec(),
        other => unhex(vector[other].as_str().unwrap()),
    };
    vectors.iter().map(bytes).collect()
}

#[test]
fn mqtt_packets() {
    let mut seeds: Vec<_> = MALFORMED.iter().map(|(_, _, _, packet)| notation::frame(packet)).collect();
    seeds.extend(MALFORMED_FRAMES.iter().map(|(_, _, packet)| notation::raw(packet)));
    fuzz(ROUNDS, &seeds, |input| {
        let _ = codec::frame_length(input, 1 << 20);
        let _ = codec::answer_level(input);
        if let Ok(connect) = Connect::decode(input) {
            let mut out = Vec::new();
            connect.encode(&mut out).expect("what came in can go out");
            assert_eq!(Connect::decode(&out).as_ref(), Ok(&connect));
        }
        for level in [Level::V3, Level::V4, Level::V5] {
            for role in [Role::Server, Role::Client] {
                if let Ok(Packet::Publish(publish)) = codec::decode(input, level, role) {
                    let _ = publish.properties();
                    let _ = publish.topic_name();
                }
            }
        }
    });
}

/// What is a message is the same message when it was written out, in its own format and in the others.
fn wamp_messages(format: Format, name: &str) {
    fuzz(ROUNDS, &vectors(name), |input| {
        let Ok(message) = decode(format, input) else { return };
        for other in [Format::Json, Format::MsgPack, Format::Cbor] {
            let mut out = Vec::new();
            encode(&message, other, &mut out);
            let again = decode(other, &out).unwrap_or_else(|error| panic!("{other}: {error}"));
            assert_eq!(again.kind(), message.kind());
        }
    });
}

#[test]
fn wamp_messages_in_json() {
    wamp_messages(Format::Json, "json");
}

#[test]
fn wamp_messages_in_msgpack() {
    wamp_messages(Format::MsgPack, "msgpack");
}

#[test]
fn wamp_messages_in_cbor() {
    wamp_messages(Format::Cbor, "cbor");
}

#[test]
fn batches() {
    for (name, format) in [("json", Format::Json), ("msgpack", Format::MsgPack), ("cbor", Format::Cbor)] {
        let pack = |message: Vec<u8>| match format {
            Format::Json => [&message[..], &[0x1e]].concat(),
            _ => [&(message.len() as u32).to_be_bytes()[..], &message].concat(),
        };
        let seeds: Vec<_> = vectors(name).chunks(3).map(|some| some.iter().cloned().flat_map(pack).collect()).collect();
        fuzz(ROUNDS, &seeds, |input| {
            let mut bytes = 0;
            for message in (Encoding { format, batched: true }).messages(input) {
                bytes += message.map_or(0, <[u8]>::len);
            }
            assert!(bytes <= input.len());
        });
    }
}

#[test]
fn rawsocket_handshakes_and_frames() {
    let frame = |kind: u8, payload: &[u8]| [&[kind, 0, 0, payload.len() as u8], payload].concat();
    let seeds =
        [b"\x7f\xf1\0\0".to_vec(), frame(0, b"[1]"), frame(1, b"ping"), [frame(0, b"a"), frame(2, b"b")].concat()];
    fuzz(ROUNDS, &seeds, |input| {
        if let Some(head) = input.first_chunk() {
            let _ = rawsocket::Handshake::read_request(*head);
        }
        let mut rest = input;
        let mut before = usize::MAX;
        while rest.len() < before {
            before = rest.len();
            if !matches!(rawsocket::read_frame(&mut rest, 1 << 24), Ok(Some(_))) {
                break;
            }
        }
    });
}

#[test]
fn websocket_frames_within_the_process() {
    let mut seeds = vec![b"\x81\x02hi".to_vec(), b"\x82\x7e\0\x80".to_vec(), b"\x88\x02\x03\xe8".to_vec()];
    seeds[1].extend_from_slice(&[7; 128]);
    fuzz(ROUNDS, &seeds, |input| {
        let mut buffer = BytesMut::from(input);
        while websocket::split(&mut buffer).is_some() {}
    });
}

#[test]
fn cluster_frames() {
    let node = |role, name: &str| NodeId { role, name: name.into() };
    let (from, to) = (node(NodeRole::Entry, "E1"), node(NodeRole::Storage, "N1"));
    let frames = [
        Frame::Ping { at_us: 7 },
        Frame::NoReply { id: 3 },
        Frame::Reply { id: 9, body: Bytes::from_static(b"body") },
        Frame::Request { id: 9, from: from.clone(), to: to.clone(), body: Bytes::from_static(b"what") },
        Frame::Beside { from, to, what: Beside::Events, body: Bytes::new() },
    ];
    let seeds: Vec<_> = frames
        .into_iter()
        .map(|frame| {
            let mut bytes = Vec::new();
            let body = frame.encode(&mut bytes, 1 << 20).unwrap();
            bytes.extend_from_slice(&body);
            bytes
        })
        .collect();
    fuzz(ROUNDS, &seeds, |input| {
        let input = Bytes::copy_from_slice(input);
        if let Ok(Front::Whole { head, end }) = front(&input, 1 << 20) {
            assert!(end <= input.len());
            let _ = Frame::decode(&input, head, end);
        }
    });
}

#[test]
fn exchanges_of_uplinks() {
    let exchange = Exchange { version: 1, edge: "e".into(), broker: "b".into(), sequence: 4, ..Exchange::default() };
    fuzz(ROUNDS, &[exchange.encode()], |input| drop(Exchange::decode(input)));
}

#[test]
fn certificates() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    fuzz(ROUNDS, &[made.cert.der().to_vec()], |input| {
        let _ = x509::certificate(input);
        let _ = x509::facts(input);
    });
}
