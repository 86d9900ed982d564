//! Three entries, linked by hand: what their dealers say to each other waits until [`World::settle`] brings it there. Entries
//! are 0, 1 and 2, which is their rank; what a client is told begins with its entry.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::super::endpoints::Dice;
use super::*;
use crate::router::output::Sink;
use crate::types::ids::ID_MAX;

struct World {
    dealers: Vec<Dealer<u64>>,
    /// What each has told.
    told: Vec<HashMap<TopicPattern, Vec<Offer>>>,
    cut: BTreeSet<(usize, usize)>,
    under_way: VecDeque<(usize, usize, Said)>,
    lines: Vec<String>,
    now_ms: u64,
}

/// What one entry says to another.
enum Said {
    Offers(TopicPattern, Vec<Offer>),
    Call { id: u64, procedure: Topic, pattern: TopicPattern, policy: InvocationPolicy, options: Options },
    Result { id: u64, progress: bool },
    Failed { id: u64, uri: String },
    Refused { id: u64, why: Refusal },
    Interrupt { id: u64, mode: InterruptMode, why: Refusal },
    TakeOver { pattern: TopicPattern, authid: String, client_id: Option<String> },
}

#[derive(Clone)]
struct Options {
    receive_progress: bool,
    timeout_ms: u64,
    disclose_me: bool,
    caller: Discloser,
}

fn world() -> World {
    let dealers = (0..3).map(|rank| {
        let mut dealer = Dealer::new(CallLimits::default(), u64::from(rank) + 7);
        dealer.watch(rank);
        dealer
    });
    World {
        dealers: dealers.collect(),
        told: vec![HashMap::new(); 3],
        cut: BTreeSet::new(),
        under_way: VecDeque::new(),
        lines: Vec::new(),
        now_ms: 1000,
    }
}

fn handle(rank: usize) -> u64 {
    peer_session(rank as u64).0
}

fn shared(policy: InvocationPolicy) -> impl Fn(&mut Register<'_>) {
    move |register| register.policy = policy
}

