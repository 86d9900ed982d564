//! What is owed to a session: frames waiting for its socket, messages sent and not yet acknowledged, messages not yet sent.
//!
//! ```text
//! publisher's task --offer--> Delivery { outbox, inflight, backlog }  <--take, acknowledge-- the session's own task
//! ```
//!
//! One [`Delivery`] belongs to one session and outlives its connections. It sits behind a short mutex (in `node`): publishers
//! append to it, the session's task takes what it will write. It holds encoded frames and shared events, never a socket.
//!
//! Left out on purpose: encoding (a gate's business) and persistence (the durable log will keep a cursor here in place of
//! a backlog).

pub mod backlog;
pub mod inflight;
pub mod outbox;
pub mod replay;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::types::event::{StoredEvent, Terms};

/// One event owed to one session.
#[derive(Clone, Debug)]
pub struct Owed {
    pub event: Arc<StoredEvent>,
    pub terms: Terms,
}

impl Owed {
    /// What this counts for in a backlog's byte bound.
    pub fn bytes(&self) -> usize {
        self.event.bytes()
    }
}
