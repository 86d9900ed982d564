//! Keys and locks: what is read at one entry is what was acknowledged at another.

use std::time::Instant;

use fennec::types::value::Value;

use crate::LIMIT;
use crate::people::{Guest, World};

const ROUNDS: usize = 60;

fn value_of(entry: &Value) -> Option<&Value> {
    entry.get("value")
}

#[test]
fn a_key_is_read_at_any_entry_as_it_was_acknowledged_last() {
    let mut world = World::start();
    let mut guests: Vec<Guest> = (0..3).map(|entry| world.wamp(entry)).collect();
    for round in 0..ROUNDS {
        let (writer, reader) = (round % 3, (round + 1 + round / 3 % 2) % 3);
        let number = Value::from(round as u64);
        let put = guests[writer].call("fennec.key.put", vec!["state.fresh".into(), number.clone()]);
        world.get("an answer", put).expect("it is set");
        let got = world.get("an answer", guests[reader].call("fennec.key.get", vec!["state.fresh".into()]));
        assert_eq!(got.as_ref().map(value_of), Ok(Some(&number)), "entry {reader} after entry {writer}");
    }
    // So is what comes with a subscription.
    for round in 0..ROUNDS {
        let (writer, reader) = (round % 3, (round + 1 + round / 3 % 2) % 3);
        let topic = format!("state.t{round}");
        let put = guests[writer].call("fennec.key.put", vec![topic.clone().into(), format!("value {round}").into()]);
        world.get("an answer", put).expect("it is set");
        world.subscribe(&mut guests[reader], &topic, &[("get_retained", true.into())]);
        // One that the entry had not followed yet comes as an event, too.
        let before = world.texts_to(&mut guests[reader], &format!("value {round}"));
        let known = |text: &String| (0..=round).any(|round| *text == format!("value {round}"));
        assert!(before.iter().all(known), "entry {reader} after entry {writer}: {before:?}");
    }
    let acquired = world.get("an answer", guests[0].call("fennec.lock.acquire", vec!["locks.fresh".into()]));
    acquired.expect("the lock is free");
    let held = world.get("an answer", guests[2].call("fennec.lock.list", vec!["locks.#".into()])).expect("an answer");
    assert!(format!("{held:?}").contains("locks.fresh"), "{held:?}");

    // A minority is no matter; nobody else knows what is newest.
    world.cluster.kill("S1");
    world.get("an answer", guests[1].call("fennec.key.get", vec!["state.fresh".into()])).expect("a majority is there");
    world.cluster.kill("S2");
    let begun = Instant::now();
    let got = world.get("an answer", guests[1].call("fennec.key.get", vec!["state.fresh".into()]));
    let error = got.expect_err("nobody can know what the newest value is");
    assert!(error.contains("store_unavailable") && begun.elapsed() < LIMIT / 2, "{error}");
    // Who subscribes gets what the entry has.
    world.subscribe(&mut guests[1], "state.t0", &[("get_retained", true.into())]);
    world.texts_to(&mut guests[1], "value 0");
    world.cluster.begin_and_link("S2", LIMIT);
    // It waits for what the dead one may have heard of it, which on a loaded machine outlasts a read or two.
    let deadline = Instant::now() + LIMIT;
    loop {
        let got = world.get("an answer", guests[1].call("fennec.key.get", vec!["state.fresh".into()]));
        match got {
            Ok(_) => break,
            Err(error) => assert!(error.contains("store_unavailable") && Instant::now() < deadline, "{error}"),
        }
    }
}
