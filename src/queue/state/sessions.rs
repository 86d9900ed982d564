//! Persistent MQTT sessions: connections, wills, subscriptions, QoS 2 (MQTT 5, 3.1.2.5, 3.1.3.2.2, 4.1, 4.3.3).
//!
//! ```text
//! CONNECT --> with a connection --DISCONNECT, lost--> away: will at its date, end at its date
//!                 ^ taken over by the next CONNECT -----'
//! ```
//!
//! Locks and waits belong to the connection, wills of MQTT to the session: the former go with every end of a connection, the
//! latter may wait.

use std::collections::{BTreeMap, BTreeSet};

use super::deadlines::Due;
use super::rows::{self, SessionRow};
use super::step::{SetOff, Step};
use super::{Change, StateError};
use crate::queue::command::{Connect, CursorName, Farewell, SubscriptionRow, WillRow};
use crate::queue::message::PacketRow;
use crate::queue::outcome::{Done, Void};

/// Never: the session expiry 0xFFFFFFFF (MQTT 5, 3.1.2.11.2).
const NEVER_S: u32 = u32::MAX;

/// A session with or without a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Session {
    pub row: SessionRow,
    pub filters: BTreeMap<Box<str>, Wanted>,
    /// Packet identifiers of QoS 2 messages that were not released.
    pub packets: BTreeSet<u16>,
    /// See [`crate::queue::command::Cursor::done_to`].
    pub done_to: u64,
    /// Something is inflight.
    pub has_inflight: bool,
}

/// What is remembered of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub since: u64,
    pub qos: u8,
}

impl Session {
    /// Whether the log has to keep anything for it: QoS 0 is not kept.
    pub fn wants_log(&self) -> bool {
        self.has_inflight || self.filters.values().any(|wanted| wanted.qos > 0)
    }
}

