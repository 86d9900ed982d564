//! The audit log: who has changed something, from where, and what came of it. What was said beside the first argument is left out:
//! it may be a secret.

use std::sync::Arc;

use crate::node::Node;
use crate::node::house::answer::{Answer, Failure};
use crate::node::house::arguments::Arguments;
use crate::node::house::callee::Call;
use crate::types::payload::Format;
use crate::types::value::Value;

/// What changes nothing, of `fennec.admin.*`.
const LOOKS: [&str; 9] = [
    "fennec.admin.sessions",
    "fennec.admin.session",
    "fennec.admin.subscriptions",
    "fennec.admin.registrations",
    "fennec.admin.retained",
    "fennec.admin.retained_get",
    "fennec.admin.durables",
    "fennec.admin.user.list",
    "fennec.admin.role.list",
];
/// What else is noted.
const CHANGES: [&str; 12] = [
    "wamp.session.kill",
    "wamp.session.kill_by_authid",
    "wamp.session.kill_by_authrole",
    "wamp.session.kill_all",
    "wamp.session.modify_details",
    "fennec.durable.remove",
    "fennec.service.add",
    "fennec.service.remove",
    "fennec.service.retry",
    "fennec.service.replay",
    "fennec.service.pause",
    "fennec.service.resume",
];
/// Characters of the first argument.
const WHAT_MAX: usize = 256;

/// Notes a call that was answered, if it was to change something.
pub(in crate::node::house) fn note(node: &Arc<Node>, call: &Call, answer: &Result<Answer, Failure>) {
    let what = first_argument(call);
    if !is_change(call.uri, &what) {
        return;
    }
    let session = node.realm(&call.key.0).and_then(|realm| realm.session(call.caller.session));
    let origin = session.map(|session| session.origin()).unwrap_or_default();
    let from = origin.peer.map(|peer| peer.to_string()).unwrap_or_default();
    tracing::info!(
        target: "fennec::audit",
        who = call.caller.authid.as_deref().unwrap_or_default(),
        role = call.caller.authrole.as_deref().unwrap_or_default(),
        session = call.caller.session.0,
        from,
        transport = origin.transport,
        realm = &*call.key.0,
        procedure = call.uri,
        what = what.unwrap_or_default(),
        outcome = answer.as_ref().map_or_else(|failure| failure.uri, |_| "done"),
        "audit"
    );
}

/// The same of a call that another entry has sent on, because something was changed here. `address`, `transport`: where the caller is.
pub(in crate::node::house) fn note_of_entry(
    call: &Call,
    entry: &str,
    address: &str,
    transport: &str,
    answer: &Result<Answer, Failure>,
) {
    let what = first_argument(call);
    if !is_change(call.uri, &what) {
        return;
    }
    tracing::info!(
        target: "fennec::audit",
        who = call.caller.authid.as_deref().unwrap_or_default(),
        role = call.caller.authrole.as_deref().unwrap_or_default(),
        session = call.caller.session.0,
        from = address,
        transport,
        entry,
        realm = &*call.key.0,
        procedure = call.uri,
        what = what.unwrap_or_default(),
        outcome = answer.as_ref().map_or_else(|failure| failure.uri, |_| "done"),
        "audit"
    );
}

/// Who asks for the log level without saying one only looks.
fn is_change(uri: &str, what: &Option<String>) -> bool {
    match uri {
        "fennec.admin.log_level" => what.is_some(),
        _ if LOOKS.contains(&uri) => false,
        _ => uri.starts_with("fennec.admin.") || CHANGES.contains(&uri),
    }
}

fn first_argument(call: &Call) -> Option<String> {
    let (positional, named) = Arguments::read(call).ok()?.into_parts();
    let by_name = || named.into_iter().find(|(name, _)| NAMES.contains(&name.as_str())).map(|(_, value)| value);
    let first = positional.into_iter().next().or_else(by_name)?;
    let text = match first {
        Value::Text(text) => text,
        Value::Map(options) => {
            return options.into_iter().find_map(|(name, value)| {
                let text = value.as_str().filter(|_| NAMES.contains(&name.as_str()));
                text.map(|text| text.chars().take(WHAT_MAX).collect())
            });
        }
        Value::Null => return None,
        other => String::from_utf8_lossy(&other.to_bytes(Format::Json)).into_owned(),
    };
    Some(text.chars().take(WHAT_MAX).collect())
}

/// What first arguments are called.
const NAMES: [&str; 9] = ["session", "authid", "authrole", "topic", "name", "filter", "id", "user", "client_id"];
