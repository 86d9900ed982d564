//! What a storage has its disk do, and when.

use std::mem;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::pending::Pending;
use super::shelf::{Kept, Shelf};
use super::{Ndb, NdbError, STORE_ID, decode, kept_key};
use crate::queue::envelope::Draft;
use crate::queue::quorum::StoreId;
use crate::queue::state::rows;
use crate::store::{Commit, Store, StoreError};

/// How long positions that are applied wait for others, to be written together.
pub(super) const LINGER: Duration = Duration::from_millis(20);
/// How long segments that are kept wait for others.
pub(super) const GATHER: Duration = Duration::from_micros(500);
/// For so long the next segment of an entry is waited for, once it was told that the last is in the log.
pub(super) const TURN: Duration = Duration::from_millis(1);
/// Bytes of a commit of the store, near enough, and its segments.
pub(super) const WRITTEN_BYTES_MAX: usize = 4 << 20;
const WRITTEN_AT_ONCE_MAX: usize = 512;

/// What the disk of a storage is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// [`Ndb::keep`].
    Keep,
    /// [`Ndb::write`].
    Write,
    /// Nothing for so long; `None`: until something is heard.
    Rest(Option<Duration>),
}

impl Ndb {
    /// A reader waits until the store has this position.
    pub fn want(&mut self, position: u64) {
        self.wanted = self.wanted.max(position);
    }

    /// What the disk is to do next, now that all of it is prepared.
    ///
    /// Segments that are kept wait a little for others that are about to be whole, for one fsync serves all. Nobody waits for positions
    /// that are applied, and a commit costs much more than what it writes: they wait for more.
    pub fn turn(&self, now: Instant) -> Turn {
        let keep_at = self.keep_at(now);
        let write_at = self.write_at(now);
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        match keep_at {
            // A write takes longer than others would be waited for.
            Some(_) if is_due(keep_at) || is_due(write_at) => Turn::Keep,
            _ if is_due(write_at) => Turn::Write,
            _ => Turn::Rest(keep_at.into_iter().chain(write_at).min().map(|until| until - now)),
        }
    }

    fn keep_at(&self, now: Instant) -> Option<Instant> {
        let gathered = self.kept_at? + GATHER;
        if self.role.awaits_segments() {
            return Some(gathered);
        }
        let turned = self.resolved.values().max().map_or(now, |resolved| *resolved + TURN);
        Some(gathered.min(turned))
    }

    fn write_at(&self, now: Instant) -> Option<Instant> {
        let Self { forgot, apply, copy_in, pending, .. } = self;
        let is_many = pending.segments.len() >= WRITTEN_AT_ONCE_MAX || pending.bytes >= WRITTEN_BYTES_MAX;
        let is_wanted = self.wanted > self.written && self.state.position() > self.written;
        if *forgot || apply.is_some() || !copy_in.is_empty() || !pending.can_wait() || is_many || is_wanted {
            return Some(now);
        }
        Some(pending.applied_at? + LINGER)
    }

    /// Has the disk do all that waits.
    ///
    /// # Errors
    /// As [`Ndb::keep`].
    pub fn work(&mut self) -> Result<(), NdbError> {
        self.prepare()?;
        self.keep()?;
        self.write()
    }

    /// Has the disk keep the segments that wait for it.
    ///
    /// # Errors
    /// The node has to be opened again: nobody knows what of it is on disk.
    pub fn keep(&mut self) -> Result<(), NdbError> {
        if self.kept_at.take().is_none() {
            return Ok(());
        }
        let begun = Instant::now();
        let kept = mem::take(&mut self.kept);
        match &mut self.shelf {
            None => {
                let row = |(draft, body): &(Draft, Bytes)| (kept_key(&draft.id), Some(rows::encode(&(draft, body))));
                self.store.commit(&Commit { rows: kept.iter().map(row).collect(), ..Commit::default() })?;
                self.shelved.extend(kept);
            }
            Some(shelf) if shelf.is_long() => {
                self.shelved.extend(kept);
                shelf.begin_anew(self.store_id, &self.shelved)?;
            }
            Some(shelf) => {
                shelf.put(&kept)?;
                self.shelved.extend(kept);
            }
        }
        self.counts.disk.observe_us(begun.elapsed().as_micros() as u64);
        self.role.kept(&mut self.outputs);
        self.carry_out();
        Ok(())
    }

