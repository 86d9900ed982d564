//! Publishers and subscribers on one node, which speak [`TestWire`](crate::node::testing::TestWire). What a subscriber got is
//! compared as lines: `1# t=x` is a copy of `x` on topic `t`, QoS 1, packet identifier 1.

mod refusing;
mod sharing;

use std::sync::atomic::Ordering;

use super::targets::TARGETS_MAX;
use super::*;
use crate::delivery::Owed;
use crate::delivery::outbox::SHARE_BYTES_MIN;
use crate::node::link::{End, Link};
use crate::node::metrics::Drop;
use crate::node::session::Session;
use crate::node::testing::{
    NOW_MS, TestWire, UNSAYABLE, filter, identity, lines, merged, node_with, publication, publisher, take, uri, wire,
};
use crate::node::wire::Unencodable;
use crate::router::broker::Options;
use crate::types::event::Qos::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use crate::types::event::Terms;
use crate::types::ids::SubscriptionId;
use crate::types::limits::{Limits, OutboxFull};
use crate::types::payload::{Format, Payload};
use crate::types::topic::{MatchPolicy, TopicPattern};

/// A node and its realm.
struct World {
    node: Arc<Node>,
    realm: Arc<Realm>,
    wire: &'static TestWire,
}

/// A session with a connection, and what it is subscribed to.
struct Client {
    session: Arc<Session>,
    link: Arc<Link>,
}

fn world() -> World {
    world_with(Limits::default())
}

fn world_with(limits: Limits) -> World {
    let (node, realm) = node_with(limits);
    World { node, realm, wire: wire(1) }
}

impl World {
    /// A client that takes up to 1000 messages at a time.
    fn client(&self, name: &str) -> Client {
        self.client_as(name, self.wire, usize::MAX, 0)
    }

    fn client_as(&self, name: &str, wire: &'static TestWire, frame_bytes_max: usize, alias_max: u16) -> Client {
        let session = self.node.new_session(identity(name), wire.as_ref(), true);
        // What it is owed is kept in its backlog, not in the log.
        session.persistent.store(false, Ordering::Relaxed);
        let link = Arc::new(Link::default());
        session.mailbox().attach(link.clone(), wire.as_ref(), 1000, frame_bytes_max, alias_max);
        self.realm.set_wire(&session, wire.as_ref(), alias_max > 0);
        self.realm.join(session.clone());
        Client { session, link }
    }

    fn subscribe_with(
        &self,
        client: &Client,
        pattern: &TopicPattern,
        group: Option<&str>,
        options: Options,
    ) -> SubscriptionId {
        self.realm.subscribe(&client.session, pattern, group, options, |_, _| {}).id
    }

    /// As MQTT does.
    fn subscribe(&self, client: &Client, text: &str, qos: Qos) -> SubscriptionId {
        self.subscribe_with(client, &filter(text), None, merged(qos))
    }

    /// As WAMP does.
    fn subscribe_each(&self, client: &Client, text: &str, policy: MatchPolicy) -> SubscriptionId {
        self.subscribe_with(client, &uri(text, policy), None, Options::Each)
    }

    fn publisher(&self) -> Publisher {
        publisher(&self.node, &self.realm, None)
    }

    fn dropped(&self, reason: Drop) -> u64 {
        self.node.metrics.of(Protocol::Mqtt).dropped[reason as usize].load(Ordering::Relaxed)
    }
}

impl Client {
    fn take(&self) -> Vec<String> {
        take(&mut self.session.mailbox())
    }

    fn go_offline(&self) {
        assert!(self.session.mailbox().detach(&self.link));
    }
}

impl Publisher {
    /// Publishes to the topic of this name.
    fn say(&mut self, topic: &str, publication: &Publication<'_>) -> Result<Fate, PublishRefused> {
        let target = self.look_up(topic.as_bytes(), |_| Topic::from_name(topic)).unwrap();
        self.publish(target, publication)
    }

    /// Publishes these payloads and ends the batch.
    fn send(&mut self, topic: &str, payloads: &[&str], qos: Qos) {
        for payload in payloads {
            self.say(topic, &publication(payload.as_bytes(), qos)).unwrap();
        }
        self.finish();
    }
}

