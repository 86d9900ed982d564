//! A sync node but for its links, threads and file: the sync role, and the leases of entries.
//!
//! ```text
//! envelopes --handle--> SyncRole --Promise, Send--> write: what has to be on disk, and what may be sent then
//! RENEW     --handle--> LeaseWatch --silent--> SyncRole backs LOST
//! ```
//!
//! All that is handled between two writes shares one fsync ([`super::promises`]). A file that has grown is replaced by what has to be
//! known still. A disk that has forgotten what it said is begun anew, under a new store id: others know that it has no vote until
//! MEMBERS names it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::counts::Counts;
use crate::queue::envelope::{Envelope, NodeId, OrderCommand, RoleMessage};
use crate::queue::lease::LeaseWatch;
use crate::queue::quorum::{Members, StoreId};
use crate::queue::sync::promises::{self, Record};
use crate::queue::sync::{Output, Standing, Start, StartError, SyncRole};

/// How often a sync without a vote asks for one.
const ASK_US: u64 = 250_000;

/// A sync that did nothing for so long stood still itself.
const STOOD_STILL_US: u64 = 1_000_000;

/// Makes ids of disks that are not guessed to be another's.
pub type Fresh = Box<dyn FnMut() -> StoreId + Send>;

/// Bounds of a sync.
#[derive(Clone, Copy, Debug)]
pub struct SyncLimits {
    /// An entry that is silent for so long is given up.
    pub lease_us: u64,
    /// How long it waits, when it starts, for all other syncs to say what they have heard of it.
    pub patience_us: u64,
    /// How long it waits for another sync to open a vote, and for open segments if it opens one ([`SyncRole::leave_opening`]).
    pub opening_us: u64,
    pub gather_us: u64,
    /// Length of the file at which it is replaced by what has to be known still.
    pub file_bytes_max: u64,
}

/// Records that need not be on disk wait as long as they are less than this.
const NOTES_MAX: usize = 1024;

/// What the disk has to do, and what may be sent then.
#[derive(Debug, Default, PartialEq)]
pub struct Write {
    /// These take the place of all that the file holds, at once or not at all. Else they are appended.
    pub is_anew: bool,
    /// They have to be on disk (fsync) before anything is sent.
    pub records: Vec<Record>,
    pub sends: Vec<Envelope>,
}

/// See the module.
pub struct SyncNode {
    own: NodeId,
    /// Who takes part at first.
    first: Members,
    limits: SyncLimits,
    role: SyncRole,
    watch: LeaseWatch,
    /// When it began.
    started_us: Option<u64>,
    /// When it was awake last.
    awake_us: u64,
    /// Position of the table of members that the watch knows.
    members_at: u64,
    /// LOST that this sync backs.
    backed: BTreeSet<(NodeId, u64)>,
    linked: BTreeSet<NodeId>,
    /// When it asked for a vote the last time, while it has none.
    asked_us: Option<u64>,
    /// The file has to be begun anew.
    is_anew: bool,
    fresh: Fresh,
    counts: Arc<Counts>,
    /// The last round of the present vote in which this sync has said something.
    round: u32,
    /// Records that need not be on disk: they wait for one that must, or for a while.
    notes: Vec<Record>,
    /// They have waited enough.
    notes_are_due: bool,
    outputs: Vec<Output>,
}

impl SyncNode {
    /// Takes up what its file holds. Returns how many bytes of that are whole: what is behind them has to be cut off. An empty file,
    /// and one that is damaged, is begun anew with the first [`SyncNode::write`].
    ///
    /// # Errors
    /// `first` cannot be begun with.
    pub fn start(
        own: NodeId,
        first: Members,
        limits: SyncLimits,
        file: &[u8],
        mut fresh: Fresh,
    ) -> Result<(Self, u64), StartError> {
        let known = read(&own, &first, file).unwrap_or_else(|why| {
            tracing::error!(sync = %own, why, "the promises are begun anew: this sync has no vote until the cluster has taken it in again");
            None
        });
        let is_anew = known.is_none();
        let (mut role, len) = match known {
            Some(known) => known,
            None => (begin(&own, &first, fresh())?, 0),
        };
        if !is_anew {
            role.wait_for_all();
        }
        role.leave_opening(limits.opening_us, limits.gather_us);
        let node = Self {
            own,
            first,
            limits,
            role,
            watch: LeaseWatch::new(limits.lease_us),
            started_us: None,
            awake_us: 0,
            members_at: 0,
            backed: BTreeSet::new(),
            linked: BTreeSet::new(),
            asked_us: None,
            is_anew,
            fresh,
            counts: Arc::default(),
            round: 0,
            notes: Vec::new(),
            notes_are_due: false,
            outputs: Vec::new(),
        };
        Ok((node, len as u64))
    }

