//! Connections over TLS.

use std::path::PathBuf;

use super::broker::Broker;
use super::script;

/// A broker with a certificate of its own, made for this address, and the file that clients trust.
fn broker(folder: &tempfile::TempDir) -> (Broker, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]);
    let made = made.expect("a certificate");
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).expect("the certificate is written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("the key is written");
    (Broker::start_with_tls(&cert, &key), cert)
}

#[test]
fn paho_and_autobahn_python_speak_over_tls() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (broker, ca) = broker(&folder);
    for transport in ["ws", "rs"] {
        let ca = ca.to_str().expect("a path in UTF-8");
        script::python(&broker, "tls.py", &["--transport", transport, "--serializer", "cbor", "--ca", ca]);
    }
}

#[test]
fn mqtt_js_autobahn_js_and_wampy_speak_over_tls() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (broker, ca) = broker(&folder);
    script::node(&broker, "tls.js", &["--ca", ca.to_str().expect("a path in UTF-8")]);
}
