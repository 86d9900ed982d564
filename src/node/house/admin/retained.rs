//! Retained values, whoever may read or write them.

use std::sync::Arc;

use super::{limit, listed};
use crate::node::house::Room;
use crate::node::house::answer::{Answer, Failure, Given};
use crate::node::house::arguments::{Arguments, pattern};
use crate::node::house::callee::Call;
use crate::node::house::placed::{KeyValue, What};
use crate::types::event::StoredEvent;
use crate::types::payload::PayloadRef;
use crate::types::topic::Topic;
use crate::types::value::Value;

impl Room<'_> {
    /// The values that a pattern matches, without what they are.
    pub fn admin_retained(&mut self, call: &Call) -> Result<Given, Failure> {
        let mut arguments = Arguments::read(call)?;
        let uri = arguments.next_text("pattern")?;
        let mut options = arguments.options(&["pattern", "match", "limit", "after"])?;
        let uri = uri.or(options.text("pattern")?);
        let pattern = pattern(uri.map(Value::from), &mut options)?;
        let (limit, after) = (limit(&mut options)?, options.topic("after")?);
        let realm = self.realm(call)?;
        let mut found = Vec::new();
        let more = realm.walk_retained(&pattern, after.as_ref(), self.now_ms, &mut |event| {
            found.push(event.clone());
            found.len() < limit
        });
        let next = found.last().filter(|_| more).map(|event| Value::from(event.topic.uri()));
        let entries = found.iter().map(|event| self.about(event)).collect();
        Ok(Answer::one(listed("retained", entries, next)).into())
    }

    fn about(&self, event: &StoredEvent) -> Value {
        let mut entry = vec![
            ("topic", Value::from(event.topic.uri())),
            ("mqtt_topic", Value::from(event.topic.name())),
            ("bytes", Value::from(event.payload.len() as u64)),
            ("publication", Value::from(event.publication.0)),
        ];
        entry.extend(event.place.map(|place| ("event_id", Value::from(place.id.to_string()))));
        entry.extend(event.expires_at_ms.map(|at_ms| ("expires_in", Value::from(at_ms.saturating_sub(self.now_ms)))));
        Value::map(entry)
    }

    pub fn admin_retained_get(&mut self, call: &Call) -> Result<Given, Failure> {
        let topic = only_topic(call)?;
        let found = self.realm(call)?.retained(&topic, self.now_ms).ok_or_else(nothing_retained)?;
        Ok(Answer::one(self.entry(&found)).into())
    }

    pub fn admin_retained_delete(&mut self, call: &Call) -> Result<Given, Failure> {
        let topic = only_topic(call)?;
        if topic.is_reserved() {
            return Err(Failure::new("wamp.error.not_authorized", "the broker sets this value itself"));
        }
        let realm = self.realm(call)?;
        realm.retained(&topic, self.now_ms).ok_or_else(nothing_retained)?;
        let topic = Arc::new(topic);
        let nothing = KeyValue { topic: &topic, payload: PayloadRef::NONE, condition: None, expires_at_ms: None };
        self.place(&realm, call, What::Put, &nothing)?;
        Ok(Given::Later)
    }
}

fn only_topic(call: &Call) -> Result<Topic, Failure> {
    let mut arguments = Arguments::read(call)?;
    let topic = arguments.topic("topic")?;
    arguments.options(&[])?;
    Ok(topic)
}

fn nothing_retained() -> Failure {
    Failure::new("fennec.error.no_such_value", "nothing is retained of this topic")
}
