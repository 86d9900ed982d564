//! Two ends of an uplink over a channel that loses, both restarted and restored at any time, seeded. At the far end every message is
//! there exactly once, in the order of the numbers; after a store was replaced or restored a new epoch says so, and only then may
//! something be there twice or be missing.

use crate::outbound::uplink::machine::numbering::{Item, Verdict, Why};
use crate::outbound::uplink::machine::receiving::{Plan, plan};
use crate::outbound::uplink::machine::sender::{Bounds, Found, Read, Record, Sender, Values, Want};
use crate::outbound::uplink::machine::wire::{Ack, Exchange, Kind, Message};

/// A small generator of random numbers (xorshift), so that a seed is a test.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn often(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

const PATTERNS: u16 = 3;

/// An event: its pattern, and what tells it from all others.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Event {
    pattern: u16,
    token: u64,
}

/// The store of the sending end.
#[derive(Clone, Default)]
struct Log {
    /// The number of the first is 1.
    events: Vec<Event>,
    record: Option<Vec<u8>>,
    /// Events of lower numbers are gone.
    floor: u64,
}

/// The store of the receiving end.
#[derive(Clone, Default)]
struct Far {
    known: Ack,
    /// What arrived, with the epochs that began.
    lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq)]
enum Line {
    Begin { epoch: u64 },
    Event { number: u64, token: u64 },
    Gap { until: u64 },
}

