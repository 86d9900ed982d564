//! What who runs the broker asks by calls.

use super::meta::{leave, mqtt, world};
use super::*;
use crate::node::metrics::Protocol;
use crate::node::publish::Publication;
use crate::types::payload::PayloadRef;
use crate::types::topic::Topic;

impl Client {
    /// Calls, and hands back the one thing that the RESULT has.
    fn told(&mut self, procedure: &str, arguments: &str) -> String {
        self.send(&format!(r#"[48,9,{{}},"fennec.admin.{procedure}"{arguments}]"#));
        let answer = self.received_answer();
        answer.strip_prefix("[50,9,{},[").unwrap_or_else(|| panic!("{answer}")).trim_end_matches("]]").to_owned()
    }
}

#[test]
fn sessions_are_told_about_by_id_and_client_id_with_what_they_hold() {
    let world = world();
    let mut one = world.join();
    let (device, link) = mqtt(&world, "lamp", 0);
    let told = one.told("session", r#",["lamp"]"#);
    assert!(told.contains(r#""connected":true"#) && told.contains(r#""backlog_messages":0"#), "{told}");
    assert!(told.contains(r#""subscriptions":[]"#) && told.contains(r#""registrations":[]"#), "{told}");
    let by_id = one.told("session", &format!(",[{}]", device.session.id));
    assert_eq!(told, by_id);
    let list = one.told("sessions", r#",[{"client_id":"lamp","connected":true}]"#);
    assert_eq!(list.matches(r#""session":"#).count(), 1, "{list}");
    leave(&world, &device, &link);
    let list = one.told("sessions", r#",[],{"protocol":"mqtt"}"#);
    assert_eq!(list, r#"{"sessions":[]}"#);
    one.is_refused("fennec.admin.session", r#",["lamp"]"#, "wamp.error.no_such_session");
}

#[test]
fn sessions_come_in_pages_and_none_twice() {
    let world = world();
    let mut one = world.join();
    let others: Vec<Client> = (0..4).map(|_| world.join()).collect();
    let mut found = Vec::new();
    let mut after = 0_u64;
    loop {
        let page = one.told("sessions", &format!(r#",[{{"limit":2,"after":{after}}}]"#));
        let ids = page.split(r#""session":"#).skip(1).filter_map(|rest| rest.split(',').next()?.parse::<u64>().ok());
        found.extend(ids);
        let next = page.split(r#""next":"#).nth(1).and_then(|rest| rest.trim_end_matches('}').parse().ok());
        match next {
            Some(next) => after = next,
            None => break,
        }
    }
    let mut all: Vec<u64> = others.iter().chain([&one]).map(|client| client.session).collect();
    all.sort_unstable();
    assert_eq!(found, all);
}

#[test]
fn a_session_is_kicked_by_its_id_or_client_id_but_not_ones_own() {
    let world = world();
    let mut one = world.join();
    let (device, link) = mqtt(&world, "lamp", 0);
    assert_eq!(one.told("kick", r#",["lamp",{"message":"out"}]"#), device.session.id.to_string());
    assert_eq!(link.kicked().and_then(|kick| kick.message.as_deref()), Some("out"));
    let own = format!(",[{}]", one.session);
    one.is_refused("fennec.admin.kick", &own, "wamp.error.no_such_session");
    one.is_refused("fennec.admin.kick", r#",["lamp"]"#, "wamp.error.no_such_session");
    one.is_refused("fennec.admin.kick", r#",["lamp",{"reason":"a b"}]"#, "wamp.error.invalid_uri");
    one.is_refused("fennec.admin.kick", r#",["lamp",{"forget":1}]"#, "wamp.error.invalid_argument");
}

#[test]
fn wrong_arguments_are_named_and_harm_nobody() {
    let world = world();
    let mut one = world.join();
    for (procedure, arguments) in [
        ("sessions", ",[1]"),
        ("sessions", r#",[{"limit":-1}]"#),
        ("sessions", r#",[{"order_by":1}]"#),
        ("session", ""),
        ("session", ",[null]"),
        ("kick", ",[[]]"),
        ("subscriptions", r#",[{"after":"x"}]"#),
        ("registrations", r#",[{"what":1}]"#),
        ("retained", ",[1]"),
        ("retained", r#",[{"match":"most"}]"#),
        ("retained_get", ""),
        ("retained_delete", ",[1]"),
        ("durables", ",[1]"),
        ("durable_delete", ",[{}]"),
    ] {
        one.is_refused(&format!("fennec.admin.{procedure}"), arguments, "wamp.error.invalid_argument");
    }
    one.is_refused("fennec.admin.retained", r#",["a b"]"#, "wamp.error.invalid_uri");
    one.is_refused("fennec.admin.reload", "", "wamp.error.unavailable");
}

#[test]
fn retained_values_are_deleted_by_who_may_not_publish_there() {
    let permissions = [(Action::Call, "fennec/admin/#", true)];
    let world = Setup { roles: vec![role("anonymous", &permissions)], ..Setup::default() }.build();
    let mut one = world.join();
    let topic = Topic::from_name("a/key").unwrap();
    let realm = world.node.realm("realm1").unwrap();
    let payload = PayloadRef::Bytes(b"7");
    let retained = Publication { retain: true, ..Publication::plain(payload, Node::UNSAID_QOS) };
    world.node.publish_as_broker(&realm, &Arc::new(topic.clone()), &retained, Protocol::Wamp, world.now_ms);
    run_due(&world.node);
    let list = one.told("retained", "");
    assert!(list.contains(r#""topic":"a.key""#), "{list}");
    one.told("retained_delete", r#",["a.key"]"#);
    assert!(realm.retained(&topic, world.now_ms).is_none());
    one.is_refused("fennec.admin.retained_get", r#",["a.key"]"#, "fennec.error.no_such_value");
}
