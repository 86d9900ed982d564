//! Certificates of both sides.

use std::io::Write;
use std::os::unix::fs::symlink;

use tokio_rustls::rustls::{AlertDescription, Error};

use crate::broker::{Broker, answer, wait_until};
use crate::mqtt::{Client, SUCCESS};
use crate::pki::{Authority, Identity, Secure, open, replace};

const CERTIFICATE: &str = "cert = \"DIR/server.pem\"\nkey = \"DIR/server.pem\"\n";

/// A broker that asks clients for certificates of this authority, on listeners of all kinds.
fn start(ca: &Authority, more: &str) -> Broker {
    let listen = "[listen]\nmqtt = \"off\"\nmqtts = \"127.0.0.1:0\"\nhttps = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\n\
                  rawsocket = \"off\"\nrawsockets = \"127.0.0.1:0\"\n";
    let tls = format!("[tls]\n{CERTIFICATE}client_ca = \"DIR/ca.pem\"\ncrl = \"DIR/crl.pem\"\n{more}");
    Broker::start(&format!("{listen}{tls}"), |folder| {
        ca.issue("localhost", 1).write(&folder.join("server.pem"));
        ca.write(&folder.join("ca.pem"));
        replace(&folder.join("crl.pem"), &ca.revoke(&[]));
    })
}

fn mqtts(broker: &Broker, ca: &Authority, identity: Option<&Identity>) -> Client<Secure> {
    Client::new(open(broker.connect("mqtts"), &ca.client(identity, &["mqtt"]), "localhost"))
}

#[test]
fn every_listener_asks_for_a_certificate_that_it_believes() {
    let (ca, other) = (Authority::new("right"), Authority::new("wrong"));
    let broker = start(&ca, "");
    let (known, stranger) = (ca.issue("press-17", 7), other.issue("press-17", 7));
    let get = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for (identity, comes_in) in [(Some(&known), true), (Some(&stranger), false), (None, false)] {
        assert_eq!(mqtts(&broker, &ca, identity).join("a", None).is_ok(), comes_in);
        let mut rawsocket = open(broker.connect("rawsockets"), &ca.client(identity, &[]), "localhost");
        let mut reply = [0; 4];
        // 0x7F, longest messages, JSON.
        let spoke = rawsocket
            .write_all(&[0x7f, 0xf1, 0, 0])
            .and_then(|()| std::io::Read::read_exact(&mut rawsocket, &mut reply));
        assert_eq!(spoke.is_ok(), comes_in);
        let mut https = open(broker.connect("https"), &ca.client(identity, &["h2", "http/1.1"]), "localhost");
        let asked = https.write_all(get.as_bytes()).and_then(|()| {
            let mut byte = [0];
            std::io::Read::read_exact(&mut https, &mut byte)
        });
        assert_eq!(asked.is_ok(), comes_in);
    }
}

#[test]
fn who_is_revoked_is_gone_after_the_signal_and_the_others_stay() {
    let ca = Authority::new("ca");
    let broker = start(&ca, "close_unverified = true\n");
    let (good, bad) = (ca.issue("good", 10), ca.issue("bad", 11));
    let (mut stays, mut goes) = (mqtts(&broker, &ca, Some(&good)), mqtts(&broker, &ca, Some(&bad)));
    assert_eq!(stays.join("good", None).unwrap(), SUCCESS);
    assert_eq!(goes.join("bad", None).unwrap(), SUCCESS);
    replace(&broker.path("crl.pem"), &ca.revoke(&[11]));
    broker.hang_up();
    broker.says(&["read again", "listen.mqtts"]);
    assert!(goes.read().is_err(), "its certificate is not believed any more");
    stays.ping().expect("nobody else is disturbed");
    assert!(mqtts(&broker, &ca, Some(&bad)).join("bad", None).is_err());
    assert_eq!(mqtts(&broker, &ca, Some(&good)).join("good2", None).unwrap(), SUCCESS);
}

#[test]
fn files_that_cannot_be_used_change_nothing_and_are_told() {
    let ca = Authority::new("ca");
    let broker = start(&ca, "");
    let good = ca.issue("good", 10);
    let server = std::fs::read_to_string(broker.path("server.pem")).unwrap();
    replace(&broker.path("server.pem"), "no certificate");
    broker.hang_up();
    broker.says(&["ERROR", "listen.mqtts", "contains no certificate"]);
    let stale = || broker.metric("fennec_reload_stale{what=\"listen.mqtts\"}");
    assert_eq!(stale(), 1.0);
    assert_eq!(mqtts(&broker, &ca, Some(&good)).join("a", None).unwrap(), SUCCESS);
    replace(&broker.path("server.pem"), &server);
    wait_until("the mended file is taken up unasked", || stale() == 0.0);
}

