//! How often something may happen: so many a second, as many at once.

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
        assert_eq!(rate.spend(u64::MAX, 500), rate.spend(0, 500), "no debt is beyond counting");
    }
}
