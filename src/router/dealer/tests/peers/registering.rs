//! Who is registered in the cluster, and who of them is called.

use super::*;

#[test]
fn a_single_procedure_is_registered_once_in_the_cluster() {
    let mut world = world();
    world.offer(1, 1, "app.add");
    for (session, policy) in [(2, InvocationPolicy::Single), (3, InvocationPolicy::First)] {
        let refused = world.register(0, session, "app.add", shared(policy));
        assert_eq!(refused, [format!("0: {session} ERROR Register 0: wamp.error.procedure_already_exists")]);
    }
    world.leave(1, 1);
    assert_eq!(world.offer(0, 2, "app.add").len(), 1);
    assert_eq!(world.called(1, "app.add", 1), ["0/2"]);
}

#[test]
fn another_policy_than_that_of_the_first_callee_anywhere_is_refused() {
    let mut world = world();
    world.register(1, 1, "app.add", shared(InvocationPolicy::First));
    let refused = world.register(0, 2, "app.add", shared(InvocationPolicy::Last));
    assert_eq!(refused, ["0: 2 ERROR Register 0: wamp.error.procedure_already_exists"]);
    assert_eq!(world.register(0, 2, "app.add", shared(InvocationPolicy::First)), [format!("0: 2 REGISTERED 0: {ADD}")]);
}

#[test]
fn of_two_that_were_registered_at_once_the_earlier_is_called_and_the_other_stands_by() {
    let mut world = world();
    world.now_ms = 1001;
    world.begin_register(0, 1, "app.add", |_| {});
    world.now_ms = 1000;
    world.begin_register(2, 2, "app.add", |_| {});
    assert_eq!(world.settle(), [format!("0: 1 REGISTERED 0: {ADD}"), format!("2: 2 REGISTERED 0: {ADD}")]);
    for at in 0..3 {
        assert_eq!(world.called(at, "app.add", 2), ["2/2", "2/2"], "at {at}");
    }
    assert_eq!(world.offer(1, 3, "app.add"), ["1: 3 ERROR Register 0: wamp.error.procedure_already_exists"]);
    world.leave(2, 2);
    for at in 0..3 {
        assert_eq!(world.called(at, "app.add", 1), ["0/1"], "at {at}");
    }
}

#[test]
fn at_the_same_millisecond_the_entry_with_the_lower_id_comes_first() {
    let mut world = world();
    world.begin_register(2, 2, "app.add", |_| {});
    world.begin_register(1, 1, "app.add", |_| {});
    world.settle();
    for at in 0..3 {
        assert_eq!(world.called(at, "app.add", 1), ["1/1"], "at {at}");
    }
}

#[test]
fn of_two_policies_that_were_registered_at_once_the_first_callees_holds() {
    let mut world = world();
    world.begin_register(0, 1, "app.add", shared(InvocationPolicy::RoundRobin));
    world.begin_register(1, 2, "app.add", |_| {});
    world.settle();
    world.register(2, 3, "app.add", shared(InvocationPolicy::RoundRobin));
    for at in 0..3 {
        let mut called = world.called(at, "app.add", 2);
        called.sort();
        assert_eq!(called, ["0/1", "2/3"], "at {at}");
    }
    world.leave(0, 1);
    for at in 0..3 {
        assert_eq!(world.called(at, "app.add", 2), ["1/2", "1/2"], "at {at}");
    }
}

#[test]
fn after_a_partition_the_earlier_is_called_by_all() {
    let mut world = world();
    world.disconnect(0, 1);
    world.disconnect(0, 2);
    world.offer(1, 1, "app.add");
    world.now_ms += 1;
    world.offer(0, 2, "app.add");
    assert_eq!(
        (world.called(0, "app.add", 1), world.called(2, "app.add", 1)),
        (vec!["0/2".into()], vec!["1/1".into()])
    );
    world.connect(0, 1);
    world.connect(0, 2);
    for at in 0..3 {
        assert_eq!(world.called(at, "app.add", 1), ["1/1"], "at {at}");
    }
}

#[test]
fn the_first_and_the_last_are_those_of_all_entries_even_if_a_clock_is_behind() {
    for (policy, expected) in [(InvocationPolicy::First, "1/1"), (InvocationPolicy::Last, "2/3")] {
        let mut world = world();
        for (at, session, now_ms) in [(1, 1, 5000), (0, 2, 4000), (2, 3, 10)] {
            world.now_ms = now_ms;
            world.register(at, session, "app.add", shared(policy));
        }
        for at in 0..3 {
            assert_eq!(world.called(at, "app.add", 2), [expected, expected], "{policy:?} at {at}");
        }
    }
}