#[test]
fn every_subscriber_gets_what_matches_in_the_order_in_which_it_was_published() {
    let world = world();
    let (a, b) = (world.client("a"), world.client("b"));
    world.subscribe(&a, "t/+", AtMostOnce);
    world.subscribe(&b, "t/1", AtMostOnce);
    let mut publisher = world.publisher();
    for (topic, payload) in [("t/1", "one"), ("t/1", "two"), ("t/2", "three"), ("t/1", "four"), ("u", "five")] {
        publisher.say(topic, &publication(payload.as_bytes(), AtMostOnce)).unwrap();
    }
    publisher.finish();
    assert_eq!(a.take(), ["t/1=one", "t/1=two", "t/2=three", "t/1=four"]);
    assert_eq!(b.take(), ["t/1=one", "t/1=two", "t/1=four"]);
}

#[test]
fn order_is_kept_from_small_to_large_and_from_one_qos_to_another() {
    let world = world();
    let client = world.client("a");
    world.subscribe(&client, "t", ExactlyOnce);
    let large = "x".repeat(SHARE_BYTES_MIN);
    let mut publisher = world.publisher();
    for (payload, qos) in [("a", AtMostOnce), ("b", AtLeastOnce), (&large, AtMostOnce), ("c", AtMostOnce)] {
        publisher.say("t", &publication(payload.as_bytes(), qos)).unwrap();
    }
    let only_for_it = Filter { eligible_authid: Some(["a".to_owned()].into()), ..Filter::default() };
    publisher.say("t", &Publication { filter: Some(&only_for_it), ..publication(b"d", AtMostOnce) }).unwrap();
    publisher.say("t", &Publication { retain: true, ..publication(b"e", ExactlyOnce) }).unwrap();
    publisher.finish();
    assert_eq!(client.take(), ["t=a", "1# t=b", &format!("t={large}"), "t=c", "t=d", "2## t=e"]);
}

#[test]
fn a_run_is_encoded_once_for_all_who_get_the_same_bytes() {
    let world = world();
    let other = wire(2);
    let clients: Vec<_> = (0..10).map(|n| world.client(&format!("a{n}"))).collect();
    let others: Vec<_> = (0..10).map(|n| world.client_as(&format!("b{n}"), other, usize::MAX, 0)).collect();
    for (n, client) in clients.iter().chain(&others).enumerate() {
        world.subscribe(client, "t", if n % 2 == 0 { AtMostOnce } else { AtLeastOnce });
    }
    world.publisher().send("t", &["x", "y"], AtLeastOnce);
    assert_eq!((world.wire.encoded(), other.encoded()), (4, 4), "twice for each QoS");
    for (n, client) in clients.iter().chain(&others).enumerate() {
        let expected = if n % 2 == 0 { ["t=x", "t=y"] } else { ["1# t=x", "2# t=y"] };
        assert_eq!(client.take(), expected, "{n}");
    }
}

#[test]
fn the_publisher_gets_its_own_event_unless_it_or_its_subscription_says_otherwise() {
    let world = world();
    let client = world.client("a");
    world.subscribe(&client, "t", AtMostOnce);
    let no_local = Options::Merged { qos: AtMostOnce, no_local: true, retain_as_published: false, identifier: None };
    world.subscribe_with(&client, &filter("u"), None, no_local);
    let mut own = publisher(&world.node, &world.realm, Some(&client.session));
    let large = vec![b'x'; SHARE_BYTES_MIN];
    for payload in [b"x", &large[..]] {
        own.say("t", &publication(payload, AtMostOnce)).unwrap();
        own.say("t", &Publication { exclude_publisher: true, ..publication(payload, AtMostOnce) }).unwrap();
        own.say("u", &publication(payload, AtMostOnce)).unwrap();
        own.finish();
        assert_eq!(client.take(), [format!("t={}", String::from_utf8_lossy(payload))]);
    }
    world.publisher().send("u", &["of another"], AtMostOnce);
    assert_eq!(client.take(), ["u=of another"]);
}

