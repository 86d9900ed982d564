//! A webhook service of a cluster: one entry sends, and another goes on when that is gone.

use crate::LIMIT;
use crate::people::World;
use crate::receiver::{Act, Receiver};

fn call(world: &World, entry: usize, procedure: &str, args: &str) -> String {
    let body = format!("{{\"procedure\":\"fennec.service.{procedure}\",\"args\":[{args}]}}");
    let answer = world.cluster.post(entry, "/call", &body);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}\n{}", world.cluster.all_said());
    answer
}

#[test]
fn a_service_is_one_at_all_entries_and_outlives_the_one_that_sends() {
    let mut world = World::start();
    let receiver = Receiver::start(|_, _| Act::Take);
    let more = format!("{{\"url\":\"{}\",\"topics\":[\"crash.#\"]}}", receiver.url("a"));
    call(&world, 0, "add", &format!("\"a\",{more}"));
    world.publish(1, "crash.x", &["1", "2", "3"]);
    let has = |count: usize| receiver.events("a").len() >= count;
    world.cluster.until("the events come", LIMIT, |_| has(3));
    assert!(call(&world, 2, "list", "").contains("\"up\""));
    // Another entry than the one that sends has it paused.
    call(&world, 2, "pause", "\"a\"");
    world.cluster.until("it is paused", LIMIT, |_| call(&world, 0, "list", "").contains("\"paused\""));
    world.publish(2, "crash.x", &["4", "5"]);
    world.cluster.kill("E1");
    call(&world, 1, "resume", "\"a\"");
    world.publish(2, "crash.x", &["6"]);
    world.cluster.until("another entry goes on", LIMIT, |_| has(6));
    assert_eq!(receiver.events("a"), ["1", "2", "3", "4", "5", "6"]);
    world.cluster.begin_and_link("E1", LIMIT);
    world.publish(0, "crash.x", &["7"]);
    world.cluster.until("it goes on still", LIMIT, |_| has(7));
    assert_eq!(receiver.events("a"), ["1", "2", "3", "4", "5", "6", "7"]);
}
