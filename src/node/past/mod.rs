//! The past of the log, as subscribers ask for it: behind an event, from a time on, the last so many.
//!
//! ```text
//! Since --find (a reading thread)--> number to read on behind, and whether all from there on is still there
//! Query --read (a reading thread)--> events
//! ```
//!
//! Both read the store and so are [`History::ask`](super::log::history::History::ask)ed: the asker is told by a function.

mod find;
mod read;
mod since;
#[cfg(test)]
mod tests;

pub use find::{Found, Target};
pub use read::{Page, Past, Query, TIME_MAX_US, Viewer};
pub use since::{NotSince, Since};

use std::sync::Arc;

use super::Node;
use super::log::history::Busy;
use crate::store::{StoreError, StoreReader};

impl Node {
    /// Finds the place that `since` means for a target; `then` is called with it, perhaps on another thread.
    ///
    /// # Errors
    /// As many wait as may.
    pub fn find_since(
        self: &Arc<Self>,
        target: Target,
        since: Since,
        then: impl FnOnce(&Arc<Node>, Result<Found, StoreError>) + Send + 'static,
    ) -> Result<(), Busy> {
        self.ask_history(move |node, reader| then(node, find::find(reader, &node.log, &target, &since)))
    }

    /// Reads events of the past; `then` is called with them, perhaps on another thread.
    ///
    /// # Errors
    /// As many wait as may.
    pub fn read_past(
        self: &Arc<Self>,
        query: Query,
        then: impl FnOnce(&Arc<Node>, Result<Page, StoreError>) + Send + 'static,
    ) -> Result<(), Busy> {
        self.ask_history(move |node, reader| then(node, read::read(reader, node, &query)))
    }

    /// Has something read from the store, on another thread.
    ///
    /// # Errors
    /// As many wait as may.
    pub fn ask_store(
        self: &Arc<Self>,
        question: impl FnOnce(&mut dyn StoreReader) + Send + 'static,
    ) -> Result<(), Busy> {
        self.ask_history(move |_, reader| question(reader))
    }

    pub(super) fn ask_history(
        self: &Arc<Self>,
        question: impl FnOnce(&Arc<Node>, &mut dyn StoreReader) + Send + 'static,
    ) -> Result<(), Busy> {
        let node = Arc::downgrade(self);
        self.log.history.ask(Box::new(move |reader| {
            // A node that is gone has nobody who waits.
            if let Some(node) = node.upgrade() {
                question(&node, reader);
            }
        }))
    }
}
