//! A built broker as a child process, on a folder and a configuration that outlive it.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use crate::LIMIT;

/// Killed when dropped.
pub struct Broker {
    config: PathBuf,
    data: PathBuf,
    child: Option<Child>,
    pub mqtt: u16,
    pub http: u16,
}

/// The built program, without what the environment says.
pub fn fennec() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fennec"));
    let inherited = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FENNEC_"));
    inherited.for_each(|(name, _)| {
        command.env_remove(name);
    });
    command
}

impl Broker {
    /// One of this name in a folder, with this configuration.
    pub fn start(folder: &Path, name: &str, config: &str) -> Self {
        let (path, data) = (folder.join(format!("{name}.toml")), folder.join(name));
        std::fs::write(&path, config).expect("the configuration is written");
        let mut broker = Self { config: path, data, child: None, mqtt: 0, http: 0 };
        broker.start_again();
        broker
    }

    /// Starts it; its ports are others each time.
    pub fn start_again(&mut self) {
        let mut command = fennec();
        command.args(["--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0", "--rawsocket", "off", "--data"]);
        command.arg(&self.data).arg("--config").arg(&self.config);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the broker is started");
        let lines = follow(child.stdout.take().expect("its standard output"));
        let said = follow(child.stderr.take().expect("its standard error"));
        (self.mqtt, self.http) = (0, 0);
        while self.mqtt == 0 || self.http == 0 {
            let Ok(line) = lines.recv_timeout(LIMIT) else {
                panic!("it does not start: {:?}", said.try_iter().collect::<Vec<_>>());
            };
            let mut words = line.split_whitespace();
            let (name, port) =
                (words.next(), words.next().and_then(|address| address.rsplit(':').next()?.parse().ok()));
            match (name, port) {
                (Some("mqtt"), Some(port)) => self.mqtt = port,
                (Some("http"), Some(port)) => self.http = port,
                _ => {}
            }
        }
        self.child = Some(child);
    }

    /// SIGKILL, if it runs.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Gives it another configuration, which it reads when it starts.
    pub fn configure(&self, config: &str) {
        std::fs::write(&self.config, config).expect("the configuration is written");
    }

    /// All it keeps is gone. It must not run.
    pub fn wipe(&self) {
        std::fs::remove_dir_all(&self.data).expect("the data are removed");
    }

    pub fn wamp_url(&self) -> String {
        format!("ws://127.0.0.1:{}/ws", self.http)
    }

    /// Runs a command against it; its lines of standard output. `None`: it failed.
    pub fn run(&self, arguments: &[&str]) -> Option<Vec<String>> {
        let output = fennec().args(arguments).args(["--wamp", &self.wamp_url()]).stdin(Stdio::null()).output();
        let output = output.expect("the command runs");
        let text = String::from_utf8(output.stdout).expect("text");
        output.status.success().then(|| text.lines().map(str::to_owned).collect())
    }

    /// What it tells of its first uplink; `None`: nothing yet.
    pub fn status(&self) -> Option<serde_json::Value> {
        let lines = self.run(&["uplink", "status", "--json"])?;
        serde_json::from_str(lines.first()?).ok()
    }

    /// Payloads of the events of a durable topic, in the order of its log, as numbers.
    pub fn numbers(&self, topic: &str) -> Vec<u64> {
        let lines = self.run(&["log", &topic.replace('/', ".")]).unwrap_or_default();
        let number = |line: &String| line.rsplit('\t').next().and_then(|payload| payload.parse().ok());
        lines.iter().map(|line| number(line).unwrap_or_else(|| panic!("no number in {line}"))).collect()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The lines of a stream, which is read to its end.
fn follow(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (send, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            // Nobody may look at them any more.
            let _ = send.send(line);
        }
    });
    lines
}

/// Waits until something is so.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + LIMIT;
    while !is_so() {
        assert!(std::time::Instant::now() < until, "{what} does not come to pass");
        std::thread::sleep(Duration::from_millis(50));
    }
}
