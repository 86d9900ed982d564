//! Every way to log in that the clients know, over every transport and serializer that they have.

use std::path::Path;

use super::auth::{ALICE, user};
use super::broker::Broker;
use super::pki::{Authority, replace};
use super::script;

/// The public key of the Ed25519 seed of 32 times 7.
const KEY: &str = "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c";

/// The users, one for each way; `DIR` is the folder of the certificates.
fn config(folder: &Path) -> String {
    let plain = format!("[[user]]\nname = \"plain\"\nrole = \"owner\"\nwampcra = {{ key = \"{ALICE}\" }}\n");
    let press = "[[user]]\nname = \"press\"\nrole = \"owner\"\ncertificates = \"dns:press\"\n";
    let guarded = format!(
        "[[user]]\nname = \"guarded\"\nrole = \"owner\"\ncertificates = \"dns:guarded\"\ncryptosign_keys = \"{KEY}\"\n\
         require = [\"tls\", \"cryptosign\"]\n"
    );
    let users = [
        user("alice", ALICE, "owner") + &format!("cryptosign_keys = \"{KEY}\"\n"),
        user("double", ALICE, "owner") + "require = [\"wampcra\", \"password\"]\n",
        plain,
        press.to_owned(),
        guarded,
    ];
    let head = r##"
        anonymous = true
        # Each failure is on purpose.
        limits.auth_delay_s_max = 0
        http.cookie_s = 600

        [listen]
        mqtts = "127.0.0.1:0"
        https = "127.0.0.1:0"
        rawsockets = "127.0.0.1:0"

        [tls]
        cert = "DIR/server.pem"
        key = "DIR/server.pem"
        client_ca = "DIR/ca.pem"
        client_auth = "optional"
        crl = "DIR/crl.pem"
        close_unverified = true

        [[role]]
        name = "owner"
        permissions = [
            { action = ["publish", "subscribe", "call", "register"], topic = "#" },
            { action = "call", uri = "fennec.admin.", match = "prefix" },
        ]

        [[role]]
        name = "anonymous"
        permissions = [{ action = ["publish", "subscribe"], topic = "anybody/#" }]
    "##;
    head.replace("DIR", folder.to_str().expect("a path in UTF-8")) + &users.concat()
}

/// A broker that knows all of them, and the folder with the certificates.
fn broker() -> (Broker, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let ca = Authority::new("ca");
    ca.write(&path("ca.pem"));
    for (serial, name, file) in [
        (1, "127.0.0.1", "server.pem"),
        (2, "press", "press.pem"),
        (3, "guarded", "guarded.pem"),
        (4, "x", "stranger.pem"),
    ] {
        ca.issue(name, serial).write(&path(file));
    }
    replace(&path("crl.pem"), &ca.revoke(&[99]));
    replace(&path("revoked.crl"), &ca.revoke(&[2]));
    (Broker::start_secured(&config(folder.path())), folder)
}

#[test]
fn autobahn_python_and_paho_log_in_by_all_they_know() {
    let (broker, folder) = broker();
    let pki = folder.path().to_str().expect("a path in UTF-8");
    let arguments = ["--transport", "ws", "--serializer", "json", "--alice", ALICE, "--pki", pki];
    script::python(&broker, "logins.py", &arguments);
}

#[test]
fn autobahn_js_wampy_and_mqtt_js_log_in_by_all_they_know() {
    let (broker, folder) = broker();
    let pki = folder.path().to_str().expect("a path in UTF-8");
    let ca = folder.path().join("ca.pem");
    let ca = ca.to_str().expect("a path in UTF-8");
    script::node(&broker, "logins.js", &["--alice", ALICE, "--pki", pki, "--ca", ca]);
}
