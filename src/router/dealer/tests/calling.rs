use super::*;

#[test]
fn a_call_reaches_the_callee_and_its_result_the_caller() {
    let mut desk = with_callee(CANCELING);
    assert_eq!(desk.ask(5, 1, "app.add"), ["1 INVOCATION 1"]);
    assert_eq!(desk.answer(1, 1), ["5 RESULT 1"]);
    assert!(desk.is_idle());
}

#[test]
fn a_callees_error_reaches_the_caller() {
    let mut desk = with_callee(CANCELING);
    desk.ask(5, 1, "app.add");
    assert_eq!(desk.fail(1, 1), ["5 ERROR Call 1: app.error"]);
    assert!(desk.is_idle());
}

#[test]
fn a_procedure_that_nobody_registered_is_unknown() {
    let mut desk = with_callee(CANCELING);
    assert_eq!(desk.ask(5, 1, "app.sub"), ["5 ERROR Call 1: wamp.error.no_such_procedure"]);
    assert_eq!(desk.ask(5, 2, "app"), ["5 ERROR Call 2: wamp.error.no_such_procedure"]);
    assert!(desk.is_idle());
}

#[test]
fn a_session_can_call_itself() {
    let mut desk = with_callee(CANCELING);
    assert_eq!(desk.ask(1, 1, "app.add"), ["1 INVOCATION 1"]);
    assert_eq!(desk.answer(1, 1), ["1 RESULT 1"]);
}

#[test]
fn invocations_are_counted_for_each_callee() {
    let mut desk = with_callee(CANCELING);
    desk.offer(2, "app.sub");
    assert_eq!(desk.ask(5, 1, "app.add"), ["1 INVOCATION 1"]);
    assert_eq!(desk.ask(6, 1, "app.add"), ["1 INVOCATION 2"]);
    assert_eq!(desk.ask(5, 2, "app.sub"), ["2 INVOCATION 1"]);
    assert_eq!(desk.answer(1, 2), ["6 RESULT 1"]);
    assert_eq!(desk.answer(2, 1), ["5 RESULT 2"]);
    assert_eq!(desk.ask(6, 2, "app.add"), ["1 INVOCATION 3"]);
}

#[test]
fn payloads_and_codec_are_passed_on_as_they_are() {
    let mut dealer = with_callee(CANCELING).dealer;
    let (procedure, caller) = (topic("app.add"), Discloser { session: SessionId(5), authid: None, authrole: None });
    let call = |payload| Call {
        request: RequestId(1),
        procedure: &procedure,
        payload,
        codec: Codec::Cbor,
        timeout_ms: 0,
        receive_progress: false,
        progress: false,
        disclose_me: false,
        caller: &caller,
        notes: Notes::default(),
    };
    let mut seen = Vec::new();
    let mut out = |output: Output<'_, u64>| {
        let (codec, payload) = match output {
            Output::Invocation(invocation) => (invocation.codec, invocation.payload),
            Output::Result { codec, payload, .. } => (codec, payload),
            Output::Error { failure: Failure::Callee { codec, payload, .. }, .. } => (codec, payload),
            _ => return,
        };
        let PayloadRef::Bytes(bytes) = payload else { return };
        seen.push((codec, bytes.as_ptr(), bytes.len()));
    };
    let (question, result, error) = (b"question", b"result", b"error");
    dealer.call(SessionId(5), &5, &call(PayloadRef::Bytes(question)), 0, &mut out).unwrap();
    dealer.yield_result(SessionId(1), InvocationId(1), false, PayloadRef::Bytes(result), 0, &mut out).unwrap();
    dealer.call(SessionId(5), &5, &call(PayloadRef::Bytes(question)), 0, &mut out).unwrap();
    dealer.invocation_error(SessionId(1), InvocationId(2), "e", PayloadRef::Bytes(error), &mut out).unwrap();
    let expected = [&question[..], result, question, error];
    assert_eq!(seen, expected.map(|bytes| (Codec::Cbor, bytes.as_ptr(), bytes.len())));
}

