//! MQTT sessions by client id: what outlives a connection (MQTT 5, 4.1).
//!
//! ```text
//! connect --> Client { session + mailbox, subscriptions, will } --disconnect--> kept until it expires
//!                ^ taken over by the next connection with the same client id and user
//! ```
//!
//! Times are milliseconds on the node's clock. A sweep ([`super::Node::tick`]) publishes wills that are due and ends sessions
//! that expired; both are found by time, so that a sweep costs what it does, not how many sessions there are.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use super::Node;
use super::link::{End, Link};
use super::mailbox::Mailbox;
use super::realm::Realm;
use super::session::{Identity, Session};
use super::wire::WireRef;
use crate::types::event::{Properties, Qos};
use crate::types::ids::{RegistrationId, SessionId};
use crate::types::topic::{Topic, TopicPattern};

/// Never: the session expiry 0xFFFFFFFF (MQTT 5, 3.1.2.11.2).
pub const NEVER_S: u32 = u32::MAX;

/// A will (MQTT 5, 3.1.2.5).
#[derive(Clone, Debug)]
pub struct Will {
    pub topic: Arc<Topic>,
    pub payload: bytes::Bytes,
    pub qos: Qos,
    pub retain: bool,
    pub delay_s: u32,
    pub expiry_s: Option<u32>,
    pub properties: Option<Arc<Properties>>,
}

/// A subscription of an MQTT session.
#[derive(Clone, Debug)]
pub struct Held {
    pub pattern: TopicPattern,
    pub group: Option<Box<str>>,
}

/// What a session remembers between connections, besides its mailbox.
#[derive(Debug, Default)]
pub struct Record {
    /// By topic filter as the client wrote it.
    pub subscriptions: HashMap<Box<str>, Held>,
    /// Procedures that the client answers, by the filter it subscribed to; not registered while it is offline.
    pub procedures: HashMap<Box<str>, (Qos, Option<RegistrationId>)>,
    pub will: Option<Will>,
    pub(super) last_request: u64,
    /// How long the session is kept without a connection; [`NEVER_S`] for ever.
    pub expiry_s: u32,
    /// Set while a will waits for its delay.
    will_at_ms: Option<u64>,
    expires_at_ms: Option<u64>,
    /// The session is gone; a connection that has not seen its end may still hold it.
    ended: bool,
}

/// An MQTT session.
pub struct Client {
    pub session: Arc<Session>,
    pub record: Mutex<Record>,
}

/// All MQTT sessions of a realm.
#[derive(Default)]
pub struct Clients {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    by_id: HashMap<String, Arc<Client>>,
    /// Times at which something is due for a client.
    due: BTreeSet<(u64, String)>,
}

/// What a CONNECT brings that the session needs.
pub struct Connecting {
    pub identity: Identity,
    pub clean_start: bool,
    pub expiry_s: u32,
    pub will: Option<Will>,
    pub link: Arc<Link>,
    pub wire: WireRef,
    pub receive_max: u16,
    pub frame_bytes_max: usize,
    pub alias_max: u16,
}

/// A connection that has its session.
pub struct Connected {
    pub client: Arc<Client>,
    /// The session was there before (MQTT 5, 3.2.2.1.1).
    pub present: bool,
    /// The will of the connection that was taken over, to be published.
    pub old_will: Option<Will>,
}

/// The session cannot be given to this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectRefused {
    #[error("the client id belongs to a session of another user")]
    OtherUser,
    #[error("as many sessions as there may be")]
    TooManySessions,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// DISCONNECT that deletes the will.
    Orderly,
    /// Anything else: the will is due.
    Broken,
}

