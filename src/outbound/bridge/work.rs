//! One bridge at work: its consumer of the log, its connection, and what goes to and fro between them.
//!
//! One task does all of it. It waits for the first of: the connection, the log, live events and what the log says of what came
//! in, a record that was written, a date, the broker's end; then it does whatever can be done ([`Work::drive`]).

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::Config;
use super::line::{self, Line};
use super::live::Live;
use super::local::Local;
use super::machine::{Event, Machine};
use super::outward::{Outgoing, Record};
use super::retained::RetainedWalk;
use super::status::{Shared, State};
use super::tell;
use super::translate::{self, Way};
use crate::client::Error;
use crate::net::clock::Clock;
use crate::node::Node;
use crate::node::consumer::{Batch, Bounds, Consumer, ConsumerError, News};
use crate::node::link::Link;
use crate::node::realm::Realm;

/// Bytes of events that are read at a time.
const READ_BYTES: usize = 256 * 1024;
/// How often the cursor is recorded, if nothing waits for it.
const RECORD_MS: u64 = 250;
/// How long after a failure it is tried again.
const RECORD_AGAIN_MS: u64 = 1000;
/// How long the last record may take when the broker stops.
const LAST_RECORD: Duration = Duration::from_secs(2);
/// Retained values are read anew so long after they could not be: they were being loaded.
const LOADING_MS: u64 = 50;
/// Arrivals that may be on their way into the log before the connection is not read any more.
const ARRIVALS_MAX: usize = 4000;
/// How often the status is renewed while events come and go.
const STATUS_MS: u64 = 1000;

type Recording = Pin<Box<dyn Future<Output = Result<(), ConsumerError>> + Send>>;

/// Why the work ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The broker stops.
    Stop,
    /// The consumer has to be opened again.
    Reopen,
}

/// See the module.
pub(super) struct Work {
    config: Arc<Config>,
    way: Way,
    node: Arc<Node>,
    realm: Arc<Realm>,
    clock: Clock,
    status: Shared,
    machine: Machine,
    consumer: Consumer,
    local: Local,
    live: Live,
    link: Arc<Link>,
    line: Line,
    retained: RetainedWalk,
    /// Read and not taken by the machine yet, with the number behind which there is nothing more.
    unoffered: VecDeque<(u64, Option<Outgoing>)>,
    passed_to: u64,
    /// Where the log was when the connection stood: what goes both ways is subscribed to when all up to there is done.
    catches_up_to: u64,
    recording: Option<((u64, Record), Recording)>,
    record_at_ms: u64,
    record_failed: bool,
    status_at_ms: u64,
}

/// What happened first.
enum First {
    Line(line::News),
    Read(Batch),
    News(News),
    Recorded(Result<(), ConsumerError>),
    Woken,
    Due,
    Stopped,
}

impl Work {
    pub fn new(
        config: &Arc<Config>,
        way: Way,
        (node, realm, clock): (&Arc<Node>, &Arc<Realm>, Clock),
        status: &Shared,
        consumer: Consumer,
    ) -> Self {
        let record = rmp_serde::from_slice(consumer.state()).ok();
        let link = Arc::new(Link::default());
        let session = config.takes_exactly_once().then(|| super::session_of(&config.name));
        Self {
            machine: Machine::new(config.client.clone(), config.rules.clone(), consumer.done_to(), record),
            local: Local::new(node, realm, way.clone(), session, &link),
            live: Live::begin(node, realm, &config.name, &config.rules, &link),
            line: Line::new(node.random()),
            retained: RetainedWalk::default(),
            unoffered: VecDeque::new(),
            passed_to: consumer.done_to(),
            catches_up_to: 0,
            recording: None,
            record_at_ms: 0,
            record_failed: false,
            status_at_ms: 0,
            config: config.clone(),
            way,
            node: node.clone(),
            realm: realm.clone(),
            clock,
            status: status.clone(),
            consumer,
            link,
        }
    }

