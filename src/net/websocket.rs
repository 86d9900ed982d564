//! WebSocket around a session machine (RFC 6455).
//!
//! Frames that come are unmasked, joined and checked by tungstenite, which is fed from the read buffer and never sees the
//! socket. Frames that leave are not masked, so an event's frame is the same bytes for every subscriber: gates write its header
//! themselves ([`frame::header`]) and it is encoded once for all.

pub mod echo;
pub mod frame;

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};

use self::frame::{OPCODE_BINARY, OPCODE_CLOSE, OPCODE_PING};
use super::gate::{Flow, Gate, Machine, MessageGate, Received};
use crate::delivery::outbox::Taken;
use crate::node::authenticate::Answer;
use crate::node::link::{End, Link};

#[cfg(test)]
mod tests;

/// Bytes that tungstenite takes from the read buffer at a time.
const FEED_BYTES: usize = 16 * 1024;

/// When a silent peer is pinged, and how long its pong may take.
#[derive(Clone, Copy, Debug)]
pub struct Keepalive {
    /// 0: never.
    pub interval_ms: u64,
    pub timeout_ms: u64,
}

/// A message gate behind a WebSocket.
pub struct WebSocket<G> {
    context: WebSocketContext,
    inner: G,
    /// Pongs and pings, to go before what the gate has to say: a pong is due as soon as can be (RFC 6455, 5.5.2). With the
    /// close frame among them they go behind it.
    control: Vec<u8>,
    keepalive: Keepalive,
    heard_ms: u64,
    pinged_ms: Option<u64>,
    /// The close frame is in `control` or sent: nothing may follow it.
    closing: bool,
    finished: bool,
}

/// Tungstenite's socket: what was read, and what it wants to answer.
struct Feed<'i, 'o> {
    input: &'i [u8],
    output: &'o mut Vec<u8>,
}

impl Read for Feed<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.read(into)
    }
}

impl Write for Feed<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<G: MessageGate> WebSocket<G> {
    /// `message_bytes_max`: a larger message closes the connection with code 1009.
    pub fn new(inner: G, message_bytes_max: usize, keepalive: Keepalive, now_ms: u64) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(FEED_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(message_bytes_max))
            .max_frame_size(Some(message_bytes_max));
        Self {
            context: WebSocketContext::new(Role::Server, Some(config)),
            inner,
            control: Vec::new(),
            keepalive,
            heard_ms: now_ms,
            pinged_ms: None,
            closing: false,
            finished: false,
        }
    }

    /// Handles the messages in `input`, behind what tungstenite holds already. Tells how many bytes it did not get to, because a
    /// check has to be waited for or the connection closes.
    fn drain(&mut self, input: &[u8], now_ms: u64) -> (usize, Flow) {
        let mut rest = input;
        let mut flow = Flow::Continue;
        while matches!(flow, Flow::Continue) {
            let mut feed = Feed { input: rest, output: &mut self.control };
            let read = self.context.read(&mut feed);
            rest = feed.input;
            flow = match read {
                Ok(message) => self.handle(message, now_ms),
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.close(close_code(&error), "");
                    Flow::Close
                }
            };
        }
        // Control frames that tungstenite holds back until it writes: failing cannot happen in memory.
        let _ = self.context.flush(&mut Feed { input: &[], output: &mut self.control });
        let finished = self.inner.finish(now_ms);
        if matches!(flow, Flow::Continue) {
            flow = finished;
        }
        if matches!(flow, Flow::Close) {
            self.close(CloseCode::Normal, "");
        }
        (rest.len(), flow)
    }

    fn handle(&mut self, message: Message, now_ms: u64) -> Flow {
        match message {
            Message::Text(text) => self.inner.message(&Bytes::from(text), true, now_ms),
            Message::Binary(bytes) => self.inner.message(&bytes, false, now_ms),
            // Tungstenite has put its answer into `control`.
            Message::Close(_) => {
                self.closing = true;
                Flow::Close
            }
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Flow::Continue,
        }
    }

    fn close(&mut self, code: CloseCode, reason: &str) {
        if !self.closing {
            self.closing = true;
            let mut payload = u16::from(code).to_be_bytes().to_vec();
            payload.extend_from_slice(reason.as_bytes().get(..reason.len().min(123)).unwrap_or_default());
            self.control.extend_from_slice(&frame::header(OPCODE_CLOSE, payload.len()).0[..2]);
            self.control.extend_from_slice(&payload);
        }
    }

    /// When the peer has been silent for long enough, or has not answered a ping.
    fn ping_due_ms(&self) -> Option<u64> {
        match self.pinged_ms {
            Some(pinged) => Some(pinged + self.keepalive.timeout_ms),
            None if self.keepalive.interval_ms > 0 => Some(self.heard_ms + self.keepalive.interval_ms),
            None => None,
        }
    }
}

impl<G: MessageGate> Gate for WebSocket<G> {
    fn receive(&mut self, input: &Bytes, now_ms: u64) -> Received {
        self.heard_ms = now_ms;
        self.pinged_ms = None;
        let (left, flow) = self.drain(input, now_ms);
        Received { consumed: input.len() - left, needs: 0, silent: false, flow }
    }
}

impl<G: MessageGate> Machine for WebSocket<G> {
    fn verified(&mut self, answer: Answer, now_ms: u64) -> Flow {
        match self.inner.verified(answer, now_ms) {
            Flow::Continue => self.drain(&[], now_ms).1,
            Flow::Close => {
                self.close(CloseCode::Normal, "");
                Flow::Close
            }
            verify => verify,
        }
    }

