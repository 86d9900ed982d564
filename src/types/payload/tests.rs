use proptest::prelude::*;

use super::*;
use crate::types::value::Value;
use crate::types::value::tests::{FORMATS, any_value, fuzz};

/// Arguments as `args kwargs`, each in JSON or `-`.
fn say(args: &Args<'_>, format: Format) -> String {
    let part = |part: &Option<Cow<'_, [u8]>>| match part {
        None => "-".to_owned(),
        Some(encoded) => {
            let raw = Raw::parse(format, encoded).unwrap_or_else(|error| panic!("{error}: {encoded:?}"));
            let mut json = Vec::new();
            raw.encode(Format::Json, &mut json);
            String::from_utf8(json).unwrap()
        }
    };
    format!("{} {}", part(&args.args), part(&args.kwargs))
}

/// What MQTT's `bytes` are for WAMP, which is the same in all its formats.
fn check_args(codec: Codec, bytes: &[u8], expected: &str) {
    for format in FORMATS {
        let args = PayloadRef::Bytes(bytes).as_args(codec, format).expect("in the codec");
        let said = say(&args, format);
        assert_eq!(said.replace(' ', ""), expected.replace(' ', ""), "{format} {}", String::from_utf8_lossy(bytes));
    }
}

struct Arguments {
    format: Format,
    args: Option<Vec<u8>>,
    kwargs: Option<Vec<u8>>,
}

impl Arguments {
    fn new(format: Format, args: Option<&Value>, kwargs: Option<&Value>) -> Self {
        let encode = |part: &Value| part.to_bytes(format);
        Arguments { format, args: args.map(encode), kwargs: kwargs.map(encode) }
    }

    fn payload(&self) -> PayloadRef<'_> {
        PayloadRef::Args { format: self.format, args: self.args.as_deref(), kwargs: self.kwargs.as_deref() }
    }
}

