//! Procedures that rooms above this one answer: they are offered here, as all of the broker's own, and handed on.

use std::sync::Arc;

use super::answer::{Answer, Failure, Given};
use super::arguments::Arguments;
use super::callee::Call;
use super::{CallKey, Item, Queue, Room};
use crate::types::event::Discloser;
use crate::types::value::Value;

/// What is offered so.
pub(super) const OUTSIDE: [&str; 8] = [
    "fennec.bridge.status",
    "fennec.service.list",
    "fennec.service.add",
    "fennec.service.remove",
    "fennec.service.retry",
    "fennec.service.replay",
    "fennec.service.pause",
    "fennec.service.resume",
];

/// Answers them. Called on the house's thread: must not block.
pub type Handler = Arc<dyn Fn(Request) + Send + Sync>;

/// A call of one of them. Dropped, it is answered as unavailable.
pub struct Request {
    pub realm: Arc<str>,
    pub procedure: &'static str,
    pub caller: Discloser,
    /// Arguments by place, then those by name.
    pub args: Vec<Value>,
    pub kwargs: Vec<(String, Value)>,
    reply: Reply,
}

/// Where the answer goes; once.
struct Reply {
    key: CallKey,
    queue: Arc<Queue>,
    is_open: bool,
}

/// Why a call is not answered: a URI, and a text for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declined {
    pub uri: &'static str,
    pub text: String,
}

impl Request {
    /// Answers the call with one value.
    pub fn answer(mut self, answer: Result<Value, Declined>) {
        self.reply.send(answer);
    }
}

impl Reply {
    fn send(&mut self, answer: Result<Value, Declined>) {
        if std::mem::take(&mut self.is_open) {
            self.queue.push(Item::Answered { key: self.key.clone(), answer });
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.send(Err(Declined { uri: "wamp.error.unavailable", text: "nobody answers this here".to_owned() }));
    }
}

impl Room<'_> {
    /// Hands a call on.
    pub fn hand_on(&mut self, call: &Call, procedure: &'static str) -> Result<Given, Failure> {
        let (args, kwargs) = Arguments::read(call)?.into_parts();
        self.desk.handed_on.insert(call.key.clone(), call.clone());
        let reply = Reply { key: call.key.clone(), queue: self.queue.clone(), is_open: true };
        let (realm, caller) = (call.key.0.clone(), call.caller.clone());
        let request = Request { realm, procedure, caller, args, kwargs, reply };
        if let Some(handler) = self.node.house.outside.get() {
            handler(request);
        }
        Ok(Given::Later)
    }

    /// The answer to a call that was handed on.
    pub fn answered(&mut self, key: &CallKey, answer: Result<Value, Declined>) {
        // Whoever does not wait any more needs none.
        let Some(call) = self.desk.handed_on.remove(key) else { return };
        let answer = answer.map(Answer::one).map_err(|Declined { uri, text }| Failure::new(uri, text));
        self.answer(&call, answer);
    }
}
