//! Sessions that do anything in any order. A model outside the dealer watches what everybody is told; the dealer's own
//! lists are checked after every command.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::endpoints::Dice;
use super::*;
use crate::router::output::{Command, Refusal};

const SEEDS: u64 = 150;
const STEPS: usize = 400;
const SESSIONS: usize = 7;
const PROCEDURES: [&str; 4] = ["app.add", "app.sub", "web.get", "web.get.all"];
const PATTERNS: [&str; 6] = ["app.add", "app.sub", "prefix app.", "wildcard web..all", "web.get", "prefix web"];

#[derive(Clone, Copy, PartialEq)]
enum Invoked {
    UnderWay,
    Interrupted,
    Answered,
}

/// What one could know by listening.
#[derive(Default)]
struct Watcher {
    present: HashSet<u64>,
    canceling: HashSet<u64>,
    /// Calls without a final answer, and whether they asked for progress.
    open: HashMap<(u64, u64), bool>,
    last_invocation: HashMap<u64, u64>,
    invoked: HashMap<(u64, u64), Invoked>,
    /// Calls whose last part was not said, and their procedure, whatever has become of them.
    in_parts: BTreeMap<(u64, u64), &'static str>,
}

impl Watcher {
    fn hear(&mut self, output: &Output<'_, u64>) {
        match *output {
            Output::Invocation(invocation) => {
                let (to, id) = (*invocation.to, invocation.invocation.0);
                assert!(self.present.contains(&to));
                if invocation.continues {
                    let state = self.invoked.get(&(to, id));
                    assert!(state == Some(&Invoked::UnderWay) && self.canceling.contains(&to), "a part for who works");
                    return;
                }
                let last = self.last_invocation.insert(to, id).unwrap_or(0);
                assert_eq!(id, last + 1, "invocations of a callee are numbered in a row");
                self.invoked.insert((to, id), Invoked::UnderWay);
            }
            Output::Result { to, request, progress: true, .. } => {
                assert_eq!(self.open.get(&(*to, request.0)), Some(&true), "progress for who asked and waits");
            }
            Output::Result { to, request, .. } | Output::Error { to, command: Command::Call, request, .. } => {
                assert!(self.present.contains(to));
                assert!(self.open.remove(&(*to, request.0)).is_some(), "one final answer");
            }
            Output::Interrupt { to, invocation, .. } => {
                assert!(self.present.contains(to) && self.canceling.contains(to));
                let before = self.invoked.insert((*to, invocation.0), Invoked::Interrupted);
                assert!(before == Some(Invoked::UnderWay), "one interrupt, to who works on it");
            }
            _ => {}
        }
    }

    fn leave(&mut self, session: u64) {
        self.present.remove(&session);
        self.canceling.remove(&session);
        self.last_invocation.remove(&session);
        self.open.retain(|(caller, _), _| *caller != session);
        self.invoked.retain(|(callee, _), _| *callee != session);
        self.in_parts.retain(|(caller, _), _| *caller != session);
    }
}

struct Run {
    dealer: Dealer<u64>,
    watcher: Watcher,
    dice: Dice,
    now_ms: u64,
    /// Sessions come and go, these are here.
    sessions: Vec<u64>,
    next_session: u64,
    next_request: u64,
}

#[test]
fn every_call_gets_one_final_answer_and_nothing_leaks() {
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let mut run = Run::new(seed);
        for _ in 0..STEPS {
            run.step();
            check_consistency(&run.dealer);
            assert_eq!(run.watcher.open.len(), run.dealer.calls_under_way());
        }
        run.finish();
    }
}

impl Run {
    fn new(seed: u64) -> Self {
        let limits = CallLimits { registrations_per_session_max: 3, calls_per_session_max: 8, calls_max: 24 };
        let mut run = Self {
            dealer: Dealer::new(limits, seed),
            watcher: Watcher::default(),
            dice: Dice(seed),
            now_ms: 0,
            sessions: Vec::new(),
            next_session: 0,
            next_request: 0,
        };
        for _ in 0..SESSIONS {
            run.join();
        }
        run
    }

    fn join(&mut self) {
        self.next_session += 1;
        self.sessions.push(self.next_session);
        self.watcher.present.insert(self.next_session);
        if self.chance(50) {
            self.watcher.canceling.insert(self.next_session);
        }
    }

