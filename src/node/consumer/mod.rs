//! Consumers of the log: what the broker itself passes on to elsewhere, and takes up again where it was.
//!
//! ```text
//! Node::set_consumer --Command::Consume--> log --Change::Consumer--> Consumers (every entry knows all of them)
//! Node::open_consumer --> Consumer: next() <--History--- segments      feed --says which have something to read--> wakes it
//!                         commit(cursor, state) --Command::Consume--> log
//! ```
//!
//! 1. A consumer is a name, patterns, settings, a place in the log and a small state of its owner's. All of it is in the log's state:
//!    place and state move in one transaction, and events may be published in the same one ([`Consumer::commit_with`]).
//! 2. It reads the log from its place on, in order and in batches of bounded size, and holds no message longer than its owner does.
//!    While it has read everything it costs the feed one look at an index for each topic of a segment; it is never polled.
//! 3. What it has not done stays in the log, within the bounds of what is kept for sessions, as for a named durable subscription.
//! 4. In a cluster one entry runs it: who made it, and when that is gone, who asks first. What another says of its place is void.
//!
//! Who may do all this: the broker alone. Events that their publisher meant for some subscribers only are left out.

mod aside;
mod known;
mod promise;
mod read;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

pub use aside::Aside;
pub use known::{ConsumerInfo, Consumers, Lag, Watch};
use known::{Given, Known};
pub use promise::Gone;
use promise::promise;
use read::{Place, Stopped};

use super::Node;
use super::durables::row;
use super::log::{ClockFn, Submission, tickets::Owner};
use super::past::Past;
use super::realm::Realm;
use crate::queue::command::{Command, Consume, ConsumerPlace, ConsumerRow};
use crate::queue::message;
use crate::queue::outcome::{Done, Outcome, Refused};
use crate::queue::state::rows;
use crate::store::{StoreError, StoreReader};
use crate::types::topic::TopicPattern;

/// So far a consumer that has nothing to do passes by what it does not want before that is recorded.
const PASSED_MIN: u64 = 10_000;

/// Events that were read, in the order of the log.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub events: Vec<Past>,
    /// Topics and payloads of them.
    pub bytes: usize,
    /// The place behind them, to be committed when they are done. There is nothing more to be had up to it.
    pub up_to: u64,
}

/// How much is to be read at a time.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub events_max: usize,
    /// One event is given whatever its size.
    pub bytes_max: usize,
    /// The last number that is wanted: if there is nothing (any more) up to it, an empty batch says so.
    pub until: Option<u64>,
}

/// What others have done to a consumer that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It is to look at once whether it can go on.
    Nudged,
    /// Its patterns or settings are others, or it was moved: it has to be opened again.
    Changed,
    /// Another entry of the cluster runs it.
    Elsewhere,
    Removed,
}

/// What is asked of the log was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsumerError {
    /// It may be tried again.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It may be tried again.
    #[error("{0}")]
    Unreadable(String),
    #[error("another entry of the cluster runs it, or it was moved")]
    Stale,
    #[error("there is no consumer of this name")]
    NotFound,
    #[error("settings or state have more than {} bytes", crate::queue::state::CONSUMER_BYTES_MAX)]
    TooLarge,
    #[error("there is no such realm")]
    NoRealm,
    #[error("the broker stops")]
    Stopping,
}

impl From<Gone> for ConsumerError {
    fn from(_: Gone) -> Self {
        Self::Stopping
    }
}

