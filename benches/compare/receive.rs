//! The thread that receives for all subscribers.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use crate::board::Board;
use crate::load::Sink;
use crate::tracker::{Faults, Tracker};
use crate::wire::{Poller, Wire};

const LOOK_UP: Duration = Duration::from_millis(50);

/// One subscriber.
pub struct Subscriber {
    wire: Wire,
    sink: Box<dyn Sink>,
    hears: Vec<u16>,
    tracker: Tracker,
}

impl Subscriber {
    pub fn new(stream: TcpStream, sink: Box<dyn Sink>, hears: Vec<u16>, tracker: Tracker) -> io::Result<Self> {
        Ok(Self { wire: Wire::new(stream)?, sink, hears, tracker })
    }

    /// The balance of this subscriber, when publisher `p` has sent `sent[p]` messages.
    pub fn faults(&self, sent: &[u64]) -> Faults {
        let heard = |p: usize| self.hears.iter().any(|heard| usize::from(*heard) == p);
        let owed: Vec<u64> = sent.iter().enumerate().map(|(p, sent)| if heard(p) { *sent } else { 0 }).collect();
        self.tracker.faults(&owed)
    }

    /// Reads once and answers.
    fn step(&mut self, index: usize, board: &Board) -> io::Result<()> {
        if self.wire.readable {
            self.wire.read()?;
            let (input, replies) = self.wire.input_and_replies();
            let consumed = self.sink.feed(input, replies, &mut self.tracker)?;
            self.wire.consume(consumed);
            for publisher in &self.hears {
                let publisher = usize::from(*publisher);
                board.set_seen(index, publisher, self.tracker.position(publisher));
            }
            board.set_delivered(index, self.tracker.delivered());
        }
        if self.wire.writable {
            self.wire.flush_replies()?;
        }
        Ok(())
    }
}

/// All subscribers.
pub struct Receiving {
    board: Arc<Board>,
    poller: Poller,
    subscribers: Vec<Subscriber>,
}

impl Receiving {
    pub fn new(board: Arc<Board>) -> io::Result<Self> {
        Ok(Self { board, poller: Poller::new()?, subscribers: Vec::new() })
    }

    pub fn add(&mut self, subscriber: Subscriber) -> io::Result<()> {
        self.poller.add(&subscriber.wire, self.subscribers.len())?;
        self.subscribers.push(subscriber);
        Ok(())
    }

    /// Receives until told to stop.
    pub fn run(mut self) -> io::Result<Vec<Subscriber>> {
        while !self.board.receiving_stopped() {
            let idle = self.subscribers.iter().all(|subscriber| !subscriber.wire.readable);
            if idle {
                let subscribers = &mut self.subscribers;
                self.poller.wait(LOOK_UP, |token, readable, writable| {
                    subscribers[token].wire.readable |= readable;
                    subscribers[token].wire.writable |= writable;
                })?;
            }
            for (index, subscriber) in self.subscribers.iter_mut().enumerate() {
                subscriber.step(index, &self.board)?;
            }
        }
        Ok(self.subscribers)
    }
}
