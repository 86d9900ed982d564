//! A session of any protocol in a realm: who it is, and its mailbox.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

use super::house::Inbox;
use super::link::{Kick, Link};
use super::mailbox::Mailbox;
use super::metrics::Protocol;
use super::peers::calls::Line;
use super::rpc::ReplyTo;
use super::users::User;
use super::wire::WireRef;
use crate::router::authorize::Rights;
use crate::router::broker::Subscriber;
use crate::types::event::{Discloser, Qos, Terms};
use crate::types::fields::Fields;
use crate::types::ids::{RegistrationId, RequestId, SessionId};
use crate::types::payload::PayloadRef;
use crate::types::peer::Peer;
use crate::types::topic::{Topic, TopicPattern};
use crate::types::value::Value;

/// Who stands behind a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// User name; `anonymous` for nobody in particular.
    pub authid: String,
    pub authrole: String,
    pub authmethod: &'static str,
    /// Who vouches for it; see [`User::provider`].
    pub authprovider: &'static str,
    /// What its client was told beside; a map.
    pub authextra: Option<Arc<Value>>,
    /// MQTT client id.
    pub client_id: Option<String>,
    /// Where it was when the session began.
    pub origin: Origin,
}

/// Where the client of a session is, and since when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// `None`: in this process, or not known any more (a session that was there before the broker started).
    pub peer: Option<Arc<Peer>>,
    /// `tcp`, `websocket`, `rawsocket`, `http`; empty: it has none.
    pub transport: &'static str,
    /// Milliseconds on the node's clock; 0: not known.
    pub since_ms: u64,
}

impl Identity {
    /// Somebody of this house, or whose proof is not known any more.
    pub fn new(authid: impl Into<String>, authrole: impl Into<String>, authmethod: &'static str) -> Identity {
        Identity {
            authid: authid.into(),
            authrole: authrole.into(),
            authmethod,
            authprovider: "static",
            authextra: None,
            client_id: None,
            origin: Origin::default(),
        }
    }

    /// A user who proved to be it by `method`.
    pub fn of(user: &User, method: &'static str, origin: Origin) -> Identity {
        let authprovider = user.provider;
        let new = Identity::new(&*user.name, &*user.role, method);
        Identity { authprovider, authextra: user.extra.clone(), origin, ..new }
    }
}

/// What one subscription of a session with merged copies (MQTT) is for.
#[derive(Clone, Debug, PartialEq)]
pub struct Sieve {
    pub pattern: TopicPattern,
    /// Only events with these fields.
    pub fields: Option<Arc<Fields>>,
    /// Told with what comes for it (MQTT 5, 3.8.2.1.2).
    pub identifier: Option<u32>,
}

/// A session. It outlives its connections where the protocol says so (MQTT session expiry).
pub struct Session {
    pub id: SessionId,
    pub identity: Identity,
    /// The encoding that routes are built for, and whether its copies are encoded apart from others'.
    wire: Mutex<(WireRef, bool)>,
    /// It outlives its connection; what is changed here must make the realm's routes stale.
    pub(super) persistent: AtomicBool,
    /// It reads the log and has no connection; what is changed here must make the realm's routes stale.
    pub(super) away: AtomicBool,
    /// It has its connection at another entry of the cluster, or had it there last; a change must be noted in the realm
    /// ([`super::realm::Realm::note_interest`]).
    pub(super) mirrored: AtomicBool,
    /// It has a connection, as far as others have been told.
    present: AtomicBool,
    /// It has its connection at another entry now, as far as the log has told.
    elsewhere: AtomicBool,
    /// Where its client is, or was last.
    origin: Mutex<Origin>,
    /// What else is told of it as long as it has a connection ([`super::house`]).
    pub(super) extra: Mutex<Vec<(String, Value)>>,
    mailbox: Mutex<Mailbox>,
    /// It may have waits, locks or wills: the log is told when it goes.
    holds: AtomicBool,
    /// All its subscriptions, if one of them looks for fields in the data of events; a change must make the realm's routes stale.
    sieves: Mutex<Option<Arc<[Sieve]>>>,
    sieved: AtomicBool,
    /// Its client understands that subscriptions are revoked (WAMP, Subscription Revocation).
    told_of_revocations: AtomicBool,
    /// Set for the session that answers the broker's own procedures.
    pub(super) inbox: OnceLock<Inbox>,
    /// Set for the session that another entry of the cluster is.
    pub(super) line: OnceLock<Line>,
    /// Calls under way whose answers go elsewhere than to the mailbox; bounded by the dealer's limit of calls.
    pub replies: Mutex<HashMap<RequestId, ReplyTo>>,
    /// Procedures that an MQTT session answers: the topic its invocations are published on, and the QoS it granted.
    pub procedures: Mutex<HashMap<RegistrationId, (Arc<Topic>, Qos)>>,
    /// What it may do. A session that is kept gets others when its user comes back with others.
    rights: Mutex<Rights>,
}

