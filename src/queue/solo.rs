//! The queue in one process: entry, storage and sync linked by calls, quorums of one.
//!
//! ```text
//! submit… -> next -> (State::apply, Store::commit) -> applied or failed -> next …
//! ```
//!
//! What gathers while one segment is committed is the next segment. There is no timer. One thing is under way at a time, so
//! that a commit that fails has nothing behind it.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::entry::{self, EntryRole};
use super::envelope::{Envelope, NodeId, OrderCommand, Resolution, Role, RoleMessage};
use super::message::Batch;
use super::outcome::Refused;
use super::quorum::Members;
use super::storage::{self, StorageRole};
use super::sync::{self, SyncRole};

pub use super::entry::{EntryLimits, TicketRange};

#[cfg(test)]
mod tests;

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
    entry: EntryRole,
    storage: StorageRole,
    sync: SyncRole,
    sync_node: NodeId,
    /// Commands that were not yet asked for.
    commands: VecDeque<OrderCommand>,
    /// What is being applied; of a segment nothing but that.
    under_way: Option<Option<OrderCommand>>,
    /// What roles say to each other and is not handled yet.
    envelopes: VecDeque<Envelope>,
    /// Put out and not yet taken.
    apply: Option<Apply>,
    tickets: Vec<TicketRange>,
    /// Empty between calls.
    entry_out: Vec<entry::Output>,
    storage_out: Vec<storage::Output>,
    sync_out: Vec<sync::Output>,
}

impl Solo {
    /// The first thing that [`Self::next`] gives is the INIT of the entry.
    pub fn new(start: Start, limits: EntryLimits) -> Self {
        let Start { entry, position, incarnation, time_us } = start;
        let (sync_node, storage_node) = (NodeId::sync("solo"), NodeId::storage("solo"));
        let members = Members::solo(sync_node.clone(), storage_node.clone());
        let life = storage::Life { incarnation, ..storage::Life::default() };
        let on_disk =
            storage::Start { position, time_us, entries: vec![(entry.clone(), life)], ..storage::Start::default() };
        let life = sync::Life { incarnation, ..sync::Life::default() };
        let lives = BTreeMap::from([(entry.clone(), life)]);
        let mut solo = Self {
            storage: StorageRole::new(storage_node, members.clone(), true, on_disk),
            sync: SyncRole::alone(sync_node.clone(), members.clone(), position, lives),
            entry: EntryRole::new(entry, members, limits, time_us),
            sync_node,
            commands: VecDeque::new(),
            under_way: None,
            envelopes: VecDeque::new(),
            apply: None,
            tickets: Vec::new(),
            entry_out: Vec::new(),
            storage_out: Vec::new(),
            sync_out: Vec::new(),
        };
        solo.entry.init(incarnation, 0, &mut solo.entry_out);
        solo
    }

