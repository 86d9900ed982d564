//! A Mosquitto's files, imported, and its clients against the broker that runs with them.

use std::path::Path;
use std::process::Command;

use super::broker::{Broker, folder, run};

/// Made by mosquitto_passwd 2.0.11: `secret`, and `pw` with -H sha512.
const PASSWORDS: &str = "ann:$7$101$MzS8f25UO03AKwnU$/KjY1ZMDo655DWYf0+n4jT9JdICEAHN4GHbHS+MPT1+kKGquMu9Z5N5uZzj/NBsIMKeBFy3jSn/GJWyR5upsGQ==
old:$6$ZRkmxO6BwPUvGuYb$DIRWASWEv7snvMj6BO0lD3AHs8x2bBQXAj/AUwvkZ4D094irpYNN70oedCqXozDrOnwEBD/Zw84Mil+k13/LVg==
broken:plain
";

const ACL: &str = "topic read news/#

user ann
topic readwrite a/#
topic deny a/secret/#
topic a/secret/mine
user ghost
topic #

pattern write dev/%c/up
pattern read home/%u/#
";

const CONF: &str = "# a comment
listener 1883
allow_anonymous true
password_file passwords
acl_file acl
max_inflight_messages 50
persistent_client_expiration 2w
psk_file keys
";

fn import(folder: &Path) -> (Option<i32>, String) {
    let (conf, out) = (folder.join("mosquitto.conf"), folder.join("fennec.toml"));
    let text = |path: &Path| path.to_str().expect("a path").to_owned();
    let output = run(&["import", "mosquitto", &text(&conf), "--out", &text(&out)], "");
    (output.status.code(), String::from_utf8(output.stderr).expect("text"))
}

#[test]
fn users_and_permissions_of_mosquitto_hold() {
    let (_kept, path) = folder(&[("mosquitto.conf", CONF), ("passwords", PASSWORDS), ("acl", ACL)]);
    let (code, said) = import(&path);
    assert_eq!(code, Some(0), "{said}");
    for named in [
        "mosquitto.conf:8: psk_file: ",
        "passwords:3: the hash of \"broken\"",
        "acl:6: a/secret/mine: is left out",
        "acl:4: a/#: cannot be subscribed to as a whole: ",
        "\"ghost\" has no password",
    ] {
        assert!(said.contains(named), "{named} is not in {said}");
    }
    assert!(!said.contains("plain;") && !said.contains("$7$"), "{said}");
    let checked = run(&["check-config", path.join("fennec.toml").to_str().expect("a path")], "");
    assert!(checked.status.success(), "{checked:?}");
    let broker = Broker::start(&path);
    let mut ann = broker.mqtt_joined(5, "d1", Some(("ann", "secret")));
    let published =
        ["a/x", "a/secret/mine", "dev/d1/up", "dev/d2/up", "home/ann/x"].map(|topic| ann.publish(topic, false));
    assert_eq!(published, [0x10, 0x87, 0x10, 0x87, 0x87]);
    assert_eq!(["a/x", "home/ann/#", "home/old/#", "news/x"].map(|filter| ann.subscribe(filter)), [0, 0, 0x87, 0x87]);
    let mut old = broker.mqtt_joined(5, "d2", Some(("old", "pw")));
    assert_eq!([old.publish("dev/d2/up", false), old.publish("a/x", false)], [0x10, 0x87]);
    let mut nobody = broker.mqtt_joined(5, "d3", None);
    assert_eq!(["news/x", "a/x"].map(|filter| nobody.subscribe(filter)), [0, 0x87]);
    assert_eq!([nobody.publish("dev/d3/up", false), nobody.publish("news/x", false)], [0x10, 0x87]);
    for (name, password) in [("ann", "pw"), ("old", "secret"), ("broken", "plain"), ("ghost", "")] {
        let connack = broker.mqtt(5, "x", Some((name, password))).receive();
        assert!(connack.is_none_or(|(_, body)| body[1] != 0), "{name}");
    }
}

