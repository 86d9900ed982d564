//! MQTT and WAMP clients with each other.

use super::broker::Broker;
use super::{clients, script};

#[test]
fn paho_and_autobahn_python_meet_over_json() {
    script::python(&Broker::start(), "bridge.py", &["--transport", "ws", "--serializer", "json"]);
}

#[test]
fn paho_and_autobahn_python_meet_over_cbor() {
    script::python(&Broker::start(), "bridge.py", &["--transport", "rs", "--serializer", "cbor"]);
}

#[test]
fn mqtt_js_autobahn_js_and_wampy_exchange_properties() {
    script::node(&Broker::start(), "bridge.js", &[]);
}

#[test]
fn the_tools_of_mosquitto_and_autobahn_js_see_each_other() {
    if clients::is_installed("mosquitto_sub") {
        script::node(&Broker::start(), "bridge_tools.js", &[]);
    }
}
