//! SUBSCRIBE and UNSUBSCRIBE and their options (MQTT 5, 3.8 to 3.11, 4.7).

use super::*;
use crate::router::authorize::{Action, Permission};

#[test]
fn each_filter_is_answered_in_its_order() {
    let world = World::new();
    let mut peer = world.join(v5("s"));
    peer.send_subscribe(None, &[to("a/b", Q2), to("+/b", Q0), to("$rpc-reply/1", Q1), to("#", Q1)]);
    assert_eq!(peer.hear(), ["suback #1 GrantedQos2 Success TopicFilterInvalid GrantedQos1"]);
    peer.send_unsubscribe(&["#", "c", "a/b", "a/b"]);
    assert_eq!(peer.hear(), ["unsuback #2 Success NoSubscriptionExisted Success NoSubscriptionExisted"]);
}

#[test]
fn unsuback_of_level_4_has_no_codes() {
    let world = World::new();
    let mut peer = world.join(v4("s"));
    peer.subscribe("a", Q0);
    peer.send_unsubscribe(&["a", "b"]);
    assert_eq!(peer.bytes(), b"\xb0\x02\0\x02");
}

/// [MQTT-4.7.2-1] and the wildcards of 4.7.1.
#[test]
fn wildcards_match_as_the_specification_says() {
    let world = World::new();
    let mut publisher = world.join(v5("p"));
    for (filter, matching, others) in [
        (
            "sport/tennis/#",
            &["sport/tennis", "sport/tennis/a", "sport/tennis/a/b"][..],
            &["sport", "sport/tennisx"][..],
        ),
        ("sport/+", &["sport/a", "sport/"], &["sport", "sport/a/b"]),
        ("+/+", &["/finance", "a/b"], &["finance", "a/b/c"]),
        ("/+", &["/finance"], &["finance"]),
        ("+", &["finance"], &["/finance"]),
    ] {
        let mut peer = world.join(v5("s"));
        peer.subscribe(filter, Q0);
        matching.iter().chain(others).for_each(|topic| publisher.publish(topic, "x", Q0));
        assert_eq!(
            peer.hear(),
            matching.iter().map(|topic| format!("publish {topic} x")).collect::<Vec<_>>(),
            "{filter}"
        );
    }
}

#[test]
fn status_topics_are_not_matched_by_leading_wildcards() {
    let world = World::new();
    let mut peer = world.join(v5("s"));
    peer.subscribe("#", Q0);
    peer.subscribe("+/broker/uptime", Q0);
    let last = world.node.log.fed();
    world.node.publish_sys(5, NOW_MS);
    assert!(peer.hear().is_empty());
    assert_eq!(world.node.log.fed(), last, "they are no news for the log");
    peer.subscribe("$SYS/broker/clients/connected", Q0);
    assert!(
        peer.subscribe("$SYS/broker/+", Q1).contains(&"publish $SYS/broker/uptime 5 seconds q1 #1 retain".to_owned())
    );
}

/// [MQTT-3.3.4-3]
#[test]
fn subscription_identifier_comes_with_what_it_matched() {
    let world = World::new();
    let mut peer = world.join(v5("s"));
    peer.subscribe_with(Some(7), to("a", Q0));
    peer.subscribe_with(None, to("b", Q0));
    peer.subscribe_with(Some(268_435_455), to("c", Q1));
    let mut publisher = world.join(v4("p"));
    for topic in ["a", "b", "c"] {
        publisher.publish(topic, "x", Q1);
    }
    assert_eq!(peer.hear(), ["publish a x id=7", "publish b x", "publish c x q1 #1 id=268435455"]);
    peer.subscribe_with(None, to("a", Q0));
    publisher.publish("a", "x", Q1);
    assert_eq!(peer.hear(), ["publish a x"], "a new subscription replaces the old one with its identifier");
}

/// [MQTT-3.3.4-2], [MQTT-3.3.4-4]: one copy, the highest QoS, all identifiers.
#[test]
fn overlapping_subscriptions_give_one_copy() {
    let world = World::new();
    let mut peer = world.join(v5("s"));
    peer.subscribe_with(Some(1), to("a/+", Q0));
    peer.subscribe_with(Some(2), to("a/#", Q2));
    peer.subscribe_with(Some(3), to("a/b", Q1));
    peer.subscribe_with(Some(4), to("b", Q1));
    let mut level_4 = world.join(v4("t"));
    level_4.subscribe("a/+", Q0);
    level_4.subscribe("a/b", Q1);
    world.join(v5("p")).publish("a/b", "x", Q2);
    assert_eq!(peer.hear(), ["publish a/b x q2 #1 id=1 id=2 id=3"]);
    assert_eq!(level_4.hear(), ["publish a/b x q1 #1"]);
}

#[test]
fn subscriptions_and_their_options_outlive_the_connection() {
    let world = World::new();
    let mut peer = world.join(kept("s", 100));
    peer.subscribe_with(Some(7), Subscription { no_local: true, retain_as_published: true, ..to("a", Q1) });
    peer.cut();
    let mut peer = world.join(kept("s", 100));
    peer.publish("a", "own", Q0);
    let mut publisher = world.join(v5("p"));
    publisher.send_publish(Publish { retain: true, ..publish("a", "x", Q1) });
    assert_eq!(peer.hear(), ["publish a x q1 #1 retain id=7"]);
}

