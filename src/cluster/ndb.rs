//! A storage node (`ndb`) but for its links and threads: the storage role, the log's state, and a store.
//!
//! ```text
//! envelopes --handle--> StorageRole --Apply--> prepare: State::apply --> RESOLVED, FEED
//!                            |                 write: one commit of many positions --> all else
//!                            |------Keep-----> keep: one fsync of the shelf --> GENERATE_DRAFT
//!                            \--Feed, ReadBody, CopyOut--> recent positions, a reader --> envelopes
//! ```
//!
//! 1. Segments that are kept go to the [`shelf`], those of several entries with one fsync: somebody waits for them. Positions that
//!    are applied go to the store, some later and many with one commit: nobody waits ([`Ndb::turn`]). What became of a position
//!    follows from facts that are on disk, so it is told before that ([`Ndb::prepare`]); what the store has, only then.
//! 2. Beside the state's rows the store has the node's own ([`rows::NODE`]): its store id, entries' lives, members, and, where there
//!    is no shelf, segments that are kept and not applied.
//! 3. The last positions are in memory as they were fed, so that an entry that comes back soon misses nothing. One that was away
//!    longer has to begin a new life.
//! 4. A store that fails stops the node: what it knows may be less than it has said. Others go on; it starts again from its disk.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use std::{io, mem};

use bytes::Bytes;

use super::counts::Counts;
use super::retention::{Housekeeper, Seen, Work};
use crate::queue::digest::digest;
use crate::queue::envelope::{Draft, Envelope, NodeId, OrderCommand, Resolution, Role, RoleMessage, SegmentId};
use crate::queue::quorum::{Members, StoreId};
use crate::queue::relay::{self, Fed};
use crate::queue::state::rows;
use crate::queue::state::{Applied, Sealed, State, StateCommand, StateError, StateLimits};
use crate::queue::storage::{Apply, Output, Start, StorageReport, StorageRole};
use crate::store::state::{StoreRows, load};
use crate::store::{Commit, Store, StoreError, StoreReader, each_row};

use copy::{CopyIn, CopyOut, last_stored};
pub use disk::Turn;
use disk::{WRITTEN_BYTES_MAX, open_shelf, open_store_id};
use pending::{Pending, PendingRows};
use recent::{Position, Recent};
use shelf::{Kept, Shelf};

mod copy;
mod disk;
mod pending;
mod recent;
pub mod shelf;
#[cfg(test)]
mod tests;

/// Positions that are applied at once.
const APPLIED_AT_ONCE_MAX: usize = 64;
/// The row with the id of the disk.
pub const STORE_ID: &[u8] = b"~store";
const MEMBERS: &[u8] = b"~members";
const LIFE: &[u8] = b"~life ";
const KEPT: &[u8] = b"~kept ";

/// Bounds of a storage.
#[derive(Clone, Copy, Debug)]
pub struct NdbLimits {
    /// Positions whose feed is kept in memory, and their bytes.
    pub recent_max: usize,
    pub recent_bytes_max: usize,
    /// Bytes of one part of a copy, near enough.
    pub part_bytes_max: usize,
}

impl Default for NdbLimits {
    fn default() -> Self {
        Self { recent_max: 1 << 16, recent_bytes_max: 64 << 20, part_bytes_max: 1 << 20 }
    }
}

