//! `fennec.durable.*`: the named durable subscriptions of the caller's user.

use super::Room;
use super::answer::{Answer, Failure, Given};
use super::arguments::Arguments;
use super::callee::Call;
use super::placed::What;
use crate::node::durables::DurableInfo;
use crate::queue::command::Command;
use crate::queue::message::Batch;
use crate::types::topic::Topic;
use crate::types::value::Value;

impl Room<'_> {
    pub fn durable_list(&mut self, call: &Call) -> Result<Given, Failure> {
        Arguments::read(call)?.options(&[])?;
        let realm = self.realm(call)?;
        let own = |info: &DurableInfo| Some(&info.row.authid) == call.caller.authid.as_ref();
        let all = realm.durables().into_iter().filter(own).map(|info| entry(&info));
        let all: Vec<_> = all.collect();
        Ok(Answer::one(Value::map([("durables", Value::List(all))])).into())
    }

    pub fn durable_remove(&mut self, call: &Call) -> Result<Given, Failure> {
        let mut arguments = Arguments::read(call)?;
        let name = arguments.text("name")?;
        arguments.options(&[])?;
        let realm = self.realm(call)?;
        let mut own = realm.durables().into_iter();
        let known = own.find(|info| *info.name == *name && Some(&info.row.authid) == call.caller.authid.as_ref());
        if known.is_none() {
            return Err(Failure::new(
                "fennec.error.no_such_durable",
                "the caller has no durable subscription of this name",
            ));
        }
        let mut batch = Batch::default();
        batch.command(&Command::Forget { realm: realm.name.to_string(), name: name.clone() });
        self.submit(call, What::Forget(name), batch);
        Ok(Given::Later)
    }

    /// A named durable subscription is gone from the log.
    pub fn forgotten(&self, call: &Call, name: &str) {
        let Ok(realm) = self.realm(call) else { return };
        realm.drop_durable(self.node, name);
    }
}

/// What is told of one.
pub(super) fn entry(info: &DurableInfo) -> Value {
    let (uri, policy) = info.pattern.uri();
    let row = &info.row;
    let mut entry = vec![
        ("name", Value::from(&*info.name)),
        ("topic", Value::from(uri)),
        ("match", Value::from(policy.as_str())),
        ("group", Value::Bool(row.group)),
        ("acknowledge", Value::from(if row.acknowledged { "client" } else { "auto" })),
        ("connected", Value::Bool(info.connected)),
    ];
    if row.group {
        entry.push(("ack_timeout", Value::from(row.ack_timeout_ms)));
        entry.push(("deliveries_max", Value::from(u64::from(row.deliveries_max))));
        let topic = row.dead_letter_topic.as_ref().and_then(|name| Topic::from_name(name).ok());
        entry.extend(topic.map(|topic| ("dead_letter_topic", Value::from(topic.uri()))));
        entry.extend(row.order_by.as_deref().map(|field| ("order_by", Value::from(field))));
    }
    Value::map(entry)
}
