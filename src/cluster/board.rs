//! Where the roles of a process say how they are, for whoever looks.
//!
//! What they count as they go is there, too ([`Counts`]).
//!
//! Each posts now and then while it works; nobody waits for one. What is old was left by a role that hangs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::counts::Counts;
use super::status::{NodeStatus, Report, ms};
use crate::queue::envelope::NodeId;

/// How often a role posts.
const EVERY: Duration = Duration::from_millis(100);

/// See the module. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Board(Arc<[(NodeId, Place)]>);

/// The place of one node on a board. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Place {
    said: Arc<Mutex<Option<(Instant, Report)>>>,
    /// In all its lives.
    pub counts: Arc<Counts>,
}

/// The hand that posts.
#[derive(Debug)]
pub struct Post {
    place: Place,
    /// When it is due again.
    due: Option<Instant>,
}

impl Board {
    pub fn new(nodes: &[NodeId]) -> Self {
        Self(nodes.iter().map(|node| (node.clone(), Place::default())).collect())
    }

    /// The place of a node; one that nobody sees if the node is none of this process.
    pub fn place(&self, node: &NodeId) -> Place {
        let place = self.0.iter().find(|(own, _)| own == node);
        place.map(|(_, place)| place.clone()).unwrap_or_default()
    }

    /// The nodes of the process and their places.
    pub fn places(&self) -> impl Iterator<Item = &(NodeId, Place)> {
        self.0.iter()
    }

    /// What is posted.
    pub fn read(&self) -> Vec<NodeStatus> {
        let status = |(node, place): &(NodeId, Place)| {
            let (age_ms, report) = place.said.lock().clone().map(|(at, report)| (ms(at.elapsed()), report)).unzip();
            NodeStatus { node: node.clone(), age_ms, report }
        };
        self.0.iter().map(status).collect()
    }
}

impl Place {
    /// A hand that posts here.
    pub fn post(&self) -> Post {
        Post { place: self.clone(), due: None }
    }

    /// Takes away what was posted: the role has not begun anew.
    pub fn clear(&self) {
        *self.said.lock() = None;
    }
}

impl Post {
    /// Posts if that is due.
    pub fn post(&mut self, report: impl FnOnce() -> Report) {
        let now = Instant::now();
        if self.due.is_none_or(|due| now >= due) {
            self.due = Some(now + EVERY);
            *self.place.said.lock() = Some((now, report()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::sync::SyncReport;

    #[test]
    fn the_last_word_of_each_node_is_on_the_board() {
        let (s1, n1) = (NodeId::sync("S1"), NodeId::storage("N1"));
        let board = Board::new(&[s1.clone(), n1]);
        let report = |position| Report::Sync(SyncReport { position, ..SyncReport::default() });
        let mut post = board.place(&s1).post();
        post.post(|| report(1));
        post.post(|| report(2));
        let read = board.read();
        assert_eq!(read[0].report, Some(report(1)), "the second was not due");
        assert!(read[0].age_ms.is_some() && read[1].age_ms.is_none() && read[1].report.is_none());
        board.place(&s1).clear();
        assert_eq!(board.read()[0].report, None);
        board.place(&NodeId::sync("S9")).post().post(|| report(3));
        assert_eq!(board.read().len(), 2);
    }
}
