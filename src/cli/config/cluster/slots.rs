//! Which storages keep what, and how many of them are enough.

use super::check::ClusterCheck;
use crate::cluster::config::Process;
use crate::queue::envelope::{NodeId, Role};

/// So many storages are one slot without a word: more may be meant to share the work.
const ONE_SLOT_MAX: usize = 3;

impl ClusterCheck<'_> {
    /// The storages of each slot; none if they cannot be made.
    pub(super) fn slots(&mut self, processes: &[Process]) -> Vec<Vec<NodeId>> {
        let nodes = || processes.iter().flat_map(|process| &process.nodes);
        let storages: Vec<NodeId> = nodes().filter(|node| node.role == Role::Storage).cloned().collect();
        match &self.file.slots {
            Some(written) => self.named_slots(written, &storages),
            None => self.counted_slots(storages),
        }
    }

    fn named_slots(&mut self, written: &[Vec<String>], storages: &[NodeId]) -> Vec<Vec<NodeId>> {
        let mut slots: Vec<Vec<NodeId>> = Vec::new();
        for (index, ids) in written.iter().enumerate() {
            let key = if written.len() == 1 { "slots".to_owned() } else { format!("slots[{index}]") };
            let mut slot = Vec::new();
            for id in ids {
                match storages.iter().find(|node| *node.name == **id) {
                    None => self.wrong(&key, format!("there is no ndb {id:?}")),
                    Some(node) if slot.contains(node) => self.wrong(&key, format!("{id:?} is there twice")),
                    Some(node) => slot.push(node.clone()),
                }
            }
            if ids.is_empty() {
                self.wrong(&key, "has no storage");
            }
            if ids.len() != written[0].len() {
                self.wrong(
                    &key,
                    format!(
                        "has {} storages, and slots[0] has {}: all must have the same number",
                        ids.len(),
                        written[0].len()
                    ),
                );
            }
            slots.push(slot);
        }
        match written.first() {
            None => self.wrong("slots", "there is no slot"),
            Some(first) => {
                if let Some(copies) = self.file.copies.filter(|copies| *copies as usize != first.len()) {
                    self.wrong(
                        "copies",
                        format!("is {copies}, and the slots have {} storages: leave one of them out", first.len()),
                    );
                }
            }
        }
        let spare: Vec<&str> = storages
            .iter()
            .filter(|node| !slots.iter().flatten().any(|one| one == *node))
            .map(|node| &*node.name)
            .collect();
        if !spare.is_empty() {
            self.warn("slots", format!("{} in no slot: nothing is kept there", is_or_are(&spare)));
        }
        slots
    }

    fn counted_slots(&mut self, storages: Vec<NodeId>) -> Vec<Vec<NodeId>> {
        let count = storages.len();
        let copies = match self.file.copies {
            None if count > ONE_SLOT_MAX => {
                let what =
                    format!("there are {count} storages: say copies (how many of them keep each message) or slots");
                self.wrong("process", what);
                return Vec::new();
            }
            None => count,
            Some(0) => {
                self.wrong("copies", "must be at least 1");
                return Vec::new();
            }
            Some(copies) => copies as usize,
        };
        if count == 0 {
            return Vec::new();
        }
        if copies > count {
            self.wrong("copies", format!("is {copies}, and there are {count} storages"));
            return Vec::new();
        }
        if !count.is_multiple_of(copies) {
            self.wrong("copies", format!("{count} storages make no slots of {copies}: say slots"));
            return Vec::new();
        }
        storages.chunks(copies).map(<[NodeId]>::to_vec).collect()
    }

    /// How many storages of a slot are enough.
    pub(super) fn storage_quorum(&mut self, copies: usize) -> u32 {
        let copies = copies as u32;
        let quorum = self.file.storage_quorum.unwrap_or(copies / 2 + 1);
        // Without slots something else is wrong.
        if copies == 0 {
            return quorum;
        }
        if !(1..=copies).contains(&quorum) {
            let key = if self.file.storage_quorum.is_some() { "storage_quorum" } else { "" };
            self.wrong(key, format!("is {quorum}, and a message has {copies} copies: must be from 1 to {copies}"));
        } else if quorum == 1 && copies > 1 {
            let what = "is 1: what is acknowledged may be on a single disk, and is lost with it";
            self.warn("storage_quorum", what);
        } else if quorum == copies && copies > 1 {
            self.warn(
                "storage_quorum",
                format!("is {quorum} of {copies}: while one storage is down, nothing is acknowledged"),
            );
        }
        quorum
    }
}

fn is_or_are(names: &[&str]) -> String {
    format!("{} {}", names.join(", "), if names.len() == 1 { "is" } else { "are" })
}
