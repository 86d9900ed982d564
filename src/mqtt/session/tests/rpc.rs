//! Calls by publications under `$rpc/`, with MQTT clients on both ends.

use super::*;
use crate::router::authorize::{Action, Permission};

/// Calls `procedure`; the answer goes to `answers`.
fn call(caller: &mut Peer, procedure: &str, payload: &str, qos: Qos) {
    let properties = PublishProperties {
        response_topic: Some("answers"),
        correlation_data: Some(b"c1"),
        ..PublishProperties::default()
    };
    caller.publish_with(publish(&format!("$rpc/{procedure}"), payload, qos), &properties);
}

fn caller(world: &World) -> Peer {
    let mut caller = world.join(v5("caller"));
    caller.subscribe("answers", Q1);
    caller
}

fn callee(world: &World) -> Peer {
    let mut callee = world.join(kept("callee", 100));
    callee.subscribe("$rpc/math/add", Q1);
    callee
}

/// The one invocation that the callee hears: its line up to the response topic, and that topic.
fn invocation(callee: &mut Peer) -> (String, String) {
    let heard = callee.hear();
    assert_eq!(heard.len(), 1, "{heard:?}");
    let (line, rest) = heard[0].split_once(" reply=").expect("a response topic");
    (line.to_owned(), rest.split(' ').next().unwrap().to_owned())
}

fn error<'a>(uri: &'a [(String, String)]) -> PublishProperties<'a> {
    PublishProperties { user_properties: UserProperties::new(uri), ..PublishProperties::default() }
}

#[test]
fn call_goes_to_the_callee_and_its_answer_to_the_response_topic() {
    let world = World::new();
    let mut callee = callee(&world);
    let mut caller = caller(&world);
    call(&mut caller, "math/add", "[1,2]", Q1);
    assert_eq!(caller.hear(), ["puback #2"]);
    let (line, reply) = invocation(&mut callee);
    assert_eq!(line, "publish $rpc/math/add [1,2] q1 #1");
    assert!(reply.starts_with("$rpc-reply/"), "{reply}");
    callee.publish(&reply, "3", Q1);
    assert_eq!(callee.hear(), ["puback #2"]);
    assert_eq!(caller.hear(), ["publish answers 3 q1 #1 correlation=c1"]);
    call(&mut caller, "math/add", "[3,4]", Q0);
    let (_, reply) = invocation(&mut callee);
    callee.publish(&reply, "7", Q0);
    assert_eq!(caller.hear(), ["publish answers 7 correlation=c1"], "the answer has the QoS of the call");
}

#[test]
fn error_is_a_user_property_of_the_answer() {
    let world = World::new();
    let mut callee = callee(&world);
    let mut caller = caller(&world);
    call(&mut caller, "math/add", "", Q0);
    let (_, reply) = invocation(&mut callee);
    callee.publish_with(publish(&reply, "\"no\"", Q0), &error(&owned(&[("error", "app.error.no")])));
    assert_eq!(caller.hear(), ["publish answers \"no\" correlation=c1 error:app.error.no"]);
}

#[test]
fn call_of_what_nobody_answers_is_an_error() {
    let world = World::new();
    let mut caller = caller(&world);
    call(&mut caller, "nothing", "", Q1);
    let heard = caller.hear();
    assert_eq!(heard[0].split(" q1").next(), Some("publish answers no callee is registered for this procedure"));
    assert!(heard[0].ends_with("correlation=c1 error:wamp.error.no_such_procedure"), "{heard:?}");
    assert_eq!(heard[1], "puback #2");
}

