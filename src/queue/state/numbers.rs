//! Positions, numbers, event ids, log time.

use serde::{Deserialize, Serialize};

/// How far the log has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Numbers {
    pub position: u64,
    /// Number of the last message.
    pub last: u64,
    /// Log time: microseconds since 1970.
    pub time_us: u64,
    /// Of the last event ids: minutes since 1970 and the generator.
    pub minute: u32,
    pub generator: u64,
}

impl Numbers {
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        rmp_serde::from_slice(bytes).ok()
    }

    /// Goes on to the next position: log time never goes back.
    pub fn enter(&mut self, position: u64, at_us: u64) {
        self.position = position;
        self.time_us = self.time_us.max(at_us);
    }

    /// Minute and generator of the event ids of a position that has messages.
    pub fn next_prefix(&self) -> (u32, u64) {
        let minute = u32::try_from(self.time_us / 60_000_000).unwrap_or(u32::MAX);
        if minute > self.minute { (minute, 1) } else { (self.minute, self.generator + 1) }
    }
}
