//! Who comes in, into which realm, and when a connection ends that says nothing (MQTT 5, 3.1, 3.2, 4.12).

use argon2::password_hash::{PasswordHasher, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};

use super::*;
use crate::mqtt::codec::Auth;
use crate::node::link::{End, Kick};

fn user(name: &str, password: &str, realms: &[&str]) -> UserEntry {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap());
    let salt = SaltString::encode_b64(b"salt of a test").unwrap();
    let hash = argon2.hash_password(password.as_bytes(), &salt).unwrap();
    UserEntry {
        name: name.into(),
        role: "user".into(),
        realms: (!realms.is_empty()).then(|| realms.iter().map(|realm| (*realm).into()).collect()),
        credentials: Credentials { password_hash: Some(hash.to_string()), ..Credentials::default() },
    }
}

/// Users `ann` and `ben`, and `eve` who has a realm of her own.
fn with_users() -> Setup {
    Setup {
        users: vec![user("ann", "a", &[]), user("ben", "b", &[]), user("eve", "e", &["attic"])],
        realms: vec!["realm1", "attic", "cellar"],
        settings: Settings { anonymous: false, ..Settings::default() },
        ..Setup::default()
    }
}

fn named<'a>(connect: Connect<'a>, user_name: &'a str, password: &'a str) -> Connect<'a> {
    Connect { user_name: Some(user_name), password: Some(password.as_bytes()), ..connect }
}

/// Enters with a password that is checked on the way.
fn log_in(world: &World, connect: Connect<'_>) -> Peer {
    let mut peer = world.connect(connect);
    if peer.check.is_some() {
        assert!(peer.hear().is_empty(), "nothing is said before the check is done");
        peer.verify();
    }
    peer
}

/// The realm in which this client publishes, found by listeners in all of them.
fn realm_of(world: &World, connect: Connect<'_>) -> String {
    let mut peer = log_in(world, connect);
    assert_eq!(peer.hear(), ["connack Success"]);
    let entered = |realm: &&Arc<Realm>| realm.sessions_len() == 1;
    let realms = world.node.realms();
    let names: Vec<_> = realms.iter().filter(entered).map(|realm| realm.name.to_string()).collect();
    names.join(",")
}

