//! MQTT sessions by client id: what outlives a connection (MQTT 5, 4.1).
//!
//! ```text
//! connect --> Client { session + mailbox, subscriptions } --disconnect--> ended
//! enter --log--> Client ------------------------------ disconnect --log--> kept until the log says that it has ended
//!                   ^ taken over by the next connection with the same client id and user
//! ```
//!
//! A session that may outlive its connection, or has a will, is *logged*: its connections, subscriptions and end are commands of
//! the durable log, which also decides when its will is published and when it expires. What is here follows the log: a
//! connection gets such a session when the log has it, in the order of the log ([`entering`]). Other sessions never
//! touch the log, except that one which takes the place of a logged session has to end that.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Node;
use super::link::{End, Link};
use super::log::Submission;
use super::log::tickets::Owner;
use super::mailbox::Mailbox;
use super::reader::Reading;
use super::reader::wants::Want;
use super::realm::Realm;
use super::session::{Identity, Session, Sieve};
use super::wire::WireRef;
use crate::queue::command::{Command, Cursor, CursorName, Farewell, WillRow};
use crate::queue::message::Batch;
use crate::router::authorize::{Action, Rights, Verdict};
use crate::router::broker::{Options, Subscribed};
use crate::types::event::Qos;
use crate::types::fields::Fields;
use crate::types::ids::{RegistrationId, SessionId, SubscriptionId};
use crate::types::topic::{Topic, TopicPattern};

mod entering;
pub mod mirror;
mod restore;
mod takeovers;

pub use entering::{EnterRefused, Entering, Greet};
pub use restore::Restored;
use takeovers::Takeovers;

/// Never: the session expiry 0xFFFFFFFF (MQTT 5, 3.1.2.11.2).
pub const NEVER_S: u32 = u32::MAX;

/// A subscription of an MQTT session.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    pub pattern: TopicPattern,
    pub group: Option<Box<str>>,
    pub options: Options,
    /// Only events whose data have these fields.
    pub fields: Option<Arc<Fields>>,
    /// Events of the log with higher numbers are wanted, where it is read for them.
    pub since: u64,
}

/// A QoS 2 message from the client that is not released (MQTT 5, 4.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// It is not answered, for it is not known yet what becomes of it.
    Pending,
    /// It was routed; only this process knows.
    Routed,
    /// It is in the log, and so is its packet identifier.
    Logged,
}

/// What a session remembers between connections, besides its mailbox.
#[derive(Debug, Default)]
pub struct Record {
    /// By topic filter as the client wrote it.
    pub subscriptions: HashMap<Box<str>, Held>,
    /// Procedures that the client answers, by the filter it subscribed to; not registered while it is offline.
    pub procedures: HashMap<Box<str>, (Qos, Option<RegistrationId>)>,
    /// By packet identifier.
    pub received: HashMap<u16, Received>,
    pub(super) last_request: u64,
    /// How long the session is kept without a connection; [`NEVER_S`] for ever.
    pub expiry_s: u32,
    /// The log knows the session: the number of its last connection there ([`crate::queue::command::Connect`]).
    pub logged: Option<u64>,
    /// Its connection is, or was last, at another entry: routes alone are here ([`mirror`]). Number of the CONNECT that made it.
    mirrors: Option<u64>,
    /// How the last connection there has ended. The log is told, but perhaps not at once.
    farewell: Option<Farewell>,
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
    takeovers: Takeovers,
}

/// What a CONNECT brings that the session needs.
pub struct Connecting {
    pub identity: Identity,
    pub rights: Rights,
    pub clean_start: bool,
    pub expiry_s: u32,
    pub will: Option<WillRow>,
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
    /// The log knows the session, and this connection by this number.
    pub logged: Option<u64>,
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

/// What the log has said to a CONNECT.
#[derive(Clone, Copy)]
struct Logged {
    present: bool,
    session: SessionId,
    connection: u64,
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

