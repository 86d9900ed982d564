//! Latency of steady messages.
//!
//! One thread sends and receives. It sleeps while a message is on its way, as a client would, but is awake when the next
//! is to be sent, so that how long the kernel takes to end a sleep does not count against any broker.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use crate::cpu::Reading;
use crate::load::{Measured, Sink, Source, Timing};
use crate::outcome::{Metric, Outcome};
use crate::schedule::Schedule;
use crate::tracker::{LatencyLog, Tracker};
use crate::wire::{Poller, Wire};

/// Longest wait for messages under way when sending is over.
const DRAIN: Duration = Duration::from_secs(2);
/// How long before the next message the driver stops sleeping.
const AWAKE: Duration = Duration::from_micros(40);

/// One publisher and one subscriber.
pub struct Pair {
    pub source: (TcpStream, Box<dyn Source>),
    pub sink: (TcpStream, Box<dyn Sink>),
}

/// Sends by the schedule, whatever the broker does, and notes how long after its time each message arrives.
pub fn run(pair: Pair, schedule: Schedule, timing: Timing) -> io::Result<Outcome> {
    let (mut publisher, mut source) = (Wire::new(pair.source.0)?, pair.source.1);
    let (mut subscriber, mut sink) = (Wire::new(pair.sink.0)?, pair.sink.1);
    let poller = Poller::new()?;
    poller.add(&subscriber, 0)?;
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
    let warm_up = schedule.messages_in(timing.warm_up);
    let total = warm_up + schedule.messages_in(timing.measured);
    let end = timing.warm_up + timing.measured + DRAIN;

    let (mut sent, mut before) = (0, Reading::now(timing.broker_pid)?);
    let origin = Instant::now();
    let mut tracker = Tracker::new(1).with_latency(LatencyLog::new(origin, schedule));
    while tracker.delivered() < total && origin.elapsed() < end {
        while sent < schedule.due(origin.elapsed()).min(total) {
            if sent == warm_up {
                before = Reading::now(timing.broker_pid)?;
            }
            source.fill(1);
            write_all(&mut publisher, source.bytes())?;
            sent += 1;
        }
        let pause = schedule.time_of(sent).saturating_sub(origin.elapsed() + AWAKE);
        if !subscriber.readable && !pause.is_zero() {
            poller.wait(pause, |_, readable, _| subscriber.readable |= readable)?;
        }
        subscriber.read()?;
        tracker.read_done();
        let (input, replies) = subscriber.input_and_replies();
        let consumed = sink.feed(input, replies, &mut tracker)?;
        subscriber.consume(consumed);
    }
    let measured = Measured {
        spent: Reading::now(timing.broker_pid)?.since(&before),
        counted: tracker.delivered().saturating_sub(warm_up),
        faults: tracker.faults(&[sent]),
        sent: vec![sent],
    };
    let mut outcome = Outcome::of(&measured);
    add_percentiles(&mut outcome, &tracker.into_latencies_ns(), warm_up as usize);
    Ok(outcome)
}

/// Writes one message; a broker that does not read for seconds ends the run.
fn write_all(wire: &mut Wire, bytes: &[u8]) -> io::Result<()> {
    let (mut written, begin) = (0, Instant::now());
    while written < bytes.len() {
        written += wire.write(&bytes[written..])?;
        if begin.elapsed() > DRAIN {
            return Err(io::Error::new(ErrorKind::TimedOut, "the broker does not read what is published"));
        }
    }
    Ok(())
}

/// Adds the percentiles of all messages but the first `skipped`.
pub fn add_percentiles(outcome: &mut Outcome, latencies_ns: &[u64], skipped: usize) {
    let mut latencies_ns: Vec<u64> = latencies_ns.iter().skip(skipped).copied().collect();
    latencies_ns.sort_unstable();
    let metrics = [(Metric::P50Us, 0.5), (Metric::P99Us, 0.99), (Metric::P999Us, 0.999), (Metric::MaxUs, 1.0)];
    for (metric, share) in metrics {
        if let Some(ns) = percentile(&latencies_ns, share) {
            outcome.set(metric, ns as f64 / 1000.0);
        }
    }
}

/// The smallest of the sorted values that is not exceeded by `share` of them.
pub fn percentile(sorted: &[u64], share: f64) -> Option<u64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}
