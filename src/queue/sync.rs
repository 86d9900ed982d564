//! The sync: turns nearly random advance ids into one total order.
//!
//! ```text
//! GENERATE_DRAFT (storage quorum) -> draft -> PICK_CHALLENGER: the lowest -> STATE, VOTE … -> ELECT_SEGMENT
//! ```
//!
//! 1. A position is voted when a sync has a challenger for it ([`drafts`]: commands, then the lowest draft that is next of its entry);
//!    the others join with their own, or with that one: a PICK_CHALLENGER passes its draft on as a fact. Idle clusters are silent.
//!    The first of the table opens the vote ([`opening`]).
//! 2. The vote on a position ([`vote`]) gives the challenger of a majority or leaves the position empty. One position at a time.
//! 3. What is said is a promise ([`promises`]): on disk before anything that follows from it is sent ([`Output::Promise`]); said again,
//!    exactly so, after a restart and on each new link. Received statements are not kept: they are said again as well.
//! 4. A decision is a fact and told to all that are not known to have it; who hears it adopts it, whatever it voted.
//! 5. Links deliver in order or break. When one is up both sides say [`Hello`], and answer it with what the other lacks ([`links`]):
//!    decisions, or what they come to ([`order`]); then with what they said on the present position. No timer resends anything.
//! 6. A vote is a disk's: who is not in the table with its store id only listens. Empty, damaged and restored disks are such
//!    ([`Output::Forgot`]); the first table is made when all are there and empty ([`members`]).
//!
//! In one process the only sync ([`SyncRole::alone`]) elects at once and has nothing to remember: its storage keeps the position with
//! the segment.

use std::collections::btree_map::OccupiedEntry;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use self::drafts::{Drafts, needs_majority};
use self::members::Founding;
use self::opening::Opening;
use self::vote::Vote;
use super::envelope::{Draft, Elected, Envelope, NodeId, OrderCommand, RoleMessage, SegmentId};
use super::faults::{Fault, has};
use super::quorum::{Member, Members, StoreId};

pub use self::order::{Life, Order};
pub use self::promises::{Phase, Record, Step};
pub use self::report::SyncReport;
pub use self::start::StartError;
pub use self::vote::Statement;

mod drafts;
mod links;
mod members;
mod opening;
mod order;
pub mod promises;
mod report;
mod start;
#[cfg(test)]
mod tests;
mod vote;

/// Segments that one vote gives their positions. Entries have their next one ready when the last is resolved, so with some publishers
/// at each there are as many as entries.
const RUN_MAX: usize = 16;

/// Statements and decisions are kept for so many positions ahead of the present one. In order, as links deliver, there are none.
const AHEAD_MAX: u64 = 64;

/// What the driver of a sync has to do. In this order: nothing is sent before all promises that stand before it are on disk. It may
/// handle more messages meanwhile, and write the promises of all of them at once.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    Send(Envelope),
    /// Append it to the file of promises, and have it on disk (fsync) before anything that stands after it is sent.
    Promise(Record),
    /// Append it, too; there is no need to wait for the disk.
    Note(Record),
    /// This disk has forgotten what it said: others heard more. This sync is silent from now on. Begin with an empty file and a new
    /// store id; it votes again when MEMBERS names that.
    Forgot,
}

/// What a sync's disk holds when it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    pub store: StoreId,
    /// All records of the file; none in an empty one, which is to begin with [`SyncRole::records`].
    pub records: Vec<Record>,
}

/// What syncs say first when their link is up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hello {
    pub store: StoreId,
    /// It knows all decisions up to here.
    pub position: u64,
    pub table: Table,
    /// The last statement of the receiver that counted with the sender, and of which disk it was.
    pub heard: Option<(StoreId, Step)>,
}

/// What a sync knows of the table of members.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Table {
    /// Its disk is empty.
    Unknown,
    /// It is for this as the first table.
    Pledged(Members),
    /// There is one, changed by MEMBERS.
    Founded,
}

