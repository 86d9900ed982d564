//! What waits for the next commit of a storage.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::queue::envelope::{Envelope, NodeId, RoleMessage};
use crate::queue::segment::Segment;
use crate::queue::state::{Rows, RowsFailed};
use crate::queue::storage::Output;
use crate::store::state::StoreRows;

/// What the next commit writes, and what has to wait for it.
#[derive(Default)]
pub(super) struct Pending {
    pub rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    pub segments: Vec<Segment>,
    /// Of segments.
    pub bytes: usize,
    /// Since when the first position waits that is applied with it.
    pub applied_at: Option<Instant>,
    /// What the role wants done then.
    pub held: Vec<Output>,
}

impl Pending {
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.segments.is_empty() && self.held.is_empty()
    }

    /// Whether nobody waits for it.
    pub fn can_wait(&self) -> bool {
        self.held.iter().all(|held| told(held).is_some())
    }

    /// A position of so many bytes is applied.
    pub fn applied(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.applied_at.get_or_insert_with(Instant::now);
    }

    /// Of what a disk has applied, only the last word counts.
    pub fn hold(&mut self, output: Output) {
        if let Some(sync) = told(&output) {
            self.held.retain(|held| told(held) != Some(sync));
        }
        self.held.push(output);
    }
}

/// The sync that is told how far the disk is.
fn told(output: &Output) -> Option<&NodeId> {
    match output {
        Output::Send(Envelope { to, message: RoleMessage::Applied { .. }, .. }) => Some(to),
        _ => None,
    }
}

/// Rows as they will be behind what is pending.
pub(super) struct PendingRows<'a> {
    pub pending: &'a BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    pub store: StoreRows<'a>,
}

impl Rows for PendingRows<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, RowsFailed> {
        match self.pending.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.store.get(key),
        }
    }
}
