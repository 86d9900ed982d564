//! All the ways in which a call ends without its callee's answer, and the races between them.

use super::*;

const NOTHING: [&str; 0] = [];

/// Session 5 has called `app.add` of session 1, which has these features.
fn called(features: CalleeFeatures) -> Desk {
    let mut desk = with_callee(features);
    let asked = desk.call(5, 7, "app.add", |call| {
        call.receive_progress = true;
        call.timeout_ms = 100;
    });
    assert!(asked[0].starts_with("1 INVOCATION 1"));
    desk
}

#[test]
fn cancel_modes_do_as_the_specification_says() {
    let canceled = "5 ERROR Call 7: wamp.error.canceled";
    let table: [(CancelMode, CalleeFeatures, &[&str]); 6] = [
        (CancelMode::Skip, CANCELING, &[canceled]),
        (CancelMode::Kill, CANCELING, &["1 INTERRUPT 1 kill wamp.error.canceled"]),
        (CancelMode::KillNoWait, CANCELING, &["1 INTERRUPT 1 killnowait wamp.error.canceled", canceled]),
        (CancelMode::Skip, PROGRESS_ONLY, &[canceled]),
        (CancelMode::Kill, PROGRESS_ONLY, &[canceled]),
        (CancelMode::KillNoWait, PROGRESS_ONLY, &[canceled]),
    ];
    for (mode, features, expected) in table {
        assert_eq!(called(features).cancel(5, 7, mode), expected, "{mode:?}");
    }
}

#[test]
fn a_killed_call_ends_with_what_its_callee_says() {
    let mut desk = called(CANCELING);
    desk.cancel(5, 7, CancelMode::Kill);
    assert_eq!(desk.progress(1, 1), ["5 RESULT 7 progress"]);
    assert_eq!(desk.fail(1, 1), ["5 ERROR Call 7: app.error"]);
    assert!(desk.is_idle());

    let mut desk = called(CANCELING);
    desk.cancel(5, 7, CancelMode::Kill);
    assert_eq!(desk.answer(1, 1), ["5 RESULT 7"], "the result was faster than the interrupt");
    assert!(desk.is_idle());
}

#[test]
fn a_callee_is_interrupted_once() {
    let mut desk = called(CANCELING);
    desk.cancel(5, 7, CancelMode::Kill);
    assert_eq!(desk.cancel(5, 7, CancelMode::Kill), NOTHING);
    assert_eq!(desk.cancel(5, 7, CancelMode::KillNoWait), ["5 ERROR Call 7: wamp.error.canceled"]);
    assert_eq!(desk.cancel(5, 7, CancelMode::KillNoWait), NOTHING);
}

#[test]
fn a_killed_call_still_times_out() {
    let mut desk = called(CANCELING);
    desk.cancel(5, 7, CancelMode::Kill);
    assert_eq!(desk.tick(100), ["5 ERROR Call 7: wamp.error.timeout"]);
    assert_eq!(desk.fail(1, 1), NOTHING);
}

#[test]
fn a_cancel_that_crosses_the_answer_is_ignored() {
    let mut desk = called(CANCELING);
    desk.answer(1, 1);
    for mode in [CancelMode::Skip, CancelMode::Kill, CancelMode::KillNoWait] {
        assert_eq!(desk.cancel(5, 7, mode), NOTHING);
        assert_eq!(desk.cancel(5, 999, mode), NOTHING);
        assert_eq!(desk.cancel(999, 7, mode), NOTHING);
    }
}

#[test]
fn nobody_cancels_the_call_of_another() {
    let mut desk = called(CANCELING);
    desk.ask(6, 8, "app.add");
    assert_eq!(desk.cancel(6, 7, CancelMode::KillNoWait), NOTHING);
    assert_eq!(desk.answer(1, 1), ["5 RESULT 7"]);
}

/// Something that ends the call of [`called`] before its callee has answered.
type End = fn(&mut Desk) -> Vec<String>;

const ENDS: [(&str, End); 5] = [
    ("skip", |desk| desk.cancel(5, 7, CancelMode::Skip)),
    ("killnowait", |desk| desk.cancel(5, 7, CancelMode::KillNoWait)),
    ("timeout", |desk| desk.tick(100)),
    ("caller left", |desk| desk.leave(5)),
    ("result too large", |desk| desk.result_undeliverable(5, 7)),
];

#[test]
fn late_answers_are_ignored() {
    for (why, end) in ENDS {
        for features in [CANCELING, PROGRESS_ONLY] {
            for answer in [Desk::answer, Desk::fail] {
                let mut desk = called(features);
                end(&mut desk);
                assert!(desk.is_idle(), "{why}");
                assert_eq!(desk.progress(1, 1), NOTHING, "{why}");
                assert_eq!(answer(&mut desk, 1, 1), NOTHING, "{why}");
                assert_eq!(answer(&mut desk, 1, 1), NOTHING, "{why}, again");
                assert_eq!(desk.progress(1, 1), NOTHING, "{why}, again");
            }
        }
    }
}

