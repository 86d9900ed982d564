//! Which session a connection gets, how long sessions are kept, and who has them (MQTT 5, 3.1.2.4, 3.1.2.11.2, 4.1).

use super::*;
use crate::mqtt::codec::PINGREQ;
use crate::node::clients::NEVER_S;

/// [MQTT-3.2.2-2], [MQTT-3.2.2-3].
#[test]
fn session_present_says_whether_the_session_was_there() {
    let world = World::new();
    let mut peer = world.connect(kept("c", 100));
    assert_eq!(peer.hear(), ["connack Success"]);
    peer.leave();
    assert_eq!(world.connect(kept("c", 100)).hear(), ["connack Success present"]);
}

#[test]
fn session_of_level_4_is_kept_unless_it_is_clean() {
    let world = World::new();
    let unclean = Connect { clean_start: false, ..v4("c") };
    let mut peer = world.connect(unclean.clone());
    assert_eq!(peer.hear(), ["connack Success"]);
    peer.subscribe("a", Q1);
    peer.leave();
    world.join(v5("p")).publish("a", "x", Q1);
    assert_eq!(world.connect(unclean.clone()).hear(), ["connack Success present", "publish a x q1 #1"]);
    // A clean session begins and ends with its connection [MQTT-3.1.2-6 of 3.1.1].
    assert_eq!(world.connect(v4("c")).hear(), ["connack Success"]);
    assert_eq!(world.connect(unclean).hear(), ["connack Success"]);
}

/// MQTT 3.1, 3.2: the byte is reserved.
#[test]
fn level_3_is_not_told_whether_the_session_was_there() {
    let world = World::new();
    let connect = Connect { level: Level::V3, clean_start: false, ..v5("c") };
    let mut peer = world.join(connect.clone());
    peer.subscribe("a", Q1);
    peer.leave();
    world.join(v5("p")).publish("a", "x", Q1);
    assert_eq!(world.connect(connect).hear(), ["connack Success", "publish a x q1 #1"]);
}

/// [MQTT-3.1.2-4]
#[test]
fn clean_start_forgets_the_session() {
    let world = World::new();
    let mut peer = world.join(kept("c", 100));
    peer.subscribe("a", Q1);
    peer.leave();
    world.join(v5("p")).publish("a", "missed", Q1);
    let mut peer = world.connect(Connect { clean_start: true, ..kept("c", 100) });
    assert_eq!(peer.hear(), ["connack Success"]);
    world.join(v5("p")).publish("a", "y", Q1);
    assert!(peer.hear().is_empty(), "the subscription is gone");
}

/// MQTT 5, 3.1.2.11.2.
#[test]
fn session_without_expiry_ends_with_its_connection() {
    let world = World::new();
    let mut peer = world.join(kept("c", 0));
    peer.subscribe("a", Q1);
    peer.cut();
    assert_eq!(realm(&world).subscriptions_len(), 0);
    assert_eq!(realm(&world).sessions_len(), 0);
    assert_eq!(world.connect(kept("c", 0)).hear(), ["connack Success"]);
}

/// [MQTT-4.1.0-2]
#[test]
fn session_ends_when_its_expiry_has_passed() {
    let world = World::new();
    let mut peer = world.join(kept("c", 10));
    peer.subscribe("a", Q1);
    peer.leave();
    world.pass(9_999);
    assert_eq!(realm(&world).subscriptions_len(), 1);
    world.pass(2);
    assert_eq!(realm(&world).subscriptions_len(), 0);
    assert_eq!(realm(&world).sessions_len(), 0);
    assert_eq!(world.connect(kept("c", 10)).hear(), ["connack Success"]);
}

#[test]
fn expiry_counts_from_the_last_connection() {
    let world = World::new();
    for _ in 0..3 {
        let peer = world.join(kept("c", 10));
        world.pass(30_000);
        peer.leave();
        world.pass(9_000);
        assert_eq!(world.connect(kept("c", 10)).hear(), ["connack Success present"]);
    }
}

/// MQTT 5, 3.1.2.11.2.
#[test]
fn session_with_the_highest_expiry_never_expires() {
    let world = Setup::limited(|limits| limits.mqtt_session_expiry_s_max = NEVER_S).build();
    world.join(kept("c", NEVER_S)).leave();
    world.pass(100 * 365 * 24 * 3600 * 1000);
    assert_eq!(world.connect(kept("c", 0)).hear(), ["connack Success present"]);
}

