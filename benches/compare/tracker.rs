//! What one subscriber received: how many, and whether anything was lost, repeated or out of order.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use crate::schedule::Schedule;

/// What went wrong in a run. All zero for a broker that delivers as it should.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// Sent and never received.
    pub lost: u64,
    /// Received more than once.
    pub duplicates: u64,
    /// Received after a later message of the same publisher.
    pub reordered: u64,
    /// Received without being sent: an unknown publisher, a number that was never used, bytes without a mark.
    pub strange: u64,
    /// Acknowledgements that came in another order than the publishes (MQTT 3.1.1, 4.6).
    pub acks_reordered: u64,
}

impl Faults {
    pub fn add(&mut self, other: Faults) {
        self.lost += other.lost;
        self.duplicates += other.duplicates;
        self.reordered += other.reordered;
        self.strange += other.strange;
        self.acks_reordered += other.acks_reordered;
    }
}

/// Follows the sequence numbers of every publisher that one subscriber hears.
#[derive(Debug)]
pub struct Tracker {
    streams: Vec<Stream>,
    strange: u64,
    latency: Option<LatencyLog>,
}

#[derive(Debug, Default)]
struct Stream {
    /// One more than the highest number seen.
    expected: u32,
    delivered: u64,
    /// Gaps below `expected`, first number to the one after the last.
    missing: BTreeMap<u32, u32>,
    duplicates: u64,
    reordered: u64,
}

impl Tracker {
    /// For a subscriber that may hear publishers `0..publishers`.
    pub fn new(publishers: usize) -> Self {
        Self { streams: (0..publishers).map(|_| Stream::default()).collect(), strange: 0, latency: None }
    }

    /// Also notes how long after its intended time each message came.
    pub fn with_latency(mut self, log: LatencyLog) -> Self {
        self.latency = Some(log);
        self
    }

    /// To be called after each read from the socket: messages noted from here on came now.
    pub fn read_done(&mut self) {
        if let Some(log) = &mut self.latency {
            log.now_ns = log.origin.elapsed().as_nanos() as u64;
        }
    }

    /// Notes one received message.
    pub fn note(&mut self, publisher: u16, sequence: u32) {
        let Some(stream) = self.streams.get_mut(usize::from(publisher)) else {
            self.strange += 1;
            return;
        };
        stream.delivered += 1;
        if sequence == stream.expected {
            stream.expected += 1;
        } else {
            stream.note_unexpected(sequence);
        }
        if let Some(log) = &mut self.latency {
            log.note(sequence);
        }
    }

    /// Notes a message without a mark.
    pub fn note_strange(&mut self) {
        self.strange += 1;
    }

    /// One more than the highest number seen of `publisher`.
    pub fn position(&self, publisher: usize) -> u64 {
        self.streams.get(publisher).map_or(0, |stream| stream.expected.into())
    }

    /// Messages received of all publishers, repeated ones included.
    pub fn delivered(&self) -> u64 {
        self.streams.iter().map(|stream| stream.delivered).sum()
    }

    /// The balance, given how many messages of each publisher should have come.
    pub fn faults(&self, sent: &[u64]) -> Faults {
        let mut faults = Faults { strange: self.strange, ..Faults::default() };
        for (stream, sent) in self.streams.iter().zip(sent) {
            let missing: u64 = stream.missing.iter().map(|(from, to)| u64::from(to - from)).sum();
            let expected = u64::from(stream.expected);
            faults.lost += missing + sent.saturating_sub(expected);
            faults.strange += expected.saturating_sub(*sent);
            faults.duplicates += stream.duplicates;
            faults.reordered += stream.reordered;
        }
        faults
    }

    /// Nanoseconds after the intended time of every message, in the order they came.
    pub fn into_latencies_ns(self) -> Vec<u64> {
        self.latency.map(|log| log.samples_ns).unwrap_or_default()
    }
}

impl Stream {
    #[cold]
    fn note_unexpected(&mut self, sequence: u32) {
        if sequence > self.expected {
            self.missing.insert(self.expected, sequence);
            self.expected = sequence.saturating_add(1);
            return;
        }
        let gap = self.missing.range(..=sequence).next_back().map(|(from, to)| (*from, *to));
        match gap {
            Some((from, to)) if sequence < to => {
                self.missing.remove(&from);
                if from < sequence {
                    self.missing.insert(from, sequence);
                }
                if sequence + 1 < to {
                    self.missing.insert(sequence + 1, to);
                }
                self.reordered += 1;
            }
            _ => self.duplicates += 1,
        }
    }
}

/// How long after its time each message of a steady publisher came.
#[derive(Debug)]
pub struct LatencyLog {
    origin: Instant,
    schedule: Schedule,
    now_ns: u64,
    samples_ns: Vec<u64>,
}

impl LatencyLog {
    /// Messages are meant to leave by `schedule`, which began at `origin`.
    pub fn new(origin: Instant, schedule: Schedule) -> Self {
        Self { origin, schedule, now_ns: 0, samples_ns: Vec::with_capacity(1 << 16) }
    }

    fn note(&mut self, sequence: u32) {
        let intended_ns = self.schedule.time_of(sequence.into()).as_nanos() as u64;
        self.samples_ns.push(self.now_ns.saturating_sub(intended_ns));
    }
}
