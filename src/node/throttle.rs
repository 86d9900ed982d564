//! Logins that failed make the next ones wait: those for the same user from the same address, and nobody else's.
//!
//! The first few failures cost nothing; from then on each attempt has to wait for its turn, and the turns are twice as far
//! apart with each further failure. Attempts of one address and user that come side by side wait one behind the other. A
//! right password ends it; so does time.

use std::collections::HashMap;
use std::net::IpAddr;

use parking_lot::Mutex;

/// Failures that cost nothing.
const FREE: u32 = 3;
/// How far apart the next two turns are.
const FIRST_MS: u64 = 250;
/// After so long without an attempt all is forgotten.
const FORGET_MS: u64 = 15 * 60 * 1000;
/// Pairs of address and user that are remembered. When full, those that were quiet for longest go.
const PAIRS_MAX: usize = 65_536;

/// See the module.
#[derive(Debug, Default)]
pub struct Throttle {
    pairs: Mutex<HashMap<Pair, Past>>,
}

/// An address and the name of a user, whether there is one or not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    address: IpAddr,
    name: Box<str>,
}

#[derive(Clone, Copy, Debug)]
struct Past {
    failures: u32,
    /// When the next attempt has its turn, at the earliest.
    next_ms: u64,
    /// The last attempt or turn.
    seen_ms: u64,
}

/// When an attempt has its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Now,
    After {
        wait_ms: u64,
    },
    /// Too many wait already.
    Never,
}

/// The network that counts as one address: of IPv6 the first 64 bits, for whoever has one of these has all.
pub fn prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Pair {
    pub fn new(address: IpAddr, name: &str) -> Self {
        // A long name is no user's; it need not be kept whole to be told from others.
        let name = name.char_indices().nth(256).map_or(name, |(end, _)| &name[..end]);
        Self { address: prefix(address), name: name.into() }
    }
}

impl Throttle {
    /// An attempt begins. `delay_ms_max`: how far apart turns are at most, and how long anybody waits; 0: nobody waits.
    pub fn turn(&self, pair: &Pair, now_ms: u64, delay_ms_max: u64) -> Turn {
        let mut pairs = self.pairs.lock();
        let Some(past) = pairs.get_mut(pair) else { return Turn::Now };
        if now_ms.saturating_sub(past.seen_ms) > FORGET_MS {
            pairs.remove(pair);
            return Turn::Now;
        }
        if past.failures < FREE || delay_ms_max == 0 {
            return Turn::Now;
        }
        let at_ms = past.next_ms.max(now_ms);
        let wait_ms = at_ms - now_ms;
        if wait_ms > delay_ms_max {
            return Turn::Never;
        }
        let gap_ms = FIRST_MS << (past.failures - FREE).min(16);
        past.next_ms = at_ms + gap_ms.min(delay_ms_max);
        past.seen_ms = at_ms;
        if wait_ms == 0 { Turn::Now } else { Turn::After { wait_ms } }
    }

    pub fn failed(&self, pair: Pair, now_ms: u64, delay_ms_max: u64) {
        let mut pairs = self.pairs.lock();
        if pairs.len() >= PAIRS_MAX && !pairs.contains_key(&pair) {
            forget(&mut pairs);
        }
        let past = pairs.entry(pair).or_insert(Past { failures: 0, next_ms: 0, seen_ms: now_ms });
        past.failures = past.failures.saturating_add(1);
        past.seen_ms = past.seen_ms.max(now_ms);
        if past.failures == FREE {
            past.next_ms = now_ms + FIRST_MS.min(delay_ms_max);
        }
    }

    pub fn succeeded(&self, pair: &Pair) {
        self.pairs.lock().remove(pair);
    }

