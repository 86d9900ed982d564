//! An open session: what each message of its client does.

use std::sync::Arc;

use bytes::Bytes;

use super::asking::Held;
use super::call::Procedures;
use super::passthru::PassthruFeatures;
use super::pending::Pending;
use super::resume::{Arrivals, Awaited, Snapshots};
use super::testament::Testaments;
use crate::delivery::outbox::Taken;
use crate::node::Node;
use crate::node::link::Link;
use crate::node::metrics::Protocol;
use crate::node::publish::{Publisher, Settled};
use crate::node::realm::Realm;
use crate::node::session::Session;
use crate::node::users::ANONYMOUS;
use crate::router::authorize::Rights;
use crate::router::dealer::{CalleeFeatures, Violation};
use crate::types::event::Discloser;
use crate::types::ids::RequestId;
use crate::types::payload::PayloadRef;
use crate::wamp::message::{Dict, Kind, Message};
use crate::wamp::serializer::Wire;
use crate::wamp::wire::text_args;

/// Why a session is over, from the client's side.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// It broke the protocol: ABORT, with this as its message.
    Violation(String),
    /// GOODBYE, to be answered.
    Goodbye,
    /// ABORT, not to be answered.
    Aborted,
}

impl From<Violation> for Leave {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation.to_string())
    }
}

/// See the module.
pub(super) struct Open {
    pub node: Arc<Node>,
    pub realm: Arc<Realm>,
    pub session: Arc<Session>,
    pub rights: Rights,
    pub publisher: Publisher,
    /// The session as it is told to others, where that is asked for.
    pub discloser: Arc<Discloser>,
    pub procedures: Procedures,
    pub features: CalleeFeatures,
    /// It has announced that it may call in parts (WAMP, Progressive Call Invocations).
    pub calls_in_parts: bool,
    pub passthru: PassthruFeatures,
    pub testaments: Testaments,
    pub wire: Wire,
    pub frame_bytes_max: usize,
    /// PUBLISHED of this read batch, to be handed to the mailbox at its end or before another answer.
    pub acknowledgements: Vec<u8>,
    /// What waits for the durable log.
    pub pending: Pending,
    settled: Vec<Settled>,
    /// What is read for the session, and how many answers are to come.
    pub arrivals: Arc<Arrivals>,
    pub expected: usize,
    pub snapshots: Snapshots,
    pub awaited: Vec<Awaited>,
    /// See [`super::asking`].
    pub held: Option<Held>,
    pub link: Arc<Link>,
    /// GOODBYE has come, and is answered when what was asked before is settled.
    leaving: bool,
}

impl Open {
    #[expect(clippy::too_many_arguments)] // each of its own kind, and one caller
    pub fn new(
        node: Arc<Node>,
        realm: Arc<Realm>,
        session: Arc<Session>,
        rights: Rights,
        features: CalleeFeatures,
        wire: Wire,
        frame_bytes_max: usize,
        link: &Arc<Link>,
    ) -> Self {
        let identity = &session.identity;
        let discloser = Discloser {
            session: session.id,
            authid: Some(identity.authid.clone()),
            authrole: Some(identity.authrole.clone()),
        };
        let mut publisher =
            Publisher::new(node.clone(), realm.clone(), Some(session.id), Some(rights.clone()), Protocol::Wamp);
        publisher.listen(link.clone());
        let discloser = Arc::new(discloser);
        publisher.introduce(discloser.clone());
        Self {
            node,
            realm,
            session,
            rights,
            publisher,
            discloser,
            procedures: Procedures::default(),
            features,
            calls_in_parts: false,
            passthru: PassthruFeatures::default(),
            testaments: Testaments::default(),
            wire,
            frame_bytes_max,
            acknowledgements: Vec::new(),
            pending: Pending::default(),
            settled: Vec::new(),
            arrivals: Arrivals::new(link.clone()),
            expected: 0,
            snapshots: Snapshots::new(),
            awaited: Vec::new(),
            held: None,
            link: link.clone(),
            leaving: false,
        }
    }

    /// Handles one message. `backing` is the buffer that it lies in.
    ///
    /// # Errors
    /// The session is over.
    #[inline]
    pub fn handle(&mut self, message: Message<'_>, backing: &Bytes, now_ms: u64) -> Result<(), Leave> {
        self.publisher.now_ms = now_ms;
        match message {
            // Nothing comes behind GOODBYE.
            _ if self.leaving => Ok(()),
            Message::Publish { request, options, topic, payload } => {
                self.publish(request, &options, &topic, payload, backing)
            }
            other => {
                self.flush();
                self.command(other)
            }
        }
    }

