//! Calls between this entry and another.
//!
//! ```text
//! Dealer -Output to the peer's session-> Wire here -frame-> link -> PeerCalls there -command of that session-> Dealer there
//! ```
//!
//! [`crate::router::dealer`] has the rules: the other entry is a session that answers and makes calls. What the dealer puts
//! out for it is written as a [`frame`] while the dealer is locked, so that frames of one call are in order. Each side has a number for
//! its life of the pair, new with each link, and takes only frames that name both: so nothing said before the link broke, or in an
//! earlier life of an entry, is taken for an answer to what is asked now.
//!
//! A frame with a payload is not sent if the link has no room, and not taken if too much waits here already; then its head is,
//! without the payload, and the caller gets an error. All other frames are small, and always sent.

mod frame;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use frame::{Caller, NotesRow, Opened, What};
pub use frame::{Lives, cut};

use super::{Node, Peers};
use crate::delivery::backlog::Backlog;
use crate::delivery::outbox::Outbox;
use crate::node::mailbox::Mailbox;
use crate::node::realm::Realm;
use crate::node::session::{Identity, Session, Touched};
use crate::node::wire::{Encoded, Unencodable, Wire, WireId, WireRef};
use crate::queue::message::Malformed;
use crate::queue::state::rows;
use crate::router::dealer::{Call, Part, Rank, Said, peer_session};
use crate::router::interest::{Offered, PeerId};
use crate::router::output::{Failure, Invocation, InvocationPolicy, Output, Refusal};
use crate::types::event::{Discloser, Event, Terms};
use crate::types::ids::{InvocationId, RequestId, SessionId};
use crate::types::payload::PayloadRef;
use crate::types::topic::{Topic, TopicPattern};

/// Why a frame was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsaid {
    /// The link has no room for what may be dropped.
    Full,
    /// It is longer than frames may be.
    TooLong,
    /// There is no link. Whoever waits for something over it is told soon.
    Gone,
}

/// Sends a frame about calls to a peer, one that may be dropped (`true`) or one that may not; never waits.
pub type SayFn = Box<dyn Fn(PeerId, Bytes, bool) -> Result<(), Unsaid> + Send + Sync>;

/// By which frames about calls leave.
pub(super) struct Way {
    rank: Rank,
    say: SayFn,
}

#[derive(Debug, Default)]
pub(super) struct CallCounts {
    out: AtomicU64,
    came: AtomicU64,
}

/// Where frames of a peer's session go.
pub struct Line {
    realm: Arc<str>,
    peer: PeerId,
    lives: Lives,
    peers: Arc<Peers>,
}

/// One other entry.
pub struct PeerCalls {
    node: Arc<Node>,
    peer: PeerId,
    rank: Rank,
    /// `None`: nothing was heard of it since the link came.
    lives: Option<Lives>,
    /// What it is in the realms that it has said something about.
    sessions: HashMap<Arc<str>, (Arc<Realm>, Arc<Session>)>,
}

impl Node {
    /// Has calls go to the other entries. `rank`: of this one among all. To be called once, before clients come.
    pub fn open_calls(&self, rank: Rank, say: SayFn) {
        if self.peers.calls.set(Way { rank, say }).is_ok() {
            self.realms().iter().for_each(|realm| realm.dealer.lock().watch(rank));
        }
    }
}

impl Peers {
    /// Calls that were sent to other entries, and that came from there, since the node began.
    pub fn call_counts(&self) -> (u64, u64) {
        let CallCounts { out, came } = &self.call_counts;
        (out.load(Ordering::Relaxed), came.load(Ordering::Relaxed))
    }

    /// The place of this entry among all, if it is one of several.
    pub(in crate::node) fn rank(&self) -> Option<Rank> {
        self.calls.get().map(|way| way.rank)
    }
}

impl PeerCalls {
    /// `rank`: of the peer among all entries.
    pub fn new(node: Arc<Node>, peer: PeerId, rank: Rank) -> Self {
        Self { node, peer, rank, lives: None, sessions: HashMap::new() }
    }

    /// The peer has begun a life, or this entry has for it: what was before is over.
    pub fn begin(&mut self, lives: Lives) {
        if self.lives != Some(lives) {
            self.end();
            self.lives = Some(lives);
        }
    }

    /// The link is gone, or the life of either side. Calls over it end.
    pub fn end(&mut self) {
        self.lives = None;
        for (_, (realm, session)) in self.sessions.drain() {
            realm.leave_calls(&self.node, &session);
        }
    }

