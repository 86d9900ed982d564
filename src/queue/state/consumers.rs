//! Consumers of the log: what reads events to pass them on to elsewhere, one entry at a time.
//!
//! A consumer is two rows. What it wants and who runs it ([`ConsumerRow`]) may be changed by anybody and is told to all; how far it
//! is ([`ConsumerPlace`]) is written by the entry that runs it, often, and is nobody else's business.

use super::step::Step;
use super::{Change, rows};
use crate::queue::command::{Consume, ConsumerPlace, ConsumerRow};
use crate::queue::outcome::Done;
use bytes::Bytes;

/// Bytes of the settings and of the state that a consumer may have.
pub const CONSUMER_BYTES_MAX: usize = 64 * 1024;

/// What is needed at every step.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Consumer {
    pub row: ConsumerRow,
    /// See [`ConsumerPlace::done_to`].
    pub done_to: u64,
}

impl Step<'_> {
    /// Applies what is said of a consumer.
    pub fn consume(&mut self, number: u64, realm: &str, name: &str, what: Consume) -> Done {
        let id = rows::id(realm, name);
        match what {
            Consume::Set { patterns, settings, after } => self.set_consumer(number, &id, patterns, settings, after),
            Consume::Host => {
                let entry = self.entry;
                let Some(consumer) = self.state.consumers.get_mut(&*id) else { return Done::NotFound };
                if *consumer.row.holder.get_or_insert(entry) != entry {
                    return Done::Stale;
                }
                self.write_consumer(&id);
                Done::Yes
            }
            Consume::Take => {
                let entry = self.entry;
                let Some(consumer) = self.state.consumers.get_mut(&*id) else { return Done::NotFound };
                if consumer.row.holder != Some(entry) {
                    (consumer.row.holder, consumer.row.changed) = (Some(entry), number);
                    self.write_consumer(&id);
                }
                Done::Yes
            }
            Consume::Commit { epoch, done_to, state } => {
                let Some(consumer) = self.state.consumers.get_mut(&*id) else { return Done::NotFound };
                let is_elsewhere = consumer.row.holder.is_some_and(|holder| holder != self.entry);
                if is_elsewhere || consumer.row.epoch != epoch || state.len() > CONSUMER_BYTES_MAX {
                    return Done::Stale;
                }
                consumer.done_to = done_to;
                self.write_place(&id, &ConsumerPlace { epoch, done_to, state });
                Done::Yes
            }
            Consume::Seek { after } => {
                let Some(consumer) = self.state.consumers.get_mut(&*id) else { return Done::NotFound };
                (consumer.row.epoch, consumer.row.changed) = (number, number);
                self.begin_consumer(&id, number, after);
                Done::Yes
            }
            Consume::Nudge => {
                let Some(consumer) = self.state.consumers.get_mut(&*id) else { return Done::NotFound };
                consumer.row.changed = number;
                self.write_consumer(&id);
                Done::Yes
            }
            Consume::Remove => {
                if self.state.consumers.remove(&*id).is_none() {
                    return Done::NotFound;
                }
                self.remove(rows::row(rows::CONSUMER, &id));
                self.remove(rows::row(rows::CONSUMER_PLACE, &id));
                self.tell_consumer(&id, None);
                Done::Yes
            }
        }
    }

    fn set_consumer(
        &mut self,
        number: u64,
        id: &str,
        patterns: Vec<String>,
        settings: Bytes,
        after: Option<u64>,
    ) -> Done {
        if settings.len() > CONSUMER_BYTES_MAX {
            return Done::Conflict;
        }
        if let Some(Consumer { row, .. }) = self.state.consumers.get_mut(id) {
            (row.patterns, row.settings, row.changed) = (patterns, settings, number);
            self.write_consumer(id);
            return Done::Yes;
        }
        // Who makes it runs it.
        let row = ConsumerRow { patterns, settings, epoch: number, changed: number, holder: Some(self.entry) };
        let after = after.unwrap_or(number);
        self.state.consumers.insert(id.into(), Consumer { row, done_to: after });
        self.begin_consumer(id, number, after);
        Done::Yes
    }

    /// It begins behind a number, in a new epoch, and remembers nothing.
    fn begin_consumer(&mut self, id: &str, epoch: u64, after: u64) {
        if let Some(consumer) = self.state.consumers.get_mut(id) {
            consumer.done_to = after;
        }
        self.write_place(id, &ConsumerPlace { epoch, done_to: after, state: Bytes::new() });
        self.write_consumer(id);
    }

    fn write_place(&mut self, id: &str, place: &ConsumerPlace) {
        self.set(rows::row(rows::CONSUMER_PLACE, id), rows::encode(place));
    }

    /// Writes the row as it is now, and tells all of it.
    fn write_consumer(&mut self, id: &str) {
        let Some(row) = self.state.consumers.get(id).map(|consumer| consumer.row.clone()) else { return };
        self.set(rows::row(rows::CONSUMER, id), rows::encode(&row));
        self.tell_consumer(id, Some(row));
    }

    fn tell_consumer(&mut self, id: &str, row: Option<ConsumerRow>) {
        let (realm, name) = rows::split(id);
        let (realm, name) = (realm.to_owned(), name.to_owned());
        self.out.changes.push(Change::Consumer { realm, name, row: row.map(Box::new) });
    }

    /// Consumers that an entry ran are nobody's: another may take them.
    pub(super) fn release_consumers(&mut self, entry: u64) {
        let mut released = Vec::new();
        for (id, consumer) in &mut self.state.consumers {
            if consumer.row.holder.take_if(|holder| *holder == entry).is_some() {
                released.push(id.clone());
            }
        }
        released.iter().for_each(|id| self.write_consumer(id));
    }
}
