//! `fennec.key.*`: retained values as a key-value store. Keys are topics; who may publish to one may set it, who may
//! subscribe to it may read it.

use std::sync::Arc;

use super::answer::{Answer, Failure, Given};
use super::arguments::{Arguments, Options, pattern};
use super::callee::Call;
use super::placed::{KeyValue, What};
use super::watches::Watch;
use super::{Awaited, Room, Waiter};
use crate::queue::condition::Condition;
use crate::router::authorize::Action;
use crate::types::event::StoredEvent;
use crate::types::event_id::EventId;
use crate::types::payload::{Args, Format};
use crate::types::topic::Topic;
use crate::types::value::{Raw, Value};

/// Keys of one answer, if it does not say how many.
const LIST_DEFAULT: u64 = 100;
/// Bytes of values in one answer; one value is always given.
const LIST_BYTES_MAX: usize = 1024 * 1024;

/// How long a read waits for the log to have an event, if it does not say.
const PATIENCE_MS: u64 = 10_000;
const MILLISECONDS: &str = "a number of milliseconds";

impl Room<'_> {
    pub fn key_get(&mut self, call: &Call) -> Result<Given, Failure> {
        let mut arguments = Arguments::read(call)?;
        let topic = arguments.topic("key")?;
        let mut options = arguments.options(&["after", "timeout"])?;
        let after = options.text("after")?.map(|text| text.parse::<EventId>()).transpose();
        let after = after.map_err(|error| Failure::invalid(format!("after {error}")))?;
        let timeout_ms = options.uint("timeout", MILLISECONDS)?.unwrap_or(PATIENCE_MS);
        let realm = self.realm(call)?;
        self.authorize(&realm, call, Action::Subscribe, &topic)?;
        if let Some(id) = after.filter(|id| self.node.log.last_event_id().is_none_or(|last| last < *id)) {
            let (who, until_ms) = (Waiter::Call(Box::new(call.clone())), self.now_ms.saturating_add(timeout_ms));
            self.desk.awaited.push(Awaited { id, who, until_ms });
            return Ok(Given::Later);
        }
        let found = realm.retained(&topic, self.now_ms).filter(|event| event.is_for(&call.caller));
        Ok(Answer::one(found.map_or(Value::Null, |event| self.entry(&event))).into())
    }

    pub fn key_list(&mut self, call: &Call) -> Result<Given, Failure> {
        let (keys, next) = self.list(call, &mut |_| true)?;
        let keys = keys.iter().map(|event| self.entry(event)).collect::<Vec<_>>();
        let mut answer = vec![("keys", Value::List(keys))];
        answer.extend(next.map(|next| ("next", Value::from(next))));
        Ok(Answer::one(Value::map(answer)).into())
    }

    /// The values that a call asks for by pattern, limit and the key to go on behind; and the last key if there are more.
    pub fn list(
        &self,
        call: &Call,
        wanted: &mut dyn FnMut(&StoredEvent) -> bool,
    ) -> Result<(Vec<Arc<StoredEvent>>, Option<String>), Failure> {
        let mut arguments = Arguments::read(call)?;
        let uri = arguments.next("pattern");
        let mut options = arguments.options(&["match", "limit", "after"])?;
        let pattern = pattern(uri, &mut options)?;
        let max = self.node.limits.events_per_call_max;
        let limit = options.uint("limit", "a number of keys")?.unwrap_or(LIST_DEFAULT).max(1);
        let limit = usize::try_from(limit).map_or(max, |limit| limit.min(max));
        let after = options.topic("after")?;
        let realm = self.realm(call)?;
        let rights = self.rights(&realm, call)?;
        let (mut found, mut bytes) = (Vec::new(), 0);
        let more = realm.walk_retained(&pattern, after.as_ref(), self.now_ms, &mut |event| {
            if !rights.allows(Action::Subscribe, &event.topic) || !event.is_for(&call.caller) || !wanted(event) {
                return true;
            }
            bytes += event.bytes();
            found.push(event.clone());
            found.len() < limit && bytes < LIST_BYTES_MAX
        });
        let next = found.last().filter(|_| more).map(|event| event.topic.uri().to_owned());
        Ok((found, next))
    }

    /// A value as it is told: `{key, value, token, event_id, publication, expires_in}`.
    pub fn entry(&self, event: &StoredEvent) -> Value {
        let mut entry = vec![
            ("key", Value::from(event.topic.uri())),
            ("value", event.payload.as_ref().document(event.codec)),
            ("publication", Value::from(event.publication.0)),
        ];
        if let Some(place) = event.place {
            entry.push(("token", Value::from(place.number)));
            entry.push(("event_id", Value::from(place.id.to_string())));
        }
        if let Some(at_ms) = event.expires_at_ms {
            entry.push(("expires_in", Value::from(at_ms.saturating_sub(self.now_ms))));
        }
        Value::map(entry)
    }

    pub fn key_put(&mut self, call: &Call) -> Result<Given, Failure> {
        let mut arguments = Arguments::read(call)?;
        let topic = arguments.topic("key")?;
        let value = arguments.value("value")?;
        let mut options = arguments.options(&["when", "watch", "will", "timeout", "stays", "expires_in"])?;
        let expires_in_ms = options.uint("expires_in", MILLISECONDS)?;
        let condition = condition(&mut options)?;
        self.put(call, topic, &value, condition, expires_in_ms)
    }

    pub fn key_delete(&mut self, call: &Call) -> Result<Given, Failure> {
        let mut arguments = Arguments::read(call)?;
        let topic = arguments.topic("key")?;
        let mut options = arguments.options(&["when", "watch", "timeout"])?;
        let condition = condition(&mut options)?;
        self.put(call, topic, &Value::Null, condition, None)
    }

    fn put(
        &mut self,
        call: &Call,
        topic: Topic,
        value: &Value,
        condition: Option<Condition>,
        expires_in_ms: Option<u64>,
    ) -> Result<Given, Failure> {
        let realm = self.realm(call)?;
        self.authorize(&realm, call, Action::Publish, &topic)?;
        // What clears a key makes room.
        if !value.is_null() {
            self.check_room()?;
        }
        let document = value.to_bytes(Format::MsgPack);
        let args = payload_of(value, &document);
        let expires_at_ms = expires_in_ms.map(|ms| self.now_ms.saturating_add(ms));
        let payload = args.as_payload(Format::MsgPack);
        let value = KeyValue { topic: &Arc::new(topic), payload, condition, expires_at_ms };
        self.place(&realm, call, What::Put, &value)?;
        Ok(Given::Later)
    }

    pub fn key_watch(&mut self, call: &Call) -> Result<Given, Failure> {
        let mut arguments = Arguments::read(call)?;
        let topic = arguments.topic("key")?;
        let mut options = arguments.options(&["when", "token", "timeout"])?;
        let when = options.when()?;
        let token = options.uint("token", "the number of an event")?;
        let timeout_ms = options.uint("timeout", MILLISECONDS)?;
        let realm = self.realm(call)?;
        self.authorize(&realm, call, Action::Subscribe, &topic)?;
        let until_ms = timeout_ms.map(|ms| self.now_ms.saturating_add(ms));
        let watch = Watch::new(call.clone(), Arc::new(topic), when, token, until_ms)?;
        self.watch(&realm, watch);
        Ok(Given::Later)
    }
}

/// A value as the arguments that it is published as; null is none.
pub(super) fn payload_of<'a>(value: &Value, document: &'a [u8]) -> Args<'a> {
    if value.is_null() {
        return Args::NONE;
    }
    Args::of_document(Raw::checked(Format::MsgPack, document), Format::MsgPack)
}

/// The options of a put that ask something of the key.
fn condition(options: &mut Options) -> Result<Option<Condition>, Failure> {
    let condition = Condition {
        when: options.when()?,
        watch: options.bool("watch")?.unwrap_or(false),
        timeout_ms: options.uint("timeout", MILLISECONDS)?,
        will: options.will(),
        stays: options.bool("stays")?.unwrap_or(false),
    };
    if condition.watch && condition.when.is_none() {
        return Err(Failure::invalid("watch waits for what when says: that is missing"));
    }
    Ok(Some(condition).filter(|condition| *condition != Condition::default()))
}