impl Session {
    pub fn new(id: SessionId, identity: Identity, wire: WireRef, mailbox: Mailbox) -> Self {
        Self {
            id,
            origin: Mutex::new(identity.origin.clone()),
            identity,
            wire: Mutex::new((wire, false)),
            persistent: AtomicBool::new(mailbox.keeps),
            away: AtomicBool::new(false),
            mirrored: AtomicBool::new(false),
            present: AtomicBool::new(false),
            elsewhere: AtomicBool::new(false),
            extra: Mutex::default(),
            mailbox: Mutex::new(mailbox),
            holds: AtomicBool::new(false),
            sieves: Mutex::default(),
            sieved: AtomicBool::new(false),
            told_of_revocations: AtomicBool::new(false),
            inbox: OnceLock::new(),
            line: OnceLock::new(),
            replies: Mutex::default(),
            procedures: Mutex::default(),
            rights: Mutex::default(),
        }
    }

    /// Who it is, for those who are to be told.
    pub fn discloser(&self) -> Discloser {
        let Identity { authid, authrole, .. } = &self.identity;
        Discloser { session: self.id, authid: Some(authid.clone()), authrole: Some(authrole.clone()) }
    }

    /// Whether it outlives its connection.
    pub fn is_persistent(&self) -> bool {
        self.persistent.load(Ordering::Relaxed)
    }

    /// Whether it is a client's, and not of a part of the broker.
    pub fn is_clients(&self) -> bool {
        self.identity.authmethod != "internal"
    }

    /// Whether it has a connection.
    pub fn is_present(&self) -> bool {
        self.present.load(Ordering::Acquire)
    }

    /// Whether it was before.
    pub(super) fn set_present(&self, present: bool) -> bool {
        self.present.swap(present, Ordering::AcqRel)
    }

