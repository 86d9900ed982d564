//! Sessions that requests carry.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::{Format, TRANSPORTS, Transport};
use super::{Running, WEBSOCKET};

/// Longer than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);
const JSON: Transport = Transport::WebSocket(Format::Json);
const BATCHED: Transport = Transport::Batched(Format::Json);

struct Answer {
    status: u16,
    /// In lower case.
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in an answer {}", self.status))
    }

    #[track_caller]
    fn is_error(&self, status: u16, uri: &str) {
        let json = self.json();
        assert_eq!((self.status, json["error"].as_str()), (status, Some(uri)), "{json}");
    }
}

/// Asks on a connection of its own. `head`: more header lines, each with its end.
fn ask(address: SocketAddr, method: &str, path: &str, head: &str, body: &[u8]) -> Answer {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{head}Content-Length: {length}\r\n\r\n"
    );
    socket.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head, body: answer[end + 4..].to_vec() }
}

fn post(address: SocketAddr, path: &str, body: &[u8]) -> Answer {
    ask(address, "POST", path, "", body)
}

/// An open transport.
#[derive(Clone)]
struct Poll {
    address: SocketAddr,
    transport: Transport,
    id: String,
}

impl Poll {
    fn open(running: &Running, transport: Transport) -> Self {
        let address = running.address(WEBSOCKET);
        let protocol = transport.subprotocol();
        let offered = json!({"protocols": ["wamp.9.smoke", protocol]}).to_string();
        let answer = post(address, "/lp/open", offered.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.json());
        assert_eq!(answer.json()["protocol"], protocol.as_str());
        let id = answer.json()["transport"].as_str().expect("an id").to_owned();
        Self { address, transport, id }
    }

    fn join(running: &Running, transport: Transport) -> Self {
        let poll = Self::open(running, transport);
        let roles = json!({"publisher": {}, "subscriber": {}, "caller": {}, "callee": {}});
        poll.send(json!([1, "realm1", {"roles": roles}]));
        assert_eq!(poll.receive_one()[0], 2);
        poll
    }

    fn post(&self, what: &str, body: &[u8]) -> Answer {
        post(self.address, &format!("/lp/{}/{what}", self.id), body)
    }

    fn send(&self, message: Value) {
        let answer = self.post("send", &self.transport.pack(&message));
        assert_eq!((answer.status, &answer.body[..]), (204, &b""[..]));
    }

    /// Asks until there is something.
    fn receive(&self) -> Vec<Value> {
        let patience = Instant::now() + PATIENCE;
        loop {
            let answer = self.post("receive", b"");
            match answer.status {
                200 => return self.transport.unpack(&answer.body),
                204 if Instant::now() < patience => {}
                status => panic!("{status}"),
            }
        }
    }

    fn receive_one(&self) -> Value {
        let mut received = self.receive();
        assert_eq!(received.len(), 1, "{received:?}");
        received.remove(0)
    }

    fn receive_aside(&self) -> JoinHandle<Answer> {
        let poll = self.clone();
        std::thread::spawn(move || poll.post("receive", b""))
    }
}

fn wait_for_sessions(running: &Running, count: usize) {
    let realm = running.broker().node.realm("realm1").unwrap();
    let patience = Instant::now() + PATIENCE;
    while realm.sessions_len() != count {
        assert!(Instant::now() < patience, "{} sessions, not {count}", realm.sessions_len());
        std::thread::yield_now();
    }
}

#[test]
fn every_protocol_is_carried_by_requests() {
    let running = Running::start();
    for transport in TRANSPORTS.into_iter().filter(|transport| !matches!(transport, Transport::RawSocket(_))) {
        let (one, mut other) = (Poll::join(&running, transport), running.join(WEBSOCKET));
        one.send(json!([32, 1, {}, "com.topic"]));
        let subscribed = one.receive_one();
        assert_eq!((&subscribed[0], &subscribed[1]), (&json!(33), &json!(1)));
        let waiting = one.receive_aside();
        let published = other.check(json!([16, 1, {"acknowledge": true}, "com.topic", ["é"]]), json!([17, 1]));
        let event = json!([36, subscribed[2], published[2], {}, ["é"]]);
        let answer = waiting.join().unwrap();
        assert_eq!(transport.unpack(&answer.body), [event], "{transport:?}");
        assert!(answer.head.contains("cache-control: no-store"), "{}", answer.head);
        assert_eq!(one.post("close", b"").status, 204);
    }
    wait_for_sessions(&running, 0);
}

