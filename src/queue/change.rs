//! A change of who takes part, as an operator makes it: what to ask the syncs for, what to wait for, what is refused.
//!
//! ```text
//! what the file wants + what each sync tells (View) -> refused | wait: new disks copy | ask: MEMBERS behind the present table | done
//! ```
//!
//! 1. Nothing happens by itself: nodes may have different versions of the file for a while. One who asks decides for all.
//! 2. What is asked for follows from what is told and wanted alone: asking again, or by two who want the same, asks for the same.
//! 3. The table is made from the present one. If another comes first, the syncs find this one void, and this change is over: it is not
//!    begun anew by itself, so two operators cannot undo each other for ever. A disk that was wiped and comes back is no other change.
//! 4. A new storage is taken in once it has everything, a slot loses one only if a storage quorum of those that stay and come has
//!    everything then; and it may go when such a quorum has everything up to the new table ([`Step::Done`]).
//! 5. One sync comes or goes at a time ([`Members::may_follow`]), and a majority of those that are left must be up.
//!
//! Left out: how the syncs are asked (`cluster::ask`), and entries, which are in no table.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::envelope::{NodeId, OrderCommand, Role};
use super::quorum::{Member, Members, MembersError, StoreId};
use super::sync::Standing;

#[cfg(test)]
mod tests;

/// What a sync knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct View {
    pub sync: NodeId,
    pub standing: Standing,
    /// The last position that was decided.
    pub position: u64,
    pub members_at: u64,
    pub members: Members,
    /// Storages and syncs that are linked to it and itself: which disk, and up to which position it has everything.
    pub disks: BTreeMap<NodeId, (StoreId, u64)>,
    /// Names of nodes that are linked to it, and those of its own process.
    pub linked: BTreeSet<String>,
}

/// Who is to take part.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub entries: Vec<NodeId>,
    pub syncs: Vec<NodeId>,
    pub slots: Vec<Vec<NodeId>>,
    pub storage_quorum: u32,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// It is as wanted since this position, and what is in no table any more may be stopped.
    Done { position: u64 },
    /// For these reasons it cannot go on yet.
    Wait(Vec<String>),
    /// All syncs that have a vote are to be asked for this.
    Ask(OrderCommand),
}

/// A change that is not made. The operator must act.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("no sync that answers knows who takes part: the cluster was never whole, or none of its syncs is up")]
    Unknown,
    #[error("{votes} of {syncs} syncs answer and have a vote: more than half of them must")]
    NoMajority { votes: usize, syncs: usize },
    #[error("the last change is not done: {0}")]
    Unfinished(String),
    #[error("another change was made meanwhile, at position {position}: see what the cluster is now, and begin anew")]
    Overtaken { position: u64 },
    #[error("one sync may come or go at a time: {come} would come, {go} go")]
    SyncsAtOnce { come: String, go: String },
    #[error("{up} of {syncs} syncs would be up: more than half of them must")]
    TooFewSyncs { up: usize, syncs: usize },
    #[error("slot {slot} would have {up} storages that are up, and {quorum} are needed: {down} not")]
    TooFewStorages { slot: usize, up: usize, quorum: u32, down: String },
    #[error(transparent)]
    Impossible(#[from] MembersError),
}

/// See the module.
pub struct Change {
    wanted: Wanted,
    begun: Option<Begun>,
}

/// What was when it began.
struct Begun {
    members: Members,
    /// New disks must be so far.
    target: u64,
}

/// What all syncs that answer tell together.
struct Told<'v> {
    newest: &'v View,
    /// Of syncs that have a vote.
    voters: Vec<&'v View>,
    all: &'v [View],
}

impl View {
    fn is_linked(&self, node: &NodeId) -> bool {
        self.linked.contains(&*node.name)
    }

    /// The disk of a node that is linked still: what it has told is a little older than what is known of links.
    fn disk(&self, node: &NodeId) -> Option<&(StoreId, u64)> {
        self.disks.get(node).filter(|_| self.is_linked(node))
    }
}

impl Change {
    pub fn new(wanted: Wanted) -> Self {
        Self { wanted, begun: None }
    }

