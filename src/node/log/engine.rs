//! The log thread's work: from submissions to a committed position, and what to do when the store fails.
//!
//! ```text
//! submissions -> Solo (entry, storage, sync) -> State::apply -> Store::commit -> Fed (segment, outcomes, changes)
//!                                                   \-- store fails: refuse, reopen, load the state again --/
//! ```

use std::collections::HashMap;
use std::time::Instant;

use super::Submitted;
use super::cleaner::{Cleaner, Kept, Slice};
use super::feed::Fed;
use super::tickets::Turn;
use crate::queue::envelope::{NodeId, OrderCommand};
use crate::queue::outcome::{Outcome, Refused};
use crate::queue::retention::{Floor, Retention};
use crate::queue::solo::{Apply, EntryLimits, Solo, Start, TicketRange};
use crate::queue::state::floors::OTHERS;
use crate::queue::state::{Applied, Census, Sealed, State, StateCommand, StateError, StateLimits, rows};
use crate::store::state::StoreRows;
use crate::store::{self, Commit, Store, StoreError};

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

impl LogError {
    /// What the store has is not what was written: it will not get better by itself.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Store(StoreError::Damaged(_)) | Self::State(StateError::Damaged(_)))
    }
}

/// See the module.
pub struct Engine {
    solo: Solo,
    state: State,
    store: Box<dyn Store>,
    /// Whose the submissions are that were taken and not resolved, by ticket.
    turns: HashMap<u64, Turn>,
    last_ticket: u64,
    /// Who is told when a waiting event is granted, by its ticket.
    waiting: HashMap<u64, Turn>,
    cleaner: Cleaner,
    limits: StateLimits,
    /// What was being committed when the store failed and it is not known whether it is there.
    in_doubt: Option<Applied>,
    failed: Option<LogError>,
    /// Of the largest commit that has failed since the store last worked.
    probe_bytes: usize,
    /// Who reads the log, and when to look again.
    census: Census,
    census_at_us: u64,
}

/// How the log is doing.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What it holds of each policy.
    pub kept: Vec<Kept>,
    /// Messages that were given up although a cursor had not passed them.
    pub lost: u64,
    pub census: Census,
}

