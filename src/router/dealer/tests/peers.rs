//! Three entries, linked by hand: what their dealers say to each other waits until [`World::settle`] brings it there. Entries
//! are 0, 1 and 2, which is their rank; what a client is told begins with its entry.

mod calling;
mod parts;
mod random;
mod registering;
mod rerouting;

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::*;
use crate::router::output::Sink;
use crate::router::rules::Disclosure;
use crate::types::ids::ID_MAX;
use crate::types::passthru::Passthru;

/// The id of `app.add`, which is the same at all entries.
const ADD: &str = "1807780321107738";

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
    More { id: u64, progress: bool },
    Result { id: u64, progress: bool },
    Failed { id: u64, uri: String },
    Refused { id: u64, why: Refusal },
    Returned { id: u64, why: Refusal, procedure: Topic, options: Options },
    Interrupt { id: u64, mode: InterruptMode, why: Refusal },
    TakeOver { pattern: TopicPattern, authid: String, client_id: Option<String> },
}

#[derive(Clone)]
struct Options {
    receive_progress: bool,
    progress: bool,
    timeout_ms: u64,
    disclose_me: bool,
    caller: Discloser,
    notes: OwnNotes,
}

/// Notes as they are sent.
#[derive(Clone, Default)]
struct OwnNotes {
    passthru: Option<Passthru>,
    takes_passthru: bool,
    trust: Option<u32>,
    disclosure: Disclosure,
    resource_key: Option<String>,
}

impl OwnNotes {
    fn of(notes: Notes<'_>) -> Self {
        Self {
            passthru: notes.passthru.cloned(),
            takes_passthru: notes.takes_passthru,
            trust: notes.trust,
            disclosure: notes.disclosure,
            resource_key: notes.resource_key.map(str::to_owned),
        }
    }
}

impl Options {
    fn of(call: &Call<'_>) -> Self {
        Self {
            receive_progress: call.receive_progress,
            progress: call.progress,
            timeout_ms: call.timeout_ms,
            disclose_me: call.disclose_me,
            caller: call.caller.clone(),
            notes: OwnNotes::of(call.notes),
        }
    }

    fn call<'a>(&'a self, id: u64, procedure: &'a Topic) -> Call<'a> {
        Call {
            request: RequestId(id),
            procedure,
            payload: PayloadRef::Bytes(b""),
            codec: Codec::Auto,
            timeout_ms: self.timeout_ms,
            receive_progress: self.receive_progress,
            progress: self.progress,
            disclose_me: self.disclose_me,
            caller: &self.caller,
            notes: Notes {
                passthru: self.notes.passthru.as_ref(),
                takes_passthru: self.notes.takes_passthru,
                trust: self.notes.trust,
                disclosure: self.notes.disclosure,
                resource_key: self.notes.resource_key.as_deref(),
            },
        }
    }
}

fn world() -> World {
    let dealers = (0..3).map(|rank| {
        let mut dealer = Dealer::new(CallLimits::default(), rank + 7);
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
                let call = options.call(id, &procedure);
                dealer.call_from_peer(rank, &handle(from), &call, &pattern, policy, now_ms, out).unwrap();
            }
            Said::More { id, progress } => {
                let part = Part { request: RequestId(id), procedure: None, payload, passthru: None, progress };
                dealer.continue_from_peer(rank, &part, out);
            }
            Said::Result { id, progress } => {
                dealer.yield_result(peer, InvocationId(id), progress, payload, now_ms, out).unwrap();
            }
            Said::Failed { id, uri } => dealer.invocation_error(peer, InvocationId(id), &uri, payload, out).unwrap(),
            Said::Refused { id, why } => dealer.invocation_refused(peer, InvocationId(id), why, false, out).unwrap(),
            Said::Returned { id, why, procedure, options } => {
                let call = options.call(id, &procedure);
                dealer.call_returned(peer, InvocationId(id), &call, why, now_ms, out).unwrap();
            }
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
            node_key: None,
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
            progress: false,
            disclose_me: false,
            caller: &caller,
            notes: Notes::default(),
        };
        options(&mut call);
        self.run(at, |dealer, now_ms, out| dealer.call(SessionId(session), &session, &call, now_ms, out).unwrap())
    }

    /// A CALL that may go on with one.
    fn part(&mut self, at: usize, session: u64, request: u64, progress: bool) -> Vec<String> {
        self.begin_part(at, session, request, progress);
        self.settle()
    }

    fn begin_part(&mut self, at: usize, session: u64, request: u64, progress: bool) {
        let (request, payload) = (RequestId(request), PayloadRef::Bytes(b""));
        let part = Part { request, procedure: Some("app.add"), payload, passthru: None, progress };
        self.begin(at, |dealer, _, out| assert!(dealer.continue_call(SessionId(session), &part, out).unwrap()));
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
        Output::Invocation(invocation) if invocation.continues => {
            Said::More { id: invocation.invocation.0, progress: invocation.progress }
        }
        Output::Invocation(invocation) => {
            let elsewhere = invocation.elsewhere.unwrap();
            let options = Options {
                receive_progress: invocation.receive_progress,
                progress: invocation.progress,
                timeout_ms: invocation.timeout_ms.unwrap_or(0),
                disclose_me: elsewhere.disclose_me,
                caller: invocation.caller.unwrap().clone(),
                notes: OwnNotes::of(elsewhere.notes),
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
        Output::Returned { call, why, .. } => {
            let (procedure, options) = (call.procedure.clone(), Options::of(&call));
            Said::Returned { id: call.request.0, why, procedure, options }
        }
        Output::TakeOver { pattern, authid, client_id, .. } => Said::TakeOver {
            pattern: pattern.clone(),
            authid: authid.to_owned(),
            client_id: client_id.map(str::to_owned),
        },
        _ => panic!("nothing for a peer"),
    }
}