#[test]
fn nothing_is_written_over_and_nothing_is_left_open_because_a_file_is_missing() {
    let (_kept, path) = folder(&[("mosquitto.conf", CONF), ("passwords", PASSWORDS)]);
    let (code, said) = import(&path);
    assert!(code == Some(2) && said.contains("acl: cannot be read"), "{said}");
    assert!(!path.join("fennec.toml").exists());
    std::fs::write(path.join("acl"), ACL).expect("the file");
    std::fs::write(path.join("fennec.toml"), "# mine").expect("the file");
    let (code, said) = import(&path);
    assert!(code == Some(1) && said.contains("cannot be written"), "{said}");
    assert_eq!(std::fs::read_to_string(path.join("fennec.toml")).expect("the file"), "# mine");
}

/// What Mosquitto's own tools say, run against a broker as somebody.
struct Tools {
    port: String,
    login: Vec<&'static str>,
}

impl Tools {
    /// Whether it ended well, and all that it said.
    fn run(&self, program: &str, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new(program);
        command.args(["-V", "5", "-h", "127.0.0.1", "-p", &self.port, "-q", "1"]).args(&self.login).args(arguments);
        let output = command.output().expect("the tool");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    }

    fn publish(&self, topic: &str) -> (bool, String) {
        self.run("mosquitto_pub", &["-t", topic, "-m", "x", "-r"])
    }

    /// One value that is retained, or the refusal.
    fn subscribe(&self, filter: &str) -> (bool, String) {
        self.run("mosquitto_sub", &["-t", filter, "-C", "1", "-W", "60"])
    }
}

/// Where Mosquitto's own tools are installed, their hashes and their clients count, too.
#[test]
fn mosquittos_own_tools_agree() {
    let (_kept, path) = folder(&[
        ("mosquitto.conf", "listener 1883\nallow_anonymous true\npassword_file passwords\nacl_file acl\n"),
        (
            "acl",
            "topic read news\n\nuser eve\ntopic write e/#\ntopic write news\n\npattern readwrite home/%u/#\npattern readwrite dev/%c\n",
        ),
    ]);
    let made = |options: &[&str], name: &str, password: &str| {
        Command::new("mosquitto_passwd").args(options).arg(path.join("passwords")).args([name, password]).output()
    };
    if made(&["-c", "-b"], "eve", "se:cret").is_err() || Command::new("mosquitto_pub").arg("--help").output().is_err() {
        eprintln!("mosquitto's tools are not installed");
        return;
    }
    made(&["-b"], "bob", "pässword").expect("another user");
    let (code, said) = import(&path);
    assert_eq!(code, Some(0), "{said}");
    let broker = Broker::start(&path);
    let port = broker.port("mqtt").to_string();
    let tools = |login: &[&'static str]| Tools { port: port.clone(), login: login.to_vec() };
    let eve = tools(&["-u", "eve", "-P", "se:cret", "-i", "d1"]);
    let bob = tools(&["-u", "bob", "-P", "pässword", "-i", "d2"]);
    for topic in ["e/x", "news", "home/eve/x", "dev/d1"] {
        assert_eq!(eve.publish(topic), (true, String::new()), "{topic}");
    }
    for (who, topic) in [(&eve, "f/x"), (&eve, "home/bob/x"), (&eve, "dev/d2"), (&bob, "e/x"), (&bob, "news")] {
        let (_, said) = who.publish(topic);
        assert!(said.contains("Not authorized"), "{topic}: {said}");
    }
    for filter in ["home/eve/#", "dev/d1"] {
        assert_eq!(eve.subscribe(filter), (true, "x\n".to_owned()), "{filter}");
    }
    assert_eq!(tools(&[]).subscribe("news"), (true, "x\n".to_owned()));
    for (who, filter) in [(&eve, "e/#"), (&eve, "home/bob/#"), (&bob, "home/#"), (&bob, "dev/d1"), (&tools(&[]), "#")] {
        let (_, said) = who.subscribe(filter);
        assert!(said.contains("denied"), "{filter}: {said}");
    }
    for login in [["-u", "eve", "-P", "pässword"], ["-u", "nobody", "-P", "se:cret"], ["-u", "bob", "-P", ""]] {
        assert!(!tools(&login).publish("home/eve/x").0, "{login:?}");
    }
}
