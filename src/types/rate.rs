//! How often something may happen: so many a second, as many at once.

use super::limits::Limits;

/// Counts down what may still happen now, and up as time passes. What happens is never undone: it makes a debt, to be waited
/// for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    per_s: u64,
    /// In thousandths; negative: a debt.
    left: i64,
    at_ms: u64,
}

impl Rate {
    /// `per_s` at least 1; as many may happen at once.
    pub fn new(per_s: u64, now_ms: u64) -> Self {
        let per_s = per_s.clamp(1, 1 << 40);
        Self { per_s, left: per_s as i64 * 1000, at_ms: now_ms }
    }

    fn pass(&mut self, now_ms: u64) {
        let full = self.per_s as i64 * 1000;
        let passed_ms = now_ms.saturating_sub(self.at_ms).min(1 << 20) as i64;
        self.at_ms = self.at_ms.max(now_ms);
        self.left = self.left.saturating_add(passed_ms.saturating_mul(self.per_s as i64)).min(full);
    }

    /// So many have happened. Returns how long nothing more may, in milliseconds.
    pub fn spend(&mut self, count: u64, now_ms: u64) -> u64 {
        self.pass(now_ms);
        let cost = i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(1000);
        self.left = self.left.saturating_sub(cost);
        (-self.left).max(0).unsigned_abs().div_ceil(self.per_s)
    }

    /// How long it takes until so many may happen, in milliseconds. Nothing is counted.
    pub fn until(&mut self, count: u32, now_ms: u64) -> u64 {
        self.pass(now_ms);
        let missing = i64::from(count).saturating_mul(1000).saturating_sub(self.left);
        missing.max(0).unsigned_abs().div_ceil(self.per_s)
    }

    /// One more may happen now, which is counted; else nothing is.
    pub fn allows(&mut self, now_ms: u64) -> bool {
        self.pass(now_ms);
        let allowed = self.left >= 1000;
        if allowed {
            self.left -= 1000;
        }
        allowed
    }

    /// Nothing has happened that still counts.
    pub fn is_rested(&mut self, now_ms: u64) -> bool {
        self.pass(now_ms);
        self.left == self.per_s as i64 * 1000
    }
}

/// Above this many messages and bytes a second nobody is slowed down; as the limits are unless something is said.
const MESSAGES: u64 = 1_000_000_000;
const BYTES: u64 = 1 << 40;

/// What one client sends (`limits.messages_per_second_max`, `limits.bytes_per_second_max`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    messages: Option<Rate>,
    bytes: Option<Rate>,
}

impl Rates {
    /// `None`: nothing bounds it.
    pub fn new(limits: &Limits, now_ms: u64) -> Option<Self> {
        let Limits { messages_per_second_max: messages, bytes_per_second_max: bytes, .. } = *limits;
        let rate = |per_s: u64, unbounded| (per_s < unbounded).then(|| Rate::new(per_s, now_ms));
        let rates = Self { messages: rate(messages, MESSAGES), bytes: rate(bytes, BYTES) };
        (rates.messages.is_some() || rates.bytes.is_some()).then_some(rates)
    }

    /// So much has come. Returns how long nothing more may, in milliseconds.
    pub fn spend(&mut self, messages: usize, bytes: usize, now_ms: u64) -> u64 {
        let wait =
            |rate: &mut Option<Rate>, count: usize| rate.as_mut().map_or(0, |rate| rate.spend(count as u64, now_ms));
        wait(&mut self.messages, messages).max(wait(&mut self.bytes, bytes))
    }

    /// How long it takes until one more may come, in milliseconds, whatever its size: a large one makes those behind it wait.
    pub fn until_next(&mut self, now_ms: u64) -> u64 {
        let until = |rate: &mut Option<Rate>, count: u32| rate.as_mut().map_or(0, |rate| rate.until(count, now_ms));
        until(&mut self.messages, 1).max(until(&mut self.bytes, 0))
    }

    /// Nothing has come that still counts.
    pub fn is_rested(&mut self, now_ms: u64) -> bool {
        [&mut self.messages, &mut self.bytes].into_iter().flatten().all(|rate| rate.is_rested(now_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_at_once_as_in_a_second_then_one_by_one() {
        let mut rate = Rate::new(10, 0);
        assert!((0..10).all(|_| rate.allows(0)) && !rate.allows(0));
        assert!(!rate.allows(99) && rate.allows(100) && !rate.allows(100));
        assert!(!rate.is_rested(1000) && rate.is_rested(1100));
        assert_eq!((0..30).filter(|_| rate.allows(60_000)).count(), 10, "what was not used up is lost");
    }

    #[test]
    fn a_debt_is_waited_for() {
        let mut rate = Rate::new(1000, 0);
        assert_eq!(rate.spend(1000, 0), 0);
        assert_eq!(rate.spend(500, 0), 500);
        assert_eq!(rate.spend(0, 200), 300);
        assert_eq!(rate.spend(0, 500), 0);
        assert_eq!((rate.until(0, 500), rate.until(100, 500), rate.until(100, 600)), (0, 100, 0));
        assert_eq!(rate.spend(100, 600), 0);
        assert_eq!(rate.spend(u64::MAX, 500), rate.spend(0, 500), "no debt is beyond counting");
    }
}
