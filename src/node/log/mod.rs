//! The durable log at work: what is submitted, who is told what became of it, and the threads in between.
//!
//! ```text
//! Publisher --submit--> inbox --log thread: roles, state, commit--> feed thread --> mailboxes of subscribers
//!                                                                        \--------> Tickets of who submitted
//! ```
//!
//! There are two threads, so that a segment is fed to subscribers while the next is written: the *log thread* takes all that
//! gathered while it was busy, makes a segment of it and commits it with one fsync; the *feed thread* routes it and tells
//! the submitters. No timer: light load makes small segments at once, heavy load large ones.
//!
//! Rules: nothing is submitted with a lock held (in tests a submission is worked off at once, by its own caller). Outcomes come
//! to one connection in the order of its submissions.

mod cleaner;
mod engine;
mod feed;
pub mod follow;
mod heads;
pub mod history;
mod inline;
pub mod keys;
mod threads;
pub mod tickets;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};

use crate::node::Node;
use crate::node::metrics::Histogram;
use crate::queue::message::{Batch, Head};
use crate::queue::outcome::{Outcome, Refused};
use crate::queue::publication::Publications;
use crate::queue::retention::Policy;
use crate::queue::segment::Segment;
use crate::queue::solo::TicketRange;
use crate::queue::state::floors::{Floors, OTHERS};
use crate::queue::state::rows;
use crate::router::authorize::covers;
use crate::store::StoreReader;
use crate::store::{Commit, Store, StoreError};
use crate::types::event_id::EventId;
use crate::types::ids::PublicationId;
use crate::types::topic::{Topic, TopicPattern};
pub use cleaner::{Cleaner, Kept, Slice};
pub use engine::{Engine, LogError, Report};
pub use feed::{Details, Fed, Feed};
use heads::Heads;
use history::History;
use inline::Inline;
pub use threads::Threads;
use tickets::{Owner, Turn};

/// Milliseconds since 1970.
pub type ClockFn = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Messages of one submitter, and who is to be told.
pub struct Submission {
    pub batch: Batch,
    pub owner: Owner,
}

/// A submission that has its turn among those of its owner.
pub struct Submitted {
    pub batch: Batch,
    pub turn: Turn,
}

/// The submitting side, shared by all connections.
pub struct Log {
    inbox: Mutex<Inbox>,
    gathered: Condvar,
    /// Bytes submitted and not resolved.
    unresolved_bytes: AtomicUsize,
    unresolved_bytes_max: usize,
    /// For who reads the past.
    pub history: History,
    heads: Arc<Heads>,
    publications: OnceLock<Publications>,
    /// Why durable publishing has stopped, if it has.
    health: Mutex<Option<String>>,
    alarms: Mutex<Vec<String>>,
    report: Mutex<Report>,
    /// What is kept for its own sake.
    policies: Vec<Policy>,
    floors: RwLock<Floors>,
    /// The highest of them.
    floor_max: AtomicU64,
    /// Set where there are no threads.
    inline: OnceLock<Inline>,
    /// Called when something was submitted, where another thread than the log's own waits for it.
    waker: OnceLock<Box<dyn Fn() + Send + Sync>>,
    pub counts: Counts,
}

/// What the log has done so far.
#[derive(Debug, Default)]
pub struct Counts {
    /// Messages that were stored, and their bytes.
    pub messages: AtomicU64,
    pub bytes: AtomicU64,
    /// From taking a position to its being stored.
    pub commit: Histogram,
    /// How often durable publishing has stopped.
    pub failures: AtomicU64,
}

#[derive(Default)]
struct Inbox {
    submissions: Vec<Submitted>,
    /// Why nothing is taken at the moment.
    closed: Option<Refused>,
}

impl Log {
    /// A log that takes so many bytes that are not resolved, and keeps what these say.
    pub fn new(unresolved_bytes_max: usize, policies: Vec<Policy>) -> Self {
        Self {
            policies,
            inbox: Mutex::default(),
            gathered: Condvar::new(),
            unresolved_bytes: AtomicUsize::new(0),
            unresolved_bytes_max,
            history: History::default(),
            heads: Arc::default(),
            publications: OnceLock::new(),
            health: Mutex::default(),
            alarms: Mutex::default(),
            report: Mutex::default(),
            floors: RwLock::default(),
            floor_max: AtomicU64::new(0),
            inline: OnceLock::new(),
            waker: OnceLock::new(),
            counts: Counts::default(),
        }
    }