#[test]
fn the_best_match_is_called_and_patterns_learn_the_procedure() {
    // The examples of the specification: WAMP, Pattern-based Registrations.
    let texts = [
        "a1.b2.c3.d4.e55",
        "prefix a1.b2.c3",
        "prefix a1.b2.c3.d4",
        "wildcard a1.b2..d4.e5",
        "wildcard a1.b2.c33..e5",
        "wildcard a1.b2..d4.e5..g7",
        "wildcard a1.b2..d4..f6.g7",
    ];
    let mut desk = desk();
    for (session, text) in (1..).zip(texts) {
        desk.offer(session, text);
    }
    let table = [
        ("a1.b2.c3.d4.e55", "1 INVOCATION 1"),
        ("a1.b2.c3.d98.e74", "2 INVOCATION 1 procedure=a1.b2.c3.d98.e74"),
        ("a1.b2.c3.d4.e325", "3 INVOCATION 1 procedure=a1.b2.c3.d4.e325"),
        ("a1.b2.c55.d4.e5", "4 INVOCATION 1 procedure=a1.b2.c55.d4.e5"),
        // The specification says 5, but its prefix 2 matches too (`a1.b2.c3` begins `a1.b2.c33`), and prefixes go first.
        ("a1.b2.c33.d4.e5", "2 INVOCATION 2 procedure=a1.b2.c33.d4.e5"),
        ("a1.b2.c88.d4.e5.f6.g7", "6 INVOCATION 1 procedure=a1.b2.c88.d4.e5.f6.g7"),
        ("a2.b2.c2.d2.e2", "9 ERROR Call 7: wamp.error.no_such_procedure"),
    ];
    for (request, (uri, expected)) in (1..).zip(table) {
        assert_eq!(desk.ask(9, request, uri), [expected], "{uri}");
    }
}

#[test]
fn callers_are_disclosed_only_if_one_side_asks() {
    for (callee_asks, caller_asks) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut desk = desk();
        desk.register(1, "app.add", |register| register.disclose_caller = callee_asks);
        let told = desk.call(5, 1, "app.add", |call| call.disclose_me = caller_asks);
        let expected = if callee_asks || caller_asks { "1 INVOCATION 1 caller=5" } else { "1 INVOCATION 1" };
        assert_eq!(told, [expected]);
    }
}

#[test]
fn disclosure_is_asked_for_by_each_callee_for_itself() {
    let mut desk = desk();
    for session in [1, 2] {
        desk.register(session, "app.add", |register| {
            register.policy = InvocationPolicy::RoundRobin;
            register.disclose_caller = session == 2;
        });
    }
    assert_eq!(desk.ask(5, 1, "app.add"), ["1 INVOCATION 1"]);
    assert_eq!(desk.ask(5, 2, "app.add"), ["2 INVOCATION 1 caller=5"]);
}

#[test]
fn progress_is_offered_if_the_caller_asks_and_the_callee_can() {
    let table = [
        (CANCELING, true, "1 INVOCATION 1 receive_progress"),
        (CANCELING, false, "1 INVOCATION 1"),
        (PROGRESS_ONLY, true, "1 INVOCATION 1 receive_progress"),
        (CalleeFeatures::default(), true, "1 INVOCATION 1"),
    ];
    for (features, asked, expected) in table {
        let mut desk = with_callee(features);
        assert_eq!(desk.call(5, 1, "app.add", |call| call.receive_progress = asked), [expected]);
    }
}

#[test]
fn progressive_results_come_before_the_final_one() {
    for features in [CANCELING, PROGRESS_ONLY, CalleeFeatures::default()] {
        let mut desk = with_callee(features);
        desk.call(5, 1, "app.add", |call| call.receive_progress = true);
        assert_eq!(desk.progress(1, 1), ["5 RESULT 1 progress"]);
        assert_eq!(desk.progress(1, 1), ["5 RESULT 1 progress"]);
        assert_eq!(desk.answer(1, 1), ["5 RESULT 1"]);
        assert_eq!(desk.progress(1, 1), [""; 0]);
    }
}

#[test]
fn progress_that_nobody_asked_for_is_dropped() {
    let mut desk = with_callee(CANCELING);
    desk.ask(5, 1, "app.add");
    assert_eq!(desk.progress(1, 1), [""; 0]);
    assert_eq!(desk.answer(1, 1), ["5 RESULT 1"]);
}

