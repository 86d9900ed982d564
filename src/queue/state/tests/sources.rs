//! What enters from other logs counts once per number.

use super::*;
use crate::queue::command::SourceStep;

fn entered(number: u64) -> Publish<'static> {
    Publish { retain: false, entered: Some(("edge", 7, number)), ..text("a", "x") }
}

fn source(name: &str, step: SourceStep) -> Command {
    Command::Source { realm: REALM.into(), name: name.into(), step }
}

fn begin(epoch: u64, next: u64) -> Command {
    source("edge", SourceStep::Begin { epoch, next })
}

fn next(epoch: u64, next: u64) -> Vec<String> {
    vec![format!("0: Done(Next {{ epoch: {epoch}, next: {next} }})")]
}

#[test]
fn a_number_of_a_source_counts_once_and_in_its_turn() {
    let mut world = World::new();
    assert_eq!(world.command(begin(7, 3)), next(7, 3));
    assert!(world.send(batch([entered(3), entered(4)])).is_empty());
    assert_eq!(world.send(batch([entered(3), entered(4), entered(5)])), ["0: Void(Repeated)", "1: Void(Repeated)"]);
    assert_eq!(world.send(batch([entered(7)])), ["0: Void(Stale)"], "6 is missing");
    assert_eq!(world.command(source("edge", SourceStep::Ask)), next(7, 6));
}

#[test]
fn the_number_moves_on_within_one_segment() {
    let mut world = World::new();
    let mut one = Batch::default();
    one.command(&begin(7, 0));
    entered(0).add_to(&mut one);
    entered(0).add_to(&mut one);
    entered(1).add_to(&mut one);
    one.command(&source("edge", SourceStep::Ask));
    let lines = world.send(one);
    assert_eq!(lines[0], next(7, 0)[0]);
    assert_eq!(lines[1..], ["2: Void(Repeated)", "4: Done(Next { epoch: 7, next: 2 })"]);
}

#[test]
fn nothing_enters_from_a_source_that_has_not_begun() {
    let mut world = World::new();
    assert_eq!(world.publish(entered(0)), ["0: Void(Stale)"]);
    assert_eq!(world.command(source("edge", SourceStep::Ask)), next(0, 0));
}

#[test]
fn only_a_later_epoch_begins() {
    let mut world = World::new();
    world.command(begin(7, 3));
    assert_eq!(world.command(begin(7, 0)), next(7, 3));
    assert_eq!(world.command(begin(6, 0)), next(7, 3));
    assert_eq!(world.command(begin(8, 1)), next(8, 1));
    assert_eq!(world.publish(entered(3)), ["0: Void(Stale)"], "its epoch is over");
}

#[test]
fn numbers_that_bring_nothing_are_passed_by() {
    let mut world = World::new();
    world.command(begin(7, 3));
    let skip = |epoch, from, to| source("edge", SourceStep::Skip { epoch, from, to });
    assert_eq!(world.command(skip(7, 4, 6)), next(7, 3), "3 is missing");
    assert_eq!(world.command(skip(6, 3, 6)), next(7, 3), "another epoch");
    assert_eq!(world.command(skip(7, 3, 6)), next(7, 6));
    assert_eq!(world.command(skip(7, 3, 6)), next(7, 6), "it came before");
    assert_eq!(world.command(source("other", SourceStep::Skip { epoch: 0, from: 0, to: 1 })), next(0, 0));
}

#[test]
fn sources_of_two_realms_and_names_do_not_meet() {
    let mut world = World::new();
    world.command(begin(7, 3));
    world.command(source("other", SourceStep::Begin { epoch: 1, next: 0 }));
    assert_eq!(world.command(source("edge", SourceStep::Ask)), next(7, 3));
    let elsewhere = Command::Source { realm: "s".into(), name: "edge".into(), step: SourceStep::Ask };
    assert_eq!(world.command(elsewhere), next(0, 0));
}

#[test]
fn an_event_that_its_condition_refuses_has_used_its_number() {
    let mut world = World::new();
    world.command(begin(7, 0));
    world.publish(text("k", "there"));
    let absent = Condition { when: Some(When::Absent), ..Condition::default() };
    let refused = Publish { retain: true, topic: "k", ..entered(0) }.asking(&absent);
    assert_eq!(world.publish(refused), ["0: Void(ConditionFailed)"]);
    assert_eq!(world.command(source("edge", SourceStep::Ask)), next(7, 1));
}

#[test]
fn a_retained_event_that_came_before_does_not_set_its_key_again() {
    let mut world = World::new();
    world.command(begin(7, 0));
    let retained = |text: &'static str| Publish {
        payload: PayloadRef::Bytes(text.as_bytes()),
        retain: true,
        topic: "k",
        ..entered(0)
    };
    world.publish(retained("1"));
    assert_eq!(world.publish(retained("2")), ["0: Void(Repeated)"]);
    assert_eq!(world.value("k").map(|(text, _)| text), Some("1".into()));
}

#[test]
fn who_was_silent_longest_is_forgotten_when_there_are_too_many() {
    let mut world = World::new();
    world.state.set_limits(StateLimits { sources_max: 2, ..StateLimits::default() });
    world.command(begin(7, 0));
    world.command(source("other", SourceStep::Begin { epoch: 1, next: 5 }));
    world.publish(entered(0));
    world.command(source("third", SourceStep::Begin { epoch: 1, next: 0 }));
    assert_eq!(world.command(source("other", SourceStep::Ask)), next(0, 0));
    assert_eq!(world.command(source("edge", SourceStep::Ask)), next(7, 1));
    assert_eq!(world.command(source("third", SourceStep::Ask)), next(1, 0));
}