    /// Has it count there.
    pub fn count_in(&mut self, counts: &Arc<Counts>) {
        self.counts = counts.clone();
    }

    pub fn role(&self) -> &SyncRole {
        &self.role
    }

    /// The link to a node is up.
    pub fn connected(&mut self, node: &NodeId) {
        self.linked.insert(node.clone());
        self.role.connected(node, &mut self.outputs);
    }

    /// The link to a node is down.
    pub fn disconnected(&mut self, node: &NodeId) {
        self.linked.remove(node);
        self.role.disconnected(node);
    }

    /// Takes what another node says. `monotonic_us`: a clock that never goes back.
    pub fn handle(&mut self, now_us: u64, monotonic_us: u64, envelope: Envelope) {
        let Envelope { from, message, .. } = envelope;
        self.role.set_clock(monotonic_us);
        let RoleMessage::Renew { incarnation, sent_us, members_at } = message else {
            return self.role.handle(now_us, &from, message, &mut self.outputs);
        };
        let order = self.role.order();
        let mut answers = Vec::new();
        // Before the answer, which then counts by this table: a majority of the one before may be none any more.
        if order.members.has_stores() && members_at.is_none_or(|at| at < order.members_at) {
            let (position, members) = (order.members_at, order.members.clone());
            answers.push(RoleMessage::MembersAre { position, members });
        }
        answers.push(match self.watch.heard(monotonic_us, &from, incarnation) {
            true => RoleMessage::Renewed { incarnation, sent_us },
            false => RoleMessage::RenewRefused { incarnation },
        });
        let answer = |message| Output::Send(Envelope { from: self.own.clone(), to: from.clone(), message });
        self.outputs.extend(answers.into_iter().map(answer));
    }

    /// To be called before anything else whenever it goes on, which is often. One that stood still has heard nobody meanwhile and must
    /// not hold that against them: it would refuse lives from then on that all others renew.
    pub fn wake(&mut self, now_us: u64, monotonic_us: u64) {
        self.role.set_clock(monotonic_us);
        if self.role.due_us().is_some_and(|at_us| at_us <= monotonic_us) {
            self.role.tick(now_us, &mut self.outputs);
        }
        let still_us = monotonic_us.saturating_sub(std::mem::replace(&mut self.awake_us, monotonic_us));
        if still_us >= STOOD_STILL_US {
            self.watch.restart(monotonic_us);
        }
    }

    /// How long it needs not be woken if it hears nothing; [`Duration::MAX`]: there is nothing it waits for.
    pub fn patience(&self, monotonic_us: u64) -> Duration {
        let due_us = self.role.due_us();
        due_us.map_or(Duration::MAX, |at_us| Duration::from_micros(at_us.saturating_sub(monotonic_us)))
    }

    /// Time has passed.
    pub fn tick(&mut self, now_us: u64, monotonic_us: u64) {
        self.role.set_clock(monotonic_us);
        self.notes_are_due = true;
        if monotonic_us >= *self.started_us.get_or_insert(monotonic_us) + self.limits.patience_us {
            self.role.wait_no_longer(&mut self.outputs);
        }
        let members_at = self.role.order().members_at;
        if std::mem::replace(&mut self.members_at, members_at) != members_at {
            self.watch.restart(monotonic_us);
        }
        for (entry, life) in &self.role.order().lives {
            match life.lost {
                true => self.watch.ends(entry, life.incarnation),
                false => self.watch.begins(monotonic_us, entry, life.incarnation),
            }
        }
        self.back_lost(now_us, monotonic_us);
        self.role.tick(now_us, &mut self.outputs);
        self.ask_for_vote(monotonic_us);
    }

    /// Backs LOST of the lives that are silent, and of no others.
    fn back_lost(&mut self, now_us: u64, monotonic_us: u64) {
        let silent: BTreeSet<_> = self.watch.silent(monotonic_us).into_iter().collect();
        let lost = |(entry, incarnation): &(NodeId, u64)| OrderCommand::Lost {
            entry: entry.clone(),
            incarnation: *incarnation,
        };
        for heard in self.backed.difference(&silent) {
            self.role.withdraw(&lost(heard), &mut self.outputs);
        }
        for life in &silent {
            if !self.backed.contains(life) {
                tracing::warn!(sync = %self.own, entry = %life.0, incarnation = life.1, "the entry is silent");
            }
            // Again and again, for it counts for nothing while this sync has no vote.
            self.role.handle(now_us, &self.own, RoleMessage::AskCommand(lost(life)), &mut self.outputs);
        }
        self.backed = silent;
    }