#[test]
fn call_needs_a_response_topic_that_the_caller_may_publish_to() {
    let world = World::new();
    let _callee = callee(&world);
    let mut caller = world.join(v5("caller"));
    caller.publish("$rpc/math/add", "", Q1);
    assert_eq!(caller.hear(), ["puback #1 ImplementationSpecificError (a call needs a response topic)"]);
    for topic in ["$SYS/x", "wamp/x", "fennec/x", "$rpc/math/add"] {
        let properties = PublishProperties { response_topic: Some(topic), ..PublishProperties::default() };
        caller.last_id = 0;
        caller.publish_with(publish("$rpc/math/add", "", Q1), &properties);
        assert_eq!(caller.hear(), ["puback #1 NotAuthorized"], "{topic}");
    }
    caller.publish("$rpc/", "", Q2);
    assert_eq!(caller.hear(), ["pubrec #2 TopicNameInvalid (not the name of a procedure)"]);
    let mut level_4 = world.join(v4("old"));
    level_4.publish("$rpc/math/add", "", Q1);
    assert_eq!(level_4.hear(), ["puback #1"], "which has no response topics");
}

#[test]
fn calls_and_registrations_need_permission() {
    let rule = |actions: &[Action], filter: &str| Permission {
        actions: actions.to_vec(),
        pattern: TopicPattern::from_filter(filter).unwrap(),
        allow: true,
    };
    let permissions = vec![
        rule(&[Action::Call], "math/#"),
        rule(&[Action::Register], "math/add"),
        rule(&[Action::Publish, Action::Subscribe], "answers"),
    ];
    let role = Role { name: "anonymous".into(), permissions, asks: None };
    let world = Setup { roles: vec![role], ..Setup::default() }.build();
    let mut peer = world.join(v5("c"));
    peer.send_subscribe(
        None,
        &[to("$rpc/math/add", Q0), to("$rpc/math/sub", Q0), to("$rpc/wamp/x", Q0), to("$rpc/#", Q0)],
    );
    assert_eq!(peer.hear(), ["suback #1 Success NotAuthorized NotAuthorized TopicFilterInvalid"]);
    call(&mut peer, "other", "", Q1);
    assert_eq!(peer.hear(), ["puback #2 NotAuthorized"]);
}

#[test]
fn procedure_has_one_callee() {
    let world = World::new();
    let mut callee = callee(&world);
    assert!(callee.subscribe("$rpc/math/add", Q1).is_empty(), "it may ask again");
    let mut other = world.join(v5("other"));
    other.send_subscribe(None, &[to("$rpc/math/add", Q0)]);
    assert_eq!(other.hear(), ["suback #1 ImplementationSpecificError"]);
    let mut level_4 = world.join(v4("old"));
    level_4.send_subscribe(None, &[to("$rpc/math/sub", Q0)]);
    assert_eq!(level_4.hear(), ["suback #1 UnspecifiedError"], "it could not be told where to answer");
    callee.send_unsubscribe(&["$rpc/math/add", "$rpc/math/add"]);
    assert_eq!(callee.hear(), ["unsuback #3 Success NoSubscriptionExisted"]);
    other.subscribe("$rpc/math/add", Q0);
    let mut caller = caller(&world);
    call(&mut caller, "math/add", "x", Q1);
    assert_eq!(invocation(&mut other).0, "publish $rpc/math/add x");
}

#[test]
fn registrations_are_bounded() {
    let world = Setup::limited(|limits| limits.registrations_per_session_max = 1).build();
    let mut peer = world.join(v5("c"));
    peer.send_subscribe(None, &[to("$rpc/a", Q0), to("$rpc/b", Q0)]);
    assert_eq!(peer.hear(), ["suback #1 Success QuotaExceeded"]);
}

#[test]
fn qos_of_invocations_is_the_one_granted_last() {
    let world = World::new();
    let mut callee = callee(&world);
    callee.subscribe("$rpc/math/add", Q0);
    call(&mut caller(&world), "math/add", "x", Q1);
    assert_eq!(invocation(&mut callee).0, "publish $rpc/math/add x");
}

#[test]
fn call_fails_when_its_callee_goes() {
    let world = World::new();
    for keep in [false, true] {
        let mut callee = world.join(kept("callee", if keep { 100 } else { 0 }));
        callee.subscribe("$rpc/math/add", Q1);
        let mut caller = caller(&world);
        call(&mut caller, "math/add", "x", Q0);
        invocation(&mut callee);
        assert!(caller.hear().is_empty());
        callee.cut();
        let heard = caller.hear();
        assert_eq!(
            heard,
            ["publish answers the callee left before it answered correlation=c1 error:wamp.error.canceled"]
        );
        call(&mut caller, "math/add", "x", Q0);
        assert!(caller.hear()[0].ends_with("error:wamp.error.no_such_procedure"));
    }
}

