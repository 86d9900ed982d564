//! A counterexample of every rule: what breaks it is refused, for that reason.

use super::counterexamples::{MALFORMED, MALFORMED_FRAMES};
use super::*;
use DecodeError as E;
use Level::{V4, V5};
use Role::{Client, Server};

#[test]
fn what_breaks_a_rule_is_refused_for_that_reason() {
    for &(rule, level, role, notation) in MALFORMED {
        assert_eq!(decode_any(&frame(notation), level, role), Err(rule), "{level:?} {role:?}: {notation}");
    }
    for &(rule, level, notation) in MALFORMED_FRAMES {
        assert_eq!(decode_any(&raw(notation), level, Server), Err(rule), "{level:?}: {notation}");
    }
}

#[test]
fn first_packet_must_be_a_connect_and_no_later_one() {
    assert_eq!(Connect::decode(&frame("30 s'a' 'x'")), Err(E::NOT_CONNECT));
    assert_eq!(Connect::decode(&frame("00")), Err(E::NOT_CONNECT));
    for role in [Server, Client] {
        let decoded = decode(&[0x10, 0], V4, role);
        let expected = if role == Server { E::SECOND_CONNECT } else { E::WRONG_DIRECTION };
        assert_eq!(decoded, Err(expected));
    }
}

#[test]
fn packet_larger_than_agreed_is_refused_as_soon_as_its_length_is_known() {
    assert_eq!(frame_length(&[0x30, 0x09], 10), Err(E::PACKET_TOO_LARGE));
    assert_eq!(frame_length(&[0x30, 0x80, 0x80, 0x01], 16387), Err(E::PACKET_TOO_LARGE));
    assert_eq!(frame_length(&[0x30, 0x08], 10), Ok(Some(10)));
}

#[test]
fn every_rule_has_a_counterexample() {
    let elsewhere = [E::NOT_CONNECT, E::SECOND_CONNECT, E::PACKET_TOO_LARGE];
    for rule in DecodeError::ALL {
        let found = elsewhere.contains(rule)
            || MALFORMED.iter().any(|row| row.0 == *rule)
            || MALFORMED_FRAMES.iter().any(|row| row.0 == *rule);
        assert!(found, "{rule:?}");
    }
}

#[test]
fn error_names_the_rule_and_the_reason_code() {
    let error = Connect::decode(&frame("10 s'MQTT' 04 1E 000A s'c' s'w' s'm'")).expect_err("will QoS 3");
    assert_eq!(error.to_string(), "will QoS 3 [MQTT-3.1.2-14]");
    assert_eq!(error.reason(), ReasonCode::MalformedPacket);
    let publish = frame("30 s'a' { 23 0000 }");
    let error = decode_any(&publish, V5, Server).expect_err("alias 0");
    assert_eq!(error.reason(), ReasonCode::TopicAliasInvalid);
}