#[test]
fn lists_say_who_may_get_an_event() {
    let world = world();
    let clients = ["a", "b", "c"].map(|name| world.client(name));
    clients.iter().for_each(|client| {
        world.subscribe_each(client, "t", MatchPolicy::Exact);
    });
    let [a, b, _] = clients.each_ref().map(|client| client.session.id);
    let none = Filter::default;
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let table = [
        (none(), "abc"),
        (Filter { exclude: [a].into(), ..none() }, "bc"),
        (Filter { exclude_authid: names(&["a", "c"]).into_iter().collect(), ..none() }, "b"),
        (Filter { exclude_authrole: names(&["anyone"]).into_iter().collect(), ..none() }, ""),
        (Filter { eligible: Some([a, b].into()), ..none() }, "ab"),
        (Filter { eligible: Some([].into()), ..none() }, ""),
        (Filter { eligible_authid: Some(names(&["c", "d"]).into_iter().collect()), ..none() }, "c"),
        (Filter { eligible_authrole: Some(names(&["anyone"]).into_iter().collect()), ..none() }, "abc"),
        (Filter { eligible_authrole: Some(names(&["else"]).into_iter().collect()), ..none() }, ""),
        (Filter { eligible: Some([a, b].into()), exclude: [b].into(), ..none() }, "a"),
    ];
    let mut publisher = world.publisher();
    for (filter, expected) in table {
        publisher.say("t", &Publication { filter: Some(&filter), ..publication(b"x", AtMostOnce) }).unwrap();
        publisher.finish();
        let got = clients.iter().filter(|client| !client.take().is_empty());
        let got: String = got.map(|client| client.session.identity.authid.clone()).collect();
        assert_eq!(got, expected, "{filter:?}");
    }
}

#[test]
fn large_payloads_are_shared_not_copied() {
    let world = world();
    let clients = ["a", "b"].map(|name| world.client(name));
    world.subscribe(&clients[0], "t", AtMostOnce);
    world.subscribe(&clients[1], "t", AtLeastOnce);
    let chunk = Bytes::from(vec![b'x'; 100_000]);
    let mut publisher = world.publisher();
    let payload = PayloadRef::Bytes(&chunk[10..]);
    publisher.say("t", &Publication { payload, backing: Some(&chunk), ..publication(b"", AtLeastOnce) }).unwrap();
    publisher.finish();
    for client in &clients {
        let taken = client.session.mailbox().take(Vec::new());
        assert_eq!(taken.parts[1].as_ptr(), chunk[10..].as_ptr());
        assert_eq!(lines(&taken).len(), 1);
    }
}

#[test]
fn a_large_event_is_encoded_once_for_all_subscribers_of_wamp() {
    let world = world();
    let clients = ["a", "b", "c"].map(|name| world.client(name));
    clients.iter().for_each(|client| {
        world.subscribe_each(client, "t", MatchPolicy::Exact);
    });
    world.publisher().send("t", &["x".repeat(SHARE_BYTES_MIN).as_str()], ExactlyOnce);
    assert_eq!(world.wire.encoded(), 1);
    let frames = clients.map(|client| client.session.mailbox().take(Vec::new()).parts.remove(0).unwrap());
    assert!(frames.iter().all(|frame| frame.as_ptr() == frames[0].as_ptr()));
}

#[test]
fn wamp_gets_an_event_for_each_of_its_subscriptions_and_mqtt_one_for_all() {
    let world = world();
    let (wamp, mqtt) = (world.client("wamp"), world.client("mqtt"));
    let exact = world.subscribe_each(&wamp, "a.b", MatchPolicy::Exact);
    let prefix = world.subscribe_each(&wamp, "a", MatchPolicy::Prefix);
    world.subscribe(&mqtt, "a/b", AtMostOnce);
    world.subscribe(&mqtt, "a/#", AtLeastOnce);
    world.publisher().send("a/b", &["x"], ExactlyOnce);
    let mut events = wamp.take();
    events.sort();
    assert_eq!(events, [format!("a/b=x of {exact}"), format!("a/b=x of {prefix}")]);
    assert_eq!(mqtt.take(), ["1# a/b=x"]);
}

