//! Frames that are no messages, and messages that are not as they have to be: each ends its session with ABORT
//! `wamp.error.protocol_violation` and nobody else's, in every serialization, batched or not.

use super::*;

const ALL: [&str; 6] = [
    "wamp.2.json",
    "wamp.2.msgpack",
    "wamp.2.cbor",
    "wamp.2.json.batched",
    "wamp.2.msgpack.batched",
    "wamp.2.cbor.batched",
];

/// Lists that are well-formed in every serialization, and no messages.
const NO_MESSAGES: [&str; 62] = [
    "{}",
    "1",
    "\"a\"",
    "null",
    "true",
    "[]",
    "[[]]",
    "[null]",
    "[true]",
    "[\"16\"]",
    "[-1]",
    "[1.5]",
    "[0]",
    "[7,1,{}]",
    "[9]",
    "[18,1,{}]",
    "[71,1,{}]",
    "[999,1,{},\"a\"]",
    "[9007199254740993]",
    // PUBLISH
    "[16]",
    "[16,1]",
    "[16,1,{}]",
    "[16,1,{},\"a\",[],{},0]",
    "[16,1,{},\"a\",[],{},0,0,0]",
    "[16,\"1\",{},\"a\"]",
    "[16,-1,{},\"a\"]",
    "[16,0,{},\"a\"]",
    "[16,9007199254740994,{},\"a\"]",
    "[16,1,[],\"a\"]",
    "[16,1,null,\"a\"]",
    "[16,1,{},1]",
    "[16,1,{},null]",
    "[16,1,{},\"a\",{}]",
    "[16,1,{},\"a\",1]",
    "[16,1,{},\"a\",[],[]]",
    "[16,1,{},\"a\",[],1]",
    // SUBSCRIBE, UNSUBSCRIBE
    "[32,1,{}]",
    "[32,1,{},\"a\",[]]",
    "[32,1,[],\"a\"]",
    "[32,1,{},[]]",
    "[34,1]",
    "[34,1,\"a\"]",
    "[34,1,2,3,4]",
    // CALL, CANCEL
    "[48,1,{}]",
    "[48,1,\"a\",{}]",
    "[48,1,{},\"a\",\"b\",{}]",
    "[49,1]",
    "[49,1,[]]",
    // REGISTER, UNREGISTER
    "[64,1,{}]",
    "[64,1,{},7]",
    "[66,1]",
    "[66,1,{}]",
    // YIELD, ERROR
    "[70,1]",
    "[70,1,[]]",
    "[70,1,{},[],[]]",
    "[8,68,1,{}]",
    "[8,68,1,{},1]",
    "[8,68,\"1\",{},\"a\"]",
    "[8,16,1,{},\"a\",[],{},1]",
    // GOODBYE, ABORT
    "[6,{}]",
    "[6,\"a\",{}]",
    "[3,{}]",
];

fn is_violation(message: &str) -> bool {
    message.starts_with("[3,{\"message\":\"") && message.ends_with("},\"wamp.error.protocol_violation\"]")
}

/// Sends bytes that break the protocol to a session of its own.
#[track_caller]
fn check_bytes(world: &World, subprotocol: &str, bytes: &[u8], what: &str) {
    let mut client = world.connect_by(subprotocol);
    client.join(HELLO);
    client.send_bytes(bytes, client.encoding.format == Format::Json);
    let received = client.received();
    assert!(received.len() == 1 && is_violation(&received[0]), "{subprotocol}, {what}: {received:?}");
    assert!(client.closed, "{subprotocol}, {what}: the connection must be closed");
}

