//! Drives a load through a broker: one thread publishes for all publishers, one receives for all subscribers.
//!
//! Closed loop: publishers send batches as long as no subscriber lags more than the window behind, so that no broker has
//! to drop and the rate is what the broker can do. Open loop: publishers send one message per write at fixed times,
//! whatever the broker does.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::board::Board;
use crate::cpu::{CpuSpent, CpuTime};
use crate::publish::{Publisher, Publishing};
use crate::receive::{Receiving, Subscriber};
use crate::tracker::{Faults, LatencyLog, Tracker};

/// Longest wait after the last publish for what is still under way, while something still arrives.
const DRAIN_S: u64 = 10;
/// Nothing arrived for so long: the rest is lost.
const DRAIN_IDLE_MS: u128 = 1000;

/// Makes the packets of one publisher.
pub trait Source: Send {
    /// Encodes the next messages, at most `count` and at least one; returns how many.
    fn fill(&mut self, count: usize) -> usize;
    /// The messages that the last `fill` encoded.
    fn bytes(&self) -> &[u8];
    /// Reads what the broker answered to this publisher, and appends what has to be answered to that.
    fn feed(&mut self, input: &[u8], replies: &mut Vec<u8>) -> io::Result<Fed>;
    /// What was wrong in the answers.
    fn faults(&self) -> Faults {
        Faults::default()
    }
}

/// What a [`Source`] made of its input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fed {
    pub consumed: usize,
    /// Messages that are done with.
    pub acked: u64,
}

/// Reads the packets of one subscriber.
pub trait Sink: Send {
    /// Notes all complete messages in `input`, appends what has to be answered; returns the bytes consumed.
    fn feed(&mut self, input: &[u8], replies: &mut Vec<u8>, tracker: &mut Tracker) -> io::Result<usize>;
}

/// How publishers are paced.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// At most `window` messages per publisher sent and not yet seen by all its subscribers; with acknowledgements, at
    /// most `in_flight` not acknowledged. A publisher waits until it may send `batch` of them at once.
    Closed { window: u64, in_flight: Option<u64>, batch: u64 },
    /// `per_second` messages of all publishers together, in turn, one per write.
    Open { per_second: u64 },
}

/// Connected ends and how to drive them.
pub struct Load {
    pub sources: Vec<(TcpStream, Box<dyn Source>)>,
    /// With each subscriber the publishers that it hears.
    pub sinks: Vec<(TcpStream, Box<dyn Sink>, Vec<u16>)>,
    pub pace: Pace,
    /// Count what came back to the publishers (results of calls) instead of what subscribers received.
    pub count_acked: bool,
    pub log_latency: bool,
}

/// How long a run takes, and whose CPU is read meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub warm_up: Duration,
    pub measured: Duration,
    pub broker_pid: Option<u32>,
}

/// What was seen while measuring; the faults are those of the whole run.
pub struct Measured {
    pub elapsed: Duration,
    pub counted: u64,
    pub broker: Option<CpuSpent>,
    pub driver: CpuSpent,
    pub faults: Faults,
    pub latencies_ns: Vec<u64>,
}

/// Runs a load to its end.
pub fn run(load: Load, timing: Timing) -> io::Result<Measured> {
    let publishers = load.sources.len();
    let hears: Vec<Vec<u16>> = load.sinks.iter().map(|(_, _, hears)| hears.clone()).collect();
    let board = Arc::new(Board::new(publishers, &hears)?);
    let origin = Instant::now();

    let mut receiving = Receiving::new(board.clone())?;
    for (stream, sink, hears) in load.sinks {
        let mut tracker = Tracker::new(publishers);
        if let (true, Pace::Open { per_second }) = (load.log_latency, load.pace) {
            tracker = tracker.with_latency(LatencyLog::new(origin, per_second));
        }
        receiving.add(Subscriber::new(stream, sink, hears, tracker)?)?;
    }
    let mut publishing = Publishing::new(board.clone(), load.pace)?;
    for (stream, source) in load.sources {
        publishing.add(Publisher::new(stream, source)?)?;
    }

    let receiver = thread::Builder::new().name("receive".into()).spawn(move || receiving.run())?;
    let publisher = thread::Builder::new().name("publish".into()).spawn(move || publishing.run(origin))?;
    let measured = measure(&board, timing, load.count_acked);

    board.stop_publishing();
    let published = publisher.join().map_err(|_| io::Error::other("the publishing thread panicked"))?;
    if let Ok(published) = &published {
        drain(&board, published.sent.iter().enumerate().map(|(p, sent)| sent * board.fan_out(p) as u64).sum());
    }
    board.stop_receiving();
    let received = receiver.join().map_err(|_| io::Error::other("the receiving thread panicked"))?;
    // A broker that dies shows first at the end that says so: prefer the receiver's word.
    let (received, published, mut measured) = (received?, published?, measured?);
    measured.faults = published.faults;
    for subscriber in received {
        measured.faults.add(subscriber.faults(&published.sent));
        measured.latencies_ns.extend(subscriber.into_latencies_ns());
    }
    Ok(measured)
}

fn measure(board: &Board, timing: Timing, count_acked: bool) -> io::Result<Measured> {
    let count = || if count_acked { board.acked() } else { board.delivered() };
    let cpu = || io::Result::Ok((timing.broker_pid.map(CpuTime::of).transpose()?, CpuTime::of(std::process::id())?));
    thread::sleep(timing.warm_up);
    let (begin, counted_before, (broker_before, driver_before)) = (Instant::now(), count(), cpu()?);
    thread::sleep(timing.measured);
    let (elapsed, counted_after, (broker_after, driver_after)) = (begin.elapsed(), count(), cpu()?);
    let broker = broker_after.zip(broker_before).map(|(after, before)| after.since(&before));
    Ok(Measured {
        elapsed,
        counted: counted_after - counted_before,
        broker,
        driver: driver_after.since(&driver_before),
        faults: Faults::default(),
        latencies_ns: Vec::new(),
    })
}

/// Waits until `owed` deliveries were made or no more come.
fn drain(board: &Board, owed: u64) {
    let begin = Instant::now();
    let (mut delivered, mut last) = (board.delivered(), Instant::now());
    while delivered < owed && last.elapsed().as_millis() < DRAIN_IDLE_MS && begin.elapsed().as_secs() < DRAIN_S {
        thread::sleep(Duration::from_millis(5));
        let now = board.delivered();
        if now != delivered {
            (delivered, last) = (now, Instant::now());
        }
    }
}
