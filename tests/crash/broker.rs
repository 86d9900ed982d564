//! The built broker as a child process on a data folder that outlives it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

const LISTENERS: [&str; 2] = ["mqtt", "http"];
/// How long a broker may take to end after SIGTERM.
const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// Killed when dropped.
pub struct Broker {
    child: Child,
    log: Arc<Mutex<String>>,
    ports: Receiver<(String, u16)>,
}

/// Where the broker listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    pub mqtt: u16,
    pub http: u16,
}

impl Broker {
    /// Starts one that keeps its state in `store`, a folder or a URL, and does not wait for it.
    pub fn start(store: &str, config: &Path, sync: &str) -> Broker {
        // Writing beyond a limit of files is an error to it, rather than the end.
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_fennec")]);
        let inherited = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FENNEC_"));
        inherited.for_each(|(name, _)| {
            command.env_remove(name);
        });
        command.args(["--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0", "--rawsocket", "off", "--store", store]);
        command.args(["--set", &format!("sync={sync}")]).arg("--config").arg(config);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the broker is started");
        let log = Arc::default();
        let (found, ports) = mpsc::channel();
        follow(child.stdout.take().expect("its standard output"), Arc::clone(&log), Some(found));
        follow(child.stderr.take().expect("its standard error"), Arc::clone(&log), None);
        Broker { child, log, ports }
    }

    /// Waits for its ports; `None` if it does not say them in time.
    pub fn ports(&mut self, limit: Duration) -> Option<Ports> {
        let deadline = Instant::now() + limit;
        let mut found = BTreeMap::new();
        while !LISTENERS.iter().all(|name| found.contains_key(*name)) {
            let (name, port) = self.ports.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()?;
            found.insert(name, port);
        }
        Some(Ports { mqtt: found["mqtt"], http: found["http"] })
    }

    fn pid(&self) -> Pid {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id")
    }

    /// Has writing to its files fail, or no longer.
    pub fn fail_to_write(&self, fails: bool) {
        let limit = Rlimit { current: fails.then_some(1), maximum: None };
        prlimit(Some(self.pid()), Resource::Fsize, limit).expect("the limit is changed");
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        // It may have ended by itself; then its log tells.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// It did not end in time, or not well.
    pub fn terminate(mut self) -> Result<(), String> {
        kill_process(self.pid(), Signal::TERM).expect("the broker can be told to stop");
        let (ended, end) = mpsc::channel();
        let mut child = std::mem::replace(&mut self.child, Command::new("true").spawn().expect("`true` runs"));
        std::thread::spawn(move || ended.send(child.wait()));
        match end.recv_timeout(STOP_DEADLINE) {
            Ok(Ok(status)) if status.success() => Ok(()),
            other => Err(format!("the broker did not stop well: {other:?}; it said:\n{}", self.said())),
        }
    }

    /// What it has printed.
    pub fn said(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps what is printed, and finds the listeners in it: lines of a name and an address.
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
