//! A page in headless Chromium, by autobahn-browser and MQTT.js.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use super::broker::Broker;
use super::{clients, script};

const PAGE: &str = include_str!("page.html");

/// How long Chromium may take to start, load the page and run it.
const DEADLINE: Duration = Duration::from_secs(90);

/// Serves the page and its libraries to a browser, until the page says how it went.
struct PageServer {
    listener: TcpListener,
    autobahn: Vec<u8>,
    mqtt: Vec<u8>,
}

impl PageServer {
    fn new() -> Self {
        let library = |path| std::fs::read(clients::node_modules().join(path)).expect("a library that is fetched");
        PageServer {
            listener: TcpListener::bind("127.0.0.1:0").expect("a free port"),
            autobahn: library("autobahn-browser/autobahn.min.js"),
            mqtt: library("mqtt/dist/mqtt.min.js"),
        }
    }

    fn origin(&self) -> String {
        format!("http://{}", self.listener.local_addr().expect("its address"))
    }

    /// Answers requests in the background. A browser also opens connections that it may need later, so each has a thread
    /// of its own.
    fn serve(self, results: Sender<String>) {
        let server = Arc::new(self);
        std::thread::spawn(move || {
            for stream in server.listener.incoming().map_while(Result::ok) {
                let (server, results) = (Arc::clone(&server), results.clone());
                std::thread::spawn(move || {
                    if let Ok(Some(result)) = server.answer(stream) {
                        // Only the first result is waited for.
                        let _ = results.send(result);
                    }
                });
            }
        });
    }

    /// Answers one request; what was posted is the result.
    fn answer(&self, stream: TcpStream) -> std::io::Result<Option<String>> {
        let mut reader = BufReader::new(&stream);
        let (request, length) = read_head(&mut reader)?;
        let mut posted = vec![0; length];
        reader.read_exact(&mut posted)?;
        let (kind, body): (&str, &[u8]) = match request.split(' ').nth(1) {
            Some("/autobahn.js") => ("text/javascript", &self.autobahn),
            Some("/mqtt.js") => ("text/javascript", &self.mqtt),
            Some(path) if path.starts_with("/?") => ("text/html", PAGE.as_bytes()),
            _ => ("text/plain", b""),
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        (&stream).write_all(head.as_bytes())?;
        (&stream).write_all(body)?;
        Ok(request.starts_with("POST").then(|| String::from_utf8_lossy(&posted).into_owned()))
    }
}

/// The first line of a request and the length of its body.
fn read_head(reader: &mut impl BufRead) -> std::io::Result<(String, usize)> {
    let (mut request, mut length) = (String::new(), 0);
    reader.read_line(&mut request)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            return Ok((request, length));
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
}

/// Headless Chromium with a profile of its own; killed, with its helpers, when dropped.
struct Chromium {
    child: Child,
    _profile: tempfile::TempDir,
}

impl Chromium {
    fn open(url: &str) -> Self {
        let profile = tempfile::tempdir().expect("a temporary folder");
        let child = Command::new("chromium")
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            // Kept open by the debugging port; without it the page would be left as soon as it is loaded.
            .args(["--remote-debugging-port=0", "--disable-background-networking", "--disable-component-update"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("chromium is started");
        Chromium { child, _profile: profile }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        script::kill_group(&self.child);
        // Killed or ended by itself, it is gone.
        let _ = self.child.wait();
    }
}

/// What the page that `server` serves says of its visit to the broker.
fn visit(broker: &Broker, server: PageServer) -> String {
    let url = format!("{}/?broker={}", server.origin(), broker.port("http"));
    let (sender, results) = mpsc::channel();
    server.serve(sender);
    let _chromium = Chromium::open(&url);
    let said = results.recv_timeout(DEADLINE);
    said.unwrap_or_else(|_| panic!("the page said nothing in {DEADLINE:?}; the broker said:\n{}", broker.log()))
}

#[test]
fn a_page_speaks_wamp_and_mqtt() {
    if clients::is_installed("chromium") {
        let server = PageServer::new();
        let broker = Broker::start_with(&format!("http.allowed_origins = [\"{}\"]\n", server.origin()));
        assert_eq!(visit(&broker, server), "42, a message, an event");
    }
}

#[test]
fn a_page_of_a_foreign_origin_is_refused() {
    if clients::is_installed("chromium") {
        let broker = Broker::start();
        assert_eq!(visit(&broker, PageServer::new()), "closed: unreachable");
        // Refused, not just out of reach.
        script::node(&broker, "autobahnjs.js", &["--transport", "ws", "--serializer", "json", "--only", "joins"]);
    }
}
