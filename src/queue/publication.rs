//! WAMP publication ids of durable events: their numbers, shuffled, so that no index is needed to turn an id back.
//!
//! WAMP wants publication ids drawn at random from `1..=2^53` (WAMP, IDs, global scope). The upper half of that range belongs to the
//! log: an event's id is a permutation of its number, keyed per cluster. The lower half belongs to all other publications. So an
//! id tells which it is, and ids of the two never meet.
//!
//! The permutation is a balanced Feistel network over 52 bits. It hides how many events there are from who sees a few ids; it is
//! no cipher, and nothing rests on its being one.

use sha2::{Digest, Sha256};

use crate::types::ids::PublicationId;

/// Ids of each half, and numbers that have an id: what a million events a second fill in 142 years.
pub const NUMBERS: u64 = 1 << 52;

const ROUNDS: usize = 6;
const HALF_BITS: u32 = 26;
const HALF: u64 = (1 << HALF_BITS) - 1;

/// Turns numbers of durable events into publication ids and back.
#[derive(Clone, Debug)]
pub struct Publications {
    rounds: [[u64; 2]; ROUNDS],
}

impl Publications {
    /// The same key gives the same ids: it is the cluster's, made with it and kept.
    pub fn new(key: &[u8; 16]) -> Self {
        let rounds = std::array::from_fn(|round| {
            let hash =
                Sha256::new().chain_update(b"publication").chain_update([round as u8]).chain_update(key).finalize();
            let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| hash[at + byte]));
            [word(0), word(8) | 1]
        });
        Self { rounds }
    }

    /// The id of the durable event of this number, from 1 to [`NUMBERS`] - 1.
    #[inline]
    pub fn publication_of(&self, number: u64) -> PublicationId {
        debug_assert!((1..NUMBERS).contains(&number), "events are numbered from 1");
        let (mut left, mut right) = (number >> HALF_BITS & HALF, number & HALF);
        for keys in &self.rounds {
            (left, right) = (right, left ^ mix(right, keys));
        }
        PublicationId(NUMBERS + 1 + (left << HALF_BITS | right))
    }

    /// The number of the durable event with this id; `None` if it is the id of no durable event, whatever the log holds.
    pub fn number_of(&self, id: PublicationId) -> Option<u64> {
        let shuffled = id.0.checked_sub(NUMBERS + 1).filter(|shuffled| *shuffled < NUMBERS)?;
        let (mut left, mut right) = (shuffled >> HALF_BITS, shuffled & HALF);
        for keys in self.rounds.iter().rev() {
            (left, right) = (right ^ mix(left, keys), left);
        }
        Some(left << HALF_BITS | right).filter(|number| *number != 0)
    }
}

/// The id of a publication that is not in the log, of 64 random bits.
#[inline]
pub fn volatile(random: u64) -> PublicationId {
    PublicationId(1 + random % NUMBERS)
}

/// 26 bits that depend on all of `half` and of the round's keys.
#[inline]
fn mix(half: u64, keys: &[u64; 2]) -> u64 {
    let product = u128::from(half ^ keys[0]) * u128::from(keys[1]);
    let folded = (product >> 64) as u64 ^ product as u64;
    (folded ^ folded >> 32) & HALF
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::types::ids::ID_MAX;

    fn publications() -> Publications {
        Publications::new(b"sixteen byte key")
    }

    proptest! {
        #[test]
        fn an_id_leads_back_to_its_number(number in 1..NUMBERS, key: [u8; 16]) {
            let publications = Publications::new(&key);
            let id = publications.publication_of(number);
            prop_assert!((NUMBERS + 1..=ID_MAX).contains(&id.0));
            prop_assert_eq!(publications.number_of(id), Some(number));
        }

        #[test]
        fn every_id_of_the_upper_half_but_that_of_zero_is_a_number(id in NUMBERS + 1..=ID_MAX) {
            let publications = publications();
            let number = publications.number_of(PublicationId(id));
            prop_assert_eq!(number.map(|number| publications.publication_of(number)), number.map(|_| PublicationId(id)));
            prop_assert!(number.is_some());
        }

        #[test]
        fn other_publications_are_in_the_lower_half(random: u64) {
            let id = volatile(random);
            prop_assert!((1..=NUMBERS).contains(&id.0));
            prop_assert_eq!(publications().number_of(id), None);
        }
    }

    #[test]
    fn the_ends_of_the_range_are_ids_too() {
        let publications = publications();
        for number in [1, 2, HALF, HALF + 1, NUMBERS - 2, NUMBERS - 1] {
            assert_eq!(publications.number_of(publications.publication_of(number)), Some(number));
        }
        for id in [0, 1, NUMBERS, ID_MAX + 1, u64::MAX] {
            assert_eq!(publications.number_of(PublicationId(id)), None, "{id}");
        }
    }

    #[test]
    fn ids_are_those_of_all_versions() {
        // Clients keep ids: another permutation would lead them astray.
        let ids = [1, 2, 1_000_000].map(|number| publications().publication_of(number).0);
        assert_eq!(ids, [6_641_461_374_639_355, 5_879_531_624_222_078, 6_474_376_930_787_021]);
    }

    #[test]
    fn clusters_have_ids_of_their_own() {
        let other = Publications::new(b"another such key");
        let same = (1..1000).filter(|n| publications().publication_of(*n) == other.publication_of(*n)).count();
        assert_eq!(same, 0);
    }

    /// Numbers that follow each other look drawn at random: they spread over the half and share no distances.
    #[test]
    fn ids_of_neighbours_are_scattered() {
        let publications = publications();
        let ids: Vec<u64> = (1..=65_536).map(|number| publications.publication_of(number).0 - NUMBERS - 1).collect();
        for bit in 0..52 {
            let ones = ids.iter().filter(|id| *id >> bit & 1 == 1).count();
            assert!((32_000..33_536).contains(&ones), "bit {bit}: {ones}");
        }
        let distances: HashSet<u64> = ids.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
        assert_eq!(distances.len(), ids.len() - 1);
        let ascending = ids.windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!((32_000..33_536).contains(&ascending), "{ascending}");
    }
}
