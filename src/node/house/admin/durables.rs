//! Named durable subscriptions and consumer groups of all users.

use std::sync::Arc;

use super::{limit, listed};
use crate::node::Node;
use crate::node::durables::{DurableInfo, done_to};
use crate::node::house::Room;
use crate::node::house::answer::{Answer, Failure, Given, say};
use crate::node::house::arguments::Arguments;
use crate::node::house::callee::Call;
use crate::node::house::durables;
use crate::node::house::placed::What;
use crate::queue::command::Command;
use crate::queue::message::Batch;
use crate::store::{StoreError, StoreReader};
use crate::types::value::Value;

impl Room<'_> {
    /// They with how far they are behind the end of the log, which is read from the store.
    pub fn admin_durables(&mut self, call: &Call) -> Result<Given, Failure> {
        let mut options = Arguments::read(call)?.options(&["limit", "after"])?;
        let (limit, after) = (limit(&mut options)?, options.text("after")?);
        let realm = self.realm(call)?;
        let mut all = realm.durables();
        all.retain(|info| after.as_deref().is_none_or(|after| *info.name > *after));
        all.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let more = all.len() > limit;
        all.truncate(limit);
        let next = all.last().filter(|_| more).map(|info| Value::from(&*info.name));
        let (call, now_ms) = (call.clone(), self.now_ms);
        self.node.ask_history(move |node, reader| {
            let entries = all.iter().map(|info| entry(node, reader, &call, info)).collect::<Result<Vec<_>, _>>();
            let answer = entries.map(|entries| Answer::one(listed("durables", entries, next)));
            say(node, &call, answer.map_err(Failure::from), false, now_ms);
        })?;
        Ok(Given::Later)
    }

    pub fn admin_durable_delete(&mut self, call: &Call) -> Result<Given, Failure> {
        let mut arguments = Arguments::read(call)?;
        let name = arguments.text("name")?;
        arguments.options(&[])?;
        let realm = self.realm(call)?;
        if !realm.durables().iter().any(|info| *info.name == *name) {
            return Err(Failure::new("fennec.error.no_such_durable", "there is no durable subscription of this name"));
        }
        let mut batch = Batch::default();
        batch.command(&Command::Forget { realm: realm.name.to_string(), name: name.clone() });
        self.submit(call, What::Forget(name), batch);
        Ok(Given::Later)
    }
}

fn entry(node: &Arc<Node>, reader: &mut dyn StoreReader, call: &Call, info: &DurableInfo) -> Result<Value, StoreError> {
    let done = done_to(reader, &call.key.0, &info.name)?;
    let mut entry = match durables::entry(info) {
        Value::Map(entry) => entry,
        _ => Vec::new(),
    };
    entry.push(("authid".to_owned(), Value::from(&*info.row.authid)));
    entry.push(("lag".to_owned(), Value::from(node.log.fed().saturating_sub(done))));
    Ok(Value::Map(entry))
}
