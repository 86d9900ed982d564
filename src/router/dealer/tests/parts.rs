//! Calls in parts (WAMP, Progressive Call Invocations).

use super::*;

const FIRST: &str = "1 INVOCATION 1 progress";
const NEXT: &str = "1 INVOCATION 1 progress continues";
const LAST: &str = "1 INVOCATION 1 continues";
const CANCELED: &str = "5 ERROR Call 10: wamp.error.canceled";

type End = fn(&mut Desk) -> Vec<String>;

impl Desk {
    fn first_part(&mut self, session: u64, request: u64) -> Vec<String> {
        self.call(session, request, "app.add", |call| call.progress = true)
    }

    /// Another CALL with this id: what came of it, or that it is a call of its own.
    fn part(&mut self, session: u64, request: u64, progress: bool) -> Vec<String> {
        self.part_of("app.add", session, request, progress)
    }

    fn part_of(&mut self, procedure: &str, session: u64, request: u64, progress: bool) -> Vec<String> {
        let (request, payload) = (RequestId(request), PayloadRef::Bytes(b""));
        let part = Part { request, procedure: Some(procedure), payload, passthru: None, progress };
        let mut is_new = false;
        let mut lines = self.run(|dealer, _, out| {
            is_new = !dealer.continue_call(SessionId(session), &part, out)?;
            Ok(())
        });
        lines.extend(is_new.then(|| "a new call".to_owned()));
        lines
    }
}

/// Session 5 has begun call 10, which session 1 is to answer.
fn begun() -> Desk {
    let mut desk = with_callee(CANCELING);
    assert_eq!(desk.first_part(5, 10), [FIRST]);
    desk
}

#[test]
fn all_parts_of_a_call_go_to_one_callee_under_one_id() {
    let mut desk = desk();
    for session in [1, 2] {
        desk.register(session, "app.add", |register| {
            register.policy = InvocationPolicy::RoundRobin;
            register.features = CANCELING;
        });
    }
    assert_eq!(desk.first_part(5, 10), [FIRST]);
    assert_eq!(desk.first_part(6, 10), ["2 INVOCATION 1 progress"]);
    assert_eq!(desk.part(5, 10, true), [NEXT]);
    assert_eq!(desk.part(6, 10, true), ["2 INVOCATION 1 progress continues"]);
    assert_eq!(desk.part(5, 10, false), [LAST]);
    assert_eq!(desk.answer(1, 1), ["5 RESULT 10"]);
    assert_eq!(desk.answer(2, 1), ["6 RESULT 10"]);
    assert!(desk.part(6, 10, false).is_empty(), "it is over");
    assert!(desk.is_idle());
}

#[test]
fn results_may_come_between_the_parts() {
    let mut desk = with_callee(CANCELING);
    desk.call(5, 10, "app.add", |call| (call.progress, call.receive_progress) = (true, true));
    assert_eq!(desk.progress(1, 1), ["5 RESULT 10 progress"]);
    assert_eq!(desk.part(5, 10, true), ["1 INVOCATION 1 progress continues receive_progress"]);
    assert_eq!(desk.progress(1, 1), ["5 RESULT 10 progress"]);
    assert_eq!(desk.part(5, 10, false), ["1 INVOCATION 1 continues receive_progress"]);
    assert_eq!(desk.answer(1, 1), ["5 RESULT 10"]);
}

#[test]
fn options_of_the_first_part_hold_for_all() {
    let mut desk = desk();
    desk.register(1, "prefix app", |register| {
        register.forward_timeout = true;
        register.features = CalleeFeatures { call_timeout: true, ..CANCELING };
    });
    let details = "procedure=app.add caller=5 progress";
    let invoked = desk.call(5, 10, "app.add", |call| {
        (call.progress, call.disclose_me, call.timeout_ms) = (true, true, 70);
    });
    assert_eq!(invoked, [format!("1 INVOCATION 1 {details} timeout=70")]);
    assert_eq!(desk.part(5, 10, true), [format!("1 INVOCATION 1 {details} continues timeout=70")]);
}

#[test]
fn a_callee_that_cannot_be_called_in_parts_is_not() {
    for features in [
        CalleeFeatures { progressive_call_invocations: false, ..CANCELING },
        CalleeFeatures { call_canceling: false, ..CANCELING },
    ] {
        let mut desk = desk();
        desk.register(1, "app.add", |register| {
            register.features = features;
            register.concurrency = NonZeroU32::new(1);
        });
        assert_eq!(desk.first_part(5, 10), ["5 ERROR Call 10: wamp.error.feature_not_supported"]);
        assert!(desk.part(5, 10, true).is_empty() && desk.part(5, 10, false).is_empty());
        assert!(desk.is_idle());
        assert_eq!(desk.ask(5, 11, "app.add"), ["1 INVOCATION 1"], "it has room");
    }
}