#[test]
fn callee_that_comes_back_answers_again() {
    let world = World::new();
    callee(&world).cut();
    let mut callee = world.join(kept("callee", 100));
    let mut caller = caller(&world);
    call(&mut caller, "math/add", "x", Q0);
    let (line, reply) = invocation(&mut callee);
    assert_eq!(line, "publish $rpc/math/add x q1 #1");
    callee.publish(&reply, "y", Q0);
    assert_eq!(caller.hear(), ["publish answers y correlation=c1"]);
    callee.cut();
    world.pass(100_000);
    let _other = world.join(v5("callee"));
    call(&mut caller, "math/add", "x", Q0);
    assert!(caller.hear()[0].ends_with("error:wamp.error.no_such_procedure"), "a session that ended is no callee");
}

#[test]
fn callee_that_is_taken_over_goes_on() {
    let world = World::new();
    let _old = callee(&world);
    let mut callee = world.join(kept("callee", 100));
    call(&mut caller(&world), "math/add", "x", Q0);
    assert_eq!(invocation(&mut callee).0, "publish $rpc/math/add x q1 #1");
}

#[test]
fn procedure_that_another_took_meanwhile_is_lost() {
    let world = World::new();
    callee(&world).cut();
    let mut other = world.join(v5("other"));
    other.subscribe("$rpc/math/add", Q0);
    let mut back = world.join(kept("callee", 100));
    call(&mut caller(&world), "math/add", "x", Q0);
    assert!(back.hear().is_empty());
    assert_eq!(invocation(&mut other).0, "publish $rpc/math/add x");
    back.send_unsubscribe(&["$rpc/math/add"]);
    assert_eq!(back.hear(), ["unsuback #1 NoSubscriptionExisted"]);
}

#[test]
fn only_the_callee_answers_and_only_once() {
    let world = World::new();
    let mut callee = callee(&world);
    let mut caller = caller(&world);
    call(&mut caller, "math/add", "x", Q0);
    let (_, reply) = invocation(&mut callee);
    let mut stranger = world.join(v5("stranger"));
    stranger.publish(&reply, "forged", Q1);
    stranger.publish("$rpc-reply/x", "forged", Q1);
    let no_call = "ImplementationSpecificError (no such call is under way)";
    let no_topic = "TopicNameInvalid (not a response topic of this broker)";
    assert_eq!(stranger.hear(), [format!("puback #1 {no_call}"), format!("puback #2 {no_topic}")]);
    callee.publish(&reply, "1", Q1);
    callee.publish(&reply, "2", Q1);
    // The second is dropped: some clients answer twice.
    assert_eq!(callee.hear(), ["puback #2", "puback #3"]);
    assert_eq!(caller.hear(), ["publish answers 1 correlation=c1"]);
}

/// The answer is a publication: whoever may read the response topic gets it, the caller if it is there.
#[test]
fn answer_of_a_caller_that_left_is_dropped() {
    let world = World::new();
    let mut callee = callee(&world);
    let mut caller = caller(&world);
    call(&mut caller, "math/add", "x", Q0);
    let (_, reply) = invocation(&mut callee);
    caller.cut();
    let mut witness = world.join(v5("witness"));
    witness.subscribe("answers", Q0);
    callee.publish(&reply, "1", Q1);
    assert!(witness.hear().is_empty());
}

#[test]
fn invocation_that_the_callee_cannot_take_is_an_error_for_the_caller() {
    let world = World::new();
    let properties = ConnectProperties { maximum_packet_size: Some(100), ..ConnectProperties::default() };
    let mut callee = world.join(Connect { properties, ..v5("callee") });
    callee.subscribe("$rpc/math/add", Q1);
    let mut caller = caller(&world);
    call(&mut caller, "math/add", &"x".repeat(100), Q0);
    let heard = caller.hear();
    assert!(heard.len() == 1 && heard[0].ends_with("error:wamp.error.payload_size_exceeded"), "{heard:?}");
    call(&mut caller, "math/add", "x", Q0);
    invocation(&mut callee);
}

