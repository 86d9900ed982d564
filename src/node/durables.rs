//! Named durable subscriptions: whose they are, who reads them at the moment, and that their events are in the log.
//!
//! ```text
//! gate --Command::Durable--> log --Done--> Realm::open_durable --> whoever read it before is revoked
//!                                          Node::find_durable  --> where it goes on
//! ```
//!
//! A durable subscription has one reader at a time: who comes last has it, for the connection before may be dead. Consumer
//! groups have several ([`super::groups`]).
//!
//! In a cluster the row names the entry that has it: the one whose [`Command::Durable`] came last in the log. All entries see that
//! row at its position. The entry before ends its reader then, and what it still says of the cursor is void; so there is one order of
//! acknowledgements, whichever of the two is dead or only slow. What it had sent and not recorded comes again. An entry that is
//! lost has none any more.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::Node;
use super::groups::Begin;
use super::log::Submission;
use super::log::history::Busy;
use super::log::tickets::Owner;
use super::past::{Found, Target};
use super::reader::moved::Moved;
use super::realm::Realm;
use super::revoke::Revoked;
use super::session::Session;
use crate::queue::command::{Command, Cursor, CursorName, DurableRow};
use crate::queue::message::Batch;
use crate::queue::state::rows::{self, RowKey};
use crate::store::{StoreError, StoreReader};
use crate::types::ids::SubscriptionId;
use crate::types::topic::TopicPattern;

/// Rows that are read at a time.
const ROWS: usize = 1000;

/// The named durable subscriptions of a realm.
#[derive(Default)]
pub struct Durables {
    by_name: Mutex<BTreeMap<Box<str>, Known>>,
}

struct Known {
    row: DurableRow,
    pattern: TopicPattern,
    reader: Option<(Weak<Session>, SubscriptionId)>,
}

/// What can be told of one.
#[derive(Clone, Debug)]
pub struct DurableInfo {
    pub name: Box<str>,
    pub row: DurableRow,
    pub pattern: TopicPattern,
    /// Somebody reads it at the moment.
    pub connected: bool,
}

impl Realm {
    /// A named durable subscription is in the log: events that it matches go there from now on.
    pub fn add_durable(&self, name: &str, row: DurableRow) {
        let Some(pattern) = rows::read_pattern(&row.pattern) else {
            return tracing::error!(
                name,
                pattern = row.pattern,
                "a durable subscription has no pattern that can be read"
            );
        };
        let mut durables = self.durables.by_name.lock();
        match durables.get_mut(name) {
            Some(known) => known.row = row,
            None => {
                self.want(&pattern, true);
                durables.insert(name.into(), Known { row, pattern, reader: None });
            }
        }
    }

    /// The log has taken what a gate has asked of it. In a cluster the feed has told of it before ([`Realm::follow_durable`]).
    pub fn note_durable(&self, node: &Node, name: &str, row: DurableRow) {
        if node.entry.get().is_none() {
            self.add_durable(name, row);
        }
    }

    /// The log of a cluster has a named durable subscription, or another entry has taken it: whoever reads it here does no more.
    pub fn follow_durable(self: &Arc<Self>, node: &Arc<Node>, name: &str, row: DurableRow, now_ms: u64) {
        if row.group
            && let Some(pattern) = rows::read_pattern(&row.pattern)
        {
            let group = self.groups.follow(node, self, name, &pattern, &row);
            node.provide(self, &group, now_ms);
        }
        let taken = !row.group && node.is_elsewhere(row.holder);
        self.add_durable(name, row);
        if let Some((session, subscription)) = self.durable_reader(name).filter(|_| taken) {
            self.revoke(node, &session, subscription, Revoked::TakenOver);
        }
    }

