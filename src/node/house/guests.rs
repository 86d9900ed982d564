//! Procedures of the broker that rooms above answer: they are called like all others, and passed on.

use std::sync::Arc;

use parking_lot::RwLock;

use super::Room;
use super::answer::{Answer, Failure, Given, say};
use super::arguments::Arguments;
use super::callee::{CALLEE, Call};
use crate::node::Node;
use crate::node::realm::Realm;
use crate::node::session::Touched;
use crate::router::authorize::{Action, Rights};
use crate::types::event::Discloser;
use crate::types::payload::{Format, PayloadRef};
use crate::types::topic::{Topic, TopicPattern};
use crate::types::value::{Raw, Value};

/// Who answers a procedure, of which it reads the arguments itself: they may be large. Called on the thread of the house: it must not block.
pub trait Guest: Send + Sync {
    fn take(&self, call: GuestCall);
}

/// An answer ends a call, so no time begins anew with it.
const NO_TIME: u64 = 0;

/// By the URIs of their procedures.
#[derive(Default)]
pub(super) struct Guests(RwLock<Vec<(&'static str, Arc<dyn Guest>)>>);

/// Arguments by name.
type Named = Vec<(String, Value)>;

/// A call to be answered, once. Dropped, it is answered with an error.
pub struct GuestCall {
    node: Arc<Node>,
    realm: Arc<Realm>,
    procedure: &'static str,
    call: Call,
    answered: bool,
}

impl Node {
    /// Has calls of one of the procedures that are passed on answered by `guest`.
    pub fn offer(&self, procedure: &'static str, guest: Arc<dyn Guest>) {
        self.house.guests.0.write().push((procedure, guest));
    }
}

impl Room<'_> {
    pub(super) fn pass_on(&mut self, procedure: &'static str, call: &Call) -> Result<Given, Failure> {
        let guests = self.node.house.guests.0.read();
        let guest = guests.iter().find(|(name, _)| *name == procedure).map(|(_, guest)| guest.clone());
        drop(guests);
        let guest = guest.ok_or_else(|| Failure::new("wamp.error.unavailable", "this broker does not offer it"))?;
        let realm = self.realm(call)?;
        let node = self.node.clone();
        guest.take(GuestCall { node, realm, procedure, call: call.clone(), answered: false });
        Ok(Given::Later)
    }
}

impl GuestCall {
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    pub fn realm(&self) -> &Arc<Realm> {
        &self.realm
    }

    pub fn procedure(&self) -> &'static str {
        self.procedure
    }

    pub fn caller(&self) -> &Discloser {
        &self.call.caller
    }

    /// The first argument, as MessagePack; empty: there is none, or it is none.
    pub fn argument(&self) -> Vec<u8> {
        let payload = self.call.payload.as_ref();
        let Ok(args) = payload.as_args(self.call.codec, Format::MsgPack) else { return Vec::new() };
        let Some(args) = &args.args else { return Vec::new() };
        let first = Raw::checked(Format::MsgPack, args).items().next();
        first.map(|first| first.bytes().to_vec()).unwrap_or_default()
    }

    /// Arguments by place, and those by name.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn arguments(&self) -> Result<(Vec<Value>, Named), Failure> {
        Arguments::read(&self.call).map(Arguments::into_parts)
    }

    /// What the caller may do; nothing if it has gone.
    pub fn rights(&self) -> Rights {
        self.realm.session(self.call.caller.session).map_or_else(Rights::none, |session| session.rights())
    }

    /// Whether the caller may do this with a topic itself.
    pub fn may(&self, action: Action, topic: &Topic) -> bool {
        self.rights().allows(action, topic)
    }

    /// Whether the caller may do this with all topics of a pattern.
    pub fn may_all(&self, action: Action, pattern: &TopicPattern) -> bool {
        self.rights().allows_pattern(action, pattern)
    }

    /// Answers with one value that is MessagePack already.
    pub fn answer_packed(mut self, value: &[u8]) {
        let format = self.call.format();
        let mut list = Vec::with_capacity(value.len() + 1);
        // A list of one (MessagePack, fixarray).
        list.push(0x91);
        list.extend_from_slice(value);
        let args = if format == Format::MsgPack {
            list
        } else {
            let mut out = Vec::new();
            Raw::checked(Format::MsgPack, &list).encode(format, &mut out);
            out
        };
        self.answered = true;
        let payload = PayloadRef::Args { format, args: Some(&args), kwargs: None };
        let mut touched = Touched::default();
        // A caller that waits no more has gone.
        let _ = self.realm.command(&self.node, &mut touched, |dealer, out| {
            dealer.yield_result(CALLEE, self.call.key.1, false, payload, NO_TIME, out)
        });
        touched.wake();
    }

    pub fn fail(self, uri: &'static str, text: impl Into<String>) {
        self.answer(Err(Failure::new(uri, text)));
    }

    /// Answers with one value, or says why not.
    pub fn answer(mut self, answer: Result<Value, Failure>) {
        self.answered = true;
        say(&self.node, &self.call, answer.map(Answer::one), false, NO_TIME);
    }
}

impl Drop for GuestCall {
    fn drop(&mut self) {
        if !self.answered {
            say(&self.node, &self.call, Err(Failure::canceled()), false, NO_TIME);
        }
    }
}
