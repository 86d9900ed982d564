//! A web server and a procedure are asked what sessions may do.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::broker::{Broker, folder};

/// A web server that allows what begins with `yes`, never answers about `slow`, and keeps what it was asked. It lives as long as
/// the test's process.
fn web_server() -> (u16, Arc<Mutex<Vec<serde_json::Value>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let asked = Arc::<Mutex<Vec<_>>>::default();
    let kept = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let asked = kept.clone();
            std::thread::spawn(move || while answer(&stream, &asked).is_some() {});
        }
    });
    (port, asked)
}

fn answer(mut stream: &TcpStream, asked: &Mutex<Vec<serde_json::Value>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let (mut length, mut token) = (0, false);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let line = line.trim().to_lowercase();
        token |= line == "authorization: bearer sesame";
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let question: serde_json::Value = serde_json::from_slice(&body).ok()?;
    let uri = question["uri"].as_str()?.to_owned();
    asked.lock().ok()?.push(question);
    if uri.starts_with("slow") {
        return Some(());
    }
    let (status, body) = match (token, uri.split('.').next()) {
        (true, Some("yes")) => ("200 OK", r#"{"allow":true,"cache":true}"#),
        (true, Some("broken")) => ("500 Oh", r#"{"allow":true}"#),
        (true, Some("odd")) => ("200 OK", "yes"),
        _ => ("403 No", ""),
    };
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).ok()
}

#[test]
fn a_web_server_decides_for_every_protocol_and_whatever_goes_wrong_is_a_no() {
    let (port, asked) = web_server();
    let config = format!(
        "anonymous = true\n[authorize_hook]\nurl = \"http://127.0.0.1:{port}/ask\"\ntoken = \"sesame\"\n\
         [[role]]\nname = \"anonymous\"\nauthorizer = \"hook\"\nauthorizer_timeout_ms = 5000\n"
    );
    let (_kept, path) = folder(&[("fennec.toml", &config)]);
    let broker = Broker::start(&path);
    let mut mqtt = broker.mqtt_joined(5, "d1", None);
    let published = ["yes/a", "no/a", "broken/a", "odd/a", "slow/a", "yes/a"].map(|topic| mqtt.publish(topic, false));
    assert_eq!(published, [0x10, 0x87, 0x87, 0x87, 0x87, 0x10]);
    assert_eq!([mqtt.subscribe("yes/#"), mqtt.subscribe("no/#")], [0, 0x87]);
    let questions = std::mem::take(&mut *asked.lock().expect("what was asked"));
    assert_eq!(questions.len(), 7, "one answer was remembered: {questions:?}");
    let first = &questions[0];
    assert_eq!(
        (&first["action"], &first["topic"], &first["match"]),
        (&"publish".into(), &"yes/a".into(), &"exact".into())
    );
    assert_eq!((&first["session"]["client_id"], &first["session"]["realm"]), (&"d1".into(), &"realm1".into()));
    let mut wamp = broker.wamp(None);
    assert_eq!(wamp.ask(r#"[32,1,{"match":"prefix"},"yes."]"#), "ok");
    assert_eq!(wamp.ask(r#"[64,2,{},"no.proc"]"#), "wamp.error.not_authorized");
    for (topic, status) in [("yes.a", 200), ("no.a", 403), ("slow.a", 403)] {
        let body = format!(r#"{{"topic":"{topic}","args":[1]}}"#);
        assert_eq!(broker.http("POST", "/publish", None, &body).0, status, "{topic}");
    }
    assert_eq!(broker.http("POST", "/publish", None, r#"{"topic":"yes.a"}"#).0, 200);
    let about = |topic: &str| {
        let asked = asked.lock().expect("what was asked");
        asked.iter().filter(|question| question["action"] == "publish" && question["uri"] == topic).count()
    };
    assert_eq!([about("yes.a"), about("no.a")], [1, 1], "an answer is remembered for other requests of the same user");
    assert_eq!(broker.http("GET", "/subscribe?topic=yes.a", None, "").0, 200);
    assert_eq!(broker.http("GET", "/subscribe?topic=yes.a&topic=no.a", None, "").0, 403);
}

#[test]
fn a_procedure_decides_once_it_is_there() {
    let config = "anonymous = true\nusers_file = \"users.toml\"\n\
         [[role]]\nname = \"boss\"\npermissions = [{ action = \"register\", uri = \"com.authorize\" }]\n\
         [[role]]\nname = \"anonymous\"\nauthorizer = \"com.authorize\"\n";
    let (_kept, path) = folder(&[("fennec.toml", config), ("users.toml", "")]);
    let config = path.join("fennec.toml");
    let arguments = ["user", "add", "boss", "--role", "boss", "--config", config.to_str().expect("a path")];
    assert!(super::broker::run(&arguments, "pw").status.success());
    let broker = Broker::start(&path);
    let mut device = broker.mqtt_joined(5, "d1", None);
    assert_eq!(device.publish("a/b", false), 0x87, "nobody is there to be asked");
    let mut boss = broker.wamp(Some(("boss", "pw")));
    assert_eq!(boss.ask(r#"[64,1,{},"com.authorize"]"#), "ok");
    let answers = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for answer in ["true", "false", r#"{"allow":true,"cache":true}"#] {
            let invocation = boss.receive().expect("an invocation");
            let number = invocation.split(',').nth(1).expect("its number").to_owned();
            boss.send(&format!("[70,{number},{{}},[{answer}]]"));
            asked.push(invocation);
        }
        asked
    });
    assert_eq!([0; 4].map(|_| device.publish("a/b", false)), [0x10, 0x87, 0x10, 0x10]);
    let asked = answers.join().expect("three questions");
    assert!(
        asked[0].contains(r#""client_id":"d1""#) && asked[0].ends_with(r#""a.b","publish",{"match":"exact"}]]"#),
        "{asked:?}"
    );
}