/// What part a sync has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// There is no table of members: not all are there for the first time.
    #[default]
    Founding,
    Votes,
    /// Its disk is not in the table of members: it knows the order and has no vote.
    Listens,
    /// [`Output::Forgot`].
    Forgot,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SyncRole {
    node: NodeId,
    store: StoreId,
    /// In one process with its storage.
    alone: bool,
    forgot: bool,
    /// Not all others have said what they have heard of this disk, and it may be an older copy ([`SyncRole::wait_for_all`]).
    waits: bool,
    /// The first table was or will be made here ([`SyncRole::found`]): storages have to be told.
    founds: bool,
    founding: Option<Founding>,
    order: Order,
    /// What the decisions come to that are not kept any more: `decisions` follow it.
    floor: Order,
    drafts: Drafts,
    /// On the position behind `order`.
    vote: Vote,
    opening: Opening,
    ahead: BTreeMap<u64, Ahead>,
    /// Decisions that are not on disk everywhere, or were not told, by the first position of each; without gaps up to `order`.
    decisions: BTreeMap<u64, Elected>,
    /// How far each storage's disk is.
    applied: BTreeMap<StoreId, u64>,
    /// Segments that disks had, and have not said so since their link is up.
    doubted: BTreeMap<StoreId, BTreeSet<SegmentId>>,
    /// Storages and syncs that are linked and have told which disk is theirs, members or not.
    disks: BTreeMap<NodeId, StoreId>,
    /// Disks that knew more once.
    forgotten: BTreeSet<StoreId>,
    /// Syncs that are linked, and up to which position they are known to know the order.
    peers: BTreeMap<NodeId, u64>,
    /// The last statement of each disk that counted, on positions before the present one.
    heard: BTreeMap<StoreId, Step>,
    /// What the last decision changed: the life of this entry was so before.
    before: Option<(NodeId, Life)>,
}

/// What was heard of a position before its time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Ahead {
    said: BTreeSet<(NodeId, Statement)>,
    elected: Option<Elected>,
}

impl SyncRole {
    /// Takes a message of another role. What does not concern a sync, or what it has heard already, changes nothing.
    pub fn handle(&mut self, now_us: u64, from: &NodeId, message: RoleMessage, out: &mut Vec<Output>) {
        if self.forgot {
            return;
        }
        match message {
            RoleMessage::GenerateDraft { store, draft } => {
                if let Some(doubted) = self.doubted.get_mut(&store) {
                    doubted.remove(&draft.id);
                }
                self.drafts.count(store, draft, &self.order);
            }
            RoleMessage::BeginAdvanceSegment { id, .. } => self.opening.comes(&id.entry),
            RoleMessage::AskCommand(command) => self.ask(now_us, command, out),
            RoleMessage::BackCommands(commands) => self.drafts.back(from, commands, &self.order),
            RoleMessage::OpenVote { position, challenger } => self.hear_opening(from, position, challenger),
            RoleMessage::PickChallenger { position, challenger } => {
                self.hear(from, position, Statement::Pick { challenger });
            }
            RoleMessage::State { position, round, challenger } => {
                self.hear(from, position, Statement::State { round, challenger });
                self.tell_behind(from, position, out);
            }
            RoleMessage::Vote { position, round, vote, challenger } => {
                self.hear(from, position, Statement::Vote { round, vote, challenger });
                self.tell_behind(from, position, out);
            }
            RoleMessage::ElectSegment { position, elected } => self.learn(from, position, elected, out),
            RoleMessage::FetchElected { after } => {
                self.check_disk(from, out);
                self.tell_decisions(after, from, out);
            }
            RoleMessage::Applied { store, position } => self.applied(from, store, position, out),
            RoleMessage::SyncHello(hello) => self.hello(from, hello, out),
            RoleMessage::SyncOrder { order, members } => self.skip(order, members, out),
            _ => {}
        }
        self.go_on(out);
    }

    /// To be called from time to time: deadlines that storages have asked for may have come.
    pub fn tick(&mut self, now_us: u64, out: &mut Vec<Output>) {
        while let Some(time) = self.drafts.due(now_us) {
            self.back(time, out);
        }
        self.tell_late(out);
        self.go_on(out);
    }

