//! The thread that publishes for all publishers.

use std::io;
use std::net::TcpStream;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::board::Board;
use crate::load::{Pace, Source};
use crate::schedule::Schedule;
use crate::tracker::Faults;
use crate::wire::{Poller, Wire};

const LOOK_UP: Duration = Duration::from_millis(100);
/// No delivery for so long while the window is full: what is outstanding is lost, and the window opens again.
const STALLED: Duration = Duration::from_millis(1000);
/// Longest wait for the last acknowledgements.
const LAST_ACKS: Duration = Duration::from_secs(5);
/// When a steady publisher that could not write tries again.
const WRITE_AGAIN: Duration = Duration::from_micros(20);

/// One publisher.
pub struct Publisher {
    wire: Wire,
    source: Box<dyn Source>,
    sent: u64,
    acked: u64,
    /// Sent messages that the window no longer waits for.
    written_off: u64,
    /// How much of the source's bytes is written; all, if there is nothing to write.
    written: usize,
}

/// What was published.
pub struct Published {
    /// Messages sent by each publisher.
    pub sent: Vec<u64>,
    pub faults: Faults,
    /// The connections stay open until all subscribers are done.
    _publishers: Vec<Publisher>,
}

impl Publisher {
    pub fn new(stream: TcpStream, source: Box<dyn Source>) -> io::Result<Self> {
        let written = source.bytes().len();
        Ok(Self { wire: Wire::new(stream)?, source, sent: 0, acked: 0, written_off: 0, written })
    }

    /// How many messages the window still has room for, when the slowest subscriber is at `seen_by_all`.
    fn room(&self, seen_by_all: u64, window: u64) -> u64 {
        window.saturating_sub(self.sent - seen_by_all.max(self.written_off).min(self.sent))
    }

    /// How many messages may be sent without an acknowledgement of earlier ones.
    fn room_in_flight(&self, in_flight: Option<u64>) -> u64 {
        in_flight.map_or(u64::MAX, |in_flight| in_flight.saturating_sub(self.sent - self.acked.min(self.sent)))
    }

    fn fill(&mut self, count: u64) {
        self.sent += self.source.fill(count as usize) as u64;
        self.written = 0;
    }

    /// Writes what is left of the last batch; true if something could be written. Answers go between two batches.
    fn write(&mut self) -> io::Result<bool> {
        if !self.wire.writable {
            return Ok(false);
        }
        let rest = &self.source.bytes()[self.written..];
        if rest.is_empty() {
            return Ok(!self.wire.replies.is_empty() && self.wire.flush_replies()?);
        }
        let written = self.wire.write(rest)?;
        self.written += written;
        Ok(written > 0)
    }

    /// Writes one message, however long the broker lets it wait, but not beyond the end of the run.
    fn write_one(&mut self, board: &Board) -> io::Result<()> {
        self.fill(1);
        while !self.batch_is_written() {
            self.wire.writable = true;
            if !self.write()? {
                if board.publishing_stopped() {
                    break;
                }
                thread::sleep(WRITE_AGAIN);
            }
        }
        Ok(())
    }

    fn batch_is_written(&self) -> bool {
        self.written == self.source.bytes().len() && self.wire.replies.is_empty()
    }

    /// Reads answers; how many messages are done.
    fn read(&mut self) -> io::Result<u64> {
        let mut acked = 0;
        while self.wire.readable {
            self.wire.read()?;
            let (input, replies) = self.wire.input_and_replies();
            let fed = self.source.feed(input, replies)?;
            self.wire.consume(fed.consumed);
            acked += fed.acked;
        }
        self.acked += acked;
        Ok(acked)
    }
}

/// All publishers.
pub struct Publishing {
    board: Arc<Board>,
    pace: Pace,
    /// Messages that each publisher sends; closed loop only.
    each: u64,
    poller: Poller,
    publishers: Vec<Publisher>,
}