#[test]
fn an_entry_with_early_and_late_callees_has_the_first_and_the_last() {
    for (policy, expected) in [(InvocationPolicy::First, "1/1"), (InvocationPolicy::Last, "1/3")] {
        let mut world = world();
        for (at, session) in [(1, 1), (0, 2), (1, 3)] {
            world.now_ms += 1;
            world.register(at, session, "app.add", shared(policy));
        }
        for at in 0..3 {
            assert_eq!(world.called(at, "app.add", 1), [expected], "{policy:?} at {at}");
        }
    }
}

#[test]
fn round_robin_gives_every_callee_of_all_entries_its_turn() {
    let mut world = world();
    for (at, session) in [(0, 1), (1, 2), (1, 3), (2, 4), (0, 5), (1, 6)] {
        world.now_ms += 1;
        world.register(at, session, "app.add", shared(InvocationPolicy::RoundRobin));
    }
    for at in 0..3 {
        for _ in 0..3 {
            let mut called = world.called(at, "app.add", 6);
            called.sort();
            assert_eq!(called, ["0/1", "0/5", "1/2", "1/3", "1/6", "2/4"], "at {at}");
        }
    }
}

#[test]
fn random_meets_every_callee_of_all_entries_about_as_often() {
    let mut world = world();
    for (at, session) in [(0, 1), (1, 2), (1, 3), (2, 4)] {
        world.register(at, session, "app.add", shared(InvocationPolicy::Random));
    }
    let called = world.called(0, "app.add", 400);
    for callee in ["0/1", "1/2", "1/3", "2/4"] {
        let times = called.iter().filter(|one| *one == callee).count();
        assert!((60..140).contains(&times), "{callee}: {times}");
    }
}

#[test]
fn a_user_who_registers_anew_elsewhere_takes_the_procedure_from_the_old_connection() {
    let mut world = world();
    let named = |register: &mut Register<'_>| {
        register.authid = Some("joe");
        register.features.registration_revocation = true;
    };
    world.register(1, 1, "app.add", named);
    let refused =
        world.register(0, 2, "app.add", |register| (register.authid, register.force_reregister) = (Some("ann"), true));
    assert_eq!(refused, ["0: 2 ERROR Register 0: wamp.error.procedure_already_exists"]);
    let told = world.register(0, 3, "app.add", |register| {
        named(register);
        register.force_reregister = true;
    });
    assert_eq!(told, [format!("0: 3 REGISTERED 0: {ADD}"), format!("1: 1 REVOKED {ADD}")]);
    for at in 0..3 {
        assert_eq!(world.called(at, "app.add", 1), ["0/3"], "at {at}");
    }
}

#[test]
fn of_a_shared_procedure_too() {
    let mut world = world();
    let joe = |register: &mut Register<'_>| (register.policy, register.authid) = (InvocationPolicy::First, Some("joe"));
    world.register(1, 1, "app.add", joe);
    world.register(1, 2, "app.add", |register| {
        (register.policy, register.authid) = (InvocationPolicy::First, Some("ann"))
    });
    world.register(0, 3, "app.add", |register| {
        joe(register);
        register.force_reregister = true;
    });
    assert_eq!(world.called(2, "app.add", 1), ["1/2"]);
    world.leave(1, 2);
    assert_eq!(world.called(2, "app.add", 1), ["0/3"]);
}

#[test]
fn an_mqtt_client_takes_its_procedure_along_to_another_entry() {
    let mut world = world();
    let client = |id: &'static str| {
        move |register: &mut Register<'_>| (register.authid, register.client_id) = (Some("joe"), Some(id))
    };
    world.register(1, 1, "app.add", client("thing"));
    let other = world.register(0, 2, "app.add", client("other thing"));
    assert_eq!(other, ["0: 2 ERROR Register 0: wamp.error.procedure_already_exists"]);
    assert_eq!(world.register(0, 3, "app.add", client("thing")).len(), 1);
    for at in 0..3 {
        assert_eq!(world.called(at, "app.add", 1), ["0/3"], "at {at}");
    }
    // Its old connection does not give way to a second one at the same entry: the gate ends that first.
    assert_eq!(
        world.register(0, 4, "app.add", client("thing")),
        ["0: 4 ERROR Register 0: wamp.error.procedure_already_exists"]
    );
}

#[test]
fn callees_elsewhere_are_counted_one_by_one() {
    let mut world = world();
    for session in [1, 2] {
        world.register(1, session, "app.add", shared(InvocationPolicy::RoundRobin));
    }
    world.register(0, 3, "app.add", shared(InvocationPolicy::RoundRobin));
    let id = RegistrationId(ADD.parse().unwrap());
    assert_eq!([0, 1, 2].map(|at: usize| world.dealers[at].callees_elsewhere(id)), [2, 1, 3]);
    world.leave(1, 1);
    assert_eq!([0, 1, 2].map(|at: usize| world.dealers[at].callees_elsewhere(id)), [1, 1, 2]);
}
