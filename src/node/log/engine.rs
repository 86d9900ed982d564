//! The log thread's work: from submissions to a committed position, and what to do when the store fails.
//!
//! ```text
//! submissions -> Solo (entry, storage, sync) -> State::apply -> Store::commit -> Fed (segment, outcomes, changes)
//!                                                   \-- store fails: refuse, reopen, load the state again --/
//! ```

use std::collections::HashMap;

use super::Submission;
use super::cleaner::{Cleaner, Slice};
use super::feed::Fed;
use super::tickets::Owner;
use crate::queue::envelope::{NodeId, OrderCommand};
use crate::queue::outcome::{Outcome, Refused};
use crate::queue::retention::{Floor, Retention};
use crate::queue::segment::Segment;
use crate::queue::solo::{Apply, EntryLimits, Solo, Start, TicketRange};
use crate::queue::state::{Applied, Rows, RowsFailed, Sealed, State, StateCommand, StateError, StateLimits, rows};
use crate::store::{Commit, Store, StoreError};
use crate::types::topic::TopicPattern;

/// The entry of this process, in the state's numbering.
const ENTRY: u64 = 1;

/// Why the log cannot go on at the moment, or at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    #[error("the store {0}")]
    Store(#[from] StoreError),
    #[error("the state of the log: {0}")]
    State(#[from] StateError),
}

/// See the module.
pub struct Engine {
    solo: Solo,
    state: State,
    store: Box<dyn Store>,
    /// Whose the submissions are that were taken and not resolved, by ticket.
    owners: HashMap<u64, Owner>,
    last_ticket: u64,
    /// Who is told when a waiting event is granted, by its ticket.
    waiting: HashMap<u64, Owner>,
    retention: Cleaner,
    limits: StateLimits,
    /// What was being committed when the store failed and it is not known whether it is there.
    in_doubt: Option<Applied>,
    failed: Option<LogError>,
}

impl Engine {
    /// Takes up where the store ends.
    ///
    /// # Errors
    /// The store cannot be read, or is damaged.
    pub fn new(store: Box<dyn Store>, retention: Retention, limits: StateLimits) -> Result<Self, LogError> {
        let state = load(&*store, limits)?;
        let retention = Cleaner::new(store.reader()?, retention, state.last_number());
        Ok(Self {
            retention,
            limits,
            solo: solo(&state),
            state,
            store,
            owners: HashMap::new(),
            last_ticket: 0,
            waiting: HashMap::new(),
            in_doubt: None,
            failed: None,
        })
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Why durable publishing has stopped, if it has.
    pub fn failed(&self) -> Option<&LogError> {
        self.failed.as_ref()
    }

    /// When log time has to be brought forward, in microseconds since 1970.
    pub fn next_deadline_us(&self) -> Option<u64> {
        self.state.next_deadline_us()
    }

    /// Takes messages for the next positions. Those that cannot be taken are refused in `fed`.
    pub fn take(&mut self, submission: Submission, fed: &mut Fed) {
        let Submission { batch, owner } = submission;
        let count = batch.count;
        if self.failed.is_some() {
            return fed.told.push((owner, Outcome::Refused { count, why: Refused::StoreUnavailable }));
        }
        self.last_ticket += 1;
        match self.solo.submit(batch, self.last_ticket) {
            Ok(()) => drop(self.owners.insert(self.last_ticket, owner)),
            Err(why) => fed.told.push((owner, Outcome::Refused { count, why })),
        }
    }

    /// Works off one position, if there is one to be had.
    pub fn step(&mut self, now_us: u64) -> Option<Fed> {
        if self.failed.is_some() {
            return None;
        }
        if self.state.next_deadline_us().is_some_and(|at_us| at_us <= now_us) {
            self.solo.command(OrderCommand::Time { at_us: now_us });
        }
        let apply = self.solo.next(now_us)?;
        let position = match &apply {
            Apply::Segment(sealed) => sealed.position,
            Apply::Command(ordered) => ordered.position,
        };
        let mut fed = Fed::default();
        match self.apply(&apply, now_us) {
            Ok(applied) => self.resolve(position, applied, &mut fed),
            Err(error) => self.fail(position, error, &mut fed),
        }
        Some(fed)
    }

    fn apply(&mut self, apply: &Apply, now_us: u64) -> Result<Applied, LogError> {
        let mut rows = StoreRows(&mut *self.store);
        let applied = match apply {
            Apply::Segment(sealed) => {
                let sealed = Sealed {
                    position: sealed.position,
                    at_us: sealed.at_us,
                    entry: ENTRY,
                    body: &sealed.body,
                    count: sealed.count,
                };
                self.state.apply(sealed, &mut rows)?
            }
            Apply::Command(ordered) => {
                let at_us = now_us.max(self.state.time_us());
                match command_of(&ordered.command) {
                    Some(command) => self.state.command(ordered.position, at_us, command, &mut rows)?,
                    None => Applied::default(),
                }
            }
        };
        self.commit(applied)
    }

    fn commit(&mut self, mut applied: Applied) -> Result<Applied, LogError> {
        // Messages that nobody is shown are in the rows already, and need not be kept.
        let shown = !applied.segment.topics.is_empty();
        let mut commit = Commit { rows: std::mem::take(&mut applied.rows), ..Commit::default() };
        if shown {
            commit.segments.push(std::mem::take(&mut applied.segment));
        }
        let written = self.store.commit(&commit);
        if let Some(segment) = commit.segments.pop() {
            applied.segment = segment;
        }
        match written {
            Ok(()) => {
                self.retention.add(&applied.segment);
                Ok(applied)
            }
            Err(error) => {
                if matches!(error, StoreError::Unknown(_)) {
                    self.in_doubt = Some(applied);
                }
                Err(error.into())
            }
        }
    }

    /// Says what became of the messages of a position that is committed.
    fn resolve(&mut self, position: u64, applied: Applied, fed: &mut Fed) {
        let Applied { segment, exceptions, later, changes, .. } = applied;
        let ranges = self.solo.applied(position, segment.first);
        self.tell(&segment, &ranges, &exceptions, fed);
        for outcome in later {
            let (Outcome::Granted { ticket, .. } | Outcome::Ended { ticket, .. }) = &outcome else { continue };
            if let Some(owner) = self.waiting.remove(ticket) {
                fed.told.push((owner, outcome));
            }
        }
        fed.changes = changes;
        fed.segment = segment;
    }

    /// Tells each submitter about its messages: runs of plain events, and between them what is not one.
    fn tell(&mut self, segment: &Segment, ranges: &[TicketRange], exceptions: &[(u32, Outcome)], fed: &mut Fed) {
        let mut exceptions = exceptions.iter().peekable();
        for range in ranges {
            let Some(owner) = self.owners.remove(&range.ticket) else { continue };
            let end = range.offset + range.count;
            let mut offset = range.offset;
            while offset < end {
                let next = exceptions.peek().map_or(end, |(at, _)| (*at).min(end));
                if next > offset {
                    let first = segment.first + u64::from(offset);
                    fed.told.push((owner.clone(), Outcome::Events { first, count: next - offset }));
                    offset = next;
                }
                if offset < end
                    && let Some((_, outcome)) = exceptions.next()
                {
                    if let Outcome::Waiting { ticket } = outcome {
                        self.waiting.insert(*ticket, owner.clone());
                    }
                    fed.told.push((owner.clone(), outcome.clone()));
                    offset += 1;
                }
            }
        }
    }

    /// The store failed: what was under way and what waits is refused, unless it is not known whether it is there.
    fn fail(&mut self, position: u64, error: LogError, fed: &mut Fed) {
        tracing::error!(%error, position, "durable publishing stops until the store works again");
        self.failed = Some(error);
        if self.in_doubt.is_none() {
            let ranges = self.solo.failed(position);
            self.refuse(&ranges, fed);
        }
        let ranges = self.solo.refuse_waiting();
        self.refuse(&ranges, fed);
    }

    fn refuse(&mut self, ranges: &[TicketRange], fed: &mut Fed) {
        for range in ranges {
            if let Some(owner) = self.owners.remove(&range.ticket) {
                fed.told.push((owner, Outcome::Refused { count: range.count, why: Refused::StoreUnavailable }));
            }
        }
    }

    /// Tries to go on after a failure. What was in doubt is resolved, or refused.
    ///
    /// # Errors
    /// The store does not work yet.
    pub fn recover(&mut self) -> Result<Fed, LogError> {
        let mut fed = Fed::default();
        let recovered = self.reopen(&mut fed);
        match recovered {
            Ok(()) => {
                tracing::warn!("the store works again: durable publishing goes on");
                self.failed = None;
                Ok(fed)
            }
            Err(error) => {
                self.failed = Some(error.clone());
                Err(error)
            }
        }
    }

    fn reopen(&mut self, fed: &mut Fed) -> Result<(), LogError> {
        self.store.reopen()?;
        let state = load(&*self.store, self.limits)?;
        // A write, to see whether it can.
        self.store.commit(&Commit { rows: vec![(PROBE.to_vec(), Some(Vec::new()))], ..Commit::default() })?;
        let applied = self.in_doubt.take();
        let position = applied.as_ref().map(|applied| applied.segment.position);
        if let (Some(applied), Some(position)) = (applied, position) {
            if state.position() >= position {
                self.resolve(position, applied, fed);
            } else {
                let ranges = self.solo.failed(position);
                self.refuse(&ranges, fed);
            }
        }
        self.state = state;
        Ok(())
    }

    /// The broker stops: what was not written is refused.
    pub fn stop(&mut self) -> Fed {
        let mut fed = Fed::default();
        let ranges = self.solo.refuse_waiting();
        self.refuse(&ranges, &mut fed);
        fed
    }

    /// Housekeeping: gives up a slice of what need not be kept, and has the store tidy up. To be called about once a second.
    ///
    /// # Errors
    /// The store fails; nothing that has to stay is lost.
    pub fn maintain(&mut self, now_us: u64) -> Result<Vec<Fed>, LogError> {
        let mut fed = Vec::new();
        if self.failed.is_some() {
            return Ok(fed);
        }
        let wanted = self.state.min_cursor().map_or(u64::MAX, |done_to| done_to + 1);
        let slice = self.retention.look(now_us, wanted)?;
        for floor in slice.floors {
            let Floor { realm, pattern, first } = floor;
            self.solo.command(OrderCommand::Retain { realm, pattern: rows::pattern_text(&pattern), first });
            fed.extend(self.step(now_us));
        }
        // Floors come before deletions: if they could not be raised, nothing is deleted.
        if self.failed.is_none() {
            if !slice.dropped.is_empty() || !slice.rewritten.is_empty() {
                let Slice { dropped, rewritten, .. } = slice;
                self.store.commit(&Commit { dropped, rewritten, ..Commit::default() })?;
            }
            self.store.maintain()?;
        }
        Ok(fed)
    }

    /// `(messages, bytes)` that the log holds of each policy.
    pub fn totals(&self) -> Vec<(TopicPattern, u64, u64)> {
        self.retention.totals()
    }

    /// See [`Store::sync`].
    ///
    /// # Errors
    /// The store fails.
    pub fn sync(&mut self) -> Result<(), LogError> {
        Ok(self.store.sync()?)
    }
}

/// A row that is written to see whether the store can be written. No other kind of row begins so.
const PROBE: &[u8] = b"~probe";

fn solo(state: &State) -> Solo {
    let start = Start {
        entry: NodeId::entry("E1"),
        position: state.position(),
        incarnation: state.incarnation(ENTRY),
        time_us: state.time_us(),
    };
    Solo::new(start, EntryLimits::default())
}

fn load(store: &dyn Store, limits: StateLimits) -> Result<State, LogError> {
    let mut reader = store.reader()?;
    let mut scan = |prefix: &[u8], after: Option<&[u8]>, limit: usize| {
        reader.scan(prefix, after, limit).map_err(|error| RowsFailed(error.to_string()))
    };
    let mut state = State::load(&mut scan)?;
    state.set_limits(limits);
    Ok(state)
}

fn command_of(command: &OrderCommand) -> Option<StateCommand> {
    match command {
        OrderCommand::Init { replaces, .. } => Some(StateCommand::Init { entry: ENTRY, incarnation: *replaces }),
        OrderCommand::Lost { incarnation, .. } => Some(StateCommand::Lost { entry: ENTRY, incarnation: *incarnation }),
        OrderCommand::Retain { realm, pattern, first } => {
            Some(StateCommand::Retain { realm: realm.clone(), pattern: pattern.clone(), first: *first })
        }
        OrderCommand::Time { .. } => Some(StateCommand::Time),
        OrderCommand::Members(_) => None,
    }
}

/// Rows of the store, for conditions.
struct StoreRows<'a>(&'a mut dyn Store);

impl Rows for StoreRows<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, RowsFailed> {
        self.0.get(key).map_err(|error| RowsFailed(error.to_string()))
    }
}
