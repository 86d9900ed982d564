//! Calls that have given something to the log and wait for what it decides.

use std::sync::Arc;

use super::answer::{Answer, Failure};
use super::callee::Call;
use super::meta::no_such_session;
use super::{CallKey, Item, Room, owe};
use crate::node::log::{Submission, tickets::Owner};
use crate::node::realm::Realm;
use crate::queue::command::Command;
use crate::queue::condition::Condition;
use crate::queue::message::{Batch, Posting};
use crate::queue::outcome::{Done, Outcome};
use crate::types::event::Event;
use crate::types::ids::{PublicationId, SessionId};
use crate::types::payload::PayloadRef;
use crate::types::topic::Topic;
use crate::types::value::Value;

/// See the module.
pub(super) struct Placed {
    pub call: Call,
    pub what: What,
    /// Said by the log if it has to wait.
    ticket: Option<u64>,
    /// The caller does not want it any more; whether it still is to be answered.
    canceled: Option<bool>,
}

/// What a call has asked of the log.
pub(super) enum What {
    /// A value for a key.
    Put,
    /// A lock; its topic.
    Acquire(Arc<Topic>),
    /// To give a lock back.
    Release,
    /// To remove the named durable subscription of this name.
    Forget(String),
    /// To end this MQTT session.
    End(SessionId),
}

/// A value for a key.
pub(super) struct KeyValue<'a> {
    pub topic: &'a Arc<Topic>,
    pub payload: PayloadRef<'a>,
    pub condition: Option<Condition>,
    pub expires_at_ms: Option<u64>,
}

impl Room<'_> {
    /// Sets or clears a key, through the log.
    pub fn place(&mut self, realm: &Arc<Realm>, call: &Call, what: What, value: &KeyValue<'_>) -> Result<(), Failure> {
        let KeyValue { topic, payload, condition, expires_at_ms } = value;
        if !payload.is_empty() && !realm.has_room_for(topic, payload.len()) {
            return Err(Failure::quota("there is no room for another retained value"));
        }
        let event = Event {
            topic,
            payload: *payload,
            codec: realm.codec(topic),
            qos: crate::node::Node::UNSAID_QOS,
            retain: true,
            // It gets its own with its number.
            publication: PublicationId(0),
            place: None,
            properties: None,
            publisher: None,
            expires_at_ms: *expires_at_ms,
            expires_in_s: None,
        };
        let posting = Posting {
            realm: &realm.name,
            publisher: Some(call.caller.session),
            exclude_publisher: false,
            filter: None,
            condition: condition.as_ref(),
            packet: None,
            entered: None,
        };
        let mut batch = Batch::default();
        batch.event(&event, &posting);
        let holds = condition.as_ref().is_some_and(|condition| condition.watch || condition.will.is_some());
        if holds {
            self.note_holds(realm, call)?;
        }
        self.submit(call, what, batch);
        // It may have left meanwhile, and told the log so before this came there.
        if holds && realm.session(call.caller.session).is_none() {
            self.node.leave_log(&realm.name, call.caller.session, false);
        }
        Ok(())
    }

    /// What the caller waits for or locks ends with its session.
    fn note_holds(&self, realm: &Realm, call: &Call) -> Result<(), Failure> {
        let session = realm.session(call.caller.session).ok_or_else(Failure::canceled)?;
        session.note_holds();
        Ok(())
    }

    /// Gives the log one message of a call.
    pub fn submit(&mut self, call: &Call, what: What, batch: Batch) {
        let placed = Placed { call: call.clone(), what, ticket: None, canceled: None };
        self.desk.placed.insert(call.key.clone(), placed);
        let (key, queue) = (call.key.clone(), self.queue.clone());
        let told = move |outcome| queue.push(Item::Outcome { key: key.clone(), outcome });
        self.node.submit(Submission { batch, owner: Owner::Function(Arc::new(told)) });
    }

    /// The caller of something that is with the log has left or canceled: if it waits there, it need not.
    pub fn cancel_placed(&mut self, key: &CallKey, answer: bool) {
        let Some(placed) = self.desk.placed.get_mut(key) else { return };
        placed.canceled = Some(answer);
        if let Some(ticket) = placed.ticket {
            let cancel = placed.cancel(ticket);
            owe(self.node, self.queue, cancel);
        }
    }

    pub fn outcome(&mut self, key: &CallKey, outcome: Outcome) {
        let answer = match outcome {
            Outcome::Waiting { ticket } => return self.wait(key, ticket),
            Outcome::Events { first, .. } => Ok(first),
            Outcome::Granted { number, .. } => Ok(number),
            Outcome::Done(done) => return self.done(key, done),
            Outcome::Void(void) => Err(void.into()),
            Outcome::Refused { why, .. } => Err(why.into()),
            Outcome::Ended { why, .. } => Err(why.into()),
        };
        let Some(placed) = self.desk.placed.remove(key) else { return };
        if let (Ok(token), What::Acquire(topic), Some(false)) = (&answer, &placed.what, placed.canceled) {
            // It was granted while its caller gave up, who does not know of it.
            let realm = key.0.to_string();
            let session = placed.call.caller.session.0;
            let unlock = Command::Unlock { realm, session, topic: topic.name().to_owned(), token: Some(*token) };
            return owe(self.node, self.queue, unlock);
        }
        let answer = answer.map(|number| self.place_of(number));
        self.answer(&placed.call, answer);
    }

    fn wait(&mut self, key: &CallKey, ticket: u64) {
        let Some(placed) = self.desk.placed.get_mut(key) else { return };
        placed.ticket = Some(ticket);
        if placed.canceled.is_some() {
            let cancel = placed.cancel(ticket);
            owe(self.node, self.queue, cancel);
        }
    }

    /// A command was applied.
    fn done(&mut self, key: &CallKey, done: Done) {
        let Some(placed) = self.desk.placed.remove(key) else { return };
        let answer = match done {
            Done::Yes | Done::Connected { .. } | Done::Next { .. } => {
                if let What::Forget(name) = &placed.what {
                    self.forgotten(&placed.call, name);
                }
                match &placed.what {
                    What::End(session) => Ok(Answer::one(session.0)),
                    _ => Ok(Answer::one(true)),
                }
            }
            // It is gone, as was wanted.
            Done::NotFound if matches!(placed.what, What::Forget(_)) => Ok(Answer::one(true)),
            Done::NotFound if matches!(placed.what, What::End(_)) => Err(no_such_session()),
            Done::NotFound | Done::Stale => {
                Err(Failure::new("fennec.error.not_held", "the caller does not hold this lock"))
            }
            Done::Conflict => Err(Failure::new("fennec.error.conflict", "it belongs to another user")),
        };
        self.answer(&placed.call, answer);
    }

    /// Where an event stands in the log.
    fn place_of(&self, number: u64) -> Answer {
        let mut place =
            vec![("token", Value::from(number)), ("publication", Value::from(self.node.log.publication_of(number).0))];
        if let Some(id) = self.node.log.event_id_of(number) {
            place.push(("event_id", Value::from(id.to_string())));
        }
        Answer::one(Value::map(place))
    }
}

impl Placed {
    fn cancel(&self, ticket: u64) -> Command {
        Command::Cancel { realm: self.call.key.0.to_string(), session: self.call.caller.session.0, ticket }
    }
}
