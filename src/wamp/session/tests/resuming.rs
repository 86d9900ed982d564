//! SUBSCRIBE with `after`, `rewind`, `snapshot`, `durable` and `filter`.

use super::*;
use crate::types::event_id::EventId;

const HELLO_REVOCABLE: &str =
    r#"[1,"realm1",{"roles":{"subscriber":{"features":{"subscription_revocation":true}},"publisher":{}}}]"#;

/// Publishes `[number]` for each of these to `log.a`, each in a commit of its own.
pub(super) fn publish(client: &mut Client, numbers: std::ops::RangeInclusive<u32>) -> Vec<u64> {
    numbers.map(|number| publish_to(client, "log.a", &number.to_string())).collect()
}

/// The publication id.
pub(super) fn publish_to(client: &mut Client, topic: &str, value: &str) -> u64 {
    client.send(&format!(r#"[16,7,{{"acknowledge":true}},"{topic}",[{value}]]"#));
    let received = client.received();
    let id = received[0].strip_prefix("[17,7,").and_then(|rest| rest.strip_suffix(']'));
    id.unwrap_or_else(|| panic!("{received:?}")).parse().unwrap()
}

/// The event id of a publication.
pub(super) fn event_id(world: &World, publication: u64) -> EventId {
    let number = world.node.log.number_of(crate::types::ids::PublicationId(publication)).unwrap();
    world.node.log.event_id_of(number).unwrap()
}

/// EVENT of a subscription without a topic, the first with what was recovered.
fn events(subscription: u32, numbers: std::ops::RangeInclusive<u32>, first: &str) -> Vec<String> {
    let mut first = Some(first);
    numbers
        .map(|number| {
            let recovery = first.take().unwrap_or_default();
            format!(r#"[36,{subscription},*,{{"event_id":"EVENT"{recovery}}},[{number}]]"#)
        })
        .collect()
}

const RECOVERED: &str = r#","recovered":true,"first_available":"FIRST""#;

#[track_caller]
fn expect(client: &mut Client, expected: &[Vec<String>]) {
    let expected = expected.concat();
    let received: Vec<String> = client.received().into_iter().map(without_first_available).collect();
    let alike =
        received.len() == expected.len() && received.iter().zip(&expected).all(|(got, wanted)| is_like(got, wanted));
    assert!(alike, "received {received:#?}\nexpected {expected:#?}");
}

fn without_first_available(message: String) -> String {
    const KEY: &str = "\"first_available\":\"";
    let Some(at) = message.find(KEY).map(|at| at + KEY.len()) else { return message };
    let len = message[at..].find('"').unwrap();
    format!("{}FIRST{}", &message[..at], &message[at + len..])
}

fn subscribed(request: u32, subscription: u32) -> Vec<String> {
    vec![format!("[33,{request},{subscription}]")]
}

#[test]
fn a_subscriber_gets_what_came_behind_what_it_remembers() {
    let world = World::new();
    let mut publisher = world.join();
    let ids = publish(&mut publisher, 1..=5);
    let id = event_id(&world, ids[2]);
    for after in [ids[2].to_string(), format!("\"{id}\"")] {
        for name in ["after", "_after"] {
            let mut client = world.join();
            client.send(&format!(r#"[32,1,{{"{name}":{after}}},"log.a"]"#));
            let subscription = client.received_subscription();
            expect(&mut client, &[events(subscription, 4..=5, RECOVERED)]);
        }
    }
}

#[test]
fn a_subscriber_gets_what_came_since_a_time() {
    let mut world = World::new();
    let mut publisher = world.join();
    publish(&mut publisher, 1..=3);
    world.tick(60_000);
    publish(&mut publisher, 4..=5);
    let time = |ms: u64| crate::types::time::rfc3339(ms * 1000);
    let mut client = world.join();
    client.send(&format!(r#"[32,1,{{"after":"{}"}},"log.a"]"#, time(NOW_MS + 1000)));
    expect(&mut client, &[subscribed(1, 1), events(1, 4..=5, RECOVERED)]);
    client.send(&format!(r#"[32,2,{{"after":"{}","match":"prefix"}},"log"]"#, time(0)));
    let received = client.received();
    assert_eq!(received.len(), 6, "{received:?}");
    client.send(&format!(r#"[32,3,{{"after":"{}","filter":{{}}}},"log.a"]"#, time(world.now_ms + 1)));
    client.expect(&["[33,3,*]"]);
}

#[test]
fn the_last_events_are_sent_first() {
    let world = World::new();
    let mut publisher = world.join();
    publish(&mut publisher, 1..=5);
    publish_to(&mut publisher, "log.b", "0");
    for (count, first) in [(2, 4), (5, 1), (9, 1)] {
        let mut client = world.join();
        client.send(&format!(r#"[32,1,{{"rewind":{count}}},"log.a"]"#));
        let subscription = client.received_subscription();
        expect(&mut client, &[events(subscription, first..=5, RECOVERED)]);
    }
    let mut client = world.join();
    client.check(r#"[32,1,{"rewind":0},"log.a"]"#, &["[33,1,*]"]);
}

#[test]
fn replay_and_live_events_meet() {
    let world = World::new();
    let (mut publisher, mut client) = (world.join(), world.join());
    publish(&mut publisher, 1..=3);
    client.send(r#"[32,1,{"rewind":2},"log.a"]"#);
    publish(&mut publisher, 4..=5);
    expect(&mut client, &[subscribed(1, 1), events(1, 2..=5, RECOVERED)]);
    publish(&mut publisher, 6..=7);
    expect(&mut client, &[events(1, 6..=7, "")]);
}

#[test]
fn the_first_event_tells_what_was_recovered_even_if_it_is_live() {
    let world = World::new();
    let (mut publisher, mut client) = (world.join(), world.join());
    publish(&mut publisher, 1..=1);
    client.send(r#"[32,1,{"rewind":0},"log.a"]"#);
    expect(&mut client, &[subscribed(1, 1)]);
    publish(&mut publisher, 2..=3);
    expect(&mut client, &[events(1, 2..=2, RECOVERED), events(1, 3..=3, "")]);
}

#[test]
fn what_is_not_remembered_here_is_not_recovered() {
    let world = World::new();
    let (mut publisher, mut client) = (world.join(), world.join());
    publish(&mut publisher, 1..=2);
    // Of another log: behind the end of this one.
    client.send(r#"[32,1,{"after":"9912312359a1a1"},"log.a"]"#);
    expect(&mut client, &[subscribed(1, 1)]);
    publish(&mut publisher, 3..=3);
    let lost = r#","recovered":false,"first_available":"FIRST""#;
    expect(&mut client, &[events(1, 3..=3, lost)]);
    // Of a publication that is not durable.
    client.send(r#"[32,2,{"after":5,"match":"prefix"},"log.a"]"#);
    publish(&mut publisher, 4..=4);
    let received = client.received();
    assert!(received.last().unwrap().contains(r#""recovered":false"#), "{received:?}");
}

#[test]
fn a_pattern_is_told_the_topics_of_what_it_missed() {
    let world = World::new();
    let (mut publisher, mut client) = (world.join(), world.join());
    publish_to(&mut publisher, "log.a.b", "1");
    publish_to(&mut publisher, "log.c", "2");
    client.send(r##"[32,1,{"rewind":5},"log.#"]"##);
    expect(
        &mut client,
        &[
            subscribed(1, 1),
            vec![
                r#"[36,1,*,{"topic":"log.a.b","event_id":"EVENT","recovered":true,"first_available":"FIRST"},[1]]"#
                    .to_owned(),
                r#"[36,1,*,{"topic":"log.c","event_id":"EVENT"},[2]]"#.to_owned(),
            ],
        ],
    );
}

#[test]
fn options_that_cannot_be_meant_are_refused() {
    let world = World::new();
    let mut client = world.join();
    for options in [
        r#""after":"yesterday""#,
        r#""after":1.5"#,
        r#""after":true"#,
        r#""rewind":-1"#,
        r#""rewind":1,"after":5"#,
        r#""snapshot":true"#,
        r#""snapshot":true,"rewind":1,"durable":"d""#,
        r#""snapshot":1"#,
        r#""filter":[]"#,
        r#""after_id":5"#,
        r#""durable":"""#,
        r#""durable":5"#,
        r#""durable":"d","acknowledge":"never""#,
        r#""acknowledge":"client""#,
        r#""group":true"#,
        r#""durable":"d","deliveries_max":70000"#,
        r#""durable":"d","dead_letter_topic":"a..b""#,
        r#""durable":"d","order_by":5"#,
    ] {
        client.check_error(&format!(r#"[32,1,{{{options}}},"log.a"]"#), 32, 1, "wamp.error.invalid_argument");
    }
}

#[test]
fn a_snapshot_ends() {
    let world = World::new();
    let mut publisher = world.join();
    publish(&mut publisher, 1..=3);
    let mut client = world.connect();
    client.join(HELLO_REVOCABLE);
    client.send(r#"[32,1,{"snapshot":true,"rewind":2},"log.a"]"#);
    let subscription = client.received_subscription();
    let end = format!(r#"[35,0,{{"subscription":{subscription},"reason":"fennec.close.snapshot_end"}}]"#);
    expect(&mut client, &[events(subscription, 2..=3, RECOVERED), vec![end]]);
    publish(&mut publisher, 4..=4);
    client.expect(&[]);
    client.check_error(&format!("[34,2,{subscription}]"), 34, 2, "wamp.error.no_such_subscription");
    // One that does not understand revocations.
    let mut client = world.join();
    client.send(r#"[32,1,{"_snapshot":true,"_rewind":1},"log.a"]"#);
    let subscription = client.received_subscription();
    let end = format!(r#"[36,{subscription},1,{{"snapshot_end":true}}]"#);
    expect(&mut client, &[events(subscription, 4..=4, RECOVERED), vec![end]]);
}

#[test]
fn a_snapshot_may_be_of_retained_values() {
    let world = World::new();
    let mut client = world.connect();
    client.join(HELLO_REVOCABLE);
    client.check(r#"[16,1,{"retain":true},"k.a",[1]]"#, &[]);
    client.check(r#"[16,1,{"retain":true},"k.b",[2]]"#, &[]);
    let value = |topic: &str, value: u32| {
        format!(r#"[36,*,*,{{"topic":"{topic}","retained":true,"event_id":"EVENT"}},[{value}]]"#)
    };
    let end = r#"[35,0,{"subscription":*,"reason":"fennec.close.snapshot_end"}]"#;
    client.check(
        r##"[32,2,{"snapshot":true,"get_retained":true},"k.#"]"##,
        &["[33,2,*]", &value("k.a", 1), &value("k.b", 2), end],
    );
    client.check(r##"[32,3,{"snapshot":true,"get_retained":true},"none.#"]"##, &["[33,3,*]", end]);
    // First the log, then the values.
    let mut publisher = world.join();
    publish(&mut publisher, 1..=1);
    publish_to(&mut publisher, "log.b", "2");
    client.send(r##"[32,4,{"snapshot":true,"get_retained":true,"rewind":2},"#"]"##);
    let received = client.received();
    assert_eq!(received.len(), 6, "{received:#?}");
    assert!(received[2].contains("log.b") && received[3].contains("retained"), "{received:#?}");
}

#[test]
fn a_filter_lets_only_matching_events_through() {
    let world = World::new();
    let (mut publisher, mut client) = (world.join(), world.join());
    client.check(r#"[32,1,{"filter":{"kind":"x"}},"plain"]"#, &["[33,1,*]"]);
    client.check(r#"[32,2,{},"plain"]"#, &["[33,2,*]"]);
    publisher.check(r#"[16,1,{},"plain",[{"kind":"y"}]]"#, &[]);
    client.expect(&[r#"[36,1,*,{},[{"kind":"y"}]]"#]);
    publisher.check(r#"[16,1,{},"plain",[],{"kind":"x","more":1}]"#, &[]);
    let received = client.received();
    assert_eq!(received.len(), 2, "{received:?}");
    // And in what was before.
    for (number, kind) in [(1, "x"), (2, "y"), (3, "x")] {
        publish_to(&mut publisher, "log.f", &format!(r#"{{"kind":"{kind}","n":{number}}}"#));
    }
    client.send(r#"[32,3,{"filter":{"kind":"x"},"rewind":5},"log.f"]"#);
    publish_to(&mut publisher, "log.f", r#"{"kind":"y","n":4}"#);
    publish_to(&mut publisher, "log.f", r#"{"kind":"x","n":5}"#);
    let received = client.received();
    let numbers: Vec<_> = received.iter().filter_map(|event| event.split("\"n\":").nth(1)?.chars().next()).collect();
    assert_eq!(numbers, ['1', '3', '5'], "{received:?}");
}

#[test]
fn filters_are_subscriptions_of_their_own() {
    let world = World::new();
    let (mut one, mut two) = (world.join(), world.join());
    let id = |client: &mut Client, options: &str| {
        client.send(&format!(r#"[32,1,{{{options}}},"plain"]"#));
        client.received_subscription()
    };
    let plain = id(&mut one, "");
    let x = id(&mut one, r#""filter":{"a":1}"#);
    assert!(plain != x);
    assert_eq!(id(&mut two, r#""filter":{"a":1}"#), x);
    assert!(id(&mut two, r#""filter":{"a":2}"#) != x);
    one.check(&format!("[34,2,{plain}]"), &["[35,2]"]);
    two.check(r#"[16,1,{},"plain",[{"a":1}]]"#, &[]);
    one.expect(&[&format!(r#"[36,{x},*,{{}},[{{"a":1}}]]"#)]);
    one.check(&format!("[34,3,{x}]"), &["[35,3]"]);
    two.check(r#"[16,1,{},"plain",[{"a":1}]]"#, &[]);
    one.expect(&[]);
}

#[test]
fn a_named_subscription_goes_on_where_it_was() {
    let world = World::new();
    let mut publisher = world.join();
    let mut client = world.join();
    client.send(r#"[32,1,{"durable":"mine"},"app.a"]"#);
    client.received_subscription();
    for number in 1..=2 {
        publish_to(&mut publisher, "app.a", &number.to_string());
    }
    assert_eq!(client.received().len(), 2, "live, and in the log though the topic is not durable itself");
    drop(client);
    for number in 3..=4 {
        publish_to(&mut publisher, "app.a", &number.to_string());
    }
    let mut client = world.join();
    client.send(r#"[32,1,{"durable":"mine"},"app.a"]"#);
    let subscription = client.received_subscription();
    expect(&mut client, &[events(subscription, 3..=4, RECOVERED)]);
    // Of another topic, or kind.
    client.check_error(r#"[32,2,{"durable":"mine"},"app.b"]"#, 32, 2, "fennec.error.conflict");
    client.check_error(r#"[32,2,{"durable":"mine","acknowledge":"client"},"app.a"]"#, 32, 2, "fennec.error.conflict");
}

#[test]
fn a_new_named_subscription_may_begin_in_the_past() {
    let world = World::new();
    let mut publisher = world.join();
    publish(&mut publisher, 1..=3);
    let mut client = world.join();
    client.send(r#"[32,1,{"durable":"mine","rewind":2},"log.a"]"#);
    let subscription = client.received_subscription();
    expect(&mut client, &[events(subscription, 2..=3, RECOVERED)]);
    drop(client);
    let mut client = world.join();
    client.send(r#"[32,1,{"durable":"mine","rewind":2},"log.a"]"#);
    client.received_subscription();
    client.expect(&[]);
}

#[test]
fn who_comes_last_has_a_named_subscription() {
    let world = World::new();
    let mut publisher = world.join();
    let (mut old, mut new) = (world.connect(), world.join());
    old.join(HELLO_REVOCABLE);
    old.check(r#"[32,1,{"durable":"mine"},"log.a"]"#, &["[33,1,*]"]);
    publish(&mut publisher, 1..=1);
    assert_eq!(old.received().len(), 1);
    new.check(r#"[32,1,{"durable":"mine"},"log.a"]"#, &["[33,1,*]"]);
    old.expect(&[r#"[35,0,{"subscription":*,"reason":"fennec.close.taken_over"}]"#]);
    publish(&mut publisher, 2..=2);
    old.expect(&[]);
    assert_eq!(new.received().len(), 1);
}

#[test]
fn retained_values_wait_until_the_log_has_an_event() {
    let mut world = World::new();
    let mut client = world.join();
    client.check(r#"[16,1,{"retain":true},"k",[1]]"#, &[]);
    let id = world.node.log.last_event_id().unwrap();
    let value = r#"[36,1,*,{"retained":true,"event_id":"EVENT"},[1]]"#;
    client.check(&format!(r#"[32,2,{{"get_retained":true,"after_id":"{id}"}},"k"]"#), &["[33,2,1]", value]);
    let next = EventId { generator: id.generator + 1, ..id };
    client.check(&format!(r#"[32,3,{{"get_retained":true,"after_id":"{next}"}},"k"]"#), &["[33,3,1]"]);
    world.tick(50);
    client.now_ms = world.now_ms;
    client.expect(&[]);
    let mut other = world.join();
    other.check(r#"[16,1,{"retain":true},"other",[1]]"#, &[]);
    world.tick(50);
    client.expect(&[value]);
    // It does not wait for ever.
    let never = EventId { minute: id.minute + 1, ..id };
    client.check(&format!(r#"[32,4,{{"get_retained":true,"after_id":"{never}"}},"k"]"#), &["[33,4,1]"]);
    world.tick(10_000);
    client.now_ms = world.now_ms;
    client.expect(&[]);
    other.check(r#"[16,1,{"retain":true},"other",[1]]"#, &[]);
    world.tick(60_000);
    client.expect(&[]);
}

/// Numbers of the events that came.
fn numbers(client: &mut Client) -> Vec<u32> {
    let number = |event: &String| event.rsplit(",[").next()?.trim_end_matches(']').parse().ok();
    client.received().iter().filter_map(number).collect()
}

#[test]
fn each_event_of_a_group_is_for_one_member() {
    let world = World::new();
    let mut publisher = world.join();
    let subscribe = r#"[32,1,{"durable":"workers","group":true,"acknowledge":"client","window":2},"app.jobs"]"#;
    let mut members = [world.join(), world.join()];
    let ids = members.each_mut().map(|member| {
        member.send(subscribe);
        member.received_subscription()
    });
    let events: Vec<u64> = (1..=6).map(|number| publish_to(&mut publisher, "app.jobs", &number.to_string())).collect();
    let mut got = members.each_mut().map(numbers);
    assert_eq!(got.each_ref().map(Vec::len), [2, 2], "as many as they take: {got:?}");
    // Who is done gets more.
    let first = got[0][0];
    let ack = format!(r#"[48,9,{{}},"fennec.subscription.ack",[{},{}]]"#, ids[0], events[first as usize - 1]);
    members[0].send(&ack);
    let more = numbers(&mut members[0]);
    assert_eq!(more, [5]);
    got[0].extend(more);
    // What a member leaves is given to the others.
    let [one, mut two] = members;
    let left: Vec<u32> = got[0].iter().copied().filter(|number| *number != first).collect();
    drop(one);
    for number in &got[1] {
        two.send(&format!(
            r#"[48,{number},{{}},"fennec.subscription.ack",[{},{}]]"#,
            ids[1],
            events[*number as usize - 1]
        ));
    }
    let rest = numbers(&mut two);
    assert_eq!(rest.len(), 2, "{rest:?}");
    assert!(rest.iter().all(|number| left.contains(number)), "first what was left: {rest:?} of {left:?}");
}

#[test]
fn a_group_begins_where_its_first_member_says() {
    let world = World::new();
    let mut publisher = world.join();
    publish(&mut publisher, 1..=3);
    let mut member = world.join();
    member.send(r#"[32,1,{"group":"g","rewind":2},"log.a"]"#);
    let id = member.received_subscription();
    assert_eq!(numbers(&mut member), [2, 3]);
    member.check(&format!("[34,2,{id}]"), &["[35,2]"]);
    publish(&mut publisher, 4..=4);
    assert!(numbers(&mut member).is_empty());
    // What came meanwhile is for whoever comes next.
    let mut other = world.join();
    other.send(r#"[32,1,{"group":"g"},"log.a"]"#);
    other.received_subscription();
    assert_eq!(numbers(&mut other), [4]);
    other.send(r#"[48,9,{},"fennec.durable.remove",["g"]]"#);
    assert!(other.received_answer().starts_with("[50,9"));
    publish(&mut publisher, 5..=5);
    assert!(numbers(&mut other).is_empty());
}
