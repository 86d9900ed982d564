//! The session machine: messages in, messages out, no IO.
//!
//! ```text
//! Start --HELLO--> Open <--------------- AUTHENTICATE
//!    \--HELLO, authmethods--> Challenged --'        (a password is checked on another thread: Verifying)
//! Open --GOODBYE--> Start        anything the protocol forbids --ABORT--> Closed
//! ```
//!
//! - `hello`: who comes in, and how it proves who it is.
//! - `open`: an open session; `publish`, `subscribe` and `call` are what its messages do.
//! - `asking`: messages that wait until somebody has decided about them.
//! - `options`: reading options; `passthru`: those of payloads that nobody in between reads.
//! - `testament`: what is published when the session is over.
//! - `pending`: what waits for the durable log.
//! - `resume`: subscriptions that ask for older events.
//!
//! Request ids are taken as they come, as other routers do, though the specification has clients count them: only a CALL may not
//! use the id of a call that is under way. Left out on purpose: the meta API, testaments, and every feature that WELCOME
//! does not announce.

mod asking;
mod call;
mod hello;
mod open;
mod options;
mod passthru;
mod pending;
mod publish;
mod resume;
mod subscribe;
mod testament;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;

use super::message::{Dict, DictWriter, Message, decode};
use super::serializer::{Encoding, Framing, Wire, is_text};
use crate::delivery::outbox::Taken;
use crate::net::gate::{Flow, Machine, MessageGate};
use crate::node::Node;
use crate::node::authenticate::Answer;
use crate::node::authenticate::cookies::Carried;
use crate::node::link::{End, Link};
use crate::node::metrics::{Protocol, Tally};
use crate::node::user_seats::UserSeat;
use crate::types::payload::PayloadRef;
use crate::types::peer::Peer;
use asking::About;
use hello::{Challenged, Verifying};
use open::{Leave, Open};

const INVALID_ARGUMENT: &str = "wamp.error.invalid_argument";
const INVALID_URI: &str = "wamp.error.invalid_uri";
const NOT_AUTHORIZED: &str = "wamp.error.not_authorized";
const DISCLOSURE: &str = "wamp.error.option_disallowed.disclose_me";
const NO_SUCH_SUBSCRIPTION: &str = "wamp.error.no_such_subscription";
const PROTOCOL_VIOLATION: &str = "wamp.error.protocol_violation";
const QUOTA_EXCEEDED: &str = "fennec.error.quota_exceeded";
const NO_MEMORY: &str = "there is no memory for more";
const CONFLICT: &str = "fennec.error.conflict";
const CONDITION_FAILED: &str = "fennec.error.condition_failed";
const STORE_UNAVAILABLE: &str = "fennec.error.store_unavailable";

/// A client that has so many answers waiting is not read on.
const REPLY_BYTES_MAX: usize = 1024 * 1024;

/// Whom a listener lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Clients need not say who they are.
    pub anonymous: bool,
    /// What the WebSocket was opened with.
    pub cookie: Option<Carried>,
}

/// The session machine of one connection.
pub struct WampGate {
    node: Arc<Node>,
    access: Access,
    /// Who is at the other end of the connection.
    peer: Arc<Peer>,
    link: Arc<Link>,
    encoding: Encoding,
    wire: Wire,
    /// The largest frame that the client takes.
    frame_bytes_max: usize,
    state: State,
    /// To be written before what the mailbox holds: what is said outside of a session, and the last of one that is over.
    out: Taken,
    tally: Tally,
    /// When the connection or its last session ended up in `Start`.
    began_ms: u64,
    /// There was a session on this connection.
    welcomed: bool,
    /// When what the session was opened with holds no more.
    expires_ms: Option<u64>,
    /// Counts the connection as its user's, as long as there is a session.
    seat: Option<UserSeat>,
}

enum State {
    /// HELLO is awaited.
    Start {
        deadline_ms: u64,
    },
    /// AUTHENTICATE is awaited.
    Challenged(Box<Challenged>),
    /// A check is under way.
    Verifying(Box<Verifying>),
    Open(Box<Open>),
    /// ABORT or GOODBYE was the last word; the connection is to be closed.
    Closed,
}

