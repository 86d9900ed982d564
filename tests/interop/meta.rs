//! The meta API, as clients see it.

use super::broker::Broker;
use super::script;

/// Everybody may do everything, and end sessions.
const CONFIG: &str = r##"
    anonymous = true

    [[role]]
    name = "anonymous"
    [[role.permissions]]
    action = ["publish", "subscribe", "call", "register"]
    topic = "#"
    [[role.permissions]]
    action = "call"
    uri = "wamp.session."
    match = "prefix"
"##;

#[test]
fn autobahn_python_sees_and_ends_sessions_of_both_protocols() {
    let arguments = ["--transport", "ws", "--serializer", "json"];
    script::python(&Broker::start_with(CONFIG), "meta.py", &arguments);
}

#[test]
fn autobahn_python_does_so_over_rawsocket_and_cbor() {
    let arguments = ["--transport", "rs", "--serializer", "cbor"];
    script::python(&Broker::start_with(CONFIG), "meta.py", &arguments);
}
