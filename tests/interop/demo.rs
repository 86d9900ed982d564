//! The demos. Workers in Rust and JavaScript take turns at the resource lock, also when one is killed, and under supervisord; and a
//! band plays on a cluster, whose nodes are killed. A device is heard at a centre through a link that flaps.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read as _, pipe};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use super::broker::Broker;
use super::clients;
use super::nodes::free_ports;

/// How long anything may take that must come.
const LIMIT: Duration = Duration::from_secs(60);
/// How long workers use the resource here, in seconds.
const USE_S: &str = "0.05";

/// The example, built as this test is.
fn example() -> &'static Path {
    static EXAMPLE: OnceLock<PathBuf> = OnceLock::new();
    EXAMPLE.get_or_init(|| build("resource_lock"))
}

fn build(name: &str) -> PathBuf {
    let broker = Path::new(env!("CARGO_BIN_EXE_fennec"));
    let folder = broker.parent().expect("the folder of the program");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--example", name]).current_dir(env!("CARGO_MANIFEST_DIR"));
    // What Cargo told this test would have it build all dependencies anew.
    let told = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_"));
    told.filter(|(name, _)| name != "CARGO_HOME" && name != "CARGO_TARGET_DIR").for_each(|(name, _)| {
        build.env_remove(name);
    });
    if folder.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().expect("cargo").success());
    folder.join("examples").join(name)
}

/// A worker, ended when dropped.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(mut command: Command, arguments: &[&str], output: &PipeWriter) -> Worker {
    let output = output.try_clone().expect("a pipe");
    command.args(arguments).stdin(Stdio::null()).stdout(output).stderr(Stdio::inherit());
    Worker(command.spawn().expect("a worker"))
}

/// What all workers say, in the order in which they said it: they share one pipe.
struct Said(Receiver<String>);

impl Said {
    fn by(reader: PipeReader) -> Self {
        let (said, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                if said.send(line).is_err() {
                    return;
                }
            }
        });
        Said(lines)
    }

    /// The next time that somebody holds or releases: who, and whether it holds now.
    fn turn(&self) -> (String, bool) {
        loop {
            let line = self.0.recv_timeout(LIMIT).expect("somebody has a turn");
            let Some((name, what)) = line.split_once('|') else { continue };
            match what.trim() {
                "holds myapp.resource" => return (name.trim().to_owned(), true),
                "releases myapp.resource" => return (name.trim().to_owned(), false),
                _ => {}
            }
        }
    }

    /// Watches until each of `names` has held the resource so often; at no time do two.
    fn turns(&self, names: &[&str], times: u32) {
        let mut held: BTreeMap<String, u32> = BTreeMap::new();
        while !names.iter().all(|name| held.get(*name).is_some_and(|count| *count >= times)) {
            let (holder, holds) = self.turn();
            assert!(holds, "{holder} releases what it does not hold");
            *held.entry(holder.clone()).or_default() += 1;
            assert_eq!(self.turn(), (holder, false), "the holder releases before the next one holds");
        }
    }

    /// Watches until a band has played so many rounds, and finds nothing missing.
    fn rounds(&self, count: u32) {
        let mut played = 0;
        while played < count {
            let line = self.0.recv_timeout(LIMIT).expect("the band plays");
            assert!(!line.contains("FAILED"), "{line}");
            played += u32::from(line.contains("one order, nothing missing"));
        }
    }

    /// Watches until each of `names` has held the resource so often.
    fn holds(&self, names: &[&str], times: u32) {
        let mut held: BTreeMap<String, u32> = BTreeMap::new();
        while !names.iter().all(|name| held.get(*name).is_some_and(|count| *count >= times)) {
            if let (holder, true) = self.turn() {
                *held.entry(holder).or_default() += 1;
            }
        }
    }
}