    /// Takes messages. The owner is told what became of each, in any case; of refused ones as soon as of those before them.
    pub(super) fn submit(&self, submission: Submission) {
        let Submission { batch, owner } = submission;
        if batch.is_empty() {
            return;
        }
        let (bytes, count) = (batch.len(), batch.count);
        let turn = owner.submits(count);
        let mut inbox = self.inbox.lock();
        let unresolved = self.unresolved_bytes.load(Ordering::Relaxed);
        // What is larger than may wait goes alone.
        let full = unresolved > 0 && unresolved + bytes > self.unresolved_bytes_max;
        if let Some(why) = inbox.closed.or(full.then_some(Refused::Full)) {
            drop(inbox);
            turn.tell(Outcome::Refused { count, why });
            return;
        }
        self.unresolved_bytes.fetch_add(bytes, Ordering::Relaxed);
        inbox.submissions.push(Submitted { batch, turn });
        if inbox.submissions.len() == 1 {
            self.gathered.notify_one();
            drop(inbox);
            if let Some(wake) = self.waker.get() {
                wake();
            }
        }
    }

    /// Has this called when something was submitted. Once.
    pub fn wake_by(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.waker.set(Box::new(wake));
    }

    /// All that was submitted by now.
    pub fn take_submitted(&self) -> Vec<Submitted> {
        std::mem::take(&mut self.inbox.lock().submissions)
    }

    /// Durable publishing has stopped for this reason, or (`None`) goes on.
    pub fn set_trouble(&self, why: Option<String>) {
        let before = std::mem::replace(&mut *self.health.lock(), why.clone());
        if before.is_none() && why.is_some() {
            self.counts.failures.fetch_add(1, Ordering::Relaxed);
        }
        self.close(why.map(|_| Refused::StoreUnavailable));
    }

    /// Takes nothing more, for the broker stops.
    pub fn stop_taking(&self) {
        self.close(Some(Refused::Stopping));
    }

    pub(super) fn set_inline(&self, engine: Engine, feed: Feed, clock: ClockFn) {
        let _ = self.inline.set(Inline::new(engine, feed, clock));
    }

    /// Where there are no threads: works off what was submitted.
    pub(super) fn run_inline(&self, node: &Arc<Node>) {
        if let Some(inline) = self.inline.get() {
            inline.run(node);
        }
    }

    /// Where there are no threads: tries to go on after the store has failed.
    ///
    /// # Errors
    /// It still fails.
    #[cfg(test)]
    pub(super) fn recover_inline(&self, node: &Arc<Node>) -> Result<(), LogError> {
        self.inline.get().map_or(Ok(()), |inline| inline.recover(node))
    }

    /// Takes all that was submitted; waits for it as long as `patience` (`None`: for ever). `None`: the log is closed for good,
    /// and nothing is left.
    fn gather(&self, patience: Option<Duration>) -> Option<Vec<Submitted>> {
        let mut inbox = self.inbox.lock();
        if inbox.submissions.is_empty() && inbox.closed != Some(Refused::Stopping) {
            match patience {
                Some(patience) => drop(self.gathered.wait_for(&mut inbox, patience)),
                None => self.gathered.wait(&mut inbox),
            }
        }
        let stopped = inbox.submissions.is_empty() && inbox.closed == Some(Refused::Stopping);
        (!stopped).then(|| std::mem::take(&mut inbox.submissions))
    }

    /// Nothing waits to be committed.
    fn is_idle(&self) -> bool {
        self.inbox.lock().submissions.is_empty()
    }

    /// Works off what was submitted. `feed` is given what comes of each position.
    fn work_off(&self, engine: &mut Engine, submitted: Vec<Submitted>, clock: &ClockFn, feed: &mut dyn FnMut(Fed)) {
        let bytes = submitted.iter().map(|submitted| submitted.batch.len()).sum();
        let mut refused = Fed::default();
        for submitted in submitted {
            engine.take(submitted, &mut refused);
        }
        feed(refused);
        loop {
            let begun = Instant::now();
            let Some(fed) = engine.step(clock() * 1000) else { break };
            match engine.failed() {
                Some(failed) => self.set_health(Some(failed)),
                None => self.count(&fed.segment, begun.elapsed()),
            }
            feed(fed);
        }
        self.resolved(bytes);
    }

