use std::collections::HashSet;

use super::*;
use crate::types::ids::{PublicationId, SubscriptionId};
use crate::types::payload::{Codec, PayloadRef};
use crate::types::topic::Topic;
use crate::wamp::serializer::Wire as Serialized;

const FORMATS: [Format; 3] = [Format::Json, Format::MsgPack, Format::Cbor];
const ALL_FRAMINGS: [Framing; 4] = [
    Framing::WebSocket,
    Framing::RawSocket,
    Framing::WebSocketBatched { separator: SEPARATOR },
    Framing::WebSocketBatched { separator: SEPARATOR_DECIMAL },
];

fn all() -> impl Iterator<Item = Serialized> {
    FORMATS.into_iter().flat_map(|format| ALL_FRAMINGS.map(|framing| Serialized { format, framing }))
}

fn event(wire: Serialized, payload: PayloadRef<'_>, codec: Codec) -> Result<Vec<u8>, Unencodable> {
    let topic = Arc::new(Topic::from_name("a/b").unwrap());
    let event = Event {
        topic: &topic,
        payload,
        codec,
        qos: Default::default(),
        retain: false,
        publication: PublicationId(7),
        place: None,
        properties: None,
        publisher: None,
        expires_at_ms: None,
        expires_in_s: None,
    };
    let terms = Terms { subscription: Some(SubscriptionId(3)), with_topic: true, ..Terms::default() };
    let mut out = b"before".to_vec();
    of(wire).0.event(&event, &terms, false, &mut out)?;
    assert_eq!(&out[..6], b"before");
    Ok(out.split_off(6))
}

#[test]
fn every_serialization_and_framing_has_a_wire_of_its_own() {
    let ids: HashSet<u8> = all().map(|wire| of(wire).0.id().0).collect();
    assert_eq!(ids.len(), 12);
    assert!(ids.iter().all(|id| *id >= FIRST_ID));
}

/// The same EVENT in every wire, written out by hand.
#[test]
fn an_event_is_a_whole_frame() {
    let json = br#"[36,3,7,{"topic":"a.b"},[1]]"#;
    let msgpack = b"\x95\x24\x03\x07\x81\xa5topic\xa3a.b\x91\x01";
    let cbor = b"\x85\x18\x24\x03\x07\xa1\x65topic\x63a.b\x81\x01";
    let bodies: [&[u8]; 3] = [json, msgpack, cbor];
    for wire in all() {
        let text = wire.format == Format::Json;
        let body = bodies[wire.format as usize];
        let len = body.len() as u8;
        let first = if text { 0x81 } else { 0x82 };
        let expected = match wire.framing {
            Framing::RawSocket => [&[0, 0, 0, len], body].concat(),
            Framing::WebSocketBatched { separator } if text => [&[first, len + 1], body, &[separator]].concat(),
            Framing::WebSocketBatched { .. } => [&[first, len + 4, 0, 0, 0, len], body].concat(),
            Framing::WebSocket => [&[first, len], body].concat(),
        };
        for payload in [b"1", &b"[1]"[..]] {
            assert_eq!(event(wire, PayloadRef::Bytes(payload), Codec::Auto).unwrap(), expected, "{wire:?}");
        }
        for (from, args) in FORMATS.into_iter().zip([b"[1]", &b"\x91\x01"[..], b"\x81\x01"]) {
            let payload = PayloadRef::Args { format: from, args: Some(args), kwargs: None };
            assert_eq!(event(wire, payload, Codec::Auto).unwrap(), expected, "{from:?} to {wire:?}");
        }
    }
}

#[test]
fn what_cannot_be_said_is_not_sent() {
    let json = Serialized::rawsocket(Format::Json);
    assert_eq!(event(json, PayloadRef::Bytes(b"{"), Codec::Json), Err(Unencodable::Payload));
    let large = vec![b'x'; 1 << 24];
    assert_eq!(event(json, PayloadRef::Bytes(&large), Codec::Auto), Err(Unencodable::TooLarge));
    let websocket = Serialized { framing: Framing::WebSocket, ..json };
    assert!(event(websocket, PayloadRef::Bytes(&large), Codec::Auto).is_ok());
}
