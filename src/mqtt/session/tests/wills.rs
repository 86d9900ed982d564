//! Wills: when they are published, and when not (MQTT 5, 3.1.2.5, 3.1.3.2, 3.14.4).

use super::*;

fn with_will<'a>(connect: Connect<'a>, will: Will<'a>) -> Connect<'a> {
    Connect { will: Some(will), ..connect }
}

/// Somebody who hears of wills on `w`.
fn heir(world: &World) -> Peer {
    let mut heir = world.join(v5("heir"));
    heir.subscribe("w", Q2);
    heir
}

/// [MQTT-3.1.2-8]
#[test]
fn will_is_published_when_the_connection_is_lost() {
    let world = World::new();
    let mut heir = heir(&world);
    for (level, session_expiry_s) in [(Level::V3, 0), (Level::V4, 0), (Level::V5, 0), (Level::V5, 100)] {
        let connect = Connect { level, clean_start: true, ..kept("c", session_expiry_s) };
        world.join(with_will(connect, will("w", "x"))).cut();
        assert_eq!(heir.hear(), ["publish w x"]);
    }
}

/// [MQTT-3.1.2-10], [MQTT-3.14.4-3]
#[test]
fn goodbye_deletes_the_will() {
    let world = World::new();
    let mut heir = heir(&world);
    for connect in [v4("c"), v5("c"), kept("d", 100)] {
        let delayed = Will { delay_s: if connect.level == Level::V5 { 5 } else { 0 }, ..will("w", "x") };
        world.join(with_will(connect, delayed)).leave();
        world.pass(1_000_000);
        assert!(heir.hear().is_empty());
    }
}

/// The store works again, and the client is back, before the log has heard of the goodbye.
#[test]
fn goodbye_that_the_store_did_not_take_deletes_the_will_nevertheless() {
    let world = World::new();
    let mut heir = heir(&world);
    for connect in [v4("c"), v5("c"), kept("d", 100)] {
        let peer = world.join(with_will(connect.clone(), will("w", "x")));
        world.store.fails.store(true, Ordering::Relaxed);
        peer.leave();
        world.store.fails.store(false, Ordering::Relaxed);
        recover(&world.node);
        world.join(with_will(connect, will("w", "y"))).leave();
        world.pass(1_000_000);
        assert!(heir.hear().is_empty());
    }
}

/// MQTT 5, 3.1.2.5: only DISCONNECT with code 0x00 deletes the will.
#[test]
fn disconnect_with_another_code_publishes_the_will() {
    let world = World::new();
    let mut heir = heir(&world);
    for code in [ReasonCode::DisconnectWithWillMessage, ReasonCode::UnspecifiedError, ReasonCode::QuotaExceeded] {
        let mut peer = world.join(with_will(v5("c"), will("w", "x")));
        peer.send_packet(&Packet::Disconnect(Disconnect::new(code)));
        assert_eq!(peer.hear(), ["closed"]);
        assert_eq!(heir.hear(), ["publish w x"], "{code:?}");
    }
}

#[test]
fn will_is_published_when_the_client_breaks_a_rule_or_falls_silent() {
    let world = World::new();
    let mut heir = heir(&world);
    let mut peer = world.join(with_will(v4("c"), will("w", "x")));
    peer.feed(b"\x00\x00");
    assert_eq!(heir.hear(), ["publish w x"]);
    let mut peer = world.join(with_will(Connect { keep_alive_s: 10, ..v5("c") }, will("w", "y")));
    world.pass(15_000);
    assert_eq!(peer.hear(), ["disconnect KeepAliveTimeout", "closed"]);
    assert_eq!(heir.hear(), ["publish w y"]);
}

#[test]
fn will_has_qos_retain_and_properties() {
    let world = World::new();
    let mut heir = heir(&world);
    let pairs = owned(&[("k", "v")]);
    let properties = PublishProperties {
        payload_is_text: Some(true),
        content_type: Some("t"),
        response_topic: Some("r"),
        correlation_data: Some(b"c"),
        user_properties: UserProperties::new(&pairs),
        expiry_s: Some(9),
        ..PublishProperties::default()
    };
    world.join(with_will(v5("c"), Will { qos: Q2, retain: true, properties, ..will("w", "x") })).cut();
    let said = "text=true expires=9 type=t reply=r correlation=c k:v";
    assert_eq!(heir.hear(), [format!("publish w x q2 #1 {said}")]);
    assert_eq!(world.join(v5("late")).subscribe("w", Q0), [format!("publish w x retain {said}")]);
}

/// MQTT 5, 3.1.3.2.2.
#[test]
fn delayed_will_is_published_when_its_delay_has_passed() {
    let world = World::new();
    let mut heir = heir(&world);
    world.join(with_will(kept("c", 100), Will { delay_s: 10, ..will("w", "x") })).cut();
    world.pass(9_999);
    assert!(heir.hear().is_empty());
    world.pass(2);
    assert_eq!(heir.hear(), ["publish w x"]);
    world.pass(1_000_000);
    assert!(heir.hear().is_empty(), "once");
}