    fn count(&self, committed: &Segment, took: Duration) {
        let counts = &self.counts;
        counts.messages.fetch_add(committed.count.into(), Ordering::Relaxed);
        counts.bytes.fetch_add(committed.bytes() as u64, Ordering::Relaxed);
        counts.commit.observe_us(took.as_micros() as u64);
    }

    /// So many bytes are resolved.
    fn resolved(&self, bytes: usize) {
        self.unresolved_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Refuses what is submitted from now on, or (`None`) takes it again.
    fn close(&self, why: Option<Refused>) {
        let mut inbox = self.inbox.lock();
        if inbox.closed != Some(Refused::Stopping) {
            inbox.closed = why;
        }
        self.gathered.notify_one();
    }

    fn set_health(&self, failed: Option<&LogError>) {
        let before = std::mem::replace(&mut *self.health.lock(), failed.map(LogError::to_string));
        if before.is_none() && failed.is_some() {
            self.counts.failures.fetch_add(1, Ordering::Relaxed);
        }
        self.close(failed.map(|_| Refused::StoreUnavailable));
        if before.is_some() && failed.is_none() {
            tracing::warn!("the store works again: durable publishing goes on");
        }
    }

    /// A thread of the log has ended by a fault of ours: nothing is stored until the broker is started again.
    fn give_up(&self) {
        *self.health.lock() = Some("a fault has ended the log: the broker has to be started again".to_owned());
        self.close(Some(Refused::StoreUnavailable));
        for submitted in std::mem::take(&mut self.inbox.lock().submissions) {
            let count = submitted.batch.count;
            submitted.turn.tell(Outcome::Refused { count, why: Refused::StoreUnavailable });
        }
    }

    /// Something is wrong that does not stop the log, and will not pass by itself.
    pub fn alarm(&self, what: String) {
        tracing::error!(alarm = what);
        self.alarms.lock().push(what);
    }

    /// What is wrong since the start, though the log goes on.
    pub fn alarms(&self) -> Vec<String> {
        self.alarms.lock().clone()
    }

    /// Why durable publishing has stopped; `None` while all is well.
    pub fn health(&self) -> Option<String> {
        self.health.lock().clone()
    }

    /// How the log was doing about a second ago.
    pub fn report(&self) -> Report {
        self.report.lock().clone()
    }

    fn set_report(&self, report: Report) {
        *self.report.lock() = report;
    }

    /// More than half of what may wait does: publishers had better not be read for a moment.
    pub fn is_crowded(&self) -> bool {
        self.unresolved_bytes.load(Ordering::Relaxed) > self.unresolved_bytes_max / 2
    }

    /// Bytes that wait to be committed.
    pub fn unresolved_bytes(&self) -> usize {
        self.unresolved_bytes.load(Ordering::Relaxed)
    }

    /// Number of the last message that the feed has begun to route.
    pub fn fed(&self) -> u64 {
        self.history.fed()
    }

    /// The feed begins to route a segment.
    fn begin_feeding(&self, segment: &Arc<Segment>) {
        self.history.fed_segment(segment.clone());
        self.heads.note(segment);
    }

    /// The last segment that the log has when it is opened.
    pub(super) fn note_head(&self, segment: &Segment) {
        if self.heads.last().is_none() {
            self.heads.note(segment);
        }
    }

    /// The event id of a number that was fed lately.
    pub fn event_id_of(&self, number: u64) -> Option<EventId> {
        self.heads.id_of(number)
    }

    /// The minute in which an event was published, if that is known without reading it; else it will be soon, for it is looked up.
    pub fn minute_of(&self, number: u64) -> Option<u32> {
        let found = self.heads.find(number).map(|id| id.minute);
        if found.is_none() {
            let heads = self.heads.clone();
            let look = move |reader: &mut dyn StoreReader| {
                if let Some(segment) = reader.segments(number, None, 1).ok().and_then(|found| found.into_iter().next())
                {
                    heads.learn(&segment);
                }
            };
            // Whoever asks asks again.
            let _ = self.history.ask(Box::new(look));
        }
        found
    }

    /// The event id of the last event that was fed, if there was one since the start.
    pub fn last_event_id(&self) -> Option<EventId> {
        self.heads.last()
    }

    /// The lowest number from which on all durable events of the pattern are there, as far as retention goes.
    pub fn first_available(&self, realm: &str, pattern: &TopicPattern) -> u64 {
        let covers = |policy: &Policy| {
            policy.realm.as_ref().is_none_or(|name| name == realm) && covers(&policy.pattern, pattern)
        };
        let others = !self.policies.iter().any(covers);
        self.floors.read().first_available(realm, pattern, others)
    }

    /// Whether retention has given up what a segment has of a topic. For a while it may be there all the same: in memory, or at a
    /// storage that has not deleted it yet; nobody shall see the difference.
    pub fn is_given_up(&self, segment: &Segment, head: &Head<'_>) -> bool {
        if segment.last() >= self.floor_max.load(Ordering::Acquire) {
            return false;
        }
        let Ok(topic) = Topic::from_name(head.topic) else { return false };
        let is_its = |policy: &&Policy| {
            policy.realm.as_ref().is_none_or(|name| *name == *head.realm) && policy.pattern.matches(&topic)
        };
        let policy = self.policies.iter().find(is_its);
        let pattern = policy.map_or_else(|| OTHERS.to_owned(), |policy| rows::pattern_text(&policy.pattern));
        segment.last() < self.floors.read().first_of(head.realm, &pattern)
    }

    /// Retention of a cluster has given up something.
    fn raise_floor(&self, realm: &str, pattern: &str, first: u64) {
        self.floors.write().raise(realm, pattern, first);
        self.floor_max.fetch_max(first, Ordering::AcqRel);
    }

    /// Retention has given up something.
    pub(super) fn set_floors(&self, floors: &Floors) {
        if *self.floors.read() != *floors {
            *self.floors.write() = floors.clone();
            self.floor_max.fetch_max(floors.highest(), Ordering::AcqRel);
        }
    }

    /// The WAMP publication id of the durable event of this number.
    pub fn publication_of(&self, number: u64) -> PublicationId {
        self.publications.get().map_or(PublicationId(number), |publications| publications.publication_of(number))
    }

    /// The number of the durable event with this publication id; `None` if it can be none's.
    pub fn number_of(&self, publication: PublicationId) -> Option<u64> {
        self.publications.get()?.number_of(publication)
    }

    /// Reads the key that publication ids are made with, or makes one.
    pub(super) fn open_publications(&self, store: &mut dyn Store, random: [u8; 16]) -> Result<(), StoreError> {
        let known = store.get(PUBLICATION_KEY)?;
        let key = match known.as_deref().map(<[u8; 16]>::try_from) {
            Some(Ok(key)) => key,
            Some(Err(_)) => return Err(StoreError::Damaged("the key of publication ids".to_owned())),
            None => {
                let rows = vec![(PUBLICATION_KEY.to_vec(), Some(random.to_vec()))];
                store.commit(&Commit { rows, ..Commit::default() })?;
                random
            }
        };
        let _ = self.publications.set(Publications::new(&key));
        Ok(())
    }
}

/// What each submitter is told about its messages: runs of plain events, and between them what is not one. `first`: number of the
/// first message; `take` gives the turn of a ticket. Who waits for a grant is added to `waiting`.
fn outcomes(
    first: u64,
    ranges: &[TicketRange],
    exceptions: &[(u32, Outcome)],
    mut take: impl FnMut(u64) -> Option<Turn>,
    waiting: &mut HashMap<u64, Turn>,
) -> Vec<(Turn, Outcome)> {
    let mut told = Vec::new();
    let mut exceptions = exceptions.iter().peekable();
    for range in ranges {
        let Some(turn) = take(range.ticket) else { continue };
        let end = range.offset + range.count;
        let mut offset = range.offset;
        while offset < end {
            let next = exceptions.peek().map_or(end, |(at, _)| (*at).min(end));
            if next > offset {
                let outcome = Outcome::Events { first: first + u64::from(offset), count: next - offset };
                told.push((turn.behind(offset - range.offset), outcome));
                offset = next;
            }
            if offset < end
                && let Some((_, outcome)) = exceptions.next()
            {
                let turn = turn.behind(offset - range.offset);
                if let Outcome::Waiting { ticket } = outcome {
                    waiting.insert(*ticket, turn.clone());
                }
                told.push((turn, outcome.clone()));
                offset += 1;
            }
        }
    }
    told
}

/// The row with the key of publication ids; see [`rows::NODE`].
const PUBLICATION_KEY: &[u8] = b"~publication key";

#[cfg(test)]
mod tests;