#[test]
fn an_answer_to_nothing_is_a_violation() {
    let mut desk = with_callee(CANCELING);
    desk.ask(5, 1, "app.add");
    desk.answer(1, 1);
    desk.ask(5, 2, "app.add");
    let table = [(1, 3, "is not made yet"), (1, 0, "is no id"), (5, 2, "is another's"), (9, 1, "")];
    for (session, invocation, why) in table {
        let violation = [format!("VIOLATION invocation {invocation} is not under way at this callee")];
        assert_eq!(desk.answer(session, invocation), violation, "{why}");
        assert_eq!(desk.progress(session, invocation), violation, "{why}");
        assert_eq!(desk.fail(session, invocation), violation, "{why}");
    }
    assert_eq!(desk.answer(1, 2), ["5 RESULT 2"]);
}

#[test]
fn a_second_answer_is_dropped() {
    let mut desk = with_callee(CANCELING);
    desk.ask(5, 1, "app.add");
    desk.fail(1, 1);
    assert_eq!(desk.answer(1, 1), [""; 0]);
    assert_eq!(desk.progress(1, 1), [""; 0]);
    assert_eq!(desk.fail(1, 1), [""; 0]);
}

#[test]
fn a_request_id_serves_one_call_at_a_time() {
    let mut desk = with_callee(CANCELING);
    desk.ask(5, 1, "app.add");
    assert_eq!(desk.ask(5, 1, "app.add"), ["VIOLATION request 1 is a call under way already"]);
    assert_eq!(desk.ask(6, 1, "app.add"), ["1 INVOCATION 2"]);
    desk.answer(1, 1);
    assert_eq!(desk.ask(5, 1, "app.add"), ["1 INVOCATION 3"]);
}

/// Who gets each of `count` calls to a procedure that 1, 2 and 3 registered in this order.
fn turns(policy: InvocationPolicy, count: u64) -> (Desk, Vec<u64>) {
    let mut desk = desk();
    for session in 1..=3 {
        desk.register(session, "app.add", |register| register.policy = policy);
    }
    let turns = (1..=count).map(|request| receiver(&desk.ask(5, request, "app.add"))).collect();
    (desk, turns)
}