    /// For how many milliseconds a connection of this user has to wait before it asks for the session of its client id: it would
    /// take that over from another connection, and there was a lot of that lately ([`takeovers`]). To be asked once.
    pub fn takeover_delay_ms(&self, client_id: &str, authid: &str, now_ms: u64, max_ms: u64) -> u64 {
        let mut inner = self.inner.lock();
        let Some(session) = inner.by_id.get(client_id).map(|client| client.session.clone()) else { return 0 };
        let takes_over = session.identity.authid == authid && session.mailbox().online().is_some();
        if takes_over { inner.takeovers.delay_ms(client_id, now_ms, max_ms) } else { 0 }
    }

    /// Whether the session of a client id, if there is one, has only what these rights allow. Else it is not taken up again: what was
    /// subscribed to would go on coming.
    pub fn may_resume(&self, client_id: &str, rights: &Rights) -> bool {
        let inner = self.inner.lock();
        let Some(client) = inner.by_id.get(client_id) else { return true };
        let record = client.record.lock();
        let may = |action, pattern: &TopicPattern| rights.judge_pattern(action, pattern) != Verdict::No;
        let offered = |filter: &str| {
            let name = filter.split_once('/').and_then(|(_, name)| Topic::from_name(name).ok());
            name.is_none_or(|name| may(Action::Register, &TopicPattern::exact(&name)))
        };
        record.subscriptions.values().all(|held| may(Action::Subscribe, &held.pattern))
            && record.procedures.keys().all(|filter| offered(filter))
    }

    /// Whether the session of a client id has a connection.
    pub fn is_connected(&self, client_id: &str) -> bool {
        let inner = self.inner.lock();
        inner.by_id.get(client_id).is_some_and(|client| client.session.mailbox().online().is_some())
    }

    /// Whether the log knows the session of a client id.
    pub fn is_logged(&self, client_id: &str) -> bool {
        let inner = self.inner.lock();
        inner.by_id.get(client_id).is_some_and(|client| client.record.lock().logged.is_some())
    }

    /// Whether a CONNECT has to go through the log ([`Clients::enter`]): because of the session that it asks for, or of the one
    /// whose place that takes.
    pub fn must_enter(&self, connecting: &Connecting) -> bool {
        if connecting.expiry_s > 0 || connecting.will.is_some() {
            return true;
        }
        let inner = self.inner.lock();
        let known = inner.by_id.get(connecting.client_id());
        known.is_some_and(|client| client.record.lock().logged.is_some())
    }

    /// Gives a connection a new session that ends with it. The session that is there under its client id ends; the connection
    /// that this has is told to. `greet` is told that no session was there, and puts CONNACK into the mailbox before anything else
    /// can get there.
    ///
    /// # Errors
    /// The client id is another user's, or there are too many sessions.
    pub fn connect(
        &self,
        node: &Arc<Node>,
        realm: &Arc<Realm>,
        connecting: Connecting,
        greet: impl FnOnce(bool, &mut Mailbox),
    ) -> Result<Connected, ConnectRefused> {
        self.check(node, &connecting)?;
        self.take_in(node, realm, connecting, None, greet)
    }

    /// Whether a connection may have a session of its client id.
    fn check(&self, node: &Node, connecting: &Connecting) -> Result<(), ConnectRefused> {
        let inner = self.inner.lock();
        match inner.by_id.get(connecting.client_id()) {
            Some(known) if !known.is_of(&connecting.identity) => Err(ConnectRefused::OtherUser),
            None if inner.by_id.len() >= node.limits.sessions_max => Err(ConnectRefused::TooManySessions),
            _ => Ok(()),
        }
    }

