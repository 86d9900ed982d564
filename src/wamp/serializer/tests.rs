use super::*;
use crate::types::ids::{PublicationId, RequestId};
use crate::types::payload::PayloadRef;
use crate::types::value::tests::{FORMATS, fuzz};
use crate::wamp::message::{Dict, decode};

fn batched(format: Format) -> Encoding {
    Encoding { format, batched: true }
}

fn all(encoding: Encoding, frame: &[u8]) -> Result<Vec<&[u8]>, BatchError> {
    encoding.messages(frame).collect()
}

#[test]
fn subprotocols_are_known_by_their_names() {
    for format in FORMATS {
        for batched in [false, true] {
            let encoding = Encoding { format, batched };
            assert_eq!(Encoding::from_subprotocol(encoding.subprotocol()), Some(encoding));
        }
    }
    assert_eq!(batched(Format::MsgPack).subprotocol(), "wamp.2.msgpack.batched");
    for name in ["wamp.2", "wamp.2.ubjson", "mqtt", "", "WAMP.2.JSON"] {
        assert_eq!(Encoding::from_subprotocol(name), None, "{name}");
    }
}

#[test]
fn the_first_known_subprotocol_of_the_client_is_chosen() {
    let choose = |offered| Encoding::choose(offered).map(Encoding::subprotocol);
    assert_eq!(choose("wamp.2.json"), Some("wamp.2.json"));
    assert_eq!(choose("wamp.2.flatbuffers, wamp.2.cbor.batched ,wamp.2.json"), Some("wamp.2.cbor.batched"));
    assert_eq!(choose("mqtt"), None);
}

#[test]
fn an_unbatched_frame_is_one_message() {
    let encoding = Encoding { format: Format::Json, batched: false };
    assert_eq!(all(encoding, b"[1]\x1e[2]"), Ok(vec![&b"[1]\x1e[2]"[..]]));
    assert_eq!(all(encoding, b""), Ok(vec![&b""[..]]));
}

#[test]
fn batched_json_is_separated_by_either_separator() {
    let json = batched(Format::Json);
    assert_eq!(all(json, b"[1]\x1e[2]\x1e"), Ok(vec![&b"[1]"[..], b"[2]"]));
    assert_eq!(all(json, b"[1]\x18"), Ok(vec![&b"[1]"[..]]));
    assert_eq!(all(json, b"[1]\x18[2]"), Ok(vec![&b"[1]"[..], b"[2]"]));
    assert_eq!(all(json, b"\x1e"), Ok(vec![&b""[..]]), "an empty message, which does not decode");
    assert_eq!(all(json, b""), Err(BatchError::Empty));
}

#[test]
fn the_separator_that_the_peer_used_is_remembered() {
    let used = |frame| {
        let mut messages = batched(Format::Json).messages(frame);
        assert!(messages.by_ref().all(|message| message.is_ok()));
        messages.separator()
    };
    assert_eq!(used(b"[1]\x1e"), Some(SEPARATOR));
    assert_eq!(used(b"[1]\x18[2]\x18"), Some(SEPARATOR_DECIMAL));
    assert_eq!(used(b"[1]"), None);
}

#[test]
fn batched_binary_formats_have_lengths() {
    for format in [Format::MsgPack, Format::Cbor] {
        assert_eq!(all(batched(format), b"\0\0\0\x01a\0\0\0\x02bc"), Ok(vec![&b"a"[..], b"bc"]));
        assert_eq!(all(batched(format), b"\0\0\0\0"), Ok(vec![&b""[..]]));
        assert_eq!(all(batched(format), b""), Err(BatchError::Empty));
        for cut_off in [&b"\0\0\0"[..], b"\0\0\0\x02a", b"\xff\xff\xff\xffa", b"\0\0\0\x01a\0"] {
            assert_eq!(all(batched(format), cut_off), Err(BatchError::CutOff), "{cut_off:?}");
        }
    }
}

#[test]
fn a_broken_batch_ends() {
    for format in FORMATS {
        fuzz(&[b"\0\0\0\x03[1]\0\0\0\x01a".to_vec(), b"[1]\x1e[2]\x18".to_vec()], |frame| {
            assert!(batched(format).messages(frame).take(1000).count() <= frame.len() + 1);
        });
    }
}