    fn take(&mut self, spare: Vec<u8>, now_ms: u64) -> Taken {
        if self.finished {
            return Taken::default();
        }
        let mut taken = self.inner.take(spare, now_ms);
        let bytes = taken.bytes();
        if !G::FRAMES && bytes > 0 {
            let (header, len) = frame::header(OPCODE_BINARY, bytes);
            taken.parts.push_front(Bytes::copy_from_slice(&header[..len]));
        }
        if self.closing {
            taken.tail.append(&mut self.control);
            self.finished = true;
        } else if !self.control.is_empty() {
            taken.parts.push_front(std::mem::take(&mut self.control).into());
        }
        taken
    }

    fn may_read(&self) -> bool {
        self.control.len() < FEED_BYTES && self.inner.may_read()
    }

    fn must_pause(&mut self) -> bool {
        self.inner.must_pause()
    }

    fn must_wait(&self) -> bool {
        self.inner.must_wait()
    }

    fn deadline_ms(&self) -> Option<u64> {
        [self.inner.deadline_ms(), self.ping_due_ms()].into_iter().flatten().min()
    }

    fn expired(&mut self, now_ms: u64) -> Flow {
        if self.inner.deadline_ms().is_some_and(|at| at <= now_ms) {
            let flow = self.inner.expired(now_ms);
            if matches!(flow, Flow::Close) {
                self.close(CloseCode::Normal, "");
            }
            return flow;
        }
        if self.ping_due_ms().is_none_or(|at| at > now_ms) {
            return Flow::Continue;
        }
        if self.pinged_ms.is_some() {
            self.close(CloseCode::Away, "ping timeout");
            return Flow::Close;
        }
        self.pinged_ms = Some(now_ms);
        self.control.extend_from_slice(&frame::header(OPCODE_PING, 0).0[..2]);
        Flow::Continue
    }

    fn end(&mut self, reason: End, now_ms: u64) {
        self.inner.end(reason, now_ms);
        self.close(CloseCode::Away, "");
    }

    fn closed(&mut self, now_ms: u64) {
        self.inner.closed(now_ms);
    }

    fn link(&self) -> &Arc<Link> {
        self.inner.link()
    }
}

fn close_code(error: &Error) -> CloseCode {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => CloseCode::Size,
        Error::Utf8(_) => CloseCode::Invalid,
        _ => CloseCode::Protocol,
    }
}

/// A byte-stream gate (MQTT) behind a WebSocket: packets may span messages (MQTT 5, 6). The messages of one read are handed to the
/// gate together, as if they had come by TCP.
pub struct Stream<G> {
    inner: G,
    /// The first message of a read, as long as it is all there is.
    only: Option<Bytes>,
    /// Else all that the gate was not given yet, or gave back.
    pending: BytesMut,
    /// Bytes of the packet that begins there, if known: the gate is not asked before it is complete.
    needs: usize,
}

impl<G: Gate> Stream<G> {
    pub fn new(inner: G) -> Self {
        Self { inner, only: None, pending: BytesMut::new(), needs: 0 }
    }
}

impl<G: Gate> MessageGate for Stream<G> {
    const FRAMES: bool = false;

    fn message(&mut self, payload: &Bytes, text: bool, _: u64) -> Flow {
        // [MQTT-6.0.0-1]
        if text {
            return Flow::Close;
        }
        if self.only.is_none() && self.pending.is_empty() {
            self.only = Some(payload.clone());
        } else {
            self.pending.extend_from_slice(&self.only.take().unwrap_or_default());
            self.pending.extend_from_slice(payload);
        }
        Flow::Continue
    }

    fn finish(&mut self, now_ms: u64) -> Flow {
        let waiting = self.only.as_ref().map_or(self.pending.len(), Bytes::len);
        if waiting == 0 || waiting < self.needs {
            return Flow::Continue;
        }
        let input = self.only.take().unwrap_or_else(|| self.pending.split().freeze());
        let received = self.inner.receive(&input, now_ms);
        self.pending.extend_from_slice(input.get(received.consumed..).unwrap_or_default());
        self.needs = received.needs;
        received.flow
    }
}

impl<G: Gate> Machine for Stream<G> {
    fn verified(&mut self, answer: Answer, now_ms: u64) -> Flow {
        // Packets behind CONNECT in the same read: `finish` comes next.
        self.needs = 0;
        self.inner.verified(answer, now_ms)
    }

    fn take(&mut self, spare: Vec<u8>, now_ms: u64) -> Taken {
        self.inner.take(spare, now_ms)
    }

    fn may_read(&self) -> bool {
        self.inner.may_read()
    }

    fn must_pause(&mut self) -> bool {
        self.inner.must_pause()
    }

    fn must_wait(&self) -> bool {
        self.inner.must_wait()
    }

    fn deadline_ms(&self) -> Option<u64> {
        self.inner.deadline_ms()
    }

    fn expired(&mut self, now_ms: u64) -> Flow {
        self.inner.expired(now_ms)
    }

    fn end(&mut self, reason: End, now_ms: u64) {
        self.inner.end(reason, now_ms);
    }

    fn closed(&mut self, now_ms: u64) {
        self.inner.closed(now_ms);
    }

    fn link(&self) -> &Arc<Link> {
        self.inner.link()
    }
}