    /// From now on this sync says nothing new until all others have said what they have heard of it: its disk may have been restored
    /// from an older copy, and a single one may know. To be called when it starts with a disk that is not empty.
    pub fn wait_for_all(&mut self) {
        self.waits = self.order.members.syncs.len() > 1;
    }

    /// They had their time. One that is dead must not keep the others from voting.
    pub fn wait_no_longer(&mut self, out: &mut Vec<Output>) {
        if std::mem::take(&mut self.waits) {
            self.go_on(out);
        }
    }

    /// This sync backs a command no more: it has heard of the entry again.
    pub fn withdraw(&mut self, command: &OrderCommand, out: &mut Vec<Output>) {
        let backed: BTreeSet<_> =
            self.drafts.backed_by(&self.node).filter(|backed| *backed != command).cloned().collect();
        self.back_all(backed, out);
    }

    /// The last position that was decided, as far as this sync knows.
    pub fn position(&self) -> u64 {
        self.order.position
    }

    /// What the decisions come to, as far as this sync knows.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// Which disk this is.
    pub fn store(&self) -> StoreId {
        self.store
    }

    /// The first position of the last vote that it took part in, or knows the end of. What is decided later than that has a higher
    /// one: so who asks a majority, and waits until each knows the end of that vote, knows no less than what was acknowledged before
    /// (masterfree, "a fresh read"). The vote may be on several positions, so its first alone says too little.
    pub fn took_part(&self) -> u64 {
        self.order.position + u64::from(!self.vote.said().is_empty())
    }

    /// Decisions that are kept, by the first position of each.
    pub fn decisions(&self) -> &BTreeMap<u64, Elected> {
        &self.decisions
    }

    pub fn standing(&self) -> Standing {
        match &self.founding {
            _ if self.forgot => Standing::Forgot,
            Some(_) => Standing::Founding,
            None if self.alone || self.vote.is_voter() => Standing::Votes,
            None => Standing::Listens,
        }
    }

    /// The last decision was not carried out, and is none: the only storage could not commit it. Only for a sync that is alone.
    pub fn take_back(&mut self, position: u64) {
        assert!(self.alone, "a decision of several is a fact");
        assert_eq!(position, self.order.position, "only the last decision can be taken back");
        if self.decisions.remove(&position).is_some() {
            self.order.position = position - 1;
            self.order.lives.extend(self.before.take());
        }
    }

    /// A command is asked for. Of those that need a majority it is this sync's own finding, or the operator's wish; TIME is backed
    /// when it has come by our clock.
    fn ask(&mut self, now_us: u64, command: OrderCommand, out: &mut Vec<Output>) {
        // Of the only sync in one process nobody else could become a peer.
        let is_possible = match &command {
            OrderCommand::Members { members, .. } => {
                let grows = self.alone && members.syncs.len() > 1;
                !grows && !self.order.is_void(&command)
            }
            _ => true,
        };
        match command {
            _ if !is_possible => {}
            OrderCommand::Time { at_us } if !self.alone && at_us > now_us => self.drafts.ask_later(at_us),
            command if needs_majority(&command) && self.order.members.sync_majority() > 1 => self.back(command, out),
            command => self.drafts.ask(command),
        }
    }

    fn back(&mut self, command: OrderCommand, out: &mut Vec<Output>) {
        let backed = self.drafts.backed_by(&self.node).cloned().chain([command]).collect();
        self.back_all(backed, out);
    }

    fn back_all(&mut self, commands: BTreeSet<OrderCommand>, out: &mut Vec<Output>) {
        if self.vote.is_voter() && !self.drafts.backed_by(&self.node).eq(&commands) {
            self.drafts.back(&self.node, commands.clone(), &self.order);
            self.tell_members(&RoleMessage::BackCommands(commands), out);
        }
    }

