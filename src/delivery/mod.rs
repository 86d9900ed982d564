//! What is owed to a session: frames waiting for its socket, messages sent and not yet acknowledged, messages not yet sent.
//!
//! ```text
//! publisher's task --offer--> outbox, inflight, backlog  <--take, acknowledge-- the session's own task
//! ```
//!
//! They belong to one session and outlive its connections, behind a short mutex (the mailbox, in `node`): publishers append, the
//! session's task takes what it will write. They hold encoded frames and shared events, never a socket.
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
