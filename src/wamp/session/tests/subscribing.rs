//! SUBSCRIBE, UNSUBSCRIBE and retained values.

use super::*;

/// Whether a subscription with this pattern and policy gets the events of each topic, with the topic in their details unless the
/// pattern is the topic.
#[track_caller]
fn check_match(pattern: &str, policy: &str, topics: &[(&str, bool)]) {
    let world = World::new();
    let (mut publisher, mut subscriber) = (world.join(), world.join());
    subscriber.check(&format!(r#"[32,1,{{"match":"{policy}"}},"{pattern}"]"#), &["[33,1,1]"]);
    for (topic, matches) in topics {
        publisher.check(&format!(r#"[16,1,{{}},"{topic}"]"#), &[]);
        let details = if *topic == pattern { String::new() } else { format!(r#""topic":"{topic}""#) };
        let event = format!("[36,1,*,{{{details}}}]");
        let expected = [&*event];
        subscriber.expect(if *matches { &expected } else { &[] });
    }
}

#[test]
fn policies_say_what_a_subscription_matches() {
    check_match("com.a", "exact", &[("com.a", true), ("com.a.b", false), ("com", false)]);
    check_match("com.a", "prefix", &[("com.ab", true), ("com.a.b", true), ("com.b", false)]);
    check_match("com..b", "wildcard", &[("com.x.b", true), ("com.x.y.b", false), ("com.b", false)]);
    check_match("com.*.b", "fox", &[("com.x.b", true), ("com.x.c", false)]);
    check_match("com.#", "fox", &[("com", true), ("com.a", true), ("com.a.b", true), ("con", false)]);
    check_match("com.#", "exact", &[("com.a.b", true)]);
    check_match("com.*.b", "exact", &[("com.*.b", true), ("com.x.b", false)]);
}

#[test]
fn a_star_is_a_wildcard_where_the_realm_says_so() {
    let world = Setup { star_is_wildcard: true, ..Setup::default() }.build();
    let (mut publisher, mut subscriber) = (world.join(), world.join());
    subscriber.check(r#"[32,1,{},"com.*.b"]"#, &["[33,1,1]"]);
    publisher.check(r#"[16,1,{},"com.x.b"]"#, &[]);
    subscriber.expect(&[r#"[36,1,*,{"topic":"com.x.b"}]"#]);
}

#[test]
fn a_topic_or_pattern_has_one_subscription_id() {
    let world = World::new();
    let (mut first, mut second) = (world.join(), world.join());
    first.check(r#"[32,1,{},"a"]"#, &["[33,1,1]"]);
    first.check(r#"[32,2,{},"b"]"#, &["[33,2,2]"]);
    first.check(r#"[32,3,{"match":"prefix"},"a"]"#, &["[33,3,3]"]);
    second.check(r#"[32,1,{"match":"exact"},"a"]"#, &["[33,1,1]"]);
    first.check(r#"[32,4,{},"a"]"#, &["[33,4,1]"]);
}

#[test]
fn each_matching_subscription_gets_its_event() {
    let world = World::new();
    let (mut publisher, mut subscriber) = (world.join(), world.join());
    subscriber.check(r#"[32,1,{},"a.b"]"#, &["[33,1,1]"]);
    subscriber.check(r#"[32,2,{"match":"prefix"},"a"]"#, &["[33,2,2]"]);
    subscriber.check(r#"[32,3,{},"a.b"]"#, &["[33,3,1]"]);
    publisher.check(r#"[16,1,{},"a.b"]"#, &[]);
    let mut received = subscriber.received();
    received.sort();
    assert!(received.len() == 2 && is_like(&received[0], "[36,1,*,{}]"), "{received:?}");
    assert!(is_like(&received[1], r#"[36,2,*,{"topic":"a.b"}]"#), "{received:?}");
}

#[test]
fn nothing_follows_unsubscribed() {
    let world = World::new();
    let (mut publisher, mut subscriber) = (world.join(), world.join());
    subscriber.check(r#"[32,1,{},"a"]"#, &["[33,1,1]"]);
    publisher.check(r#"[16,1,{},"a"]"#, &[]);
    subscriber.expect(&["[36,1,*,{}]"]);
    subscriber.check("[34,2,1]", &["[35,2]"]);
    publisher.check(r#"[16,1,{},"a"]"#, &[]);
    subscriber.expect(&[]);
    subscriber.check_error("[34,3,1]", 34, 3, "wamp.error.no_such_subscription");
}

#[test]
fn subscriptions_of_others_are_not_to_be_ended() {
    let world = World::new();
    let (mut first, mut second) = (world.join(), world.join());
    first.check(r#"[32,1,{},"a"]"#, &["[33,1,1]"]);
    second.check_error("[34,2,1]", 34, 2, "wamp.error.no_such_subscription");
    second.check_error("[34,2,77]", 34, 2, "wamp.error.no_such_subscription");
    second.check(r#"[16,1,{},"a"]"#, &[]);
    first.expect(&["[36,1,*,{}]"]);
}

#[test]
fn what_cannot_be_subscribed_to_is_refused() {
    let mut client = World::new().join();
    for (options, topic, uri) in [
        ("", "a..b", "wamp.error.invalid_uri"),
        ("", "", "wamp.error.invalid_uri"),
        (r#""match":"wildcard""#, "a. b", "wamp.error.invalid_uri"),
        (r#""match":"fox""#, "a.#.b", "wamp.error.invalid_uri"),
        (r#""match":"regex""#, "a", "wamp.error.invalid_argument"),
        (r#""match":1"#, "a", "wamp.error.invalid_argument"),
        (r#""get_retained":1"#, "a", "wamp.error.invalid_argument"),
    ] {
        client.check_error(&format!(r#"[32,5,{{{options}}},"{topic}"]"#), 32, 5, uri);
    }
    client.check(r#"[32,5,{"match":null,"get_retained":null,"x":1},"a"]"#, &["[33,5,1]"]);
}

#[test]
fn roles_say_what_may_be_subscribed_to() {
    let roles = vec![role("anonymous", &[(Action::Subscribe, "a/#", true), (Action::Subscribe, "a/secret", false)])];
    let mut client = Setup { roles, ..Setup::default() }.build().join();
    client.check(r#"[32,1,{},"a.b"]"#, &["[33,1,1]"]);
    for (policy, topic) in [("exact", "a.secret"), ("exact", "b"), ("prefix", "a"), ("wildcard", "a."), ("fox", "a.#")]
    {
        let subscribe = format!(r#"[32,2,{{"match":"{policy}"}},"{topic}"]"#);
        client.check_error(&subscribe, 32, 2, "wamp.error.not_authorized");
    }
}

#[test]
fn subscriptions_of_a_session_are_limited() {
    let limits = Limits { subscriptions_per_session_max: 2, ..Limits::default() };
    let mut client = Setup { limits, ..Setup::default() }.build().join();
    client.check(r#"[32,1,{},"a"]"#, &["[33,1,1]"]);
    client.check(r#"[32,2,{},"b"]"#, &["[33,2,2]"]);
    client.check_error(r#"[32,3,{},"c"]"#, 32, 3, "fennec.error.quota_exceeded");
    client.check("[34,4,1]", &["[35,4]"]);
    client.check(r#"[32,5,{},"c"]"#, &["[33,5,3]"]);
}

#[test]
fn a_retained_value_is_sent_to_who_asks() {
    let world = World::new();
    let (mut publisher, mut subscriber) = (world.join(), world.join());
    publisher.check(r#"[16,1,{"retain":true,"disclose_me":true},"a.b",[1]]"#, &[]);
    publisher.check(r#"[16,1,{},"a.b",[2]]"#, &[]);
    subscriber.check(r#"[32,1,{},"a.b"]"#, &["[33,1,1]"]);
    let publisher =
        format!(r#""publisher":{},"publisher_authid":"anonymous","publisher_authrole":"anonymous""#, publisher.session);
    let event = format!(r#"[36,1,*,{{"retained":true,"event_id":"EVENT",{publisher}}},[1]]"#);
    subscriber.check(r#"[32,2,{"get_retained":true},"a.b"]"#, &["[33,2,1]", &event]);
    let event = format!(r#"[36,2,*,{{"topic":"a.b","retained":true,"event_id":"EVENT",{publisher}}},[1]]"#);
    subscriber.check(r#"[32,3,{"get_retained":true,"match":"prefix"},"a"]"#, &["[33,3,2]", &event]);
}

#[test]
fn a_live_event_is_not_called_retained() {
    let world = World::new();
    let (mut publisher, mut subscriber) = (world.join(), world.join());
    subscriber.check(r#"[32,1,{"get_retained":true},"a"]"#, &["[33,1,1]"]);
    publisher.check(r#"[16,1,{"retain":true},"a",[1]]"#, &[]);
    subscriber.expect(&[r#"[36,1,*,{"event_id":"EVENT"},[1]]"#]);
}

#[test]
fn an_empty_value_clears_what_was_retained() {
    let world = World::new();
    let mut client = world.join();
    for empty in ["", ",[]", ",[],{}", ",null"] {
        client.check(r#"[16,1,{"retain":true},"a",[1]]"#, &[]);
        client.check(&format!(r#"[16,1,{{"retain":true}},"a"{empty}]"#), &[]);
        client.check(r#"[32,2,{"get_retained":true},"a"]"#, &["[33,2,1]"]);
    }
}

#[test]
fn what_is_for_others_is_not_sent_later() {
    let world = World::new();
    let mut client = world.join();
    client.check(r#"[16,1,{"retain":true,"eligible_authid":["joe"]},"a",[1]]"#, &[]);
    client.check(r#"[32,2,{"get_retained":true},"a"]"#, &["[33,2,1]"]);
}

#[test]
fn a_retained_value_expires() {
    let mut world = World::new();
    world.join().check(r#"[16,1,{"retain":true,"message_expiry_interval":10},"a",[1]]"#, &[]);
    world.tick(4_000);
    world.join().check(
        r#"[32,2,{"get_retained":true},"a"]"#,
        &["[33,2,1]", r#"[36,1,*,{"retained":true,"event_id":"EVENT","message_expiry_interval":6},[1]]"#],
    );
    world.tick(6_000);
    world.join().check(r#"[32,2,{"get_retained":true},"a"]"#, &["[33,2,*]"]);
}

#[test]
fn a_full_store_of_retained_values_refuses_new_ones() {
    let limits = Limits { retained_messages_max: 1, ..Limits::default() };
    let mut client = Setup { limits, ..Setup::default() }.build().join();
    client.check(r#"[16,1,{"retain":true,"acknowledge":true},"a",[1]]"#, &["[17,1,*]"]);
    client.check_error(r#"[16,2,{"retain":true,"acknowledge":true},"b",[1]]"#, 16, 2, "fennec.error.quota_exceeded");
    client.check(r#"[16,3,{"retain":true,"acknowledge":true},"a",[2]]"#, &["[17,3,*]"]);
}

#[test]
fn many_retained_values_are_sent_as_the_client_reads_them() {
    let world = World::new();
    let (mut publisher, mut subscriber) = (world.join(), world.join());
    for number in 0..3000 {
        publisher.check(&format!(r#"[16,1,{{"retain":true}},"a.{number}",["{}"]]"#, "x".repeat(100)), &[]);
    }
    subscriber.send(r#"[32,1,{"get_retained":true},"a.#"]"#);
    let first = subscriber.gate.take(Vec::new(), NOW_MS);
    assert!(first.bytes() < 80_000, "{} bytes at once", first.bytes());
    let sent = frames(&first.tail).len() - 1;
    assert_eq!(sent + subscriber.received().len(), 3000);
}

#[test]
fn an_unsubscribed_pattern_gets_no_more_retained_values() {
    let world = World::new();
    let (mut publisher, mut subscriber) = (world.join(), world.join());
    for number in 0..2000 {
        publisher.check(&format!(r#"[16,1,{{"retain":true}},"a.{number}",["{}"]]"#, "x".repeat(100)), &[]);
    }
    subscriber.send(r#"[32,1,{"get_retained":true},"a.#"]"#);
    subscriber.send("[34,2,1]");
    let received = subscriber.received();
    assert_eq!(received.last().map(String::as_str), Some("[35,2]"));
    assert!(received.len() < 1000, "{}", received.len());
}

/// The syncs of a cluster, as the house of an entry sees them: how often they were asked.
fn in_a_cluster(world: &World) -> Arc<AtomicU64> {
    let asked = Arc::new(AtomicU64::new(0));
    let count = asked.clone();
    world.node.house.ask_by(Box::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
    }));
    asked
}

const RETAINED: &str = r#"[32,1,{"get_retained":true},"a"]"#;

#[test]
fn a_retained_value_comes_when_the_entry_has_what_was_acknowledged_elsewhere() {
    let world = World::new();
    let (mut publisher, mut subscriber, mut late) = (world.join(), world.join(), world.join());
    publisher.check(r#"[16,1,{"retain":true,"acknowledge":true},"a",[1]]"#, &["[17,1,*]"]);
    let asked = in_a_cluster(&world);
    subscriber.check(RETAINED, &["[33,1,1]"]);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    // The next question is for those who came behind this one.
    late.check(RETAINED, &["[33,1,1]"]);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    world.node.house.freshest(Some(7));
    world.node.house.followed(6);
    subscriber.expect(&[]);
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    // What is published meanwhile does not wait.
    publisher.check(r#"[16,2,{"acknowledge":true},"a",[2]]"#, &["[17,2,*]"]);
    subscriber.expect(&["[36,1,*,{},[2]]"]);
    world.node.house.followed(7);
    subscriber.expect(&[r#"[36,1,*,{"retained":true,"event_id":"EVENT"},[1]]"#]);
    late.expect(&["[36,1,*,{},[2]]"]);
    world.node.house.freshest(Some(7));
    late.expect(&[r#"[36,1,*,{"retained":true,"event_id":"EVENT"},[1]]"#]);
}

#[test]
fn without_a_quorum_retained_values_come_as_they_are_known() {
    let mut world = World::new();
    let mut publisher = world.join();
    publisher.check(r#"[16,1,{"retain":true,"acknowledge":true},"a",[1]]"#, &["[17,1,*]"]);
    in_a_cluster(&world);
    let event = r#"[36,1,*,{"retained":true,"event_id":"EVENT"},[1]]"#;
    let mut subscriber = world.join();
    subscriber.check(RETAINED, &["[33,1,1]"]);
    // Nobody says anything.
    world.tick(499);
    subscriber.expect(&[]);
    world.tick(1);
    subscriber.expect(&[event]);
    // It is known that there is no majority.
    let mut subscriber = world.join();
    subscriber.check(RETAINED, &["[33,1,1]"]);
    world.node.house.freshest(None);
    world.node.house.freshest(None);
    subscriber.expect(&[event]);
}