    /// Of a disk that is not in the table of members, because it is new or has forgotten promises: once this sync knows the order, the
    /// others are asked to put it in the place of the one before. They do if a majority that has votes is up.
    fn ask_for_vote(&mut self, monotonic_us: u64) {
        if self.standing() != Standing::Listens {
            if self.standing() == Standing::Votes && self.asked_us.take().is_some() {
                tracing::info!(sync = %self.own, "this disk has a vote now");
            }
            return;
        }
        let order = self.role.order();
        if order.position == 0 || self.asked_us.is_some_and(|asked_us| monotonic_us < asked_us + ASK_US) {
            return;
        }
        let mut members = order.members.clone();
        let Some(own) = members.syncs.iter_mut().find(|member| member.node == self.own) else { return };
        own.store = self.role.store();
        if self.asked_us.replace(monotonic_us).is_none() {
            tracing::info!(sync = %self.own, "this disk has no vote, and asks for one");
        }
        for to in members.syncs.iter().map(|member| &member.node).filter(|node| **node != self.own) {
            let message =
                RoleMessage::AskCommand(OrderCommand::Members { behind: order.members_at, members: members.clone() });
            self.outputs.push(Output::Send(Envelope { from: self.own.clone(), to: to.clone(), message }));
        }
    }

    /// What may be sent before anything is written, for nothing was promised before it: decisions, mostly, with which the next
    /// vote begins.
    pub fn take_free(&mut self) -> Vec<Envelope> {
        if self.is_anew || self.outputs.contains(&Output::Forgot) {
            return Vec::new();
        }
        let promised = self.outputs.iter().position(|output| matches!(output, Output::Promise(_)));
        let behind = self.outputs.split_off(promised.unwrap_or(self.outputs.len()));
        let mut free = Vec::new();
        for output in std::mem::take(&mut self.outputs) {
            match output {
                Output::Send(envelope) => free.push(envelope),
                other => self.outputs.push(other),
            }
        }
        self.outputs.extend(behind);
        free
    }

    /// What is to be written, then sent. `file_bytes`: how long the file is. Whatever is handled from now on belongs to the next write,
    /// which has to wait for this one.
    ///
    /// # Errors
    /// As [`SyncNode::start`].
    pub fn write(&mut self, file_bytes: u64) -> Result<Write, StartError> {
        let mut write = Write::default();
        for output in std::mem::take(&mut self.outputs) {
            match output {
                Output::Send(envelope) => write.sends.push(envelope),
                Output::Promise(record) => {
                    self.count(&record);
                    write.records.append(&mut self.notes);
                    write.records.push(record);
                }
                Output::Note(record) => {
                    self.count(&record);
                    self.notes.push(record);
                }
                Output::Forgot => write.sends = self.begin_anew()?,
            }
        }
        if std::mem::take(&mut self.notes_are_due) || self.notes.len() >= NOTES_MAX {
            write.records.append(&mut self.notes);
        }
        if std::mem::take(&mut self.is_anew) || file_bytes > self.limits.file_bytes_max && !write.records.is_empty() {
            self.notes.clear();
            (write.is_anew, write.records) = (true, self.role.records());
        }
        Ok(write)
    }

    fn count(&mut self, record: &Record) {
        match record {
            Record::Said { position, statement, .. } => {
                self.round = statement.step(*position).round;
                self.counts.statements.fetch_add(1, Ordering::Relaxed);
            }
            Record::Decided { .. } => self.counts.decided_in(std::mem::take(&mut self.round)),
            _ => {}
        }
    }

    /// What is said first by a disk that has forgotten all; nothing of what it wanted to say holds.
    fn begin_anew(&mut self) -> Result<Vec<Envelope>, StartError> {
        tracing::error!(sync = %self.own, "this disk has forgotten promises: it has no vote until the cluster has taken it in again");
        self.role = self.role.forgotten(self.first.clone(), (self.fresh)())?;
        self.is_anew = true;
        let mut outputs = Vec::new();
        for node in &self.linked {
            self.role.connected(node, &mut outputs);
        }
        let sent = outputs.into_iter().filter_map(|output| match output {
            Output::Send(envelope) => Some(envelope),
            _ => None,
        });
        Ok(sent.collect())
    }

    /// See [`SyncRole::took_part`]; `None`: it has no vote.
    pub fn took_part(&self) -> Option<u64> {
        (self.standing() == Standing::Votes).then(|| self.role.took_part())
    }

    /// Whether it has a vote, and why not.
    pub fn standing(&self) -> Standing {
        self.role.standing()
    }
}

/// The role, and the bytes that hold; `None`: there is nothing in the file.
fn read(own: &NodeId, first: &Members, bytes: &[u8]) -> Result<Option<(SyncRole, usize)>, String> {
    let decoded = promises::decode(bytes).map_err(|damaged| damaged.to_string())?;
    let store = match decoded.records.first() {
        None => return Ok(None),
        Some(Record::Disk(store)) => *store,
        Some(_) => return Err("the promises do not say which disk this is".to_owned()),
    };
    let start = Start { store, records: decoded.records };
    let role = SyncRole::found(own.clone(), first.clone(), start).map_err(|error| error.to_string())?;
    Ok(Some((role, decoded.len)))
}

