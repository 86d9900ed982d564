//! Subscribers that go on where they were, by every way there is.

use super::broker::Broker;
use super::script;

const PROGRAM: &str = env!("CARGO_BIN_EXE_fennec");
const CONFIG: &str = "[[durable]]\ntopic = 'log/#'\n";

#[test]
fn paho_autobahn_python_and_event_streams_resume() {
    let arguments = ["--transport", "ws", "--serializer", "json", "--fennec", PROGRAM];
    script::python(&Broker::start_on_disk(CONFIG), "resume.py", &arguments);
}

#[test]
fn autobahn_python_resumes_over_rawsocket_and_cbor() {
    let arguments = ["--transport", "rs", "--serializer", "cbor", "--fennec", PROGRAM, "--only", "wamp"];
    script::python(&Broker::start_on_disk(CONFIG), "resume.py", &arguments);
}

#[test]
fn autobahn_js_wampy_mqtt_js_and_fetch_resume() {
    script::node(&Broker::start_on_disk(CONFIG), "resume.js", &[]);
}
