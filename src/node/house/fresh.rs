//! Reads of keys and locks at an entry of a cluster: none answers with less than what was acknowledged before it was asked, at
//! whichever entry. The same of retained values for a new subscription, but those do not wait for long: without a quorum they are sent as
//! they are known here.
//!
//! ```text
//! call, replay --> next --ask--> a majority of the syncs: how far each is when the vote that it takes part in has ended
//!                              |
//!          asking <------------'--> waits, until this entry has followed the log so far --> answered as in one process
//! ```
//!
//! What is acknowledged has a position in which a majority of the syncs took part, so one of any majority tells it or a higher one.
//! Calls that come while the syncs are asked wait for the next question: so one question serves many, and there is one at a time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::answer::Failure;
use super::callee::Call;
use super::{Bell, CallKey, House, Item, Room};
use crate::types::ids::SessionId;

/// How long a call waits for the syncs and for the log.
const PATIENCE_MS: u64 = 5000;
/// How long retained values for a new subscription do.
const REPLAY_PATIENCE_MS: u64 = 500;

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
    who: Who,
    until_ms: u64,
}

enum Who {
    Call(Call),
    Replay(Replay),
}

/// Retained values on their way to a session.
pub(super) struct Replay {
    realm: Arc<str>,
    session: SessionId,
    fresh: Freshness,
}

/// Whether what is read now is fresh, or has been waited for long enough.
#[derive(Clone, Debug, Default)]
pub struct Freshness(Arc<AtomicBool>);

impl Freshness {
    pub fn is_there(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Who {
    fn is(&self, key: &CallKey) -> bool {
        matches!(self, Self::Call(call) if call.key == *key)
    }

    fn call(self) -> Option<Call> {
        match self {
            Self::Call(call) => Some(call),
            Self::Replay(_) => None,
        }
    }
}

impl Fresh {
    pub fn is_empty(&self) -> bool {
        self.next.is_empty() && self.asking.is_empty() && self.waits.is_empty()
    }

    /// The caller does not wait any more.
    pub fn remove(&mut self, key: &CallKey) -> Option<Call> {
        for list in [&mut self.next, &mut self.asking] {
            if let Some(at) = list.iter().position(|waiting| waiting.who.is(key)) {
                return list.swap_remove(at).who.call();
            }
        }
        let at = self.waits.iter().position(|(_, waiting)| waiting.who.is(key))?;
        self.waits.swap_remove(at).1.who.call()
    }

    fn take_late(&mut self, now_ms: u64) -> Vec<Who> {
        let is_late = |waiting: &mut Waiting| waiting.until_ms <= now_ms;
        let mut late: Vec<Waiting> = self.next.extract_if(.., is_late).collect();
        late.extend(self.asking.extract_if(.., is_late));
        late.extend(self.waits.extract_if(.., |(_, waiting)| is_late(waiting)).map(|(_, waiting)| waiting));
        late.into_iter().map(|waiting| waiting.who).collect()
    }
}

impl House {
    /// Makes reads fresh: this is an entry of a cluster. To be called once, before calls come.
    pub fn ask_by(&self, ask: AskFn) {
        let _ = self.tide.ask.set(ask);
    }

    /// How far the log was for the farthest of a majority of the syncs, when the votes had ended that they took part in when it was asked for; `None`: no majority has said.
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

impl Bell {
    /// Has a session woken as soon as the retained values of its realm are fresh, or soon in any case. `None`: they are, for there is no
    /// other entry.
    pub(in crate::node) fn await_fresh(&self, realm: &Arc<str>, session: SessionId) -> Option<Freshness> {
        let (queue, tide) = self.house()?;
        tide.ask.get()?;
        let fresh = Freshness::default();
        queue.push(Item::Replay(Replay { realm: realm.clone(), session, fresh: fresh.clone() }));
        Some(fresh)
    }
}

impl Room<'_> {
    /// Retained values wait for what is fresh.
    pub fn wait_to_replay(&mut self, replay: Replay) {
        let until_ms = self.now_ms.saturating_add(REPLAY_PATIENCE_MS);
        self.desk.fresh.next.push(Waiting { who: Who::Replay(replay), until_ms });
        self.ask_for_fresh();
    }

    /// Whether a call has to wait for what is fresh; it does then.
    pub fn wait_for_fresh(&mut self, call: &Call) -> bool {
        if !call.procedure.reads_keys() || self.tide.ask.get().is_none() {
            return false;
        }
        let until_ms = self.now_ms.saturating_add(PATIENCE_MS);
        self.desk.fresh.next.push(Waiting { who: Who::Call(call.clone()), until_ms });
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
            None => asked.into_iter().for_each(|waiting| self.give_up(waiting.who)),
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
            for (_, waiting) in ready {
                match waiting.who {
                    Who::Call(call) => self.read(call),
                    Who::Replay(replay) => self.let_replay(&replay),
                }
            }
            if is_over {
                return;
            }
        }
    }

    /// Time has passed.
    pub fn give_up_fresh(&mut self) {
        for who in self.desk.fresh.take_late(self.now_ms) {
            self.give_up(who);
        }
    }

    fn give_up(&mut self, who: Who) {
        match who {
            Who::Call(call) => self.answer(&call, Err(unknown())),
            Who::Replay(replay) => self.let_replay(&replay),
        }
    }

    fn let_replay(&self, Replay { realm, session, fresh }: &Replay) {
        fresh.0.store(true, Ordering::Release);
        if let Some(session) = self.node.realm(realm).and_then(|realm| realm.session(*session)) {
            session.mailbox().wake_replay();
        }
    }
}

fn unknown() -> Failure {
    let text = "it is not known what the newest value is: too few syncs or storages of the cluster answer";
    Failure::new("fennec.error.store_unavailable", text)
}
