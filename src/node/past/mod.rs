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
use crate::store::StoreError;

/// Why the past cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PastError {
    #[error(transparent)]
    Busy(#[from] Busy),
    #[error("the store {0}")]
    Store(#[from] StoreError),
}

impl Node {
    /// Finds the place that `since` means for a target; `then` is called with it, perhaps on another thread.
    pub fn find_since(
        self: &Arc<Self>,
        target: Target,
        since: Since,
        then: impl FnOnce(Result<Found, PastError>) + Send + 'static,
    ) {
        let node = Arc::downgrade(self);
        let then = Arc::new(parking_lot::Mutex::new(Some(then)));
        let tell = |then: &parking_lot::Mutex<Option<_>>, found| {
            if let Some(then) = then.lock().take() {
                let then: Box<dyn FnOnce(Result<Found, PastError>)> = Box::new(then);
                then(found);
            }
        };
        let later = then.clone();
        let asked = self.log.history.ask(Box::new(move |reader| {
            // A node that is gone has nobody who waits.
            let Some(node) = node.upgrade() else { return };
            tell(&later, find::find(reader, &node.log, &target, &since).map_err(PastError::from));
        }));
        if let Err(busy) = asked {
            tell(&then, Err(busy.into()));
        }
    }

    /// Reads events of the past; `then` is called with them, perhaps on another thread.
    pub fn read_past(
        self: &Arc<Self>,
        query: Query,
        then: impl FnOnce(&Arc<Node>, Result<Page, PastError>) + Send + 'static,
    ) -> Result<(), Busy> {
        let node = Arc::downgrade(self);
        self.log.history.ask(Box::new(move |reader| {
            let Some(node) = node.upgrade() else { return };
            let page = read::read(reader, &node, &query).map_err(PastError::from);
            then(&node, page);
        }))
    }
}
