//! One service: the one task that reads for it, sends to it and records how far it is.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::PREFIX;
use super::body::Body;
use super::client::{Client, Heard};
use super::machine::{Machine, Recording, Stored};
use super::run::Shared;
use super::settings::ServiceSettings;
use crate::node::consumer::{Batch, Bounds, Consumer, ConsumerError, News};
use crate::node::realm::Realm;
use crate::queue::message;

mod outcome;

/// How long what could not be recorded, or opened, is left alone.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a service that was changed is left alone.
const BREATH: Duration = Duration::from_millis(50);

/// Why a task has stopped.
#[derive(Debug)]
pub(super) enum End {
    /// It is another service now, or was moved.
    Again,
    /// It is gone, or another entry has it.
    Over,
    /// It cannot be run at the moment.
    Fails(String),
}

type Flight = Pin<Box<dyn Future<Output = (Box<Client>, Heard)> + Send>>;
type Commit = Pin<Box<dyn Future<Output = Result<(), ConsumerError>> + Send>>;

/// See the module.
struct Task<'a> {
    shared: &'a Arc<Shared>,
    realm: Arc<Realm>,
    name: &'a str,
    settings: ServiceSettings,
    consumer: Consumer,
    machine: Machine,
    /// Of the planned transactions, the oldest ones: what was read for them.
    bodies: VecDeque<Body>,
    /// The first number of the planned transaction that is being read again.
    reads_for: Option<u64>,
    /// None while it is under way.
    client: Option<Box<Client>>,
    flight: Option<Flight>,
    commit: Option<Recorded>,
    /// Nothing is recorded before.
    commit_at: Instant,
    /// Events that were refused for good, to be published with the next record.
    letters: message::Batch,
    /// What is not full is not planned before; unless there is enough for a full one.
    gather_until: Instant,
    has_gathered: bool,
}

/// A record that is under way, and the letters that are published with it.
struct Recorded {
    what: Recording,
    letters: message::Batch,
    commit: Commit,
}

/// What has happened.
enum Happened {
    Read(Result<Batch, News>),
    News(News),
    Gathered(Option<News>),
    Recorded(Result<(), ConsumerError>),
    Heard(Box<Client>, Heard),
    Time,
}

