//! `fennec.key.watch`: calls that are answered when a key has another value.

use std::collections::HashMap;
use std::sync::Arc;

use super::answer::{Answer, Failure};
use super::callee::Call;
use super::{CallKey, Room};
use crate::node::realm::Realm;
use crate::queue::condition::When;
use crate::types::event::StoredEvent;
use crate::types::fields::Fields;
use crate::types::topic::Topic;
use crate::types::value::Value;

/// A call that waits for a value.
pub(super) struct Watch {
    pub call: Call,
    topic: Arc<Topic>,
    wanted: Wanted,
    /// A value of this number is known already; 0: that there is none.
    known: Option<u64>,
    until_ms: Option<u64>,
}

/// What the value must be.
enum Wanted {
    Any,
    Absent,
    Number(u64),
    Fields(Fields),
}

/// All of them.
#[derive(Default)]
pub(super) struct Watches {
    by_call: HashMap<CallKey, Watch>,
    by_topic: HashMap<(Arc<str>, Box<str>), Vec<CallKey>>,
}

impl Watch {
    /// `token`: the value of this number is known; without it any that is there when the call comes, unless `when` asks for one.
    pub fn new(
        call: Call,
        topic: Arc<Topic>,
        when: Option<When>,
        token: Option<u64>,
        until_ms: Option<u64>,
    ) -> Result<Self, Failure> {
        let wanted = match when {
            None => Wanted::Any,
            Some(When::Absent) => Wanted::Absent,
            Some(When::Number(number)) => Wanted::Number(number),
            Some(When::Fields(text)) => {
                Wanted::Fields(Fields::parse(&text).ok_or_else(|| Failure::invalid("when must be a dict of fields"))?)
            }
        };
        Ok(Self { call, topic, wanted, known: token, until_ms })
    }

    /// Whether it is answered by this value.
    fn is_met(&self, value: Option<&StoredEvent>) -> bool {
        if self.known == Some(number_of(value)) {
            return false;
        }
        match (&self.wanted, value) {
            (Wanted::Any, _) | (Wanted::Absent, None) => true,
            (Wanted::Number(number), Some(value)) => value.place.is_some_and(|place| place.number == *number),
            (Wanted::Fields(fields), Some(value)) => fields.hold(value.payload.as_ref()),
            _ => false,
        }
    }
}

/// The number of a value; 0 for none.
fn number_of(value: Option<&StoredEvent>) -> u64 {
    value.and_then(|value| value.place).map_or(0, |place| place.number)
}

impl Watches {
    pub fn is_empty(&self) -> bool {
        self.by_call.is_empty()
    }

    fn insert(&mut self, watch: Watch) {
        let key = watch.call.key.clone();
        let topic = (key.0.clone(), watch.topic.name().into());
        self.by_topic.entry(topic).or_default().push(key.clone());
        self.by_call.insert(key, watch);
    }

    pub fn remove(&mut self, key: &CallKey) -> Option<Watch> {
        let watch = self.by_call.remove(key)?;
        let topic = (key.0.clone(), watch.topic.name().into());
        if let Some(keys) = self.by_topic.get_mut(&topic) {
            keys.retain(|other| other != key);
            if keys.is_empty() {
                self.by_topic.remove(&topic);
            }
        }
        Some(watch)
    }

    /// Takes those whose time is over.
    pub fn late(&mut self, now_ms: u64) -> Vec<Watch> {
        let is_late = |watch: &&Watch| watch.until_ms.is_some_and(|at| at <= now_ms);
        let late: Vec<CallKey> = self.by_call.values().filter(is_late).map(|watch| watch.call.key.clone()).collect();
        late.iter().filter_map(|key| self.remove(key)).collect()
    }
}

impl Room<'_> {
    /// Begins to watch a key. It is asked for before its value is looked at, so that no change is missed.
    pub fn watch(&mut self, realm: &Arc<Realm>, mut watch: Watch) {
        realm.bell.watch(&watch.topic, true);
        let value = realm.retained(&watch.topic, self.now_ms).filter(|value| value.is_for(&watch.call.caller));
        if watch.known.is_none() && matches!(watch.wanted, Wanted::Any) && !watch.call.receive_progress {
            watch.known = Some(number_of(value.as_deref()));
        }
        let (key, topic) = (watch.call.key.clone(), watch.topic.clone());
        self.desk.watches.insert(watch);
        self.meet(&key, value.as_deref());
        self.rest(realm, &topic);
    }

    /// A key that is watched has changed.
    pub fn changed(&mut self, realm_name: &Arc<str>, topic_name: &str) {
        let watchers = self.desk.watches.by_topic.get(&(realm_name.clone(), topic_name.into())).cloned();
        let (Some(realm), Ok(topic)) = (self.node.realm(realm_name), Topic::from_name(topic_name)) else { return };
        let value = realm.retained(&topic, self.now_ms);
        for key in watchers.unwrap_or_default() {
            self.meet(&key, value.as_deref());
        }
        self.rest(&realm, &topic);
    }

    /// Answers a watch if this value does.
    fn meet(&mut self, key: &CallKey, value: Option<&StoredEvent>) {
        let Some(watch) = self.desk.watches.by_call.get_mut(key) else { return };
        let value = value.filter(|value| value.is_for(&watch.call.caller));
        if !watch.is_met(value) {
            return;
        }
        watch.known = Some(number_of(value));
        let answer = Answer::one(value.map_or(Value::Null, |value| self.entry(value)));
        let Some(watch) = self.desk.watches.by_call.get(key) else { return };
        if watch.call.receive_progress {
            return self.progress(&watch.call, answer);
        }
        if let Some(watch) = self.desk.watches.remove(key) {
            self.answer(&watch.call, Ok(answer));
        }
    }

    /// A key that nobody watches any more need not be told of.
    fn rest(&self, realm: &Realm, topic: &Topic) {
        if !self.desk.watches.by_topic.contains_key(&(realm.name.clone(), topic.name().into())) {
            realm.bell.watch(topic, false);
        }
    }
}
