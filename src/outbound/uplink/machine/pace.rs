//! When the next exchange is due.
//!
//! At once when there is something to say, with a minimum spacing unless a whole batch waits, else at each heartbeat. After failures
//! with a back-off: the wait doubles up to a bound and is drawn at random from all of it (full jitter), so that edges that lost one
//! centre do not all come back at once. Times are milliseconds on any clock that does not go back.

/// How often, and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between the beginnings of two exchanges, unless a whole batch waits.
    pub spacing_ms: u64,
    /// Without anything to say.
    pub heartbeat_ms: u64,
    /// The longest wait after the first failure.
    pub backoff_ms: u64,
    /// The longest wait of all.
    pub backoff_ms_max: u64,
    /// Bytes of messages in a second; none: as fast as it goes.
    pub bytes_per_s: Option<u64>,
}

impl Default for Timing {
    fn default() -> Self {
        Self { spacing_ms: 20, heartbeat_ms: 30_000, backoff_ms: 1000, backoff_ms_max: 60_000, bytes_per_s: None }
    }
}

/// What there is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Nothing.
    Idle,
    /// Something.
    Some,
    /// A whole batch.
    Full,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Pace {
    timing: Timing,
    /// When the last exchange began.
    last_ms: Option<u64>,
    /// When what was sent has used up its share of the rate.
    free_ms: u64,
    failures: u32,
    /// No exchange before this time.
    blocked_ms: u64,
}

impl Pace {
    pub fn new(timing: Timing) -> Self {
        Self { timing, last_ms: None, free_ms: 0, failures: 0, blocked_ms: 0 }
    }

    /// When the next exchange is due.
    pub fn due_ms(&self, urgency: Urgency) -> u64 {
        let behind = |wait_ms: u64| self.last_ms.map_or(0, |last_ms| last_ms + wait_ms);
        let due_ms = match urgency {
            Urgency::Idle => behind(self.timing.heartbeat_ms),
            Urgency::Some => behind(self.timing.spacing_ms).max(self.free_ms),
            Urgency::Full => self.free_ms,
        };
        due_ms.max(self.blocked_ms)
    }

    /// An exchange begins that carries so many bytes of messages.
    pub fn begun(&mut self, now_ms: u64, bytes: usize) {
        self.last_ms = Some(now_ms);
        if let Some(rate) = self.timing.bytes_per_s {
            let takes_ms = (bytes as u64).saturating_mul(1000) / rate.max(1);
            self.free_ms = self.free_ms.max(now_ms) + takes_ms;
        }
    }

    /// An exchange has succeeded.
    pub fn succeeded(&mut self) {
        (self.failures, self.blocked_ms) = (0, 0);
    }

    /// An exchange, or the way to it, has failed. `random` decides on the wait, which is returned.
    pub fn failed(&mut self, now_ms: u64, random: u64) -> u64 {
        let Timing { backoff_ms, backoff_ms_max, .. } = self.timing;
        let longest_ms = backoff_ms.saturating_mul(1 << self.failures.min(32)).min(backoff_ms_max);
        self.failures = self.failures.saturating_add(1);
        let wait_ms = random % (longest_ms + 1);
        self.blocked_ms = now_ms + wait_ms;
        wait_ms
    }

    /// Nothing is due before this time.
    pub fn blocked_ms(&self) -> u64 {
        self.blocked_ms
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}
