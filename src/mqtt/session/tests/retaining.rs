//! Retained messages (MQTT 5, 3.3.1.3, 3.8.3.1, 3.8.4).

use super::*;
use crate::mqtt::codec::RetainHandling;

/// [MQTT-3.3.1-5], [MQTT-3.3.1-9]
#[test]
fn the_last_retained_message_greets_a_new_subscription() {
    let world = World::new();
    world.retain("a", "old");
    world.retain("a", "new");
    world.retain("b", "other");
    let mut publisher = world.join(v5("p"));
    publisher.publish("a", "not retained", Q0);
    for level in [Level::V3, Level::V4, Level::V5] {
        let mut peer = world.join(Connect { level, ..v5("s") });
        assert_eq!(peer.subscribe("a", Q0), ["publish a new retain"]);
        let mut all = peer.subscribe("#", Q0);
        all.sort();
        assert_eq!(all, ["publish a new retain", "publish b other retain"]);
    }
}

/// [MQTT-3.3.1-6], [MQTT-3.3.1-7], [MQTT-3.3.1-8]
#[test]
fn empty_retained_message_clears_and_is_passed_on() {
    let world = World::new();
    world.retain("a", "x");
    let mut peer = world.join(v5("s"));
    peer.subscribe("a", Q0);
    world.retain("a", "");
    assert_eq!(peer.hear(), ["publish a "]);
    assert!(world.join(v5("t")).subscribe("a", Q0).is_empty());
    assert_eq!(realm(&world).retained_size(), (0, 0));
}

#[test]
fn retained_message_has_the_lower_qos_and_the_identifier() {
    let world = World::new();
    let mut publisher = world.join(v5("p"));
    for (topic, qos) in [("q0", Q0), ("q1", Q1), ("q2", Q2)] {
        publisher.send_publish(Publish { retain: true, ..publish(topic, "x", qos) });
    }
    let mut peer = world.join(v5("s"));
    let mut heard = peer.subscribe_with(Some(9), to("+", Q1));
    heard.sort();
    let expected = ["publish q0 x retain id=9", "publish q1 x q1 #1 retain id=9", "publish q2 x q1 #2 retain id=9"];
    assert_eq!(heard, expected);
}

/// [MQTT-3.3.1-9] to [MQTT-3.3.1-11]
#[test]
fn retain_handling_says_when_retained_messages_are_sent() {
    let world = World::new();
    world.retain("a", "x");
    let mut peer = world.join(v5("s"));
    let retained = ["publish a x retain"];
    let always = to("a", Q0);
    let if_new = Subscription { retain_handling: RetainHandling::AtNewSubscribe, ..always };
    let never = Subscription { retain_handling: RetainHandling::Never, ..always };
    assert!(peer.subscribe_with(None, never).is_empty());
    assert!(peer.subscribe_with(None, if_new).is_empty(), "it is there");
    assert_eq!(peer.subscribe_with(None, always), retained);
    assert_eq!(peer.subscribe_with(None, always), retained, "[MQTT-3.8.4-3]");
    peer.send_unsubscribe(&["a"]);
    peer.hear();
    assert_eq!(peer.subscribe_with(None, if_new), retained);
}

#[test]
fn session_that_is_taken_up_again_is_not_sent_retained_messages_again() {
    let world = World::new();
    world.retain("a", "x");
    let mut peer = world.join(kept("s", 100));
    assert_eq!(peer.subscribe("a", Q0), ["publish a x retain"]);
    let mut new = world.connect(kept("s", 100));
    assert_eq!(new.hear(), ["connack Success present"]);
    drop(peer);
    new.cut();
    assert_eq!(world.connect(kept("s", 100)).hear(), ["connack Success present"]);
}

/// [MQTT-4.8.2-4] and 4.8.2: shared subscriptions get no retained messages.
#[test]
fn shared_subscription_is_not_sent_retained_messages() {
    let world = World::new();
    world.retain("a", "x");
    assert!(world.join(v5("s")).subscribe("$share/g/a", Q0).is_empty());
}

/// [MQTT-3.3.2-5], [MQTT-3.3.2-6]
#[test]
fn retained_message_expires() {
    let world = World::new();
    let mut publisher = world.join(v5("p"));
    let properties = PublishProperties { expiry_s: Some(10), content_type: Some("t"), ..PublishProperties::default() };
    publisher.publish_with(Publish { retain: true, ..publish("a", "x", Q0) }, &properties);
    world.pass(4_000);
    assert_eq!(world.join(v5("s")).subscribe("a", Q0), ["publish a x retain expires=6 type=t"]);
    world.pass(6_000);
    assert!(world.join(v5("s")).subscribe("a", Q0).is_empty());
}

