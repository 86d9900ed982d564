//! Sessions, subscriptions and registrations of a cluster, asked for at one of its entries.

use parking_lot::Mutex;

use super::meta::{mqtt, world};
use super::*;
use crate::node::clients::{Held, Restored};
use crate::node::link::End;
use crate::node::peers::Carried;
use crate::node::session::Identity;
use crate::node::testing::{identity, wire};
use crate::router::broker::Options;
use crate::types::event::Qos;
use crate::types::ids::SessionId;

/// Whether the other entry answers.
type Answers = Arc<AtomicBool>;

/// Two entries: the first asks the second.
fn entries() -> (World, World, Answers) {
    let (one, two) = (world(), world());
    // At run time no two nodes draw the same.
    for _ in 0..100 {
        two.node.random();
    }
    for world in [&one, &two] {
        world.node.open_peers(Box::new(|_, _| Carried::Sent), Box::new(|| {}));
    }
    let answers = Answers::new(AtomicBool::new(true));
    let (other, now_ms, is_there) = (two.node.clone(), two.now_ms, answers.clone());
    let ask = move |question: Bytes, take: crate::node::house::TakeSaid| {
        let answer = Arc::new(Mutex::new(None));
        let slot = answer.clone();
        if is_there.load(Ordering::Relaxed) {
            other.house.asked_by_entry("E1", question, Box::new(move |reply| *slot.lock() = Some(reply)));
            other.house.work(&other, now_ms);
        }
        let answer = answer.lock().take();
        take(vec![("E2".into(), answer)]);
    };
    one.node.house.ask_entries_by("E1", Box::new(ask));
    two.node.house.ask_entries_by("E2", Box::new(|_, _| panic!("who is asked by another entry asks nobody")));
    (one, two, answers)
}

/// Ids that stand in an answer, sorted.
fn ids(answer: &str) -> Vec<u64> {
    let list = answer.trim_start_matches("[50,9,{},[");
    let mut ids: Vec<u64> = list.split(['[', ']', ',', ':']).filter_map(|id| id.parse().ok()).collect();
    ids.sort_unstable();
    ids
}

