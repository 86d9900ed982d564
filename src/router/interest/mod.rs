//! What the entries of a cluster want of each other's events that are not durable.
//!
//! ```text
//! subscriptions here --first, last of a pattern--> Own --Told--> Theirs (one for each peer, there) --> Reach (one for each realm)
//! publication here --topic--> Reached { peers, groups }, cached by the publisher with the route of the topic
//! ```
//!
//! 1. An entry tells every other what somebody is subscribed to here: realm and pattern, and the names of groups that share it.
//!    Only that a pattern has come or gone is told, not how many want it, nor who.
//! 2. The whole set comes with each new link, then changes. All have a number, one more with each change; who misses one asks
//!    for the whole set.
//! 3. The set is bounded: with more than [`INTERESTS_MAX`] patterns an entry wants everything, until it has half as many. Groups
//!    cannot be widened so; beyond as many of them further ones get what is published at their own entry alone.
//! 4. A publisher sends an event to the peers that want it, and routes it here. What comes from a peer is routed there alone and
//!    never passed on: every pair of entries is linked, and so nothing can come round.
//! 5. An event is for one member of a group: the publisher's entry takes turns between the entries that have members.
//!
//! What callees an entry has is told alike ([`Offered`]); what comes of it is [`super::dealer`]'s.
//!
//! Left out: how it is said and sent (`cluster`), and durable events, which all entries get from the log.

mod offers;
mod own;
mod reach;
mod theirs;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::types::topic::TopicPattern;

pub use offers::{OFFERS_BYTES_MAX, OFFERS_MAX, Offered, OwnOffers, TheirOffers, ToldOffers};
pub use own::Own;
pub use reach::{Reach, Reached, ReachedGroup};
pub use theirs::{Heard, OutOfStep, Theirs};

/// Patterns that an entry tells, and groups: beyond that it wants everything, see the module.
pub const INTERESTS_MAX: usize = 100_000;

/// Another entry: its place among the others, in the order of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u32);

/// What an entry wants events of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Interest {
    pub realm: Arc<str>,
    pub pattern: TopicPattern,
    /// For one of the members of this group; `None`: for all who are subscribed.
    pub group: Option<Box<str>>,
}

/// Who is subscribed to a pattern at one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Somebody for oneself.
    pub plain: bool,
    /// Groups that have members.
    pub groups: BTreeSet<Box<str>>,
}

/// What an entry tells of what it wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// One more than what was told before; the number of that if this is the whole set.
    pub version: u64,
    /// It replaces what was told before.
    pub whole: bool,
    /// All events of all realms are wanted; `wanted` has the groups alone.
    pub everything: bool,
    pub wanted: Vec<Interest>,
    /// Empty in a whole set.
    pub unwanted: Vec<Interest>,
}

impl Wanted {
    /// Nobody is.
    pub fn is_nothing(&self) -> bool {
        !self.plain && self.groups.is_empty()
    }
}