    fn step(&mut self) {
        let session = self.sessions[self.dice.below(SESSIONS)];
        match self.dice.below(100) {
            0..12 => self.register(session),
            12..16 => self.unregister(session),
            16..42 => self.call(session),
            42..50 => self.go_on(),
            50..75 => self.answer(),
            75..80 => self.make_up_an_answer(session),
            80..88 => self.cancel(),
            88..94 => self.tick(),
            94..97 => self.undeliverable(),
            _ => self.leave(session),
        }
    }

    fn register(&mut self, session: u64) {
        let pattern = pattern(PATTERNS[self.dice.below(PATTERNS.len())]);
        let policies = [
            InvocationPolicy::Single,
            InvocationPolicy::First,
            InvocationPolicy::Last,
            InvocationPolicy::Random,
            InvocationPolicy::RoundRobin,
        ];
        let register = Register {
            request: RequestId(0),
            pattern: &pattern,
            policy: policies[self.dice.below(policies.len())],
            concurrency: NonZeroU32::new(self.dice.below(3) as u32),
            disclose_caller: self.chance(50),
            forward_timeout: self.chance(20),
            force_reregister: self.chance(30),
            authid: [None, Some("ann"), Some("bob")][self.dice.below(3)],
            client_id: None,
            node_key: None,
            features: CalleeFeatures {
                call_canceling: self.watcher.canceling.contains(&session),
                progressive_call_results: session.is_multiple_of(2),
                call_timeout: session.is_multiple_of(3),
                progressive_call_invocations: !session.is_multiple_of(4),
                registration_revocation: session.is_multiple_of(5),
                payload_passthru_mode: false,
                call_reroute: !session.is_multiple_of(2),
            },
        };
        let Self { dealer, watcher, now_ms, .. } = self;
        dealer.register(SessionId(session), &session, &register, *now_ms, &mut |output| watcher.hear(&output));
    }

    fn unregister(&mut self, session: u64) {
        let registration = RegistrationId(1 + self.dice.below(60) as u64);
        let Self { dealer, watcher, .. } = self;
        let mut out = |output: Output<'_, u64>| watcher.hear(&output);
        dealer.unregister(SessionId(session), &session, RequestId(0), registration, &mut out);
    }

    fn call(&mut self, session: u64) {
        self.next_request += 1;
        let uri = PROCEDURES[self.dice.below(PROCEDURES.len())];
        let procedure = topic(uri);
        let call = Call {
            request: RequestId(self.next_request),
            procedure: &procedure,
            payload: PayloadRef::Bytes(b""),
            codec: Codec::Auto,
            timeout_ms: 10 * self.dice.below(4) as u64,
            receive_progress: self.chance(50),
            progress: self.chance(30),
            disclose_me: self.chance(50),
            caller: &Discloser { session: SessionId(session), authid: None, authrole: None },
            notes: Notes { resource_key: self.chance(20).then_some("r"), ..Notes::default() },
        };
        let Self { dealer, watcher, now_ms, .. } = self;
        watcher.open.insert((session, self.next_request), call.receive_progress);
        if call.progress {
            watcher.in_parts.insert((session, self.next_request), uri);
        }
        let mut out = |output: Output<'_, u64>| watcher.hear(&output);
        assert_eq!(dealer.call(SessionId(session), &session, &call, *now_ms, &mut out), Ok(()));
    }

    /// A caller says a further part, be the call under way or not.
    fn go_on(&mut self) {
        if self.watcher.in_parts.is_empty() {
            return;
        }
        let at = self.dice.below(self.watcher.in_parts.len());
        let Some((&(caller, request), &uri)) = self.watcher.in_parts.iter().nth(at) else { return };
        let (id, payload, progress) = (RequestId(request), PayloadRef::Bytes(b""), self.chance(60));
        let part = Part { request: id, procedure: Some(uri), payload, passthru: None, progress };
        let Self { dealer, watcher, .. } = self;
        let mut out = |output: Output<'_, u64>| watcher.hear(&output);
        assert_eq!(dealer.continue_call(SessionId(caller), &part, &mut out), Ok(true));
        if !progress {
            watcher.in_parts.remove(&(caller, request));
        }
    }

    /// A callee answers something it has not answered yet, be it in time or not.
    fn answer(&mut self) {
        let unanswered: Vec<_> =
            self.watcher.invoked.iter().filter(|(_, state)| **state != Invoked::Answered).collect();
        let mut unanswered: Vec<_> = unanswered.into_iter().map(|(invoked, _)| *invoked).collect();
        unanswered.sort_unstable();
        if unanswered.is_empty() {
            return;
        }
        let (callee, invocation) = unanswered[self.dice.below(unanswered.len())];
        let progress = self.chance(30);
        assert_eq!(self.say(callee, invocation, progress), Ok(()), "{callee} has not answered {invocation} yet");
        if !progress {
            self.watcher.invoked.insert((callee, invocation), Invoked::Answered);
        }
    }

