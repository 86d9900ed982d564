//! Durable topics, keys and locks, on a store that outlives the broker.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::{RAWSOCKET, Running, WEBSOCKET};
use crate::client::{Client, Format, Transport};

const DURABLE: &str = "[[durable]]\ntopic = \"log/#\"\n";
const MSGPACK: Transport = Transport::WebSocket(Format::MsgPack);

fn on(folder: &Path) -> Running {
    Running::start_on(DURABLE, ("data", folder.to_str().unwrap()))
}

/// Publishes `[number]`; the publication id.
fn publish(client: &mut Client, topic: &str, number: u64) -> Value {
    let published = client.check(json!([16, number, {"acknowledge": true}, topic, [number]]), json!([17, number]));
    published[2].clone()
}

/// The numbers of so many events, and the event ids.
fn read(client: &mut Client, count: usize) -> Vec<(u64, String)> {
    let event = |event: Value| {
        assert_eq!(event[0], 36, "{event}");
        (event[4][0].as_u64().unwrap(), event[3]["event_id"].as_str().unwrap_or_default().to_owned())
    };
    (0..count).map(|_| event(client.receive())).collect()
}

fn numbers(events: &[(u64, String)]) -> Vec<u64> {
    events.iter().map(|(number, _)| *number).collect()
}

fn call(client: &mut Client, procedure: &str, args: Value) -> Value {
    client.send(&json!([48, 99, {}, procedure, args]));
    client.receive()
}

#[test]
fn what_was_published_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path());
    let (mut publisher, mut subscriber) = (running.join(WEBSOCKET), running.join(MSGPACK));
    subscriber.check(json!([32, 1, {}, "log.a"]), json!([33, 1]));
    let ids: Vec<Value> = (1..=5).map(|number| publish(&mut publisher, "log.a", number)).collect();
    let seen = read(&mut subscriber, 5);
    assert!(seen.is_sorted_by(|one, other| one.1 < other.1), "event ids sort: {seen:?}");
    drop(running);
    let running = on(folder.path());
    for after in [ids[1].clone(), json!(seen[1].1)] {
        let mut client = running.join(RAWSOCKET);
        client.check(json!([32, 1, {"after": after}, "log.a"]), json!([33, 1]));
        let first = client.receive();
        assert_eq!(first[3]["recovered"], true, "{first}");
        assert_eq!((&first[2], &first[3]["event_id"]), (&ids[2], &json!(seen[2].1)), "the same ids as before");
        assert_eq!(numbers(&read(&mut client, 2)), [4, 5]);
        let mut publisher = running.join(WEBSOCKET);
        publish(&mut publisher, "log.a", 6);
        assert_eq!(numbers(&read(&mut client, 1)).len(), 1);
    }
}

#[test]
fn a_named_subscription_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let subscribe = json!([32, 1, {"durable": "mine", "acknowledge": "client"}, "app.a"]);
    let running = on(folder.path());
    let (mut publisher, mut client) = (running.join(WEBSOCKET), running.join(WEBSOCKET));
    let id = client.check(subscribe.clone(), json!([33, 1]))[2].clone();
    let ids: Vec<Value> = (1..=4).map(|number| publish(&mut publisher, "app.a", number)).collect();
    assert_eq!(numbers(&read(&mut client, 4)), [1, 2, 3, 4]);
    assert_eq!(call(&mut client, "fennec.subscription.ack", json!([id, ids[1]]))[0], 50);
    drop((publisher, client));
    running.stop();
    let running = on(folder.path());
    // It is wanted before anybody is there.
    let mut publisher = running.join(WEBSOCKET);
    publish(&mut publisher, "app.a", 5);
    let mut client = running.join(WEBSOCKET);
    client.check(subscribe, json!([33, 1]));
    assert_eq!(numbers(&read(&mut client, 3)), [3, 4, 5]);
}

#[test]
fn keys_survive_a_restart_and_locks_end_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path());
    let mut client = running.join(WEBSOCKET);
    assert_eq!(call(&mut client, "fennec.key.put", json!(["app.key", {"a": 1}]))[0], 50);
    assert_eq!(call(&mut client, "fennec.lock.acquire", json!(["app.lock"]))[0], 50);
    drop(running);
    let running = on(folder.path());
    let mut client = running.join(WEBSOCKET);
    assert_eq!(call(&mut client, "fennec.key.get", json!(["app.key"]))[3][0]["value"], json!({"a": 1}));
    let taken = call(&mut client, "fennec.lock.acquire", json!(["app.lock", {"timeout": 0}]));
    assert_eq!(taken[0], 50, "{taken}");
}

