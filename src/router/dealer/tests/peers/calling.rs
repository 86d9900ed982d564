//! Calls on their way to another entry and back.

use super::*;

#[test]
fn a_call_reaches_a_callee_at_another_entry_and_its_result_comes_back() {
    let mut world = world();
    assert_eq!(world.offer(1, 1, "app.add"), [format!("1: 1 REGISTERED 0: {ADD}")]);
    assert_eq!(world.ask(0, 5, 10, "app.add"), ["1: 1 INVOCATION 1"]);
    assert_eq!(world.calls_under_way(), [1, 1, 0]);
    assert_eq!(world.answer(1, 1, 1), ["0: 5 RESULT 10"]);
    assert_eq!(world.calls_under_way(), [0, 0, 0]);
}

#[test]
fn the_callees_error_comes_back_as_it_is() {
    let mut world = world();
    world.offer(1, 1, "app.add");
    world.ask(2, 5, 10, "app.add");
    let payload = PayloadRef::Bytes(b"");
    let told = world.run(1, |dealer, _, out| {
        dealer.invocation_error(SessionId(1), InvocationId(1), "app.error", payload, out).unwrap();
    });
    assert_eq!(told, ["2: 5 ERROR Call 10: app.error"]);
}

#[test]
fn nobody_is_registered_anywhere() {
    let mut world = world();
    assert_eq!(world.ask(0, 5, 1, "app.add"), ["0: 5 ERROR Call 1: wamp.error.no_such_procedure"]);
    world.offer(1, 1, "app.add");
    world.leave(1, 1);
    assert_eq!(world.ask(0, 5, 2, "app.add"), ["0: 5 ERROR Call 2: wamp.error.no_such_procedure"]);
    assert_eq!(world.dealers[0].registrations().count(), 0);
}

#[test]
fn a_callee_that_leaves_while_the_call_is_on_its_way_fails_it() {
    let mut world = world();
    world.offer(1, 1, "app.add");
    // The word of its leaving and the call cross.
    world.begin(1, |dealer, _, out| dealer.leave(SessionId(1), out));
    let told = std::mem::take(&mut world.under_way);
    assert_eq!(world.ask(0, 5, 1, "app.add"), ["0: 5 ERROR Call 1: wamp.error.canceled"]);
    world.under_way = told;
    world.settle();
    assert_eq!(world.ask(0, 5, 2, "app.add"), ["0: 5 ERROR Call 2: wamp.error.no_such_procedure"]);
}

#[test]
fn progressive_results_cross() {
    let mut world = world();
    world.offer(1, 1, "app.add");
    let invoked = world.call(0, 5, 10, "app.add", |call| call.receive_progress = true);
    assert_eq!(invoked, ["1: 1 INVOCATION 1 receive_progress"]);
    for _ in 0..3 {
        assert_eq!(world.yield_result(1, 1, 1, true), ["0: 5 RESULT 10 progress"]);
    }
    assert_eq!(world.answer(1, 1, 1), ["0: 5 RESULT 10"]);
}

#[test]
fn each_way_to_cancel_does_there_what_it_does_here() {
    for (mode, at_once, later) in [
        (CancelMode::Skip, vec!["0: 5 ERROR Call 10: wamp.error.canceled"], vec![]),
        (
            CancelMode::KillNoWait,
            vec!["0: 5 ERROR Call 10: wamp.error.canceled", "1: 1 INTERRUPT 1 killnowait wamp.error.canceled"],
            vec![],
        ),
        (CancelMode::Kill, vec!["1: 1 INTERRUPT 1 kill wamp.error.canceled"], vec!["0: 5 RESULT 10"]),
    ] {
        let mut world = world();
        world.offer(1, 1, "app.add");
        world.ask(0, 5, 10, "app.add");
        let mut told = world.cancel(0, 5, 10, mode);
        told.sort();
        assert_eq!(told, at_once, "{mode:?}");
        assert_eq!(world.answer(1, 1, 1), later, "{mode:?}");
        assert_eq!(world.calls_under_way(), [0, 0, 0]);
    }
}

#[test]
fn a_callee_that_cannot_be_interrupted_is_skipped_there_too() {
    let mut world = world();
    world.register(1, 1, "app.add", |register| register.features = CalleeFeatures::default());
    world.ask(0, 5, 10, "app.add");
    assert_eq!(world.cancel(0, 5, 10, CancelMode::Kill), ["0: 5 ERROR Call 10: wamp.error.canceled"]);
}