    fn make_up_an_answer(&mut self, session: u64) {
        let invocation = self.dice.below(20) as u64;
        let state = self.watcher.invoked.get(&(session, invocation));
        let expected = match state {
            None => Err(Violation::NoSuchInvocation(InvocationId(invocation))),
            Some(Invoked::Answered) => Ok(()),
            Some(_) => return,
        };
        assert_eq!(self.say(session, invocation, false), expected);
    }

    fn say(&mut self, callee: u64, invocation: u64, progress: bool) -> Result<(), Violation> {
        let (callee, invocation, payload) = (SessionId(callee), InvocationId(invocation), PayloadRef::Bytes(b""));
        let fails = !progress && self.chance(30);
        let uri = if self.chance(50) { "app.error" } else { "wamp.error.unavailable" };
        let Self { dealer, watcher, now_ms, .. } = self;
        let mut out = |output: Output<'_, u64>| watcher.hear(&output);
        if fails {
            dealer.invocation_error(callee, invocation, uri, payload, &mut out)
        } else {
            dealer.yield_result(callee, invocation, progress, payload, *now_ms, &mut out)
        }
    }

    fn any_open(&mut self) -> Option<(u64, u64)> {
        let mut open: Vec<_> = self.watcher.open.keys().copied().collect();
        open.sort_unstable();
        (!open.is_empty()).then(|| open[self.dice.below(open.len())])
    }

    fn cancel(&mut self) {
        let Some((caller, request)) = self.any_open() else { return };
        let mode = [CancelMode::Skip, CancelMode::Kill, CancelMode::KillNoWait][self.dice.below(3)];
        let Self { dealer, watcher, .. } = self;
        dealer.cancel(SessionId(caller), RequestId(request), mode, &mut |output| watcher.hear(&output));
    }

    fn tick(&mut self) {
        self.now_ms += self.dice.below(12) as u64;
        let Self { dealer, watcher, now_ms, .. } = self;
        dealer.tick(*now_ms, &mut |output| watcher.hear(&output));
        assert!(dealer.next_deadline().is_none_or(|deadline_ms| deadline_ms > *now_ms));
    }

    /// The next invocation, or the result of some call, turns out to be too large.
    fn undeliverable(&mut self) {
        let Some((caller, request)) = self.any_open() else { return };
        let place = self.dealer.sessions[&SessionId(caller)].calls[&RequestId(request)];
        let Self { dealer, watcher, .. } = self;
        let last = watcher.last_invocation[&place.callee.0];
        let untouched = watcher.invoked[&(place.callee.0, last)] == Invoked::UnderWay;
        if place.invocation.0 == last && untouched {
            let mut out = |output: Output<'_, u64>| watcher.hear(&output);
            dealer.invocation_undeliverable(place.callee, place.invocation, Refusal::PayloadSizeExceeded, &mut out);
            // A callee that had a part before is told to stop.
            if watcher.invoked[&(place.callee.0, last)] == Invoked::UnderWay {
                watcher.invoked.remove(&(place.callee.0, last));
                watcher.last_invocation.insert(place.callee.0, last - 1);
            }
        } else {
            let (caller, request, reason) = (SessionId(caller), RequestId(request), Refusal::PayloadSizeExceeded);
            dealer.result_undeliverable(caller, request, reason, &mut |output| watcher.hear(&output));
        }
    }

    fn leave(&mut self, session: u64) {
        self.watcher.leave(session);
        let Self { dealer, watcher, .. } = self;
        dealer.leave(SessionId(session), &mut |output| watcher.hear(&output));
        self.sessions.retain(|here| *here != session);
        self.join();
    }

    /// All callees leave: whoever still waits gets its answer, and nothing is kept.
    fn finish(mut self) {
        for session in std::mem::take(&mut self.sessions) {
            self.leave(session);
        }
        assert!(self.watcher.open.is_empty(), "{:?}", self.watcher.open);
        assert!(self.dealer.sessions.is_empty() && self.dealer.deadlines.is_empty());
        assert_eq!((self.dealer.calls_under_way(), self.dealer.registration_count()), (0, 0));
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.dice.below(100) < percent
    }
}
