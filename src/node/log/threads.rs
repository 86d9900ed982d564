//! The log thread and the feed thread.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{ClockFn, Engine, Fed, Feed, Submission};
use crate::node::Node;
use crate::queue::outcome::Refused;

/// Positions that are committed and not yet fed.
const UNFED_MAX: usize = 8;
/// How often a store that failed is tried.
const RETRY: Duration = Duration::from_secs(1);
/// How often housekeeping looks whether there is something to do.
const MAINTAIN: Duration = Duration::from_secs(1);

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
            maintained: Instant::now(),
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
    maintained: Instant,
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
        [deadline, sync, Some(MAINTAIN)].into_iter().flatten().min()
    }

    fn commit(&mut self, submissions: Vec<Submission>) {
        let bytes: usize = submissions.iter().map(|submission| submission.batch.len()).sum();
        let mut refused = Fed::default();
        for submission in submissions {
            self.engine.take(submission, &mut refused);
        }
        self.feed(refused);
        loop {
            let begun = Instant::now();
            let Some(fed) = self.engine.step((self.clock)() * 1000) else { break };
            let counts = &self.node.log.counts;
            counts.commits.fetch_add(1, Ordering::Relaxed);
            counts.messages.fetch_add(fed.segment.count.into(), Ordering::Relaxed);
            counts.bytes.fetch_add(fed.segment.bytes() as u64, Ordering::Relaxed);
            counts.commit_us.fetch_add(begun.elapsed().as_micros() as u64, Ordering::Relaxed);
            if let Some(failed) = self.engine.failed() {
                self.node.log.set_health(Some(failed));
            }
            self.feed(fed);
        }
        self.node.log.resolved(bytes);
    }

    fn feed(&self, fed: Fed) {
        if !fed.is_empty() {
            // The feed thread ends behind this one, unless it has panicked.
            let _ = self.send.send(fed);
        }
    }

    fn recover(&mut self) {
        match self.engine.recover() {
            Ok(fed) => {
                self.node.log.set_health(None);
                self.feed(fed);
            }
            Err(error) => tracing::debug!(%error, "the store does not work yet"),
        }
    }

    fn keep_synced(&mut self) {
        if self.engine.failed().is_some() {
            return;
        }
        let due = self.sync_every.is_some_and(|every| self.synced.elapsed() >= every);
        if due {
            self.synced = Instant::now();
            if let Err(error) = self.engine.sync() {
                tracing::error!(%error, "the store could not be synced");
            }
        }
    }

    fn maintain(&mut self) {
        if self.maintained.elapsed() < MAINTAIN {
            return;
        }
        self.maintained = Instant::now();
        match self.engine.maintain((self.clock)() * 1000) {
            Ok(fed) => fed.into_iter().for_each(|fed| self.feed(fed)),
            Err(error) => tracing::warn!(%error, "housekeeping of the log failed"),
        }
        self.node.log.set_floors(self.engine.state().floors());
    }
}