/// What WAMP's arguments are for MQTT, which is the same from all its formats.
fn check_bytes(codec: Codec, args: &str, kwargs: &str, expected: &[u8]) {
    let part = |text: &str| (text != "-").then(|| Value::decode(Format::Json, text.as_bytes()).expect("JSON"));
    let (args, kwargs) = (part(args), part(kwargs));
    for format in FORMATS {
        let arguments = Arguments::new(format, args.as_ref(), kwargs.as_ref());
        let bytes = arguments.payload().as_bytes(codec);
        assert_eq!(&*bytes, expected, "{format} {args:?} {kwargs:?} {}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn mqtt_json_becomes_arguments() {
    check_args(Codec::Auto, b"", "- -");
    check_args(Codec::Auto, b"[1,\"a\"]", r#"[1,"a"] -"#);
    check_args(Codec::Auto, b" [ ] ", "[] -");
    check_args(Codec::Auto, b"21.5", "[21.5] -");
    check_args(Codec::Auto, b"null", "[null] -");
    check_args(Codec::Auto, b"\"text\"", r#"["text"] -"#);
    check_args(Codec::Auto, b"{}", "[{}] -");
    check_args(Codec::Auto, br#"{"a":1}"#, r#"[{"a":1}] -"#);
    check_args(Codec::Auto, br#"{"args":[1,2]}"#, "[1,2] -");
    check_args(Codec::Auto, br#" {"args" : [], "kwargs" : {"a":1}} "#, r#"[] {"a":1}"#);
    check_args(Codec::Auto, br#"{"kwargs":{"a":1},"args":[1]}"#, r#"[1] {"a":1}"#);
    check_args(Codec::Auto, br#"{"kwargs":{"a":1}}"#, r#"- {"a":1}"#);
    check_args(Codec::Auto, br#"{"\u0061rgs":[1]}"#, "[1] -");
}

#[test]
fn what_only_resembles_an_envelope_is_one_arg() {
    for text in [
        r#"{"args":1}"#,
        r#"{"args":null}"#,
        r#"{"kwargs":[]}"#,
        r#"{"args":[1],"more":2}"#,
        r#"{"args":[1],"kwargs":null}"#,
        r#"{"args":[1],"args":[2]}"#,
        r#"{"Args":[1]}"#,
    ] {
        check_args(Codec::Auto, text.as_bytes(), &format!("[{text}] -"));
        check_bytes(Codec::Auto, &format!("[{text}]"), "-", text.as_bytes());
    }
}

#[test]
fn mqtt_bytes_that_are_no_json_become_text_or_binary() {
    check_args(Codec::Auto, b"hello", r#"["hello"] -"#);
    check_args(Codec::Auto, "grüß \"dich\"\n".as_bytes(), r#"["grüß \"dich\"\n"] -"#);
    check_args(Codec::Auto, b"{broken", r#"["{broken"] -"#);
    check_args(Codec::Auto, b"NaN", r#"["NaN"] -"#);
    check_args(Codec::Auto, br#"["\ud800"]"#, r#"["[\"\\ud800\"]"] -"#);
    check_args(Codec::Auto, b"[1] [2]", r#"["[1] [2]"] -"#);
    check_args(Codec::Auto, &[0xff, 0x00], r#"["\u0000/wA="] -"#);
    // Text that JSON would take for binary.
    check_args(Codec::Auto, b"\0AQ==", r#"["\u0000AEFRPT0="] -"#);
    let deep = "[".repeat(1000) + &"]".repeat(1000);
    check_args(Codec::Auto, deep.as_bytes(), &format!(r#"["{deep}"] -"#));
}

#[test]
fn json_to_json_is_copied_as_it_is() {
    let copied = |bytes: &'static [u8]| PayloadRef::Bytes(bytes).as_args(Codec::Auto, Format::Json).unwrap();
    let list = copied(b" [1.10, {\"a\":1,\"a\":2},\n 123456789012345678901234567890] ");
    assert_eq!(list.args.as_deref(), Some(&b"[1.10, {\"a\":1,\"a\":2},\n 123456789012345678901234567890]"[..]));
    assert!(matches!(list.args, Some(Cow::Borrowed(_))));
    assert_eq!(copied(b"\t1.10").args.as_deref(), Some(&b"[1.10]"[..]));
    let args = PayloadRef::Args { format: Format::Json, args: Some(b"[ 1e3 ]"), kwargs: None };
    assert!(matches!(args.as_bytes(Codec::Auto), Cow::Borrowed(b"1e3")));
}

#[test]
fn wamp_arguments_become_the_simplest_json() {
    check_bytes(Codec::Auto, "-", "-", b"");
    check_bytes(Codec::Auto, "[]", "{}", b"");
    check_bytes(Codec::Auto, "[21.5]", "-", b"21.5");
    check_bytes(Codec::Auto, "[null]", "{}", b"null");
    check_bytes(Codec::Auto, r#"["text"]"#, "-", b"\"text\"");
    check_bytes(Codec::Auto, r#"[{"a":1}]"#, "-", br#"{"a":1}"#);
    check_bytes(Codec::Auto, "[1,2]", "-", b"[1,2]");
    check_bytes(Codec::Auto, "-", r#"{"a":1}"#, br#"{"a":1}"#);
    check_bytes(Codec::Auto, "[]", r#"{"a":1}"#, br#"{"a":1}"#);
    check_bytes(Codec::Auto, "[1]", r#"{"a":1}"#, br#"{"args":[1],"kwargs":{"a":1}}"#);
}

#[test]
fn what_would_come_back_as_something_else_goes_in_an_envelope() {
    check_bytes(Codec::Auto, "[[1,2]]", "-", br#"{"args":[[1,2]]}"#);
    check_bytes(Codec::Auto, "[[]]", "-", br#"{"args":[[]]}"#);
    check_bytes(Codec::Auto, r#"[{"args":[1]}]"#, "-", br#"{"args":[{"args":[1]}]}"#);
    check_bytes(Codec::Auto, r#"[{"kwargs":{}}]"#, "-", br#"{"args":[{"kwargs":{}}]}"#);
    check_bytes(Codec::Auto, "-", r#"{"args":[1]}"#, br#"{"kwargs":{"args":[1]}}"#);
}

#[test]
fn a_single_binary_arg_is_the_raw_bytes() {
    check_bytes(Codec::Auto, r#"["\u0000/wA="]"#, "-", &[0xff, 0x00]);
    check_bytes(Codec::Auto, r#"["\u0000/wA=",1]"#, "-", br#"["\u0000/wA=",1]"#);
    check_bytes(Codec::Auto, r#"["\u0000/wA="]"#, r#"{"a":1}"#, br#"{"args":["\u0000/wA="],"kwargs":{"a":1}}"#);
    check_bytes(Codec::Auto, r#"["\u0000 no base64"]"#, "-", br#""\u0000 no base64""#);
    // Arguments that the peers hide from the router.
    check_bytes(Codec::Auto, r#""\u0000/wA=""#, "-", &[0xff, 0x00]);
}

#[test]
fn the_raw_codec_knows_only_binary() {
    check_args(Codec::Raw, b"[1]", r#"["\u0000WzFd"] -"#);
    check_args(Codec::Raw, b"", "- -");
    check_bytes(Codec::Raw, r#"["\u0000WzFd"]"#, "-", b"[1]");
    check_bytes(Codec::Raw, r#"["text"]"#, "-", b"text");
    check_bytes(Codec::Raw, r#"["t\"\u00e4"]"#, "-", "t\"ä".as_bytes());
    check_bytes(Codec::Raw, "[1,2]", "-", b"[1,2]");
}

#[test]
fn the_json_codec_refuses_what_is_no_json() {
    check_args(Codec::Json, b"[1]", "[1] -");
    check_bytes(Codec::Json, r#"["\u0000/wA="]"#, "-", br#""\u0000/wA=""#);
    check_args(Codec::Json, br#""\u0000/wA=""#, r#"["\u0000/wA="] -"#);
    let error = PayloadRef::Bytes(b"hello").as_args(Codec::Json, Format::Cbor).unwrap_err();
    assert_eq!(error.to_string(), "the payload is not JSON: not a JSON value at byte 0");
}

#[test]
fn binary_codecs_have_the_shapes_of_json() {
    for (codec, format) in [(Codec::Cbor, Format::Cbor), (Codec::MsgPack, Format::MsgPack)] {
        for (document, args, kwargs) in [
            (r#"[1,"a"]"#, r#"[1,"a"]"#, "-"),
            (r#"{"a":1}"#, r#"[{"a":1}]"#, "-"),
            (r#""\u0000/wA=""#, r#"["\u0000/wA="]"#, "-"),
            (r#"{"args":[[1]]}"#, "[[1]]", "-"),
            (r#"{"args":[1],"kwargs":{"a":1}}"#, "[1]", r#"{"a":1}"#),
        ] {
            let bytes = Value::decode(Format::Json, document.as_bytes()).unwrap().to_bytes(format);
            check_args(codec, &bytes, &format!("{args} {kwargs}"));
            check_bytes(codec, args, kwargs, &bytes);
        }
        assert!(PayloadRef::Bytes(b"\xc1").as_args(codec, Format::Json).is_err());
    }
}

#[test]
fn what_json_cannot_say_becomes_null() {
    let value = Value::List(vec![f64::NAN.into()]);
    for format in [Format::Cbor, Format::MsgPack] {
        let arguments = Arguments::new(format, Some(&value), None);
        assert_eq!(&*arguments.payload().as_bytes(Codec::Auto), b"null");
    }
}

#[test]
fn empty_is_no_bytes_or_no_arguments() {
    assert!(PayloadRef::NONE.is_empty());
    assert!(!PayloadRef::Bytes(b"[]").is_empty());
    for format in FORMATS {
        let (list, map, null) = (Value::List(vec![]), Value::Map(vec![]), Value::List(vec![Value::Null]));
        assert!(Arguments::new(format, None, None).payload().is_empty());
        assert!(Arguments::new(format, Some(&list), Some(&map)).payload().is_empty());
        assert!(!Arguments::new(format, Some(&null), Some(&map)).payload().is_empty());
        let kwargs = Value::map([("a", Value::Null)]);
        assert!(!Arguments::new(format, None, Some(&kwargs)).payload().is_empty());
    }
    assert!(PayloadRef::Args { format: Format::Cbor, args: Some(&[0x9f, 0xff]), kwargs: None }.is_empty());
    assert!(PayloadRef::Args { format: Format::Json, args: Some(b"[ ]"), kwargs: Some(b"{\n}") }.is_empty());
}

#[test]
fn a_stored_payload_shares_the_buffer_that_it_fills() {
    let chunk = Bytes::from_static(br#"[16,1,{},"a",[1],{"b":"0123456789012345"}]"#);
    let payload = PayloadRef::Args { format: Format::Json, args: Some(&chunk[13..16]), kwargs: Some(&chunk[17..41]) };
    let Payload::Args { args: Some(args), kwargs: Some(kwargs), .. } = payload.store(Some(&chunk)) else { panic!() };
    assert_eq!((&args[..], &kwargs[..]), (&b"[1]"[..], &br#"{"b":"0123456789012345"}"#[..]));
    assert_eq!((args.as_ptr(), kwargs.as_ptr()), (chunk[13..].as_ptr(), chunk[17..].as_ptr()));
    let elsewhere = PayloadRef::Bytes(b"as long as half of the chunk").store(Some(&chunk));
    assert!(matches!(elsewhere.as_ref(), PayloadRef::Bytes(b"as long as half of the chunk")));
}

#[test]
fn a_stored_payload_that_is_small_beside_its_buffer_is_copied() {
    let chunk = Bytes::from(vec![b'1'; 1000]);
    let Payload::Bytes(stored) = PayloadRef::Bytes(&chunk[..100]).store(Some(&chunk)) else { panic!() };
    assert_eq!(stored, chunk[..100]);
    assert_ne!(stored.as_ptr(), chunk.as_ptr());
    assert_eq!(PayloadRef::Bytes(&chunk[..100]).to_owned().len(), 100);
}

/// What WAMP sends to MQTT and gets back.
fn to_mqtt_and_back(
    args: Option<&Value>,
    kwargs: Option<&Value>,
    from: Format,
    to: Format,
) -> (Option<Value>, Option<Value>) {
    let sent = Arguments::new(from, args, kwargs);
    let bytes = sent.payload().as_bytes(Codec::Auto);
    let back = PayloadRef::Bytes(&bytes).as_args(Codec::Auto, to).expect("any bytes");
    let read = |part: Option<Cow<'_, [u8]>>| part.map(|part| Value::decode(to, &part).expect("well-formed"));
    (read(back.args), read(back.kwargs))
}

proptest! {
    #[test]
    fn args_come_back_from_mqtt_as_they_were(
        args in prop::collection::vec(any_value(), 1..4),
        kwargs in prop::option::of(prop::collection::vec(("[a-z]{1,6}", any_value()), 1..3)),
        from in 0usize..3,
        to in 0usize..3,
    ) {
        // A single binary arg is raw bytes there, which may look like something else.
        prop_assume!(kwargs.is_some() || !matches!(args[..], [Value::Bytes(_)]));
        let (args, kwargs) = (Value::List(args), kwargs.map(Value::Map));
        let back = to_mqtt_and_back(Some(&args), kwargs.as_ref(), FORMATS[from], FORMATS[to]);
        prop_assert_eq!(back, (Some(args), kwargs));
    }

    #[test]
    fn args_that_look_like_envelopes_come_back_too(
        inner in any_value(),
        keys in prop::collection::vec(prop_oneof![Just("args"), Just("kwargs"), Just("arg")], 0..3),
        format in 0usize..3,
    ) {
        let entries = keys.iter().map(|key| match *key {
            "kwargs" => ("kwargs", Value::map([("inner", inner.clone())])),
            key => (key, Value::List(vec![inner.clone()])),
        });
        let args = Value::List(vec![Value::map(entries)]);
        let back = to_mqtt_and_back(Some(&args), None, FORMATS[format], FORMATS[format]);
        prop_assert_eq!(back, (Some(args), None));
    }

    #[test]
    fn kwargs_alone_come_back_as_they_were_or_as_the_only_arg(
        kwargs in prop::collection::vec((prop_oneof![Just("args".to_owned()), "[a-z]{1,6}"], any_value()), 1..3),
        format in 0usize..3,
    ) {
        let kwargs = Value::Map(kwargs);
        let back = to_mqtt_and_back(None, Some(&kwargs), FORMATS[format], FORMATS[format]);
        let as_arg = (Some(Value::List(vec![kwargs.clone()])), None);
        prop_assert!(back == (None, Some(kwargs.clone())) || back == as_arg, "{:?}", back);
    }

    #[test]
    fn binary_that_is_no_text_comes_back_as_it_was(mut bytes in prop::collection::vec(any::<u8>(), 0..40), format in 0usize..3) {
        bytes.push(0xff);
        let args = Value::List(vec![Value::Bytes(bytes)]);
        let back = to_mqtt_and_back(Some(&args), None, FORMATS[format], FORMATS[format]);
        prop_assert_eq!(back, (Some(args), None));
    }

    #[test]
    fn mqtt_json_comes_back_from_wamp_saying_the_same(value in any_value(), format in 0usize..3) {
        // `[]`, `[x]` and envelopes of one are written simpler on the way back.
        prop_assume!(!matches!(&value, Value::List(items) if items.len() < 2));
        let json = value.to_bytes(Format::Json);
        let args = PayloadRef::Bytes(&json).as_args(Codec::Auto, FORMATS[format]).unwrap();
        let back = args.as_payload(FORMATS[format]).as_bytes(Codec::Auto);
        match &value {
            Value::Bytes(bytes) => prop_assert_eq!(&*back, &bytes[..]),
            _ => prop_assert_eq!(&*back, &json[..]),
        }
    }

    #[test]
    fn bytes_that_are_no_text_come_back_from_wamp(mut bytes in prop::collection::vec(any::<u8>(), 0..40), format in 0usize..3) {
        bytes.push(0xff);
        let args = PayloadRef::Bytes(&bytes).as_args(Codec::Auto, FORMATS[format]).unwrap();
        prop_assert_eq!(&*args.as_payload(FORMATS[format]).as_bytes(Codec::Auto), &bytes[..]);
    }
}

#[test]
fn no_bytes_panic() {
    let seeds: Vec<Vec<u8>> = [
        &br#"{"args":[1,"a\u00e4",{"args":[null]}],"kwargs":{"args":[],"b":-1.5e3}}"#[..],
        br#"[{"kwargs":{}},[[]],"\u0000AQ=="]"#,
        b"\"\\u0000AQ==\"",
        b"",
        &[0xa2, 0x64, b'a', b'r', b'g', b's', 0x9f, 0x01, 0xff, 0x66, b'k', b'w', b'a', b'r', b'g', b's', 0xa0],
        &[0x82, 0xa4, b'a', b'r', b'g', b's', 0x91, 0x01, 0xa6, b'k', b'w', b'a', b'r', b'g', b's', 0x80],
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    fuzz(&seeds, |bytes| {
        for codec in [Codec::Auto, Codec::Raw, Codec::Json, Codec::Cbor, Codec::MsgPack] {
            for format in FORMATS {
                let Ok(args) = PayloadRef::Bytes(bytes).as_args(codec, format) else { continue };
                for part in [&args.args, &args.kwargs].into_iter().flatten() {
                    assert!(Raw::parse(format, part).is_ok(), "{bytes:?}");
                }
                let back = args.as_payload(format).as_bytes(codec);
                assert!(PayloadRef::Bytes(&back).as_args(codec, format).is_ok(), "{bytes:?}");
                // Unchecked parts do not hurt either.
                let unchecked = PayloadRef::Args { format, args: Some(bytes), kwargs: Some(bytes) };
                let _ = (unchecked.as_bytes(codec), unchecked.as_args(codec, Format::Cbor), unchecked.is_empty());
            }
        }
    });
}
