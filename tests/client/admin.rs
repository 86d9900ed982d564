//! `fennec admin` against a broker whose user may run it.

use std::path::Path;
use std::process::Stdio;

use crate::broker::Broker;
use crate::{LIMIT, Running, fail, fennec, run, succeed};

/// The entry of a user, as `fennec hash-password` prints it.
fn user(name: &str, role: &str) -> String {
    let mut child = fennec(&["hash-password", "--name", name]).stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"secret").unwrap();
    let entry = succeed(&child.wait_with_output().unwrap());
    format!("{entry}role = \"{role}\"\n")
}

/// A broker with `ann`, who may run it, and `bob`, who may do everything else.
fn start(audit: &Path) -> Broker {
    let all = |name: &str, more: &str| {
        format!(
            "[[role]]\nname = \"{name}\"\n[[role.permissions]]\naction = [\"publish\", \"subscribe\", \"call\", \"register\"]\n\
             topic = \"#\"\n{more}"
        )
    };
    let admin = "[[role.permissions]]\naction = \"call\"\nuri = \"fennec.admin.\"\nmatch = \"prefix\"\n";
    let config = format!("audit_log = '{}'\nanonymous = true\n", audit.display())
        + &user("ann", "admin")
        + &user("bob", "user")
        + &all("admin", admin)
        + &all("user", "")
        + &all("anonymous", "");
    Broker::start_with(&config)
}

fn url(broker: &Broker, user: &str) -> String {
    format!("ws://{user}:secret@127.0.0.1:{}/ws", broker.port("http"))
}

fn json(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn an_operator_looks_at_a_broker_and_steers_it_and_the_audit_log_has_every_change() {
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit.log");
    let broker = start(&audit);
    let ann = url(&broker, "ann");
    let mqtt = format!("mqtt://127.0.0.1:{}", broker.port("mqtt"));
    let subscribe =
        ["sub", "app/#", "--mqtt", &mqtt, "--client-id", "lamp", "-v", "--no-reconnect", "--timeout", LIMIT];
    let mut lamp = Running::start(&subscribe);
    lamp.says("subscribed to");
    run(&["pub", "app/mode", "night", "--retain", "--mqtt", &mqtt]);

    let table = run(&["admin", "sessions", "--protocol", "mqtt", "--wamp", &ann]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("SESSION") && lines[1].contains("lamp"), "{table}");
    let one = json(&run(&["admin", "session", "lamp", "--wamp", &ann]));
    assert_eq!((&one["client_id"], &one["subscriptions"][0]), (&"lamp".into(), &"app/#".into()), "{one}");
    let id = one["session"].to_string();
    let top = run(&["admin", "sessions", "--top", "--json", "--limit", "1", "--wamp", &ann]);
    assert_eq!(top.lines().count(), 1, "{top}");
    let subscriptions = run(&["admin", "subscriptions", "--wamp", &ann]);
    assert!(subscriptions.contains("app.#"), "{subscriptions}");
    assert!(run(&["admin", "registrations", "--wamp", &ann]).starts_with("ID"));

    let retained = json(&run(&["admin", "retained", "list", "app.#", "--json", "--wamp", &ann]));
    assert_eq!((&retained["topic"], &retained["bytes"]), (&"app.mode".into(), &5.into()));
    let value = json(&run(&["admin", "retained", "get", "app.mode", "--wamp", &ann]));
    assert_eq!(value["value"], "night");
    run(&["admin", "retained", "delete", "app.mode", "--wamp", &ann]);
    assert_eq!(fail(&["admin", "retained", "get", "app.mode", "--wamp", &ann]).0, 6);

    assert_eq!(run(&["admin", "log-level", "--wamp", &ann]), "info\n");
    assert_eq!(run(&["admin", "log-level", "warn,fennec::mqtt=debug", "--wamp", &ann]), "warn,fennec::mqtt=debug\n");
    let (code, why) = fail(&["admin", "log-level", "fennec=loud", "--wamp", &ann]);
    assert!(code == 6 && why.contains("is no log filter"), "{code} {why}");
    assert_eq!(run(&["admin", "reload", "--wamp", &ann]), "users\n");
    assert!(run(&["admin", "durables", "list", "--wamp", &ann]).starts_with("NAME"));

    run(&["admin", "kick", &id, "--message", "out", "--wamp", &ann]);
    assert_ne!(lamp.end().0, 0, "it was kicked");
    assert_eq!(fail(&["admin", "kick", "17", "--wamp", &ann]).0, 6);

    let (code, _) = fail(&["admin", "sessions", "--wamp", &url(&broker, "bob")]);
    assert_eq!(code, 4, "bob may do everything but this");

    let lines: Vec<_> = std::fs::read_to_string(&audit).unwrap().lines().map(json).collect();
    let told: Vec<String> = lines
        .iter()
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap_or("?").to_owned();
            assert!((text("who"), text("role")) == ("ann".into(), "admin".into()), "{line}");
            assert!(text("from").starts_with("127.0.0.1:"), "{line}");
            let procedure = text("procedure");
            let procedure = procedure.strip_prefix("fennec.admin.").unwrap();
            format!("{procedure} {} {}", text("what"), text("outcome"))
        })
        .collect();
    let expected = [
        "retained_delete app.mode done".to_owned(),
        "log_level warn,fennec::mqtt=debug done".to_owned(),
        "log_level fennec=loud wamp.error.invalid_argument".to_owned(),
        "reload  done".to_owned(),
        format!("kick {id} done"),
        "kick 17 wamp.error.no_such_session".to_owned(),
    ];
    assert_eq!(told, expected);
}

#[test]
fn an_operator_may_ask_over_mqtt_too() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(&folder.path().join("audit.log"));
    let mqtt = format!("mqtt://ann:secret@127.0.0.1:{}", broker.port("mqtt"));
    let sessions = run(&["admin", "sessions", "--json", "--mqtt", &mqtt]);
    assert_eq!(json(sessions.lines().next().unwrap())["authid"], "ann", "{sessions}");
}