impl World {
    /// Runs a command at an entry, and settles what comes of it. Returns what clients are told.
    fn run<R>(
        &mut self,
        at: usize,
        command: impl FnOnce(&mut Dealer<u64>, u64, &mut Sink<'_, u64>) -> R,
    ) -> Vec<String> {
        self.begin(at, command);
        self.settle()
    }

    fn begin<R>(&mut self, at: usize, command: impl FnOnce(&mut Dealer<u64>, u64, &mut Sink<'_, u64>) -> R) {
        let Self { dealers, under_way, lines, now_ms, .. } = self;
        command(&mut dealers[at], *now_ms, &mut |output| match output.receiver() {
            Some(to) if *to > ID_MAX => under_way.push_back((at, (*to - ID_MAX - 1) as usize, said(&output))),
            Some(_) => lines.push(format!("{at}: {}", line(&output))),
            None => {}
        });
        for (pattern, offers) in dealers[at].take_changed() {
            self.told[at].insert(pattern.clone(), offers.clone());
            for to in (0..3).filter(|to| *to != at) {
                self.under_way.push_back((at, to, Said::Offers(pattern.clone(), offers.clone())));
            }
        }
    }

    fn settle(&mut self) -> Vec<String> {
        while let Some((from, to, said)) = self.under_way.pop_front() {
            if !self.cut.contains(&(from.min(to), from.max(to))) {
                self.hear(from, to, said);
            }
        }
        self.dealers.iter().for_each(check_consistency);
        std::mem::take(&mut self.lines)
    }

    fn hear(&mut self, from: usize, at: usize, said: Said) {
        let (rank, peer, payload) = (from as u64, peer_session(from as u64), PayloadRef::Bytes(b""));
        self.begin(at, |dealer, now_ms, out| match said {
            Said::Offers(pattern, offers) => dealer.set_offers(rank, &handle(from), &pattern, &offers, now_ms),
            Said::Call { id, procedure, pattern, policy, options } => {
                let call = Call {
                    request: RequestId(id),
                    procedure: &procedure,
                    payload,
                    codec: Codec::Auto,
                    timeout_ms: options.timeout_ms,
                    receive_progress: options.receive_progress,
                    disclose_me: options.disclose_me,
                    caller: &options.caller,
                };
                dealer.call_from_peer(rank, &handle(from), &call, &pattern, policy, now_ms, out).unwrap();
            }
            Said::Result { id, progress } => {
                dealer.yield_result(peer, InvocationId(id), progress, payload, now_ms, out).unwrap();
            }
            Said::Failed { id, uri } => dealer.invocation_error(peer, InvocationId(id), &uri, payload, out).unwrap(),
            Said::Refused { id, why } => dealer.invocation_refused(peer, InvocationId(id), why, false, out).unwrap(),
            Said::Interrupt { id, mode, why } => dealer.interrupt_from_peer(rank, RequestId(id), mode, why, out),
            Said::TakeOver { pattern, authid, client_id } => {
                dealer.take_over(&pattern, &authid, client_id.as_deref(), out)
            }
        });
    }

    fn disconnect(&mut self, a: usize, b: usize) -> Vec<String> {
        self.cut.insert((a.min(b), a.max(b)));
        self.begin(a, |dealer, _, out| dealer.leave(peer_session(b as u64), out));
        self.run(b, |dealer, _, out| dealer.leave(peer_session(a as u64), out))
    }

    fn connect(&mut self, a: usize, b: usize) -> Vec<String> {
        self.cut.remove(&(a.min(b), a.max(b)));
        for (from, to) in [(a, b), (b, a)] {
            let told = self.told[from].clone().into_iter();
            self.under_way.extend(told.map(|(pattern, offers)| (from, to, Said::Offers(pattern, offers))));
        }
        self.settle()
    }

    fn offer(&mut self, at: usize, session: u64, text: &str) -> Vec<String> {
        self.register(at, session, text, |_| {})
    }

    fn register(
        &mut self,
        at: usize,
        session: u64,
        text: &str,
        options: impl FnOnce(&mut Register<'_>),
    ) -> Vec<String> {
        self.begin_register(at, session, text, options);
        self.settle()
    }

    fn begin_register(&mut self, at: usize, session: u64, text: &str, options: impl FnOnce(&mut Register<'_>)) {
        let pattern = pattern(text);
        let mut register = Register {
            request: RequestId(0),
            pattern: &pattern,
            policy: InvocationPolicy::Single,
            concurrency: None,
            disclose_caller: false,
            forward_timeout: false,
            force_reregister: false,
            authid: None,
            client_id: None,
            features: CANCELING,
        };
        options(&mut register);
        self.begin(at, |dealer, now_ms, out| dealer.register(SessionId(session), &session, &register, now_ms, out));
    }

    fn leave(&mut self, at: usize, session: u64) -> Vec<String> {
        self.run(at, |dealer, _, out| dealer.leave(SessionId(session), out))
    }

    fn ask(&mut self, at: usize, session: u64, request: u64, uri: &str) -> Vec<String> {
        self.call(at, session, request, uri, |_| {})
    }

    fn call(
        &mut self,
        at: usize,
        session: u64,
        request: u64,
        uri: &str,
        options: impl FnOnce(&mut Call<'_>),
    ) -> Vec<String> {
        let (procedure, caller) = (topic(uri), Discloser { session: SessionId(session), authid: None, authrole: None });
        let mut call = Call {
            request: RequestId(request),
            procedure: &procedure,
            payload: PayloadRef::Bytes(b""),
            codec: Codec::Auto,
            timeout_ms: 0,
            receive_progress: false,
            disclose_me: false,
            caller: &caller,
        };
        options(&mut call);
        self.run(at, |dealer, now_ms, out| dealer.call(SessionId(session), &session, &call, now_ms, out).unwrap())
    }

    fn answer(&mut self, at: usize, callee: u64, invocation: u64) -> Vec<String> {
        self.yield_result(at, callee, invocation, false)
    }

    fn yield_result(&mut self, at: usize, callee: u64, invocation: u64, progress: bool) -> Vec<String> {
        let (callee, id, payload) = (SessionId(callee), InvocationId(invocation), PayloadRef::Bytes(b""));
        self.run(at, |dealer, now_ms, out| dealer.yield_result(callee, id, progress, payload, now_ms, out).unwrap())
    }

    fn cancel(&mut self, at: usize, caller: u64, request: u64, mode: CancelMode) -> Vec<String> {
        self.run(at, |dealer, _, out| dealer.cancel(SessionId(caller), RequestId(request), mode, out))
    }

    fn tick(&mut self, now_ms: u64) -> Vec<String> {
        self.now_ms = now_ms;
        (0..3).for_each(|at| self.begin(at, |dealer, now_ms, out| dealer.tick(now_ms, out)));
        self.settle()
    }

    /// Whom calls from an entry go to, as `entry/session`, each being answered.
    fn called(&mut self, at: usize, uri: &str, times: usize) -> Vec<String> {
        let mut callees = Vec::new();
        for _ in 0..times {
            let told = self.ask(at, 99, 1, uri);
            let [invocation] = &told[..] else { panic!("{told:?}") };
            let words: Vec<&str> = invocation.split([' ', ':']).filter(|word| !word.is_empty()).collect();
            let ["0" | "1" | "2", session, "INVOCATION", id, ..] = words[..] else { panic!("{invocation}") };
            let entry = words[0].parse().unwrap();
            callees.push(format!("{entry}/{session}"));
            assert_eq!(
                self.answer(entry, session.parse().unwrap(), id.parse().unwrap()),
                [format!("{at}: 99 RESULT 1")]
            );
        }
        callees
    }

    fn calls_under_way(&self) -> Vec<usize> {
        self.dealers.iter().map(Dealer::calls_under_way).collect()
    }
}

fn said(output: &Output<'_, u64>) -> Said {
    match *output {
        Output::Invocation(invocation) => {
            let elsewhere = invocation.elsewhere.unwrap();
            let options = Options {
                receive_progress: invocation.receive_progress,
                timeout_ms: invocation.timeout_ms.unwrap_or(0),
                disclose_me: elsewhere.disclose_me,
                caller: invocation.caller.unwrap().clone(),
            };
            let (procedure, pattern) = (elsewhere.procedure.clone(), elsewhere.pattern.clone());
            Said::Call { id: invocation.invocation.0, procedure, pattern, policy: elsewhere.policy, options }
        }
        Output::Result { request, progress, .. } => Said::Result { id: request.0, progress },
        Output::Error { request, failure: Failure::Refused(why), .. } => Said::Refused { id: request.0, why },
        Output::Error { request, failure: Failure::Callee { uri, .. }, .. } => {
            Said::Failed { id: request.0, uri: uri.to_owned() }
        }
        Output::Interrupt { invocation, mode, reason, .. } => Said::Interrupt { id: invocation.0, mode, why: reason },
        Output::TakeOver { pattern, authid, client_id, .. } => Said::TakeOver {
            pattern: pattern.clone(),
            authid: authid.to_owned(),
            client_id: client_id.map(str::to_owned),
        },
        _ => panic!("nothing for a peer"),
    }
}

#[test]
fn a_call_reaches_a_callee_at_another_entry_and_its_result_comes_back() {
    let mut world = world();
    assert_eq!(world.offer(1, 1, "app.add"), ["1: 1 REGISTERED 0: 1"]);
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
    assert_eq!(answers, [["0: 5 ERROR Call 1: wamp.error.canceled"], ["2: 2 INVOCATION 1"]]);
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
            let call = Call {
                request: RequestId(id),
                procedure,
                payload: PayloadRef::Bytes(b""),
                codec: Codec::Auto,
                timeout_ms: 0,
                receive_progress: false,
                disclose_me: false,
                caller: &caller,
            };
            dealer.call_from_peer(0, &handle(0), &call, pattern, InvocationPolicy::Single, now_ms, out).unwrap();
        });
        let refused = world.under_way.pop_front().map(|(_, _, said)| said);
        assert!(matches!(refused, Some(Said::Refused { why: Refusal::NoSuchProcedure, .. })));
    }
}

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
    assert_eq!(world.register(0, 2, "app.add", shared(InvocationPolicy::First)), ["0: 2 REGISTERED 0: 1"]);
}

#[test]
fn of_two_that_were_registered_at_once_the_earlier_is_called_and_the_other_stands_by() {
    let mut world = world();
    world.now_ms = 1001;
    world.begin_register(0, 1, "app.add", |_| {});
    world.now_ms = 1000;
    world.begin_register(2, 2, "app.add", |_| {});
    assert_eq!(world.settle(), ["0: 1 REGISTERED 0: 1", "2: 2 REGISTERED 0: 1"]);
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
fn a_callee_that_takes_no_more_at_once_is_minded_by_its_entry() {
    let mut world = world();
    world.register(1, 1, "app.add", |register| register.concurrency = NonZeroU32::new(1));
    world.ask(0, 5, 1, "app.add");
    assert_eq!(world.ask(2, 6, 1, "app.add"), ["2: 6 ERROR Call 1: wamp.error.no_available_callee"]);
    world.answer(1, 1, 1);
    assert_eq!(world.ask(2, 6, 2, "app.add"), ["1: 1 INVOCATION 2"]);
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
                disclose_me: false,
                caller: &Discloser { session: SessionId(session), authid: None, authrole: None },
            };
            dealer.call(SessionId(session), &session, &call, now_ms, out).unwrap();
        });
    }
    world.settle();
    assert_eq!(world.ask(0, 99, 1, "app.add"), ["0: 99 ERROR Call 1: fennec.error.quota_exceeded"]);
    assert_eq!(world.ask(2, 99, 1, "app.add").len(), 1);
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
    assert_eq!(told, ["0: 3 REGISTERED 0: 2", "1: 1 REVOKED 1"]);
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

