//! What every test begins with: a node behind an HTTP listener, and a client.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use argon2::password_hash::{PasswordHasher, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use bytes::Bytes;
use fennec::http::{AddressHeader, Entrance, Place, Scope, Server, Settings, Upgraded, WebSocketGate};
use fennec::net::clock::Clock;
use fennec::net::listen::{Door, Listener};
use fennec::net::seats::Seats;
use fennec::net::tls::Tls;
use fennec::net::workers::Workers;
use fennec::node::log::Threads;
use fennec::node::metrics::Protocol;
use fennec::node::realm::Realm;
use fennec::node::users::{Anonymous, Credentials, UserEntry, Users};
use fennec::node::{Node, RealmSettings};
use fennec::queue::retention::Policy;
use fennec::router::authorize::{Action, Authorizer, Permission, Role};
use fennec::router::rules::Rules;
use fennec::store::memory::MemoryStore;
use fennec::store::{Commit, Store, StoreError, StoreReader};
use fennec::types::limits::Limits;
use fennec::types::topic::TopicPattern;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Nothing here takes long; what takes longer than this does not come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Fails a test that waits in vain.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} does not come"),
    }
}

/// How a broker differs from the default.
pub struct Setup {
    pub limits: Limits,
    pub users: Vec<UserEntry>,
    pub roles: Vec<Role>,
    pub anonymous: Anonymous,
    pub allowed_origins: Vec<String>,
    pub tls: Option<Tls>,
    pub scope: Scope,
    /// Another listener has the admin API.
    pub admin_apart: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            users: Vec::new(),
            roles: ["anonymous", "user"].map(Role::unrestricted).into(),
            anonymous: Anonymous::Local,
            allowed_origins: Vec::new(),
            tls: None,
            scope: Scope::All,
            admin_apart: false,
        }
    }
}

/// A user `joe` whose password is `secret`, in this role.
pub fn joe(role: &str) -> UserEntry {
    let params = Params::new(8, 1, 1, None).unwrap();
    let salt = SaltString::encode_b64(b"salt of a test").unwrap();
    let hash = Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password(b"secret", &salt).unwrap();
    let credentials = Credentials { password_hash: Some(hash.to_string()), ..Credentials::default() };
    UserEntry { credentials, ..UserEntry::new("joe", role) }
}

/// A role that may do these things with topics and procedures under `app`, and nothing else.
pub fn role(name: &str, actions: &[Action]) -> Role {
    let pattern = TopicPattern::from_filter("app/#").unwrap();
    Role {
        name: name.into(),
        permissions: vec![Permission { actions: actions.to_vec(), pattern, allow: true }],
        asks: None,
    }
}

/// A store in memory that cannot be written while it is broken.
#[derive(Default)]
struct Flaky {
    store: MemoryStore,
    broken: Arc<AtomicBool>,
}

impl Store for Flaky {
    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("the disk is full".to_owned()));
        }
        self.store.commit(commit)
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.get(key)
    }

    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        self.store.reader()
    }
}

/// The threads of a log, which end with their broker.
struct RunningLog(Option<Threads>);

impl Drop for RunningLog {
    fn drop(&mut self) {
        if let Some(log) = self.0.take() {
            log.stop();
        }
    }
}

/// A broker that ends with its test; all events below `log` are durable.
pub struct Broker {
    pub node: Arc<Node>,
    pub server: Arc<Server>,
    pub address: SocketAddr,
    /// While it is true the store cannot be written.
    pub broken: Arc<AtomicBool>,
    _log: RunningLog,
    _workers: Arc<Workers>,
}

impl Broker {
    pub fn start(setup: Setup) -> Broker {
        let roles = setup.roles;
        let realm = |name: &str| RealmSettings { name: name.to_owned(), ..RealmSettings::default() };
        let settings = fennec::node::Settings {
            limits: setup.limits,
            realms: vec![realm("realm1"), realm("other")],
            auto_realms: false,
            default_realm: "realm1".to_owned(),
            authorize: Box::new(move |_| Authorizer::new(roles.clone())),
            users: Users::new(setup.users).unwrap(),
            rules: Rules::default(),
            policies: vec![Policy {
                realm: None,
                pattern: TopicPattern::from_filter("log/#").unwrap(),
                age_us_max: u64::MAX,
                bytes_max: u64::MAX,
                messages_max: u64::MAX,
            }],
        };
        let node = Node::new(settings, 1);
        let (store, clock) = (Flaky::default(), Clock::default());
        let broken = store.broken.clone();
        let log = node.open_log(Box::new(store), clock.now_ms()).expect("a log in memory");
        let log = node.run_log(log, Arc::new(move || clock.now_ms()), None).expect("threads");
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.address();
        let echo: Arc<dyn WebSocketGate> = Arc::new(Echo);
        let settings = Settings {
            more_metrics: None,
            admin_apart: setup.admin_apart,
            hooks: Vec::new(),
            allowed_origins: setup.allowed_origins,
            address_header: AddressHeader::default(),
            websockets: vec![("/ws", echo)],
            long_poll: None,
            places: vec![Place { what: "HTTP <&>".to_owned(), url: format!("http://{address}") }],
        };
        let server = Server::new(node.clone(), clock, settings);
        let workers = Arc::new(Workers::start(1).unwrap());
        let seats = Seats::new(node.clone(), Clock::default());
        let door = Door {
            protocol: Protocol::Http,
            tls: setup.tls,
            proxy: None,
            proxies: Arc::default(),
            seats,
            workers: workers.clone(),
        };
        let entrance = Arc::new(Entrance {
            realm: None,
            anonymous: setup.anonymous,
            trusted_proxies: Arc::default(),
            scope: setup.scope,
        });
        let serving = server.clone();
        let connection = move |stream| serving.clone().serve(stream, entrance.clone());
        tokio::spawn(listener.serve(door, connection, std::future::pending()));
        Broker { node, server, address, broken, _log: RunningLog(Some(log)), _workers: workers }
    }

