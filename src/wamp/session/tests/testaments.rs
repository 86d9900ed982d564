//! Testaments: added, flushed, and published when the session is over.

use super::*;

/// A subscriber of `app.t`.
fn heir(world: &World) -> Client {
    let mut heir = world.join();
    heir.check(r#"[32,1,{},"app.t"]"#, &["[33,1,*]"]);
    heir
}

/// A session with testaments of these arguments, each accepted.
fn testator(world: &World, testaments: &[&str]) -> Client {
    let mut client = world.join();
    for (request, arguments) in testaments.iter().enumerate() {
        let request = request + 1;
        client.check(
            &format!(r#"[48,{request},{{}},"wamp.session.add_testament",{arguments}]"#),
            &[&format!("[50,{request},{{}}]")],
        );
    }
    client
}

const TWO: [&str; 3] = [
    r#"["app.t",[1],{}]"#,
    r#"["app.t",[2],{"k":[3]}],{"scope":"detached"}"#,
    r#"["app.t",[4],null],{"scope":"destroyed"}"#,
];

#[test]
fn testaments_are_published_when_the_connection_is_lost() {
    let world = World::new();
    let mut heir = heir(&world);
    drop(testator(&world, &TWO));
    // Those of the scope `detached` come first, each scope in the order in which it was filled.
    heir.expect(&[r#"[36,*,*,{},[2],{"k":[3]}]"#, "[36,*,*,{},[1]]", "[36,*,*,{},[4]]"]);
}

#[test]
fn testaments_are_published_behind_goodbye_and_abort_too() {
    for end in [r#"[6,{},"wamp.close.normal"]"#, r#"[3,{},"app.error"]"#, "[1]"] {
        let world = World::new();
        let (mut heir, mut client) = (heir(&world), testator(&world, &[r#"["app.t",["gone"]]"#]));
        client.send(end);
        heir.expect(&[r#"[36,*,*,{},["gone"]]"#]);
        drop(client);
        heir.expect(&[]);
    }
}

#[test]
fn a_scope_that_is_flushed_leaves_nothing() {
    let world = World::new();
    let (mut heir, mut client) = (heir(&world), testator(&world, &TWO));
    client.check(r#"[48,4,{},"wamp.session.flush_testaments"]"#, &["[50,4,{}]"]);
    drop(client);
    heir.expect(&[r#"[36,*,*,{},[2],{"k":[3]}]"#]);
    let mut client = testator(&world, &TWO);
    client.check(r#"[48,4,{},"wamp.session.flush_testaments",[],{"scope":"detached"}]"#, &["[50,4,{}]"]);
    drop(client);
    heir.expect(&["[36,*,*,{},[1]]", "[36,*,*,{},[4]]"]);
}

#[test]
fn a_testament_has_publish_options() {
    let world = World::new();
    let (mut heir, mut other) = (heir(&world), heir(&world));
    let options = format!(r#"{{"eligible":[{}],"content_type":"a","acknowledge":true}}"#, heir.session);
    drop(testator(&world, &[&format!(r#"["app.t",[1]],{{"publish_options":{options}}}"#)]));
    heir.expect(&[r#"[36,*,*,{"content_type":"a"},[1]]"#]);
    other.expect(&[]);
}

#[test]
fn a_testament_may_be_retained_and_durable() {
    let world = World::new();
    drop(testator(&world, &[r#"["app.t",["gone"]],{"publish_options":{"retain":true}}"#, r#"["log.t",[1]]"#]));
    let mut later = world.join();
    later.check(
        r#"[32,1,{"get_retained":true},"app.t"]"#,
        &["[33,1,*]", r#"[36,*,*,{"retained":true,"event_id":"EVENT"},["gone"]]"#],
    );
    later.send(r#"[32,2,{"rewind":1},"log.t"]"#);
    assert!(later.received().iter().any(|event| event.ends_with(",[1]]")));
}

#[test]
fn what_waits_behind_durable_events_is_published_before_testaments() {
    let world = World::new();
    let mut heir = world.join();
    heir.check(r#"[32,1,{"match":"wildcard"},".t"]"#, &["[33,1,*]"]);
    let mut client = testator(&world, &[r#"["app.t",["gone"]]"#]);
    client.send(r#"[16,1,{"acknowledge":true},"log.t",[1]]"#);
    client.send(r#"[16,2,{},"app.t",[2]]"#);
    drop(client);
    let received: Vec<_> = heir.received().iter().map(|event| event[event.rfind(",[").unwrap()..].to_owned()).collect();
    assert_eq!(received, [",[1]]", ",[2]]", r#",["gone"]]"#]);
}

#[test]
fn testaments_are_refused_as_publications_are() {
    let roles = vec![role("anonymous", &[(Action::Publish, "app/#", true), (Action::Call, "#", true)])];
    let limits = Limits { testaments_per_session_max: 1, testament_bytes_max: 40, ..Limits::default() };
    let world = Setup { roles, limits, ..Setup::default() }.build();
    let mut client = world.join();
    let mut request = 0;
    let mut check = |arguments: &str, uri: &str| {
        request += 1;
        let call = format!(r#"[48,{request},{{}},"wamp.session.add_testament",{arguments}]"#);
        client.check_error(&call, 48, request, uri);
    };
    check("[]", "wamp.error.invalid_argument");
    check("[5]", "wamp.error.invalid_argument");
    check(r#"["app..t"]"#, "wamp.error.invalid_uri");
    check(r#"["app.t",5]"#, "wamp.error.invalid_argument");
    check(r#"["app.t",[],[]]"#, "wamp.error.invalid_argument");
    check(r#"["app.t"],{"scope":"never"}"#, "wamp.error.invalid_argument");
    check(r#"["app.t"],{"publish_options":1}"#, "wamp.error.invalid_argument");
    check(r#"["app.t"],{"publish_options":{"retain":1}}"#, "wamp.error.invalid_argument");
    check(r#"["app.t"],{"publish_options":{"retain":true,"will":1}}"#, "wamp.error.invalid_argument");
    check(r#"["app.t"],{"publish_options":{"ppt_scheme":"a"}}"#, "wamp.error.invalid_argument");
    check(r#"["other.t"]"#, "wamp.error.not_authorized");
    check(r#"["wamp.t"]"#, "wamp.error.not_authorized");
    check(r#"["app.t",["0123456789012345678901234567890123456789"]]"#, "fennec.error.quota_exceeded");
    client.check(r#"[48,98,{},"wamp.session.add_testament",["app.t"]]"#, &["[50,98,{}]"]);
    client.check_error(r#"[48,99,{},"wamp.session.add_testament",["app.t"]]"#, 48, 99, "fennec.error.quota_exceeded");
}

#[test]
fn who_may_not_call_has_no_testaments() {
    let roles = vec![role("anonymous", &[(Action::Publish, "#", true)])];
    let mut client = Setup { roles, ..Setup::default() }.build().join();
    client.check_error(r#"[48,1,{},"wamp.session.add_testament",["t"]]"#, 48, 1, "wamp.error.not_authorized");
}
