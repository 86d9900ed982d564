//! The broker as a child process.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Far longer than anything takes, so that only what never comes fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running broker. It is killed when dropped.
pub struct Broker {
    child: Child,
    ports: BTreeMap<String, u16>,
    log: Receiver<String>,
    pub folder: tempfile::TempDir,
}

impl Broker {
    /// A broker with this configuration; `DIR` in it is its folder, which `prepare` is shown first. It has an HTTP listener.
    pub fn start(config: &str, prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        prepare(folder.path());
        let path = folder.path().join("fennec.toml");
        let store = "data = \"DIR/data\"\nlog = \"info,fennec=debug\"\n";
        let config = format!("{store}{config}").replace("DIR", &folder.path().display().to_string());
        std::fs::write(&path, config).expect("the configuration is written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_fennec"));
        let inherited = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FENNEC_"));
        inherited.for_each(|(name, _)| {
            command.env_remove(name);
        });
        command.args(["serve", "--config"]).arg(&path);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the broker is started");
        let (told, log) = channel();
        let stderr = BufReader::new(child.stderr.take().expect("its standard error"));
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
        let mut stdout = BufReader::new(child.stdout.take().expect("its standard output")).lines();
        let mut ports = BTreeMap::new();
        loop {
            let Some(Ok(line)) = stdout.next() else {
                panic!("it did not start: {}", log.iter().collect::<Vec<_>>().join("\n"))
            };
            let mut words = line.split_whitespace();
            let (name, address) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            if name == "data" {
                break;
            }
            let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
            ports.extend(port.map(|port| (name.to_owned(), port)));
        }
        std::thread::spawn(move || stdout.for_each(drop));
        Self { child, ports, log, folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn port(&self, listener: &str) -> u16 {
        self.ports[listener]
    }

    pub fn connect(&self, listener: &str) -> TcpStream {
        let socket = TcpStream::connect(("127.0.0.1", self.ports[listener])).expect("a connection");
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        socket
    }

    /// Waits until it logs a line with all of these words.
    pub fn says(&self, words: &[&str]) -> String {
        let mut seen = String::new();
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) if words.iter().all(|word| line.contains(word)) => return line,
                Ok(line) => seen += &format!("{line}\n"),
                Err(error) => panic!("it does not say {words:?} ({error}) but:\n{seen}"),
            }
        }
    }

    pub fn hang_up(&self) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).expect("it is there");
    }

    /// Status and body of a GET.
    pub fn get(&self, path: &str) -> (u16, String) {
        self.request(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
    }

    pub fn request(&self, request: &str) -> (u16, String) {
        answer(&mut self.connect("http"), request)
    }

    /// A metric with its labels as they are written.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").1;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    pub fn limited(&self, limit: &str) -> f64 {
        self.metric(&format!("fennec_limited_total{{limit=\"{limit}\"}}"))
    }

    /// Bytes of memory, by the name that the system has for it.
    pub fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it is there");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("such a line");
        line.trim().trim_start_matches(':').trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
    }
}

/// Status and body of what is answered.
pub fn answer(socket: &mut (impl Read + Write), request: &str) -> (u16, String) {
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // TLS without a goodbye is no reason to forget what came.
    let _ = socket.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {answer:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Asks until it is so.
pub fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < until, "it does not come to be that {what}");
        std::thread::yield_now();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended by itself, which other assertions notice.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
