//! Named durable subscriptions, and what of the log is still wanted.

use super::{State, rows};
use crate::queue::command::DurableRow;

/// A named durable subscription or group.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Durable {
    pub row: DurableRow,
    /// See [`crate::queue::command::Cursor::done_to`].
    pub done_to: u64,
}

/// How far those are who read the log, and how many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Persistent sessions that want more than QoS 0.
    pub sessions: usize,
    /// How many numbers of the log the last of them is behind its end.
    pub session_behind_max: u64,
    /// Named durable subscriptions and groups.
    pub durables: usize,
    pub durable_behind_max: u64,
    /// Those that are behind most, that one first.
    pub durables_behind: Vec<Behind>,
    /// Publishes that wait, and keys that are held.
    pub waits: usize,
    pub locks: usize,
}

/// A named durable subscription or group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    pub realm: String,
    pub name: String,
    /// Numbers of the log that it has not done or passed by.
    pub behind: u64,
}

impl State {
    /// All numbers up to this one are done for every persistent session that wants more than QoS 0 and for every named durable
    /// subscription and consumer; `None`: there are none of these. Looks at all of them: what was true a moment ago says nothing of who came since.
    pub fn min_cursor(&self) -> Option<u64> {
        let sessions = self.sessions.values().filter(|session| session.wants_log()).map(|session| session.done_to);
        let durables = self.durables.values().map(|durable| durable.done_to);
        // What wants nothing holds nothing.
        let consumers = self.consumers.values().filter(|consumer| !consumer.row.patterns.is_empty());
        let consumers = consumers.map(|consumer| consumer.done_to);
        sessions.chain(durables).chain(consumers).min()
    }

    /// Looks at all who read the log, and names so many at most.
    pub fn census(&self, named_max: usize) -> Census {
        let mut census = Census { waits: self.waits.len(), locks: self.locks.iter().count(), ..Census::default() };
        let last = self.last_number();
        let pass = |max: &mut u64, done: u64| *max = (*max).max(last.saturating_sub(done));
        for session in self.sessions.values().filter(|session| session.wants_log()) {
            census.sessions += 1;
            pass(&mut census.session_behind_max, session.done_to);
        }
        let mut durables: Vec<_> = self.durables.iter().map(|(id, durable)| (durable.done_to, &**id)).collect();
        census.durables = durables.len();
        for (done, _) in &durables {
            pass(&mut census.durable_behind_max, *done);
        }
        durables.sort_unstable();
        let behind = |(done, id): &(u64, &str)| {
            let (realm, name) = rows::split(id);
            Behind { realm: realm.to_owned(), name: name.to_owned(), behind: last.saturating_sub(*done) }
        };
        census.durables_behind = durables.iter().take(named_max).map(behind).collect();
        census
    }
}
