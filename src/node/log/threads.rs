//! The log thread and the feed thread. While there is little to do, the feed thread is left asleep.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{ClockFn, Engine, Fed, Feed, Log, Submitted};
use crate::node::Node;
use crate::queue::outcome::Refused;

/// Positions that are committed and not yet fed.
const UNFED_MAX: usize = 8;
/// Messages of a position that the log thread feeds by itself, if it has nothing else to do: to wake the feed thread takes longer.
const FED_AT_ONCE_MAX: u32 = 128;
/// How often a store that failed is tried.
const RETRY: Duration = Duration::from_secs(1);
/// How often housekeeping looks whether there is something to do.
const MAINTAIN: Duration = Duration::from_secs(1);
/// While there is, it rests so many times as long as it takes, and commits go between.
const REST: u32 = 4;
const REST_MIN: Duration = Duration::from_millis(5);

/// See the module. Ends both when it is stopped.
pub struct Threads {
    node: Arc<Node>,
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Starts them. `sync_every`: how often the store is to be synced, where the sync mode leaves that to time.
    ///
    /// # Errors
    /// The system has no threads left.
    pub fn start(
        node: &Arc<Node>,
        engine: Engine,
        feed: Feed,
        clock: ClockFn,
        sync_every: Option<Duration>,
    ) -> std::io::Result<Self> {
        let (send, receive) = sync_channel(UNFED_MAX);
        let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let feeding = Arc::new(Feeding { feed: Mutex::new(feed), unfed: AtomicUsize::new(0), clock: clock.clone() });
        let feeder = {
            let feeding = feeding.clone();
            named("feed").spawn(move || feeding.run(&receive))?
        };
        let committer = Committer {
            node: node.clone(),
            engine,
            out: Out { feeding, send },
            clock,
            sync_every,
            synced: Instant::now(),
            maintain_at: Instant::now(),
        };
        let committing = named("log").spawn(move || committer.run())?;
        Ok(Self { node: node.clone(), handles: vec![committing, feeder] })
    }

    /// Takes nothing more, commits and feeds what was taken, and waits until that is done.
    pub fn stop(self) {
        self.node.log.close(Some(Refused::Stopping));
        for handle in self.handles {
            // It has panicked then, and has said so.
            let _ = handle.join();
        }
    }
}

/// The feed, which one of the two threads works at a time.
struct Feeding {
    feed: Mutex<Feed>,
    /// What was handed to the feed thread and is not fed yet.
    unfed: AtomicUsize,
    clock: ClockFn,
}

impl Feeding {
    /// The feed thread.
    fn run(&self, receive: &Receiver<Fed>) {
        while let Ok(fed) = receive.recv() {
            self.feed(fed);
            self.unfed.fetch_sub(1, Ordering::Release);
        }
    }

    fn feed(&self, fed: Fed) {
        self.feed.lock().feed(fed, (self.clock)());
    }
}

/// The log thread's way to the feed.
struct Out {
    feeding: Arc<Feeding>,
    send: SyncSender<Fed>,
}

impl Out {
    /// Has the feed thread feed it, while this thread commits what comes next. Does it here if nothing waits for that and all
    /// before it is fed, so the order stays.
    fn feed(&self, log: &Log, fed: Fed) {
        if fed.is_empty() {
            return;
        }
        let is_small = fed.segment.count <= FED_AT_ONCE_MAX && fed.told.len() <= FED_AT_ONCE_MAX as usize;
        if is_small && self.feeding.unfed.load(Ordering::Acquire) == 0 && log.is_idle() {
            return self.feeding.feed(fed);
        }
        self.feeding.unfed.fetch_add(1, Ordering::Relaxed);
        if self.send.send(fed).is_err() {
            // It ends behind the log thread, unless it has panicked.
            log.give_up();
        }
    }
}

/// The log thread.
struct Committer {
    node: Arc<Node>,
    engine: Engine,
    out: Out,
    clock: ClockFn,
    sync_every: Option<Duration>,
    synced: Instant,
    maintain_at: Instant,
}

impl Committer {
    fn run(mut self) {
        while let Some(submissions) = self.node.log.gather(self.patience()) {
            if self.engine.failed().is_some() {
                self.recover();
            }
            self.commit(submissions);
            self.keep_synced();
            self.maintain();
        }
        let fed = self.engine.stop();
        self.feed(fed);
        if let Err(error) = self.engine.sync() {
            tracing::error!(%error, "the store could not be synced at the end");
        }
    }

    /// How long to wait for submissions.
    fn patience(&self) -> Option<Duration> {
        if self.engine.failed().is_some() {
            return Some(RETRY);
        }
        let now_us = (self.clock)() * 1000;
        let deadline = self.engine.next_deadline_us().map(|at| Duration::from_micros(at.saturating_sub(now_us)));
        let sync = self.sync_every.map(|every| every.saturating_sub(self.synced.elapsed()));
        let maintain = self.maintain_at.saturating_duration_since(Instant::now());
        [deadline, sync, Some(maintain)].into_iter().flatten().min()
    }

    fn commit(&mut self, submissions: Vec<Submitted>) {
        let Self { node, engine, out, clock, .. } = self;
        node.log.work_off(engine, submissions, clock, &mut |fed| out.feed(&node.log, fed));
    }

    fn feed(&self, fed: Fed) {
        self.out.feed(&self.node.log, fed);
    }

    fn recover(&mut self) {
        let mut fed = Fed::default();
        let recovered = self.engine.recover(&mut fed);
        self.node.log.set_health(self.engine.failed());
        if let Err(error) = recovered {
            tracing::debug!(%error, "the store does not work yet");
        }
        self.feed(fed);
    }

    fn keep_synced(&mut self) {
        let due = self.sync_every.is_some_and(|every| self.synced.elapsed() >= every);
        if !due || self.engine.failed().is_some() {
            return;
        }
        self.synced = Instant::now();
        if self.engine.sync().is_err() {
            self.node.log.set_health(self.engine.failed());
        }
    }

    fn maintain(&mut self) {
        let begun = Instant::now();
        if begun < self.maintain_at || self.engine.failed().is_some() {
            return;
        }
        let mut fed = Vec::new();
        let maintained = self.engine.maintain((self.clock)() * 1000, &mut fed);
        if let Err(error) = &maintained {
            tracing::warn!(%error, "housekeeping of the log failed");
        }
        if self.engine.failed().is_some() {
            self.node.log.set_health(self.engine.failed());
        }
        fed.into_iter().for_each(|fed| self.feed(fed));
        self.node.log.set_floors(self.engine.state().floors());
        self.node.log.set_report(self.engine.report());
        let rest = if maintained == Ok(true) { (begun.elapsed() * REST).max(REST_MIN) } else { MAINTAIN };
        self.maintain_at = Instant::now() + rest;
    }
}

impl Drop for Committer {
    /// A fault of ours has ended the thread: nothing is stored any more, and nobody shall wait for it.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.node.log.give_up();
        }
    }
}
