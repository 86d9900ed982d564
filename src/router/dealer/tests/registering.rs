use super::*;

fn shared(policy: InvocationPolicy) -> impl Fn(&mut Register<'_>) {
    move |register| register.policy = policy
}

#[test]
fn a_registration_is_confirmed_and_its_birth_told() {
    let mut desk = desk();
    (desk.meta, desk.now_ms) = (true, 50);
    assert_eq!(
        desk.offer(1, "app.add"),
        ["1 REGISTERED 0: 1", "on_create 1 1 exact app.add Single 50", "on_register 1 1"]
    );
    assert_eq!(desk.unregister(1, 1), ["1 UNREGISTERED 0", "on_unregister 1 1", "on_delete 1 1"]);
}

#[test]
fn a_shared_registration_is_created_with_the_first_callee_and_deleted_with_the_last() {
    let mut desk = desk();
    desk.meta = true;
    let policy = shared(InvocationPolicy::RoundRobin);
    assert_eq!(
        desk.register(1, "wildcard app..add", &policy),
        ["1 REGISTERED 0: 1", "on_create 1 1 wildcard app..add RoundRobin 0", "on_register 1 1"]
    );
    assert_eq!(desk.register(2, "wildcard app..add", &policy), ["2 REGISTERED 0: 1", "on_register 2 1"]);
    assert_eq!(desk.leave(1), ["on_unregister 1 1"]);
    assert_eq!(desk.leave(2), ["on_unregister 2 1", "on_delete 2 1"]);
}

#[test]
fn a_registration_id_is_never_used_again() {
    let mut desk = desk();
    assert_eq!(desk.offer(1, "app.add"), ["1 REGISTERED 0: 1"]);
    desk.unregister(1, 1);
    assert_eq!(desk.offer(1, "app.add"), ["1 REGISTERED 0: 2"]);
}

#[test]
fn a_single_procedure_is_registered_once() {
    for policy in [InvocationPolicy::Single, InvocationPolicy::RoundRobin] {
        let mut desk = desk();
        desk.offer(1, "app.add");
        let refused = desk.register(2, "app.add", shared(policy));
        assert_eq!(refused, ["2 ERROR Register 0: wamp.error.procedure_already_exists"]);
    }
}

#[test]
fn another_policy_than_that_of_the_first_callee_is_refused() {
    let mut desk = desk();
    desk.register(1, "app.add", shared(InvocationPolicy::First));
    for policy in [InvocationPolicy::Single, InvocationPolicy::Last, InvocationPolicy::Random] {
        let refused = desk.register(2, "app.add", shared(policy));
        assert_eq!(refused, ["2 ERROR Register 0: wamp.error.procedure_already_exists"]);
    }
    assert_eq!(desk.register(2, "app.add", shared(InvocationPolicy::First)), ["2 REGISTERED 0: 1"]);
}

#[test]
fn a_session_is_one_callee_of_a_registration() {
    let mut desk = desk();
    desk.register(1, "app.add", shared(InvocationPolicy::Random));
    let refused = desk.register(1, "app.add", shared(InvocationPolicy::Random));
    assert_eq!(refused, ["1 ERROR Register 0: wamp.error.procedure_already_exists"]);
}

#[test]
fn the_same_text_with_another_match_is_another_registration() {
    let mut desk = desk();
    assert_eq!(desk.offer(1, "app.add"), ["1 REGISTERED 0: 1"]);
    assert_eq!(desk.offer(2, "prefix app.add"), ["2 REGISTERED 0: 2"]);
    assert_eq!(desk.offer(3, "wildcard app.add"), ["3 REGISTERED 0: 3"]);
}

#[test]
fn procedures_of_the_broker_are_not_registered() {
    let texts = ["wamp.session.count", "wamp", "fennec.key.get", "$rpc.x", "prefix wamp.", "wildcard wamp..count"];
    for text in texts {
        let refused = desk().offer(1, text);
        assert_eq!(refused, ["1 ERROR Register 0: wamp.error.not_authorized"], "{text}");
    }
    for text in ["wampum.x", "app.wamp", "prefix wam", "wildcard .session.count"] {
        assert_eq!(desk().offer(1, text), ["1 REGISTERED 0: 1"], "{text}");
    }
}

#[test]
fn patterns_do_not_reach_into_the_brokers_procedures() {
    let mut desk = desk();
    desk.offer(1, "prefix wam");
    desk.offer(1, "wildcard .session.count");
    assert_eq!(desk.ask(5, 1, "wamp.session.count"), ["5 ERROR Call 1: wamp.error.no_such_procedure"]);
    assert_eq!(desk.dealer.best_match(&topic("wamp.session.count")), None);
}

#[test]
fn only_ones_own_registration_can_be_unregistered() {
    let mut desk = desk();
    desk.offer(1, "app.add");
    for (session, registration) in [(2, 1), (1, 2), (1, 0)] {
        let refused = [format!("{session} ERROR Unregister 0: wamp.error.no_such_registration")];
        assert_eq!(desk.unregister(session, registration), refused);
    }
    assert_eq!(desk.unregister(1, 1), ["1 UNREGISTERED 0"]);
    assert_eq!(desk.unregister(1, 1), ["1 ERROR Unregister 0: wamp.error.no_such_registration"]);
}