#[test]
fn a_copy_keeps_the_retain_flag_only_if_the_subscription_wants_it() {
    let world = world();
    let clients = [false, true].map(|retain_as_published| {
        let client = world.client(&retain_as_published.to_string());
        let options = Options::Merged { qos: AtMostOnce, no_local: false, retain_as_published, identifier: None };
        world.subscribe_with(&client, &filter("t"), None, options);
        client
    });
    let mut publisher = world.publisher();
    publisher.say("t", &Publication { retain: true, ..publication(b"x", AtMostOnce) }).unwrap();
    publisher.finish();
    assert_eq!(clients.map(|client| client.take()), [["t=x"], ["t=x retain"]]);
}

#[test]
fn who_unsubscribed_gets_nothing_of_what_is_still_staged() {
    let world = world();
    let client = world.client("a");
    let subscription = world.subscribe_each(&client, "t", MatchPolicy::Exact);
    let mut publisher = world.publisher();
    publisher.say("t", &publication(b"x", AtMostOnce)).unwrap();
    world.realm.unsubscribe(&client.session, &uri("t", MatchPolicy::Exact), None, |_, mailbox| {
        assert!(mailbox.outbox.is_empty());
    });
    publisher.finish();
    assert_eq!(client.take(), [""; 0]);
    publisher.send("t", &["y"], AtMostOnce);
    assert_eq!(client.take(), [""; 0]);
    let again = world.subscribe_each(&client, "t", MatchPolicy::Exact);
    assert_ne!(again, subscription);
    publisher.send("t", &["z"], AtMostOnce);
    assert_eq!(client.take(), [format!("t=z of {again}")]);
}

#[test]
fn what_is_staged_for_one_subscription_outlives_the_end_of_another() {
    let world = world();
    let client = world.client("a");
    let kept = world.subscribe_each(&client, "t", MatchPolicy::Exact);
    world.subscribe_each(&client, "u", MatchPolicy::Exact);
    let mut publisher = world.publisher();
    publisher.say("t", &publication(b"x", AtMostOnce)).unwrap();
    world.realm.unsubscribe(&client.session, &uri("u", MatchPolicy::Exact), None, |_, _| {});
    publisher.finish();
    assert_eq!(client.take(), [format!("t=x of {kept}")]);
}

fn matched(fate: Fate) -> bool {
    matches!(fate, Fate::Routed(Published { matched: true, .. }))
}

#[test]
fn a_new_subscriber_is_found_by_publishers_that_know_the_topic() {
    let world = world();
    let (a, b) = (world.client("a"), world.client("b"));
    world.subscribe(&a, "t", AtMostOnce);
    let mut publisher = world.publisher();
    assert_eq!(publisher.say("u", &publication(b"x", AtMostOnce)).map(matched), Ok(false));
    publisher.say("t", &publication(b"x", AtMostOnce)).unwrap();
    world.subscribe(&b, "#", AtMostOnce);
    publisher.say("t", &publication(b"y", AtMostOnce)).unwrap();
    assert_eq!(publisher.say("u", &publication(b"z", AtMostOnce)).map(matched), Ok(true));
    publisher.finish();
    assert_eq!(a.take(), ["t=x", "t=y"]);
    assert_eq!(b.take(), ["t=y", "u=z"]);
}

#[test]
fn a_publisher_that_knows_more_topics_than_it_remembers_forgets_none_of_their_events() {
    let world = world();
    let client = world.client("a");
    world.subscribe(&client, "#", AtMostOnce);
    let mut publisher = world.publisher();
    let topics: Vec<String> = (0..3 * TARGETS_MAX).map(|n| format!("t/{n}")).collect();
    for topic in &topics {
        publisher.say(topic, &publication(b"x", AtMostOnce)).unwrap();
        assert!(publisher.targets.len() <= TARGETS_MAX);
    }
    publisher.finish();
    let expected: Vec<_> = topics.iter().map(|topic| format!("{topic}=x")).collect();
    assert_eq!(client.take(), expected);
}

#[test]
fn a_session_that_changed_its_encoding_is_sent_the_new_one() {
    let world = world();
    let client = world.client("a");
    world.subscribe(&client, "t", AtLeastOnce);
    let mut publisher = world.publisher();
    publisher.say("t", &publication(b"x", AtLeastOnce)).unwrap();
    let other = wire(2);
    let link = Arc::new(Link::default());
    client.session.mailbox().attach(link.clone(), other.as_ref(), 1000, usize::MAX, 0);
    publisher.flush();
    assert!(!publisher.touched.is_empty(), "the connection must be woken, for it has to encode it anew");
    world.realm.set_wire(&client.session, other.as_ref(), false);
    publisher.say("t", &publication(b"y", AtLeastOnce)).unwrap();
    publisher.finish();
    assert_eq!(client.take(), ["1# t=x", "2# t=y"]);
}

