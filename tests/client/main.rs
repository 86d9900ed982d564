//! The client commands of the built binary against a broker of their own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Output, Stdio};

use broker::Broker;

mod admin;
#[allow(dead_code)] // each of the tests that share it uses a part
#[path = "../interop/broker.rs"]
mod broker;
mod tools;

/// How long any command may wait for what must come, in seconds.
const LIMIT: &str = "60";

fn fennec(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fennec"));
    let inherited = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FENNEC_"));
    inherited.for_each(|(name, _)| {
        command.env_remove(name);
    });
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs a command to its end and returns what it printed.
fn run(arguments: &[&str]) -> String {
    succeed(&fennec(arguments).output().unwrap())
}

fn succeed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

/// Runs a command that must fail, and returns its exit code and its one line of standard error.
fn fail(arguments: &[&str]) -> (i32, String) {
    let output = fennec(arguments).output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!((text(&output.stdout).as_str(), stderr.lines().count()), ("", 1), "{arguments:?}: {stderr}");
    (output.status.code().unwrap(), stderr)
}

/// A command that runs beside the test. Killed when dropped.
struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut child = fennec(arguments).stdin(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        Self { child, stdin, stdout: BufReader::new(stdout.unwrap()), stderr: BufReader::new(stderr.unwrap()) }
    }

    /// Waits until standard error has a line that contains `what`.
    fn says(&mut self, what: &str) -> &mut Self {
        loop {
            let mut line = String::new();
            assert!(self.stderr.read_line(&mut line).unwrap() > 0, "it ended without saying {what:?}");
            if line.contains(what) {
                return self;
            }
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    fn write(&mut self, line: &str) {
        self.stdin.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
    }

    /// Waits for its end; returns its exit code and the rest of what it printed.
    fn end(mut self) -> (i32, String) {
        drop(self.stdin.take());
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code().unwrap_or(-1), rest)
    }

    fn terminate(&self) {
        let status = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The ways to a broker: flag, URL, and whether topics have dots there.
fn ways(broker: &Broker) -> Vec<(&'static str, String, bool)> {
    let (mqtt, http, rawsocket) = (broker.port("mqtt"), broker.port("http"), broker.port("rawsocket"));
    vec![
        ("--mqtt", format!("mqtt://127.0.0.1:{mqtt}"), false),
        ("--mqtt", format!("ws://127.0.0.1:{http}/mqtt"), false),
        ("--wamp", format!("ws://127.0.0.1:{http}/ws"), true),
        ("--wamp", format!("rs://127.0.0.1:{rawsocket}"), true),
    ]
}

fn mqtt_url(broker: &Broker) -> String {
    format!("mqtt://127.0.0.1:{}", broker.port("mqtt"))
}

#[test]
fn what_is_published_any_way_is_printed_by_subscribers_of_all() {
    let broker = Broker::start();
    let ways = ways(&broker);
    let mut subscribers: Vec<(Running, bool)> = Vec::new();
    for (flag, url, dots) in &ways {
        let topic = if *dots { "app.#" } else { "app/#" };
        let mut subscriber = Running::start(&["sub", topic, flag, url, "-v", "-n", "4", "--timeout", LIMIT]);
        subscriber.says("subscribed to");
        subscribers.push((subscriber, *dots));
    }
    for (flag, url, dots) in &ways {
        let topic = if *dots { "app.x" } else { "app/x" };
        run(&["pub", topic, r#"{"t": 1.5}"#, "--property", "k=v", flag, url]);
    }
    for (subscriber, dots) in subscribers {
        let (code, lines) = subscriber.end();
        assert_eq!((code, lines.lines().count()), (0, 4), "{lines}");
        for line in lines.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let expected = if dots { "app.x" } else { "app/x" };
            assert_eq!(line["topic"], expected);
            assert_eq!(line["properties"]["user_properties"], serde_json::json!([["k", "v"]]));
            let payload = if dots { &line["args"][0] } else { &line["payload"] };
            assert_eq!(payload["t"], 1.5, "{line}");
        }
    }
}

#[test]
fn every_serializer_and_mqtt_version_is_spoken() {
    let broker = Broker::start();
    let ways = ways(&broker);
    for (flag, url, option, values) in [
        ("--mqtt", &ways[0].1, "--mqtt-version", ["3", "4", "5"]),
        ("--wamp", &ways[2].1, "--serializer", ["json", "msgpack", "cbor"]),
        ("--wamp", &ways[3].1, "--serializer", ["json", "msgpack", "cbor"]),
    ] {
        for value in values {
            run(&["pub", "t", value, "-q", "2", "-r", flag, url, option, value]);
            let raw = run(&["sub", "t", "-n", "1", "--raw", flag, url, option, value, "--timeout", LIMIT]);
            assert_eq!(raw, format!("{value}\n"));
        }
    }
}

#[test]
fn messages_come_from_arguments_files_and_standard_input() {
    let broker = Broker::start();
    let url = mqtt_url(&broker);
    let subscribe = ["sub", "t", "--mqtt", &url, "-v", "--raw", "-n", "7", "--timeout", LIMIT];
    let mut subscriber = Running::start(&subscribe);
    subscriber.says("subscribed to");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("message");
    std::fs::write(&path, "from a file").unwrap();
    run(&["pub", "t", "twice", "--repeat", "2", "--rate", "1000", "--mqtt", &url]);
    run(&["pub", "t", "--file", path.to_str().unwrap(), "--mqtt", &url]);
    let mut whole = Running::start(&["pub", "t", "--file", "-", "--mqtt", &url]);
    whole.write("from standard\ninput");
    assert_eq!(whole.end().0, 0);
    let mut lines = Running::start(&["pub", "t", "--lines", "--mqtt", &url]);
    lines.write("one\r\n\nlast");
    assert_eq!(lines.end().0, 0);
    let (code, printed) = subscriber.end();
    assert_eq!((code, printed.as_str()), (0, "twice\ntwice\nfrom a file\nfrom standard\ninput\none\n\nlast\n"));
}

#[test]
fn a_shell_command_answers_calls_of_both_protocols() {
    let broker = Broker::start();
    let ways = ways(&broker);
    for (at, (flag, url, dots)) in ways.iter().enumerate() {
        let name = |dots: bool| if dots { format!("math.p{at}") } else { format!("math/p{at}") };
        // Prints what it was given, and fails if that is asked for.
        let exec = r#"read line; echo "$line"; case "$line" in *fail*) exit 3;; esac"#;
        let register = ["register", &name(*dots), "--exec", exec, flag, url, "-v", "-n", "8"];
        let mut callee = Running::start(&register);
        callee.says("registered");
        for (flag, url, dots) in &ways {
            let (procedure, callee_name) = (name(*dots), name(register[1].contains('.')));
            let output = run(&["call", &procedure, "1", "x y", "-k", "n=true", flag, url]);
            let line: serde_json::Value = serde_json::from_str(&output).unwrap();
            let result = if *dots { &line["args"][0] } else { &line["payload"] };
            let expected = serde_json::json!({"procedure": callee_name, "args": [1, "x y"], "kwargs": {"n": true}});
            // The caller of a WAMP procedure is not told unless it wants that.
            assert_eq!(*result, expected);
            let (code, stderr) = fail(&["call", &procedure, "fail", flag, url]);
            assert!(code == 6 && stderr.contains("fennec.error.command_failed: "), "{code} {stderr}");
        }
        assert_eq!(callee.end().0, 0);
    }
}

#[test]
fn a_call_that_nobody_waits_for_any_more_stops_its_command() {
    let broker = Broker::start();
    let folder = tempfile::tempdir().unwrap();
    let (pid, fifo) = (folder.path().join("pid"), folder.path().join("fifo"));
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let url = format!("ws://127.0.0.1:{}/ws", broker.port("http"));
    // Its end is seen at the other end of the pipe, which the background process holds open.
    let exec = format!("sleep 600 >{} & echo $! >{}; wait", fifo.display(), pid.display());
    let mut callee = Running::start(&["register", "nap", "--exec", &exec, "--wamp", &url, "-v"]);
    callee.says("registered");
    let caller = Running::start(&["call", "nap", "--wamp", &url, "--timeout", "1"]);
    let mut end = std::fs::File::open(&fifo).unwrap();
    assert_eq!(end.read(&mut [0]).unwrap(), 0);
    assert_eq!(caller.end().0, 5);
    callee.terminate();
    assert_eq!(callee.end().0, 0);
}

#[test]
fn failures_have_their_exit_codes() {
    let broker = Broker::start();
    let url = mqtt_url(&broker);
    let ws = format!("ws://127.0.0.1:{}/ws", broker.port("http"));
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = format!("mqtt://{}", nobody.local_addr().unwrap());
    let silent = fail(&["pub", "t", "x", "--mqtt", &free, "--connect-timeout", "0.2"]);
    assert_eq!(silent, (3, format!("fennec: cannot connect to {free}: no answer in 200ms\n")));
    drop(nobody);
    let refused = fail(&["pub", "t", "x", "--mqtt", &free]);
    assert_eq!(refused, (3, format!("fennec: cannot connect to {free}: Connection refused\n")));
    let cases: [(&[&str], i32, &str); 8] = [
        (&["pub", "a/#", "x", "--mqtt", &url], 2, "the topic \"a/#\": "),
        (&["sub", "a", "--mqtt", "h:x"], 2, "--mqtt: the port must be"),
        (&["pub", "t", "x", "--wamp", "ws://127.0.0.1:9/nope", "--client-id", "x"], 2, "--client-id goes with --mqtt"),
        (&["pub", "$SYS/x", "x", "--mqtt", &url], 4, "not authorized: "),
        (&["pub", "wamp.x", "x", "--wamp", &ws], 4, "not authorized: wamp.error.not_authorized"),
        (&["sub", "t", "-n", "1", "--timeout", "0.2", "--mqtt", &url], 5, "0 of 1 messages came in time"),
        (&["call", "nobody", "--wamp", &ws], 6, "wamp.error.no_such_procedure: "),
        (&["call", "nobody", "--wamp", &ws, "--realm", "x"], 7, "the broker refuses: wamp.error.no_such_realm: "),
    ];
    for (arguments, code, line) in cases {
        let failed = fail(arguments);
        assert_eq!(failed.0, code, "{arguments:?}: {}", failed.1);
        assert!(failed.1.starts_with(&format!("fennec: {line}")), "{}", failed.1);
    }
    assert_eq!(run(&["sub", "t", "--timeout", "0.2", "--mqtt", &url]), "", "no count, no failure");
}

#[test]
fn a_login_comes_from_url_environment_or_file() {
    let mut hash = Running::start(&["hash-password", "--name", "alice", "--iterations", "10"]);
    hash.write("s3cret:@");
    let (code, user) = hash.end();
    assert_eq!(code, 0);
    let broker = Broker::start_with(&format!("anonymous = false\n{user}"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    std::fs::write(&path, "s3cret:@\n").unwrap();
    for (flag, url, _) in ways(&broker) {
        let publish = |url: &str, more: &[&str]| fennec(&[&["pub", "t", "x", flag, url], more].concat());
        succeed(&publish(&url.replace("://", "://alice:s3cret%3A%40@"), &[]).output().unwrap());
        succeed(&publish(&url, &["-u", "alice", "--password-file", path.to_str().unwrap()]).output().unwrap());
        let variables = [("FENNEC_CLIENT_USER", "alice"), ("FENNEC_CLIENT_PASSWORD", "s3cret:@")];
        succeed(&publish(&url, &[]).envs(variables).output().unwrap());
        for wrong in [publish(&url, &[]), publish(&url, &["-u", "alice", "--password", "wrong"])] {
            let output = { wrong }.output().unwrap();
            let stderr = text(&output.stderr);
            assert_eq!(output.status.code(), Some(4), "{stderr}");
            assert!(stderr.starts_with("fennec: not authorized: ") && !stderr.contains("wrong\""), "{stderr}");
        }
    }
}

#[test]
fn a_certificate_must_be_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let broker = Broker::start_with_tls(&cert, &key);
    let ca = cert.to_str().unwrap();
    for (flag, url) in [
        ("--mqtt", format!("mqtts://127.0.0.1:{}", broker.port("mqtts"))),
        ("--wamp", format!("wss://127.0.0.1:{}/ws", broker.port("https"))),
        ("--wamp", format!("rss://127.0.0.1:{}", broker.port("rawsockets"))),
    ] {
        run(&["pub", "t", "x", flag, &url, "--cafile", ca]);
        run(&["pub", "t", "x", flag, &url, "--insecure"]);
        let (code, stderr) = fail(&["pub", "t", "x", flag, &url]);
        // A machine without any authorities says so instead.
        assert!(
            (code == 3 && stderr.contains(": TLS: ")) || (code == 2 && stderr.contains("ca-certificates")),
            "{stderr}"
        );
    }
}

#[test]
fn a_session_keeps_what_comes_while_its_subscriber_is_away() {
    let broker = Broker::start();
    let url = mqtt_url(&broker);
    let session = ["--mqtt", &url, "--client-id", "c1", "--session-expiry", "600", "--raw", "--timeout", LIMIT];
    let subscribe = |count| [&["sub", "t", "-n", count, "-v"], &session[..]].concat();
    let mut first = Running::start(&subscribe("1"));
    first.says("subscribed to");
    run(&["pub", "t", "one", "--mqtt", &url]);
    assert_eq!(first.end(), (0, "one\n".to_owned()));
    run(&["pub", "t", "two", "--mqtt", &url]);
    run(&["pub", "t", "three", "--mqtt", &url]);
    assert_eq!(Running::start(&subscribe("2")).end(), (0, "two\nthree\n".to_owned()));
}

#[test]
fn a_subscriber_ends_well_when_told_to_or_when_nobody_reads() {
    let broker = Broker::start();
    let url = mqtt_url(&broker);
    let mut told = Running::start(&["sub", "t", "--mqtt", &url, "-v"]);
    told.says("subscribed to").terminate();
    assert_eq!(told.end(), (0, String::new()));
    let unread = ["sub", "t", "--mqtt", &url, "-v", "-n", "2", "--timeout", LIMIT];
    let mut unread = fennec(&unread).spawn().unwrap();
    drop(unread.stdout.take());
    let mut ready = String::new();
    let mut stderr = BufReader::new(unread.stderr.take().unwrap());
    while !ready.contains("subscribed to") {
        assert!(stderr.read_line(&mut ready).unwrap() > 0, "{ready}");
    }
    run(&["pub", "t", "x", "--mqtt", &url]);
    assert_eq!(unread.wait().unwrap().code(), Some(0));
}

/// A broker whose ports outlive it.
struct Restarted {
    child: Child,
    mqtt: String,
    http: String,
}

impl Restarted {
    fn start() -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let (mqtt, http) = (free(), free());
        Self { child: Self::spawn(&mqtt, &http), mqtt, http }
    }

    fn spawn(mqtt: &str, http: &str) -> Child {
        let mut child = fennec(&["--mqtt", mqtt, "--http", http, "--rawsocket", "off", "--memory", "--log", "off"])
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        while !line.contains("in memory") {
            assert!(stdout.read_line(&mut line).unwrap() > 0, "the broker did not start:\n{line}");
        }
        child
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        self.child = Self::spawn(&self.mqtt, &self.http);
    }
}

impl Drop for Restarted {
    fn drop(&mut self) {
        // It may be stopped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn subscribers_and_callees_come_back_after_the_broker_has_been_away() {
    let mut broker = Restarted::start();
    let (mqtt, ws) = (format!("mqtt://{}", broker.mqtt), format!("ws://{}/ws", broker.http));
    let ways = [("--mqtt", mqtt.as_str()), ("--wamp", ws.as_str())];
    let mut running = Vec::new();
    for (at, (flag, url)) in ways.into_iter().enumerate() {
        let mut subscriber = Running::start(&["sub", "t", "--raw", "-v", "-n", "2", flag, url, "--timeout", LIMIT]);
        subscriber.says("subscribed to");
        let name = format!("p{at}");
        let mut callee = Running::start(&["register", &name, "--exec", "echo 1", "-v", "-n", "2", flag, url]);
        callee.says("registered");
        run(&["call", &name, flag, url]);
        running.push((subscriber, callee, name));
    }
    run(&["pub", "t", "before", "--mqtt", &mqtt]);
    for (subscriber, ..) in &mut running {
        assert_eq!(subscriber.line(), "before\n");
    }
    broker.kill();
    for (subscriber, callee, _) in &mut running {
        subscriber.says("trying again in");
        callee.says("trying again in");
    }
    broker.restart();
    for (subscriber, callee, _) in &mut running {
        subscriber.says("subscribed to");
        callee.says("registered");
    }
    run(&["pub", "t", "after", "--mqtt", &mqtt]);
    for ((subscriber, callee, name), (flag, url)) in running.into_iter().zip(ways) {
        assert_eq!(subscriber.end(), (0, "after\n".to_owned()));
        run(&["call", &name, flag, url]);
        assert_eq!(callee.end().0, 0);
    }
}

#[test]
fn lines_that_the_broker_did_not_acknowledge_are_published_when_it_is_back() {
    let mut broker = Restarted::start();
    let (mqtt, ws) = (format!("mqtt://{}", broker.mqtt), format!("ws://{}/ws", broker.http));
    for (flag, url) in [("--mqtt", mqtt.as_str()), ("--wamp", ws.as_str())] {
        let mut publisher = Running::start(&["pub", "t", "--lines", "-r", "-v", flag, url]);
        publisher.says("connected to");
        broker.kill();
        publisher.says("trying again in");
        publisher.write("meanwhile\n");
        broker.restart();
        assert_eq!(publisher.end().0, 0);
        assert_eq!(run(&["sub", "t", "--raw", "-n", "1", flag, url, "--timeout", LIMIT]), "meanwhile\n");
    }
}

#[test]
fn a_publisher_that_waits_for_its_broker_can_be_told_to_end() {
    let mut broker = Restarted::start();
    let url = format!("mqtt://{}", broker.mqtt);
    let mut publisher = Running::start(&["pub", "t", "--lines", "-v", "--mqtt", &url]);
    publisher.says("connected to");
    broker.kill();
    publisher.says("trying again in").terminate();
    assert_eq!(publisher.end(), (0, String::new()), "nothing was left unsaid");
}

#[test]
fn without_reconnect_a_lost_connection_is_the_end() {
    let mut broker = Restarted::start();
    let url = format!("mqtt://{}", broker.mqtt);
    let mut subscriber = Running::start(&["sub", "t", "--mqtt", &url, "-v", "--no-reconnect"]);
    subscriber.says("subscribed to");
    broker.kill();
    assert_eq!(subscriber.end(), (3, String::new()));
}

#[test]
fn a_broker_that_is_not_there_yet_can_be_waited_for() {
    let mut broker = Restarted::start();
    broker.kill();
    let url = format!("mqtt://{}", broker.mqtt);
    let (code, _) = fail(&["pub", "t", "x", "--mqtt", &url, "--wait", "0.3"]);
    assert_eq!(code, 3);
    let waiting = Running::start(&["pub", "t", "x", "--mqtt", &url, "--wait", LIMIT]);
    broker.restart();
    assert_eq!(waiting.end().0, 0);
}
