//! Uplinks: what must be said, and what it comes to.

use super::*;

const GOOD: &str = "[[uplink]]\nid = 'a'\nurl = 'wss://centre.example.org/ws'\ntopics = ['s/#']\n";

#[test]
fn an_uplink_needs_an_id_a_url_and_topics() {
    let missing = [
        ("[[uplink]]\nurl = 'ws://h/ws'\ntopics = ['s']", "uplink[0]: id is missing"),
        ("[[uplink]]\nid = 'a'\ntopics = ['s']", "uplink[0]: url is missing"),
        ("[[uplink]]\nid = 'a'\nurl = 'ws://h/ws'", "uplink[0]: topics is missing: nothing would be sent"),
    ];
    for (text, what) in missing {
        check(text, &[&format!("fennec.toml:1:1: {what}")]);
    }
    check(&format!("{GOOD}{GOOD}"), &["fennec.toml:6:6: uplink[1].id: \"a\" is there twice"]);
}

#[test]
fn mistakes_name_their_keys() {
    let mistakes = [
        ("id = 'a/b'", "id: must be at most 128 bytes, without '/' and control characters"),
        ("url = 'mqtt://h'", "url: the URL begins with mqtt://, expected ws://, wss://, rs:// or rss://"),
        ("topics = ['s/#/t']", "topics: \"s/#/t\" "),
        ("topics = ['$SYS/#']", "topics: \"$SYS/#\" belongs to the broker: it is never sent"),
        ("topics = ['s', 's']", "topics: \"s\" is there twice"),
        ("receive = ['fennec/#']", "receive: \"fennec/#\" belongs to the broker: it is never sent"),
        ("batch_messages = 1001", "batch_messages: must be from 1 to 1000"),
        ("live_percent = 101", "live_percent: must be from 0 to 100"),
        ("heartbeat_s = 0", "heartbeat_s: must be at least 1"),
        ("realm = 'other'", "realm: "),
        ("password_file = '/nowhere'", "password_file: cannot read /nowhere: "),
    ];
    for (mistake, what) in mistakes {
        let key = mistake.split(' ').next().unwrap();
        let good = [("id", "id = 'a'"), ("url", "url = 'ws://h/ws'"), ("topics", "topics = ['s']")];
        let others: Vec<&str> = good.iter().filter(|(name, _)| *name != key).map(|(_, line)| *line).collect();
        let problems = Scene::new(&format!("[[uplink]]\n{mistake}\n{}", others.join("\n"))).problems();
        assert_eq!(problems.len(), 1, "{problems:?}");
        let expected = format!("fennec.toml:2:{}: uplink[0].{what}", key.len() + 4);
        assert!(problems[0].starts_with(&expected), "{} instead of {expected}", problems[0]);
    }
}

#[test]
fn what_an_uplink_sends_is_kept_unless_it_is_said_how() {
    let config = Scene::new(GOOD).load();
    let kept: Vec<_> = config.durable.iter().map(|policy| (policy.max_age_s, policy.max_bytes)).collect();
    assert_eq!(kept, [(604_800, 1 << 30)]);
    let config = Scene::new(&format!("{GOOD}max_age_s = 60\nmax_bytes = '1MiB'\n")).load();
    let kept: Vec<_> = config.durable.iter().map(|policy| (policy.max_age_s, policy.max_bytes)).collect();
    assert_eq!(kept, [(60, 1 << 20)]);
    let said = Scene::new(&format!("[[durable]]\ntopic = 's/#'\nrealm = 'realm1'\nmax_age_s = 5\n{GOOD}")).load();
    assert_eq!(said.durable.len(), 1, "what is said there counts");
    assert_eq!(said.uplinks[0].centre_realm, "realm1");
}
