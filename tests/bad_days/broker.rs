//! The broker as a child process.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempPath;

use crate::client::Client;

/// Far longer than anything takes, so that only what never comes fails.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Topics below `d` are durable.
const CONFIG: &str = "[[durable]]\ntopic = 'd/#'\n";

/// A running broker. It is killed when dropped.
pub struct Broker {
    child: Child,
    ports: BTreeMap<String, u16>,
    log: Receiver<String>,
    _config: TempPath,
}

/// A broker that did not start.
#[derive(Debug)]
pub struct Refused {
    pub code: Option<i32>,
    /// What it said to standard error.
    pub said: String,
}

/// The broker with this store, to be run by the command `within`; `settings` are more lines of its configuration.
fn command(within: &[&OsStr], store: &str, settings: &str) -> (Command, TempPath) {
    let program = env!("CARGO_BIN_EXE_fennec");
    let mut command = match within {
        [] => Command::new(program),
        [outer, arguments @ ..] => {
            let mut command = Command::new(outer);
            command.args(arguments).arg(program);
            command
        }
    };
    let inherited = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FENNEC_"));
    inherited.for_each(|(name, _)| {
        command.env_remove(name);
    });
    let mut config = tempfile::Builder::new().suffix(".toml").tempfile().expect("a temporary file");
    config.write_all(format!("{settings}\n{CONFIG}").as_bytes()).expect("the configuration is written");
    let config = config.into_temp_path();
    command.arg("--config").arg(&config).args(["--store", store, "--log", "warn"]);
    command.args(["--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0", "--rawsocket", "127.0.0.1:0"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    (command, config)
}

impl Broker {
    pub fn start(store: &str) -> Self {
        Self::start_within(&[], store)
    }

    /// Has another command run it.
    pub fn start_within(within: &[&OsStr], store: &str) -> Self {
        let (mut command, _config) = command(within, store, "");
        let mut child = command.spawn().expect("the broker is started");
        let (told, log) = channel();
        let stderr = BufReader::new(child.stderr.take().expect("its standard error"));
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
        let mut stdout = BufReader::new(child.stdout.take().expect("its standard output")).lines();
        let mut ports = BTreeMap::new();
        while ports.len() < 3 {
            let Some(Ok(line)) = stdout.next() else {
                panic!("it did not start: {}", log.iter().collect::<Vec<_>>().join("\n"))
            };
            if let Some((name, port)) = listener(&line) {
                ports.insert(name, port);
            }
        }
        std::thread::spawn(move || stdout.for_each(drop));
        Self { child, ports, log, _config }
    }

    /// Starts one that must not start.
    pub fn refused(store: &str, settings: &str) -> Refused {
        let (mut command, _config) = command(&[], store, settings);
        let mut child = command.spawn().expect("the broker is started");
        let mut banner = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("its standard output"));
        if stdout.read_line(&mut banner).expect("text") > 0 {
            let _ = child.kill();
            panic!("it started: {banner}");
        }
        let output = child.wait_with_output().expect("it ends");
        Refused { code: output.status.code(), said: String::from_utf8_lossy(&output.stderr).into_owned() }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits until it logs a line with these words.
    pub fn says(&self, what: &str) -> String {
        let mut seen = String::new();
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(what) => return line,
                Ok(line) => seen += &format!("{line}\n"),
                Err(error) => panic!("it does not say {what:?} ({error}) but:\n{seen}"),
            }
        }
    }

    pub fn connect(&self, client_id: &str, session_expiry_s: u32) -> Client {
        Client::connect(self.ports["mqtt"], client_id, session_expiry_s)
    }

    /// Status and body of a GET.
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut socket = TcpStream::connect(("127.0.0.1", self.ports["http"])).expect("a connection");
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(socket, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// A counter or gauge without labels.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").1;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    /// Publishes over WAMP and waits for the acknowledgement. Returns the exit code and what is said about it.
    pub fn publish_by_wamp(&self, topic: &str, message: &str) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_fennec"))
            .args(["pub", topic, message, "--wamp", &format!("rs://127.0.0.1:{}", self.ports["rawsocket"])])
            .stdin(Stdio::null())
            .output()
            .expect("the command is started");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Ends it in order.
    pub fn stop(mut self) -> ExitStatus {
        kill_process(self.pid(), Signal::TERM).expect("it is there");
        self.child.wait().expect("it ends")
    }

    /// Ends it at once, as `kill -9` does.
    pub fn kill(mut self) {
        self.child.kill().expect("it is there");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended by itself, which other assertions notice.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads `(name, port)` from a line such as `mqtt  127.0.0.1:40123  …`.
fn listener(line: &str) -> Option<(String, u16)> {
    let mut words = line.split_whitespace();
    let (name, address) = (words.next()?, words.next()?);
    let known = ["mqtt", "http", "rawsocket"].contains(&name);
    let port = address.rsplit_once(':')?.1.parse().ok()?;
    known.then(|| (name.to_owned(), port))
}

/// A folder as `--store` wants it.
pub fn text(folder: &Path) -> &str {
    folder.to_str().expect("a name that is text")
}