struct World {
    dice: Dice,
    bounds: Bounds,
    log: Log,
    far: Far,
    sender: Sender,
    record: Option<Record>,
    accepted: Vec<bool>,
    now_ms: u64,
    tokens: u64,
    /// Resyncs that were announced.
    alarms: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let bounds = Bounds {
            messages_max: 1 + dice.below(6) as usize,
            bytes_max: 40,
            live_percent: [0, 30, 50, 100][dice.below(4) as usize],
            age_us_max: None,
        };
        Self {
            dice,
            bounds,
            log: Log::default(),
            far: Far::default(),
            sender: Sender::new(bounds, PATTERNS, 0),
            record: None,
            accepted: vec![true; PATTERNS.into()],
            now_ms: 1000,
            tokens: 0,
            alarms: 0,
        }
    }

    fn publish(&mut self) {
        self.tokens += 1;
        let event = Event { pattern: self.dice.below(PATTERNS.into()) as u16, token: self.tokens };
        self.log.events.push(event);
    }

    /// Numbers of the log, oldest first.
    fn last(&self) -> u64 {
        self.log.events.len() as u64
    }

    fn read(&mut self, count: u64) {
        for _ in 0..count {
            let last = self.last();
            match self.sender.want(last) {
                None => return,
                Some(Want::Values { .. }) => self.sender.take_values(Values::default()),
                Some(Want::Events { lane, patterns, from, until, messages_max, .. }) => {
                    let end = until.unwrap_or(u64::MAX).min(last + 1);
                    let mut read =
                        Read { next: from.max(self.log.floor), first_available: self.log.floor, ..Read::default() };
                    while read.next < end && read.events.len() < messages_max {
                        let number = read.next;
                        let event = self.log.events[number as usize - 1];
                        if patterns.contains(&event.pattern) {
                            read.events.push(Found { number, bytes: 7, at_us: 0, returns: false });
                        }
                        read.next += 1;
                    }
                    self.sender.take(lane, &read, 0);
                }
            }
        }
    }

    /// Commits what is to be recorded, perhaps later, perhaps never.
    fn commit(&mut self, always: bool) {
        if self.record.is_none() {
            self.record = self.sender.record();
        }
        if (always || self.dice.often(70))
            && let Some(record) = self.record.take()
        {
            let fails = !always && self.dice.often(10);
            if !fails {
                self.log.record = Some(record.state);
            }
            self.sender.recorded(record.version, !fails);
        }
    }

    /// One exchange, of which the request or the answer may be lost.
    fn exchange(&mut self, loses: bool) {
        self.now_ms += 1 + self.dice.below(50);
        let numbering = self.sender.numbering();
        let items: Vec<Item> =
            if self.sender.has_heard() { self.sender.batch().cloned().collect() } else { Vec::new() };
        let request = Exchange {
            epoch: numbering.epoch(),
            sequence: numbering.sequence(),
            begin: self.sender.has_heard() && self.sender.may_begin(),
            messages: items.iter().map(|_| Message::of(Kind::Event)).collect(),
            ..Exchange::default()
        };
        if loses && self.dice.often(20) {
            return self.sender.connected();
        }
        self.receive(&request, &items);
        if loses && self.dice.often(20) {
            return self.sender.connected();
        }
        let verdict = self.sender.hear(self.far.known, self.now_ms);
        if let Verdict::Resync(why) = verdict {
            self.alarms += u32::from(why != Why::First);
        }
        let accepted = self.accepted.clone();
        self.sender.accept(&accepted);
    }

    fn receive(&mut self, request: &Exchange, items: &[Item]) {
        let Far { known, lines } = &mut self.far;
        let behind = match plan(*known, request) {
            Plan::Refuse => return,
            Plan::Take { behind } => behind,
            Plan::Begin => {
                *known = Ack { epoch: request.epoch, next: request.sequence };
                lines.push(Line::Begin { epoch: request.epoch });
                0
            }
        };
        for item in &items[behind..] {
            lines.push(match item {
                Item::Event(number) => {
                    Line::Event { number: known.next, token: self.log.events[*number as usize - 1].token }
                }
                Item::Gap { until, .. } => Line::Gap { until: *until },
                Item::Value(_) => panic!("there are no values"),
            });
            known.next += 1;
        }
    }

    fn restart_sender(&mut self) {
        self.record = None;
        self.sender = match &self.log.record {
            Some(state) => Sender::restore(self.bounds, PATTERNS, state).expect("a record that can be read"),
            None => Sender::new(self.bounds, PATTERNS, 0),
        };
    }

    fn step(&mut self) {
        match self.dice.below(20) {
            0..6 => self.publish(),
            6..10 => {
                let count = 1 + self.dice.below(4);
                self.read(count);
            }
            10..13 => self.commit(false),
            13..17 => self.exchange(true),
            17 => self.sender.connected(),
            18 if self.dice.often(30) => self.restart_sender(),
            18 => {
                let at = self.dice.below(PATTERNS.into()) as usize;
                self.accepted[at] = self.dice.often(50);
            }
            _ => {}
        }
    }

    /// Everything is accepted and nothing fails any more, until all has arrived.
    fn settle(&mut self) {
        self.accepted = vec![true; PATTERNS.into()];
        for _ in 0..10_000 {
            self.exchange(false);
            self.read(100);
            self.commit(true);
            let is_done = self.sender.has_heard() && !self.sender.has_more(self.last()) && !self.sender.may_begin();
            if is_done {
                return;
            }
        }
        panic!("it does not come to an end");
    }

    /// Tokens in the order of arrival, of what came since the last epoch began.
    fn tokens(&self, from: usize) -> Vec<u64> {
        let token = |line: &Line| match line {
            Line::Event { token, .. } => Some(*token),
            _ => None,
        };
        self.far.lines[from..].iter().filter_map(token).collect()
    }

    /// Numbers follow each other without a gap or a repeat in each epoch, and epochs grow.
    fn check_numbers(&self) {
        let (mut epoch, mut next) = (0, None);
        for line in &self.far.lines {
            match line {
                Line::Begin { epoch: later } => {
                    assert!(*later > epoch, "an epoch comes back");
                    (epoch, next) = (*later, None);
                }
                Line::Event { number, .. } => {
                    assert!(next.is_none_or(|next| next == *number), "{number} instead of {next:?}");
                    next = Some(number + 1);
                }
                Line::Gap { .. } => next = next.map(|next| next + 1),
            }
        }
    }
}

fn sorted(mut tokens: Vec<u64>) -> Vec<u64> {
    tokens.sort_unstable();
    tokens
}

