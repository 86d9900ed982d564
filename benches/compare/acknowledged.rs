//! One thread publishes for all publishers and notes how long each acknowledgement takes. Closed loop: each publisher has a fixed
//! number of messages under way, and what is acknowledged makes room for the next.

use std::collections::VecDeque;
use std::io;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::cpu::{Reading, disk_bytes};
use crate::latency::add_percentiles;
use crate::load::{Measured, Source};
use crate::outcome::{Metric, Outcome};
use crate::run::Settings;
use crate::wire::{Poller, Wire};

/// Nothing is acknowledged for so long: the run has failed.
const STALLED: Duration = Duration::from_secs(10);
const LOOK_UP: Duration = Duration::from_millis(20);

/// One publisher.
pub struct Line {
    wire: Wire,
    source: Box<dyn Source>,
    /// When the messages that are not acknowledged were sent.
    under_way: VecDeque<Instant>,
    under_way_max: usize,
    /// How much of the source's bytes is written.
    written: usize,
}

impl Line {
    pub fn new(stream: TcpStream, source: Box<dyn Source>, under_way_max: usize) -> io::Result<Self> {
        let wire = Wire::new(stream)?;
        Ok(Self { wire, source, under_way: VecDeque::new(), under_way_max, written: 0 })
    }

    fn publish(&mut self, goes_on: bool) -> io::Result<()> {
        if self.written == self.source.bytes().len() {
            let room = self.under_way_max - self.under_way.len();
            if !goes_on || room == 0 || !self.wire.flush_replies()? {
                return Ok(());
            }
            let filled = self.source.fill(room);
            self.under_way.extend(std::iter::repeat_n(Instant::now(), filled));
            self.written = 0;
        }
        if self.wire.writable {
            self.written += self.wire.write(&self.source.bytes()[self.written..])?;
        }
        Ok(())
    }

    /// Reads acknowledgements; gives each of their latencies.
    fn read(&mut self, mut note: impl FnMut(Duration)) -> io::Result<()> {
        while self.wire.readable {
            self.wire.read()?;
            let (input, replies) = self.wire.input_and_replies();
            let fed = self.source.feed(input, replies)?;
            self.wire.consume(fed.consumed);
            let now = Instant::now();
            for _ in 0..fed.acked {
                let sent = self.under_way.pop_front();
                note(now - sent.ok_or_else(|| io::Error::other("more acknowledgements than messages"))?);
            }
        }
        Ok(())
    }
}

/// Publishes for as long as was asked for, and waits for the last acknowledgements. `pids`: whose CPU and disk are read.
pub fn run(mut lines: Vec<Line>, pids: &[u32], settings: Settings) -> io::Result<Outcome> {
    let poller = Poller::new()?;
    for (token, line) in lines.iter().enumerate() {
        poller.add(&line.wire, token)?;
    }
    let mut latencies_ns = Vec::with_capacity(1 << 20);
    drive(&mut lines, &poller, settings.warm_up, |_| {})?;
    let (disk, before) = (written(pids)?, Reading::of(pids)?);
    drive(&mut lines, &poller, settings.measured, |latency| latencies_ns.push(latency.as_nanos() as u64))?;
    let (spent, disk) = (Reading::of(pids)?.since(&before), written(pids)? - disk);
    finish(&mut lines, &poller)?;
    let counted = latencies_ns.len() as u64;
    let mut measured = Measured { spent, counted, faults: Default::default(), sent: Vec::new() };
    for line in &lines {
        measured.faults.add(line.source.faults());
        measured.faults.lost += line.under_way.len() as u64;
    }
    let mut outcome = Outcome::of(&measured);
    // There is no one process whose threads could be compared.
    outcome.metrics.remove(&Metric::BusiestThreadPercent);
    outcome.set(Metric::DiskBytes, disk as f64 / counted.max(1) as f64);
    add_percentiles(&mut outcome, &latencies_ns, 0);
    Ok(outcome)
}

fn written(pids: &[u32]) -> io::Result<u64> {
    pids.iter().map(|pid| disk_bytes(*pid)).sum()
}

fn drive(lines: &mut [Line], poller: &Poller, time: Duration, mut note: impl FnMut(Duration)) -> io::Result<()> {
    let (begin, mut last) = (Instant::now(), Instant::now());
    while begin.elapsed() < time {
        turn(lines, poller, true, |latency| {
            last = Instant::now();
            note(latency);
        })?;
        if last.elapsed() > STALLED {
            return Err(io::Error::other("nothing is acknowledged any more"));
        }
    }
    Ok(())
}

fn finish(lines: &mut [Line], poller: &Poller) -> io::Result<()> {
    let begin = Instant::now();
    while lines.iter().any(|line| !line.under_way.is_empty()) && begin.elapsed() < STALLED {
        turn(lines, poller, false, |_| {})?;
    }
    Ok(())
}

/// Writes what may be written, waits for sockets, reads what came.
fn turn(lines: &mut [Line], poller: &Poller, goes_on: bool, mut note: impl FnMut(Duration)) -> io::Result<()> {
    for line in lines.iter_mut() {
        line.publish(goes_on)?;
    }
    poller.wait(LOOK_UP, |token, readable, writable| {
        lines[token].wire.readable |= readable;
        lines[token].wire.writable |= writable;
    })?;
    for line in lines.iter_mut() {
        line.read(&mut note)?;
    }
    Ok(())
}
