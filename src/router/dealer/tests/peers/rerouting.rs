//! Callees that are not available, and resource keys, over several entries.

use super::*;
use crate::types::passthru::Attribute;

const REROUTING: CalleeFeatures = CalleeFeatures { call_reroute: true, payload_passthru_mode: true, ..CANCELING };

impl World {
    fn unavailable(&mut self, at: usize, callee: u64, invocation: u64) -> Vec<String> {
        let (callee, invocation, payload) = (SessionId(callee), InvocationId(invocation), PayloadRef::Bytes(b""));
        self.run(at, |dealer, _, out| {
            dealer.invocation_error(callee, invocation, "wamp.error.unavailable", payload, out).unwrap();
        })
    }
}

/// A callee at each entry, on a node of its own.
fn one_each(policy: InvocationPolicy) -> World {
    let mut world = world();
    for (at, node) in ["a", "b", "c"].into_iter().enumerate() {
        world.register(at, 1 + at as u64, "app.add", |register| {
            (register.policy, register.features, register.node_key) = (policy, REROUTING, Some(node));
        });
    }
    world
}

#[test]
fn a_call_is_tried_at_the_callees_of_all_entries() {
    let mut world = one_each(InvocationPolicy::First);
    assert_eq!(world.ask(2, 5, 1, "app.add"), ["0: 1 INVOCATION 1"]);
    assert_eq!(world.unavailable(0, 1, 1), ["1: 2 INVOCATION 1"]);
    assert_eq!(world.unavailable(1, 2, 1), ["2: 3 INVOCATION 1"]);
    assert_eq!(world.unavailable(2, 3, 1), ["2: 5 ERROR Call 1: wamp.error.no_available_callee"]);
    assert_eq!(world.calls_under_way(), [0, 0, 0]);
    assert!(world.dealers.iter().all(|dealer| dealer.kept_bytes == 0));
}

#[test]
fn the_callees_of_one_entry_are_tried_before_the_call_is_returned() {
    let mut world = world();
    for callee in [1, 2] {
        world.register(1, callee, "app.add", |register| {
            (register.policy, register.features) = (InvocationPolicy::First, REROUTING);
        });
    }
    world.register(2, 3, "app.add", |register| {
        (register.policy, register.features) = (InvocationPolicy::First, REROUTING);
    });
    assert_eq!(world.ask(0, 5, 1, "app.add"), ["1: 1 INVOCATION 1"]);
    assert_eq!(world.unavailable(1, 1, 1), ["1: 2 INVOCATION 1"]);
    assert_eq!(world.unavailable(1, 2, 1), ["2: 3 INVOCATION 1"]);
    assert_eq!(world.answer(2, 3, 1), ["0: 5 RESULT 1"]);
}

#[test]
fn all_entries_find_the_same_node_for_a_resource() {
    let mut called = BTreeSet::new();
    for resource in ["r", "s", "t", "u", "v", "w", "x", "y"] {
        let mut world = one_each(InvocationPolicy::RoundRobin);
        let callees: BTreeSet<String> = (0..3)
            .map(|at| {
                world.call(at, 5, 1, "app.add", |call| call.notes.resource_key = Some(resource))[0][..4].to_owned()
            })
            .collect();
        assert_eq!(callees.len(), 1, "{callees:?}");
        called.extend(callees);
    }
    assert!(called.len() > 1, "{called:?}");
}

#[test]
fn trust_level_and_attributes_cross() {
    let passthru = Passthru::new([(Attribute::PptScheme, "x_own".to_owned())]);
    let mut world = world();
    world.register(1, 1, "app.add", |register| register.features = REROUTING);
    let mut asked = world.ask(0, 5, 1, "app.add");
    world.answer(1, 1, 1);
    assert_eq!(asked, ["1: 1 INVOCATION 1"]);
    asked = world.call(0, 5, 2, "app.add", |call| {
        call.notes = Notes { trust: Some(3), disclosure: Disclosure::Forced, ..Notes::default() };
    });
    assert_eq!(asked, ["1: 1 INVOCATION 2 caller=5 trust=3"]);
    // A callee at another entry that cannot take it is not called.
    world.register(2, 2, "app.sub", |_| {});
    let (procedure, caller) = (topic("app.sub"), Discloser { session: SessionId(5), authid: None, authrole: None });
    let call = Call {
        request: RequestId(3),
        procedure: &procedure,
        payload: PayloadRef::Bytes(b""),
        codec: Codec::Auto,
        timeout_ms: 0,
        receive_progress: false,
        progress: false,
        disclose_me: false,
        caller: &caller,
        notes: Notes { passthru: passthru.as_ref(), ..Notes::default() },
    };
    let told = world.run(0, |dealer, now_ms, out| dealer.call(SessionId(5), &5, &call, now_ms, out).unwrap());
    assert_eq!(told, ["0: 5 ERROR Call 3: wamp.error.feature_not_supported"]);
}