/// An empty disk with a new id.
fn begin(own: &NodeId, first: &Members, store: StoreId) -> Result<SyncRole, StartError> {
    SyncRole::found(own.clone(), first.clone(), Start { store, records: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::envelope::Elected;
    use crate::queue::quorum::Member;
    use crate::queue::sync::{Hello, Order, Phase, Step, Table};

    const LIMITS: SyncLimits =
        SyncLimits { lease_us: 1_000_000, patience_us: 0, opening_us: 0, gather_us: 0, file_bytes_max: 1 << 20 };

    /// Three syncs; S1 has this disk.
    fn table(own: u128) -> Members {
        let sync = |(name, store)| Member { node: NodeId::sync(name), store: StoreId(store) };
        let storage = Member { node: NodeId::storage("N1"), store: StoreId(4) };
        let syncs = [("S1", own), ("S2", 2), ("S3", 3)].map(sync).to_vec();
        Members { syncs, slots: vec![vec![storage]], storage_quorum: 1 }
    }

    fn hear(node: &mut SyncNode, message: RoleMessage) -> Write {
        node.handle(0, 0, Envelope { from: NodeId::sync("S2"), to: NodeId::sync("S1"), message });
        node.write(0).unwrap()
    }

    #[test]
    fn a_disk_that_has_forgotten_goes_on_with_the_links_that_are_up() {
        let file = promises::encode(&[Record::Disk(StoreId(1)), Record::Order(Order::new(table(1)))]);
        let (mut node, len) =
            SyncNode::start(NodeId::sync("S1"), table(1), LIMITS, &file, Box::new(|| StoreId(77))).unwrap();
        assert_eq!(len, file.len() as u64);
        node.connected(&NodeId::sync("S2"));
        assert!(!node.write(len).unwrap().is_anew);
        let heard = Some((StoreId(1), Step { position: 5, round: 1, phase: Phase::Vote }));
        let write = hear(
            &mut node,
            RoleMessage::SyncHello(Hello { store: StoreId(2), position: 5, table: Table::Founded, heard }),
        );
        assert!(write.is_anew);
        assert_eq!(write.records.first(), Some(&Record::Disk(StoreId(77))));
        let is_hello = |sent: &Envelope| matches!(&sent.message, RoleMessage::SyncHello(hello) if hello.store == StoreId(77) && hello.position == 0);
        assert!(matches!(&write.sends[..], [sent] if is_hello(sent)), "{:?}", write.sends);
        let order = Order { position: 5, ..Order::new(table(1)) };
        hear(&mut node, RoleMessage::SyncOrder { order, members: table(1) });
        assert_eq!(node.standing(), Standing::Listens);
        let elected = Elected::Command(OrderCommand::Members { behind: 0, members: table(77) });
        hear(&mut node, RoleMessage::ElectSegment { position: 6, elected });
        assert_eq!(node.standing(), Standing::Votes);
        let command = OrderCommand::Init { entry: NodeId::entry("E1"), replaces: 0, nonce: 0 };
        let challenger = Elected::Command(command);
        let write = hear(&mut node, RoleMessage::PickChallenger { position: 7, challenger });
        let picks = |sent: &Envelope| matches!(sent.message, RoleMessage::PickChallenger { position: 7, .. });
        assert!(write.sends.iter().any(picks), "S2 has greeted it, though under another name");
    }

    #[test]
    fn a_file_that_has_grown_is_replaced_by_what_has_to_be_known() {
        let file = promises::encode(&[Record::Disk(StoreId(1)), Record::Order(Order::new(table(1)))]);
        let start =
            || SyncNode::start(NodeId::sync("S1"), table(1), LIMITS, &file, Box::new(|| StoreId(77))).unwrap().0;
        for (bytes, is_anew) in [(LIMITS.file_bytes_max, false), (LIMITS.file_bytes_max + 1, true)] {
            let mut node = start();
            let message = RoleMessage::ElectSegment { position: 1, elected: Elected::Nothing };
            node.handle(0, 0, Envelope { from: NodeId::sync("S2"), to: NodeId::sync("S1"), message });
            assert_eq!(node.write(bytes).unwrap().records, [], "a decision need not be on disk, and waits");
            node.tick(0, 0);
            let write = node.write(bytes).unwrap();
            assert!(!write.records.is_empty());
            assert_eq!((write.is_anew, node.write(bytes).unwrap().is_anew), (is_anew, false));
            assert_eq!(write.records.contains(&Record::Disk(StoreId(1))), is_anew);
        }
    }
}
