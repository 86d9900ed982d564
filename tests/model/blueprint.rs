//! The rule of the blueprint under the checker: the lowest of the first drafts challenges, the maximum of the first challengers of a
//! majority is elected. It looks like agreement, but which are the first is another thing at every sync.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use fennec::queue::envelope::{Draft, Elected};

use crate::harness::{Bounds, Machine, name};

#[derive(Clone, Debug, Default, Hash)]
pub struct Blueprint {
    /// Of how many.
    syncs: usize,
    place: usize,
    drafts: BTreeSet<Draft>,
    /// First challengers that were heard of for each position, and whose.
    challengers: BTreeMap<u64, BTreeMap<usize, Draft>>,
    elected: Vec<Draft>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Said {
    Draft(Draft),
    Challenger(u64, Draft),
}

impl Blueprint {
    pub fn new(place: usize, syncs: usize) -> Self {
        Self { syncs, place, ..Self::default() }
    }

    fn next(&self) -> u64 {
        self.elected.len() as u64 + 1
    }
}

impl Machine for Blueprint {
    type Message = Said;

    fn hear(&mut self, from: Option<usize>, message: &Said) -> Vec<Said> {
        match (from, message) {
            (Some(from), Said::Challenger(position, draft)) => {
                // It is handed on, as in the vote.
                self.drafts.insert(draft.clone());
                self.challengers.entry(*position).or_default().entry(from).or_insert(draft.clone());
            }
            (_, Said::Draft(draft) | Said::Challenger(_, draft)) => drop(self.drafts.insert(draft.clone())),
        }
        let mut said = Vec::new();
        loop {
            let position = self.next();
            let challengers = self.challengers.entry(position).or_default();
            if let Entry::Vacant(vacant) = challengers.entry(self.place) {
                let Some(lowest) = self.drafts.iter().find(|draft| !self.elected.contains(draft)) else { return said };
                said.push(Said::Challenger(position, vacant.insert(lowest.clone()).clone()));
            }
            if challengers.len() <= self.syncs / 2 {
                return said;
            }
            let highest = challengers.values().filter(|draft| !self.elected.contains(draft)).max().cloned();
            self.elected.extend(highest);
        }
    }

    fn wants(&self, message: &Said, bounds: &Bounds) -> bool {
        match message {
            Said::Draft(draft) => !self.drafts.contains(draft),
            Said::Challenger(position, _) => *position >= self.next() && *position <= bounds.position,
        }
    }

    fn decided(_: &[&BTreeSet<Said>]) -> BTreeSet<(u64, Elected)> {
        BTreeSet::new()
    }

    fn step(_: &Said) -> u64 {
        0
    }

    fn is_beyond(_: &Said, _: &Bounds) -> bool {
        false
    }

    fn restart(&mut self, _: &[(usize, &Self)]) {}

    fn position(&self) -> u64 {
        self.elected.len() as u64
    }

    fn decisions(&self) -> Vec<(u64, Elected)> {
        (1..).zip(self.elected.iter().cloned().map(Elected::Segment)).collect()
    }
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Draft(draft) => write!(f, "GENERATE_DRAFT segment {}", draft.id.segment),
            Self::Challenger(position, draft) => {
                write!(f, "PICK_CHALLENGER {position}: {}", name(&Elected::Segment(draft.clone())))
            }
        }
    }
}
