//! Whether the other entries know what is subscribed to here: who subscribes is answered when they do.
//!
//! ```text
//! SUBSCRIBE --change--> Exchange --Told--> every linked entry --Heard--> all have heard of it, or it takes too long
//!      `---- the connection's outbox is held -----------------------------> SUBACK, SUBSCRIBED
//! ```
//!
//! Nothing of the connection is written meanwhile, so that no event comes before its SUBSCRIBED.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::Peers;
use crate::node::link::Link;

/// How long a subscriber waits for other entries.
const PATIENCE_MS: u64 = 500;

/// Changes of what is subscribed to here, counted.
#[derive(Default)]
pub(super) struct Changes {
    last: AtomicU64,
    heard: AtomicU64,
    waiting: Mutex<Vec<Waiting>>,
}

struct Waiting {
    hold: Hold,
    until_ms: u64,
    link: Arc<Link>,
}

/// Keeps an outbox from being written, until it is released.
#[derive(Clone, Debug, Default)]
pub struct Hold(Arc<Held>);

#[derive(Debug, Default)]
struct Held {
    /// Which change the other entries have to hear of.
    change: AtomicU64,
    released: AtomicBool,
}

impl Hold {
    pub fn is_released(&self) -> bool {
        self.0.released.load(Ordering::Acquire)
    }

    fn release(&self) {
        self.0.released.store(true, Ordering::Release);
    }
}

impl Peers {
    /// Something else is subscribed to than before.
    pub(in crate::node) fn note_change(&self) {
        self.changes.last.fetch_add(1, Ordering::SeqCst);
        self.wake();
    }

    /// The last change.
    pub fn last_change(&self) -> u64 {
        self.changes.last.load(Ordering::SeqCst)
    }

    /// The connection that has just subscribed has to wait for other entries; `None`: they know all that is subscribed to here, or
    /// there are none. `hold`: the one that it has already, which may do.
    pub fn hold(&self, hold: Option<&Hold>, now_ms: u64, link: &Arc<Link>) -> Option<Hold> {
        let change = self.last_change();
        let is_heard = || self.changes.heard.load(Ordering::SeqCst) >= change;
        if is_heard() {
            return None;
        }
        let mut waiting = self.changes.waiting.lock();
        if is_heard() {
            return None;
        }
        if let Some(hold) = hold.filter(|hold| !hold.is_released()) {
            hold.0.change.store(change, Ordering::Relaxed);
            return Some(hold.clone());
        }
        let hold = Hold::default();
        hold.0.change.store(change, Ordering::Relaxed);
        waiting.push(Waiting { hold: hold.clone(), until_ms: now_ms + PATIENCE_MS, link: link.clone() });
        Some(hold)
    }

    /// All linked entries have heard of the changes up to this one.
    pub fn set_heard(&self, change: u64) {
        if self.changes.heard.fetch_max(change, Ordering::SeqCst) < change {
            self.release(|waiting| waiting.hold.0.change.load(Ordering::Relaxed) <= change);
        }
    }

    /// Time has passed.
    pub(in crate::node) fn give_up_waiting(&self, now_ms: u64) {
        self.release(|waiting| waiting.until_ms <= now_ms);
    }

    fn release(&self, whom: impl Fn(&Waiting) -> bool) {
        let released: Vec<_> = self.changes.waiting.lock().extract_if(.., |waiting| whom(waiting)).collect();
        for Waiting { hold, link, .. } in released {
            hold.release();
            link.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(peers: &Peers, link: &Arc<Link>, before: Option<&Hold>) -> Hold {
        peers.hold(before, 1000, link).expect("it has to wait")
    }

    #[test]
    fn who_subscribes_waits_until_others_have_heard_of_it_and_no_longer_than_it_may() {
        let (peers, link) = (Peers::default(), Arc::new(Link::default()));
        assert!(peers.hold(None, 1000, &link).is_none(), "nothing has changed");
        peers.note_change();
        let first = held(&peers, &link, None);
        peers.set_heard(1);
        assert!(first.is_released() && link.take_ready());
        assert!(peers.hold(None, 1000, &link).is_none(), "they know it already");
        peers.note_change();
        let second = held(&peers, &link, Some(&first));
        peers.give_up_waiting(1499);
        assert!(!second.is_released());
        peers.give_up_waiting(1500);
        assert!(second.is_released() && link.take_ready());
    }

    #[test]
    fn a_connection_that_subscribes_again_waits_for_the_last_of_it() {
        let (peers, link) = (Peers::default(), Arc::new(Link::default()));
        peers.note_change();
        let first = held(&peers, &link, None);
        peers.note_change();
        let second = held(&peers, &link, Some(&first));
        peers.set_heard(1);
        assert!(!second.is_released());
        peers.set_heard(2);
        assert!(first.is_released() && second.is_released());
    }
}
