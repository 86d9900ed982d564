//! Retention of a cluster: what a storage gives up, and when.
//!
//! ```text
//! entries --POLICIES--> every storage: Cleaner::look -> floors that are higher than the log's --RETAIN--> syncs
//!                       RETAIN is applied: the log's floors are that high -> what is below is deleted, in one commit
//! ```
//!
//! 1. What is to stay is in the configuration of the entries. Each tells it to each storage that it is linked to. While none is linked,
//!    one has not told, or two tell different things, nothing is given up: what is gone because of a mistake would not come back.
//! 2. Each storage counts and walks for itself, a slice at a time, as a broker alone does ([`Cleaner`]). Ages are measured by log time, so
//!    that one wrong clock deletes nothing; where nothing is published, TIME is asked for, which a majority of syncs must find right.
//! 3. Floors come first, and by the log (RETAIN): all storages and entries tell the same of what is available. The storage with the
//!    lowest name among those that are linked asks. Another does if what it waits for has not come in time.
//! 4. A storage that was down finds the floors raised when it comes back, and deletes without asking. One that was given a copy of
//!    another's log counts anew.
//!
//! No IO but reading; what it finds is for [`super::ndb`] to carry out.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::node::log::{Cleaner, Kept, Slice};
use crate::queue::envelope::{NodeId, OrderCommand, Role};
use crate::queue::retention::{Floor, Policy, Retention};
use crate::queue::segment::Segment;
use crate::queue::state::floors::{Floors, OTHERS};
use crate::queue::state::rows;
use crate::store::{Commit, StoreError, StoreReader};

#[cfg(test)]
mod tests;

/// How often a storage looks whether there is something to give up.
const LOOK_US: u64 = 1_000_000;
/// While there is more, it rests so many times as long as it takes.
const REST: u64 = 4;
const REST_MIN_US: u64 = 5_000;
/// How often what was asked for is asked for again.
const ASK_AGAIN_US: u64 = 2_000_000;
/// How long a storage waits for the one before it to ask.
const PATIENCE_US: u64 = 10_000_000;
/// Who had to ask for another does so at once, for a while.
const STAND_IN_US: u64 = 60_000_000;
/// Log time may be behind the clock by a tenth of the shortest age, within these bounds.
const BEHIND_US: std::ops::RangeInclusive<u64> = 1_000_000..=60_000_000;

/// What an entry says is to stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policies {
    policies: Vec<PolicyText>,
    /// Bytes of topics of no policy that are kept for cursors which have not passed them.
    others_bytes_max: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PolicyText {
    realm: Option<String>,
    /// As [`rows::pattern_text`] has it.
    pattern: String,
    age_us_max: u64,
    bytes_max: u64,
    messages_max: u64,
}

/// How the log is when it is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The clock, and log time.
    pub now_us: u64,
    pub time_us: u64,
    /// The lowest number that a cursor has not passed.
    pub wanted: u64,
    /// Number of the last message.
    pub last: u64,
}

/// What is to be done.
#[derive(Debug)]
pub enum Work {
    Nothing,
    /// Until what was asked for is applied.
    Wait,
    /// Ask the syncs for these.
    Ask(Vec<OrderCommand>),
    /// Commit this, then call [`Housekeeper::deleted`].
    Delete(Commit),
}

/// See the module.
pub struct Housekeeper {
    own: NodeId,
    /// Entries that are linked, and what they have told.
    told: BTreeMap<NodeId, Option<Policies>>,
    /// Other storages that are linked.
    peers: BTreeSet<NodeId>,
    /// What the cleaner goes by.
    policies: Option<Policies>,
    cleaner: Option<Cleaner>,
    found: Option<Found>,
    /// When to look again.
    next_us: u64,
    /// Asks at once until then, though it is not the first.
    stands_in_until_us: u64,
    /// Entries disagree, and that was logged.
    disagree: bool,
    asked_time_us: u64,
}

/// A slice whose floors are not all raised.
struct Found {
    slice: Slice,
    floors: Vec<(String, String, u64)>,
    since_us: u64,
    asked_us: Option<u64>,
}

