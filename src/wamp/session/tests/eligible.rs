//! Retained values that are for some alone, and events that are shared out by their resource.

use super::*;

const RETAINED: &str = r#"{"retained":true,"event_id":"EVENT"}"#;

/// What a client of `hello` is sent of `app.t` when it subscribes.
fn retained_for(client: &mut Client) -> Vec<String> {
    client.send(r#"[32,1,{"get_retained":true},"app.t"]"#);
    client.received().split_off(1)
}

#[test]
fn a_retained_value_is_for_whom_it_was_published() {
    let world = World::new();
    let (mut publisher, mut one, mut other) = (world.join(), world.join(), world.join());
    let check = |publisher: &mut Client, list: &str, client: &mut Client, gets: bool| {
        publisher.check(&format!(r#"[16,1,{{"acknowledge":true,"retain":true,{list}}},"app.t",[1]]"#), &["[17,1,*]"]);
        client.send(r#"[32,1,{"get_retained":true},"app.t"]"#);
        let received = client.received();
        let id = received[0].trim_end_matches(']').rsplit(',').next().unwrap().to_owned();
        assert_eq!(received.iter().any(|event| event.contains(RETAINED)), gets, "{list}: {received:?}");
        client.send(&format!("[34,2,{id}]"));
        client.received();
    };
    let (first, second) = (one.session, other.session);
    check(&mut publisher, &format!(r#""eligible":[{first}]"#), &mut one, true);
    check(&mut publisher, &format!(r#""eligible":[{first}]"#), &mut other, false);
    check(&mut publisher, &format!(r#""exclude":[{second}]"#), &mut one, true);
    check(&mut publisher, &format!(r#""exclude":[{second}]"#), &mut other, false);
    check(&mut publisher, r#""eligible_authrole":["anonymous"]"#, &mut one, true);
    check(&mut publisher, r#""eligible_authrole":["admin"]"#, &mut one, false);
    check(&mut publisher, r#""exclude_authid":["anonymous"]"#, &mut one, false);
    check(&mut publisher, r#""eligible_authid":["anonymous"]"#, &mut one, true);
}

#[test]
fn procedures_of_keys_tell_a_value_to_those_alone_whom_it_is_for() {
    let world = World::new();
    let (mut publisher, mut other) = (world.join(), world.join());
    let options = format!(r#"{{"acknowledge":true,"retain":true,"eligible":[{}]}}"#, publisher.session);
    publisher.check(&format!(r#"[16,1,{options},"app.t",[1]]"#), &["[17,1,*]"]);
    other.check(r#"[48,1,{},"fennec.key.get",["app.t"]]"#, &["[50,1,{},[null]]"]);
    other.check(r#"[48,2,{},"fennec.key.list",["app.#"]]"#, &[r#"[50,2,{},[{"keys":[]}]]"#]);
    publisher.send(r#"[48,3,{},"fennec.key.get",["app.t"]]"#);
    assert!(publisher.received_answer().contains(r#""value":1"#));
    assert_eq!(retained_for(&mut other), [""; 0]);
}

#[test]
fn it_is_so_after_a_restart() {
    let world = World::new();
    let mut publisher = world.join();
    let options = r#"{"acknowledge":true,"retain":true,"eligible_authrole":["admin"]}"#;
    publisher.check(&format!(r#"[16,1,{options},"app.t",[1]]"#), &["[17,1,*]"]);
    let row = world.node.realm("realm1").unwrap();
    let topic = crate::types::topic::Topic::from_uri("app.t").unwrap();
    let value = row.retained(&topic, world.now_ms).unwrap();
    let roles = value.filter.as_ref().unwrap().eligible_authrole.clone().unwrap();
    assert!(roles.contains("admin"));
}

#[test]
fn events_with_a_resource_key_go_to_one_node() {
    let world = World::new();
    let mut publisher = world.join();
    let mut nodes = ["a", "b", "b"].map(|node| {
        let mut client = world.join();
        client.check(&format!(r#"[32,1,{{"match":"prefix","nkey":"{node}"}},"app"]"#), &["[33,1,*]"]);
        client
    });
    let mut all = world.join();
    all.check(r#"[32,1,{"match":"prefix"},"app"]"#, &["[33,1,*]"]);
    for number in 0..32 {
        for _ in 0..2 {
            publisher.send(&format!(r#"[16,1,{{"rkey":"sn{number}"}},"app.t",[{number}]]"#));
        }
    }
    let data = |client: &mut Client| -> Vec<String> {
        client.received().iter().map(|event| event[event.rfind(',').unwrap()..].to_owned()).collect()
    };
    let [a, b, b_too] = nodes.each_mut().map(data);
    assert_eq!(b, b_too, "sessions of one node get the same");
    assert!(!a.is_empty() && !b.is_empty());
    assert!(a.iter().all(|event| !b.contains(event)), "and no other node's");
    assert_eq!(a.len() + b.len(), 64);
    assert_eq!(data(&mut all).len(), 64, "who has no node key gets all");
    // Without a resource key it is for all nodes.
    publisher.send(r#"[16,1,{},"app.t",[0]]"#);
    assert_eq!(nodes.each_mut().map(|client| client.received().len()), [1, 1, 1]);
}

#[test]
fn large_and_durable_events_go_to_one_node_too() {
    let world = World::new();
    let mut publisher = world.join();
    let mut nodes = ["a", "b"].map(|node| {
        let mut client = world.join();
        client.check(&format!(r#"[32,1,{{"match":"wildcard","nkey":"{node}"}},".t"]"#), &["[33,1,*]"]);
        client
    });
    let large = "x".repeat(10_000);
    for number in 0..16 {
        publisher.send(&format!(r#"[16,1,{{"rkey":"sn{number}"}},"app.t",["{large}"]]"#));
        publisher.send(&format!(r#"[16,2,{{"rkey":"sn{number}"}},"log.t",[1]]"#));
    }
    publisher.received();
    let [a, b] = nodes.each_mut().map(|client| client.received().len());
    assert_eq!(a + b, 32);
    assert!(a > 0 && b > 0);
}

#[test]
fn a_sharded_subscription_looks_at_nothing_of_the_past() {
    let mut client = World::new().join();
    for (request, option) in (1..).zip([r#""rewind":1"#, r#""durable":"d""#, r#""after":1"#]) {
        let subscribe = format!(r#"[32,{request},{{"nkey":"a",{option}}},"log.t"]"#);
        client.check_error(&subscribe, 32, request, "wamp.error.invalid_argument");
    }
    client.check_error(r#"[32,9,{"nkey":1},"log.t"]"#, 32, 9, "wamp.error.invalid_argument");
}
