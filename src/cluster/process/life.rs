//! One life of an entry at work, on a thread of its own.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Running, TICK};
use crate::cluster::board::{Place, Post};
use crate::cluster::entry::{Entry, Task};
use crate::cluster::frame::Beside;
use crate::cluster::inbox::{Event, Inbox};
use crate::cluster::interest::Exchanging;
use crate::cluster::mesh::Mesh;
use crate::cluster::status::Report;
use crate::node::log::ClockFn;
use crate::queue::envelope::{NodeId, Role};
use crate::queue::state::rows;

/// How often an entry that waits for something that a storage owes it looks at the time.
const TICK_WAITING: Duration = Duration::from_millis(20);

/// What the thread of an entry tells those who started it.
pub struct EntryHandle {
    running: Running,
    ended: Arc<Mutex<Option<String>>>,
    ending: Arc<AtomicBool>,
}

impl EntryHandle {
    /// Where it is told why this life of the entry is over.
    pub fn ended_cell(&self) -> Arc<Mutex<Option<String>>> {
        self.ended.clone()
    }

    /// Why this life of the entry is over, if it is.
    pub fn ended(&self) -> Option<String> {
        self.ended.lock().clone()
    }

    /// Ends the thread, but not the inbox: another life may begin on it.
    pub fn end(self) {
        self.ending.store(true, Ordering::Release);
        self.running.inbox.wake();
        self.running.join();
    }
}

/// Runs one life of an entry. `linked`: nodes whose links are up, kept up to date from life to life. `beside`: takes what the other
/// entries say; it ends with this life. `take_up` is called on a thread of its own when the cluster has accepted it, and gives the
/// position behind which the feed has to follow.
///
/// # Errors
/// The system has no threads left.
pub fn run_entry(
    mut entry: Entry,
    inbox: &Arc<Inbox>,
    mesh: &Mesh,
    clock: ClockFn,
    (linked, beside): (Arc<Mutex<BTreeSet<NodeId>>>, Exchanging),
    place: &Place,
    take_up: impl FnOnce() -> Result<u64, String> + Send + 'static,
) -> io::Result<EntryHandle> {
    entry.count_in(&place.counts);
    let ended = Arc::new(Mutex::new(None));
    let ending = Arc::new(AtomicBool::new(false));
    let life = Life {
        policies: Bytes::from(rows::encode(&entry.policies())),
        entry,
        inbox: inbox.clone(),
        mesh: mesh.clone(),
        linked,
        beside,
        post: place.post(),
        take_up: Some(Box::new(take_up)),
        taken: Arc::default(),
    };
    let (told, stop) = (ended.clone(), ending.clone());
    let run = move || {
        if let Err(why) = life.run(&clock, &stop) {
            *told.lock() = Some(why);
        }
    };
    Ok(EntryHandle { running: Running::spawn("entry", inbox, run)?, ended, ending })
}

/// See [`run_entry`].
struct Life {
    entry: Entry,
    inbox: Arc<Inbox>,
    mesh: Mesh,
    linked: Arc<Mutex<BTreeSet<NodeId>>>,
    beside: Exchanging,
    /// What storages are told is to stay.
    policies: Bytes,
    post: Post,
    take_up: Option<Box<dyn FnOnce() -> Result<u64, String> + Send>>,
    /// What came of that.
    taken: Arc<Mutex<Option<Result<u64, String>>>>,
}

impl Life {
    /// Goes on until it is to stop.
    ///
    /// # Errors
    /// Why this life is over.
    fn run(mut self, clock: &ClockFn, stop: &AtomicBool) -> Result<(), String> {
        let begun = Instant::now();
        let now_us = clock() * 1000;
        let linked: Vec<NodeId> = self.linked.lock().iter().cloned().collect();
        linked.iter().for_each(|node| self.connected(now_us, node));
        self.entry.begin();
        while !stop.load(Ordering::Acquire)
            && let Some(events) = self.inbox.take(Some(if self.entry.waits_for_feed() { TICK_WAITING } else { TICK }))
        {
            let now_us = clock() * 1000;
            self.entry.tick(now_us, begun.elapsed().as_micros() as u64);
            events.into_iter().for_each(|event| self.handle(now_us, event));
            if let Some(taken) = self.taken.lock().take() {
                self.entry.took_up(taken?, now_us);
            }
            // What has come may have begun its life, or renewed its lease.
            self.entry.tick(now_us, begun.elapsed().as_micros() as u64);
            self.entry.flush(now_us);
            self.mesh.send_all(self.entry.take());
            let Self { post, entry, .. } = &mut self;
            post.post(|| Report::Entry(entry.report(begun.elapsed().as_micros() as u64)));
            self.carry_out()?;
        }
        Ok(())
    }

    fn connected(&mut self, now_us: u64, node: &NodeId) {
        self.entry.connected(now_us, node);
        if node.role == Role::Storage {
            let (own, policies) = (self.entry.own().clone(), self.policies.clone());
            // What is lost with its link is told again with the next.
            let _ = self.mesh.tell(own, node.clone(), Beside::Policies, policies);
        }
    }

    fn handle(&mut self, now_us: u64, event: Event) {
        match &event {
            Event::Connected { nodes, .. } => {
                for node in nodes.iter() {
                    self.linked.lock().insert(node.clone());
                    self.connected(now_us, node);
                }
            }
            Event::Disconnected { nodes, .. } => {
                for node in nodes.iter() {
                    self.linked.lock().remove(node);
                    self.entry.disconnected(now_us, node);
                }
            }
            Event::Envelope(_) | Event::Beside { .. } | Event::Request { .. } => {}
        }
        match event {
            Event::Envelope(envelope) => self.entry.handle(now_us, envelope),
            event => self.beside.hear(event),
        }
    }

    /// What the entry wants done.
    fn carry_out(&mut self) -> Result<(), String> {
        for task in self.entry.take_tasks() {
            match task {
                Task::End(why) => return Err(why),
                Task::TakeUp => {
                    let Some(take_up) = self.take_up.take() else { continue };
                    let (taken, inbox) = (self.taken.clone(), self.inbox.clone());
                    let run = move || {
                        *taken.lock() = Some(take_up());
                        inbox.wake();
                    };
                    let thread = std::thread::Builder::new().name("take-up".to_owned());
                    thread.spawn(run).map_err(|error| error.to_string())?;
                }
            }
        }
        Ok(())
    }
}
