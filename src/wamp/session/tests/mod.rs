//! Clients that speak JSON text to their machines, on one node, with a clock of their own.

mod admin;
mod asking;
mod calling;
mod disclosing;
mod eligible;
mod frames;
mod fuzz;
mod grouping;
mod history;
mod joining;
mod keys;
mod locking;
mod meta;
mod passing;
mod proving;
mod publishing;
mod resuming;
mod subscribing;
mod testaments;
mod view;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;

use super::{Access, WampGate};
use crate::net::gate::{Flow, Machine, MessageGate};
use crate::node::authenticate::Check;
use crate::node::link::Link;
use crate::node::testing::{Flaky, recover, run_due, run_log_at};
use crate::node::users::{Credentials, UserEntry, Users};
use crate::node::{Node, RealmSettings, Settings};
use crate::queue::retention::Policy;
use crate::router::authorize::{Action, Authorizer, Permission, Role};
use crate::router::rules::Rules;
use crate::types::limits::Limits;
use crate::types::payload::{Codec, Format};
use crate::types::peer::Peer;
use crate::types::topic::TopicPattern;
use crate::types::value::Raw;
use crate::wamp::serializer::{Encoding, Wire};

const NOW_MS: u64 = 1_700_000_000_000;
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 50_000);

/// A node, in which all events below `log` are durable, and what its clients are told about it.
struct World {
    node: Arc<Node>,
    access: Access,
    now_ms: u64,
    /// What the log goes by.
    clock_ms: Arc<AtomicU64>,
    /// While it is true the store cannot be written.
    broken: Arc<AtomicBool>,
}

struct Setup {
    limits: Limits,
    users: Vec<UserEntry>,
    roles: Vec<Role>,
    codecs: Vec<(TopicPattern, Codec)>,
    auto_realms: bool,
    rules: Rules,
    star_is_wildcard: bool,
    anonymous: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            users: Vec::new(),
            roles: vec![Role::unrestricted("anonymous")],
            codecs: Vec::new(),
            auto_realms: false,
            rules: Rules::default(),
            star_is_wildcard: false,
            anonymous: true,
        }
    }
}

impl Setup {
    fn build(self) -> World {
        let roles = self.roles;
        let realm =
            RealmSettings { name: "realm1".to_owned(), codecs: self.codecs, star_is_wildcard: self.star_is_wildcard };
        let settings = Settings {
            limits: self.limits,
            realms: vec![realm],
            auto_realms: self.auto_realms,
            default_realm: "realm1".to_owned(),
            authorize: Box::new(move |_| Authorizer::new(roles.clone())),
            users: Users::new(self.users).unwrap(),
            rules: self.rules,
            policies: vec![Policy {
                realm: None,
                pattern: TopicPattern::from_filter("log/#").unwrap(),
                age_us_max: u64::MAX,
                bytes_max: u64::MAX,
                messages_max: u64::MAX,
            }],
        };
        let node = Node::new(settings, 1);
        let (clock_ms, store) = (Arc::new(AtomicU64::new(NOW_MS)), Flaky::default());
        let broken = store.broken.clone();
        run_log_at(&node, Box::new(store), &clock_ms);
        World { node, access: Access { anonymous: self.anonymous, cookie: None }, now_ms: NOW_MS, clock_ms, broken }
    }
}

impl World {
    fn new() -> World {
        Setup::default().build()
    }

    /// A connection on which nothing was said yet.
    fn connect(&self) -> Client {
        self.connect_by("wamp.2.json")
    }

    fn connect_by(&self, subprotocol: &str) -> Client {
        let encoding = Encoding::from_subprotocol(subprotocol).unwrap();
        self.connect_with(encoding, usize::MAX)
    }

    fn connect_with(&self, encoding: Encoding, frame_bytes_max: usize) -> Client {
        let wire = Wire::websocket(encoding);
        let (node, link) = (self.node.clone(), Arc::new(Link::default()));
        let gate =
            WampGate::new(node, self.access, Peer::direct(PEER), encoding, wire, frame_bytes_max, link, self.now_ms);
        Client { gate, encoding, now_ms: self.now_ms, closed: false, session: 0, early: Vec::new() }
    }