#[test]
fn a_call_that_ended_does_not_end_again() {
    for (first, end) in ENDS {
        for (second, end_again) in ENDS.into_iter().filter(|(name, _)| *name != "result too large") {
            let mut desk = called(CANCELING);
            end(&mut desk);
            assert_eq!(end_again(&mut desk), NOTHING, "{first}, then {second}");
        }
    }
}

#[test]
fn the_callee_may_leave_after_the_call_ended() {
    for (why, end) in ENDS {
        let mut desk = called(CANCELING);
        end(&mut desk);
        assert_eq!(desk.leave(1), NOTHING, "{why}");
        assert!(desk.is_idle());
    }
}

#[test]
fn a_forgotten_answer_frees_its_callee() {
    let mut desk = desk();
    desk.register(1, "app.add", |register| register.concurrency = NonZeroU32::new(1));
    desk.register(1, "app.sub", |register| register.concurrency = NonZeroU32::new(5000));
    desk.ask(5, 1, "app.add");
    desk.cancel(5, 1, CancelMode::Skip);
    for request in 2..=1024 {
        desk.ask(5, request, "app.sub");
        desk.cancel(5, request, CancelMode::Skip);
    }
    assert_eq!(desk.ask(5, 1025, "app.add"), ["5 ERROR Call 1025: wamp.error.no_available_callee"]);
    desk.ask(5, 1026, "app.sub");
    desk.cancel(5, 1026, CancelMode::Skip);
    assert_eq!(desk.ask(5, 1027, "app.add"), ["1 INVOCATION 1026"]);
}

#[test]
fn a_call_times_out_at_its_deadline_and_interrupts_who_understands_it() {
    let timeout = "5 ERROR Call 7: wamp.error.timeout";
    let table: [(CalleeFeatures, &[&str]); 2] =
        [(CANCELING, &["1 INTERRUPT 1 killnowait wamp.error.timeout", timeout]), (PROGRESS_ONLY, &[timeout])];
    for (features, expected) in table {
        let mut desk = called(features);
        assert_eq!(desk.dealer.next_deadline(), Some(100));
        assert_eq!(desk.tick(99), NOTHING);
        assert_eq!(desk.tick(100), expected);
        assert_eq!(desk.dealer.next_deadline(), None);
        assert_eq!(desk.tick(1000), NOTHING);
    }
}

#[test]
fn calls_without_timeout_wait_forever() {
    let mut desk = with_callee(CANCELING);
    desk.ask(5, 7, "app.add");
    assert_eq!(desk.dealer.next_deadline(), None);
    assert_eq!(desk.tick(u64::MAX), NOTHING);
    desk.call(5, 8, "app.add", |call| call.timeout_ms = u64::MAX);
    assert_eq!(desk.dealer.next_deadline(), Some(u64::MAX));
}

#[test]
fn an_answer_in_time_stops_the_clock() {
    for answer in [Desk::answer, Desk::fail] {
        let mut desk = called(CANCELING);
        desk.now_ms = 99;
        answer(&mut desk, 1, 1);
        assert_eq!(desk.dealer.next_deadline(), None);
        assert_eq!(desk.tick(100), NOTHING);
    }
}

#[test]
fn progress_begins_the_timeout_anew() {
    let mut desk = called(CANCELING);
    desk.tick(90);
    desk.progress(1, 1);
    assert_eq!(desk.dealer.next_deadline(), Some(190));
    assert_eq!(desk.tick(189), NOTHING);
    let late = ["1 INTERRUPT 1 killnowait wamp.error.timeout", "5 ERROR Call 7: wamp.error.timeout"];
    assert_eq!(desk.tick(190), late);
}

#[test]
fn progress_that_the_caller_does_not_see_does_not_win_time() {
    let mut desk = with_callee(CANCELING);
    desk.call(5, 7, "app.add", |call| call.timeout_ms = 100);
    desk.tick(90);
    desk.progress(1, 1);
    assert_eq!(desk.dealer.next_deadline(), Some(100));
}

#[test]
fn timeouts_come_in_their_order() {
    let mut desk = with_callee(PROGRESS_ONLY);
    for (request, timeout_ms) in [(1, 300), (2, 100), (3, 200), (4, 400)] {
        desk.call(5, request, "app.add", |call| call.timeout_ms = timeout_ms);
    }
    let timed_out = [2, 3, 1].map(|request| format!("5 ERROR Call {request}: wamp.error.timeout"));
    assert_eq!(desk.tick(300), timed_out);
    assert_eq!(desk.dealer.next_deadline(), Some(400));
}

#[test]
fn the_timeout_is_forwarded_to_callees_that_asked_for_it_and_can() {
    for (asked, can) in [(true, true), (true, false), (false, true)] {
        let mut desk = desk();
        desk.register(1, "app.add", |register| {
            register.forward_timeout = asked;
            register.features.call_timeout = can;
        });
        let invoked = desk.call(5, 7, "app.add", |call| call.timeout_ms = 100);
        if asked && can {
            assert_eq!(invoked, ["1 INVOCATION 1 timeout=100"]);
            assert_eq!(desk.dealer.next_deadline(), None);
            assert_eq!(desk.ask(5, 8, "app.add"), ["1 INVOCATION 2"], "no timeout, nothing to forward");
        } else {
            assert_eq!(invoked, ["1 INVOCATION 1"]);
            assert_eq!(desk.dealer.next_deadline(), Some(100));
        }
    }
}