/// Owns a service until it is gone.
pub(super) async fn own(shared: Arc<Shared>, realm: String, name: String) {
    loop {
        match run(&shared, &realm, &name).await {
            // The log may have to tell of it first.
            End::Again => tokio::time::sleep(BREATH).await,
            End::Over => break,
            End::Fails(why) => {
                tracing::warn!(service = name, realm, why, "a service cannot be run: it is tried again");
                shared.board.put(&realm, &name, |seen| seen.last_error = Some(why));
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    shared.board.remove(&realm, &name);
}

async fn run(shared: &Arc<Shared>, realm: &str, name: &str) -> End {
    let consumer = match shared.node.open_consumer(realm, name, shared.clock.clone()).await {
        Ok(consumer) => consumer,
        Err(ConsumerError::NotFound | ConsumerError::Stopping) => return End::Over,
        // Another entry was faster, or it was moved just now: whoever has it is told by the log.
        Err(ConsumerError::Stale) if shared.is_elsewhere(realm, name) => return End::Over,
        Err(error) => return End::Fails(error.to_string()),
    };
    let Some(realm) = shared.node.realm(realm) else { return End::Over };
    let settings = match ServiceSettings::from_bytes(consumer.settings()) {
        Ok(settings) => settings,
        Err(error) => return End::Fails(format!("its settings cannot be read: {error}")),
    };
    let client = match Client::new(&settings, shared.allowed.clone(), || shared.connector(&settings)) {
        Ok(client) => client,
        Err(why) => return End::Fails(why),
    };
    let machine = Machine::new(stored(&consumer), &settings.url, settings.paused, (shared.clock)());
    let now = Instant::now();
    let mut task = Task {
        shared,
        realm,
        name,
        settings,
        consumer,
        machine,
        bodies: VecDeque::new(),
        reads_for: None,
        client: Some(Box::new(client)),
        flight: None,
        commit: None,
        commit_at: now,
        letters: message::Batch::default(),
        gather_until: now,
        has_gathered: false,
    };
    task.show();
    loop {
        if let Err(end) = task.step().await {
            return end;
        }
    }
}

/// What was recorded; nothing, if another version has done it.
fn stored(consumer: &Consumer) -> Stored {
    if consumer.state().is_empty() {
        return Stored::default();
    }
    serde_json::from_slice(consumer.state()).unwrap_or_else(|error| {
        tracing::error!(%error, "the state of a service cannot be read: it begins anew behind what was done");
        Stored::default()
    })
}

impl Task<'_> {
    fn id(&self) -> &str {
        self.name.strip_prefix(PREFIX).unwrap_or(self.name)
    }

    fn now_ms(&self) -> u64 {
        (self.shared.clock)()
    }

    /// Begins what is to be done, and waits for the next thing to happen.
    async fn step(&mut self) -> Result<(), End> {
        self.record();
        self.send();
        let now = Instant::now();
        let bounds = self.wanted().map(|until| self.bounds(until));
        // Events gather while a transaction is under way, and a little longer; but not more than fit into one.
        let is_busy = !self.machine.stored().planned.is_empty();
        let gathers = !self.has_gathered
            && bounds.is_some_and(|bounds| bounds.until.is_none())
            && (is_busy || now < self.gather_until);
        // What is due now waits for something else: to be read, or to be recorded.
        let due = self.due(now).filter(|due| *due > now);
        let gathered_by = (gathers && !is_busy).then_some(self.gather_until);
        let record_at = Some(self.commit_at).filter(|at| self.commit.is_none() && *at > now);
        let wake = [due, gathered_by, record_at].into_iter().flatten().min();
        let wish = match bounds {
            Some(_) if gathers => Wish::Gather(self.settings.events_max.into()),
            Some(bounds) => Wish::Read(bounds),
            None => Wish::News,
        };
        let Self { consumer, flight, commit, .. } = self;
        let happened = tokio::select! {
            (client, heard) = when(flight.as_mut()) => Happened::Heard(client, heard),
            done = when(commit.as_mut().map(|recorded| &mut recorded.commit)) => Happened::Recorded(done),
            happened = ask(consumer, wish) => happened,
            () = sleep_until(wake.unwrap_or(now)), if wake.is_some() => Happened::Time,
        };
        self.take(happened).await
    }

    async fn take(&mut self, happened: Happened) -> Result<(), End> {
        match happened {
            Happened::Time => Ok(()),
            Happened::Gathered(None) => {
                self.has_gathered = true;
                Ok(())
            }
            Happened::Read(Ok(batch)) => {
                self.keep(batch);
                Ok(())
            }
            Happened::Read(Err(news)) | Happened::News(news) | Happened::Gathered(Some(news)) => self.hear_news(news),
            Happened::Recorded(done) => self.hear_recorded(done),
            Happened::Heard(client, heard) => {
                (self.client, self.flight) = (Some(client), None);
                self.hear(heard).await
            }
        }
    }

    /// Up to where is to be read now (`Some(None)`: whatever the log has); `None`: nothing is wanted.
    fn wanted(&self) -> Option<Option<u64>> {
        let planned = &self.machine.stored().planned;
        if self.bodies.iter().map(Body::len).sum::<usize>() >= self.shared.share() {
            return None;
        }
        if let Some(next) = planned.get(self.bodies.len()) {
            let is_due = self.machine.due_ms().is_some_and(|due_ms| due_ms <= self.now_ms());
            let reads = self.machine.keeps_bodies() || (self.bodies.is_empty() && is_due);
            return reads.then_some(Some(next.up_to));
        }
        self.machine.may_plan().then_some(None)
    }

    fn bounds(&mut self, until: Option<u64>) -> Bounds {
        if until.is_some()
            && let Some(next) = self.machine.stored().planned.get(self.bodies.len())
            && self.reads_for != Some(next.first)
        {
            self.reads_for = Some(next.first);
            self.consumer.rewind(next.first - 1);
        }
        match until {
            // As it was when it was planned.
            Some(_) => Bounds { events_max: usize::MAX, bytes_max: usize::MAX, until },
            None => Bounds {
                events_max: self.settings.events_max as usize,
                bytes_max: (self.settings.bytes_max as usize).min(self.shared.share()),
                until,
            },
        }
    }

    /// Something was read: for a transaction that is planned, or for a new one.
    fn keep(&mut self, batch: Batch) {
        (self.reads_for, self.has_gathered) = (None, false);
        let at = self.bodies.len();
        let is_planned = at < self.machine.stored().planned.len();
        match Body::new(&batch.events, batch.up_to) {
            Some(body) if is_planned => self.bodies.push_back(body),
            Some(body) => {
                let is_full = batch.events.len() >= self.settings.events_max as usize
                    || batch.bytes >= self.settings.bytes_max as usize;
                let linger = Duration::from_millis(self.settings.linger_ms.into());
                self.gather_until = if is_full { Instant::now() } else { Instant::now() + linger };
                self.machine.plan(body.transaction(false));
                self.bodies.push_back(body);
            }
            None if is_planned => self.vanished(at),
            None => {}
        }
    }

    /// Sends the oldest transaction, if it is due and there.
    fn send(&mut self) {
        let now_ms = self.now_ms();
        let (Some(body), true) = (self.bodies.front(), self.flight.is_none()) else { return };
        let Some(transaction) = self.machine.send(now_ms) else { return };
        let (id, request) = (transaction.id(), body.request());
        let Some(mut client) = self.client.take() else { return };
        self.flight = Some(Box::pin(async move {
            let heard = client.send(&id, request, now_ms).await;
            (client, heard)
        }));
    }

    /// When something is due that time alone brings.
    fn due(&self, now: Instant) -> Option<Instant> {
        let due_ms = self.machine.due_ms().filter(|_| self.flight.is_none())?;
        Some(now + Duration::from_millis(due_ms.saturating_sub(self.now_ms())))
    }

    /// Has the state recorded, if that is not under way.
    fn record(&mut self) {
        if self.commit.is_some() || !self.machine.is_dirty() || Instant::now() < self.commit_at {
            return;
        }
        let what = self.machine.recording();
        let done_to = self.machine.done_to(self.consumer.read_to());
        // Plain values have a form in JSON.
        let state = serde_json::to_vec(self.machine.stored()).unwrap_or_default();
        let letters = std::mem::take(&mut self.letters);
        let commit = self.consumer.commit_with(letters.clone(), done_to, state.into());
        self.commit = Some(Recorded { what, letters, commit: Box::pin(commit) });
    }

    fn hear_recorded(&mut self, done: Result<(), ConsumerError>) -> Result<(), End> {
        let Some(Recorded { what, mut letters, .. }) = self.commit.take() else { return Ok(()) };
        match done {
            Ok(()) => {
                self.machine.recorded(what, true);
                Ok(())
            }
            Err(ConsumerError::NotFound | ConsumerError::Stopping) => Err(End::Over),
            Err(ConsumerError::Stale) => Err(End::Again),
            Err(error) => {
                tracing::warn!(service = self.id(), %error, "how far a service is cannot be recorded: it is tried again");
                self.machine.recorded(what, false);
                letters.append(&self.letters);
                self.letters = letters;
                self.commit_at = Instant::now() + PAUSE;
                Ok(())
            }
        }
    }

    fn hear_news(&mut self, news: News) -> Result<(), End> {
        match news {
            News::Nudged => {
                self.machine.nudge(self.now_ms());
                self.tell();
                Ok(())
            }
            News::Changed => Err(End::Again),
            News::Elsewhere | News::Removed => Err(End::Over),
        }
    }
}

/// What a task wants of the log.
#[derive(Clone, Copy)]
enum Wish {
    Read(Bounds),
    /// To be told when there are so many events.
    Gather(u64),
    News,
}

async fn ask(consumer: &mut Consumer, wish: Wish) -> Happened {
    match wish {
        Wish::Read(bounds) => Happened::Read(consumer.next(bounds).await),
        Wish::Gather(events) => Happened::Gathered(consumer.gathered(events).await),
        Wish::News => Happened::News(consumer.news().await),
    }
}

/// What a future comes to, if there is one; else never.
async fn when<F: Future + Unpin>(future: Option<&mut F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
