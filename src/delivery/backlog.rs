//! Events owed and not yet sent: of an offline session, or behind a full window.

use std::collections::VecDeque;

use super::Owed;

/// An empty backlog keeps room for so many events.
const SPARE_MAX: usize = 64;

/// A bounded first-in first-out queue of [`Owed`] events. When it is full the new event is refused (and counted by the
/// caller): what was promised first is kept, as Mosquitto does.
#[derive(Debug)]
pub struct Backlog {
    /// Each with the time of its arrival, in milliseconds.
    queue: VecDeque<(u64, Owed)>,
    /// That of what was taken last.
    taken_ms: u64,
    bytes: usize,
    messages_max: usize,
    bytes_max: usize,
}

impl Backlog {
    /// An empty backlog of at most `messages_max` events and `bytes_max` bytes.
    pub fn new(messages_max: usize, bytes_max: usize) -> Self {
        Self { queue: VecDeque::new(), taken_ms: 0, bytes: 0, messages_max, bytes_max }
    }

    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes of events that it takes.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Bytes of the events waiting.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// More than half full, and not full: who waits a moment spares it from dropping.
    pub fn is_crowded(&self) -> bool {
        let (messages, bytes) = (self.queue.len(), self.bytes);
        let full = messages >= self.messages_max || bytes >= self.bytes_max;
        !full && (messages > self.messages_max / 2 || bytes > self.bytes_max / 2)
    }

    /// Appends an event; gives it back when the backlog is full.
    pub fn push(&mut self, owed: Owed, now_ms: u64) -> Result<(), Owed> {
        let bytes = owed.bytes();
        let full = self.queue.len() >= self.messages_max || (self.bytes + bytes > self.bytes_max && !self.is_empty());
        if full {
            return Err(owed);
        }
        self.bytes += bytes;
        self.queue.push_back((now_ms, owed));
        Ok(())
    }

    /// The oldest event.
    pub fn front(&self) -> Option<&Owed> {
        self.queue.front().map(|(_, owed)| owed)
    }

    /// When the oldest event came, in milliseconds.
    pub fn oldest_ms(&self) -> Option<u64> {
        self.queue.front().map(|(at_ms, _)| *at_ms)
    }

    /// Takes the oldest event.
    pub fn pop(&mut self) -> Option<Owed> {
        let (at_ms, owed) = self.queue.pop_front()?;
        self.taken_ms = at_ms;
        self.bytes -= owed.bytes();
        if self.queue.is_empty() && self.queue.capacity() > SPARE_MAX {
            self.queue = VecDeque::new();
        }
        Some(owed)
    }

    /// Puts the event back that was taken last, for it could not be sent now. It was promised, so the bounds do not ask again.
    pub fn put_back(&mut self, owed: Owed) {
        self.bytes += owed.bytes();
        self.queue.push_front((self.taken_ms, owed));
    }

    /// Forgets everything; tells how many events that were.
    pub fn clear(&mut self) -> usize {
        self.bytes = 0;
        std::mem::take(&mut self.queue).len()
    }
}