/// MQTT 5, 3.1.3.2.2.
#[test]
fn delayed_will_is_published_when_the_session_ends_if_that_is_earlier() {
    let world = World::new();
    let mut heir = heir(&world);
    let delayed = Will { delay_s: 1000, ..will("w", "x") };
    world.join(with_will(kept("c", 5), delayed.clone())).cut();
    world.pass(5_001);
    assert_eq!(heir.hear(), ["publish w x"]);
    world.join(with_will(kept("c", 0), delayed.clone())).cut();
    assert_eq!(heir.hear(), ["publish w x"], "a session without expiry ends at once");
    world.join(with_will(kept("c", 100), delayed.clone())).cut();
    let _clean = world.join(v5("c"));
    assert_eq!(heir.hear(), ["publish w x"], "a clean start ends it");
    let mut peer = world.join(with_will(kept("d", 100), delayed));
    peer.send_packet(&Packet::Disconnect(Disconnect {
        session_expiry_s: Some(0),
        ..Disconnect::new(ReasonCode::DisconnectWithWillMessage)
    }));
    assert_eq!(heir.hear(), ["publish w x"], "so does DISCONNECT with expiry 0");
}

/// [MQTT-3.1.3-9]
#[test]
fn delayed_will_is_not_published_if_the_client_is_back_in_time() {
    let world = World::new();
    let mut heir = heir(&world);
    world.join(with_will(kept("c", 100), Will { delay_s: 10, ..will("w", "x") })).cut();
    world.pass(9_000);
    let peer = world.join(kept("c", 100));
    world.pass(9_000);
    peer.cut();
    world.pass(1_000_000);
    assert!(heir.hear().is_empty());
}

/// MQTT 5, 3.1.4, and in 3.1.1 the connection is closed without DISCONNECT.
#[test]
fn will_is_published_on_a_takeover_unless_it_may_wait_and_the_session_goes_on() {
    let world = World::new();
    let mut heir = heir(&world);
    let now = will("w", "x");
    let later = Will { delay_s: 10, ..will("w", "x") };
    let unclean_4 = Connect { clean_start: false, ..v4("c") };
    for (old, new, published) in [
        (with_will(v4("c"), now.clone()), v4("c"), true),
        (with_will(unclean_4.clone(), now.clone()), unclean_4, true),
        (with_will(kept("c", 100), now.clone()), kept("c", 100), true),
        (with_will(kept("c", 100), later.clone()), kept("c", 100), false),
        (with_will(kept("c", 100), later.clone()), v5("c"), true),
        (with_will(kept("c", 0), later.clone()), kept("c", 100), true),
    ] {
        let what = format!("{old:?} {new:?}");
        let mut old = world.join(Connect { clean_start: true, ..old });
        let new = world.connect(new);
        old.hear();
        assert_eq!(heir.hear(), if published { &["publish w x"][..] } else { &[] }, "{what}");
        drop(new);
        world.pass(200_000);
        assert!(heir.hear().is_empty(), "{what}");
    }
}

#[test]
fn will_of_the_new_connection_takes_the_place_of_the_old() {
    let world = World::new();
    let mut heir = heir(&world);
    world.join(with_will(kept("c", 100), Will { delay_s: 10, ..will("w", "old") })).cut();
    world.join(with_will(kept("c", 100), Will { delay_s: 5, ..will("w", "new") })).cut();
    world.pass(100_000);
    assert_eq!(heir.hear(), ["publish w new"]);
}

#[test]
fn will_to_a_topic_that_is_not_allowed_refuses_the_connection() {
    let world = World::new();
    for topic in ["$SYS/x", "wamp/x", "fennec"] {
        let refused = "connack NotAuthorized (not authorized to publish the will)";
        assert_eq!(world.connect(with_will(v5("c"), will(topic, "x"))).hear(), [refused, "closed"]);
        assert_eq!(world.connect(with_will(v4("c"), will(topic, "x"))).hear(), ["connack NotAuthorized", "closed"]);
    }
    let refused = "connack TopicNameInvalid (the will's topic)";
    assert_eq!(world.connect(with_will(v5("c"), will("$rpc/p", "x"))).hear(), [refused, "closed"]);
    assert_eq!(world.connect(with_will(v4("c"), will("$rpc/p", "x"))).hear(), ["closed"]);
    assert_eq!(realm(&world).sessions_len(), 0);
}

#[test]
fn wills_are_published_when_the_node_stops() {
    let world = World::new();
    let mut heir = heir(&world);
    let mut peer = world.join(with_will(v5("c"), will("w", "x")));
    world.node.drain();
    assert_eq!(peer.hear(), ["disconnect ServerShuttingDown", "closed"]);
    assert_eq!(heir.hear(), ["publish w x", "disconnect ServerShuttingDown", "closed"]);
}
