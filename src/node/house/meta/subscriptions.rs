//! `wamp.subscription.*`: subscriptions of all protocols.

use super::{by_policy, id_of, ids, nothing, pattern_of, topic_of};
use crate::node::house::Room;
use crate::node::house::answer::{Answer, Failure, Given};
use crate::node::house::callee::Call;
use crate::router::broker::SubscriptionInfo;
use crate::types::ids::SubscriptionId;
use crate::types::time::rfc3339;
use crate::types::value::Value;

/// What is told of a subscription (WAMP, `SubscriptionDetails`), and if it is a durable one its name.
pub(in crate::node::house) fn entry(info: &SubscriptionInfo) -> Value {
    let (uri, policy) = info.pattern.uri();
    let mut entry = vec![
        ("id", Value::from(info.id.0)),
        ("created", Value::from(rfc3339(info.created_ms * 1000))),
        ("uri", Value::from(uri)),
        ("match", Value::from(policy.as_str())),
    ];
    entry.extend(info.variant.name.as_deref().map(|name| ("durable", Value::from(name))));
    Value::map(entry)
}

fn no_such_subscription() -> Failure {
    Failure::new("wamp.error.no_such_subscription", "there is no such subscription")
}

impl Room<'_> {
    pub fn subscription_list(&mut self, call: &Call) -> Result<Given, Failure> {
        nothing(call)?;
        let all = self.realm(call)?.subscriptions();
        Ok(Answer::one(by_policy(all.iter().map(|info| (info.pattern.policy(), info.id.0)))).into())
    }

    pub fn subscription_lookup(&mut self, call: &Call) -> Result<Given, Failure> {
        let pattern = pattern_of(call, "topic")?;
        let found = self.realm(call)?.look_up_subscription(&pattern);
        Ok(Answer::one(found.map_or(Value::Null, |id| id.0.into())).into())
    }

    pub fn subscription_match(&mut self, call: &Call) -> Result<Given, Failure> {
        let topic = topic_of(call, "topic")?;
        let found = self.realm(call)?.matching_subscriptions(&topic);
        let told = if found.is_empty() { Value::Null } else { ids(found.iter().map(|id| id.0)) };
        Ok(Answer::one(told).into())
    }

    pub fn subscription_get(&mut self, call: &Call) -> Result<Given, Failure> {
        let id = SubscriptionId(id_of(call, "subscription")?);
        let info = self.realm(call)?.subscription_info(id).ok_or_else(no_such_subscription)?;
        Ok(Answer::one(entry(&info)).into())
    }

    pub fn subscription_subscribers(&mut self, call: &Call, count: bool) -> Result<Given, Failure> {
        let id = SubscriptionId(id_of(call, "subscription")?);
        let realm = self.realm(call)?;
        let all = realm.subscribers(id).ok_or_else(no_such_subscription)?;
        // Sessions that are kept without a connection are not attached.
        let attached = all.into_iter().filter(|id| realm.session(*id).is_some_and(|session| session.is_present()));
        let attached: Vec<u64> = attached.map(|id| id.0).collect();
        Ok(Answer::one(if count { Value::from(attached.len() as u64) } else { ids(attached) }).into())
    }
}
