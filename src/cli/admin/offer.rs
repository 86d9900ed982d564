//! What only the program itself can do, as procedures: to change what is logged, and to read its files again.

use std::sync::Arc;

use crate::cli::log;
use crate::node::Node;
use crate::node::house::{Declined, Guest, GuestCall};
use crate::types::value::Value;

/// Answers `fennec.admin.log_level`.
struct LogLevel;

impl Guest for LogLevel {
    fn take(&self, call: GuestCall) {
        let answer = log_level(&call);
        call.answer(answer);
    }
}

/// Tells the filter; with an argument it is that from now on.
fn log_level(call: &GuestCall) -> Result<Value, Declined> {
    let invalid = |text: String| Declined { uri: "wamp.error.invalid_argument", text };
    let filter = log::started();
    let filter = filter.ok_or_else(|| Declined { uri: "wamp.error.unavailable", text: "nothing is logged".into() })?;
    let (positional, named) = call.arguments()?;
    let mut given =
        positional.into_iter().chain(named.into_iter().filter(|(name, _)| name == "filter").map(|(_, v)| v));
    match (given.next(), given.next()) {
        (None | Some(Value::Null), None) => {}
        (Some(Value::Text(text)), None) => filter.set(&text).map_err(invalid)?,
        _ => return Err(invalid("filter must be a string, and is the only argument".to_owned())),
    }
    Ok(Value::map([("filter", Value::from(filter.get()))]))
}

/// Offers them.
pub(in crate::cli) fn offer(node: &Node) {
    node.offer("fennec.admin.log_level", Arc::new(LogLevel));
}
