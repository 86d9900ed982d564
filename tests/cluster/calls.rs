//! Calls over the entries of a cluster, in raw WAMP: what the callee is told, and what comes back.

use std::collections::HashMap;
use std::net::TcpStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use crate::LIMIT;
use crate::broker::{Cluster, Ports, STORAGES};

const POLL: Duration = Duration::from_millis(20);
/// A link to a process that was killed ends at once.
const SECONDS: Duration = Duration::from_secs(30);

/// A WAMP session over WebSocket, in JSON.
pub struct Wamp {
    socket: WebSocket<TcpStream>,
    pub id: u64,
    requests: u64,
}

impl Wamp {
    pub fn join(ports: Ports) -> Wamp {
        let stream = TcpStream::connect(("127.0.0.1", ports.http)).expect("the entry listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a deadline");
        let mut request = format!("ws://127.0.0.1:{}/ws", ports.http).into_client_request().expect("a request");
        request.headers_mut().insert("sec-websocket-protocol", "wamp.2.json".parse().expect("a name"));
        let (socket, _): (_, Response) = tungstenite::client::client(request, stream).expect("a WebSocket");
        let mut wamp = Wamp { socket, id: 0, requests: 0 };
        let features = json!({"features": {
            "progressive_call_results": true, "call_canceling": true, "progressive_call_invocations": true,
        }});
        wamp.say(json!([1, "realm1", {"roles": {"caller": features, "callee": features}}]));
        let welcome = wamp.hear().expect("WELCOME");
        assert_eq!(welcome[0], 2, "{welcome}");
        wamp.id = welcome[1].as_u64().expect("a session id");
        wamp
    }

    pub fn say(&mut self, message: Value) {
        // If the connection is over, the next that is heard tells.
        let _ = self.socket.send(Message::text(message.to_string()));
    }

    /// The next message; `None`: the connection is over. It must come in time.
    pub fn hear(&mut self) -> Option<Value> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).expect("JSON")),
                Ok(Message::Close(_)) => return None,
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("nothing came in time")
                }
                Err(_) => return None,
            }
        }
    }

    /// The next message, if one comes within this time.
    pub fn hear_within(&mut self, time: Duration) -> Option<Value> {
        self.socket.get_ref().set_read_timeout(Some(time)).expect("a deadline");
        let heard = loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => break Some(serde_json::from_str(&text).expect("JSON")),
                Ok(_) => {}
                Err(_) => break None,
            }
        };
        self.socket.get_ref().set_read_timeout(Some(LIMIT)).expect("a deadline");
        heard
    }

    pub fn next_request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }

    /// REGISTERED, or the URI of the error.
    pub fn register(&mut self, procedure: &str, options: Value) -> Result<u64, String> {
        let request = self.next_request();
        self.say(json!([64, request, options, procedure]));
        let answer = self.hear().expect("an answer");
        match answer[0].as_u64() {
            Some(65) => Ok(answer[2].as_u64().expect("a registration")),
            _ => Err(answer[4].as_str().expect("a URI").to_owned()),
        }
    }

    pub fn begin_call(&mut self, procedure: &str, options: Value, args: Value) -> u64 {
        let request = self.next_request();
        self.say(json!([48, request, options, procedure, args, {"key": "ü"}]));
        request
    }

    /// The next RESULT or ERROR of a call.
    pub fn answer(&mut self, request: u64) -> Value {
        let answer = self.hear().expect("an answer");
        let of = if answer[0] == 50 { &answer[1] } else { &answer[2] };
        assert_eq!(of, request, "{answer}");
        answer
    }

    fn call(&mut self, procedure: &str, options: Value) -> Value {
        let request = self.begin_call(procedure, options, json!([1, "two", [3]]));
        self.answer(request)
    }

    /// Whom a call goes to; or the URI of the error.
    fn whom(&mut self, procedure: &str) -> String {
        let answer = self.call(procedure, json!({}));
        let who = if answer[0] == 50 { &answer[3][0] } else { &answer[4] };
        who.as_str().expect("a name or a URI").to_owned()
    }

    /// Calls until the answers that came are those, for an entry hears of callees a moment later. Each is asked for as often as
    /// there are names.
    fn until(&mut self, procedure: &str, expected: &[&str]) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let mut got: Vec<String> = expected.iter().map(|_| self.whom(procedure)).collect();
            got.sort();
            if got == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{procedure}: {got:?} and not {expected:?}");
            std::thread::sleep(POLL);
        }
    }
}