    /// Gives a connection its session: the one that is there, taken from the connection it may have, or a new one. The old
    /// connection never touches the session again.
    fn take_in(
        &self,
        node: &Arc<Node>,
        realm: &Arc<Realm>,
        connecting: Connecting,
        logged: Option<Logged>,
        greet: impl FnOnce(bool, &mut Mailbox),
    ) -> Result<Connected, ConnectRefused> {
        let mut inner = self.inner.lock();
        let number = logged.map(|logged| logged.connection);
        if let Some(known) = inner.by_id.get(connecting.client_id()).cloned() {
            if !known.is_of(&connecting.identity) {
                return Err(ConnectRefused::OtherUser);
            }
            if logged.is_some_and(|logged| logged.present) {
                if known.session.mailbox().reads_log() {
                    known.read_log(node, realm, connecting.rights.clone());
                }
                known.attach(realm, connecting, number, |mailbox| greet(true, mailbox));
                realm.note_joined(&known.session);
                return Ok(Connected { client: known, present: true, logged: number });
            }
            inner.end(node, realm, connecting.client_id(), End::TakenOver);
        }
        let id = logged.map_or_else(|| node.new_session_id(), |logged| logged.session);
        let keeps = connecting.expiry_s > 0;
        let session = node.new_session_with_id(id, connecting.identity.clone(), connecting.wire, keeps);
        let client = Arc::new(Client { session, record: Mutex::default() });
        if keeps {
            client.read_log(node, realm, connecting.rights.clone());
        }
        inner.by_id.insert(connecting.client_id().to_owned(), client.clone());
        client.attach(realm, connecting, number, |mailbox| greet(false, mailbox));
        realm.join(client.session.clone());
        Ok(Connected { client, present: false, logged: number })
    }

    /// A connection ended. A session that the log does not know ends with it; of others the log is told.
    pub fn disconnect(
        &self,
        node: &Arc<Node>,
        realm: &Arc<Realm>,
        client: &Arc<Client>,
        link: &Arc<Link>,
        leaving: Leaving,
    ) {
        let mut inner = self.inner.lock();
        let mut mailbox = client.session.mailbox();
        if !mailbox.detach(link) {
            return;
        }
        let progress = mailbox.take_progress();
        drop(mailbox);
        realm.set_away(&client.session, true);
        realm.note_left(&client.session);
        let client_id = client.client_id();
        // A callee that is away answers nothing: its calls fail now, and further ones go to others.
        realm.leave_calls(node, &client.session);
        let mut record = client.record.lock();
        record.procedures.values_mut().for_each(|(_, registration)| *registration = None);
        let (logged, expiry_s) = (record.logged, record.expiry_s);
        let orderly = leaving == Leaving::Orderly;
        record.farewell = logged.map(|connection| Farewell { connection, orderly, expiry_s });
        drop(record);
        if logged.is_none() {
            inner.end(node, realm, client_id, End::TakenOver);
        }
        drop(inner);
        if let Some(at) = progress {
            client.record_progress(node, realm, at);
        }
        match logged {
            Some(connection) => {
                let (name, client_id) = (realm.name.to_string(), client_id.to_owned());
                node.owe_log(Command::Disconnect { realm: name, client_id, connection, orderly, expiry_s });
            }
            None if client.session.take_holds() => node.leave_log(&realm.name, client.session.id, orderly),
            None => {}
        }
    }

    /// How the last connection of a session has ended, for the next to tell the log: a store that fails may keep it from being told
    /// before that, and then the log would take it for a lost one.
    fn farewell(&self, client_id: &str) -> Option<Farewell> {
        self.inner.lock().by_id.get(client_id).and_then(|client| client.record.lock().farewell)
    }

    /// The log has ended a session: it expired, or a clean one came in its place.
    pub(super) fn ended(&self, node: &Arc<Node>, realm: &Arc<Realm>, client_id: &str, session: SessionId) {
        let mut inner = self.inner.lock();
        if inner.by_id.get(client_id).is_some_and(|client| client.session.id == session) {
            inner.end(node, realm, client_id, End::TakenOver);
        }
    }
}

impl Inner {
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

impl Held {
    /// What its session wants of the log because of it.
    fn want(&self) -> Want {
        Want {
            pattern: self.pattern.clone(),
            options: self.options.clone(),
            // Copies for this session are merged, and name no subscription.
            subscription: SubscriptionId(0),
            since: self.since,
            follows: false,
        }
    }
}

impl Connecting {
    fn client_id(&self) -> &str {
        self.identity.client_id.as_deref().unwrap_or_default()
    }
}

impl Client {
    pub fn client_id(&self) -> &str {
        self.session.identity.client_id.as_deref().unwrap_or_default()
    }

    /// Has the session read the log, with these rights: it is kept, and so is what it is owed.
    fn read_log(&self, node: &Arc<Node>, realm: &Arc<Realm>, rights: Rights) {
        self.session.mailbox().read_log(self.reading(node, realm, rights, true));
    }

