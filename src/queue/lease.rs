//! Leases: how an entry that nobody hears of loses what its clients hold, and knows in time that it does.
//!
//! ```text
//! entry: RENEW(sent_us) -> every sync -> RENEWED(sent_us)    held for two thirds of the lease after *sending* what a majority answered
//! sync:  silent for the lease -> backs LOST(entry, incarnation), until it is heard again
//! ```
//!
//! The entry counts from before the syncs do, and stops a third of the lease before any of them may act: so nobody else holds a
//! lock while it still tells a client that it has it. A sync that has once backed LOST takes that back when it hears the entry,
//! but does not renew that life any more, for the others may be about to decide it: an entry that a majority refuses begins anew.
//! Clocks here are monotonic, of each process its own; they are compared with
//! themselves alone. Left out: what LOST does ([`super::state`]) and how syncs agree on it ([`super::sync`]).

use std::collections::{BTreeMap, BTreeSet};

use super::envelope::NodeId;
use super::quorum::Members;

/// The entry's side.
#[derive(Clone, Debug, Default)]
pub struct LeaseHolder {
    /// When the last RENEW was sent that each sync has answered.
    answered: BTreeMap<NodeId, u64>,
    /// Syncs that renew this life no more.
    refused: BTreeSet<NodeId>,
    /// When the next RENEW is due.
    next_us: u64,
    is_held: bool,
}

/// A sync's side.
#[derive(Clone, Debug, Default)]
pub struct LeaseWatch {
    lease_us: u64,
    entries: BTreeMap<NodeId, Watched>,
}

/// The life of an entry that a sync watches.
#[derive(Clone, Debug)]
struct Watched {
    incarnation: u64,
    /// When it was heard last.
    heard_us: u64,
    /// It was silent for the lease once.
    is_given_up: bool,
    /// The order has cut it.
    is_over: bool,
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

    /// The table of members has changed: syncs are to answer by the new one, at once.
    pub fn hurry(&mut self) {
        self.next_us = 0;
    }

    /// A sync has answered what was sent then.
    pub fn answered(&mut self, sync: &NodeId, sent_us: u64) {
        let last = self.answered.entry(sync.clone()).or_default();
        *last = sent_us.max(*last);
    }

    /// A sync does not renew this life any more. Whether it can never be held again.
    pub fn refused(&mut self, sync: &NodeId, members: &Members) -> bool {
        self.refused.insert(sync.clone());
        let refused = members.syncs.iter().filter(|member| self.refused.contains(&member.node)).count();
        refused > members.syncs.len() / 2
    }

    /// Whether clients may be told that they hold locks. `Some` if that has changed.
    pub fn update(&mut self, now_us: u64, lease_us: u64, members: &Members) -> Option<bool> {
        let is_held = self.is_held(now_us, lease_us, members);
        let has_changed = is_held != self.is_held;
        self.is_held = is_held;
        has_changed.then_some(is_held)
    }

    pub fn is_held(&self, now_us: u64, lease_us: u64, members: &Members) -> bool {
        self.left_us(now_us, lease_us, members) > 0
    }

    /// How long it will be held if no sync answers any more.
    pub fn left_us(&self, now_us: u64, lease_us: u64, members: &Members) -> u64 {
        let answered = |node: &NodeId| self.answered.get(node).copied();
        let mut sent: Vec<u64> = members.syncs.iter().filter_map(|member| answered(&member.node)).collect();
        sent.sort_unstable_by(|a, b| b.cmp(a));
        let majority = members.syncs.len() / 2;
        sent.get(majority).map_or(0, |sent_us| (sent_us + lease_us / 3 * 2).saturating_sub(now_us))
    }

    /// A new life begins without one.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

impl LeaseWatch {
    pub fn new(lease_us: u64) -> Self {
        Self { lease_us, entries: BTreeMap::new() }
    }

    /// The order knows this life of an entry since now, or it did when this sync started.
    pub fn begins(&mut self, now_us: u64, entry: &NodeId, incarnation: u64) {
        let begins = Watched { incarnation, heard_us: now_us, is_given_up: false, is_over: false };
        let watched = self.entries.entry(entry.clone()).or_insert_with(|| begins.clone());
        if watched.incarnation < incarnation {
            *watched = begins;
        }
    }