    pub fn realm(&self) -> Arc<Realm> {
        self.node.realm("realm1").unwrap()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Ask::get(path)).await
    }

    /// Posts JSON.
    pub async fn post(&self, path: &str, json: &str) -> Answer {
        self.ask(Ask::post(path, json)).await
    }

    /// Asks on a connection of its own, and reads all of the answer.
    pub async fn ask(&self, ask: Ask) -> Answer {
        let response = self.open(ask).await;
        let (parts, body) = response.into_parts();
        let body = soon("the rest of an answer", body.collect()).await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Asks, and leaves the body to be read.
    pub async fn open(&self, ask: Ask) -> Response<Incoming> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        // It ends with an error when the broker breaks off, which the request then tells.
        tokio::spawn(async move { drop(connection.await) });
        soon("an answer", client.send_request(ask.request(self.address))).await.unwrap()
    }
}

/// A request.
pub struct Ask {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

impl Ask {
    pub fn new(method: Method, path: &str) -> Ask {
        Ask { method, path: path.to_owned(), headers: Vec::new(), body: Bytes::new() }
    }

    pub fn get(path: &str) -> Ask {
        Ask::new(Method::GET, path)
    }

    pub fn post(path: &str, json: &str) -> Ask {
        let ask = Ask::new(Method::POST, path).with(CONTENT_TYPE.as_str(), "application/json");
        Ask { body: Bytes::copy_from_slice(json.as_bytes()), ..ask }
    }

    pub fn with(mut self, name: impl Into<String>, value: &str) -> Ask {
        // The names of tests are few.
        self.headers.push((name.into().leak(), value.to_owned()));
        self
    }

    fn request(self, address: SocketAddr) -> Request<Full<Bytes>> {
        let mut request = Request::builder().method(self.method).uri(self.path);
        if !self.headers.iter().any(|(name, _)| *name == HOST.as_str()) {
            request = request.header(HOST, address.to_string());
        }
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        request.body(Full::new(self.body)).unwrap()
    }
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Checks that this is an error with a message.
    #[track_caller]
    pub fn is_error(&self, status: u16, uri: &str) {
        let json = self.json();
        assert_eq!((self.status.as_u16(), json["error"].as_str()), (status, Some(uri)), "{json}");
        assert!(json["message"].as_str().is_some_and(|message| !message.is_empty()), "{json}");
        assert_eq!(self.header("content-type"), Some("application/json"));
    }

    /// Checks that this is JSON and all is well.
    #[track_caller]
    pub fn is_json(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/json"));
        self.json()
    }
}

/// Says what it was given, then everything back.
struct Echo;

impl WebSocketGate for Echo {
    fn choose(&self, offered: &str) -> Option<&'static str> {
        offered.split(',').find_map(|name| ["echo.2", "echo.1"].into_iter().find(|known| *known == name.trim()))
    }

    fn example(&self) -> &'static str {
        "echo.2"
    }

    fn run(&self, upgraded: Upgraded) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let Upgraded { mut stream, early, subprotocol, anonymous, .. } = upgraded;
            let mut buffer = format!("{subprotocol} {anonymous} ").into_bytes();
            buffer.extend_from_slice(&early);
            loop {
                if stream.write_all(&buffer).await.is_err() {
                    return;
                }
                buffer.clear();
                if !matches!(stream.read_buf(&mut buffer).await, Ok(1..)) {
                    return;
                }
            }
        })
    }
}

/// The events of an open subscription.
pub struct EventReader {
    body: Incoming,
    text: String,
}

impl EventReader {
    /// Subscribes, and waits until that holds.
    pub async fn open(broker: &Broker, query: &str) -> EventReader {
        Self::ask(broker, Ask::get(&format!("/subscribe?{query}"))).await
    }

    pub async fn ask(broker: &Broker, ask: Ask) -> EventReader {
        let response = broker.open(ask).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream");
        let mut reader = EventReader { body: response.into_body(), text: String::new() };
        assert_eq!(reader.block().await.as_deref(), Some(": subscribed"));
        reader
    }

    /// The lines up to the next empty one; `None` at the end.
    pub async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let frame: Option<Result<_, hyper::Error>> = soon("an event", self.body.frame()).await;
            let data = frame?.unwrap().into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    /// The data of the next event.
    pub async fn event(&mut self) -> Value {
        self.event_with_id().await.1
    }

    /// The same with its id, which durable events have.
    pub async fn event_with_id(&mut self) -> (Option<String>, Value) {
        let block = self.block().await.expect("an event");
        let lines: Vec<&str> = block.lines().collect();
        let (id, data) = match lines[..] {
            ["event: message", data] => (None, data),
            [id, "event: message", data] => (Some(id.strip_prefix("id: ").unwrap().to_owned()), data),
            _ => panic!("no event: {block}"),
        };
        (id, serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap())
    }

    /// The data of the next event, which is of this kind.
    pub async fn other(&mut self, kind: &str) -> Value {
        let block = self.block().await.unwrap_or_else(|| panic!("no event {kind}"));
        let data =
            block.strip_prefix(&format!("event: {kind}\ndata: ")).unwrap_or_else(|| panic!("no {kind}: {block}"));
        serde_json::from_str(data).unwrap()
    }
}
