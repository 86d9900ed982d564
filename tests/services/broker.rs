//! The built broker as a child process on a data folder that outlives it, and its client commands.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const LISTENERS: [&str; 2] = ["mqtt", "http"];
/// How long anything may take that must come.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Killed when dropped.
pub struct Broker {
    folder: tempfile::TempDir,
    child: Child,
    log: Arc<Mutex<String>>,
    ports: BTreeMap<String, u16>,
}

fn fennec(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fennec"));
    let inherited = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FENNEC_"));
    inherited.for_each(|(name, _)| {
        command.env_remove(name);
    });
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Broker {
    /// One with this configuration.
    pub fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("fennec.toml"), config).expect("the configuration is written");
        let (child, log, ports) = spawn(&folder);
        Self { folder, child, log, ports }
    }

    /// SIGKILL, and another on the same folder.
    pub fn kill_and_start(&mut self) {
        self.kill();
        (self.child, self.log, self.ports) = spawn(&self.folder);
    }

    fn kill(&mut self) {
        // It may have ended by itself; then its log tells.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn port(&self, listener: &str) -> u16 {
        self.ports[listener]
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn mqtt(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port("mqtt"))
    }

    pub fn wamp(&self) -> String {
        format!("ws://127.0.0.1:{}/ws", self.port("http"))
    }

    /// Publishes each of these, and waits until all are acknowledged.
    pub fn publish(&self, topic: &str, payloads: impl IntoIterator<Item = String>) {
        let lines: String = payloads.into_iter().map(|payload| payload + "\n").collect();
        let mut child = fennec(&["pub", topic, "--lines", "--mqtt", &self.mqtt()])
            .stdin(Stdio::piped())
            .spawn()
            .expect("fennec pub");
        child.stdin.take().expect("its standard input").write_all(lines.as_bytes()).expect("it reads");
        let output = child.wait_with_output().expect("fennec pub");
        assert!(output.status.success(), "{output:?}\n{}", self.log());
    }

    /// Runs `fennec service`.
    pub fn service(&self, arguments: &[&str]) -> Output {
        let wamp = self.wamp();
        let all: Vec<&str> = ["service"].iter().chain(arguments).copied().chain(["--wamp", &wamp]).collect();
        fennec(&all).output().expect("fennec service")
    }

    /// The same, which must succeed.
    pub fn steer(&self, arguments: &[&str]) -> String {
        let output = self.service(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}\n{}", self.log());
        String::from_utf8(output.stdout).expect("text")
    }

    /// What is known of a service.
    pub fn seen(&self, id: &str) -> serde_json::Value {
        let listed = self.steer(&["list", "--json"]);
        let mut all = listed.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        all.find(|service| service["id"] == id).unwrap_or_default()
    }

    /// Starts to print what is published.
    pub fn subscribe(&self, url: [&str; 2], topic: &str) -> Lines {
        let more = if url[0] == "--wamp" { &["--match", "prefix"][..] } else { &[] };
        let arguments: Vec<&str> = ["sub", topic, "-v"].into_iter().chain(url).chain(more.iter().copied()).collect();
        let mut child = fennec(&arguments).spawn().expect("fennec sub");
        let (said, lines) = mpsc::channel();
        let mut stderr = BufReader::new(child.stderr.take().expect("its standard error"));
        let mut line = String::new();
        while !line.contains("subscribed") {
            line.clear();
            assert!(stderr.read_line(&mut line).expect("text") > 0, "it ended without subscribing");
        }
        let stdout = BufReader::new(child.stdout.take().expect("its standard output"));
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // Nobody reads any more when the test is over.
                let _ = said.send(line);
            }
        });
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Lines { child, lines }
    }

    /// `GET` or `POST` with headers; status and body.
    pub fn http(&self, head: &str, body: &[u8]) -> (u16, String) {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port("http"))).expect("it listens");
        let request =
            format!("{head}\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(&[request.as_bytes(), body].concat()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a command prints. It is killed when dropped.
pub struct Lines {
    child: Child,
    lines: Receiver<String>,
}

impl Lines {
    pub fn next(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line")
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something holds, and tells what it was if it never does.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: that does not come to pass");
        std::thread::park_timeout(Duration::from_millis(30));
    }
}

type Spawned = (Child, Arc<Mutex<String>>, BTreeMap<String, u16>);

fn spawn(folder: &tempfile::TempDir) -> Spawned {
    let mut child = fennec(&["--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0", "--rawsocket", "off", "--data", "data"])
        .args(["--config", "fennec.toml"])
        .current_dir(folder.path())
        .spawn()
        .expect("the broker is started");
    let log = Arc::default();
    let (found, listeners) = mpsc::channel();
    follow(child.stdout.take().expect("its standard output"), Arc::clone(&log), Some(found));
    follow(child.stderr.take().expect("its standard error"), Arc::clone(&log), None);
    let (mut ports, deadline) = (BTreeMap::new(), Instant::now() + PATIENCE);
    while !LISTENERS.iter().all(|name| ports.contains_key(*name)) {
        let (name, port) = listeners
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            .unwrap_or_else(|_| panic!("no ports: {}", log.lock().unwrap_or_else(PoisonError::into_inner)));
        ports.insert(name, port);
    }
    (child, log, ports)
}

fn follow(stream: impl Read + Send + 'static, log: Arc<Mutex<String>>, found: Option<Sender<(String, u16)>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut words = line.split_whitespace();
            if let (Some(found), Some(name), Some(address)) = (&found, words.next(), words.next())
                && LISTENERS.contains(&name)
                && let Some(port) = address.rsplit(':').next().and_then(|port| port.parse().ok())
            {
                // Nobody waits any more if it was killed.
                let _ = found.send((name.to_owned(), port));
            }
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            log.push_str(&line);
            log.push('\n');
        }
    });
}