#[test]
fn store_that_is_full_refuses_new_topics_only() {
    let world = Setup::limited(|limits| limits.retained_messages_max = 1).build();
    let mut peer = world.join(v5("p"));
    let mut retained = |topic: &str, payload: &str| {
        peer.send_publish(Publish { retain: true, ..publish(topic, payload, Q1) });
        peer.hear().remove(0).split(' ').skip(2).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(retained("a", "1"), "");
    assert_eq!(retained("b", "1"), "QuotaExceeded (no room for retained messages)");
    assert_eq!(retained("a", "2"), "");
    assert_eq!(retained("a", ""), "");
    assert_eq!(retained("b", "1"), "");
    assert_eq!(dropped(&world, Drop::RetainedFull), 1);
    let mut level_4 = world.join(v4("q"));
    level_4.send_publish(Publish { retain: true, ..publish("c", "x", Q1) });
    assert_eq!(level_4.hear(), ["puback #1"], "which knows no refusal");
}

#[test]
fn what_has_expired_leaves_its_room_to_others() {
    let world = Setup::limited(|limits| limits.retained_messages_max = 1).build();
    let mut peer = world.join(v5("p"));
    let properties = PublishProperties { expiry_s: Some(10), ..PublishProperties::default() };
    peer.publish_with(Publish { retain: true, ..publish("a", "x", Q1) }, &properties);
    world.pass(10_000);
    peer.send_publish(Publish { retain: true, ..publish("b", "y", Q1) });
    assert_eq!(peer.hear(), ["puback #1", "puback #2"]);
    assert_eq!(realm(&world).retained_size().0, 1);
}

/// The subscriber's last word must be the newest: an older value that waited for its turn is not sent behind a newer one.
#[test]
fn retained_message_that_was_replaced_while_it_waited_is_not_sent() {
    let world = World::new();
    for topic in ["a", "b", "c"] {
        world.retain(topic, "old");
    }
    let properties = ConnectProperties { receive_maximum: 1, ..ConnectProperties::default() };
    let mut retainer = world.join(v5("p"));
    retainer.send_publish(Publish { retain: true, ..publish("a", "old", Q1) });
    retainer.send_publish(Publish { retain: true, ..publish("b", "old", Q1) });
    retainer.send_publish(Publish { retain: true, ..publish("c", "old", Q1) });
    let mut peer = world.join(Connect { properties, ..v5("s") });
    assert_eq!(peer.subscribe("#", Q1), ["publish a old q1 #1 retain"]);
    retainer.send_publish(Publish { retain: true, ..publish("b", "new", Q0) });
    retainer.send_publish(Publish { retain: true, ..publish("c", "", Q0) });
    assert_eq!(peer.hear(), ["publish b new", "publish c "]);
    peer.ack(AckType::Puback, 1);
    assert!(peer.hear().is_empty());
}

/// A client that asks again and again and does not read is owed each retained message once.
#[test]
fn repeated_subscription_starts_over() {
    let world = World::new();
    for number in 0..200 {
        world.retain(&format!("t/{number}"), "x");
    }
    let mut peer = world.join(v5("s"));
    peer.send_subscribe(None, &[to("#", Q0); 5]);
    assert_eq!(peer.hear().len(), 1 + 200);
    peer.send_subscribe(None, &[to("#", Q0), to("t/#", Q0)]);
    assert_eq!(peer.hear().len(), 1 + 2 * 200, "each subscription has its own");
}

#[test]
fn retained_messages_of_qos_1_outlast_the_connection() {
    let world = World::new();
    let mut publisher = world.join(v5("p"));
    for topic in ["a", "b", "c"] {
        publisher.send_publish(Publish { retain: true, ..publish(topic, "x", Q1) });
    }
    let properties = ConnectProperties { receive_maximum: 1, session_expiry_s: 100, ..ConnectProperties::default() };
    let connect = Connect { properties, ..kept("s", 100) };
    let mut peer = world.join(connect.clone());
    assert_eq!(peer.subscribe("#", Q1), ["publish a x q1 #1 retain"]);
    peer.cut();
    let old = world.join_and_hear(connect, &["publish a x q1 #1 dup retain"]);
    let mut new = world.connect(kept("s", 100));
    drop(old);
    assert_eq!(
        new.hear()[1..],
        ["publish a x q1 #1 dup retain", "publish b x q1 #2 retain", "publish c x q1 #3 retain"]
    );
}

#[test]
fn retained_message_is_not_sent_to_those_who_may_not_read_it() {
    use crate::router::authorize::{Action, Permission};
    let rule = |actions: &[Action], filter: &str| Permission {
        actions: actions.to_vec(),
        pattern: TopicPattern::from_filter(filter).unwrap(),
        allow: true,
    };
    let reader = Role {
        name: "anonymous".into(),
        permissions: vec![rule(&[Action::Subscribe], "a/#"), rule(&[Action::Publish], "#")],
        asks: None,
    };
    let world = Setup { roles: vec![reader], ..Setup::default() }.build();
    world.retain("a/b", "x");
    world.retain("b", "x");
    let mut peer = world.join(v5("s"));
    assert_eq!(peer.subscribe("a/#", Q0), ["publish a/b x retain"]);
    peer.send_subscribe(None, &[to("#", Q0)]);
    assert_eq!(peer.hear(), ["suback #2 NotAuthorized"]);
}

#[test]
fn expired_messages_are_removed_a_slice_at_a_time() {
    let world = World::new();
    let mut peer = world.join(v5("p"));
    for number in 0..3000u32 {
        let properties = PublishProperties { expiry_s: Some(10 + number % 2 * 10), ..PublishProperties::default() };
        let topic = format!("t/{number}");
        peer.publish_with(Publish { retain: true, ..publish(&topic, "x", Q0) }, &properties);
    }
    world.retain("stays", "x");
    world.pass(10_000);
    let left = realm(&world).retained_size().0;
    assert!(left > 1501, "not all at once");
    (0..3).for_each(|_| world.pass(1));
    assert_eq!(realm(&world).retained_size().0, 1501);
    world.pass(10_000);
    (0..3).for_each(|_| world.pass(1));
    assert_eq!(realm(&world).retained_size().0, 1);
}
