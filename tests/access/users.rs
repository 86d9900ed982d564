//! The file of users changes while the broker runs.

use std::path::Path;
use std::time::Instant;

use super::broker::{Broker, Mqtt, PATIENCE, folder, run};

const CONFIG: &str = r##"
users_file = "users.toml"

[[role]]
name = "device"
[[role.permissions]]
action = ["publish", "subscribe"]
topic = "home/%u/#"

[[role]]
name = "admin"
[[role.permissions]]
action = "call"
uri = "fennec.admin.user."
match = "prefix"
[[role.permissions]]
action = "call"
uri = "fennec.admin.role."
match = "prefix"
"##;

fn user(folder: &Path, arguments: &[&str], password: &str) -> (Option<i32>, String) {
    let config = folder.join("fennec.toml");
    let all = [&["user"], arguments, &["--config", config.to_str().expect("a path")]].concat();
    let output = run(&all, password);
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).expect("text"))
}

fn add(folder: &Path, name: &str, role: &str, password: &str) {
    let added = user(folder, &["add", name, "--role", role, "--iterations", "1"], password);
    assert_eq!(added, (Some(0), String::new()));
}

/// Tries until somebody is let in, for the broker looks at its file a few times a second.
fn come_in(broker: &Broker, name: &str, password: &str) -> Mqtt {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut client = broker.mqtt(5, name, Some((name, password)));
        match client.receive() {
            Some((0x20, body)) if body[1] == 0 => return client,
            _ => assert!(Instant::now() < deadline, "{name} is not let in"),
        }
        std::thread::yield_now();
    }
}

fn is_let_in(broker: &Broker, name: &str, password: &str) -> bool {
    broker.mqtt(5, name, Some((name, password))).receive().is_some_and(|(_, body)| body[1] == 0)
}

/// Replaces the file of users, as editors do that are careful: whoever reads it sees the one or the other.
fn put(folder: &Path, users: &str) {
    std::fs::write(folder.join("new"), users).expect("the file");
    std::fs::rename(folder.join("new"), folder.join("users.toml")).expect("the file");
}

#[test]
fn users_come_and_go_while_the_broker_runs() {
    let (_kept, path) = folder(&[("fennec.toml", CONFIG), ("users.toml", "# ours\n")]);
    add(&path, "ann", "device", "one\n");
    let broker = Broker::start(&path);
    let mut ann = come_in(&broker, "ann", "one");
    assert_eq!([ann.publish("home/ann/x", false), ann.publish("home/bob/x", false)], [0x10, 0x87]);
    // One more, which disturbs nobody.
    add(&path, "bob", "device", "two");
    let mut bob = come_in(&broker, "bob", "two");
    assert_eq!(ann.subscribe("home/ann/+"), 0);
    assert_eq!(
        user(&path, &["list"], "").1,
        "ann\tdevice\t*\tpassword,wampcra,scram\nbob\tdevice\t*\tpassword,wampcra,scram\n"
    );
    // Another password: who came in with the old one goes.
    assert_eq!(user(&path, &["passwd", "ann", "--iterations", "1"], "new").0, Some(0));
    assert_eq!(ann.disconnected(), Some(0x87));
    let mut ann = come_in(&broker, "ann", "new");
    assert!(!is_let_in(&broker, "ann", "one"));
    assert_eq!(user(&path, &["remove", "ann"], ""), (Some(0), String::new()));
    assert_eq!(ann.disconnected(), Some(0x87));
    assert!(!is_let_in(&broker, "ann", "new"));
    assert_eq!(bob.publish("home/bob/x", false), 0x10, "nothing has happened to the others");
    let written = std::fs::read_to_string(path.join("users.toml")).expect("the file");
    assert!(written.contains("# ours") && !written.contains("two"), "{written}");
}