/// A callee that answers until its connection ends: `…echo` with its name and what it was told, `…count` with three results
/// before the last, `…gather` with each part of the call, `…wait` when it is interrupted. The last of them is known elsewhere last.
fn callee(ports: Ports, name: &'static str, procedures: &[(&'static str, Value)]) -> JoinHandle<()> {
    let mut wamp = Wamp::join(ports);
    let registered = |(procedure, options): &(&'static str, Value)| {
        (wamp.register(procedure, options.clone()).expect("a registration"), *procedure)
    };
    let by_id: HashMap<u64, &str> = procedures.iter().map(registered).collect();
    std::thread::spawn(move || {
        // Nobody may call it for long.
        let _ = wamp.socket.get_ref().set_read_timeout(None);
        while let Some(message) = wamp.hear() {
            let id = &message[1];
            match message[0].as_u64() {
                Some(68) => match by_id[&message[2].as_u64().expect("a registration")] {
                    procedure if procedure.ends_with("echo") => {
                        wamp.say(json!([70, id, {}, [name, message[4], message[3]], message[5]]));
                    }
                    procedure if procedure.ends_with("gather") => {
                        let progress = message[3]["progress"] == true;
                        wamp.say(json!([70, id, {"progress": progress}, message[4]]));
                    }
                    procedure if procedure.ends_with("count") => {
                        (1..=3).for_each(|number| wamp.say(json!([70, id, {"progress": true}, [number]])));
                        wamp.say(json!([70, id, {}, ["end"]]));
                    }
                    _ => {}
                },
                Some(69) => wamp.say(json!([8, 68, id, {}, "app.error.interrupted", [name]])),
                _ => {}
            }
        }
    })
}

fn one_at_once() -> Value {
    json!({"invoke": "first", "concurrency": 1})
}

fn shared() -> Value {
    json!({"invoke": "roundrobin"})
}

#[test]
fn calls_cross_entries_and_end_with_an_error_when_the_callees_entry_dies() {
    let mut cluster = Cluster::start(LIMIT);
    let own = [
        ("app.count", json!({})),
        ("app.gather", json!({})),
        ("app.wait", json!({})),
        ("app.one.wait", one_at_once()),
        ("app.wait.shared", shared()),
        ("app.echo", shared()),
    ];
    let mut people = vec![callee(cluster.ports(1), "two", &own)];
    let mut callers: Vec<Wamp> = (0..3).map(|entry| Wamp::join(cluster.ports(entry))).collect();
    callers.iter_mut().for_each(|caller| caller.until("app.echo", &["two"]));
    for caller in &mut callers {
        let id = caller.id;
        let echoed = caller.call("app.echo", json!({"disclose_me": true}));
        assert_eq!((&echoed[3][1], &echoed[4]), (&json!([1, "two", [3]]), &json!({"key": "ü"})), "{echoed}");
        assert_eq!(echoed[3][2]["caller"], id, "{echoed}");
        progress(caller);
        in_parts(caller);
        canceling(caller);
    }
    only_once(&cluster);
    over_http(&cluster);

    let own_too = [("app.one.wait", one_at_once()), ("app.wait.shared", shared()), ("app.echo", shared())];
    people.push(callee(cluster.ports(2), "three", &own_too));
    callers[0].until("app.echo", &["three", "two"]);
    callers.iter_mut().for_each(busy);
    // One of them waits at the entry that is killed.
    let waiting: Vec<u64> = (0..2).map(|_| callers[0].begin_call("app.wait.shared", json!({}), json!([]))).collect();
    callers[0].until("app.echo", &["three", "two"]);
    cluster.kill("E2");
    let killed = Instant::now();
    let failed = callers[0].hear().expect("an answer");
    assert_eq!((&failed[0], &failed[4]), (&json!(8), &json!("wamp.error.canceled")), "{failed}");
    assert!(waiting.iter().any(|request| failed[2] == *request) && killed.elapsed() < SECONDS, "{failed}");
    for _ in 0..4 {
        assert_eq!(callers[0].whom("app.echo"), "three");
    }
    assert_eq!(callers[0].whom("app.count"), "wamp.error.no_such_procedure");

    // Without a quorum of the storages, too.
    STORAGES[..2].iter().for_each(|id| cluster.kill(id));
    cluster.until("it says that it is not ready", LIMIT, |cluster| cluster.get(0, "/readyz").contains(" 503 "));
    assert_eq!(callers[0].whom("app.echo"), "three");
    STORAGES[..2].iter().for_each(|id| cluster.begin_and_link(id, LIMIT));

    cluster.begin_and_link("E2", LIMIT);
    people.push(callee(cluster.ports(1), "two again", &own));
    callers[0].until("app.echo", &["three", "two again"]);
    drop(cluster);
    people.into_iter().for_each(|person| person.join().expect("a callee that does not panic"));
}

