use super::*;
use crate::queue::command::SubscriptionRow;

fn connecting(connection: u64) -> Connect {
    Connect {
        realm: REALM.into(),
        client_id: "c".into(),
        session: connection * 10,
        connection,
        authid: "ann".into(),
        expiry_s: 100,
        ..Connect::default()
    }
}

fn connect(connect: Connect) -> Command {
    Command::Connect(Box::new(connect))
}

fn disconnect(connection: u64, expiry_s: u32) -> Command {
    Command::Disconnect { realm: REALM.into(), client_id: "c".into(), connection, orderly: true, expiry_s }
}

fn subscribe(filter: &str, since: Option<u64>) -> Command {
    let subscription = SubscriptionRow { filter: filter.into(), qos: 1, since, ..SubscriptionRow::default() };
    Command::Subscribe { realm: REALM.into(), client_id: "c".into(), subscription: Box::new(subscription) }
}

fn unsubscribe(filter: &str) -> Command {
    Command::Unsubscribe { realm: REALM.into(), client_id: "c".into(), filter: filter.into() }
}

const NEW: &str = "0: Done(Connected { present: false })";
const PRESENT: &str = "0: Done(Connected { present: true })";
const YES: [&str; 1] = ["0: Done(Yes)"];
const NOT_FOUND: [&str; 1] = ["0: Done(NotFound)"];

fn row(world: &World) -> Option<rows::SessionRow> {
    let key = rows::session(REALM, "c");
    world.rows.rows.get(&key).map(|value| rows::decode(&key, value).unwrap())
}

fn since(world: &World, filter: &str) -> Option<u64> {
    let key = rows::subscription(REALM, "c", filter);
    world.rows.rows.get(&key).and_then(|value| rows::decode::<SubscriptionRow>(&key, value).unwrap().since)
}

#[test]
fn a_session_is_kept_for_its_expiry_in_log_time() {
    let mut world = World::new();
    assert_eq!(world.command(connect(connecting(1))), [NEW]);
    world.pass(1_000 * SECOND_US);
    assert!(world.wait_until_all_is_met().is_empty(), "it is connected");
    assert_eq!(world.command(disconnect(1, 100)), YES);
    assert_eq!(world.state.next_deadline_us(), Some(world.now_us + 100 * SECOND_US));
    world.pass(99 * SECOND_US);
    assert_eq!(world.command(connect(connecting(2))), [PRESENT]);
    assert_eq!(world.state.next_deadline_us(), None);
    world.command(disconnect(2, 50));
    world.pass(50 * SECOND_US);
    assert_eq!(world.wait_until_all_is_met(), ["c ended, 10"]);
    assert_eq!(world.rows.rows.len(), 1, "nothing but the numbers is left");
    assert_eq!(world.command(connect(connecting(3))), [NEW]);
}

/// The session has expired when CONNECT is resolved, though nobody has said TIME yet.
#[test]
fn an_expired_session_is_not_present() {
    let mut world = World::new();
    world.command(connect(connecting(1)));
    world.command(disconnect(1, 100));
    world.pass(100 * SECOND_US);
    assert_eq!(world.command(connect(connecting(2))), [NEW, "c ended, 10"]);
    let limits = StateLimits { due_per_position_max: 0, ..StateLimits::default() };
    world.state.set_limits(limits);
    world.command(disconnect(2, 100));
    world.pass(100 * SECOND_US);
    assert_eq!(
        world.command(connect(connecting(3))),
        [NEW, "c ended, 20"],
        "dates that are met in slices do not matter"
    );
}

#[test]
fn a_session_for_ever_has_no_date() {
    let mut world = World::new();
    world.command(connect(connecting(1)));
    world.command(disconnect(1, u32::MAX));
    assert_eq!(world.state.next_deadline_us(), None);
}

#[test]
fn a_session_without_expiry_ends_with_its_connection() {
    let mut world = World::new();
    world.command(connect(Connect { expiry_s: 0, ..connecting(1) }));
    assert_eq!(world.command(disconnect(1, 0)), ["0: Done(Yes)", "c ended, 10"]);
    world.command(connect(Connect { expiry_s: 0, ..connecting(2) }));
    assert_eq!(world.command(connect(connecting(3))), [NEW, "c ended, 20"], "a takeover is such an end");
}

#[test]
fn a_clean_start_drops_all_of_the_old_session() {
    let mut world = World::new();
    world.command(connect(connecting(1)));
    world.command(subscribe("a/#", None));
    world.command(subscribe("b", None));
    world.command(Command::Progress {
        realm: REALM.into(),
        cursor: CursorName::Client("c".into()),
        at: Default::default(),
    });
    world.publish(Publish { retain: false, packet: Some(("c", 1, 9)), ..text("t", "x") });
    assert_eq!(world.rows.rows.len(), 6);
    assert_eq!(world.command(connect(Connect { clean_start: true, ..connecting(2) })), [NEW, "c ended, 10"]);
    assert_eq!(world.rows.rows.len(), 2);
    assert_eq!(row(&world).unwrap().session, 20);
}