/// Sessions of all entries that do anything in any order.
struct Run {
    world: World,
    dice: Dice,
    /// Entry, caller and request of calls without an answer.
    open: BTreeSet<(usize, u64, u64)>,
    last_request: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        Self { world: world(), dice: Dice(seed), open: BTreeSet::new(), last_request: 0 }
    }

    fn step(&mut self) {
        let (at, session) = (self.dice.below(3), 1 + self.dice.below(4) as u64);
        // Clocks differ.
        self.world.now_ms = 1000 + self.dice.below(50) as u64;
        match self.dice.below(9) {
            0 | 1 => {
                let policies = [InvocationPolicy::Single, InvocationPolicy::First, InvocationPolicy::Last];
                let policy = policies[self.dice.below(3)];
                self.world.begin_register(at, session, "app.add", shared(policy));
            }
            2 => self.leave(at, session),
            3..6 => {
                self.last_request += 1;
                self.open.insert((at, session, self.last_request));
                let told = self.world.ask(at, session, self.last_request, "app.add");
                self.hear(&told);
            }
            6 => {
                let (a, b) = [(0, 1), (0, 2), (1, 2)][self.dice.below(3)];
                let told = match self.world.cut.contains(&(a, b)) {
                    true => self.world.connect(a, b),
                    false => self.world.disconnect(a, b),
                };
                self.hear(&told);
            }
            7 => {
                let Some((at, session, request)) = self.open.first().copied() else { return };
                let mode = [CancelMode::Skip, CancelMode::Kill, CancelMode::KillNoWait][self.dice.below(3)];
                let told = self.world.cancel(at, session, request, mode);
                self.hear(&told);
            }
            // Most often several things happen before anybody hears of them.
            _ => self.settle(),
        }
    }

    fn settle(&mut self) {
        let told = self.world.settle();
        self.hear(&told);
    }

    fn leave(&mut self, at: usize, session: u64) {
        while !self.world.lines.is_empty() {
            let told = std::mem::take(&mut self.world.lines);
            self.hear(&told);
        }
        self.world.begin(at, |dealer, _, out| dealer.leave(SessionId(session), out));
        self.open.retain(|(entry, caller, _)| (*entry, *caller) != (at, session));
    }

    /// Notes answers, and has some of the callees answer.
    fn hear(&mut self, told: &[String]) {
        for line in told {
            let words: Vec<&str> = line.split([' ', ':']).filter(|word| !word.is_empty()).collect();
            let number = |at: usize| words[at].parse::<u64>().unwrap();
            let (at, session) = (number(0) as usize, number(1));
            let answered = match words[2..] {
                ["RESULT", _] => Some(number(3)),
                ["ERROR", "Call", ..] => Some(number(4)),
                _ => None,
            };
            if let Some(request) = answered {
                assert!(self.open.remove(&(at, session, request)), "one final answer: {line}");
            }
            if words[2] == "INVOCATION" && self.dice.below(3) > 0 {
                let (callee, id, payload) = (SessionId(session), InvocationId(number(3)), PayloadRef::Bytes(b""));
                // It may have left since.
                self.world.begin(at, |dealer, now_ms, out| {
                    let _ = dealer.yield_result(callee, id, false, payload, now_ms, out);
                });
            }
        }
    }

    fn finish(&mut self) {
        for (a, b) in self.world.cut.clone() {
            let told = self.world.connect(a, b);
            self.hear(&told);
        }
        self.settle();
        self.settle();
        if self.world.dealers[0].registrations().count() > 0 {
            let called: Vec<Vec<String>> = (0..3).map(|at| self.world.called(at, "app.add", 1)).collect();
            assert!(called.iter().all(|one| *one == called[0]), "{called:?}");
        }
        (0..3).for_each(|at| (1..=4).for_each(|session| self.leave(at, session)));
        self.settle();
        assert!(self.open.is_empty(), "{:?}", self.open);
        assert_eq!(self.world.calls_under_way(), [0, 0, 0]);
        assert!(self.world.dealers.iter().all(|dealer| dealer.registrations().count() == 0));
    }
}

#[test]
fn whatever_happens_every_call_is_answered_and_all_agree_on_who_is_called() {
    for seed in 0..100 {
        println!("seed {seed}");
        let mut run = Run::new(seed);
        (0..150).for_each(|_| run.step());
        run.finish();
    }
}