/// [MQTT-3.1.0-1]
#[test]
fn connection_that_does_not_begin_with_connect_is_closed_without_a_word() {
    let world = World::new();
    for bytes in
        [&b"\xc0\x00"[..], b"\x30\x05\0\x01axx", b"\x00\x00", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"]
    {
        let mut peer = world.open(Level::V4);
        peer.feed(bytes);
        assert_eq!(peer.hear(), ["closed"], "{bytes:?}");
    }
}

/// [MQTT-3.1.0-2]
#[test]
fn second_connect_closes_the_connection() {
    let world = World::new();
    for (connect, heard) in
        [(v5("c"), &["disconnect ProtocolError (a second CONNECT)", "closed"][..]), (v4("c"), &["closed"])]
    {
        let mut peer = world.join(connect.clone());
        let mut frame = Vec::new();
        connect.encode(&mut frame).unwrap();
        peer.feed(&frame);
        assert_eq!(peer.hear(), heard);
    }
}

/// [MQTT-3.1.2-2]
#[test]
fn unknown_version_is_told_in_the_nearest_level() {
    let world = World::new();
    let mut six = world.open(Level::V5);
    six.feed(b"\x10\x0d\0\x04MQTT\x06\x02\0\0\0\0\x00");
    assert_eq!(
        six.hear(),
        ["connack UnsupportedProtocolVersion (a protocol version that is not spoken here)", "closed"]
    );
    let mut two = world.open(Level::V4);
    two.feed(b"\x10\x0c\0\x04MQTT\x02\x02\0\0\0\0");
    assert_eq!(two.hear(), ["connack UnsupportedProtocolVersion", "closed"]);
}

#[test]
fn malformed_connect_is_told_at_level_5_and_only_closed_before() {
    let world = World::new();
    let mut level_5 = world.open(Level::V5);
    level_5.feed(b"\x10\x0d\0\x04MQTT\x05\x03\0\0\0\0\0");
    assert_eq!(level_5.hear(), ["connack MalformedPacket (the reserved connect flag is set)", "closed"]);
    let mut level_4 = world.open(Level::V4);
    level_4.feed(b"\x10\x0c\0\x04MQTT\x04\x03\0\0\0\0");
    assert_eq!(level_4.hear(), ["closed"]);
}

/// MQTT 5, 4.12: no method is known here.
#[test]
fn unknown_authentication_method_is_refused() {
    let world = World::new();
    let properties = ConnectProperties { authentication_method: Some("SCRAM-SHA-1"), ..ConnectProperties::default() };
    let mut peer = world.connect(Connect { properties, ..v5("c") });
    assert_eq!(
        peer.hear(),
        ["connack BadAuthenticationMethod (the only authentication method is SCRAM-SHA-256)", "closed"]
    );
}

/// [MQTT-4.12.0-7]: without a method in CONNECT there must be no AUTH.
#[test]
fn auth_that_was_not_asked_for_closes_the_connection() {
    let world = World::new();
    for reason in [ReasonCode::ContinueAuthentication, ReasonCode::ReAuthenticate] {
        let mut peer = world.join(v5("c"));
        peer.send_packet(&Packet::Auth(Auth::new(reason, "SCRAM-SHA-1", None)));
        assert_eq!(peer.hear(), ["disconnect ProtocolError (AUTH without an authentication method)", "closed"]);
    }
}

#[test]
fn anonymous_clients_come_in_only_where_the_listener_lets_them() {
    let world = Setup { settings: Settings::default(), ..Setup::default() }.build();
    assert_eq!(world.connect(v5("c")).hear(), ["connack NotAuthorized", "closed"]);
    assert_eq!(world.connect(v4("c")).hear(), ["connack NotAuthorized", "closed"]);
    let world = World::new();
    assert_eq!(world.connect(v5("c")).hear(), ["connack Success"]);
    let any = Connect { user_name: Some("whoever"), password: Some(b"whatever"), ..v5("c") };
    assert_eq!(world.connect(any).hear(), ["connack Success"], "without users any name is anonymous");
}

#[test]
fn only_the_right_password_lets_a_user_in() {
    let world = with_users().build();
    for connect in [v5("c"), v4("c")] {
        let said = log_in(&world, named(connect.clone(), "ann", "wrong")).hear();
        assert_eq!(said, ["connack BadUserNameOrPassword", "closed"]);
        assert_eq!(
            log_in(&world, named(connect.clone(), "nobody", "a")).hear(),
            ["connack BadUserNameOrPassword", "closed"]
        );
        let nameless = Connect { user_name: Some("ann"), ..connect.clone() };
        assert_eq!(log_in(&world, nameless).hear(), ["connack BadUserNameOrPassword", "closed"]);
        assert_eq!(log_in(&world, named(connect, "ann", "a")).hear(), ["connack Success"]);
    }
}

#[test]
fn password_that_was_right_is_not_checked_again() {
    let world = with_users().build();
    log_in(&world, named(v5("c"), "ann", "a"));
    let mut peer = world.connect(named(v5("c"), "ann", "a"));
    assert!(peer.check.is_none());
    assert_eq!(peer.hear(), ["connack Success"]);
}

#[test]
fn what_came_behind_connect_waits_for_the_password() {
    let world = with_users().build();
    let mut peer = world.open(Level::V5);
    let mut bytes = Vec::new();
    named(v5("c"), "ann", "a").encode(&mut bytes).unwrap();
    let connect = bytes.len();
    bytes.extend_from_slice(b"\xc0\x00");
    let received = peer.gate.receive(&Bytes::from(bytes), NOW_MS);
    assert_eq!(received.consumed, connect, "the rest is offered again when the check is done");
    assert!(matches!(received.flow, Flow::Verify(_)));
}

#[test]
fn realm_is_named_by_user_entry_user_name_listener_or_default() {
    let setup = |realm: Option<&str>| Setup {
        settings: Settings { realm: realm.map(Into::into), anonymous: true, refuse_filters: Vec::new() },
        ..with_users()
    };
    assert_eq!(realm_of(&setup(None).build(), v5("c")), "realm1");
    assert_eq!(realm_of(&setup(Some("cellar")).build(), v5("c")), "cellar");
    assert_eq!(realm_of(&setup(Some("cellar")).build(), named(v5("c"), "ann", "a")), "cellar");
    assert_eq!(realm_of(&setup(Some("cellar")).build(), named(v5("c"), "ann@attic", "a")), "attic");
    assert_eq!(realm_of(&setup(Some("cellar")).build(), named(v4("c"), "eve", "e")), "attic");
}

#[test]
fn realm_that_is_not_there_or_not_open_is_refused() {
    let world = with_users().build();
    let refused = "connack NotAuthorized (no such realm, or not open to this user)";
    assert_eq!(log_in(&world, named(v5("c"), "ann@nowhere", "a")).hear(), [refused, "closed"]);
    assert_eq!(log_in(&world, named(v5("c"), "eve@cellar", "e")).hear(), [refused, "closed"]);
    assert_eq!(log_in(&world, named(v4("c"), "eve@cellar", "e")).hear(), ["connack NotAuthorized", "closed"]);
}

#[test]
fn clients_of_different_realms_do_not_meet() {
    let world = with_users().build();
    let mut upstairs = log_in(&world, named(v5("c"), "ann@attic", "a"));
    let mut downstairs = log_in(&world, named(v5("c"), "ann@cellar", "a"));
    assert_eq!(upstairs.hear(), ["connack Success"]);
    assert_eq!(downstairs.hear(), ["connack Success"], "a client id is one per realm");
    upstairs.subscribe("#", Q0);
    downstairs.publish("a", "x", Q0);
    assert!(upstairs.hear().is_empty());
}

#[test]
fn client_id_of_another_user_is_refused_and_never_taken_over() {
    let world = with_users().build();
    let mut ann = log_in(&world, named(kept("c", 100), "ann", "a"));
    ann.hear();
    let refused = "connack ClientIdentifierNotValid (the client id belongs to another user)";
    assert_eq!(log_in(&world, named(v5("c"), "ben", "b")).hear(), [refused, "closed"]);
    assert_eq!(log_in(&world, named(v4("c"), "ben", "b")).hear(), ["connack ClientIdentifierNotValid", "closed"]);
    assert!(ann.hear().is_empty());
    ann.leave();
    assert_eq!(log_in(&world, named(v5("c"), "ben", "b")).hear(), [refused, "closed"], "nor while its owner is away");
    assert_eq!(log_in(&world, named(kept("c", 100), "ann", "a")).hear(), ["connack Success present"]);
}

#[test]
fn more_sessions_than_allowed_are_refused() {
    let world = Setup::limited(|limits| limits.sessions_max = 1).build();
    let kept_one = world.join(kept("c", 100));
    assert_eq!(world.connect(v5("d")).hear(), ["connack QuotaExceeded (too many sessions)", "closed"]);
    assert_eq!(world.connect(v4("d")).hear(), ["connack ServerUnavailable", "closed"]);
    kept_one.leave();
    assert_eq!(world.connect(v5("d")).hear(), ["connack QuotaExceeded (too many sessions)", "closed"]);
    assert_eq!(world.connect(v5("c")).hear(), ["connack Success"], "one that is there is no new one");
}

/// MQTT 5, 3.2.2.3.
#[test]
fn connack_tells_the_limits() {
    let world = Setup::limited(|limits| {
        limits.mqtt_receive_max = 3;
        limits.mqtt_packet_bytes_max = 2000;
        limits.mqtt_topic_alias_max = 4;
        limits.mqtt_server_keep_alive_s = 7;
    })
    .build();
    let told = connack_properties(&mut world.connect(v5("c")), |properties| {
        (
            properties.receive_maximum,
            properties.maximum_packet_size,
            properties.topic_alias_maximum,
            properties.server_keep_alive_s,
        )
    });
    assert_eq!(told, (3, Some(2000), 4, Some(7)));
    let told = connack_properties(&mut World::new().connect(v5("c")), |properties| properties.server_keep_alive_s);
    assert_eq!(told, None, "the client's own keep alive stands");
}

/// [MQTT-3.1.2-22]
#[test]
fn client_silent_for_one_and_a_half_keep_alives_is_closed() {
    let world = World::new();
    let mut level_5 = world.join(Connect { keep_alive_s: 10, ..v5("c") });
    let mut level_4 = world.join(Connect { keep_alive_s: 10, ..v4("d") });
    let mut never = world.join(v5("e"));
    world.pass(14_999);
    assert!(level_5.hear().is_empty());
    world.pass(1);
    assert_eq!(level_5.hear(), ["disconnect KeepAliveTimeout", "closed"]);
    assert_eq!(level_4.hear(), ["closed"]);
    world.pass(1_000_000_000);
    assert!(never.hear().is_empty(), "keep alive 0 turns it off");
}

#[test]
fn whatever_a_client_sends_keeps_it_alive() {
    let world = World::new();
    let mut peer = world.join(Connect { keep_alive_s: 10, ..v5("c") });
    for _ in 0..3 {
        world.pass(14_000);
        peer.feed(b"\xc0\x00");
        assert_eq!(peer.hear(), ["pingresp"]);
        world.pass(14_000);
        peer.publish("a", "x", Q0);
        assert!(peer.hear().is_empty());
    }
    world.pass(15_000);
    assert_eq!(peer.hear(), ["disconnect KeepAliveTimeout", "closed"]);
}

/// [MQTT-3.1.2-21]
#[test]
fn keep_alive_of_the_server_replaces_that_of_the_client() {
    let world = Setup::limited(|limits| limits.mqtt_server_keep_alive_s = 2).build();
    let mut peers = [
        world.join(Connect { keep_alive_s: 600, ..v5("c") }),
        world.join(Connect { keep_alive_s: 600, ..v4("d") }),
        world.join(v5("e")),
    ];
    world.pass(2_999);
    assert!(peers.iter_mut().all(|peer| peer.hear().is_empty()));
    world.pass(1);
    assert!(peers.iter_mut().all(|peer| peer.hear().last().is_some_and(|last| last == "closed")));
}

#[test]
fn connection_that_does_not_connect_in_time_is_closed() {
    let world = Setup { limits: Limits { handshake_timeout_s: 5, ..Limits::default() }, ..with_users() }.build();
    let mut silent = world.open(Level::V5);
    let mut checked = world.connect(named(v5("c"), "ann", "a"));
    world.pass(4_999);
    assert!(silent.hear().is_empty() && checked.hear().is_empty());
    world.pass(1);
    assert_eq!(silent.hear(), ["closed"]);
    assert_eq!(checked.hear(), ["closed"]);
}

#[test]
fn node_that_stops_says_goodbye_and_takes_nobody_in() {
    let world = World::new();
    let (mut level_5, mut level_4) = (world.join(v5("c")), world.join(v4("d")));
    level_5.subscribe("a", Q0);
    level_4.publish("a", "x", Q0);
    world.node.drain();
    assert_eq!(level_5.hear(), ["publish a x", "disconnect ServerShuttingDown", "closed"]);
    assert_eq!(level_4.hear(), ["closed"]);
    // DISCONNECT has this code, CONNACK has not (MQTT 5, tables 3-1 and 3-13).
    assert_eq!(world.connect(v5("e")).hear(), ["connack ServerUnavailable", "closed"]);
    assert_eq!(world.connect(v4("e")).hear(), ["connack ServerUnavailable", "closed"]);
}

#[test]
fn an_entry_of_a_cluster_that_stops_says_that_there_are_others() {
    let world = World::new();
    world.node.open_peers(Box::new(|_, _| crate::node::peers::Carried::Dropped), Box::new(|| ()));
    let mut client = world.join(v5("c"));
    world.node.drain();
    assert_eq!(client.hear(), ["disconnect UseAnotherServer", "closed"]);
}

/// The password was still being checked when everybody else was told.
#[test]
fn client_that_comes_in_while_the_node_stops_is_told_too() {
    let world = with_users().build();
    let mut peer = world.connect(named(v5("c"), "ann", "a"));
    world.node.drain();
    peer.verify();
    assert_eq!(peer.hear().last().map(String::as_str), Some("closed"));
}

#[test]
fn client_that_is_kicked_or_too_slow_is_told() {
    let world = World::new();
    for (end, said) in [(End::Kicked, "AdministrativeAction"), (End::SlowConsumer, "QuotaExceeded")] {
        let mut peer = world.join(v5("c"));
        peer.gate.link().end(end);
        assert_eq!(peer.hear(), [&*format!("disconnect {said}"), "closed"]);
    }
}

#[test]
fn client_that_is_killed_is_told_the_words_of_who_kills_it() {
    let world = World::new();
    for (message, told) in [(Some("go away"), "go away"), (None, "app.over")] {
        let mut peer = world.join(v5("c"));
        let kick = Kick { reason: "app.over".to_owned(), message: message.map(str::to_owned) };
        assert!(peer.gate.link().kick(kick.clone()) && !peer.gate.link().kick(kick), "once");
        assert_eq!(peer.hear(), [&*format!("disconnect AdministrativeAction ({told})"), "closed"]);
    }
}
