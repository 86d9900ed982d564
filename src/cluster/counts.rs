//! What a node counts while it works, for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::node::log::Kept;
use crate::node::metrics::Histogram;

/// Rounds of votes that are told apart; the last stands for all further ones.
pub const ROUNDS: usize = 5;

/// Since the process was started. Each role counts only what is its own.
#[derive(Debug, Default)]
pub struct Counts {
    /// Entry: lives that the cluster has accepted.
    pub lives: AtomicU64,
    /// Entry: from the opening of a segment to its result.
    pub resolve: Histogram,
    /// Storage: what it takes to have segments kept on disk; sync: one fsync of promises.
    pub disk: Histogram,
    /// Storage: what one commit of what is applied takes.
    pub commit: Histogram,
    /// Storage: segments applied, and bytes of their bodies.
    pub segments: AtomicU64,
    pub bytes: AtomicU64,
    /// Storage: bodies that peers were asked for, and bytes of copies that came from them.
    pub fetched_bodies: AtomicU64,
    pub copied_bytes: AtomicU64,
    /// Storage: segments that were given up.
    pub given_up: AtomicU64,
    /// Storage: what the log holds of each policy, and messages that were given up before all had read them.
    kept: Mutex<(Vec<Kept>, u64)>,
    /// Sync: what it has said in votes.
    pub statements: AtomicU64,
    /// Sync: decisions, by the rounds in which it took part; 0: it learned them.
    pub decided: [AtomicU64; ROUNDS],
}

impl Counts {
    /// How retention is.
    pub fn set_kept(&self, kept: Vec<Kept>, lost: u64) {
        *self.kept.lock() = (kept, lost);
    }

    /// What [`Counts::set_kept`] was told.
    pub fn kept(&self) -> (Vec<Kept>, u64) {
        self.kept.lock().clone()
    }

    /// A position is decided after so many rounds.
    pub fn decided_in(&self, rounds: u32) {
        let at = (rounds as usize).min(ROUNDS - 1);
        self.decided[at].fetch_add(1, Ordering::Relaxed);
    }
}
