//! Mosquitto as a child process, on ports and in a folder of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use fennec::mqtt::codec::Level;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::client::Client;
use crate::{PATIENCE, free_port};

/// Where it is installed, beside the folders of `PATH`.
const PLACES: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"];

/// A Mosquitto and its folder. It is killed when dropped.
pub struct Mosquitto {
    folder: TempDir,
    lines: String,
    port: u16,
    child: Option<(Child, Receiver<String>)>,
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(PLACES.map(PathBuf::from));
    folders.map(|folder| folder.join("mosquitto")).find(|program| program.is_file())
}

/// Whether it is installed; says so if it is not.
pub fn is_installed() -> bool {
    let is_installed = program().is_some();
    if !is_installed {
        eprintln!("NOT RUN: mosquitto is not installed");
    }
    is_installed
}

impl Mosquitto {
    pub fn start() -> Self {
        Self::start_with(|_| String::new())
    }

    /// With more lines of its configuration, which may name files in its folder; `listener` is theirs to say if they do.
    pub fn start_with(lines: impl FnOnce(&Path) -> String) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let lines = lines(folder.path());
        let mut broker = Self { folder, lines, port: 0, child: None };
        broker.start_again();
        broker
    }

    /// Starts it on what it has kept, on another port.
    pub fn start_again(&mut self) {
        for _ in 0..5 {
            self.port = free_port();
            if self.try_start() {
                return;
            }
        }
        panic!("Mosquitto does not start");
    }

    /// False: somebody else has the port by now.
    fn try_start(&mut self) -> bool {
        let folder = self.folder.path().display();
        let config = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\nuser root\npersistence true\npersistence_location {folder}/\n\
             autosave_interval 1\nautosave_on_changes true\nmax_queued_messages 0\nmax_inflight_messages 0\nsys_interval 0\n\
             log_dest stderr\nlog_type all\n{}\n",
            self.port, self.lines
        );
        let file = self.folder.path().join("mosquitto.conf");
        fs::write(&file, config).expect("the configuration is written");
        let mut command = Command::new(program().expect("it is installed"));
        command.arg("-c").arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("Mosquitto is started");
        let (told, log) = channel();
        let stderr = BufReader::new(child.stderr.take().expect("its standard error"));
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
        let mut said = Vec::new();
        while let Ok(line) = log.recv_timeout(PATIENCE) {
            if line.contains(" running") {
                self.child = Some((child, log));
                return true;
            }
            said.push(line);
        }
        eprintln!("Mosquitto said:\n{}", said.join("\n"));
        let _ = child.kill();
        let _ = child.wait();
        false
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn client(&self, level: Level, client_id: &str) -> Client {
        Client::connect(self.port, level, client_id)
    }

    /// Ends it in order, so that it keeps what it has.
    pub fn stop(&mut self) {
        let Some((mut child, log)) = self.child.take() else { return };
        kill_process(Pid::from_child(&child), Signal::TERM).expect("it is there");
        child.wait().expect("it ends");
        drop(log);
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        let Some((mut child, _)) = self.child.take() else { return };
        child.kill().expect("it is there");
        child.wait().expect("it ends");
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if let Some((child, log)) = &mut self.child {
            // It may have ended by itself, which other assertions notice.
            let _ = child.kill();
            let _ = child.wait();
            if std::thread::panicking() {
                eprintln!("Mosquitto said:\n{}", log.iter().collect::<Vec<_>>().join("\n"));
            }
        }
    }
}
