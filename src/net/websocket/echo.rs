//! A peer that says everything back: for test suites of WebSocket, which want to see how messages are taken and sent, and
//! nothing of what they mean.

use std::sync::Arc;

use bytes::Bytes;

use super::frame::{self, OPCODE_BINARY, OPCODE_TEXT};
use crate::delivery::outbox::Taken;
use crate::net::gate::{Flow, Machine, MessageGate};
use crate::node::authenticate::Answer;
use crate::node::link::{End, Link};

/// A peer that does not read what it is told is not read on.
const WAITING_BYTES_MAX: usize = 1024 * 1024;

/// See the module.
#[derive(Default)]
pub struct Echo {
    link: Arc<Link>,
    out: Taken,
}

impl MessageGate for Echo {
    const FRAMES: bool = true;

    fn message(&mut self, payload: &Bytes, text: bool, _: u64) -> Flow {
        let (header, len) = frame::header(if text { OPCODE_TEXT } else { OPCODE_BINARY }, payload.len());
        self.out.parts.push_back(Bytes::copy_from_slice(&header[..len]));
        self.out.parts.push_back(payload.clone());
        Flow::Continue
    }

    fn finish(&mut self, _: u64) -> Flow {
        Flow::Continue
    }
}

impl Machine for Echo {
    fn verified(&mut self, _: Answer, _: u64) -> Flow {
        Flow::Continue
    }

    fn take(&mut self, _: Vec<u8>, _: u64) -> Taken {
        std::mem::take(&mut self.out)
    }

    fn may_read(&self) -> bool {
        self.out.bytes() < WAITING_BYTES_MAX
    }

    fn must_pause(&mut self) -> bool {
        false
    }

    fn must_wait(&self) -> bool {
        false
    }

    fn deadline_ms(&self) -> Option<u64> {
        None
    }

    fn expired(&mut self, _: u64) -> Flow {
        Flow::Continue
    }

    fn end(&mut self, _: End, _: u64) {}

    fn closed(&mut self, _: u64) {}

    fn link(&self) -> &Arc<Link> {
        &self.link
    }
}