    /// RENEW. Whether it is to be answered: otherwise that life is refused.
    pub fn heard(&mut self, now_us: u64, entry: &NodeId, incarnation: u64) -> bool {
        self.begins(now_us, entry, incarnation);
        let watched =
            self.entries.get_mut(entry).filter(|watched| watched.incarnation == incarnation && !watched.is_over);
        let Some(watched) = watched else { return false };
        watched.is_given_up |= now_us >= watched.heard_us + self.lease_us;
        watched.heard_us = now_us;
        !watched.is_given_up
    }

    /// The table of members has changed: whoever is silent has to be so for a whole lease from now on. An entry that holds its lease by
    /// the answers of a majority of the table before is told of the new one within that time, or holds it no more.
    pub fn restart(&mut self, now_us: u64) {
        self.entries.values_mut().for_each(|watched| watched.heard_us = watched.heard_us.max(now_us));
    }

    /// The order has cut this life.
    pub fn ends(&mut self, entry: &NodeId, incarnation: u64) {
        if let Some(watched) = self.entries.get_mut(entry).filter(|watched| watched.incarnation <= incarnation) {
            (watched.incarnation, watched.is_over) = (incarnation, true);
        }
    }

    /// The lives that were silent for the lease: LOST is backed for these, and for no others.
    pub fn silent(&mut self, now_us: u64) -> Vec<(NodeId, u64)> {
        let lease_us = self.lease_us;
        let is_silent = |watched: &Watched| !watched.is_over && now_us >= watched.heard_us + lease_us;
        let silent = self.entries.iter_mut().filter(|(_, watched)| is_silent(watched));
        let given_up = silent.map(|(entry, watched)| {
            watched.is_given_up = true;
            (entry.clone(), watched.incarnation)
        });
        given_up.collect()
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
    fn a_silent_life_is_given_up_and_that_is_taken_back_when_it_is_heard() {
        let mut watch = LeaseWatch::new(LEASE_US);
        let (e1, e2) = (NodeId::entry("E1"), NodeId::entry("E2"));
        watch.begins(0, &e1, 7);
        assert!(watch.heard(10, &e2, 8));
        assert_eq!(watch.silent(LEASE_US - 1), []);
        assert_eq!(watch.silent(LEASE_US), [(e1.clone(), 7)]);
        assert!(!watch.heard(LEASE_US, &e1, 7), "others may be about to decide LOST");
        assert_eq!(watch.silent(LEASE_US + 10), [(e2.clone(), 8)]);
        watch.ends(&e2, 8);
        assert_eq!(watch.silent(LEASE_US + 10), []);
        assert!(!watch.heard(LEASE_US + 20, &e2, 8), "it is over");
        assert!(watch.heard(LEASE_US + 20, &e2, 9));
    }

    #[test]
    fn with_a_new_table_a_life_has_to_be_silent_for_a_lease_once_more() {
        let mut watch = LeaseWatch::new(LEASE_US);
        let e1 = NodeId::entry("E1");
        watch.begins(0, &e1, 7);
        assert_eq!(watch.silent(LEASE_US).len(), 1);
        watch.restart(LEASE_US);
        assert_eq!(watch.silent(2 * LEASE_US - 1), []);
        assert_eq!(watch.silent(2 * LEASE_US), [(e1.clone(), 7)]);
        assert!(!watch.heard(2 * LEASE_US, &e1, 7), "it was given up before");
    }

    #[test]
    fn a_life_that_most_syncs_refuse_is_over() {
        let (members, mut lease) = (members(3), LeaseHolder::default());
        assert!(!lease.refused(&NodeId::sync("S1"), &members));
        assert!(!lease.refused(&NodeId::sync("S1"), &members));
        assert!(!lease.refused(&NodeId::sync("S9"), &members));
        assert!(lease.refused(&NodeId::sync("S3"), &members));
    }

    #[test]
    fn an_earlier_life_does_not_speak_for_a_later_one() {
        let mut watch = LeaseWatch::new(LEASE_US);
        let entry = NodeId::entry("E1");
        watch.begins(0, &entry, 9);
        assert!(!watch.heard(LEASE_US, &entry, 4));
        assert_eq!(watch.silent(LEASE_US), [(entry.clone(), 9)]);
        watch.ends(&entry, 4);
        assert_eq!(watch.silent(LEASE_US).len(), 1);
    }
}