/// [MQTT-3.2.2-21]: the server tells the expiry that it uses.
#[test]
fn expiry_above_the_limit_is_cut_and_the_client_is_told() {
    let world = Setup::limited(|limits| limits.mqtt_session_expiry_s_max = 5).build();
    let mut peer = world.connect(kept("c", 100));
    assert_eq!(connack_properties(&mut peer, |properties| properties.session_expiry_s), Some(5));
    peer.leave();
    world.pass(5_001);
    assert_eq!(world.connect(kept("c", 100)).hear(), ["connack Success"]);
}

#[test]
fn session_of_level_4_is_kept_as_long_as_any_may_be() {
    let world = Setup::limited(|limits| limits.mqtt_session_expiry_s_max = 5).build();
    world.join(Connect { clean_start: false, ..v4("c") }).leave();
    world.pass(4_999);
    assert_eq!(realm(&world).sessions_len(), 1);
    world.pass(2);
    assert_eq!(realm(&world).sessions_len(), 0);
}

fn goodbye(session_expiry_s: u32) -> Packet<'static> {
    let disconnect = Disconnect::new(ReasonCode::Success);
    Packet::Disconnect(Disconnect { session_expiry_s: Some(session_expiry_s), ..disconnect })
}

/// MQTT 5, 3.14.2.2.2.
#[test]
fn disconnect_may_change_the_expiry() {
    let world = World::new();
    world.join(kept("ends", 100)).send_packet(&goodbye(0));
    world.join(kept("stays", 1)).send_packet(&goodbye(100));
    world.pass(50_000);
    assert_eq!(world.connect(kept("ends", 100)).hear(), ["connack Success"]);
    assert_eq!(world.connect(kept("stays", 1)).hear(), ["connack Success present"]);
}

/// MQTT 5, 3.14.2.2.2.
#[test]
fn disconnect_must_not_keep_a_session_that_was_not_to_be_kept() {
    let world = World::new();
    let mut peer = world.join(kept("c", 0));
    peer.send_packet(&goodbye(100));
    let what = "a session that expires with its connection cannot be kept";
    assert_eq!(peer.hear(), [&*format!("disconnect ProtocolError ({what})"), "closed"]);
    assert_eq!(realm(&world).sessions_len(), 0);
}

/// [MQTT-3.1.4-3]
#[test]
fn session_is_taken_over_by_the_next_connection_of_its_client_id() {
    let world = World::new();
    let mut old = world.join(kept("c", 100));
    old.subscribe("a", Q0);
    let mut new = world.connect(kept("c", 100));
    assert_eq!(old.hear(), ["disconnect SessionTakenOver", "closed"]);
    assert_eq!(new.hear(), ["connack Success present"]);
    world.join(v5("p")).publish("a", "x", Q0);
    old.cut();
    assert_eq!(new.hear(), ["publish a x"], "the end of the old connection does not touch the session");
}

/// [MQTT-3.14.0-1]: no DISCONNECT before a CONNACK.
#[test]
fn connection_that_is_taken_over_before_its_connack_is_written_is_just_closed() {
    let world = World::new();
    let mut old = world.connect(kept("c", 100));
    let mut new = world.connect(kept("c", 100));
    assert_eq!(old.hear(), ["closed"]);
    assert_eq!(new.hear(), ["connack Success present"]);
}

#[test]
fn connection_of_level_4_that_is_taken_over_is_closed() {
    let world = World::new();
    let mut old = world.join(v4("c"));
    let mut new = world.connect(v4("c"));
    assert_eq!(old.hear(), ["closed"]);
    assert_eq!(new.hear(), ["connack Success"]);
}

#[test]
fn clean_start_takes_over_without_the_session() {
    let world = World::new();
    let mut old = world.join(kept("c", 100));
    old.subscribe("a", Q0);
    let mut new = world.connect(v5("c"));
    assert_eq!(old.hear(), ["disconnect SessionTakenOver", "closed"]);
    assert_eq!(new.hear(), ["connack Success"]);
    assert_eq!(realm(&world).subscriptions_len(), 0);
}

/// MQTT 5, 3.1.4 and 3.1.2.11.2: its connection ends, and so does the session [MQTT-3.1.2-6 of 3.1.1].
#[test]
fn session_that_ends_with_its_connection_is_not_taken_over() {
    let world = World::new();
    for (old, new) in [(kept("c", 0), kept("c", 100)), (v4("d"), Connect { clean_start: false, ..v4("d") })] {
        let mut old = world.join(old);
        old.subscribe("a", Q0);
        assert_eq!(world.connect(new).hear(), ["connack Success"]);
        assert_eq!(realm(&world).subscriptions_len(), 0);
        assert_eq!(old.hear().last().map(String::as_str), Some("closed"));
    }
}