/// Somebody else, who sees nothing of it.
fn check_bystander(world: &World) {
    let mut client = world.join();
    client.check(r#"[32,1,{},"app.t"]"#, &["[33,1,*]"]);
    client.check(r#"[16,2,{"exclude_me":false,"acknowledge":true},"app.t",[1]]"#, &["[36,*,*,{},[1]]", "[17,2,*]"]);
}

#[test]
fn what_is_no_message_breaks_the_protocol_in_every_serialization() {
    let world = World::new();
    for subprotocol in ALL {
        let encoding = Encoding::from_subprotocol(subprotocol).unwrap();
        for json in NO_MESSAGES {
            check_bytes(&world, subprotocol, &encoded(encoding, json), json);
        }
    }
    check_bystander(&world);
}

/// Bytes that are no value: format, what is wrong.
fn broken() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let json = |text: &str, what| ("json", text.as_bytes().to_vec(), what);
    let msgpack = |bytes: &[u8], what| ("msgpack", bytes.to_vec(), what);
    let cbor = |bytes: &[u8], what| ("cbor", bytes.to_vec(), what);
    vec![
        json("[16,1,{},\"a\"", "cut"),
        json("[16,1,{},\"a\"]]", "too much"),
        json("[16,1,{},\"a\"] [", "two"),
        json("[16,1,{},'a']", "quotes"),
        json("[16,1,{},\"a\",]", "a comma too many"),
        json("[016,1,{},\"a\"]", "a leading zero"),
        json("[16,1,{,},\"a\"]", "an empty entry"),
        json("[16,1,{1:2},\"a\"]", "a key that is no string"),
        json("[16,1,{},\"\\x\"]", "an unknown escape"),
        json("[16,1,{},\"\\ud800\"]", "half a surrogate pair"),
        json("[16,1,{},\"a\n\"]", "a control character"),
        json("[NaN]", "no number"),
        ("json", b"[16,1,{},\"\xff\"]".to_vec(), "no UTF-8"),
        ("json", b"\xef\xbb\xbf[16,1,{},\"a\"]".to_vec(), "a byte order mark"),
        ("json", vec![0; 4], "NUL"),
        msgpack(&[0xc1], "the reserved byte"),
        msgpack(&[0x94, 16, 1, 0x80], "cut"),
        msgpack(&[0x94, 16, 1, 0x80, 0xa5, b'a'], "a cut string"),
        msgpack(&[0x94, 16, 1, 0x80, 0xa1, 0xff], "no UTF-8"),
        msgpack(&[0x94, 16, 1, 0x80, 0xa1, b'a', 0], "too much"),
        msgpack(&[0xdd, 0xff, 0xff, 0xff, 0xff], "a list of 4 G"),
        msgpack(&[0xdf, 0xff, 0xff, 0xff, 0xff], "a map of 4 G"),
        msgpack(&[0x94, 16, 1, 0x80, 0xdb, 0xff, 0xff, 0xff, 0xff], "a string of 4 G"),
        msgpack(&[0x95, 16, 1, 0x80, 0xa1, b'a', 0xc6, 0xff, 0xff, 0xff, 0xff], "a binary of 4 G"),
        msgpack(&[0x94, 16, 1, 0xdf, 0x7f, 0xff, 0xff, 0xff, 0xa1, b'a'], "options of 2 G"),
        msgpack(&[0x94, 16, 1, 0x80, 0xc9, 0xff, 0xff, 0xff, 0xff, 1], "an ext of 4 G"),
        cbor(&[0x84, 16, 1, 0xa0], "cut"),
        cbor(&[0x84, 16, 1, 0xa0, 0x65, b'a'], "a cut string"),
        cbor(&[0x84, 16, 1, 0xa0, 0x61, 0xff], "no UTF-8"),
        cbor(&[0x84, 16, 1, 0xa0, 0x61, b'a', 0], "too much"),
        cbor(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "a list of 2^64"),
        cbor(&[0xbb, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "a map of 2^63"),
        cbor(&[0x84, 16, 1, 0xa0, 0x7b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "a string of 2^64"),
        cbor(&[0x85, 16, 1, 0xa0, 0x61, b'a', 0x5a, 0xff, 0xff, 0xff, 0xff], "a binary of 4 G"),
        cbor(&[0x9f, 16, 1, 0xa0, 0x61, b'a'], "a list without an end"),
        cbor(&[0xff], "an end without a beginning"),
        cbor(&[0x84, 16, 1, 0xa0, 0x7f, 0x41, b'a', 0xff], "a binary in a string"),
        cbor(&[0x1c], "a reserved length"),
        cbor(&[0xfc], "a reserved simple value"),
    ]
}

#[test]
fn what_is_no_value_breaks_the_protocol_batched_or_not() {
    let world = World::new();
    for (format, bytes, what) in broken() {
        check_bytes(&world, &format!("wamp.2.{format}"), &bytes, what);
        let batch = match format {
            "json" => [&bytes[..], &[0x1e]].concat(),
            _ => [&(bytes.len() as u32).to_be_bytes()[..], &bytes].concat(),
        };
        check_bytes(&world, &format!("wamp.2.{format}.batched"), &batch, what);
    }
    check_bystander(&world);
}

#[test]
fn values_that_are_nested_200_kib_deep_break_the_protocol() {
    const DEEP: usize = 200 * 1024;
    let world = World::new();
    let behind = |head: &[u8], opens: &[u8]| [head, &opens.repeat(DEEP / opens.len())].concat();
    for bytes in
        [behind(b"", b"["), behind(b"[16,1,{},\"a\",", b"["), behind(b"[16,1,", b"{\"a\":"), behind(b"", b"[{\"a\":")]
    {
        check_bytes(&world, "wamp.2.json", &bytes, "open for ever");
    }
    let closed = [behind(b"[16,1,{},\"a\",", b"["), b"]".repeat(DEEP), b"]".to_vec()].concat();
    check_bytes(&world, "wamp.2.json", &closed, "closed again");
    for bytes in
        [behind(b"", b"\x91"), behind(b"\x95\x10\x01\x80\xa1a", b"\x91"), behind(b"\x94\x10\x01", b"\x81\xa1a")]
    {
        check_bytes(&world, "wamp.2.msgpack", &bytes, "nested");
    }
    let nests: [(&[u8], &[u8]); 5] = [
        (b"", b"\x81"),
        (b"", b"\x9f"),
        (b"\x85\x10\x01\xa0\x61a", b"\x81"),
        (b"\x84\x10\x01", b"\xa1\x61a"),
        (b"\x85\x10\x01\xa0\x61a", b"\xc1"),
    ];
    for (head, opens) in nests {
        check_bytes(&world, "wamp.2.cbor", &behind(head, opens), "nested");
    }
    check_bystander(&world);
}

#[test]
fn a_batch_is_good_up_to_what_is_wrong_in_it() {
    let world = World::new();
    for (subprotocol, is_json) in ALL[3..].iter().zip([true, false, false]) {
        let encoding = Encoding::from_subprotocol(subprotocol).unwrap();
        let message = |json| encoded(encoding, json);
        let (good, bad) = (message(r#"[32,1,{},"app.t"]"#), message("[16,1]"));
        let mut client = world.connect_by(subprotocol);
        client.join(HELLO);
        client.send_bytes(&[&good[..], &bad, &good].concat(), is_json);
        let received = client.received();
        assert!(received.len() == 2 && received[0].starts_with("[33,1,") && is_violation(&received[1]), "{received:?}");
        assert!(client.closed);
    }
    check_bystander(&world);
}

#[test]
fn a_batch_with_a_wrong_length_breaks_the_protocol() {
    let world = World::new();
    for subprotocol in ["wamp.2.msgpack.batched", "wamp.2.cbor.batched"] {
        for (bytes, what) in [
            (&[0xff, 0xff, 0xff, 0xff, 1][..], "4 G"),
            (&[0, 0, 0, 9, 0x80], "more than there is"),
            (&[0, 0, 0, 0], "nothing"),
            (&[0, 0], "half a length"),
        ] {
            check_bytes(&world, subprotocol, bytes, what);
        }
    }
    check_bytes(&world, "wamp.2.json.batched", b"[16,1,{},\"a\"", "no separator, and cut");
    check_bystander(&world);
}

#[test]
fn a_bad_frame_before_hello_is_answered_too() {
    let world = World::new();
    for (subprotocol, bytes) in [("wamp.2.json", &b"[["[..]), ("wamp.2.msgpack", &[0xc1]), ("wamp.2.cbor", &[0xff])] {
        let mut client = world.connect_by(subprotocol);
        client.send_bytes(bytes, subprotocol == "wamp.2.json");
        let received = client.received();
        assert!(received.len() == 1 && is_violation(&received[0]), "{received:?}");
        assert!(client.closed);
    }
}

#[test]
fn a_wrong_option_is_an_error_of_the_request_alone() {
    let world = World::new();
    for subprotocol in ALL {
        let mut client = world.connect_by(subprotocol);
        client.join(HELLO);
        for (request, sent, kind) in [
            (1, r#"[16,1,{"acknowledge":true,"retain":"x"},"a"]"#, 16),
            (2, r#"[32,2,{"match":"x"},"a"]"#, 32),
            (3, r#"[48,3,{"timeout":-1},"a"]"#, 48),
            (4, r#"[64,4,{"invoke":[]},"a"]"#, 64),
            (5, r#"[49,5,{"mode":1}]"#, 49),
        ] {
            client.check_error(sent, kind, request, "wamp.error.invalid_argument");
        }
        for (request, sent, kind) in [(6, r#"[16,6,{"acknowledge":true},"a..b"]"#, 16), (7, r#"[32,7,{},""]"#, 32)] {
            client.check_error(sent, kind, request, "wamp.error.invalid_uri");
        }
        client.check_error("[34,8,77]", 34, 8, "wamp.error.no_such_subscription");
        client.check_error("[66,9,77]", 66, 9, "wamp.error.no_such_registration");
    }
}