    /// Works until there is a reason to end.
    pub async fn run(mut self, stop: &mut watch::Receiver<bool>) -> End {
        let end = loop {
            let now_ms = self.clock.now_ms();
            if let Err(error) = self.drive(now_ms) {
                self.lose(&error, now_ms);
                continue;
            }
            match self.first(stop, now_ms).await {
                First::Stopped => break End::Stop,
                First::News(News::Nudged) => self.line.hurry(),
                First::News(_) => break End::Reopen,
                First::Recorded(Err(ConsumerError::Stale | ConsumerError::NotFound)) => break End::Reopen,
                first => self.take(first),
            }
        };
        self.end(end).await;
        end
    }

    /// Waits for whatever is first.
    async fn first(&mut self, stop: &mut watch::Receiver<bool>, now_ms: u64) -> First {
        let reads = !self.local.must_wait() && self.machine.arrivals_pending() < ARRIVALS_MAX;
        let deadline = self.deadline(now_ms, reads);
        let bounds = self.bounds();
        let Self { config, consumer, line, link, recording, .. } = self;
        tokio::select! {
            _ = stop.wait_for(|stopped| *stopped) => First::Stopped,
            news = line.next(config, reads) => First::Line(news),
            read = read(consumer, bounds) => match read {
                Ok(batch) => First::Read(batch),
                Err(news) => First::News(news),
            },
            recorded = recorded(recording) => First::Recorded(recorded),
            () = woken(link) => First::Woken,
            () = sleep_until(deadline) => First::Due,
        }
    }

    /// What may be read now; nothing while the machine wants none.
    fn bounds(&self) -> Option<Bounds> {
        let wants = self.machine.outward.wants_event() && self.unoffered.is_empty();
        let until = self.machine.is_catching_up().then_some(self.catches_up_to);
        // Who is at the place already has caught up.
        let until = until.filter(|until| *until > self.consumer.read_to());
        wants.then_some(Bounds { events_max: self.machine.outward.room(), bytes_max: READ_BYTES, until })
    }

    fn deadline(&self, now_ms: u64, reads: bool) -> Instant {
        let records = self.machine.outward.to_record().is_some() && self.recording.is_none();
        let dates = [
            self.machine.deadline_ms(),
            records.then_some(self.record_at_ms),
            Some(self.status_at_ms.max(now_ms + 1)),
            self.machine.outward.wants_retained().then_some(now_ms + LOADING_MS),
            (!reads).then_some(now_ms + 2),
        ];
        let first_ms = dates.into_iter().flatten().min().unwrap_or(now_ms);
        Instant::now() + Duration::from_millis(first_ms.saturating_sub(now_ms))
    }

    fn take(&mut self, first: First) {
        let now_ms = self.clock.now_ms();
        match first {
            First::Line(news) => self.take_line(news, now_ms),
            First::Read(batch) => self.take_batch(batch),
            First::Recorded(result) => {
                let Some((what, _)) = self.recording.take() else { return };
                self.record_failed = result.is_err();
                match result {
                    Ok(()) => self.machine.outward.note_recorded(what),
                    Err(error) => {
                        tracing::warn!(bridge = self.config.name, %error, "how far a bridge is could not be recorded");
                        self.record_at_ms = now_ms + RECORD_AGAIN_MS;
                    }
                }
            }
            First::Woken | First::Due | First::News(_) | First::Stopped => {}
        }
    }

    fn take_line(&mut self, news: line::News, now_ms: u64) {
        let result = match news {
            line::News::Connected => self.machine.open(now_ms),
            line::News::Bytes(bytes) => self.machine.receive(bytes, now_ms),
            line::News::Flushed => {
                self.machine.flushed();
                Ok(())
            }
            line::News::Failed(error) => Err(error),
            line::News::Nothing => Ok(()),
        };
        if let Err(error) = result {
            // What came before it counts.
            let _ = self.take_events(now_ms);
            self.lose(&error, now_ms);
        }
    }

