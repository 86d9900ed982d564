//! Packets at the edge of what is allowed: refusing one of them would lose a client. They are also the corpus that the
//! truncated, the flipped and the random packets are made of.

use super::*;
use Level::{V3, V4, V5};
use Role::{Client, Server};

/// Level, who receives, packet.
pub(super) const ACCEPTED: &[(Level, Role, &str)] = &[
    // CONNECT and CONNACK.
    (V3, Server, "10 s'MQIsdp' 03 02 000A s'c'"),
    (V3, Server, "10 s'MQIsdp' 03 02 000A s'more_than_twenty_three_characters'"),
    (V3, Server, "10 s'MQIsdp' 03 C2 000A s'user_name_and_password_announced_and_missing'"),
    (V3, Server, "10 s'MQIsdp' 03 C2 000A s'c' s'password_missing'"),
    (V3, Server, "10 s'MQIsdp' 03 3B 000A s'unused_bits'"),
    (V3, Server, "1F s'MQIsdp' 03 02 000A s'unused_flags'"),
    (V3, Server, "10 s'MQIsdp' 03 EE 000A s'c' s'w' s'm' s'u' s'p'"),
    (V4, Server, "10 s'MQTT' 04 02 0000 0000"),
    (V4, Server, "10 s'MQTT' 04 00 FFFF s'c'"),
    (V4, Server, "10 s'MQTT' 04 F6 000A s'c' s'will/topic' 0000 s'user' 0003 00FF00"),
    (V4, Server, "10 s'MQTT' 04 82 000A s'c' 0000"),
    (V5, Server, "10 s'MQTT' 05 00 000A {} 0000"),
    (V5, Server, "10 s'MQTT' 05 42 000A {} s'password_without_user_name' s'p'"),
    (
        V5,
        Server,
        "10 s'MQTT' 05 D6 000A { 11 FFFFFFFF 21 0001 27 00000001 22 FFFF 19 01 17 00 15 s'm' 16 0000 26 s'k' s'v' \
         26 s'k' s'v' } s'c' { 18 00000005 01 01 02 0000000A 03 s'text' 08 s'r/t' 09 0000 26 0000 0000 } s'w' s'm' \
         s'u' s'p'",
    ),
    (V3, Client, "20 FF00"),
    (V3, Client, "20 0001"),
    (V4, Client, "20 0100"),
    (V4, Client, "20 0005"),
    (V5, Client, "20 0100 {}"),
    (V5, Client, "20 009F { 1C s'other' }"),
    (
        V5,
        Client,
        "20 00 00 { 11 00000000 21 FFFF 24 01 25 00 27 FFFFFFFF 12 s'id' 22 0001 1F s'why' 28 00 29 00 2A 00 13 0000 \
         1A s'r' 1C s's' 15 s'm' 16 s'd' 26 s'k' s'v' }",
    ),
    // PUBLISH and its acknowledgements.
    (V3, Server, "3B s'a' 0001 'x'"),
    (V4, Server, "30 s'a'"),
    (V4, Server, "31 s'/' 'payload'"),
    (V4, Server, "3D s'$SYS/a' FFFF"),
    (V4, Server, "30 0003 EFBBBF 'topic_is_U+FEFF'"),
    (V4, Server, "30 0004 F0AA9B94 'topic_is_U+2A6D4'"),
    (V4, Server, "30 0004 F48FBFBF 'topic_is_a_non-character'"),
    (V4, Server, "30 0002 'a' 01 'control_character'"),
    (V4, Server, "30 s'a//b/' 00FF00"),
    (V5, Server, "30 s'a' {}"),
    (V5, Server, "30 0000 { 23 FFFF } 'alias_alone'"),
    (V5, Server, "33 s'a' 0001 { 01 00 02 00000000 23 0001 03 0000 08 s'r' 09 s'd' 26 s'k' s'v' } FF"),
    (V5, Server, "30 s'a' { 26 s'k' s'1' 01 01 26 s'k' s'2' 26 0000 0000 } 'text'"),
    (V5, Client, "30 s'a' { 0B 01 26 s'k' s'v' 0B FFFFFF7F 0B 8001 } 'x'"),
    (V4, Server, "40 0001"),
    (V5, Server, "40 FFFF"),
    (V5, Server, "40 0001 00"),
    (V5, Server, "40 0001 10 {}"),
    (V5, Client, "50 0001 99 { 1F s'why' 26 s'k' s'v' 26 s'k' s'w' }"),
    (V3, Server, "6A 0001"),
    (V4, Server, "62 0001"),
    (V5, Server, "62 0001 92"),
    (V4, Client, "70 0001"),
    (V5, Client, "70 0001 92 { 1F 0000 }"),
    // SUBSCRIBE, UNSUBSCRIBE and their acknowledgements.
    (V3, Server, "8A 0001 s'a' 02"),
    (V4, Server, "82 0001 s'#' 00 s'+' 01 s'a/+/#' 02 s'+/+' 00 s'/' 00 s'/#' 01"),
    (V4, Server, "82 0001 s'$share/before_level_5' 00 s'$share//+' 00"),
    (V5, Server, "82 0001 { 0B FFFFFF7F 26 s'k' s'v' } s'a' 2E s'$share/name/+/#' 19 s'$shared' 04"),
    (V4, Client, "90 0001 00010280"),
    (V5, Client, "90 0001 { 1F s'why' } 0001028083878F91979EA1A2"),
    (V4, Server, "A2 0001 s'a' s'#'"),
    (V5, Server, "A2 0001 { 26 s'k' s'v' } s'$share/name/a'"),
    (V4, Client, "B0 0001"),
    (V5, Client, "B0 0001 {} 00118083878F91"),
    // The rest.
    (V3, Server, "C0"),
    (V4, Server, "C0"),
    (V4, Client, "D0"),
    (V4, Server, "E0"),
    (V5, Server, "E0"),
    (V5, Server, "E0 04"),
    (V5, Server, "E0 00 { 11 00000000 1F s'why' 26 s'k' s'v' }"),
    (V5, Client, "E0 9D { 1C s'other' 1F s'why' 26 s'k' s'v' }"),
    (V5, Client, "F0"),
    (V5, Client, "F0 00 { 15 s'm' }"),
    (V5, Server, "F0 19 { 15 s'm' 16 00020001 1F s'why' 26 s'k' s'v' }"),
];

