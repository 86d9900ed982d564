//! Somebody is asked what a client may do: packets wait, in order, and every way of not answering is a no.

use super::*;
use crate::node::authorize::Said;
use crate::node::testing::TestHook;
use crate::router::authorize::{Action, Asks, Permission, Whom};

const YES: Option<Said> = Some(Said { allow: true, cache: false, disclose: false });
const YES_AGAIN: Option<Said> = Some(Said { allow: true, cache: true, disclose: false });
const NO: Option<Said> = Some(Said { allow: false, cache: false, disclose: false });

/// Anonymous clients may subscribe to `free/#` and not publish to `never`; about all else somebody is asked.
fn world() -> (World, TestHook) {
    let rule = |action, filter, allow| Permission {
        actions: vec![action],
        pattern: TopicPattern::from_filter(filter).unwrap(),
        allow,
    };
    let role = Role {
        name: "anonymous".into(),
        permissions: vec![rule(Action::Subscribe, "free/#", true), rule(Action::Publish, "never", false)],
        asks: Some(Asks { whom: Whom::Hook, timeout_ms: 5000, cache_ms: 1000 }),
    };
    let world = Setup { roles: vec![role], ..Setup::default() }.build();
    let hook = TestHook::of(&world.node);
    (world, hook)
}

#[test]
fn publication_waits_for_the_answer_and_what_is_sent_behind_it_too() {
    let (world, hook) = world();
    let mut reader = world.join(v5("r"));
    assert_eq!(reader.subscribe("free/#", Q1), Vec::<String>::new(), "nobody is asked about it");
    let mut peer = world.join(v5("p"));
    peer.publish("free/a", "1", Q1);
    peer.publish("never", "2", Q1);
    peer.send_subscribe(None, &[to("free/b", Q0)]);
    assert!(peer.gate.must_wait() && peer.hear().is_empty() && reader.hear().is_empty());
    assert_eq!((hook.answer(YES).as_str(), hook.waiting()), ("publish free.a", 0));
    assert_eq!(peer.hear(), ["puback #1", "puback #2 NotAuthorized", "suback #3 Success"]);
    assert!(!peer.gate.must_wait());
    assert_eq!(reader.hear().len(), 1);
}

#[test]
fn answer_is_for_one_message_unless_it_may_be_remembered_and_then_for_its_time() {
    let (world, hook) = world();
    let mut peer = world.join(v5("p"));
    for said in [YES, NO, YES_AGAIN] {
        peer.publish("a", "1", Q0);
        assert_eq!(hook.answer(said), "publish a");
        assert!(peer.hear().is_empty());
    }
    peer.publish("a", "1", Q1);
    assert_eq!((peer.hear().len(), hook.waiting()), (1, 0), "it is remembered");
    world.pass(1000);
    peer.publish("a", "1", Q1);
    assert!(peer.hear().is_empty());
    assert_eq!(hook.answer(NO), "publish a");
    assert_eq!(peer.hear(), ["puback #2 NotAuthorized"]);
}

#[test]
fn whoever_does_not_answer_has_said_no() {
    let (world, hook) = world();
    let mut peer = world.join(v5("p"));
    peer.publish("a", "1", Q2);
    hook.answer(None);
    assert_eq!(peer.hear(), ["pubrec #1 NotAuthorized"]);
    let mut world = world;
    world.restart();
    let mut peer = world.join(v5("p"));
    peer.publish("a", "1", Q1);
    assert_eq!(peer.hear(), ["puback #1 NotAuthorized"], "there is nobody to ask");
}

#[test]
fn each_filter_is_a_question_of_its_own() {
    let (world, hook) = world();
    let mut peer = world.join(v5("p"));
    peer.send_subscribe(None, &[to("a/#", Q0), to("free/x", Q1), to("$share/g/b", Q0), to("$rpc/add", Q0)]);
    assert_eq!(hook.answer(YES), "subscribe a.#");
    assert!(peer.hear().is_empty(), "the others are not answered yet");
    assert_eq!(hook.answer(NO), "subscribe b");
    assert_eq!(hook.answer(YES), "register add");
    assert_eq!(peer.hear(), ["suback #1 Success GrantedQos1 NotAuthorized Success"]);
}

#[test]
fn events_come_for_what_was_allowed_once_but_not_where_a_permission_says_no() {
    let rule = |filter, allow| Permission {
        actions: Action::ALL.to_vec(),
        pattern: TopicPattern::from_filter(filter).unwrap(),
        allow,
    };
    let asks = Some(Asks { whom: Whom::Hook, timeout_ms: 5000, cache_ms: 1000 });
    let asked = Role { name: "anonymous".into(), permissions: vec![rule("other", false)], asks };
    let world = Setup { roles: vec![asked], ..Setup::default() }.build();
    let hook = TestHook::of(&world.node);
    let mut keeper = world.join(v5("k"));
    keeper.send_publish(Publish { retain: true, ..publish("a/b", "kept", Q0) });
    hook.answer(YES);
    assert!(keeper.hear().is_empty());
    let mut peer = world.join(v5("p"));
    peer.send_subscribe(None, &[to("a/#", Q0)]);
    hook.answer(YES);
    assert_eq!(peer.hear(), ["suback #1 Success", "publish a/b kept retain"]);
}

#[test]
fn will_asks_nobody() {
    let (world, hook) = world();
    let mut peer = world.connect(Connect { will: Some(will("a", "gone")), ..v5("p") });
    assert!(peer.hear()[0].starts_with("connack NotAuthorized"));
    assert_eq!(hook.waiting(), 0);
}

#[test]
fn connection_that_ends_while_it_waits_leaves_nothing_behind() {
    let (world, hook) = world();
    let mut reader = world.join(v5("r"));
    reader.subscribe("free/#", Q0);
    let mut peer = world.join(v5("p"));
    peer.publish("free/a", "1", Q1);
    peer.cut();
    hook.answer(YES);
    assert!(reader.hear().is_empty(), "what nobody had allowed was never published");
}
