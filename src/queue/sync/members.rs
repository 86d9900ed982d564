//! The first table of members: made once, when all syncs and storages are there for the first time.
//!
//! ```text
//! store ids of all, all empty -> PLEDGED(table), on disk -> all syncs pledged the same -> founded: position 1 may be voted
//! ```
//!
//! A disk pledges once. So there is one first table, and a disk that was lost meanwhile is not in it: it can not be mistaken for one
//! that was there. If one is lost between the pledges, they differ and no cluster comes to be: begin again with empty disks.

use std::collections::BTreeMap;

use super::Table;
use crate::queue::envelope::{NodeId, Role};
use crate::queue::quorum::{Member, Members, StoreId};

/// What is known of a cluster that is not founded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Founding {
    /// Who has to be there. Its store ids mean nothing.
    nodes: Members,
    /// Those who are: empty disks.
    stores: BTreeMap<NodeId, StoreId>,
    /// Tables that syncs have pledged.
    pledged: BTreeMap<NodeId, Members>,
}

impl Founding {
    pub fn new(node: &NodeId, store: StoreId, nodes: Members) -> Self {
        Self { nodes, stores: BTreeMap::from([(node.clone(), store)]), pledged: BTreeMap::new() }
    }

    /// We pledged this before a restart.
    pub fn pledge_again(&mut self, node: &NodeId, table: Members) {
        self.pledged.insert(node.clone(), table);
    }

    /// What we have pledged.
    pub fn pledged(&self, node: &NodeId) -> Option<&Members> {
        self.pledged.get(node)
    }

    /// A storage tells how far it is.
    pub fn storage(&mut self, node: &NodeId, store: StoreId, position: u64) {
        if node.role == Role::Storage && position == 0 {
            self.stores.insert(node.clone(), store);
        } else {
            self.stores.remove(node);
        }
    }

    /// A sync tells who it is.
    pub fn sync(&mut self, node: &NodeId, store: StoreId, table: &Table) {
        self.stores.insert(node.clone(), store);
        match table {
            Table::Pledged(table) => drop(self.pledged.insert(node.clone(), table.clone())),
            Table::Unknown => drop(self.pledged.remove(node)),
            // It heard of all pledges before us. Its own was the same, and it will not be told again.
            Table::Founded => {}
        }
    }

    /// The table to pledge, if all are there and we have not pledged.
    pub fn pledge(&mut self, node: &NodeId) -> Option<Members> {
        if self.pledged.contains_key(node) {
            return None;
        }
        let table = self.table()?;
        self.pledged.insert(node.clone(), table.clone());
        Some(table)
    }

    /// The table that all have pledged.
    pub fn founded(&self, node: &NodeId) -> Option<&Members> {
        let table = self.pledged(node)?;
        table.syncs.iter().all(|member| self.pledged.get(&member.node) == Some(table)).then_some(table)
    }

    fn table(&self) -> Option<Members> {
        let known = |group: &Vec<Member>| -> Option<Vec<Member>> {
            let with_store =
                |member: &Member| Some(Member { node: member.node.clone(), store: *self.stores.get(&member.node)? });
            group.iter().map(with_store).collect()
        };
        let slots = self.nodes.slots.iter().map(known).collect::<Option<_>>()?;
        Some(Members { syncs: known(&self.nodes.syncs)?, slots, storage_quorum: self.nodes.storage_quorum })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pledge_holds_when_its_sync_is_founded_before_us() {
        let member =
            |role, name: &str, store| Member { node: NodeId { role, name: name.into() }, store: StoreId(store) };
        let table = Members {
            syncs: vec![member(Role::Sync, "S1", 1), member(Role::Sync, "S2", 2), member(Role::Sync, "S3", 3)],
            slots: vec![vec![member(Role::Storage, "N1", 4)]],
            storage_quorum: 1,
        };
        let [s1, s2, s3] = [0, 1, 2].map(|at: usize| table.syncs[at].node.clone());
        let mut founding = Founding::new(&s1, StoreId(1), table.clone());
        founding.storage(&table.slots[0][0].node, StoreId(4), 0);
        founding.sync(&s2, StoreId(2), &Table::Pledged(table.clone()));
        founding.sync(&s3, StoreId(3), &Table::Unknown);
        assert_eq!(founding.pledge(&s1), Some(table.clone()));
        founding.sync(&s2, StoreId(2), &Table::Founded);
        assert_eq!(founding.founded(&s1), None);
        founding.sync(&s3, StoreId(3), &Table::Pledged(table.clone()));
        assert_eq!(founding.founded(&s1), Some(&table));
    }
}