impl Publishing {
    /// Publishers send `each` messages at most, where that is said.
    pub fn new(board: Arc<Board>, pace: Pace, each: Option<u64>) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add_bell(board.bell(), usize::MAX)?;
        Ok(Self { board, pace, each: each.unwrap_or(u64::MAX), poller, publishers: Vec::new() })
    }

    pub fn add(&mut self, publisher: Publisher) -> io::Result<()> {
        self.poller.add(&publisher.wire, self.publishers.len())?;
        self.publishers.push(publisher);
        Ok(())
    }

    /// Publishes until told to stop, then waits for the last acknowledgements.
    pub fn run(mut self) -> io::Result<Published> {
        match self.pace {
            Pace::Closed { window, in_flight, batch } => self.run_closed(window, in_flight, batch)?,
            Pace::Open(schedule) => self.run_open(schedule)?,
        }
        let mut faults = Faults::default();
        self.publishers.iter().for_each(|publisher| faults.add(publisher.source.faults()));
        let sent = self.publishers.iter().map(|publisher| publisher.sent).collect();
        Ok(Published { sent, faults, _publishers: self.publishers })
    }

    fn run_closed(&mut self, window: u64, in_flight: Option<u64>, batch: u64) -> io::Result<()> {
        let mut moved_at = (Instant::now(), self.board.delivered());
        let mut least = batch;
        while !self.board.publishing_stopped() {
            let mut moved = false;
            for (index, publisher) in self.publishers.iter_mut().enumerate() {
                moved |= publisher.write()?;
                if publisher.batch_is_written() {
                    let room = publisher.room(self.board.seen_by_all(index), window);
                    let room = room.min(publisher.room_in_flight(in_flight)).min(self.each - publisher.sent);
                    if room >= least {
                        publisher.fill(room);
                        moved |= publisher.write()?;
                    }
                }
            }
            if moved {
                least = batch;
                continue;
            }
            // A wait that ran out may have been for a batch that never gets full.
            least = if self.wait(LOOK_UP)? { batch } else { 1 };
            let delivered = self.board.delivered();
            if delivered != moved_at.1 {
                moved_at = (Instant::now(), delivered);
            } else if moved_at.0.elapsed() > STALLED {
                self.publishers.iter_mut().for_each(|publisher| publisher.written_off = publisher.sent);
                moved_at.0 = Instant::now();
            }
        }
        self.finish(in_flight.is_some())
    }

    /// Sleeps until a socket can go on, a quarter of what is outstanding has arrived, or the time is over (false).
    fn wait(&mut self, timeout: Duration) -> io::Result<bool> {
        if !self.ask_for_bell() {
            return Ok(true);
        }
        let publishers = &mut self.publishers;
        let woken = self.poller.wait(timeout, |token, readable, writable| {
            if let Some(publisher) = publishers.get_mut(token) {
                publisher.wire.readable |= readable;
                publisher.wire.writable |= writable;
            }
        })?;
        let mut acked = 0;
        for publisher in &mut self.publishers {
            acked += publisher.read()?;
        }
        self.board.add_acked(acked);
        Ok(woken)
    }

    /// Asks to be woken by deliveries if a window is full; false if it is open meanwhile. Publishers that wait for
    /// acknowledgements are woken by these.
    fn ask_for_bell(&self) -> bool {
        let Pace::Closed { window, in_flight, batch } = self.pace else { return true };
        let (mut outstanding, mut full) = (0, false);
        let delivered = self.board.delivered();
        for (index, publisher) in self.publishers.iter().enumerate() {
            outstanding += self.board.outstanding(index, publisher.sent, publisher.written_off);
            let room = publisher.room(self.board.seen_by_all(index), window);
            full |= room < batch && room < publisher.room_in_flight(in_flight);
        }
        !full || self.board.ring_at(delivered + outstanding.div_ceil(4).max(1))
    }

    /// Writes what is begun and waits for what is not acknowledged.
    fn finish(&mut self, acknowledged: bool) -> io::Result<()> {
        let begin = Instant::now();
        let done = |publisher: &Publisher| {
            publisher.batch_is_written() && (!acknowledged || publisher.acked >= publisher.sent)
        };
        while !self.publishers.iter().all(done) && begin.elapsed() < LAST_ACKS {
            let mut moved = false;
            for publisher in &mut self.publishers {
                moved |= publisher.write()?;
            }
            if !moved {
                self.wait(Duration::from_millis(10))?;
            }
        }
        Ok(())
    }

    /// Every message leaves at its time, or at once if that has passed.
    fn run_open(&mut self, schedule: Schedule) -> io::Result<()> {
        // The default lets the kernel sleep 50 us longer than asked, which is more than most brokers take.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
        let (origin, publishers) = (Instant::now(), self.publishers.len() as u64);
        let mut next = 0;
        while !self.board.publishing_stopped() {
            if next < schedule.due(origin.elapsed()) {
                self.publishers[(next % publishers) as usize].write_one(&self.board)?;
                next += 1;
            } else {
                thread::sleep(schedule.time_of(next).saturating_sub(origin.elapsed()));
            }
        }
        Ok(())
    }
}