impl From<StoreError> for ConsumerError {
    fn from(error: StoreError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// A consumer that is open, by its owner alone. Dropped, it is where it was committed last.
pub struct Consumer {
    node: Arc<Node>,
    realm: Arc<Realm>,
    known: Arc<Known>,
    clock: ClockFn,
    /// As it was when this was opened, but for nudges that were told.
    row: ConsumerRow,
    place: Place,
    done_to: u64,
    state: Bytes,
    /// Read, and not enough yet.
    partial: Batch,
}

impl Consumer {
    /// What its owner has committed last; empty if it is new, or was moved.
    pub fn state(&self) -> &Bytes {
        &self.state
    }

    /// What its owner has to know of it, as it was when it was opened.
    pub fn settings(&self) -> &Bytes {
        &self.row.settings
    }

    /// All its events up to this number are done.
    pub fn done_to(&self) -> u64 {
        self.done_to
    }

    /// The last number that its owner was given, or that it has passed by. What it has read and not given is behind it.
    pub fn read_to(&self) -> u64 {
        let first = self.partial.events.first().and_then(|past| past.event.place);
        first.map_or(self.place.next(), |place| place.number) - 1
    }

    /// Events that wait, and how old they are.
    pub fn lag(&self) -> Lag {
        self.known.lag()
    }

    /// Events that it has not read, as far as is known.
    pub fn unread(&self) -> u64 {
        self.known.unread()
    }

    /// Reads on, as much as there is at once and `bounds` let; waits while there is nothing. May be dropped and called again:
    /// nothing is lost by it.
    ///
    /// # Errors
    /// Others have done something to it; behind [`News::Nudged`] it may be called again.
    pub async fn next(&mut self, bounds: Bounds) -> Result<Batch, News> {
        std::future::poll_fn(|context| self.poll_next(context, bounds)).await
    }

    /// Waits until others do something to it.
    pub async fn news(&mut self) -> News {
        let news = |context: &mut Context<'_>| {
            self.known.link.waker.register(context.waker());
            self.take_news().map_or(Poll::Pending, Poll::Ready)
        };
        std::future::poll_fn(news).await
    }

    /// Waits until there are so many events to be read, as far as is known, or others have done something to it.
    pub async fn gathered(&mut self, events: u64) -> Option<News> {
        let gathered = |context: &mut Context<'_>| {
            self.known.link.waker.register(context.waker());
            match self.take_news() {
                Some(news) => Poll::Ready(Some(news)),
                None if self.known.has_gathered(events) => Poll::Ready(None),
                None => Poll::Pending,
            }
        };
        std::future::poll_fn(gathered).await
    }

    /// Reads on behind another number: what was read behind it is read again.
    pub fn rewind(&mut self, after: u64) {
        self.partial = Batch::default();
        self.place.rewind(after + 1);
        self.known.rewound(after);
    }

    /// Reads some of its patterns from another place on, beside it: neither moves the other.
    pub fn aside(&self, patterns: &[TopicPattern], after: u64) -> Aside {
        let patterns: Vec<String> = patterns.iter().map(rows::pattern_text).collect();
        let place = Place::new(after + 1, &patterns);
        Aside::new(self.node.clone(), self.realm.clone(), self.clock.clone(), place)
    }

    /// Records that all events up to `done_to` are done, and what its owner is to remember, in one transaction. Work may go on
    /// before the answer is there, which comes when it is durable.
    ///
    /// # Errors
    /// See [`ConsumerError`]; nothing was recorded.
    pub fn commit(
        &mut self,
        done_to: u64,
        state: Bytes,
    ) -> impl Future<Output = Result<(), ConsumerError>> + Send + use<> {
        self.commit_with(message::Batch::default(), done_to, state)
    }

    /// The same, and publishes events in the same transaction, before it.
    ///
    /// # Errors
    /// See [`ConsumerError`]; nothing was recorded or published.
    pub fn commit_with(
        &mut self,
        events: message::Batch,
        done_to: u64,
        state: Bytes,
    ) -> impl Future<Output = Result<(), ConsumerError>> + Send + use<> {
        (self.done_to, self.state) = (done_to, state.clone());
        self.known.done(done_to);
        let what = Consume::Commit { epoch: self.row.epoch, done_to, state };
        self.node.consume(events, &self.realm.name, &self.known.name, what)
    }

