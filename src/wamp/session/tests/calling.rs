//! REGISTER, CALL and their answers.

use super::*;

/// A caller, and a callee of `com.proc` with registration 1.
fn pair(world: &World) -> (Client, Client) {
    let (caller, mut callee) = (world.join(), world.join());
    callee.check(r#"[64,1,{},"com.proc"]"#, &["[65,1,1]"]);
    (caller, callee)
}

/// A callee that announces nothing but these features.
fn callee_with(world: &World, features: &str) -> Client {
    let mut callee = world.connect();
    callee.join(&format!(r#"[1,"realm1",{{"roles":{{"callee":{{"features":{{{features}}}}}}}}}]"#));
    callee.check(r#"[64,1,{},"com.proc"]"#, &["[65,1,1]"]);
    callee
}

#[test]
fn a_call_is_answered_by_its_callee() {
    let world = World::new();
    let (mut caller, mut callee) = pair(&world);
    for (sent, got) in [("", ""), (",[1,2.0]", ",[1,2.0]"), (r#",[],{"a":1}"#, r#",[],{"a":1}"#), (",null,{}", "")] {
        caller.check(&format!(r#"[48,7,{{}},"com.proc"{sent}]"#), &[]);
        let invocations = callee.received();
        let (begin, end) = ("[68,", format!(",1,{{}}{got}]"));
        assert!(invocations.len() == 1 && invocations[0].starts_with(begin), "{invocations:?}");
        let invocation = invocations[0].strip_prefix(begin).and_then(|rest| rest.strip_suffix(&end)).unwrap();
        callee.check(&format!("[70,{invocation},{{}}{sent}]"), &[]);
        caller.expect(&[&format!("[50,7,{{}}{got}]")]);
    }
}

#[test]
fn every_serializer_calls_every_other() {
    let world = World::new();
    for from in ["json", "msgpack", "cbor.batched"] {
        for to in ["json.batched", "msgpack", "cbor"] {
            let (mut caller, mut callee) =
                (world.connect_by(&format!("wamp.2.{from}")), world.connect_by(&format!("wamp.2.{to}")));
            caller.join(HELLO);
            callee.join(HELLO);
            callee.check(r#"[64,1,{},"com.proc"]"#, &["[65,1,*]"]);
            caller.check(r#"[48,7,{},"com.proc",["a",{"b":[null]}],{"c":-1}]"#, &[]);
            callee.expect(&[r#"[68,1,*,{},["a",{"b":[null]}],{"c":-1}]"#]);
            callee.check(r#"[70,1,{},[[1.5,true]]]"#, &[]);
            caller.expect(&["[50,7,{},[[1.5,true]]]"]);
            caller.check(r#"[48,8,{},"com.proc"]"#, &[]);
            callee.expect(&["[68,2,*,{}]"]);
            callee.check(r#"[8,68,2,{},"com.error",["x"],{"y":1}]"#, &[]);
            caller.expect(&[r#"[8,48,8,{},"com.error",["x"],{"y":1}]"#]);
        }
    }
}

#[test]
fn a_callee_may_fail() {
    let world = World::new();
    let (mut caller, mut callee) = pair(&world);
    caller.check(r#"[48,7,{},"com.proc"]"#, &[]);
    callee.expect(&["[68,1,1,{}]"]);
    callee.check(r#"[8,68,1,{"x":1},"com.error",["no"]]"#, &[]);
    caller.expect(&[r#"[8,48,7,{},"com.error",["no"]]"#]);
    caller.check(r#"[48,8,{},"com.proc"]"#, &[]);
    callee.expect(&["[68,2,1,{}]"]);
    callee.check(r#"[8,68,2,{},"no uri"]"#, &[]);
    caller.expect(&[r#"[8,48,8,{},"wamp.error.invalid_uri"]"#]);
}

#[test]
fn a_client_may_call_itself() {
    let mut client = World::new().join();
    client.check(r#"[64,1,{},"com.proc"]"#, &["[65,1,1]"]);
    client.check(r#"[48,1,{},"com.proc",[1]]"#, &["[68,1,1,{},[1]]"]);
    client.check("[70,1,{},[2]]", &["[50,1,{},[2]]"]);
}

#[test]
fn what_cannot_be_called_is_refused() {
    let mut client = World::new().join();
    for (options, procedure, uri) in [
        ("", "com.nothing", "wamp.error.no_such_procedure"),
        ("", "wamp.session.nothing", "wamp.error.no_such_procedure"),
        ("", "a..b", "wamp.error.invalid_uri"),
        ("", "", "wamp.error.invalid_uri"),
        (r#""timeout":"1s""#, "a", "wamp.error.invalid_argument"),
        (r#""timeout":-1"#, "a", "wamp.error.invalid_argument"),
        (r#""receive_progress":1"#, "a", "wamp.error.invalid_argument"),
        (r#""disclose_me":1"#, "a", "wamp.error.invalid_argument"),
        (r#""timeout":null,"x":1"#, "a", "wamp.error.no_such_procedure"),
    ] {
        client.check_error(&format!(r#"[48,5,{{{options}}},"{procedure}"]"#), 48, 5, uri);
    }
}

#[test]
fn what_cannot_be_registered_is_refused() {
    let mut client = World::new().join();
    for (options, procedure, uri) in [
        ("", "a..b", "wamp.error.invalid_uri"),
        ("", "wamp.x", "wamp.error.not_authorized"),
        ("", "fennec.x", "wamp.error.not_authorized"),
        ("", "$x", "wamp.error.not_authorized"),
        (r#""match":"prefix""#, "wamp.", "wamp.error.not_authorized"),
        (r#""match":"x""#, "a", "wamp.error.invalid_argument"),
        (r#""invoke":"x""#, "a", "wamp.error.invalid_argument"),
        (r#""invoke":1"#, "a", "wamp.error.invalid_argument"),
        (r#""concurrency":0"#, "a", "wamp.error.invalid_argument"),
        (r#""concurrency":"1""#, "a", "wamp.error.invalid_argument"),
        (r#""disclose_caller":1"#, "a", "wamp.error.invalid_argument"),
        (r#""force_reregister":1"#, "a", "wamp.error.invalid_argument"),
        (r#""forward_timeout":1"#, "a", "wamp.error.invalid_argument"),
    ] {
        client.check_error(&format!(r#"[64,5,{{{options}}},"{procedure}"]"#), 64, 5, uri);
    }
    client.check(r#"[64,5,{"invoke":null,"concurrency":null,"x":1},"a"]"#, &["[65,5,1]"]);
}

#[test]
fn roles_say_what_may_be_called_and_registered() {
    let roles = vec![role("anonymous", &[(Action::Call, "a/#", true), (Action::Register, "b/#", true)])];
    let mut client = Setup { roles, ..Setup::default() }.build().join();
    client.check_error(r#"[48,1,{},"a.x"]"#, 48, 1, "wamp.error.no_such_procedure");
    client.check_error(r#"[48,1,{},"b.x"]"#, 48, 1, "wamp.error.not_authorized");
    client.check(r#"[64,2,{},"b.x"]"#, &["[65,2,1]"]);
    client.check_error(r#"[64,3,{},"a.x"]"#, 64, 3, "wamp.error.not_authorized");
    client.check_error(r#"[64,3,{"match":"prefix"},"b"]"#, 64, 3, "wamp.error.not_authorized");
}

#[test]
fn a_procedure_has_one_callee_unless_it_is_shared() {
    let world = World::new();
    let (mut first, mut second) = (world.join(), world.join());
    first.check(r#"[64,1,{},"single"]"#, &["[65,1,1]"]);
    second.check_error(r#"[64,1,{},"single"]"#, 64, 1, "wamp.error.procedure_already_exists");
    first.check(r#"[64,2,{"invoke":"roundrobin"},"shared"]"#, &["[65,2,2]"]);
    second.check_error(r#"[64,2,{"invoke":"last"},"shared"]"#, 64, 2, "wamp.error.procedure_already_exists");
    second.check(r#"[64,3,{"invoke":"roundrobin"},"shared"]"#, &["[65,3,2]"]);
    let mut caller = world.join();
    for request in 1..=4 {
        caller.check(&format!(r#"[48,{request},{{}},"shared"]"#), &[]);
    }
    first.expect(&["[68,1,2,{}]", "[68,2,2,{}]"]);
    second.expect(&["[68,1,2,{}]", "[68,2,2,{}]"]);
}

#[test]
fn first_and_last_choose_by_age() {
    for (policy, chosen) in [("first", 0), ("last", 1)] {
        let world = World::new();
        let mut callees = [world.join(), world.join()];
        for callee in &mut callees {
            callee.check(&format!(r#"[64,1,{{"invoke":"{policy}"}},"shared"]"#), &["[65,1,1]"]);
        }
        let mut caller = world.join();
        caller.check(r#"[48,1,{},"shared"]"#, &[]);
        callees[chosen].expect(&["[68,1,1,{}]"]);
        callees[1 - chosen].expect(&[]);
    }
}

#[test]
fn a_callee_works_on_as_many_calls_as_it_said() {
    let world = World::new();
    let (mut caller, mut callee) = (world.join(), world.join());
    callee.check(r#"[64,1,{"concurrency":1},"com.proc"]"#, &["[65,1,1]"]);
    caller.check(r#"[48,1,{},"com.proc"]"#, &[]);
    caller.check_error(r#"[48,2,{},"com.proc"]"#, 48, 2, "wamp.error.no_available_callee");
    callee.expect(&["[68,1,1,{}]"]);
    callee.check("[70,1,{}]", &[]);
    caller.expect(&["[50,1,{}]"]);
    caller.check(r#"[48,3,{},"com.proc"]"#, &[]);
    callee.expect(&["[68,2,1,{}]"]);
}

#[test]
fn patterns_are_told_the_procedure_that_was_called() {
    let world = World::new();
    let (mut caller, mut callee) = (world.join(), world.join());
    for (request, policy, pattern) in [(1, "exact", "a.b.c"), (2, "prefix", "a.b"), (3, "wildcard", "a..c")] {
        let register = format!(r#"[64,{request},{{"match":"{policy}"}},"{pattern}"]"#);
        callee.check(&register, &[&format!("[65,{request},{request}]")]);
    }
    for (procedure, registration, details) in [
        ("a.b.c", 1, ""),
        ("a.b.x", 2, r#""procedure":"a.b.x""#),
        ("a.bx.c", 2, r#""procedure":"a.bx.c""#),
        ("a.x.c", 3, r#""procedure":"a.x.c""#),
    ] {
        caller.check(&format!(r#"[48,9,{{}},"{procedure}"]"#), &[]);
        callee.expect(&[&format!("[68,*,{registration},{{{details}}}]")]);
        caller.check(r#"[49,9,{"mode":"skip"}]"#, &[r#"[8,48,9,{},"wamp.error.canceled",["the call was canceled"]]"#]);
    }
}

#[test]
fn a_caller_is_disclosed_if_either_side_asks() {
    let world = World::new();
    let (mut caller, mut callee) = pair(&world);
    callee.check(r#"[64,2,{"disclose_caller":true},"com.nosy"]"#, &["[65,2,2]"]);
    let details = format!(r#""caller":{},"caller_authid":"anonymous","caller_authrole":"anonymous""#, caller.session);
    caller.check(r#"[48,1,{},"com.proc"]"#, &[]);
    caller.check(r#"[48,2,{"disclose_me":true},"com.proc"]"#, &[]);
    caller.check(r#"[48,3,{},"com.nosy"]"#, &[]);
    callee.expect(&["[68,1,1,{}]", &format!("[68,2,1,{{{details}}}]"), &format!("[68,3,2,{{{details}}}]")]);
}

#[test]
fn unregistered_procedures_are_gone() {
    let world = World::new();
    let (mut caller, mut callee) = pair(&world);
    caller.check_error("[66,1,1]", 66, 1, "wamp.error.no_such_registration");
    caller.check(r#"[48,1,{},"com.proc"]"#, &[]);
    callee.expect(&["[68,1,1,{}]"]);
    callee.check("[66,2,1]", &["[67,2]"]);
    callee.check_error("[66,3,1]", 66, 3, "wamp.error.no_such_registration");
    caller.check_error(r#"[48,2,{},"com.proc"]"#, 48, 2, "wamp.error.no_such_procedure");
    callee.check("[70,1,{}]", &[]);
    caller.expect(&["[50,1,{}]"]);
}

#[test]
fn a_registration_can_be_taken_over_from_oneself_alone() {
    let world = World::new();
    let (mut first, mut second) = (world.join(), world.join());
    first.check(r#"[64,1,{},"com.proc"]"#, &["[65,1,1]"]);
    first.check_error(r#"[64,2,{},"com.proc"]"#, 64, 2, "wamp.error.procedure_already_exists");
    first.send(r#"[64,3,{"force_reregister":true},"com.proc"]"#);
    let received = first.received();
    assert!(received.iter().any(|message| is_like(message, "[65,3,*]")), "{received:?}");
    // All anonymous clients have the same authid.
    let forced = r#"[64,1,{"force_reregister":true},"com.proc"]"#;
    second.check_error(forced, 64, 1, "wamp.error.procedure_already_exists");
}

#[test]
fn progress_comes_to_who_asked() {
    let world = World::new();
    let (mut caller, mut callee) = pair(&world);
    caller.check(r#"[48,7,{"receive_progress":true},"com.proc"]"#, &[]);
    callee.expect(&[r#"[68,1,1,{"receive_progress":true}]"#]);
    callee.check(r#"[70,1,{"progress":true},[1]]"#, &[]);
    callee.check(r#"[70,1,{"progress":true},[2]]"#, &[]);
    caller.expect(&[r#"[50,7,{"progress":true},[1]]"#, r#"[50,7,{"progress":true},[2]]"#]);
    callee.check(r#"[70,1,{"progress":false},[3]]"#, &[]);
    caller.expect(&["[50,7,{},[3]]"]);

    caller.check(r#"[48,8,{},"com.proc"]"#, &[]);
    callee.expect(&["[68,2,1,{}]"]);
    callee.check(r#"[70,2,{"progress":true},[1]]"#, &[]);
    callee.check("[70,2,{},[2]]", &[]);
    caller.expect(&["[50,8,{},[2]]"]);
}

#[test]
fn progress_works_without_canceling() {
    let world = World::new();
    let mut callee = callee_with(&world, r#""progressive_call_results":true"#);
    let mut caller = world.join();
    caller.check(r#"[48,7,{"receive_progress":true},"com.proc"]"#, &[]);
    callee.expect(&[r#"[68,1,1,{"receive_progress":true}]"#]);
    callee.check(r#"[70,1,{"progress":true},[1]]"#, &[]);
    caller.expect(&[r#"[50,7,{"progress":true},[1]]"#]);
}

#[test]
fn a_callee_without_progress_is_not_asked_for_it() {
    let world = World::new();
    let mut callee = callee_with(&world, r#""call_canceling":true"#);
    let mut caller = world.join();
    caller.check(r#"[48,7,{"receive_progress":true},"com.proc"]"#, &[]);
    callee.expect(&["[68,1,1,{}]"]);
}

#[test]
fn canceling_follows_its_mode() {
    let canceled = r#"[8,48,7,{},"wamp.error.canceled",["the call was canceled"]]"#;
    let interrupt = |mode: &str| format!(r#"[69,1,{{"mode":"{mode}","reason":"wamp.error.canceled"}}]"#);
    for (options, to_caller, to_callee) in [
        ("", Some(canceled), Some(interrupt("killnowait"))),
        (r#""mode":null"#, Some(canceled), Some(interrupt("killnowait"))),
        (r#""mode":"killnowait""#, Some(canceled), Some(interrupt("killnowait"))),
        (r#""mode":"skip""#, Some(canceled), None),
        (r#""mode":"kill""#, None, Some(interrupt("kill"))),
    ] {
        let world = World::new();
        let (mut caller, mut callee) = pair(&world);
        caller.check(r#"[48,7,{},"com.proc"]"#, &[]);
        callee.expect(&["[68,1,1,{}]"]);
        caller.check(&format!("[49,7,{{{options}}}]"), to_caller.as_slice());
        callee.expect(&to_callee.iter().map(String::as_str).collect::<Vec<_>>());
        callee.check(r#"[8,68,1,{},"wamp.error.canceled"]"#, &[]);
        let late: &[&str] = if to_caller.is_none() { &[r#"[8,48,7,{},"wamp.error.canceled"]"#] } else { &[] };
        caller.expect(late);
    }
}

#[test]
fn a_callee_that_cannot_be_interrupted_is_skipped() {
    let world = World::new();
    let mut callee = callee_with(&world, "");
    let mut caller = world.join();
    caller.check(r#"[48,7,{},"com.proc"]"#, &[]);
    callee.expect(&["[68,1,1,{}]"]);
    caller.check_error(r#"[49,7,{"mode":"kill"}]"#, 48, 7, "wamp.error.canceled");
    callee.expect(&[]);
}

#[test]
fn canceling_crosses_with_the_answer() {
    let mut client = World::new().join();
    client.check("[49,77,{}]", &[]);
    client.check_error(r#"[49,77,{"mode":"x"}]"#, 49, 77, "wamp.error.invalid_argument");
}

#[test]
fn a_call_may_time_out() {
    let mut world = World::new();
    let (mut caller, mut callee) = pair(&world);
    caller.check(r#"[48,7,{"timeout":1000},"com.proc"]"#, &[]);
    caller.check(r#"[48,8,{"timeout":0},"com.proc"]"#, &[]);
    callee.expect(&["[68,1,1,{}]", "[68,2,1,{}]"]);
    world.tick(999);
    caller.expect(&[]);
    world.tick(1);
    caller.expect(&[r#"[8,48,7,{},"wamp.error.timeout",["the call timed out"]]"#]);
    callee.expect(&[r#"[69,1,{"mode":"killnowait","reason":"wamp.error.timeout"}]"#]);
    world.tick(1_000_000);
    caller.expect(&[]);
    callee.check("[70,1,{}]", &[]);
    callee.check("[70,2,{}]", &[]);
    caller.expect(&["[50,8,{}]"]);
}

#[test]
fn a_callee_that_minds_timeouts_is_told() {
    let mut world = World::new();
    let (mut caller, mut callee) = (world.join(), world.join());
    callee.check(r#"[64,1,{"forward_timeout":true},"com.proc"]"#, &["[65,1,1]"]);
    caller.check(r#"[48,7,{"timeout":1000},"com.proc"]"#, &[]);
    callee.expect(&[r#"[68,1,1,{"timeout":1000}]"#]);
    world.tick(10_000);
    caller.expect(&[]);
}

#[test]
fn who_leaves_ends_its_calls() {
    let world = World::new();
    let (mut caller, mut callee) = pair(&world);
    caller.check(r#"[48,7,{},"com.proc"]"#, &[]);
    callee.expect(&["[68,1,1,{}]"]);
    drop(caller);
    callee.expect(&[r#"[69,1,{"mode":"killnowait","reason":"wamp.error.canceled"}]"#]);
    let mut caller = world.join();
    caller.check(r#"[48,8,{},"com.proc"]"#, &[]);
    drop(callee);
    caller.expect(&[r#"[8,48,8,{},"wamp.error.canceled",["the callee left before it answered"]]"#]);
    caller.check_error(r#"[48,9,{},"com.proc"]"#, 48, 9, "wamp.error.no_such_procedure");
}

#[test]
fn only_who_was_asked_may_answer() {
    let world = World::new();
    for sent in ["[70,1,{}]", r#"[8,68,1,{},"com.error"]"#] {
        world.join().check_violation(sent, "invocation 1 is not under way at this callee");
    }
}

/// Wampy.js answers once more with what the handler returns.
#[test]
fn a_second_answer_is_dropped() {
    let world = World::new();
    let (mut caller, mut callee) = pair(&world);
    caller.check(r#"[48,7,{},"com.proc"]"#, &[]);
    callee.expect(&["[68,1,1,{}]"]);
    callee.check(r#"[8,68,1,{},"com.error"]"#, &[]);
    callee.check("[70,1,{}]", &[]);
    caller.expect(&[r#"[8,48,7,{},"com.error"]"#]);
}

#[test]
fn a_request_id_is_not_used_for_two_calls_at_once() {
    let world = World::new();
    let (mut caller, mut callee) = pair(&world);
    caller.check(r#"[48,7,{},"com.proc"]"#, &[]);
    caller.check_violation(r#"[48,7,{},"com.proc"]"#, "request 7 is a call under way already");
    callee.expect(&["[68,1,1,{}]", r#"[69,1,{"mode":"killnowait","reason":"wamp.error.canceled"}]"#]);
}

#[test]
fn what_is_too_large_for_a_receiver_fails_the_call() {
    let world = World::new();
    let encoding = Encoding::from_subprotocol("wamp.2.json").unwrap();
    let (mut small, mut large) = (world.connect_with(encoding, 1000), world.join());
    small.join(HELLO);
    small.check(r#"[64,1,{},"com.small"]"#, &["[65,1,1]"]);
    large.check(r#"[64,1,{},"com.large"]"#, &["[65,1,2]"]);
    let text = "x".repeat(1000);
    large.check_error(&format!(r#"[48,7,{{}},"com.small",["{text}"]]"#), 48, 7, "wamp.error.payload_size_exceeded");
    small.expect(&[]);
    for answer in [format!(r#"[70,ID,{{}},["{text}"]]"#), format!(r#"[8,68,ID,{{}},"com.error",["{text}"]]"#)] {
        small.check(r#"[48,1,{},"com.large"]"#, &[]);
        let invocation = large.received().remove(0);
        let id = invocation.split(',').nth(1).unwrap();
        large.check(&answer.replace("ID", id), &[]);
        small.expect(&[concat!(
            r#"[8,48,1,{},"wamp.error.payload_size_exceeded","#,
            r#"["the message is larger than its receiver accepts"]]"#
        )]);
    }
    large.check(r#"[48,8,{},"com.small",[1]]"#, &[]);
    small.expect(&["[68,1,1,{},[1]]"]);
}

#[test]
fn a_callee_that_does_not_read_is_not_given_more() {
    let limits = Limits { outbox_bytes_max: 65_536, ..Limits::default() };
    let world = Setup { limits, ..Setup::default() }.build();
    let (mut caller, mut callee) = pair(&world);
    let text = "x".repeat(40_000);
    caller.check(&format!(r#"[48,1,{{}},"com.proc",["{text}"]]"#), &[]);
    caller.check_error(&format!(r#"[48,2,{{}},"com.proc",["{text}"]]"#), 48, 2, "wamp.error.unavailable");
    assert_eq!(callee.received().len(), 1);
    caller.check(&format!(r#"[48,3,{{}},"com.proc",["{text}"]]"#), &[]);
    assert_eq!(callee.received().len(), 1);
}

#[test]
fn calls_of_a_session_are_limited() {
    let limits = Limits { calls_pending_per_session_max: 1, registrations_per_session_max: 1, ..Limits::default() };
    let world = Setup { limits, ..Setup::default() }.build();
    let (mut caller, mut callee) = pair(&world);
    callee.send(r#"[64,2,{},"com.more"]"#);
    assert!(callee.received()[0].starts_with(r#"[8,64,2,{},"fennec.error.quota_exceeded""#));
    caller.check(r#"[48,1,{},"com.proc"]"#, &[]);
    caller.send(r#"[48,2,{},"com.proc"]"#);
    assert!(caller.received()[0].starts_with(r#"[8,48,2,{},"fennec.error.quota_exceeded""#));
}

const IN_PARTS: &str = r#""call_canceling":true,"progressive_call_results":true,"progressive_call_invocations":true"#;

/// A caller and a callee that announce all that calls in parts need.
fn in_parts(world: &World) -> (Client, Client) {
    let mut caller = world.connect();
    caller.join(r#"[1,"realm1",{"roles":{"caller":{"features":{"progressive_call_invocations":true}}}}]"#);
    (caller, callee_with(world, IN_PARTS))
}

#[test]
fn a_call_may_come_in_parts() {
    let world = World::new();
    let (mut caller, mut callee) = in_parts(&world);
    caller.check(r#"[48,7,{"progress":true,"receive_progress":true},"com.proc",[1]]"#, &[]);
    callee.expect(&[r#"[68,1,1,{"receive_progress":true,"progress":true},[1]]"#]);
    callee.check(r#"[70,1,{"progress":true},["one"]]"#, &[]);
    caller.expect(&[r#"[50,7,{"progress":true},["one"]]"#]);
    // Another call in between; and options that count for nothing.
    caller.check(r#"[48,8,{},"com.proc"]"#, &[]);
    callee.expect(&["[68,2,1,{}]"]);
    caller.check(r#"[48,7,{"progress":true,"timeout":"x"},"com.proc",[],{"a":2}]"#, &[]);
    callee.expect(&[r#"[68,1,1,{"receive_progress":true,"progress":true},[],{"a":2}]"#]);
    caller.check(r#"[48,7,{"progress":false},"com.proc",[3]]"#, &[]);
    callee.expect(&[r#"[68,1,1,{"receive_progress":true},[3]]"#]);
    callee.check("[70,1,{},[4]]", &[]);
    caller.expect(&["[50,7,{},[4]]"]);
}

#[test]
fn parts_of_a_call_that_was_refused_are_dropped() {
    let world = World::new();
    let mut caller = in_parts(&world).0;
    for (request, options, procedure, uri) in [
        (1, r#""progress":true"#, "com.nothing", "wamp.error.no_such_procedure"),
        (2, r#""progress":true"#, "a..b", "wamp.error.invalid_uri"),
        (3, r#""progress":true,"timeout":-1"#, "com.proc", "wamp.error.invalid_argument"),
        (4, r#""progress":true"#, "fennec.key.get", "wamp.error.feature_not_supported"),
    ] {
        caller.check_error(&format!(r#"[48,{request},{{{options}}},"{procedure}"]"#), 48, request, uri);
        caller.check(&format!(r#"[48,{request},{{"progress":true}},"{procedure}"]"#), &[]);
        caller.check(&format!(r#"[48,{request},{{}},"{procedure}"]"#), &[]);
    }
    caller.check_error(r#"[48,5,{"progress":1},"com.proc"]"#, 48, 5, "wamp.error.invalid_argument");
}

#[test]
fn who_calls_in_parts_has_to_say_so_before() {
    let world = World::new();
    let (mut caller, _callee) = (world.join(), callee_with(&world, IN_PARTS));
    let text = "CALL with progress: HELLO has not announced progressive_call_invocations";
    caller.check_violation(r#"[48,1,{"progress":true},"com.proc"]"#, text);
}

#[test]
fn a_call_that_is_not_in_parts_does_not_go_on() {
    let world = World::new();
    let (mut caller, mut callee) = in_parts(&world);
    caller.check(r#"[48,7,{},"com.proc"]"#, &[]);
    callee.expect(&["[68,1,1,{}]"]);
    caller.check_violation(r#"[48,7,{"progress":true},"com.proc"]"#, "request 7 is a call under way already");
}

const FULL: &str = "fennec.error.quota_exceeded";

#[test]
fn without_memory_nobody_is_called_but_the_broker() {
    let world = World::new();
    let (mut caller, mut callee) = pair(&world);
    caller.check(r#"[48,1,{},"com.proc",[1]]"#, &[]);
    callee.expect(&["[68,1,1,{},[1]]"]);
    caller.send(r#"[48,2,{},"fennec.key.put",["k",1]]"#);
    assert!(caller.received_answer().starts_with("[50,2,"));
    world.node.memory.note(2, 1);
    caller.check_error(r#"[48,3,{},"com.proc",[2]]"#, 48, 3, FULL);
    caller.is_refused("fennec.key.put", r#",["k",2]"#, FULL);
    caller.is_refused("fennec.lock.acquire", r#",["l"]"#, FULL);
    caller.is_refused("wamp.session.add_testament", r#",["t",[],{}]"#, FULL);
    callee.check_error(r#"[64,2,{},"com.other"]"#, 64, 2, FULL);
    caller.send(r#"[48,7,{},"fennec.key.delete",["k"]]"#);
    assert!(caller.received_answer().starts_with("[50,7,"));
    caller.asks("wamp.session.count", "", "[2]");
    callee.check("[70,1,{},[3]]", &[]);
    caller.expect(&["[50,1,{},[3]]"]);
    world.node.memory.note(0, 1);
    caller.check(r#"[48,9,{},"com.proc",[4]]"#, &[]);
    callee.expect(&["[68,2,1,{},[4]]"]);
}

#[test]
fn a_call_in_parts_ends_when_there_is_no_memory_for_more() {
    let world = World::new();
    let (mut caller, mut callee) = in_parts(&world);
    caller.check(r#"[48,7,{"progress":true},"com.proc",[1]]"#, &[]);
    callee.expect(&[r#"[68,1,1,{"progress":true},[1]]"#]);
    world.node.memory.note(2, 1);
    caller.check_error(r#"[48,7,{"progress":true},"com.proc",[2]]"#, 48, 7, FULL);
    assert!(callee.received().concat().starts_with("[69,1,"), "it is interrupted");
    caller.check(r#"[48,7,{},"com.proc",[3]]"#, &[]);
    caller.check_error(r#"[48,8,{"progress":true},"com.proc",[1]]"#, 48, 8, FULL);
    caller.check(r#"[48,8,{},"com.proc",[2]]"#, &[]);
    callee.expect(&[]);
}
