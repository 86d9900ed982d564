//! WAMP on the wire: a broker in this process, and raw bytes on its sockets.

mod client;
mod durable;
mod longpoll;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use argon2::password_hash::{PasswordHasher, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use fennec::cli::broker::Broker;
use fennec::cli::config::{Config, Flag, Protocol, Sources};
use serde_json::{Value, json};

use client::{Client, Format, TRANSPORTS, Transport, check, rawsocket_frame, websocket_frame};

/// A broker on ports of its own.
struct Running(Option<Broker>);

impl Running {
    fn start() -> Self {
        Self::start_with("")
    }

    /// With this configuration file.
    fn start_with(config: &str) -> Self {
        Self::start_on(config, ("memory", "true"))
    }

    /// The same with a flag that says where things are stored.
    fn start_on(config: &str, (name, value): (&str, &str)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fennec.toml");
        std::fs::write(&file, config).unwrap();
        let flag = |key: &str, value: &str| Flag { name: key.into(), key: key.into(), value: value.into() };
        let listen = |name| flag(name, "127.0.0.1:0");
        let flags = vec![listen("listen.mqtt"), listen("listen.http"), listen("listen.rawsocket"), flag(name, value)];
        let config = Config::load(&Sources { file: Some(file), env: Vec::new(), flags }).unwrap();
        // One that was just dropped may hold the store until the last of its connections is gone.
        let patience = Instant::now() + Duration::from_secs(20);
        loop {
            match Broker::start(&config) {
                Ok(broker) => return Self(Some(broker)),
                Err(error) if Instant::now() < patience && format!("{error:?}").contains("in use") => {
                    std::thread::yield_now();
                }
                Err(error) => panic!("{error:?}"),
            }
        }
    }

    /// Stops it as soon as all clients have gone, which they must.
    fn stop(mut self) {
        if let Some(broker) = self.0.take() {
            broker.stop(|| false);
        }
    }

    fn broker(&self) -> &Broker {
        self.0.as_ref().unwrap()
    }

    fn address(&self, transport: Transport) -> SocketAddr {
        let protocol = match transport {
            Transport::RawSocket(_) => Protocol::RawSocket,
            _ => Protocol::Http,
        };
        self.broker().address(protocol, false).unwrap()
    }

    fn connect(&self, transport: Transport) -> Client {
        Client::connect(self.address(transport), transport)
    }

