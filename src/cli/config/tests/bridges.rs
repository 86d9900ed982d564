//! Bridges, and what is said of wrong ones.

use super::*;
use crate::mqtt::codec::Level;
use crate::types::event::Qos;

const BRIDGE: &str = "[[bridge]]\nname = 'a'\naddress = 'mqtt://h'\n";
const TOPIC: &str = "[[bridge.topic]]\npattern = '#'\n";

#[test]
fn a_bridge_needs_a_name_an_address_and_topics() {
    let more = "client_id = 'c'\nversion = '3.1.1'\nuser = 'u'\nclean_start = true\nwindow = 7\n";
    let topic = "[[bridge.topic]]\npattern = 'x/#'\ndirection = 'both'\nqos = 2\nlocal = 'l/'\nremote = 'r/'\n";
    let config = Scene::new(&format!("{BRIDGE}{more}{topic}")).load();
    let bridge = &config.bridges[0];
    assert_eq!((bridge.name.as_str(), &*bridge.realm, bridge.addresses[0].port), ("a", "realm1", 1883));
    let client = &bridge.client;
    assert_eq!((client.level, client.client_id.as_str(), client.session_expiry_s), (Level::V4, "c", 0));
    assert_eq!((client.keep_alive_s, client.limits.window_max, client.bridge_bit), (60, 7, true));
    let rule = bridge.rules.inwards().next().unwrap();
    assert_eq!((rule.remote_filter().as_str(), rule.qos), ("r/x/#", Qos::ExactlyOnce));
    check(
        "[[bridge]]\nname = 'a'\n",
        &[
            "fennec.toml:1:1: bridge[0]: address is missing",
            "fennec.toml:1:1: bridge[0]: topic is missing: nothing would cross",
        ],
    );
    check(&format!("[[bridge]]\naddress = 'mqtt://h'\n{TOPIC}"), &["fennec.toml:1:1: bridge[0]: name is missing"]);
}

#[test]
fn the_client_id_is_made_of_the_machine_and_the_name() {
    let config = Scene::new(&format!("{BRIDGE}{TOPIC}")).load();
    let client = &config.bridges[0].client;
    assert!(client.client_id.ends_with(".a") && client.client_id.len() > 2, "{}", client.client_id);
    assert_eq!((client.level, client.session_expiry_s), (Level::V5, u32::MAX));
}

#[test]
fn what_is_wrong_with_a_bridge_is_told_with_its_key() {
    for (line, problem) in [
        ("realm = 'relm1'", "bridge[0].realm: unknown realm \"relm1\"; did you mean \"realm1\"?"),
        ("keep_alive_s = 70000", "bridge[0].keep_alive_s: must be from 0 to 65535"),
        ("window = 0", "bridge[0].window: must be from 1 to 5000"),
        ("ack_timeout_s = 0", "bridge[0].ack_timeout_s: must be from 1 to 3600"),
        ("cafile = 'ca.pem'", "bridge[0].cafile: is for mqtts:// and wss:// only"),
        ("password_env = 'NO_SUCH_VARIABLE'", "bridge[0].password_env: the variable NO_SUCH_VARIABLE is not set"),
        ("client_id = 'a b'", "bridge[0].client_id: \"a b\" must have 1 to 200 characters, and no blank, /, + or #"),
    ] {
        let text = format!("{BRIDGE}{line}\n{TOPIC}");
        let problems = Scene::new(&text).problems();
        let place = format!("fennec.toml:4:{}: {problem}", line.find('=').unwrap() + 3);
        assert!(problems.contains(&place), "{problems:?} has no {place:?}");
    }
    check(
        &format!("[[bridge]]\nname = 'a'\naddress = 'mqtt://u:secret@h'\n{TOPIC}"),
        &["fennec.toml:3:11: bridge[0].address: has a user or a password in it: say them by user and password_file"],
    );
    check(
        &format!("{BRIDGE}client_id = 'c'\n{TOPIC}{BRIDGE}client_id = 'd'\n{TOPIC}"),
        &["fennec.toml:8:8: bridge[1].name: bridge \"a\" is there twice"],
    );
}

#[test]
fn a_wrong_topic_of_a_bridge_is_told_with_its_part() {
    for (lines, problem) in [
        ("pattern = 'a#'", "bridge[0].topic[0].pattern: \"a#\" has a # that is not the whole last level"),
        ("pattern = '#'\nlocal = '+/'", "bridge[0].topic[0].local: \"+/\" must be a topic name without + and #"),
        ("pattern = '#'\nqos = 3", "bridge[0].topic[0].qos: must be 0, 1 or 2"),
        ("direction = 'in'", "bridge[0].topic[0]: pattern is missing"),
        (
            "pattern = '#'\nlocal = 'fennec/'\ndirection = 'in'",
            "bridge[0].topic[0].local: \"fennec/#\" is reserved for what the broker says itself",
        ),
    ] {
        let problems = Scene::new(&format!("{BRIDGE}[[bridge.topic]]\n{lines}\n")).problems();
        assert!(problems.iter().any(|told| told.ends_with(problem)), "{problems:?} has no {problem:?}");
    }
}

#[test]
fn files_for_tls_are_looked_at_and_a_certificate_needs_its_key() {
    let tls = |lines: &str| format!("[[bridge]]\nname = 'a'\naddress = 'mqtts://h'\n{lines}\n{TOPIC}");
    let problems = Scene::new(&tls("cafile = 'nowhere.pem'")).problems();
    assert!(problems.len() == 1 && problems[0].contains("bridge[0].cafile: cannot read "), "{problems:?}");
    let problems = Scene::new(&tls("cert = 'nowhere.pem'")).problems();
    assert_eq!(problems, ["fennec.toml:1:1: bridge[0]: key is missing: cert needs it"]);
}

#[test]
fn a_password_is_the_first_line_of_its_file_and_never_shown() {
    let scene = Scene::new(&format!("{BRIDGE}user = 'u'\npassword_file = 'secret'\n{TOPIC}"));
    fs::write(scene.folder.path().join("secret"), "hush\nmore\n").unwrap();
    let config = scene.load();
    assert_eq!(config.bridges[0].client.password.as_deref(), Some("hush"));
    assert!(!format!("{config:?}").contains("hush"));
}
