//! Commands: who does what, and those that concern sessions of all kinds, cursors and the log itself.

use std::collections::BTreeSet;

use super::cursors::Durable;
use super::rows;
use super::step::{SetOff, Step};
use super::{Due, StateCommand, StateError};
use crate::queue::command::{Command, Cursor, CursorName, DurableRow};
use crate::queue::outcome::{Done, WaitEnd};

impl Step<'_> {
    /// Applies a command of the body.
    pub fn run(&mut self, number: u64, command: Command) -> Result<Done, StateError> {
        if self.is_stale(&command) {
            return Ok(Done::Stale);
        }
        match command {
            Command::Connect(connect) => self.connect(number, *connect),
            Command::Disconnect { realm, client_id, connection, orderly, expiry_s } => {
                self.disconnect(&rows::id(&realm, &client_id), connection, orderly, expiry_s)
            }
            Command::Subscribe { realm, client_id, subscription } => {
                self.subscribe(number, &rows::id(&realm, &client_id), *subscription)
            }
            Command::Unsubscribe { realm, client_id, filter } => {
                Ok(self.unsubscribe(&rows::id(&realm, &client_id), &filter))
            }
            Command::Progress { realm, cursor, at } => Ok(self.progress(&realm, &cursor, &at)),
            Command::Release { realm, client_id, packet_id } => Ok(self.release(&realm, &client_id, packet_id)),
            Command::Durable { realm, name, durable } => Ok(self.durable(number, &rows::id(&realm, &name), *durable)),
            Command::Forget { realm, name } => Ok(self.forget(&realm, &name)),
            Command::Leave { realm, session, orderly } => self.leave(&realm, session, orderly).map(|()| Done::Yes),
            Command::Cancel { realm, session, ticket } => Ok(self.cancel(&realm, session, ticket)),
            Command::Unlock { realm, session, topic, token } => {
                self.unlock(&rows::topic_id(&realm, &topic), session, token)
            }
            Command::Source { realm, name, step } => self.source(number, &realm, &name, step),
            Command::Host { realm, name } => Ok(self.host(&rows::id(&realm, &name))),
            Command::Consume { realm, name, what } => Ok(self.consume(number, &realm, &name, *what)),
            Command::EndSession { realm, client_id, session } => self.give_up(&rows::id(&realm, &client_id), session),
            Command::Expire { realm, topic, number } => self.expire(&rows::topic_id(&realm, &topic), number),
        }
    }

    /// Whether an older connection of a persistent session sent it, at another entry.
    fn is_stale(&self, command: &Command) -> bool {
        match command {
            Command::Subscribe { realm, client_id, .. }
            | Command::Unsubscribe { realm, client_id, .. }
            | Command::Release { realm, client_id, .. }
            | Command::Progress { realm, cursor: CursorName::Client(client_id), .. } => {
                self.is_elsewhere(realm, client_id)
            }
            _ => false,
        }
    }

    /// Applies a command that has the position for itself.
    pub fn run_alone(&mut self, position: u64, command: StateCommand) -> Result<(), StateError> {
        match command {
            StateCommand::Init { entry, incarnation } => {
                if self.state.incarnation(entry) == incarnation {
                    self.cut(entry)?;
                    self.state.incarnations.insert(entry, position);
                    self.set(rows::incarnation(entry), rows::encode(&position));
                }
                Ok(())
            }
            StateCommand::Lost { entry, incarnation } => {
                if self.state.incarnation(entry) == incarnation {
                    self.cut(entry)
                } else {
                    Ok(())
                }
            }
            StateCommand::Time => Ok(()),
            StateCommand::Retain { realm, pattern, first } => {
                self.retain(&realm, &pattern, first);
                Ok(())
            }
        }
    }

    /// Meets the dates that are due by log time, so many at once.
    pub fn meet_deadlines(&mut self) -> Result<(), StateError> {
        for _ in 0..self.state.limits.due_per_position_max {
            match self.state.deadlines.take_due(self.now_us) {
                None => break,
                Some(Due::Wait(ticket)) => self.end_wait(ticket, WaitEnd::Timeout),
                Some(Due::Will(id) | Due::End(id)) => self.meet(&id)?,
                Some(Due::Key(key)) => {
                    self.state.waits.set_expiry(&key, None);
                    self.touch(&key);
                }
            }
        }
        Ok(())
    }

    /// A session is gone: its waits end, its locks go back, but those that are to stay when it leaves in order.
    pub fn leave(&mut self, realm: &str, session: u64, orderly: bool) -> Result<(), StateError> {
        for ticket in self.state.waits.of_session(realm, session) {
            self.end_wait(ticket, WaitEnd::SessionGone);
        }
        for key in self.state.locks.of_session(realm, session) {
            self.give_back(key, orderly)?;
        }
        Ok(())
    }

    fn give_back(&mut self, key: Box<str>, orderly: bool) -> Result<(), StateError> {
        let Some(held) = self.state.locks.get(&key) else { return Ok(()) };
        if orderly && held.stays {
            return self.leave_behind(&key);
        }
        let number = held.number;
        self.set_off(SetOff::KeyWill { key, number });
        Ok(())
    }

    /// An entry is gone, and with it all connections that it had.
    fn cut(&mut self, entry: u64) -> Result<(), StateError> {
        for ticket in self.state.waits.of_entry(entry) {
            self.end_wait(ticket, WaitEnd::SessionGone);
        }
        for key in self.state.locks.of_entry(entry) {
            self.give_back(key, false)?;
        }
        let connected_here = |connection: Option<(u64, u64)>| connection.is_some_and(|(at, _)| at == entry);
        let sessions = self.state.sessions.iter().filter(|(_, session)| connected_here(session.row.connection));
        let ids: BTreeSet<Box<str>> = sessions.map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.detach(&id, false)?;
        }
        self.release_durables(entry);
        self.release_consumers(entry);
        // There may be very many: what has become due is done in slices.
        self.meet_deadlines()
    }

    /// Named durable subscriptions that an entry had are nobody's: another may take them.
    fn release_durables(&mut self, entry: u64) {
        let mut released = Vec::new();
        for (id, durable) in &mut self.state.durables {
            if durable.row.holder.take_if(|holder| *holder == entry).is_some() {
                released.push((rows::row(rows::DURABLE, id), rows::encode(&durable.row)));
            }
        }
        released.into_iter().for_each(|(key, value)| self.set(key, value));
    }

    /// A cursor has moved.
    fn progress(&mut self, realm: &str, name: &CursorName, at: &Cursor) -> Done {
        match name {
            CursorName::Client(client_id) => {
                let Some(session) = self.state.sessions.get_mut(&*rows::id(realm, client_id)) else {
                    return Done::NotFound;
                };
                session.done_to = at.done_to();
                session.has_inflight = !at.inflight.is_empty();
            }
            CursorName::Durable(name) => {
                let Some(durable) = self.state.durables.get_mut(&*rows::id(realm, name)) else { return Done::NotFound };
                if durable.row.holder.is_some_and(|holder| holder != self.entry) {
                    return Done::Stale;
                }
                durable.done_to = at.done_to();
            }
        }
        self.set(rows::cursor(realm, name), rows::encode(at));
        Done::Yes
    }

    /// Makes a named durable subscription, or changes how it is served. Whose it is and what it wants cannot be changed.
    fn durable(&mut self, number: u64, id: &str, mut row: DurableRow) -> Done {
        let old = self.state.durables.get(id);
        if let Some(Durable { row: old, .. }) = old {
            let same = (&old.authid, &old.pattern, old.group, old.acknowledged)
                == (&row.authid, &row.pattern, row.group, row.acknowledged);
            if !same {
                return Done::Conflict;
            }
            row.since = old.since;
        }
        // Who comes last has it; a group goes on where it is.
        row.holder = old.and_then(|old| old.row.holder).filter(|_| row.group).or(Some(self.entry));
        let since = *row.since.get_or_insert(number);
        let done_to = old.map_or(since, |old| old.done_to);
        self.set(rows::row(rows::DURABLE, id), rows::encode(&row));
        self.state.durables.insert(id.into(), Durable { row, done_to });
        Done::Yes
    }

    /// A group that no entry delivers is delivered here.
    fn host(&mut self, id: &str) -> Done {
        let entry = self.entry;
        let Some(durable) = self.state.durables.get_mut(id).filter(|durable| durable.row.group) else {
            return Done::NotFound;
        };
        if *durable.row.holder.get_or_insert(entry) != entry {
            return Done::Stale;
        }
        let value = rows::encode(&durable.row);
        self.set(rows::row(rows::DURABLE, id), value);
        Done::Yes
    }

    fn forget(&mut self, realm: &str, name: &str) -> Done {
        if self.state.durables.remove(&*rows::id(realm, name)).is_none() {
            return Done::NotFound;
        }
        self.remove(rows::durable(realm, name));
        self.remove(rows::cursor(realm, &CursorName::Durable(name.to_owned())));
        Done::Yes
    }

    fn retain(&mut self, realm: &str, pattern: &str, first: u64) {
        if self.state.floors.raise(realm, pattern, first) {
            self.set(rows::floor(realm, pattern), rows::encode(&first));
        }
    }
}