#[test]
fn a_request_brings_one_message_and_one_of_a_batched_protocol_all() {
    let running = Running::start();
    for (transport, each) in [(JSON, true), (BATCHED, false)] {
        let poll = Poll::join(&running, transport);
        let count = 50;
        for request in 1..=count {
            poll.send(json!([32, request, {}, format!("com.topic{request}")]));
        }
        let (mut received, mut answers) = (Vec::new(), 0);
        while received.len() < count {
            received.extend(poll.receive());
            answers += 1;
        }
        let requests: Vec<_> = received.iter().map(|message| message[1].as_u64().unwrap()).collect();
        assert_eq!(requests, (1..=count as u64).collect::<Vec<_>>());
        assert_eq!(answers == count, each, "{answers} answers");
    }
}

#[test]
fn a_request_that_waits_is_answered_in_time_and_the_session_goes_on() {
    let running = Running::start_with("[wamp]\nlongpoll_receive_timeout_s = 1");
    let poll = Poll::join(&running, JSON);
    let answer = poll.post("receive", b"");
    assert_eq!((answer.status, &answer.body[..]), (204, &b""[..]));
    poll.send(json!([32, 1, {}, "com.topic"]));
    assert_eq!(poll.receive_one()[0], 33);
}

#[test]
fn a_later_request_takes_the_place_of_one_that_waits() {
    let running = Running::start_with("[wamp]\nlongpoll_receive_timeout_s = 3600");
    let poll = Poll::join(&running, JSON);
    let (told, statuses) = std::sync::mpsc::channel();
    for _ in 0..5 {
        let (poll, told) = (poll.clone(), told.clone());
        std::thread::spawn(move || told.send(poll.post("receive", b"").status));
    }
    // Whichever comes last waits on.
    let replaced: Vec<_> = (0..4).map(|_| statuses.recv_timeout(PATIENCE).unwrap()).collect();
    assert_eq!(replaced, [204; 4]);
    poll.send(json!([32, 1, {}, "com.topic"]));
    assert_eq!(statuses.recv_timeout(PATIENCE), Ok(200));
}

#[test]
fn closing_ends_the_session_and_the_request_that_waits() {
    let running = Running::start_with("[wamp]\nlongpoll_receive_timeout_s = 3600");
    let poll = Poll::join(&running, JSON);
    let waiting = poll.receive_aside();
    wait_for_sessions(&running, 1);
    assert_eq!(poll.post("close", b"").status, 204);
    assert!(matches!(waiting.join().unwrap().status, 204 | 404), "as it came before or behind");
    wait_for_sessions(&running, 0);
    poll.post("send", b"[]").is_error(404, "fennec.error.not_found");
    poll.post("receive", b"").is_error(404, "fennec.error.not_found");
}

#[test]
fn a_client_that_asks_for_nothing_is_gone() {
    let running = Running::start_with("[wamp]\nlongpoll_idle_timeout_s = 5\nlongpoll_receive_timeout_s = 1");
    let (gone, there) = (Poll::join(&running, JSON), Poll::join(&running, JSON));
    let patience = Instant::now() + PATIENCE;
    while running.broker().node.realm("realm1").unwrap().sessions_len() == 2 {
        assert_eq!(there.post("receive", b"").status, 204);
        assert!(Instant::now() < patience);
    }
    wait_for_sessions(&running, 1);
    gone.post("receive", b"").is_error(404, "fennec.error.not_found");
    assert_eq!(there.post("close", b"").status, 204);
}

#[test]
fn what_breaks_the_protocol_is_told_and_ends_the_transport() {
    let running = Running::start();
    for (transport, body) in [(JSON, &b"{"[..]), (JSON, b"[32,1,{},\"a\"]"), (BATCHED, b""), (BATCHED, b"[1,")] {
        let poll = Poll::open(&running, transport);
        assert_eq!(poll.post("send", body).status, 204);
        let abort = poll.receive_one();
        assert_eq!((&abort[0], &abort[2]), (&json!(3), &json!("wamp.error.protocol_violation")), "{abort}");
        poll.post("receive", b"").is_error(404, "fennec.error.not_found");
    }
    let poll = Poll::join(&running, JSON);
    poll.post("send", b"[16,1,{},\"com.\xff\"]").is_error(400, "wamp.error.invalid_argument");
    poll.send(json!([32, 1, {}, "com.topic"]));
    assert_eq!(poll.receive_one()[0], 33, "what is no text did not reach the session");
}