    /// What comes next, by what the syncs that answer tell now.
    ///
    /// # Errors
    /// The change is over, and nothing more will come of it.
    pub fn step(&mut self, views: &[View]) -> Result<Step, Refused> {
        let told = Told::of(views)?;
        let (present, position) = (&told.newest.members, told.newest.members_at);
        let is_first = self.begun.is_none();
        let begun = self.begun.get_or_insert_with(|| Begun { members: present.clone(), target: told.newest.position });
        let (next, unknown) = self.wanted.table(&told);
        if unknown.is_empty() && next.is_same(present) {
            let lacks = told.lacks(present, position);
            return Ok(if lacks.is_empty() { Step::Done { position } } else { Step::Wait(lacks) });
        }
        if !present.has_same_nodes(&begun.members) {
            return Err(Refused::Overtaken { position });
        }
        if is_first && let Some(lacks) = told.lacks(present, position).into_iter().next() {
            return Err(Refused::Unfinished(lacks));
        }
        let is_new = |node: &NodeId| !present.has(node);
        told.check_syncs(&self.wanted)?;
        told.check_storages(&self.wanted, &is_new)?;
        let mut waits = unknown;
        waits.extend(told.lonely(&self.wanted, &is_new));
        if waits.is_empty() {
            next.check()?;
            waits.extend(told.behind(&next, begun.target, &is_new));
            waits.extend(told.lacks(&next, begun.target));
        }
        Ok(match waits.is_empty() {
            true => Step::Ask(OrderCommand::Members { behind: position, members: next }),
            false => Step::Wait(waits),
        })
    }
}

impl Wanted {
    /// The table, and why it cannot be made: disks that nobody knows.
    fn table(&self, told: &Told) -> (Members, Vec<String>) {
        let mut unknown = BTreeSet::new();
        let mut member = |node: &NodeId| {
            let store = told.newest.members.store_of(node).or_else(|| Some(told.disk(node)?.0));
            if store.is_none() {
                unknown.insert(format!("{node} is not linked to a sync that has a vote"));
            }
            Member { node: node.clone(), store: store.unwrap_or_default() }
        };
        let members = Members {
            syncs: self.syncs.iter().map(&mut member).collect(),
            slots: self.slots.iter().map(|slot| slot.iter().map(&mut member).collect()).collect(),
            storage_quorum: self.storage_quorum,
        };
        (members, unknown.into_iter().collect())
    }

    fn storages(&self) -> BTreeSet<&NodeId> {
        self.slots.iter().flatten().collect()
    }
}

impl<'v> Told<'v> {
    fn of(all: &'v [View]) -> Result<Self, Refused> {
        let knows = |view: &&View| matches!(view.standing, Standing::Votes | Standing::Listens);
        let newest = all.iter().filter(knows).max_by_key(|view| (view.members_at, view.position));
        let newest = newest.ok_or(Refused::Unknown)?;
        let syncs = &newest.members.syncs;
        let votes =
            |view: &&View| view.standing == Standing::Votes && syncs.iter().any(|member| member.node == view.sync);
        let voters: Vec<_> = all.iter().filter(votes).collect();
        if voters.len() < newest.members.sync_majority() {
            return Err(Refused::NoMajority { votes: voters.len(), syncs: syncs.len() });
        }
        Ok(Self { newest, voters, all })
    }

    /// The disk that most voters know under a name, and how far they know it to be.
    fn disk(&self, node: &NodeId) -> Option<(StoreId, u64)> {
        let known = || self.voters.iter().filter_map(|view| view.disk(node));
        let most =
            known().map(|(store, _)| *store).max_by_key(|store| known().filter(|(of, _)| of == store).count())?;
        known().filter(|(store, _)| *store == most).map(|(_, position)| (most, *position)).max()
    }

    fn is_linked(&self, node: &NodeId) -> bool {
        let linked = self.voters.iter().filter(|view| view.disk(node).is_some()).count();
        linked >= self.newest.members.sync_majority()
    }

    /// Whether the disk of a member has everything up to there.
    fn has(&self, member: &Member, position: u64) -> bool {
        self.disk(&member.node).is_some_and(|(store, has)| store == member.store && has >= position)
    }

    /// Slots of which no storage quorum has everything up to there.
    fn lacks(&self, members: &Members, position: u64) -> Vec<String> {
        let quorum = members.storage_quorum as usize;
        let of_slot = |(slot, storages): (usize, &Vec<Member>)| {
            let (have, lack): (Vec<_>, Vec<_>) = storages.iter().partition(|member| self.has(member, position));
            let text = || {
                let (have, lack) = (names(have.iter().map(|m| &m.node)), names(lack.iter().map(|m| &m.node)));
                format!(
                    "of slot {slot} {quorum} must have everything up to position {position}: {have} have it, {lack} not"
                )
            };
            (have.len() < quorum).then(text)
        };
        members.slots.iter().enumerate().filter_map(of_slot).collect()
    }

