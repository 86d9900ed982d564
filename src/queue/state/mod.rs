//! The state that the log decides: numbers, keys, locks, waits, wills, persistent sessions, cursors.
//!
//! It is a function of the log up to a position: applying the same segments and commands gives the same state, rows and outcomes
//! on every node. What must survive is put out as rows; what is needed at every step is kept in memory and can be loaded from
//! the rows again.

use super::outcome::Outcome;
use super::segment::Segment;

/// Reads rows of the store that are not in memory (values of keys).
pub trait Rows {
    /// The row as the last commit left it.
    ///
    /// # Errors
    /// The store cannot be read: nothing of what is being applied may be committed.
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, RowsFailed>;
}

/// See [`Rows::get`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the state: {0}")]
pub struct RowsFailed(pub String);

/// What one position of the log did.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// To be stored and fed to subscribers; without numbers if there was nothing to number.
    pub segment: Segment,
    /// To be stored together with it. No key twice.
    pub rows: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// What became of messages of the body that are not simply in the log, by offset (from 0), in order.
    pub exceptions: Vec<(u32, Outcome)>,
    /// What became of earlier messages that were waiting: [`Outcome::Granted`] and [`Outcome::Ended`].
    pub later: Vec<Outcome>,
    /// What the node has to follow, in order.
    pub changes: Vec<Change>,
}

/// A change of durable state that entries have to know of.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A persistent session expired, or was replaced by a clean one.
    SessionEnded { realm: String, client_id: String, session: u64 },
    /// A lock went from hand to hand, for `fennec.lock.list` and metrics: who holds the key now.
    LockHeld { realm: String, topic: String, session: Option<u64> },
}
