//! The other entries of a cluster, as a node sees them: who is sent what is published here, and what comes from there.
//!
//! ```text
//! Publisher --events that a peer wants--> Peers::send --> link --> Receiver (there) --> subscribers there, and nobody else
//! ```
//!
//! Only what does not go through the log is sent, and only by the entry that it was published at: the [`Receiver`] routes and
//! sends nothing. An event is encoded once for all peers, as it is for the log. See [`crate::router::interest`].
//!
//! [`calls`]: the same for calls, whose answers come back.

mod body;
pub mod calls;
mod heard;
mod receive;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;

pub(super) use body::Staged;
pub use heard::Hold;
pub use receive::Receiver;

use super::Node;
use super::groups::said::{Said, What};
use super::link::Link;
use crate::router::interest::PeerId;

/// What became of events for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// They are on their way.
    Sent,
    /// They are, and the link has little room left: whoever publishes had better wait a moment.
    Crowded,
    /// They are not: the link is full or gone.
    Dropped,
}

/// Sends events to a peer; never waits.
pub type SendFn = Box<dyn Fn(PeerId, Bytes) -> Carried + Send + Sync>;
/// Is called when somebody is subscribed to something else than before.
pub type WakeFn = Box<dyn Fn() + Send + Sync>;

/// See the module. A node alone has none.
#[derive(Default)]
pub struct Peers {
    way: OnceLock<(SendFn, WakeFn)>,
    /// Peers that want everything, of realms that are made later too.
    everything: Mutex<BTreeSet<PeerId>>,
    events_out: AtomicU64,
    events_in: AtomicU64,
    changes: heard::Changes,
    /// What is to be said of groups: to the entry of a number, or (`None`) to all.
    said: Mutex<Vec<(Option<u64>, Said)>>,
    /// Groups have to do with other entries: see [`Node::pump_groups`].
    busy_groups: AtomicBool,
    /// Woken when the log that groups wait for was read.
    pump_link: Arc<Link>,
    calls: OnceLock<calls::Way>,
    call_counts: calls::CallCounts,
}

impl Peers {
    /// Whether there are any.
    pub(super) fn are_open(&self) -> bool {
        self.way.get().is_some()
    }

    pub(super) fn send(&self, peer: PeerId, body: Bytes, count: u32) -> Carried {
        let Some((send, _)) = self.way.get() else { return Carried::Dropped };
        let carried = send(peer, body);
        if carried != Carried::Dropped {
            self.events_out.fetch_add(count.into(), Ordering::Relaxed);
        }
        carried
    }

    pub(super) fn wake(&self) {
        if let Some((_, wake)) = self.way.get() {
            wake();
        }
    }

    /// Has another entry told something of a group, in the order of these calls.
    pub(super) fn say_of_group(&self, to: Option<u64>, realm: &str, name: &str, what: What) {
        if self.are_open() {
            self.say(to, Said::Of { realm: realm.to_owned(), name: name.to_owned(), what });
        }
    }

    /// Has another entry, or all, told this.
    pub fn say(&self, to: Option<u64>, said: Said) {
        let mut waits = self.said.lock();
        waits.push((to, said));
        let is_first = waits.len() == 1;
        drop(waits);
        if is_first {
            self.wake();
        }
    }

    /// What is to be said, in order.
    pub fn take_said(&self) -> Vec<(Option<u64>, Said)> {
        std::mem::take(&mut self.said.lock())
    }

    /// Whether [`Node::pump_groups`] has something to do.
    pub fn has_busy_groups(&self) -> bool {
        self.busy_groups.load(Ordering::SeqCst)
    }

    pub(super) fn set_busy_groups(&self, busy: bool) {
        self.busy_groups.store(busy, Ordering::SeqCst);
    }

    pub(super) fn pump_link(&self) -> &Arc<Link> {
        &self.pump_link
    }

    /// Peers that want everything.
    pub(super) fn everything(&self) -> Vec<PeerId> {
        self.everything.lock().iter().copied().collect()
    }

    /// Events that were sent to peers, and that came from there, since the node began. Each peer counts.
    pub fn counts(&self) -> (u64, u64) {
        (self.events_out.load(Ordering::Relaxed), self.events_in.load(Ordering::Relaxed))
    }
}

impl Node {
    /// Whether this node is an entry of a cluster.
    pub fn has_peers(&self) -> bool {
        self.peers.are_open()
    }

    /// Makes this node an entry of a cluster. To be called once, before clients come.
    pub fn open_peers(&self, send: SendFn, wake: WakeFn) {
        if self.peers.way.set((send, wake)).is_ok() {
            self.realms().iter().for_each(|realm| realm.watch_interest());
        }
    }

    /// Another entry begins or ends to want everything.
    pub fn set_reach_everything(&self, peer: PeerId, wanted: bool) {
        let mut everything = self.peers.everything.lock();
        match wanted {
            true => everything.insert(peer),
            false => everything.remove(&peer),
        };
        drop(everything);
        self.realms().iter().for_each(|realm| realm.set_reach_everything(peer, wanted));
    }
}
