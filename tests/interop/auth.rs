//! Users, and what their roles allow, seen by the clients.

use std::io::Write;
use std::process::{Command, Stdio};

use super::broker::Broker;
use super::script;

const ALICE: &str = "correct horse battery staple";
const SENSOR: &str = "sensor's password, with ünïcödé";

/// The entry of a user as `fennec hash-password` prints it, with its role.
fn user(name: &str, password: &str, role: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fennec"))
        .args(["hash-password", "--name", name])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program is started");
    let mut input = child.stdin.take().expect("its standard input");
    input.write_all(password.as_bytes()).expect("the password is read");
    drop(input);
    let output = child.wait_with_output().expect("its output");
    assert!(output.status.success(), "hash-password ended with {}", output.status);
    format!("{}role = \"{role}\"\n", String::from_utf8(output.stdout).expect("TOML"))
}

/// A broker that knows `alice`, who may do everything, and `sensor`, who may do little.
fn broker() -> Broker {
    let users = user("alice", ALICE, "owner") + &user("sensor", SENSOR, "sensor");
    let roles = r##"
        [[role]]
        name = "owner"
        [[role.permissions]]
        action = ["publish", "subscribe", "call", "register"]
        topic = "#"

        [[role]]
        name = "sensor"
        [[role.permissions]]
        action = "publish"
        topic = "sensors/#"
        [[role.permissions]]
        action = "subscribe"
        topic = "commands/#"
    "##;
    Broker::start_with(&(users + roles))
}

#[test]
fn paho_and_autobahn_python_come_in_by_password_ticket_and_challenge() {
    let secrets = ["--alice", ALICE, "--sensor", SENSOR];
    script::python(&broker(), "auth.py", &[&["--transport", "ws", "--serializer", "json"], &secrets[..]].concat());
}

#[test]
fn autobahn_js_wampy_and_mqtt_js_come_in_by_password_ticket_and_challenge() {
    script::node(&broker(), "auth.js", &["--alice", ALICE]);
}
