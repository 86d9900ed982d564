//! What only the program itself can do, as procedures: to change what is logged, and to read its files again.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::cli::log;
use crate::cli::watch::{Done, Watch};
use crate::node::Node;
use crate::node::house::{Failure, Guest, GuestCall};
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
fn log_level(call: &GuestCall) -> Result<Value, Failure> {
    let filter = log::started().ok_or_else(|| Failure::new("wamp.error.unavailable", "nothing is logged"))?;
    let mut given = call.named("filter")?;
    let wanted = given.text("filter")?;
    given.end()?;
    if let Some(wanted) = wanted {
        filter.set(&wanted).map_err(Failure::invalid)?;
    }
    Ok(Value::map([("filter", Value::from(filter.get()))]))
}

/// Answers `fennec.admin.reload`.
struct Reload {
    watch: Watch,
    runtime: Handle,
}

impl Guest for Reload {
    fn take(&self, call: GuestCall) {
        let watch = self.watch.clone();
        // Files are read.
        self.runtime.spawn_blocking(move || {
            let answer = reload(&call, &watch);
            call.answer(answer);
        });
    }
}

/// Reads all files again, as SIGHUP does, and tells which they were.
fn reload(call: &GuestCall, watch: &Watch) -> Result<Value, Failure> {
    if call.arguments()? != (Vec::new(), Vec::new()) {
        return Err(Failure::invalid("there are no arguments"));
    }
    let done = watch.read();
    if call.node().entry.get().is_some() {
        // The links of a cluster follow their file by the signal, which every broker catches.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP);
    }
    let mistakes = |(what, done): &(&str, Done)| Some(format!("{what}: {}", done.as_ref().err()?.join("; ")));
    let failed: Vec<String> = done.iter().filter_map(mistakes).collect();
    if !failed.is_empty() {
        return Err(Failure::new("fennec.error.reload_failed", failed.join("; ")));
    }
    let names = done.into_iter().map(|(what, _)| Value::from(what)).collect();
    Ok(Value::map([("reloaded", Value::List(names))]))
}

/// Offers them.
pub(in crate::cli) fn offer(node: &Node, watch: &Watch, runtime: &Handle) {
    node.offer("fennec.admin.log_level", Arc::new(LogLevel));
    node.offer("fennec.admin.reload", Arc::new(Reload { watch: watch.clone(), runtime: runtime.clone() }));
}