    /// Whether this entry has (still) a named durable subscription that its session was told to have. To be asked when its reader is
    /// known ([`Realm::open_durable`]): what is taken later ends that.
    ///
    /// # Errors
    /// It has been removed, or another entry of the cluster has it now.
    pub fn check_durable(&self, node: &Node, name: &str) -> Result<(), Revoked> {
        let durables = self.durables.by_name.lock();
        let known = durables.get(name).ok_or(Revoked::Removed)?;
        if !known.row.group && node.is_elsewhere(known.row.holder) { Err(Revoked::TakenOver) } else { Ok(()) }
    }

    /// A named durable subscription is not in the log any more: who has read it is told.
    pub fn drop_durable(self: &Arc<Self>, node: &Arc<Node>, name: &str) {
        for (session, subscription) in self.remove_durable(name) {
            self.revoke(node, &session, subscription, Revoked::Removed);
        }
    }

    /// Whether there may be one of this name; `max`: as many as may be.
    pub fn has_room_for_durable(&self, name: &str, max: usize) -> bool {
        let durables = self.durables.by_name.lock();
        durables.len() < max || durables.contains_key(name)
    }

    /// A named durable subscription is not in the log any more. Who has read it.
    pub fn remove_durable(&self, name: &str) -> Vec<(Arc<Session>, SubscriptionId)> {
        let Some(known) = self.durables.by_name.lock().remove(name) else { return Vec::new() };
        self.want(&known.pattern, false);
        let reader = known.reader.and_then(|(session, subscription)| Some((session.upgrade()?, subscription)));
        let members = self.groups.close(name).into_iter().filter_map(|id| self.session(id)).filter_map(|session| {
            let subscription = session.mailbox().leave_group(name)?;
            Some((session, subscription))
        });
        reader.into_iter().chain(members).collect()
    }

    /// A session reads it from now on. Who has read it before, and is to be told that it does not any more.
    pub fn open_durable(
        &self,
        name: &str,
        session: &Arc<Session>,
        subscription: SubscriptionId,
    ) -> Option<(Arc<Session>, SubscriptionId)> {
        let mut durables = self.durables.by_name.lock();
        let before = durables.get_mut(name)?.reader.replace((Arc::downgrade(session), subscription));
        let (before, id) = before?;
        before.upgrade().filter(|before| before.id != session.id || id != subscription).map(|before| (before, id))
    }

    /// Ends what another connection of the same user reads by this name, so that it is recorded how far that has come. To be called
    /// before the log is asked for it.
    pub fn hand_over_durable(self: &Arc<Self>, node: &Arc<Node>, name: &str, authid: &str) {
        if let Some((before, subscription)) = self.durable_reader(name)
            && before.identity.authid == authid
        {
            self.revoke(node, &before, subscription, Revoked::TakenOver);
        }
    }

    /// Who reads it.
    pub fn durable_reader(&self, name: &str) -> Option<(Arc<Session>, SubscriptionId)> {
        let durables = self.durables.by_name.lock();
        let (session, subscription) = durables.get(name)?.reader.as_ref()?;
        Some((session.upgrade()?, *subscription))
    }

    /// All of them, by name.
    pub fn durables(&self) -> Vec<DurableInfo> {
        let durables = self.durables.by_name.lock();
        let sessions: HashSet<_> = self.sessions().iter().map(|session| session.id).collect();
        let all = durables.iter().map(|(name, known)| DurableInfo {
            name: name.clone(),
            row: known.row.clone(),
            pattern: known.pattern.clone(),
            connected: known.reader.as_ref().is_some_and(|(session, subscription)| {
                let reads = |session: &Arc<Session>| session.mailbox().reader(*subscription).is_some();
                session.upgrade().is_some_and(|session| sessions.contains(&session.id) && reads(&session))
            }) || self.groups.get(name).is_some_and(|group| group.members_len() > 0),
        });
        all.collect()
    }
}

