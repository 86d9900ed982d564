//! Payload passthru mode, call re-routing and resource keys, as clients see them.

use super::*;

/// Announces payload passthru mode in all roles, and re-routing.
const HELLO_PASSTHRU: &str = r#"[1,"realm1",{"roles":{"publisher":{"features":{"payload_passthru_mode":true}},
    "subscriber":{"features":{"payload_passthru_mode":true}},"caller":{"features":{"payload_passthru_mode":true,
    "progressive_call_invocations":true}},"callee":{"features":{"payload_passthru_mode":true,"call_canceling":true,
    "progressive_call_results":true,"progressive_call_invocations":true,"call_reroute":true}}}}]"#;

/// A binary of 0, 1, 255 in JSON (WAMP, Binary support in JSON).
const BINARY: &str = r#"["\u0000AAH/"]"#;
const PPT: &str = r#""ppt_scheme":"wamp","ppt_serializer":"cbor","ppt_cipher":"aes256gcm","ppt_keyid":"k1""#;

fn join(world: &World, subprotocol: &str) -> Client {
    let mut client = world.connect_by(subprotocol);
    client.join(HELLO_PASSTHRU);
    client
}

#[test]
fn attributes_and_payload_of_an_event_pass_untouched_between_serializers() {
    let world = World::new();
    for from in ["wamp.2.json", "wamp.2.msgpack", "wamp.2.cbor"] {
        let mut publisher = join(&world, from);
        for to in ["wamp.2.json", "wamp.2.msgpack", "wamp.2.cbor"] {
            let mut subscriber = join(&world, to);
            subscriber.check(r#"[32,1,{},"app.t"]"#, &["[33,1,*]"]);
            publisher.send(&format!(r#"[16,1,{{{PPT}}},"app.t",{BINARY}]"#));
            subscriber.expect(&[&format!("[36,*,*,{{{PPT}}},{BINARY}]")]);
        }
    }
}

#[test]
fn a_binary_stays_binary() {
    let world = World::new();
    let mut publisher = join(&world, "wamp.2.json");
    let mut subscriber = join(&world, "wamp.2.msgpack");
    subscriber.check(r#"[32,1,{},"app.t"]"#, &["[33,1,*]"]);
    publisher.send(&format!(r#"[16,1,{{"ppt_scheme":"x_own"}},"app.t",{BINARY}]"#));
    let written = subscriber.written();
    assert!(written.ends_with(&[0x91, 0xc4, 3, 0, 1, 255]), "a list of a bin 8 of three bytes: {written:x?}");
}

#[test]
fn attributes_and_payload_of_a_call_pass_both_ways() {
    let world = World::new();
    let (mut caller, mut callee) = (join(&world, "wamp.2.json"), join(&world, "wamp.2.cbor"));
    callee.check(r#"[64,1,{},"app.p"]"#, &["[65,1,*]"]);
    caller.send(&format!(r#"[48,1,{{{PPT},"receive_progress":true}},"app.p",{BINARY}]"#));
    callee.expect(&[&format!(r#"[68,1,*,{{"receive_progress":true,{PPT}}},{BINARY}]"#)]);
    callee.send(&format!(r#"[70,1,{{"progress":true,{PPT}}},{BINARY}]"#));
    callee.send(&format!(r#"[70,1,{{"ppt_scheme":"mqtt","ppt_serializer":"native"}},{BINARY}]"#));
    caller.expect(&[
        &format!(r#"[50,1,{{"progress":true,{PPT}}},{BINARY}]"#),
        &format!(r#"[50,1,{{"ppt_scheme":"mqtt","ppt_serializer":"native"}},{BINARY}]"#),
    ]);
    caller.send(&format!(r#"[48,2,{{{PPT}}},"app.p",{BINARY}]"#));
    callee.expect(&[&format!("[68,2,*,{{{PPT}}},{BINARY}]")]);
    callee.send(&format!(r#"[8,68,2,{{{PPT}}},"app.error.secret",{BINARY}]"#));
    caller.expect(&[&format!(r#"[8,48,2,{{{PPT}}},"app.error.secret",{BINARY}]"#)]);
}

#[test]
fn each_part_of_a_call_has_its_own_attributes() {
    let world = World::new();
    let (mut caller, mut callee) = (join(&world, "wamp.2.json"), join(&world, "wamp.2.json"));
    callee.check(r#"[64,1,{},"app.p"]"#, &["[65,1,*]"]);
    caller.send(&format!(r#"[48,1,{{"ppt_scheme":"a","progress":true}},"app.p",{BINARY}]"#));
    caller.send(&format!(r#"[48,1,{{"ppt_scheme":"b"}},"app.p",{BINARY}]"#));
    callee.expect(&[
        &format!(r#"[68,1,*,{{"progress":true,"ppt_scheme":"a"}},{BINARY}]"#),
        &format!(r#"[68,1,*,{{"ppt_scheme":"b"}},{BINARY}]"#),
    ]);
}

#[test]
fn who_has_not_announced_payload_passthru_mode_may_not_use_it() {
    let world = World::new();
    let violation = |kind| format!("{kind} with ppt_scheme: HELLO has not announced payload_passthru_mode");
    world.join().check_violation(r#"[16,1,{"ppt_scheme":"wamp"},"app.t",[1]]"#, &violation("PUBLISH"));
    world.join().check_violation(r#"[48,1,{"ppt_scheme":"wamp"},"app.p",[1]]"#, &violation("CALL"));
    for (answer, kind) in [
        (r#"[70,1,{"ppt_scheme":"wamp"},[1]]"#, "YIELD"),
        (r#"[8,68,1,{"ppt_scheme":"wamp"},"app.error",[1]]"#, "ERROR"),
    ] {
        let (mut caller, mut callee) = (world.join(), world.join());
        callee.check(r#"[64,1,{},"app.p"]"#, &["[65,1,*]"]);
        caller.send(r#"[48,1,{},"app.p"]"#);
        callee.expect(&["[68,1,*,{}]"]);
        callee.check_violation(answer, &violation(kind));
        assert!(caller.received_answer().contains("wamp.error.canceled"));
    }
}

#[test]
fn attributes_without_a_scheme_say_nothing() {
    let world = World::new();
    let (mut publisher, mut subscriber) = (world.join(), world.join());
    subscriber.check(r#"[32,1,{},"app.t"]"#, &["[33,1,*]"]);
    publisher.check(r#"[16,1,{"acknowledge":true,"ppt_keyid":"k","ppt_scheme":""},"app.t",[1]]"#, &["[17,1,*]"]);
    subscriber.expect(&["[36,*,*,{},[1]]"]);
}

#[test]
fn an_attribute_of_another_type_is_refused() {
    let mut client = join(&World::new(), "wamp.2.json");
    client.check_error(
        r#"[16,1,{"acknowledge":true,"ppt_scheme":1},"app.t",[1]]"#,
        16,
        1,
        "wamp.error.invalid_argument",
    );
    client.check_error(r#"[48,2,{"ppt_scheme":"a","ppt_keyid":[]},"app.p"]"#, 48, 2, "wamp.error.invalid_argument");
}

#[test]
fn a_callee_that_cannot_take_it_is_not_called() {
    let world = World::new();
    let (mut caller, mut callee) = (join(&world, "wamp.2.json"), world.join());
    callee.check(r#"[64,1,{},"app.p"]"#, &["[65,1,*]"]);
    caller.check_error(r#"[48,1,{"ppt_scheme":"wamp"},"app.p",[1]]"#, 48, 1, "wamp.error.feature_not_supported");
    callee.expect(&[]);
    // Nor are the broker's own procedures.
    let call = r#"[48,2,{"ppt_scheme":"wamp"},"fennec.key.list",[1]]"#;
    caller.check_error(call, 48, 2, "wamp.error.feature_not_supported");
}

#[test]
fn a_result_that_its_caller_cannot_take_is_an_error_for_both() {
    let world = World::new();
    let (mut caller, mut callee) = (world.join(), join(&world, "wamp.2.json"));
    callee.check(r#"[64,1,{},"app.p"]"#, &["[65,1,*]"]);
    caller.send(r#"[48,1,{},"app.p"]"#);
    callee.expect(&["[68,1,*,{}]"]);
    callee.check_error(r#"[70,1,{"ppt_scheme":"wamp"},[1]]"#, 70, 1, "wamp.error.feature_not_supported");
    assert!(caller.received_answer().contains("wamp.error.feature_not_supported"));
    // An error comes without what it could not read.
    caller.send(r#"[48,2,{},"app.p"]"#);
    callee.expect(&["[68,2,*,{}]"]);
    callee.send(r#"[8,68,2,{"ppt_scheme":"wamp"},"app.error",[1]]"#);
    caller.expect(&[r#"[8,48,2,{},"app.error"]"#]);
}

#[test]
fn the_attributes_of_the_older_draft_pass_too() {
    let world = World::new();
    let (mut publisher, mut subscriber) = (world.join(), world.join());
    subscriber.check(r#"[32,1,{},"app.t"]"#, &["[33,1,*]"]);
    let attributes = r#""enc_algo":"cryptobox","enc_key":"k","enc_serializer":"json""#;
    publisher.send(&format!(r#"[16,1,{{{attributes}}},"app.t","\u0000AAH/"]"#));
    subscriber.expect(&[&format!(r#"[36,*,*,{{{attributes}}},"\u0000AAH/"]"#)]);
}

#[test]
fn a_durable_event_keeps_its_attributes() {
    let world = World::new();
    let mut publisher = join(&world, "wamp.2.json");
    publisher.check(&format!(r#"[16,1,{{"acknowledge":true,{PPT}}},"log.t",{BINARY}]"#), &["[17,1,*]"]);
    let mut subscriber = join(&world, "wamp.2.json");
    subscriber.send(r#"[32,1,{"rewind":1},"log.t"]"#);
    let received = subscriber.received();
    assert!(received[1].contains(PPT) && received[1].contains(BINARY), "{received:?}");
}

#[test]
fn a_call_goes_on_to_who_is_available() {
    let world = World::new();
    let mut caller = world.join();
    let mut callees = [join(&world, "wamp.2.json"), join(&world, "wamp.2.msgpack")];
    for callee in &mut callees {
        callee.check(r#"[64,1,{"invoke":"first"},"app.p"]"#, &["[65,1,*]"]);
    }
    caller.send(r#"[48,1,{},"app.p",["a"],{"k":1}]"#);
    callees[0].expect(&[r#"[68,1,*,{},["a"],{"k":1}]"#]);
    callees[0].send(r#"[8,68,1,{},"wamp.error.unavailable"]"#);
    callees[1].expect(&[r#"[68,1,*,{},["a"],{"k":1}]"#]);
    callees[1].send("[70,1,{},[2]]");
    caller.expect(&["[50,1,{},[2]]"]);
    // Nobody is.
    caller.send(r#"[48,2,{},"app.p"]"#);
    callees[0].expect(&["[68,2,*,{}]"]);
    callees[0].send(r#"[8,68,2,{},"wamp.error.unavailable"]"#);
    callees[1].expect(&["[68,2,*,{}]"]);
    callees[1].send(r#"[8,68,2,{},"wamp.error.unavailable"]"#);
    assert!(caller.received_answer().contains("wamp.error.no_available_callee"));
}

#[test]
fn calls_with_a_resource_key_go_to_its_node() {
    let world = World::new();
    let (mut caller, mut callees) = (world.join(), [world.join(), world.join()]);
    for (callee, node) in callees.iter_mut().zip(["a", "b"]) {
        callee.check(&format!(r#"[64,1,{{"invoke":"roundrobin","nkey":"{node}"}},"app.p"]"#), &["[65,1,*]"]);
    }
    for request in 1..=6 {
        let options = if request % 2 == 0 { r#"{"rkey":"r","runmode":"partition"}"# } else { r#"{"rkey":"r"}"# };
        caller.send(&format!(r#"[48,{request},{options},"app.p"]"#));
    }
    let called = callees.each_mut().map(|callee| callee.received().len());
    assert!(called == [6, 0] || called == [0, 6], "{called:?}");
    caller.check_error(r#"[48,7,{"runmode":"partition"},"app.p"]"#, 48, 7, "wamp.error.invalid_argument");
    caller.check_error(r#"[48,8,{"rkey":7},"app.p"]"#, 48, 8, "wamp.error.invalid_argument");
    caller.check_error(r#"[48,9,{"runmode":"all"},"app.p"]"#, 48, 9, "wamp.error.invalid_argument");
}