    fn join(&self, transport: Transport) -> Client {
        Client::join(self.address(transport), transport)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(broker) = self.0.take() {
            broker.stop(|| true);
        }
    }
}

const WEBSOCKET: Transport = Transport::WebSocket(Format::Json);
const RAWSOCKET: Transport = Transport::RawSocket(Format::Json);

#[test]
fn every_transport_hears_every_other() {
    let running = Running::start();
    let mut clients: Vec<Client> = TRANSPORTS.iter().map(|transport| running.join(*transport)).collect();
    for client in &mut clients {
        client.check(json!([32, 1, {}, "com.topic"]), json!([33, 1, 1]));
    }
    let (args, kwargs) = (json!(["a", -7, 1.5, null, [true, {"x": "é"}]]), json!({"k": [1, 2]}));
    for from in 0..clients.len() {
        let publish = json!([16, 2, {"acknowledge": true}, "com.topic", args, kwargs]);
        let published = clients[from].check(publish, json!([17, 2]));
        for to in (0..clients.len()).filter(|to| *to != from) {
            let event = clients[to].receive();
            assert_eq!(event, json!([36, 1, published[2], {}, args, kwargs]), "{from} to {to}");
        }
    }
}

#[test]
fn every_transport_calls_every_other() {
    let running = Running::start();
    for (callee, caller) in TRANSPORTS.into_iter().zip(TRANSPORTS.into_iter().cycle().skip(4)) {
        let (mut callee, mut caller) = (running.join(callee), running.join(caller));
        let registration = callee.check(json!([64, 1, {}, "com.proc"]), json!([65, 1]))[2].clone();
        caller.send(&json!([48, 7, {}, "com.proc", [1, "x"], {"k": null}]));
        assert_eq!(callee.receive(), json!([68, 1, registration, {}, [1, "x"], {"k": null}]));
        callee.send(&json!([70, 1, {}, [], {"r": 2}]));
        assert_eq!(caller.receive(), json!([50, 7, {}, [], {"r": 2}]));
        callee.check(json!([66, 2, registration]), json!([67, 2]));
    }
}

#[test]
fn goodbye_ends_a_session_on_every_transport() {
    let running = Running::start();
    for transport in TRANSPORTS {
        let mut client = running.join(transport);
        let goodbye = client.check(json!([6, {}, "wamp.close.close_realm"]), json!([6]));
        assert_eq!(goodbye, json!([6, {}, "wamp.close.goodbye_and_out"]));
    }
}

#[test]
fn a_violation_closes_every_transport() {
    let running = Running::start();
    for transport in TRANSPORTS {
        let mut client = running.join(transport);
        client.send(&json!([1, "realm1", {"roles": {"caller": {}}}]));
        let abort = client.receive();
        assert_eq!(abort[2], "wamp.error.protocol_violation", "{abort}");
        if !matches!(transport, Transport::RawSocket(_)) {
            assert_eq!(client.receive_frame(), (0x88, vec![0x03, 0xe8]));
        }
        assert!(client.is_closed(), "{transport:?}");
    }
}

#[test]
fn websocket_and_rawsocket_pings_are_answered() {
    let running = Running::start();
    let mut client = running.join(WEBSOCKET);
    client.socket.write_all(&websocket_frame(0x89, b"are you there")).unwrap();
    assert_eq!(client.receive_frame(), (0x8a, b"are you there".to_vec()));
    let mut client = running.join(RAWSOCKET);
    client.socket.write_all(&rawsocket_frame(1, b"are you there")).unwrap();
    assert_eq!(client.receive_frame(), (2, b"are you there".to_vec()));
}

#[test]
fn a_websocket_message_may_come_in_fragments_and_dribbles() {
    let running = Running::start();
    let mut client = running.join(WEBSOCKET);
    let message = br#"[32,1,{},"com.topic"]"#;
    let mut bytes = websocket_frame(0x01, &message[..5]);
    bytes.extend(websocket_frame(0x89, b"ping in between"));
    bytes.extend(websocket_frame(0x00, &message[5..9]));
    bytes.extend(websocket_frame(0x80, &message[9..]));
    for byte in bytes {
        client.socket.write_all(&[byte]).unwrap();
    }
    let mut answers = [client.receive_frame(), client.receive_frame()];
    answers.sort();
    assert_eq!(answers, [(0x81, b"[33,1,1]".to_vec()), (0x8a, b"ping in between".to_vec())]);
}

#[test]
fn a_websocket_close_is_answered_and_the_session_leaves() {
    let running = Running::start();
    let mut client = running.join(WEBSOCKET);
    client.check(json!([32, 1, {}, "com.topic"]), json!([33, 1, 1]));
    client.socket.write_all(&websocket_frame(0x88, &[0x03, 0xe9])).unwrap();
    assert_eq!(client.receive_frame().0, 0x88);
    assert!(client.is_closed());
    let realm = running.broker().node.realm("realm1").unwrap();
    // The broker has closed its side; its task is about to end.
    while realm.sessions_len() > 0 {
        std::thread::yield_now();
    }
    assert_eq!(realm.subscriptions_len(), 0);
}

#[test]
fn a_rawsocket_that_is_cut_leaves() {
    let running = Running::start();
    let mut client = running.join(RAWSOCKET);
    client.check(json!([64, 1, {}, "com.proc"]), json!([65, 1, 1]));
    let mut caller = running.join(WEBSOCKET);
    caller.send(&json!([48, 1, {}, "com.proc"]));
    client.receive();
    drop(client);
    let error = caller.receive();
    check(&error, &json!([8, 48, 1, {}, "wamp.error.canceled"]));
}

#[test]
fn an_unknown_subprotocol_is_refused() {
    let running = Running::start();
    let mut socket = TcpStream::connect(running.address(WEBSOCKET)).unwrap();
    let request = "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Protocol: wamp.2.ubjson\r\n\r\n";
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = [0; 12];
    std::io::Read::read_exact(&mut socket, &mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400");
}

#[test]
fn large_messages_arrive_whole() {
    let running = Running::start();
    let transports = [WEBSOCKET, Transport::Batched(Format::MsgPack), RAWSOCKET, Transport::RawSocket(Format::Cbor)];
    let mut clients: Vec<Client> = transports.iter().map(|transport| running.join(*transport)).collect();
    for client in &mut clients {
        client.check(json!([32, 1, {}, "com.topic"]), json!([33, 1, 1]));
    }
    // On both sides of every length in a header, and close to the largest message of all.
    for bytes in [100, 125, 126, 65_000, 65_535, 65_536, 1 << 20, (1 << 24) - 100] {
        let text = "x".repeat(bytes);
        for from in 0..clients.len() {
            clients[from].send(&json!([16, 2, {}, "com.topic", [text]]));
            for to in (0..clients.len()).filter(|to| *to != from) {
                let event = clients[to].receive();
                assert!(event[4][0] == text, "{bytes} bytes from {from} to {to}");
            }
        }
    }
}

#[test]
fn a_message_above_the_limit_closes_the_connection() {
    let running = Running::start_with("[wamp]\nwebsocket_bytes_max = 2000\nrawsocket_bytes_max = 2048\n");
    let publish = json!([16, 2, {}, "com.topic", ["x".repeat(3000)]]);
    let mut client = running.join(WEBSOCKET);
    client.send(&publish);
    assert_eq!(client.receive_frame(), (0x88, 1009u16.to_be_bytes().to_vec()));
    assert!(client.is_closed());

    let mut socket = TcpStream::connect(running.address(RAWSOCKET)).unwrap();
    socket.write_all(&[0x7f, 0xf1, 0, 0]).unwrap();
    let mut reply = [0; 4];
    std::io::Read::read_exact(&mut socket, &mut reply).unwrap();
    assert_eq!(reply, [0x7f, 0x21, 0, 0]);
    socket.write_all(&rawsocket_frame(0, publish.to_string().as_bytes())).unwrap();
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut socket, &mut answer).unwrap();
    assert!(answer.ends_with(br#""wamp.error.protocol_violation"]"#), "{}", String::from_utf8_lossy(&answer));
}

/// A subscriber that stops reading costs no more than its outbox, and is not waited for.
#[test]
fn who_does_not_read_hurts_nobody_else() {
    let running = Running::start_with("[limits]\noutbox_bytes_max = 1048576\n");
    let (mut publisher, mut reader) = (running.join(RAWSOCKET), running.join(WEBSOCKET));
    let mut sleepers: Vec<Client> = [WEBSOCKET, RAWSOCKET].map(|transport| running.join(transport)).into();
    for client in sleepers.iter_mut().chain([&mut reader]) {
        client.check(json!([32, 1, {}, "com.topic"]), json!([33, 1, 1]));
    }
    let text = "x".repeat(50_000);
    for number in 0..1000 {
        publisher.check(json!([16, 2, {"acknowledge": true}, "com.topic", [number, text]]), json!([17, 2]));
        assert_eq!(reader.receive()[4][0], number);
    }
    let metrics = running.broker().node.metrics.of(fennec::node::metrics::Protocol::Wamp);
    let dropped =
        metrics.dropped[fennec::node::metrics::Drop::QueueFull as usize].load(std::sync::atomic::Ordering::Relaxed);
    assert!(dropped > 1000, "{dropped} of 2000 dropped");
    for sleeper in &mut sleepers {
        assert_eq!(sleeper.receive()[4][0], 0, "what was sent first is there still");
    }
}

/// A caller that writes calls and never reads is not read any more, instead of piling up answers.
#[test]
fn who_does_not_take_its_answers_is_not_read() {
    let running = Running::start();
    let mut caller = running.join(RAWSOCKET);
    caller.socket.set_write_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
    let call = rawsocket_frame(0, br#"[48,1,{},"com.no_such_procedure_that_has_a_rather_long_name"]"#).repeat(1000);
    let mut sent = 0;
    while sent < 200 << 20 && caller.socket.write_all(&call).is_ok() {
        sent += call.len();
    }
    assert!(sent < 200 << 20, "the broker went on reading");
    let mut other = running.join(RAWSOCKET);
    other.check(json!([48, 1, {}, "a"]), json!([8, 48, 1, {}, "wamp.error.no_such_procedure"]));
}

fn hash(password: &str) -> String {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap());
    let salt = SaltString::encode_b64(b"salt of a test").unwrap();
    argon2.hash_password(password.as_bytes(), &salt).unwrap().to_string()
}

#[test]
fn tickets_are_checked_while_the_connection_waits() {
    let config = format!("[[user]]\nname = \"alice\"\npassword_hash = \"{}\"\n", hash("s3cret"));
    let running = Running::start_with(&config);
    for transport in TRANSPORTS {
        for (ticket, kind) in [("s3cret", 2), ("wrong", 3)] {
            let mut client = running.connect(transport);
            let details = json!({"roles": {"caller": {}}, "authmethods": ["ticket"], "authid": "alice"});
            client.check(json!([1, "realm1", details]), json!([4, "ticket", {}]));
            client.send(&json!([5, ticket, {}]));
            let answer = client.receive();
            assert_eq!(answer[0], kind, "{transport:?}: {answer}");
            if kind == 2 {
                assert_eq!(answer[2]["authid"], "alice");
                client.check(json!([32, 1, {}, "com.topic"]), json!([33, 1]));
            } else {
                assert_eq!(answer[2], "wamp.error.authentication_failed");
            }
        }
        let mut client = running.connect(transport);
        let abort = client.check(json!([1, "realm1", {"roles": {"caller": {}}}]), json!([3]));
        assert_eq!(abort[2], "wamp.error.authentication_required");
    }
}

#[test]
fn a_broker_that_stops_says_goodbye() {
    let mut running = Running::start();
    let mut clients: Vec<Client> = TRANSPORTS.iter().map(|transport| running.join(*transport)).collect();
    let broker = running.0.take().unwrap();
    let stopping = std::thread::spawn(move || broker.stop(|| false));
    for client in &mut clients {
        let goodbye: Value = client.receive();
        assert_eq!(goodbye[2], "wamp.close.system_shutdown", "{goodbye}");
    }
    drop(clients);
    stopping.join().unwrap();
}
