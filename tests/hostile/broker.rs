//! The broker as a child process, so that its memory can be measured apart from the test's.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{PATIENCE, wrong};

/// Ports by the names that the banner gives them.
pub type Ports = BTreeMap<String, u16>;

/// A user of whom everybody knows the name, and nobody the password. Its hash costs little: here is no question of that.
const CONFIG: &str = r##"
[limits]
handshake_timeout_s = 3
outbox_bytes_max = "1 MiB"
backlog_bytes_max = "1 MiB"
[wamp]
longpoll_idle_timeout_s = 3
[[user]]
name = "alice"
role = "staff"
password_hash = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
[[role]]
name = "staff"
[[role]]
name = "anonymous"
permissions = [{ action = ["publish", "subscribe", "call", "register"], topic = "#" }]
"##;

pub struct Broker {
    child: Child,
    pub ports: Ports,
    said: Arc<Mutex<Vec<String>>>,
    _folder: TempDir,
}

/// What `/metrics` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Of MQTT and WAMP.
    pub connections: u64,
    pub sessions: u64,
    pub subscriptions: u64,
    /// What waits for subscribers.
    pub queue_bytes: u64,
}

impl Broker {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(path("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let listen = "[listen]\nmqtts = \"127.0.0.1:0\"\n[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n";
        std::fs::write(path("fennec.toml"), format!("anonymous = true\n{listen}{CONFIG}")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_fennec"));
        command.arg("--config").arg(path("fennec.toml")).args(["--memory", "--log", "error"]);
        command.args(["--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0", "--rawsocket", "127.0.0.1:0"]);
        // Otherwise each thread keeps memory of its own that it does not need any more.
        command.env("MALLOC_ARENA_MAX", "2");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let (stderr, lines) = (BufReader::new(child.stderr.take().unwrap()), said.clone());
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).for_each(|line| lines.lock().unwrap().push(line));
        });
        let mut ports = Ports::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        while ports.len() < 4 {
            let Some(Ok(line)) = stdout.next() else { panic!("it did not start: {:?}", said.lock().unwrap()) };
            let mut words = line.split_whitespace();
            let (name, address) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            if let Some(port) = address.strip_prefix("127.0.0.1:").and_then(|port| port.parse().ok()) {
                ports.insert(name.to_owned(), port);
            }
        }
        std::thread::spawn(move || stdout.for_each(drop));
        Self { child, ports, said, _folder: folder }
    }

    pub fn target(&self) -> wrong::Target {
        let port = |name: &str| self.ports[name];
        wrong::Target { mqtt: port("mqtt"), mqtts: port("mqtts"), http: port("http"), rawsocket: port("rawsocket") }
    }

    fn memory(&self, what: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)).expect("it lives");
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    pub fn resident_bytes(&self) -> usize {
        self.memory("VmRSS:")
    }

    pub fn peak_bytes(&self) -> usize {
        self.memory("VmHWM:")
    }

    pub fn metrics(&self) -> Metrics {
        let mut socket = TcpStream::connect(("127.0.0.1", self.ports["http"])).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        let one = |name: &str| -> u64 {
            let number = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
            number.unwrap_or_else(|| panic!("no {name} in {text}"))
        };
        let of =
            |name: &str| one(&format!("{name}{{protocol=\"mqtt\"}}")) + one(&format!("{name}{{protocol=\"wamp\"}}"));
        Metrics {
            connections: of("fennec_connections"),
            sessions: of("fennec_sessions"),
            subscriptions: one("fennec_subscriptions"),
            queue_bytes: one("fennec_queue_bytes{queue=\"outbox\"}") + one("fennec_queue_bytes{queue=\"backlog\"}"),
        }
    }

    /// Waits until it has what it had before.
    pub fn wait_for_calm(&self, before: &Metrics) {
        let patience = Instant::now() + PATIENCE;
        loop {
            let now = self.metrics();
            if now == *before {
                return;
            }
            assert!(Instant::now() < patience, "{now:?}, and not {before:?} as before");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Whether it has lived through it without a panic.
    pub fn check_calm(mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "it has ended: {:?}", self.said.lock().unwrap());
        let said = self.said.lock().unwrap();
        let panics: Vec<_> = said.iter().filter(|line| line.contains("panic")).collect();
        assert!(panics.is_empty(), "{panics:?}");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended by itself, which other assertions notice.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
