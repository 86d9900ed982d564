//! A sync begins: with what its disk holds, or for the first time.

use std::collections::{BTreeMap, BTreeSet};

use super::drafts::Drafts;
use super::members::Founding;
use super::opening::Opening;
use super::promises::{Phase, Record, Step};
use super::vote::{Statement, Vote};
use super::{Life, Order, Start, SyncRole};
use crate::queue::envelope::{Elected, NodeId};
use crate::queue::quorum::{Members, StoreId};

/// What a disk holds does not fit together: it has to be treated as one that is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    #[error("the promises are of another disk")]
    OtherDisk,
    #[error("there is a gap in the promises before position {before}")]
    Gap { before: u64 },
}

impl SyncRole {
    /// The only sync, in one process with its storage, which remembers for it. `position`: the last that was decided.
    pub fn alone(node: NodeId, members: Members, position: u64, lives: BTreeMap<NodeId, Life>) -> Self {
        let order = Order { position, lives, ..Order::new(members) };
        Self { alone: true, ..Self::empty(node, StoreId::default(), order) }
    }

    /// One of the syncs of `members`, the first table; from the disk, if that knows of a later one. If the table does not have the
    /// disk's store id, this sync only listens, until MEMBERS has it.
    ///
    /// # Errors
    /// What the disk holds does not fit together.
    pub fn new(node: NodeId, members: Members, start: Start) -> Result<Self, StartError> {
        let mut role = Self::empty(node, start.store, Order::new(members));
        role.read(start.records)?;
        Ok(role)
    }

    /// As [`Self::new`], for a first table of which nobody knows the store ids: it is made when all syncs and storages of it are there
    /// and empty.
    ///
    /// # Errors
    /// What the disk holds does not fit together.
    pub fn found(node: NodeId, members: Members, start: Start) -> Result<Self, StartError> {
        let mut role = Self::empty(node, start.store, Order::new(members.clone()));
        role.founds = true;
        role.founding = Some(Founding::new(&role.node, start.store, members));
        role.read(start.records)?;
        Ok(role)
    }

    /// The disk has forgotten what it said, and this is what begins in its place, as [`Self::found`] does: with another store id, of which
    /// nobody has heard anything, with the links as they are, and with what storages have said of their disks, of which this may be
    /// the only one to know. Others are to be greeted again by [`Self::connected`].
    ///
    /// # Errors
    /// None with a table that could be begun with before.
    pub fn forgotten(&self, members: Members, store: StoreId) -> Result<Self, StartError> {
        let start = Start { store, records: Vec::new() };
        let (peers, disks, opening) = (self.peers.clone(), self.disks.clone(), self.opening.clone());
        let (applied, forgotten) = (self.applied.clone(), self.forgotten.clone());
        Ok(Self { peers, disks, opening, applied, forgotten, ..Self::found(self.node.clone(), members, start)? })
    }

    /// All that the disk has to hold now. A new file begins with this; one that has grown may be replaced by it, if nothing that was
    /// put out before is still to be written.
    pub fn records(&self) -> Vec<Record> {
        let mut records = vec![Record::Disk(self.store)];
        match &self.founding {
            Some(founding) => records.extend(founding.pledged(&self.node).cloned().map(Record::Pledged)),
            None => records.push(Record::Order(self.floor.clone())),
        }
        records.push(Record::Heard(self.all_heard().into_iter().collect()));
        let decisions = self.decisions.iter().map(|(position, elected)| (*position, elected.clone()));
        records.extend(decisions.map(|(position, elected)| Record::Decided {
            position,
            elected,
            of: Vec::new(),
            phase: Phase::Vote,
        }));
        let position = self.order.position + 1;
        let said = self.vote.said().iter().cloned();
        records.extend(said.map(|statement| Record::Said { position, statement, of: Vec::new() }));
        records
    }

    /// The last statement of each other disk that counted here.
    pub(super) fn all_heard(&self) -> BTreeMap<StoreId, Step> {
        let mut heard = self.heard.clone();
        let syncs = self.order.members.syncs.iter().enumerate();
        heard.extend(syncs.filter_map(|(place, member)| Some((member.store, self.vote.heard(place)?))));
        heard
    }

    fn empty(node: NodeId, store: StoreId, order: Order) -> Self {
        let vote = Vote::new(order.position + 1, &order.members, &node, store);
        Self {
            node,
            store,
            alone: false,
            forgot: false,
            waits: false,
            founds: false,
            founding: None,
            floor: order.clone(),
            order,
            drafts: Drafts::default(),
            vote,
            opening: Opening::default(),
            ahead: BTreeMap::new(),
            decisions: BTreeMap::new(),
            applied: BTreeMap::new(),
            doubted: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            disks: BTreeMap::new(),
            peers: BTreeMap::new(),
            heard: BTreeMap::new(),
            before: None,
        }
    }

    fn read(&mut self, records: Vec<Record>) -> Result<(), StartError> {
        for record in records {
            match record {
                Record::Disk(store) if store != self.store => return Err(StartError::OtherDisk),
                Record::Disk(_) => {}
                Record::Pledged(table) => {
                    if let Some(founding) = &mut self.founding {
                        founding.pledge_again(&self.node, table);
                    }
                }
                Record::Order(order) => self.begin(order),
                Record::Heard(heard) => self.heard.extend(heard),
                Record::Decided { position, elected, of, phase } => {
                    self.read_decision(position, elected, (phase, &of))?
                }
                Record::Said { position, statement, of } => self.read_statement(position, statement, &of)?,
            }
        }
        Ok(())
    }

    /// The order stands like this, without the decisions before.
    pub(super) fn begin(&mut self, order: Order) {
        self.heard = self.all_heard();
        self.founding = None;
        self.decisions.clear();
        self.floor = order.clone();
        self.order = order;
        self.vote = self.new_vote();
        self.opening.ends();
        self.drafts.skipped(&self.order);
    }

    fn read_decision(
        &mut self,
        position: u64,
        elected: Elected,
        (phase, of): (Phase, &[u8]),
    ) -> Result<(), StartError> {
        if position > self.order.position + 1 {
            return Err(StartError::Gap { before: position });
        }
        // It may have been decided in a later round; that it counted is what matters.
        self.read_heard(of, Step { position, round: u32::from(phase != Phase::Pick), phase });
        if position == self.order.position + 1 {
            self.take(&elected);
            self.decisions.insert(position, elected);
        }
        Ok(())
    }

    fn read_statement(&mut self, position: u64, statement: Statement, of: &[u8]) -> Result<(), StartError> {
        if position > self.order.position + 1 {
            return Err(StartError::Gap { before: position });
        }
        let of_step = |round, phase| Step { position, round, phase };
        match &statement {
            Statement::Pick { .. } => {}
            Statement::State { round: 1, .. } => self.read_heard(of, of_step(0, Phase::Pick)),
            Statement::State { round, .. } => self.read_heard(of, of_step(round.saturating_sub(1), Phase::Vote)),
            Statement::Vote { round, .. } => self.read_heard(of, of_step(*round, Phase::State)),
        }
        if position == self.order.position + 1 {
            self.vote.say(statement);
        }
        Ok(())
    }

    /// Statements of this step, of members in these places, counted here.
    fn read_heard(&mut self, of: &[u8], step: Step) {
        let members = of.iter().filter_map(|place| self.order.members.syncs.get(usize::from(*place)));
        for store in members.map(|member| member.store).filter(|store| *store != self.store).collect::<Vec<_>>() {
            let heard = self.heard.entry(store).or_insert(step);
            *heard = step.max(*heard);
        }
    }
}
