//! `fennec.lock.*`: locks are keys that are held. Who acquires the lock `a.b` sets the key `a.b`, which must not be there, with the
//! will that it is gone when its session is; whoever wants it meanwhile waits in the order of arrival.

use std::sync::Arc;

use super::Room;
use super::answer::{Answer, Failure, Given};
use super::arguments::Arguments;
use super::callee::Call;
use super::keys::payload_of;
use super::placed::{KeyValue, What};
use crate::queue::command::Command;
use crate::queue::condition::{Condition, KeyWill, When};
use crate::queue::message::Batch;
use crate::router::authorize::Action;
use crate::types::payload::Format;
use crate::types::value::Value;

impl Room<'_> {
    pub fn lock_acquire(&mut self, call: &Call) -> Result<Given, Failure> {
        let mut arguments = Arguments::read(call)?;
        let topic = Arc::new(arguments.topic("name")?);
        let mut options = arguments.options(&["timeout", "value", "will", "stays"])?;
        let timeout_ms = options.uint("timeout", "a number of milliseconds")?;
        let value = options.any("value").filter(|value| !value.is_null()).unwrap_or_else(|| holder(call));
        let condition = Condition {
            when: Some(When::Absent),
            watch: timeout_ms != Some(0),
            timeout_ms: timeout_ms.filter(|ms| *ms > 0),
            will: Some(options.will().unwrap_or(KeyWill::Erase)),
            stays: options.bool("stays")?.unwrap_or(false),
        };
        let realm = self.realm(call)?;
        self.authorize(&realm, call, Action::Publish, &topic)?;
        self.check_room()?;
        let document = value.to_bytes(Format::MsgPack);
        let args = payload_of(&value, &document);
        let payload = args.as_payload(Format::MsgPack);
        let value = KeyValue { topic: &topic, payload, condition: Some(condition), expires_at_ms: None };
        self.place(&realm, call, What::Acquire(topic.clone()), &value)?;
        Ok(Given::Later)
    }

    pub fn lock_release(&mut self, call: &Call) -> Result<Given, Failure> {
        let mut arguments = Arguments::read(call)?;
        let topic = arguments.topic("name")?;
        let mut options = arguments.options(&["token"])?;
        let token = options.uint("token", "the number that acquiring has answered")?;
        let realm = self.realm(call)?;
        self.authorize(&realm, call, Action::Publish, &topic)?;
        let session = call.caller.session.0;
        let mut batch = Batch::default();
        let topic = topic.name().to_owned();
        batch.command(&Command::Unlock { realm: realm.name.to_string(), session, topic, token });
        self.submit(call, What::Release, batch);
        Ok(Given::Later)
    }

    pub fn lock_list(&mut self, call: &Call) -> Result<Given, Failure> {
        let realm = self.realm(call)?;
        let (held, next) = self.list(call, &mut |event| realm.lock_holder(&event.topic).is_some())?;
        let locks = held.iter().map(|event| {
            let holder = realm.lock_holder(&event.topic).filter(|holder| realm.session(*holder).is_some());
            let mut lock = match self.entry(event) {
                Value::Map(entry) => entry,
                _ => Vec::new(),
            };
            lock.iter_mut().filter(|(name, _)| name == "key").for_each(|(name, _)| *name = "name".to_owned());
            lock.push(("session".to_owned(), holder.map_or(Value::Null, |holder| Value::from(holder.0))));
            Value::Map(lock)
        });
        let mut answer = vec![("locks", Value::List(locks.collect()))];
        answer.extend(next.map(|next| ("next", Value::from(next))));
        Ok(Answer::one(Value::map(answer)).into())
    }
}

/// What is told of who holds a lock, if it says nothing else.
fn holder(call: &Call) -> Value {
    let mut holder = vec![("session", Value::from(call.caller.session.0))];
    if let Some(authid) = &call.caller.authid {
        holder.push(("authid", Value::from(authid.as_str())));
    }
    Value::map(holder)
}
