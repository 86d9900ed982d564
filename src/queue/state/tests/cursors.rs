use super::*;
use crate::queue::command::{Cursor, DurableRow, Flight, SubscriptionRow};
use crate::types::topic::{MatchPolicy, TopicPattern};

fn progress(cursor: CursorName, sent_to: u64, inflight: &[u64]) -> Command {
    let inflight = inflight.iter().map(|number| Flight { number: *number, ..Flight::default() }).collect();
    Command::Progress { realm: REALM.into(), cursor, at: Cursor { sent_to, inflight, ..Cursor::default() } }
}

fn client(name: &str) -> CursorName {
    CursorName::Client(name.into())
}

fn named(name: &str) -> CursorName {
    CursorName::Durable(name.into())
}

fn durable(name: &str, row: DurableRow) -> Command {
    Command::Durable { realm: REALM.into(), name: name.into(), durable: Box::new(row) }
}

fn own() -> DurableRow {
    DurableRow { pattern: "exact:a".into(), authid: "ann".into(), ..DurableRow::default() }
}

fn subscribed(world: &mut World, client_id: &str, qos: u8) {
    world.command(Command::Connect(Box::new(Connect {
        realm: REALM.into(),
        client_id: client_id.into(),
        session: 1,
        connection: 1,
        expiry_s: 100,
        ..Connect::default()
    })));
    let subscription = SubscriptionRow { filter: "a".into(), qos, ..SubscriptionRow::default() };
    let subscription = Box::new(subscription);
    world.command(Command::Subscribe { realm: REALM.into(), client_id: client_id.into(), subscription });
}

const YES: [&str; 1] = ["0: Done(Yes)"];

#[test]
fn a_durable_subscription_is_its_users_and_wants_what_it_wanted_first() {
    let mut world = World::new();
    world.publish(text("a", "1"));
    assert_eq!(world.command(durable("d", own())), YES);
    for other in [
        DurableRow { authid: "bob".into(), ..own() },
        DurableRow { pattern: "exact:b".into(), ..own() },
        DurableRow { group: true, ..own() },
        DurableRow { acknowledged: true, ..own() },
    ] {
        assert_eq!(world.command(durable("d", other)), ["0: Done(Conflict)"]);
    }
    assert_eq!(world.command(durable("d", DurableRow { ack_timeout_ms: 5, since: Some(99), ..own() })), YES);
    let key = rows::durable(REALM, "d");
    let row: DurableRow = rows::decode(&key, &world.rows.rows[&key]).unwrap();
    assert_eq!(row, DurableRow { ack_timeout_ms: 5, since: Some(2), holder: Some(ENTRY), ..own() });
}

#[test]
fn a_forgotten_durable_subscription_is_gone_with_its_cursor() {
    let mut world = World::new();
    world.command(durable("d", own()));
    assert_eq!(world.command(progress(named("d"), 7, &[])), YES);
    let forget = Command::Forget { realm: REALM.into(), name: "d".into() };
    assert_eq!(world.command(forget.clone()), YES);
    assert_eq!(world.rows.rows.len(), 1);
    assert_eq!(world.command(forget), ["0: Done(NotFound)"]);
    assert_eq!(world.command(progress(named("d"), 8, &[])), ["0: Done(NotFound)"]);
    assert_eq!(world.command(progress(client("d"), 8, &[])), ["0: Done(NotFound)"]);
}

const STALE: [&str; 1] = ["0: Done(Stale)"];

fn holder(world: &World) -> Option<u64> {
    let key = rows::durable(REALM, "d");
    rows::decode::<DurableRow>(&key, &world.rows.rows[&key]).unwrap().holder
}

#[test]
fn only_the_entry_where_a_durable_subscription_was_made_last_moves_its_cursor() {
    let mut world = World::new();
    world.command(durable("d", own()));
    assert_eq!(world.command(progress(named("d"), 5, &[])), YES);
    world.entry = 2;
    assert_eq!(world.command(progress(named("d"), 6, &[])), STALE, "nobody has subscribed here");
    assert_eq!(world.command(durable("d", own())), YES);
    assert_eq!(world.command(progress(named("d"), 7, &[])), YES);
    world.entry = ENTRY;
    assert_eq!(world.command(progress(named("d"), 99, &[])), STALE, "what the older holder says is void");
    assert_eq!(world.state.min_cursor(), Some(7));
}

#[test]
fn a_conflicting_subscriber_does_not_take_a_durable_subscription() {
    let mut world = World::new();
    world.command(durable("d", own()));
    world.entry = 2;
    world.command(durable("d", DurableRow { authid: "bob".into(), ..own() }));
    assert_eq!(holder(&world), Some(ENTRY));
}

