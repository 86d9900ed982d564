//! What is known of all that happened, and whether it is as it must be.

use std::collections::BTreeMap;

use bytes::Bytes;
use fennec::queue::envelope::{Elected, NodeId, Resolution, SegmentId};
use fennec::queue::message::{Run, Runs};
use fennec::queue::relay;
use fennec::queue::storage::Apply;
use fennec::types::payload::PayloadRef;

use crate::faults::Faults;
use crate::linear::{Operation, is_linear};

/// A message that was acknowledged.
#[derive(Debug)]
pub struct Ack {
    pub text: String,
    /// 0: it was not told, for it was told before.
    pub number: u64,
    pub sent: u64,
    pub at: u64,
}

#[derive(Default)]
pub struct Facts {
    pub faults: Faults,
    /// What took each position.
    positions: BTreeMap<u64, Elected>,
    segments: BTreeMap<SegmentId, u64>,
    /// What each position came to.
    log: BTreeMap<u64, (Bytes, Resolution)>,
    pub acks: Vec<Ack>,
    /// Messages of one connection of a publisher, in the order of their sending.
    pub sent: BTreeMap<(usize, u64), Vec<String>>,
    /// What each key's users saw.
    pub keys: BTreeMap<String, Vec<Operation>>,
    /// Who believes to hold each lock.
    holders: BTreeMap<String, usize>,
    /// The last decision anybody knew of.
    pub decided: u64,
    pub copied: u64,
    pub grants: u64,
}

/// A message of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Logged {
    pub number: u64,
    pub text: String,
    pub is_void: bool,
}

impl Facts {
    /// 1. Agreement.
    pub fn decision(&mut self, node: &NodeId, position: u64, elected: &Elected) {
        self.decided = self.decided.max(position);
        if let Elected::Segment(draft) = elected {
            let first = *self.segments.entry(draft.id.clone()).or_insert(position);
            assert_eq!(first, position, "{node}: {:?} has two positions", draft.id);
        }
        let known = self.positions.entry(position).or_insert_with(|| elected.clone());
        assert_eq!(known, elected, "{node}: position {position} is taken twice");
    }

    pub fn elected(&mut self, node: &NodeId, position: u64, apply: &Apply) {
        let elected = match apply {
            Apply::Segment { draft, .. } => Elected::Segment(draft.clone()),
            Apply::Command(command) => Elected::Command(command.clone()),
            Apply::Nothing => Elected::Nothing,
        };
        self.decision(node, position, &elected);
    }

    /// The state is the same everywhere.
    pub fn applied(&mut self, node: &NodeId, position: u64, fed: &Bytes, resolution: &Resolution) {
        let known = self.log.entry(position).or_insert_with(|| (fed.clone(), resolution.clone()));
        assert!(known.0 == *fed && known.1 == *resolution, "{node} made something else of position {position}");
    }

    /// 5. No late arrivals: an entry is fed the log as it is.
    pub fn fed(&mut self, node: &NodeId, position: u64, segment: &Bytes) {
        let known = self.log.get(&position).map(|(fed, _)| fed);
        assert_eq!(known, Some(segment), "{node} is fed another position {position}");
    }

    /// Somebody is told that it holds a lock.
    pub fn holds(&mut self, lock: &str, client: usize) {
        self.grants += 1;
        let before = self.holders.insert(lock.to_owned(), client);
        assert_eq!(before, None, "{lock} is held by client {client} and by another");
    }

    pub fn lets_go(&mut self, lock: &str, client: usize) {
        if self.holders.get(lock) == Some(&client) {
            self.holders.remove(lock);
        }
    }

    /// Of the log, what stands at positions of which the end is known, from this number on.
    pub fn messages(&self) -> Vec<Logged> {
        let mut messages = Vec::new();
        for (fed, _) in self.log.values() {
            let fed = relay::read_fed(fed).expect("what is fed is as it was written");
            messages_of(&fed, &mut messages);
        }
        messages
    }

    /// All that can be told when it is over.
    pub fn check(&mut self) {
        let messages = self.messages();
        let shown = messages.iter().filter(|message| !message.is_void);
        let places: BTreeMap<&str, u64> = shown.map(|message| (&*message.text, message.number)).collect();
        for ack in self.acks.iter_mut().filter(|ack| ack.number == 0) {
            ack.number = places.get(&*ack.text).copied().unwrap_or_default();
        }
        assert!(messages.iter().zip(1..).all(|(message, number)| message.number == number), "numbers have no gap");
        self.check_acks(&messages);
        self.check_real_time();
        self.check_owners(&messages);
        for (key, history) in &self.keys {
            assert!(is_linear(history), "{key} is not linearizable: {history:#?}");
        }
    }

    /// 2. No loss.
    fn check_acks(&self, messages: &[Logged]) {
        for ack in &self.acks {
            let found = ack.number.checked_sub(1).and_then(|at| messages.get(at as usize));
            let is_there = found.is_some_and(|message| message.text == ack.text && !message.is_void);
            assert!(is_there, "{ack:?} is acknowledged, and the log has {found:?}");
        }
        let mut places: BTreeMap<&str, u64> = BTreeMap::new();
        for message in messages.iter().filter(|message| !message.is_void && !message.text.is_empty()) {
            let before = places.insert(&message.text, message.number);
            assert_eq!(before, None, "{} is in the log twice", message.text);
        }
    }

    /// 3. Real-time order.
    fn check_real_time(&self) {
        let mut sent: Vec<&Ack> = self.acks.iter().collect();
        let mut acked = sent.clone();
        sent.sort_by_key(|ack| ack.sent);
        acked.sort_by_key(|ack| ack.at);
        let (mut acked, mut highest) = (acked.into_iter().peekable(), None::<&Ack>);
        for ack in sent {
            while let Some(before) = acked.next_if(|before| before.at < ack.sent) {
                highest = highest.filter(|highest| highest.number > before.number).or(Some(before));
            }
            if let Some(before) = highest {
                assert!(before.number < ack.number, "{before:?} was acknowledged before {ack:?} was sent");
            }
        }
    }

    /// 4. Owner order.
    fn check_owners(&self, messages: &[Logged]) {
        let shown = messages.iter().filter(|message| !message.is_void);
        let places: BTreeMap<&str, u64> = shown.map(|message| (&*message.text, message.number)).collect();
        for ((client, _), sent) in &self.sent {
            let places: Vec<u64> = sent.iter().filter_map(|text| places.get(&**text)).copied().collect();
            assert!(places.is_sorted(), "messages of client {client} changed places: {sent:?} at {places:?}");
        }
    }
}

/// Appends the messages of a position.
pub fn messages_of(fed: &relay::Fed, into: &mut Vec<Logged>) {
    let segment = &fed.segment;
    let mut number = segment.first;
    for run in Runs::new(&segment.body).chain(Runs::new(&segment.set_off)) {
        match run.expect("runs are as they were written") {
            Run::Events(_, events) => {
                for message in events.iter() {
                    let PayloadRef::Bytes(payload) = message.expect("messages are as they were written").payload else {
                        panic!("payloads are bytes here")
                    };
                    let is_void = segment.voids.contains(&((number - segment.first) as u32));
                    let text = String::from_utf8(payload.to_vec()).expect("payloads are texts here");
                    into.push(Logged { number, text, is_void });
                    number += 1;
                }
            }
            Run::Command(_) => {
                into.push(Logged { number, text: String::new(), is_void: true });
                number += 1;
            }
            Run::Gap(count) => number += u64::from(count),
        }
    }
}
