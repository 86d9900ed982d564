//! MQTT clients among themselves, each over every version and transport that it has.

use super::broker::Broker;
use super::{clients, script};

/// Runs a Python program against a broker of its own.
fn python(name: &str, arguments: &[&str]) {
    script::python(&Broker::start(), name, arguments);
}

/// Runs a JavaScript program against a broker of its own.
fn node(name: &str, arguments: &[&str]) {
    script::node(&Broker::start(), name, arguments);
}

#[test]
fn paho_speaks_3_1() {
    python("paho_any.py", &["--version", "31", "--transport", "tcp"]);
}

#[test]
fn paho_speaks_3_1_1() {
    python("paho_any.py", &["--version", "311", "--transport", "tcp"]);
}

#[test]
fn paho_speaks_3_1_1_over_websocket() {
    python("paho_any.py", &["--version", "311", "--transport", "ws"]);
}

#[test]
fn paho_speaks_5() {
    python("paho_any.py", &["--version", "5", "--transport", "tcp"]);
}

#[test]
fn paho_finds_what_only_5_has() {
    python("paho_v5.py", &[]);
}

#[test]
fn gmqtt_speaks_3_1_1() {
    python("gmqtt_client.py", &["--version", "311"]);
}

#[test]
fn gmqtt_speaks_5() {
    python("gmqtt_client.py", &["--version", "5"]);
}

#[test]
fn mqtt_js_speaks_3_1() {
    node("mqttjs.js", &["--version", "3", "--transport", "tcp"]);
}

#[test]
fn mqtt_js_speaks_3_1_1() {
    node("mqttjs.js", &["--version", "4", "--transport", "tcp"]);
}

#[test]
fn mqtt_js_speaks_3_1_1_over_websocket() {
    node("mqttjs.js", &["--version", "4", "--transport", "ws"]);
}

#[test]
fn mqtt_js_speaks_5() {
    node("mqttjs.js", &["--version", "5", "--transport", "tcp"]);
}

#[test]
fn mqtt_js_speaks_5_over_websocket() {
    node("mqttjs.js", &["--version", "5", "--transport", "ws"]);
}

#[test]
fn the_tools_of_mosquitto_work() {
    if clients::is_installed("mosquitto_sub") {
        python("mosquitto_cli.py", &[]);
    }
}
