//! Leases: how an entry that nobody hears of loses what its clients hold, and knows in time that it does.
//!
//! ```text
//! entry: RENEW(sent_us) -> every sync -> RENEWED(sent_us)    held for two thirds of the lease after *sending* what a majority answered
//! sync:  silent for the lease -> backs LOST(entry, incarnation), until it is heard again
//! ```
//!
//! The entry counts from before the syncs do, and stops a third of the lease before any of them may act: so nobody else holds a
//! lock while it still tells a client that it has it. Clocks here are monotonic, of each process its own; they are compared with
//! themselves alone. Left out: what LOST does ([`super::state`]) and how syncs agree on it ([`super::sync`]).

use std::collections::BTreeMap;

use super::envelope::NodeId;
use super::quorum::Members;

/// The entry's side.
#[derive(Clone, Debug, Default)]
pub struct LeaseHolder {
    /// When the last RENEW was sent that each sync has answered.
    answered: BTreeMap<NodeId, u64>,
    /// When the next RENEW is due.
    next_us: u64,
    is_held: bool,
}

/// A sync's side.
#[derive(Clone, Debug, Default)]
pub struct LeaseWatch {
    lease_us: u64,
    /// The life of each entry, and when it was heard last.
    heard: BTreeMap<NodeId, (u64, u64)>,
}

impl LeaseHolder {
    /// Whether a RENEW is to be sent now; so it is six times in a lease.
    pub fn is_due(&mut self, now_us: u64, lease_us: u64) -> bool {
        let is_due = now_us >= self.next_us;
        if is_due {
            self.next_us = now_us + lease_us / 6;
        }
        is_due
    }

    /// A sync has answered what was sent then.
    pub fn answered(&mut self, sync: &NodeId, sent_us: u64) {
        let last = self.answered.entry(sync.clone()).or_default();
        *last = sent_us.max(*last);
    }

    /// Whether clients may be told that they hold locks. `Some` if that has changed.
    pub fn update(&mut self, now_us: u64, lease_us: u64, members: &Members) -> Option<bool> {
        let answered = |node: &NodeId| self.answered.get(node).copied();
        let mut sent: Vec<u64> = members.syncs.iter().filter_map(|member| answered(&member.node)).collect();
        sent.sort_unstable_by(|a, b| b.cmp(a));
        let majority = members.syncs.len() / 2;
        let is_held = sent.get(majority).is_some_and(|sent_us| now_us < sent_us + lease_us / 3 * 2);
        let has_changed = is_held != self.is_held;
        self.is_held = is_held;
        has_changed.then_some(is_held)
    }

    pub fn is_held(&self) -> bool {
        self.is_held
    }

    /// A new life begins without one.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

impl LeaseWatch {
    pub fn new(lease_us: u64) -> Self {
        Self { lease_us, heard: BTreeMap::new() }
    }

    /// The order knows this life of an entry since now, or it did when this sync started.
    pub fn begins(&mut self, now_us: u64, entry: &NodeId, incarnation: u64) {
        let (present, heard_us) = self.heard.entry(entry.clone()).or_insert((incarnation, now_us));
        if *present < incarnation {
            (*present, *heard_us) = (incarnation, now_us);
        }
    }

    /// RENEW. `false`: that is not a life to answer, for a later one is known.
    pub fn heard(&mut self, now_us: u64, entry: &NodeId, incarnation: u64) -> bool {
        self.begins(now_us, entry, incarnation);
        let Some((present, heard_us)) = self.heard.get_mut(entry) else { return false };
        if *present == incarnation {
            *heard_us = now_us;
        }
        *present == incarnation
    }

    /// The order has cut this life.
    pub fn ends(&mut self, entry: &NodeId, incarnation: u64) {
        if self.heard.get(entry).is_some_and(|(present, _)| *present <= incarnation) {
            self.heard.remove(entry);
        }
    }

    /// The lives that were silent for the lease: LOST is backed for these, and for no others.
    pub fn silent(&self, now_us: u64) -> impl Iterator<Item = (&NodeId, u64)> {
        let is_silent = move |heard_us: u64| now_us >= heard_us + self.lease_us;
        let silent = self.heard.iter().filter(move |(_, (_, heard_us))| is_silent(*heard_us));
        silent.map(|(entry, (incarnation, _))| (entry, *incarnation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::quorum::{Member, StoreId};

    const LEASE_US: u64 = 3_000_000;

    fn members(syncs: usize) -> Members {
        let sync = |n| Member { node: NodeId::sync(&format!("S{n}")), store: StoreId(0) };
        let storage = Member { node: NodeId::storage("N1"), store: StoreId(0) };
        Members { syncs: (1..=syncs).map(sync).collect(), slots: vec![vec![storage]], storage_quorum: 1 }
    }

    #[test]
    fn a_lease_counts_from_the_sending_of_what_a_majority_answered() {
        let (members, mut lease) = (members(3), LeaseHolder::default());
        assert!(lease.is_due(0, LEASE_US) && !lease.is_due(499_999, LEASE_US) && lease.is_due(500_000, LEASE_US));
        assert_eq!(lease.update(0, LEASE_US, &members), None, "it begins without");
        lease.answered(&NodeId::sync("S1"), 100);
        assert_eq!(lease.update(100, LEASE_US, &members), None);
        lease.answered(&NodeId::sync("S3"), 50);
        assert_eq!(lease.update(100, LEASE_US, &members), Some(true));
        lease.answered(&NodeId::sync("S3"), 20);
        assert_eq!(lease.update(2_000_049, LEASE_US, &members), None);
        assert_eq!(lease.update(2_000_050, LEASE_US, &members), Some(false));
        lease.answered(&NodeId::sync("S2"), 100);
        assert_eq!(lease.update(2_000_050, LEASE_US, &members), Some(true));
        lease.answered(&NodeId::sync("S9"), 5_000_000);
        assert_eq!(lease.update(2_000_100, LEASE_US, &members), Some(false), "S9 is no member");
    }

    #[test]
    fn a_silent_life_is_found_and_taken_back_when_it_is_heard() {
        let mut watch = LeaseWatch::new(LEASE_US);
        let (e1, e2) = (NodeId::entry("E1"), NodeId::entry("E2"));
        watch.begins(0, &e1, 7);
        assert!(watch.heard(10, &e2, 8));
        assert_eq!(watch.silent(LEASE_US - 1).count(), 0);
        assert_eq!(watch.silent(LEASE_US).collect::<Vec<_>>(), [(&e1, 7)]);
        assert!(watch.heard(LEASE_US, &e1, 7));
        assert_eq!(watch.silent(LEASE_US + 10).collect::<Vec<_>>(), [(&e2, 8)]);
        watch.ends(&e2, 8);
        assert_eq!(watch.silent(LEASE_US + 10).count(), 0);
    }

    #[test]
    fn an_earlier_life_does_not_speak_for_a_later_one() {
        let mut watch = LeaseWatch::new(LEASE_US);
        let entry = NodeId::entry("E1");
        watch.begins(0, &entry, 9);
        assert!(!watch.heard(LEASE_US, &entry, 4));
        assert_eq!(watch.silent(LEASE_US).collect::<Vec<_>>(), [(&entry, 9)]);
        watch.ends(&entry, 4);
        assert_eq!(watch.silent(LEASE_US).count(), 1);
    }
}
