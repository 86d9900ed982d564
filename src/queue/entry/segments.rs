//! What an entry holds of its messages: waiting, and in segments that have no result yet.

use bytes::Bytes;

use super::TicketRange;
use crate::queue::digest::digest;
use crate::queue::envelope::{Draft, NodeId, Refusal, Resolution, SegmentId};
use crate::queue::message::Batch;

/// Makes segments that ascend.
#[derive(Debug)]
pub struct Clock {
    pub last: u64,
    /// The highest that storages told of.
    pub heard: u64,
    /// It goes wrong and is not asked.
    pub dropped: bool,
}

/// Messages that wait for a segment.
#[derive(Debug)]
pub struct Gathered {
    pub batch: Batch,
    /// Offsets count from the piece's first message.
    pub tickets: Vec<TicketRange>,
}

/// A segment without a result, or one whose result waits for those before it.
#[derive(Debug)]
pub struct Unresolved {
    pub id: SegmentId,
    pub slot: u32,
    /// One part, once it is closed.
    pub parts: Vec<Part>,
    pub count: u32,
    pub bytes: usize,
    pub tickets: Vec<TicketRange>,
    /// Storages that have room for it, and whether they find our clock ahead.
    pub trims: Vec<(NodeId, bool)>,
    /// Set when it is closed.
    pub over: Option<Draft>,
    pub end: Option<End>,
}

/// Messages as they were sent.
#[derive(Clone, Debug)]
pub struct Part {
    /// From 1 on.
    pub offset: u32,
    pub count: u32,
    pub body: Bytes,
}

/// How a segment ended.
#[derive(Clone, Debug)]
pub enum End {
    Resolved { position: u64, resolution: Resolution },
    Refused(Refusal),
}

impl Clock {
    pub fn hear(&mut self, heard: u64) {
        self.heard = self.heard.max(heard);
    }

    /// The next segment: above all that were opened or heard of, and the clock's if that is possible.
    pub fn next(&mut self, now_us: u64) -> u64 {
        let now_us = if self.dropped { 0 } else { now_us };
        self.last = now_us.max(self.last + 1).max(self.heard + 1);
        self.last
    }
}

impl Gathered {
    pub fn of(batch: Batch, ticket: u64) -> Self {
        Self { tickets: vec![TicketRange { ticket, offset: 0, count: batch.count }], batch }
    }

    #[inline]
    pub fn push(&mut self, batch: Batch, ticket: u64) {
        self.tickets.push(TicketRange { ticket, offset: self.batch.count, count: batch.count });
        self.batch.append(&batch);
    }
}

impl Unresolved {
    pub fn new(id: SegmentId, slot: u32) -> Self {
        let (parts, tickets, trims) = (Vec::new(), Vec::new(), Vec::new());
        Self { id, slot, parts, count: 0, bytes: 0, tickets, trims, over: None, end: None }
    }

    pub fn is_open(&self) -> bool {
        self.over.is_none()
    }

    /// Takes a piece that waited; what it is to the storages.
    pub fn push(&mut self, piece: Gathered) -> Part {
        let base = self.count;
        let Gathered { batch, mut tickets } = piece;
        if base == 0 {
            self.tickets = tickets;
        } else {
            tickets.iter_mut().for_each(|ticket| ticket.offset += base);
            self.tickets.append(&mut tickets);
        }
        self.count += batch.count;
        self.bytes += batch.len();
        let part = Part { offset: base + 1, count: batch.count, body: batch.into_bytes() };
        self.parts.push(part.clone());
        part
    }

    /// Other storages are to keep it.
    pub fn change_slot(&mut self, slot: u32) {
        self.slot = slot;
        self.trims.clear();
        if let Some(draft) = &mut self.over {
            draft.slot = slot;
        }
    }

    /// Closes it, behind the segment `previous`.
    pub fn close(&mut self, previous: u64) -> Draft {
        if self.parts.len() > 1 {
            let bodies: Vec<&[u8]> = self.parts.iter().map(|part| &part.body[..]).collect();
            self.parts = vec![Part { offset: 1, count: self.count, body: bodies.concat().into() }];
        }
        let digest = self.parts.first().map_or(0, |part| digest(&part.body));
        let (id, slot, count) = (self.id.clone(), self.slot, self.count);
        self.over.insert(Draft { id, slot, count, digest, previous }).clone()
    }
}