#[test]
fn the_callees_entry_minds_the_time_unless_the_callee_does() {
    let mut world = world();
    world.offer(1, 1, "app.add");
    world.register(1, 2, "app.sub", |register| {
        register.forward_timeout = true;
        register.features = CalleeFeatures { call_timeout: true, ..CANCELING };
    });
    world.call(0, 5, 1, "app.add", |call| call.timeout_ms = 100);
    let invoked = world.call(0, 5, 2, "app.sub", |call| call.timeout_ms = 100);
    assert_eq!(invoked, ["1: 2 INVOCATION 1 timeout=100"]);
    assert_eq!(world.tick(1099), Vec::<String>::new());
    assert_eq!(
        world.tick(1100),
        ["1: 1 INTERRUPT 1 killnowait wamp.error.timeout", "0: 5 ERROR Call 1: wamp.error.timeout"]
    );
    assert_eq!(world.answer(1, 2, 1), ["0: 5 RESULT 2"]);
}

#[test]
fn the_caller_is_disclosed_if_either_side_wants_it() {
    for (caller_wants, callee_wants) in [(false, false), (true, false), (false, true)] {
        let mut world = world();
        world.register(1, 1, "app.add", |register| register.disclose_caller = callee_wants);
        let invoked = world.call(0, 5, 10, "app.add", |call| call.disclose_me = caller_wants);
        let caller = if caller_wants || callee_wants { " caller=5" } else { "" };
        assert_eq!(invoked, [format!("1: 1 INVOCATION 1{caller}")]);
    }
}

#[test]
fn patterns_learn_the_procedure_and_the_best_match_of_all_entries_is_called() {
    let mut world = world();
    world.offer(0, 1, "wildcard app..x");
    assert_eq!(world.ask(0, 5, 1, "app.add.x"), ["0: 1 INVOCATION 1 procedure=app.add.x"]);
    world.offer(1, 2, "prefix app.");
    assert_eq!(world.ask(0, 5, 2, "app.add.x"), ["1: 2 INVOCATION 1 procedure=app.add.x"]);
    world.offer(2, 3, "prefix app.add");
    assert_eq!(world.ask(0, 5, 3, "app.add.x"), ["2: 3 INVOCATION 1 procedure=app.add.x"]);
    world.offer(1, 4, "app.add.x");
    assert_eq!(world.ask(0, 5, 4, "app.add.x"), ["1: 4 INVOCATION 1"]);
}

#[test]
fn a_call_from_an_entry_is_given_to_callees_of_this_one_alone() {
    let mut world = world();
    world.register(1, 1, "app.add", shared(InvocationPolicy::RoundRobin));
    world.register(2, 2, "app.add", shared(InvocationPolicy::RoundRobin));
    // Entry 1 has a callee no more, knows one at entry 2, and is asked by 0, which has not heard of it yet.
    world.begin(1, |dealer, _, out| dealer.leave(SessionId(1), out));
    let told = std::mem::take(&mut world.under_way);
    let answers = [world.ask(0, 5, 1, "app.add"), world.ask(0, 5, 2, "app.add")];
    world.under_way = told;
    // Both came to entry 1 or 2; the one that was returned went to 2.
    assert_eq!(answers, [["2: 2 INVOCATION 1"], ["2: 2 INVOCATION 2"]]);
}

#[test]
fn a_peer_cannot_call_what_is_the_brokers_own_or_what_the_pattern_does_not_match() {
    let mut world = world();
    world.offer(1, 1, "app.add");
    let (own, other) = (topic("fennec.key.get"), topic("app.sub"));
    for (at, (procedure, pattern)) in
        [(&own, TopicPattern::exact(&own)), (&other, pattern("app.add"))].iter().enumerate()
    {
        let id = at as u64 + 1;
        world.begin(1, |dealer, now_ms, out| {
            let caller = Discloser { session: SessionId(5), authid: None, authrole: None };
            let options = Options {
                receive_progress: false,
                timeout_ms: 0,
                progress: false,
                disclose_me: false,
                caller,
                notes: OwnNotes::default(),
            };
            let call = options.call(id, procedure);
            dealer.call_from_peer(0, &handle(0), &call, pattern, InvocationPolicy::Single, now_ms, out).unwrap();
        });
        let refused = world.under_way.pop_front().map(|(_, _, said)| said);
        assert!(matches!(refused, Some(Said::Returned { why: Refusal::NoSuchProcedure, .. })));
    }
}

