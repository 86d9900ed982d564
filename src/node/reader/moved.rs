//! Cursors that have moved and are not recorded: a list, so that those that do not move cost nothing.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::node::Node;
use crate::node::log::Submission;
use crate::node::log::tickets::Owner;
use crate::node::session::Session;
use crate::queue::command::{Command, Cursor, CursorName};
use crate::queue::message::Batch;

/// A cursor to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    pub name: CursorName,
    pub at: Cursor,
}

/// Sessions with cursors that have moved.
#[derive(Default)]
pub struct MovedSessions {
    sessions: Mutex<Vec<Weak<Session>>>,
}

impl MovedSessions {
    /// A session's first move since it was recorded.
    pub fn push(&self, session: Weak<Session>) {
        self.sessions.lock().push(session);
    }

    fn take(&self) -> Vec<Weak<Session>> {
        std::mem::take(&mut *self.sessions.lock())
    }
}

impl Node {
    /// Has the cursors recorded that have moved: connected sessions are told to do it, so that all that is recorded of a session
    /// comes in one order; for others it is done here. Called several times a second.
    pub fn record_moved(self: &Arc<Self>) {
        let mut batch = Batch::default();
        for session in self.moved.take() {
            let Some(session) = session.upgrade() else { continue };
            let mut mailbox = session.mailbox();
            if let Some(link) = mailbox.ask_progress() {
                link.wake();
                continue;
            }
            let Some(realm) = mailbox.realm_name() else { continue };
            let client_id = session.identity.client_id.clone().unwrap_or_default();
            if let Some(at) = mailbox.take_progress() {
                let cursor = CursorName::Client(client_id);
                batch.command(&Command::Progress { realm: realm.to_string(), cursor, at });
            }
            for Moved { name, at } in mailbox.take_moved() {
                batch.command(&Command::Progress { realm: realm.to_string(), cursor: name, at });
            }
        }
        if !batch.is_empty() {
            self.submit(Submission { batch, owner: Owner::Nobody });
        }
    }
}
