//! A session machine behind RawSocket frames (WAMP, RawSocket Transport).

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;

use crate::delivery::outbox::Taken;
use crate::net::gate::{Flow, Gate, Machine, MessageGate, Received};
use crate::net::websocket::Keepalive;
use crate::node::Node;
use crate::node::authenticate::Answer;
use crate::node::link::{End, Link};
use crate::node::metrics::{Protocol, Tally};
use crate::types::peer::Peer;
use crate::wamp::rawsocket::{self, FrameKind, HEADER_BYTES, Handshake, HandshakeError};
use crate::wamp::serializer::{Encoding, Wire};
use crate::wamp::session::{Access, WampGate};

/// Pongs that may wait before the client is not read on.
const CONTROL_BYTES_MAX: usize = 64 * 1024;

/// See the module.
pub struct RawSocket {
    node: Arc<Node>,
    access: Access,
    peer: Arc<Peer>,
    link: Arc<Link>,
    stage: Stage,
    /// Largest message that this side takes.
    message_bytes_max: usize,
    /// The answer to the handshake: it goes before everything else.
    reply: Option<[u8; HEADER_BYTES]>,
    /// Pings and pongs.
    control: Vec<u8>,
    keepalive: Keepalive,
    heard_ms: u64,
    pinged_ms: Option<u64>,
}

enum Stage {
    /// The handshake is awaited.
    Handshake {
        deadline_ms: u64,
    },
    Session(Box<WampGate>),
    Refused,
}

impl RawSocket {
    pub fn new(node: Arc<Node>, access: Access, peer: Arc<Peer>, keepalive: Keepalive, now_ms: u64) -> Self {
        let deadline_ms = now_ms + u64::from(node.limits.handshake_timeout_s) * 1000;
        let limit = node.limits.wamp_rawsocket_bytes_max;
        Self {
            access,
            peer,
            link: Arc::default(),
            stage: Stage::Handshake { deadline_ms },
            // What the handshake can say: a power of two.
            message_bytes_max: 1 << limit.max(1).ilog2(),
            reply: None,
            control: Vec::new(),
            keepalive,
            heard_ms: now_ms,
            pinged_ms: None,
            node,
        }
    }

    /// Reads the handshake at the front of `rest`. `None`: it is not there yet.
    fn handshake(&mut self, rest: &mut &[u8], now_ms: u64) -> Option<Flow> {
        let (request, behind) = rest.split_first_chunk::<HEADER_BYTES>()?;
        *rest = behind;
        let request = match Handshake::read_request(*request) {
            Ok(request) => request,
            Err(error) => {
                if let HandshakeError::Refused(refusal) = error {
                    self.reply = Some(refusal.reply());
                }
                self.stage = Stage::Refused;
                return Some(Flow::Close);
            }
        };
        let reply = Handshake { format: request.format, message_bytes_max: self.message_bytes_max };
        self.reply = Some(reply.write());
        let encoding = Encoding { format: request.format, batched: false };
        let frame_bytes_max = HEADER_BYTES + request.message_bytes_max;
        let (node, link) = (self.node.clone(), self.link.clone());
        let wire = Wire::rawsocket(request.format);
        let gate = WampGate::new(node, self.access, self.peer.clone(), encoding, wire, frame_bytes_max, link, now_ms);
        self.stage = Stage::Session(Box::new(gate));
        Some(Flow::Continue)
    }

    /// Handles the frames at the front of `rest`.
    fn frames(&mut self, rest: &mut &[u8], backing: &Bytes, now_ms: u64) -> Flow {
        let Stage::Session(gate) = &mut self.stage else { return Flow::Close };
        loop {
            let flow = match rawsocket::read_frame(rest, self.message_bytes_max) {
                Ok(None) => return Flow::Continue,
                Ok(Some(frame)) => match frame.kind {
                    FrameKind::Message => gate.frame(frame.payload, backing, now_ms),
                    FrameKind::Ping => {
                        rawsocket::write_pong(frame.payload, &mut self.control);
                        Flow::Continue
                    }
                    FrameKind::Pong => Flow::Continue,
                },
                Err(error) => gate.violate(&error.to_string()),
            };
            if !matches!(flow, Flow::Continue) {
                return flow;
            }
        }
    }

