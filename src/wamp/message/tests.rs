use proptest::prelude::*;

use super::*;
use crate::types::payload::{Codec, Format};
use crate::types::value::Value;
use crate::types::value::tests::{FORMATS, any_value, fuzz};

/// A row of a table in `tests/vectors`: a message in the formats in which the row has it, and what it says.
struct Row {
    row: Value,
}

impl Row {
    fn table(text: &str) -> Vec<Row> {
        let rows: Value = serde_json::from_str(text).expect("a JSON table");
        rows.as_list().expect("rows").iter().map(|row| Row { row: row.clone() }).collect()
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.row.get(key).and_then(Value::as_str)
    }

    fn message(&self, format: Format) -> Option<Vec<u8>> {
        match format {
            Format::Json => self.text("json").map(|text| text.as_bytes().to_owned()),
            Format::MsgPack => self.text("msgpack").map(from_hex),
            Format::Cbor => self.text("cbor").map(from_hex),
        }
    }
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("ASCII"));
    digits.map(|pair| u8::from_str_radix(pair, 16).expect("hex")).collect()
}

fn messages() -> Vec<Row> {
    Row::table(include_str!("../../../tests/vectors/wamp-messages.json"))
}

fn encoded(message: &Message<'_>, format: Format) -> Vec<u8> {
    let mut out = Vec::new();
    encode(message, format, &mut out);
    out
}

fn decoded(format: Format, bytes: &[u8]) -> Message<'_> {
    decode(format, bytes).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes)))
}