impl Clients {
    /// Sessions, connected or not.
    pub fn len(&self) -> usize {
        self.inner.lock().by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `(connected, all)` sessions.
    pub fn count(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        let connected = inner.by_id.values().filter(|client| client.session.mailbox().online().is_some()).count();
        (connected, inner.by_id.len())
    }

    /// Dates that wait for their time.
    #[cfg(test)]
    pub fn due_len(&self) -> usize {
        self.inner.lock().due.len()
    }

    /// Gives a connection its session: the one that is there, taken from the connection it may have, or a new one made by `new`.
    /// The old connection is told to end, and never touches the session again. `greet` is told whether the session was there, and
    /// puts CONNACK into the mailbox before anything else can get there.
    ///
    /// # Errors
    /// The client id is another user's, or `sessions_max` are there.
    pub fn connect(
        &self,
        node: &Arc<Node>,
        realm: &Arc<Realm>,
        connecting: Connecting,
        sessions_max: usize,
        new: impl FnOnce(Identity, bool) -> Arc<Session>,
        greet: impl FnOnce(bool, &mut Mailbox),
    ) -> Result<Connected, ConnectRefused> {
        let client_id = connecting.identity.client_id.clone().unwrap_or_default();
        let mut inner = self.inner.lock();
        let mut old_will = None;
        if let Some(known) = inner.by_id.get(&client_id).cloned() {
            if known.session.identity.authid != connecting.identity.authid {
                return Err(ConnectRefused::OtherUser);
            }
            let connected = known.session.mailbox().online().is_some();
            // Without expiry a session ends with its connection, and this is its end (MQTT 5, 3.1.2.11.2).
            let kept = !connecting.clean_start && known.record.lock().expiry_s > 0;
            old_will = inner.take_will(&known, connected, kept);
            inner.forget_dates(&known, &client_id);
            if kept {
                known.attach(realm, connecting, |mailbox| greet(true, mailbox));
                return Ok(Connected { client: known, present: true, old_will });
            }
            inner.end(node, realm, &client_id, End::TakenOver);
        }
        if inner.by_id.len() >= sessions_max {
            return Err(ConnectRefused::TooManySessions);
        }
        let keeps = connecting.expiry_s > 0;
        let client = Arc::new(Client { session: new(connecting.identity.clone(), keeps), record: Mutex::default() });
        inner.by_id.insert(client_id, client.clone());
        client.attach(realm, connecting, |mailbox| greet(false, mailbox));
        realm.join(client.session.clone());
        Ok(Connected { client, present: false, old_will })
    }

    /// A connection ended. Returns the will if it is to be published at once.
    pub fn disconnect(
        &self,
        node: &Arc<Node>,
        realm: &Arc<Realm>,
        client: &Arc<Client>,
        link: &Arc<Link>,
        leaving: Leaving,
        now_ms: u64,
    ) -> Option<Will> {
        let mut inner = self.inner.lock();
        if !client.session.mailbox().detach(link) {
            return None;
        }
        let client_id = client.session.identity.client_id.clone().unwrap_or_default();
        // A callee that is away answers nothing: its calls fail now, and further ones go to others.
        realm.leave_calls(node, &client.session);
        let mut record = client.record.lock();
        record.procedures.values_mut().for_each(|(_, registration)| *registration = None);
        if leaving == Leaving::Orderly {
            record.will = None;
        }
        if record.expiry_s == 0 {
            let will = record.will.take();
            drop(record);
            inner.end(node, realm, &client_id, End::TakenOver);
            return will;
        }
        if record.expiry_s != NEVER_S {
            let at = now_ms + u64::from(record.expiry_s) * 1000;
            record.expires_at_ms = Some(at);
            inner.due.insert((at, client_id.clone()));
        }
        let delay_s = record.will.as_ref()?.delay_s;
        if delay_s == 0 {
            return record.will.take();
        }
        // A will is due when its delay is over or the session ends, whichever is first (MQTT 5, 3.1.3.2.2).
        let at = (now_ms + u64::from(delay_s) * 1000).min(record.expires_at_ms.unwrap_or(u64::MAX));
        record.will_at_ms = Some(at);
        inner.due.insert((at, client_id));
        None
    }

    /// The log has ended a session: it expired, or a clean one came in its place.
    pub(super) fn ended(&self, node: &Arc<Node>, realm: &Arc<Realm>, client_id: &str, session: SessionId) {
        let mut inner = self.inner.lock();
        if inner.by_id.get(client_id).is_some_and(|client| client.session.id == session) {
            inner.end(node, realm, client_id, End::TakenOver);
        }
    }

    /// Does what is due: ends sessions that expired, and returns wills to be published, at most `work_max` of both.
    pub fn tick(&self, node: &Arc<Node>, realm: &Arc<Realm>, now_ms: u64, work_max: usize) -> Vec<Will> {
        let mut wills = Vec::new();
        let mut inner = self.inner.lock();
        for _ in 0..work_max {
            if inner.due.first().is_none_or(|(at, _)| *at > now_ms) {
                break;
            }
            let Some((_, client_id)) = inner.due.pop_first() else { break };
            let Some(client) = inner.by_id.get(&client_id).cloned() else { continue };
            let mut record = client.record.lock();
            if record.will_at_ms.is_some_and(|at| at <= now_ms) {
                record.will_at_ms = None;
                wills.extend(record.will.take());
            }
            let expired = record.expires_at_ms.is_some_and(|at| at <= now_ms);
            drop(record);
            if expired {
                inner.end(node, realm, &client_id, End::TakenOver);
            }
        }
        wills
    }
}

impl Inner {
    /// A client that is back waits for nothing: else each coming and going would leave a date behind until its time.
    fn forget_dates(&mut self, client: &Client, client_id: &str) {
        let mut record = client.record.lock();
        let dates = [record.will_at_ms.take(), record.expires_at_ms.take()];
        for at in dates.into_iter().flatten() {
            self.due.remove(&(at, client_id.to_owned()));
        }
    }