#[test]
fn what_the_broker_would_refuse_is_not_written_and_what_it_cannot_use_changes_nothing() {
    let (_kept, path) = folder(&[("fennec.toml", CONFIG), ("users.toml", "")]);
    add(&path, "ann", "device", "one");
    let broker = Broker::start(&path);
    let before = std::fs::read_to_string(path.join("users.toml")).expect("the file");
    for (arguments, password, says) in [
        (&["add", "ann", "--role", "device"][..], "x", "is there already"),
        (&["add", "bob", "--role", "devise"], "x", "did you mean \"device\"?"),
        (&["add", "bob"], "x", "role is missing"),
        (&["add", "bob", "--role", "device", "--realm", "nowhere"], "x", "unknown realm"),
        (&["add", "bob", "--role", "device"], "", "the password is empty"),
        (&["add", "b\nob", "--role", "device"], "x", "is no user name"),
        (&["passwd", "nobody"], "x", "there is no user \"nobody\""),
        (&["remove", "nobody"], "", "there is no user \"nobody\""),
    ] {
        let (code, said) = user(&path, arguments, password);
        assert!(code == Some(2) && said.contains(says), "{arguments:?}: {said}");
    }
    assert_eq!(std::fs::read_to_string(path.join("users.toml")).expect("the file"), before);
    let mut ann = come_in(&broker, "ann", "one");
    let becomes = |metric: &str, expected: f64| {
        let deadline = Instant::now() + PATIENCE;
        while broker.metric(metric, "ann:one") != expected {
            assert!(Instant::now() < deadline, "{metric} does not become {expected}");
            std::thread::yield_now();
        }
    };
    let (stale, failed) =
        ("fennec_reload_stale{what=\"users\"}", "fennec_reloads_total{what=\"users\",result=\"failed\"}");
    becomes(stale, 0.0);
    put(&path, "[[user]]\nname = 3\n");
    becomes(stale, 1.0);
    broker.mqtt_joined(5, "hers", Some(("ann", "one")));
    broker.hang_up();
    becomes(failed, 2.0);
    put(&path, &before);
    add(&path, "bob", "device", "two");
    come_in(&broker, "bob", "two");
    becomes(stale, 0.0);
    assert_eq!(broker.metric(failed, "ann:one"), 2.0, "it was tried once, and when it was asked for");
    assert_eq!(ann.publish("home/ann/x", false), 0x10, "she is connected all the while");
}