impl Policies {
    pub fn of(policies: &[Policy], others_bytes_max: u64) -> Self {
        let text = |policy: &Policy| PolicyText {
            realm: policy.realm.clone(),
            pattern: rows::pattern_text(&policy.pattern),
            age_us_max: policy.age_us_max,
            bytes_max: policy.bytes_max,
            messages_max: policy.messages_max,
        };
        Self { policies: policies.iter().map(text).collect(), others_bytes_max }
    }

    /// `None`: it has a pattern that cannot be read.
    fn retention(&self) -> Option<Retention> {
        let policy = |text: &PolicyText| {
            let pattern = rows::read_pattern(&text.pattern)?;
            let PolicyText { realm, age_us_max, bytes_max, messages_max, .. } = text.clone();
            Some(Policy { realm, pattern, age_us_max, bytes_max, messages_max })
        };
        let policies: Option<Vec<Policy>> = self.policies.iter().map(policy).collect();
        Some(Retention::new(policies?, self.others_bytes_max))
    }

    /// The shortest age of those of which there is something.
    fn shortest_age_us(&self, kept: &[Kept]) -> Option<u64> {
        let held = self.policies.iter().zip(kept).filter(|(_, kept)| kept.messages > 0);
        held.map(|(policy, _)| policy.age_us_max).min()
    }
}

impl Housekeeper {
    pub fn new(own: NodeId) -> Self {
        Self {
            own,
            told: BTreeMap::new(),
            peers: BTreeSet::new(),
            policies: None,
            cleaner: None,
            found: None,
            next_us: 0,
            stands_in_until_us: 0,
            disagree: false,
            asked_time_us: 0,
        }
    }

    pub fn connected(&mut self, node: &NodeId) {
        match node.role {
            Role::Entry => drop(self.told.insert(node.clone(), None)),
            Role::Storage => drop(self.peers.insert(node.clone())),
            Role::Sync => {}
        }
    }

    pub fn disconnected(&mut self, node: &NodeId) {
        self.told.remove(node);
        self.peers.remove(node);
    }

    /// An entry says what is to stay.
    pub fn tell(&mut self, from: &NodeId, policies: Policies) {
        self.told.insert(from.clone(), Some(policies));
    }

    /// A segment was committed.
    pub fn add(&mut self, segment: &Segment) {
        if let Some(cleaner) = &mut self.cleaner {
            cleaner.add(segment);
        }
    }

    /// The log is another one now.
    pub fn begin_anew(&mut self) {
        (self.cleaner, self.found, self.policies) = (None, None, None);
    }

    /// What the log holds of each policy, and how many messages were lost to a cursor.
    pub fn report(&self) -> (Vec<Kept>, u64) {
        self.cleaner.as_ref().map(|cleaner| (cleaner.kept(), cleaner.lost())).unwrap_or_default()
    }

    /// Whether [`Housekeeper::work`] is to be called now.
    pub fn is_due(&self, now_us: u64) -> bool {
        now_us >= self.next_us
    }

