//! MQTT 5, 3.1.2.5, 3.1.3.2.2, 3.1.4, 3.14.4; MQTT 3.1.1, 3.1.2.5. MQTT 3 has no delay, and no expiry but 0 and a broker's.

use super::*;
use crate::queue::command::{Farewell, PropertiesRow};

#[derive(Clone, Copy, Debug)]
struct Client {
    clean_start: bool,
    expiry_s: u32,
    will_delay_s: Option<u32>,
}

const V4_CLEAN: Client = Client { clean_start: true, expiry_s: 0, will_delay_s: Some(0) };
const V4_KEPT: Client = Client { clean_start: false, expiry_s: 604_800, will_delay_s: Some(0) };
const V5_KEPT: Client = Client { clean_start: false, expiry_s: 100, will_delay_s: Some(0) };
const V5_ENDS: Client = Client { clean_start: false, expiry_s: 0, will_delay_s: Some(10) };
const V5_LATER: Client = Client { clean_start: false, expiry_s: 100, will_delay_s: Some(10) };
const V5_CLEAN: Client = Client { clean_start: true, expiry_s: 100, will_delay_s: None };

/// As connection `n`; its will says so.
fn connect(n: u64, client: Client) -> Command {
    let will = client.will_delay_s.map(|delay_s| WillRow {
        topic: "w".into(),
        payload: format!("of {n}").into(),
        delay_s,
        ..WillRow::default()
    });
    Command::Connect(Box::new(Connect {
        realm: REALM.into(),
        client_id: "c".into(),
        session: n,
        connection: n,
        clean_start: client.clean_start,
        expiry_s: client.expiry_s,
        will,
        ..Connect::default()
    }))
}

fn disconnect(connection: u64, orderly: bool, expiry_s: u32) -> Command {
    Command::Disconnect { realm: REALM.into(), client_id: "c".into(), connection, orderly, expiry_s }
}

/// The wills that are among the lines.
fn wills(lines: &[String]) -> Vec<&str> {
    lines.iter().filter_map(|line| line.split_once("w = ")).map(|(_, payload)| payload).collect()
}

/// When the will of a lost connection is published: so many seconds later.
#[test]
fn will_of_a_lost_connection() {
    for (client, expiry_s, after_s) in [
        (V4_CLEAN, 0, 0),
        (V4_KEPT, 604_800, 0),
        (V5_KEPT, 100, 0),
        (V5_ENDS, 0, 0),
        (V5_LATER, 100, 10),
        (V5_LATER, 5, 5),
        (V5_LATER, 0, 0),
        (V5_LATER, u32::MAX, 10),
    ] {
        let mut world = World::new();
        world.command(connect(1, client));
        let mut lines = world.command(disconnect(1, false, expiry_s));
        if after_s > 0 {
            assert!(wills(&lines).is_empty(), "{client:?}");
            world.pass(after_s * SECOND_US - 1);
            assert!(world.wait_until_all_is_met().is_empty(), "{client:?}");
            world.pass(1);
            lines = world.wait_until_all_is_met();
        }
        assert_eq!(wills(&lines), ["of 1"], "{client:?} {expiry_s}");
        world.pass(1_000_000 * SECOND_US);
        assert!(wills(&world.wait_until_all_is_met()).is_empty(), "once: {client:?}");
    }
}

#[test]
fn will_is_deleted_by_an_orderly_disconnect() {
    for client in [V4_CLEAN, V4_KEPT, V5_KEPT, V5_ENDS, V5_LATER] {
        let mut world = World::new();
        world.command(connect(1, client));
        assert!(wills(&world.command(disconnect(1, true, client.expiry_s))).is_empty());
        world.pass(1_000_000 * SECOND_US);
        assert!(wills(&world.wait_until_all_is_met()).is_empty(), "{client:?}");
        assert!(!world.rows.rows.contains_key(&rows::will(REALM, "c")));
    }
}

#[test]
fn how_a_connection_ended_may_be_told_by_the_next() {
    let farewell = |connection, orderly| Some(Farewell { connection, orderly, expiry_s: 100 });
    for (farewell, expected) in [
        (None, &["of 1"][..]),
        (farewell(1, true), &[]),
        (farewell(1, false), &["of 1"]),
        // Of a connection before that.
        (farewell(7, true), &["of 1"]),
    ] {
        let mut world = World::new();
        world.command(connect(1, V5_KEPT));
        let Command::Connect(next) = connect(2, V5_KEPT) else { unreachable!() };
        let lines = world.command(Command::Connect(Box::new(Connect { farewell, ..*next })));
        assert_eq!(wills(&lines), expected, "{farewell:?}");
        assert!(lines.iter().any(|line| line.contains("Connected { present: true }")), "{lines:?}");
        world.command(disconnect(1, true, 0));
        assert_eq!(wills(&world.command(disconnect(2, false, 100))), ["of 2"], "it is another connection's");
    }
}