    /// The peer has these callees now.
    pub fn offered(&mut self, offered: &Offered, now_ms: u64) {
        let rank = self.rank;
        if let Some((realm, session)) = self.session(&offered.realm) {
            realm.dealer.lock().set_offers(rank, session, &offered.pattern, &offered.offers, now_ms);
        }
    }

    /// Takes a frame.
    ///
    /// # Errors
    /// It is none.
    pub fn receive(&mut self, frame: &[u8], now_ms: u64, touched: &mut Touched) -> Result<(), Malformed> {
        let Opened { lives, head, payload } = Opened::read(frame)?;
        // Of a life before: whoever sent it is told so by what this side says first in its life.
        if self.lives != Some(Lives { own: lives.peer, peer: lives.own }) {
            return Ok(());
        }
        let (node, rank) = (self.node.clone(), self.rank);
        let Some((realm, session)) = self.session(head.realm) else {
            if matches!(head.what, What::Call { .. }) {
                self.refuse(head.realm, head.id, Refusal::NoSuchProcedure);
            }
            return Ok(());
        };
        let (callee, invocation, request) = (peer_session(rank), InvocationId(head.id), RequestId(head.id));
        let heard = match head.what {
            What::Call { .. } => {
                node.peers.call_counts.came.fetch_add(1, Ordering::Relaxed);
                let Some(payload) = payload else {
                    self.refuse(head.realm, head.id, Refusal::ReceiverBlocked);
                    return Ok(());
                };
                if node.is_tight() {
                    self.refuse(head.realm, head.id, Refusal::MemoryFull);
                    return Ok(());
                }
                let (asked, pattern, policy) = Asked::read(&head.what, realm, request, payload)?;
                realm.command(&node, touched, |dealer, out| {
                    dealer.call_from_peer(rank, session, &asked.call(), &pattern, policy, now_ms, out)
                })
            }
            What::More { progress, passthru } => realm.command(&node, touched, |dealer, out| match payload {
                Some(payload) => {
                    let passthru = passthru.as_ref();
                    let part = Part { request, procedure: None, payload, passthru, progress };
                    dealer.continue_from_peer(rank, &part, out);
                    Ok(())
                }
                None => {
                    dealer.result_undeliverable(callee, request, Refusal::ReceiverBlocked, out);
                    Ok(())
                }
            }),
            What::Returned { why, .. } => match payload {
                Some(payload) => {
                    let asked = Asked::returned(&head.what, realm, request, payload)?;
                    realm.command(&node, touched, |dealer, out| {
                        dealer.call_returned(callee, invocation, &asked.call(), why, now_ms, out)
                    })
                }
                None => realm.command(&node, touched, |dealer, out| {
                    dealer.invocation_refused(callee, invocation, why, false, out)
                }),
            },
            What::Interrupt { mode, why } => realm.command(&node, touched, |dealer, out| {
                dealer.interrupt_from_peer(rank, request, mode, why, out);
                Ok(())
            }),
            What::Result { progress, passthru } => realm.command(&node, touched, |dealer, out| match payload {
                Some(payload) => {
                    let said = Said { payload, passthru: passthru.as_ref() };
                    dealer.yield_result(callee, invocation, progress, said, now_ms, out)
                }
                None => dealer.invocation_refused(callee, invocation, Refusal::ReceiverBlocked, progress, out),
            }),
            What::Failed { uri, passthru } => realm.command(&node, touched, |dealer, out| match payload {
                Some(payload) => {
                    let said = Said { payload, passthru: passthru.as_ref() };
                    dealer.invocation_error(callee, invocation, uri, said, out)
                }
                None => dealer.invocation_refused(callee, invocation, Refusal::ReceiverBlocked, false, out),
            }),
            What::Refused { why } => realm
                .command(&node, touched, |dealer, out| dealer.invocation_refused(callee, invocation, why, false, out)),
            What::TakeOver { pattern, authid, client_id } => {
                let pattern = rows::read_pattern(&pattern).ok_or(Malformed)?;
                realm.command(&node, touched, |dealer, out| dealer.take_over(&pattern, authid, client_id, out));
                Ok(())
            }
        };
        // It and the end of the call have crossed.
        if let Err(violation) = heard {
            tracing::debug!(%violation, "another entry says something of a call that is not known");
        }
        Ok(())
    }

