//! HELLO to GOODBYE: who comes in, and what no session may say.

use argon2::password_hash::{PasswordHasher, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::*;
use crate::node::link::End;
use crate::node::metrics::Protocol;
use crate::node::users::{Salted, WampCra};
use crate::types::value::Value;

pub(super) fn hello(details: &str) -> String {
    format!(r#"[1,"realm1",{{"roles":{{"caller":{{}}}},{details}}}]"#)
}

/// A hash that costs next to nothing.
pub(super) fn hash(password: &str) -> String {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap());
    let salt = SaltString::encode_b64(b"salt of a test").unwrap();
    argon2.hash_password(password.as_bytes(), &salt).unwrap().to_string()
}

fn with_password(name: &str, password: &str) -> UserEntry {
    let credentials = Credentials { password_hash: Some(hash(password)), ..Credentials::default() };
    UserEntry { credentials, ..UserEntry::new(name, "user") }
}

fn with_key(name: &str, wampcra: Option<WampCra>) -> UserEntry {
    UserEntry { credentials: Credentials { wampcra, ..Credentials::default() }, ..UserEntry::new(name, "user") }
}

/// A node with users: alice (ticket), bob (salted wampcra), carol (wampcra), dave (ticket, of another realm), erin (ticket, of a
/// role that is not there).
fn with_users(anonymous: bool) -> World {
    let cra = |key: &str, salted| Some(WampCra { key: key.to_owned(), salted });
    let salted = Salted { salt: "salt".to_owned(), iterations: 100, keylen: 32 };
    let bob = cra(&salted.derive("b0b"), Some(salted.clone()));
    Setup {
        users: vec![
            with_password("alice", "s3cret"),
            with_key("bob", bob),
            with_key("carol", cra("c4rol", None)),
            UserEntry { realms: Some(vec!["realm2".into()]), ..with_password("dave", "d4ve") },
            UserEntry { role: "ghost".into(), ..with_password("erin", "er1n") },
        ],
        roles: vec![Role::unrestricted("anonymous"), Role::unrestricted("user")],
        anonymous,
        ..Setup::default()
    }
    .build()
}

/// The extra of the CHALLENGE that answers this HELLO.
pub(super) fn challenged(client: &mut Client, details: &str, method: &str) -> Value {
    client.send(&hello(details));
    let received = client.received();
    let challenge = Value::decode(Format::Json, received[0].as_bytes()).unwrap();
    let challenge = challenge.as_list().unwrap();
    assert_eq!((challenge[0].as_u64(), challenge[1].as_str()), (Some(4), Some(method)), "{received:?}");
    challenge[2].clone()
}

pub(super) fn hmac_of(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut hmac = <Hmac<Sha256> as Mac>::new_from_slice(key).unwrap();
    hmac.update(text);
    hmac.finalize().into_bytes().into()
}

pub(super) fn sign(key: &str, challenge: &str) -> String {
    BASE64.encode(hmac_of(key.as_bytes(), challenge.as_bytes()))
}

#[track_caller]
pub(super) fn check_aborted(client: &mut Client, sent: &str, reason: &str) {
    client.send(sent);
    let received = client.received();
    let ends = format!(r#"}},"{reason}"]"#);
    assert!(
        received.len() == 1 && received[0].starts_with(r#"[3,{"message":""#) && received[0].ends_with(&ends),
        "{received:?}"
    );
    assert!(client.closed);
}

#[test]
fn welcome_tells_who_one_is_and_what_the_broker_can_do() {
    let world = World::new();
    world.connect().check(
        r#"[1,"realm1",{"roles":{"caller":{}}}]"#,
        &[concat!(
            r#"[2,*,{"realm":"realm1","authid":"anonymous","authrole":"anonymous","authmethod":"anonymous","#,
            r#""authprovider":"static","agent":"fennec-"#,
            env!("CARGO_PKG_VERSION"),
            r#"","roles":{"broker":{"features":{"event_history":true,"event_retention":true,"pattern_based_subscription":true,"#,
            r#""payload_passthru_mode":true,"publication_trustlevels":true,"publisher_exclusion":true,"publisher_identification":true,"#,
            r#""session_meta_api":true,"sharded_subscription":true,"subscriber_blackwhite_listing":true,"subscription_meta_api":true,"subscription_revocation":true}},"#,
            r#""dealer":{"features":{"call_canceling":true,"call_reroute":true,"call_timeout":true,"call_trustlevels":true,"caller_identification":true,"#,
            r#""pattern_based_registration":true,"payload_passthru_mode":true,"progressive_call_invocations":true,"progressive_call_results":true,"#,
            r#""registration_meta_api":true,"registration_revocation":true,"session_meta_api":true,"#,
            r#""sharded_registration":true,"shared_registration":true,"testament_meta_api":true}}}}]"#
        )],
    );
}

#[test]
fn session_ids_differ() {
    let world = World::new();
    assert_ne!(world.join().session, world.join().session);
}

#[test]
fn every_serializer_opens_a_session() {
    let world = World::new();
    let names = ["json", "msgpack", "cbor", "json.batched", "msgpack.batched", "cbor.batched"];
    for name in names {
        let mut client = world.connect_by(&format!("wamp.2.{name}"));
        client.join(HELLO);
        client.check(r#"[32,1,{},"a"]"#, &["[33,1,*]"]);
    }
}

#[test]
fn answers_end_with_the_separator_that_the_client_uses() {
    let world = World::new();
    for separator in [0x1e, 0x18] {
        let mut client = world.connect_by("wamp.2.json.batched");
        let batch = [HELLO.as_bytes(), &[separator], br#"[32,1,{},"a"]"#, &[separator]].concat();
        client.send_bytes(&batch, true);
        let frames = frames(&client.written());
        assert_eq!(frames.len(), 2);
        for frame in frames {
            assert_eq!(frame.last(), Some(&separator));
        }
    }
}

#[test]
fn all_messages_of_a_batch_are_handled() {
    let world = World::new();
    let mut client = world.connect_by("wamp.2.json.batched");
    client.join(HELLO);
    client.send_bytes(b"[32,1,{},\"a\"]\x1e[32,2,{},\"b\"]\x1e[16,3,{\"exclude_me\":false},\"b\"]", true);
    client.expect(&["[33,1,1]", "[33,2,2]", "[36,2,*,{}]"]);
    client.send_bytes(b"", true);
    client.expect(&[r#"[3,{"message":"a batch without messages"},"wamp.error.protocol_violation"]"#]);
}

#[test]
fn hello_needs_a_role() {
    let world = World::new();
    for details in ["{}", r#"{"roles":null}"#, r#"{"roles":{}}"#, r#"{"roles":["caller"]}"#] {
        world.connect().check_violation(
            &format!(r#"[1,"realm1",{details}]"#),
            "HELLO: details.roles must be a dict with one role at least",
        );
    }
}

#[test]
fn details_of_hello_have_their_types() {
    let world = World::new();
    for (details, text) in [
        (r#""authid":1"#, "HELLO: option authid must be a string"),
        (r#""authmethods":"ticket""#, "HELLO: option authmethods must be a list of strings"),
        (r#""authmethods":[1]"#, "HELLO: option authmethods must be a list of strings"),
    ] {
        world.connect().check_violation(&hello(details), text);
    }
    world.connect().join(&hello(r#""authid":null,"authmethods":null,"authextra":{"x":1},"x":"y""#));
}

#[test]
fn unknown_realms_are_refused_unless_they_are_made_on_demand() {
    let hello = r#"[1,"other",{"roles":{"caller":{}}}]"#;
    check_aborted(&mut World::new().connect(), hello, "wamp.error.no_such_realm");
    let world = Setup { auto_realms: true, ..Setup::default() }.build();
    world.connect().join(hello);
    assert!(world.node.realms().iter().any(|realm| &*realm.name == "other"));
}

#[test]
fn a_realm_is_a_uri() {
    let world = Setup { auto_realms: true, ..Setup::default() }.build();
    for realm in ["", "a b", "a..b", "#", "%"] {
        let hello = format!(r#"[1,"{realm}",{{"roles":{{"caller":{{}}}}}}]"#);
        check_aborted(&mut world.connect(), &hello, "wamp.error.invalid_uri");
    }
    assert_eq!(world.node.realms().len(), 1, "no realm was made");
}

#[test]
fn realms_do_not_hear_each_other() {
    let world = Setup { auto_realms: true, ..Setup::default() }.build();
    let (mut here, mut there) = (world.join(), world.connect());
    there.join(r#"[1,"other",{"roles":{"subscriber":{}}}]"#);
    there.check(r#"[32,1,{},"a"]"#, &["[33,1,1]"]);
    here.check(r#"[16,1,{},"a"]"#, &[]);
    there.expect(&[]);
}

#[test]
fn anonymous_clients_come_in_only_where_they_may() {
    let world = with_users(false);
    for details in [r#""x":1"#, r#""authmethods":["anonymous"]"#, r#""authmethods":[],"authid":"alice""#] {
        check_aborted(&mut world.connect(), &hello(details), "wamp.error.authentication_required");
    }
    let world = with_users(true);
    for details in [r#""x":1"#, r#""authmethods":["anonymous"],"authid":"alice""#] {
        let mut client = world.connect();
        client.send(&hello(details));
        let welcome = client.received().remove(0);
        assert!(
            welcome.contains(r#""authid":"anonymous","authrole":"anonymous","authmethod":"anonymous""#),
            "{welcome}"
        );
    }
}

#[test]
fn without_users_nobody_is_asked_for_a_secret_and_no_method_is_told_that_was_not_offered() {
    for (offered, told) in [(r#""ticket","wampcra""#, false), (r#""ticket","anonymous""#, true), ("", true)] {
        let mut client = World::new().connect();
        client.send(&hello(&format!(r#""authmethods":[{offered}],"authid":"joe""#)));
        let welcome = client.received().remove(0);
        assert!(welcome.contains(r#""authid":"anonymous","authrole":"anonymous","auth"#), "{welcome}");
        assert_eq!(welcome.contains(r#""authmethod":"anonymous""#), told, "{welcome}");
    }
}

#[test]
fn methods_that_cannot_be_used_are_refused() {
    let world = with_users(false);
    for details in [
        r#""authmethods":["cryptosign"],"authid":"alice""#,
        r#""authmethods":["ticket"]"#,
        r#""authmethods":["wampcra"],"authid":"alice""#,
        r#""authmethods":["ticket"],"authid":"bob""#,
    ] {
        check_aborted(&mut world.connect(), &hello(details), "wamp.error.no_matching_auth_method");
    }
}

#[test]
fn the_first_method_that_can_be_used_is_taken() {
    let world = with_users(true);
    challenged(&mut world.connect(), r#""authmethods":["scram","wampcra","ticket"],"authid":"alice""#, "ticket");
    challenged(&mut world.connect(), r#""authmethods":["ticket","wampcra"],"authid":"bob""#, "wampcra");
    world.connect().join(&hello(r#""authmethods":["cryptosign","anonymous","ticket"],"authid":"alice""#));
}

#[test]
fn a_ticket_is_the_password() {
    let world = with_users(false);
    // The second time it is remembered.
    for _ in 0..2 {
        let mut client = world.connect();
        let extra = challenged(&mut client, r#""authmethods":["ticket"],"authid":"alice""#, "ticket");
        assert_eq!(extra, Value::Map(Vec::new()));
        client.send(r#"[5,"s3cret",{}]"#);
        let welcome = client.received().remove(0);
        assert!(
            welcome.contains(r#""authid":"alice","authrole":"user","authmethod":"ticket","authprovider":"static""#)
        );
    }
}

#[test]
fn nothing_tells_a_wrong_secret_from_an_unknown_user() {
    let world = with_users(false);
    let mut last_words = Vec::new();
    for (authid, method) in [("alice", "ticket"), ("nobody", "ticket"), ("bob", "wampcra"), ("nobody", "wampcra")] {
        let mut client = world.connect();
        let details = format!(r#""authmethods":["{method}"],"authid":"{authid}""#);
        let extra = challenged(&mut client, &details, method);
        assert_eq!(extra.get("salt").is_some(), method == "wampcra");
        client.send(r#"[5,"wrong",{}]"#);
        assert!(client.closed);
        last_words.push(client.received());
    }
    last_words.dedup();
    let abort = r#"[3,{"message":"the authid or its secret is wrong"},"wamp.error.authentication_failed"]"#;
    assert_eq!(last_words, [[abort]]);
}

#[test]
fn a_wampcra_client_signs_its_challenge() {
    let world = with_users(false);
    for (authid, secret) in [("bob", "b0b"), ("carol", "c4rol")] {
        let mut client = world.connect();
        let details = format!(r#""authmethods":["wampcra"],"authid":"{authid}""#);
        let extra = challenged(&mut client, &details, "wampcra");
        let text = extra.get("challenge").and_then(Value::as_str).unwrap();
        let challenge = Value::decode(Format::Json, text.as_bytes()).unwrap();
        assert_eq!(challenge.get("authid").and_then(Value::as_str), Some(authid));
        assert_eq!(challenge.get("authmethod").and_then(Value::as_str), Some("wampcra"));
        assert_eq!(challenge.get("timestamp").and_then(Value::as_str), Some("2023-11-14T22:13:20.000Z"));
        let number = |name| extra.get(name).and_then(Value::as_u64);
        let key = match extra.get("salt").and_then(Value::as_str) {
            Some(salt) => {
                let iterations = number("iterations").unwrap() as u32;
                Salted { salt: salt.to_owned(), iterations, keylen: number("keylen").unwrap() as u32 }.derive(secret)
            }
            None => secret.to_owned(),
        };
        assert_eq!(extra.get("salt").is_some(), authid == "bob");
        client.join(&format!(r#"[5,"{}",{{}}]"#, sign(&key, text)));
        assert_eq!(Some(client.session), challenge.get("session").and_then(Value::as_u64));
    }
}

#[test]
fn a_signature_does_for_its_own_challenge_only() {
    let world = with_users(false);
    let details = r#""authmethods":["wampcra"],"authid":"carol""#;
    let (mut first, mut second) = (world.connect(), world.connect());
    let old = challenged(&mut first, details, "wampcra");
    challenged(&mut second, details, "wampcra");
    let signature = sign("c4rol", old.get("challenge").and_then(Value::as_str).unwrap());
    check_aborted(&mut second, &format!(r#"[5,"{signature}",{{}}]"#), "wamp.error.authentication_failed");
}

#[test]
fn users_enter_their_realms_only_and_need_a_role() {
    let world = with_users(false);
    for (authid, ticket, reason) in
        [("dave", "d4ve", "wamp.error.not_authorized"), ("erin", "er1n", "wamp.error.no_such_role")]
    {
        let mut client = world.connect();
        challenged(&mut client, &format!(r#""authmethods":["ticket"],"authid":"{authid}""#), "ticket");
        check_aborted(&mut client, &format!(r#"[5,"{ticket}",{{}}]"#), reason);
    }
}

#[test]
fn nothing_but_authenticate_answers_a_challenge() {
    let world = with_users(false);
    for sent in [r#"[16,1,{},"a"]"#, HELLO, r#"[6,{},"wamp.close.close_realm"]"#] {
        let mut client = world.connect();
        challenged(&mut client, r#""authmethods":["ticket"],"authid":"alice""#, "ticket");
        check_aborted(&mut client, sent, "wamp.error.protocol_violation");
    }
    let mut client = world.connect();
    challenged(&mut client, r#""authmethods":["ticket"],"authid":"alice""#, "ticket");
    client.check(r#"[3,{},"wamp.error.authentication_failed"]"#, &[]);
    assert!(client.closed, "ABORT is not answered");
}

#[test]
fn nothing_may_follow_a_ticket_before_it_is_checked() {
    let world = with_users(false);
    let mut client = world.connect_by("wamp.2.json.batched");
    challenged(&mut client, r#""authmethods":["ticket"],"authid":"alice""#, "ticket");
    client.send_bytes(b"[5,\"s3cret\",{}]\x1e[16,1,{},\"a\"]\x1e", true);
    client.expect(&[concat!(
        r#"[3,{"message":"PUBLISH is not allowed during authentication"},"#,
        r#""wamp.error.protocol_violation"]"#
    )]);
}

#[test]
fn who_says_nothing_for_too_long_is_let_go() {
    let world = World::new();
    let mut client = world.connect();
    assert_eq!(client.gate.deadline_ms(), Some(NOW_MS + 10_000));
    let flow = client.gate.expired(NOW_MS + 10_000);
    client.follow(flow);
    client.expect(&[]);
    assert!(client.closed);

    let world = with_users(false);
    let mut client = world.connect();
    challenged(&mut client, r#""authmethods":["ticket"],"authid":"alice""#, "ticket");
    assert_eq!(client.gate.deadline_ms(), Some(NOW_MS + 10_000));
    let flow = client.gate.expired(NOW_MS + 10_000);
    client.follow(flow);
    let text = r#"[3,{"message":"AUTHENTICATE did not come in time"},"wamp.error.authentication_failed"]"#;
    client.expect(&[text]);
    assert!(client.closed);

    let client = World::new().join();
    assert_eq!(client.gate.deadline_ms(), None, "an open session may be silent");
}

#[test]
fn limits_and_draining_refuse_sessions() {
    let world = Setup { limits: Limits { sessions_max: 1, ..Limits::default() }, ..Setup::default() }.build();
    let first = world.join();
    check_aborted(&mut world.connect(), HELLO, "fennec.error.quota_exceeded");
    drop(first);
    world.join();
    world.node.drain();
    check_aborted(&mut world.connect(), HELLO, "wamp.close.system_shutdown");
}

#[test]
fn goodbye_is_answered_and_another_session_may_follow() {
    let world = World::new();
    let mut client = world.join();
    let first = client.session;
    client.check(r#"[32,1,{},"a"]"#, &["[33,1,1]"]);
    client.check(r#"[6,{},"wamp.close.close_realm"]"#, &[r#"[6,{},"wamp.close.goodbye_and_out"]"#]);
    assert!(!client.closed);
    assert_eq!(client.gate.deadline_ms(), Some(NOW_MS + 10_000), "it may not last without a session");
    world.join().check(r#"[16,1,{},"a"]"#, &[]);
    client.expect(&[]);
    client.join(HELLO);
    assert_ne!(client.session, first);
    assert_eq!(world.node.realms()[0].sessions_len(), 1);
}

#[test]
fn what_was_asked_before_goodbye_is_answered_before_it() {
    let world = World::new();
    let mut client = world.connect_by("wamp.2.json.batched");
    client.join(HELLO);
    let batch = [
        r#"[32,1,{},"a"]"#,
        r#"[16,2,{"exclude_me":false,"acknowledge":true},"a"]"#,
        r#"[6,{},"wamp.close.close_realm"]"#,
    ];
    client.send_bytes(batch.join("\x1e").as_bytes(), true);
    client.expect(&["[33,1,1]", "[36,1,*,{}]", "[17,2,*]", r#"[6,{},"wamp.close.goodbye_and_out"]"#]);
}

#[test]
fn a_session_that_is_ended_by_the_broker_hears_why() {
    for (end, reason) in [
        (End::Shutdown, "wamp.close.system_shutdown"),
        (End::Kicked, "wamp.close.killed"),
        (End::SlowConsumer, "fennec.error.quota_exceeded"),
    ] {
        let world = World::new();
        let mut client = world.join();
        client.gate.end(end, NOW_MS);
        let goodbye = client.received().remove(0);
        assert!(goodbye.starts_with(r#"[6,{"message":"#) && goodbye.ends_with(&format!(r#""{reason}"]"#)), "{goodbye}");
        assert_eq!(world.node.realms()[0].sessions_len(), 0);
    }
}

#[test]
fn a_connection_that_is_gone_leaves_nothing_behind() {
    let world = World::new();
    let mut client = world.join();
    client.check(r#"[32,1,{},"a"]"#, &["[33,1,1]"]);
    client.check(r#"[64,2,{},"p"]"#, &["[65,2,1]"]);
    drop(client);
    let realm = &world.node.realms()[0];
    assert_eq!((realm.sessions_len(), realm.subscriptions_len()), (0, 0));
    assert_eq!(realm.dealer.lock().registration_count(), 0);
}

#[test]
fn only_hello_begins_a_session() {
    let world = World::new();
    for (sent, kind) in [
        (r#"[16,1,{},"a"]"#, "PUBLISH"),
        (r#"[5,"x",{}]"#, "AUTHENTICATE"),
        (r#"[6,{},"wamp.close.close_realm"]"#, "GOODBYE"),
        (r#"[2,1,{}]"#, "WELCOME"),
    ] {
        world.connect().check_violation(sent, &format!("{kind} is not allowed before HELLO"));
    }
}

#[test]
fn messages_of_a_router_or_out_of_turn_end_a_session() {
    let world = World::new();
    for (sent, kind) in [
        (r#"[1,"realm1",{"roles":{"caller":{}}}]"#, "HELLO"),
        (r#"[2,1,{}]"#, "WELCOME"),
        (r#"[4,"ticket",{}]"#, "CHALLENGE"),
        (r#"[5,"x",{}]"#, "AUTHENTICATE"),
        (r#"[8,48,1,{},"a"]"#, "ERROR"),
        (r#"[17,1,1]"#, "PUBLISHED"),
        (r#"[33,1,1]"#, "SUBSCRIBED"),
        (r#"[35,1]"#, "UNSUBSCRIBED"),
        (r#"[36,1,1,{}]"#, "EVENT"),
        (r#"[50,1,{}]"#, "RESULT"),
        (r#"[65,1,1]"#, "REGISTERED"),
        (r#"[67,1]"#, "UNREGISTERED"),
        (r#"[68,1,1,{}]"#, "INVOCATION"),
        (r#"[69,1,{}]"#, "INTERRUPT"),
    ] {
        world.join().check_violation(sent, &format!("{kind} is not allowed while a session is open"));
    }
    assert_eq!(world.node.realms()[0].sessions_len(), 0);
}

#[test]
fn what_is_no_message_ends_a_session() {
    let world = World::new();
    for sent in
        ["", "x", "{}", "[]", r#"["a"]"#, "[999]", "[16]", r#"[16,0,{},"a"]"#, r#"[16,1,{},"a",{}]"#, "[32,1,{}"]
    {
        check_aborted(&mut world.join(), sent, "wamp.error.protocol_violation");
    }
    let mut client = world.join();
    client.send_bytes(b"[32,1,{},\"a\"]", false);
    client.expect(&[r#"[3,{"message":"JSON goes in text messages"},"wamp.error.protocol_violation"]"#]);
    let mut client = world.connect_by("wamp.2.cbor");
    client.send_bytes(b"\x80", true);
    client.expect(&[r#"[3,{"message":"CBOR goes in binary messages"},"wamp.error.protocol_violation"]"#]);
}

#[test]
fn abort_is_not_answered() {
    let world = World::new();
    for mut client in [world.connect(), world.join()] {
        client.check(r#"[3,{},"wamp.error.protocol_violation"]"#, &[]);
        assert!(client.closed);
    }
    assert_eq!(world.node.realms()[0].sessions_len(), 0);
}

#[test]
fn a_client_of_small_frames_gets_the_welcome_that_fits() {
    let world = World::new();
    let encoding = Encoding::from_subprotocol("wamp.2.json").unwrap();
    let mut client = world.connect_with(encoding, 512);
    client.send(HELLO);
    let welcome = client.received().remove(0);
    assert!(welcome.ends_with(r#""roles":{"broker":{},"dealer":{}}}]"#), "{welcome}");
}

#[test]
fn what_goes_wrong_is_counted() {
    let world = with_users(false);
    let mut client = world.connect();
    challenged(&mut client, r#""authmethods":["ticket"],"authid":"alice""#, "ticket");
    client.send(r#"[5,"wrong",{}]"#);
    drop(client);
    world.connect().send("x");
    let totals = world.node.metrics.of(Protocol::Wamp);
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(read(&totals.auth_failures), 1);
    assert_eq!(read(&totals.protocol_errors), 1);
    assert_eq!(read(&totals.handshake_failures), 2);
    assert_eq!(read(&totals.messages_in), 3);
}
