use super::*;
use crate::types::value::tests::{FORMATS, fuzz};

#[test]
fn a_request_names_serializer_and_length() {
    let read = |second| Handshake::read_request([MAGIC, second, 0, 0]);
    assert_eq!(read(0x01), Ok(Handshake { format: Format::Json, message_bytes_max: 512 }));
    assert_eq!(read(0x12), Ok(Handshake { format: Format::MsgPack, message_bytes_max: 1024 }));
    assert_eq!(read(0xf3), Ok(Handshake { format: Format::Cbor, message_bytes_max: 1 << 24 }));
}

#[test]
fn a_wrong_request_is_refused_with_its_code() {
    let refused = |bytes| match Handshake::read_request(bytes) {
        Err(HandshakeError::Refused(refusal)) => refusal.reply(),
        other => panic!("{other:?}"),
    };
    for serializer in [0, 4, 5, 15] {
        assert_eq!(refused([MAGIC, 0xf0 | serializer, 0, 0]), [0x7f, 0x10, 0, 0]);
    }
    assert_eq!(refused([MAGIC, 0xf1, 1, 0]), [0x7f, 0x30, 0, 0]);
    assert_eq!(refused([MAGIC, 0xf1, 0, 0x80]), [0x7f, 0x30, 0, 0]);
    assert_eq!(Handshake::read_request(*b"GET "), Err(HandshakeError::NotRawSocket));
    assert_eq!(Refusal::MessageLength.reply(), [0x7f, 0x20, 0, 0]);
    assert_eq!(Refusal::Connections.reply(), [0x7f, 0x40, 0, 0]);
}

#[test]
fn a_reply_is_what_the_request_asked_for() {
    for format in FORMATS {
        for exponent in 9..=24 {
            let handshake = Handshake { format, message_bytes_max: 1 << exponent };
            assert_eq!(Handshake::read_request(handshake.write()), Ok(handshake));
            let request = Handshake { format, message_bytes_max: 512 };
            assert_eq!(request.read_reply(handshake.write()), Ok(handshake));
        }
    }
}

#[test]
fn a_limit_that_is_no_power_of_two_is_rounded_down() {
    let written = |message_bytes_max| Handshake { format: Format::Json, message_bytes_max }.write()[1] >> 4;
    assert_eq!(written(0), 0);
    assert_eq!(written(1023), 0);
    assert_eq!(written(1024), 1);
    assert_eq!(written((1 << 24) - 1), 14);
    assert_eq!(written(usize::MAX), 15);
}

#[test]
fn a_client_tells_refusals_from_bad_replies() {
    let request = Handshake { format: Format::Json, message_bytes_max: 512 };
    assert_eq!(request.read_reply([0x7f, 0x40, 0, 0]), Err(HandshakeError::Refused(Refusal::Connections)));
    assert_eq!(request.read_reply([0x7f, 0x00, 0, 0]), Err(HandshakeError::BadReply));
    assert_eq!(request.read_reply([0x7f, 0x50, 0, 0]), Err(HandshakeError::BadReply));
    assert_eq!(request.read_reply([0x7f, 0xf2, 0, 0]), Err(HandshakeError::BadReply), "another serializer");
    assert_eq!(request.read_reply([0x7f, 0xf1, 0, 1]), Err(HandshakeError::BadReply));
    assert_eq!(request.read_reply(*b"HTTP"), Err(HandshakeError::NotRawSocket));
}

#[test]
fn frames_are_taken_once_they_are_whole() {
    let bytes = [&[0, 0, 0, 3][..], b"[1]", &[1, 0, 0, 2], b"hi", &[2, 0, 0, 0]].concat();
    for end in 0..bytes.len() {
        let mut input = &bytes[..end];
        let mut kinds = Vec::new();
        while let Some(frame) = read_frame(&mut input, 512).unwrap() {
            kinds.push(frame.kind);
        }
        let whole = [7, 13, 17].iter().filter(|place| end >= **place).count();
        assert_eq!(kinds.len(), whole, "{end}");
    }
    let mut input = &bytes[..];
    assert_eq!(read_frame(&mut input, 3), Ok(Some(Frame { kind: FrameKind::Message, payload: b"[1]" })));
    assert_eq!(read_frame(&mut input, 3), Ok(Some(Frame { kind: FrameKind::Ping, payload: b"hi" })));
    assert_eq!(read_frame(&mut input, 3), Ok(Some(Frame { kind: FrameKind::Pong, payload: b"" })));
    assert_eq!(read_frame(&mut input, 3), Ok(None));
}

#[test]
fn a_ping_is_answered_with_its_payload() {
    let mut out = Vec::new();
    write_pong(b"hi", &mut out);
    assert_eq!(out, [2, 0, 0, 2, b'h', b'i']);
}

#[test]
fn a_forbidden_frame_is_refused_by_its_header() {
    let read = |header: [u8; 4], max| read_frame(&mut &header[..], max).map(|frame| frame.is_some());
    for kind in 3..=7 {
        assert_eq!(read([kind, 0, 0, 0], 512), Err(FrameError::UnknownKind(kind)));
    }
    for reserved in [0x10, 0x20, 0x40, 0x80] {
        assert_eq!(read([reserved, 0, 0, 0], 512), Err(FrameError::ReservedBits));
    }
    assert_eq!(read([0, 0, 2, 1], 512), Err(FrameError::TooLarge { bytes: 513, max: 512 }));
    assert_eq!(read([1, 0, 2, 1], 512), Err(FrameError::TooLarge { bytes: 513, max: 512 }));
    assert_eq!(read([0, 0, 2, 0], 512), Ok(false));
}

#[test]
fn exactly_16_mib_needs_the_extra_bit() {
    assert_eq!(header(FrameKind::Message, MESSAGE_BYTES_MAX), [0x08, 0, 0, 0]);
    assert_eq!(header(FrameKind::Ping, MESSAGE_BYTES_MAX - 1), [0x01, 0xff, 0xff, 0xff]);
    assert_eq!(read_frame(&mut &[0x08, 0, 0, 0][..], usize::MAX), Ok(None));
    let bytes = MESSAGE_BYTES_MAX + 1;
    assert_eq!(
        read_frame(&mut &[0x08, 0, 0, 1][..], usize::MAX),
        Err(FrameError::TooLarge { bytes, max: MESSAGE_BYTES_MAX })
    );
}

#[test]
fn broken_input_does_not_panic() {
    fuzz(&[[&[0, 0, 0, 3][..], b"[1]", &[1, 0, 0, 2], b"hi"].concat()], |bytes| {
        let mut input = bytes;
        while let Ok(Some(frame)) = read_frame(&mut input, 512) {
            assert!(frame.payload.len() <= 512);
        }
        if let Some(first) = bytes.first_chunk() {
            let _ = Handshake::read_request(*first);
        }
    });
}
