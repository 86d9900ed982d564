//! What the pump asks of a session machine.

use std::sync::Arc;

use bytes::Bytes;

use crate::delivery::outbox::Taken;
use crate::node::authenticate::{Answer, Check};
use crate::node::link::{End, Link};

/// How a connection goes on.
pub enum Flow {
    Continue,
    /// Write what waits, then close.
    Close,
    /// Wait for this check, read nothing meanwhile, then call [`Machine::verified`].
    Verify(Check),
}

/// What a gate did with its input.
pub struct Received {
    /// Bytes handled; the rest is the beginning of a packet and will be offered again.
    pub consumed: usize,
    /// Length of that packet, if its header tells: room is made for it.
    pub needs: usize,
    /// Nothing is to be written because of it.
    pub silent: bool,
    pub flow: Flow,
}

impl Received {
    pub fn all(input: &[u8], flow: Flow) -> Self {
        Self { consumed: input.len(), needs: 0, silent: false, flow }
    }
}

/// A connection's session machine: bytes in, bytes out, no IO. Times are milliseconds on the node's clock.
pub trait Machine: Send {
    /// A [`Flow::Verify`] has its answer.
    fn verified(&mut self, answer: Answer, now_ms: u64) -> Flow;

    /// What is to be written now. `spare` is an empty buffer to put in the outbox's place.
    fn take(&mut self, spare: Vec<u8>, now_ms: u64) -> Taken;

    /// Whether the peer may be read although it does not take what is written to it: as long as few answers wait for it.
    fn may_read(&self) -> bool;

    /// Whether subscribers fell behind what this connection published, so that it had better not be read for a moment. Asked
    /// once after each batch.
    fn must_pause(&mut self) -> bool;

    /// Whether the peer is not to be read until the connection is woken: as much as may waits for an outcome of the durable log.
    fn must_wait(&self) -> bool;

    /// When [`Machine::expired`] wants to be called; may change with every call.
    fn deadline_ms(&self) -> Option<u64>;

    /// The deadline has come.
    fn expired(&mut self, now_ms: u64) -> Flow;

    /// Somebody asked the connection to end: say goodbye, the connection is closed then.
    fn end(&mut self, reason: End, now_ms: u64);

    /// The connection is gone. Called once, as the last thing.
    fn closed(&mut self, now_ms: u64);

    /// By which others wake and end this connection.
    fn link(&self) -> &Arc<Link>;
}

/// A machine whose protocol is a stream of bytes (MQTT, RawSocket).
pub trait Gate: Machine {
    /// Handles the complete packets at the front of `input`. Everything that came with one read is offered at once; deliveries
    /// to others are handed over before this returns.
    fn receive(&mut self, input: &Bytes, now_ms: u64) -> Received;
}

/// A machine whose protocol is a sequence of WebSocket messages.
pub trait MessageGate: Machine {
    /// What it puts out are complete WebSocket frames; else they are bytes, and wrapped in a binary one.
    const FRAMES: bool;

    /// Handles one message, or puts it aside for [`MessageGate::finish`].
    fn message(&mut self, payload: &Bytes, text: bool, now_ms: u64) -> Flow;

    /// That were all messages of one read: what was put aside is handled, and deliveries to others are handed over.
    fn finish(&mut self, now_ms: u64) -> Flow;
}
