use super::*;
use crate::types::payload::{Format, PayloadRef};

fn holds(fields: &str, payload: PayloadRef<'_>) -> bool {
    Fields::parse(fields).unwrap().hold(payload)
}

fn json(text: &str) -> PayloadRef<'_> {
    PayloadRef::Bytes(text.as_bytes())
}

#[test]
fn a_value_has_the_fields_whatever_else_it_has() {
    for (fields, value, expected) in [
        (r#"{"a":1}"#, r#"{"a":1}"#, true),
        (r#"{"a":1}"#, r#"{"b":2,"a":1}"#, true),
        (r#"{"a":1,"b":2}"#, r#"{"a":1}"#, false),
        (r#"{"a":1}"#, r#"{"a":2}"#, false),
        (r#"{"a":1}"#, r#"{"a":"1"}"#, false),
        (r#"{"a":"x"}"#, r#"{"a":"x"}"#, true),
        (r#"{"a":true}"#, r#"{"a":1}"#, false),
        (r#"{"a":null}"#, r#"{"a":null}"#, true),
        (r#"{"a":null}"#, r#"{}"#, false),
        (r#"{"a":1.0}"#, r#"{"a":1}"#, true),
        (r#"{"a":0.5}"#, r#"{"a":null}"#, false),
        (r#"{"a":{"b":1}}"#, r#"{"a":{"b":1,"c":2}}"#, true),
        (r#"{"a":{"b":1}}"#, r#"{"a":{"c":2}}"#, false),
        (r#"{"a":{}}"#, r#"{"a":{"c":2}}"#, true),
        (r#"{"a":{}}"#, r#"{"a":7}"#, false),
        (r#"{"a":[1,{"b":2}]}"#, r#"{"a":[1,{"b":2,"c":3}]}"#, true),
        (r#"{"a":[1]}"#, r#"{"a":[1,2]}"#, false),
        (r#"{"a":18446744073709551615}"#, r#"{"a":18446744073709551615}"#, true),
        (r#"{"a":9007199254740993}"#, r#"{"a":9007199254740992}"#, false),
        (r#"{"a":1}"#, r#"{"a":1,"a":2}"#, false),
        (r#"{"a":1,"a":2}"#, r#"{"a":2}"#, true),
    ] {
        assert_eq!(holds(fields, json(value)), expected, "{fields} in {value}");
    }
}

#[test]
fn arguments_are_looked_into_as_the_payload_that_they_stand_for() {
    let args = |format, args, kwargs| PayloadRef::Args { format, args, kwargs };
    for (payload, expected) in [
        (args(Format::Json, None, Some(&br#"{"a":1}"#[..])), true),
        (args(Format::Json, Some(&b"[7]"[..]), Some(&br#"{"a":1}"#[..])), true),
        (args(Format::Json, Some(br#"[{"a":1}]"#), Some(br#"{"b":1}"#)), true),
        (args(Format::Json, Some(br#"[{"a":1}]"#), None), true),
        (args(Format::Json, Some(br#"[{"a":1},2]"#), None), false),
        (args(Format::Json, Some(br#"[[{"a":1}]]"#), None), false),
        (args(Format::MsgPack, None, Some(&[0x81, 0xA1, b'a', 1])), true),
        (args(Format::Cbor, Some(&[0x81, 0xA1, 0x61, b'a', 1]), None), true),
        (json(r#"{"args":[],"kwargs":{"a":1}}"#), true),
        (json(r#"{"args":[{"a":1}]}"#), true),
        (json(r#"[{"a":1}]"#), true),
        (json("a"), false),
        (PayloadRef::Bytes(&[0xFF]), false),
    ] {
        assert_eq!(holds(r#"{"a":1}"#, payload), expected, "{payload:?}");
    }
}

#[test]
fn no_fields_are_in_every_value() {
    for value in ["{}", "7", "text", "[1]"] {
        assert!(holds("{}", json(value)), "{value}");
    }
    assert!(!holds("{}", json("")));
}

#[test]
fn what_is_no_object_is_no_condition() {
    for text in ["", "7", "[]", "null", r#"{"a"}"#, "{} {}"] {
        assert_eq!(Fields::parse(text), None, "{text}");
    }
}