#[test]
fn a_callee_that_takes_no_more_at_once_is_minded_by_its_entry() {
    let mut world = world();
    world.register(1, 1, "app.add", |register| register.concurrency = NonZeroU32::new(1));
    world.ask(0, 5, 1, "app.add");
    assert_eq!(world.ask(2, 6, 1, "app.add"), ["2: 6 ERROR Call 1: wamp.error.no_available_callee"]);
    world.answer(1, 1, 1);
    assert_eq!(world.ask(2, 6, 2, "app.add"), ["1: 1 INVOCATION 2"]);
}

/// The callees of all entries take one call at once.
fn one_each(policy: InvocationPolicy) -> World {
    let mut world = world();
    for at in 0..3 {
        world.register(at, 1 + at as u64, "app.add", |register| {
            register.policy = policy;
            register.concurrency = NonZeroU32::new(1);
        });
    }
    world
}

#[test]
fn a_call_that_meets_busy_callees_goes_to_another_entry_until_all_are_busy() {
    for policy in
        [InvocationPolicy::First, InvocationPolicy::Last, InvocationPolicy::Random, InvocationPolicy::RoundRobin]
    {
        let mut world = one_each(policy);
        let mut called: Vec<String> = (1..=3).flat_map(|request| world.ask(0, 5, request, "app.add")).collect();
        called.sort();
        assert_eq!(called, ["0: 1 INVOCATION 1", "1: 2 INVOCATION 1", "2: 3 INVOCATION 1"], "{policy:?}");
        assert_eq!(world.ask(1, 6, 1, "app.add"), ["1: 6 ERROR Call 1: wamp.error.no_available_callee"], "{policy:?}");
        assert_eq!(world.calls_under_way(), [3, 1, 1]);
        world.answer(2, 3, 1);
        assert_eq!(world.ask(1, 6, 2, "app.add"), ["2: 3 INVOCATION 2"], "{policy:?}");
    }
}

#[test]
fn a_call_that_was_returned_keeps_what_its_caller_asked_for() {
    let mut world = one_each(InvocationPolicy::First);
    world.ask(1, 5, 1, "app.add");
    world.ask(1, 5, 2, "app.add");
    let invoked = world.call(1, 5, 3, "app.add", |call| {
        call.receive_progress = true;
        call.disclose_me = true;
        call.timeout_ms = 100;
    });
    assert_eq!(invoked, ["2: 3 INVOCATION 1 caller=5 receive_progress"]);
    assert_eq!(world.yield_result(2, 3, 1, true), ["1: 5 RESULT 3 progress"]);
    let mut told = world.tick(1100);
    told.sort();
    assert_eq!(told, ["1: 5 ERROR Call 3: wamp.error.timeout", "2: 3 INTERRUPT 1 killnowait wamp.error.timeout"]);
}

#[test]
fn a_call_that_was_canceled_meanwhile_is_not_tried_again() {
    for (mode, told) in [
        (CancelMode::Skip, "0: 5 ERROR Call 2: wamp.error.canceled"),
        (CancelMode::KillNoWait, "0: 5 ERROR Call 2: wamp.error.canceled"),
        (CancelMode::Kill, "0: 5 ERROR Call 2: wamp.error.canceled"),
    ] {
        let mut world = one_each(InvocationPolicy::First);
        world.leave(0, 1);
        world.ask(0, 5, 1, "app.add");
        // It is canceled before entry 1 has returned it.
        let (procedure, caller) = (topic("app.add"), Discloser { session: SessionId(5), authid: None, authrole: None });
        let options = Options {
            receive_progress: false,
            timeout_ms: 0,
            progress: false,
            disclose_me: false,
            caller,
            notes: OwnNotes::default(),
        };
        world.begin(0, |dealer, now_ms, out| {
            dealer.call(SessionId(5), &5, &options.call(2, &procedure), now_ms, out).unwrap();
        });
        assert_eq!(world.cancel(0, 5, 2, mode), [told], "{mode:?}");
        assert_eq!(world.calls_under_way(), [1, 1, 0], "{mode:?}");
    }
}