/// Why a storage node cannot go on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NdbError {
    #[error("the store {0}")]
    Store(#[from] StoreError),
    #[error("the state of the log: {0}")]
    State(#[from] StateError),
    #[error("the segments that are kept: {0}")]
    Shelf(Arc<io::Error>),
    /// Another process of the cluster has sent what cannot be read.
    #[error("a copy cannot be read: {0}")]
    Copy(String),
}

/// See the module.
pub struct Ndb {
    node: NodeId,
    store_id: StoreId,
    role: StorageRole,
    state: State,
    /// The last position that is on disk.
    written: u64,
    /// When entries were told that their last segment is in the log, and have not said the next since.
    resolved: HashMap<NodeId, Instant>,
    state_limits: StateLimits,
    limits: NdbLimits,
    store: Box<dyn Store>,
    /// Where segments are kept; `None`: in rows of the store.
    shelf: Option<Shelf>,
    reader: Box<dyn StoreReader>,
    recent: Recent,
    /// What the disk has to do: at most one of each.
    keep: Kept,
    apply: Option<(u64, Apply)>,
    /// What is to be kept with the next write, and since when the first waits.
    kept: Kept,
    kept_at: Option<Instant>,
    /// What is kept, and perhaps not applied in the store.
    shelved: Kept,
    pending: Pending,
    /// A reader waits until the store has this position.
    wanted: u64,
    copy_in: VecDeque<CopyIn>,
    /// Segments up to here are in the store, of a copy that did not come to its end; 0 or less than the present position: none.
    stored: u64,
    /// Rows of a copy that has not come to its end.
    copied: Vec<(Bytes, Bytes)>,
    copies: HashMap<NodeId, CopyOut>,
    /// The disk is an older copy, and needs another name.
    forgot: bool,
    /// Another name for it.
    spare: StoreId,
    /// The last TIME that was asked for.
    asked_us: u64,
    house: Housekeeper,
    counts: Arc<Counts>,
    outputs: Vec<Output>,
    out: Vec<Envelope>,
}

/// The number by which the log's state knows an entry.
pub fn number_of(entry: &NodeId) -> u64 {
    digest(entry.name.as_bytes())
}

impl Ndb {
    /// Takes up where the store ends. `first`: who takes part at first; `folder`: where segments are kept, if not in rows of the store;
    /// `fresh`: the id of the disk if it has none yet, or if it is found to be an older copy.
    ///
    /// # Errors
    /// The store cannot be read or written, or is damaged.
    pub fn open(
        node: NodeId,
        first: Members,
        (mut store, folder): (Box<dyn Store>, Option<&Path>),
        state_limits: StateLimits,
        fresh: StoreId,
    ) -> Result<Self, NdbError> {
        let mut reader = store.reader()?;
        let (store_id, shelf, kept) = match folder {
            Some(folder) => open_shelf(&mut *store, folder, fresh)?,
            None => (open_store_id(&mut *store, fresh)?, None, read_all(&mut *reader, KEPT)?),
        };
        let state = load(&mut *reader, state_limits)?;
        let (members_at, members) = match store.get(MEMBERS)? {
            Some(value) => decode(MEMBERS, &value)?,
            None => (0, first),
        };
        let stored = last_stored(&mut *reader)?;
        let start = Start {
            store: store_id,
            position: state.position(),
            time_us: state.time_us(),
            entries: read_all(&mut *reader, LIFE)?,
            kept: kept.clone(),
            members_at,
            copied: Some(stored).filter(|last| *last > state.position()).unwrap_or(0),
        };
        let own = node.clone();
        Ok(Self {
            role: StorageRole::new(node.clone(), members, false, start),
            node,
            store_id,
            written: state.position(),
            resolved: HashMap::new(),
            state,
            state_limits,
            limits: NdbLimits::default(),
            store,
            shelf,
            reader,
            recent: Recent::default(),
            keep: Vec::new(),
            apply: None,
            kept: Vec::new(),
            kept_at: None,
            shelved: kept,
            pending: Pending::default(),
            wanted: 0,
            copy_in: VecDeque::new(),
            stored,
            copied: Vec::new(),
            copies: HashMap::new(),
            forgot: false,
            spare: fresh,
            asked_us: 0,
            house: Housekeeper::new(own),
            counts: Arc::default(),
            outputs: Vec::new(),
            out: Vec::new(),
        })
    }

    /// The same with other bounds.
    #[must_use]
    pub fn with_limits(self, limits: NdbLimits) -> Self {
        Self { limits, ..self }
    }

    /// Which disk this is.
    pub fn store_id(&self) -> StoreId {
        self.store_id
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// How far readers of the store are: not always as far as the state.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Whether what this disk has counts: it is in the table of members.
    pub fn counts(&self) -> bool {
        is_in((&self.node, self.store_id), self.role.members().1)
    }

    /// What a position came to, as entries are told; `None`: it is not one of the last, or not known here.
    pub fn fed(&self, position: u64) -> Option<&Bytes> {
        self.recent.positions.get(&position).map(|position| &position.fed)
    }

    /// Has it count there.
    pub fn count_in(&mut self, counts: &Arc<Counts>) {
        self.counts = counts.clone();
    }

    /// How it is.
    pub fn report(&self) -> StorageReport {
        self.role.report()
    }

    /// A reader of the store, for those who ask about the past.
    ///
    /// # Errors
    /// The store has none left.
    pub fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        self.store.reader()
    }

    /// The link to a node is up.
    pub fn connected(&mut self, node: &NodeId) {
        if node.role == Role::Sync {
            // What was asked for may have gone with the link before.
            self.asked_us = 0;
        }
        self.house.connected(node);
        self.role.connected(node, &mut self.outputs);
        if self.pending.is_empty() {
            return self.carry_out();
        }
        // It tells how far the disk is, which has yet to be so.
        self.pending.held.append(&mut self.outputs);
    }

    /// The link to a node is down.
    pub fn disconnected(&mut self, node: &NodeId) {
        self.copies.remove(node);
        self.house.disconnected(node);
        self.role.disconnected(node, &mut self.outputs);
        self.carry_out();
    }

    /// Takes what another node says.
    pub fn handle(&mut self, now_us: u64, envelope: Envelope) {
        let Envelope { from, message, .. } = envelope;
        self.role.handle(now_us, &from, message, &mut self.outputs);
        self.carry_out();
    }

    /// Time has passed: log time is asked for if something is due.
    pub fn tick(&mut self, now_us: u64) {
        let due = self.state.next_deadline_us().filter(|at_us| *at_us <= now_us && *at_us > self.asked_us);
        let Some(at_us) = due else { return };
        self.asked_us = at_us;
        self.ask(&OrderCommand::Time { at_us });
    }

    fn ask(&mut self, command: &OrderCommand) {
        let syncs: Vec<NodeId> = self.role.members().1.syncs.iter().map(|member| member.node.clone()).collect();
        for to in syncs {
            self.send(to, RoleMessage::AskCommand(command.clone()));
        }
    }

    /// How long nothing is due.
    pub fn patience(&self, now_us: u64) -> Duration {
        let due = self.state.next_deadline_us().filter(|at_us| *at_us > self.asked_us);
        due.map_or(Duration::MAX, |at_us| Duration::from_micros(at_us.saturating_sub(now_us)))
    }

    /// An entry says what is to stay.
    pub fn tell_policies(&mut self, from: &NodeId, policies: &[u8]) {
        match rmp_serde::from_slice(policies) {
            Ok(policies) => self.house.tell(from, policies),
            Err(error) => tracing::error!(%error, entry = %from, "what is to stay cannot be read"),
        }
    }

    /// Whether [`Ndb::tidy`] has something to do.
    pub fn is_tidying_due(&self, now_us: u64) -> bool {
        // What is under way may put another log in the place of this one.
        self.house.is_due(now_us) && !self.role.is_copying()
    }

    /// A piece of housekeeping, if it is due: what need not stay is given up, and space goes back to the file system.
    ///
    /// # Errors
    /// As of [`Ndb::work`].
    pub fn tidy(&mut self, now_us: u64) -> Result<(), NdbError> {
        if !self.is_tidying_due(now_us) {
            return Ok(());
        }
        if !self.pending.is_empty() {
            self.write()?;
        }
        let seen = Seen {
            now_us,
            time_us: self.state.time_us(),
            wanted: self.state.min_cursor().map_or(u64::MAX, |done_to| done_to + 1),
            last: self.state.last_number(),
        };
        let begun = Instant::now();
        let Self { house, state, store, .. } = self;
        let mut more = false;
        match house.work(&seen, state.floors(), || store.reader())? {
            Work::Nothing => more = self.store.maintain()?,
            Work::Wait => {}
            Work::Ask(commands) => commands.iter().for_each(|command| self.ask(command)),
            Work::Delete(commit) => self.delete(&commit)?,
        }
        self.house.rest(now_us, begun.elapsed().as_micros() as u64, more);
        let (kept, lost) = self.house.report();
        self.counts.set_kept(kept, lost);
        Ok(())
    }

    fn delete(&mut self, commit: &Commit) -> Result<(), NdbError> {
        self.store.commit(commit)?;
        let (dropped, rewritten) = (commit.dropped.len(), commit.rewritten.len());
        tracing::debug!(node = %self.node, dropped, rewritten, "segments are given up");
        self.counts.given_up.fetch_add(dropped as u64, Ordering::Relaxed);
        let lost = self.house.deleted();
        if lost > 0 {
            tracing::warn!(node = %self.node, messages = lost, "given up before all had read them: limits.session_log_bytes_max");
        }
        Ok(())
    }

    /// What is to be sent, in order.
    pub fn take(&mut self) -> Vec<Envelope> {
        mem::take(&mut self.out)
    }

    /// Whether the disk has something to do.
    pub fn has_work(&self) -> bool {
        let Self { keep, apply, kept_at, copy_in, pending, .. } = self;
        let is_kept = keep.is_empty() && kept_at.is_none();
        self.forgot || !is_kept || apply.is_some() || !copy_in.is_empty() || !pending.is_empty()
    }

    /// Applies what waits to the state. What became of it can be taken ([`Ndb::take`]) and sent at once; then [`Ndb::work`] is to be
    /// called, before anything else is handled.
    ///
    /// # Errors
    /// As [`Ndb::work`].
    pub fn prepare(&mut self) -> Result<(), NdbError> {
        if !self.copy_in.is_empty() {
            return Ok(());
        }
        if !self.keep.is_empty() || self.kept_at.is_some() {
            self.keep.extend(self.role.keep_more());
            self.keep.iter().for_each(|(draft, _)| _ = self.resolved.remove(&draft.id.entry));
            self.kept.append(&mut self.keep);
            self.kept_at.get_or_insert_with(Instant::now);
        }
        let mut positions = 0;
        while positions < APPLIED_AT_ONCE_MAX
            && self.pending.bytes < WRITTEN_BYTES_MAX
            && let Some((position, apply)) = self.apply.take()
        {
            let Done { position, resolution, recent } = self.apply(position, apply)?;
            positions += 1;
            self.pending.applied(recent.bytes());
            self.recent.push(position, recent, &self.limits);
            self.role.applied(position, resolution, &mut self.outputs);
            self.carry_out_early();
        }
        Ok(())
    }

    /// Applies a position to the state; what it changes is pending then.
    fn apply(&mut self, position: u64, apply: Apply) -> Result<Done, NdbError> {
        let mut rows = PendingRows { pending: &self.pending.rows, store: StoreRows(&mut *self.store) };
        // Log time alone: all storages must find the same.
        let at_us = self.state.time_us();
        let (mut segment, mut changed) = (None, None);
        let mut applied = match apply {
            Apply::Segment { draft, body } => {
                let sealed = Sealed {
                    position,
                    at_us: draft.id.segment,
                    entry: number_of(&draft.id.entry),
                    body: &body,
                    count: draft.count,
                };
                let applied = self.state.apply(sealed, &mut rows)?;
                self.counts.segments.fetch_add(1, Ordering::Relaxed);
                self.counts.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
                segment = Some((draft, body));
                applied
            }
            Apply::Command(command) => {
                tracing::debug!(node = %self.node, position, ?command, "a command has its place");
                if let OrderCommand::Members { members, .. } = &command {
                    let own = (&self.node, self.store_id);
                    if is_in(own, members) && !is_in(own, self.role.members().1) {
                        tracing::info!(node = %self.node, "this disk counts now");
                    }
                    changed = Some(rows::encode(&(position, members)));
                }
                let at_us = if let OrderCommand::Time { at_us } = command { at_us } else { at_us };
                // What is nothing to the state lets it know how far the log is.
                let command = StateCommand::of(&command, number_of).unwrap_or(StateCommand::Time);
                self.state.command(position, at_us, command, &mut rows)?
            }
            Apply::Nothing => self.state.command(position, at_us, StateCommand::Time, &mut rows)?,
        };
        if let Some(members) = changed {
            self.pending.rows.insert(MEMBERS.to_vec(), Some(members));
        }
        let fed = relay::write_fed(&Fed::of(&applied));
        let results = relay::write_exceptions(&applied.exceptions);
        let resolution = Resolution { first: applied.segment.first, results };
        self.pending.rows.extend(mem::take(&mut applied.rows));
        if let Some((entry, life)) = self.role.life_after(&resolution) {
            self.pending.rows.insert([LIFE, entry.name.as_bytes()].concat(), Some(rows::encode(&(entry, life))));
        }
        let Applied { segment: stored, .. } = applied;
        // Those behind a copy that did not come to its end are there.
        if !stored.topics.is_empty() && position > self.stored {
            self.house.add(&stored);
            self.pending.segments.push(stored);
        }
        Ok(Done { position, resolution, recent: Position { fed, segment } })
    }

    fn send(&mut self, to: NodeId, message: RoleMessage) {
        self.out.push(Envelope { from: self.node.clone(), to, message });
    }

    /// Does of what the role wants what need not wait for the commit: what became of a position is the same wherever it is applied, and
    /// the syncs do not forget it before it is on disk.
    fn carry_out_early(&mut self) {
        for output in mem::take(&mut self.outputs) {
            match output {
                Output::Send(envelope @ Envelope { message: RoleMessage::AdvanceSegmentResolved { .. }, .. }) => {
                    self.resolved.insert(envelope.to.clone(), Instant::now());
                    self.out.push(envelope);
                }
                Output::Send(envelope @ Envelope { message: RoleMessage::TrimAdvanceSegment { .. }, .. }) => {
                    self.out.push(envelope);
                }
                Output::Feed { to, after, until } => self.feed(&to, after, until),
                Output::Apply { position, apply } => self.apply = Some((position, apply)),
                other => self.pending.hold(other),
            }
        }
    }

    /// Does what the role wants, as far as the disk is not needed for it.
    fn carry_out(&mut self) {
        for output in mem::take(&mut self.outputs) {
            match output {
                Output::Send(envelope) => {
                    if let RoleMessage::FetchBody { .. } = envelope.message {
                        self.counts.fetched_bodies.fetch_add(1, Ordering::Relaxed);
                    }
                    self.out.push(envelope);
                }
                Output::Keep(segments) => self.keep = segments,
                Output::Apply { position, apply } => self.apply = Some((position, apply)),
                Output::Feed { to, after, until } => self.feed(&to, after, until),
                Output::ReadBody { to, position, draft } => self.tell_body(to, position, draft),
                Output::CopyOut { to, after, number } => self.copy_out(to, after, number),
                Output::CopyIn { number, part, last } => self.copy_in.push_back(CopyIn { number, part, last }),
                Output::CopyBegun { .. } => self.copied.clear(),
                Output::Forgot => self.forgot = true,
            }
        }
    }

    fn feed(&mut self, to: &NodeId, after: u64, until: u64) {
        // An entry that was away for too long finds a gap, and begins a new life.
        let recent: Vec<_> = self
            .recent
            .positions
            .range(after + 1..=until)
            .map(|(number, position)| (*number, position.fed.clone()))
            .collect();
        for (position, segment) in recent {
            self.send(to.clone(), RoleMessage::Feed { position, segment });
        }
    }

    fn tell_body(&mut self, to: NodeId, position: u64, draft: Draft) {
        let message = match self.recent.body(position, &draft) {
            Some(body) => RoleMessage::Body { draft, body: body.clone() },
            None => RoleMessage::BodyMissing { position, gone: true },
        };
        self.send(to, message);
    }
}

impl From<io::Error> for NdbError {
    fn from(error: io::Error) -> Self {
        Self::Shelf(Arc::new(error))
    }
}

/// What comes of a position that is about to be committed.
struct Done {
    position: u64,
    resolution: Resolution,
    recent: Position,
}

/// Whether this disk of a storage is in the table.
fn is_in((node, store): (&NodeId, StoreId), members: &Members) -> bool {
    members.storages().iter().any(|member| member.node == *node && member.store == store)
}

/// Whether a row is part of what all storages have alike.
fn is_copied(key: &[u8]) -> bool {
    !key.starts_with(&[rows::NODE]) || key == MEMBERS || key.starts_with(LIFE)
}

fn kept_key(id: &SegmentId) -> Vec<u8> {
    [KEPT, &rows::encode(id)].concat()
}

fn read_all<T: serde::de::DeserializeOwned>(reader: &mut dyn StoreReader, prefix: &[u8]) -> Result<Vec<T>, NdbError> {
    let mut all = Vec::new();
    each_row(reader, prefix, |key, value| {
        all.push(decode(key, &value)?);
        Ok::<_, NdbError>(())
    })?;
    Ok(all)
}

fn decode<T: serde::de::DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, NdbError> {
    Ok(rows::decode(key, value)?)
}