fn progress(caller: &mut Wamp) {
    let request = caller.begin_call("app.count", json!({"receive_progress": true}), json!([]));
    let answers: Vec<Value> = (0..4).map(|_| caller.answer(request)).collect();
    let told: Vec<(&Value, bool)> =
        answers.iter().map(|answer| (&answer[3][0], answer[2]["progress"] == true)).collect();
    assert_eq!(told, [(&json!(1), true), (&json!(2), true), (&json!(3), true), (&json!("end"), false)]);
}

fn in_parts(caller: &mut Wamp) {
    let request = caller.begin_call("app.gather", json!({"progress": true, "receive_progress": true}), json!([0]));
    for part in 1..=40 {
        caller.say(json!([48, request, {"progress": part < 40}, "app.gather", [part]]));
    }
    let answers: Vec<Value> = (0..=40).map(|_| caller.answer(request)[3][0].clone()).collect();
    assert_eq!(answers, (0..=40).map(Value::from).collect::<Vec<_>>());
}

fn canceling(caller: &mut Wamp) {
    for (mode, uri) in
        [("kill", "app.error.interrupted"), ("killnowait", "wamp.error.canceled"), ("skip", "wamp.error.canceled")]
    {
        let request = caller.begin_call("app.wait", json!({}), json!([]));
        caller.say(json!([49, request, {"mode": mode}]));
        assert_eq!(caller.answer(request)[4], uri, "{mode}");
    }
    let timed_out = caller.call("app.wait", json!({"timeout": 20}));
    assert_eq!(timed_out[4], "wamp.error.timeout");
}

/// The callees of two entries take one call each; the next finds both busy.
fn busy(caller: &mut Wamp) {
    caller.until("app.echo", &["three", "two"]);
    let waiting = [(); 2].map(|()| caller.begin_call("app.one.wait", json!({}), json!([])));
    assert_eq!(caller.whom("app.one.wait"), "wamp.error.no_available_callee");
    let mut interrupted = waiting.map(|request| {
        caller.say(json!([49, request, {"mode": "kill"}]));
        caller.answer(request)[5][0].as_str().expect("a name").to_owned()
    });
    interrupted.sort();
    assert_eq!(interrupted, ["three", "two"]);
}

fn only_once(cluster: &Cluster) {
    for entry in 0..3 {
        let refused = Wamp::join(cluster.ports(entry)).register("app.count", json!({}));
        assert_eq!(refused, Err("wamp.error.procedure_already_exists".to_owned()), "{entry}");
    }
}

fn over_http(cluster: &Cluster) {
    let answer = cluster.post(0, "/call", r#"{"procedure": "app.echo", "args": [7]}"#);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(r#"["two",[7]"#), "{answer}");
}
