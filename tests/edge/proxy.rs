//! Proxies that say for whom they connect.

use std::io::Write;

use crate::broker::Broker;
use crate::mqtt::{Client, NOT_AUTHORIZED, SUCCESS};
use crate::pki::{Authority, open};

fn start(listener: &str) -> Broker {
    let ca = Authority::new("ca");
    let config = format!(
        "[listen]\nhttp = \"127.0.0.1:0\"\nrawsocket = \"off\"\nmqtt = {{ address = \"127.0.0.1:0\", proxy_protocol = true, {listener} }}\n"
    );
    Broker::start(&config, |folder| ca.issue("localhost", 1).write(&folder.join("server.pem")))
}

const V1: &[u8] = b"PROXY TCP4 203.0.113.7 198.51.100.1 40000 1883\r\n";

/// Version 2, from 203.0.113.8:40001.
fn v2() -> Vec<u8> {
    let head = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
    [&head[..], &[203, 0, 113, 8, 198, 51, 100, 1, 0x9c, 0x41, 7, 0x5b]].concat()
}

#[test]
fn the_client_that_a_trusted_proxy_names_is_the_client() {
    let broker = start("trusted_proxies = \"127.0.0.0/8\", anonymous = true");
    for (header, name) in [(V1.to_vec(), "203.0.113.7:40000"), (v2(), "203.0.113.8:40001")] {
        let mut client = Client::new(broker.connect("mqtt"));
        client.socket.write_all(&header).unwrap();
        assert_eq!(client.join(name, None).unwrap(), SUCCESS);
        broker.says(&["MQTT client connected", &format!("peer={name} (by 127.0.0.1:")]);
    }
}

#[test]
fn a_header_that_comes_in_pieces_is_read_to_its_end_and_no_further() {
    let broker = start("trusted_proxies = \"127.0.0.0/8\", anonymous = true");
    for header in [V1.to_vec(), v2()] {
        let mut client = Client::new(broker.connect("mqtt"));
        for byte in header {
            client.socket.write_all(&[byte]).unwrap();
        }
        assert_eq!(client.join("pieces", None).unwrap(), SUCCESS);
    }
}

#[test]
fn nobody_else_is_believed() {
    let broker = start("trusted_proxies = \"10.0.0.0/8\", anonymous = true");
    let mut client = Client::new(broker.connect("mqtt"));
    client.socket.write_all(V1).unwrap();
    assert!(client.join("a", None).is_err(), "it is none of trusted_proxies");
}

#[test]
fn a_connection_without_a_header_is_closed() {
    let broker = start("trusted_proxies = \"127.0.0.1\", anonymous = true");
    assert!(Client::new(broker.connect("mqtt")).join("a", None).is_err());
}

#[test]
fn whoever_comes_by_a_proxy_is_not_from_this_machine() {
    let broker = start("trusted_proxies = \"127.0.0.1\"");
    for header in [V1, b"PROXY TCP4 127.0.0.1 127.0.0.1 40000 1883\r\n", b"PROXY UNKNOWN\r\n"] {
        let mut client = Client::new(broker.connect("mqtt"));
        client.socket.write_all(header).unwrap();
        assert_eq!(client.join("a", None).unwrap(), NOT_AUTHORIZED);
    }
}

#[test]
fn tls_begins_behind_the_header() {
    let ca = Authority::new("ca");
    let config = "trusted_proxies = \"127.0.0.1\"\nanonymous = true\n[listen]\nhttp = \"127.0.0.1:0\"\nmqtt = \"off\"\nrawsocket = \"off\"\n\
                  mqtts = { address = \"127.0.0.1:0\", proxy_protocol = true }\n[tls]\ncert = \"DIR/s.pem\"\nkey = \"DIR/s.pem\"\n";
    let broker = Broker::start(config, |folder| ca.issue("localhost", 1).write(&folder.join("s.pem")));
    let mut socket = broker.connect("mqtts");
    socket.write_all(V1).unwrap();
    let mut client = Client::new(open(socket, &ca.client(None, &["mqtt"]), "localhost"));
    assert_eq!(client.join("a", None).unwrap(), SUCCESS);
    broker.says(&["MQTT client connected", "peer=203.0.113.7:40000"]);
}

#[test]
fn a_header_of_http_counts_from_trusted_proxies_only() {
    let ask = |broker: &Broker, headers: &str| {
        broker.request(&format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n")).0
    };
    let listen = "[listen]\nmqtt = \"off\"\nrawsocket = \"off\"\nhttp = { address = \"127.0.0.1:0\", trusted_proxies = \"127.0.0.1\" }\n";
    let broker = Broker::start(listen, |_| ());
    assert_eq!(ask(&broker, ""), 200);
    for forwarded in ["203.0.113.7", "127.0.0.1"] {
        assert_eq!(ask(&broker, &format!("X-Forwarded-For: {forwarded}\r\n")), 401, "{forwarded} is not this machine");
    }
}
