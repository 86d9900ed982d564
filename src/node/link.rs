//! The handle by which others reach one connection: to wake it, or to end it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use futures_util::task::AtomicWaker;

/// Why a connection is to end, from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum End {
    /// Another connection took its session (MQTT 5, 3.1.4-3).
    TakenOver = 1,
    /// The node stops.
    Shutdown,
    /// It did not read what it subscribed to, and the policy is to disconnect.
    SlowConsumer,
    /// An administrator asked.
    Kicked,
    /// What it may do has changed, or its user is no more.
    NotAuthorized,
    /// Its own machine has ended it between two reads, and has said why.
    Over,
    /// It sent more than it may in a second.
    TooFast,
}

/// What a client is told that an administrator ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kick {
    /// A URI.
    pub reason: String,
    /// For people.
    pub message: Option<String>,
}

/// One connection.
#[derive(Debug, Default)]
pub struct Link {
    pub waker: AtomicWaker,
    /// Something waits in the mailbox since the connection last looked.
    ready: AtomicBool,
    end: AtomicU8,
    kick: OnceLock<Kick>,
    /// Messages that its machine has handled since they were last asked for.
    messages: AtomicUsize,
    /// Bytes taken from the mailbox that the socket does not take.
    unwritten: AtomicUsize,
}

impl Link {
    /// Tells the connection that something waits in its mailbox.
    pub fn wake(&self) {
        self.ready.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// The connection's machine has handled one more message. To be called by its task alone.
    #[inline]
    pub fn count_message(&self) {
        self.messages.store(self.messages.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Messages counted since the last call. To be called by the connection's task alone.
    pub fn take_messages(&self) -> usize {
        let count = self.messages.load(Ordering::Relaxed);
        self.messages.store(0, Ordering::Relaxed);
        count
    }

    /// Bytes that were taken from the mailbox and are not with the system yet.
    pub fn unwritten(&self) -> usize {
        self.unwritten.load(Ordering::Relaxed)
    }

    pub fn set_unwritten(&self, bytes: usize) {
        self.unwritten.store(bytes, Ordering::Relaxed);
    }

    /// Whether the connection was woken by [`Link::wake`] since it last asked.
    pub fn take_ready(&self) -> bool {
        // Most often it was not: a look costs less than a swap.
        self.ready.load(Ordering::Relaxed) && self.ready.swap(false, Ordering::AcqRel)
    }

    /// Asks the connection to end; the first reason counts.
    pub fn end(&self, reason: End) {
        let _ = self.end.compare_exchange(0, reason as u8, Ordering::AcqRel, Ordering::Acquire);
        self.waker.wake();
    }

    /// Asks the connection to end with these words; `false`: it ends already.
    pub fn kick(&self, kick: Kick) -> bool {
        if self.asked_to_end().is_some() || self.kick.set(kick).is_err() {
            return false;
        }
        self.end(End::Kicked);
        true
    }

    /// What the client is to be told of [`End::Kicked`].
    pub fn kicked(&self) -> Option<&Kick> {
        self.kick.get()
    }

    /// The reason to end, if somebody asked.
    pub fn asked_to_end(&self) -> Option<End> {
        match self.end.load(Ordering::Acquire) {
            1 => Some(End::TakenOver),
            2 => Some(End::Shutdown),
            3 => Some(End::SlowConsumer),
            4 => Some(End::Kicked),
            5 => Some(End::NotAuthorized),
            6 => Some(End::Over),
            7 => Some(End::TooFast),
            _ => None,
        }
    }
}