#[test]
fn what_is_no_request_of_the_transport_is_refused() {
    let running = Running::start_with("[wamp]\nwebsocket_bytes_max = 1024\nlongpoll_transports_max = 1");
    let address = running.address(WEBSOCKET);
    for body in [&b""[..], b"[]", b"{}", b"{\"protocols\": \"wamp.2.json\"}", b"\xff"] {
        post(address, "/lp/open", body).is_error(400, "wamp.error.invalid_argument");
    }
    post(address, "/lp/open", br#"{"protocols": ["wamp.3.json"]}"#).is_error(400, "fennec.error.no_subprotocol");
    ask(address, "GET", "/lp/open", "", b"").is_error(405, "fennec.error.method_not_allowed");
    for path in ["/lp/x/send", "/lp/x/receive", "/lp/x/close", "/lp/x/other", "/lp/x", "/lp/"] {
        post(address, path, b"").is_error(404, "fennec.error.not_found");
    }
    let poll = Poll::join(&running, JSON);
    poll.post("send", &[b' '; 1025]).is_error(413, "wamp.error.payload_size_exceeded");
    let open = br#"{"protocols": ["wamp.2.json"]}"#;
    post(address, "/lp/open", open).is_error(503, "fennec.error.quota_exceeded");
    assert_eq!(poll.post("close", b"").status, 204);
    let patience = Instant::now() + PATIENCE;
    while post(address, "/lp/open", open).status != 200 {
        assert!(Instant::now() < patience, "its place stays taken");
    }
}

#[test]
fn foreign_pages_may_poll_only_if_they_are_allowed() {
    let running = Running::start_with("[http]\nallowed_origins = [\"https://a.example\"]");
    let address = running.address(WEBSOCKET);
    let open = br#"{"protocols": ["wamp.2.json"]}"#;
    for path in ["/lp/open", "/lp/x/send", "/lp/x/receive", "/lp/x/close"] {
        let refused = ask(address, "POST", path, "Origin: https://b.example\r\n", open);
        refused.is_error(403, "fennec.error.foreign_origin");
        let preflight = ask(address, "OPTIONS", path, "Origin: https://a.example\r\n", b"");
        assert_eq!(preflight.status, 204);
        for line in ["access-control-allow-origin: https://a.example", "access-control-allow-credentials: true", "post"]
        {
            assert!(preflight.head.contains(line), "{line} is not in {}", preflight.head);
        }
    }
    assert_eq!(ask(address, "POST", "/lp/open", "Origin: https://a.example\r\n", open).status, 200);
}

#[test]
fn what_waits_for_a_client_that_does_not_ask_is_bounded() {
    let running = Running::start_with("[limits]\noutbox_bytes_max = 65536");
    let (slow, mut publisher) = (Poll::join(&running, BATCHED), running.join(WEBSOCKET));
    slow.send(json!([32, 1, {}, "com.topic"]));
    assert_eq!(slow.receive_one()[0], 33);
    let payload = "x".repeat(1000);
    for request in 1..=2000 {
        publisher.check(json!([16, request, {"acknowledge": true}, "com.topic", [request, payload]]), json!([17]));
    }
    slow.send(json!([32, 2, {}, "com.other"]));
    let mut received = Vec::new();
    while received.last().is_none_or(|message: &Value| message[0] != 33) {
        received.extend(slow.receive());
    }
    // In the outbox, in the pipe, and on the way between them.
    assert!((60..600).contains(&received.len()), "{} of 2000 came", received.len());
    let numbers: Vec<_> = received.iter().filter(|one| one[0] == 36).map(|one| one[4][0].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted() && numbers[0] == 1, "{numbers:?}");
}

#[test]
fn a_broker_that_stops_says_goodbye_to_the_request_that_waits() {
    let running = Running::start_with("[wamp]\nlongpoll_receive_timeout_s = 3600");
    let poll = Poll::join(&running, JSON);
    let waiting = poll.receive_aside();
    wait_for_sessions(&running, 1);
    running.broker().node.drain();
    let goodbye = JSON.unpack(&waiting.join().unwrap().body);
    assert_eq!((&goodbye[0][0], &goodbye[0][2]), (&json!(6), &json!("wamp.close.system_shutdown")), "{goodbye:?}");
    post(poll.address, "/lp/open", br#"{"protocols": ["wamp.2.json"]}"#).is_error(503, "wamp.close.system_shutdown");
    running.stop();
}