#[test]
fn when_a_callee_leaves_its_callers_are_told() {
    for kill in [false, true] {
        let mut desk = called(CANCELING);
        desk.ask(6, 1, "app.add");
        desk.progress(1, 1);
        if kill {
            desk.cancel(5, 7, CancelMode::Kill);
        }
        assert_eq!(
            desk.leave(1),
            ["5 ERROR Call 7: wamp.error.canceled", "6 ERROR Call 1: wamp.error.canceled"],
            "{kill}"
        );
        assert!(desk.is_idle());
        assert_eq!(desk.ask(5, 9, "app.add"), ["5 ERROR Call 9: wamp.error.no_such_procedure"]);
        assert_eq!(desk.cancel(5, 7, CancelMode::Kill), NOTHING);
    }
}

#[test]
fn when_a_caller_leaves_its_callees_are_interrupted_if_they_understand_it() {
    assert_eq!(called(CANCELING).leave(5), ["1 INTERRUPT 1 killnowait wamp.error.canceled"]);
    assert_eq!(called(PROGRESS_ONLY).leave(5), NOTHING);
}

#[test]
fn when_a_caller_leaves_a_killed_call_its_callee_is_not_interrupted_again() {
    let mut desk = called(CANCELING);
    desk.cancel(5, 7, CancelMode::Kill);
    assert_eq!(desk.leave(5), NOTHING);
    assert_eq!(desk.fail(1, 1), NOTHING);
}

#[test]
fn a_session_that_called_itself_leaves_in_silence() {
    let mut desk = with_callee(CANCELING);
    desk.call(1, 1, "app.add", |call| call.timeout_ms = 100);
    assert_eq!(desk.leave(1), NOTHING);
    assert!(desk.is_idle());
}

#[test]
fn a_caller_that_is_a_callee_too_ends_both_sides_of_its_calls() {
    let mut desk = with_callee(CANCELING);
    desk.register(2, "app.sub", |register| register.features = CANCELING);
    desk.ask(2, 1, "app.add");
    desk.ask(5, 1, "app.sub");
    assert_eq!(desk.leave(2), ["1 INTERRUPT 1 killnowait wamp.error.canceled", "5 ERROR Call 1: wamp.error.canceled"]);
    assert!(desk.is_idle());
}

#[test]
fn leaving_twice_or_unknown_is_nothing() {
    let mut desk = called(CANCELING);
    desk.leave(5);
    assert_eq!(desk.leave(5), NOTHING);
    assert_eq!(desk.leave(999), NOTHING);
}

#[test]
fn nothing_is_kept_of_sessions_that_left() {
    let mut desk = called(CANCELING);
    desk.ask(6, 1, "app.add");
    for session in [5, 1, 6] {
        desk.leave(session);
    }
    assert!(desk.dealer.sessions.is_empty());
    assert_eq!(desk.dealer.registration_count(), 0);
}

#[test]
fn an_invocation_too_large_for_its_callee_fails_the_call() {
    let mut desk = called(CANCELING);
    assert_eq!(desk.invocation_undeliverable(1, 1), ["5 ERROR Call 7: wamp.error.payload_size_exceeded"]);
    assert!(desk.is_idle());
    assert_eq!(desk.answer(1, 1), ["VIOLATION invocation 1 is not under way at this callee"]);
    assert_eq!(desk.ask(5, 8, "app.add"), ["1 INVOCATION 1"], "the callee sees no gap");
    assert_eq!(desk.invocation_undeliverable(1, 9), NOTHING);
}

#[test]
fn an_invocation_too_large_for_its_callee_does_not_occupy_it() {
    let mut desk = desk();
    desk.register(1, "app.add", |register| register.concurrency = NonZeroU32::new(1));
    desk.ask(5, 1, "app.add");
    desk.invocation_undeliverable(1, 1);
    assert_eq!(desk.ask(5, 2, "app.add"), ["1 INVOCATION 1"]);
}

#[test]
fn a_final_result_too_large_for_its_caller_becomes_an_error() {
    let mut desk = called(CANCELING);
    desk.answer(1, 1);
    assert_eq!(desk.result_undeliverable(5, 7), ["5 ERROR Call 7: wamp.error.payload_size_exceeded"]);
    desk.leave(5);
    assert_eq!(desk.result_undeliverable(5, 7), NOTHING);
}

#[test]
fn a_progressive_result_too_large_for_its_caller_ends_the_call() {
    let too_large = "5 ERROR Call 7: wamp.error.payload_size_exceeded";
    let table: [(CalleeFeatures, &[&str]); 2] = [
        (CANCELING, &["1 INTERRUPT 1 killnowait wamp.error.payload_size_exceeded", too_large]),
        (PROGRESS_ONLY, &[too_large]),
    ];
    for (features, expected) in table {
        let mut desk = called(features);
        desk.progress(1, 1);
        assert_eq!(desk.result_undeliverable(5, 7), expected);
        assert!(desk.is_idle());
    }
}
