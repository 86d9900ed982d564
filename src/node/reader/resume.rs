//! The first thing that a subscriber hears which comes back: whether all it missed is still there.

/// What is left for a subscriber that has seen everything up to some number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Nothing that it wants was given up since.
    pub recovered: bool,
    /// Number of the first message that is surely there still.
    pub first_available: u64,
}

/// `first_available` asks the log's state, for the subscriber's realm and pattern.
pub fn resume(after: u64, first_available: impl FnOnce() -> u64) -> Resume {
    let first_available = first_available().max(1);
    Resume { recovered: after + 1 >= first_available, first_available }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_seen_all_that_was_given_up_misses_nothing() {
        for (after, first, recovered) in [(0, 0, true), (0, 1, true), (9, 10, true), (8, 10, false), (20, 10, true)] {
            assert_eq!(resume(after, || first), Resume { recovered, first_available: first.max(1) }, "{after} {first}");
        }
    }
}