#[test]
fn workers_in_rust_and_javascript_take_turns_at_the_lock() {
    let broker = Broker::start();
    let url = format!("ws://127.0.0.1:{}/ws", broker.port("http"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/resource_lock.js");
    let (reader, output) = pipe().expect("a pipe");
    let said = Said::by(reader);
    let rust = |name: &str| start(Command::new(example()), &[name, &url, USE_S], &output);
    let javascript = |name: &str| {
        let mut node = Command::new("node");
        node.env("NODE_PATH", clients::node_modules()).arg(&script);
        start(node, &[name, &url, USE_S], &output)
    };
    let _workers = [rust("rust1"), rust("rust2"), javascript("js1"), javascript("js2")];
    said.turns(&["rust1", "rust2", "js1", "js2"], 2);
}

#[test]
fn a_holder_that_is_killed_frees_the_lock_for_the_next() {
    let broker = Broker::start();
    let url = format!("ws://127.0.0.1:{}/ws", broker.port("http"));
    let (reader, output) = pipe().expect("a pipe");
    let said = Said::by(reader);
    // Longer than the test waits for anything.
    let for_ever = "3600";
    let mut workers: BTreeMap<String, Worker> = BTreeMap::new();
    for name in ["one", "two", "three"] {
        workers.insert(name.to_owned(), start(Command::new(example()), &[name, &url, for_ever], &output));
    }
    for _ in 0..3 {
        let (holder, holds) = said.turn();
        assert!(holds, "{holder}");
        // SIGKILL.
        drop(workers.remove(&holder).expect("one that is alive"));
    }
}

#[test]
fn the_demo_runs_under_supervisord() {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("supervisord");
    fs::copy(source.join("prefix.sh"), folder.path().join("prefix.sh")).expect("a copy");
    let ini = fs::read_to_string(source.join("resource-lock.supervisord.ini")).expect("the configuration");
    // The same, but for what is built already, a port of its own, and more haste.
    let example = format!("{} ", example().display());
    let built = [
        ("cargo run --release --bin fennec -- ", concat!(env!("CARGO_BIN_EXE_fennec"), " ")),
        ("cargo run --release --example resource_lock -- ", example.as_str()),
        (":9780/ws", &format!(":{port}/ws {USE_S}")),
        ("127.0.0.1:9780 ", &format!("127.0.0.1:{port} ")),
    ];
    let adapted = built.iter().fold(ini, |ini, (from, to)| {
        assert!(ini.contains(from), "{from:?} is not in the configuration");
        ini.replace(from, to)
    });
    let path = folder.path().join("demo.ini");
    fs::write(&path, adapted).expect("a configuration");
    let (reader, output) = pipe().expect("a pipe");
    let said = Said::by(reader);
    let mut supervisord = Command::new(clients::python());
    supervisord.args(["-m", "supervisor.supervisord", "-c"]).arg(path).current_dir(folder.path());
    let supervisord = Supervisord(start(supervisord, &[], &output));
    drop(output);
    // What several processes say at once, it may tell in another order.
    said.holds(&["worker1", "worker2", "worker3"], 2);
    drop(supervisord);
    // All that it started has ended with it: nobody can say anything any more.
    while said.0.recv_timeout(LIMIT).is_ok() {}
    assert_eq!(said.0.recv_timeout(Duration::ZERO), Err(mpsc::RecvTimeoutError::Disconnected));
}

/// What `prefix.sh` makes of a command's output, as worker `w1`.
fn prefixed(path: &str, command: &[&str]) -> (Option<i32>, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("supervisord/prefix.sh");
    let (mut reader, output) = pipe().expect("a pipe");
    let status = {
        let mut bash = Command::new("/bin/bash");
        bash.arg(script).args(command).env("SUPERVISOR_PROCESS_NAME", "w1").env("PATH", path);
        bash.stdin(Stdio::null()).stdout(output).status().expect("bash")
    };
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("what it wrote");
    (status.code(), text)
}

#[test]
fn every_line_of_the_demo_has_the_name_of_its_process_once() {
    let written = prefixed("/usr/bin:/bin", &["sh", "-c", "echo 'w1      | holds'; echo Compiling >&2; exit 3"]);
    assert_eq!(written, (Some(3), "w1      | holds\nw1      | Compiling\n".to_owned()));
}

#[test]
fn the_demo_says_what_to_do_where_cargo_is_not_there() {
    let (code, text) = prefixed("/usr/bin:/bin", &["cargo-that-is-not-there", "run"]);
    assert_eq!((code, &*text), (Some(127), "w1      | there is no cargo-that-is-not-there\n"));
    // Programs that the script itself needs, and no cargo.
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::os::unix::fs::symlink("/bin/sed", folder.path().join("sed")).expect("a link");
    let (code, text) = prefixed(&folder.path().to_string_lossy(), &["cargo", "run"]);
    assert_eq!(code, Some(127));
    assert!(text.starts_with("w1      | there is no cargo: install Rust 1.95 or later"), "{text}");
}

/// When dropped it is told to end, and ends all that it started.
struct Supervisord(Worker);

impl Drop for Supervisord {
    fn drop(&mut self) {
        let pid = self.0.0.id().to_string();
        let _ = Command::new("kill").arg(pid).status();
        let _ = self.0.0.wait();
    }
}

/// The files of the cluster in a folder of their own, with ports that are free, and programs that are built.
fn copy_of_the_cluster(folder: &Path, band: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("supervisord");
    let copy = |name: &str, change: &dyn Fn(String) -> String| {
        let text = fs::read_to_string(source.join(name)).expect("a file of the demo");
        fs::write(folder.join(name), change(text)).expect("a copy");
    };
    let replace = |text: String, from: &str, to: &str| {
        assert!(text.contains(from), "{from:?} is not in the demo");
        text.replace(from, to)
    };
    let ports: Vec<u16> =
        (9031..=9033).chain(1881..=1883).chain(9041..=9043).chain(9051..=9053).chain(9061..=9063).collect();
    let free = free_ports(ports.len());
    copy("masterfree.cluster.toml", &|text| {
        let moved = |text, (port, free): (&u16, &u16)| replace(text, &format!(":{port}\""), &format!(":{free}\""));
        ports.iter().zip(&free).fold(text, moved)
    });
    copy("masterfree.toml", &|text| text);
    let fennec = concat!(env!("CARGO_BIN_EXE_fennec"), " ");
    copy("masterfree.sh", &|text| replace(text, "cargo run --release --quiet --bin fennec -- ", fennec));
    let band = format!("{} --folder {}", band.display(), folder.display());
    copy("masterfree.supervisord.ini", &|text| {
        replace(text, "cargo run --release --quiet --example masterfree", &band)
    });
    copy("prefix.sh", &|text| text);
    for script in ["prefix.sh", "masterfree.sh"] {
        let permissions = fs::metadata(source.join(script)).expect("a script").permissions();
        fs::set_permissions(folder.join(script), permissions).expect("it can be run");
    }
}

#[test]
fn the_band_plays_on_under_supervisord_while_nodes_are_killed() {
    let band = build("masterfree");
    let folder = tempfile::tempdir().expect("a temporary folder");
    copy_of_the_cluster(folder.path(), &band);
    let (reader, output) = pipe().expect("a pipe");
    let said = Said::by(reader);
    let mut supervisord = Command::new(clients::python());
    supervisord.args(["-m", "supervisor.supervisord", "-c", "masterfree.supervisord.ini"]).current_dir(folder.path());
    let supervisord = Supervisord(start(supervisord, &[], &output));
    drop(output);
    said.rounds(2);
    // What the README has in a second terminal, with fewer rounds: an entry, a storage and a sync.
    let mut kills = Command::new(&band);
    let killed = kills.args(["--kill", "--rounds", "3", "--folder"]).arg(folder.path()).output().expect("the band");
    let printed = String::from_utf8_lossy(&killed.stdout);
    let told = |what: &str| printed.lines().filter(|line| line.ends_with(what)).count();
    assert!(killed.status.success() && (told("is killed"), told("is back")) == (3, 3), "{printed}");
    said.rounds(1);
    drop(supervisord);
}

#[test]
fn a_device_is_heard_at_the_centre_through_a_link_that_flaps() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("supervisord");
    let example = format!("{} ", build("edge").display());
    let free = free_ports(3);
    let fennec = concat!(env!("CARGO_BIN_EXE_fennec"), " ");
    let text = |name: &str| fs::read_to_string(source.join(name)).expect("a file of the demo");
    let moved = |text: String| {
        [9790, 9791, 9792]
            .iter()
            .zip(&free)
            .fold(text, |text, (port, free)| text.replace(&format!(":{port}"), &format!(":{free}")))
    };
    let ini = moved(text("edge.supervisord.ini"));
    let centre = format!("127.0.0.1:{}\n", free[0]);
    // The same, but for what is built already, ports of its own, and a link in more of a hurry.
    let built = [
        ("cargo run --release --bin fennec -- ", fennec.to_owned()),
        ("cargo run --release --example edge -- ", example),
        (&*centre, format!("127.0.0.1:{} 1\n", free[0])),
    ];
    let ini = built.iter().fold(ini, |ini, (from, to)| {
        assert!(ini.contains(from), "{from:?} is not in the demo");
        ini.replace(from, to)
    });
    for (name, text) in
        [("demo.ini", ini), ("edge.toml", moved(text("edge.toml"))), ("edge.centre.toml", text("edge.centre.toml"))]
    {
        fs::write(folder.path().join(name), text).expect("a copy");
    }
    fs::copy(source.join("prefix.sh"), folder.path().join("prefix.sh")).expect("a copy");
    let (reader, output) = pipe().expect("a pipe");
    let said = Said::by(reader);
    let mut supervisord = Command::new(clients::python());
    supervisord.args(["-m", "supervisor.supervisord", "-c", "demo.ini"]).current_dir(folder.path());
    let supervisord = Supervisord(start(supervisord, &[], &output));
    drop(output);
    // Numbers that come behind two breaks of the link.
    let (mut breaks, mut heard) = (0, 0);
    while breaks < 2 || heard < 3 {
        let line = said.0.recv_timeout(LIMIT).expect("the demo goes on");
        assert!(!line.contains("twice"), "{line}");
        if line.contains("is down") {
            (breaks, heard) = (breaks + 1, 0);
        }
        heard += u32::from(line.contains("got "));
    }
    drop(supervisord);
    while said.0.recv_timeout(LIMIT).is_ok() {}
}