    /// A session of an anonymous client that announces everything.
    fn join(&self) -> Client {
        let mut client = self.connect();
        client.join(HELLO);
        client
    }

    /// Lets time pass for the node.
    fn tick(&mut self, ms: u64) {
        self.now_ms += ms;
        self.clock_ms.store(self.now_ms, Ordering::Relaxed);
        run_due(&self.node);
        self.node.tick(self.now_ms);
        self.node.house.work(&self.node, self.now_ms);
    }
}

const HELLO: &str = r#"[1,"realm1",{"roles":{"publisher":{},"subscriber":{},"caller":{},"callee":{"features":
    {"call_canceling":true,"progressive_call_results":true,"call_timeout":true,"registration_revocation":true}}}}]"#;

struct Client {
    gate: WampGate,
    encoding: Encoding,
    now_ms: u64,
    /// The machine wants the connection closed.
    closed: bool,
    session: u64,
    /// Received and not looked at yet.
    early: Vec<String>,
}

impl Client {
    fn join(&mut self, hello: &str) {
        self.send(hello);
        let welcome = self.received();
        let [welcome] = &welcome[..] else { panic!("one WELCOME, not {welcome:?}") };
        let id = welcome.strip_prefix("[2,").and_then(|rest| rest.split(',').next()).map(str::parse);
        let Some(Ok(id)) = id else { panic!("no WELCOME: {welcome}") };
        self.session = id;
    }

    /// Sends JSON in the client's format, in one frame that is a read of its own.
    fn send(&mut self, json: &str) {
        let payload = encoded(self.encoding, json);
        self.send_bytes(&payload, self.encoding.format == Format::Json);
    }

    fn send_bytes(&mut self, payload: &[u8], text: bool) {
        assert!(!self.closed, "the connection is closed already");
        let flow = MessageGate::message(&mut self.gate, &Bytes::copy_from_slice(payload), text, self.now_ms);
        self.gate.finish(self.now_ms);
        self.follow(flow);
    }

    fn follow(&mut self, flow: Flow) {
        match flow {
            Flow::Continue => {}
            Flow::Close => self.closed = true,
            Flow::Verify(Check::Elsewhere(_) | Check::Later { .. }) => panic!("nobody elsewhere is asked here"),
            Flow::Verify(Check::Blocking(check)) => {
                let flow = self.gate.verified(check(), self.now_ms);
                self.gate.finish(self.now_ms);
                self.follow(flow);
            }
        }
    }

    /// What was written to the client since it was asked last.
    fn written(&mut self) -> Vec<u8> {
        let node = self.gate.node.clone();
        node.house.work(&node, self.now_ms);
        let mut all = Vec::new();
        loop {
            let taken = self.gate.take(Vec::new(), self.now_ms);
            node.house.work(&node, self.now_ms);
            if taken.bytes() == 0 && !self.gate.link.take_ready() {
                return all;
            }
            taken.parts.iter().for_each(|part| all.extend_from_slice(part));
            all.extend_from_slice(&taken.tail);
        }
    }

    /// The same as messages in JSON.
    fn received(&mut self) -> Vec<String> {
        let mut all = std::mem::take(&mut self.early);
        all.extend(frames(&self.written()).iter().flat_map(|frame| messages(self.encoding, frame)));
        all
    }

    /// The RESULT or ERROR that is among what comes; the others are left for later.
    fn received_answer(&mut self) -> String {
        let mut received = self.received();
        let answer = received.iter().position(|message| message.starts_with("[50,") || message.starts_with("[8,48,"));
        let answer = received.remove(answer.unwrap_or_else(|| panic!("no answer: {received:?}")));
        self.early = received;
        answer
    }

    /// The subscription of the SUBSCRIBED that is the next message; the others are left for later.
    fn received_subscription(&mut self) -> u32 {
        let mut received = self.received();
        let first = received.remove(0);
        self.early = received;
        let id = first.strip_prefix("[33,").and_then(|rest| rest.trim_end_matches(']').split(',').nth(1)?.parse().ok());
        id.unwrap_or_else(|| panic!("no SUBSCRIBED: {first}"))
    }

