//! Consumer groups: each event to one member, whatever becomes of members and broker.

use super::broker::Broker;
use super::script;

const PROGRAM: &str = env!("CARGO_BIN_EXE_fennec");

#[test]
fn paho_and_autobahn_python_share_events_in_groups() {
    let arguments = ["--transport", "ws", "--serializer", "json", "--fennec", PROGRAM];
    script::python(&Broker::start(), "groups.py", &arguments);
}

#[test]
fn mqtt_js_autobahn_js_and_wampy_share_events_in_groups() {
    script::node(&Broker::start(), "groups.js", &[]);
}
