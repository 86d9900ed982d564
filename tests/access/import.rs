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

/// Where Mosquitto's own tools are installed, their hashes and their client count, too.
#[test]
fn mosquittos_own_tools_agree() {
    let (_kept, path) = folder(&[
        ("mosquitto.conf", "listener 1883\npassword_file passwords\nacl_file acl\n"),
        ("acl", "user eve\ntopic write e/#\n"),
    ]);
    let passwords = path.join("passwords");
    let made = Command::new("mosquitto_passwd").args(["-c", "-b"]).arg(&passwords).args(["eve", "se:cret"]).output();
    if made.is_err() || Command::new("mosquitto_pub").arg("--help").output().is_err() {
        eprintln!("mosquitto's tools are not installed");
        return;
    }
    let (code, said) = import(&path);
    assert_eq!(code, Some(0), "{said}");
    let broker = Broker::start(&path);
    let port = broker.port("mqtt").to_string();
    let publish = |password: &str, topic: &str| {
        let login = ["-V", "5", "-h", "127.0.0.1", "-p", &port, "-u", "eve", "-P", password];
        let output = Command::new("mosquitto_pub").args(login).args(["-q", "1", "-t", topic, "-m", "x"]).output();
        let output = output.expect("mosquitto_pub");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(publish("se:cret", "e/x"), (true, String::new()));
    assert!(!publish("wrong", "e/x").0);
    let (_, said) = publish("se:cret", "f/x");
    assert!(said.contains("Not authorized"), "{said}");
}
