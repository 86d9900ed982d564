//! Whatever comes, in whatever order: the machine answers by the protocol, and nobody else is hurt.

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::wamp::message::decode;

const SUBPROTOCOLS: [&str; 6] = [
    "wamp.2.json",
    "wamp.2.msgpack",
    "wamp.2.cbor",
    "wamp.2.json.batched",
    "wamp.2.msgpack.batched",
    "wamp.2.cbor.batched",
];

/// Every message there is, with ids and names from so small a range that they often meet.
fn any_message() -> impl Strategy<Value = String> {
    let id = || 1..4u64;
    let name = || select(vec!["a", "a.b", "b", "a..b", "", "wamp.x", "#", "a.#"]);
    let args = || select(vec!["", ",[]", ",[1]", ",[1],{\"k\":null}", ",null,{}", ",\"\\u0000AQID\""]);
    let options = || {
        let one = select(vec![
            r#""acknowledge":true"#,
            r#""exclude_me":false"#,
            r#""retain":true"#,
            r#""get_retained":true"#,
            r#""match":"prefix""#,
            r#""match":"wildcard""#,
            r#""match":7"#,
            r#""invoke":"roundrobin""#,
            r#""concurrency":1"#,
            r#""force_reregister":true"#,
            r#""disclose_me":true"#,
            r#""disclose_caller":true"#,
            r#""receive_progress":true"#,
            r#""progress":true"#,
            r#""timeout":5"#,
            r#""mode":"kill""#,
            r#""mode":"skip""#,
            r#""eligible":[1]"#,
            r#""user_properties":{"a":["b","c"]}"#,
            r#""rkey":"r""#,
            r#""nkey":"n""#,
            r#""runmode":"partition""#,
            r#""ppt_keyid":"k""#,
            r#""enc_algo":"x_a""#,
            r#""ppt_scheme":"x_a""#,
            r#""x":null"#,
        ]);
        proptest::collection::vec(one, 0..3).prop_map(|all| format!("{{{}}}", all.join(",")))
    };
    let with_options = |kinds: &[u32]| {
        (select(kinds.to_vec()), id(), options(), name(), args())
            .prop_map(|(kind, id, options, name, args)| format!(r#"[{kind},{id},{options},"{name}"{args}]"#))
    };
    prop_oneof![
        8 => with_options(&[16, 48]),
        6 => (select(vec![32, 64]), id(), options(), name())
            .prop_map(|(kind, id, options, name)| format!(r#"[{kind},{id},{options},"{name}"]"#)),
        4 => (select(vec![34, 66]), id(), id()).prop_map(|(kind, id, other)| format!("[{kind},{id},{other}]")),
        4 => (id(), options(), args()).prop_map(|(id, options, args)| format!("[70,{id},{options}{args}]")),
        2 => (id(), args()).prop_map(|(id, args)| format!(r#"[8,68,{id},{{}},"com.error"{args}]"#)),
        2 => (id(), options()).prop_map(|(id, options)| format!("[49,{id},{options}]")),
        2 => (id(), name(), args()).prop_map(|(id, name, args)| {
            format!(r#"[48,{id},{{}},"wamp.session.add_testament",["{name}"{args}],{{"scope":"detached"}}]"#)
        }),
        1 => id().prop_map(|id| format!(r#"[48,{id},{{}},"wamp.session.flush_testaments"]"#)),
        2 => id().prop_map(|id| format!(r#"[8,68,{id},{{}},"wamp.error.unavailable"]"#)),
        1 => Just(r#"[6,{},"wamp.close.close_realm"]"#.to_owned()),
        1 => Just(HELLO.to_owned()),
        1 => select(vec!["[2,1,{}]", "[3,{},\"a\"]", "[5,\"x\",{}]", "[36,1,1,{}]", "[50,1,{}]", "[17,1,1]"])
            .prop_map(str::to_owned),
    ]
}

/// What was written to the client are whole frames of messages, and the last one tells if it is to be closed.
fn check_output(client: &mut Client) {
    let mut last = String::new();
    for frame in frames(&client.written()) {
        for message in client.encoding.messages(&frame) {
            let message = message.expect("a batch");
            decode(client.encoding.format, message).unwrap_or_else(|error| panic!("{error}: {message:x?}"));
        }
        last = messages(client.encoding, &frame).pop().unwrap_or_default();
    }
    if client.closed {
        assert!(last.is_empty() || last.starts_with("[3,"), "{last}");
    }
}

/// A bystander's subscription, registration and calls work as before.
fn check_bystander(bystander: &mut Client) {
    bystander.received();
    bystander.check(r#"[16,9,{"exclude_me":false},"by.stander",[1]]"#, &["[36,*,*,{},[1]]"]);
    bystander.send(r#"[48,9,{},"by.stander"]"#);
    let invocation = bystander.received().remove(0);
    let id = invocation.split(',').nth(1).unwrap().to_owned();
    bystander.check(&format!("[70,{id},{{}}]"), &["[50,9,{}]"]);
}

fn bystander(world: &World) -> Client {
    let mut client = world.join();
    client.send(r#"[32,1,{},"by.stander"]"#);
    client.send(r#"[64,1,{},"by.stander"]"#);
    assert_eq!(client.received().len(), 2);
    client
}

proptest! {
    #[test]
    fn any_messages_in_any_order(
        script in proptest::collection::vec((0..3usize, any_message()), 1..60),
        protocols in proptest::array::uniform3(select(SUBPROTOCOLS.to_vec())),
    ) {
        let mut world = World::new();
        let mut bystander = bystander(&world);
        let mut clients = protocols.map(|protocol| world.connect_by(protocol));
        for (step, (who, message)) in script.iter().enumerate() {
            if clients[*who].closed {
                clients[*who] = world.connect_by(protocols[*who]);
            }
            // Most have a session most of the time.
            if matches!(clients[*who].gate.state, crate::wamp::session::State::Start { .. }) && step % 4 != 0 {
                clients[*who].send(HELLO);
                check_output(&mut clients[*who]);
            }
            clients[*who].send(message);
            world.tick(1);
            clients.iter_mut().for_each(check_output);
        }
        check_bystander(&mut bystander);
        drop(clients);
        let realm = world.node.realm("realm1").unwrap();
        prop_assert_eq!((realm.sessions_len(), realm.subscriptions_len()), (1, 1));
        let dealer = realm.dealer.lock();
        prop_assert_eq!((dealer.registration_count(), dealer.calls_under_way()), (1, 0));
    }

    #[test]
    fn any_bytes(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        protocol in select(SUBPROTOCOLS.to_vec()),
        joined in any::<bool>(),
    ) {
        let world = World::new();
        let mut bystander = bystander(&world);
        let mut client = world.connect_by(protocol);
        if joined {
            client.join(HELLO);
        }
        let text = client.encoding.format == Format::Json;
        client.send_bytes(&bytes, text);
        check_output(&mut client);
        drop(client);
        check_bystander(&mut bystander);
    }

    #[test]
    fn any_flipped_bit(message in any_message(), protocol in select(SUBPROTOCOLS.to_vec()), at in any::<Index>(), bit in 0..8u8) {
        let world = World::new();
        let mut bystander = bystander(&world);
        let mut client = world.connect_by(protocol);
        client.join(HELLO);
        let mut bytes = encoded(client.encoding, &message);
        let at = at.index(bytes.len());
        bytes[at] ^= 1u8 << bit;
        let text = client.encoding.format == Format::Json;
        client.send_bytes(&bytes, text);
        check_output(&mut client);
        drop(client);
        check_bystander(&mut bystander);
    }
}
