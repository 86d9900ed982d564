//! Calls whose callee is not available, and calls with a resource key.

use super::*;

const REROUTING: CalleeFeatures = CalleeFeatures { call_reroute: true, ..CANCELING };
const ROUND_ROBIN: InvocationPolicy = InvocationPolicy::RoundRobin;

impl Desk {
    fn offer_rerouting(&mut self, session: u64, policy: InvocationPolicy) {
        self.register(session, "app.add", |register| {
            (register.policy, register.features) = (policy, REROUTING);
        });
    }

    fn unavailable(&mut self, callee: u64, invocation: u64) -> Vec<String> {
        let (callee, invocation, payload) = (SessionId(callee), InvocationId(invocation), PayloadRef::Bytes(b""));
        self.run(|dealer, _, out| dealer.invocation_error(callee, invocation, "wamp.error.unavailable", payload, out))
    }
}

/// Three callees; who has had a call that was refused by the callees before.
fn order(policy: InvocationPolicy) -> Vec<u64> {
    let mut desk = desk();
    (1..=3).for_each(|callee| desk.offer_rerouting(callee, policy));
    let mut lines = desk.ask(9, 1, "app.add");
    let mut had = Vec::new();
    while let Some(callee) = lines.first().and_then(|line| line.strip_suffix(" INVOCATION 1")) {
        let callee = callee.parse().unwrap();
        had.push(callee);
        lines = desk.unavailable(callee, 1);
    }
    assert_eq!(lines, ["9 ERROR Call 1: wamp.error.no_available_callee"]);
    assert!(desk.is_idle());
    had
}

#[test]
fn a_call_goes_to_each_callee_once_by_the_policy() {
    assert_eq!(order(InvocationPolicy::First), [1, 2, 3]);
    assert_eq!(order(InvocationPolicy::Last), [3, 2, 1]);
    assert_eq!(order(ROUND_ROBIN), [1, 2, 3]);
    let mut random = order(InvocationPolicy::Random);
    random.sort_unstable();
    assert_eq!(random, [1, 2, 3]);
    assert_eq!(order_of_single(), [1]);
}

fn order_of_single() -> Vec<u64> {
    let mut desk = desk();
    desk.offer_rerouting(1, InvocationPolicy::Single);
    assert_eq!(desk.ask(9, 1, "app.add"), ["1 INVOCATION 1"]);
    assert_eq!(desk.unavailable(1, 1), ["9 ERROR Call 1: wamp.error.no_available_callee"]);
    assert!(desk.is_idle());
    vec![1]
}

#[test]
fn a_callee_that_has_not_announced_it_says_its_own_error() {
    let mut desk = desk();
    for callee in [1, 2] {
        desk.register(callee, "app.add", |register| register.policy = ROUND_ROBIN);
    }
    assert_eq!(desk.ask(9, 1, "app.add"), ["1 INVOCATION 1"]);
    assert_eq!(desk.unavailable(1, 1), ["9 ERROR Call 1: wamp.error.unavailable"]);
}

#[test]
fn another_error_is_passed_on() {
    let mut desk = desk();
    (1..=2).for_each(|callee| desk.offer_rerouting(callee, ROUND_ROBIN));
    desk.ask(9, 1, "app.add");
    assert_eq!(desk.fail(1, 1), ["9 ERROR Call 1: app.error"]);
    assert!(desk.is_idle());
}

#[test]
fn what_has_begun_is_not_begun_anew() {
    let mut desk = desk();
    (1..=2).for_each(|callee| desk.offer_rerouting(callee, ROUND_ROBIN));
    desk.call(9, 1, "app.add", |call| call.receive_progress = true);
    assert_eq!(desk.progress(1, 1), ["9 RESULT 1 progress"]);
    assert_eq!(desk.unavailable(1, 1), ["9 ERROR Call 1: wamp.error.no_available_callee"]);
    assert!(desk.is_idle());
}

#[test]
fn the_time_runs_from_the_call_on() {
    let mut desk = desk();
    (1..=2).for_each(|callee| desk.offer_rerouting(callee, ROUND_ROBIN));
    let begin_ms = desk.now_ms;
    desk.call(9, 1, "app.add", |call| call.timeout_ms = 1000);
    desk.tick(begin_ms + 900);
    assert_eq!(desk.unavailable(1, 1), ["2 INVOCATION 1"]);
    let lines = desk.tick(begin_ms + 1000);
    assert_eq!(lines, ["2 INTERRUPT 1 killnowait wamp.error.timeout", "9 ERROR Call 1: wamp.error.timeout"]);
    assert!(desk.is_idle());
}