#[test]
fn events_do_not_pass_through_procedures() {
    let world = World::new();
    let mut callee = callee(&world);
    let mut all = world.join(v5("all"));
    all.subscribe("#", Q0);
    let mut caller = caller(&world);
    caller.publish("math/add", "an event", Q0);
    assert!(callee.hear().is_empty());
    assert_eq!(all.hear(), ["publish math/add an event"]);
    call(&mut caller, "math/add", "a call", Q0);
    assert!(all.hear().is_empty());
}

#[test]
fn calls_are_bounded() {
    let world = Setup::limited(|limits| limits.calls_pending_per_session_max = 1).build();
    let mut callee = callee(&world);
    let mut caller = caller(&world);
    call(&mut caller, "math/add", "1", Q0);
    call(&mut caller, "math/add", "2", Q0);
    assert_eq!(invocation(&mut callee).0, "publish $rpc/math/add 1 q1 #1");
    let heard = caller.hear();
    assert!(heard.len() == 1 && heard[0].contains("error:fennec.error."), "{heard:?}");
}

#[test]
fn without_memory_nobody_is_called_or_answers_calls() {
    let world = World::new();
    let mut callee = callee(&world);
    let mut caller = caller(&world);
    call(&mut caller, "math/add", "[1,2]", Q1);
    assert_eq!(caller.hear(), ["puback #2"]);
    let (_, reply) = invocation(&mut callee);
    world.node.memory.note(2, 1);
    call(&mut caller, "math/add", "[3,4]", Q1);
    assert_eq!(caller.hear(), ["puback #3 QuotaExceeded (there is no memory for more)"]);
    caller.send_subscribe(None, &[to("$rpc/math/sub", Q1)]);
    assert_eq!(caller.hear(), ["suback #4 QuotaExceeded"]);
    callee.subscribe("$rpc/math/add", Q1);
    callee.publish(&reply, "3", Q0);
    assert_eq!(caller.hear(), ["publish answers 3 q1 #1 correlation=c1"], "what was begun is answered");
}

#[test]
fn who_runs_the_broker_ends_a_session_that_is_away_with_all_that_waits_for_it() {
    let administer = Permission {
        actions: vec![Action::Call],
        pattern: TopicPattern::from_filter("fennec/admin/#").unwrap(),
        allow: true,
    };
    let mut role = Role::unrestricted("anonymous");
    role.permissions.push(administer);
    let mut world = Setup { roles: vec![role], ..Setup::default() }.build();
    let mut away = world.join(kept("s", 1000));
    away.subscribe("a", Q1);
    away.leave();
    let mut operator = caller(&world);
    let asks = |world: &World, operator: &mut Peer, procedure: &str, arguments: &str| {
        call(operator, &format!("fennec/admin/{procedure}"), arguments, Q0);
        let_time_pass(&world.node);
        operator.hear().concat()
    };
    operator.publish("a", "x", Q1);
    operator.hear();
    world.pass(61_000);
    let told = asks(&world, &mut operator, "session", r#"["s"]"#);
    assert!(told.contains(r#""connected":false"#) && told.contains(r#""oldest_s":"#), "{told}");
    let told = asks(&world, &mut operator, "kick", r#"["s"]"#);
    assert!(told.contains("forget ends it") || told.contains("wamp.error.no_such_session"), "{told}");
    let told = asks(&world, &mut operator, "kick", r#"["s",{"forget":true}]"#);
    assert!(!told.contains("error"), "{told}");
    let told = asks(&world, &mut operator, "kick", r#"["s",{"forget":true}]"#);
    assert!(told.contains("wamp.error.no_such_session"), "{told}");
    world.restart();
    assert_eq!(world.connect(kept("s", 1000)).hear(), ["connack Success"]);
}
