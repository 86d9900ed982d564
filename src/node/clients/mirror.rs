//! Sessions of a cluster that have their connection at another entry, or had it there last.
//!
//! ```text
//! rows of the log --mirror--> routes alone --CONNECT here, fetch--> a session of this node --CONNECT elsewhere, surrender--> routes alone
//! ```
//!
//! Every entry knows every session that the log keeps: so whatever is published anywhere goes through the log if one of them
//! wants it. But only the entry of its connection reads the log for it, knows what is inflight and records its cursor: the
//! others would record what is long past.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::{Client, Clients, Held, Received, Record, Restored};
use crate::node::Node;
use crate::node::link::End;
use crate::node::realm::Realm;
use crate::queue::command::{Cursor, CursorName};
use crate::queue::state::StateError;
use crate::queue::state::rows::{self, RowKey};
use crate::store::{StoreError, StoreReader};

/// Packet identifiers are of two bytes: there are no more rows of a session.
const PACKETS_MAX: usize = 1 << 16;

/// What only the entry of its connection knows of a session.
#[derive(Debug, Default, PartialEq)]
pub struct Fetched {
    /// `None`: it has not moved since the session was made.
    cursor: Option<Cursor>,
    /// QoS 2 messages of the client that are not released.
    received: Vec<u16>,
}

impl Fetched {
    /// Reads it of one session, from a store that is as far as its CONNECT.
    ///
    /// # Errors
    /// The store cannot be read, or is damaged.
    pub fn read(reader: &mut dyn StoreReader, realm: &str, client_id: &str) -> Result<Self, StoreError> {
        let key = rows::cursor(realm, &CursorName::Client(client_id.to_owned()));
        // What begins with the key and is first is the key itself, if it is there.
        let found = reader.scan(&key, None, 1)?.into_iter().find(|(found, _)| *found == key);
        let cursor = found.map(|(key, value)| rows::decode(&key, &value)).transpose().map_err(damaged)?;
        let packets = reader.scan(&rows::packets(realm, client_id), None, PACKETS_MAX)?;
        let packet_id = |(key, _): &(Vec<u8>, Vec<u8>)| match RowKey::parse(key) {
            Some(RowKey::Packet { client_id: id, packet_id, .. }) if id == client_id => Some(packet_id),
            _ => None,
        };
        Ok(Self { cursor, received: packets.iter().filter_map(packet_id).collect() })
    }
}

fn damaged(error: StateError) -> StoreError {
    StoreError::Damaged(error.to_string())
}

impl Clients {
    /// Adds a session as a mirror, or takes over what has changed of one. One that has its connection here stays as it is.
    /// `elsewhere`: it has its connection at another entry now.
    pub fn mirror(&self, node: &Arc<Node>, realm: &Arc<Realm>, restored: Restored, elsewhere: bool) {
        let client_id = restored.identity.client_id.clone().unwrap_or_default();
        let mut inner = self.inner.lock();
        if let Some(known) = inner.by_id.get(&client_id) {
            if known.session.id == restored.session {
                known.record.lock().expiry_s = restored.expiry_s;
                return;
            }
            // Its end was told before.
            inner.end(node, realm, &client_id, End::TakenOver);
        }
        let Restored { identity, session, expiry_s, created, wire } = restored;
        let session = node.new_session_with_id(session, identity, wire, true);
        session.mailbox().keeps = false;
        session.away.store(true, Ordering::Release);
        session.mirrored.store(true, Ordering::Release);
        session.set_elsewhere(elsewhere);
        let record = Record { expiry_s, logged: Some(0), mirrors: Some(created), ..Record::default() };
        let client = Arc::new(Client { session, record: Mutex::new(record) });
        realm.join(client.session.clone());
        inner.by_id.insert(client_id, client);
    }

    /// Whether the session of a client id has, or had last, its connection at another entry.
    pub(super) fn is_mirror(&self, client_id: &str) -> bool {
        self.get(client_id).is_some_and(|client| client.is_mirror())
    }

    pub(super) fn come_home(&self, node: &Arc<Node>, realm: &Arc<Realm>, client_id: &str, fetched: Fetched) {
        if let Some(client) = self.get(client_id) {
            client.come_home(node, realm, fetched);
        }
    }

    /// A session has its connection at another entry now: the one that it may have here ends.
    pub fn surrender(&self, node: &Arc<Node>, realm: &Arc<Realm>, client_id: &str, created: u64) {
        let inner = self.inner.lock();
        let Some(client) = inner.by_id.get(client_id).cloned() else { return };
        let mut mailbox = client.session.mailbox();
        if let Some(link) = mailbox.online().map(|online| online.link.clone()) {
            mailbox.detach(&link);
            link.end(End::TakenOver);
        }
        mailbox.clear();
        drop(mailbox);
        realm.note_moved(&client.session);
        let mut record = client.record.lock();
        record.received.clear();
        record.mirrors = Some(created);
        record.procedures.values_mut().for_each(|(_, registration)| *registration = None);
        let patterns: Vec<_> = record.subscriptions.values().map(|held| held.pattern.clone()).collect();
        drop(record);
        drop(inner);
        realm.set_mirrored(&client.session);
        realm.note_interest(&patterns);
        realm.leave_calls(node, &client.session);
    }
}

impl Client {
    /// Whether its connection is, or was last, at another entry.
    pub fn is_mirror(&self) -> bool {
        self.record.lock().mirrors.is_some()
    }

    /// Follows where a mirror has its connection.
    pub fn set_elsewhere(&self, elsewhere: bool) {
        self.session.set_elsewhere(elsewhere);
    }

    /// Subscribes a mirror: events are in the log because of it, and nothing is offered here.
    pub fn mirror_subscription(&self, realm: &Realm, filter: &str, held: Held) {
        self.record.lock().subscriptions.insert(filter.into(), held.clone());
        self.subscribe(realm, filter, held, None);
    }

    /// Undoes [`Client::mirror_subscription`].
    pub fn mirror_unsubscription(&self, realm: &Realm, filter: &str) {
        if let Some(held) = self.record.lock().subscriptions.remove(filter) {
            self.unsubscribe(realm, filter, &held);
        }
    }

    /// Makes a mirror a session of this node, which goes on where it was at the other.
    pub(super) fn come_home(&self, node: &Arc<Node>, realm: &Arc<Realm>, fetched: Fetched) {
        let mut record = self.record.lock();
        let Some(created) = record.mirrors.take() else { return };
        record.received = fetched.received.iter().map(|packet_id| (*packet_id, Received::Logged)).collect();
        let held: HashMap<_, _> = record.subscriptions.clone();
        drop(record);
        self.session.mirrored.store(false, Ordering::Release);
        realm.note_interest(held.values().map(|held| &held.pattern));
        self.read_log(node, realm, realm.rights_of(&self.session.identity));
        let mut mailbox = self.session.mailbox();
        mailbox.keeps = true;
        for (filter, held) in held.iter().filter(|(_, held)| held.group.is_none()) {
            mailbox.want(filter, held.want(), None);
        }
        mailbox.restore(&fetched.cursor.unwrap_or_else(|| Cursor { sent_to: created, ..Cursor::default() }));
        drop(mailbox);
        for (filter, held) in held.into_iter().filter(|(_, held)| held.group.is_some()) {
            realm.join_share(node, &self.session, &filter, held.options);
        }
    }
}