    /// The realm, and what the peer is there; `None`: the realm is not known here, or nothing is known of the peer.
    fn session(&mut self, realm: &str) -> Option<(&Arc<Realm>, &Arc<Session>)> {
        let lives = self.lives?;
        if !self.sessions.contains_key(realm) {
            let found = self.node.realm(realm)?;
            let line = Line { realm: found.name.clone(), peer: self.peer, lives, peers: self.node.peers.clone() };
            let session = session(peer_session(self.rank), line);
            self.sessions.insert(found.name.clone(), (found, session));
        }
        self.sessions.get(realm).map(|(realm, session)| (realm, session))
    }

    fn refuse(&self, realm: &str, id: u64, why: Refusal) {
        if let (Some(way), Some(lives)) = (self.node.peers.calls.get(), self.lives) {
            let frame = frame::write(lives, realm, id, What::Refused { why }, PayloadRef::NONE);
            // If there is no link, nobody waits.
            let _ = (way.say)(self.peer, frame, false);
        }
    }
}

/// A call of a peer, or one that it returns.
struct Asked<'a> {
    request: RequestId,
    procedure: Topic,
    caller: Discloser,
    codec: crate::types::payload::Codec,
    payload: PayloadRef<'a>,
    disclose_me: bool,
    receive_progress: bool,
    progress: bool,
    timeout_ms: u64,
    notes: NotesRow<'a>,
}

impl<'a> Asked<'a> {
    /// The call, and with what its callee is registered.
    fn read(
        what: &What<'a>,
        realm: &Realm,
        request: RequestId,
        payload: PayloadRef<'a>,
    ) -> Result<(Self, TopicPattern, InvocationPolicy), Malformed> {
        let &What::Call { procedure, ref pattern, policy, caller, disclose_me, receive_progress, .. } = what else {
            return Err(Malformed);
        };
        let What::Call { progress, timeout_ms, notes, .. } = what else { return Err(Malformed) };
        let (progress, timeout_ms, notes) = (*progress, *timeout_ms, notes.clone());
        let asked = Self::new(realm, request, procedure, caller, payload)?;
        let asked = Self { disclose_me, receive_progress, progress, timeout_ms, notes, ..asked };
        Ok((asked, rows::read_pattern(pattern).ok_or(Malformed)?, policy))
    }

    fn returned(
        what: &What<'a>,
        realm: &Realm,
        request: RequestId,
        payload: PayloadRef<'a>,
    ) -> Result<Self, Malformed> {
        let What::Returned { procedure, caller, disclose_me, timeout_ms, notes, .. } = what else {
            return Err(Malformed);
        };
        let asked = Self::new(realm, request, procedure, *caller, payload)?;
        Ok(Self { disclose_me: *disclose_me, timeout_ms: *timeout_ms, notes: notes.clone(), ..asked })
    }

    fn new(
        realm: &Realm,
        request: RequestId,
        procedure: &str,
        caller: Caller<'_>,
        payload: PayloadRef<'a>,
    ) -> Result<Self, Malformed> {
        let procedure = Topic::from_name(procedure).map_err(|_| Malformed)?;
        let (session, authid, authrole) = caller;
        Ok(Self {
            request,
            caller: Discloser {
                session: SessionId(session),
                authid: authid.map(str::to_owned),
                authrole: authrole.map(str::to_owned),
            },
            codec: realm.codec(&procedure),
            procedure,
            payload,
            disclose_me: false,
            receive_progress: false,
            progress: false,
            timeout_ms: 0,
            notes: NotesRow::default(),
        })
    }

    fn call(&self) -> Call<'_> {
        Call {
            request: self.request,
            procedure: &self.procedure,
            payload: self.payload,
            codec: self.codec,
            timeout_ms: self.timeout_ms,
            receive_progress: self.receive_progress,
            progress: self.progress,
            disclose_me: self.disclose_me,
            caller: &self.caller,
            notes: self.notes.as_notes(),
        }
    }
}

fn said(caller: &Discloser) -> Caller<'_> {
    (caller.session.0, caller.authid.as_deref(), caller.authrole.as_deref())
}

/// The session that a peer is in a realm.
fn session(id: SessionId, line: Line) -> Arc<Session> {
    let identity = Identity::new("fennec", "fennec", "internal");
    let mailbox = Mailbox::new(Outbox::new(0), Backlog::new(0, 0), false);
    let session = Arc::new(Session::new(id, identity, WireRef(&FRAMES), mailbox));
    // Nobody else has had the session yet.
    let _ = session.line.set(line);
    session
}

static FRAMES: Frames = Frames;

/// Writes what is for a peer.
struct Frames;