impl Client {
    fn asked(&mut self, procedure: &str, arguments: &str) -> String {
        self.send(&format!(r#"[48,9,{{}},"{procedure}"{arguments}]"#));
        self.received_answer()
    }

    /// Its connection is asked to end, and does.
    #[track_caller]
    fn is_sent_away(&mut self, reason: &str) {
        assert_eq!(self.gate.link().asked_to_end(), Some(End::Kicked));
        self.gate.end(End::Kicked, self.now_ms);
        self.expect(&[&format!(r#"[6,{{}},"{reason}"]"#)]);
        self.gate.closed(self.now_ms);
    }

    /// Subscribes, and hands back the id. All other entries hear of it at once.
    fn subscribed(&mut self, arguments: &str) -> u64 {
        self.send(&format!("[32,1,{arguments}]"));
        let peers = &self.gate.node.peers;
        peers.set_heard(peers.last_change());
        let received = self.received();
        let id = received[0].strip_prefix("[33,1,").and_then(|rest| rest.trim_end_matches(']').parse().ok());
        id.unwrap_or_else(|| panic!("no SUBSCRIBED: {received:?}"))
    }
}

#[test]
fn sessions_of_all_entries_are_counted_listed_and_told_about() {
    let (one, two, _) = entries();
    let (mut asks, there) = (one.join(), two.join());
    let (lamp, _link) = mqtt(&two, "lamp", 0);
    let mut all = [asks.session, there.session, lamp.session.id.0];
    all.sort_unstable();
    asks.asks("wamp.session.count", "", "[3]");
    asks.asks("wamp.session.count", r#",[["anonymous"]]"#, "[2]");
    let listed = asks.asked("wamp.session.list", "");
    assert_eq!(ids(&listed), all, "{listed}");
    let told = asks.asked("wamp.session.get", &format!(",[{}]", lamp.session.id));
    assert!(told.contains(r#""client_id":"lamp""#), "{told}");
    asks.is_refused("wamp.session.get", ",[17]", "wamp.error.no_such_session");
    asks.is_refused("wamp.session.get", r#",["a"]"#, "wamp.error.invalid_argument");
}

#[test]
fn a_session_at_another_entry_is_changed_and_killed_but_never_the_callers_own() {
    let (one, two, _) = entries();
    let (mut asks, mut there, mut third) = (one.join(), two.join(), two.join());
    let id = there.session;
    asks.asks("wamp.session.modify_details", &format!(r#",[{id},{{"room":7}}]"#), "");
    assert!(asks.asked("wamp.session.get", &format!(",[{id}]")).contains(r#""room":7"#));
    asks.is_refused("wamp.session.modify_details", &format!(r#",[{id},{{"entry":7}}]"#), "wamp.error.invalid_argument");
    asks.asks("wamp.session.kill", &format!(r#",[{id}],{{"reason":"go.away"}}"#), "");
    there.is_sent_away("go.away");
    asks.is_refused("wamp.session.kill", &format!(",[{}]", asks.session), "wamp.error.no_such_session");
    let killed = asks.asked("wamp.session.kill_by_authid", r#",["anonymous"]"#);
    assert!(killed.contains(&third.session.to_string()) && !killed.contains(&asks.session.to_string()), "{killed}");
    third.is_sent_away("wamp.close.killed");
    let mut fourth = two.join();
    asks.asks("wamp.session.kill_by_authrole", r#",["anonymous"]"#, "[1]");
    fourth.is_sent_away("wamp.close.killed");
    asks.asks("wamp.session.kill_all", "", "[0]");
}

#[test]
fn without_the_answer_of_an_entry_nothing_is_said_not_to_be_there() {
    let (one, two, answers) = entries();
    let (mut asks, there) = (one.join(), two.join());
    answers.store(false, Ordering::Relaxed);
    asks.asks("wamp.session.count", "", "[1]");
    let own = asks.session;
    assert!(asks.asked("wamp.session.get", &format!(",[{own}]")).starts_with("[50,"), "it is here");
    for procedure in ["wamp.session.get", "wamp.session.kill", "fennec.admin.kick", "fennec.admin.session"] {
        asks.is_refused(procedure, &format!(",[{}]", there.session), "wamp.error.unavailable");
    }
    let listed = asks.asked("fennec.admin.sessions", "");
    assert!(listed.contains(r#""unanswered":["E2"]"#), "{listed}");
    answers.store(true, Ordering::Relaxed);
    let listed = asks.asked("fennec.admin.sessions", "");
    assert!(listed.contains(r#""entry":"E1""#) && !listed.contains("unanswered"), "{listed}");
    assert_eq!(listed.matches(r#""session":"#).count(), 2, "{listed}");
}

#[test]
fn pages_go_over_all_entries_and_have_each_session_once() {
    let (one, two, _) = entries();
    let mut asks = one.join();
    let others: Vec<Client> = (0..5).map(|at| if at % 2 == 0 { two.join() } else { one.join() }).collect();
    let (mut found, mut after) = (Vec::new(), 0_u64);
    loop {
        let page = asks.asked("fennec.admin.sessions", &format!(r#",[{{"limit":2,"after":{after}}}]"#));
        let ids = page.split(r#""session":"#).skip(1).filter_map(|rest| rest.split(',').next()?.parse::<u64>().ok());
        found.extend(ids);
        match page.split(r#""next":"#).nth(1).and_then(|rest| rest.trim_end_matches(['}', ']']).parse().ok()) {
            Some(next) => after = next,
            None => break,
        }
    }
    let mut all: Vec<u64> = others.iter().chain([&asks]).map(|client| client.session).collect();
    all.sort_unstable();
    assert_eq!(found, all);
    let device = mqtt(&two, "lamp", 0);
    let told = asks.asked("fennec.admin.session", r#",["lamp"]"#);
    assert!(told.contains(&device.0.session.id.to_string()), "{told}");
    assert!(asks.asked("fennec.admin.kick", r#",["lamp"]"#).starts_with("[50,"));
    assert!(device.1.kicked().is_some());
}

/// A session of the log.
fn kept(client_id: &str, session: SessionId) -> Restored {
    let identity = Identity { client_id: Some(client_id.to_owned()), ..identity("dev") };
    Restored { identity, session, expiry_s: 60, created: 1, wire: wire(0).as_ref() }
}

/// A subscription to `k`.
fn subscription() -> Held {
    let qos = Qos::AtMostOnce;
    let options = Options::Merged { qos, no_local: false, retain_as_published: false, identifier: None };
    Held { pattern: TopicPattern::from_filter("k").unwrap(), group: None, options, fields: None, since: 0 }
}

/// Whether a session that is listed (once) is at the other entry, and whether it is connected.
fn row(listed: &str, id: SessionId) -> Option<(bool, bool)> {
    let rows: Vec<_> = listed.split(r#"{"session":"#).filter(|row| row.starts_with(&format!("{id},"))).collect();
    assert!(rows.len() <= 1, "{listed}");
    rows.first().map(|row| (row.contains(r#""entry":"E2""#), row.contains(r#""connected":true"#)))
}

#[test]
fn a_session_that_all_entries_know_counts_once_wherever_it_is_or_was() {
    let (one, two, answers) = entries();
    let mut asks = one.join();
    let [here, there] = [&one, &two].map(|world| world.node.realm("realm1").unwrap());
    // One has its connection at the other entry, one had it there last.
    let (device, _link) = mqtt(&two, "lamp", 60);
    let (lamp, away) = (device.session.id, SessionId(7));
    device.subscribe(&there, "k", subscription(), None);
    here.clients.mirror(&one.node, &here, kept("lamp", lamp), true);
    there.clients.restore(&two.node, &there, kept("away", away));
    there.clients.get("away").unwrap().restore_subscription(&there, "k", subscription());
    here.clients.mirror(&one.node, &here, kept("away", away), false);
    for client_id in ["lamp", "away"] {
        here.clients.get(client_id).unwrap().mirror_subscription(&here, "k", subscription());
    }
    asks.asks("wamp.session.count", "", "[2]");
    let listed = asks.asked("fennec.admin.sessions", "");
    assert_eq!((row(&listed, lamp), row(&listed, away)), (Some((true, true)), Some((true, false))), "{listed}");
    let listed = asks.asked("fennec.admin.sessions", r#",[{"connected":false}]"#);
    assert_eq!((row(&listed, lamp), row(&listed, away)), (None, Some((true, false))), "{listed}");
    let listed = asks.asked("fennec.admin.subscriptions", "");
    assert!(listed.contains(r#""subscribers":2"#), "{listed}");
    let id = ids(&asks.asked("wamp.subscription.match", r#",["k"]"#))[0];
    asks.asks("wamp.subscription.count_subscribers", &format!(",[{id}]"), "[1]");
    answers.store(false, Ordering::Relaxed);
    let listed = asks.asked("fennec.admin.sessions", "");
    assert_eq!((row(&listed, lamp), row(&listed, away)), (None, Some((false, false))), "{listed}");
}

#[test]
fn subscriptions_are_one_over_all_entries() {
    let (one, two, _) = entries();
    let (mut asks, mut there) = (one.join(), two.join());
    let id = asks.subscribed(r#"{},"a.b""#);
    assert_eq!(there.subscribed(r#"{},"a.b""#), id);
    let prefix = there.subscribed(r#"{"match":"prefix"},"a""#);
    asks.asks("wamp.subscription.count_subscribers", &format!(",[{id}]"), "[2]");
    let subscribers = asks.asked("wamp.subscription.list_subscribers", &format!(",[{prefix}]"));
    assert_eq!(ids(&subscribers), [there.session]);
    asks.asks("wamp.subscription.lookup", r#",["a",{"match":"prefix"}]"#, &format!("[{prefix}]"));
    asks.asks("wamp.subscription.lookup", r#",["nothing"]"#, "[null]");
    let mut both = [id, prefix];
    both.sort_unstable();
    asks.asks("wamp.subscription.match", r#",["a.b"]"#, &format!("[[{},{}]]", both[0], both[1]));
    asks.asks("wamp.subscription.match", r#",["c"]"#, "[null]");
    let list = format!(r#"[{{"exact":[{id}],"prefix":[{prefix}],"wildcard":[]}}]"#);
    asks.asks("wamp.subscription.list", "", &list);
    assert!(asks.asked("wamp.subscription.get", &format!(",[{prefix}]")).contains(r#""uri":"a""#));
    asks.is_refused("wamp.subscription.get", ",[17]", "wamp.error.no_such_subscription");
    let told = asks.asked("fennec.admin.subscriptions", "");
    assert!(told.contains(r#""uri":"a.b","match":"exact","subscribers":2"#), "{told}");
    assert_eq!(told.matches(r#""id":"#).count(), 2, "{told}");
}