    /// The will that a new connection sets off: the old connection's, unless the session goes on and the will may wait
    /// (MQTT 5, 3.1.3.2.2; in 3.1.1 a will never waits, 3.1.2.5).
    fn take_will(&mut self, client: &Client, connected: bool, kept: bool) -> Option<Will> {
        let mut record = client.record.lock();
        let will = record.will.take()?;
        let waits = record.will_at_ms.is_some() || (connected && will.delay_s > 0);
        (!kept || !waits).then_some(will)
    }

    /// Ends a session: its subscriptions go, its connection too.
    fn end(&mut self, node: &Arc<Node>, realm: &Arc<Realm>, client_id: &str, reason: End) {
        let Some(client) = self.by_id.remove(client_id) else { return };
        let mut mailbox = client.session.mailbox();
        if let Some(link) = mailbox.online().map(|online| online.link.clone()) {
            mailbox.detach(&link);
            link.end(reason);
        }
        mailbox.clear();
        drop(mailbox);
        client.record.lock().ended = true;
        client.let_go(node, realm);
        realm.forget(client.session.id);
    }
}

impl Client {
    /// To be called behind every subscription and registration: the session may have been ended by another connection meanwhile,
    /// and then nobody else will undo them.
    pub fn let_go_if_ended(&self, node: &Arc<Node>, realm: &Arc<Realm>) {
        if self.record.lock().ended {
            self.let_go(node, realm);
        }
    }

    /// Ends subscriptions, registrations and calls.
    fn let_go(&self, node: &Arc<Node>, realm: &Arc<Realm>) {
        let subscriptions = std::mem::take(&mut self.record.lock().subscriptions);
        let held = subscriptions.values().map(|held| (&held.pattern, held.group.as_deref()));
        realm.unsubscribe_all(self.session.id, held);
        realm.leave_calls(node, &self.session);
    }

    fn attach(&self, realm: &Realm, connecting: Connecting, greet: impl FnOnce(&mut Mailbox)) {
        let Connecting { link, wire, receive_max, frame_bytes_max, alias_max, .. } = connecting;
        let mut record = self.record.lock();
        record.will = connecting.will;
        record.expiry_s = connecting.expiry_s;
        drop(record);
        let old = {
            let mut mailbox = self.session.mailbox();
            mailbox.keeps = connecting.expiry_s > 0;
            let old = mailbox.attach(link, wire, receive_max, frame_bytes_max, alias_max);
            greet(&mut mailbox);
            old
        };
        realm.set_wire(&self.session, wire, alias_max > 0);
        if let Some(old) = old {
            old.end(End::TakenOver);
        }
    }
}
