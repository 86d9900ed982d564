//! Asking somebody at run time what a session may do: a procedure of its realm, or an HTTP hook.
//!
//! ```text
//! gate: message --Rights::must_ask--> Node::ask --CALL, or Hook--> Decision --Rights::learn--> the message is handled
//! ```
//!
//! The gate keeps the message, and what comes behind it, until all is answered; so order is kept, and what is held is bounded by
//! what was read at once. Nobody there, too late, an error, nonsense: each is a no.
//!
//! Left out on purpose: who has to be asked, and what is remembered (`router::authorize`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;

pub use call::details;
pub use visits::Visits;

use super::Node;
use super::realm::Realm;
use super::session::Identity;
use crate::router::authorize::{Action, Decision, Rights, Whom};
use crate::types::ids::SessionId;
use crate::types::topic::TopicPattern;
use crate::types::value::Value;

mod call;
mod visits;

/// What somebody is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    pub realm: Arc<str>,
    pub session: SessionId,
    pub identity: Identity,
    pub action: Action,
    /// A topic or procedure, or what a subscription or registration matches.
    pub pattern: TopicPattern,
    /// After so long nobody waits for the answer any more.
    pub timeout_ms: u64,
}

/// What was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub allow: bool,
    /// It may be remembered.
    pub cache: bool,
    /// Others are to be told who publishes or calls.
    pub disclose: bool,
}

impl Said {
    pub const NO: Said = Said { allow: false, cache: false, disclose: false };

    /// Reads what a procedure or a hook has answered: a bool, or a dict with `allow` and perhaps `cache`
    /// and `disclose`. Anything else is a no.
    pub fn read(value: &Value) -> Said {
        let flag = |name: &str| value.get(name).and_then(Value::as_bool).unwrap_or(false);
        match value.as_bool() {
            Some(allow) => Said { allow, ..Said::NO },
            None => Said { allow: flag("allow"), cache: flag("cache"), disclose: flag("disclose") },
        }
    }
}

/// Told what was answered, once.
pub type Done = Box<dyn FnOnce(Said) + Send>;

/// An HTTP hook. `done` must be called by the question's timeout; dropped, it is a no.
pub trait Hook: Send + Sync {
    fn ask(&self, question: Question, done: Done);
}

/// The hook, if there is one.
#[derive(Default)]
pub struct Hooks(RwLock<Option<Arc<dyn Hook>>>);

impl Hooks {
    pub fn set(&self, hook: Arc<dyn Hook>) {
        *self.0.write() = Some(hook);
    }
}

/// Questions under way for one message.
#[derive(Clone, Debug)]
pub struct Asking(Arc<AtomicUsize>);

impl Asking {
    pub fn is_done(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }
}

/// Who asks.
pub struct Asker<'a> {
    pub realm: &'a Arc<Realm>,
    pub rights: &'a Rights,
    pub session: SessionId,
    pub identity: &'a Identity,
}

/// Counts one question as answered when it is dropped, however that comes about; the last wakes who asked.
struct Ticket {
    open: Asking,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.open.0.fetch_sub(1, Ordering::AcqRel) == 1 {
            (self.wake)();
        }
    }
}

impl Node {
    /// Asks all of these that must be asked. `None`: none of them, so the message can be handled at once; else `wake` is called when
    /// all are answered, perhaps before this returns.
    pub fn ask(
        self: &Arc<Self>,
        asker: &Asker<'_>,
        about: &[(Action, TopicPattern)],
        now_ms: u64,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> Option<Asking> {
        let asks = asker.rights.asks()?;
        let must = |(action, pattern): &&(Action, TopicPattern)| asker.rights.must_ask(*action, pattern, now_ms);
        let open: Vec<_> = about.iter().filter(must).collect();
        if open.is_empty() {
            return None;
        }
        let asking = Asking(Arc::new(AtomicUsize::new(open.len())));
        for (action, pattern) in open {
            let ticket = Ticket { open: asking.clone(), wake: wake.clone() };
            let (rights, action, subject) = (asker.rights.clone(), *action, pattern.clone());
            let (until_ms, about) = (now_ms + asks.cache_ms, pattern.clone());
            let answer = Answer { rights, action, about, until_ms, said: Said::NO, _ticket: ticket };
            let question = Question {
                realm: asker.realm.name.clone(),
                session: asker.session,
                identity: asker.identity.clone(),
                action,
                pattern: subject,
                timeout_ms: asks.timeout_ms,
            };
            let done: Done = Box::new(move |said| answer.give(said));
            match &asks.whom {
                Whom::Procedure(procedure) => self.ask_procedure(asker.realm, procedure, &question, now_ms, done),
                Whom::Hook => match self.authorize_hook.0.read().clone() {
                    Some(hook) => hook.ask(question, done),
                    None => drop(done),
                },
            }
        }
        Some(asking)
    }
}

/// An answer on its way; when it is dropped it is known, and a no unless something else was said.
struct Answer {
    rights: Rights,
    action: Action,
    about: TopicPattern,
    until_ms: u64,
    said: Said,
    _ticket: Ticket,
}

impl Answer {
    fn give(mut self, said: Said) {
        self.said = said;
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let Said { allow, cache, disclose } = self.said;
        let decision = Decision { allow, until_ms: cache.then_some(self.until_ms), disclose };
        // The ticket, which is dropped behind this, wakes who asked.
        self.rights.learn(self.action, &self.about, decision);
    }
}