impl WampGate {
    /// `frame_bytes_max`: what the client accepts at most, the frame's header included.
    #[expect(clippy::too_many_arguments)] // each of its own kind, and two callers
    pub fn new(
        node: Arc<Node>,
        access: Access,
        peer: Arc<Peer>,
        encoding: Encoding,
        wire: Wire,
        frame_bytes_max: usize,
        link: Arc<Link>,
        now_ms: u64,
    ) -> Self {
        let deadline_ms = now_ms + u64::from(node.limits.handshake_timeout_s) * 1000;
        Self {
            node,
            access,
            peer,
            link,
            encoding,
            wire,
            frame_bytes_max,
            state: State::Start { deadline_ms },
            out: Taken::default(),
            tally: Tally::default(),
            began_ms: now_ms,
            welcomed: false,
            expires_ms: None,
            seat: None,
        }
    }

    /// Handles the messages of one frame. `backing` is the buffer that it lies in.
    pub fn frame(&mut self, frame: &[u8], backing: &Bytes, now_ms: u64) -> Flow {
        self.tally.bytes_in += frame.len() as u64;
        let mut messages = self.encoding.messages(frame);
        let mut flow = Flow::Continue;
        while let Some(message) = messages.next() {
            if let (Some(separator), State::Start { .. }) = (messages.separator(), &self.state) {
                self.wire.framing = Framing::WebSocketBatched { separator };
            }
            self.tally.messages_in += 1;
            self.link.count_message();
            flow = match message {
                Ok(message) => self.message(message, backing, now_ms),
                Err(error) => self.violate(&error.to_string()),
            };
            if matches!(flow, Flow::Close) {
                break;
            }
        }
        flow
    }

    #[inline]
    fn message(&mut self, raw: &[u8], backing: &Bytes, now_ms: u64) -> Flow {
        let message = match decode(self.encoding.format, raw) {
            Ok(message) => message,
            Err(error) => return self.violate(&error.to_string()),
        };
        let State::Open(open) = &mut self.state else { return self.before_open(message, now_ms) };
        let mut about = About::new();
        if open.rights.asks().is_some() && open.must_hold(raw, &message, &mut about, now_ms) {
            return Flow::Continue;
        }
        let handled = open.handle(message, backing, now_ms);
        open.spend(&about);
        match handled {
            Ok(()) => Flow::Continue,
            Err(leave) => self.leave(leave, now_ms),
        }
    }

    /// Handles the messages that waited for a decision, as far as all is decided about them.
    fn go_on(&mut self, now_ms: u64) {
        while let State::Open(open) = &mut self.state
            && let Some(mut messages) = open.take_held()
        {
            let mut flow = messages.pop_front().map_or(Flow::Continue, |first| self.decided_about(&first, now_ms));
            while let (Flow::Continue, Some(next)) = (&flow, messages.pop_front()) {
                flow = self.message(&next, &next, now_ms);
            }
            if !matches!(flow, Flow::Continue) {
                // Between two reads nobody asks how it goes on.
                self.link.end(End::Over);
                return;
            }
            if let State::Open(open) = &mut self.state {
                open.finish();
            }
        }
    }

    /// A message about which all is decided.
    fn decided_about(&mut self, raw: &Bytes, now_ms: u64) -> Flow {
        let State::Open(open) = &mut self.state else { return Flow::Continue };
        // It could be read before.
        let Ok(message) = decode(self.encoding.format, raw) else { return Flow::Continue };
        let about = open.about(&message, now_ms);
        let handled = open.handle(message, raw, now_ms);
        open.spend(&about);
        match handled {
            Ok(()) => Flow::Continue,
            Err(leave) => self.leave(leave, now_ms),
        }
    }

