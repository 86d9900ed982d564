//! Callees and callers that come and go while links break and come.

use super::super::super::endpoints::Dice;
use super::*;

/// Sessions of all entries that do anything in any order.
struct Run {
    world: World,
    dice: Dice,
    /// Entry, caller and request of calls without an answer.
    open: BTreeSet<(usize, u64, u64)>,
    last_request: u64,
    /// Callees take one call at once.
    busy: bool,
}

impl Run {
    fn new(seed: u64, busy: bool) -> Self {
        Self { world: world(), dice: Dice(seed), open: BTreeSet::new(), last_request: 0, busy }
    }

    fn step(&mut self) {
        let (at, session) = (self.dice.below(3), 1 + self.dice.below(4) as u64);
        // Clocks differ.
        self.world.now_ms = 1000 + self.dice.below(50) as u64;
        match self.dice.below(9) {
            0 | 1 => {
                let policies = [InvocationPolicy::Single, InvocationPolicy::First, InvocationPolicy::Last];
                let policy = policies[self.dice.below(3)];
                let concurrency = NonZeroU32::new(u32::from(self.busy));
                self.world.begin_register(at, session, "app.add", |register| {
                    register.policy = policy;
                    register.concurrency = concurrency;
                });
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
        // Some of the busy never answer.
        if !self.busy && self.world.dealers[0].registrations().count() > 0 {
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
    for seed in 0..200 {
        println!("seed {seed}");
        let mut run = Run::new(seed, seed % 2 == 1);
        (0..150).for_each(|_| run.step());
        run.finish();
    }
}
