//! Hashing of ids: one multiplication instead of SipHash, for a call takes ten look-ups.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher};

pub type IdMap<K, V> = HashMap<K, V, IdHash>;
pub type IdSet<K> = HashSet<K, IdHash>;

/// Hashes ids under a secret seed: request ids are chosen by clients, who must not be able to make them collide.
#[derive(Clone, Copy, Debug)]
pub struct IdHash {
    seed: u64,
}

impl IdHash {
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }
}

impl BuildHasher for IdHash {
    type Hasher = IdHasher;

    fn build_hasher(&self) -> IdHasher {
        IdHasher { state: self.seed }
    }
}

pub struct IdHasher {
    state: u64,
}

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, n: u64) {
        // The low half spreads neighbours, the high half depends on the high bits as well.
        let product = u128::from(n ^ self.state) * 0x9E37_79B9_7F4A_7C15;
        self.state = (product >> 64) as u64 ^ product as u64;
    }

    fn finish(&self) -> u64 {
        self.state
    }
}
