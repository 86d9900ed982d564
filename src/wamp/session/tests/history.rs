//! `fennec.subscription.*`, `fennec.durable.*` and `wamp.subscription.get_events`, called.

use super::resuming::{event_id, publish, publish_to};
use super::*;
use crate::types::value::Value;

/// Calls a procedure; the args and kwargs of its result, in JSON.
#[track_caller]
fn call(client: &mut Client, procedure: &str, arguments: &str) -> (Value, Value) {
    client.send(&format!(r#"[48,9,{{}},"{procedure}"{arguments}]"#));
    let received = client.received_answer();
    let result = Value::decode(Format::Json, received.as_bytes()).unwrap();
    let parts = result.as_list().unwrap();
    assert_eq!(parts[0].as_u64(), Some(50), "{received}");
    let part = |at: usize| parts.get(at).cloned().unwrap_or(Value::Null);
    (part(3), part(4))
}

#[track_caller]
fn check_fails(client: &mut Client, procedure: &str, arguments: &str, uri: &str) {
    client.send(&format!(r#"[48,9,{{}},"{procedure}"{arguments}]"#));
    let received = client.received_answer();
    assert!(received.starts_with(&format!(r#"[8,48,9,{{}},"{uri}""#)), "{procedure}{arguments}: {received}");
}

fn joe() -> UserEntry {
    let password_hash = Some(super::joining::hash("secret"));
    UserEntry { credentials: Credentials { password_hash, ..Credentials::default() }, ..UserEntry::new("joe", "few") }
}

const GET_EVENTS: &str = "wamp.subscription.get_events";

/// The first arguments of the events that are found, and whether there are more.
#[track_caller]
fn get_events(client: &mut Client, subscription: u32, options: &str) -> (Vec<u64>, bool) {
    let (events, kwargs) = call(client, GET_EVENTS, &format!(",[{subscription}],{{{options}}}"));
    let number = |event: &Value| event.get("args").unwrap().as_list().unwrap()[0].as_u64().unwrap();
    let numbers = events.as_list().unwrap().iter().map(number).collect();
    (numbers, kwargs.get("is_limit_reached").unwrap().as_bool().unwrap())
}

#[test]
fn history_is_told_in_pages() {
    let world = World::new();
    let (mut publisher, mut client) = (world.join(), world.join());
    let ids = publish(&mut publisher, 1..=5);
    publish_to(&mut publisher, "log.b", "0");
    client.send(r#"[32,1,{},"log.a"]"#);
    let id = client.received_subscription();
    let all = [1, 2, 3, 4, 5];
    let publication = |at: usize| ids[at - 1];
    for (options, expected, more) in [
        (String::new(), &all[..], false),
        (r#""limit":2"#.to_owned(), &all[..2], true),
        (r#""limit":5"#.to_owned(), &all[..], false),
        (format!(r#""limit":2,"after_publication":{}"#, publication(2)), &all[2..4], true),
        (format!(r#""from_publication":{}"#, publication(2)), &all[1..], false),
        (format!(r#""until_publication":{}"#, publication(2)), &all[..2], false),
        (format!(r#""before_publication":{}"#, publication(2)), &all[..1], false),
        (
            format!(r#""from_publication":{},"before_publication":{}"#, publication(2), publication(4)),
            &all[1..3],
            false,
        ),
        (format!(r#""from_publication":{},"until_publication":{}"#, publication(4), publication(2)), &[], false),
    ] {
        assert_eq!(get_events(&mut client, id, &options), (expected.to_vec(), more), "{options}");
        if !options.contains("limit") {
            let reverse: Vec<_> = expected.iter().rev().copied().collect();
            assert_eq!(
                get_events(
                    &mut client,
                    id,
                    &format!(r#"{options}{}"reverse":true"#, if options.is_empty() { "" } else { "," })
                ),
                (reverse, more),
                "{options}, reverse"
            );
        }
    }
    assert_eq!(get_events(&mut client, id, r#""limit":2,"reverse":true"#), (vec![5, 4], true));
    let options = format!(r#""limit":2,"reverse":true,"before_publication":{}"#, publication(4));
    assert_eq!(get_events(&mut client, id, &options), (vec![3, 2], true));
}

#[test]
fn history_knows_times_and_topics() {
    let mut world = World::new();
    let mut publisher = world.join();
    let time = |ms: u64| crate::types::time::rfc3339(ms * 1000);
    for number in 1..=3 {
        publish(&mut publisher, number..=number);
        world.tick(10_000);
    }
    publish_to(&mut publisher, "log.b", "4");
    let mut client = world.join();
    client.send(r##"[32,1,{},"log.#"]"##);
    let id = client.received_subscription();
    let at = |number: u64| time(NOW_MS + (number - 1) * 10_000);
    for (options, expected) in [
        (format!(r#""from_time":"{}""#, at(2)), vec![2, 3, 4]),
        (format!(r#""after_time":"{}""#, at(2)), vec![3, 4]),
        (format!(r#""until_time":"{}""#, at(2)), vec![1, 2]),
        (format!(r#""before_time":"{}""#, at(2)), vec![1]),
        (format!(r#""from_time":"{}","before_time":"{}""#, at(2), at(3)), vec![2]),
        (format!(r#""from_time":"{}""#, at(9)), vec![]),
        (r#""topic":"log.b""#.to_owned(), vec![4]),
        (r#""topic":"log.c""#.to_owned(), vec![]),
    ] {
        assert_eq!(get_events(&mut client, id, &options), (expected.clone(), false), "{options}");
        let reverse = expected.into_iter().rev().collect();
        assert_eq!(get_events(&mut client, id, &format!(r#"{options},"reverse":true"#)), (reverse, false), "{options}");
    }
    let (events, _) = call(&mut client, GET_EVENTS, &format!(r#",[{id}],{{"topic":"log.b"}}"#));
    let event = &events.as_list().unwrap()[0];
    assert_eq!(event.get("timestamp").unwrap().as_str(), Some(&*at(4)));
    assert_eq!(event.get("subscription").unwrap().as_u64(), Some(id.into()));
    assert_eq!(event.get("details").unwrap().get("topic").unwrap().as_str(), Some("log.b"));
}

#[test]
fn history_is_for_who_may_subscribe_and_was_meant() {
    let permissions = [(Action::Call, "#", true), (Action::Subscribe, "log/a", true), (Action::Publish, "#", true)];
    let roles = vec![Role::unrestricted("anonymous"), role("few", &permissions)];
    let world = Setup { roles, users: vec![joe()], ..Setup::default() }.build();
    let mut all = world.join();
    all.send(r##"[32,1,{},"log.#"]"##);
    let every = all.received_subscription();
    all.send(r##"[32,1,{},"log.a"]"##);
    let one = all.received_subscription();
    let mut joe = world.connect();
    joe.send(r#"[1,"realm1",{"authmethods":["ticket"],"authid":"joe","roles":{"caller":{}}}]"#);
    joe.expect(&[r#"[4,"ticket",{}]"#]);
    joe.join(r#"[5,"secret",{}]"#);
    check_fails(&mut joe, GET_EVENTS, &format!(",[{every}]"), "wamp.error.not_authorized");
    all.check(r#"[16,1,{"eligible_authrole":["few"]},"log.a",[1]]"#, &[]);
    all.check(r#"[16,1,{"exclude_authid":["joe"]},"log.a",[2]]"#, &[]);
    all.check(r#"[16,1,{"exclude":[1]},"log.a",[3]]"#, &[]);
    all.check(r#"[16,1,{},"log.a",[4]]"#, &[]);
    assert_eq!(get_events(&mut joe, one, ""), (vec![1, 4], false));
    assert_eq!(get_events(&mut all, one, ""), (vec![2, 4], false));
}

#[test]
fn wrong_arguments_of_get_events_are_refused() {
    let world = World::new();
    let mut client = world.join();
    client.send(r##"[32,1,{},"log.a"]"##);
    let id = client.received_subscription();
    check_fails(&mut client, GET_EVENTS, ",[999]", "wamp.error.no_such_subscription");
    for arguments in ["", r#",["x"]"#] {
        check_fails(&mut client, GET_EVENTS, arguments, "wamp.error.invalid_argument");
    }
    for options in [
        r#""limit":0"#,
        r#""limit":"x""#,
        r#""reverse":1"#,
        r#""from_time":"yesterday""#,
        r#""from_time":5"#,
        r#""after_publication":5"#,
        r#""from_publication":"x""#,
    ] {
        check_fails(&mut client, GET_EVENTS, &format!(",[{id}],{{{options}}}"), "wamp.error.invalid_argument");
    }
}

#[test]
fn a_subscription_is_replayed_and_goes_on() {
    let world = World::new();
    let (mut publisher, mut client) = (world.join(), world.join());
    let ids = publish(&mut publisher, 1..=4);
    client.send(r#"[32,1,{},"log.a"]"#);
    let id = client.received_subscription();
    for options in [
        r#"{"rewind":2}"#.to_owned(),
        format!(r#"{{"after":{}}}"#, ids[1]),
        format!(r#"{{"after":"{}"}}"#, event_id(&world, ids[1])),
    ] {
        let (result, _) = call(&mut client, "fennec.subscription.replay", &format!(",[{id},{options}]"));
        assert_eq!(result.as_list().unwrap()[0].get("recovered"), Some(&Value::Bool(true)));
        let received = client.received();
        assert_eq!(received.len(), 2, "{received:?}");
        assert!(received[0].contains("[3]") && received[1].ends_with("[4]]"), "{received:?}");
    }
    let (result, _) = call(&mut client, "fennec.subscription.status", &format!(",[{id}]"));
    let status = &result.as_list().unwrap()[0];
    assert_eq!(status.get("live"), Some(&Value::Bool(true)));
    assert_eq!(status.get("sent").unwrap().as_str(), Some(&*event_id(&world, ids[3]).to_string()));
    publish(&mut publisher, 5..=5);
    assert_eq!(client.received().len(), 1);
    for wrong in ["{}", r#"{"rewind":1,"after":5}"#, r#"{"since":"x"}"#, r#"{"rewind":"x"}"#] {
        let arguments = format!(",[{id},{wrong}]");
        check_fails(&mut client, "fennec.subscription.replay", &arguments, "wamp.error.invalid_argument");
    }
    let others = format!(r#",[{id},{{"rewind":1}}]"#);
    check_fails(&mut publisher, "fennec.subscription.replay", &others, "wamp.error.no_such_subscription");
}

#[test]
fn what_a_client_has_not_acknowledged_comes_again() {
    let world = World::new();
    let mut publisher = world.join();
    let subscribe = r#"[32,1,{"durable":"mine","acknowledge":"client"},"log.a"]"#;
    let mut client = world.join();
    client.send(subscribe);
    let id = client.received_subscription();
    let ids = publish(&mut publisher, 1..=4);
    assert_eq!(client.received().len(), 4);
    call(&mut client, "fennec.subscription.ack", &format!(",[{id},{}]", ids[0]));
    let event = event_id(&world, ids[1]);
    call(&mut client, "fennec.subscription.ack", &format!(r#",[{id},"{event}"]"#));
    let (result, _) = call(&mut client, "fennec.subscription.status", &format!(",[{id}]"));
    let status = &result.as_list().unwrap()[0];
    assert_eq!(status.get("acknowledged").unwrap().as_str(), Some(&*event.to_string()));
    drop(client);
    let mut client = world.join();
    client.send(subscribe);
    let id = client.received_subscription();
    let received = client.received();
    assert_eq!(received.len(), 2, "{received:?}");
    check_fails(&mut client, "fennec.subscription.ack", r#",[999,5]"#, "wamp.error.no_such_subscription");
    check_fails(&mut client, "fennec.subscription.ack", &format!(r#",[{id},"x"]"#), "wamp.error.invalid_argument");
}

#[test]
fn named_subscriptions_are_listed_and_removed() {
    let world = World::new();
    let mut client = world.connect();
    client.join(
        r#"[1,"realm1",{"roles":{"subscriber":{"features":{"subscription_revocation":true}},"caller":{},"publisher":{}}}]"#,
    );
    client.send(r##"[32,1,{"durable":"mine"},"log.#"]"##);
    client.received_subscription();
    let (result, _) = call(&mut client, "fennec.durable.list", "");
    let list = result.as_list().unwrap()[0].get("durables").unwrap().as_list().unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!(list[0].get("name").unwrap().as_str(), Some("mine"));
    assert_eq!(list[0].get("topic").unwrap().as_str(), Some("log.#"));
    assert_eq!(list[0].get("connected"), Some(&Value::Bool(true)));
    check_fails(&mut client, "fennec.durable.remove", r#",["other"]"#, "fennec.error.no_such_durable");
    client.send(r#"[48,9,{},"fennec.durable.remove",["mine"]]"#);
    client.expect(&[r#"[35,0,{"subscription":*,"reason":"fennec.close.removed"}]"#, "[50,9,{},[true]]"]);
    let (result, _) = call(&mut client, "fennec.durable.list", "");
    assert_eq!(result.as_list().unwrap()[0].get("durables"), Some(&Value::List(Vec::new())));
}

#[test]
fn a_key_can_be_read_as_of_an_event() {
    let mut world = World::new();
    let mut client = world.join();
    client.check(r#"[16,1,{"retain":true},"k",[1]]"#, &[]);
    let id = world.node.log.last_event_id().unwrap();
    call(&mut client, "fennec.key.get", &format!(r#",["k",{{"after":"{id}"}}]"#));
    let next = crate::types::event_id::EventId { generator: id.generator + 1, ..id };
    client.check(&format!(r#"[48,9,{{}},"fennec.key.get",["k",{{"after":"{next}"}}]]"#), &[]);
    client.check(r#"[16,1,{"retain":true},"other",[1]]"#, &[]);
    world.tick(50);
    assert!(client.received_answer().starts_with("[50,9,"));
    let never = crate::types::event_id::EventId { minute: id.minute + 1, ..id };
    client.check(&format!(r#"[48,9,{{}},"fennec.key.get",["k",{{"after":"{never}","timeout":100}}]]"#), &[]);
    world.tick(101);
    assert!(client.received_answer().contains("wamp.error.timeout"));
    check_fails(&mut client, "fennec.key.get", r#",["k",{"after":"x"}]"#, "wamp.error.invalid_argument");
}

#[test]
fn answers_and_named_subscriptions_have_their_limits() {
    let limits = Limits { durable_subscriptions_max: 1, events_per_call_max: 2, ..Limits::default() };
    let world = Setup { limits, ..Setup::default() }.build();
    let mut client = world.join();
    client.send(r#"[32,1,{"durable":"one"},"log.a"]"#);
    client.received_subscription();
    client.check_error(r#"[32,2,{"durable":"two"},"log.a"]"#, 32, 2, "fennec.error.quota_exceeded");
    let mut again = world.join();
    again.send(r#"[32,1,{"durable":"one"},"log.a"]"#);
    let id = again.received_subscription();

    publish(&mut world.join(), 1..=3);
    again.received();
    assert_eq!(get_events(&mut again, id, ""), (vec![1, 2], true));
    assert_eq!(get_events(&mut again, id, r#""limit":1"#), (vec![1], true));
    for key in ["k.1", "k.2", "k.3"] {
        again.check(&format!(r#"[16,5,{{"retain":true}},"{key}",[1]]"#), &[]);
    }
    let (result, _) = call(&mut again, "fennec.key.list", r#",["k.*",{"limit":50}]"#);
    let keys = &result.as_list().unwrap()[0];
    assert_eq!(keys.get("keys").unwrap().as_list().unwrap().len(), 2);
    assert_eq!(keys.get("next").unwrap().as_str(), Some("k.2"));
}