/// What a connection had sent before it saw its end must not bring to life what has ended.
#[test]
fn late_subscription_of_a_session_that_has_ended_is_not_kept() {
    let world = World::new();
    let mut old = world.join(v5("c"));
    let _new = world.join(v5("c"));
    old.send_subscribe(None, &[to("a", Q1), to("$share/g/a", Q1), to("$rpc/p", Q1)]);
    assert_eq!(old.hear(), ["disconnect SessionTakenOver", "closed"]);
    assert_eq!(realm(&world).subscriptions_len(), 0);
    let mut caller = world.join(v5("caller"));
    caller.subscribe("answers", Q0);
    let properties = PublishProperties { response_topic: Some("answers"), ..PublishProperties::default() };
    caller.publish_with(publish("$rpc/p", "", Q0), &properties);
    let heard = caller.hear();
    assert!(heard.len() == 1 && heard[0].contains("wamp.error.no_such_procedure"), "{heard:?}");
}

/// MQTT 5, 3.1.3.1.
#[test]
fn client_without_an_id_is_given_one_and_told() {
    let world = World::new();
    let mut first = world.connect(v5(""));
    let mut second = world.connect(v5(""));
    let told = |peer: &mut Peer| {
        connack_properties(peer, |properties| properties.assigned_client_identifier.map(str::to_owned)).unwrap()
    };
    let (first_id, second_id) = (told(&mut first), told(&mut second));
    assert_ne!(first_id, second_id);
    let mut again = world.connect(kept(&first_id, 0));
    assert_eq!(first.hear(), ["disconnect SessionTakenOver", "closed"]);
    assert!(!connack_properties(&mut again, |properties| properties.assigned_client_identifier.is_some()));
    assert!(second.hear().is_empty());
}

#[test]
fn level_4_may_do_without_a_client_id_only_if_clean() {
    let world = World::new();
    assert_eq!(world.connect(v4("")).hear(), ["connack Success"]);
    let unclean = Connect { clean_start: false, ..v4("") };
    assert_eq!(world.connect(unclean).hear(), ["connack ClientIdentifierNotValid", "closed"]);
    let level_3 = Connect { level: Level::V3, ..v5("") };
    assert_eq!(world.connect(level_3).hear(), ["connack ClientIdentifierNotValid", "closed"]);
}

#[test]
fn session_goes_on_at_another_level() {
    let world = World::new();
    let mut peer = world.join(Connect { clean_start: false, ..v4("c") });
    peer.subscribe("a", Q1);
    let mut publisher = world.join(v5("p"));
    let properties = PublishProperties { content_type: Some("t"), ..PublishProperties::default() };
    publisher.publish_with(publish("a", "1", Q1), &properties);
    assert_eq!(peer.hear(), ["publish a 1 q1 #1"]);
    let mut peer = world.connect(kept("c", 100));
    assert_eq!(peer.hear(), ["connack Success present", "publish a 1 q1 #1 dup type=t"]);
    publisher.publish_with(publish("a", "2", Q0), &properties);
    assert_eq!(peer.hear(), ["publish a 2 type=t"]);
}

/// Each of two clients takes the session from the other as soon as it has lost it.
#[test]
fn clients_that_fight_for_a_client_id_wait_ever_longer() {
    let world = World::new();
    for connect in [v5("fought"), kept("fought", 1000)] {
        let mut holder = world.join(connect.clone());
        for _ in 0..3 {
            let mut next = world.connect(connect.clone());
            assert!(next.hear()[0].starts_with("connack Success"));
            assert_eq!(holder.hear(), ["disconnect SessionTakenOver", "closed"]);
            holder = next;
        }
        for delay_ms in [100, 200, 400] {
            let mut next = world.connect(connect.clone());
            // What it sends ahead waits, too.
            next.feed(&PINGREQ);
            world.pass(delay_ms - 1);
            assert!(next.hear().is_empty());
            assert!(holder.hear().is_empty(), "it has the session still");
            world.pass(1);
            let heard = next.hear();
            assert!(heard[0].starts_with("connack Success"), "{heard:?}");
            assert_eq!(heard.last().map(String::as_str), Some("pingresp"));
            assert_eq!(holder.hear(), ["disconnect SessionTakenOver", "closed"]);
            holder = next;
        }
        // One that does not wait does not get it.
        world.connect(connect.clone()).cut();
        world.pass(10_000);
        assert!(holder.hear().is_empty());
        holder.leave();
        world.pass(10_001);
    }
}

#[test]
fn fight_for_a_client_id_is_not_slowed_down_where_that_is_turned_off() {
    let world = Setup::limited(|limits| limits.mqtt_takeover_delay_s_max = 0).build();
    let peers: Vec<_> = (0..20).map(|_| world.join(v5("fought"))).collect();
    assert_eq!(peers.len(), 20);
}