    fn take_batch(&mut self, batch: Batch) {
        for past in batch.events {
            let event = past.event.as_event(past.at_us / 1000);
            let Some(place) = event.place else { continue };
            let outgoing = translate::outward(&self.way, &self.config.rules, &event).ok();
            self.unoffered.push_back((place.number, outgoing));
        }
        self.passed_to = batch.up_to;
        if self.unoffered.is_empty() {
            self.machine.outward.pass(batch.up_to);
        }
    }

    /// Does all that can be done now.
    fn drive(&mut self, now_ms: u64) -> Result<(), Error> {
        self.machine.tick(now_ms)?;
        self.take_events(now_ms)?;
        if !self.local.hear(&mut self.machine) {
            return Err(Error::Lost("the log does not take what comes in".to_owned()));
        }
        self.local.finish();
        if let Some(after) = self.machine.outward.take_rewind() {
            self.unoffered.clear();
            (self.passed_to, _) = (after, self.consumer.rewind(after));
        }
        self.offer(now_ms);
        self.catch_up(now_ms)?;
        self.record(now_ms);
        self.send(now_ms);
        if self.status_at_ms <= now_ms {
            self.renew_status(now_ms);
        }
        Ok(())
    }

    fn take_events(&mut self, now_ms: u64) -> Result<(), Error> {
        while let Some(event) = self.machine.next_event() {
            match event {
                Event::Opened { resumed } => self.opened(resumed, now_ms),
                Event::Again => {
                    self.machine.close();
                    self.line.again();
                }
                Event::Subscribed { refused } => {
                    for what in refused {
                        tracing::warn!(bridge = self.config.name, what, "the other broker refuses a subscription");
                    }
                }
                Event::Followed { topics } => {
                    let Self { local, machine, status, .. } = self;
                    status.change(|status| local.forget_missing(machine, &mut status.inward, &topics, now_ms));
                }
                Event::Arrival(arrival) => {
                    let Self { local, machine, status, .. } = self;
                    status.change(|status| local.arrive(machine, &mut status.inward, arrival, now_ms));
                }
            }
        }
        Ok(())
    }

    fn opened(&mut self, resumed: bool, now_ms: u64) {
        self.local.opened(resumed);
        self.retained = RetainedWalk::default();
        self.catches_up_to = self.node.log.fed();
        if self.was_cut_short() {
            tracing::warn!(
                bridge = self.config.name,
                "events were given up by the log before the other broker had them"
            );
            self.machine.outward.desync();
            self.status.change(|status| status.out.gaps += 1);
        }
        let address = self.address();
        tracing::info!(bridge = self.config.name, address, resumed, "a bridge is up");
        self.status.change(|status| {
            (status.state, status.since_ms, status.error, status.attempts) = (State::Up, now_ms, None, 0);
            status.address = address;
        });
        tell::changed(&self.node, &self.realm, &self.status.get(), now_ms);
        self.renew_status(now_ms);
    }

    /// Whether the log has given up events that were not read.
    fn was_cut_short(&self) -> bool {
        let next = self.machine.outward.read_to() + 1;
        let first = |rule: &super::rules::Rule| self.node.log.first_available(&self.realm.name, rule.local_pattern());
        self.config.rules.outwards().any(|rule| first(rule) > next)
    }

    fn lose(&mut self, error: &Error, now_ms: u64) {
        let was_up = self.status.get().state == State::Up;
        let address = self.address();
        self.machine.close();
        let wait = self.line.lose(self.config.addresses.len());
        tracing::warn!(bridge = self.config.name, address, %error, again_in = ?wait, "a bridge is down");
        self.status.change(|status| {
            if was_up {
                (status.state, status.since_ms) = (State::Down, now_ms);
            }
            status.attempts += 1;
            (status.error, status.address) = (Some(error.to_string()), address);
        });
        if was_up {
            tell::changed(&self.node, &self.realm, &self.status.get(), now_ms);
        }
    }

    fn address(&self) -> String {
        self.config.addresses.get(self.line.address()).map(ToString::to_string).unwrap_or_default()
    }

