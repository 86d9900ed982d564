//! INIT and LOST: what was connected at an entry is gone.

use super::*;

fn connect(client_id: &str, session: u64, expiry_s: u32, will_delay_s: u32) -> Command {
    let will = WillRow {
        topic: format!("w/{client_id}"),
        payload: "gone".into(),
        delay_s: will_delay_s,
        ..WillRow::default()
    };
    Command::Connect(Box::new(Connect {
        realm: REALM.into(),
        client_id: client_id.into(),
        session,
        connection: session,
        expiry_s,
        will: Some(will),
        ..Connect::default()
    }))
}

/// At entry 1: two MQTT sessions, a lock of session 7 that session 9 waits for at entry 2, and a wait of session 8.
fn busy() -> World {
    let mut world = World::new();
    world.order(StateCommand::Init { entry: ENTRY, incarnation: 0 });
    world.command(connect("kept", 5, 100, 10));
    world.command(connect("ends", 6, 0, 10));
    world.publish(text("k", "7").by(7).asking(&lock()));
    world.publish(text("k", "8").by(8).asking(&lock()));
    world.entry = 2;
    world.publish(text("k", "9").by(9).asking(&lock()));
    world.command(connect("other", 10, 100, 0));
    world
}

#[test]
fn all_that_was_connected_at_an_entry_is_gone_when_it_starts_anew_or_is_lost() {
    for command in
        [StateCommand::Init { entry: ENTRY, incarnation: 1 }, StateCommand::Lost { entry: ENTRY, incarnation: 1 }]
    {
        let mut world = busy();
        let lines = world.order(command);
        assert_eq!(
            lines,
            [
                "7 k = ",
                "8 w/ends = gone",
                "9 k = 9",
                "Ended { ticket: 4, why: SessionGone }",
                "Granted { ticket: 5, number: 9 }",
                "ends ended, 6",
                "k is free",
                "k is held by 9"
            ]
        );
        world.pass(10 * SECOND_US);
        assert_eq!(world.wait_until_all_is_met(), ["10 w/kept = gone"]);
        world.pass(90 * SECOND_US);
        assert_eq!(world.wait_until_all_is_met(), ["kept ended, 5"]);
    }
}

#[test]
fn a_former_incarnation_ends_nothing() {
    let mut world = busy();
    let rows = world.rows.rows.len();
    for incarnation in [0, 2, 99] {
        assert!(world.order(StateCommand::Init { entry: ENTRY, incarnation }).is_empty());
        assert!(world.order(StateCommand::Lost { entry: ENTRY, incarnation }).is_empty());
    }
    assert_eq!((world.state.incarnation(ENTRY), world.rows.rows.len()), (1, rows));
    let position = world.position + 1;
    world.order(StateCommand::Init { entry: ENTRY, incarnation: 1 });
    assert_eq!(world.state.incarnation(ENTRY), position);
}

#[test]
fn very_many_dates_are_met_in_slices() {
    let mut world = World::new();
    world.state.set_limits(StateLimits { due_per_position_max: 3, ..StateLimits::default() });
    for n in 1..=10 {
        world.command(connect(&n.to_string(), n, 0, 0));
    }
    let mut lines = world.order(StateCommand::Init { entry: ENTRY, incarnation: 0 });
    assert!(lines.len() <= 6, "{lines:?}");
    assert!(world.state.next_deadline_us().is_some_and(|at_us| at_us <= world.now_us));
    lines.extend(world.wait_until_all_is_met());
    assert_eq!(lines.iter().filter(|line| line.contains("gone")).count(), 10);
    assert_eq!(world.state.next_deadline_us(), None);
}