impl Step<'_> {
    /// A client connects. The session goes on if it is there, the client does not start clean, and it was not to end with its
    /// connection.
    pub fn connect(&mut self, number: u64, connect: Connect) -> Result<Done, StateError> {
        let id = rows::id(&connect.realm, &connect.client_id);
        if let Some(Farewell { connection, orderly, expiry_s }) = connect.farewell {
            self.disconnect(&id, connection, orderly, expiry_s)?;
        }
        self.meet(&id)?;
        let mut present = false;
        if let Some(known) = self.state.sessions.get(&*id) {
            if known.row.authid != connect.authid {
                return Ok(Done::Conflict);
            }
            let connected = known.row.connection.is_some();
            present = !connect.clean_start && known.row.expiry_s > 0;
            // A will may wait for the session, which goes on (MQTT 5, 3.1.3.2.2); in 3.1.1 no will waits (3.1.2.5).
            let waits = known.row.will_at_us.is_some() || connected && known.row.will_delay_s.unwrap_or(0) > 0;
            let session = known.row.session;
            self.take_will(&id, !present || !waits)?;
            self.leave(&connect.realm, session, false)?;
            if !present {
                self.end_session(&id)?;
            }
        }
        if !present {
            self.state.sessions.insert(id.as_str().into(), new_session(number, connect.session));
        }
        self.attach(&id, connect);
        Ok(Done::Connected { present })
    }

    fn attach(&mut self, id: &str, connect: Connect) {
        self.set_dates(id, None, None);
        let Some(session) = self.state.sessions.get_mut(id) else { return };
        let row = &mut session.row;
        (row.authid, row.authrole, row.authmethod) = (connect.authid, connect.authrole, connect.authmethod);
        row.expiry_s = connect.expiry_s;
        row.connection = Some((self.entry, connect.connection));
        row.entry = Some(self.entry);
        row.will_delay_s = connect.will.as_ref().map(|will| will.delay_s);
        if let Some(will) = &connect.will {
            self.set(rows::row(rows::WILL, id), rows::encode(will));
        }
        self.write_session(id);
    }

    /// Whether the session was connected last at another entry than the one that sealed this segment: what it says of the session is
    /// of an older connection, and void. What one entry says is in order anyway.
    pub fn is_elsewhere(&self, realm: &str, client_id: &str) -> bool {
        let session = self.state.sessions.get(&*rows::id(realm, client_id));
        session.and_then(|session| session.row.entry).is_some_and(|entry| entry != self.entry)
    }

    /// A connection has ended.
    pub fn disconnect(&mut self, id: &str, connection: u64, orderly: bool, expiry_s: u32) -> Result<Done, StateError> {
        let Some(session) = self.state.sessions.get_mut(id) else { return Ok(Done::NotFound) };
        if session.row.connection.is_none_or(|(_, own)| own != connection) {
            return Ok(Done::NotFound);
        }
        session.row.expiry_s = expiry_s;
        if orderly {
            self.take_will(id, false)?;
        }
        self.detach(id, orderly)?;
        self.meet(id)?;
        Ok(Done::Yes)
    }

    /// The session is without a connection: its dates are set, what is its connection's goes.
    pub fn detach(&mut self, id: &str, orderly: bool) -> Result<(), StateError> {
        let Some(session) = self.state.sessions.get_mut(id) else { return Ok(()) };
        let row = &mut session.row;
        row.connection = None;
        let after = |s: u32| self.now_us.saturating_add(u64::from(s) * 1_000_000);
        let expires_at_us = (row.expiry_s != NEVER_S).then(|| after(row.expiry_s));
        // A will is due when its delay is over or the session ends, whichever is first (MQTT 5, 3.1.3.2.2).
        let will_at_us = row.will_delay_s.map(|delay_s| after(delay_s).min(expires_at_us.unwrap_or(u64::MAX)));
        let router_session = row.session;
        self.set_dates(id, will_at_us, expires_at_us);
        self.write_session(id);
        self.leave(rows::split(id).0, router_session, orderly)
    }

    /// Does what is due for a session by now.
    pub fn meet(&mut self, id: &str) -> Result<(), StateError> {
        let is_due = |at_us: Option<u64>| at_us.is_some_and(|at_us| at_us <= self.now_us);
        let Some(row) = self.state.sessions.get(id).map(|session| &session.row) else { return Ok(()) };
        let (will, end) = (is_due(row.will_at_us), is_due(row.expires_at_us));
        if will {
            self.take_will(id, true)?;
        }
        if end { self.end_session(id) } else { Ok(()) }
    }

    /// Ends a session: all its rows go; a will that it still has is due now.
    pub fn end_session(&mut self, id: &str) -> Result<(), StateError> {
        self.take_will(id, true)?;
        self.set_dates(id, None, None);
        let Some(session) = self.state.sessions.remove(id) else { return Ok(()) };
        let (realm, client_id) = rows::split(id);
        self.remove(rows::row(rows::SESSION, id));
        self.remove(rows::cursor(realm, &CursorName::Client(client_id.to_owned())));
        for filter in session.filters.keys() {
            self.remove(rows::subscription(realm, client_id, filter));
        }
        for packet_id in session.packets {
            self.remove(rows::packet(realm, client_id, packet_id));
        }
        let (realm, client_id) = (realm.to_owned(), client_id.to_owned());
        self.leave(&realm, session.row.session, false)?;
        self.out.changes.push(Change::SessionEnded { realm, client_id, session: session.row.session });
        Ok(())
    }

    /// Ends a session if it is still this one.
    pub fn give_up(&mut self, id: &str, session: u64) -> Result<Done, StateError> {
        if self.state.sessions.get(id).is_none_or(|known| known.row.session != session) {
            return Ok(Done::NotFound);
        }
        self.end_session(id)?;
        Ok(Done::Yes)
    }

    /// The will is the session's no more: it is published, or void.
    fn take_will(&mut self, id: &str, publish: bool) -> Result<(), StateError> {
        let Some(session) = self.state.sessions.get_mut(id) else { return Ok(()) };
        if session.row.will_delay_s.take().is_none() {
            return Ok(());
        }
        let (router_session, expires_at_us) = (session.row.session, session.row.expires_at_us);
        let row_key = rows::row(rows::WILL, id);
        if publish {
            let bytes = self.get(&row_key)?.ok_or_else(|| rows::damaged(&row_key))?;
            let will: WillRow = rows::decode(&row_key, &bytes)?;
            let realm = rows::split(id).0.into();
            self.set_off(SetOff::Will { realm, session: router_session, will: Box::new(will) });
        }
        self.remove(row_key);
        self.set_dates(id, None, expires_at_us);
        self.write_session(id);
        Ok(())
    }

    fn set_dates(&mut self, id: &str, will_at_us: Option<u64>, expires_at_us: Option<u64>) {
        let Some(session) = self.state.sessions.get_mut(id) else { return };
        let old_will = std::mem::replace(&mut session.row.will_at_us, will_at_us);
        let old_end = std::mem::replace(&mut session.row.expires_at_us, expires_at_us);
        self.state.deadlines.replace(old_will, will_at_us, || Due::Will(id.into()));
        self.state.deadlines.replace(old_end, expires_at_us, || Due::End(id.into()));
    }

    fn write_session(&mut self, id: &str) {
        if let Some(session) = self.state.sessions.get(id) {
            let value = rows::encode(&session.row);
            self.set(rows::row(rows::SESSION, id), value);
        }
    }

    /// Adds or replaces a subscription. What it wants from the past stays as it was, unless the client says otherwise: replacing
    /// loses nothing (MQTT 5, 3.8.4).
    pub fn subscribe(&mut self, number: u64, id: &str, mut subscription: SubscriptionRow) -> Result<Done, StateError> {
        let Some(session) = self.state.sessions.get_mut(id) else { return Ok(Done::NotFound) };
        let old = session.filters.get(&*subscription.filter);
        let since = subscription.since.unwrap_or_else(|| old.map_or(number, |old| old.since));
        subscription.since = Some(since);
        let filter = subscription.filter.as_str().into();
        session.filters.insert(filter, Wanted { since, qos: subscription.qos });
        let (realm, client_id) = rows::split(id);
        self.set(rows::subscription(realm, client_id, &subscription.filter), rows::encode(&subscription));
        Ok(Done::Yes)
    }

    pub fn unsubscribe(&mut self, id: &str, filter: &str) -> Done {
        let session = self.state.sessions.get_mut(id);
        if session.and_then(|session| session.filters.remove(filter)).is_none() {
            return Done::NotFound;
        }
        let (realm, client_id) = rows::split(id);
        self.remove(rows::subscription(realm, client_id, filter));
        Done::Yes
    }

    /// Why a QoS 2 message counts for nothing, if so.
    pub fn refuses(&self, realm: &str, packet: &PacketRow) -> Option<Void> {
        let session = self.state.sessions.get(&*rows::id(realm, &packet.client_id));
        let is_own =
            |session: &&Session| session.row.connection.is_some_and(|(_, connection)| connection == packet.connection);
        match session.filter(is_own) {
            None => Some(Void::Stale),
            Some(session) => session.packets.contains(&packet.packet_id).then_some(Void::Repeated),
        }
    }

    /// A QoS 2 message that [`Step::refuses`] did not refuse is in the log.
    pub fn remember_packet(&mut self, realm: &str, packet: &PacketRow) {
        if let Some(session) = self.state.sessions.get_mut(&*rows::id(realm, &packet.client_id)) {
            session.packets.insert(packet.packet_id);
            self.set(rows::packet(realm, &packet.client_id, packet.packet_id), Vec::new());
        }
    }

    pub fn release(&mut self, realm: &str, client_id: &str, packet_id: u16) -> Done {
        let session = self.state.sessions.get_mut(&*rows::id(realm, client_id));
        if !session.is_some_and(|session| session.packets.remove(&packet_id)) {
            return Done::NotFound;
        }
        self.remove(rows::packet(realm, client_id, packet_id));
        Done::Yes
    }
}

/// A session that begins here: what was before it does not concern it.
fn new_session(number: u64, session: u64) -> Session {
    let row = SessionRow { session, created: number, ..SessionRow::default() };
    Session { row, done_to: number, ..Session::default() }
}
