//! Bytes for a whole broker, by its sockets: it lives, and answers others.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use fennec::cli::broker::Broker;
use fennec::cli::config::{Config, Flag, Protocol, Sources};

use crate::fuzz;

const PATIENCE: Duration = Duration::from_secs(60);
const ROUNDS: usize = 300;

struct Running {
    broker: Option<Broker>,
    /// Rounds since somebody else was last looked at.
    rounds: Cell<usize>,
}

impl Running {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fennec.toml");
        let hook = "[[hook]]\nname = \"door\"\ntopic = \"hooks/door\"\nsecret = \"plain:secret\"\n";
        std::fs::write(&file, hook).unwrap();
        let flag = |key: &str, value: &str| Flag { name: key.into(), key: key.into(), value: value.into() };
        let mut flags = vec![flag("memory", "true")];
        flags.extend(["mqtt", "http", "rawsocket"].map(|name| flag(&format!("listen.{name}"), "127.0.0.1:0")));
        let sources = Sources { file: Some(file), env: Vec::new(), flags };
        let config = Config::load(&sources).or_else(|_| Config::load(&Sources { file: None, ..sources })).unwrap();
        Self { broker: Some(Broker::start(&config).unwrap()), rounds: Cell::new(0) }
    }

    fn address(&self, protocol: Protocol) -> SocketAddr {
        self.broker.as_ref().and_then(|broker| broker.address(protocol, false)).expect("a listener")
    }

    /// Sends it all, says that there is no more, and reads to the end.
    fn say(&self, protocol: Protocol, bytes: &[u8]) {
        let mut socket = TcpStream::connect(self.address(protocol)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        // The broker may close before all was sent, as it should.
        if socket.write_all(bytes).is_ok() && socket.shutdown(Shutdown::Write).is_ok() {
            let ended = socket.read_to_end(&mut Vec::new());
            let timed_out = |error: &std::io::Error| matches!(error.kind(), std::io::ErrorKind::WouldBlock);
            assert!(!ended.as_ref().is_err_and(timed_out), "the connection hangs");
        }
        self.rounds.set(self.rounds.get() + 1);
        if self.rounds.get().is_multiple_of(50) {
            self.check_others();
        }
    }

    fn check_others(&self) {
        let mut socket = TcpStream::connect(self.address(Protocol::Http)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let body = br#"{"topic":"a.b","args":[1]}"#;
        let head = format!(
            "POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        socket.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(broker) = self.broker.take() {
            broker.stop(|| true);
        }
    }
}

#[test]
fn bodies_of_requests() {
    let running = Running::start();
    let seeds: Vec<Vec<u8>> = [
        r#"{"topic":"a.b","args":[1],"kwargs":{"k":null},"retain":true,"when":{"a":1},"user_properties":{"a":["b"]}}"#,
        r#"{"mqtt_topic":"a/b","payload_base64":"/9j/4A==","message_expiry_interval":5,"eligible":[1]}"#,
        r#"{"procedure":"wamp.session.count","args":[],"timeout_ms":50}"#,
        r#"{"protocols":["wamp.2.json","wamp.2.cbor.batched"]}"#,
    ]
    .map(|seed| seed.as_bytes().to_vec())
    .into();
    let paths = ["/publish", "/call", "/lp/open", "/lp/x/send", "/hooks/door"];
    fuzz(ROUNDS, &seeds, |input| {
        let path = paths[input.len() % paths.len()];
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n\
             webhook-id: 1\r\nwebhook-timestamp: 1\r\nwebhook-signature: v1,AAAA\r\nContent-Length: {}\r\n\r\n",
            input.len()
        );
        running.say(Protocol::Http, &[head.as_bytes(), input].concat());
    });
}

#[test]
fn heads_of_requests() {
    let running = Running::start();
    let seeds: Vec<Vec<u8>> = [
        "GET /subscribe?snapshot=true&topic=a.b&after=1&rewind=3&filter=%7B%7D HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: wamp.2.json\r\n\r\n\x01\x02",
        "GET /metrics HTTP/1.1\r\nHost: [::1]:80\r\nAuthorization: Basic YTpi\r\nX-Forwarded-For: 1.2.3.4\r\n\
         Origin: https://a.example\r\nConnection: close\r\n\r\n",
    ]
    .map(|seed| seed.as_bytes().to_vec())
    .into();
    fuzz(ROUNDS, &seeds, |input| running.say(Protocol::Http, input));
}

#[test]
fn bytes_of_mqtt_and_rawsocket() {
    let running = Running::start();
    let mqtt = b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c\x82\x06\0\x01\0\x01#\0\x30\x04\0\x01ax\xc0\0\xe0\0".to_vec();
    let proxied = [b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(), mqtt.clone()].concat();
    fuzz(ROUNDS, &[mqtt, proxied], |input| running.say(Protocol::Mqtt, input));
    let hello = br#"[1,"realm1",{"roles":{"caller":{}}}]"#;
    let rawsocket = [&b"\x7f\xf1\0\0\0\0\0"[..], &[hello.len() as u8], hello, b"\x01\0\0\x02hi"].concat();
    fuzz(ROUNDS, &[rawsocket], |input| running.say(Protocol::RawSocket, input));
}