    /// Pairs that are remembered.
    pub fn len(&self) -> usize {
        self.pairs.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Forgets the half that was quiet for longest.
fn forget(pairs: &mut HashMap<Pair, Past>) {
    let mut seen: Vec<u64> = pairs.values().map(|past| past.seen_ms).collect();
    let middle = seen.len() / 2;
    let (_, median, _) = seen.select_nth_unstable(middle);
    let median = *median;
    let mut left = middle;
    pairs.retain(|_, past| {
        let stays = past.seen_ms >= median && left > 0;
        left -= usize::from(stays);
        stays
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_MS: u64 = 5000;

    fn pair(address: &str, name: &str) -> Pair {
        Pair::new(address.parse().unwrap(), name)
    }

    #[test]
    fn the_waits_double_up_to_the_maximum() {
        let (throttle, alice) = (Throttle::default(), pair("10.0.0.1", "alice"));
        let (mut now_ms, mut waits) = (0, Vec::new());
        for _ in 0..12 {
            match throttle.turn(&alice, now_ms, MAX_MS) {
                Turn::Now => waits.push(0),
                Turn::After { wait_ms } => {
                    waits.push(wait_ms);
                    now_ms += wait_ms;
                }
                Turn::Never => panic!("it waits for each turn"),
            }
            throttle.failed(alice.clone(), now_ms, MAX_MS);
        }
        assert_eq!(waits, [0, 0, 0, 250, 250, 500, 1000, 2000, 4000, 5000, 5000, 5000]);
    }

    #[test]
    fn nobody_else_waits() {
        let (throttle, alice) = (Throttle::default(), pair("10.0.0.1", "alice"));
        (0..50).for_each(|_| throttle.failed(alice.clone(), 0, MAX_MS));
        assert_ne!(throttle.turn(&alice, 0, MAX_MS), Turn::Now);
        for other in [pair("10.0.0.1", "bob"), pair("10.0.0.2", "alice")] {
            assert_eq!(throttle.turn(&other, 0, MAX_MS), Turn::Now);
        }
    }

    #[test]
    fn attempts_side_by_side_wait_one_behind_the_other_and_not_too_many() {
        let (throttle, alice) = (Throttle::default(), pair("10.0.0.1", "alice"));
        (0..5).for_each(|_| throttle.failed(alice.clone(), 0, MAX_MS));
        let turns: Vec<_> = (0..8).map(|_| throttle.turn(&alice, 0, MAX_MS)).collect();
        let after = |wait_ms| Turn::After { wait_ms };
        assert_eq!(turns[..5], [250, 1250, 2250, 3250, 4250].map(after));
        assert_eq!(turns[5..], [Turn::Never; 3]);
    }

    #[test]
    fn a_right_password_and_time_end_it() {
        let (throttle, alice) = (Throttle::default(), pair("10.0.0.1", "alice"));
        (0..5).for_each(|_| throttle.failed(alice.clone(), 0, MAX_MS));
        assert_eq!(throttle.turn(&alice, FORGET_MS + 1, MAX_MS), Turn::Now);
        (0..5).for_each(|_| throttle.failed(alice.clone(), FORGET_MS + 1, MAX_MS));
        throttle.succeeded(&alice);
        assert_eq!(throttle.turn(&alice, FORGET_MS + 1, MAX_MS), Turn::Now);
        assert!(throttle.is_empty());
    }

    #[test]
    fn with_a_maximum_of_0_nobody_waits() {
        let (throttle, alice) = (Throttle::default(), pair("10.0.0.1", "alice"));
        (0..50).for_each(|_| throttle.failed(alice.clone(), 0, 0));
        assert_eq!(throttle.turn(&alice, 0, 0), Turn::Now);
    }

    #[test]
    fn an_attacker_of_many_names_does_not_fill_memory_and_the_latest_are_remembered() {
        let throttle = Throttle::default();
        for at in 0..PAIRS_MAX as u64 + 10 {
            throttle.failed(pair("10.0.0.1", &at.to_string()), at, MAX_MS);
        }
        assert!(throttle.len() <= PAIRS_MAX);
        let last = pair("10.0.0.1", &(PAIRS_MAX + 9).to_string());
        (0..FREE).for_each(|_| throttle.failed(last.clone(), PAIRS_MAX as u64 + 9, MAX_MS));
        assert_ne!(throttle.turn(&last, PAIRS_MAX as u64 + 9, MAX_MS), Turn::Now);
    }

    #[test]
    fn all_of_an_ipv6_network_of_64_bits_is_one_address() {
        assert_eq!(pair("fd00::1:2", "a"), pair("fd00::3:4", "a"));
        assert_ne!(pair("fd00::1", "a"), pair("fd00:0:0:1::1", "a"));
        assert_eq!(pair("::ffff:10.0.0.1", "a"), pair("10.0.0.1", "a"));
    }
}
