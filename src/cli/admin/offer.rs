//! What only the program itself can do, as procedures: to change what is logged, and to read its files again.

use std::sync::{Arc, Weak};

use tokio::runtime::Handle;

use crate::cli::access::Access;
use crate::cli::log;
use crate::cli::watch::Watch;
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
    let (mut positional, mut named) = call.arguments()?;
    if let Some(Value::Map(options)) = positional.pop_if(|last| last.as_map().is_some()) {
        named.extend(options);
    }
    let by_place = positional.into_iter().map(|value| ("filter".to_owned(), value));
    let given: Vec<_> = by_place.chain(named).filter(|(_, value)| !value.is_null()).collect();
    match &given[..] {
        [] => {}
        [(name, Value::Text(text))] if name == "filter" => filter.set(text).map_err(invalid)?,
        _ => return Err(invalid("filter must be a string, and is the only argument".to_owned())),
    }
    Ok(Value::map([("filter", Value::from(filter.get()))]))
}

/// Answers `fennec.admin.reload`.
struct Reload {
    watch: Watch,
    /// It has the node, which has this.
    access: Weak<Access>,
    runtime: Handle,
}

impl Guest for Reload {
    fn take(&self, call: GuestCall) {
        let Some(access) = self.access.upgrade() else { return };
        let watch = self.watch.clone();
        // Files are read.
        self.runtime.spawn_blocking(move || {
            let answer = reload(&call, &watch, &access);
            call.answer(answer);
        });
    }
}

/// Reads all files again, as SIGHUP does, and tells which they were.
fn reload(call: &GuestCall, watch: &Watch, access: &Access) -> Result<Value, Declined> {
    if call.arguments()? != (Vec::new(), Vec::new()) {
        let text = "there are no arguments".to_owned();
        return Err(Declined { uri: "wamp.error.invalid_argument", text });
    }
    let mut done = watch.look(true);
    done.push(("users".to_owned(), access.reload().map_err(|mistakes| mistakes.join("; "))));
    if call.node().entry.get().is_some() {
        // The links of a cluster follow their file by the signal, which every broker catches.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP);
    }
    let failed: Vec<String> =
        done.iter().filter_map(|(what, done)| Some(format!("{what}: {}", done.as_ref().err()?))).collect();
    if !failed.is_empty() {
        return Err(Declined { uri: "fennec.error.reload_failed", text: failed.join("; ") });
    }
    let names = done.into_iter().map(|(what, _)| Value::from(what)).collect();
    Ok(Value::map([("reloaded", Value::List(names))]))
}

/// Offers them.
pub(in crate::cli) fn offer(node: &Node, watch: &Watch, access: &Arc<Access>, runtime: &Handle) {
    node.offer("fennec.admin.log_level", Arc::new(LogLevel));
    let reload = Reload { watch: watch.clone(), access: Arc::downgrade(access), runtime: runtime.clone() };
    node.offer("fennec.admin.reload", Arc::new(reload));
}
