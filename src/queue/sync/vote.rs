//! The vote on one position: Rabia's weak agreement (Pan et al., SOSP 2021), which is Ben-Or's with a proposal before it.
//!
//! ```text
//! PICK_CHALLENGER -> decided: all n have picked the same
//!                 -> STATE 1: one challenger has a majority; 0: none
//!                    round: STATE -> VOTE 1 or 0: a majority said so; ?: none -> decided by f + 1, or the next round
//! ```
//!
//! n syncs of which f = floor((n - 1) / 2) may be missing: a step is taken with statements of n - f, the own included, and n - f is
//! a majority. So two syncs that begin with state 1 mean the same challenger; all non-`?` votes of a round are equal; what f + 1
//! voted is seen by whoever finishes the round; and a `?`, which follows from a 1 and a 0, knows the challenger of the 1.
//!
//! Rabia has no end after the picks. When all n are the same, n - f of them are, whichever are heard: every state will be 1, and so
//! will be every vote. So who has heard them all need not wait for what the others will say.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::promises::{Phase, Step};
use crate::queue::digest::digest;
use crate::queue::envelope::{Elected, NodeId, RoleMessage};
use crate::queue::quorum::{Members, StoreId};

/// What a sync says in the vote of a position. It is never said otherwise again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Statement {
    Pick { challenger: Elected },
    State { round: u32, challenger: Option<Elected> },
    Vote { round: u32, vote: Option<bool>, challenger: Option<Elected> },
}

