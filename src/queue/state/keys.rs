//! Values of keys: how they are set, cleared, held and given back.

use super::StateError;
use super::locks::Held;
use super::matching::Candidate;
use super::rows::{self, HeldRow, KeyRow};
use super::step::{SetOff, Step, qos};
use crate::queue::condition::{Condition, KeyWill};
use crate::queue::message::{Events, Extras, Head, Malformed};
use crate::queue::outcome::Done;
use crate::types::event::Qos;
use crate::types::ids::SessionId;
use crate::types::payload::{Format, PayloadRef};

/// The value in the row of a key.
pub(super) fn read<'a>(key: &str, bytes: &'a [u8]) -> Result<KeyRow<'a>, StateError> {
    KeyRow::decode(bytes).map_err(|_| rows::damaged(&rows::row(rows::KEY, key)))
}

pub(super) fn candidate<'a>(key: &str, bytes: Option<&'a [u8]>) -> Result<Option<Candidate<'a>>, StateError> {
    Ok(bytes.map(|bytes| read(key, bytes)).transpose()?.map(Candidate::new))
}

/// When the value in the row of a key expires.
pub(super) fn expiry_us(key: &str, bytes: &[u8]) -> Result<Option<u64>, StateError> {
    read(key, bytes)?.expires_at_us().map_err(|_| rows::damaged(&rows::row(rows::KEY, key)))
}

