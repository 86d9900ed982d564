//! Bytes that others rely on.

use super::*;
use crate::types::event::Qos;

fn encoded(encode: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out).expect("encodable");
    out
}

#[test]
fn length_of_a_frame_is_known_when_its_header_is_complete() {
    for (buffer, expected) in [
        (&[][..], None),
        (&[0x30], None),
        (&[0x30, 0x80], None),
        (&[0x30, 0xFF, 0xFF], None),
        (&[0x30, 0xFF, 0xFF, 0xFF], None),
        (&[0xC0, 0x00], Some(2)),
        (&[0x30, 0x7F], Some(129)),
        (&[0x30, 0x80, 0x01], Some(131)),
        (&[0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0xFF], Some(268_435_460)),
    ] {
        assert_eq!(frame_length(buffer, usize::MAX), Ok(expected), "{buffer:02X?}");
    }
    assert_eq!(frame_length(&[0x30, 0x80, 0x80, 0x80, 0x80], usize::MAX), Err(DecodeError::VARINT_TOO_LONG));
}

#[test]
fn publish_looks_as_specified() {
    let publish = Publish {
        qos: Qos::AtLeastOnce,
        retain: true,
        packet_id: Some(packet_id(10)),
        topic: b"a/b",
        payload: b"hi",
        ..Publish::default()
    };
    let mut out = Vec::new();
    let layout = publish.encode(Level::V4, &mut out).expect("encodable");
    assert_eq!(out, frame("33 s'a/b' 000A 'hi'"));
    assert_eq!(layout, PublishLayout { packet_id_at: Some(7), payload_at: 9 });
    out.clear();
    let layout = publish.encode(Level::V5, &mut out).expect("encodable");
    assert_eq!(out, frame("33 s'a/b' 000A {} 'hi'"));
    assert_eq!(layout, PublishLayout { packet_id_at: Some(7), payload_at: 10 });
}

#[test]
fn layout_counts_a_long_remaining_length() {
    let publish =
        Publish { qos: Qos::ExactlyOnce, packet_id: Some(packet_id(0x0102)), topic: b"t", ..Publish::default() };
    for (payload_len, header) in [(100, 1), (200, 2), (20_000, 3), (3_000_000, 4)] {
        let mut out = Vec::new();
        let layout = publish.encode_header(Level::V4, payload_len, &mut out).expect("encodable");
        let at = 1 + header + 3;
        assert_eq!(layout, PublishLayout { packet_id_at: Some(at), payload_at: at + 2 });
        assert_eq!(out[at..], [1, 2]);
        assert_eq!(frame_length(&out, usize::MAX), Ok(Some(out.len() + payload_len)));
    }
}

#[test]
fn flags_of_an_encoded_publish_can_be_changed() {
    let mut frame = frame("32 s'a' 0001 'x'");
    set_dup(&mut frame);
    set_retain(&mut frame, true);
    assert_eq!(frame[0], 0x3B);
    set_retain(&mut frame, false);
    assert_eq!(frame[0], 0x3A);
}

#[test]
fn acknowledgement_that_says_nothing_more_has_four_bytes() {
    for (kind, first) in
        [(AckType::Puback, 0x40), (AckType::Pubrec, 0x50), (AckType::Pubrel, 0x62), (AckType::Pubcomp, 0x70)]
    {
        let mut out = Vec::new();
        encode_ack(kind, packet_id(0x1234), &mut out);
        assert_eq!(out, [first, 2, 0x12, 0x34]);
        for level in [Level::V3, Level::V4, Level::V5] {
            let ack = Ack::new(packet_id(0x1234), ReasonCode::Success);
            assert_eq!(encoded(|out| ack.encode(kind, level, out)), out);
        }
    }
}

#[test]
fn reason_without_properties_has_no_property_length() {
    let ack = Ack::new(packet_id(1), ReasonCode::QuotaExceeded);
    assert_eq!(encoded(|out| ack.encode(AckType::Puback, Level::V5, out)), frame("40 0001 97"));
    assert_eq!(encoded(|out| ack.encode(AckType::Puback, Level::V4, out)), frame("40 0001"));
    let disconnect = Disconnect::new(ReasonCode::SessionTakenOver);
    assert_eq!(encoded(|out| disconnect.encode(Level::V5, out)), frame("E0 8E"));
    assert_eq!(encoded(|out| Disconnect::new(ReasonCode::Success).encode(Level::V5, out)), frame("E0"));
}