    /// Whether further batches are refused: stop reading publishers until it is not.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.entry.is_full()
    }

    /// Takes messages for the log. `ticket` comes back from [`Self::applied`] or [`Self::failed`]; it need not be unique. A batch
    /// without messages is forgotten, its ticket with it.
    ///
    /// # Errors
    /// [`Refused::Full`]: nothing of it was taken.
    #[inline]
    pub fn submit(&mut self, batch: Batch, ticket: u64) -> Result<(), Refused> {
        self.entry.submit(batch, ticket)
    }

    /// Asks for a position of the log: commands go before segments. One that waits already is not asked for twice. MEMBERS has no
    /// meaning here and is forgotten.
    pub fn command(&mut self, command: OrderCommand) {
        if !matches!(command, OrderCommand::Members { .. }) && !self.commands.contains(&command) {
            self.commands.push_back(command);
        }
    }

    /// What is to be applied next; `None` if there is nothing, or if the last was neither applied nor failed yet.
    pub fn next(&mut self, now_us: u64) -> Option<Apply> {
        if self.under_way.is_some() {
            return None;
        }
        // INIT, at first.
        self.run(now_us);
        if self.apply.is_none()
            && let Some(command) = self.commands.pop_front()
        {
            self.sync.handle(now_us, &self.sync_node, RoleMessage::AskCommand(command), &mut self.sync_out);
            self.run(now_us);
        }
        if self.apply.is_none() {
            self.entry.flush(now_us, &mut self.entry_out);
            self.run(now_us);
        }
        let apply = self.apply.take()?;
        self.under_way = Some(match &apply {
            Apply::Segment(_) => None,
            Apply::Command(ordered) => Some(ordered.command.clone()),
        });
        Some(apply)
    }

    /// Position `position` is committed; its first message has this number. Whose messages it held, in order.
    pub fn applied(&mut self, position: u64, first_number: u64) -> Vec<TicketRange> {
        if self.under_way.take().is_some() {
            let resolution = Resolution { first: first_number, results: Bytes::new() };
            self.storage.applied(position, resolution, &mut self.storage_out);
            self.run(0);
        }
        std::mem::take(&mut self.tickets)
    }

    /// Position `position` is not in the store: nothing of it is resolved, the position is free again. Whose messages it held:
    /// they are to be refused. A command is tried again by the next [`Self::next`].
    ///
    /// If it is not known whether a commit is there, the store has to be opened again first: what it has was applied.
    pub fn failed(&mut self, position: u64) -> Vec<TicketRange> {
        if let Some(command) = self.under_way.take() {
            self.sync.take_back(position);
            self.storage.apply_failed(position, &mut self.storage_out);
            self.run(0);
            if let Some(command) = command {
                self.commands.push_front(command);
            }
        }
        std::mem::take(&mut self.tickets)
    }

    /// Gives up what was submitted and is not under way, for the store fails or the broker stops. Whose it was, in order; the
    /// offsets mean nothing.
    pub fn refuse_waiting(&mut self) -> Vec<TicketRange> {
        self.entry.refuse_waiting()
    }

    /// Lets the roles talk until they have nothing more to say.
    fn run(&mut self, now_us: u64) {
        loop {
            self.collect();
            let Some(Envelope { from, to, message }) = self.envelopes.pop_front() else { return };
            match to.role {
                Role::Entry => self.entry.handle(now_us, &from, message, &mut self.entry_out),
                Role::Storage => self.storage.handle(now_us, &from, message, &mut self.storage_out),
                Role::Sync => self.sync.handle(now_us, &from, message, &mut self.sync_out),
            }
        }
    }

    fn collect(&mut self) {
        for output in self.entry_out.drain(..) {
            match output {
                entry::Output::Send(envelope) => self.envelopes.push_back(envelope),
                entry::Output::Resolved { tickets, .. } | entry::Output::Refused { tickets, .. } => {
                    self.tickets = tickets
                }
                // INIT is the first that is applied, and replaces what the store says; clock and feed are of one process.
                entry::Output::Accepted { .. }
                | entry::Output::NotAccepted { .. }
                | entry::Output::ClockDropped(_)
                | entry::Output::Ended { .. }
                | entry::Output::LeaseHeld(_)
                | entry::Output::Fed { .. } => {}
            }
        }
        for output in self.storage_out.drain(..) {
            match output {
                storage::Output::Send(envelope) => self.envelopes.push_back(envelope),
                storage::Output::Apply { position, apply } => self.apply = apply_of(position, apply),
                // A storage that is alone writes nothing before the commit; nobody asked it for a feed, and it has no peers.
                storage::Output::Keep(_)
                | storage::Output::Feed { .. }
                | storage::Output::ReadBody { .. }
                | storage::Output::CopyBegun { .. }
                | storage::Output::CopyOut { .. }
                | storage::Output::CopyIn { .. } => {}
            }
        }
        for output in self.sync_out.drain(..) {
            match output {
                sync::Output::Send(envelope) => self.envelopes.push_back(envelope),
                // A sync that is alone has no promises: the position is in the segment's own commit.
                sync::Output::Promise(_) | sync::Output::Note(_) | sync::Output::Forgot => {}
            }
        }
    }
}

fn apply_of(position: u64, apply: storage::Apply) -> Option<Apply> {
    match apply {
        storage::Apply::Segment { draft, body } => Some(Apply::Segment(Sealed {
            position,
            at_us: draft.id.segment,
            entry: draft.id.entry,
            incarnation: draft.id.incarnation,
            body,
            count: draft.count,
        })),
        storage::Apply::Command(command) => Some(Apply::Command(Ordered { position, command })),
        // Only a vote of several syncs leaves a position empty.
        storage::Apply::Nothing => None,
    }
}
