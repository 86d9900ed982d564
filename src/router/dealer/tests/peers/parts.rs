//! Calls in parts whose callee is at another entry.

use super::*;

fn begin(world: &mut World) -> Vec<String> {
    world.call(0, 5, 10, "app.add", |call| call.progress = true)
}

#[test]
fn all_parts_reach_the_callee_at_another_entry() {
    let mut world = world();
    world.offer(1, 1, "app.add");
    assert_eq!(begin(&mut world), ["1: 1 INVOCATION 1 progress"]);
    assert_eq!(world.part(0, 5, 10, true), ["1: 1 INVOCATION 1 progress continues"]);
    assert_eq!(world.part(0, 5, 10, false), ["1: 1 INVOCATION 1 continues"]);
    assert_eq!(world.answer(1, 1, 1), ["0: 5 RESULT 10"]);
    assert_eq!(world.calls_under_way(), [0, 0, 0]);
}

#[test]
fn parts_and_the_answer_may_cross() {
    let mut world = world();
    world.offer(1, 1, "app.add");
    begin(&mut world);
    world.begin_part(0, 5, 10, true);
    world.begin_part(0, 5, 10, false);
    assert_eq!(world.answer(1, 1, 1), ["0: 5 RESULT 10"]);
    assert_eq!(world.calls_under_way(), [0, 0, 0]);
}

#[test]
fn a_callee_elsewhere_that_cannot_be_called_in_parts_is_not() {
    let mut world = world();
    world.register(1, 1, "app.add", |register| register.features = CalleeFeatures::default());
    world.begin(0, |dealer, now_ms, out| {
        let caller = Discloser { session: SessionId(5), authid: None, authrole: None };
        let options = Options {
            receive_progress: false,
            progress: true,
            timeout_ms: 0,
            disclose_me: false,
            caller,
            notes: OwnNotes::default(),
        };
        dealer.call(SessionId(5), &5, &options.call(10, &topic("app.add")), now_ms, out).unwrap();
    });
    assert_eq!(world.part(0, 5, 10, true), ["0: 5 ERROR Call 10: wamp.error.feature_not_supported"]);
    assert!(world.part(0, 5, 10, false).is_empty());
    assert_eq!(world.calls_under_way(), [0, 0, 0]);
}

/// The callee of entry 1 is busy; who comes next is at entry 2.
fn busy() -> World {
    let mut world = world();
    for at in [1, 2] {
        world.register(at, at as u64, "app.add", |register| {
            register.policy = InvocationPolicy::First;
            register.concurrency = NonZeroU32::new(1);
        });
    }
    assert_eq!(world.ask(0, 6, 1, "app.add"), ["1: 1 INVOCATION 1"]);
    world
}

#[test]
fn a_first_part_that_is_returned_is_tried_elsewhere() {
    let mut world = busy();
    assert_eq!(begin(&mut world), ["2: 2 INVOCATION 1 progress"]);
    assert_eq!(world.part(0, 5, 10, false), ["2: 2 INVOCATION 1 continues"]);
    assert_eq!(world.answer(2, 2, 1), ["0: 5 RESULT 10"]);
}

#[test]
fn a_call_of_which_more_was_sent_before_it_was_returned_is_over() {
    let mut world = busy();
    world.begin(0, |dealer, now_ms, out| {
        let caller = Discloser { session: SessionId(5), authid: None, authrole: None };
        let options = Options {
            receive_progress: false,
            progress: true,
            timeout_ms: 0,
            disclose_me: false,
            caller,
            notes: OwnNotes::default(),
        };
        dealer.call(SessionId(5), &5, &options.call(10, &topic("app.add")), now_ms, out).unwrap();
    });
    assert_eq!(world.part(0, 5, 10, true), ["0: 5 ERROR Call 10: wamp.error.no_available_callee"]);
    assert!(world.part(0, 5, 10, false).is_empty());
    assert_eq!(world.calls_under_way(), [1, 1, 0]);
}