#[test]
fn a_group_stays_with_its_entry_until_that_is_gone() {
    let mut world = World::new();
    world.order(StateCommand::Init { entry: ENTRY, incarnation: 0 });
    let group = || DurableRow { group: true, ..own() };
    let host = || Command::Host { realm: REALM.into(), name: "d".into() };
    world.command(durable("d", group()));
    world.entry = 2;
    assert_eq!(world.command(durable("d", group())), YES, "a member there changes nothing");
    assert_eq!(world.command(host()), STALE);
    assert_eq!(world.command(progress(named("d"), 9, &[])), STALE);
    world.order(StateCommand::Lost { entry: ENTRY, incarnation: 1 });
    assert_eq!(holder(&world), None);
    assert_eq!(world.command(host()), YES);
    assert_eq!(world.command(host()), YES, "it has it");
    assert_eq!(holder(&world), Some(2));
    assert_eq!(world.command(progress(named("d"), 9, &[])), YES);
    world.entry = ENTRY;
    assert_eq!(world.command(progress(named("d"), 10, &[])), STALE);
}

#[test]
fn only_groups_are_hosted() {
    let mut world = World::new();
    let host = Command::Host { realm: REALM.into(), name: "d".into() };
    assert_eq!(world.command(host.clone()), ["0: Done(NotFound)"]);
    world.command(durable("d", own()));
    world.entry = 2;
    assert_eq!(world.command(host), ["0: Done(NotFound)"]);
}

#[test]
fn the_log_is_wanted_from_the_lowest_cursor_on() {
    let mut world = World::new();
    assert_eq!(world.state.min_cursor(), None);
    subscribed(&mut world, "c", 1);
    assert_eq!(world.state.min_cursor(), Some(1), "from its beginning on");
    world.command(progress(client("c"), 50, &[]));
    assert_eq!(world.state.min_cursor(), Some(50));
    world.command(progress(client("c"), 60, &[45, 44, 58]));
    assert_eq!(world.state.min_cursor(), Some(43), "what is inflight may be sent again");
    world.command(durable("d", DurableRow { since: Some(20), ..own() }));
    assert_eq!(world.state.min_cursor(), Some(20));
    world.command(progress(named("d"), 70, &[]));
    assert_eq!(world.state.min_cursor(), Some(43));
}

#[test]
fn a_session_that_wants_no_more_than_qos_0_wants_nothing_of_the_log() {
    let mut world = World::new();
    subscribed(&mut world, "c", 0);
    assert_eq!(world.state.min_cursor(), None);
    world.command(progress(client("c"), 50, &[45]));
    assert_eq!(world.state.min_cursor(), Some(44), "what is inflight is from an older subscription");
}

fn retain(world: &mut World, pattern: &str, first: u64) {
    world.order(StateCommand::Retain { realm: REALM.into(), pattern: pattern.into(), first });
}

fn pattern(uri: &str, policy: MatchPolicy) -> TopicPattern {
    TopicPattern::from_uri(uri, policy).unwrap()
}

#[test]
fn what_is_available_begins_at_the_highest_floor_that_concerns_the_pattern() {
    use MatchPolicy::{Exact, Fox, Prefix, Wildcard};
    let mut world = World::new();
    retain(&mut world, "fox:a.b.#", 10);
    retain(&mut world, "wildcard:x..z", 20);
    retain(&mut world, "exact:q", 30);
    retain(&mut world, "prefix:pre.fi", 40);
    retain(&mut world, "exact:q", 25);
    for (uri, policy, first) in [
        ("a.b", Exact, 10),
        ("a.b.c.d", Exact, 10),
        ("a", Exact, 1),
        ("x.y.z", Exact, 20),
        ("q", Exact, 30),
        ("pre.fix.a", Exact, 40),
        ("pre.f", Exact, 1),
        ("..c", Wildcard, 40),
        ("x..y", Wildcard, 1),
        (".b", Wildcard, 40),
        ("x.#", Fox, 20),
        ("x.y.z.a.#", Fox, 1),
        ("a.b", Prefix, 10),
        ("x", Prefix, 20),
        ("pre.fix.more", Prefix, 40),
        ("pre.x", Prefix, 1),
    ] {
        let found = world.state.first_available(REALM, &pattern(uri, policy));
        // Too high is allowed where patterns are only compared by how they begin.
        assert_eq!(found, first, "{uri} {policy:?}");
    }
    assert_eq!(world.state.first_available("elsewhere", &pattern("q", Exact)), 1);
    assert_eq!(world.state.first_available(REALM, &TopicPattern::from_filter("#").unwrap()), 40);
}

#[test]
fn who_reads_the_log_is_counted_and_those_furthest_behind_are_named() {
    let mut world = World::new();
    subscribed(&mut world, "ann", 1);
    subscribed(&mut world, "bob", 0);
    for name in ["x", "y", "z"] {
        world.command(durable(name, own()));
    }
    let last = world.state.last_number();
    world.command(progress(client("ann"), last - 3, &[]));
    world.command(progress(named("y"), last - 5, &[]));
    world.command(progress(named("x"), last + 1, &[]));
    let census = world.state.census(2);
    let last = world.state.last_number();
    // What records a cursor has a number, too.
    assert_eq!((census.sessions, census.session_behind_max), (1, 6));
    assert_eq!((census.durables, census.durable_behind_max, world.state.min_cursor()), (3, 8, Some(last - 8)));
    let named: Vec<_> = census.durables_behind.iter().map(|behind| (&*behind.name, behind.behind)).collect();
    assert_eq!(named, [("y", 8), ("z", 3)]);
}
