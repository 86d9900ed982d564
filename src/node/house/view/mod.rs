//! One view of a cluster: what is asked of sessions, subscriptions and registrations is answered for all its entries.
//!
//! ```text
//! CALL --> answered for this entry --whole already--------------------------------> RESULT
//!                   '--Question--> every other entry: the same procedure there --Told--> merged --> RESULT
//! ```
//!
//! 1. Who may call is decided at the entry that is called; the others trust it, as it has proved that it is of the cluster.
//! 2. Another entry answers for itself alone, and asks nobody: so nothing goes round.
//! 3. Each session counts once: one that has a connection where it has that, one that is away (the log knows it, so all entries do) at
//!    the entry that is called. Subscriptions and registrations have the same ids everywhere ([`crate::router`]).
//! 4. Who has not answered within two seconds is left out, which is logged, and said in answers that have names for their parts. That
//!    something is not there is said only if all have answered.
//! 5. A change is noted in the audit log where it was asked for, and where something was changed.
//! 6. What happens to sessions and the like is published where it happens; those events go to subscribers at all entries.
//!
//! [`merge`] makes one answer of several; [`said`] is how questions and answers are written. Left out: the way to the other entries, and
//! the two seconds (`cluster`).

mod merge;
mod said;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::answer::{Answer, Failure, Given};
use super::callee::Call;
use super::meta::Answerer;
use super::{CallKey, House, Item, Room, admin, meta};
use merge::Paging;
pub(super) use merge::Rule;
use said::{Asker, Question};

/// Calls that wait for other entries.
const VIEWS_MAX: usize = 1024;
/// Bytes of what one entry answers.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// What an entry has answered for itself.
type Told = Result<Answer, Failure>;
/// The other entries by their names, and what each has answered; `None`: it has not, in time.
pub type Said = Vec<(Arc<str>, Option<Bytes>)>;
/// Takes what the other entries have answered.
pub type TakeSaid = Box<dyn FnOnce(Said) + Send>;
/// Asks all other entries; never waits.
pub type AskEntries = Box<dyn Fn(Bytes, TakeSaid) + Send + Sync>;
/// Takes the answer to a question of another entry. Dropped, it says that there will be none.
pub type Reply = Box<dyn FnOnce(Bytes) + Send>;

/// The way to the other entries.
pub(super) struct Entries {
    /// The name of this one.
    own: Arc<str>,
    ask: AskEntries,
}

/// A question of another entry.
pub(super) struct Asked {
    from: Arc<str>,
    body: Bytes,
    reply: Reply,
}

/// Calls that wait for other entries, by number.
#[derive(Default)]
pub(super) struct Views {
    last: u64,
    waiting: HashMap<u64, View>,
}

struct View {
    call: Call,
    rule: Rule,
    paging: Option<Paging>,
    own: Told,
}

impl Views {
    fn insert(&mut self, view: View) -> u64 {
        self.last += 1;
        self.waiting.insert(self.last, view);
        self.last
    }

    /// The caller does not wait any more.
    pub fn cancel(&mut self, key: &CallKey) -> Option<Call> {
        let number = *self.waiting.iter().find(|(_, view)| view.call.key == *key)?.0;
        self.waiting.remove(&number).map(|view| view.call)
    }
}

impl House {
    /// This is an entry of a cluster, with this name: the others are asked by `ask`. To be called once, before calls come.
    pub fn ask_entries_by(&self, own: &str, ask: AskEntries) {
        let _ = self.entries.set(Entries { own: own.into(), ask });
    }

    /// Another entry asks. Never waits.
    pub fn asked_by_entry(&self, from: &str, body: Bytes, reply: Reply) {
        self.queue.push(Item::AskedByEntry(Asked { from: from.into(), body, reply }));
    }

    /// The name of this entry, if there are others.
    pub(super) fn entry_name(&self) -> Option<&str> {
        self.entries.get().map(|entries| &*entries.own)
    }
}

impl Room<'_> {
    /// Answers a procedure, for all entries if it is one of those.
    pub fn view(&mut self, answerer: Answerer, call: &Call) -> Result<Given, Failure> {
        let own = answerer(self, call);
        let node = self.node;
        let (Some(rule), Some(entries)) = (Rule::of(call.uri), node.house.entries.get()) else { return own };
        let own = match own {
            Ok(Given::Now(answer)) => Ok(answer),
            Ok(Given::Later) => return Ok(Given::Later),
            Err(failure) => Err(failure),
        };
        if rule.is_whole(&own) {
            return own.map(Given::Now);
        }
        if self.desk.views.waiting.len() >= VIEWS_MAX {
            return Err(Failure::quota("as many calls wait for other entries as may"));
        }
        let paging = rule.has_pages().then(|| Paging::read(call)).transpose()?;
        let question = Question::of(node, call)?.encode();
        let (number, queue) =
            (self.desk.views.insert(View { call: call.clone(), rule, paging, own }), self.queue.clone());
        (entries.ask)(question, Box::new(move |said| queue.push(Item::EntriesSaid { number, said })));
        Ok(Given::Later)
    }

    /// The other entries have answered, or have had the time to.
    pub fn entries_said(&mut self, number: u64, said: Said) {
        let Some(View { call, rule, paging, own }) = self.desk.views.waiting.remove(&number) else { return };
        let (mut told, mut silent) = (Vec::new(), Vec::new());
        for (entry, body) in said {
            match body.as_deref().map(said::read_told) {
                Some(Some(answer)) => told.push(answer),
                Some(None) => {
                    tracing::warn!(%entry, procedure = call.uri, "what another entry answers cannot be read");
                    silent.push(entry);
                }
                None => silent.push(entry),
            }
        }
        if !silent.is_empty() {
            let without = silent.join(", ");
            tracing::info!(without, procedure = call.uri, "a call is answered without entries that do not answer");
        }
        self.answer(&call, merge::merge(rule, paging, own, told, &silent));
    }

    /// Answers another entry for this one alone.
    pub fn asked_by_entry(&mut self, Asked { from, body, reply }: Asked) {
        let Some(told) = self.answer_entry(&from, &body) else { return };
        let body = said::write_told(&told);
        match body.len() > ANSWER_BYTES_MAX {
            true => tracing::warn!(entry = %from, bytes = body.len(), "an answer is too long for another entry"),
            false => reply(body),
        }
    }

    /// `None`: it cannot be read, or is none that others may ask.
    fn answer_entry(&mut self, from: &str, body: &[u8]) -> Option<Told> {
        let (question, asker) = Question::decode(body)?;
        let mut all = meta::PROCEDURES.iter().chain(&admin::PROCEDURES);
        let (uri, answerer) = *all.find(|(uri, _)| *uri == question.procedure)?;
        let rule = Rule::of(uri)?;
        let call = question.into_call(uri, answerer);
        let told = match answerer(self, &call) {
            Ok(Given::Now(answer)) => Ok(answer),
            Ok(Given::Later) => return None,
            Err(failure) => Err(failure),
        };
        if rule.did_something(&told) {
            let Asker { from: address, transport } = asker;
            admin::note_of_entry(&call, from, &address, &transport, &told);
        }
        Some(told)
    }
}