#[test]
fn who_changes_the_role_ends_those_who_have_it_and_sighup_reads_the_configuration_too() {
    let (_kept, path) = folder(&[("fennec.toml", CONFIG), ("users.toml", "")]);
    add(&path, "ann", "device", "one");
    add(&path, "root", "admin", "two");
    let broker = Broker::start(&path);
    let mut ann = come_in(&broker, "ann", "one");
    let mut wamp = broker.wamp(Some(("ann", "one")));
    let mut root = broker.wamp(Some(("root", "two")));
    std::fs::write(path.join("fennec.toml"), CONFIG.replace("home/%u/#", "house/%u/#")).expect("the file");
    broker.hang_up();
    assert_eq!(ann.disconnected(), Some(0x87));
    assert_eq!(wamp.goodbye().as_deref(), Some("wamp.error.not_authorized"));
    let mut ann = come_in(&broker, "ann", "one");
    assert_eq!([ann.publish("home/ann/x", false), ann.publish("house/ann/x", false)], [0x87, 0x10]);
    assert_eq!(root.ask(r#"[48,1,{},"fennec.admin.user.list"]"#), "ok", "another role has not changed");
}

#[test]
fn procedures_do_what_the_command_does() {
    let (_kept, path) = folder(&[("fennec.toml", CONFIG), ("users.toml", "")]);
    add(&path, "root", "admin", "two");
    let broker = Broker::start(&path);
    let mut root = broker.wamp(Some(("root", "two")));
    let call = |number: u32, what: &str, args: &str| format!(r#"[48,{number},{{}},"fennec.admin.user.{what}",{args}]"#);
    assert_eq!(root.ask(&call(1, "add", r#"["ann"],{"role":"device","password":"one"}"#)), "ok");
    assert!(is_let_in(&broker, "ann", "one"), "it holds as soon as it is answered");
    assert_eq!(root.ask(&call(2, "add", r#"["ann"],{"role":"device","password":"one"}"#)), "fennec.error.user_exists");
    assert_eq!(
        root.ask(&call(3, "add", r#"["x"],{"role":"nothing","password":"one"}"#)),
        "wamp.error.invalid_argument"
    );
    assert_eq!(root.ask(&call(4, "passwd", r#"["ann"],{"password":"two"}"#)), "ok");
    assert!(!is_let_in(&broker, "ann", "one") && is_let_in(&broker, "ann", "two"));
    root.send(&call(5, "list", "[]"));
    let listed = root.receive().expect("an answer");
    assert!(listed.contains(r#""name":"ann""#) && !listed.contains("argon2"), "{listed}");
    assert_eq!(root.ask(&call(6, "remove", r#"["ann"]"#)), "ok");
    assert_eq!(root.ask(&call(7, "remove", r#"["ann"]"#)), "fennec.error.no_such_user");
    assert!(!is_let_in(&broker, "ann", "two"));
}

#[test]
fn roles_and_permissions_change_by_command_and_from_afar_while_the_broker_runs() {
    let (_kept, path) = folder(&[("fennec.toml", CONFIG), ("users.toml", "")]);
    let config = path.join("fennec.toml");
    let role = |arguments: &[&str]| {
        let all = [&["role"], arguments, &["--config", config.to_str().expect("a path")]].concat();
        let output = run(&all, "");
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).expect("text"))
    };
    let done = (Some(0), String::new());
    assert_eq!(role(&["add", "sensor"]), done);
    assert_eq!(role(&["add", "sensor"]).0, Some(2));
    assert_eq!(role(&["allow", "nobody", "publish", "a"]).0, Some(2));
    assert_eq!(role(&["allow", "sensor", "publish", "a/#/b"]).0, Some(2), "the broker would refuse that");
    assert_eq!(role(&["allow", "sensor", "publish,subscribe", "a/#"]), done);
    add(&path, "root", "admin", "two");
    add(&path, "s1", "sensor", "one");
    let broker = Broker::start(&path);
    let mut s1 = come_in(&broker, "s1", "one");
    assert_eq!([s1.publish("a/x", false), s1.publish("b/x", false)], [0x10, 0x87]);
    let mut root = broker.wamp(Some(("root", "two")));
    let call = |number: u32, what: &str, args: &str| format!(r#"[48,{number},{{}},"fennec.admin.{what}",{args}]"#);
    assert_eq!(root.ask(&call(1, "role.allow", r#"["sensor"],{"action":"publish","topic":"b/#"}"#)), "ok");
    let mut s1 = come_in(&broker, "s1", "one");
    assert_eq!([s1.publish("a/x", false), s1.publish("b/x", false)], [0x10, 0x10], "it holds when it is answered");
    assert_eq!(root.ask(&call(2, "role.deny", r#"["sensor"],{"action":["publish"],"topic":"a/#"}"#)), "ok");
    let mut s1 = come_in(&broker, "s1", "one");
    assert_eq!([s1.publish("a/x", false), s1.subscribe("a/x")], [0x87, 0]);
    let nothing = call(3, "role.clear", r#"["sensor"],{"action":"register","topic":"a/#"}"#);
    assert_eq!(root.ask(&nothing), "fennec.error.no_such_permission");
    assert_eq!(root.ask(&call(4, "role.remove", r#"["sensor"]"#)), "wamp.error.invalid_argument", "s1 has it");
    assert_eq!(root.ask(&call(5, "user.role", r#"["s1"],{"role":"device"}"#)), "ok");
    let mut s1 = come_in(&broker, "s1", "one");
    assert_eq!([s1.publish("home/s1/x", false), s1.publish("b/x", false)], [0x10, 0x87]);
    assert_eq!(root.ask(&call(6, "role.remove", r#"["sensor"]"#)), "ok");
    assert_eq!(
        root.ask(&call(7, "role.allow", r#"["sensor"],{"action":"call","uri":"a"}"#)),
        "fennec.error.no_such_role"
    );
    let listed = role(&["list"]).1;
    assert!(listed.contains("device\tallow\tpublish,subscribe\thome/%u/#\n") && !listed.contains("sensor"), "{listed}");
}