    /// Another sync says something in the vote on a position.
    fn hear(&mut self, from: &NodeId, position: u64, statement: Statement) {
        let last = self.order.position;
        if let Some(knows) = self.peers.get_mut(from) {
            *knows = position.saturating_sub(1).max(*knows);
        }
        if position > last + 1 {
            if position <= last + AHEAD_MAX {
                self.ahead.entry(position).or_default().said.insert((from.clone(), statement));
            }
            return;
        }
        if let Statement::Pick { challenger } = &statement
            && !has(Fault::DraftsNotPassedOn)
        {
            match challenger {
                challenger if position == last + 1 => self.drafts.accept(challenger, &self.order),
                // It was complete by the table of then.
                other if position > self.order.members_at => self.drafts.accept_drafts(other.drafts(), &self.order),
                _ => {}
            }
        }
        let place = self.order.members.syncs.iter().position(|member| member.node == *from);
        if let Some(place) = place.filter(|_| position == last + 1) {
            self.vote.hear(place, statement);
        }
    }

    /// Another sync knows a decision.
    fn learn(&mut self, from: &NodeId, position: u64, elected: Elected, out: &mut Vec<Output>) {
        if let Some(knows) = self.peers.get_mut(from) {
            *knows = (position + elected.positions() - 1).max(*knows);
        }
        let last = self.order.position;
        if self.founding.is_none() && position == last + 1 {
            self.decide_as_told(elected, out);
        } else if position > last && position <= last + AHEAD_MAX {
            self.ahead.entry(position).or_default().elected = Some(elected);
        }
    }

    /// Takes all steps that can be taken.
    fn go_on(&mut self, out: &mut Vec<Output>) {
        if self.alone {
            while let Some(elected) = self.drafts.lowest(&self.order, 1) {
                self.decide_as_told(elected, out);
            }
        }
        while !self.alone && !self.forgot && self.founding.is_none() {
            if let Some(elected) = self.meet_ahead() {
                self.decide_as_told(elected, out);
            } else if let Some((phase, (elected, of))) = self.vote.decision() {
                self.decide(elected, phase, of, out);
            } else if let Some((statement, of)) = self.next_statement() {
                self.say(statement, of, out);
            } else {
                return;
            }
        }
    }

    /// Hears what was said of the present position before its time; what was elected there, if that is known.
    fn meet_ahead(&mut self) -> Option<Elected> {
        let position = self.order.position + 1;
        while let Some(mut first) = self.ahead.first_entry().filter(|first| *first.key() <= position) {
            let is_present = *first.key() == position;
            let Ahead { said, elected } = std::mem::take(first.get_mut());
            first.remove();
            if is_present {
                said.into_iter().for_each(|(from, statement)| self.hear(&from, position, statement));
                return elected;
            }
        }
        None
    }

    fn next_statement(&mut self) -> Option<vote::Followed<Statement>> {
        if !self.vote.is_voter() || !self.has_greeted() {
            return None;
        }
        match self.vote.said().len() {
            0 => self.challenger().map(|challenger| (Statement::Pick { challenger }, Vec::new())),
            1 if self.awaits_picks() => None,
            _ => self.vote.next(),
        }
    }

    /// What this sync picks: what another has picked already, or is about to ([`opening`]).
    fn challenger(&mut self) -> Option<Elected> {
        let picked = self.vote.picked().or(self.opening.opened()).filter(|_| !has(Fault::DraftsNotPassedOn));
        picked.cloned().or_else(|| {
            let lowest = self.drafts.lowest(&self.order, RUN_MAX)?;
            let waits = !self.may_open() || !lowest.drafts().is_empty() && self.gathers(lowest.drafts());
            (!waits).then_some(lowest)
        })
    }

    fn say(&mut self, statement: Statement, of: Vec<u8>, out: &mut Vec<Output>) {
        let position = self.order.position + 1;
        if let Statement::Pick { challenger } = &statement {
            self.open_vote(challenger, out);
        }
        self.opening.ends();
        self.vote.say(statement.clone());
        out.push(Output::Promise(Record::Said { position, statement: statement.clone(), of }));
        self.tell_members(&statement.message(position), out);
    }

