//! A procedure is asked what a session may do: messages wait, in order, and every way of not answering is a no.

use super::*;
use crate::node::authorize::Said;
use crate::node::testing::TestHook;
use crate::router::authorize::{Asks, Whom};
use crate::types::topic::Topic;
use crate::wamp::session::State;

/// A world in which sessions ask somebody.
fn world(whom: Whom) -> World {
    let asks = Some(Asks { whom, timeout_ms: 5000, cache_ms: 60_000 });
    let asked = Role { asks, ..role("anonymous", &[(Action::Subscribe, "free/#", true)]) };
    Setup { roles: vec![asked], ..Setup::default() }.build()
}

fn procedure() -> Whom {
    Whom::Procedure(Arc::new(Topic::from_uri("com.example.authorize").unwrap()))
}

/// The session of somebody who may do everything, and decides.
fn authorizer(world: &World) -> Client {
    let mut client = world.join();
    if let State::Open(open) = &mut client.gate.state {
        open.rights = Authorizer::new([Role::unrestricted("boss")]).rights("boss", Default::default()).unwrap();
    }
    client.check(r#"[64,1,{},"com.example.authorize"]"#, &["[65,1,*]"]);
    client
}

#[test]
fn the_procedure_is_told_who_wants_what() {
    let world = world(procedure());
    let mut decides = authorizer(&world);
    let mut client = world.join();
    client.check(r#"[16,1,{"acknowledge":true},"com.x",[1]]"#, &[]);
    let asked = decides.received().remove(0);
    assert!(asked.starts_with("[68,"), "{asked}");
    let who = format!(r#"{{"session":{},"realm":"realm1","authid":"anonymous","authrole":"anonymous""#, client.session);
    assert!(asked.contains(&who) && asked.ends_with(r#"},"com.x","publish",{"match":"exact"}]]"#), "{asked}");
    assert!(client.gate.must_wait());
    decides.send(r#"[70,1,{},[true]]"#);
    client.expect(&["[17,1,*]"]);
    assert!(!client.gate.must_wait());
}

#[test]
fn yes_and_no_may_be_a_dict_and_everything_else_is_a_no() {
    let world = world(procedure());
    let mut decides = authorizer(&world);
    let mut client = world.join();
    for (number, (answer, allowed)) in [
        ("[70,N,{},[true]]", true),
        (r#"[70,N,{},[{"allow":true,"disclose":true}]]"#, true),
        ("[70,N,{},[false]]", false),
        (r#"[70,N,{},[{"cache":true}]]"#, false),
        ("[70,N,{},[1]]", false),
        (r#"[70,N,{},["yes"]]"#, false),
        ("[70,N,{}]", false),
        (r#"[8,68,N,{},"app.error"]"#, false),
    ]
    .into_iter()
    .enumerate()
    {
        let topic = format!("com.x{number}");
        client.check(&format!(r#"[16,1,{{"acknowledge":true}},"{topic}"]"#), &[]);
        let asked = decides.received().remove(0);
        let invocation = asked.strip_prefix("[68,").unwrap().split(',').next().unwrap();
        decides.send(&answer.replace('N', invocation));
        let heard = client.received().remove(0);
        assert_eq!(heard.starts_with("[17,"), allowed, "{answer}: {heard}");
        assert!(allowed || heard.contains("wamp.error.not_authorized"), "{heard}");
    }
}

#[test]
fn nobody_there_and_nobody_in_time_are_a_no() {
    let mut world = world(procedure());
    let mut client = world.join();
    client.check_error(r#"[16,1,{"acknowledge":true},"com.x"]"#, 16, 1, "wamp.error.not_authorized");
    let _decides = authorizer(&world);
    client.check(r#"[16,2,{"acknowledge":true},"com.x"]"#, &[]);
    world.tick(4999);
    client.expect(&[]);
    world.tick(1);
    let heard = client.received().remove(0);
    assert!(heard.starts_with(r#"[8,16,2,{},"wamp.error.not_authorized""#), "{heard}");
}

#[test]
fn messages_of_all_kinds_wait_in_order() {
    let world = world(Whom::Hook);
    let hook = TestHook::of(&world.node);
    let mut client = world.join();
    client.check(r#"[32,1,{},"free.x"]"#, &["[33,1,*]"]);
    let sent = [
        r#"[32,2,{"match":"prefix"},"a"]"#,
        r#"[64,3,{},"proc"]"#,
        r#"[48,4,{},"proc"]"#,
        r#"[32,5,{},"free.y"]"#,
        r#"[16,6,{"acknowledge":true},"free.x"]"#,
    ];
    sent.iter().for_each(|message| client.send(message));
    client.expect(&[]);
    let say = |allow, cache| hook.answer(Some(Said { allow, cache, disclose: false }));
    assert_eq!(say(true, false), "subscribe a");
    client.expect(&["[33,2,*]"]);
    assert_eq!(say(true, false), "register proc");
    client.expect(&["[65,3,*]"]);
    assert_eq!(say(false, false), "call proc");
    let heard = client.received();
    assert!(
        heard[0].starts_with(r#"[8,48,4,{},"wamp.error.not_authorized""#) && heard[1].starts_with("[33,5,"),
        "{heard:?}"
    );
    assert_eq!(say(true, true), "publish free.x");
    client.expect(&["[17,6,*]"]);
    client.check(r#"[16,7,{"acknowledge":true},"free.x"]"#, &["[17,7,*]"]);
    assert_eq!(hook.waiting(), 0, "that may be remembered");
    client.check(r#"[48,8,{},"proc"]"#, &[]);
    assert_eq!(say(true, false), "call proc", "a no for one message is one for one message");
    client.expect(&["[68,1,*,{}]"]);
}

#[test]
fn what_breaks_the_protocol_ends_a_session_even_behind_what_waits() {
    let world = world(Whom::Hook);
    let hook = TestHook::of(&world.node);
    let mut client = world.join();
    client.check(r#"[16,1,{},"a"]"#, &[]);
    client.check(r#"[2,1,{}]"#, &[]);
    hook.answer(Some(Said { allow: true, cache: false, disclose: false }));
    let heard = client.received();
    assert!(heard.len() == 1 && heard[0].contains("wamp.error.protocol_violation"), "{heard:?}");
    assert_eq!(client.gate.link.asked_to_end(), Some(crate::node::link::End::Over));
}

#[test]
fn who_decides_may_want_others_to_be_told_who_calls_and_publishes() {
    let world = world(Whom::Hook);
    let hook = TestHook::of(&world.node);
    let (mut client, mut other) = (world.join(), world.join());
    other.check(r#"[32,1,{},"free.x"]"#, &["[33,1,*]"]);
    other.send(r#"[64,2,{},"proc"]"#);
    hook.answer(Some(Said { allow: true, ..Said::NO }));
    other.expect(&["[65,2,*]"]);
    for (disclose, event, invocation) in [
        (
            true,
            r#"{"publisher":*,"publisher_authid":"anonymous","publisher_authrole":"anonymous"}"#,
            r#"{"caller":*,"caller_authid":"anonymous","caller_authrole":"anonymous"}"#,
        ),
        (false, "{}", "{}"),
    ] {
        client.send(r#"[16,1,{},"free.x"]"#);
        client.send(r#"[48,2,{},"proc"]"#);
        hook.answer(Some(Said { allow: true, cache: false, disclose }));
        client.expect(&[]);
        hook.answer(Some(Said { allow: true, cache: false, disclose }));
        client.expect(&[]);
        other.expect(&[&format!("[36,*,*,{event}]"), &format!("[68,*,*,{invocation}]")]);
        other.send(if disclose { "[70,1,{}]" } else { "[70,2,{}]" });
        client.expect(&["[50,2,{}]"]);
    }
}
