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

    /// A clock that goes on from `at_ms`, if this one is behind that.
    #[must_use]
    pub fn not_before(self, at_ms: u64) -> Self {
        Self { started_ms: self.started_ms + at_ms.saturating_sub(self.now_ms()), ..self }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_goes_on_from_what_it_is_behind() {
        let clock = Clock::default();
        let now_ms = clock.now_ms();
        assert_eq!(clock.not_before(now_ms - 1000).started_ms, clock.started_ms);
        let ahead = clock.not_before(now_ms + 1_000_000);
        assert!(ahead.now_ms() >= now_ms + 1_000_000);
        assert!(ahead.instant(ahead.now_ms() + 50) <= Instant::now() + Duration::from_millis(50));
    }
}