/// A statement, and the places (in the table of members) of those from whose statements it follows.
pub type Followed<T> = (T, Vec<u8>);

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Vote {
    position: u64,
    /// Our place among the members; `None`: we only listen.
    me: Option<usize>,
    /// n - f.
    majority: usize,
    /// f.
    faults: usize,
    /// By the place of who said it, as all below.
    picks: Vec<Option<Elected>>,
    rounds: BTreeMap<u32, Round>,
    /// What a 1 stands for.
    challenger: Option<Elected>,
    /// What we said, in order.
    said: Vec<Statement>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Round {
    states: Vec<Option<bool>>,
    votes: Vec<Option<Option<bool>>>,
}

impl Statement {
    pub fn step(&self, position: u64) -> Step {
        let (round, phase) = match self {
            Self::Pick { .. } => (0, Phase::Pick),
            Self::State { round, .. } => (*round, Phase::State),
            Self::Vote { round, .. } => (*round, Phase::Vote),
        };
        Step { position, round, phase }
    }

    pub fn message(self, position: u64) -> RoleMessage {
        match self {
            Self::Pick { challenger } => RoleMessage::PickChallenger { position, challenger },
            Self::State { round, challenger } => RoleMessage::State { position, round, challenger },
            Self::Vote { round, vote, challenger } => RoleMessage::Vote { position, round, vote, challenger },
        }
    }
}

impl Vote {
    /// `store`: of our disk. Whoever is not a member with it has no vote.
    pub fn new(position: u64, members: &Members, node: &NodeId, store: StoreId) -> Self {
        Self {
            position,
            me: members.syncs.iter().position(|member| member.node == *node && member.store == store),
            majority: members.sync_majority(),
            faults: members.sync_faults(),
            picks: vec![None; members.syncs.len()],
            rounds: BTreeMap::new(),
            challenger: None,
            said: Vec::new(),
        }
    }

    pub fn is_voter(&self) -> bool {
        self.me.is_some()
    }

    /// What others were the first to pick, if they did: of several, the lowest of those that most picked.
    pub fn picked(&self) -> Option<&Elected> {
        self.picks.iter().flatten().max_by_key(|pick| (count(&self.picks, pick), Reverse(*pick)))
    }

    /// What we said, in order.
    pub fn said(&self) -> &[Statement] {
        &self.said
    }

    /// We say it, or said it before a restart.
    pub fn say(&mut self, statement: Statement) {
        if let Some(me) = self.me {
            self.count(me, statement.clone());
            self.said.push(statement);
        }
    }

    /// The member in this place said it. What was said before, and what makes no difference any more, is not counted.
    pub fn hear(&mut self, from: usize, statement: Statement) {
        let last = self.said.last().map(|last| last.step(self.position));
        let is_over = match &statement {
            // Each may be the last of all picks, or of f + 1 votes.
            Statement::Pick { .. } | Statement::Vote { .. } => false,
            statement => last.is_some_and(|last| last > statement.step(self.position)),
        };
        if !is_over && self.me != Some(from) && from < self.picks.len() {
            self.count(from, statement);
        }
    }

    /// What we have to say next, if we have picked a challenger and enough others have said enough.
    pub fn next(&self) -> Option<Followed<Statement>> {
        match self.said.last()? {
            Statement::Pick { .. } => {
                let of = self.enough(&self.picks)?;
                Some((Statement::State { round: 1, challenger: self.favourite().cloned() }, of))
            }
            Statement::State { round, .. } => {
                let states = &self.rounds.get(round)?.states;
                let of = self.enough(states)?;
                let vote = [true, false].into_iter().find(|state| count(states, state) >= self.majority);
                let challenger = self.challenger.clone().filter(|_| vote != Some(false));
                Some((Statement::Vote { round: *round, vote, challenger }, of))
            }
            Statement::Vote { round, .. } => {
                let votes = &self.rounds.get(round)?.votes;
                let of = self.enough(votes)?;
                let voted = votes.iter().flatten().find_map(|vote| *vote);
                // A 1 is never said by who does not know what it stands for.
                let challenger = match voted.unwrap_or_else(|| coin(self.position, *round)) {
                    true => Some(self.challenger.clone()?),
                    false => None,
                };
                Some((Statement::State { round: round + 1, challenger }, of))
            }
        }
    }

    /// The places of those that have not picked, as far as is known, while all others have picked the same.
    pub fn lacks_picks(&self) -> Vec<usize> {
        let mut picks = self.picks.iter().flatten();
        let first = picks.next();
        match picks.all(|pick| Some(pick) == first) {
            true => (0..self.picks.len()).filter(|place| self.picks[*place].is_none()).collect(),
            false => Vec::new(),
        }
    }

    /// What all picks, or f + 1 votes of a round, have decided; and which of both.
    pub fn decision(&self) -> Option<(Phase, Followed<Elected>)> {
        if let Some(Some(pick)) = self.picks.first()
            && count(&self.picks, pick) == self.picks.len()
        {
            return Some((Phase::Pick, (pick.clone(), places(&self.picks))));
        }
        self.rounds.values().find_map(|Round { votes, .. }| {
            let decided = [true, false].into_iter().find(|vote| count(votes, &Some(*vote)) > self.faults)?;
            let elected = if decided { self.challenger.clone()? } else { Elected::Nothing };
            Some((Phase::Vote, (elected, places(votes))))
        })
    }

    /// The last statement of the member in this place that counted.
    pub fn heard(&self, from: usize) -> Option<Step> {
        let of = |round: u32, phase| Step { position: self.position, round, phase };
        let in_round = |(round, heard): (&u32, &Round)| {
            let voted = heard.votes.get(from)?.map(|_| of(*round, Phase::Vote));
            voted.or_else(|| heard.states[from].map(|_| of(*round, Phase::State)))
        };
        let picked = || self.picks.get(from)?.as_ref().map(|_| of(0, Phase::Pick));
        self.rounds.iter().rev().find_map(in_round).or_else(picked)
    }

    fn count(&mut self, from: usize, statement: Statement) {
        match statement {
            Statement::Pick { challenger } => drop(self.picks[from].get_or_insert(challenger)),
            Statement::State { round, challenger } => {
                self.round(round).states[from].get_or_insert(challenger.is_some());
                self.challenger = self.challenger.take().or(challenger);
            }
            Statement::Vote { round, vote, challenger } => {
                self.round(round).votes[from].get_or_insert(vote);
                self.challenger = self.challenger.take().or(challenger);
            }
        }
    }

    fn round(&mut self, round: u32) -> &mut Round {
        let n = self.picks.len();
        self.rounds.entry(round).or_insert_with(|| Round { states: vec![None; n], votes: vec![None; n] })
    }

    /// Who said something, if they are n - f.
    fn enough<T>(&self, said: &[Option<T>]) -> Option<Vec<u8>> {
        (said.iter().flatten().count() >= self.majority).then(|| places(said))
    }

    /// The challenger that a majority picked.
    fn favourite(&self) -> Option<&Elected> {
        self.picks.iter().flatten().find(|challenger| count(&self.picks, challenger) >= self.majority)
    }
}

fn count<T: PartialEq>(said: &[Option<T>], what: &T) -> usize {
    said.iter().flatten().filter(|said| *said == what).count()
}

fn places<T>(said: &[Option<T>]) -> Vec<u8> {
    said.iter().zip(0..).filter(|(said, _)| said.is_some()).map(|(_, place)| place).collect()
}

/// The next state of a round in which all voted `?`. The same at every sync; the first falls on 1, for there is a challenger.
fn coin(position: u64, round: u32) -> bool {
    let mut thrown = [0; 12];
    thrown[..8].copy_from_slice(&position.to_le_bytes());
    thrown[8..].copy_from_slice(&round.to_le_bytes());
    round == 1 || digest(&thrown) & 1 == 1
}