    /// Has the store do what waits for it, with one commit.
    ///
    /// # Errors
    /// As [`Ndb::keep`].
    pub fn write(&mut self) -> Result<(), NdbError> {
        if mem::take(&mut self.forgot) {
            self.rename()?;
        }
        if self.pending.is_empty()
            && let Some(copy) = self.copy_in.pop_front()
        {
            self.take_part(copy)?;
            self.written = self.state.position();
            return Ok(());
        }
        self.prepare()?;
        let Pending { mut rows, segments, held, .. } = mem::take(&mut self.pending);
        if !rows.is_empty() || !segments.is_empty() {
            let role = &self.role;
            let done = self.shelved.extract_if(.., |(draft, _)| !role.may_come(&draft.id));
            let keys = done.map(|(draft, _)| (kept_key(&draft.id), None));
            match self.shelf {
                None => rows.extend(keys),
                Some(_) => drop(keys.count()),
            }
            let begun = Instant::now();
            self.store.commit(&Commit { rows: rows.into_iter().collect(), segments, ..Commit::default() })?;
            self.counts.commit.observe_us(begun.elapsed().as_micros() as u64);
        }
        self.written = self.state.position();
        self.outputs.extend(held);
        self.carry_out();
        Ok(())
    }

    /// Others heard more of this disk than it knows: its promises are not kept, so it is another.
    fn rename(&mut self) -> Result<(), NdbError> {
        if self.store_id == self.spare {
            return Ok(());
        }
        tracing::error!(node = %self.node, "this disk is an older copy: it does not count until the cluster has taken it in again");
        if let Some(shelf) = &mut self.shelf {
            shelf.begin_anew(self.spare, &self.shelved)?;
        }
        set_store_id(&mut *self.store, self.spare)?;
        self.store_id = self.spare;
        // What it says of that is sent behind the commit.
        self.role.renamed(self.store_id, &mut self.outputs);
        Ok(())
    }
}

/// A disk whose shelf is not there, or is damaged, has forgotten what the syncs were told of it: it is another.
pub(super) fn open_shelf(
    store: &mut dyn Store,
    folder: &Path,
    fresh: StoreId,
) -> Result<(StoreId, Option<Shelf>, Kept), NdbError> {
    let known: Option<StoreId> = store.get(STORE_ID)?.map(|value| decode(STORE_ID, &value)).transpose()?;
    let (mut shelf, found) = Shelf::open(folder)?;
    if let Some((of, kept)) = found
        && known == Some(of)
    {
        return Ok((of, Some(shelf), kept));
    }
    if known.is_some() {
        tracing::error!(folder = %folder.display(), "the segments that this disk kept are lost: it does not count until the cluster has taken it in again");
    }
    shelf.begin_anew(fresh, &[])?;
    set_store_id(store, fresh)?;
    Ok((fresh, Some(shelf), Kept::new()))
}

pub(super) fn open_store_id(store: &mut dyn Store, fresh: StoreId) -> Result<StoreId, NdbError> {
    if let Some(value) = store.get(STORE_ID)? {
        return decode(STORE_ID, &value);
    }
    set_store_id(store, fresh)?;
    Ok(fresh)
}

pub(super) fn set_store_id(store: &mut dyn Store, id: StoreId) -> Result<(), StoreError> {
    let rows = vec![(STORE_ID.to_vec(), Some(rows::encode(&id)))];
    store.commit(&Commit { rows, ..Commit::default() })
}
