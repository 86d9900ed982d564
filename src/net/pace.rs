//! How fast one connection may send (`limits.messages_per_second_max`, `limits.bytes_per_second_max`).
//!
//! It is counted once for each read, and a client that was too fast is not read until it is even again: it waits as it would behind
//! a slow network, and nothing is lost. So that it does not wait for long at a time, little is read of it at once.

use std::sync::Arc;

use super::read_buffer::READ_BYTES;
use crate::node::Node;
use crate::node::metrics::Limited;
use crate::types::limits::{Limits, RateExceeded};
use crate::types::rate::Rates;

/// What is read at a time, at least: enough for most messages.
const READ_BYTES_MIN: usize = 512;
/// A message has about this many bytes, at least, if it is to say something.
const MESSAGE_BYTES: u64 = 16;

/// See the module.
pub struct Pace {
    node: Arc<Node>,
    rates: Rates,
}

/// What is to be done with a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Fine,
    /// Not to be read for so long.
    Wait {
        ms: u64,
    },
    End,
}

impl Pace {
    /// `None`: nothing bounds it.
    pub fn new(node: &Arc<Node>, now_ms: u64) -> Option<Self> {
        Some(Self { node: node.clone(), rates: Rates::new(&node.limits, now_ms)? })
    }

    /// How much is to be read at a time: not much more than may come in a quarter of a second.
    pub fn read_bytes(&self) -> usize {
        let Limits { messages_per_second_max: messages, bytes_per_second_max: bytes, .. } = self.node.limits;
        let most = (messages.saturating_mul(MESSAGE_BYTES)).min(bytes) / 4;
        usize::try_from(most).unwrap_or(READ_BYTES).clamp(READ_BYTES_MIN, READ_BYTES)
    }

    /// So much came with one read.
    pub fn spend(&mut self, messages: usize, bytes: usize, now_ms: u64) -> Verdict {
        let ms = self.rates.spend(messages, bytes, now_ms);
        let (limited, verdict) = match self.node.limits.rate_exceeded {
            _ if ms == 0 => return Verdict::Fine,
            RateExceeded::Pause => (Limited::RatePaused, Verdict::Wait { ms }),
            RateExceeded::Disconnect => (Limited::RateDisconnected, Verdict::End),
        };
        self.node.metrics.limited(limited, 1);
        verdict
    }
}