    fn before_open(&mut self, message: Message<'_>, now_ms: u64) -> Flow {
        match (&self.state, message) {
            (State::Start { .. }, Message::Hello { realm, details }) => self.hello(&realm, &details, now_ms),
            (State::Challenged(_), Message::Authenticate { signature, extra }) => {
                self.authenticate(&signature, &extra, now_ms)
            }
            (State::Closed, _) => Flow::Close,
            (_, Message::Abort { .. }) => {
                self.state = State::Closed;
                Flow::Close
            }
            (State::Start { .. }, other) => {
                self.violate(&format!("{} is not allowed before HELLO", other.kind().name()))
            }
            (_, other) => self.violate(&format!("{} is not allowed during authentication", other.kind().name())),
        }
    }

    /// The client ends its session.
    fn leave(&mut self, leave: Leave, now_ms: u64) -> Flow {
        match leave {
            Leave::Violation(text) => self.violate(&text),
            Leave::Aborted => {
                self.close_session(false);
                Flow::Close
            }
            Leave::Goodbye => {
                self.close_session(true);
                let reason = "wamp.close.goodbye_and_out".into();
                self.say(&Message::Goodbye { details: Dict::Empty, reason });
                // The connection may carry another session (WAMP, Session Closing); if none comes it is closed.
                let deadline_ms = now_ms + u64::from(self.node.limits.handshake_timeout_s) * 1000;
                self.state = State::Start { deadline_ms };
                self.began_ms = now_ms;
                Flow::Continue
            }
        }
    }

    /// The client broke the protocol (WAMP, Protocol Errors).
    pub fn violate(&mut self, text: &str) -> Flow {
        self.tally.protocol_errors += 1;
        self.abort(PROTOCOL_VIOLATION, text)
    }

    /// Ends the session, and the connection, with ABORT.
    fn abort(&mut self, reason: &str, text: &str) -> Flow {
        tracing::debug!(peer = %self.peer, reason, what = text, "WAMP session aborted");
        self.close_session(false);
        let mut details = DictWriter::new(self.wire.format);
        details.text("message", text);
        let (details, reason) = (details.finish(), reason.into());
        self.say(&Message::Abort { details, reason, payload: PayloadRef::NONE });
        Flow::Close
    }

    /// Leaves the realm, if there is a session; what its mailbox held is still written. `orderly`: the client has said GOODBYE.
    fn close_session(&mut self, orderly: bool) {
        self.seat = None;
        if let State::Open(open) = std::mem::replace(&mut self.state, State::Closed) {
            tracing::debug!(peer = %self.peer, session = open.session.id.0, realm = &*open.realm.name, "WAMP session left");
            let taken = open.leave(&self.link, orderly);
            let before = std::mem::take(&mut self.out.tail);
            if !before.is_empty() {
                self.out.parts.push_back(Bytes::from(before));
            }
            self.out.parts.extend(taken.parts);
            self.out.tail = taken.tail;
        }
    }

    /// Writes a message outside of a session.
    fn say(&mut self, message: &Message<'_>) {
        let start = self.out.tail.len();
        // It is small: what could be long in it is cut when it is made.
        let _ = self.wire.append(message, &mut self.out.tail);
        if self.out.tail.len() - start > self.frame_bytes_max {
            self.out.tail.truncate(start);
        }
    }
}

impl MessageGate for WampGate {
    const FRAMES: bool = true;

    fn message(&mut self, payload: &Bytes, text: bool, now_ms: u64) -> Flow {
        if text != is_text(self.encoding.format) {
            let kind = if text { "binary" } else { "text" };
            return self.violate(&format!("{} goes in {kind} messages", self.encoding.format));
        }
        self.frame(payload, payload, now_ms)
    }

    fn finish(&mut self, _: u64) -> Flow {
        if let State::Open(open) = &mut self.state {
            open.finish();
        }
        self.node.metrics.of(Protocol::Wamp).add(&mut self.tally);
        Flow::Continue
    }
}