impl Wire for Frames {
    fn id(&self) -> WireId {
        // Those of gates are lower; the one above is that of the broker's own procedures.
        WireId(u8::MAX - 1)
    }

    fn event(&self, _: &Event<'_>, _: &Terms, _: bool, _: &mut Vec<u8>) -> Result<Encoded, Unencodable> {
        Err(Unencodable::Gone)
    }

    fn rpc(&self, to: &Arc<Session>, output: &Output<'_, Arc<Session>>, _: &mut Touched) -> Result<(), Unencodable> {
        let line = to.line.get().ok_or(Unencodable::Gone)?;
        match output {
            Output::Invocation(invocation) => line.invoke(invocation),
            Output::Interrupt { invocation, mode, reason, .. } => {
                line.say(invocation.0, What::Interrupt { mode: *mode, why: *reason })
            }
            Output::Result { request, progress, payload, passthru, .. } => {
                let passthru = passthru.cloned();
                line.pass_on(request.0, What::Result { progress: *progress, passthru }, *payload)
            }
            Output::Error { request, failure: Failure::Callee { uri, payload, passthru, .. }, .. } => {
                line.pass_on(request.0, What::Failed { uri, passthru: passthru.cloned() }, *payload)
            }
            Output::Error { request, failure: Failure::Refused(why), .. } => {
                line.say(request.0, What::Refused { why: *why })
            }
            Output::Returned { call, why, .. } => line.give_back(call, *why),
            Output::TakeOver { pattern, authid, client_id, .. } => {
                line.say(0, What::TakeOver { pattern: rows::pattern_text(pattern), authid, client_id: *client_id })
            }
            // A peer asks for nothing of that.
            Output::Registered { .. }
            | Output::Unregistered { .. }
            | Output::Revoked { .. }
            | Output::Registration(_) => Ok(()),
        }
    }
}

impl Line {
    fn invoke(&self, invocation: &Invocation<'_, Arc<Session>>) -> Result<(), Unencodable> {
        if invocation.continues {
            let passthru = invocation.passthru.cloned();
            let what = What::More { progress: invocation.progress, passthru };
            return self.pass_on(invocation.invocation.0, what, invocation.payload);
        }
        let (elsewhere, caller) = invocation.elsewhere.zip(invocation.caller).ok_or(Unencodable::Gone)?;
        let what = What::Call {
            procedure: elsewhere.procedure.name(),
            pattern: rows::pattern_text(elsewhere.pattern),
            policy: elsewhere.policy,
            caller: said(caller),
            disclose_me: elsewhere.disclose_me,
            receive_progress: invocation.receive_progress,
            progress: invocation.progress,
            timeout_ms: invocation.timeout_ms.unwrap_or(0),
            notes: elsewhere.notes.into(),
        };
        self.pass_on(invocation.invocation.0, what, invocation.payload)?;
        self.peers.call_counts.out.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Returns a call. If there is no room for its payload, the caller's entry is told why nobody was called.
    fn give_back(&self, call: &Call<'_>, why: Refusal) -> Result<(), Unencodable> {
        let what = What::Returned {
            why,
            procedure: call.procedure.name(),
            caller: said(call.caller),
            disclose_me: call.disclose_me,
            timeout_ms: call.timeout_ms,
            notes: call.notes.into(),
        };
        self.pass_on(call.request.0, what, call.payload).or_else(|_| self.say(call.request.0, What::Refused { why }))
    }

    /// Sends what has to come there as long as there is a link.
    fn say(&self, id: u64, what: What<'_>) -> Result<(), Unencodable> {
        self.send(id, what, PayloadRef::NONE, false)
    }

    /// Sends what a caller or callee has said, if there is room.
    fn pass_on(&self, id: u64, what: What<'_>, payload: PayloadRef<'_>) -> Result<(), Unencodable> {
        self.send(id, what, payload, true)
    }

    fn send(&self, id: u64, what: What<'_>, payload: PayloadRef<'_>, droppable: bool) -> Result<(), Unencodable> {
        if u32::try_from(payload.len()).is_err() {
            return Err(Unencodable::TooLarge);
        }
        let way = self.peers.calls.get().ok_or(Unencodable::Gone)?;
        let frame = frame::write(self.lives, &self.realm, id, what, payload);
        (way.say)(self.peer, frame, droppable).map_err(|unsaid| match unsaid {
            Unsaid::Full => Unencodable::Full,
            Unsaid::TooLong => Unencodable::TooLarge,
            Unsaid::Gone => Unencodable::Gone,
        })
    }
}
