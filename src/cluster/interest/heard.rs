//! Which of the changes that were told all linked entries have heard of.

use std::collections::{BTreeMap, VecDeque};

use crate::queue::envelope::NodeId;

/// Counts what was told and heard.
#[derive(Debug, Default)]
pub struct Hearing {
    /// Version that was told, and the change up to which it tells all; ascending.
    told: VecDeque<(u64, u64)>,
    /// Of each linked entry the version that it has heard of.
    heard: BTreeMap<NodeId, u64>,
    /// All up to this change is told or was nothing to tell.
    change: u64,
}

impl Hearing {
    /// All up to `change` is told by `version`, the last.
    pub fn told(&mut self, version: u64, change: u64) {
        if self.change < change {
            self.change = change;
            self.told.push_back((version, change));
        }
    }

    pub fn connected(&mut self, node: &NodeId) {
        self.heard.insert(node.clone(), 0);
    }

    pub fn disconnected(&mut self, node: &NodeId) {
        self.heard.remove(node);
    }

    pub fn hear(&mut self, node: &NodeId, version: u64) {
        if let Some(heard) = self.heard.get_mut(node) {
            *heard = version.max(*heard);
        }
    }

    /// The change up to which all that are linked know everything, if that is news.
    pub fn take(&mut self) -> Option<u64> {
        let all = self.heard.values().copied().min().unwrap_or(u64::MAX);
        let mut last = None;
        while let Some((_, change)) = self.told.pop_front_if(|(version, _)| *version <= all) {
            last = Some(change);
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_heard_of_when_all_linked_entries_have_the_version_that_tells_it() {
        let mut hearing = Hearing::default();
        let (one, two) = (NodeId::entry("E1"), NodeId::entry("E2"));
        hearing.told(1, 3);
        assert_eq!(hearing.take(), Some(3), "nobody is there to be told");
        hearing.connected(&one);
        hearing.connected(&two);
        hearing.told(2, 4);
        hearing.told(2, 5);
        hearing.hear(&one, 2);
        assert_eq!(hearing.take(), None);
        hearing.hear(&two, 2);
        assert_eq!((hearing.take(), hearing.take()), (Some(5), None));
        hearing.told(3, 6);
        hearing.hear(&two, 3);
        hearing.disconnected(&one);
        assert_eq!(hearing.take(), Some(6), "who is gone is told anew");
    }
}
