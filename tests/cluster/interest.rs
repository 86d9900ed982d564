//! Events beside the log, published at one entry as soon as somebody is subscribed at another.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use fennec::client::machine::Publication;
use fennec::types::event::{Properties, Qos};
use fennec::types::payload::PayloadRef;

use crate::LIMIT;
use crate::broker::Ports;
use crate::people::{Guest, World, text_of};

const ROUNDS: usize = 40;
/// Less than a subscriber waits for other entries: if it took longer, some may not have heard of it.
const HEARD: Duration = Duration::from_millis(400);

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

/// The events of one topic, as a browser gets them.
struct Page(BufReader<TcpStream>);

impl Page {
    /// Subscribes, and waits for the head of the answer: then a browser calls it open.
    fn open(ports: Ports, topic: &str) -> Page {
        let mut stream = TcpStream::connect(("127.0.0.1", ports.http)).expect("the entry listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a deadline");
        write!(stream, "GET /subscribe?topic={topic} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").expect("a request");
        let mut page = Page(BufReader::new(stream));
        page.until("\r\n\r\n");
        page
    }

    /// Reads up to this.
    fn until(&mut self, text: &str) {
        let mut read = String::new();
        while !read.contains(text) {
            let count = self.0.read_line(&mut read).expect("more of the answer");
            assert!(count > 0, "no {text:?} in {read}");
        }
    }
}

/// What came of subscribing, if the answer came because the other entries had heard of it, rather than for it took too long.
fn heard_of<T>(subscribe: impl FnOnce() -> T) -> Option<T> {
    let begun = Instant::now();
    let subscribed = subscribe();
    (begun.elapsed() < HEARD).then_some(subscribed)
}

#[test]
fn an_event_that_is_published_elsewhere_behind_the_answer_to_subscribe_comes() {
    let world = World::start();
    let mut publisher = world.wamp(0);
    let (mut web, mut device) = (world.wamp(1), world.mqtt(2, "device"));
    let mut rounds = 0;
    for round in 0..ROUNDS {
        let topic = format!("passing.t{round}");
        if heard_of(|| world.subscribe(&mut web, &topic, &[])).is_some() {
            say(&world, &mut publisher, &topic, &format!("web {round}"));
            assert_eq!(world.text(&mut web), format!("web {round}"));
            rounds += 1;
        }
        let filter = format!("passing/u{round}");
        if heard_of(|| world.subscribe(&mut device, &filter, &[])).is_some() {
            say(&world, &mut publisher, &filter.replace('/', "."), &format!("device {round}"));
            assert_eq!(world.text(&mut device), format!("device {round}"));
            rounds += 1;
        }
        let topic = format!("passing.v{round}");
        if let Some(mut page) = heard_of(|| Page::open(world.cluster.ports(round % 2 + 1), &topic)) {
            say(&world, &mut publisher, &topic, &format!("page {round}"));
            page.until(&format!("page {round}"));
            rounds += 1;
        }
    }
    println!("{rounds} of {} were heard of", 3 * ROUNDS);
    assert!(rounds > 0, "other entries never hear of a subscription in time");
    // An entry that says nothing is not waited for, as long as its link stands.
    world.cluster.pause("E3", false);
    let begun = Instant::now();
    world.subscribe(&mut web, "passing.late", &[]);
    let took = begun.elapsed();
    world.cluster.pause("E3", true);
    assert!(took < Duration::from_secs(30), "{took:?}");
    // The others may have heard of it late.
    let until = Instant::now() + LIMIT;
    let event = loop {
        say(&world, &mut publisher, "passing.late", "web late");
        if let Some(event) = world.soon(&mut web, HEARD) {
            break event;
        }
        assert!(Instant::now() < until, "no event comes\n{}", world.cluster.all_said());
    };
    assert_eq!(text_of(&event), "web late");
}