    fn poll_next(&mut self, context: &mut Context<'_>, bounds: Bounds) -> Poll<Result<Batch, News>> {
        self.known.link.waker.register(context.waker());
        if let Some(news) = self.take_news() {
            return Poll::Ready(Err(news));
        }
        if let Some(passed) = self.known.take_idle(self.node.consumers.told()) {
            self.place.pass(passed);
        }
        let now_ms = (self.clock)();
        loop {
            let stopped = self.place.read(&self.node, &self.realm, &self.known.link, now_ms, bounds, &mut self.partial);
            let is_over = bounds.until.is_some_and(|until| self.place.next() > until);
            match stopped {
                Stopped::Full => return Poll::Ready(Ok(self.give())),
                _ if is_over => return Poll::Ready(Ok(self.give())),
                Stopped::Met if !self.partial.events.is_empty() => return Poll::Ready(Ok(self.give())),
                Stopped::Met => {
                    self.known.set_idle(self.place.next());
                    if self.node.log.history.fed() < self.place.next() {
                        self.record_passed();
                        return Poll::Pending;
                    }
                    // It was fed meanwhile, perhaps before the feed could see that this one waits.
                    self.known.take_idle(0);
                }
                Stopped::Waits => return Poll::Pending,
                Stopped::Later => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }

    fn give(&mut self) -> Batch {
        let mut batch = std::mem::take(&mut self.partial);
        batch.up_to = self.place.next() - 1;
        if let Some(first) = batch.events.first() {
            let (events, at_us) = (batch.events.len() as u64, first.at_us);
            self.known.given(Given { up_to: batch.up_to, events, at_us });
        }
        batch
    }

    /// What it has passed by while it has nothing to do does not keep the log from being tidied up.
    fn record_passed(&mut self) {
        let passed = self.place.next() - 1;
        if passed >= self.done_to + PASSED_MIN && self.known.has_given_nothing() {
            // If it fails, so will what its owner commits next.
            drop(self.commit(passed, self.state.clone()));
        }
    }

    fn take_news(&mut self) -> Option<News> {
        let Some(row) = self.known.row() else { return Some(News::Removed) };
        if row.changed == self.row.changed && row.holder == self.row.holder {
            return None;
        }
        if self.node.is_elsewhere(row.holder) {
            return Some(News::Elsewhere);
        }
        let same = |a: &ConsumerRow, b: &ConsumerRow| {
            (a.epoch, &a.patterns, &a.settings) == (b.epoch, &b.patterns, &b.settings)
        };
        if !same(&row, &self.row) {
            return Some(News::Changed);
        }
        let nudged = row.changed != self.row.changed;
        self.row = row;
        nudged.then_some(News::Nudged)
    }
}

impl Node {
    /// Makes a consumer, or gives one other patterns and settings. A new one begins behind the event of number `after`, else with
    /// what is published from now on.
    ///
    /// # Errors
    /// See [`ConsumerError`].
    pub async fn set_consumer(
        self: &Arc<Self>,
        realm: &str,
        name: &str,
        patterns: &[TopicPattern],
        settings: Bytes,
        after: Option<u64>,
    ) -> Result<(), ConsumerError> {
        let patterns = patterns.iter().map(rows::pattern_text).collect();
        self.change_consumer(realm, name, Consume::Set { patterns, settings, after }).await
    }

    /// Has a consumer go on behind another number. Its state is empty then.
    ///
    /// # Errors
    /// See [`ConsumerError`].
    pub async fn move_consumer(self: &Arc<Self>, realm: &str, name: &str, after: u64) -> Result<(), ConsumerError> {
        self.change_consumer(realm, name, Consume::Seek { after }).await
    }

    /// Has whoever runs a consumer look at it now ([`News::Nudged`]).
    ///
    /// # Errors
    /// See [`ConsumerError`].
    pub async fn nudge_consumer(self: &Arc<Self>, realm: &str, name: &str) -> Result<(), ConsumerError> {
        self.change_consumer(realm, name, Consume::Nudge).await
    }

    /// Has this entry of a cluster run a consumer, whichever did so before: what it serves has come here.
    ///
    /// # Errors
    /// See [`ConsumerError`].
    pub async fn take_consumer(self: &Arc<Self>, realm: &str, name: &str) -> Result<(), ConsumerError> {
        self.change_consumer(realm, name, Consume::Take).await
    }

    /// # Errors
    /// See [`ConsumerError`].
    pub async fn remove_consumer(self: &Arc<Self>, realm: &str, name: &str) -> Result<(), ConsumerError> {
        self.change_consumer(realm, name, Consume::Remove).await
    }

    /// Opens a consumer. In a cluster it is this entry's then. One task at a time may have it open.
    ///
    /// # Errors
    /// See [`ConsumerError`]; [`ConsumerError::Stale`] if another entry runs it.
    pub async fn open_consumer(
        self: &Arc<Self>,
        realm: &str,
        name: &str,
        clock: ClockFn,
    ) -> Result<Consumer, ConsumerError> {
        let realm = self.realm(realm).ok_or(ConsumerError::NoRealm)?;
        let known = self.consumers.get(&realm.name, name).ok_or(ConsumerError::NotFound)?;
        let holder = known.row().ok_or(ConsumerError::NotFound)?.holder;
        if self.is_elsewhere(holder) {
            if holder.is_some() {
                return Err(ConsumerError::Stale);
            }
            self.change_consumer(&realm.name, name, Consume::Host).await?;
        }
        let row = known.row().ok_or(ConsumerError::NotFound)?;
        let ConsumerPlace { epoch, done_to, state } = self.consumer_place(&realm.name, name).await?;
        if epoch > row.epoch {
            // It was moved just now: the row follows.
            return Err(ConsumerError::Stale);
        }
        known.begin(done_to);
        self.count_unread(&realm, &known, done_to);
        let place = Place::new(done_to + 1, &row.patterns);
        let (node, partial) = (self.clone(), Batch::default());
        Ok(Consumer { node, realm, known, clock, row, place, done_to, state, partial })
    }

    /// How far a consumer is, as it was committed last, whichever entry runs it.
    ///
    /// # Errors
    /// See [`ConsumerError`].
    pub async fn consumer_place(self: &Arc<Self>, realm: &str, name: &str) -> Result<ConsumerPlace, ConsumerError> {
        let key = rows::consumer_place(realm, name);
        let (tell, told) = promise();
        let read = move |reader: &mut dyn StoreReader| -> Result<ConsumerPlace, ConsumerError> {
            let value = row(reader, &key)?.ok_or(ConsumerError::NotFound)?;
            rows::decode(&key, &value).map_err(|error| ConsumerError::Unreadable(error.to_string()))
        };
        self.ask_history(move |_, reader| tell.tell(read(reader)))
            .map_err(|busy| ConsumerError::Unreadable(busy.to_string()))?;
        told.await?
    }

    async fn change_consumer(self: &Arc<Self>, realm: &str, name: &str, what: Consume) -> Result<(), ConsumerError> {
        self.consume(message::Batch::default(), realm, name, what).await
    }

    fn consume(
        self: &Arc<Self>,
        mut batch: message::Batch,
        realm: &str,
        name: &str,
        what: Consume,
    ) -> impl Future<Output = Result<(), ConsumerError>> + Send + use<> {
        let what = Box::new(what);
        batch.command(&Command::Consume { realm: realm.to_owned(), name: name.to_owned(), what });
        let (tell, told) = promise();
        let hear = move |outcome| match outcome {
            Outcome::Done(Done::Yes | Done::Connected { .. }) => tell.tell(Ok(())),
            Outcome::Done(Done::Stale) => tell.tell(Err(ConsumerError::Stale)),
            Outcome::Done(Done::NotFound) => tell.tell(Err(ConsumerError::NotFound)),
            Outcome::Done(Done::Conflict) => tell.tell(Err(ConsumerError::TooLarge)),
            Outcome::Refused { why, .. } => tell.tell(Err(why.into())),
            // Of events before it.
            _ => {}
        };
        self.submit(Submission { batch, owner: Owner::Function(Arc::new(hear)) });
        async { told.await? }
    }
}