    /// The next position is decided, or positions, by nobody's statements that are known here.
    fn decide_as_told(&mut self, elected: Elected, out: &mut Vec<Output>) {
        self.decide(elected, Phase::Vote, Vec::new(), out);
    }

    /// The next position is decided, or positions, by what those in these places said.
    fn decide(&mut self, elected: Elected, phase: Phase, of: Vec<u8>, out: &mut Vec<Output>) {
        if self.alone {
            self.remember_before(&elected);
        }
        let position = self.order.position + 1;
        self.take(&elected);
        self.tell_decision(position, &elected, out);
        if !self.alone {
            out.push(Output::Note(Record::Decided { position, elected: elected.clone(), of, phase }));
        }
        self.decisions.insert(position, elected);
    }

    fn take(&mut self, elected: &Elected) {
        let heard = (!self.alone).then(|| self.all_heard());
        self.order.take(elected);
        self.drafts.decided(elected, &self.order);
        if let Some(heard) = heard {
            self.heard = heard;
            self.vote = self.new_vote();
            self.opening.ends();
            elected.drafts().iter().for_each(|draft| self.opening.comes(&draft.id.entry));
        }
    }

    fn new_vote(&self) -> Vote {
        Vote::new(self.order.position + 1, &self.order.members, &self.node, self.store)
    }

    fn remember_before(&mut self, elected: &Elected) {
        let entry = match elected {
            Elected::Segment(Draft { id, .. }) => Some(&id.entry),
            Elected::Command(OrderCommand::Init { entry, .. } | OrderCommand::Lost { entry, .. }) => Some(entry),
            _ => None,
        };
        self.before = entry.map(|entry| (entry.clone(), self.order.lives.get(entry).copied().unwrap_or_default()));
    }

    /// A storage has said all that its disk has. Less than before: then the disk is an older copy.
    fn check_disk(&mut self, from: &NodeId, out: &mut Vec<Output>) {
        let is_its = |member: &&&Member| member.node == *from;
        let Some(store) = self.order.members.storages().iter().find(is_its).map(|member| member.store) else { return };
        let Some(doubted) = self.doubted.remove(&store) else { return };
        // What it has dropped for reasons that are unknown here is no sign.
        let is_known = self.applied.get(&store).is_some_and(|applied| *applied <= self.order.position);
        let may_come = |id: &SegmentId| self.order.may_come(id);
        if is_known && doubted.iter().any(may_come) && !has(Fault::RestoredDiskCounts) {
            self.forgotten.insert(store);
            self.send(from, RoleMessage::DiskForgot { store }, out);
        }
    }

    /// Forgets decisions that a storage quorum of each slot has applied, and that were told.
    fn applied(&mut self, from: &NodeId, store: StoreId, position: u64, out: &mut Vec<Output>) {
        if let Some(founding) = &mut self.founding {
            founding.storage(from, store, position);
            self.go_on_founding(out);
        }
        self.disks.insert(from.clone(), store);
        let applied = self.applied.entry(store).or_default();
        if position < *applied && !has(Fault::RestoredDiskCounts) {
            self.forgotten.insert(store);
        }
        if self.forgotten.contains(&store) {
            // Again and again, for it may not hear it.
            return self.send(from, RoleMessage::DiskForgot { store }, out);
        }
        *applied = position.max(*applied);
        let members = &self.order.members;
        let is_far = |store: &StoreId, position| self.applied.get(store).is_some_and(|applied| *applied >= position);
        let is_applied = |position| {
            let mut slots = 0..members.slots.len() as u32;
            slots.all(|slot| members.is_storage_quorum(slot, |member| is_far(&member.store, position)))
        };
        let last = |first: &OccupiedEntry<'_, u64, Elected>| *first.key() + first.get().positions() - 1;
        while let Some(first) = self.decisions.first_entry().filter(|first| is_applied(last(first))) {
            if self.opening.is_untold(*first.key()) {
                return;
            }
            self.floor.take(&first.remove());
        }
    }
}
