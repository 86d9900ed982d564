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
use crate::cpu::{Reading, Spent};
use crate::publish::{Publisher, Publishing};
use crate::receive::{Receiving, Subscriber};
use crate::schedule::Schedule;
use crate::tracker::{Faults, Tracker};

/// Longest wait after the last publish for what is still under way, while something still arrives.
const DRAIN_S: u64 = 10;
/// Nothing arrived for so long: the rest is lost.
const DRAIN_IDLE_MS: u128 = 1000;
/// Where a number of messages is counted: nothing is acknowledged for so long, the rest never is.
const ACK_IDLE: Duration = Duration::from_secs(10);
/// How often a run of a number of messages is looked at.
const LOOK: Duration = Duration::from_millis(1);

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
    /// Publishers in turn, one message per write.
    Open(Schedule),
}

/// Connected ends and how to drive them.
pub struct Load {
    pub sources: Vec<(TcpStream, Box<dyn Source>)>,
    /// With each subscriber the publishers that it hears.
    pub sinks: Vec<(TcpStream, Box<dyn Sink>, Vec<u16>)>,
    pub pace: Pace,
    /// Count what came back to the publishers (acknowledgements, results of calls) instead of what subscribers received.
    pub count_acked: bool,
    /// Each publisher stops after so many messages, and measured is the time from the first to the last acknowledgement,
    /// however long that is.
    pub each: Option<u64>,
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
    pub spent: Spent,
    pub counted: u64,
    pub faults: Faults,
    /// Messages sent by each publisher in the whole run.
    pub sent: Vec<u64>,
}

/// Runs a load to its end.
pub fn run(load: Load, timing: Timing) -> io::Result<Measured> {
    let publishers = load.sources.len();
    let hears: Vec<Vec<u16>> = load.sinks.iter().map(|(_, _, hears)| hears.clone()).collect();
    let board = Arc::new(Board::new(publishers, &hears)?);

    let mut receiving = Receiving::new(board.clone())?;
    for (stream, sink, hears) in load.sinks {
        receiving.add(Subscriber::new(stream, sink, hears, Tracker::new(publishers))?)?;
    }
    let mut publishing = Publishing::new(board.clone(), load.pace, load.each)?;
    for (stream, source) in load.sources {
        publishing.add(Publisher::new(stream, source)?)?;
    }

    let receiver = thread::Builder::new().name("receive".into()).spawn(move || receiving.run())?;
    let publisher = thread::Builder::new().name("publish".into()).spawn(move || publishing.run())?;
    let measured = match load.each {
        Some(each) => measure_all(&board, timing, each * publishers as u64),
        None => measure(&board, timing, load.count_acked),
    };

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
    }
    measured.sent = published.sent;
    Ok(measured)
}

fn measure(board: &Board, timing: Timing, count_acked: bool) -> io::Result<Measured> {
    let count = || if count_acked { board.acked() } else { board.delivered() };
    thread::sleep(timing.warm_up);
    let (counted_before, before) = (count(), Reading::now(timing.broker_pid)?);
    thread::sleep(timing.measured);
    let (counted_after, after) = (count(), Reading::now(timing.broker_pid)?);
    let (spent, counted) = (after.since(&before), counted_after - counted_before);
    Ok(Measured { spent, counted, faults: Faults::default(), sent: Vec::new() })
}

/// From now until `total` messages are acknowledged.
fn measure_all(board: &Board, timing: Timing, total: u64) -> io::Result<Measured> {
    let before = Reading::now(timing.broker_pid)?;
    let (mut acked, mut last) = (0, Instant::now());
    while acked < total {
        thread::sleep(LOOK);
        let now = board.acked();
        if now != acked {
            (acked, last) = (now, Instant::now());
        } else if last.elapsed() > ACK_IDLE {
            return Err(io::Error::other(format!("only {acked} of {total} messages are acknowledged")));
        }
    }
    let spent = Reading::now(timing.broker_pid)?.since(&before);
    Ok(Measured { spent, counted: total, faults: Faults::default(), sent: Vec::new() })
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