#[test]
fn packets_at_the_edge_of_the_rules_are_accepted() {
    for &(level, role, notation) in ACCEPTED {
        let frame = frame(notation);
        let decoded = decode_any(&frame, level, role);
        assert!(decoded.is_ok(), "{level:?} {role:?}: {notation}: {decoded:?}");
    }
}

#[test]
fn encoding_what_was_decoded_gives_an_equal_packet() {
    for &(level, role, notation) in ACCEPTED {
        let frame = frame(notation);
        let packet = decode_any(&frame, level, role).expect(notation);
        let again = encode_any(&packet, level).expect(notation);
        assert_eq!(decode_any(&again, level, role), Ok(packet), "{level:?} {role:?}: {notation}");
    }
}

#[test]
fn truncated_packet_is_never_taken_for_a_complete_one() {
    for &(level, role, notation) in ACCEPTED {
        let frame = frame(notation);
        for len in 0..frame.len() {
            let cut = &frame[..len];
            assert!(decode_any(cut, level, role).is_err(), "{notation} cut to {len} bytes");
            let announced = frame_length(cut, usize::MAX).expect("the header is well-formed");
            assert!(announced.is_none_or(|announced| announced == frame.len()), "{notation} cut to {len} bytes");
        }
        assert_eq!(frame_length(&frame, usize::MAX), Ok(Some(frame.len())));
    }
}

#[test]
fn longer_remaining_length_than_needed_is_accepted_before_level_5() {
    let publish = raw("30 868000 s'a' 'xyz'");
    assert!(decode(&publish, V4, Server).is_ok());
    assert_eq!(frame_length(&publish, 100), Ok(Some(publish.len())));
    assert!(Connect::decode(&raw("10 8D00 s'MQTT' 04 02 000A s'c'")).is_ok());
}

#[test]
fn string_may_have_65535_bytes() {
    let topic = "t".repeat(65535);
    let publish = Publish { topic: topic.as_bytes(), ..Publish::default() };
    let mut out = Vec::new();
    publish.encode(V4, &mut out).expect("just short enough");
    let Ok(Packet::Publish(decoded)) = decode(&out, V4, Server) else { panic!("not decoded") };
    assert_eq!(decoded.topic_name(), Ok(topic.as_str()));
}
