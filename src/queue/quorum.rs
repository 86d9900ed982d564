//! Who takes part, and how many are enough.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::envelope::NodeId;

/// Random name of a storage's or sync's disk, made with each empty one: promises are a disk's, not a name's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StoreId(pub u128);

/// A node and the disk whose promises count.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member {
    pub node: NodeId,
    pub store: StoreId,
}

/// Who takes part in the order and keeps it. Changed by a MEMBERS command only, from the next position on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Members {
    pub syncs: Vec<Member>,
    /// The storages of each slot.
    pub slots: Vec<Vec<Member>>,
    /// Storages of a slot that must have a segment before it may be elected.
    pub storage_quorum: u32,
}

/// A table of members that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembersError {
    #[error("there is no sync")]
    NoSync,
    #[error("there is no slot of storages")]
    NoSlot,
    #[error("slot {slot} has {storages} storages: a quorum of {quorum} is not possible")]
    Quorum { slot: usize, storages: usize, quorum: u32 },
    #[error("{0} stands twice where it may stand once")]
    Twice(NodeId),
}

impl Members {
    /// One of each, in one process.
    pub fn solo(sync: NodeId, storage: NodeId) -> Self {
        let alone = |node| vec![Member { node, store: StoreId::default() }];
        Self { syncs: alone(sync), slots: vec![alone(storage)], storage_quorum: 1 }
    }

    /// # Errors
    /// What is wrong with it. Everything else here relies on a table without errors.
    pub fn check(&self) -> Result<(), MembersError> {
        if self.syncs.is_empty() {
            return Err(MembersError::NoSync);
        }
        if self.slots.is_empty() {
            return Err(MembersError::NoSlot);
        }
        for (slot, storages) in self.slots.iter().enumerate() {
            let possible = 1..=storages.len();
            if !possible.contains(&(self.storage_quorum as usize)) {
                return Err(MembersError::Quorum { slot, storages: storages.len(), quorum: self.storage_quorum });
            }
        }
        for group in self.slots.iter().chain([&self.syncs]) {
            let mut seen = BTreeSet::new();
            if let Some(member) = group.iter().find(|member| !seen.insert(&member.node)) {
                return Err(MembersError::Twice(member.node.clone()));
            }
        }
        Ok(())
    }

    /// Whether this table may come next after `before`: syncs may have other disks, but only one may come or go. So any two
    /// majorities of the two tables have a sync in common, and no entry can hold a lease by the one that is over by the other.
    pub fn may_follow(&self, before: &Members) -> bool {
        let only = |these: &Members, those: &Members| {
            let is_new = |member: &&Member| !those.syncs.iter().any(|other| other.node == member.node);
            these.syncs.iter().filter(is_new).count()
        };
        self.check().is_ok() && only(self, before) + only(before, self) <= 1
    }

    /// Whether it is the same table but for the order in which nodes stand.
    pub fn is_same(&self, other: &Members) -> bool {
        let sorted = |members: &Members| {
            let mut members = members.clone();
            members.slots.iter_mut().chain([&mut members.syncs]).for_each(|group| group.sort());
            members
        };
        sorted(self) == sorted(other)
    }

    /// Whether the disks are known. Those of a new cluster are not, until all are there: its table has the nodes alone.
    pub fn has_stores(&self) -> bool {
        self.syncs.iter().chain(self.slots.iter().flatten()).any(|member| member.store != StoreId::default())
    }

    /// The storages of a slot; none for a slot that is not.
    pub fn slot(&self, slot: u32) -> &[Member] {
        self.slots.get(slot as usize).map_or(&[], Vec::as_slice)
    }

    /// All storages, each once.
    pub fn storages(&self) -> BTreeSet<&Member> {
        self.slots.iter().flatten().collect()
    }

    /// How many syncs may be missing: f.
    pub fn sync_faults(&self) -> usize {
        self.syncs.len().saturating_sub(1) / 2
    }

    /// So many syncs are more than half. It is also n - f.
    pub fn sync_majority(&self) -> usize {
        self.syncs.len() / 2 + 1
    }

    /// Whether these nodes are a storage quorum of the slot.
    pub fn is_storage_quorum(&self, slot: u32, of: impl Fn(&Member) -> bool) -> bool {
        let count = self.slot(slot).iter().filter(|member| of(member)).count();
        count >= self.storage_quorum as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(syncs: &[&str], slots: &[&[&str]], storage_quorum: u32) -> Members {
        let member = |node| Member { node, store: StoreId(1) };
        Members {
            syncs: syncs.iter().map(|name| member(NodeId::sync(name))).collect(),
            slots: slots.iter().map(|slot| slot.iter().map(|name| member(NodeId::storage(name))).collect()).collect(),
            storage_quorum,
        }
    }

    #[track_caller]
    fn check(members: &Members, expected: Result<(), MembersError>) {
        assert_eq!(members.check(), expected);
    }

    #[test]
    fn a_table_that_cannot_work_is_an_error() {
        check(&members(&["S1"], &[&["N1"]], 1), Ok(()));
        check(&members(&["S1"], &[&["N1", "N2"], &["N2", "N3"]], 2), Ok(()));
        check(&members(&[], &[&["N1"]], 1), Err(MembersError::NoSync));
        check(&members(&["S1"], &[], 1), Err(MembersError::NoSlot));
        let quorum = |slot, storages, quorum| Err(MembersError::Quorum { slot, storages, quorum });
        check(&members(&["S1"], &[&["N1"]], 0), quorum(0, 1, 0));
        check(&members(&["S1"], &[&["N1", "N2"], &["N3"]], 2), quorum(1, 1, 2));
        check(&members(&["S1", "S1"], &[&["N1"]], 1), Err(MembersError::Twice(NodeId::sync("S1"))));
        check(&members(&["S1"], &[&["N1", "N1"]], 1), Err(MembersError::Twice(NodeId::storage("N1"))));
    }

    #[test]
    fn those_who_may_not_be_missing_are_a_majority() {
        for n in 1..=9 {
            let members = members(&vec!["S"; n], &[&["N1"]], 1);
            assert_eq!(members.sync_majority(), n - members.sync_faults(), "{n}");
            assert!(members.sync_majority() * 2 > n, "{n}");
        }
    }

    #[test]
    fn one_sync_comes_or_goes_at_a_time() {
        let table = |syncs: &[&str]| members(syncs, &[&["N1"]], 1);
        let before = table(&["S1", "S2", "S3"]);
        let check = |syncs: &[&str], expected| assert_eq!(table(syncs).may_follow(&before), expected, "{syncs:?}");
        check(&["S3", "S2", "S1"], true);
        check(&["S1", "S2", "S3", "S4"], true);
        check(&["S1", "S2"], true);
        check(&["S1", "S2", "S4"], false);
        check(&["S1"], false);
        check(&[], false);
        let mut replaced = before.clone();
        replaced.syncs.iter_mut().for_each(|member| member.store = StoreId(9));
        assert!(replaced.may_follow(&before), "disks are not nodes");
    }

    #[test]
    fn a_quorum_counts_storages_of_the_slot_only() {
        let members = members(&["S1"], &[&["N1", "N2", "N3"], &["N4", "N5", "N6"]], 2);
        let has = |names: &[&str]| {
            let nodes: Vec<NodeId> = names.iter().map(|name| NodeId::storage(name)).collect();
            members.is_storage_quorum(0, |member| nodes.contains(&member.node))
        };
        assert!(has(&["N1", "N3"]));
        assert!(!has(&["N1", "N4", "N5"]));
        assert!(!members.is_storage_quorum(7, |_| true));
    }
}
