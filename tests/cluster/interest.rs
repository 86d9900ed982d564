//! Events beside the log, published at one entry as soon as somebody is subscribed at another.

use std::time::{Duration, Instant};

use fennec::client::machine::Publication;
use fennec::types::event::{Properties, Qos};
use fennec::types::payload::PayloadRef;

use crate::people::{Guest, World};

const ROUNDS: usize = 40;

fn say(world: &World, publisher: &mut Guest, topic: &str, text: &str) {
    let published = publisher.client.machine().publish(&Publication {
        topic,
        payload: PayloadRef::Bytes(text.as_bytes()),
        qos: Qos::AtMostOnce,
        retain: false,
        properties: &Properties::default(),
        expiry_s: None,
        options: &[],
    });
    published.expect("it can be published");
    // Whatever it answers, the event was sent before.
    let _ = world.get("an answer", publisher.call("fennec.durable.list", Vec::new()));
}

#[test]
fn an_event_that_is_published_elsewhere_behind_the_answer_to_subscribe_comes() {
    let world = World::start();
    let mut publisher = world.wamp(0);
    let (mut web, mut device) = (world.wamp(1), world.mqtt(2, "device"));
    for round in 0..ROUNDS {
        let topic = format!("passing.t{round}");
        world.subscribe(&mut web, &topic, &[]);
        say(&world, &mut publisher, &topic, &format!("web {round}"));
        assert_eq!(world.text(&mut web), format!("web {round}"));
        let filter = format!("passing/u{round}");
        world.subscribe(&mut device, &filter, &[]);
        say(&world, &mut publisher, &filter.replace('/', "."), &format!("device {round}"));
        assert_eq!(world.text(&mut device), format!("device {round}"));
    }
    // An entry that says nothing is not waited for, as long as its link stands.
    world.cluster.pause("E3", false);
    let begun = Instant::now();
    world.subscribe(&mut web, "passing.late", &[]);
    let took = begun.elapsed();
    world.cluster.pause("E3", true);
    assert!(took < Duration::from_secs(30), "{took:?}");
    say(&world, &mut publisher, "passing.late", "web late");
    assert_eq!(world.text(&mut web), "web late");
}
