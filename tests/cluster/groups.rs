//! Consumer groups and shared subscriptions with members at several entries.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fennec::types::value::Value;

use crate::people::{Guest, World, text_of};

const QUIET: Duration = Duration::from_millis(300);
/// Events of which each member must have got some.
const TOO_MANY: usize = 600;

fn group() -> Vec<(&'static str, Value)> {
    vec![("durable", "workers".into()), ("group", true.into()), ("acknowledge", "client".into())]
}

fn member(world: &World, entry: usize, options: &[(&'static str, Value)]) -> Guest {
    let mut guest = world.wamp(entry);
    world.subscribe(&mut guest, "crash.work", options);
    guest
}

fn names(range: std::ops::RangeInclusive<usize>) -> Vec<String> {
    range.map(|number| format!("e{number}")).collect()
}

fn publish(world: &World, entry: usize, range: std::ops::RangeInclusive<usize>) {
    let names = names(range);
    let texts: Vec<&str> = names.iter().map(String::as_str).collect();
    world.publish(entry, "crash.work", &texts);
}

/// Has members acknowledge what they get until each of these came once; how many came to which.
#[track_caller]
fn work_off(world: &World, members: &mut [Guest], wanted: &[String]) -> Vec<usize> {
    let mut counts = vec![0; members.len()];
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let wanted: BTreeSet<&String> = wanted.iter().collect();
    let deadline = std::time::Instant::now() + crate::LIMIT;
    while seen.len() < wanted.len() {
        assert!(std::time::Instant::now() < deadline, "{seen:?} of {wanted:?}\n{}", world.cluster.all_said());
        for (at, member) in members.iter_mut().enumerate() {
            while let Some(message) = world.soon(member, Duration::from_millis(50)) {
                let text = text_of(&message);
                assert!(wanted.contains(&text), "{text} was done with, or is of nobody");
                assert_eq!(seen.insert(text.clone(), at), None, "{text} came twice");
                counts[at] += 1;
                world.get("an answer", member.ack(&message)).expect("it is acknowledged");
            }
        }
    }
    counts
}

#[test]
fn a_group_is_one_wherever_its_members_are() {
    let world = World::start();
    let mut members: Vec<Guest> = (0..3).map(|entry| member(&world, entry, &group())).collect();
    let (mut last, mut counts) = (0, vec![0; 3]);
    // All have room, so they take turns, as soon as each is known to the entry that delivers the group.
    while counts.iter().any(|count| *count < 5) {
        assert!(last < TOO_MANY, "{counts:?}");
        publish(&world, 1, last + 1..=last + 30);
        let more = work_off(&world, &mut members, &names(last + 1..=last + 30));
        counts.iter_mut().zip(more).for_each(|(count, more)| *count += more);
        last += 30;
    }
    publish(&world, 2, last + 1..=last + 3);
    work_off(&world, &mut members, &names(last + 1..=last + 3));
    assert!(members.iter_mut().all(|member| world.is_quiet(member, QUIET)), "an event came twice");
}

#[test]
fn what_a_member_had_goes_to_one_at_another_entry_when_it_goes_or_its_entry_dies() {
    let mut world = World::start();
    // The group is delivered by the first entry.
    let mut first = member(&world, 0, &group());
    let mut second = member(&world, 1, &group());
    let mut last = 0;
    let two = loop {
        assert!(last < TOO_MANY, "the second member gets nothing");
        publish(&world, 2, last + 1..=last + 4);
        last += 4;
        if let Some(event) = world.soon(&mut second, QUIET) {
            break event;
        }
    };
    let one = world.get("an event", first.message()).expect("a connection");
    assert_ne!(text_of(&one), text_of(&two));
    drop(second);
    let mut third = member(&world, 2, &group());
    // Nobody has said that any of them is done.
    world.cluster.kill("E1");
    let mut members = [third];
    work_off(&world, &mut members, &names(1..=last));
    publish(&world, 1, last + 1..=last + 2);
    work_off(&world, &mut members, &names(last + 1..=last + 2));
    last += 2;
    [third] = members;
    // A lost entry comes back: its members are of the same group.
    world.cluster.begin_and_link("E1", crate::LIMIT);
    let mut members = [member(&world, 0, &group()), third];
    let mut counts = vec![0; 2];
    while counts.contains(&0) {
        assert!(last < 2 * TOO_MANY, "{counts:?}");
        publish(&world, 1, last + 1..=last + 10);
        let more = work_off(&world, &mut members, &names(last + 1..=last + 10));
        counts.iter_mut().zip(more).for_each(|(count, more)| *count += more);
        last += 10;
    }
}

#[test]
fn an_event_that_no_member_is_done_with_goes_to_the_dead_letter_topic_once() {
    let world = World::start();
    let mut mourner = world.wamp(2);
    world.subscribe(&mut mourner, "crash.dead", &[]);
    let mut options = group();
    // If its entry has not said in time that it was sent, it counts as not delivered.
    options.extend([("ack_timeout", 2000_u64.into()), ("deliveries_max", 2_u64.into())]);
    options.push(("dead_letter_topic", "crash.dead".into()));
    let (mut first, mut second) = (member(&world, 0, &options), member(&world, 1, &options));
    publish(&world, 2, 1..=1);
    assert_eq!(world.text(&mut mourner), "e1");
    assert!(world.is_quiet(&mut mourner, QUIET), "it is buried once");
    let mut deliveries = 0;
    for member in [&mut first, &mut second] {
        while world.soon(member, Duration::from_millis(50)).is_some() {
            deliveries += 1;
        }
    }
    assert_eq!(deliveries, 2);
}

#[test]
fn events_of_one_key_are_under_way_one_at_a_time_over_all_entries() {
    let world = World::start();
    let mut options = group();
    options.push(("order_by", "key".into()));
    let mut members: Vec<Guest> = (0..3).map(|entry| member(&world, entry, &options)).collect();
    let of = |number: usize| format!(r#"{{"key": "a", "number": {number}}}"#);
    let texts: Vec<String> = (1..=6).map(of).collect();
    world.publish(1, "crash.work", &texts.iter().map(String::as_str).collect::<Vec<_>>());
    let mut got = 0;
    let deadline = std::time::Instant::now() + crate::LIMIT;
    while got < 6 {
        assert!(std::time::Instant::now() < deadline, "only {got} came\n{}", world.cluster.all_said());
        let mut here = Vec::new();
        for (at, member) in members.iter_mut().enumerate() {
            here.extend(world.soon(member, Duration::from_millis(100)).map(|message| (at, message)));
        }
        assert!(here.len() <= 1, "{} events of one key are under way", here.len());
        for (at, message) in here {
            got += 1;
            let document = message.payload.as_ref().document(fennec::types::payload::Codec::Auto);
            assert_eq!(document.get("number").and_then(Value::as_u64), Some(got as u64));
            world.get("an answer", members[at].ack(&message)).expect("it is acknowledged");
        }
    }
}

fn shared(world: &World, mut guest: Guest) -> Guest {
    world.subscribe(&mut guest, "$share/g/crash/work", &[]);
    guest
}

/// Takes events, each of which must come to one guest, until there are so many.
#[track_caller]
fn take_once<const N: usize>(
    world: &World,
    mut guests: [&mut Guest; N],
    seen: &mut BTreeSet<String>,
    counts: &mut [usize; N],
    wanted: usize,
) {
    let deadline = std::time::Instant::now() + crate::LIMIT;
    while seen.len() < wanted {
        assert!(std::time::Instant::now() < deadline, "only {seen:?} came\n{}", world.cluster.all_said());
        for (at, guest) in guests.iter_mut().enumerate() {
            while let Some(message) = world.soon(guest, Duration::from_millis(50)) {
                assert!(seen.insert(text_of(&message)), "{} came twice", text_of(&message));
                counts[at] += 1;
            }
        }
    }
}

#[test]
fn a_shared_subscription_of_sessions_that_end_with_their_connection_is_one_group_too() {
    let world = World::start();
    let share = |entry: usize, id: &str| shared(&world, world.passing_mqtt(entry, id));
    let (mut first, mut second, mut third) = (share(0, "one"), share(1, "two"), share(2, "three"));
    let (mut seen, mut counts) = (BTreeSet::new(), [0; 3]);
    while counts.contains(&0) {
        assert!(seen.len() < TOO_MANY, "{counts:?}");
        publish(&world, 2, seen.len() + 1..=seen.len() + 30);
        let wanted = seen.len() + 30;
        take_once(&world, [&mut first, &mut second, &mut third], &mut seen, &mut counts, wanted);
    }
    assert!([&mut first, &mut second, &mut third].into_iter().all(|guest| world.is_quiet(guest, QUIET)));
}

#[test]
fn a_shared_subscription_of_kept_sessions_is_one_group_over_all_entries() {
    let world = World::start();
    let share = |entry: usize, id: &str| shared(&world, world.mqtt(entry, id));
    let (mut first, mut second) = (share(0, "one"), share(1, "two"));
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut counts = [0, 0];
    while counts.contains(&0) {
        assert!(seen.len() < TOO_MANY, "{counts:?}");
        publish(&world, 2, seen.len() + 1..=seen.len() + 20);
        let wanted = seen.len() + 20;
        take_once(&world, [&mut first, &mut second], &mut seen, &mut counts, wanted);
    }
    let before = counts[1];
    let deadline = std::time::Instant::now() + crate::LIMIT;
    // A member that moves is one of the same group at its new entry.
    drop(second);
    let mut second = world.mqtt(2, "two");
    let mut last = seen.len();
    while seen.len() < last || counts[1] == before {
        assert!(std::time::Instant::now() < deadline, "{counts:?}, only {seen:?} came\n{}", world.cluster.all_said());
        if seen.len() == last {
            publish(&world, 0, last + 1..=last + 20);
            last += 20;
        }
        for (at, guest) in [&mut first, &mut second].into_iter().enumerate() {
            while let Some(message) = world.soon(guest, Duration::from_millis(50)) {
                // What it had when it moved may come again.
                if seen.insert(text_of(&message)) {
                    counts[at] += 1;
                }
            }
        }
    }
}
