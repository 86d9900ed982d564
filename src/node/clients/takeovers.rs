//! Clients that fight for one client id: each connects again as soon as another has taken its session over. They are slowed down.
//!
//! ```text
//! takeover, takeover, takeover: at once --the next within QUIET_MS--> 100 ms, 200 ms, 400 ms, … up to a maximum --QUIET_MS--> at once
//! ```
//!
//! The one that has the session keeps it meanwhile. The first takeovers are free: a client that comes back from another network takes
//! its own session over.

use std::collections::HashMap;

/// Whoever takes over behind such a pause begins anew.
const QUIET_MS: u64 = 10_000;
/// So many takeovers in a row are not slowed down.
const FREE: u32 = 3;
const FIRST_DELAY_MS: u64 = 100;
/// Client ids that are remembered; those beyond are not slowed down.
const REMEMBERED_MAX: usize = 10_000;

/// See the module. Of one realm.
#[derive(Debug, Default)]
pub struct Takeovers {
    by_id: HashMap<Box<str>, Fight>,
}

#[derive(Debug)]
struct Fight {
    /// Takeovers in a row.
    count: u32,
    /// When the last of them is carried out.
    last_ms: u64,
}

impl Takeovers {
    /// A connection is about to take the session of a client id from another one. For how many milliseconds it has to wait: at most
    /// `max_ms`.
    pub fn delay_ms(&mut self, client_id: &str, now_ms: u64, max_ms: u64) -> u64 {
        let is_over = |fight: &Fight| now_ms > fight.last_ms + QUIET_MS;
        if !self.by_id.contains_key(client_id) {
            if self.by_id.len() >= REMEMBERED_MAX {
                self.by_id.retain(|_, fight| !is_over(fight));
            }
            if self.by_id.len() >= REMEMBERED_MAX {
                return 0;
            }
            self.by_id.insert(client_id.into(), Fight { count: 0, last_ms: now_ms });
        }
        let Some(fight) = self.by_id.get_mut(client_id) else { return 0 };
        if is_over(fight) {
            fight.count = 0;
        }
        fight.count = fight.count.saturating_add(1);
        let delay_ms = match fight.count.saturating_sub(FREE) {
            0 => 0,
            slowed => FIRST_DELAY_MS.saturating_mul(1 << (slowed - 1).min(32)).min(max_ms),
        };
        fight.last_ms = now_ms + delay_ms;
        delay_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_MS: u64 = 5000;

    /// What each of these takeovers waits, if the next one follows so long after it was carried out.
    fn delays(takeovers: &mut Takeovers, now_ms: &mut u64, pause_ms: u64, count: usize) -> Vec<u64> {
        let mut one = || {
            let delay_ms = takeovers.delay_ms("id", *now_ms, MAX_MS);
            *now_ms += delay_ms + pause_ms;
            delay_ms
        };
        (0..count).map(|_| one()).collect()
    }

    #[test]
    fn takeovers_that_follow_each_other_wait_ever_longer() {
        let (mut takeovers, mut now_ms) = (Takeovers::default(), 0);
        let expected = [0, 0, 0, 100, 200, 400, 800, 1600, 3200, 5000, 5000];
        assert_eq!(delays(&mut takeovers, &mut now_ms, 1, 11), expected);
        assert_eq!(delays(&mut takeovers, &mut now_ms, QUIET_MS, 100), [5000; 100], "as long as the fight goes on");
        now_ms += 1;
        assert_eq!(delays(&mut takeovers, &mut now_ms, 1, 4), [0, 0, 0, 100], "it was quiet");
    }

    #[test]
    fn takeovers_of_other_client_ids_wait_for_nothing() {
        let mut takeovers = Takeovers::default();
        delays(&mut takeovers, &mut 0, 1, 10);
        assert_eq!(takeovers.delay_ms("other", 20_000, MAX_MS), 0);
    }

    #[test]
    fn takeovers_wait_for_nothing_where_that_is_turned_off() {
        let mut takeovers = Takeovers::default();
        assert!((0..1000).all(|now_ms| takeovers.delay_ms("id", now_ms, 0) == 0));
    }

    #[test]
    fn fights_that_are_over_are_forgotten_when_there_are_many() {
        let mut takeovers = Takeovers::default();
        for id in 0..=REMEMBERED_MAX {
            takeovers.delay_ms(&id.to_string(), 0, MAX_MS);
        }
        assert_eq!(takeovers.by_id.len(), REMEMBERED_MAX);
        takeovers.delay_ms("new", QUIET_MS + 1, MAX_MS);
        assert_eq!(takeovers.by_id.len(), 1);
    }
}