    /// New storages that copy.
    fn behind(&self, next: &Members, target: u64, is_new: &impl Fn(&NodeId) -> bool) -> Vec<String> {
        let copies = |member: &&&Member| is_new(&member.node) && !self.has(member, target);
        let text = |member: &&Member| {
            let has = self.disk(&member.node).map_or(0, |(_, position)| position);
            format!("{} has everything up to position {has} of {target}", member.node)
        };
        next.storages().iter().filter(copies).map(text).collect()
    }

    /// Those who are to come, and are not there for all who need them.
    fn lonely(&self, wanted: &Wanted, is_new: &impl Fn(&NodeId) -> bool) -> Vec<String> {
        let mut lonely = Vec::new();
        let come = wanted.storages().into_iter().chain(&wanted.syncs).filter(|node| is_new(node));
        for node in come {
            if !self.is_linked(node) {
                lonely.push(format!("{node} is not linked to most of the syncs: have they read the file?"));
            } else if node.role == Role::Sync {
                lonely.extend(self.lonely_sync(wanted, node));
            }
        }
        lonely
    }

    /// A sync that an entry does not reach would find it silent.
    fn lonely_sync(&self, wanted: &Wanted, node: &NodeId) -> Option<String> {
        let Some(own) = self.all.iter().find(|view| view.sync == *node) else {
            return Some(format!("{node} does not answer"));
        };
        if own.standing != Standing::Listens {
            return Some(format!("{node} does not know the order yet"));
        }
        let is_up = |entry: &&NodeId| self.voters.iter().any(|view| view.is_linked(entry));
        let lacks = wanted.entries.iter().filter(is_up).find(|entry| !own.is_linked(entry))?;
        Some(format!("{node} is not linked to {lacks}: has it read the file?"))
    }

    fn check_syncs(&self, wanted: &Wanted) -> Result<(), Refused> {
        let before: BTreeSet<&NodeId> = self.newest.members.syncs.iter().map(|member| &member.node).collect();
        let after: BTreeSet<&NodeId> = wanted.syncs.iter().collect();
        let (come, go) = (after.difference(&before).copied(), before.difference(&after).copied());
        if come.clone().count() + go.clone().count() > 1 {
            return Err(Refused::SyncsAtOnce { come: names(come), go: names(go) });
        }
        // One that comes is waited for.
        let stay = self.voters.iter().filter(|view| after.contains(&view.sync)).count();
        let (up, syncs) = (stay + come.count(), after.len());
        if up <= syncs / 2 {
            return Err(Refused::TooFewSyncs { up, syncs });
        }
        Ok(())
    }

    /// New storages are waited for, and those that are behind; not those that are down.
    fn check_storages(&self, wanted: &Wanted, is_new: &impl Fn(&NodeId) -> bool) -> Result<(), Refused> {
        for (slot, storages) in wanted.slots.iter().enumerate() {
            let (up, down): (Vec<&NodeId>, Vec<&NodeId>) =
                storages.iter().partition(|node| is_new(node) || self.is_linked(node));
            let quorum = wanted.storage_quorum;
            if up.len() < quorum as usize {
                return Err(Refused::TooFewStorages { slot, up: up.len(), quorum, down: names(down) });
            }
        }
        Ok(())
    }
}

impl Members {
    /// The disk of a node; `None`: it takes no part.
    fn store_of(&self, node: &NodeId) -> Option<StoreId> {
        let mut members = self.syncs.iter().chain(self.slots.iter().flatten());
        members.find(|member| member.node == *node).map(|member| member.store)
    }

    fn has(&self, node: &NodeId) -> bool {
        self.store_of(node).is_some()
    }

    /// Whether it differs in nothing but disks.
    fn has_same_nodes(&self, other: &Members) -> bool {
        let nodes = |members: &Members| {
            let mut members = members.clone();
            members.slots.iter_mut().flatten().chain(&mut members.syncs).for_each(|m| m.store = StoreId::default());
            members
        };
        nodes(self).is_same(&nodes(other))
    }
}

fn names<'n>(nodes: impl IntoIterator<Item = &'n NodeId>) -> String {
    let names: Vec<&str> = nodes.into_iter().map(|node| &*node.name).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(" ") }
}