#[test]
fn a_client_that_takes_aliases_gets_copies_of_its_own() {
    let world = world();
    let (plain, aliased) = (world.client("a"), world.client_as("b", world.wire, usize::MAX, 10));
    for client in [&plain, &aliased] {
        world.subscribe(client, "t", AtLeastOnce);
    }
    world.publisher().send("t", &["x", "y"], AtLeastOnce);
    assert_eq!(plain.take(), ["1# t=x", "2# t=y"]);
    assert_eq!(aliased.take(), ["1# t=x alias 1", "2# =y alias 1"]);
}

#[test]
fn an_expiry_is_told_and_remembered() {
    let world = world();
    let client = world.client("a");
    world.subscribe(&client, "t", AtLeastOnce);
    let mut publisher = world.publisher();
    let expiring = Publication { expires_in_s: Some(7), ..publication(b"x", AtLeastOnce) };
    publisher.say("t", &expiring).unwrap();
    publisher.finish();
    assert_eq!(client.take(), ["1# t=x for 7"]);
    client.go_offline();
    publisher.say("t", &expiring).unwrap();
    publisher.finish();
    let backlog = client.session.mailbox().backlog.pop().unwrap();
    assert_eq!(backlog.event.expires_at_ms, Some(NOW_MS + 7000));
}

#[test]
fn what_is_kept_for_later_does_not_keep_the_whole_read_alive() {
    let world = world();
    let client = world.client("a");
    world.subscribe(&client, "t", AtLeastOnce);
    client.go_offline();
    let chunk = Bytes::from(vec![b'x'; 1000]);
    let mut publisher = world.publisher();
    for range in [0..10, 0..900] {
        let payload = PayloadRef::Bytes(&chunk[range]);
        publisher.say("t", &Publication { payload, backing: Some(&chunk), ..publication(b"", AtLeastOnce) }).unwrap();
    }
    publisher.finish();
    let mut mailbox = client.session.mailbox();
    let shares = std::iter::from_fn(|| mailbox.backlog.pop()).map(|owed| match &owed.event.payload {
        Payload::Bytes(bytes) => bytes.as_ptr() == chunk.as_ptr(),
        Payload::Args { .. } => panic!(),
    });
    assert_eq!(shares.collect::<Vec<_>>(), [false, true]);
}

#[test]
fn touched_connections_are_woken_once_when_the_batch_is_done_or_given_up() {
    use std::sync::atomic::AtomicUsize;
    #[derive(Default)]
    struct Woken(AtomicUsize);
    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let world = world();
    let client = world.client("a");
    world.subscribe(&client, "#", AtMostOnce);
    let woken = Arc::new(Woken::default());
    let wakes = || {
        client.link.waker.register(&woken.clone().into());
        woken.0.swap(0, Ordering::Relaxed)
    };
    wakes();
    let mut publisher = world.publisher();
    for topic in ["a", "b", "a"] {
        publisher.say(topic, &publication(b"x", AtMostOnce)).unwrap();
    }
    assert_eq!(wakes(), 0);
    publisher.finish();
    assert_eq!(wakes(), 1);
    publisher.send("a", &["y"], AtMostOnce);
    assert_eq!(wakes(), 0, "it was woken and did not come yet");
    client.take();
    publisher.say("a", &publication(b"z", AtMostOnce)).unwrap();
    publisher.flush();
    drop(publisher);
    assert_eq!(wakes(), 1);
}

fn event_for_test(topic: &Arc<Topic>) -> Event<'_> {
    Event {
        topic,
        payload: PayloadRef::Args { format: Format::Json, args: None, kwargs: None },
        codec: Codec::Auto,
        qos: AtLeastOnce,
        retain: false,
        publication: PublicationId(1),
        place: None,
        properties: None,
        publisher: None,
        expires_at_ms: None,
        expires_in_s: None,
    }
}