/// Publishers at full speed, and subscribers that join meanwhile at some place: each gets every event behind it, once, in order.
#[test]
fn replay_meets_live_events_under_load() {
    const COUNT: u64 = 3000;
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path());
    let address = running.address(WEBSOCKET);
    let publishing: Vec<_> = (0..2)
        .map(|publisher| {
            std::thread::spawn(move || {
                let mut client = Client::join(address, WEBSOCKET);
                for number in 0..COUNT {
                    client.send(&json!([16, number + 1, {}, format!("log.{publisher}"), [number]]));
                }
                publish(&mut client, &format!("log.{publisher}"), COUNT);
            })
        })
        .collect();
    let mut first = running.join(WEBSOCKET);
    first.check(json!([32, 1, {"after": "1970-01-01T00:00:00Z", "match": "prefix"}, "log"]), json!([33, 1]));
    let all = read(&mut first, 2 * (COUNT as usize + 1));
    publishing.into_iter().for_each(|publisher| publisher.join().unwrap());
    assert!(all.is_sorted_by(|one, other| one.1 < other.1), "in the order of the log, and each once");
    let mut joined = Vec::new();
    for at in [0, 1, 1000, 2 * COUNT as usize - 5] {
        let mut client = running.join(MSGPACK);
        client.check(json!([32, 1, {"after": all[at].1, "match": "prefix"}, "log"]), json!([33, 1]));
        joined.push((at, client));
    }
    for (at, mut client) in joined {
        let rest = read(&mut client, all.len() - at - 1);
        assert!(rest == all[at + 1..], "from {at} on");
    }
}

#[test]
fn subscribers_join_while_others_publish() {
    const COUNT: u64 = 2000;
    let running = Running::start_with(DURABLE);
    let address = running.address(WEBSOCKET);
    let publishing = std::thread::spawn(move || {
        let mut client = Client::join(address, WEBSOCKET);
        (1..=COUNT).for_each(|number| drop(publish(&mut client, "log.a", number)));
    });
    for _ in 0..20 {
        let mut client = running.join(WEBSOCKET);
        client.check(json!([32, 1, {"rewind": 10}, "log.a"]), json!([33, 1]));
        let got = numbers(&read(&mut client, 50));
        assert!(got.windows(2).all(|pair| pair[1] == pair[0] + 1), "no gap, no repeat: {got:?}");
    }
    publishing.join().unwrap();
}

/// Clients that fight for a lock: never two have it, and tokens rise.
#[test]
fn a_lock_is_never_held_twice() {
    const CLIENTS: usize = 4;
    const ROUNDS: usize = 15;
    let running = Running::start();
    let address = running.address(WEBSOCKET);
    let held = std::sync::Arc::new(std::sync::Mutex::new((None::<usize>, Vec::new())));
    let fighting: Vec<_> = (0..CLIENTS)
        .map(|name| {
            let held = held.clone();
            std::thread::spawn(move || {
                for round in 0..ROUNDS {
                    let mut client = Client::join(address, WEBSOCKET);
                    let result = call(&mut client, "fennec.lock.acquire", json!(["app.lock"]));
                    let token = result[3][0]["token"].as_u64().unwrap_or_else(|| panic!("no lock: {result}"));
                    {
                        let mut held = held.lock().unwrap();
                        assert_eq!(held.0.replace(name), None, "somebody has it already");
                        held.1.push(token);
                    }
                    std::thread::yield_now();
                    assert_eq!(held.lock().unwrap().0.take(), Some(name));
                    // It is given back, or the holder dies.
                    if round % 2 == 0 {
                        assert_eq!(call(&mut client, "fennec.lock.release", json!(["app.lock"]))[3][0], true);
                    }
                }
            })
        })
        .collect();
    fighting.into_iter().for_each(|client| client.join().unwrap());
    let tokens = held.lock().unwrap().1.clone();
    assert_eq!(tokens.len(), CLIENTS * ROUNDS);
    assert!(tokens.is_sorted(), "{tokens:?}");
    assert_eq!(tokens.iter().collect::<BTreeSet<_>>().len(), tokens.len());
}

/// The way of autobahn-js: options that say what the key must be, and what becomes of it.
#[test]
fn publishers_wait_for_a_key_in_the_order_of_arrival() {
    let running = Running::start();
    let options = json!({"acknowledge": true, "retain": true, "when": null, "will": null, "watch": true});
    let lock = |request: u64| json!([16, request, options, "myapp.resource", [{"pid": request}]]);
    let mut clients: Vec<Client> = (0..3).map(|_| running.join(WEBSOCKET)).collect();
    clients[0].check(lock(1), json!([17, 1]));
    for client in &mut clients[1..] {
        client.send(&lock(1));
        // What waits holds up nothing else; and so the next comes behind this one.
        client.check(json!([16, 2, {"acknowledge": true, "retain": true}, "other", [1]]), json!([17, 2]));
    }
    clients[0].check(json!([16, 2, {"acknowledge": true, "retain": true}, "myapp.resource"]), json!([17, 2]));
    clients[1].expect(json!([17, 1]));
    drop(clients.remove(1));
    clients[1].expect(json!([17, 1]));
}
