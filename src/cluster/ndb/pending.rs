//! What waits for the next commit of a storage.

use std::collections::BTreeMap;

use super::kept_key;
use crate::queue::envelope::{Envelope, RoleMessage, SegmentId};
use crate::queue::segment::Segment;
use crate::queue::state::{Rows, RowsFailed};
use crate::queue::storage::Output;
use crate::store::state::StoreRows;

/// What the next commit writes, and what has to wait for it.
#[derive(Default)]
pub(super) struct Pending {
    pub rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    pub segments: Vec<Segment>,
    /// Segments are kept with it.
    pub keeps: bool,
    /// What the role wants done then.
    pub held: Vec<Output>,
}

impl Pending {
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.segments.is_empty() && !self.keeps && self.held.is_empty()
    }

    /// A segment that is not wanted any more. If it is only being kept now, it need not be.
    pub fn drop_kept(&mut self, id: &SegmentId) {
        let key = kept_key(id);
        if !matches!(self.rows.remove(&key), Some(Some(_))) {
            self.rows.insert(key, None);
        }
    }

    /// Of what a disk has applied, only the last word counts.
    pub fn hold(&mut self, output: Output) {
        let told = |output: &Output| match output {
            Output::Send(Envelope { to, message: RoleMessage::Applied { .. }, .. }) => Some(to.clone()),
            _ => None,
        };
        if let Some(sync) = told(&output) {
            self.held.retain(|held| told(held).as_ref() != Some(&sync));
        }
        self.held.push(output);
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