impl Realm {
    /// Takes up a group where it was.
    fn load_group(
        &self,
        node: &Node,
        reader: &mut dyn StoreReader,
        name: &str,
        row: &DurableRow,
    ) -> Result<(), StoreError> {
        let Some(pattern) = rows::read_pattern(&row.pattern).filter(|_| row.group) else { return Ok(()) };
        if node.entry.get().is_some() {
            self.groups.follow(node, self, name, &pattern, row);
            return Ok(());
        }
        let (_, cursor) = cursor_of(reader, &self.name, name)?;
        let begin = cursor.as_ref().map_or(Begin::After(row.since.unwrap_or(0)), Begin::At);
        self.groups.open(self, name, &pattern, row, begin);
        Ok(())
    }
}

impl Node {
    /// Makes the named durable subscriptions known that the log has, before anybody connects.
    pub(super) fn load_durables(self: &Arc<Self>, reader: &mut dyn StoreReader) -> Result<(), StoreError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let slice = reader.scan(&[rows::DURABLE], after.as_deref(), ROWS)?;
            for (key, value) in &slice {
                let row: DurableRow = decode(key, value)?;
                if let Some(RowKey::Durable { realm, name }) = RowKey::parse(key)
                    && let Some(realm) = self.realm(&realm)
                {
                    realm.load_group(self, reader, &name, &row)?;
                    realm.add_durable(&name, row);
                }
            }
            match slice.into_iter().next_back() {
                Some((last, _)) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    /// Finds where a named durable subscription goes on; `then` is called with it, perhaps on another thread.
    ///
    /// # Errors
    /// As many wait as may.
    pub fn find_durable(
        self: &Arc<Self>,
        target: Target,
        name: &str,
        then: impl FnOnce(&Arc<Node>, Result<Found, StoreError>) + Send + 'static,
    ) -> Result<(), Busy> {
        let name = name.to_owned();
        self.ask_history(move |node, reader| {
            let found = done_to(reader, &target.realm, &name);
            then(node, found.and_then(|after| Found::behind(reader, &node.log, &target, after)));
        })
    }

    /// Records how far named durable subscriptions have come.
    pub fn record(self: &Arc<Self>, realm: &str, moved: Vec<Moved>) {
        let mut batch = Batch::default();
        for Moved { name, at } in moved {
            batch.command(&Command::Progress { realm: realm.to_owned(), cursor: name, at });
        }
        if !batch.is_empty() {
            // What is lost with a store that fails is sent again.
            self.submit(Submission { batch, owner: Owner::Nobody });
        }
    }
}

/// The number up to which a named durable subscription is done.
pub(super) fn done_to(reader: &mut dyn StoreReader, realm: &str, name: &str) -> Result<u64, StoreError> {
    let (row, cursor) = cursor_of(reader, realm, name)?;
    let since = row.and_then(|row| row.since).unwrap_or_default();
    Ok(cursor.map_or(since, |cursor| cursor.done_to()))
}

/// The row of a named durable subscription or group, and how far it is if it has moved.
pub(super) fn cursor_of(
    reader: &mut dyn StoreReader,
    realm: &str,
    name: &str,
) -> Result<(Option<DurableRow>, Option<Cursor>), StoreError> {
    let key = rows::durable(realm, name);
    let durable = row(reader, &key)?.map(|value| decode(&key, &value)).transpose()?;
    let key = rows::cursor(realm, &CursorName::Durable(name.to_owned()));
    let cursor = row(reader, &key)?.map(|value| decode(&key, &value)).transpose()?;
    Ok((durable, cursor))
}

/// The value of one row.
pub(super) fn row(reader: &mut dyn StoreReader, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    let first = reader.scan(key, None, 1)?.into_iter().next();
    // A scan shows what is greater than what it goes on behind, so all that begins with the key: the first is the key itself.
    Ok(first.filter(|(found, _)| found == key).map(|(_, value)| value))
}

fn decode<T: serde::de::DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, StoreError> {
    rows::decode(key, value).map_err(|error| StoreError::Damaged(error.to_string()))
}
