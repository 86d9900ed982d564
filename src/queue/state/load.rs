//! The state from its rows.

use super::consumers::Consumer;
use super::cursors::Durable;
use super::deadlines::Due;
use super::keys::expiry_us;
use super::locks::{Held, Waiter};
use super::numbers::Numbers;
use super::rows::{self, HeldRow, RowKey, SessionRow, WaitRow};
use super::sessions::{Session, Wanted};
use super::{Scan, State, StateError};
use crate::queue::command::{ConsumerPlace, ConsumerRow, Cursor, CursorName, DurableRow, SubscriptionRow};

/// Rows that are read at once: those with bodies, and small ones.
const LARGE: usize = 16;
const SMALL: usize = 1024;

/// The order matters: sessions come before what is theirs.
const KINDS: [(u8, usize); 13] = [
    (rows::NUMBERS, 1),
    (rows::INCARNATION, SMALL),
    (rows::SESSION, SMALL),
    (rows::SUBSCRIPTION, SMALL),
    (rows::PACKET, SMALL),
    (rows::DURABLE, SMALL),
    (rows::CURSOR, LARGE),
    (rows::HELD, LARGE),
    (rows::WAIT, LARGE),
    (rows::FLOOR, SMALL),
    (rows::SOURCE, SMALL),
    (rows::CONSUMER, LARGE),
    (rows::CONSUMER_PLACE, LARGE),
];

impl State {
    /// The state as the rows have it; without rows, the state before all positions. Reads in slices, and no values of keys but
    /// those that somebody waits for.
    ///
    /// # Errors
    /// The rows cannot be read, or are damaged.
    pub fn load(scan: &mut Scan<'_>) -> Result<Self, StateError> {
        let mut state = Self::default();
        for (letter, limit) in KINDS {
            let mut after: Option<Vec<u8>> = None;
            loop {
                let slice = scan(&[letter], after.as_deref(), limit)?;
                for (key, value) in &slice {
                    let parsed = RowKey::parse(key).ok_or_else(|| rows::damaged(key))?;
                    state.load_row(key, parsed, value)?;
                }
                match slice.into_iter().next_back() {
                    Some((key, _)) => after = Some(key),
                    None => break,
                }
            }
        }
        state.load_expiries(scan)?;
        Ok(state)
    }
}

impl State {
    fn load_row(&mut self, row_key: &[u8], parsed: RowKey, value: &[u8]) -> Result<(), StateError> {
        match parsed {
            RowKey::Numbers => self.numbers = Numbers::decode(value).ok_or_else(|| rows::damaged(row_key))?,
            RowKey::Incarnation(entry) => {
                self.incarnations.insert(entry, rows::decode(row_key, value)?);
            }
            RowKey::Session { realm, client_id } => self.load_session(rows::id(&realm, &client_id), row_key, value)?,
            RowKey::Subscription { realm, client_id, filter } => {
                let row: SubscriptionRow = rows::decode(row_key, value)?;
                let wanted = Wanted { since: row.since.unwrap_or(0), qos: row.qos };
                self.loaded_session(&realm, &client_id, row_key)?.filters.insert(filter.into(), wanted);
            }
            RowKey::Packet { realm, client_id, packet_id } => {
                self.loaded_session(&realm, &client_id, row_key)?.packets.insert(packet_id);
            }
            RowKey::Durable { realm, name } => {
                let row: DurableRow = rows::decode(row_key, value)?;
                let done_to = row.since.unwrap_or(0);
                self.durables.insert(rows::id(&realm, &name).into(), Durable { row, done_to });
            }
            RowKey::Cursor { realm, name } => self.load_cursor(&realm, &name, row_key, value)?,
            RowKey::Held { realm, topic } => {
                let row: HeldRow = rows::decode(row_key, value)?;
                self.locks.insert(&rows::topic_id(&realm, &topic), Held::of(&row));
            }
            RowKey::Wait(ticket) => self.load_wait(ticket, row_key, value)?,
            RowKey::Floor { realm, pattern } => {
                self.floors.raise(&realm, &pattern, rows::decode(row_key, value)?);
            }
            RowKey::Source { realm, name } => {
                self.sources.insert(rows::id(&realm, &name).into(), rows::decode(row_key, value)?);
            }
            RowKey::Consumer { realm, name } => {
                let row: ConsumerRow = rows::decode(row_key, value)?;
                self.consumers.insert(rows::id(&realm, &name).into(), Consumer { row, done_to: 0 });
            }
            RowKey::ConsumerPlace { realm, name } => {
                let place: ConsumerPlace = rows::decode(row_key, value)?;
                let consumer = self.consumers.get_mut(&*rows::id(&realm, &name));
                consumer.ok_or_else(|| rows::damaged(row_key))?.done_to = place.done_to;
            }
            RowKey::Key { .. } | RowKey::Will { .. } => {}
        }
        Ok(())
    }

    fn load_session(&mut self, id: String, row_key: &[u8], value: &[u8]) -> Result<(), StateError> {
        let row: SessionRow = rows::decode(row_key, value)?;
        self.deadlines.replace(None, row.will_at_us, || Due::Will(id.as_str().into()));
        self.deadlines.replace(None, row.expires_at_us, || Due::End(id.as_str().into()));
        let done_to = row.created;
        self.sessions.insert(id.into(), Session { row, done_to, ..Session::default() });
        Ok(())
    }

    fn loaded_session(&mut self, realm: &str, client_id: &str, row_key: &[u8]) -> Result<&mut Session, StateError> {
        self.sessions.get_mut(&*rows::id(realm, client_id)).ok_or_else(|| rows::damaged(row_key))
    }

    fn load_cursor(&mut self, realm: &str, name: &CursorName, row_key: &[u8], value: &[u8]) -> Result<(), StateError> {
        let at: Cursor = rows::decode(row_key, value)?;
        match name {
            CursorName::Client(client_id) => {
                let session = self.loaded_session(realm, client_id, row_key)?;
                session.done_to = at.done_to();
                session.has_inflight = !at.inflight.is_empty();
            }
            CursorName::Durable(name) => {
                let durable = self.durables.get_mut(&*rows::id(realm, name));
                durable.ok_or_else(|| rows::damaged(row_key))?.done_to = at.done_to();
            }
        }
        Ok(())
    }

    fn load_wait(&mut self, ticket: u64, row_key: &[u8], value: &[u8]) -> Result<(), StateError> {
        let row: WaitRow = rows::decode(row_key, value)?;
        let waiter = Waiter::of(&row, value.len()).ok_or_else(|| rows::damaged(row_key))?;
        self.add_wait(ticket, waiter);
        Ok(())
    }

    /// When the values of keys expire that somebody waits for.
    fn load_expiries(&mut self, scan: &mut Scan<'_>) -> Result<(), StateError> {
        let keys: Vec<Box<str>> = self.waits.keys().map(Into::into).collect();
        for key in keys {
            let row_key = rows::row(rows::KEY, &key);
            // What begins with the key and is first is the key itself, if it is there.
            let first = scan(&row_key, None, 1)?.pop();
            let expires_at_us = match first {
                Some((found, value)) if found == row_key => expiry_us(&key, &value)?,
                _ => None,
            };
            self.set_key_expiry(&key, expires_at_us);
        }
        Ok(())
    }
}