impl Engine {
    /// Takes up where the store ends.
    ///
    /// # Errors
    /// The store cannot be read, or is damaged.
    pub fn new(store: Box<dyn Store>, retention: Retention, limits: StateLimits) -> Result<Self, LogError> {
        let state = load(&*store, limits)?;
        let cleaner = Cleaner::new(store.reader()?, retention, state.last_number());
        Ok(Self {
            cleaner,
            limits,
            solo: solo(&state),
            state,
            store,
            turns: HashMap::new(),
            last_ticket: 0,
            waiting: HashMap::new(),
            in_doubt: None,
            failed: None,
            probe_bytes: 0,
            census: Census::default(),
            census_at_us: 0,
        })
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    pub(in crate::node) fn store_mut(&mut self) -> &mut dyn Store {
        &mut *self.store
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
    pub fn take(&mut self, submitted: Submitted, fed: &mut Fed) {
        let Submitted { batch, turn } = submitted;
        let count = batch.count;
        if self.failed.is_some() {
            return fed.told.push((turn, Outcome::Refused { count, why: Refused::StoreUnavailable }));
        }
        self.last_ticket += 1;
        match self.solo.submit(batch, self.last_ticket) {
            Ok(()) => drop(self.turns.insert(self.last_ticket, turn)),
            Err(why) => fed.told.push((turn, Outcome::Refused { count, why })),
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
            Ok(applied) => self.resolve(applied, &mut fed),
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
                match StateCommand::of(&ordered.command, |_| ENTRY) {
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
        let Err(error) = written else { return Ok(applied) };
        self.probe_bytes = self.probe_bytes.max(applied.segment.bytes());
        if matches!(error, StoreError::Unknown(_)) {
            self.in_doubt = Some(applied);
        }
        Err(error.into())
    }

    /// Says what became of the messages of a position that is committed.
    fn resolve(&mut self, applied: Applied, fed: &mut Fed) {
        let Applied { segment, exceptions, later, changes, .. } = applied;
        self.cleaner.add(&segment);
        let ranges = self.solo.applied(segment.position, segment.first);
        let Self { turns, waiting, .. } = self;
        fed.told.extend(super::outcomes(segment.first, &ranges, &exceptions, |ticket| turns.remove(&ticket), waiting));
        for outcome in later {
            let (Outcome::Granted { ticket, .. } | Outcome::Ended { ticket, .. }) = &outcome else { continue };
            if let Some(turn) = self.waiting.remove(ticket) {
                fed.told.push((turn, outcome));
            }
        }
        fed.changes.extend(changes);
        fed.segment = segment;
    }

    /// The store failed: what was under way and what waits is refused, unless it is not known whether it is there.
    fn fail(&mut self, position: u64, error: LogError, fed: &mut Fed) {
        self.stop_taking(error);
        if self.in_doubt.is_none() {
            let ranges = self.solo.failed(position);
            self.refuse(&ranges, fed);
        }
        let ranges = self.solo.refuse_waiting();
        self.refuse(&ranges, fed);
    }

    fn stop_taking(&mut self, error: LogError) {
        tracing::error!(%error, position = self.state.position(), "durable publishing stops until the store works again");
        self.failed = Some(error);
    }

    fn refuse(&mut self, ranges: &[TicketRange], fed: &mut Fed) {
        for range in ranges {
            if let Some(turn) = self.turns.remove(&range.ticket) {
                fed.told.push((turn, Outcome::Refused { count: range.count, why: Refused::StoreUnavailable }));
            }
        }
    }

    /// Tries to go on after a failure. What was in doubt is resolved or refused as soon as the store can be read.
    ///
    /// # Errors
    /// The store does not work yet.
    pub fn recover(&mut self, fed: &mut Fed) -> Result<(), LogError> {
        let recovered = self.reopen(fed);
        self.failed = recovered.clone().err();
        if recovered.is_ok() {
            self.probe_bytes = 0;
        }
        recovered
    }

    fn reopen(&mut self, fed: &mut Fed) -> Result<(), LogError> {
        self.store.reopen()?;
        self.settle_doubt(fed)?;
        self.probe()?;
        self.state = load(&*self.store, self.limits)?;
        Ok(())
    }

    /// Looks whether the position that was in doubt is there.
    fn settle_doubt(&mut self, fed: &mut Fed) -> Result<(), LogError> {
        let Some(position) = self.in_doubt.as_ref().map(|applied| applied.segment.position) else { return Ok(()) };
        let state = load(&*self.store, self.limits)?;
        match self.in_doubt.take() {
            Some(applied) if state.position() >= position => self.resolve(applied, fed),
            _ => {
                let ranges = self.solo.failed(position);
                self.refuse(&ranges, fed);
            }
        }
        Ok(())
    }

    /// Writes something, to see whether the store can be written: about as much as it could not, and away with it.
    fn probe(&mut self) -> Result<(), LogError> {
        for value in [Some(vec![0; self.probe_bytes.min(PROBE_BYTES_MAX)]), None] {
            self.store.commit(&Commit { rows: vec![(PROBE.to_vec(), value)], ..Commit::default() })?;
        }
        Ok(())
    }

    /// The broker stops: what is not resolved is, if that can be; it is refused otherwise. What is in doubt even then nobody is told.
    pub fn stop(&mut self) -> Fed {
        let mut fed = Fed::default();
        if self.in_doubt.is_some() {
            let settled = self.store.reopen().map_err(LogError::from).and_then(|()| self.settle_doubt(&mut fed));
            if let Err(error) = settled {
                tracing::error!(%error, "it is not known whether the last messages are stored");
            }
        }
        let ranges = self.solo.refuse_waiting();
        self.refuse(&ranges, &mut fed);
        fed
    }

    /// Housekeeping: gives up a slice of what need not be kept, and has the store tidy up. To be called about once a second;
    /// sooner if it says `true`, for there is more to do.
    ///
    /// # Errors
    /// The store fails; nothing that has to stay is lost.
    pub fn maintain(&mut self, now_us: u64, fed: &mut Vec<Fed>) -> Result<bool, LogError> {
        if self.failed.is_some() {
            return Ok(false);
        }
        self.look_around(now_us);
        let wanted = self.state.min_cursor().map_or(u64::MAX, |done_to| done_to + 1);
        let slice = self.cleaner.look(now_us, wanted, self.state.last_number())?;
        let more = slice.more;
        let cleaned = self.clean(slice, now_us, fed).and_then(|()| Ok(self.store.maintain()?));
        match cleaned {
            Ok(untidy) => Ok(more || untidy),
            Err(error) => {
                if self.failed.is_none() {
                    self.stop_taking(error.clone());
                }
                Err(error)
            }
        }
    }

    /// Gives up at once all that need not be kept: for a log at which nobody else works.
    ///
    /// # Errors
    /// The store fails; nothing that has to stay is lost.
    pub fn clean_up(&mut self, now_us: u64) -> Result<(), LogError> {
        while self.maintain(now_us, &mut Vec::new())? || !self.cleaner.has_walked() {}
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// Ends, and gives the store back.
    pub fn into_store(self) -> Box<dyn Store> {
        self.store
    }

    /// Carries out what the cleaner has found.
    fn clean(&mut self, slice: Slice, now_us: u64, fed: &mut Vec<Fed>) -> Result<(), LogError> {
        let Slice { floors, dropped, rewritten, lost, .. } = slice;
        if dropped.is_empty() && rewritten.is_empty() {
            return Ok(());
        }
        for Floor { realm, pattern, first } in floors {
            let pattern = pattern.map_or_else(|| OTHERS.to_owned(), |pattern| rows::pattern_text(&pattern));
            self.solo.command(OrderCommand::Retain { realm, pattern, first });
        }
        while let Some(one) = self.step(now_us) {
            fed.push(one);
        }
        // Floors come before deletions: if they could not be raised, nothing is deleted.
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.store.commit(&Commit { dropped, rewritten, ..Commit::default() })?;
        self.cleaner.done(lost);
        Ok(())
    }

    /// Looks at all who read the log, if that is due: about once a second, less often where there are very many.
    fn look_around(&mut self, now_us: u64) {
        if now_us < self.census_at_us {
            return;
        }
        let begun = Instant::now();
        self.census = self.state.census(NAMED_MAX);
        self.census_at_us = now_us + (begun.elapsed().as_micros() as u64 * 100).max(CENSUS_US);
    }

    /// How the log is doing, as housekeeping has found it.
    pub fn report(&self) -> Report {
        Report { kept: self.cleaner.kept(), lost: self.cleaner.lost(), census: self.census.clone() }
    }

    /// See [`Store::sync`].
    ///
    /// # Errors
    /// The store fails. Nobody knows what of the last interval is on disk: durable publishing stops until the store was opened
    /// again, which writes it once more.
    pub fn sync(&mut self) -> Result<(), LogError> {
        self.store.sync().map_err(|error| {
            let error = LogError::from(error);
            self.stop_taking(error.clone());
            error
        })
    }
}

/// A row that is written to see whether the store can be written; see [`rows::NODE`].
const PROBE: &[u8] = b"~probe";
/// It is not larger than this.
const PROBE_BYTES_MAX: usize = 1024 * 1024;

/// Named durable subscriptions whose place is told one by one: those that are behind most.
const NAMED_MAX: usize = 100;
/// How often readers of the log are looked at.
const CENSUS_US: u64 = 1_000_000;

fn solo(state: &State) -> Solo {
    let start = Start {
        entry: NodeId::entry("E1"),
        position: state.position(),
        incarnation: state.incarnation(ENTRY),
        time_us: state.time_us(),
    };
    // What may wait is bounded where it is submitted.
    Solo::new(start, EntryLimits { waiting_bytes_max: usize::MAX, ..EntryLimits::default() })
}

fn load(store: &dyn Store, limits: StateLimits) -> Result<State, LogError> {
    Ok(store::state::load(&mut *store.reader()?, limits)?)
}
