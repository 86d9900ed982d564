use super::*;
use crate::queue::command::{Consume, ConsumerPlace, ConsumerRow};
use bytes::Bytes;

const OTHER: u64 = 2;

fn say(what: Consume) -> Command {
    Command::Consume { realm: REALM.into(), name: "service/a".into(), what: Box::new(what) }
}

fn set(patterns: &[&str], after: Option<u64>) -> Command {
    let patterns = patterns.iter().map(|text| (*text).to_owned()).collect();
    say(Consume::Set { patterns, settings: Bytes::from_static(b"settings"), after })
}

fn commit(epoch: u64, done_to: u64, state: &'static [u8]) -> Command {
    say(Consume::Commit { epoch, done_to, state: Bytes::from_static(state) })
}

fn row(world: &World) -> ConsumerRow {
    let key = rows::consumer(REALM, "service/a");
    rows::decode(&key, &world.rows.rows[&key]).unwrap()
}

fn place(world: &World) -> (u64, u64, Bytes) {
    let key = rows::consumer_place(REALM, "service/a");
    let ConsumerPlace { epoch, done_to, state } = rows::decode(&key, &world.rows.rows[&key]).unwrap();
    (epoch, done_to, state)
}

const YES: [&str; 1] = ["0: Done(Yes)"];
const STALE: [&str; 1] = ["0: Done(Stale)"];
const NOT_FOUND: [&str; 1] = ["0: Done(NotFound)"];

#[test]
fn a_consumer_begins_where_the_log_ends_or_where_it_is_told_to_and_keeps_its_place_when_it_is_changed() {
    let mut world = World::new();
    world.publish(text("a", "1"));
    assert_eq!(world.command(set(&["exact:a"], None)), YES);
    assert_eq!(place(&world), (2, 2, Bytes::new()));
    assert_eq!(row(&world).holder, Some(ENTRY), "who makes it runs it");
    assert_eq!(world.command(commit(2, 7, b"x")), YES);
    assert_eq!(world.command(set(&["exact:b"], Some(1))), YES);
    assert_eq!(row(&world).patterns, ["exact:b"]);
    assert_eq!((row(&world).epoch, row(&world).changed), (2, 4));
    assert_eq!(place(&world), (2, 7, Bytes::from_static(b"x")));
    assert_eq!(world.command(say(Consume::Remove)), YES);
    assert_eq!(world.command(set(&["exact:b"], Some(1))), YES);
    assert_eq!(place(&world).1, 1);
}

#[test]
fn what_is_not_done_holds_the_log() {
    let mut world = World::new();
    assert_eq!(world.state.min_cursor(), None);
    world.command(set(&["exact:a"], Some(0)));
    assert_eq!(world.state.min_cursor(), Some(0));
    world.command(commit(1, 5, b""));
    assert_eq!(world.state.min_cursor(), Some(5));
    world.command(say(Consume::Remove));
    assert_eq!(world.state.min_cursor(), None);
}

#[test]
fn what_was_under_way_when_a_consumer_was_moved_is_void() {
    let mut world = World::new();
    world.command(set(&["exact:a"], None));
    world.command(commit(1, 9, b"old"));
    assert_eq!(world.command(say(Consume::Seek { after: 3 })), YES);
    assert_eq!(place(&world), (3, 3, Bytes::new()));
    assert_eq!(world.command(commit(1, 10, b"old")), STALE);
    assert_eq!(place(&world).1, 3);
    assert_eq!(world.command(commit(3, 4, b"new")), YES);
}

#[test]
fn one_entry_runs_a_consumer_until_it_is_gone() {
    let mut world = World::new();
    world.order(StateCommand::Init { entry: ENTRY, incarnation: 0 });
    world.command(set(&["exact:a"], None));
    let epoch = row(&world).epoch;
    world.entry = OTHER;
    assert_eq!(world.command(say(Consume::Host)), STALE);
    assert_eq!(world.command(commit(epoch, 5, b"")), STALE);
    assert_eq!(world.command(say(Consume::Nudge)), YES, "anybody may wake it");
    let incarnation = world.state.incarnation(ENTRY);
    world.order(StateCommand::Lost { entry: ENTRY, incarnation });
    assert_eq!(row(&world).holder, None);
    assert_eq!(world.command(say(Consume::Host)), YES);
    assert_eq!(world.command(commit(epoch, 5, b"")), YES);
    world.entry = ENTRY;
    assert_eq!(world.command(commit(epoch, 6, b"")), STALE);
}

#[test]
fn every_change_is_told_but_where_it_is() {
    let mut world = World::new();
    let changes = |world: &mut World, command: Command| {
        let mut batch = Batch::default();
        batch.command(&command);
        let applied = world.apply(batch);
        applied.changes.iter().map(|change| format!("{change:?}").contains("row: Some")).collect::<Vec<_>>()
    };
    assert_eq!(changes(&mut world, set(&["exact:a"], None)), [true]);
    assert_eq!(changes(&mut world, commit(1, 2, b"")), [false; 0]);
    assert_eq!(changes(&mut world, say(Consume::Nudge)), [true]);
    assert_eq!(changes(&mut world, say(Consume::Seek { after: 1 })), [true]);
    assert_eq!(changes(&mut world, say(Consume::Remove)), [false]);
    for what in [Consume::Remove, Consume::Nudge, Consume::Host, Consume::Seek { after: 1 }] {
        assert_eq!(world.command(say(what)), NOT_FOUND);
    }
}

#[test]
fn settings_and_state_have_a_bound() {
    let mut world = World::new();
    let large = Bytes::from(vec![0; CONSUMER_BYTES_MAX + 1]);
    let patterns = vec!["exact:a".to_owned()];
    let too_large = say(Consume::Set { patterns, settings: large.clone(), after: None });
    assert_eq!(world.command(too_large), ["0: Done(Conflict)"]);
    world.command(set(&["exact:a"], None));
    assert_eq!(world.command(say(Consume::Commit { epoch: 2, done_to: 2, state: large })), STALE);
}

#[test]
fn an_entry_to_which_its_other_end_has_come_runs_it_whoever_did() {
    let mut world = World::new();
    assert_eq!(world.command(say(Consume::Take)), NOT_FOUND);
    world.command(set(&["exact:a"], None));
    let epoch = row(&world).epoch;
    world.entry = OTHER;
    assert_eq!(world.command(say(Consume::Take))[0], YES[0]);
    assert_eq!(row(&world).holder, Some(OTHER));
    assert_eq!(world.command(commit(epoch, 7, b"x")), YES);
    world.entry = ENTRY;
    assert_eq!(world.command(commit(epoch, 9, b"y")), STALE, "it runs elsewhere now");
}
