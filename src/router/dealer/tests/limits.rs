use super::*;

#[test]
fn a_session_has_only_so_many_registrations() {
    let mut desk = with_limits(CallLimits { registrations_per_session_max: 2, ..CallLimits::default() });
    desk.offer(1, "app.a");
    desk.offer(1, "prefix app.b");
    assert_eq!(desk.offer(1, "app.c"), ["1 ERROR Register 0: fennec.error.quota_exceeded"]);
    assert_eq!(desk.offer(2, "app.c"), ["2 REGISTERED 0: 3"]);
    let again = desk.register(1, "app.a", |register| register.force_reregister = true);
    assert_eq!(again, ["1 REGISTERED 0: 4"], "to replace one is not to have one more");
    desk.unregister(1, 2);
    assert_eq!(desk.offer(1, "app.d"), ["1 REGISTERED 0: 5"]);
}

#[test]
fn a_session_has_only_so_many_calls_under_way() {
    let mut desk = with_limits(CallLimits { calls_per_session_max: 2, ..CallLimits::default() });
    desk.offer(1, "app.add");
    desk.ask(5, 1, "app.add");
    desk.ask(5, 2, "app.add");
    assert_eq!(desk.ask(5, 3, "app.add"), ["5 ERROR Call 3: fennec.error.quota_exceeded"]);
    assert_eq!(desk.ask(6, 1, "app.add"), ["1 INVOCATION 3"]);
    desk.answer(1, 2);
    assert_eq!(desk.ask(5, 4, "app.add"), ["1 INVOCATION 4"]);
}

#[test]
fn a_realm_has_only_so_many_calls_under_way() {
    let mut desk = with_limits(CallLimits { calls_max: 2, ..CallLimits::default() });
    desk.offer(1, "app.add");
    desk.ask(5, 1, "app.add");
    desk.ask(6, 1, "app.add");
    assert_eq!(desk.ask(7, 1, "app.add"), ["7 ERROR Call 1: fennec.error.quota_exceeded"]);
    desk.leave(6);
    assert_eq!(desk.ask(7, 2, "app.add"), ["1 INVOCATION 3"]);
}

#[test]
fn a_refused_call_takes_no_turn_and_no_slot() {
    let mut desk = with_limits(CallLimits { calls_max: 1, ..CallLimits::default() });
    for session in [1, 2] {
        desk.register(session, "app.add", |register| {
            register.policy = InvocationPolicy::RoundRobin;
            register.concurrency = NonZeroU32::new(1);
        });
    }
    assert_eq!(desk.ask(5, 1, "app.add"), ["1 INVOCATION 1"]);
    for request in 2..5 {
        desk.ask(5, request, "app.add");
    }
    desk.answer(1, 1);
    assert_eq!(desk.ask(5, 6, "app.add"), ["2 INVOCATION 1"]);
}