    /// Compares what was written; `*` stands for any number.
    #[track_caller]
    fn expect(&mut self, expected: &[&str]) {
        let received = self.received();
        let alike =
            received.len() == expected.len() && received.iter().zip(expected).all(|(got, wanted)| is_like(got, wanted));
        assert!(alike, "received {received:#?}\nexpected {expected:#?}");
    }

    /// Sends, and compares what comes back.
    #[track_caller]
    fn check(&mut self, sent: &str, expected: &[&str]) {
        self.send(sent);
        self.expect(expected);
    }

    /// Sends what breaks the protocol.
    #[track_caller]
    fn check_violation(&mut self, sent: &str, text: &str) {
        let abort = format!(r#"[3,{{"message":"{text}"}},"wamp.error.protocol_violation"]"#);
        self.check(sent, &[&abort]);
        assert!(self.closed, "the connection must be closed");
    }

    /// What each refusal of a request looks like.
    #[track_caller]
    fn check_error(&mut self, sent: &str, kind: u32, request: u32, uri: &str) {
        self.send(sent);
        let received = self.received();
        let begins = format!(r#"[8,{kind},{request},{{}},"{uri}",["#);
        assert!(received.len() == 1 && received[0].starts_with(&begins), "{sent}: {received:?}");
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.gate.closed(self.now_ms);
    }
}

fn encoded(encoding: Encoding, json: &str) -> Vec<u8> {
    let mut message = Vec::new();
    let json = json.as_bytes();
    match Raw::parse(Format::Json, json) {
        Ok(raw) => raw.encode(encoding.format, &mut message),
        Err(_) => message.extend_from_slice(json),
    }
    match (encoding.batched, encoding.format) {
        (false, _) => message,
        (true, Format::Json) => [&message[..], &[0x1e]].concat(),
        (true, _) => [&(message.len() as u32).to_be_bytes()[..], &message].concat(),
    }
}

/// The payloads of unmasked frames.
fn frames(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let [_, len, rest @ ..] = bytes {
        let (len, rest) = match len {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => (u64::from_be_bytes(rest[..8].try_into().unwrap()) as usize, &rest[8..]),
            len => (usize::from(*len), rest),
        };
        all.push(rest[..len].to_vec());
        bytes = &rest[len..];
    }
    all
}

fn messages(encoding: Encoding, frame: &[u8]) -> Vec<String> {
    let json = |message: &[u8]| {
        let mut out = Vec::new();
        Raw::parse(encoding.format, message).unwrap().encode(Format::Json, &mut out);
        String::from_utf8(out).unwrap()
    };
    encoding.messages(frame).map(|message| without_event_id(json(message.unwrap()))).collect()
}

/// Event ids tell the time and a place: tests compare `EVENT`.
fn without_event_id(mut message: String) -> String {
    const KEY: &str = "\"event_id\":\"";
    // So is the other text that may hold one.
    let mut from = 0;
    while let Some(at) = message[from..].find(KEY).map(|at| from + at + KEY.len()) {
        let len = message[at..].find('"').unwrap();
        assert!(message[at..at + len].parse::<crate::types::event_id::EventId>().is_ok(), "{message}");
        message.replace_range(at..at + len, "EVENT");
        from = at;
    }
    message
}

/// Whether `text` is `pattern`, in which `*` stands for any number.
fn is_like(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    for part in parts {
        let number = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        match number.strip_prefix(part) {
            Some(behind) if number.len() < rest.len() => rest = behind,
            _ => return false,
        }
    }
    rest.is_empty()
}

fn role(name: &str, permissions: &[(Action, &str, bool)]) -> Role {
    let permission = |(action, filter, allow): &(Action, &str, bool)| Permission {
        actions: vec![*action],
        pattern: TopicPattern::from_filter(filter).unwrap(),
        allow: *allow,
    };
    Role { name: name.into(), permissions: permissions.iter().map(permission).collect(), asks: None }
}
