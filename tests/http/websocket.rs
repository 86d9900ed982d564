//! The door for WebSockets.

use fennec::node::metrics::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::broker::{Ask, Broker, Setup, soon};

/// The example of RFC 6455, 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn upgrade() -> Ask {
    Ask::get("/ws")
        .with("connection", "keep-alive, Upgrade")
        .with("upgrade", "WebSocket")
        .with("sec-websocket-version", "13")
        .with("sec-websocket-key", KEY)
}

/// Reads until `end`, and nothing behind it.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        text.push(soon(end, stream.read_u8()).await.unwrap());
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn the_socket_goes_to_the_gate_with_what_came_early() {
    let broker = Broker::start(Setup::default());
    let mut client = TcpStream::connect(broker.address).await.unwrap();
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Protocol: other\r\n\
         Sec-WebSocket-Protocol: echo.1, echo.2\r\n\r\nearly"
    );
    client.write_all(request.as_bytes()).await.unwrap();
    let head = read_until(&mut client, "\r\n\r\n").await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    for line in [
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-protocol: echo.1",
        &format!("sec-websocket-accept: {}", ACCEPT.to_ascii_lowercase()),
    ] {
        assert!(head.lines().any(|one| one == line), "{line} is not in\n{head}");
    }
    assert_eq!(read_until(&mut client, "early").await, "echo.1 true early");
    client.write_all(b"late").await.unwrap();
    assert_eq!(read_until(&mut client, "late").await, "late");
    // Its own gate counts it now.
    let http = broker.node.metrics.of(Protocol::Http);
    assert_eq!(http.connections_opened.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert_eq!(http.connections_closed.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test]
async fn the_gate_is_told_whom_it_may_not_trust() {
    let broker = Broker::start(Setup::default());
    let mut client = TcpStream::connect(broker.address).await.unwrap();
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Protocol: echo.2\r\n\
         X-Forwarded-For: 192.0.2.1\r\n\r\n"
    );
    client.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut client, "\r\n\r\n").await;
    assert_eq!(read_until(&mut client, "false ").await, "echo.2 false ");
}

#[tokio::test]
async fn a_client_without_a_known_subprotocol_is_told_one() {
    let broker = Broker::start(Setup::default());
    for offered in [None, Some("wamp.2.json"), Some("echo")] {
        let ask = offered.into_iter().fold(upgrade(), |ask, name| ask.with("sec-websocket-protocol", name));
        let answer = broker.ask(ask).await;
        answer.is_error(400, "fennec.error.no_subprotocol");
        assert!(answer.text().contains("echo.2"), "{}", answer.text());
    }
}

#[tokio::test]
async fn what_is_no_websocket_request_is_told_so() {
    let broker = Broker::start(Setup::default());
    let with_version = |version: &str| {
        Ask::get("/ws")
            .with("connection", "upgrade")
            .with("upgrade", "websocket")
            .with("sec-websocket-version", version)
    };
    for ask in [Ask::get("/ws"), Ask::post("/ws", "{}"), with_version("8").with("sec-websocket-key", KEY)] {
        let answer = broker.ask(ask).await;
        answer.is_error(426, "fennec.error.upgrade_required");
        assert_eq!(answer.header("upgrade"), Some("websocket"));
        assert_eq!(answer.header("sec-websocket-version"), Some("13"));
    }
    broker.ask(with_version("13")).await.is_error(400, "wamp.error.invalid_argument");
}

#[tokio::test]
async fn a_broker_that_stops_takes_no_websockets() {
    let broker = Broker::start(Setup::default());
    broker.node.drain();
    let answer = broker.ask(upgrade().with("sec-websocket-protocol", "echo.1")).await;
    answer.is_error(503, "wamp.close.system_shutdown");
}
