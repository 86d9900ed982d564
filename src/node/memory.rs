//! Whether there is memory for more: what the process uses against what it may.
//!
//! Above its budget the node takes no connections, subscriptions, publications, registrations and calls, until it uses a tenth less. What frees memory
//! stays possible: clearing retained values, acknowledging, reading, going. If that is not enough, those who do not read what they
//! subscribed to are disconnected, the fullest first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Node;
use super::link::{End, Link};
use super::metrics::Limited;
use crate::types::topic::Topic;

/// Percent of the budget below which all is taken again.
const CALM_PERCENT: u64 = 90;
/// Who has less than this waiting is not worth disconnecting.
const WORTH_BYTES: usize = 64 * 1024;

/// See the module. Kept up to date by who reads the system's numbers, several times a second.
#[derive(Debug, Default)]
pub struct Memory {
    used: AtomicU64,
    /// 0: not known, so nothing is refused.
    budget: AtomicU64,
    tight: AtomicBool,
}

impl Memory {
    /// Takes new numbers, in bytes. Tells whether it changed that there is memory for more.
    pub fn note(&self, used: u64, budget: u64) -> bool {
        self.used.store(used, Ordering::Relaxed);
        self.budget.store(budget, Ordering::Relaxed);
        let was = self.tight.load(Ordering::Relaxed);
        let bound = if was { budget / 100 * CALM_PERCENT } else { budget };
        let is = budget > 0 && used > bound;
        self.tight.store(is, Ordering::Relaxed);
        was != is
    }

    /// Nothing more may be taken.
    pub fn is_tight(&self) -> bool {
        self.tight.load(Ordering::Relaxed)
    }

    /// `(used, budget)` in bytes, as last noted.
    pub fn read(&self) -> (u64, u64) {
        (self.used.load(Ordering::Relaxed), self.budget.load(Ordering::Relaxed))
    }

    /// Bytes that have to go before all is taken again.
    fn excess(&self) -> u64 {
        let (used, budget) = self.read();
        used.saturating_sub(budget / 100 * CALM_PERCENT)
    }
}

impl Node {
    /// Whether a request is to be refused because there is no memory for what it asks; that is counted.
    pub fn is_tight(&self) -> bool {
        let tight = self.memory.is_tight();
        self.metrics.limited(Limited::MemoryRequests, u64::from(tight));
        tight
    }

    /// The same of a call. The broker's own procedures are called all the same: those that take memory look for themselves, and others
    /// make room.
    pub fn is_tight_for(&self, procedure: &Topic) -> bool {
        !procedure.is_reserved() && self.is_tight()
    }

    /// Disconnects those for whom most waits, as many as it takes. To be called while memory is tight, not too often: what they had
    /// is free only when their connections have ended. Tells how many it were.
    pub fn shed(&self) -> usize {
        let mut fullest: Vec<(usize, Arc<Link>)> = Vec::new();
        for realm in self.realms() {
            for session in realm.sessions() {
                let mailbox = session.mailbox();
                let Some(online) = mailbox.online() else { continue };
                let waits = mailbox.outbox.bytes() + online.link.unwritten();
                if waits >= WORTH_BYTES && online.link.asked_to_end().is_none() {
                    fullest.push((waits, online.link.clone()));
                }
            }
        }
        fullest.sort_by_key(|(waits, _)| std::cmp::Reverse(*waits));
        let (mut excess, mut count) = (self.memory.excess(), 0);
        for (waits, link) in fullest {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(waits as u64);
            count += 1;
            link.end(End::SlowConsumer);
        }
        self.metrics.limited(Limited::MemoryShed, count as u64);
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tight_stays_so_until_a_tenth_is_free() {
        let memory = Memory::default();
        assert!(!memory.note(100, 0) && !memory.is_tight(), "without a budget nothing is refused");
        assert!(!memory.note(1000, 1000) && !memory.is_tight());
        assert!(memory.note(1001, 1000) && memory.is_tight());
        assert!(!memory.note(950, 1000) && memory.is_tight());
        assert_eq!(memory.excess(), 50);
        assert!(memory.note(900, 1000) && !memory.is_tight());
        assert!(!memory.note(1000, 1000) && !memory.is_tight());
        assert!(memory.note(1000, 900) && memory.is_tight(), "the budget may shrink, too");
    }
}
