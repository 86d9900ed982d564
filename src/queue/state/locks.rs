//! Keys that are held, and publishes that wait for a key.

use std::collections::{BTreeMap, BTreeSet};

use super::matching::Test;
use super::rows::{self, HeldRow};

/// A key that is held with a will; its will is in the row alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub session: u64,
    pub entry: u64,
    pub number: u64,
    pub stays: bool,
}

/// All keys that are held, by [`rows::topic_id`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Locks {
    by_key: BTreeMap<Box<str>, Held>,
    /// Keys by number, so that they are given back in the order they were taken; none for session 0.
    by_session: BTreeMap<u64, BTreeMap<u64, Box<str>>>,
}

/// A publish that waits; the event itself is in the row alone.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Waiter {
    /// [`rows::topic_id`].
    pub key: Box<str>,
    /// 0: none.
    pub session: u64,
    pub entry: u64,
    pub test: Test,
    pub deadline_us: Option<u64>,
    /// Of its row.
    pub bytes: usize,
}

/// All publishes that wait, by ticket: the earlier, the lower.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Waits {
    by_ticket: BTreeMap<u64, Waiter>,
    by_key: BTreeMap<Box<str>, BTreeSet<u64>>,
    by_session: BTreeMap<u64, BTreeSet<u64>>,
    bytes: usize,
    /// When the values of keys that somebody waits for expire.
    expiries: BTreeMap<Box<str>, u64>,
}

impl Held {
    pub fn of(row: &HeldRow) -> Self {
        Self { session: row.session, entry: row.entry, number: row.number, stays: row.stays }
    }
}

impl Locks {
    pub fn get(&self, key: &str) -> Option<&Held> {
        self.by_key.get(key)
    }

    pub fn insert(&mut self, key: &str, held: Held) {
        self.remove(key);
        if held.session != 0 {
            self.by_session.entry(held.session).or_default().insert(held.number, key.into());
        }
        self.by_key.insert(key.into(), held);
    }

    pub fn remove(&mut self, key: &str) -> Option<Held> {
        let held = self.by_key.remove(key)?;
        if let Some(keys) = self.by_session.get_mut(&held.session) {
            keys.remove(&held.number);
            if keys.is_empty() {
                self.by_session.remove(&held.session);
            }
        }
        Some(held)
    }

    /// How many keys a session holds.
    pub fn count_of(&self, session: u64) -> usize {
        self.by_session.get(&session).map_or(0, BTreeMap::len)
    }

    /// The keys that a session holds in a realm, in the order it took them.
    pub fn of_session(&self, realm: &str, session: u64) -> Vec<Box<str>> {
        let keys = self.by_session.get(&session).into_iter().flat_map(BTreeMap::values);
        keys.filter(|key| rows::split(key).0 == realm).cloned().collect()
    }

    /// The keys that sessions of an entry hold, sorted.
    pub fn of_entry(&self, entry: u64) -> Vec<Box<str>> {
        let held = self.by_key.iter().filter(|(_, held)| held.session != 0 && held.entry == entry);
        held.map(|(key, _)| key.clone()).collect()
    }

    /// All that are held, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Held)> {
        self.by_key.iter().map(|(key, held)| (&**key, held))
    }
}

impl Waiter {
    /// Its time is over.
    pub fn is_late(&self, now_us: u64) -> bool {
        self.deadline_us.is_some_and(|at_us| at_us <= now_us)
    }
}

impl Waits {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn len(&self) -> usize {
        self.by_ticket.len()
    }

    pub fn has(&self, key: &str) -> bool {
        self.by_key.contains_key(key)
    }

    pub fn get(&self, ticket: u64) -> Option<&Waiter> {
        self.by_ticket.get(&ticket)
    }

    pub fn insert(&mut self, ticket: u64, waiter: Waiter) {
        self.bytes += waiter.bytes;
        self.by_key.entry(waiter.key.clone()).or_default().insert(ticket);
        if waiter.session != 0 {
            self.by_session.entry(waiter.session).or_default().insert(ticket);
        }
        self.by_ticket.insert(ticket, waiter);
    }

    pub fn remove(&mut self, ticket: u64) -> Option<Waiter> {
        let waiter = self.by_ticket.remove(&ticket)?;
        self.bytes -= waiter.bytes;
        remove_from(&mut self.by_key, &waiter.key, ticket);
        remove_from(&mut self.by_session, &waiter.session, ticket);
        Some(waiter)
    }

    pub fn count_for(&self, key: &str) -> usize {
        self.by_key.get(key).map_or(0, BTreeSet::len)
    }

    pub fn count_of(&self, session: u64) -> usize {
        self.by_session.get(&session).map_or(0, BTreeSet::len)
    }

    /// Who waits for a key, first come first.
    pub fn of_key(&self, key: &str) -> impl Iterator<Item = (u64, &Waiter)> {
        let tickets = self.by_key.get(key).into_iter().flatten();
        tickets.filter_map(|ticket| Some((*ticket, self.by_ticket.get(ticket)?)))
    }

    pub fn of_session(&self, realm: &str, session: u64) -> Vec<u64> {
        let tickets = self.by_session.get(&session).into_iter().flatten().copied();
        tickets.filter(|ticket| self.get(*ticket).is_some_and(|waiter| rows::split(&waiter.key).0 == realm)).collect()
    }

    pub fn of_entry(&self, entry: u64) -> Vec<u64> {
        self.by_ticket.iter().filter(|(_, waiter)| waiter.entry == entry).map(|(ticket, _)| *ticket).collect()
    }

    /// The keys that are waited for.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.by_key.keys().map(|key| &**key)
    }

    /// Remembers when the value of a key expires; returns what was remembered.
    pub fn set_expiry(&mut self, key: &str, at_us: Option<u64>) -> Option<u64> {
        match at_us {
            Some(at_us) => self.expiries.insert(key.into(), at_us),
            None => self.expiries.remove(key),
        }
    }
}

fn remove_from<K: Ord + Clone>(index: &mut BTreeMap<K, BTreeSet<u64>>, key: &K, ticket: u64) {
    if let Some(tickets) = index.get_mut(key) {
        tickets.remove(&ticket);
        if tickets.is_empty() {
            index.remove(key);
        }
    }
}
