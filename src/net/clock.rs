//! The node's clock: milliseconds since 1970 that never go back.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Counts on from the system time at its making, by the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    started_ms: u64,
}

impl Default for Clock {
    fn default() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { started: Instant::now(), started_ms: since.as_millis() as u64 }
    }
}

impl Clock {
    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.started_ms + self.started.elapsed().as_millis() as u64
    }

    /// The instant at which [`Clock::now_ms`] will be `at_ms`; now if that is past, and at most a year away.
    pub fn instant(&self, at_ms: u64) -> Instant {
        let year_ms = 365 * 24 * 3600 * 1000;
        self.started + Duration::from_millis(at_ms.saturating_sub(self.started_ms).min(self.uptime_ms() + year_ms))
    }

    /// Milliseconds since the clock was made.
    pub fn uptime_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}