    /// Gives the machine what it wants to send.
    fn offer(&mut self, now_ms: u64) {
        let Self { machine, retained, realm, way, live, config, unoffered, .. } = self;
        while machine.outward.wants_retained() && !realm.is_loading() {
            let base = machine.outward.snapshot_base();
            let found = retained
                .next(realm, &config.rules, base, now_ms, |event| translate::outward(way, &config.rules, event).ok());
            machine.offer_retained(found);
        }
        while machine.outward.wants_event()
            && let Some((number, event)) = unoffered.pop_front()
        {
            machine.offer_event(number, event);
            if unoffered.is_empty() {
                machine.outward.pass(self.passed_to);
            }
        }
        live.take(now_ms, |event| {
            if let Ok(outgoing) = translate::outward(way, &config.rules, event) {
                machine.offer_live(outgoing);
            }
        });
    }

    /// Subscribes to what goes both ways, when what waited for the other broker is there.
    fn catch_up(&mut self, now_ms: u64) -> Result<(), Error> {
        if !self.machine.is_catching_up() {
            return Ok(());
        }
        let outward = &mut self.machine.outward;
        if self.unoffered.is_empty() && outward.wants_event() && self.consumer.read_to() >= self.catches_up_to {
            outward.pass(self.catches_up_to);
        }
        if outward.done_to() >= self.catches_up_to { self.machine.caught_up(now_ms) } else { Ok(()) }
    }

    fn record(&mut self, now_ms: u64) {
        let outward = &self.machine.outward;
        let is_due = now_ms >= self.record_at_ms || (outward.record_is_urgent() && !self.record_failed);
        if self.recording.is_some() || !is_due {
            return;
        }
        let Some(what) = outward.to_record() else { return };
        // Plain values can always be written.
        let state = rmp_serde::to_vec(&what.1).unwrap_or_default();
        let written = self.consumer.commit(what.0, state.into());
        self.recording = Some((what, Box::pin(written)));
        self.record_at_ms = now_ms + RECORD_MS;
    }

    fn send(&mut self, now_ms: u64) {
        while self.line.has_room()
            && let Some(bytes) = self.machine.next_output(now_ms)
        {
            self.line.queue(bytes);
        }
    }

    fn renew_status(&mut self, now_ms: u64) {
        self.status_at_ms = now_ms + STATUS_MS;
        let lag = self.consumer.lag();
        let outward = &self.machine.outward;
        self.status.set_counts(&outward.counts);
        self.status.change(|status| {
            status.out.lag_events = lag.events;
            status.out.lag_ms = lag.oldest_us.map_or(0, |at_us| now_ms.saturating_sub(at_us / 1000));
            status.out.pending = outward.pending() as u64;
        });
    }

    /// Says goodbye, and records how far it is.
    async fn end(mut self, end: End) {
        self.machine.say_goodbye();
        let now_ms = self.clock.now_ms();
        while let Some(bytes) = self.machine.next_output(now_ms) {
            self.line.queue(bytes);
        }
        self.line.close().await;
        self.status.keep_counts(&self.machine.outward.counts);
        if end == End::Stop
            && let Some((done_to, record)) = self.machine.outward.to_record()
        {
            let state = rmp_serde::to_vec(&record).unwrap_or_default();
            // What is not recorded is sent again.
            let _ = timeout(LAST_RECORD, self.consumer.commit(done_to, state.into())).await;
        }
    }
}

/// Reads on, or (without bounds) waits for news.
async fn read(consumer: &mut Consumer, bounds: Option<Bounds>) -> Result<Batch, News> {
    match bounds {
        Some(bounds) => consumer.next(bounds).await,
        None => Err(consumer.news().await),
    }
}

async fn recorded(recording: &mut Option<((u64, Record), Recording)>) -> Result<(), ConsumerError> {
    match recording {
        Some((_, recording)) => recording.await,
        None => std::future::pending().await,
    }
}

async fn woken(link: &Link) {
    std::future::poll_fn(|context| {
        link.waker.register(context.waker());
        if link.take_ready() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