    fn ping_due_ms(&self) -> Option<u64> {
        match (&self.stage, self.pinged_ms) {
            (Stage::Session(_), Some(pinged)) => Some(pinged + self.keepalive.timeout_ms),
            (Stage::Session(_), None) if self.keepalive.interval_ms > 0 => {
                Some(self.heard_ms + self.keepalive.interval_ms)
            }
            _ => None,
        }
    }
}

/// Length of the frame that `rest` begins, if its header is there.
fn frame_bytes(rest: &[u8]) -> usize {
    match rest.first_chunk::<HEADER_BYTES>() {
        Some([first, length @ ..]) => {
            let extra = usize::from(first & 0x08 != 0) << 24;
            HEADER_BYTES + (extra | length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
        }
        None => 0,
    }
}

impl Gate for RawSocket {
    fn receive(&mut self, input: &Bytes, now_ms: u64) -> Received {
        self.heard_ms = now_ms;
        self.pinged_ms = None;
        let mut rest = &input[..];
        if let Stage::Handshake { .. } = self.stage {
            match self.handshake(&mut rest, now_ms) {
                None => return Received { consumed: 0, needs: HEADER_BYTES, silent: false, flow: Flow::Continue },
                Some(Flow::Continue) => {}
                Some(flow) => return Received::all(input, flow),
            }
        }
        let flow = self.frames(&mut rest, input, now_ms);
        if let Stage::Session(gate) = &mut self.stage {
            gate.finish(now_ms);
        }
        Received { consumed: input.len() - rest.len(), needs: frame_bytes(rest), silent: false, flow }
    }
}

impl Machine for RawSocket {
    fn verified(&mut self, answer: Answer, now_ms: u64) -> Flow {
        let Stage::Session(gate) = &mut self.stage else { return Flow::Close };
        let flow = gate.verified(answer, now_ms);
        gate.finish(now_ms);
        flow
    }

    fn take(&mut self, spare: Vec<u8>, now_ms: u64) -> Taken {
        let reply = self.reply.take();
        let mut taken = match &mut self.stage {
            Stage::Session(gate) => gate.take(spare, now_ms),
            _ => Taken::default(),
        };
        if let Some(reply) = reply {
            taken.parts.push_front(Bytes::copy_from_slice(&reply));
        }
        taken.tail.append(&mut self.control);
        taken
    }

    fn may_read(&self) -> bool {
        let gate_may = match &self.stage {
            Stage::Session(gate) => gate.may_read(),
            _ => true,
        };
        gate_may && self.control.len() < CONTROL_BYTES_MAX
    }

    fn must_pause(&mut self) -> bool {
        match &mut self.stage {
            Stage::Session(gate) => gate.must_pause(),
            _ => false,
        }
    }

    fn must_wait(&self) -> bool {
        match &self.stage {
            Stage::Session(gate) => gate.must_wait(),
            _ => false,
        }
    }

    fn deadline_ms(&self) -> Option<u64> {
        let other = match &self.stage {
            Stage::Handshake { deadline_ms } => Some(*deadline_ms),
            Stage::Session(gate) => gate.deadline_ms(),
            Stage::Refused => None,
        };
        [other, self.ping_due_ms()].into_iter().flatten().min()
    }

    fn expired(&mut self, now_ms: u64) -> Flow {
        let Stage::Session(gate) = &mut self.stage else { return Flow::Close };
        if gate.deadline_ms().is_some_and(|at| at <= now_ms) {
            return gate.expired(now_ms);
        }
        if self.ping_due_ms().is_none_or(|at| at > now_ms) {
            return Flow::Continue;
        }
        if self.pinged_ms.is_some() {
            return Flow::Close;
        }
        self.pinged_ms = Some(now_ms);
        self.control.extend_from_slice(&rawsocket::header(FrameKind::Ping, 0));
        Flow::Continue
    }

    fn end(&mut self, reason: End, now_ms: u64) {
        match &mut self.stage {
            Stage::Session(gate) => gate.end(reason, now_ms),
            _ => self.stage = Stage::Refused,
        }
    }

    fn closed(&mut self, now_ms: u64) {
        match &mut self.stage {
            Stage::Session(gate) => gate.closed(now_ms),
            _ => {
                let mut tally = Tally { connections_closed: 1, handshake_failures: 1, ..Tally::default() };
                self.node.metrics.of(Protocol::Wamp).add(&mut tally);
            }
        }
    }

    fn link(&self) -> &Arc<Link> {
        &self.link
    }
}