#[test]
fn a_call_is_not_tried_at_those_that_stand_by() {
    let mut world = world();
    // Neither has heard of the other's when it registers.
    for at in [1, 2] {
        let one = |register: &mut Register<'_>| register.concurrency = NonZeroU32::new(1);
        world.begin_register(at, at as u64, "app.add", one);
    }
    world.settle();
    world.ask(0, 5, 1, "app.add");
    assert_eq!(world.ask(0, 5, 2, "app.add"), ["0: 5 ERROR Call 2: wamp.error.no_available_callee"]);
}

#[test]
fn a_lost_link_fails_the_calls_over_it_at_once_and_interrupts_their_callees() {
    let mut world = world();
    world.register(1, 1, "app.add", shared(InvocationPolicy::First));
    world.register(2, 2, "app.add", shared(InvocationPolicy::First));
    world.ask(0, 5, 1, "app.add");
    let mut told = world.disconnect(0, 1);
    told.sort();
    assert_eq!(told, ["0: 5 ERROR Call 1: wamp.error.canceled", "1: 1 INTERRUPT 1 killnowait wamp.error.canceled"]);
    assert_eq!(world.calls_under_way(), [0, 0, 0]);
    assert_eq!(world.called(0, "app.add", 1), ["2/2"]);
    world.connect(0, 1);
    assert_eq!(world.ask(0, 5, 2, "app.add"), ["1: 1 INVOCATION 2"]);
}

#[test]
fn a_caller_that_leaves_has_its_callee_elsewhere_interrupted() {
    let mut world = world();
    world.offer(1, 1, "app.add");
    world.ask(0, 5, 1, "app.add");
    assert_eq!(world.leave(0, 5), ["1: 1 INTERRUPT 1 killnowait wamp.error.canceled"]);
    assert_eq!(world.calls_under_way(), [0, 0, 0]);
}

#[test]
fn a_result_that_the_caller_cannot_take_ends_the_call_there_too() {
    let mut world = world();
    world.offer(1, 1, "app.add");
    world.call(0, 5, 1, "app.add", |call| call.receive_progress = true);
    let why = Refusal::PayloadSizeExceeded;
    let mut told = world.run(0, |dealer, _, out| dealer.result_undeliverable(SessionId(5), RequestId(1), why, out));
    told.sort();
    assert_eq!(
        told,
        [
            "0: 5 ERROR Call 1: wamp.error.payload_size_exceeded",
            "1: 1 INTERRUPT 1 killnowait wamp.error.payload_size_exceeded"
        ]
    );
}

#[test]
fn only_so_many_calls_are_under_way_between_two_entries() {
    let mut world = world();
    world.offer(1, 1, "app.add");
    for request in 0..CALLS_PER_PEER_MAX as u64 {
        let session = 5 + request / 1000;
        world.begin(0, |dealer, now_ms, out| {
            let call = Call {
                request: RequestId(request),
                procedure: &topic("app.add"),
                payload: PayloadRef::Bytes(b""),
                codec: Codec::Auto,
                timeout_ms: 0,
                receive_progress: false,
                progress: false,
                disclose_me: false,
                caller: &Discloser { session: SessionId(session), authid: None, authrole: None },
                notes: Notes::default(),
            };
            dealer.call(SessionId(session), &session, &call, now_ms, out).unwrap();
        });
    }
    world.settle();
    assert_eq!(world.ask(0, 99, 1, "app.add"), ["0: 99 ERROR Call 1: fennec.error.quota_exceeded"]);
    assert_eq!(world.ask(2, 99, 1, "app.add").len(), 1);
}

#[test]
fn an_entry_that_takes_no_more_calls_is_passed_over() {
    let mut world = world();
    world.register(1, 1, "app.add", shared(InvocationPolicy::First));
    for request in 0..CALLS_PER_PEER_MAX as u64 {
        let (procedure, caller) = (topic("app.add"), Discloser { session: SessionId(5), authid: None, authrole: None });
        let options = Options {
            receive_progress: false,
            timeout_ms: 0,
            progress: false,
            disclose_me: false,
            caller,
            notes: OwnNotes::default(),
        };
        let session = 5 + request / 1000;
        world.begin(0, |dealer, now_ms, out| {
            dealer.call(SessionId(session), &session, &options.call(request, &procedure), now_ms, out).unwrap();
        });
    }
    world.settle();
    world.register(2, 2, "app.add", shared(InvocationPolicy::First));
    assert_eq!(world.ask(0, 99, 1, "app.add"), ["2: 2 INVOCATION 1"]);
}