#[test]
fn a_folder_that_is_swapped_by_a_link_is_noticed() {
    let ca = Authority::new("ca");
    let config = "[listen]\nmqtt = \"off\"\nmqtts = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\nrawsocket = \"off\"\n\
                  [tls]\ncert = \"DIR/now/tls.pem\"\nkey = \"DIR/now/tls.pem\"\n";
    let write = |folder: &std::path::Path, name: &str, serial| {
        std::fs::create_dir(folder.join(name)).unwrap();
        ca.issue("localhost", serial).write(&folder.join(name).join("tls.pem"));
        symlink(name, folder.join("next")).unwrap();
        std::fs::rename(folder.join("next"), folder.join("now")).unwrap();
    };
    let broker = Broker::start(config, |folder| write(folder, "one", 1));
    let mut client = mqtts(&broker, &ca, None);
    assert_eq!(client.join("a", None).unwrap(), SUCCESS);
    let shown = |client: &Client<Secure>| client.socket.conn.peer_certificates().unwrap()[0].clone();
    let before = shown(&client);
    write(broker.folder.path(), "two", 2);
    wait_until("the new certificate is shown", || {
        let mut new = mqtts(&broker, &ca, None);
        new.join("b", None).unwrap();
        shown(&new) != before
    });
    client.ping().expect("who is there stays");
    assert!(broker.metric("fennec_reloads_total{what=\"listen.mqtts\",result=\"ok\"}") >= 1.0);
}

#[test]
fn certificates_are_chosen_by_name() {
    let ca = Authority::new("ca");
    let more = "certificates = [{ cert = \"DIR/shop.pem\", key = \"DIR/shop.pem\" }, { cert = \"DIR/any.pem\", key = \"DIR/any.pem\" }]\n";
    let config = format!(
        "[listen]\nmqtt = \"off\"\nmqtts = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\nrawsocket = \"off\"\n[tls]\n{CERTIFICATE}{more}"
    );
    let (server, shop, any) = (ca.issue("localhost", 1), ca.issue("shop.example", 2), ca.issue("*.mill.example", 3));
    let broker = Broker::start(&config, |folder| {
        server.write(&folder.join("server.pem"));
        shop.write(&folder.join("shop.pem"));
        any.write(&folder.join("any.pem"));
    });
    for (name, expected) in [("localhost", &server), ("shop.example", &shop), ("a.mill.example", &any)] {
        let mut client = Client::new(open(broker.connect("mqtts"), &ca.client(None, &[]), name));
        assert_eq!(client.join(name, None).unwrap(), SUCCESS, "{name}");
        assert!(client.socket.conn.peer_certificates().unwrap()[0] == expected.cert, "{name}");
    }
    // 2060-01-01.
    let expiry = format!("listener=\"listen.mqtts\",cert=\"{}\"", broker.path("shop.pem").display());
    assert_eq!(broker.metric(&format!("fennec_tls_certificate_expiry_seconds{{{expiry}}}")), 2_840_140_800.0);
}

#[test]
fn who_offers_only_other_protocols_is_told_so() {
    let ca = Authority::new("ca");
    let broker = start(&ca, "client_auth = \"optional\"\n");
    let join = |alpn: &[&str]| {
        let mut client = Client::new(open(broker.connect("mqtts"), &ca.client(None, alpn), "localhost"));
        let joined = client.join("a", None).map_err(|error| error.to_string());
        joined.map(|_| client.socket.conn.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()))
    };
    assert_eq!(join(&["x", "mqtt"]), Ok(Some("mqtt".to_owned())));
    assert_eq!(join(&[]), Ok(None));
    assert_eq!(join(&["x"]), Err(Error::AlertReceived(AlertDescription::NoApplicationProtocol).to_string()));
    let mut web = open(broker.connect("https"), &ca.client(None, &["h2", "http/1.1"]), "localhost");
    let get = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(answer(&mut web, get).0, 200);
    assert_eq!(web.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
}
