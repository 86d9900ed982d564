//! A broker of its own for each test: the built binary as a child process, on free ports.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a broker may take to say its ports.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// The listeners that every broker has, and those over TLS.
const LISTENERS: [&str; 3] = ["mqtt", "http", "rawsocket"];
const TLS_LISTENERS: [&str; 3] = ["mqtts", "https", "rawsockets"];

/// A running broker. It is killed when dropped.
pub struct Broker {
    child: Child,
    log: Arc<Mutex<String>>,
    /// By the name of the listener.
    ports: BTreeMap<String, u16>,
    _folder: tempfile::TempDir,
}

impl Broker {
    /// A broker with the default configuration.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// A broker with this configuration.
    pub fn start_with(config: &str) -> Self {
        Self::start_listening(config, &LISTENERS, true)
    }

    /// A broker with this configuration that keeps its state on a disk.
    pub fn start_on_disk(config: &str) -> Self {
        Self::start_listening(config, &LISTENERS, false)
    }

    /// A broker that listens over TLS too, with this certificate and key.
    pub fn start_with_tls(cert: &Path, key: &Path) -> Self {
        let listeners = TLS_LISTENERS.map(|name| format!("listen.{name} = '127.0.0.1:0'\n")).concat();
        Self::start_secured(&format!("{listeners}[tls]\ncert = '{}'\nkey = '{}'\n", cert.display(), key.display()))
    }

    /// A broker with this configuration, which has it listen over TLS too.
    pub fn start_secured(config: &str) -> Self {
        Self::start_listening(config, &[LISTENERS, TLS_LISTENERS].concat(), true)
    }

    /// A broker with this configuration, once the listeners named are there.
    fn start_listening(config: &str, names: &[&str], in_memory: bool) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("fennec.toml");
        std::fs::write(&file, config).expect("the configuration is written");
        let mut child = Command::new(env!("CARGO_BIN_EXE_fennec"))
            .args(["--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0", "--rawsocket", "127.0.0.1:0"])
            .args(if in_memory { &["--memory"][..] } else { &["--data", "data"] })
            .arg("--config")
            .arg(file)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the broker is started");
        let log = Arc::default();
        let (found, listeners) = mpsc::channel();
        follow(child.stdout.take().expect("its standard output"), Arc::clone(&log), Some(found));
        follow(child.stderr.take().expect("its standard error"), Arc::clone(&log), None);
        let mut broker = Broker { child, log, ports: BTreeMap::new(), _folder: folder };
        broker.wait_for_ports(&listeners, names);
        broker
    }

    fn wait_for_ports(&mut self, listeners: &Receiver<(String, u16)>, names: &[&str]) {
        let deadline = Instant::now() + START_DEADLINE;
        while !names.iter().all(|name| self.ports.contains_key(*name)) {
            match listeners.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok((name, port)) => _ = self.ports.insert(name, port),
                Err(error) => panic!("the broker did not say its ports ({error}); it said:\n{}", self.log()),
            }
        }
    }

    /// What the broker has printed so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The port of a listener.
    pub fn port(&self, listener: &str) -> u16 {
        self.ports[listener]
    }

    /// The arguments by which a script finds this broker.
    pub fn arguments(&self) -> Vec<String> {
        self.ports.iter().flat_map(|(name, port)| [format!("--{name}"), port.to_string()]).collect()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended by itself, which is for the test to notice.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads `(name, port)` from a line such as `mqtt  127.0.0.1:40123`.
fn listener(line: &str) -> Option<(String, u16)> {
    let (name, address) = line.trim().split_once(char::is_whitespace)?;
    let known = LISTENERS.contains(&name) || TLS_LISTENERS.contains(&name);
    let port = address.split_whitespace().next()?.rsplit_once(':')?.1.parse().ok()?;
    known.then(|| (name.to_owned(), port))
}

/// Keeps what the broker prints, so that it never waits for a reader, and hands out the listeners it names.
fn follow(output: impl Read + Send + 'static, log: Arc<Mutex<String>>, found: Option<Sender<(String, u16)>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let (Some(found), Some(listener)) = (&found, listener(&line)) {
                // Nobody listens any more once all ports are known.
                let _ = found.send(listener);
            }
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            log.push_str(&line);
            log.push('\n');
        }
    });
}