#[test]
fn a_canceled_call_is_given_to_nobody_else() {
    let mut desk = desk();
    (1..=2).for_each(|callee| desk.offer_rerouting(callee, ROUND_ROBIN));
    desk.ask(9, 1, "app.add");
    assert_eq!(desk.cancel(9, 1, CancelMode::Kill), ["1 INTERRUPT 1 kill wamp.error.canceled"]);
    assert_eq!(desk.unavailable(1, 1), ["9 ERROR Call 1: wamp.error.unavailable"]);
    assert!(desk.is_idle());
}

#[test]
fn a_callee_that_leaves_meanwhile_is_passed_over() {
    let mut desk = desk();
    (1..=3).for_each(|callee| desk.offer_rerouting(callee, ROUND_ROBIN));
    desk.ask(9, 1, "app.add");
    desk.leave(2);
    assert_eq!(desk.unavailable(1, 1), ["3 INVOCATION 1"]);
    assert_eq!(desk.answer(3, 1), ["9 RESULT 1"]);
}

#[test]
fn the_slot_of_who_is_not_available_is_free_again() {
    let mut desk = desk();
    for callee in 1..=2 {
        desk.register(callee, "app.add", |register| {
            (register.policy, register.features) = (InvocationPolicy::First, REROUTING);
            register.concurrency = std::num::NonZeroU32::new(1);
        });
    }
    desk.ask(9, 1, "app.add");
    assert_eq!(desk.unavailable(1, 1), ["2 INVOCATION 1"]);
    assert_eq!(desk.ask(9, 2, "app.add"), ["1 INVOCATION 2"]);
}

/// Who is called for a resource, of callees on these nodes.
fn called(nodes: &[(u64, Option<&'static str>)], resource: &'static str) -> u64 {
    let mut desk = desk();
    for (callee, node) in nodes {
        desk.register(*callee, "app.add", |register| (register.policy, register.node_key) = (ROUND_ROBIN, *node));
    }
    let lines = desk.call(9, 1, "app.add", |call| call.notes.resource_key = Some(resource));
    lines[0].split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_resource_is_always_on_the_same_node() {
    let nodes = [(1, Some("a")), (2, Some("b")), (3, Some("c"))];
    let mut reversed = nodes;
    reversed.reverse();
    let mut all = std::collections::BTreeSet::new();
    for resource in "abcdefghijklmnopqrstuvwxyz".split_inclusive(|_| true) {
        let callee = called(&nodes, resource);
        assert_eq!(called(&nodes, resource), callee);
        assert_eq!(called(&reversed, resource), callee, "the order of registration does not matter");
        all.insert(callee);
    }
    assert_eq!(all.len(), 3, "each node has some");
}

#[test]
fn callees_of_one_node_take_turns() {
    let mut desk = desk();
    for callee in 1..=2 {
        desk.register(callee, "app.add", |register| {
            (register.policy, register.features, register.node_key) = (ROUND_ROBIN, REROUTING, Some("a"));
        });
    }
    let mut ask = |request| desk.call(9, request, "app.add", |call| call.notes.resource_key = Some("r"));
    assert_eq!(ask(1), ["1 INVOCATION 1"]);
    assert_eq!(ask(2), ["2 INVOCATION 1"]);
    // Both have the resource, so the one stands in for the other.
    assert_eq!(desk.unavailable(1, 1), ["2 INVOCATION 2"]);
}

#[test]
fn no_other_node_stands_in() {
    let nodes = [(1, Some("a")), (2, Some("b"))];
    let callee = called(&nodes, "r");
    let mut desk = desk();
    for (callee, node) in nodes {
        desk.register(callee, "app.add", |register| {
            (register.policy, register.features, register.node_key) = (ROUND_ROBIN, REROUTING, node);
        });
    }
    desk.call(9, 1, "app.add", |call| call.notes.resource_key = Some("r"));
    assert_eq!(desk.unavailable(callee, 1), ["9 ERROR Call 1: wamp.error.no_available_callee"]);
}
