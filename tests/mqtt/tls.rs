//! MQTT through TLS.

use std::net::TcpStream;
use std::sync::Arc;

use fennec::mqtt::codec::Level;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::{Client, Running, connect, hello, publish_of};

type Secure = StreamOwned<ClientConnection, TcpStream>;

/// A broker with a certificate of its own, and what clients need to trust it.
fn start() -> (Running, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let running =
        Running::start_with(&format!("[listen]\nmqtts = \"127.0.0.1:0\"\n[tls]\ncert = {cert:?}\nkey = {key:?}\n"));
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (running, Arc::new(config))
}

fn open(running: &Running, config: &Arc<ClientConfig>) -> Client<Secure> {
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(config.clone(), name).unwrap();
    Client::new(StreamOwned::new(connection, connect(running.address(true))))
}

#[test]
fn clients_meet_through_tls_and_without() {
    let (running, config) = start();
    let mut secure = open(&running, &config);
    secure.join(Level::V5, "secure");
    secure.send("82 0001 {} s'a' 01");
    secure.expect("90 0001 {} 01");
    let mut plain = running.join(Level::V4, "plain");
    plain.send("32 s'a' 0001 'x'");
    plain.expect("40 0001");
    secure.expect("32 s'a' 0001 {} 'x'");
    secure.send("40 0001");
    secure.send("C0");
    secure.expect("D0");
}

/// Many TLS records, partly written.
#[test]
fn large_message_passes_through_tls() {
    let (running, config) = start();
    let (mut from, mut to) = (open(&running, &config), open(&running, &config));
    from.join(Level::V4, "from");
    to.join(Level::V4, "to");
    to.send("82 0001 s'#' 00");
    to.expect("90 0001 00");
    let payload: Vec<u8> = (0..3_000_000u32).map(|at| (at % 251) as u8).collect();
    let packet = publish_of("a", &payload);
    from.write(&packet);
    assert!(to.read_frame().unwrap() == packet);
}

#[test]
fn client_that_does_not_speak_tls_is_closed_and_hurts_nobody() {
    let (running, config) = start();
    let mut secure = open(&running, &config);
    secure.join(Level::V5, "secure");
    let mut plain = Client::new(connect(running.address(true)));
    plain.write(&hello(Level::V4, "plain"));
    // A TLS alert may come; it is no packet.
    let mut rest = Vec::new();
    let _ = std::io::Read::read_to_end(&mut plain.socket, &mut rest);
    assert!(rest.len() < 16, "{rest:02x?}");
    secure.send("C0");
    secure.expect("D0");
}
