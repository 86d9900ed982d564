//! The built broker on a folder with its files, and clients as small as can be: bytes on sockets.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long anything may take that must come.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn fennec(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fennec"));
    let inherited = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FENNEC_"));
    inherited.for_each(|(name, _)| {
        command.env_remove(name);
    });
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command with this standard input.
pub fn run(arguments: &[&str], input: &str) -> Output {
    let mut child = fennec(arguments).spawn().expect("the program");
    // One that refuses its arguments does not read.
    let _ = child.stdin.take().expect("its standard input").write_all(input.as_bytes());
    child.wait_with_output().expect("its output")
}

/// Killed when dropped.
pub struct Broker {
    child: Child,
    ports: BTreeMap<String, u16>,
}

impl Broker {
    /// One with the configuration `fennec.toml` of this folder; MQTT, HTTP and RawSocket on free ports.
    pub fn start(folder: &Path) -> Self {
        let config = folder.join("fennec.toml");
        let config = config.to_str().expect("a path");
        let ports = ["--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0", "--rawsocket", "127.0.0.1:0", "--memory"];
        let mut child = fennec(&[&["--config", config], &ports[..]].concat()).spawn().expect("the broker");
        let (found, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().expect("its standard output"));
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| found.send(line)));
        let mut stderr = child.stderr.take().expect("its standard error");
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            let _ = stderr.read_to_string(&mut log);
            log
        });
        let mut ports = BTreeMap::new();
        while ports.len() < 3 {
            let Ok(line) = lines.recv_timeout(PATIENCE) else {
                let _ = child.kill();
                panic!("the broker did not start: {}", log.join().unwrap_or_default());
            };
            let mut words = line.split_whitespace();
            if let (Some(name), Some(port)) =
                (words.next(), words.next().and_then(|word| word.rsplit(':').next()?.parse().ok()))
            {
                ports.insert(name.to_owned(), port);
            }
        }
        Self { child, ports }
    }

    pub fn port(&self, listener: &str) -> u16 {
        self.ports[listener]
    }

    pub fn hang_up(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("a signal");
    }

    fn connect(&self, listener: &str) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port(listener))).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    /// Status and body.
    pub fn http(&self, method: &str, path: &str, login: Option<&str>, body: &str) -> (u16, String) {
        let mut stream = self.connect("http");
        let login = login.map(|login| format!("authorization: Basic {}\r\n", base64(login))).unwrap_or_default();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{login}connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut reader = BufReader::new(stream);
        let mut status = String::new();
        reader.read_line(&mut status).expect("a status");
        let code = status.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let mut rest = String::new();
        // A stream of events does not end.
        if code != 200 || ["/call", "/publish", "/metrics"].iter().any(|whole| path.starts_with(whole)) {
            let _ = reader.read_to_string(&mut rest);
        }
        (code, rest.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    }

    /// A metric with its labels as they are written.
    pub fn metric(&self, name: &str, login: &str) -> f64 {
        let (_, text) = self.http("GET", "/metrics", Some(login), "");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
    }

    pub fn mqtt(&self, level: u8, client_id: &str, login: Option<(&str, &str)>) -> Mqtt {
        let mut body = [&text("MQTT")[..], &[level, if login.is_some() { 0xC2 } else { 2 }, 0, 0]].concat();
        body.extend(no_properties(level));
        body.extend(text(client_id));
        if let Some((user, password)) = login {
            body.extend(text(user));
            body.extend(text(password));
        }
        let mut client = Mqtt { stream: self.connect("mqtt"), level };
        client.send(0x10, &body);
        client
    }

    /// A client of MQTT 5 that has sent a CONNECT with a will.
    pub fn mqtt_with_will(&self, client_id: &str, topic: &str) -> Mqtt {
        let head = [&text("MQTT")[..], &[5, 6, 0, 0, 0]].concat();
        let body = [head, text(client_id), vec![0], text(topic), text("gone")].concat();
        let mut client = Mqtt { stream: self.connect("mqtt"), level: 5 };
        client.send(0x10, &body);
        client
    }

    /// An MQTT client that was let in.
    pub fn mqtt_joined(&self, level: u8, client_id: &str, login: Option<(&str, &str)>) -> Mqtt {
        let mut client = self.mqtt(level, client_id, login);
        let connack = client.receive().expect("CONNACK");
        assert_eq!((connack.0, connack.1[1]), (0x20, 0), "{connack:?}");
        client
    }

    /// A WAMP session over RawSocket, by ticket.
    pub fn wamp(&self, login: Option<(&str, &str)>) -> Wamp {
        let mut stream = self.connect("rawsocket");
        stream.write_all(&[0x7F, 0xF1, 0, 0]).expect("it reads");
        stream.read_exact(&mut [0; 4]).expect("a handshake");
        let mut client = Wamp { stream };
        let roles = r#""roles":{"caller":{},"callee":{},"publisher":{},"subscriber":{}}"#;
        match login {
            None => client.send(&format!(r#"[1,"realm1",{{{roles}}}]"#)),
            Some((user, password)) => {
                client.send(&format!(r#"[1,"realm1",{{"authmethods":["ticket"],"authid":"{user}",{roles}}}]"#));
                client.receive();
                client.send(&format!(r#"[5,"{password}",{{}}]"#));
            }
        }
        let welcome = client.receive().unwrap_or_default();
        assert!(welcome.starts_with("[2,"), "{welcome}");
        client
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

fn no_properties(level: u8) -> Option<u8> {
    (level == 5).then_some(0)
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

pub struct Mqtt {
    stream: TcpStream,
    level: u8,
}

impl Mqtt {
    fn send(&mut self, first: u8, body: &[u8]) {
        assert!(body.len() < 128, "one byte of length");
        let packet = [&[first, body.len() as u8][..], body].concat();
        self.stream.write_all(&packet).expect("it reads");
    }

    /// The first byte of the next packet, and what is behind its length; `None`: the connection was closed.
    pub fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).ok()?;
        let mut length = usize::from(head[1]);
        if length >= 128 {
            let mut more = [0];
            self.stream.read_exact(&mut more).ok()?;
            length = (length & 127) + 128 * usize::from(more[0]);
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).ok()?;
        Some((head[0], body))
    }

    /// Publishes with QoS 1; the reason of PUBACK, 0 if it has none.
    pub fn publish(&mut self, topic: &str, retain: bool) -> u8 {
        self.publish_with(topic, retain, &[])
    }

    /// The same, with properties of MQTT 5.
    pub fn publish_with(&mut self, topic: &str, retain: bool, properties: &[u8]) -> u8 {
        let mut body = [&text(topic)[..], &[0, 7]].concat();
        if self.level == 5 {
            body.push(properties.len() as u8);
            body.extend(properties);
        }
        body.extend(b"x");
        self.send(0x32 | u8::from(retain), &body);
        loop {
            match self.receive().expect("PUBACK") {
                (0x40, body) => return body.get(2).copied().unwrap_or(0),
                // An answer to a call may come before.
                (first, _) => assert_eq!(first >> 4, 3),
            }
        }
    }

    /// Subscribes with QoS 0; the reason of SUBACK.
    pub fn subscribe(&mut self, filter: &str) -> u8 {
        let mut body = vec![0, 8];
        body.extend(no_properties(self.level));
        body.extend(text(filter));
        body.push(0);
        self.send(0x82, &body);
        let (first, body) = self.receive().expect("SUBACK");
        assert_eq!(first, 0x90);
        *body.last().expect("a reason")
    }

    /// Nothing more comes before the answer to a ping: the topics of what came.
    pub fn topics_until_pong(&mut self) -> Vec<String> {
        self.send(0xC0, &[]);
        let mut topics = Vec::new();
        loop {
            match self.receive().expect("PINGRESP") {
                (0xD0, _) => return topics,
                (_, body) => {
                    let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
                    topics.push(String::from_utf8(body[2..2 + length].to_vec()).expect("UTF-8"));
                }
            }
        }
    }

    /// The reason of the DISCONNECT that is the last thing that comes; `None`: the connection was closed without.
    pub fn disconnected(&mut self) -> Option<u8> {
        let mut last = None;
        while let Some((first, body)) = self.receive() {
            last = (first == 0xE0).then(|| body.first().copied().unwrap_or(0));
        }
        last
    }
}

pub struct Wamp {
    stream: TcpStream,
}

impl Wamp {
    pub fn send(&mut self, json: &str) {
        let length = (json.len() as u32).to_be_bytes();
        self.stream.write_all(&[&length[..], json.as_bytes()].concat()).expect("it reads");
    }

    /// The next message; `None`: the connection was closed.
    pub fn receive(&mut self) -> Option<String> {
        loop {
            let mut head = [0; 4];
            self.stream.read_exact(&mut head).ok()?;
            let mut body = vec![0; u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize];
            self.stream.read_exact(&mut body).ok()?;
            // Pings are not answered: no test takes so long.
            if head[0] == 0 {
                return Some(String::from_utf8(body).expect("JSON"));
            }
        }
    }

    /// Sends, and tells what comes back: `ok`, or the URI of the error.
    pub fn ask(&mut self, json: &str) -> String {
        self.send(json);
        let answer = self.receive().expect("an answer");
        match answer.starts_with("[8,") {
            true => answer.split('"').nth(1).unwrap_or_default().to_owned(),
            false => "ok".to_owned(),
        }
    }

    /// The reason of the GOODBYE that comes.
    pub fn goodbye(&mut self) -> Option<String> {
        let last = self.receive()?;
        last.starts_with("[6,").then(|| last.trim_end_matches("\"]").rsplit('"').next().unwrap_or_default().to_owned())
    }
}

/// A folder with these files.
pub fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("a file");
    }
    let path = folder.path().to_owned();
    (folder, path)
}
