//! The log as an entry of a cluster has it: others keep it, what they apply is followed.
//!
//! ```text
//! numbers, floors, keys, locks, named subscriptions --StoreReader of a storage--> Node, as of a position
//! then FEED of all positions behind it --Follower--> subscribers, mirrors, who submitted
//! ```
//!
//! What is read may be newer than the position that was read first: what the feed then says once more changes nothing.

use std::collections::HashMap;
use std::sync::Arc;

use super::engine::LogError;
use super::feed::{Fed, Feed};
use super::tickets::Turn;
use super::{ClockFn, Submitted};
use crate::node::Node;
use crate::queue::outcome::{Outcome, Refused};
use crate::queue::publication::Publications;
use crate::queue::relay::{self, Exceptions, MirroredRow};
use crate::queue::solo::TicketRange;
use crate::queue::state::floors::Floors;
use crate::queue::state::rows::{self, HeldRow, RowKey};
use crate::store::{StoreReader, each_row};
use crate::types::ids::SessionId;

/// Threads that read the log for subscribers.
const READERS: usize = 4;

/// Makes readers of a store that is as far as this entry.
pub type Readers = Arc<dyn Fn() -> Box<dyn StoreReader> + Send + Sync>;

impl Node {
    /// Takes up the log where a storage has it, for clients of this node; retained values may still be read when this returns.
    /// `publications`: the cluster's key of publication ids. Returns the position behind which the feed has to follow.
    ///
    /// # Errors
    /// No storage can be read, or one is damaged.
    pub fn follow_log(self: &Arc<Self>, readers: &Readers, publications: &[u8; 16]) -> Result<u64, LogError> {
        let mut reader = readers();
        let numbers = reader.scan(&[rows::NUMBERS], None, 1)?.into_iter().next();
        let (position, last) = numbers.map_or(Ok((0, 0)), |(key, value)| rows::read_numbers(&key, &value))?;
        let _ = self.log.publications.set(Publications::new(publications));
        self.log.history.begin(last);
        self.expect_keys();
        let mut floors = Floors::default();
        each_row(&mut *reader, &[rows::FLOOR], |key, value| {
            if let Some(RowKey::Floor { realm, pattern }) = RowKey::parse(key) {
                floors.raise(&realm, &pattern, rows::decode(key, &value)?);
            }
            Ok::<_, LogError>(())
        })?;
        self.log.set_floors(&floors);
        each_row(&mut *reader, &[rows::HELD], |key, value| {
            let held: HeldRow = rows::decode(key, &value)?;
            if let Some(RowKey::Held { realm, topic }) = RowKey::parse(key)
                && let Some(realm) = self.realm(&realm)
            {
                realm.set_lock_holder(&topic, Some(SessionId(held.session)));
            }
            Ok::<_, LogError>(())
        })?;
        self.load_keys(readers())?;
        self.load_durables(&mut *reader)?;
        self.load_consumers(&mut *reader)?;
        if let Some(segment) = reader.segment_before(last + 1)? {
            self.log.note_head(&segment);
        }
        Ok(position)
    }

    /// Starts the threads that read for subscribers, and the one of the broker's procedures.
    ///
    /// # Errors
    /// The system has no threads left.
    pub fn run_followed_log(self: &Arc<Self>, readers: &Readers, clock: ClockFn) -> std::io::Result<()> {
        self.start_readers((0..READERS).map(|_| Ok(readers())), clock)
    }
}

/// Takes what an entry's role puts out to subscribers and to whoever submitted.
///
/// Outcomes are told behind the feed of their position, as in one process: so whoever is told finds what he was told of.
pub struct Follower {
    node: Arc<Node>,
    feed: Feed,
    /// Whose the submissions are that are not resolved, by ticket.
    turns: HashMap<u64, Waiting>,
    last_ticket: u64,
    /// Who is told when a waiting event is granted, by its ticket.
    waiting: HashMap<u64, Turn>,
    /// What is resolved and not fed, in the order of positions.
    resolved: Vec<(u64, Vec<(Turn, Outcome)>)>,
    /// Fed up to this position.
    position: u64,
    /// The time, as far as it has been told.
    now_ms: u64,
}

/// A submission that is not resolved.
struct Waiting {
    turn: Turn,
    bytes: usize,
    messages: u32,
}

/// The feed has a gap, or cannot be read: this life of the entry is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    #[error("the feed goes on with position {found} behind {position}")]
    Gap { position: u64, found: u64 },
    #[error("{0}")]
    Unreadable(#[from] relay::Unreadable),
}

