//! Cursors that have moved and are not recorded: a list, so that those that do not move cost nothing.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::node::Node;
use crate::node::log::Submission;
use crate::node::log::tickets::Owner;
use crate::node::session::Session;
use crate::queue::command::{Command, Cursor, CursorName};
use crate::queue::message::Batch;
use crate::queue::outcome::Outcome;

/// A cursor to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    pub name: CursorName,
    pub at: Cursor,
}

/// How often all sessions are looked at for cursors that have long passed by all that was fed, and how many of them at a time.
const SWEEP_MS: u64 = 60_000;
const SWEEP_SESSIONS: usize = 500;

/// Sessions with cursors that have moved.
#[derive(Default)]
pub struct MovedSessions {
    sessions: Mutex<Vec<Weak<Session>>>,
    sweep: Mutex<Sweep>,
}

/// A look at all sessions.
#[derive(Default)]
struct Sweep {
    left: Vec<Weak<Session>>,
    next_ms: u64,
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
    pub(in crate::node) fn record_moved(self: &Arc<Self>, now_ms: u64) {
        self.sweep_cursors(now_ms);
        let mut batch = Batch::default();
        let mut recorded = Vec::new();
        for weak in self.moved.take() {
            let Some(session) = weak.upgrade() else { continue };
            let mut mailbox = session.mailbox();
            if let Some(link) = mailbox.ask_progress() {
                link.wake();
                continue;
            }
            let Some(realm) = mailbox.realm_name() else { continue };
            let client_id = session.identity.client_id.clone().unwrap_or_default();
            let own = mailbox.take_progress().map(|at| Moved { name: CursorName::Client(client_id), at });
            for Moved { name, at } in own.into_iter().chain(mailbox.take_moved()) {
                batch.command(&Command::Progress { realm: realm.to_string(), cursor: name, at });
                recorded.push(weak.clone());
            }
        }
        if batch.is_empty() {
            return;
        }
        // Where it cannot be recorded now it is tried again.
        let node = Arc::downgrade(self);
        let owner = Owner::Function(Arc::new(move |outcome| {
            if let (Outcome::Refused { .. }, Some(node)) = (outcome, node.upgrade()) {
                recorded.iter().filter_map(Weak::upgrade).for_each(|session| session.mailbox().touch_again());
                node.moved.sessions.lock().extend(recorded.iter().cloned());
            }
        }));
        self.submit(Submission { batch, owner });
    }

    /// Looks for cursors that stand still because nothing comes that they want.
    fn sweep_cursors(&self, now_ms: u64) {
        let mut sweep = self.moved.sweep.lock();
        if sweep.left.is_empty() && sweep.next_ms <= now_ms {
            sweep.next_ms = now_ms + SWEEP_MS;
            sweep.left =
                self.realms().iter().flat_map(|realm| realm.sessions()).map(|it| Arc::downgrade(&it)).collect();
        }
        let rest = sweep.left.len().saturating_sub(SWEEP_SESSIONS);
        for session in sweep.left.drain(rest..).filter_map(|session| session.upgrade()) {
            session.mailbox().note_passed();
        }
    }
}