#[test]
fn what_comes_behind_the_end_of_a_call_is_dropped_up_to_its_last_part() {
    let ends: [(&str, End); 5] = [
        ("5 RESULT 10", |desk| desk.answer(1, 1)),
        ("5 ERROR Call 10: app.error", |desk| desk.fail(1, 1)),
        (CANCELED, |desk| desk.leave(1)),
        (CANCELED, |desk| desk.cancel(5, 10, CancelMode::Skip)),
        ("5 ERROR Call 10: wamp.error.timeout", |desk| desk.tick(100)),
    ];
    for (told, end) in ends {
        let mut desk = with_callee(CANCELING);
        desk.call(5, 10, "app.add", |call| (call.progress, call.timeout_ms) = (true, 100));
        assert_eq!(end(&mut desk).last().map(String::as_str), Some(told));
        assert!(desk.is_idle());
        for progress in [true, true, false] {
            assert!(desk.part(5, 10, progress).is_empty(), "{told}");
        }
        assert_eq!(desk.part(5, 10, false), ["a new call"]);
    }
}

#[test]
fn a_call_that_was_refused_is_not_begun_by_its_second_part() {
    let mut desk = desk();
    assert_eq!(desk.first_part(5, 10), ["5 ERROR Call 10: wamp.error.no_such_procedure"]);
    desk.register(1, "app.add", |register| register.features = CANCELING);
    assert!(desk.part(5, 10, true).is_empty() && desk.part(5, 10, false).is_empty());
    desk.dealer.drop_parts(SessionId(5), &5, RequestId(11));
    assert!(desk.part(5, 11, true).is_empty(), "the gate has refused it");
}

#[test]
fn a_call_goes_on_with_its_own_procedure_and_only_if_it_has_not_said_its_last() {
    let violation = "VIOLATION request 10 is a call under way already";
    let mut desk = begun();
    assert_eq!(desk.part_of("app.sub", 5, 10, true), [violation]);
    assert_eq!(desk.part(5, 10, false), [LAST]);
    assert_eq!(desk.part(5, 10, false), [violation]);
    assert_eq!(desk.ask(5, 11, "app.add"), ["1 INVOCATION 2"]);
    assert_eq!(desk.part(5, 11, true), ["VIOLATION request 11 is a call under way already"]);
    assert_eq!(desk.part(5, 12, true), ["a new call"]);
    assert_eq!(desk.part(6, 10, true), ["a new call"], "ids are each session's own");
}

#[test]
fn a_callee_that_was_told_to_stop_gets_no_more() {
    let mut desk = begun();
    assert_eq!(desk.cancel(5, 10, CancelMode::Kill), ["1 INTERRUPT 1 kill wamp.error.canceled"]);
    assert!(desk.part(5, 10, true).is_empty());
    assert_eq!(desk.fail(1, 1), ["5 ERROR Call 10: app.error"]);
    assert!(desk.part(5, 10, false).is_empty());
}

#[test]
fn a_caller_that_leaves_between_its_parts_has_the_callee_interrupted() {
    let mut desk = begun();
    desk.part(5, 10, true);
    assert_eq!(desk.leave(5), ["1 INTERRUPT 1 killnowait wamp.error.canceled"]);
    assert!(desk.answer(1, 1).is_empty());
    assert!(desk.is_idle());
}

#[test]
fn a_part_that_cannot_be_given_ends_the_call_and_interrupts_the_callee() {
    let mut desk = begun();
    desk.part(5, 10, true);
    assert_eq!(
        desk.invocation_undeliverable(1, 1),
        [
            "1 INTERRUPT 1 killnowait wamp.error.payload_size_exceeded",
            "5 ERROR Call 10: wamp.error.payload_size_exceeded"
        ]
    );
    assert_eq!(desk.ask(6, 1, "app.add"), ["1 INVOCATION 2"], "the callee knows of the first");
    let mut desk = begun();
    assert_eq!(desk.invocation_undeliverable(1, 1), ["5 ERROR Call 10: wamp.error.payload_size_exceeded"]);
    assert_eq!(desk.ask(6, 1, "app.add"), ["1 INVOCATION 1"]);
}

#[test]
fn only_so_many_calls_that_ended_early_are_remembered() {
    let mut desk = with_callee(CANCELING);
    for request in 1..=1025 {
        desk.first_part(5, request);
        desk.answer(1, request);
    }
    assert_eq!(desk.part(5, 1, true), ["a new call"]);
    assert!(desk.part(5, 2, true).is_empty() && desk.part(5, 1025, true).is_empty());
}