#[test]
fn will_on_a_takeover_is_published_unless_it_may_wait_and_the_session_goes_on() {
    for (old, new, published) in [
        (V4_CLEAN, V4_CLEAN, true),
        (V4_KEPT, V4_KEPT, true),
        (V5_KEPT, V5_KEPT, true),
        (V5_LATER, V5_LATER, false),
        (V5_LATER, V5_CLEAN, true),
        (V5_ENDS, V5_KEPT, true),
    ] {
        let mut world = World::new();
        world.command(connect(1, old));
        let expected: &[&str] = if published { &["of 1"] } else { &[] };
        assert_eq!(wills(&world.command(connect(2, new))), expected, "{old:?} {new:?}");
        world.command(disconnect(2, true, 0));
        world.pass(1_000 * SECOND_US);
        assert!(wills(&world.wait_until_all_is_met()).is_empty(), "{old:?} {new:?}");
    }
}

#[test]
fn will_that_waits_is_void_when_the_client_is_back_and_published_when_it_starts_clean() {
    for (new, expected) in [(V5_LATER, &[][..]), (V5_CLEAN, &["of 1"])] {
        let mut world = World::new();
        world.command(connect(1, V5_LATER));
        world.command(disconnect(1, false, 100));
        world.pass(9 * SECOND_US);
        assert_eq!(wills(&world.command(connect(2, new))), expected);
        world.pass(9 * SECOND_US);
        assert!(wills(&world.wait_until_all_is_met()).is_empty());
    }
}

/// Its delay was over when the client came back, though nobody has said TIME.
#[test]
fn will_that_is_due_is_published_though_the_client_is_back() {
    let mut world = World::new();
    world.state.set_limits(StateLimits { due_per_position_max: 0, ..StateLimits::default() });
    world.command(connect(1, V5_LATER));
    world.command(disconnect(1, false, 100));
    world.pass(10 * SECOND_US);
    assert_eq!(wills(&world.command(connect(2, V5_LATER))), ["of 1"]);
}

#[test]
fn will_of_the_new_connection_takes_the_place_of_the_old() {
    let mut world = World::new();
    world.command(connect(1, V5_LATER));
    world.command(disconnect(1, false, 100));
    world.command(connect(2, V5_LATER));
    world.command(disconnect(2, false, 100));
    world.pass(10 * SECOND_US);
    assert_eq!(wills(&world.wait_until_all_is_met()), ["of 2"]);
}

#[test]
fn will_is_an_event_with_all_that_it_brings() {
    let mut world = World::new();
    let properties = PropertiesRow { content_type: Some("t".into()), ..PropertiesRow::default() };
    let will = WillRow {
        topic: "w".into(),
        payload: "x".into(),
        qos: 1,
        retain: true,
        delay_s: 0,
        expiry_s: Some(9),
        properties: Some(properties.clone()),
    };
    let connect = Connect {
        realm: REALM.into(),
        client_id: "c".into(),
        session: 5,
        connection: 1,
        expiry_s: 100,
        will: Some(will),
        ..Connect::default()
    };
    world.command(Command::Connect(Box::new(connect)));
    // Who waits for the value that the will sets is served.
    let waiting = Condition { when: Some(When::Fields("{}".into())), watch: true, ..Condition::default() };
    world.publish(text("w", "y").by(6).asking(&waiting));
    let mut lost = Batch::default();
    lost.command(&disconnect(1, false, 100));
    let segment = world.apply(lost).segment;
    assert_eq!(events(&segment.set_off), ["w = x", "w = y"]);
    let Some(Ok(Run::Events(head, events))) = Runs::new(&segment.set_off).next() else { panic!("no will") };
    assert_eq!((head.publisher, head.qos, head.retain), (Some(SessionId(5)), Qos::AtLeastOnce, true));
    let extras = events.iter().next().unwrap().unwrap().extras().unwrap().unwrap();
    assert_eq!((extras.properties, extras.expires_at_ms), (Some(properties), Some(world.now_us / 1000 + 9_000)));
}