#[test]
fn whatever_is_lost_or_restarted_every_message_arrives_once() {
    for seed in 1..=300 {
        let mut world = World::new(seed);
        (0..600).for_each(|_| world.step());
        world.settle();
        world.check_numbers();
        assert_eq!(world.alarms, 0, "seed {seed}: nothing was restored, and yet it begins anew");
        let all: Vec<u64> = (1..=world.tokens).collect();
        assert_eq!(sorted(world.tokens(0)), all, "seed {seed}");
    }
}

#[test]
fn without_shares_messages_of_accepted_topics_arrive_in_the_order_of_publication() {
    for seed in 1..=100 {
        let mut world = World::new(seed);
        world.bounds.live_percent = 0;
        world.sender = Sender::new(world.bounds, PATTERNS, 0);
        for _ in 0..600 {
            world.step();
            world.accepted = vec![true; PATTERNS.into()];
        }
        world.settle();
        assert_eq!(world.tokens(0), (1..=world.tokens).collect::<Vec<_>>(), "seed {seed}");
    }
}

#[test]
fn what_retention_takes_is_said_to_be_missing_and_all_else_arrives_once() {
    for seed in 1..=200 {
        let mut world = World::new(seed);
        for _ in 0..600 {
            world.step();
            if world.dice.often(2) {
                world.log.floor = world.log.floor.max(world.dice.below(world.last() + 1));
            }
        }
        world.settle();
        world.check_numbers();
        let arrived = sorted(world.tokens(0));
        assert!(arrived.is_sorted_by(|a, b| a < b), "seed {seed}: something came twice");
        let gap = |line: &Line| matches!(line, Line::Gap { .. });
        let missing = (1..=world.tokens).any(|token| arrived.binary_search(&token).is_err());
        assert!(!missing || world.far.lines.iter().any(gap), "seed {seed}: something is missing in silence");
        let floor = world.log.floor;
        let kept = (1..=world.tokens).filter(|token| *token >= floor);
        assert!(
            kept.into_iter().all(|token| arrived.binary_search(&token).is_ok()),
            "seed {seed}: too much is missing"
        );
    }
}

/// One store is replaced by an old copy or by an empty one, once.
#[test]
fn a_store_that_was_replaced_is_never_continued_in_silence() {
    let mut resyncs = 0;
    for seed in 1..=600 {
        let mut world = World::new(seed);
        (0..200).for_each(|_| world.step());
        let (log, far) = (world.log.clone(), world.far.clone());
        (0..world.dice.below(300)).for_each(|_| world.step());
        let newest = world.tokens;
        let is_sender = world.dice.often(50);
        let is_wiped = world.dice.often(30);
        match (is_sender, is_wiped) {
            (true, false) => world.log = log,
            // A wiped edge begins with a log of its own.
            (true, true) => world.log = Log::default(),
            (false, false) => world.far = far,
            (false, true) => world.far = Far::default(),
        }
        if is_sender {
            world.restart_sender();
        } else {
            world.sender.connected();
        }
        (0..200).for_each(|_| world.step());
        world.settle();
        world.check_numbers();
        let begin = world.far.lines.iter().rposition(|line| matches!(line, Line::Begin { .. })).unwrap();
        let arrived = world.tokens(begin);
        assert!(sorted(arrived.clone()).is_sorted_by(|a, b| a < b), "seed {seed}: something came twice in an epoch");
        let all = world.tokens(0);
        let later: Vec<u64> = (newest + 1..=world.tokens).collect();
        assert!(later.iter().all(|token| all.contains(token)), "seed {seed}: what came afterwards is missing");
        // Whatever is missing or twice, a new epoch says so.
        let once = sorted(all.clone()).is_sorted_by(|a, b| a < b);
        let expected = world.log.events.iter().all(|event| all.contains(&event.token));
        assert!((once && expected) || world.alarms > 0, "seed {seed}: silent");
        resyncs += world.alarms;
    }
    assert!(resyncs > 100, "the test does not do what it says: {resyncs}");
}
