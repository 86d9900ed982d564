//! The tools that people try TLS with.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::broker::Broker;
use crate::pki::{Authority, replace};

/// Whether it succeeded, and what it said.
fn run(program: &str, arguments: &[&str], folder: &Path) -> (bool, String) {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    let output = command.output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// Whether a tool is there; if not, that is said.
fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if !found {
        eprintln!("NOT TESTED: {program}, for this machine has none");
    }
    found
}

#[test]
fn mosquitto_curl_and_openssl_show_their_certificates_and_name_their_protocol() {
    let ca = Authority::new("ca");
    let listen = "[listen]\nmqtt = \"off\"\nmqtts = \"127.0.0.1:0\"\nhttps = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\nrawsocket = \"off\"\n";
    let tls = "[tls]\ncert = \"DIR/server.pem\"\nkey = \"DIR/server.pem\"\nclient_ca = \"DIR/ca.pem\"\ncrl = \"DIR/crl.pem\"\n";
    let broker = Broker::start(&format!("{listen}{tls}"), |folder| {
        ca.issue("localhost", 1).write(&folder.join("server.pem"));
        ca.issue("press-17", 17).write(&folder.join("client.pem"));
        ca.issue("press-18", 18).write(&folder.join("revoked.pem"));
        ca.write(&folder.join("ca.pem"));
        replace(&folder.join("crl.pem"), &ca.revoke(&[18]));
    });
    let folder = broker.folder.path();
    let (mqtts, https) = (broker.port("mqtts").to_string(), broker.port("https"));
    if is_installed("mosquitto_pub") {
        let publish = |more: &[&str]| {
            let common = ["-h", "localhost", "-p", &mqtts, "--cafile", "ca.pem", "-t", "t", "-m", "m", "-q", "1"];
            run("mosquitto_pub", &[&common, more].concat(), folder)
        };
        let own = ["--cert", "client.pem", "--key", "client.pem"];
        for (more, comes_in) in
            [(&own[..], true), (&[], false), (&["--cert", "revoked.pem", "--key", "revoked.pem"], false)]
        {
            let (done, said) = publish(more);
            assert_eq!(done, comes_in, "{more:?}: {said}");
        }
        assert!(publish(&[&own[..], &["--tls-alpn", "mqtt"]].concat()).0);
        assert!(!publish(&[&own[..], &["--tls-alpn", "h2"]].concat()).0);
    }
    if is_installed("curl") {
        let url = format!("https://localhost:{https}/healthz");
        let get = |more: &[&str]| run("curl", &[&["-s", "-S", "--cacert", "ca.pem", &url], more].concat(), folder);
        let (done, said) = get(&["--cert", "client.pem"]);
        assert!(done && said == "ok\n", "{said}");
        assert!(!get(&[]).0 && !get(&["--cert", "revoked.pem"]).0);
    }
    if is_installed("openssl") {
        let to = format!("localhost:{mqtts}");
        let ask = |alpn: &str| {
            let arguments = [
                "s_client",
                "-connect",
                &to,
                "-alpn",
                alpn,
                "-CAfile",
                "ca.pem",
                "-cert",
                "client.pem",
                "-key",
                "client.pem",
            ];
            run("openssl", &arguments, folder).1
        };
        assert!(ask("mqtt").contains("ALPN protocol: mqtt"));
        assert!(ask("h2").contains("no application protocol"));
    }
}