impl Machine for WampGate {
    fn verified(&mut self, answer: Answer, now_ms: u64) -> Flow {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Verifying(verifying) => self.checked(*verifying, answer, now_ms),
            other => {
                self.state = other;
                Flow::Continue
            }
        }
    }

    fn take(&mut self, spare: Vec<u8>, now_ms: u64) -> Taken {
        self.go_on(now_ms);
        if let State::Open(open) = &mut self.state
            && open.hear(now_ms)
        {
            // It may carry another session, so this is no end of the connection.
            let _ = self.leave(Leave::Goodbye, now_ms);
        }
        let mut taken = std::mem::take(&mut self.out);
        if let State::Open(open) = &mut self.state
            && taken.bytes() == 0
        {
            taken = open.take(spare, now_ms);
        }
        let bytes = taken.bytes();
        if bytes > 0 {
            self.tally.bytes_out += bytes as u64;
            self.node.metrics.of(Protocol::Wamp).add(&mut self.tally);
        }
        taken
    }

    fn may_read(&self) -> bool {
        match &self.state {
            State::Open(open) => open.session.mailbox().outbox.reply_bytes() < REPLY_BYTES_MAX,
            _ => self.out.tail.len() < REPLY_BYTES_MAX,
        }
    }

    fn must_pause(&mut self) -> bool {
        match &mut self.state {
            State::Open(open) => open.publisher.take_crowded(),
            _ => false,
        }
    }

    fn must_wait(&self) -> bool {
        match &self.state {
            State::Open(open) => open.publisher.must_wait() || open.is_leaving() || open.is_holding(),
            _ => false,
        }
    }

    fn deadline_ms(&self) -> Option<u64> {
        match &self.state {
            State::Start { deadline_ms } => Some(*deadline_ms),
            State::Challenged(challenged) => Some(challenged.deadline_ms),
            State::Open(_) => self.expires_ms,
            State::Verifying(_) | State::Closed => None,
        }
    }

    fn expired(&mut self, now_ms: u64) -> Flow {
        match &self.state {
            State::Open(_) if self.expires_ms.is_some_and(|at| at <= now_ms) => {
                self.abort("wamp.error.authentication_failed", "what the session was opened with has expired")
            }
            State::Challenged(_) => {
                self.tally.auth_failures += 1;
                self.abort("wamp.error.authentication_failed", "AUTHENTICATE did not come in time")
            }
            State::Start { .. } => {
                self.state = State::Closed;
                Flow::Close
            }
            _ => Flow::Continue,
        }
    }

    fn end(&mut self, reason: End, _: u64) {
        let kick = self.link.kicked().cloned().filter(|_| reason == End::Kicked);
        let (uri, text) = match reason {
            End::Shutdown => ("wamp.close.system_shutdown", "the broker stops"),
            End::Kicked if kick.is_some() => kick
                .as_ref()
                .map_or(("", ""), |kick| (kick.reason.as_str(), kick.message.as_deref().unwrap_or_default())),
            End::Kicked | End::TakenOver | End::Over => ("wamp.close.killed", "an administrator ended the session"),
            End::NotAuthorized => (NOT_AUTHORIZED, "what this session may do has changed: come in again"),
            End::SlowConsumer => (QUOTA_EXCEEDED, "the client does not read what it subscribed to"),
            End::TooFast => (QUOTA_EXCEEDED, "the client sends more than it may"),
        };
        match &self.state {
            State::Open(_) => {
                self.close_session(false);
                let mut details = DictWriter::new(self.wire.format);
                if !text.is_empty() {
                    details.text("message", text);
                }
                self.say(&Message::Goodbye { details: details.finish(), reason: uri.into() });
            }
            State::Closed => {}
            _ => drop(self.abort(uri, text)),
        }
    }

    fn closed(&mut self, _: u64) {
        self.close_session(false);
        self.tally.connections_closed += 1;
        if !self.welcomed {
            self.tally.handshake_failures += 1;
        }
        self.node.metrics.of(Protocol::Wamp).add(&mut self.tally);
    }

    fn link(&self) -> &Arc<Link> {
        &self.link
    }
}