/// What a message says, under the names that the tables use.
fn attributes(message: &Message<'_>) -> Vec<(String, Value)> {
    let mut all: Vec<(&str, Value)> = Vec::new();
    let dict = |dict: &Dict<'_>| Value::Map(dict.to_map());
    let mut payload = None;
    match message {
        Message::Hello { realm, details } => all.extend([("realm", realm.clone().into()), ("details", dict(details))]),
        Message::Welcome { session, details } => {
            all.extend([("session", session.0.into()), ("details", dict(details))]);
        }
        Message::Abort { details, reason, payload: arguments } => {
            all.extend([("details", dict(details)), ("reason", reason.clone().into())]);
            payload = Some(*arguments);
        }
        Message::Challenge { method, extra } => all.extend([("method", method.clone().into()), ("extra", dict(extra))]),
        Message::Authenticate { signature, extra } => {
            all.extend([("signature", signature.clone().into()), ("extra", dict(extra))]);
        }
        Message::Goodbye { details, reason } => {
            all.extend([("details", dict(details)), ("reason", reason.clone().into())])
        }
        Message::Error { request_kind, request, details, error, payload: arguments } => {
            all.extend([("request_type", request_kind.code().into()), ("request", request.0.into())]);
            all.extend([("details", dict(details)), ("error", error.clone().into())]);
            payload = Some(*arguments);
        }
        Message::Publish { request, options, topic, payload: arguments } => {
            all.extend([("request", request.0.into()), ("options", dict(options)), ("topic", topic.clone().into())]);
            payload = Some(*arguments);
        }
        Message::Published { request, publication } => {
            all.extend([("request", request.0.into()), ("publication", publication.0.into())]);
        }
        Message::Subscribe { request, options, topic } => {
            all.extend([("request", request.0.into()), ("options", dict(options)), ("topic", topic.clone().into())]);
        }
        Message::Subscribed { request, subscription } | Message::Unsubscribe { request, subscription } => {
            all.extend([("request", request.0.into()), ("subscription", subscription.0.into())]);
        }
        Message::Unsubscribed { request, details } | Message::Unregistered { request, details } => {
            all.extend([("request", request.0.into()), ("details", dict(details))]);
        }
        Message::Event { subscription, publication, details, payload: arguments } => {
            all.extend([("subscription", subscription.0.into()), ("publication", publication.0.into())]);
            all.push(("details", dict(details)));
            payload = Some(*arguments);
        }
        Message::Call { request, options, procedure, payload: arguments } => {
            all.extend([("request", request.0.into()), ("options", dict(options))]);
            all.push(("procedure", procedure.clone().into()));
            payload = Some(*arguments);
        }
        Message::Cancel { request, options } | Message::Interrupt { request, options } => {
            all.extend([("request", request.0.into()), ("options", dict(options))]);
        }
        Message::Result { request, details, payload: arguments } => {
            all.extend([("request", request.0.into()), ("details", dict(details))]);
            payload = Some(*arguments);
        }
        Message::Register { request, options, procedure } => {
            all.extend([("request", request.0.into()), ("options", dict(options))]);
            all.push(("procedure", procedure.clone().into()));
        }
        Message::Registered { request, registration } | Message::Unregister { request, registration } => {
            all.extend([("request", request.0.into()), ("registration", registration.0.into())]);
        }
        Message::Invocation { request, registration, details, payload: arguments } => {
            all.extend([("request", request.0.into()), ("registration", registration.0.into())]);
            all.push(("details", dict(details)));
            payload = Some(*arguments);
        }
        Message::Yield { request, options, payload: arguments } => {
            all.extend([("request", request.0.into()), ("options", dict(options))]);
            payload = Some(*arguments);
        }
    }
    if let Some(PayloadRef::Args { format, args, kwargs }) = payload {
        let parts = [("args", args), ("kwargs", kwargs)];
        all.extend(
            parts.into_iter().filter_map(|(name, part)| Some((name, Value::decode(format, part?).expect("checked")))),
        );
    }
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Maps without order.
fn sorted(value: &Value) -> Value {
    match value {
        Value::List(items) => Value::List(items.iter().map(sorted).collect()),
        Value::Map(entries) => {
            let mut entries: Vec<_> = entries.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
            entries.sort_by(|left, right| left.0.cmp(&right.0));
            Value::Map(entries)
        }
        other => other.clone(),
    }
}

#[test]
fn every_message_is_decoded_from_every_format() {
    let rows = messages();
    let mut kinds = Vec::new();
    for row in &rows {
        for format in FORMATS {
            let bytes = row.message(format).expect("all formats");
            let message = decoded(format, &bytes);
            let expected = sorted(row.row.get("is").expect("attributes"));
            assert_eq!(sorted(&Value::Map(attributes(&message))), expected, "{:?} in {format}", row.text("name"));
            assert!(row.text("name").is_some_and(|name| name.starts_with(message.kind().name())));
            assert_eq!(Kind::from_code(message.kind().code()), Some(message.kind()));
            kinds.push(message.kind());
        }
    }
    kinds.dedup();
    assert_eq!((0..100).filter_map(Kind::from_code).filter(|kind| !kinds.contains(kind)).count(), 0, "all kinds");
}

#[test]
fn every_message_is_encoded_from_every_format_to_every_other() {
    for row in messages() {
        for from in FORMATS {
            let bytes = row.message(from).expect("all formats");
            let message = decoded(from, &bytes);
            for to in FORMATS {
                let expected = row.message(to).expect("all formats");
                assert_eq!(encoded(&message, to), expected, "{:?} from {from} to {to}", row.text("name"));
            }
        }
    }
}

#[test]
fn what_may_be_written_otherwise_says_the_same() {
    for row in Row::table(include_str!("../../../tests/vectors/wamp-written-otherwise.json")) {
        let canonical = row.text("canonical").expect("a JSON message").as_bytes();
        for format in FORMATS {
            let Some(bytes) = row.message(format) else { continue };
            let message = decoded(format, &bytes);
            for other in FORMATS.into_iter().filter(|other| *other != format) {
                let expected = encoded(&decoded(Format::Json, canonical), other);
                assert_eq!(encoded(&message, other), expected, "{:?} in {format}", row.text("name"));
            }
        }
    }
}

#[test]
fn what_is_no_message_is_refused_with_the_reason() {
    for row in Row::table(include_str!("../../../tests/vectors/wamp-refused.json")) {
        for format in FORMATS {
            let Some(bytes) = row.message(format) else { continue };
            let error = decode(format, &bytes).err().map(|error| error.to_string());
            assert_eq!(error.as_deref(), row.text("error"), "{format} {}", String::from_utf8_lossy(&bytes));
        }
    }
}

#[test]
fn absent_and_empty_arguments_are_told_apart() {
    let parts = |text: &'static str| match decoded(Format::Json, text.as_bytes()) {
        Message::Publish { payload: PayloadRef::Args { args, kwargs, .. }, .. } => (args, kwargs),
        other => panic!("{other:?}"),
    };
    assert_eq!(parts(r#"[16,1,{},"a"]"#), (None, None));
    assert_eq!(parts(r#"[16,1,{},"a",[]]"#), (Some(&b"[]"[..]), None));
    assert_eq!(parts(r#"[16,1,{},"a",null,{}]"#), (None, Some(&b"{}"[..])));
    assert_eq!(parts(r#"[16,1,{},"a", [ 1 ] , {"b" :2} ]"#), (Some(&b"[ 1 ]"[..]), Some(&br#"{"b" :2}"#[..])));
}

#[test]
fn null_undefined_and_ext_0_options_are_absent() {
    let expected = vec![("b".to_owned(), Value::Int(1))];
    let in_format = [
        (Format::Json, br#"[70,1,{"a":null,"b":1}]"#.to_vec()),
        (Format::MsgPack, from_hex("93460183a161c0a16201a163d40000")),
        (Format::Cbor, from_hex("83184601a36161f76162016163f6")),
    ];
    for (format, bytes) in in_format {
        let Message::Yield { options, .. } = decoded(format, &bytes) else { panic!("a YIELD") };
        assert_eq!(options.to_map(), expected, "{format}");
        assert_eq!(options.get("b").and_then(|value| value.as_u64()), Some(1));
        assert_eq!(options.get("a"), None);
        assert_eq!(options.entries().count(), 1);
        assert!(!options.is_empty());
    }
}

#[test]
fn of_duplicate_options_the_last_counts() {
    let Message::Yield { options, .. } = decoded(Format::Json, br#"[70,1,{"a":1,"a":2}]"#) else { panic!("a YIELD") };
    assert_eq!(options.get("a").and_then(|value| value.as_u64()), Some(2));
}

#[test]
fn payload_bytes_are_sent_as_arguments() {
    let event = |payload| Message::Event {
        subscription: SubscriptionId(1),
        publication: PublicationId(2),
        details: Dict::Empty,
        payload,
    };
    let json = |payload| String::from_utf8(encoded(&event(payload), Format::Json)).unwrap();
    assert_eq!(json(PayloadRef::NONE), "[36,1,2,{}]");
    assert_eq!(json(PayloadRef::Bytes(br#"{"t":1}"#)), r#"[36,1,2,{},[{"t":1}]]"#);
    assert_eq!(json(PayloadRef::Bytes(br#"{"kwargs":{"t":1}}"#)), r#"[36,1,2,{},[],{"t":1}]"#);
    assert_eq!(json(PayloadRef::Bytes(b"hello")), r#"[36,1,2,{},["hello"]]"#);
}

#[test]
fn details_are_written_in_the_format_they_are_sent_in() {
    for format in FORMATS {
        let mut writer = DictWriter::new(format);
        writer.text("topic", "a.\"b");
        writer.uint("publisher", 1 << 40);
        writer.bool("retained", true);
        writer.binary("correlation_data", &[1, 2]);
        writer.value("list", &Value::List(vec![Value::Null]));
        writer.raw("raw", crate::types::value::Raw::checked(Format::Json, b"[1]"));
        let details = writer.finish();
        let expected = [
            ("topic", Value::from("a.\"b")),
            ("publisher", Value::Int(1 << 40)),
            ("retained", true.into()),
            ("correlation_data", Value::Bytes(vec![1, 2])),
            ("list", Value::List(vec![Value::Null])),
            ("raw", Value::List(vec![Value::Int(1)])),
        ];
        assert_eq!(details, Dict::new(expected.clone()));
        for target in FORMATS {
            let bytes = encoded(
                &Message::Result { request: RequestId(1), details: details.clone(), payload: PayloadRef::NONE },
                target,
            );
            let Message::Result { details, .. } = decoded(target, &bytes) else { panic!("a RESULT") };
            assert_eq!(Value::Map(details.to_map()), Value::map(expected.clone()));
        }
        assert!(DictWriter::new(format).finish().is_empty());
        let mut many = DictWriter::new(format);
        (0..20).for_each(|number| many.uint(&format!("k{number}"), number));
        assert_eq!(many.finish().to_map().len(), 20, "more than a short map holds");
    }
}

proptest! {
    #[test]
    fn arguments_survive_every_way_through_the_formats(
        args in prop::collection::vec(any_value(), 1..4),
        kwargs in prop::collection::vec((".{0,5}", any_value()), 1..3),
        formats in prop::collection::vec(0usize..3, 1..4),
    ) {
        let (args, kwargs) = (Value::List(args), Value::Map(kwargs));
        let mut format = Format::Json;
        let (mut args_bytes, mut kwargs_bytes) = (args.to_bytes(format), kwargs.to_bytes(format));
        for next in formats {
            let payload = PayloadRef::Args { format, args: Some(&args_bytes), kwargs: Some(&kwargs_bytes) };
            let call = Message::Call { request: RequestId(1), options: Dict::Empty, procedure: "a.b".into(), payload };
            format = FORMATS[next];
            let bytes = encoded(&call, format);
            let Message::Call { payload, .. } = decoded(format, &bytes) else { panic!("a CALL") };
            let again = payload.as_args(Codec::Auto, format).unwrap();
            (args_bytes, kwargs_bytes) = (again.args.unwrap().into_owned(), again.kwargs.unwrap().into_owned());
        }
        prop_assert_eq!(Value::decode(format, &args_bytes).unwrap(), args);
        prop_assert_eq!(Value::decode(format, &kwargs_bytes).unwrap(), kwargs);
    }
}

/// Decodes and, if it is a message, does what a router does with it.
fn use_anything(format: Format, bytes: &[u8]) {
    let Ok(message) = decode(format, bytes) else { return };
    for target in FORMATS {
        let again = encoded(&message, target);
        let again = decode(target, &again).unwrap_or_else(|error| panic!("{error}: {bytes:?}"));
        assert_eq!(again.kind(), message.kind());
    }
    assert!(attributes(&message).len() >= 2);
}

#[test]
fn no_truncation_of_a_message_is_one() {
    for row in messages() {
        for format in FORMATS {
            let bytes = row.message(format).expect("all formats");
            for end in 0..bytes.len() {
                assert!(decode(format, &bytes[..end]).is_err(), "{:?} {format} {end}", row.text("name"));
            }
            assert!(decode(format, &[&bytes[..], b"1"].concat()).is_err());
        }
    }
}

#[test]
fn no_flipped_bit_panics() {
    for row in messages() {
        for format in FORMATS {
            let bytes = row.message(format).expect("all formats");
            for bit in 0..bytes.len() * 8 {
                let mut bytes = bytes.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                use_anything(format, &bytes);
            }
        }
    }
}

#[test]
fn broken_messages_do_not_panic() {
    for format in FORMATS {
        let seeds: Vec<_> = messages().iter().filter_map(|row| row.message(format)).collect();
        fuzz(&seeds, |bytes| use_anything(format, bytes));
    }
}