fn receiver(lines: &[String]) -> u64 {
    assert!(lines[0].contains("INVOCATION"), "{lines:?}");
    lines[0].split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn first_and_last_stand_by_for_each_other() {
    let (mut desk, called) = turns(InvocationPolicy::First, 2);
    assert_eq!(called, [1, 1]);
    desk.leave(1);
    assert_eq!(receiver(&desk.ask(5, 9, "app.add")), 2);

    let (mut desk, called) = turns(InvocationPolicy::Last, 2);
    assert_eq!(called, [3, 3]);
    desk.leave(3);
    assert_eq!(receiver(&desk.ask(5, 9, "app.add")), 2);
}

#[test]
fn round_robin_takes_turns_in_the_order_of_registration() {
    let (mut desk, called) = turns(InvocationPolicy::RoundRobin, 7);
    assert_eq!(called, [1, 2, 3, 1, 2, 3, 1]);
    desk.leave(1);
    let called: Vec<_> = (11..15).map(|request| receiver(&desk.ask(5, request, "app.add"))).collect();
    assert_eq!(called, [2, 3, 2, 3], "who left does not cost another its turn");
}

#[test]
fn random_spreads_calls_evenly() {
    let (_, called) = turns(InvocationPolicy::Random, 3000);
    for callee in 1..=3 {
        let share = called.iter().filter(|turn| **turn == callee).count();
        assert!((900..1100).contains(&share), "{callee} got {share} of 3000");
    }
}

#[test]
fn random_choices_follow_the_seed() {
    assert_eq!(turns(InvocationPolicy::Random, 50).1, turns(InvocationPolicy::Random, 50).1);
}

fn limited(desk: &mut Desk, session: u64, policy: InvocationPolicy, concurrency: u32) {
    desk.register(session, "app.add", |register| {
        register.policy = policy;
        register.concurrency = NonZeroU32::new(concurrency);
        register.features = CANCELING;
    });
}

#[test]
fn a_callee_that_is_full_is_passed_over_and_the_caller_refused_when_all_are() {
    let policies =
        [InvocationPolicy::First, InvocationPolicy::Last, InvocationPolicy::Random, InvocationPolicy::RoundRobin];
    for policy in policies {
        let mut desk = desk();
        limited(&mut desk, 1, policy, 1);
        limited(&mut desk, 2, policy, 2);
        let mut called: Vec<_> = (1..=3).map(|request| receiver(&desk.ask(5, request, "app.add"))).collect();
        called.sort_unstable();
        assert_eq!(called, [1, 2, 2], "{policy:?}");
        assert_eq!(desk.ask(5, 4, "app.add"), ["5 ERROR Call 4: wamp.error.no_available_callee"], "{policy:?}");
        desk.answer(2, 1);
        assert_eq!(desk.ask(5, 5, "app.add"), ["2 INVOCATION 3"], "{policy:?}");
    }
}

#[test]
fn a_single_callee_that_is_full_refuses() {
    let mut desk = desk();
    limited(&mut desk, 1, InvocationPolicy::Single, 1);
    desk.ask(5, 1, "app.add");
    assert_eq!(desk.ask(6, 1, "app.add"), ["6 ERROR Call 1: wamp.error.no_available_callee"]);
    desk.fail(1, 1);
    assert_eq!(desk.ask(6, 2, "app.add"), ["1 INVOCATION 2"]);
}

#[test]
fn progress_does_not_free_a_callee() {
    let mut desk = desk();
    limited(&mut desk, 1, InvocationPolicy::Single, 1);
    desk.call(5, 1, "app.add", |call| call.receive_progress = true);
    desk.progress(1, 1);
    assert_eq!(desk.ask(6, 1, "app.add"), ["6 ERROR Call 1: wamp.error.no_available_callee"]);
}

#[test]
fn a_callee_that_goes_on_unheard_is_full_until_it_answers() {
    let mut desk = desk();
    limited(&mut desk, 1, InvocationPolicy::Single, 1);
    desk.ask(5, 1, "app.add");
    desk.cancel(5, 1, CancelMode::Skip);
    assert_eq!(desk.ask(5, 2, "app.add"), ["5 ERROR Call 2: wamp.error.no_available_callee"]);
    assert_eq!(desk.answer(1, 1), [""; 0]);
    assert_eq!(desk.ask(5, 3, "app.add"), ["1 INVOCATION 2"]);
}

#[test]
fn a_callee_that_was_told_to_stop_need_not_answer_to_be_free() {
    let mut desk = desk();
    limited(&mut desk, 1, InvocationPolicy::Single, 1);
    desk.ask(5, 1, "app.add");
    desk.cancel(5, 1, CancelMode::KillNoWait);
    assert_eq!(desk.ask(5, 2, "app.add"), ["1 INVOCATION 2"]);
    assert_eq!(desk.answer(1, 1), [""; 0], "and its late answer frees nothing");
    assert_eq!(desk.ask(5, 3, "app.add"), ["5 ERROR Call 3: wamp.error.no_available_callee"]);
}

#[test]
fn a_killed_callee_that_nobody_waits_for_any_more_is_free() {
    let mut desk = desk();
    limited(&mut desk, 1, InvocationPolicy::Single, 1);
    desk.ask(5, 1, "app.add");
    desk.cancel(5, 1, CancelMode::Kill);
    assert_eq!(desk.ask(5, 2, "app.add"), ["5 ERROR Call 2: wamp.error.no_available_callee"]);
    desk.cancel(5, 1, CancelMode::Skip);
    assert_eq!(desk.ask(5, 3, "app.add"), ["1 INVOCATION 2"]);
}

#[test]
fn a_callee_that_registers_anew_begins_free() {
    let mut desk = desk();
    limited(&mut desk, 1, InvocationPolicy::Single, 1);
    desk.ask(5, 1, "app.add");
    desk.unregister(1, 1);
    limited(&mut desk, 1, InvocationPolicy::Single, 1);
    assert_eq!(desk.ask(5, 2, "app.add"), ["1 INVOCATION 2"]);
    assert_eq!(desk.answer(1, 1), ["5 RESULT 1"], "and an answer to the old one frees nothing");
    assert_eq!(desk.ask(5, 3, "app.add"), ["5 ERROR Call 3: wamp.error.no_available_callee"]);
}
