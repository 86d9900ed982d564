//! What is known of all that happened, and whether it is as it must be.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use fennec::queue::envelope::{Elected, NodeId, Resolution, RoleMessage, SegmentId};
use fennec::queue::message::{Run, Runs};
use fennec::queue::quorum::{Members, StoreId};
use fennec::queue::relay;
use fennec::queue::segment::Segment;
use fennec::queue::sync::Record;
use fennec::types::payload::PayloadRef;

use crate::clients::{NEWS_MAX, is_news};
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
    log: BTreeMap<u64, Bytes>,
    resolutions: BTreeMap<u64, Resolution>,
    /// What readers have to see.
    shown: BTreeMap<u64, String>,
    /// The first table of members, if there is one.
    pub first: Option<Members>,
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
    /// Storages, and names of their disks, of which a sync has heard less than before in this life.
    pub forgotten: BTreeSet<(NodeId, StoreId, NodeId, u32)>,
    pub grants: u64,
    /// Messages that need not stay and are available no more, of each storage.
    pub given_up: u64,
}

/// A message of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Logged {
    pub number: u64,
    pub text: String,
    pub is_void: bool,
}

impl Logged {
    fn is_shown(&self) -> bool {
        !self.is_void && !self.text.is_empty()
    }
}

impl Facts {
    /// 5. Resume is exact: somebody has read all numbers behind `after` up to `until`.
    pub fn read(&self, reader: usize, (after, until): (u64, u64), read: &[Logged]) {
        let read: Vec<_> = read.iter().filter(|message| message.is_shown()).map(|m| (&m.number, &m.text)).collect();
        let log: Vec<_> = self.shown.range(after + 1..until + 1).collect();
        assert_eq!(read, log, "reader {reader} read something else behind {after}, up to {until}");
    }

    /// 7. Of what publishers have said, no more is given up than need not stay: whole segments, as long as there is too much.
    pub fn check_kept(&mut self, node: &NodeId, first: u64) {
        let news = |range: std::ops::Range<u64>| self.shown.range(range).filter(|(_, text)| is_news(text));
        let (given_up, kept) = (news(0..first).count() as u64, news(first..u64::MAX).count() as u64);
        self.given_up += given_up;
        let Some((last, _)) = news(0..first).next_back() else { return };
        let segments = self.log.values().map(|fed| relay::read_fed(fed).expect("it is as it was written").segment);
        let mut ranges = segments.map(|segment| segment.first..segment.first + u64::from(segment.count));
        let range = ranges.find(|range| range.contains(last)).expect("it is in the log");
        let there_was = kept + news(range).count() as u64;
        assert!(there_was > NEWS_MAX, "{node} has {kept} news from {first} on, and had {there_was} before that");
    }

    /// 7. A disk has all that is said to be there.
    pub fn check_disk(&self, node: &NodeId, first: u64, on_disk: &[Logged]) {
        let on_disk: Vec<_> = on_disk.iter().filter(|message| message.is_shown()).collect();
        let on_disk: Vec<_> = on_disk.into_iter().map(|message| (&message.number, &message.text)).collect();
        let log: Vec<_> = self.shown.range(first..).collect();
        assert_eq!(on_disk, log, "{node} has something else from {first} on");
    }

    /// 1. Agreement.
    pub fn decision(&mut self, node: &NodeId, first: u64, elected: &Elected) {
        for (position, elected) in elected.clone().apart(first) {
            self.place(node, position, &elected);
        }
    }

    fn place(&mut self, node: &NodeId, position: u64, elected: &Elected) {
        self.decided = self.decided.max(position);
        if let Elected::Segment(draft) = elected {
            let first = *self.segments.entry(draft.id.clone()).or_insert(position);
            assert_eq!(first, position, "{node}: {:?} has two positions", draft.id);
        }
        let known = self.positions.entry(position).or_insert_with(|| elected.clone());
        assert_eq!(known, elected, "{node}: position {position} is taken twice");
    }

    /// A sync is about to write this.
    pub fn record(&mut self, node: &NodeId, record: &Record) {
        match record {
            Record::Decided { position, elected, .. } => self.decision(node, *position, elected),
            Record::Order(order) if order.position == 0 => {
                let first = self.first.get_or_insert_with(|| order.members.clone());
                assert!(*first == order.members, "{node} begins with another first table");
            }
            _ => {}
        }
    }

    /// Somebody says this: what it tells as a fact is one.
    pub fn said(&mut self, from: &NodeId, message: &RoleMessage) {
        match message {
            RoleMessage::ElectSegment { position, elected } => self.decision(from, *position, elected),
            RoleMessage::AdvanceSegmentResolved { position, resolution, .. } => {
                let known = self.resolutions.entry(*position).or_insert_with(|| resolution.clone());
                assert_eq!(known, resolution, "{from} tells something else of position {position}");
            }
            RoleMessage::Feed { position, segment } => self.fed(from, *position, segment),
            _ => {}
        }
    }

    /// The state is the same everywhere.
    pub fn applied(&mut self, node: &NodeId, position: u64, fed: &Bytes) {
        if let Some(known) = self.log.get(&position) {
            assert!(known == fed, "{node} made something else of position {position}");
            return;
        }
        self.log.insert(position, fed.clone());
        let mut messages = Vec::new();
        messages_of(&relay::read_fed(fed).expect("what is fed is as it was written").segment, &mut messages);
        self.shown.extend(messages.into_iter().filter(Logged::is_shown).map(|shown| (shown.number, shown.text)));
    }

    /// 5. No late arrivals: entries are fed the log as it is.
    fn fed(&self, node: &NodeId, position: u64, segment: &Bytes) {
        assert_eq!(self.log.get(&position), Some(segment), "{node} feeds another position {position}");
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

    /// Number of the last message.
    pub fn last_number(&self) -> u64 {
        let last = self.log.last_key_value().map(|(_, fed)| relay::read_fed(fed).expect("it is as it was written"));
        last.map_or(0, |fed| fed.segment.first + u64::from(fed.segment.count) - 1)
    }

    /// Of the log, what stands at positions of which the end is known, from this number on.
    pub fn messages(&self) -> Vec<Logged> {
        let mut messages = Vec::new();
        for fed in self.log.values() {
            let fed = relay::read_fed(fed).expect("what is fed is as it was written");
            messages_of(&fed.segment, &mut messages);
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
pub fn messages_of(segment: &Segment, into: &mut Vec<Logged>) {
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