/// A PUBLISH with so many bytes of text in its only arg.
fn publish(bytes: usize, check: impl Fn(&Message<'_>)) {
    let args = format!("[\"{}\"]", "x".repeat(bytes)).into_bytes();
    let payload = PayloadRef::Args { format: Format::Json, args: Some(&args), kwargs: None };
    check(&Message::Publish { request: RequestId(1), options: Dict::Empty, topic: "a".into(), payload });
}

/// Takes a frame of the server apart: first byte and payload (RFC 6455, 5.2).
fn open_frame(frame: &[u8]) -> (u8, &[u8]) {
    let (header_bytes, len) = match frame[1] {
        126 => (4, u64::from(u16::from_be_bytes([frame[2], frame[3]]))),
        127 => (10, u64::from_be_bytes(frame[2..10].try_into().unwrap())),
        len => (2, u64::from(len)),
    };
    assert_eq!(len as usize, frame.len() - header_bytes);
    assert!(header_bytes == 2 || len > 125, "the shortest length");
    assert!(header_bytes != 10 || len > 0xffff, "the shortest length");
    (frame[0], &frame[header_bytes..])
}

#[test]
fn websocket_frames_of_every_length_hold_the_message() {
    // Around every length at which the header grows.
    let lengths = (80..140).chain(65_490..65_560).chain([200_000]);
    for bytes in lengths {
        publish(bytes, |message| {
            for format in FORMATS {
                let mut expected = Vec::new();
                encode(message, format, &mut expected);
                let mut out = b"before".to_vec();
                let wire = Wire::websocket(Encoding { format, batched: false });
                assert_eq!(wire.append(message, &mut out), Ok(expected.len()));
                let (first, payload) = open_frame(out.strip_prefix(b"before").expect("what stood there"));
                assert_eq!(first, if format == Format::Json { 0x81 } else { 0x82 });
                assert_eq!(payload, expected);

                let mut out = Vec::new();
                let wire = Wire::websocket(batched(format));
                assert_eq!(wire.append(message, &mut out), Ok(expected.len()));
                assert_eq!(all(batched(format), open_frame(&out).1), Ok(vec![&expected[..]]));
            }
        });
    }
}

#[test]
fn batched_json_is_answered_with_the_separator_asked_for() {
    let published = Message::Published { request: RequestId(1), publication: PublicationId(2) };
    for separator in [SEPARATOR, SEPARATOR_DECIMAL] {
        let mut out = Vec::new();
        let wire = Wire { format: Format::Json, framing: Framing::WebSocketBatched { separator } };
        wire.append(&published, &mut out).unwrap();
        assert_eq!(out, [&[0x81, 9][..], b"[17,1,2]", &[separator]].concat());
    }
}

#[test]
fn rawsocket_frames_hold_the_message() {
    publish(300, |message| {
        for format in FORMATS {
            let mut out = b"before".to_vec();
            let bytes = Wire::rawsocket(format).append(message, &mut out).unwrap();
            let mut rest = &out[6..];
            let frame = rawsocket::read_frame(&mut rest, 1 << 24).unwrap().expect("a whole frame");
            assert_eq!((frame.kind, frame.payload.len(), rest.len()), (rawsocket::FrameKind::Message, bytes, 0));
            assert!(decode(format, frame.payload).is_ok());
        }
    });
}

#[test]
fn a_message_too_large_for_its_frame_is_not_appended() {
    // `[16,1,{},"a",["…"]]` has 18 bytes besides the text.
    publish(rawsocket::MESSAGE_BYTES_MAX - 18, |message| {
        let mut out = Vec::new();
        assert_eq!(Wire::rawsocket(Format::Json).append(message, &mut out), Ok(rawsocket::MESSAGE_BYTES_MAX));
        assert_eq!(out[..4], [0x08, 0, 0, 0], "exactly 16 MiB");
    });
    publish(rawsocket::MESSAGE_BYTES_MAX - 17, |message| {
        let mut out = b"before".to_vec();
        let bytes = rawsocket::MESSAGE_BYTES_MAX + 1;
        assert_eq!(Wire::rawsocket(Format::Json).append(message, &mut out), Err(TooLarge { bytes }));
        assert_eq!(out, b"before");
    });
}
