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
mod receive;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

pub(super) use body::Staged;
pub use receive::Receiver;

use super::Node;
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
