//! WAMP clients among themselves, each over every transport and serializer that it has.

use super::broker::Broker;
use super::script;

/// Runs the scenarios of autobahn-python against a broker of its own.
fn autobahn_python(transport: &str, serializer: &str, more: &[&str]) {
    let arguments = [&["--transport", transport, "--serializer", serializer], more].concat();
    script::python(&Broker::start(), "autobahn_client.py", &arguments);
}

/// Runs the scenarios of Autobahn|JS against a broker of its own.
fn autobahn_js(transport: &str, serializer: &str) {
    script::node(&Broker::start(), "autobahnjs.js", &["--transport", transport, "--serializer", serializer]);
}

#[test]
fn autobahn_js_speaks_json_by_long_polling() {
    autobahn_js("lp", "json");
}

/// Runs the scenarios of Wampy.js against a broker of its own.
fn wampy(serializer: &str) {
    script::node(&Broker::start(), "wampyjs.js", &["--serializer", serializer]);
}

#[test]
fn autobahn_python_speaks_json_over_websocket() {
    autobahn_python("ws", "json", &[]);
}

#[test]
fn autobahn_python_speaks_msgpack_over_websocket() {
    autobahn_python("ws", "msgpack", &[]);
}

#[test]
fn autobahn_python_speaks_cbor_over_websocket() {
    autobahn_python("ws", "cbor", &[]);
}

#[test]
fn autobahn_python_speaks_batched_json() {
    autobahn_python("ws", "json", &["--batched", "yes"]);
}

#[test]
fn autobahn_python_speaks_batched_msgpack() {
    autobahn_python("ws", "msgpack", &["--batched", "yes"]);
}

#[test]
fn autobahn_python_speaks_batched_cbor() {
    autobahn_python("ws", "cbor", &["--batched", "yes"]);
}

#[test]
fn autobahn_python_speaks_json_over_rawsocket() {
    autobahn_python("rs", "json", &[]);
}

#[test]
fn autobahn_python_speaks_msgpack_over_rawsocket() {
    autobahn_python("rs", "msgpack", &[]);
}

#[test]
fn autobahn_python_speaks_cbor_over_rawsocket() {
    autobahn_python("rs", "cbor", &[]);
}

#[test]
fn autobahn_js_speaks_json_over_websocket() {
    autobahn_js("ws", "json");
}

#[test]
fn autobahn_js_speaks_msgpack_over_websocket() {
    autobahn_js("ws", "msgpack");
}

#[test]
fn autobahn_js_speaks_cbor_over_websocket() {
    autobahn_js("ws", "cbor");
}

#[test]
fn autobahn_js_speaks_json_over_rawsocket() {
    autobahn_js("rs", "json");
}

#[test]
fn wampy_speaks_json() {
    wampy("json");
}

#[test]
fn wampy_speaks_msgpack() {
    wampy("msgpack");
}

#[test]
fn wampy_speaks_cbor() {
    wampy("cbor");
}
