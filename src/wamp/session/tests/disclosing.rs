//! Who is told who publishes and calls, and how much that is trusted.

use super::*;
use crate::router::rules::{Disclosure, Scope};

fn scope(filter: &str, roles: &[&str]) -> Scope {
    let pattern = TopicPattern::from_filter(filter).unwrap();
    Scope { realm: None, pattern, roles: roles.iter().map(|role| Arc::from(*role)).collect() }
}

fn world(disclosure: Disclosure) -> World {
    let rules = Rules { disclosure: vec![(scope("app/#", &[]), disclosure)], ..Rules::default() };
    Setup { rules, ..Setup::default() }.build()
}

const TOLD: &str = r#","publisher_authid":"anonymous","publisher_authrole":"anonymous""#;

/// Whether subscribers are told: unasked, and asked for. `None`: that is refused.
fn check_events(disclosure: Disclosure, unasked: bool, asked: Option<bool>) {
    let world = world(disclosure);
    let (mut publisher, mut subscriber) = (world.join(), world.join());
    subscriber.check(r#"[32,1,{},"app.t"]"#, &["[33,1,*]"]);
    let told = |told: bool| {
        if told { format!(r#"[36,*,*,{{"publisher":*{TOLD}}}]"#) } else { "[36,*,*,{}]".to_owned() }
    };
    publisher.send(r#"[16,1,{},"app.t"]"#);
    subscriber.expect(&[&told(unasked)]);
    match asked {
        Some(asked) => {
            publisher.send(r#"[16,2,{"disclose_me":true},"app.t"]"#);
            subscriber.expect(&[&told(asked)]);
        }
        None => {
            let uri = "wamp.error.option_disallowed.disclose_me";
            publisher.check_error(r#"[16,2,{"disclose_me":true,"acknowledge":true},"app.t"]"#, 16, 2, uri);
            subscriber.expect(&[]);
        }
    }
}

#[test]
fn the_configuration_says_whether_publishers_are_disclosed() {
    check_events(Disclosure::Allowed, false, Some(true));
    check_events(Disclosure::Caller, false, Some(true));
    check_events(Disclosure::Forced, true, Some(true));
    check_events(Disclosure::Strip, false, Some(false));
    check_events(Disclosure::Denied, false, None);
}

/// The same of callees: unasked, asked for by the caller, by the callee.
fn check_calls(disclosure: Disclosure, unasked: bool, by_caller: Option<bool>, by_callee: bool) {
    let world = world(disclosure);
    let (mut caller, mut callee) = (world.join(), world.join());
    callee.check(r#"[64,1,{},"app.p"]"#, &["[65,1,*]"]);
    callee.check(r#"[64,2,{"disclose_caller":true},"app.q"]"#, &["[65,2,*]"]);
    let invocation = |number: u32, told: bool| {
        let told = told.then_some(r#""caller":*,"caller_authid":"anonymous","caller_authrole":"anonymous""#);
        format!("[68,{number},*,{{{}}}]", told.unwrap_or_default())
    };
    caller.send(r#"[48,1,{},"app.p"]"#);
    callee.expect(&[&invocation(1, unasked)]);
    caller.send(r#"[48,2,{},"app.q"]"#);
    callee.expect(&[&invocation(2, by_callee)]);
    let Some(by_caller) = by_caller else {
        let uri = "wamp.error.option_disallowed.disclose_me";
        return caller.check_error(r#"[48,3,{"disclose_me":true},"app.p"]"#, 48, 3, uri);
    };
    caller.send(r#"[48,3,{"disclose_me":true},"app.p"]"#);
    callee.expect(&[&invocation(3, by_caller)]);
}

#[test]
fn the_configuration_says_whether_callers_are_disclosed() {
    check_calls(Disclosure::Allowed, false, Some(true), true);
    check_calls(Disclosure::Caller, false, Some(true), false);
    check_calls(Disclosure::Forced, true, Some(true), true);
    check_calls(Disclosure::Strip, false, Some(false), false);
    check_calls(Disclosure::Denied, false, None, false);
}

fn trusting() -> World {
    let trust = vec![(scope("app/+", &["anonymous"]), 3), (scope("app/#", &["admin"]), 9), (scope("log/#", &[]), 0)];
    Setup { rules: Rules { trust, ..Rules::default() }, ..Setup::default() }.build()
}

#[test]
fn events_and_invocations_have_the_trust_level_of_their_topic_and_role() {
    let world = trusting();
    let (mut client, mut other) = (world.join(), world.join());
    other.check(r#"[32,1,{"match":"prefix"},"app"]"#, &["[33,1,*]"]);
    other.check(r#"[64,1,{"match":"prefix"},"app"]"#, &["[65,1,*]"]);
    client.send(r#"[16,1,{},"app.t"]"#);
    client.send(r#"[16,2,{"content_type":"a"},"app.t"]"#);
    client.send(r#"[16,3,{},"app.t.deeper"]"#);
    client.send(r#"[48,4,{},"app.p"]"#);
    client.send(r#"[48,5,{},"app.p.deeper"]"#);
    other.expect(&[
        r#"[36,*,*,{"topic":"app.t","trustlevel":3}]"#,
        r#"[36,*,*,{"topic":"app.t","content_type":"a","trustlevel":3}]"#,
        r#"[36,*,*,{"topic":"app.t.deeper"}]"#,
        r#"[68,1,*,{"procedure":"app.p","trustlevel":3}]"#,
        r#"[68,2,*,{"procedure":"app.p.deeper"}]"#,
    ]);
}

#[test]
fn a_durable_event_keeps_its_trust_level() {
    let world = trusting();
    let mut client = world.join();
    client.check(r#"[16,1,{"acknowledge":true},"log.t"]"#, &["[17,1,*]"]);
    let mut other = world.join();
    other.send(r#"[32,1,{"rewind":1},"log.t"]"#);
    let received = other.received();
    assert!(received[1].contains(r#""trustlevel":0"#), "{received:?}");
}

#[test]
fn nobody_can_say_how_much_it_is_trusted() {
    let world = trusting();
    let (mut client, mut other) = (world.join(), world.join());
    other.check(r#"[32,1,{},"app.t.deeper"]"#, &["[33,1,*]"]);
    client.send(r#"[16,1,{"trustlevel":9},"app.t.deeper"]"#);
    other.expect(&["[36,*,*,{}]"]);
}
