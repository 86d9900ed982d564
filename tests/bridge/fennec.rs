//! This broker as a child process, with bridges, on a disk.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use fennec::mqtt::codec::Level;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::PATIENCE;
use crate::client::Client;

/// The name of the bridge in all tests, and its client id.
pub const NAME: &str = "far";
pub const CLIENT_ID: &str = "fennec-test.far";

/// A broker and its folder. It is killed when dropped.
pub struct Fennec {
    folder: TempDir,
    running: Option<Running>,
}

struct Running {
    child: Child,
    port: u16,
    log: Receiver<String>,
    seen: String,
}

/// The configuration of a bridge to a port, with more lines for it and its topics.
pub fn bridge(port: u16, level: Level, lines: &str, topics: &str) -> String {
    let version = if level == Level::V5 { "5" } else { "3.1.1" };
    format!(
        "[[bridge]]\nname = '{NAME}'\nclient_id = '{CLIENT_ID}'\nversion = '{version}'\n\
         {}{lines}\n{topics}\n",
        if lines.contains("address") { String::new() } else { format!("address = 'mqtt://127.0.0.1:{port}'\n") }
    )
}

/// Topics in the configuration of a bridge.
pub fn topic(pattern: &str, direction: &str, qos: u8, local: &str, remote: &str) -> String {
    format!(
        "[[bridge.topic]]\npattern = '{pattern}'\ndirection = '{direction}'\nqos = {qos}\nlocal = '{local}'\nremote = '{remote}'\n"
    )
}

impl Fennec {
    pub fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("fennec.toml"), config).expect("the configuration is written");
        let mut broker = Self { folder, running: None };
        broker.start_again();
        broker
    }

    /// Starts it on what it has kept.
    pub fn start_again(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fennec"));
        let inherited = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FENNEC_"));
        inherited.for_each(|(name, _)| {
            command.env_remove(name);
        });
        command
            .args(["--config", "fennec.toml", "--data", "data", "--log", "info,fennec::outbound=debug"])
            .args(["--mqtt", "127.0.0.1:0", "--http", "off", "--rawsocket", "off"])
            .current_dir(self.folder.path())
            .env("TEST_BRIDGE_PASSWORD", "secret-of-the-bridge")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the broker is started");
        let (told, log) = channel();
        let stderr = BufReader::new(child.stderr.take().expect("its standard error"));
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
        let mut stdout = BufReader::new(child.stdout.take().expect("its standard output")).lines();
        let port = loop {
            let Some(Ok(line)) = stdout.next() else {
                panic!("it did not start: {}", log.iter().collect::<Vec<_>>().join("\n"))
            };
            if let Some(port) = port_of(&line) {
                break port;
            }
        };
        std::thread::spawn(move || stdout.for_each(drop));
        self.running = Some(Running { child, port, log, seen: String::new() });
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("it runs")
    }

    pub fn port(&self) -> u16 {
        self.running.as_ref().expect("it runs").port
    }

    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub fn client(&self, level: Level, client_id: &str) -> Client {
        Client::connect(self.port(), level, client_id)
    }

    /// Waits until it logs a line with these words.
    pub fn says(&mut self, what: &str) -> String {
        let running = self.running();
        loop {
            match running.log.recv_timeout(PATIENCE) {
                Ok(line) => {
                    running.seen += &format!("{line}\n");
                    if line.contains(what) {
                        return line;
                    }
                }
                Err(error) => panic!("it does not say {what:?} ({error}) but:\n{}", running.seen),
            }
        }
    }

    /// Waits until the bridge is up.
    pub fn is_up(&mut self) {
        self.says("a bridge is up");
    }

    /// Ends it at once, as `kill -9` does.
    pub fn kill(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        running.child.kill().expect("it is there");
        running.child.wait().expect("it ends");
    }

    /// Ends it in order. All that it has logged.
    pub fn stop(&mut self) -> String {
        let Some(mut running) = self.running.take() else { return String::new() };
        kill_process(Pid::from_child(&running.child), Signal::TERM).expect("it is there");
        let status = running.child.wait().expect("it ends");
        assert!(status.success(), "{status}");
        running.seen += &running.log.iter().collect::<Vec<_>>().join("\n");
        running.seen
    }
}

impl Drop for Fennec {
    fn drop(&mut self) {
        if let Some(running) = &mut self.running {
            // It may have ended by itself, which other assertions notice.
            let _ = running.child.kill();
            let _ = running.child.wait();
            if std::thread::panicking() {
                eprintln!("the broker said:\n{}{}", running.seen, running.log.iter().collect::<Vec<_>>().join("\n"));
            }
        }
    }
}

/// Reads the port from a line such as `mqtt  127.0.0.1:40123  …`.
fn port_of(line: &str) -> Option<u16> {
    let mut words = line.split_whitespace();
    (words.next()? == "mqtt").then(|| words.next()?.rsplit_once(':')?.1.parse().ok())?
}
