//! How long to wait before the next try to connect.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// Waits that double with each failure, up to half a minute unless said otherwise, and are shortened at random by up to a half, so
/// that clients that lost one broker do not all come back at once.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
    dice: u64,
}

impl Backoff {
    /// `seed` should differ from client to client.
    pub fn new(seed: u64) -> Self {
        Self::between(FIRST, LONGEST, seed)
    }

    /// With other bounds.
    pub fn between(first: Duration, longest: Duration, seed: u64) -> Self {
        // The generator never leaves 0.
        Self { first, longest, next: first, dice: seed.max(1) }
    }

    /// The wait after one more failure.
    pub fn after_failure(&mut self) -> Duration {
        let longest = self.next;
        self.next = (longest * 2).min(self.longest);
        let half = longest / 2;
        half + half.mul_f64(self.roll())
    }

    /// The wait after one more failure, shortened at random by up to all of it: many who lost one peer at once come back evenly spread.
    pub fn anywhere_after_failure(&mut self) -> Duration {
        let longest = self.next;
        self.next = (longest * 2).min(self.longest);
        longest.mul_f64(self.roll())
    }

    /// A connection stood: the next wait is short again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// From 0 to 1, by xorshift64 (G. Marsaglia, "Xorshift RNGs", 2003).
    fn roll(&mut self) -> f64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_keep_at_least_their_half() {
        let mut backoff = Backoff::new(7);
        for expected_ms in [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            let wait = backoff.after_failure();
            let longest = Duration::from_millis(expected_ms);
            assert!(wait >= longest / 2 && wait <= longest, "{wait:?} for {longest:?}");
        }
        backoff.reset();
        assert!(backoff.after_failure() <= FIRST);
    }

    #[test]
    fn waits_with_full_jitter_are_anywhere_below_the_longest() {
        let mut backoff = Backoff::between(Duration::from_secs(1), Duration::from_secs(8), 7);
        let mut longest_s = 1;
        let mut below_half = 0;
        for _ in 0..100 {
            let wait = backoff.anywhere_after_failure();
            assert!(wait <= Duration::from_secs(longest_s), "{wait:?} for {longest_s} s");
            below_half += usize::from(wait < Duration::from_secs(longest_s) / 2);
            longest_s = (longest_s * 2).min(8);
        }
        assert!((20..80).contains(&below_half), "{below_half}");
    }

    #[test]
    fn two_clients_wait_differently() {
        let waits = |seed| {
            let mut backoff = Backoff::new(seed);
            [0; 4].map(|_| backoff.after_failure())
        };
        assert_ne!(waits(1), waits(2));
        assert_eq!(waits(3), waits(3));
    }
}
