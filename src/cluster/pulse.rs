//! Whether a link lives: when to ping, and when it was silent for too long. No clock: times are since the link began.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// See the module. The reader tells it what it does; another asks it.
#[derive(Debug)]
pub struct Pulse {
    ping_every: Duration,
    silence: Duration,
    heard_us: AtomicU64,
    /// While the link is not read, for the inboxes are full, its silence says nothing.
    reads: AtomicBool,
    ping_at_us: AtomicU64,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Nothing,
    Ping,
    /// The link is dead.
    End,
}

impl Pulse {
    pub fn new(ping_every: Duration, silence: Duration) -> Self {
        let heard_us = AtomicU64::new(0);
        Self { ping_every, silence, heard_us, reads: AtomicBool::new(true), ping_at_us: AtomicU64::new(0) }
    }

    /// Something came, or the link is read again.
    pub fn heard(&self, now: Duration) {
        self.heard_us.store(us(now), Ordering::Relaxed);
        self.reads.store(true, Ordering::Relaxed);
    }

    /// The link is not read for the moment.
    pub fn rests(&self) {
        self.reads.store(false, Ordering::Relaxed);
    }

    /// What is to be done; a ping once for each time it is due.
    pub fn due(&self, now: Duration) -> Due {
        if self.reads.load(Ordering::Relaxed) && us(now) >= self.dead_at_us() {
            return Due::End;
        }
        if us(now) < self.ping_at_us.load(Ordering::Relaxed) {
            return Due::Nothing;
        }
        self.ping_at_us.store(us(now + self.ping_every), Ordering::Relaxed);
        Due::Ping
    }

    /// When to ask again.
    pub fn next(&self) -> Duration {
        let ping_at_us = self.ping_at_us.load(Ordering::Relaxed);
        let reads = self.reads.load(Ordering::Relaxed);
        Duration::from_micros(if reads { ping_at_us.min(self.dead_at_us()) } else { ping_at_us })
    }

    fn dead_at_us(&self) -> u64 {
        self.heard_us.load(Ordering::Relaxed) + us(self.silence)
    }
}

fn us(time: Duration) -> u64 {
    time.as_micros() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_silent_link_is_pinged_and_then_dead() {
        let pulse = Pulse::new(S, 3 * S);
        assert_eq!(pulse.due(Duration::ZERO), Due::Ping);
        assert_eq!((pulse.due(S / 2), pulse.next()), (Due::Nothing, S));
        assert_eq!(pulse.due(S), Due::Ping);
        pulse.heard(S + S / 2);
        assert_eq!([pulse.due(2 * S), pulse.due(3 * S), pulse.due(4 * S)], [Due::Ping; 3]);
        assert_eq!(pulse.next(), 4 * S + S / 2);
        assert_eq!(pulse.due(4 * S + S / 2), Due::End);
    }

    #[test]
    fn what_is_not_read_is_not_silent() {
        let pulse = Pulse::new(S, 3 * S);
        pulse.rests();
        assert_eq!(pulse.due(10 * S), Due::Ping);
        assert_eq!(pulse.next(), 11 * S);
        pulse.heard(20 * S);
        assert_eq!(pulse.due(22 * S), Due::Ping);
        assert_eq!(pulse.due(23 * S), Due::End);
    }
}
