//! PUBLISH with `when`, `watch` and `will`: what the durable log decides, and when the publisher is told.

use super::*;

/// A PUBLISH of `[value]` to `a.key` that is acknowledged, with these options.
fn put(request: u32, options: &str, value: &str) -> String {
    let comma = if options.is_empty() { "" } else { "," };
    format!(r#"[16,{request},{{"acknowledge":true,"retain":true{comma}{options}}},"a.key"{value}]"#)
}

fn failed(request: u32, uri: &str, text: &str) -> String {
    format!(r#"[8,16,{request},{{}},"{uri}",["{text}"]]"#)
}

const CONDITION_FAILED: (&str, &str) = ("fennec.error.condition_failed", "the condition does not hold");

#[test]
fn the_publication_id_of_a_durable_event_leads_back_to_its_number() {
    let world = World::new();
    let (mut publisher, mut subscriber) = (world.join(), world.join());
    subscriber.check(r#"[32,1,{},"a.key"]"#, &["[33,1,1]"]);
    publisher.send(&put(1, "", ",[1]"));
    let published = publisher.received().remove(0);
    let id = published.strip_prefix("[17,1,").and_then(|rest| rest.strip_suffix(']')).unwrap();
    let number = world.node.log.number_of(crate::types::ids::PublicationId(id.parse().unwrap()));
    assert_eq!(number, Some(world.node.log.fed()));
    subscriber.expect(&[&format!(r#"[36,1,{id},{{"event_id":"EVENT"}},[1]]"#)]);
}

#[test]
fn acknowledgements_keep_the_order_of_what_was_asked() {
    let world = World::new();
    let mut client = world.join();
    client.send_bytes(put(1, "", ",[1]").as_bytes(), true);
    client.check(r#"[16,2,{"acknowledge":true},"plain"]"#, &["[17,1,*]", "[17,2,*]"]);
}

#[test]
fn a_key_that_must_not_be_there_is_set_once() {
    for when in [r#""when":null"#, r#""_when":null"#] {
        let world = World::new();
        let (mut one, mut other) = (world.join(), world.join());
        one.check(&put(1, when, ",[1]"), &["[17,1,*]"]);
        other.check(&put(1, when, ",[2]"), &[&failed(1, CONDITION_FAILED.0, CONDITION_FAILED.1)]);
        other.check(
            r#"[32,2,{"get_retained":true},"a.key"]"#,
            &["[33,2,1]", r#"[36,1,*,{"retained":true,"event_id":"EVENT"},[1]]"#],
        );
    }
}

#[test]
fn undefined_is_no_condition() {
    let world = World::new();
    for (subprotocol, absent) in [("wamp.2.msgpack", &b"\xd4\x00\x00"[..]), ("wamp.2.cbor", b"\xf7")] {
        let mut client = world.connect_by(subprotocol);
        client.join(HELLO);
        for request in 1..3_u8 {
            let (map, key) = if subprotocol.ends_with("cbor") { (0xa3, 0x60) } else { (0x83, 0xa0) };
            let text = |text: &str| [&[key | text.len() as u8], text.as_bytes()].concat();
            let yes: &[u8] = if key == 0x60 { b"\xf5" } else { b"\xc3" };
            let number: &[u8] = b"\x10";
            let list = if key == 0x60 { 0x85 } else { 0x95 };
            let one = if key == 0x60 { 0x81 } else { 0x91 };
            let message = [
                &[list][..],
                number,
                &[request],
                &[map],
                &text("acknowledge"),
                yes,
                &text("retain"),
                yes,
                &text("when"),
                absent,
                &text("a.key"),
                &[one, 1],
            ]
            .concat();
            client.send_bytes(&message, false);
            client.expect(&[&format!("[17,{request},*]")]);
        }
    }
}

#[test]
fn fields_are_compared_with_the_value() {
    let world = World::new();
    let mut client = world.join();
    let no = |request| failed(request, CONDITION_FAILED.0, CONDITION_FAILED.1);
    client.check(&put(1, r#""when":{"state":"on"}"#, r#",[{"state":"off"}]"#), &[&no(1)]);
    client.check(&put(2, "", r#",[{"state":"on","by":{"name":"joe"}}]"#), &["[17,2,*]"]);
    client.check(&put(3, r#""when":{"by":{"name":"ann"}}"#, r#",[{"state":"off"}]"#), &[&no(3)]);
    client.check(&put(4, r#""when":{"by":{"name":"joe"},"state":"on"}"#, r#",[{"state":"off"}]"#), &["[17,4,*]"]);
    client.check(&put(5, r#""when":{"state":"off"}"#, ""), &["[17,5,*]"]);
    client.check(&put(6, r#""when":null"#, ",[1]"), &["[17,6,*]"]);
}

#[test]
fn conditions_are_for_retained_publications() {
    let world = World::new();
    let mut client = world.join();
    for option in [r#""when":null"#, r#""will":null"#, r#""when":{},"watch":true"#] {
        let publish = format!(r#"[16,1,{{"acknowledge":true,{option}}},"a.key",[1]]"#);
        client.check_error(&publish, 16, 1, "wamp.error.invalid_argument");
    }
    for option in [r#""when":true"#, r#""when":[]"#, r#""when":"x""#, r#""when":-1"#, r#""watch":true"#, r#""watch":1"#]
    {
        client.check_error(&put(2, option, ",[1]"), 16, 2, "wamp.error.invalid_argument");
    }
    client.check_error(&put(3, r#""when":null,"timeout":"x""#, ",[1]"), 16, 3, "wamp.error.invalid_argument");
}

#[test]
fn who_watches_waits_in_the_order_of_arrival() {
    let world = World::new();
    let (mut holder, mut second, mut third) = (world.join(), world.join(), world.join());
    let lock = r#""when":null,"watch":true,"will":null"#;
    holder.check(&put(1, lock, ",[1]"), &["[17,1,*]"]);
    second.check(&put(1, lock, ",[2]"), &[]);
    third.check(&put(1, lock, ",[3]"), &[]);
    // What waits holds up nothing else.
    second.check(r#"[16,2,{"acknowledge":true},"plain"]"#, &["[17,2,*]"]);
    holder.check(&put(2, "", ""), &["[17,2,*]"]);
    third.expect(&[]);
    second.expect(&["[17,1,*]"]);
    drop(second);
    third.expect(&["[17,1,*]"]);
}

#[test]
fn a_wait_ends_with_its_time() {
    let mut world = World::new();
    let (mut holder, mut waiting) = (world.join(), world.join());
    holder.check(&put(1, r#""when":null"#, ",[1]"), &["[17,1,*]"]);
    waiting.check(&put(1, r#""when":null,"watch":true,"timeout":500"#, ",[2]"), &[]);
    world.tick(499);
    waiting.expect(&[]);
    world.tick(2);
    waiting.expect(&[&failed(1, "wamp.error.timeout", "the condition did not hold in time")]);
}

#[test]
fn a_will_takes_effect_however_the_session_ends() {
    let world = World::new();
    let mut watcher = world.join();
    watcher.check(r#"[32,1,{},"a.key"]"#, &["[33,1,1]"]);
    let event = |value: &str| format!(r#"[36,1,*,{{"event_id":"EVENT"}}{value}]"#);
    for (will, left, orderly) in [
        (r#""will":null"#, "", false),
        (r#""will":null"#, "", true),
        (r#""will":[7]"#, ",[7]", false),
        (r#""_will":{"kwargs":{"gone":true}}"#, r#",[],{"gone":true}"#, true),
    ] {
        let mut client = world.join();
        client.check(&put(1, will, ",[1]"), &["[17,1,*]"]);
        watcher.expect(&[&event(",[1]")]);
        if orderly {
            client.check(r#"[6,{},"wamp.close.normal"]"#, &[r#"[6,{},"wamp.close.goodbye_and_out"]"#]);
        }
        drop(client);
        watcher.expect(&[&event(left)]);
    }
}

#[test]
fn a_will_is_undone_when_somebody_else_has_changed_the_value() {
    let world = World::new();
    let (mut client, mut other) = (world.join(), world.join());
    client.check(&put(1, r#""will":null"#, ",[1]"), &["[17,1,*]"]);
    other.check(&put(1, "", ",[2]"), &["[17,1,*]"]);
    drop(client);
    let retained = r#"[36,1,*,{"retained":true,"event_id":"EVENT"},[2]]"#;
    other.check(r#"[32,2,{"get_retained":true},"a.key"]"#, &["[33,2,1]", retained]);
}

#[test]
fn a_value_that_is_to_stay_outlives_an_orderly_end() {
    let world = World::new();
    for (goodbye, stays) in [(true, true), (false, false)] {
        let mut client = world.join();
        client.check(&put(1, r#""will":null,"stays":true"#, ",[1]"), &["[17,1,*]"]);
        if goodbye {
            client.check(r#"[6,{},"wamp.close.normal"]"#, &[r#"[6,{},"wamp.close.goodbye_and_out"]"#]);
        }
        drop(client);
        let mut reader = world.join();
        let retained = r#"[36,*,*,{"retained":true,"event_id":"EVENT"},[1]]"#;
        let all = ["[33,2,*]", retained];
        reader.check(r#"[32,2,{"get_retained":true},"a.key"]"#, &all[..if stays { 2 } else { 1 }]);
    }
}

#[test]
fn goodbye_comes_behind_what_was_asked_before() {
    let world = World::new();
    let mut client = world.join();
    let frame = [put(1, "", ",[1]").as_str(), r#"[6,{},"wamp.close.normal"]"#].map(str::to_owned);
    let read = frame.map(|message| Bytes::from(message.into_bytes()));
    // Both in one read.
    for message in &read {
        let flow = MessageGate::message(&mut client.gate, message, true, client.now_ms);
        assert!(matches!(flow, Flow::Continue));
    }
    assert!(client.gate.must_wait(), "nothing is read behind GOODBYE");
    client.gate.finish(client.now_ms);
    client.expect(&["[17,1,*]", r#"[6,{},"wamp.close.goodbye_and_out"]"#]);
    client.join(HELLO);
}

#[test]
fn what_was_just_published_is_among_the_retained_values() {
    let world = World::new();
    let mut client = world.join();
    let subscribe = r#"[32,2,{"get_retained":true},"a.key"]"#;
    for message in [put(1, "", ",[1]").as_str(), subscribe] {
        let message = Bytes::copy_from_slice(message.as_bytes());
        let _ = MessageGate::message(&mut client.gate, &message, true, client.now_ms);
    }
    client.gate.finish(client.now_ms);
    client.expect(&["[33,2,1]", "[17,1,*]", r#"[36,1,*,{"retained":true,"event_id":"EVENT"},[1]]"#]);
}

#[test]
fn without_a_store_a_publish_that_must_be_durable_fails_and_others_do_not() {
    let world = World::new();
    world.broken.store(true, Ordering::Relaxed);
    let mut client = world.join();
    client.check_error(&put(1, "", ",[1]"), 16, 1, "fennec.error.store_unavailable");
    client.check(r#"[16,2,{"acknowledge":true},"plain"]"#, &["[17,2,*]"]);
}
