//! What waits for the next commit of a storage.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;

use super::kept_key;
use crate::queue::envelope::{Draft, Envelope, NodeId, RoleMessage, SegmentId};
use crate::queue::segment::Segment;
use crate::queue::state::{Rows, RowsFailed, rows};
use crate::queue::storage::Output;
use crate::store::state::StoreRows;

/// What the next commit writes, and what has to wait for it.
#[derive(Default)]
pub(super) struct Pending {
    pub rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    pub segments: Vec<Segment>,
    /// Segments that are kept with it, and since when the first waits.
    kept: Vec<Draft>,
    pub kept_at: Option<Instant>,
    /// Since when the first position waits that is applied with it.
    pub applied_at: Option<Instant>,
    /// What the role wants done then.
    pub held: Vec<Output>,
}

impl Pending {
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.segments.is_empty() && self.kept_at.is_none() && self.held.is_empty()
    }

    /// Whether nobody waits for it, but for segments that are kept.
    pub fn can_wait(&self) -> bool {
        self.held.iter().all(|held| told(held).is_some())
    }

    pub fn keep(&mut self, segments: Vec<(Draft, Bytes)>) {
        for (draft, body) in segments {
            self.rows.insert(kept_key(&draft.id), Some(rows::encode(&(&draft, &body))));
            self.kept_at.get_or_insert_with(Instant::now);
            self.kept.push(draft);
        }
    }

    pub fn applied(&mut self) {
        self.applied_at.get_or_insert_with(Instant::now);
    }

    /// Segments are not wanted any more.
    pub fn drop_cut(&mut self, is_cut: impl Fn(&Draft) -> bool) {
        let cut: Vec<SegmentId> =
            self.kept.iter().filter(|draft| is_cut(draft)).map(|draft| draft.id.clone()).collect();
        cut.iter().for_each(|id| self.drop_kept(id));
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
