//! An exchange comes back as it was said.

use bytes::Bytes;

use crate::outbound::uplink::machine::wire::{Ack, Exchange, Kind, Message, NoExchange, VERSION};
use crate::types::payload::{Format, Payload, PayloadRef};

fn exchange(messages: Vec<Message>) -> Exchange {
    Exchange {
        version: VERSION,
        edge: "edge".into(),
        broker: "b".into(),
        epoch: 7,
        sequence: 40,
        messages,
        total_pending: 3,
        expected: Some(Ack { epoch: 1, next: 2 }),
        accepted_topics: Some(vec!["a/#".into()]),
        ..Exchange::default()
    }
}

#[test]
fn payloads_pass_as_they_were_published() {
    let payloads = [
        Payload::Bytes(Bytes::from_static(b"\xFF\0")),
        Payload::Args { format: Format::Json, args: Some("[1,  2]".into()), kwargs: Some("{}".into()) },
        Payload::Args { format: Format::Cbor, args: Some(vec![0x80].into()), kwargs: None },
        Payload::Args { format: Format::MsgPack, args: None, kwargs: None },
    ];
    let message = |payload: &Payload| {
        let mut message = Message { topic: "a/b".into(), qos: 1, retain: true, ..Message::of(Kind::Event) };
        message.set_payload(payload);
        message
    };
    let said = exchange(payloads.iter().map(message).collect());
    let heard = Exchange::decode(&said.encode()).unwrap();
    assert_eq!(heard, said);
    for (message, payload) in heard.messages.iter().zip(&payloads) {
        let shown = |payload: PayloadRef<'_>| format!("{payload:?}");
        assert_eq!(message.payload().map(shown), Some(shown(payload.as_ref())));
    }
}

#[test]
fn arguments_that_are_none_are_found_out() {
    for (format, args) in [(Format::Json, "{}"), (Format::Json, "[1"), (Format::MsgPack, "\u{1}"), (Format::Cbor, "")] {
        let mut message = Message::of(Kind::Event);
        message.set_payload(&Payload::Args { format, args: Some(args.as_bytes().to_vec().into()), kwargs: None });
        assert!(message.payload().is_none(), "{format} {args:?}");
    }
}

#[test]
fn keys_have_the_names_of_the_protocol() {
    let value = crate::types::value::Value::decode(Format::MsgPack, &exchange(Vec::new()).encode()).unwrap();
    for (key, expected) in [("edge", "\"edge\""), ("epoch", "7"), ("sequence", "40"), ("total_pending", "3")] {
        let found = value.get(key).map(|value| String::from_utf8(value.to_bytes(Format::Json)).unwrap());
        assert_eq!(found.as_deref(), Some(expected), "{key}");
    }
    assert_eq!(value.get("expected").and_then(|ack| ack.get("next_expected")?.as_u64()), Some(2));
}

#[test]
fn what_is_no_exchange_is_refused() {
    let other = Exchange { version: 9, ..exchange(Vec::new()) };
    assert_eq!(Exchange::decode(&other.encode()), Err(NoExchange::Version(9)));
    let good = exchange(vec![Message::of(Kind::Nothing)]).encode();
    for len in 0..good.len() {
        assert!(matches!(Exchange::decode(&good[..len]), Err(NoExchange::Malformed(_))), "{len} bytes pass");
    }
    assert!(Exchange::decode(b"\xC0").is_err());
}