    /// Whether it has its connection at another entry of the cluster now, and not only had it there last.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.elsewhere.load(Ordering::Acquire)
    }

    /// Whether it was before.
    pub(crate) fn set_elsewhere(&self, elsewhere: bool) -> bool {
        self.elsewhere.swap(elsewhere, Ordering::AcqRel)
    }

    /// Whether its connection is, or was last, at another entry of the cluster.
    pub(super) fn is_mirror(&self) -> bool {
        self.mirrored.load(Ordering::Acquire)
    }

    /// Where its client is, or was last.
    pub fn origin(&self) -> Origin {
        self.origin.lock().clone()
    }

    /// It has another connection.
    pub(super) fn set_origin(&self, origin: Origin) {
        *self.origin.lock() = origin;
    }

    /// What its client speaks.
    pub fn protocol(&self) -> Protocol {
        self.wire.lock().0.0.protocol()
    }

    /// Asks its connection to end; `false`: it has none, or one that ends already.
    pub fn kick(&self, kick: &Kick) -> bool {
        let link = self.mailbox().online().map(|online| online.link.clone());
        link.is_some_and(|link| link.kick(kick.clone()))
    }

    /// The session's mailbox. Held for as short as can be, and never over an await.
    pub fn mailbox(&self) -> MutexGuard<'_, Mailbox> {
        self.mailbox.lock()
    }

    /// What it may do; nothing, until that was said.
    pub fn rights(&self) -> Rights {
        self.rights.lock().clone()
    }

    /// To be called before its client is told that it came in.
    pub fn set_rights(&self, rights: Rights) {
        *self.rights.lock() = rights;
    }

    /// See [`Session::sift`]. To be called before the router is told of the subscription that comes or goes.
    pub(super) fn set_sieves(&self, all: impl Iterator<Item = Sieve>) {
        let all: Vec<_> = all.collect();
        let sieves = all.iter().any(|sieve| sieve.fields.is_some()).then(|| all.into());
        let mut current = self.sieves.lock();
        self.sieved.store(sieves.is_some(), Ordering::Release);
        *current = sieves;
    }

    /// Whether one of its subscriptions looks for fields.
    pub(super) fn is_sieved(&self) -> bool {
        self.sieved.load(Ordering::Acquire)
    }

    /// The terms of a copy that is merged from all subscriptions which match the topic, without the identifiers of those that do
    /// not let these data through; `None`: none of them does. The QoS stays that of all which match the topic.
    pub fn sift<'t>(&self, topic: &Topic, payload: PayloadRef<'_>, terms: &'t Terms) -> Option<Cow<'t, Terms>> {
        if !self.is_sieved() {
            return Some(Cow::Borrowed(terms));
        }
        let Some(sieves) = self.sieves.lock().clone() else { return Some(Cow::Borrowed(terms)) };
        let matching = sieves.iter().filter(|sieve| sieve.pattern.matches(topic));
        let holds = |sieve: &&Sieve| sieve.fields.as_ref().is_none_or(|fields| fields.hold(payload));
        let (through, stopped): (SmallVec<[&Sieve; 4]>, SmallVec<[&Sieve; 4]>) = matching.partition(holds);
        // What it gets for a subscription that is gone was promised.
        if through.is_empty() && !stopped.is_empty() {
            return None;
        }
        let mut sifted = Cow::Borrowed(terms);
        for identifier in stopped.iter().filter_map(|sieve| sieve.identifier) {
            // Another subscription may have the same.
            if let Some(at) = sifted.identifiers.iter().position(|one| *one == identifier) {
                sifted.to_mut().identifiers.remove(at);
            }
        }
        Some(sifted)
    }

    pub fn tell_of_revocations(&self) {
        self.told_of_revocations.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_told_of_revocations(&self) -> bool {
        self.told_of_revocations.load(Ordering::Relaxed)
    }

    /// The session has asked for what ends with it: to be called before the log is given that.
    pub fn note_holds(&self) {
        self.holds.store(true, Ordering::SeqCst);
    }

    /// Whether it may have locks, waits or wills.
    pub(super) fn may_hold(&self) -> bool {
        self.holds.load(Ordering::SeqCst)
    }

    /// Whether the log is to be told that the session goes; only the first who asks is to do it.
    pub fn take_holds(&self) -> bool {
        self.holds.swap(false, Ordering::SeqCst)
    }

    /// Changes the encoding; the realm's routes must be made stale after (see `Realm::set_wire`). Tells whether it changed.
    pub(super) fn set_wire(&self, wire: WireRef, apart: bool) -> bool {
        let mut current = self.wire.lock();
        let changed = *current != (wire, apart);
        *current = (wire, apart);
        changed
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("id", &self.id).field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Subscriber for Arc<Session> {
    type Wire = WireRef;

    fn id(&self) -> SessionId {
        self.id
    }

    fn wire(&self) -> WireRef {
        self.wire.lock().0
    }

    fn apart(&self) -> bool {
        self.is_sieved() || self.wire.lock().1
    }

    fn persistent(&self) -> bool {
        self.persistent.load(Ordering::Relaxed)
    }

    fn away(&self) -> bool {
        self.away.load(Ordering::Acquire)
    }

    fn mirrored(&self) -> bool {
        self.mirrored.load(Ordering::Acquire)
    }
}

/// Connections whose outbox was filled in this batch: each is woken once, when the batch is done, or when this is dropped: nobody
/// else will wake them, for each was noted as woken.
#[derive(Default)]
pub struct Touched {
    links: Vec<Arc<Link>>,
}

impl Touched {
    /// Notes that something waits in a mailbox.
    pub fn note(&mut self, mailbox: &mut Mailbox) {
        if let Some(link) = mailbox.take_wake() {
            self.links.push(link);
        }
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Wakes them all.
    pub fn wake(&mut self) {
        for link in self.links.drain(..) {
            link.wake();
        }
    }
}

impl Drop for Touched {
    fn drop(&mut self) {
        self.wake();
    }
}