#[test]
fn connack_of_each_level_has_its_own_code() {
    let refusal = Connack::new(ReasonCode::NotAuthorized);
    assert_eq!(encoded(|out| refusal.encode(Level::V3, out)), frame("20 0005"));
    assert_eq!(encoded(|out| refusal.encode(Level::V5, out)), frame("20 0087 {}"));
    let accepted = Connack { session_present: true, ..Connack::new(ReasonCode::Success) };
    assert_eq!(encoded(|out| accepted.encode(Level::V3, out)), frame("20 0000"));
    assert_eq!(encoded(|out| accepted.encode(Level::V4, out)), frame("20 0100"));
    let nameless = Connack::new(ReasonCode::MalformedPacket);
    assert_eq!(nameless.encode(Level::V4, &mut Vec::new()), Err(EncodeError::NotAtThisLevel));
}

#[test]
fn return_codes_and_reason_codes_correspond() {
    for code in 0..=5 {
        let reason = ReasonCode::from_return_code(code).expect("a known code");
        assert_eq!(reason.to_return_code(), Some(code));
    }
    assert_eq!(ReasonCode::from_return_code(6), None);
    for code in ReasonCode::ALL {
        assert_eq!(ReasonCode::from_u8(*code as u8), Some(*code));
    }
    assert_eq!((0..=255).filter_map(ReasonCode::from_u8).count(), ReasonCode::ALL.len());
}

#[test]
fn failed_subscription_is_0x80_before_level_5() {
    let reasons = [ReasonCode::GrantedQos1, ReasonCode::NotAuthorized];
    let suback =
        Suback { packet_id: packet_id(7), diagnostics: Diagnostics::default(), reasons: ReasonCodes::new(&reasons) };
    assert_eq!(encoded(|out| suback.encode(Level::V4, out)), frame("90 0007 0180"));
    assert_eq!(encoded(|out| suback.encode(Level::V5, out)), frame("90 0007 {} 0187"));
}

#[test]
fn explanation_is_left_out_where_it_does_not_fit() {
    let pairs = [("key".to_owned(), "value".to_owned())];
    let diagnostics = Diagnostics { reason_string: Some("why"), user_properties: UserProperties::new(&pairs) };
    let ack = Ack { diagnostics, ..Ack::new(packet_id(1), ReasonCode::NotAuthorized) };
    let whole = encoded(|out| ack.encode(AckType::Puback, Level::V5, out));
    let within = |max| encoded(|out| ack.encode_within(max, AckType::Puback, Level::V5, out));
    assert_eq!(within(whole.len()), whole);
    assert_eq!(within(whole.len() - 1), frame("40 0001 87"));
}

#[test]
fn packet_that_cannot_be_encoded_leaves_nothing_behind() {
    let long = "t".repeat(65536);
    let mut out = b"before".to_vec();
    let topic = Publish { topic: long.as_bytes(), ..Publish::default() };
    assert_eq!(topic.encode(Level::V4, &mut out), Err(EncodeError::FieldTooLong));
    let properties = PublishProperties { content_type: Some("a\0b"), ..PublishProperties::default() };
    let nul = Publish { topic: b"t", properties: PropertySource::Own(&properties), ..Publish::default() };
    assert_eq!(nul.encode(Level::V5, &mut out), Err(EncodeError::NulInString));
    let huge = Publish { topic: b"t", ..Publish::default() };
    assert_eq!(huge.encode_header(Level::V4, 268_435_453, &mut out), Err(EncodeError::PacketTooLong));
    let auth = Auth::new(ReasonCode::ContinueAuthentication, "m", None);
    assert_eq!(auth.encode(Level::V4, &mut out), Err(EncodeError::NotAtThisLevel));
    assert_eq!(out, b"before");
    assert!(huge.encode_header(Level::V4, 268_435_452, &mut out).is_ok());
}

#[test]
fn refusal_of_a_first_packet_is_written_in_a_level_its_sender_reads() {
    for (notation, level) in [
        ("10 s'MQTT' 05 03 000A {} s'c'", Level::V5),
        ("10 s'MQTT' 06 02 000A {} s'c'", Level::V5),
        ("10 s'MQTT' 04 03 000A s'c'", Level::V4),
        ("10 s'MQTT' 02 02 000A s'c'", Level::V4),
        ("10 s'MQIsdp' 03", Level::V3),
        ("10 s'MQ'", Level::V4),
        ("10", Level::V4),
    ] {
        assert_eq!(answer_level(&frame(notation)), level, "{notation}");
    }
    assert_eq!(answer_level(&[]), Level::V4);
}

#[test]
fn shared_subscription_has_a_name_and_a_filter() {
    assert_eq!(split_shared("$share/name/a/#"), Some(("name", "a/#")));
    assert_eq!(split_shared("$share/name"), None);
    assert_eq!(split_shared("$shared/name/a"), None);
}

#[test]
fn packet_on_the_hot_path_is_small() {
    assert_eq!(size_of::<Publish<'_>>(), 64);
    assert!(size_of::<Packet<'_>>() <= 112, "{}", size_of::<Packet<'_>>());
    assert_eq!(size_of::<DecodeError>(), size_of::<usize>());
}
