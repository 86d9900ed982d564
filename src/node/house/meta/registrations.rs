//! `wamp.registration.*`: registrations of all protocols. Those of the broker itself are not listed, and have no callees; those at
//! other entries of a cluster are known here, but not who their callees are.

use super::{by_policy, id_of, ids, nothing, pattern_of, topic_of};
use crate::node::house::Room;
use crate::node::house::answer::{Answer, Failure, Given};
use crate::node::house::callee::Call;
use crate::router::dealer::is_reserved;
use crate::router::output::{InvocationPolicy, RegistrationInfo};
use crate::types::ids::RegistrationId;
use crate::types::time::rfc3339;
use crate::types::value::Value;

/// What is told of a registration (WAMP, `RegistrationDetails`).
pub(in crate::node::house) fn entry(info: &RegistrationInfo<'_>) -> Value {
    let (uri, policy) = info.pattern.uri();
    let invoke = match info.policy {
        InvocationPolicy::Single => "single",
        InvocationPolicy::First => "first",
        InvocationPolicy::Last => "last",
        InvocationPolicy::Random => "random",
        InvocationPolicy::RoundRobin => "roundrobin",
    };
    Value::map([
        ("id", Value::from(info.registration.0)),
        ("created", Value::from(rfc3339(info.created_ms * 1000))),
        ("uri", Value::from(uri)),
        ("match", Value::from(policy.as_str())),
        ("invoke", Value::from(invoke)),
    ])
}

fn no_such_registration() -> Failure {
    Failure::new("wamp.error.no_such_registration", "there is no such registration")
}

impl Room<'_> {
    pub fn registration_list(&mut self, call: &Call) -> Result<Given, Failure> {
        nothing(call)?;
        let realm = self.realm(call)?;
        let dealer = realm.dealer.lock();
        let all = dealer.registrations().filter(|info| !is_reserved(info.pattern));
        Ok(Answer::one(by_policy(all.map(|info| (info.pattern.policy(), info.registration.0)))).into())
    }

    pub fn registration_lookup(&mut self, call: &Call) -> Result<Given, Failure> {
        let pattern = pattern_of(call, "procedure")?;
        let found = self.realm(call)?.dealer.lock().lookup(&pattern);
        Ok(Answer::one(found.map_or(Value::Null, |id| id.0.into())).into())
    }

    pub fn registration_match(&mut self, call: &Call) -> Result<Given, Failure> {
        let topic = topic_of(call, "procedure")?;
        let found = self.realm(call)?.dealer.lock().best_match(&topic);
        Ok(Answer::one(found.map_or(Value::Null, |id| id.0.into())).into())
    }

    pub fn registration_get(&mut self, call: &Call) -> Result<Given, Failure> {
        let id = RegistrationId(id_of(call, "registration")?);
        let realm = self.realm(call)?;
        let dealer = realm.dealer.lock();
        let info = dealer.registration(id).ok_or_else(no_such_registration)?;
        Ok(Answer::one(entry(&info)).into())
    }

    pub fn registration_callees(&mut self, call: &Call, count: bool) -> Result<Given, Failure> {
        let id = RegistrationId(id_of(call, "registration")?);
        let realm = self.realm(call)?;
        let all: Vec<_> = match realm.dealer.lock().callees(id) {
            Some(callees) => callees.collect(),
            None => return Err(no_such_registration()),
        };
        let attached = all.into_iter().filter(|id| realm.session(*id).is_some()).map(|id| id.0);
        if !count {
            return Ok(Answer::one(ids(attached)).into());
        }
        let elsewhere = realm.dealer.lock().callees_elsewhere(id);
        Ok(Answer::one((attached.count() + elsewhere) as u64).into())
    }
}
