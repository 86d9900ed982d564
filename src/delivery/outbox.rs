//! Encoded frames on their way to one socket.

use std::collections::VecDeque;

use bytes::Bytes;

/// Bodies from this size on ride as shared [`Bytes`]; smaller ones are copied, which costs less than a reference each.
pub const SHARE_BYTES_MIN: usize = 16 * 1024;

/// An outbox with this part of its bound in it counts as empty.
const LITTLE: usize = 256;

/// The outbox is full: the frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A bounded queue of encoded frames.
///
/// Small frames are appended to one buffer, so that a batch leaves in one write; large ones keep their own allocation.
/// A frame larger than the bound is taken if next to nothing else waits: otherwise it could never be sent.
#[derive(Debug)]
pub struct Outbox {
    parts: VecDeque<Bytes>,
    tail: Vec<u8>,
    bytes: usize,
    bytes_max: usize,
    /// Of `bytes`: answers to the peer's own packets.
    reply_bytes: usize,
}

/// What a connection takes from an outbox to write it.
#[derive(Debug, Default)]
pub struct Taken {
    pub parts: VecDeque<Bytes>,
    pub tail: Vec<u8>,
}

impl Taken {
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum::<usize>() + self.tail.len()
    }
}

impl Outbox {
    /// An empty outbox that takes up to `bytes_max` bytes of events.
    pub fn new(bytes_max: usize) -> Self {
        Self { parts: VecDeque::new(), tail: Vec::new(), bytes: 0, bytes_max, reply_bytes: 0 }
    }

    /// Bytes waiting.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// More than half full, and not full: who waits a moment spares it from dropping.
    pub fn is_crowded(&self) -> bool {
        self.bytes > self.bytes_max / 2 && self.bytes < self.bytes_max
    }

    /// Whether a frame of `len` bytes would be taken. A few small frames that wait do not keep a large one out.
    pub fn has_room(&self, len: usize) -> bool {
        self.bytes <= self.bytes_max / LITTLE || self.bytes + len <= self.bytes_max
    }

    /// Appends frames of an event.
    pub fn push(&mut self, frames: &[u8]) -> Result<(), Full> {
        if !self.has_room(frames.len()) {
            return Err(Full);
        }
        self.append(frames);
        Ok(())
    }

    /// Appends a frame that is shared with other outboxes. The caller has asked [`Outbox::has_room`].
    pub fn push_shared(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.seal_tail();
        self.parts.push_back(frame);
    }

    /// The buffer, for an encoder to append a frame to. What is written there counts when it is taken up by
    /// [`Outbox::accept`]; else it must be dropped by [`Outbox::discard`].
    pub fn draft(&mut self) -> &mut Vec<u8> {
        &mut self.tail
    }

    /// Takes up what was drafted since `mark`, followed by `body`, which is shared. The caller has asked [`Outbox::has_room`].
    pub fn accept(&mut self, mark: usize, body: Option<Bytes>) {
        self.bytes += self.tail.len() - mark;
        if let Some(body) = body {
            self.push_shared(body);
        }
    }

    /// Drops what was drafted since `mark`.
    pub fn discard(&mut self, mark: usize) {
        self.tail.truncate(mark);
    }

    /// Appends a frame of an event. The caller has asked [`Outbox::has_room`].
    pub fn append(&mut self, frame: &[u8]) {
        self.bytes += frame.len();
        self.tail.extend_from_slice(frame);
    }

    /// Appends an answer to the peer's own packet. Never refused: the connection stops reading a peer that does not take its
    /// answers ([`Outbox::reply_bytes`]), so they cannot pile up.
    pub fn push_reply(&mut self, frame: &[u8]) {
        self.append(frame);
        self.reply_bytes += frame.len();
    }

    /// Bytes of answers that wait.
    pub fn reply_bytes(&self) -> usize {
        self.reply_bytes
    }

    /// Lets an encoder append an answer in place; see [`Outbox::push_reply`].
    pub fn reply_with(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let before = self.tail.len();
        encode(&mut self.tail);
        self.bytes += self.tail.len() - before;
        self.reply_bytes += self.tail.len() - before;
    }

    /// Lets an encoder append a frame in place that is no answer. The caller has asked [`Outbox::has_room`].
    pub fn append_with(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let before = self.tail.len();
        encode(&mut self.tail);
        self.bytes += self.tail.len() - before;
    }

    /// Offset at which the next frame begins in the buffer that [`Outbox::patch`] and [`Outbox::draft`] reach.
    pub fn mark(&self) -> usize {
        self.tail.len()
    }

    /// Overwrites two bytes of a frame pushed since the last [`Outbox::take`]: its packet identifier.
    pub fn patch(&mut self, at: usize, packet_id: u16) {
        self.tail[at..at + 2].copy_from_slice(&packet_id.to_be_bytes());
    }

    /// Takes all that waits, leaving `spare` (cleared) as the buffer for what comes next.
    pub fn take(&mut self, mut spare: Vec<u8>) -> Taken {
        spare.clear();
        self.bytes = 0;
        self.reply_bytes = 0;
        Taken { parts: std::mem::take(&mut self.parts), tail: std::mem::replace(&mut self.tail, spare) }
    }

    /// Forgets all that waits.
    pub fn clear(&mut self) {
        self.parts = VecDeque::new();
        self.tail = Vec::new();
        self.bytes = 0;
        self.reply_bytes = 0;
    }

    fn seal_tail(&mut self) {
        if !self.tail.is_empty() {
            self.parts.push_back(Bytes::from(std::mem::take(&mut self.tail)));
        }
    }
}
