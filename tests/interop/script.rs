//! Runs one program of scenarios against a broker, under a deadline.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::broker::Broker;
use super::clients;

/// How long one program may run. Each scenario in it has a shorter deadline of its own, so this one tells of a
/// program that hangs.
const DEADLINE: Duration = Duration::from_secs(180);

/// Whom a program talks to.
pub trait Host {
    /// By which it is found.
    fn arguments(&self) -> Vec<String>;

    /// What it has printed.
    fn log(&self) -> String;
}

impl Host for Broker {
    fn arguments(&self) -> Vec<String> {
        Broker::arguments(self)
    }

    fn log(&self) -> String {
        Broker::log(self)
    }
}

/// Nobody: the program starts its brokers itself.
pub struct Nobody;

impl Host for Nobody {
    fn arguments(&self) -> Vec<String> {
        vec!["--fennec".to_owned(), env!("CARGO_BIN_EXE_fennec").to_owned()]
    }

    fn log(&self) -> String {
        "nothing: it was started by the program".to_owned()
    }
}

/// Runs `python/<name>` with the ports of the broker and `arguments`; panics unless all its scenarios pass.
pub fn python(broker: &impl Host, name: &str, arguments: &[&str]) {
    let mut command = Command::new(clients::python());
    // Bytecode would be written beside the sources.
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1").arg(folder("python").join(name));
    run(command, broker, arguments);
}

/// Runs `js/<name>` with the ports of the broker and `arguments`; panics unless all its scenarios pass.
pub fn node(broker: &impl Host, name: &str, arguments: &[&str]) {
    let mut command = Command::new("node");
    command.env("NODE_PATH", clients::node_modules()).arg(folder("js").join(name));
    // Not every library lets its user say which certificate to trust.
    if let [.., "--ca", ca] = arguments {
        command.env("NODE_EXTRA_CA_CERTS", ca);
    }
    run(command, broker, arguments);
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(name)
}

fn run(mut command: Command, broker: &impl Host, arguments: &[&str]) {
    command.args(broker.arguments()).args(arguments).stdin(Stdio::null());
    // A group of its own, so that what the script starts ends with it.
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?} did not start: {error}"));
    let (ended, ends) = mpsc::channel();
    let out = read_to_end(child.stdout.take().expect("its standard output"), ended.clone());
    let err = read_to_end(child.stderr.take().expect("its standard error"), ended);
    let in_time = (0..2).all(|_| ends.recv_timeout(DEADLINE).is_ok());
    kill_group(&child);
    let status = child.wait().expect("its exit status");
    // A reader that had not come to its end when the deadline passed does so now that the group is gone.
    let (tap, errors) = (out.join().expect("a reader"), err.join().expect("a reader"));
    println!("{tap}{errors}");
    let passed = in_time && status.success() && all_passed(&tap);
    let why = if in_time { format!("it ended with {status}") } else { format!("it did not end in {DEADLINE:?}") };
    assert!(passed, "{command:?}: {why}\n{}\nthe broker said:\n{}", failures(&tap), broker.log());
}

/// Whether as many scenarios passed as the plan, `1..N`, says; a program can end early, without an error.
fn all_passed(tap: &str) -> bool {
    let planned = tap.lines().find_map(|line| line.strip_prefix("1..")?.parse().ok());
    let passed = tap.lines().filter(|line| line.starts_with("ok ")).count();
    planned == Some(passed) && passed > 0
}

/// The lines of the scenarios that failed, and what they say about it.
fn failures(tap: &str) -> String {
    let mut failed = false;
    let told = tap.lines().filter(|line| {
        failed = line.starts_with("not ok") || (failed && line.starts_with('#'));
        failed
    });
    told.collect::<Vec<_>>().join("\n")
}

/// Reads in a thread of its own, and says by `ended` when there is no more.
fn read_to_end(mut output: impl Read + Send + 'static, ended: mpsc::Sender<()>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is still worth showing, and nobody waits once the deadline has passed.
        let _ = output.read_to_end(&mut bytes);
        let _ = ended.send(());
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Kills a child that leads a group of its own, and all that it has started.
pub fn kill_group(child: &Child) {
    // The group is gone when all in it have ended, and then there is nothing to kill.
    let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]).stderr(Stdio::null()).status();
}