    fn reading(&self, node: &Arc<Node>, realm: &Arc<Realm>, rights: Rights, recorded: bool) -> Reading {
        let (node, realm) = (Arc::downgrade(node), Arc::downgrade(realm));
        Reading { node, realm, session: Arc::downgrade(&self.session), rights: Some(rights), recorded }
    }

    /// Has a session read the log that is not kept, for it asks for older events.
    pub fn read_past(&self, node: &Arc<Node>, realm: &Arc<Realm>, rights: Rights) {
        let record = self.record.lock();
        let mut mailbox = self.session.mailbox();
        if mailbox.reads_log() {
            return;
        }
        mailbox.read_log(self.reading(node, realm, rights, false));
        for (filter, held) in record.subscriptions.iter().filter(|(_, held)| held.group.is_none()) {
            mailbox.want(filter, held.want(), None);
        }
    }

    /// Records how far the session has come that has lost its connection. Should that fail, more is repeated after a crash.
    fn record_progress(&self, node: &Arc<Node>, realm: &Realm, at: Cursor) {
        let cursor = CursorName::Client(self.client_id().to_owned());
        let mut batch = Batch::default();
        batch.command(&Command::Progress { realm: realm.name.to_string(), cursor, at });
        node.submit(Submission { batch, owner: Owner::Nobody });
    }

    /// Tells the session what it is subscribed to, where that is not all of a topic.
    fn sieve(&self) {
        let record = self.record.lock();
        let own = record.subscriptions.values().filter(|held| held.group.is_none());
        let sieve = |held: &Held| {
            let (pattern, fields) = (held.pattern.clone(), held.fields.clone());
            Sieve { pattern, fields, identifier: held.options.identifier() }
        };
        self.session.set_sieves(own.map(sieve));
    }

    /// Subscribes to a filter that is in the record. A session that reads the log does so for this, too, with `after` from there on.
    pub fn subscribe(&self, realm: &Realm, filter: &str, held: Held, after: Option<u64>) -> Subscribed {
        if held.fields.is_some() || self.session.is_sieved() {
            self.sieve();
        }
        let want = held.want();
        let Held { pattern, group, options, .. } = held;
        let shared = group.is_some();
        realm.subscribe(&self.session, &pattern, group.as_deref(), options, |_, mailbox| {
            // What a group gets is one of its members' alone; see `Realm::join_share`.
            if !shared {
                mailbox.want(filter, want, after);
            }
        })
    }

    /// Undoes [`Client::subscribe`], when it is in the record no more.
    pub fn unsubscribe(&self, realm: &Realm, filter: &str, held: &Held) {
        if self.session.is_sieved() {
            self.sieve();
        }
        realm.unsubscribe(&self.session, &held.pattern, held.group.as_deref(), |_, mailbox| {
            mailbox.unwant(filter);
            mailbox.leave_group(filter);
        });
    }

    /// Has the session be sent what the log has of a filter now, behind this number.
    pub fn snapshot(&self, filter: &str, held: Held, after: u64) {
        self.session.mailbox().snapshot(filter, held.want(), held.fields.clone(), after);
    }

    fn is_of(&self, identity: &Identity) -> bool {
        self.session.identity.authid == identity.authid
    }

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

    fn attach(&self, realm: &Realm, connecting: Connecting, logged: Option<u64>, greet: impl FnOnce(&mut Mailbox)) {
        self.session.set_origin(connecting.identity.origin.clone());
        let Connecting { link, wire, receive_max, frame_bytes_max, alias_max, .. } = connecting;
        self.session.set_rights(connecting.rights);
        let mut record = self.record.lock();
        record.expiry_s = connecting.expiry_s;
        record.logged = logged;
        // What became of these the client has not been told. It sends them again; the log knows them if it has them.
        record.received.retain(|_, received| *received != Received::Pending);
        drop(record);
        let old = {
            let mut mailbox = self.session.mailbox();
            mailbox.keeps = connecting.expiry_s > 0;
            let old = mailbox.attach(link, wire, receive_max, frame_bytes_max, alias_max);
            greet(&mut mailbox);
            old
        };
        realm.set_wire(&self.session, wire, alias_max > 0);
        realm.set_away(&self.session, false);
        if let Some(old) = old {
            old.end(End::TakenOver);
        }
    }
}
