//! Users, and what their roles allow, seen by the clients.

use std::io::Write;
use std::process::{Command, Stdio};

use super::broker::Broker;
use super::script;

pub const ALICE: &str = "correct horse battery staple";
const SENSOR: &str = "sensor's password, with ünïcödé";

/// The entry of a user as `fennec hash-password` prints it, with its role.
pub fn user(name: &str, password: &str, role: &str) -> String {
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

const SECRET: &str = "a secret that is long enough for tokens";

/// A broker that knows `alice`, believes tokens, and asks a procedure about others.
fn broker_of_all_proofs() -> Broker {
    let alice = user("alice", ALICE, "owner");
    let rest = format!(
        r##"
        [[jwt]]
        secret = "{SECRET}"

        [[authenticator]]
        method = ["ticket", "wampcra"]
        procedure = "com.example.authenticate"

        [[role]]
        name = "owner"
        [[role.permissions]]
        action = ["publish", "subscribe", "call", "register"]
        topic = "#"
    "##
    );
    // Each failure is on purpose.
    Broker::start_with(&format!("limits.auth_delay_s_max = 0\n{alice}{rest}"))
}

#[test]
fn autobahn_python_and_paho_prove_themselves_by_token_and_procedure() {
    let broker = broker_of_all_proofs();
    for (transport, serializer) in [("ws", "json"), ("ws", "msgpack"), ("rs", "cbor")] {
        let secrets = ["--alice", ALICE, "--secret", SECRET];
        let how = ["--transport", transport, "--serializer", serializer];
        script::python(&broker, "prove.py", &[&how[..], &secrets[..]].concat());
    }
}

#[test]
fn mqtt_js_proves_itself_by_scram_and_token() {
    script::node(&broker_of_all_proofs(), "prove.js", &["--alice", ALICE, "--secret", SECRET]);
}
