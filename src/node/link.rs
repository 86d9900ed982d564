//! The handle by which others reach one connection: to wake it, or to end it.

use std::sync::atomic::{AtomicU8, Ordering};

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
}

/// One connection.
#[derive(Debug, Default)]
pub struct Link {
    pub waker: AtomicWaker,
    end: AtomicU8,
}

impl Link {
    /// Asks the connection to end; the first reason counts.
    pub fn end(&self, reason: End) {
        let _ = self.end.compare_exchange(0, reason as u8, Ordering::AcqRel, Ordering::Acquire);
        self.waker.wake();
    }

    /// The reason to end, if somebody asked.
    pub fn asked_to_end(&self) -> Option<End> {
        match self.end.load(Ordering::Acquire) {
            1 => Some(End::TakenOver),
            2 => Some(End::Shutdown),
            3 => Some(End::SlowConsumer),
            4 => Some(End::Kicked),
            _ => None,
        }
    }
}
