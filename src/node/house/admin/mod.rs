//! `fennec.admin.*`: for who runs the broker. Nobody may call these, nor end sessions, whose role does not name them
//! ([`crate::router::authorize`]).
//!
//! ```text
//! CALL, $rpc/…, POST /call, GET /admin/… --> sessions, things, retained, durables
//! ```
//!
//! Answers are lists of bounded length: `limit` says how long, and `next` in an answer is what `after` is to be for the rest.

mod audit;
mod durables;
mod retained;
mod sessions;
mod things;

use super::answer::Failure;
use super::arguments::Options;
use super::meta::Answerer;
use crate::types::value::Value;

pub(super) use audit::{note, note_of_entry};

pub(super) const PROCEDURES: [(&str, Answerer); 10] = [
    ("fennec.admin.sessions", |room, call| room.admin_sessions(call)),
    ("fennec.admin.session", |room, call| room.admin_session(call)),
    ("fennec.admin.kick", |room, call| room.admin_kick(call)),
    ("fennec.admin.subscriptions", |room, call| room.admin_subscriptions(call)),
    ("fennec.admin.registrations", |room, call| room.admin_registrations(call)),
    ("fennec.admin.retained", |room, call| room.admin_retained(call)),
    ("fennec.admin.retained_get", |room, call| room.admin_retained_get(call)),
    ("fennec.admin.retained_delete", |room, call| room.admin_retained_delete(call)),
    ("fennec.admin.durables", |room, call| room.admin_durables(call)),
    ("fennec.admin.durable_delete", |room, call| room.admin_durable_delete(call)),
];

/// Entries of one answer, if it does not say how many.
const LIMIT: u64 = 100;
const LIMIT_MAX: u64 = 1000;

/// How many entries are wanted.
pub(super) fn limit(options: &mut Options) -> Result<usize, Failure> {
    let limit = options.uint("limit", "a number of entries")?.unwrap_or(LIMIT);
    Ok(limit.clamp(1, LIMIT_MAX) as usize)
}

/// Part of a list: the entries whose numbers are behind `after`.
struct Page {
    limit: usize,
    after: u64,
}

impl Page {
    fn read(options: &mut Options) -> Result<Self, Failure> {
        let after = options.uint("after", "what the last answer has as next")?;
        Ok(Self { limit: limit(options)?, after: after.unwrap_or(0) })
    }

    /// The entries of this page, by number; and what the next page is behind, if there is one.
    fn of<T>(&self, mut all: Vec<T>, number: impl Fn(&T) -> u64) -> (Vec<T>, Option<u64>) {
        all.retain(|entry| number(entry) > self.after);
        all.sort_unstable_by_key(|entry| number(entry));
        let more = all.len() > self.limit;
        all.truncate(self.limit);
        let next = all.last().filter(|_| more).map(number);
        (all, next)
    }
}

/// A list, and what the next answer is to be asked for with.
fn listed(name: &'static str, entries: Vec<Value>, next: Option<Value>) -> Value {
    let mut answer = vec![(name, Value::List(entries))];
    answer.extend(next.map(|next| ("next", next)));
    Value::map(answer)
}