impl Step<'_> {
    /// Events that are retained and not judged. Only the last one's value is seen by anybody.
    pub fn retained(&mut self, offset: u32, head: &Head<'_>, events: &Events<'_>) -> Result<(u32, u64), StateError> {
        let (mut last, mut count) = (None, 0);
        for message in events.iter() {
            last = Some(message?);
            count += 1;
        }
        if count != events.count {
            return Err(Malformed.into());
        }
        if let Some(last) = last {
            self.set_key(head, self.number(offset) + u64::from(count - 1), last.payload, last.raw_extras());
        }
        Ok((count, events.len() as u64))
    }

    /// The value of a key, encoded. One that has expired is dropped.
    pub fn value(&mut self, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        let Some(bytes) = self.get(&rows::row(rows::KEY, key))? else { return Ok(None) };
        if expiry_us(key, &bytes)?.is_some_and(|at_us| at_us <= self.now_us) {
            self.drop_value(key);
            return Ok(None);
        }
        Ok(Some(bytes))
    }

    /// A key has lost its value to time; no event says so.
    fn drop_value(&mut self, key: &str) {
        self.remove(rows::row(rows::KEY, key));
        self.let_go(key);
        self.touch(key);
    }

    /// Sets the value of a key, or clears it if the payload is empty.
    pub fn set_key(&mut self, head: &Head<'_>, number: u64, payload: PayloadRef<'_>, raw_extras: Option<&[u8]>) {
        let key = rows::topic_id(head.realm, head.topic);
        let row_key = rows::row(rows::KEY, &key);
        if payload.is_empty() {
            self.remove(row_key);
        } else {
            let publisher = head.publisher.map_or(0, |session| session.0);
            let row = KeyRow::new((number, self.event_id(number)), publisher, head.qos, payload, raw_extras);
            self.set(row_key, row.encode());
        }
        self.let_go(&key);
        self.touch(&key);
    }

    /// Who held the key holds it no more.
    fn let_go(&mut self, key: &str) {
        if self.state.locks.remove(key).is_some() {
            self.remove(rows::row(rows::HELD, key));
            self.lock_held(key, None);
        }
    }

    /// The event that has just set the key holds it, if it has a will and a publisher whose end can be noticed.
    pub fn hold(
        &mut self,
        head: &Head<'_>,
        number: u64,
        payload: PayloadRef<'_>,
        condition: Option<Condition>,
        entry: u64,
    ) {
        let (Some(SessionId(session)), Some(condition)) = (head.publisher, condition) else { return };
        let Some(will) = condition.will.filter(|_| !payload.is_empty()) else { return };
        let key = rows::topic_id(head.realm, head.topic);
        let row = HeldRow { session, entry, number, stays: condition.stays, qos: head.qos as u8, will };
        self.state.locks.insert(&key, Held::of(&row));
        self.set(rows::row(rows::HELD, &key), rows::encode(&row));
        self.lock_held(&key, Some(session));
    }

    /// The holder has left in order and wants the lock to stay: it is nobody's now.
    pub fn leave_behind(&mut self, key: &str) -> Result<(), StateError> {
        let row = HeldRow { session: 0, ..self.held_row(key)? };
        self.state.locks.insert(key, Held::of(&row));
        self.set(rows::row(rows::HELD, key), rows::encode(&row));
        Ok(())
    }

    fn held_row(&mut self, key: &str) -> Result<HeldRow, StateError> {
        let row_key = rows::row(rows::HELD, key);
        let value = self.get(&row_key)?.ok_or_else(|| rows::damaged(&row_key))?;
        rows::decode(&row_key, &value)
    }

    /// The holder is gone: the key gets the value of its will, unless it has changed since.
    pub fn publish_key_will(&mut self, key: &str, number: u64) -> Result<(), StateError> {
        if self.state.locks.get(key).is_none_or(|held| held.number != number) {
            return Ok(());
        }
        let HeldRow { session, qos: held_qos, will, .. } = self.held_row(key)?;
        let (realm, topic) = rows::split_topic(key);
        let (format, args, kwargs) = match &will {
            KeyWill::Erase => (None, None, None),
            KeyWill::Set { format, args, kwargs } => ((*format).into(), args.as_deref(), kwargs.as_deref()),
        };
        let payload = match format {
            None => PayloadRef::Bytes(args.unwrap_or_default()),
            Some(format) => PayloadRef::Args { format, args, kwargs },
        };
        let head = head_of((&realm, &topic), session, qos(held_qos), format);
        self.publish(&head, payload, Extras::default()).map(|_| ())
    }

    /// Clears a key that still has the value of this event.
    pub fn clear(&mut self, key: &str, number: u64, session: u64) -> Result<(), StateError> {
        let Some(bytes) = self.value(key)? else { return Ok(()) };
        let row = read(key, &bytes)?;
        if row.number != number {
            return Ok(());
        }
        let (realm, topic) = rows::split_topic(key);
        let head = head_of((&realm, &topic), session, row.qos, None);
        self.publish(&head, PayloadRef::NONE, Extras::default()).map(|_| ())
    }

    pub fn unlock(&mut self, key: &str, session: u64, token: Option<u64>) -> Result<Done, StateError> {
        let Some(bytes) = self.value(key)? else { return Ok(Done::NotFound) };
        let row = read(key, &bytes)?;
        let was_left = self.state.locks.get(key).is_some_and(|held| held.session == 0);
        let may = match token {
            Some(token) => row.number == token && (row.publisher == session || was_left),
            None => row.publisher == session,
        };
        if !may {
            return Ok(Done::NotFound);
        }
        self.set_off(SetOff::Clear { key: key.into(), number: row.number, session });
        Ok(Done::Yes)
    }

    /// Drops a value that has expired, if it is this event's.
    pub fn expire(&mut self, key: &str, number: u64) -> Result<Done, StateError> {
        let Some(bytes) = self.get(&rows::row(rows::KEY, key))? else { return Ok(Done::NotFound) };
        if read(key, &bytes)?.number == number && self.value(key)?.is_none() {
            return Ok(Done::Yes);
        }
        Ok(Done::NotFound)
    }
}

/// The head of an event that sets a key behind the body.
fn head_of<'a>((realm, topic): (&'a str, &'a str), session: u64, qos: Qos, format: Option<Format>) -> Head<'a> {
    Head {
        realm,
        topic,
        publisher: (session != 0).then_some(SessionId(session)),
        exclude_publisher: false,
        qos,
        retain: true,
        format,
        judged: false,
    }
}