#[test]
fn a_session_that_goes_on_keeps_its_id_and_takes_what_the_connection_brings() {
    let mut world = World::new();
    world.command(connect(connecting(1)));
    world.command(subscribe("a", None));
    let second = Connect { authrole: "admin".into(), expiry_s: 7, ..connecting(2) };
    assert_eq!(world.command(connect(second)), [PRESENT]);
    let row = row(&world).unwrap();
    assert_eq!((row.session, row.created, row.authrole.as_str(), row.expiry_s), (10, 1, "admin", 7));
    assert_eq!((row.connection, since(&world, "a")), (Some((ENTRY, 2)), Some(2)));
}

#[test]
fn an_older_connection_cannot_end_the_session() {
    let mut world = World::new();
    world.command(connect(connecting(1)));
    world.command(connect(connecting(2)));
    assert_eq!(world.command(disconnect(1, 0)), NOT_FOUND);
    assert_eq!(world.command(disconnect(2, 100)), YES);
    assert_eq!(world.command(disconnect(2, 0)), NOT_FOUND, "it is away already");
}

/// A client id in use by another user is refused, never taken over.
#[test]
fn another_user_does_not_get_the_session() {
    let mut world = World::new();
    world.command(connect(connecting(1)));
    let other = Connect { authid: "bob".into(), clean_start: true, ..connecting(2) };
    assert_eq!(world.command(connect(other)), ["0: Done(Conflict)"]);
    assert_eq!(row(&world).unwrap().connection, Some((ENTRY, 1)));
}

#[test]
fn a_subscription_wants_what_comes_behind_it() {
    let mut world = World::new();
    assert_eq!(world.command(subscribe("a", None)), NOT_FOUND);
    world.command(connect(connecting(1)));
    assert_eq!(world.command(subscribe("a", None)), YES);
    assert_eq!(since(&world, "a"), Some(3));
    assert_eq!(world.command(subscribe("b", Some(1))), YES);
    assert_eq!(since(&world, "b"), Some(1));
}

/// MQTT 5, 3.8.4: replacing a subscription loses nothing.
#[test]
fn a_replaced_subscription_still_wants_what_it_wanted() {
    let mut world = World::new();
    world.command(connect(connecting(1)));
    world.command(subscribe("a", None));
    world.command(subscribe("a", None));
    assert_eq!(since(&world, "a"), Some(2));
    world.command(unsubscribe("a"));
    assert_eq!(world.command(unsubscribe("a")), NOT_FOUND);
    world.command(subscribe("a", None));
    assert_eq!(since(&world, "a"), Some(6));
}

/// The connection holds locks, not the session: the next connection does not know of them.
#[test]
fn locks_go_with_every_end_of_a_connection() {
    type End = fn(&mut World) -> Vec<String>;
    let ends: [(&str, End); 3] = [
        ("disconnect", |world| world.command(disconnect(1, 100))),
        ("takeover", |world| world.command(connect(connecting(2)))),
        ("clean start", |world| world.command(connect(Connect { clean_start: true, ..connecting(2) }))),
    ];
    for (what, end) in ends {
        let mut world = World::new();
        world.command(connect(connecting(1)));
        world.publish(text("k", "1").by(10).asking(&lock()));
        world.publish(text("j", "1").by(3));
        world.publish(text("j", "2").by(10).asking(&lock()));
        let lines = end(&mut world);
        assert_eq!(
            (world.holder("k"), world.value("k"), world.state.waits_len()),
            (None, None, 0),
            "{what}: {lines:?}"
        );
    }
}

#[test]
fn a_lock_that_is_marked_stays_when_the_client_disconnects_in_order() {
    let mut world = World::new();
    world.command(connect(connecting(1)));
    world.publish(text("k", "1").by(10).asking(&Condition { stays: true, ..lock() }));
    world.command(disconnect(1, 100));
    assert_eq!((world.value("k"), world.holder("k")), (Some(("1".into(), 2)), Some(0)));
}

#[test]
fn a_session_that_is_given_up_is_gone_with_all_its_rows_and_no_other_in_its_place_is() {
    let give_up = |session| Command::EndSession { realm: REALM.into(), client_id: "c".into(), session };
    let mut world = World::new();
    world.command(connect(connecting(1)));
    world.command(subscribe("a/#", None));
    world.command(disconnect(1, 100));
    assert_eq!(world.command(give_up(7)), NOT_FOUND);
    assert!(row(&world).is_some());
    assert_eq!(world.command(give_up(10)), ["0: Done(Yes)", "c ended, 10"]);
    assert!(row(&world).is_none() && since(&world, "a/#").is_none());
    assert_eq!(world.command(give_up(10)), NOT_FOUND);
    assert_eq!(world.command(connect(connecting(2))), [NEW]);
}