    /// Goes on with a short piece of work. `floors`: those of the log; `reader`: makes one.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn work(
        &mut self,
        seen: &Seen,
        floors: &Floors,
        reader: impl FnOnce() -> Result<Box<dyn StoreReader>, StoreError>,
    ) -> Result<Work, StoreError> {
        self.next_us = seen.now_us + LOOK_US;
        if !self.agree(seen.last, reader)? {
            return Ok(Work::Nothing);
        }
        let Some(cleaner) = &mut self.cleaner else { return Ok(Work::Nothing) };
        if self.found.is_none() {
            let slice = cleaner.look(seen.time_us, seen.wanted, seen.last)?;
            if slice.more {
                self.next_us = seen.now_us;
            }
            if slice.dropped.is_empty() && slice.rewritten.is_empty() {
                return Ok(self.ask_for_time(seen));
            }
            let floors = slice.floors.iter().map(floor_text).collect();
            self.found = Some(Found { slice, floors, since_us: seen.now_us, asked_us: None });
        }
        Ok(self.go_on(seen, floors))
    }

    /// The last piece took so long: it rests for longer than that, so that the log's own work goes between. `more`: there is more to
    /// do than it knows of.
    pub fn rest(&mut self, now_us: u64, took_us: u64, more: bool) {
        let next_us = if more { now_us } else { self.next_us };
        self.next_us = next_us.max(now_us + (took_us * REST).max(REST_MIN_US));
    }

    /// What was found is gone. Returns how many messages were lost to a cursor.
    pub fn deleted(&mut self) -> u64 {
        let Some(found) = self.found.take() else { return 0 };
        if let Some(cleaner) = &mut self.cleaner {
            cleaner.done(found.slice.lost);
        }
        found.slice.lost
    }

    /// Whether it is known what is to stay. If that is not what the cleaner goes by, it begins anew.
    fn agree(
        &mut self,
        last: u64,
        reader: impl FnOnce() -> Result<Box<dyn StoreReader>, StoreError>,
    ) -> Result<bool, StoreError> {
        let all: Option<Vec<&Policies>> = self.told.values().map(Option::as_ref).collect();
        let Some([first, others @ ..]) = all.as_deref() else { return Ok(false) };
        let disagree = others.iter().any(|other| other != first);
        if disagree && !self.disagree {
            let entries: Vec<String> = self.told.keys().map(ToString::to_string).collect();
            tracing::warn!(
                entries = entries.join(", "),
                "the entries have different [[durable]]: nothing is given up until they have the same"
            );
        }
        self.disagree = disagree;
        if disagree {
            return Ok(false);
        }
        if self.policies.as_ref() != Some(first) {
            let first = (*first).clone();
            let Some(retention) = first.retention() else { return Ok(false) };
            self.cleaner = Some(Cleaner::new(reader()?, retention, last));
            (self.policies, self.found) = (Some(first), None);
        }
        Ok(true)
    }

    /// Deletes what was found if the log says that it is gone; else has the log say so.
    fn go_on(&mut self, seen: &Seen, floors: &Floors) -> Work {
        let now_us = seen.now_us;
        let may_ask = self.rank() == 0 || now_us < self.stands_in_until_us;
        let Some(found) = &mut self.found else { return Work::Nothing };
        let low: Vec<OrderCommand> = found.floors.iter().filter_map(|floor| retain(floor, floors)).collect();
        if low.is_empty() {
            self.next_us = now_us;
            let (dropped, rewritten) = (found.slice.dropped.clone(), found.slice.rewritten.clone());
            return Work::Delete(Commit { dropped, rewritten, ..Commit::default() });
        }
        if !may_ask && now_us >= found.since_us + PATIENCE_US {
            self.stands_in_until_us = now_us + STAND_IN_US;
        } else if !may_ask {
            return Work::Wait;
        }
        // What it waits for comes as soon as it is applied.
        self.next_us = now_us;
        if found.asked_us.is_some_and(|asked_us| now_us < asked_us + ASK_AGAIN_US) {
            return Work::Wait;
        }
        found.asked_us = Some(now_us);
        Work::Ask(low)
    }

    /// Where nothing is published, log time stands still, and nothing would ever be too old.
    fn ask_for_time(&mut self, seen: &Seen) -> Work {
        let kept = self.report().0;
        let age_us = self.policies.as_ref().and_then(|policies| policies.shortest_age_us(&kept));
        let Some(age_us) = age_us.filter(|age_us| *age_us < u64::MAX) else { return Work::Nothing };
        let behind_us = (age_us / 10).clamp(*BEHIND_US.start(), *BEHIND_US.end());
        let is_due = |from_us: u64| seen.now_us > from_us.saturating_add(behind_us * (1 + self.rank()));
        if !is_due(seen.time_us) || !is_due(self.asked_time_us) {
            return Work::Nothing;
        }
        self.asked_time_us = seen.now_us;
        Work::Ask(vec![OrderCommand::Time { at_us: seen.now_us }])
    }

    /// How many of the storages that are linked come before this one.
    fn rank(&self) -> u64 {
        self.peers.iter().filter(|peer| **peer < self.own).count() as u64
    }
}

fn floor_text(floor: &Floor) -> (String, String, u64) {
    let pattern = floor.pattern.as_ref().map_or_else(|| OTHERS.to_owned(), rows::pattern_text);
    (floor.realm.clone(), pattern, floor.first)
}

/// The command that raises a floor, if it is not that high.
fn retain((realm, pattern, first): &(String, String, u64), floors: &Floors) -> Option<OrderCommand> {
    let is_low = floors.first_of(realm, pattern) < *first;
    is_low.then(|| OrderCommand::Retain { realm: realm.clone(), pattern: pattern.clone(), first: *first })
}
