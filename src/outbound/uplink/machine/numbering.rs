//! Numbers of what is sent, and what the answer of the other end means for them.
//!
//! ```text
//!   S - P            S = sequence
//!     | kept: P items | ahead: numbered, not accepted yet
//!     '---------------+----------------------------------
//! ```
//!
//! Descends from Landscape's message store: the last accepted batch is kept until the next is accepted, so that a peer that lost it
//! gets it again. Items are event numbers, never copies. They are recorded before they are sent, so whatever number was ever sent is
//! the same message after a restart; a peer that knows more than that has met another life of this store.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::wire::Ack;

/// What has a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Item {
    /// The event of this number of the log.
    Event(u64),
    /// The retained value of a key, in a snapshot; an MQTT topic name.
    Value(String),
    /// Events behind the first number and up to the second may be lost, for they were kept as long as was allowed.
    Gap { after: u64, until: u64 },
}

/// See the module. The default has no epoch yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbering {
    /// 0: none yet. Later ones are greater.
    epoch: u64,
    /// Number of the first of `ahead`, or of the next item.
    sequence: u64,
    /// What was accepted last.
    kept: VecDeque<Item>,
    /// What is to be sent.
    ahead: VecDeque<Item>,
    /// The peer is to begin this epoch.
    begins: bool,
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// So many more were accepted.
    Accepted(u64),
    /// Nothing changes.
    Same,
    /// The peer lost so many that it had accepted: they are sent again.
    Rewound(u64),
    /// A new epoch begins with all that is there: the peer gets a snapshot of retained values first.
    Resync(Why),
}

/// Why a new epoch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is the first.
    First,
    /// The peer knows nothing of this one: its store is new.
    PeerIsNew,
    /// The peer knows another one: the store here is new or an old copy, or the peer's.
    OtherEpoch,
    /// The peer expects a number that was never given: it is wrong, or the store here is an old copy.
    TooHigh,
    /// The peer asks for what is no longer kept: its store is an old copy.
    TooOld,
}

impl Why {
    /// Whether something is wrong, beyond a beginning.
    pub fn is_alarm(self) -> bool {
        self != Why::First
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Why::First => "it is the first exchange",
            Why::PeerIsNew => "the other end knows nothing of this uplink: its store is new",
            Why::OtherEpoch => "the other end knows another epoch: one of the stores was replaced or restored",
            Why::TooHigh => {
                "the other end expects a number that was never given: a store was restored, or the other end is wrong"
            }
            Why::TooOld => "the other end asks for what is no longer kept: its store was restored",
        }
    }
}

impl Numbering {
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// S: the number of the next to be sent.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// P: how many are kept before S.
    pub fn pending_offset(&self) -> u64 {
        self.kept.len() as u64
    }

    /// Whether the peer still has to begin this epoch.
    pub fn begins(&self) -> bool {
        self.begins
    }

    /// What is numbered from S on.
    pub fn ahead(&self) -> &VecDeque<Item> {
        &self.ahead
    }

    /// All that may have to be sent, in order of numbers.
    pub fn all(&self) -> impl Iterator<Item = &Item> {
        self.kept.iter().chain(&self.ahead)
    }

    /// Numbers one more.
    pub fn add(&mut self, item: Item) {
        self.ahead.push_back(item);
    }

    /// Puts another item in the place of one that is ahead.
    pub fn replace(&mut self, at: usize, item: Item) {
        if let Some(place) = self.ahead.get_mut(at) {
            *place = item;
        }
    }

    /// Takes the next expected number N of the peer. `now_ms` is where a new epoch is drawn from.
    pub fn hear(&mut self, answer: Ack, now_ms: u64) -> Verdict {
        let Ack { epoch, next } = answer;
        if self.epoch == 0 {
            return self.renew(answer, now_ms, if epoch == 0 { Why::First } else { Why::OtherEpoch });
        }
        if epoch != self.epoch {
            if self.begins && epoch < self.epoch {
                // It was not asked to begin yet.
                return Verdict::Same;
            }
            return self.renew(answer, now_ms, if epoch == 0 { Why::PeerIsNew } else { Why::OtherEpoch });
        }
        self.begins = false;
        let (sequence, offset) = (self.sequence, self.pending_offset());
        if next > sequence + self.ahead.len() as u64 {
            self.kept.clear();
            return self.renew(answer, now_ms, Why::TooHigh);
        }
        if next > sequence {
            return self.accept(next - sequence);
        }
        if next == sequence {
            return Verdict::Same;
        }
        if next >= sequence - offset {
            return self.rewind(sequence - next);
        }
        self.renew(answer, now_ms, Why::TooOld)
    }

    /// N > S: the batch before is deleted, P = N - S, S = N.
    fn accept(&mut self, count: u64) -> Verdict {
        self.kept = self.ahead.drain(..count as usize).collect();
        self.sequence += count;
        Verdict::Accepted(count)
    }

    /// S - P <= N < S: P += N - S, S = N.
    fn rewind(&mut self, count: u64) -> Verdict {
        for _ in 0..count {
            if let Some(item) = self.kept.pop_back() {
                self.ahead.push_front(item);
            }
        }
        self.sequence -= count;
        Verdict::Rewound(count)
    }

    /// P = 0, S = N, in a new epoch; the oldest that is kept is sent first.
    fn renew(&mut self, answer: Ack, now_ms: u64, why: Why) -> Verdict {
        self.epoch = now_ms.max(answer.epoch.saturating_add(1)).max(self.epoch.saturating_add(1));
        let mut all = std::mem::take(&mut self.kept);
        all.append(&mut self.ahead);
        // A snapshot that was under way begins anew.
        all.retain(|item| !matches!(item, Item::Value(_)));
        self.ahead = all;
        self.sequence = answer.next;
        self.begins = true;
        Verdict::Resync(why)
    }
}