impl Follower {
    /// Behind this position.
    pub fn new(node: &Arc<Node>, position: u64) -> Self {
        node.house.followed(position);
        Self {
            feed: Feed::new(Arc::downgrade(node)),
            node: node.clone(),
            turns: HashMap::new(),
            last_ticket: 0,
            waiting: HashMap::new(),
            resolved: Vec::new(),
            position,
            now_ms: 0,
        }
    }

    /// Fed up to this position.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// A ticket for what is about to be submitted.
    pub fn ticket(&mut self, submitted: &Submitted) -> u64 {
        self.last_ticket += 1;
        let Submitted { batch, turn } = submitted;
        let waiting = Waiting { turn: turn.clone(), bytes: batch.len(), messages: batch.count };
        self.turns.insert(self.last_ticket, waiting);
        self.last_ticket
    }

    /// What was submitted was not taken.
    pub fn refuse(&mut self, ticket: u64, why: Refused) {
        if let Some(Waiting { turn, bytes, messages }) = self.turns.remove(&ticket) {
            self.node.log.resolved(bytes);
            turn.tell(Outcome::Refused { count: messages, why });
        }
    }

    /// Messages of these tickets are in the log, at a position; the first has this number.
    ///
    /// # Errors
    /// What became of them cannot be read.
    pub fn resolve(&mut self, position: u64, first: u64, results: &[u8], tickets: &[TicketRange]) -> Result<(), Lost> {
        let told = self.told(first, &relay::read_exceptions(results)?, tickets);
        match position <= self.position {
            true => told.into_iter().for_each(|(turn, outcome)| turn.tell(outcome)),
            false => self.resolved.push((position, told)),
        }
        Ok(())
    }

    fn told(&mut self, first: u64, exceptions: &Exceptions, tickets: &[TicketRange]) -> Vec<(Turn, Outcome)> {
        let Self { turns, waiting, node, .. } = self;
        let take = |ticket: u64| {
            let Waiting { turn, bytes, .. } = turns.remove(&ticket)?;
            node.log.resolved(bytes);
            Some(turn)
        };
        super::outcomes(first, tickets, exceptions, take, waiting)
    }

    /// What a position came to. Rows of sessions are returned, for those who mirror them; then [`Follower::tell`] is to be called.
    ///
    /// # Errors
    /// See [`Lost`].
    pub fn feed(&mut self, position: u64, bytes: &[u8], now_ms: u64) -> Result<Vec<MirroredRow>, Lost> {
        if position != self.position + 1 {
            return Err(Lost::Gap { position: self.position, found: position });
        }
        let relay::Fed { segment, later, changes, rows } = relay::read_fed(bytes)?;
        (self.position, self.now_ms) = (position, now_ms);
        self.feed.feed(Fed { segment, changes, told: Vec::new() }, now_ms);
        let mut told = Vec::new();
        for outcome in later {
            let (Outcome::Granted { ticket, .. } | Outcome::Ended { ticket, .. }) = &outcome else { continue };
            told.extend(self.waiting.remove(ticket).map(|turn| (turn, outcome)));
        }
        self.resolved.push((position, told));
        self.follow_rows(&rows);
        self.node.house.followed(position);
        if self.node.peers.has_busy_groups() {
            // There is something new for members at other entries, or what members here were told of.
            self.node.peers.wake();
        }
        Ok(rows)
    }

    /// Tells what is resolved up to the position that was fed.
    pub fn tell(&mut self) {
        let (position, mut later) = (self.position, Vec::new());
        for (at, told) in std::mem::take(&mut self.resolved) {
            match at <= position {
                true => told.into_iter().for_each(|(turn, outcome)| turn.tell(outcome)),
                false => later.push((at, told)),
            }
        }
        self.resolved = later;
    }

    /// Named subscriptions and floors.
    fn follow_rows(&self, changed: &[MirroredRow]) {
        for (key, value) in changed {
            match (RowKey::parse(key), value) {
                (Some(RowKey::Floor { realm, pattern }), Some(value)) => {
                    if let Ok(first) = rows::decode(key, value) {
                        self.node.log.raise_floor(&realm, &pattern, first);
                    }
                }
                (Some(RowKey::Durable { realm, name }), Some(value)) => {
                    if let (Some(realm), Ok(row)) = (self.node.realm(&realm), rows::decode(key, value)) {
                        realm.follow_durable(&self.node, &name, row, self.now_ms);
                    }
                }
                (Some(RowKey::Durable { realm, name }), None) => {
                    if let Some(realm) = self.node.realm(&realm) {
                        realm.drop_durable(&self.node, &name);
                    }
                }
                _ => {}
            }
        }
    }
}
