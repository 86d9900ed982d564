//! Named durable subscriptions, and what of the log is still wanted.

use super::State;
use crate::queue::command::DurableRow;

/// A named durable subscription or group.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Durable {
    pub row: DurableRow,
    /// See [`crate::queue::command::Cursor::done_to`].
    pub done_to: u64,
}

impl State {
    /// All numbers up to this one are done for every persistent session that wants more than QoS 0 and for every named durable
    /// subscription; `None`: there are none of these. Looks at all of them.
    pub fn min_cursor(&self) -> Option<u64> {
        let sessions = self.sessions.values().filter(|session| session.wants_log()).map(|session| session.done_to);
        let durables = self.durables.values().map(|durable| durable.done_to);
        sessions.chain(durables).min()
    }
}