#[test]
fn calls_under_way_outlive_their_registration() {
    let mut desk = with_callee(CANCELING);
    desk.ask(5, 1, "app.add");
    desk.unregister(1, 1);
    assert_eq!(desk.ask(5, 2, "app.add"), ["5 ERROR Call 2: wamp.error.no_such_procedure"]);
    assert_eq!(desk.answer(1, 1), ["5 RESULT 1"]);
}

fn forced_by(authid: Option<&'static str>) -> impl Fn(&mut Register<'_>) {
    move |register| {
        register.force_reregister = true;
        register.authid = authid;
        register.features.registration_revocation = true;
    }
}

#[test]
fn a_forced_registration_replaces_that_of_the_same_user() {
    let mut desk = desk();
    desk.meta = true;
    desk.register(1, "app.add", forced_by(Some("ann")));
    assert_eq!(
        desk.register(2, "app.add", forced_by(Some("ann"))),
        [
            "1 REVOKED 1",
            "on_unregister 1 1",
            "on_delete 1 1",
            "2 REGISTERED 0: 2",
            "on_create 2 2 exact app.add Single 0",
            "on_register 2 2"
        ]
    );
    desk.meta = false;
    assert_eq!(desk.ask(5, 1, "app.add"), ["2 INVOCATION 1"]);
}

#[test]
fn a_forced_registration_does_not_replace_that_of_another_user() {
    for (theirs, mine) in [(Some("ann"), Some("bob")), (Some("ann"), None), (None, None), (None, Some("bob"))] {
        let mut desk = desk();
        desk.register(1, "app.add", forced_by(theirs));
        let refused = desk.register(2, "app.add", forced_by(mine));
        assert_eq!(refused, ["2 ERROR Register 0: wamp.error.procedure_already_exists"], "{theirs:?} {mine:?}");
        assert_eq!(desk.ask(5, 1, "app.add"), ["1 INVOCATION 1"]);
    }
}

#[test]
fn a_forced_registration_of_a_shared_procedure_leaves_the_callees_of_others() {
    let mut desk = desk();
    for (session, authid) in [(1, "ann"), (2, "bob")] {
        desk.register(session, "app.add", |register| {
            forced_by(Some(authid))(register);
            register.policy = InvocationPolicy::First;
        });
    }
    let replaced = desk.register(3, "app.add", |register| {
        forced_by(Some("ann"))(register);
        register.policy = InvocationPolicy::First;
    });
    assert_eq!(replaced, ["1 REVOKED 1", "3 REGISTERED 0: 1"]);
    let conflict = desk.register(4, "app.add", forced_by(Some("ann")));
    assert_eq!(conflict, ["4 ERROR Register 0: wamp.error.procedure_already_exists"]);
    let callees = desk.dealer.callees(RegistrationId(1)).unwrap();
    assert_eq!(callees.collect::<Vec<_>>(), [SessionId(2), SessionId(3)]);
}

#[test]
fn a_session_can_replace_its_own_registration_without_an_authid() {
    let mut desk = desk();
    desk.register(1, "app.add", forced_by(None));
    assert_eq!(desk.register(1, "app.add", forced_by(None)), ["1 REVOKED 1", "1 REGISTERED 0: 2"]);
}

#[test]
fn a_callee_that_does_not_know_revocation_is_not_told() {
    let mut desk = desk();
    desk.register(1, "app.add", |register| register.authid = Some("ann"));
    assert_eq!(desk.register(2, "app.add", forced_by(Some("ann"))), ["2 REGISTERED 0: 2"]);
}

#[test]
fn the_meta_api_finds_registrations() {
    let mut desk = desk();
    for (session, text) in [(1, "app.add"), (1, "prefix app."), (2, "wildcard app..get")] {
        desk.register(session, text, shared(InvocationPolicy::Last));
    }
    desk.register(2, "app.add", shared(InvocationPolicy::Last));
    let dealer = &desk.dealer;
    assert_eq!(dealer.registration_count(), 3);
    let mut ids: Vec<_> = dealer.registrations().map(|info| info.registration.0).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3]);
    assert_eq!(dealer.lookup(&pattern("prefix app.")), Some(RegistrationId(2)));
    assert_eq!(dealer.lookup(&pattern("app")), None);
    assert_eq!(dealer.best_match(&topic("app.sub")), Some(RegistrationId(2)));
    assert_eq!(dealer.best_match(&topic("web.sub")), None);
    let info = dealer.registration(RegistrationId(1)).unwrap();
    assert_eq!((info.pattern, info.policy), (&pattern("app.add"), InvocationPolicy::Last));
    assert_eq!(dealer.callees(RegistrationId(1)).map(|callees| callees.len()), Some(2));
    assert!(dealer.callees(RegistrationId(4)).is_none());
}