/// [MQTT-3.8.3-3]
#[test]
fn no_local_keeps_a_clients_own_messages_from_it() {
    let world = World::new();
    for (level, qos) in [(Level::V4, Q0), (Level::V5, Q0), (Level::V5, Q1)] {
        let mut peer = world.join(Connect { level, ..v5("s") });
        peer.subscribe_with(None, Subscription { no_local: level == Level::V5, ..to("a", qos) });
        peer.publish("a", "own", Q0);
        world.join(v5("p")).publish("a", "other", Q0);
        let heard = peer.hear();
        let expected = ["publish a own", "publish a other"];
        assert_eq!(heard, if level == Level::V5 { &expected[1..] } else { &expected[..] });
    }
}

#[test]
fn own_message_comes_if_any_matching_subscription_wants_it() {
    let world = World::new();
    let mut peer = world.join(v5("s"));
    peer.subscribe_with(Some(1), Subscription { no_local: true, ..to("a", Q0) });
    peer.subscribe_with(Some(2), to("#", Q0));
    peer.publish("a", "own", Q0);
    assert_eq!(peer.hear(), ["publish a own id=1 id=2"]);
}

/// [MQTT-3.3.1-12], [MQTT-3.3.1-13]
#[test]
fn retain_flag_is_kept_only_as_asked() {
    let world = World::new();
    let mut plain = world.join(v5("s"));
    plain.subscribe("a", Q0);
    let mut asking = world.join(v5("t"));
    asking.subscribe_with(None, Subscription { retain_as_published: true, ..to("a", Q0) });
    let mut publisher = world.join(v5("p"));
    for retain in [true, false] {
        publisher.send_publish(Publish { retain, ..publish("a", "x", Q0) });
    }
    assert_eq!(plain.hear(), ["publish a x", "publish a x"]);
    assert_eq!(asking.hear(), ["publish a x retain", "publish a x"]);
}

#[test]
fn filter_that_the_operator_refuses_is_refused_with_all_within_it() {
    let refuse_filters = vec![TopicPattern::from_filter("big/#").unwrap()];
    let world =
        Setup { settings: Settings { realm: None, anonymous: true, refuse_filters }, ..Setup::default() }.build();
    let mut peer = world.join(v5("s"));
    peer.send_subscribe(None, &[to("big/#", Q0), to("big/+/x", Q0), to("big", Q0), to("$share/g/big/a", Q0)]);
    assert_eq!(peer.hear(), [format!("suback #1{}", " NotAuthorized".repeat(4))]);
    peer.subscribe("bigger", Q0);
    peer.subscribe("#", Q0);
    let mut level_4 = world.join(v4("t"));
    level_4.send_subscribe(None, &[to("big/a", Q0)]);
    assert_eq!(level_4.hear(), ["suback #1 UnspecifiedError"]);
}

/// One role may read `open/#` but `open/secret`.
fn world_with_secrets() -> World {
    let rule = |actions: &[Action], filter: &str, allow| Permission {
        actions: actions.to_vec(),
        pattern: TopicPattern::from_filter(filter).unwrap(),
        allow,
    };
    let permissions = vec![
        rule(&[Action::Subscribe], "open/#", true),
        rule(&[Action::Subscribe], "open/secret", false),
        rule(&[Action::Publish], "open/#", true),
    ];
    let role = Role { name: "anonymous".into(), permissions, asks: None };
    Setup { roles: vec![role], ..Setup::default() }.build()
}

#[test]
fn filter_that_the_role_may_not_read_is_refused() {
    let world = world_with_secrets();
    let mut peer = world.join(v5("s"));
    peer.send_subscribe(
        None,
        &[to("open/a", Q1), to("open/secret", Q1), to("open/#", Q1), to("closed", Q1), to("$SYS/#", Q0)],
    );
    let refused = " NotAuthorized".repeat(4);
    assert_eq!(peer.hear(), [format!("suback #1 GrantedQos1{refused}")]);
    peer.publish("closed", "x", Q1);
    assert_eq!(peer.hear(), ["puback #2 NotAuthorized"]);
    let mut level_4 = world.join(v4("t"));
    level_4.send_subscribe(None, &[to("closed", Q1), to("open/a", Q1)]);
    assert_eq!(level_4.hear(), ["suback #1 UnspecifiedError GrantedQos1"]);
}

#[test]
fn more_subscriptions_than_allowed_are_refused() {
    let world = Setup::limited(|limits| limits.subscriptions_per_session_max = 2).build();
    let mut peer = world.join(v5("s"));
    peer.send_subscribe(None, &[to("a", Q0), to("b", Q0), to("c", Q0), to("b", Q1)]);
    assert_eq!(peer.hear(), ["suback #1 Success Success QuotaExceeded GrantedQos1"]);
    peer.send_unsubscribe(&["a"]);
    peer.hear();
    assert!(peer.subscribe("c", Q0).is_empty());
    assert_eq!(realm(&world).subscriptions_len(), 2);
}

#[test]
fn too_many_filters_in_one_packet_close_the_connection() {
    let world = Setup::limited(|limits| limits.mqtt_subscribe_filters_max = 2).build();
    let said = "disconnect QuotaExceeded (too many topic filters in one packet)";
    let mut peer = world.join(v5("s"));
    peer.send_subscribe(None, &[to("a", Q0), to("b", Q0), to("c", Q0)]);
    assert_eq!(peer.hear(), [said, "closed"]);
    let mut peer = world.join(v5("s"));
    peer.send_unsubscribe(&["a", "b", "c"]);
    assert_eq!(peer.hear(), [said, "closed"]);
    assert_eq!(realm(&world).subscriptions_len(), 0);
}
