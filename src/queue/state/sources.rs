//! What enters from other logs, once per number.
//!
//! A *source* numbers what it sends, in epochs. The state knows which number of which epoch is next: an event that brings another one
//! counts for nothing, and the number moves on together with the event. So it may be sent as often as it takes, over any number of
//! connections and entries. The number of sources is bounded: who has been silent longest is forgotten, and begins anew.

use super::step::Step;
use super::{StateError, rows};
use crate::queue::command::{SourceRow, SourceStep};
use crate::queue::message::EnteredRow;
use crate::queue::outcome::{Done, Void};

impl Step<'_> {
    /// Why an event from a source counts for nothing, if so.
    pub fn refuses_entry(&self, realm: &str, entered: &EnteredRow) -> Option<Void> {
        let source = self.state.sources.get(&*rows::id(realm, &entered.source));
        match source.filter(|source| source.epoch == entered.epoch) {
            Some(source) if entered.number < source.next => Some(Void::Repeated),
            Some(source) if entered.number == source.next => None,
            // Those before it are missing, or it is of another epoch.
            _ => Some(Void::Stale),
        }
    }

    /// An event that [`Step::refuses_entry`] did not refuse was dealt with, at this number of the log.
    pub fn remember_entry(&mut self, number: u64, realm: &str, entered: &EnteredRow) {
        let next = entered.number.saturating_add(1);
        self.set_source(&rows::id(realm, &entered.source), SourceRow { epoch: entered.epoch, next, touched: number });
    }

    /// Applies what is said of a source, and tells which number is next.
    pub fn source(&mut self, number: u64, realm: &str, name: &str, step: SourceStep) -> Result<Done, StateError> {
        let id = rows::id(realm, name);
        let known = self.state.sources.get(&*id).copied().unwrap_or_default();
        let changed = match step {
            SourceStep::Ask => None,
            SourceStep::Begin { epoch, next } => (epoch > known.epoch).then_some((epoch, next)),
            SourceStep::Skip { epoch, from, to } => {
                (epoch != 0 && epoch == known.epoch && from == known.next && to > from).then_some((epoch, to))
            }
        };
        let Some((epoch, next)) = changed else {
            return Ok(Done::Next { epoch: known.epoch, next: known.next });
        };
        if known.epoch == 0 {
            self.make_room_for_source();
        }
        self.set_source(&id, SourceRow { epoch, next, touched: number });
        Ok(Done::Next { epoch, next })
    }

    fn set_source(&mut self, id: &str, row: SourceRow) {
        self.set(rows::row(rows::SOURCE, id), rows::encode(&row));
        match self.state.sources.get_mut(id) {
            Some(source) => *source = row,
            None => drop(self.state.sources.insert(id.into(), row)),
        }
    }

    /// Forgets who has been silent longest, if there are as many as may be.
    fn make_room_for_source(&mut self) {
        while self.state.sources.len() >= self.state.limits.sources_max.max(1) {
            let silent = self.state.sources.iter().min_by_key(|(_, source)| source.touched);
            let Some(id) = silent.map(|(id, _)| id.clone()) else { return };
            self.state.sources.remove(&id);
            self.remove(rows::row(rows::SOURCE, &id));
        }
    }
}
