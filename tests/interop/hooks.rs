//! A web server that decides who somebody is, and what it may do.

use super::clients;
use super::script::{self, Nobody};

#[test]
fn mosquittos_tools_paho_and_autobahn_python_do_what_a_web_server_lets_them() {
    let tools: &[&str] = if clients::is_installed("mosquitto_sub") { &["--tools", "yes"] } else { &[] };
    script::python(&Nobody, "hooks.py", &[&["--transport", "ws", "--serializer", "cbor"], tools].concat());
}
