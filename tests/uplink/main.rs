//! Uplinks between built brokers, over a link that fails.
//!
//! ```text
//! device --> edge (killed) ==link (delays, drops, cuts silently)== centre (killed) --> its log
//! ```
//!
//! `FENNEC_UPLINK_ROUNDS=100` fails so often; `FENNEC_UPLINK_SEED=n` repeats the choices of a run, which prints its own.

mod broker;
mod link;
mod publisher;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use broker::{Broker, eventually, fennec};
use link::{Link, Way};
use publisher::Publisher;
use tokio::runtime::Runtime;

/// How long anything may take that must come. Much more than it needs.
const LIMIT: Duration = Duration::from_secs(90);
const ROUNDS: u64 = 8;

const CENTRE: &str = "[[durable]]\ntopic = 'sensors/#'\n[[durable]]\ntopic = 'commands/#'\n";

fn runtime() -> Runtime {
    Runtime::new().expect("a runtime")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// An edge's configuration; `more` belongs to its uplink.
fn edge(port: u16, more: &str) -> String {
    let uplink =
        format!("[[uplink]]\nid = 'site-7'\nurl = 'ws://127.0.0.1:{port}/ws'\nheartbeat_s = 1\nbackoff_max_s = 1\n");
    format!("[[durable]]\ntopic = 'commands/#'\n{uplink}{more}")
}

fn is_up(broker: &Broker) -> bool {
    broker.status().is_some_and(|status| status["state"] == "up")
}

fn number(broker: &Broker, name: &str) -> u64 {
    broker.status().and_then(|status| status[name].as_u64()).unwrap_or(0)
}

fn publish(broker: &Broker, arguments: &[&str]) {
    assert!(broker.run(&[&["pub"], arguments].concat()).is_some(), "{arguments:?} is not published");
}

struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64);
        let seed = std::env::var("FENNEC_UPLINK_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(now | 1);
        println!("FENNEC_UPLINK_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// Each acknowledged number is there, none twice, and in order.
fn check(what: &str, acknowledged: &[u64], arrived: &[u64]) {
    assert!(arrived.is_sorted_by(|a, b| a < b), "{what}: twice, or not in order: {arrived:?}");
    let missing: Vec<_> = acknowledged.iter().filter(|number| arrived.binary_search(number).is_err()).collect();
    assert!(missing.is_empty(), "{what}: missing are {missing:?} of {}", acknowledged.len());
}

#[test]
fn every_message_arrives_once_and_in_order_whatever_fails() {
    let (runtime, folder, mut dice) = (runtime(), folder(), Dice::new());
    let mut centre = Broker::start(folder.path(), "centre", CENTRE);
    let link = Link::new(runtime.handle(), centre.http);
    let more = "topics = ['sensors/#']\nreceive = ['commands/#']\nlive_percent = 0\nbatch_messages = 20\n";
    let mut edge = Broker::start(folder.path(), "edge", &edge(link.port, more));
    let up = Publisher::start(runtime.handle(), edge.http, "sensors.a");
    // Who comes to a centre for the first time is sent what is published from then on.
    eventually("the link", || is_up(&edge));
    let down = Publisher::start(runtime.handle(), centre.http, "commands.a");
    let rounds = std::env::var("FENNEC_UPLINK_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    for round in 0..rounds {
        // The first rounds have each of the faults once.
        let fault = if round < 6 { round } else { dice.below(6) };
        match fault {
            0 => link.set(Way::Silent),
            1 => link.set(Way::Open(Duration::from_millis(dice.below(100)))),
            2 => link.set(Way::Closed),
            3 => edge.kill(),
            4 => centre.kill(),
            _ => {
                link.set(Way::Silent);
                edge.kill();
            }
        }
        std::thread::sleep(Duration::from_millis(dice.below(700)));
        if fault == 3 || fault == 5 {
            edge.start_again();
            up.lead_to(edge.http);
        }
        if fault == 4 {
            centre.start_again();
            link.lead_to(centre.http);
            down.lead_to(centre.http);
        }
        // What went through the link in silence is a connection that only its end can mend.
        link.set(Way::Closed);
        std::thread::sleep(Duration::from_millis(50));
        link.set(Way::Open(Duration::ZERO));
        let (before_up, before_down) = (up.count(), down.count());
        eventually("publishing", || up.count() > before_up && down.count() > before_down);
        std::thread::sleep(Duration::from_millis(dice.below(500)));
    }
    let (sent_up, sent_down) = (up.stop(runtime.handle()), down.stop(runtime.handle()));
    let last = |sent: &[u64]| sent.last().copied().unwrap_or(0);
    eventually("the end of what was sent up", || centre.numbers("sensors/#").contains(&last(&sent_up)));
    eventually("the end of what was sent down", || edge.numbers("commands/#").contains(&last(&sent_down)));
    check("up", &sent_up, &centre.numbers("sensors/#"));
    check("down", &sent_down, &edge.numbers("commands/#"));
    assert_eq!(number(&edge, "resyncs"), 0, "nothing was restored");
}

/// Without an end of the connection: the edge has to find out by itself.
#[test]
fn a_link_that_is_cut_in_silence_is_noticed() {
    let (runtime, folder) = (runtime(), folder());
    let centre = Broker::start(folder.path(), "centre", CENTRE);
    let link = Link::new(runtime.handle(), centre.http);
    let edge = Broker::start(folder.path(), "edge", &edge(link.port, "topics = ['sensors/#']\n"));
    eventually("the link", || is_up(&edge));
    link.set(Way::Silent);
    publish(&edge, &["sensors.a", "1"]);
    // It comes back for new connections only.
    eventually("that it is noticed", || !is_up(&edge));
    link.set(Way::Open(Duration::ZERO));
    eventually("the message", || centre.numbers("sensors/#") == [1]);
}

#[test]
fn what_the_user_may_not_publish_is_held_until_it_may() {
    let (runtime, folder) = (runtime(), folder());
    let hash = fennec().args(["hash-password"]).stdin(password()).output().expect("it runs");
    let said = String::from_utf8(hash.stdout).expect("text");
    let hash = said.lines().find_map(|line| line.strip_prefix("password_hash = ")).expect("a hash").to_owned();
    let config = |more: &str| {
        let role = "[[role]]\nname = 'edge'\npermissions = [{ action = 'call', topic = 'fennec/uplink/#' }, \
                    { action = 'publish', topic = 'sensors/a/#' }";
        let reader = "[[role]]\nname = 'anonymous'\npermissions = [{ action = ['subscribe', 'call', 'publish'], topic = '#' }, \
                      { action = 'call', topic = 'fennec/#' }, { action = 'call', topic = 'wamp/#' }]\n";
        format!(
            "anonymous = true\n{CENTRE}[[user]]\nname = 'site-7'\nrole = 'edge'\npassword_hash = {hash}\n{role}{more}]\n{reader}"
        )
    };
    let mut centre = Broker::start(folder.path(), "centre", &config(""));
    let link = Link::new(runtime.handle(), centre.http);
    let more = "user = 'site-7'\npassword = 'secret'\ntopics = ['sensors/a/#', 'sensors/b/#']\n";
    let edge = Broker::start(folder.path(), "edge", &edge(link.port, more));
    eventually("the link", || is_up(&edge));
    for (topic, text) in [("sensors.a.x", "1"), ("sensors.b.x", "2"), ("sensors.a.x", "3")] {
        publish(&edge, &[topic, text]);
    }
    eventually("what may be sent", || centre.numbers("sensors/#") == [1, 3]);
    assert_eq!(number(&edge, "held_topics"), 1);
    centre.kill();
    centre.configure(&config(", { action = 'publish', topic = 'sensors/b/#' }"));
    centre.start_again();
    link.lead_to(centre.http);
    eventually("what was held", || centre.numbers("sensors/#") == [1, 3, 2]);
    publish(&edge, &["sensors.b.x", "4"]);
    eventually("what is published now", || centre.numbers("sensors/#") == [1, 3, 2, 4]);
    assert_eq!(number(&edge, "held_topics"), 0);
}

fn password() -> std::process::Stdio {
    use std::io::{Seek, Write};
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(b"secret\n").expect("it is written");
    file.rewind().expect("it is read from its beginning");
    file.into()
}

#[test]
fn a_centre_with_a_new_store_gets_a_snapshot_and_then_the_stream() {
    let (runtime, folder) = (runtime(), folder());
    let mut centre = Broker::start(folder.path(), "centre", CENTRE);
    let link = Link::new(runtime.handle(), centre.http);
    let edge = Broker::start(folder.path(), "edge", &edge(link.port, "topics = ['sensors/#']\n"));
    publish(&edge, &["sensors.kept", "1", "--retain"]);
    publish(&edge, &["sensors.kept", "2", "--retain"]);
    let value = |broker: &Broker| broker.run(&["keys", "get", "sensors.kept"]);
    eventually("the value", || value(&centre) == Some(vec!["2".to_owned()]));
    for n in 3..9 {
        publish(&edge, &["sensors.a", &n.to_string()]);
    }
    eventually("the messages", || centre.numbers("sensors/a").len() == 6);
    centre.kill();
    centre.wipe();
    centre.start_again();
    link.lead_to(centre.http);
    eventually("the value in the new store", || value(&centre) == Some(vec!["2".to_owned()]));
    publish(&edge, &["sensors.a", "9"]);
    eventually("what is published now", || centre.numbers("sensors/a").contains(&9));
    eventually("the word of it", || number(&edge, "resyncs") == 1);
}

#[test]
fn what_has_passed_a_broker_does_not_come_back() {
    let (runtime, folder) = (runtime(), folder());
    let centre = Broker::start(folder.path(), "centre", CENTRE);
    let link = Link::new(runtime.handle(), centre.http);
    let more = "topics = ['sensors/#']\nreceive = ['sensors/#']\n";
    let edge = Broker::start(folder.path(), "edge", &edge(link.port, more));
    eventually("the link", || is_up(&edge));
    publish(&edge, &["sensors.a", "1"]);
    publish(&centre, &["sensors.a", "2"]);
    let sorted = |broker: &Broker| {
        let mut all = broker.numbers("sensors/#");
        all.sort_unstable();
        all
    };
    eventually("both at both ends", || sorted(&edge) == [1, 2] && sorted(&centre) == [1, 2]);
    // Whatever would come back has done so before a message that follows it.
    publish(&edge, &["sensors.a", "3"]);
    publish(&centre, &["sensors.a", "4"]);
    eventually("the next at both ends", || sorted(&edge).contains(&4) && sorted(&centre).contains(&3));
    assert_eq!((sorted(&edge), sorted(&centre)), (vec![1, 2, 3, 4], vec![1, 2, 3, 4]));
}

#[test]
fn what_grows_too_large_leaves_a_gap_that_the_centre_sees() {
    let (runtime, folder) = (runtime(), folder());
    let centre = Broker::start(folder.path(), "centre", CENTRE);
    let link = Link::new(runtime.handle(), centre.http);
    let edge = Broker::start(folder.path(), "edge", &edge(link.port, "topics = ['sensors/#']\nmax_bytes = 200\n"));
    eventually("the link", || is_up(&edge));
    link.set(Way::Closed);
    eventually("that it is down", || !is_up(&edge));
    for n in 1..=100 {
        publish(&edge, &["sensors.a", &n.to_string()]);
    }
    eventually("that the oldest are given up", || edge.numbers("sensors/#").len() < 100);
    link.set(Way::Open(Duration::ZERO));
    eventually("the newest", || centre.numbers("sensors/#").contains(&100));
    let arrived = centre.numbers("sensors/#");
    assert!(arrived.len() < 100 && arrived.is_sorted_by(|a, b| a < b), "{arrived:?}");
    assert!(number(&centre, "gaps") >= 1, "{:?}", centre.status());
}
