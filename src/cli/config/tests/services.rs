//! Services and hooks, and what is said of wrong ones.

use super::*;
use crate::http::hooks::Proof;

const SERVICE: &str = "[[service]]\nid = 'a'\nurl = 'http://localhost'\ntopics = ['x/#']\n";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[test]
fn a_service_needs_an_id_a_url_and_topics() {
    let config = Scene::new(&format!("{SERVICE}uris = 'y.*.#'\nrealm = 'realm1'\nsecret = '{SECRET}'\n")).load();
    let service = &config.services[0];
    assert_eq!((service.id.as_str(), service.realm.as_str(), service.patterns.len()), ("a", "realm1", 2));
    assert_eq!((service.settings.events_max, service.settings.configured), (100, true));
    assert_eq!(service.settings.dead_letter, "dead/service/a");
    check(
        "[[service]]\n",
        &[
            "fennec.toml:1:1: service[0]: id is missing",
            "fennec.toml:1:1: service[0]: url is missing",
            "fennec.toml:1:1: service[0]: topics or uris are missing",
        ],
    );
}

#[test]
fn what_is_wrong_with_a_service_is_told_with_its_key() {
    let secret = "must be whsec_ and base64 of at least 24 bytes";
    for (line, problem) in [
        ("secret = 'x'", format!("service[0].secret: {secret}")),
        ("token = 'a b'", "service[0].token: must be visible ASCII without spaces".to_owned()),
        ("linger_ms = 5000", "service[0].linger_ms: must be from 0 to 1000".to_owned()),
        ("dead_letter = '$SYS/a'", "service[0].dead_letter: is a topic of the broker's own".to_owned()),
        ("realm = 'relm1'", "service[0].realm: unknown realm \"relm1\"; did you mean \"realm1\"?".to_owned()),
    ] {
        check(&format!("{SERVICE}{line}\n"), &[&format!("fennec.toml:5:{}: {problem}", line.find('=').unwrap() + 3)]);
    }
    check(
        "[[service]]\nid = 'a/b'\nurl = 'ftp://x'\ntopics = ['#/x']\n",
        &[
            "fennec.toml:2:6: service[0].id: must be 1 to 100 letters, digits, '-', '_' or '.'",
            "fennec.toml:3:7: service[0].url: must begin with http:// or https://",
            "fennec.toml:4:10: service[0].topics: \"#/x\" has a # that is not the whole last level",
        ],
    );
    check(&format!("{SERVICE}{SERVICE}"), &["fennec.toml:6:6: service[1].id: \"a\" is there twice"]);
    check(
        "[services]\nallow_networks = ['10.0.0.0/40']\n",
        &[
            "fennec.toml:2:18: services.allow_networks: \"10.0.0.0/40\" must be an address, or one with a prefix length such as \
           10.0.0.0/8",
        ],
    );
}

#[test]
fn a_hook_needs_a_name_a_topic_and_a_secret() {
    let hook = |more: &str| format!("[[hook]]\nname = 'a'\n{more}");
    let config = Scene::new(&hook("uri = 'x.y'\nproof = 'bearer'\nsecret = 'tok'\n")).load();
    assert_eq!((config.hooks[0].topic.name(), config.hooks[0].proof), ("x/y", Proof::Bearer));
    check(
        &hook(""),
        &["fennec.toml:1:1: hook[0]: secret is missing", "fennec.toml:1:1: hook[0]: topic or uri is missing"],
    );
    check(&hook("topic = 'fennec/x'\nsecret = 'tok'\n"), &["fennec.toml:3:9: hook[0].topic: belongs to the broker"]);
    check(
        &hook("topic = 'x'\nsecret = 'tok'\n"),
        &["fennec.toml:4:10: hook[0].secret: must be whsec_ and base64 of at least 24 bytes"],
    );
    let twice = hook(&format!("topic = 'x'\nsecret = '{SECRET}'\n")).repeat(2);
    check(&twice, &["fennec.toml:6:8: hook[1].name: \"a\" is there twice"]);
}
