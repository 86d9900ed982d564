//! The meta API: what can be asked and heard of the sessions, subscriptions and registrations of a realm (WAMP, Meta API).
//!
//! ```text
//! Realm: a session joins, a subscription is made, … --News, if somebody hears it--> house --> wamp.….on_…
//! CALL wamp.session.list, … --> sessions, subscriptions, registrations
//! ```
//!
//! MQTT clients and subscriptions over HTTP are sessions as those of WAMP are. A session is there as long as it has a connection:
//! one that is kept without has left. Each entry of a cluster has its own, and tells what happens to those; [`super::view`] makes one of
//! all.

mod herald;
mod registrations;
mod sessions;
mod subscriptions;

use super::Room;
use super::answer::{Failure, Given};
use super::arguments::Arguments;
use super::callee::Call;
use crate::types::topic::{MatchPolicy, Topic, TopicPattern};
use crate::types::value::Value;

pub use herald::Herald;
pub(super) use herald::News;
pub(super) use registrations::entry as registration;
pub(super) use sessions::{NO_SESSION, details, kick_of, no_such_session};
pub(super) use subscriptions::entry as subscription;

/// What answers a procedure.
pub(super) type Answerer = fn(&mut Room<'_>, &Call) -> Result<Given, Failure>;

pub(super) const PROCEDURES: [(&str, Answerer); 20] = [
    ("wamp.session.count", |room, call| room.session_count(call)),
    ("wamp.session.list", |room, call| room.session_list(call)),
    ("wamp.session.get", |room, call| room.session_get(call)),
    ("wamp.session.kill", |room, call| room.session_kill(call)),
    ("wamp.session.kill_by_authid", |room, call| room.session_kill_by_authid(call)),
    ("wamp.session.kill_by_authrole", |room, call| room.session_kill_by_authrole(call)),
    ("wamp.session.kill_all", |room, call| room.session_kill_all(call)),
    ("wamp.session.modify_details", |room, call| room.session_modify_details(call)),
    ("wamp.registration.list", |room, call| room.registration_list(call)),
    ("wamp.registration.lookup", |room, call| room.registration_lookup(call)),
    ("wamp.registration.match", |room, call| room.registration_match(call)),
    ("wamp.registration.get", |room, call| room.registration_get(call)),
    ("wamp.registration.list_callees", |room, call| room.registration_callees(call, false)),
    ("wamp.registration.count_callees", |room, call| room.registration_callees(call, true)),
    ("wamp.subscription.list", |room, call| room.subscription_list(call)),
    ("wamp.subscription.lookup", |room, call| room.subscription_lookup(call)),
    ("wamp.subscription.match", |room, call| room.subscription_match(call)),
    ("wamp.subscription.get", |room, call| room.subscription_get(call)),
    ("wamp.subscription.list_subscribers", |room, call| room.subscription_subscribers(call, false)),
    ("wamp.subscription.count_subscribers", |room, call| room.subscription_subscribers(call, true)),
];

/// What a lookup looks for: a URI, and the option `match`. Other options are those of SUBSCRIBE and REGISTER, and say nothing here.
fn pattern_of(call: &Call, name: &'static str) -> Result<TopicPattern, Failure> {
    let mut arguments = Arguments::read(call)?;
    let uri = arguments.text(name)?;
    let mut options = arguments.any_options()?;
    let policy = options.text("match")?.map(|policy| policy.parse::<MatchPolicy>()).transpose();
    let policy = policy.map_err(|_| Failure::invalid("match must be one of exact, prefix, wildcard, fox"))?;
    let pattern = TopicPattern::from_uri(&uri, policy.unwrap_or_default());
    pattern.map_err(|error| Failure::new("wamp.error.invalid_uri", format!("{name} {error}")))
}

/// The only argument, a topic.
fn topic_of(call: &Call, name: &'static str) -> Result<Topic, Failure> {
    let mut arguments = Arguments::read(call)?;
    let topic = arguments.topic(name)?;
    arguments.options(&[])?;
    Ok(topic)
}

/// The only argument, an id.
fn id_of(call: &Call, name: &'static str) -> Result<u64, Failure> {
    let mut arguments = Arguments::read(call)?;
    let id = arguments.id(name)?;
    arguments.options(&[])?;
    Ok(id)
}

/// No arguments.
fn nothing(call: &Call) -> Result<(), Failure> {
    Arguments::read(call)?.options(&[]).map(drop)
}

fn ids(ids: impl IntoIterator<Item = u64>) -> Value {
    Value::List(ids.into_iter().map(Value::from).collect())
}

/// Ids by match policy. `fox` is there only if there are such, for the specification does not know it.
fn by_policy(all: impl IntoIterator<Item = (MatchPolicy, u64)>) -> Value {
    let mut lists = [MatchPolicy::Exact, MatchPolicy::Prefix, MatchPolicy::Wildcard, MatchPolicy::Fox]
        .map(|policy| (policy, Vec::new()));
    for (policy, id) in all {
        lists.iter_mut().filter(|(of, _)| *of == policy).for_each(|(_, list)| list.push(id));
    }
    let told = lists.into_iter().filter(|(policy, list)| *policy != MatchPolicy::Fox || !list.is_empty());
    Value::map(told.map(|(policy, mut list)| {
        list.sort_unstable();
        (policy.as_str(), ids(list))
    }))
}
