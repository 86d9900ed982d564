//! What is owed to one session, and the connection that takes it. Behind the session's mutex.
//!
//! ```text
//!                 online, room                     take
//! offer(run) ---------------------> outbox -----------------> socket
//!      \  window full, or offline      ^ refill
//!       `--> backlog (QoS > 0) --------'  <-- inflight (again, after a reconnect), replay (retained, for new subscriptions)
//!                                         <-- readers (the log)
//! ```
//!
//! QoS 0 to a full outbox is dropped and counted; an offline session is promised none. Nothing in here waits.
//!
//! A session that reads the log ([`Mailbox::read_log`]) is not kept copies of what is there: it reads on from where it
//! stands ([`super::reader`]). The backlog is for what is not in the log.
//!
//! Who offers wakes the connection ([`Mailbox::take_wake`]); its task takes what lies in the outbox and refills it. A refill is
//! due when the outbox was emptied or the client acknowledged something, and both happen in that task: so what is kept behind
//! a full window or outbox needs no other wake.

mod group;
mod live;
mod log;
mod offer;
mod record;
mod refill;
mod send;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::link::Link;
use super::peers::{Hold, Peers};
use super::reader::Readers;
use super::wire::WireRef;
use crate::delivery::backlog::Backlog;
use crate::delivery::inflight::Inflight;
use crate::delivery::outbox::{Outbox, Taken};
use crate::delivery::replay::Replay;
use crate::types::ids::SubscriptionId;
pub use group::Membership;
pub use offer::{Frames, Numbered, Offered};

/// See the module.
pub struct Mailbox {
    pub outbox: Outbox,
    pub inflight: Inflight,
    pub backlog: Backlog,
    pub replay: Replay,
    /// WAMP subscriptions that the session holds.
    pub subscriptions: HashSet<SubscriptionId>,
    /// Version of the broker at the last UNSUBSCRIBE: an older route may still lead here and is checked.
    pub unsubscribed_at: u64,
    online: Option<Online>,
    /// Nothing is written before it is released.
    held: Option<Hold>,
    /// Of a session that reads the log.
    log: Option<Box<Readers>>,
    /// Keep QoS 1 and 2 for a session that is offline.
    pub keeps: bool,
    /// The time, in milliseconds, to be read; 0: not known.
    pub clock_ms: Arc<AtomicU64>,
}

/// The connection that a session has at the moment.
pub struct Online {
    pub link: Arc<Link>,
    pub wire: WireRef,
    /// Unacknowledged QoS 1 and 2 messages that the client takes at a time.
    pub receive_max: u16,
    /// Largest frame that the client takes.
    pub frame_bytes_max: usize,
    /// Topic aliases that the client lets us use; 0 for none (MQTT 5, 3.1.2.11.5).
    pub aliases: Aliases,
    notified: bool,
}

/// Topic aliases towards a client.
#[derive(Debug, Default)]
pub struct Aliases {
    pub max: u16,
    known: HashMap<Box<str>, u16>,
}

impl Aliases {
    /// The alias for a topic: `(alias, known)`; `known` tells that the client has been told already. `None` when all are in use.
    fn look_up(&self, topic: &str) -> Option<(u16, bool)> {
        match self.known.get(topic) {
            Some(alias) => Some((*alias, true)),
            None if self.known.len() < usize::from(self.max) => Some((self.known.len() as u16 + 1, false)),
            None => None,
        }
    }

    /// The client has been told this alias.
    fn learn(&mut self, topic: &str, alias: u16) {
        self.known.insert(topic.into(), alias);
    }
}

impl Mailbox {
    pub fn new(outbox: Outbox, backlog: Backlog, keeps: bool) -> Self {
        Self {
            outbox,
            inflight: Inflight::new(backlog.bytes_max()),
            backlog,
            replay: Replay::default(),
            subscriptions: HashSet::new(),
            unsubscribed_at: 0,
            online: None,
            held: None,
            log: None,
            keeps,
            clock_ms: Arc::default(),
        }
    }

    /// Gives the mailbox to a connection and takes it from the one before, which is returned. What was encoded for that one and
    /// not sent is dropped: QoS 1 and 2 are inflight and will be sent again.
    pub fn attach(
        &mut self,
        link: Arc<Link>,
        wire: WireRef,
        receive_max: u16,
        frame_bytes_max: usize,
        alias_max: u16,
    ) -> Option<Arc<Link>> {
        self.outbox.clear();
        self.replay.disconnect();
        self.step_back();
        self.inflight.reconnect();
        let aliases = Aliases { max: alias_max, ..Aliases::default() };
        let online = Online { link, wire, receive_max, frame_bytes_max, aliases, notified: false };
        self.held = None;
        let old = self.online.replace(online);
        self.join_groups();
        old.map(|old| old.link)
    }

    /// Ends the hold of `link`; `false` if another connection has taken over meanwhile.
    pub fn detach(&mut self, link: &Arc<Link>) -> bool {
        if !self.is_held_by(link) {
            return false;
        }
        self.online = None;
        self.outbox.clear();
        self.replay.disconnect();
        self.step_back();
        true
    }

    /// Forgets all that is owed, for the session ended.
    pub fn clear(&mut self) {
        self.keeps = false;
        self.log = None;
        self.outbox.clear();
        self.inflight.clear();
        self.backlog.clear();
        self.replay.clear();
    }

    /// Whether this connection (still) has the session.
    pub fn is_held_by(&self, link: &Arc<Link>) -> bool {
        self.online.as_ref().is_some_and(|online| Arc::ptr_eq(&online.link, link))
    }

    /// What was to be replayed and could not be had is there now.
    pub fn wake_replay(&self) {
        if let Some(online) = self.online.as_ref().filter(|_| !self.replay.is_empty()) {
            online.link.wake();
        }
    }

    pub fn online(&self) -> Option<&Online> {
        self.online.as_ref()
    }

    /// The link to wake because something waits, once for each time that the connection empties the outbox.
    pub fn take_wake(&mut self) -> Option<Arc<Link>> {
        let online = self.online.as_mut()?;
        if online.notified {
            return None;
        }
        online.notified = true;
        Some(online.link.clone())
    }

    /// The connection has subscribed, and is not answered before other entries know that.
    pub fn hold(&mut self, peers: &Peers, now_ms: u64, link: &Arc<Link>) {
        self.held = peers.hold(self.held.as_ref(), now_ms, link);
    }

    /// Whether the connection still is not to be answered.
    pub fn is_held(&self) -> bool {
        self.held.as_ref().is_some_and(|held| !held.is_released())
    }

    /// Takes what waits, for the connection to write it; nothing as long as it is held.
    pub fn take(&mut self, spare: Vec<u8>) -> Taken {
        if self.is_held() {
            return Taken::default();
        }
        self.held = None;
        self.take_all(spare)
    }

    /// Takes what waits, whatever it waits for, for the connection ends.
    pub fn take_all(&mut self, spare: Vec<u8>) -> Taken {
        if let Some(online) = &mut self.online {
            online.notified = false;
        }
        self.note_taken();
        self.outbox.take(spare)
    }

    /// Encodes the PUBRELs that a reconnected client may have missed, with `release`.
    pub fn release_again(&mut self, release: impl Fn(u16, &mut Vec<u8>)) {
        let Self { inflight, outbox, .. } = self;
        outbox.reply_with(|out| inflight.releases().for_each(|packet_id| release(packet_id, out)));
    }
}
