//! Reads of keys and locks at an entry of a cluster: none answers with less than what was acknowledged before it was asked, at
//! whichever entry.
//!
//! ```text
//! call --> next --ask--> a majority of the syncs: the highest position that one of them took part in
//!                              |
//!          asking <------------'--> waits, until this entry has followed the log so far --> answered as in one process
//! ```
//!
//! What is acknowledged has a position in which a majority of the syncs took part, so one of any majority tells it or a higher one.
//! Calls that come while the syncs are asked wait for the next question: so one question serves many, and there is one at a time.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::answer::Failure;
use super::callee::Call;
use super::{CallKey, House, Item, Room};

/// How long a call waits for the syncs and for the log.
const PATIENCE_MS: u64 = 3000;

/// Asks the syncs; the answer comes by [`House::freshest`].
pub type AskFn = Box<dyn Fn() + Send + Sync>;

/// What others tell the house of the log.
pub(super) struct Tide {
    ask: OnceLock<AskFn>,
    /// The log is followed up to this position.
    followed: AtomicU64,
    /// Calls wait for this position.
    wanted: AtomicU64,
}

impl Default for Tide {
    fn default() -> Self {
        Self { ask: OnceLock::new(), followed: AtomicU64::new(0), wanted: AtomicU64::new(u64::MAX) }
    }
}

/// Calls that are to be answered by what is fresh.
#[derive(Default)]
pub(super) struct Fresh {
    /// They came when the syncs had been asked.
    next: Vec<Waiting>,
    asking: Vec<Waiting>,
    is_asking: bool,
    /// With the position that they wait for.
    waits: Vec<(u64, Waiting)>,
}

struct Waiting {
    call: Call,
    until_ms: u64,
}

impl Fresh {
    pub fn is_empty(&self) -> bool {
        self.next.is_empty() && self.asking.is_empty() && self.waits.is_empty()
    }

    /// The caller does not wait any more.
    pub fn remove(&mut self, key: &CallKey) -> Option<Call> {
        for list in [&mut self.next, &mut self.asking] {
            if let Some(at) = list.iter().position(|waiting| waiting.call.key == *key) {
                return Some(list.swap_remove(at).call);
            }
        }
        let at = self.waits.iter().position(|(_, waiting)| waiting.call.key == *key)?;
        Some(self.waits.swap_remove(at).1.call)
    }

    fn take_late(&mut self, now_ms: u64) -> Vec<Call> {
        let is_late = |waiting: &mut Waiting| waiting.until_ms <= now_ms;
        let mut late: Vec<Waiting> = self.next.extract_if(.., is_late).collect();
        late.extend(self.asking.extract_if(.., is_late));
        late.extend(self.waits.extract_if(.., |(_, waiting)| is_late(waiting)).map(|(_, waiting)| waiting));
        late.into_iter().map(|waiting| waiting.call).collect()
    }
}

impl House {
    /// Makes reads fresh: this is an entry of a cluster. To be called once, before calls come.
    pub fn ask_by(&self, ask: AskFn) {
        let _ = self.tide.ask.set(ask);
    }

    /// The highest position that one of a majority of the syncs took part in since it was asked for; `None`: no majority has said.
    pub fn freshest(&self, position: Option<u64>) {
        self.queue.push(Item::Freshest(position));
    }

    /// The log is followed up to this position.
    pub fn followed(&self, position: u64) {
        self.tide.followed.store(position, Ordering::SeqCst);
        if position >= self.tide.wanted.load(Ordering::SeqCst) {
            self.tide.wanted.store(u64::MAX, Ordering::SeqCst);
            self.queue.push(Item::Followed);
        }
    }
}

impl Room<'_> {
    /// Whether a call has to wait for what is fresh; it does then.
    pub fn wait_for_fresh(&mut self, call: &Call) -> bool {
        if !call.procedure.reads_keys() || self.tide.ask.get().is_none() {
            return false;
        }
        let until_ms = self.now_ms.saturating_add(PATIENCE_MS);
        self.desk.fresh.next.push(Waiting { call: call.clone(), until_ms });
        self.ask_for_fresh();
        true
    }

    fn ask_for_fresh(&mut self) {
        let fresh = &mut self.desk.fresh;
        if fresh.is_asking || fresh.next.is_empty() {
            return;
        }
        fresh.is_asking = true;
        fresh.asking = std::mem::take(&mut fresh.next);
        if let Some(ask) = self.tide.ask.get() {
            ask();
        }
    }

    pub fn freshest(&mut self, position: Option<u64>) {
        let fresh = &mut self.desk.fresh;
        fresh.is_asking = false;
        let asked = std::mem::take(&mut fresh.asking);
        match position {
            Some(position) => fresh.waits.extend(asked.into_iter().map(|waiting| (position, waiting))),
            None => asked.into_iter().for_each(|waiting| self.answer(&waiting.call, Err(unknown()))),
        }
        self.work_off_fresh();
        self.ask_for_fresh();
    }

    /// Answers what the log has come far enough for.
    pub fn work_off_fresh(&mut self) {
        loop {
            let followed = self.tide.followed.load(Ordering::SeqCst);
            let is_there = |(position, _): &mut (u64, Waiting)| *position <= followed;
            let ready: Vec<_> = self.desk.fresh.waits.extract_if(.., is_there).collect();
            let wanted = self.desk.fresh.waits.iter().map(|(position, _)| *position).min().unwrap_or(u64::MAX);
            self.tide.wanted.store(wanted, Ordering::SeqCst);
            let is_over = ready.is_empty() && self.tide.followed.load(Ordering::SeqCst) < wanted;
            ready.into_iter().for_each(|(_, waiting)| self.read(waiting.call));
            if is_over {
                return;
            }
        }
    }

    /// Time has passed.
    pub fn give_up_fresh(&mut self) {
        for call in self.desk.fresh.take_late(self.now_ms) {
            self.answer(&call, Err(unknown()));
        }
    }
}

fn unknown() -> Failure {
    let text = "it is not known what the newest value is: too few syncs or storages of the cluster answer";
    Failure::new("fennec.error.store_unavailable", text)
}