    fn command(&mut self, message: Message<'_>) -> Result<(), Leave> {
        match message {
            Message::Call { request, options, procedure, payload } => {
                return self.call(request, &options, &procedure, payload);
            }
            Message::Yield { request, options, payload } => return self.yield_result(request, &options, payload),
            Message::Error { request_kind: Kind::Invocation, request, details, error, payload } => {
                return self.invocation_error(request, &details, &error, payload);
            }
            Message::Cancel { request, options } => self.cancel(request, &options),
            Message::Subscribe { request, options, topic } => self.subscribe(request, &options, &topic),
            Message::Unsubscribe { request, subscription } => self.unsubscribe(request, subscription),
            Message::Register { request, options, procedure } => self.register(request, &options, &procedure),
            Message::Unregister { request, registration } => self.unregister(request, registration),
            Message::Goodbye { .. } if self.pending.is_settled() => return Err(Leave::Goodbye),
            Message::Goodbye { .. } => self.leaving = true,
            Message::Abort { .. } => return Err(Leave::Aborted),
            other => {
                let text = format!("{} is not allowed while a session is open", other.kind().name());
                return Err(Leave::Violation(text));
            }
        }
        Ok(())
    }

    /// Hands over what was published and acknowledged, so that what comes next comes behind it.
    pub fn flush(&mut self) {
        self.publisher.flush();
        if !self.acknowledgements.is_empty() {
            let acknowledgements = &mut self.acknowledgements;
            self.session.mailbox().outbox.push_reply(acknowledgements);
            acknowledgements.clear();
        }
    }

    /// Ends a read batch.
    pub fn finish(&mut self) {
        self.flush();
        self.publisher.finish();
    }

    /// Answers a request with an error.
    pub fn error(&mut self, kind: Kind, request: RequestId, uri: &str, text: &str) {
        let args = text_args(text, self.wire.format);
        let mut message = Message::Error {
            request_kind: kind,
            request,
            details: Dict::Empty,
            error: uri.into(),
            payload: PayloadRef::Args { format: self.wire.format, args: Some(&args), kwargs: None },
        };
        let mut frame = Vec::new();
        let _ = self.wire.append(&message, &mut frame);
        if frame.len() > self.frame_bytes_max
            && let Message::Error { payload, .. } = &mut message
        {
            *payload = PayloadRef::NONE;
            frame.clear();
            let _ = self.wire.append(&message, &mut frame);
        }
        self.acknowledgements.extend_from_slice(&frame);
    }

    /// Whether the client has said and proved who it is.
    pub fn is_named(&self) -> bool {
        self.session.identity.authmethod != ANONYMOUS
    }

    /// Tells the client what has become of what it asked, as far as the log has decided. `true`: it has said GOODBYE, and all that
    /// it asked before is settled.
    pub fn hear(&mut self, now_ms: u64) -> bool {
        if self.pending.is_empty() && self.expected == 0 && self.awaited.is_empty() {
            return false;
        }
        self.publisher.now_ms = now_ms;
        let mut all = std::mem::take(&mut self.settled);
        self.publisher.hear(|settled| all.push(settled));
        for settled in all.drain(..) {
            self.settle(settled);
            self.settle_retained();
        }
        self.settled = all;
        if self.expected > 0 {
            self.arrive();
        }
        if !self.awaited.is_empty() {
            self.settle_awaited();
        }
        // What waited may be under way now.
        self.finish();
        self.leaving && self.pending.is_settled()
    }

    /// Whether GOODBYE waits to be answered.
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// What is to be written now.
    pub fn take(&mut self, spare: Vec<u8>, now_ms: u64) -> Taken {
        let mut mailbox = self.session.mailbox();
        let offered = mailbox.refill(now_ms);
        if !self.snapshots.is_empty() {
            drop(mailbox);
            self.end_snapshots();
            mailbox = self.session.mailbox();
        }
        let moved = if mailbox.reads_log() { mailbox.take_moved() } else { Vec::new() };
        let taken = mailbox.take(spare);
        drop(mailbox);
        self.node.record(&self.realm.name, moved);
        self.publisher.count(offered);
        taken
    }

    /// Leaves the realm; `orderly`: as the client has asked. Returns what was in the mailbox, to be written before the last word.
    pub fn leave(mut self, link: &Arc<Link>, orderly: bool) -> Taken {
        self.flush();
        self.publish_testaments();
        self.publisher.part();
        let (taken, moved) = {
            let mut mailbox = self.session.mailbox();
            let taken = mailbox.take_all(Vec::new());
            mailbox.detach(link);
            (taken, mailbox.take_moved())
        };
        self.node.record(&self.realm.name, moved);
        self.realm.leave(&self.node, &self.session, orderly);
        taken
    }
}
