//! Copies of the log: for peers that are far behind, and of peers.

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::recent::Recent;
use super::{LIFE, MEMBERS, Ndb, NdbError, decode, is_copied, read_all};
use crate::queue::envelope::{NodeId, RoleMessage};
use crate::queue::segment::Segment;
use crate::queue::state::rows;
use crate::queue::storage::{Output, Start};
use crate::store::state::load;
use crate::store::{Commit, Row, StoreError, StoreReader, each_row};

/// Headers that are read at a time.
const HEADERS: usize = 4096;

pub(super) struct CopyIn {
    pub number: u32,
    pub part: Bytes,
    pub last: Option<u64>,
}

/// A copy that a peer gets: rows as they were when it began, and the segments up to then.
pub(super) struct CopyOut {
    position: u64,
    rows: VecDeque<Row>,
    /// The number from which on segments follow; `None`: there are no more.
    next: Option<u64>,
    until: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Part {
    rows: Vec<(Bytes, Bytes)>,
    segments: Vec<Segment>,
}

/// Copies for peers that are far behind.
impl Ndb {
    pub(super) fn copy_out(&mut self, to: NodeId, after: u64, number: u32) {
        if !self.pending.is_empty() {
            // The state is ahead of the rows. Parts keep their order.
            return self.pending.held.push(Output::CopyOut { to, after, number });
        }
        if number == 0 {
            match self.begin_copy(after) {
                Ok(copy) => drop(self.copies.insert(to.clone(), copy)),
                Err(error) => return tracing::error!(%error, peer = %to, "a copy for a peer cannot be read"),
            }
        }
        let Some(copy) = self.copies.get_mut(&to) else { return };
        match copy.part(&mut *self.reader, self.limits.part_bytes_max) {
            Ok(part) => {
                let last = copy.is_done().then_some(copy.position);
                if last.is_some() {
                    self.copies.remove(&to);
                }
                self.send(to, RoleMessage::CopyPart { number, part: part.into(), last });
            }
            Err(error) => tracing::error!(%error, peer = %to, "a copy for a peer cannot be read"),
        }
    }

    /// Rows change with every position: they are taken at once, segments as they are asked for.
    fn begin_copy(&mut self, after: u64) -> Result<CopyOut, StoreError> {
        let mut rows = VecDeque::new();
        each_row(&mut *self.reader, b"", |key, value| {
            if is_copied(key) {
                rows.push_back((key.to_vec(), value));
            }
            Ok::<_, StoreError>(())
        })?;
        let next = first_behind(&mut *self.reader, after)?;
        Ok(CopyOut { position: self.state.position(), rows, next, until: self.state.last_number() })
    }

    /// Takes a part of a copy of a peer.
    pub(super) fn take_part(&mut self, copy: CopyIn) -> Result<(), NdbError> {
        let CopyIn { number, part, last } = copy;
        self.counts.copied_bytes.fetch_add(part.len() as u64, Ordering::Relaxed);
        let Part { rows, segments } =
            rmp_serde::from_slice(&part).map_err(|error| NdbError::Copy(error.to_string()))?;
        self.copied.extend(rows);
        if !segments.is_empty() {
            self.store.commit(&Commit { segments, ..Commit::default() })?;
        }
        match last {
            None => {
                self.stored = last_stored(&mut *self.reader)?;
                self.role.copied_part(number, self.stored, &mut self.outputs);
            }
            Some(position) => self.finish_copy(position)?,
        }
        self.carry_out();
        Ok(())
    }

    /// Puts all of a copy in the place of what was here.
    fn finish_copy(&mut self, position: u64) -> Result<(), NdbError> {
        let copied = mem::take(&mut self.copied).into_iter().map(|(key, value)| (Vec::from(key), value));
        let copied: BTreeMap<Vec<u8>, Bytes> = copied.collect();
        let mut rows = Vec::new();
        each_row(&mut *self.reader, b"", |key, _| {
            if is_copied(key) && !copied.contains_key(key) {
                rows.push((key.to_vec(), None));
            }
            Ok::<_, StoreError>(())
        })?;
        rows.extend(copied.into_iter().map(|(key, value)| (key, Some(value.into()))));
        self.store.commit(&Commit { rows, ..Commit::default() })?;
        self.state = load(&mut *self.reader, self.state_limits)?;
        self.recent = Recent::default();
        self.house.begin_anew();
        let (members_at, members) = match self.store.get(MEMBERS)? {
            Some(value) => decode(MEMBERS, &value)?,
            None => (0, self.role.members().1.clone()),
        };
        let start = Start {
            position,
            time_us: self.state.time_us(),
            entries: read_all(&mut *self.reader, LIFE)?,
            members_at,
            ..Start::default()
        };
        self.role.copied(members, start, &mut self.outputs);
        Ok(())
    }
}

impl CopyOut {
    fn is_done(&self) -> bool {
        self.rows.is_empty() && self.next.is_none()
    }

    /// The next part.
    fn part(&mut self, reader: &mut dyn StoreReader, bytes_max: usize) -> Result<Vec<u8>, StoreError> {
        let mut part = Part::default();
        let mut bytes = 0;
        if let Some(from) = self.next.take() {
            part.segments = reader.segments(from, None, bytes_max)?;
            part.segments.retain(|segment| segment.first <= self.until);
            bytes = part.segments.iter().map(Segment::bytes).sum();
            self.next = part.segments.last().map(|last| last.last() + 1).filter(|next| *next <= self.until);
        }
        while bytes < bytes_max
            && let Some((key, value)) = self.rows.pop_front()
        {
            bytes += key.len() + value.len();
            part.rows.push((key.into(), value.into()));
        }
        Ok(rows::encode(&part))
    }
}

/// Number of the first message of the first segment behind a position; `None`: there is none.
fn first_behind(reader: &mut dyn StoreReader, position: u64) -> Result<Option<u64>, StoreError> {
    let mut from = 0;
    loop {
        let headers = reader.headers(from, HEADERS)?;
        if let Some(found) = headers.iter().find(|header| header.position > position) {
            return Ok(Some(found.first));
        }
        match headers.last() {
            Some(last) => from = last.first + 1,
            None => return Ok(None),
        }
    }
}

/// Position of the last segment of the store; 0: there is none.
pub(super) fn last_stored(reader: &mut dyn StoreReader) -> Result<u64, StoreError> {
    Ok(reader.segment_before(u64::MAX)?.map_or(0, |segment| segment.position))
}
