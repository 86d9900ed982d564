//! The queue in one process: entry, storage and sync linked by calls, quorums of one.
//!
//! ```text
//! submit… -> next -> (State::apply, Store::commit) -> applied or failed -> next …
//! ```
//!
//! What gathers while one segment is committed is the next segment. There is no timer.

use bytes::Bytes;

use super::envelope::{NodeId, OrderCommand};
use super::message::Batch;
use super::outcome::Refused;

/// What the log holds when the queue starts.
#[derive(Clone, Debug)]
pub struct Start {
    /// Name of the entry: the same at each start.
    pub entry: NodeId,
    /// Last position that the store has; 0 if it has none.
    pub position: u64,
    /// Present incarnation of the entry: the position of its last INIT; 0 if there was none.
    pub incarnation: u64,
    /// Log time: the highest segment or TIME of the log, in microseconds since 1970.
    pub time_us: u64,
}

/// Bounds of an entry.
#[derive(Clone, Copy, Debug)]
pub struct EntryLimits {
    /// Segments that are not resolved, the open one included. At so many, messages wait for the next. At least 1.
    pub unresolved_segments_max: usize,
    /// Bytes of one segment. A batch that does not fit goes to the next; one that is larger has a segment of its own.
    pub segment_bytes_max: usize,
    /// Bytes of bodies that wait or are not resolved. From there on the entry is full: [`Refused::Full`].
    pub waiting_bytes_max: usize,
}

/// Messages of one submission within a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TicketRange {
    /// What was given with the batch.
    pub ticket: u64,
    /// Its first message in the segment, from 0 on.
    pub offset: u32,
    /// Its messages.
    pub count: u32,
}

/// What takes the next position of the log: to be applied to the state and committed.
#[derive(Clone, Debug, PartialEq)]
pub enum Apply {
    Segment(Sealed),
    Command(Ordered),
}

/// A segment with its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    pub position: u64,
    /// The advance segment: microseconds since 1970.
    pub at_us: u64,
    pub entry: NodeId,
    pub incarnation: u64,
    /// Encoded messages.
    pub body: Bytes,
    /// Messages in it, at least one.
    pub count: u32,
}

/// A command with its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordered {
    pub position: u64,
    pub command: OrderCommand,
}

/// See the module.
#[derive(Debug)]
pub struct Solo {
    limits: EntryLimits,
    entry: NodeId,
    position: u64,
    incarnation: u64,
    time_us: u64,
    gathered: Batch,
    tickets: Vec<TicketRange>,
    commands: std::collections::VecDeque<OrderCommand>,
    under_way: Option<(Option<OrderCommand>, Vec<TicketRange>, usize)>,
}

impl Default for EntryLimits {
    fn default() -> Self {
        Self { unresolved_segments_max: 64, segment_bytes_max: 8 << 20, waiting_bytes_max: 64 << 20 }
    }
}

impl Solo {
    /// The first thing that [`Self::next`] gives is the INIT of the entry.
    pub fn new(start: Start, limits: EntryLimits) -> Self {
        let init = OrderCommand::Init { entry: start.entry.clone(), replaces: start.incarnation };
        Self {
            limits,
            entry: start.entry,
            position: start.position,
            incarnation: start.incarnation,
            time_us: start.time_us,
            gathered: Batch::default(),
            tickets: Vec::new(),
            commands: [init].into(),
            under_way: None,
        }
    }

    /// Whether further batches are refused: stop reading publishers until it is not.
    pub fn is_full(&self) -> bool {
        self.gathered.len() + self.under_way.as_ref().map_or(0, |under_way| under_way.2)
            >= self.limits.waiting_bytes_max
    }

    /// Takes messages for the log. `ticket` comes back from [`Self::applied`] or [`Self::failed`]; it need not be unique.
    ///
    /// # Errors
    /// [`Refused::Full`]: nothing of it was taken.
    pub fn submit(&mut self, batch: Batch, ticket: u64) -> Result<(), Refused> {
        if self.is_full() {
            return Err(Refused::Full);
        }
        self.tickets.push(TicketRange { ticket, offset: self.gathered.count, count: batch.count });
        if self.gathered.is_empty() {
            self.gathered = batch;
        } else {
            self.gathered.append(&batch);
        }
        Ok(())
    }

    /// Asks for a position of the log: commands go before segments.
    pub fn command(&mut self, command: OrderCommand) {
        self.commands.push_back(command);
    }

    /// What is to be applied next; `None` if there is nothing, or if the last was neither applied nor failed yet.
    pub fn next(&mut self, now_us: u64) -> Option<Apply> {
        if self.under_way.is_some() {
            return None;
        }
        let position = self.position + 1;
        if let Some(command) = self.commands.pop_front() {
            self.under_way = Some((Some(command.clone()), Vec::new(), 0));
            return Some(Apply::Command(Ordered { position, command }));
        }
        if self.gathered.is_empty() {
            return None;
        }
        let batch = std::mem::take(&mut self.gathered);
        let count = batch.count;
        let body = batch.into_bytes();
        self.under_way = Some((None, std::mem::take(&mut self.tickets), body.len()));
        self.time_us = now_us.max(self.time_us + 1);
        let (at_us, entry, incarnation) = (self.time_us, self.entry.clone(), self.incarnation);
        Some(Apply::Segment(Sealed { position, at_us, entry, incarnation, body, count }))
    }

    /// Position `position` is committed; its first message has this number. Whose messages it held, in order.
    pub fn applied(&mut self, position: u64, _first_number: u64) -> Vec<TicketRange> {
        let Some((command, tickets, _)) = self.under_way.take() else { return Vec::new() };
        self.position = position;
        if let Some(OrderCommand::Init { .. }) = command {
            self.incarnation = position;
        }
        tickets
    }

    /// Position `position` is not in the store: nothing of it is resolved, the position is free again. Whose messages it held:
    /// they are to be refused. A command is tried again by the next [`Self::next`].
    ///
    /// If it is not known whether a commit is there, the store has to be opened again first: what it has was applied.
    pub fn failed(&mut self, _position: u64) -> Vec<TicketRange> {
        let Some((command, tickets, _)) = self.under_way.take() else { return Vec::new() };
        if let Some(command) = command {
            self.commands.push_front(command);
        }
        tickets
    }

    /// Gives up what was submitted and is not under way, for the store fails or the broker stops. Whose it was, in order.
    pub fn refuse_waiting(&mut self) -> Vec<TicketRange> {
        self.gathered = Batch::default();
        std::mem::take(&mut self.tickets)
    }
}
