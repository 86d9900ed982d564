//! The log thread and the feed thread.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{ClockFn, Engine, Fed, Feed, Submitted};
use crate::node::Node;
use crate::queue::outcome::Refused;

/// Positions that are committed and not yet fed.
const UNFED_MAX: usize = 8;
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
        let feeding = {
            let clock = clock.clone();
            named("feed").spawn(move || run_feed(feed, &receive, &clock))?
        };
        let committer = Committer {
            node: node.clone(),
            engine,
            send,
            clock,
            sync_every,
            synced: Instant::now(),
            maintain_at: Instant::now(),
        };
        let committing = named("log").spawn(move || committer.run())?;
        Ok(Self { node: node.clone(), handles: vec![committing, feeding] })
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

fn run_feed(mut feed: Feed, receive: &Receiver<Fed>, clock: &ClockFn) {
    while let Ok(fed) = receive.recv() {
        feed.feed(fed, clock());
    }
}

/// The log thread.
struct Committer {
    node: Arc<Node>,
    engine: Engine,
    send: SyncSender<Fed>,
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
        let Self { node, engine, send, clock, .. } = self;
        node.log.work_off(engine, submissions, clock, &mut |fed| hand_over(node, send, fed));
    }

    fn feed(&self, fed: Fed) {
        hand_over(&self.node, &self.send, fed);
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

fn hand_over(node: &Node, send: &SyncSender<Fed>, fed: Fed) {
    if !fed.is_empty() && send.send(fed).is_err() {
        // It ends behind the log thread, unless it has panicked.
        node.log.give_up();
    }
}
