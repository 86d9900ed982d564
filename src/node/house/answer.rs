//! What a procedure answers, and how the answer gets to its caller.

use std::sync::Arc;

use super::Room;
use super::callee::{CALLEE, Call};
use crate::node::Node;
use crate::node::realm::Realm;
use crate::node::session::Touched;
use crate::queue::outcome::{Refused, Void, WaitEnd};
use crate::router::authorize::{Action, Rights};
use crate::types::payload::PayloadRef;
use crate::types::topic::Topic;
use crate::types::value::Value;

/// The result of a call.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Answer {
    pub args: Vec<Value>,
    pub kwargs: Vec<(String, Value)>,
}

impl Answer {
    /// One value.
    pub fn one(value: impl Into<Value>) -> Self {
        Self { args: vec![value.into()], kwargs: Vec::new() }
    }
}

/// Whether a call is answered at once.
pub(super) enum Given {
    Now(Answer),
    /// Something was begun that will answer it.
    Later,
}

impl From<Answer> for Given {
    fn from(answer: Answer) -> Self {
        Self::Now(answer)
    }
}

/// Why a call fails: a URI, and a text for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub uri: &'static str,
    pub text: String,
}

impl Failure {
    pub fn new(uri: &'static str, text: impl Into<String>) -> Self {
        Self { uri, text: text.into() }
    }

    /// The arguments are at fault.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::new("wamp.error.invalid_argument", text)
    }

    pub fn canceled() -> Self {
        Self::new("wamp.error.canceled", "the wait was canceled")
    }

    pub fn timeout() -> Self {
        Self::new("wamp.error.timeout", "it did not come to pass in time")
    }

    pub fn no_such_subscription() -> Self {
        Self::new("wamp.error.no_such_subscription", "there is no such subscription, or the caller does not have it")
    }

    pub fn quota(text: &str) -> Self {
        Self::new("fennec.error.quota_exceeded", text)
    }
}

impl From<Void> for Failure {
    fn from(void: Void) -> Self {
        match void {
            Void::ConditionFailed => Self::new("fennec.error.condition_failed", "the condition does not hold"),
            Void::QuotaExceeded => Self::quota("as many publications wait, or locks are held, as may"),
            // These two happen to MQTT clients' own messages alone.
            Void::Repeated | Void::Stale => Self::canceled(),
        }
    }
}

impl From<Refused> for Failure {
    fn from(why: Refused) -> Self {
        match why {
            Refused::StoreUnavailable | Refused::Full => Self::new("fennec.error.store_unavailable", why.to_string()),
            Refused::Stopping => Self::new("wamp.close.system_shutdown", why.to_string()),
        }
    }
}

impl From<WaitEnd> for Failure {
    fn from(why: WaitEnd) -> Self {
        match why {
            WaitEnd::Timeout => Self::timeout(),
            WaitEnd::Canceled | WaitEnd::SessionGone => Self::canceled(),
        }
    }
}

impl Room<'_> {
    /// The realm of a call.
    pub fn realm(&self, call: &Call) -> Result<Arc<Realm>, Failure> {
        self.node.realm(&call.key.0).ok_or_else(|| Failure::new("wamp.error.no_such_realm", "the realm is gone"))
    }

    /// What a caller may do.
    pub fn rights(&self, realm: &Realm, call: &Call) -> Result<Rights, Failure> {
        let caller = realm.session(call.caller.session);
        let gone = || Failure::new("wamp.error.not_authorized", "the caller is gone");
        caller.map(|session| session.rights()).ok_or_else(gone)
    }

    /// Whether the caller may do this with a topic itself.
    pub fn authorize(&self, realm: &Realm, call: &Call, action: Action, topic: &Topic) -> Result<(), Failure> {
        if self.rights(realm, call)?.allows(action, topic) {
            return Ok(());
        }
        let verb = if action == Action::Publish { "publish to" } else { "subscribe to" };
        Err(Failure::new("wamp.error.not_authorized", format!("not authorized to {verb} {}", topic.uri())))
    }

    /// Whether there is memory for what a call wants to be kept.
    pub fn check_room(&self) -> Result<(), Failure> {
        if self.node.is_tight() { Err(Failure::quota("there is no memory for more")) } else { Ok(()) }
    }

    /// Gives a call its final answer.
    pub fn answer(&self, call: &Call, answer: Result<Answer, Failure>) {
        self.say(call, answer, false);
    }

    /// Gives a call part of its answer.
    pub fn progress(&self, call: &Call, answer: Answer) {
        self.say(call, Ok(answer), true);
    }

    fn say(&self, call: &Call, answer: Result<Answer, Failure>, progress: bool) {
        say(self.node, call, answer, progress, self.now_ms);
    }
}

/// Gives a call its answer, or part of it.
pub(super) fn say(node: &Arc<Node>, call: &Call, answer: Result<Answer, Failure>, progress: bool, now_ms: u64) {
    let Some(realm) = node.realm(&call.key.0) else { return };
    if !progress {
        super::admin::note(node, call, &answer);
    }
    let (format, invocation) = (call.format(), call.key.1);
    let mut touched = Touched::default();
    // A caller that waits no more has gone; an answer that comes too late is dropped.
    let _ = realm.command(node, &mut touched, |dealer, out| match &answer {
        Ok(Answer { args, kwargs }) => {
            let args = (!args.is_empty() || !kwargs.is_empty()).then(|| Value::List(args.clone()).to_bytes(format));
            let kwargs = (!kwargs.is_empty()).then(|| Value::Map(kwargs.clone()).to_bytes(format));
            let payload = PayloadRef::Args { format, args: args.as_deref(), kwargs: kwargs.as_deref() };
            dealer.yield_result(CALLEE, invocation, progress, payload, now_ms, out)
        }
        Err(Failure { uri, text }) => {
            let args = Value::List(vec![text.as_str().into()]).to_bytes(format);
            let payload = PayloadRef::Args { format, args: Some(&args), kwargs: None };
            dealer.invocation_error(CALLEE, invocation, uri, payload, out)
        }
    });
    touched.wake();
}
