//! What the publishing and the receiving thread tell each other.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

use crate::wire::Bell;

/// Counters that the receiving thread writes and the publishing thread reads, so that it never has more messages
/// outstanding than the window allows.
pub struct Board {
    publishers: usize,
    /// Who hears whom: for each publisher its subscribers.
    listeners: Vec<Vec<usize>>,
    /// One more than the highest number that subscriber `s` has seen of publisher `p`, at `s * publishers + p`. A lost
    /// message gives its place in the window back when a later one arrives.
    seen: Vec<AtomicU64>,
    /// Messages received by each subscriber.
    delivered: Vec<AtomicU64>,
    /// Messages whose last acknowledgement reached its publisher.
    acked: AtomicU64,
    /// The publisher wants the bell when this many deliveries were made.
    ring_at: AtomicU64,
    bell: Bell,
    stop_publishing: AtomicBool,
    stop_receiving: AtomicBool,
}

impl Board {
    /// `hears[s]` are the publishers that subscriber `s` hears.
    pub fn new(publishers: usize, hears: &[Vec<u16>]) -> io::Result<Self> {
        let mut listeners = vec![Vec::new(); publishers];
        for (subscriber, heard) in hears.iter().enumerate() {
            for publisher in heard {
                listeners[usize::from(*publisher)].push(subscriber);
            }
        }
        Ok(Self {
            publishers,
            listeners,
            seen: (0..publishers * hears.len()).map(|_| AtomicU64::new(0)).collect(),
            delivered: hears.iter().map(|_| AtomicU64::new(0)).collect(),
            acked: AtomicU64::new(0),
            ring_at: AtomicU64::new(u64::MAX),
            bell: Bell::new()?,
            stop_publishing: AtomicBool::new(false),
            stop_receiving: AtomicBool::new(false),
        })
    }

    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    /// How far the slowest subscriber of `publisher` is.
    pub fn seen_by_all(&self, publisher: usize) -> u64 {
        let places = self.listeners[publisher].iter().map(|subscriber| subscriber * self.publishers + publisher);
        places.map(|place| self.seen[place].load(Relaxed)).min().unwrap_or(u64::MAX)
    }

    /// Deliveries that are still owed to the subscribers of `publisher`, of the messages from `from` to `sent`.
    pub fn outstanding(&self, publisher: usize, sent: u64, from: u64) -> u64 {
        let places = self.listeners[publisher].iter().map(|subscriber| subscriber * self.publishers + publisher);
        places.map(|place| sent.saturating_sub(self.seen[place].load(Relaxed).max(from))).sum()
    }

    /// How many subscribers hear `publisher`.
    pub fn fan_out(&self, publisher: usize) -> usize {
        self.listeners[publisher].len()
    }

    /// Subscriber `s` has seen everything of `publisher` below `position`.
    pub fn set_seen(&self, subscriber: usize, publisher: usize, position: u64) {
        self.seen[subscriber * self.publishers + publisher].store(position, Relaxed);
    }

    /// Subscriber `s` has received `total` messages; wakes the publisher if it waits for that.
    pub fn set_delivered(&self, subscriber: usize, total: u64) {
        self.delivered[subscriber].store(total, SeqCst);
        let ring_at = self.ring_at.load(SeqCst);
        if ring_at != u64::MAX && self.delivered() >= ring_at {
            self.ring_at.store(u64::MAX, SeqCst);
            self.bell.ring();
        }
    }

    /// Messages received by all subscribers together.
    pub fn delivered(&self) -> u64 {
        self.delivered.iter().map(|count| count.load(SeqCst)).sum()
    }

    /// Asks for the bell when `total` deliveries were made; false if they were made meanwhile.
    pub fn ring_at(&self, total: u64) -> bool {
        self.ring_at.store(total, SeqCst);
        self.delivered() < total
    }

    pub fn add_acked(&self, count: u64) {
        self.acked.fetch_add(count, Relaxed);
    }

    pub fn acked(&self) -> u64 {
        self.acked.load(Relaxed)
    }

    pub fn stop_publishing(&self) {
        self.stop_publishing.store(true, Relaxed);
        self.bell.ring();
    }

    pub fn publishing_stopped(&self) -> bool {
        self.stop_publishing.load(Relaxed)
    }

    pub fn stop_receiving(&self) {
        self.stop_receiving.store(true, Relaxed);
    }

    pub fn receiving_stopped(&self) -> bool {
        self.stop_receiving.load(Relaxed)
    }
}
