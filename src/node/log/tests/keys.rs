//! Retained values: how they come back at the start, and how they go when they expire.

use super::*;
use crate::node::link::Link;
use crate::node::realm::Realm;
use crate::node::session::Session;
use crate::node::testing::{self, NOW_MS, filter, identity, merged, node_without_log, recover, wire};
use crate::types::event::Terms;
use crate::types::limits::Limits;
use crate::types::topic::Topic;

/// A store with so many keys of a realm.
fn fill(store: &Faulty, realm: &str, keys: usize) {
    let (node, _) = node_without_log(Limits { log_unresolved_bytes_max: usize::MAX, ..Limits::default() });
    testing::run_log_on(&node, Box::new(store.clone()), Arc::new(|| NOW_MS));
    let mut batch = Batch::default();
    for key in 0..keys {
        let topic = name(key);
        let head = Head { realm, ..head(&topic, 0, true, false) };
        batch.message(&head, PayloadRef::Bytes(b"old"), None);
    }
    node.submit(Submission { batch, owner: Owner::Nobody });
}

fn name(key: usize) -> String {
    format!("k/{key:06}")
}

/// A node with these realms that has begun to read its keys.
fn started(store: &Faulty, realms: &[&str]) -> Arc<Node> {
    let node = testing::node_of(realms, Limits::default());
    testing::run_log_on(&node, Box::new(store.clone()), Arc::new(|| NOW_MS));
    node
}

/// A connected session that is owed all retained values.
fn subscriber(node: &Arc<Node>, realm: &Arc<Realm>) -> (Arc<Session>, Arc<Link>) {
    let session = node.new_session(identity("s"), wire(1).as_ref(), false);
    let link = Arc::new(Link::default());
    session.mailbox().attach(link.clone(), wire(1).as_ref(), 1000, usize::MAX, 0);
    realm.join(session.clone());
    let subscribed = realm.subscribe(&session, &filter("#"), None, merged(Qos::AtMostOnce), |_, _| {});
    let terms = Terms { qos: Qos::AtMostOnce, retain: true, ..Terms::default() };
    realm.replay(
        &session,
        subscribed.id,
        &filter("#"),
        &realm.authorizer().rights("anyone", Default::default()).unwrap(),
        terms,
    );
    (session, link)
}

fn taken(session: &Session) -> Vec<String> {
    testing::take(&mut session.mailbox())
}

/// Reads what was not read yet.
fn load(node: &Arc<Node>) {
    let mut loader = node.unread_keys.lock().take().expect("there is more");
    while loader.step(node).unwrap() {}
    node.keys_are_loaded();
}

fn value(realm: &Realm, key: usize) -> Option<Vec<u8>> {
    let value = realm.retained(&Topic::from_name(&name(key)).unwrap(), NOW_MS)?;
    Some(value.payload.as_ref().as_bytes(Default::default()).into_owned())
}

#[test]
fn a_node_with_many_keys_is_ready_before_it_has_read_them_and_those_who_ask_for_them_wait() {
    const KEYS: usize = 100_000;
    let store = Faulty::default();
    fill(&store, REALM, KEYS);
    let node = started(&store, &[REALM]);
    let realm = node.realm(REALM).unwrap();
    assert!(realm.is_loading());
    assert_eq!(realm.retained_size().0, 20_000);
    let (session, link) = subscriber(&node, &realm);
    link.take_ready();
    assert_eq!((taken(&session), link.take_ready()), (vec![], false), "it waits, and is not woken for nothing");
    load(&node);
    assert!(link.take_ready() && !realm.is_loading());
    let mut got = Vec::new();
    loop {
        let slice = taken(&session);
        if slice.is_empty() {
            break;
        }
        got.extend(slice);
    }
    assert_eq!(got.len(), KEYS);
    assert!(got.is_sorted());
}

#[test]
fn what_is_set_or_cleared_while_keys_are_read_is_newer() {
    let store = Faulty::default();
    fill(&store, REALM, 25_000);
    let node = started(&store, &[REALM]);
    let realm = node.realm(REALM).unwrap();
    let mut batch = Batch::default();
    for (key, payload) in [(7, ""), (8, "new"), (24_007, ""), (24_008, "new"), (30_000, "new"), (30_001, "")] {
        batch.message(&head(&name(key), 0, true, false), PayloadRef::Bytes(payload.as_bytes()), None);
    }
    node.submit(Submission { batch, owner: Owner::Nobody });
    load(&node);
    let values = [7, 8, 9, 24_007, 24_008, 24_009, 30_000, 30_001].map(|key| value(&realm, key));
    let (old, new) = (Some(b"old".to_vec()), Some(b"new".to_vec()));
    let expected = [None, new.clone(), old.clone(), None, new.clone(), old, new, None];
    assert_eq!(values, expected);
    assert_eq!(realm.retained_size().0, 24_999);
}

#[test]
fn a_realm_is_there_as_soon_as_its_own_keys_are() {
    let store = Faulty::default();
    fill(&store, "a", 10);
    fill(&store, "b", 25_000);
    let node = started(&store, &["a", "b", "c"]);
    let loading = |node: &Arc<Node>| ["a", "b", "c"].map(|name| node.realm(name).unwrap().is_loading());
    assert_eq!(loading(&node), [false, true, true]);
    load(&node);
    assert_eq!(loading(&node), [false; 3]);
    assert_eq!(node.realm("a").unwrap().retained_size().0, 10);
}

#[test]
fn the_rest_is_read_in_the_background() {
    let store = Faulty::default();
    fill(&store, REALM, 25_000);
    let (node, realm) = node_without_log(Limits::default());
    let log = node.open_log(Box::new(store.clone()), NOW_MS).unwrap();
    assert!(realm.is_loading());
    let (session, link) = subscriber(&node, &realm);
    assert_eq!(taken(&session), [""; 0]);
    link.take_ready();
    let threads = node.run_log(log, Arc::new(|| NOW_MS), None).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while !link.take_ready() && Instant::now() < until {
        std::thread::yield_now();
    }
    assert!(!taken(&session).is_empty());
    assert_eq!(realm.retained_size().0, 25_000);
    threads.stop();
}

#[test]
fn an_expired_value_goes_from_the_store_too_and_stays_while_that_cannot_be() {
    let store = Faulty::default();
    let (node, realm) = node_without_log(Limits::default());
    let clock = Arc::new(AtomicU64::new(NOW_MS));
    testing::run_log_at(&node, Box::new(store.clone()), &clock);
    let mut batch = Batch::default();
    let extras = Extras { expires_at_ms: Some(NOW_MS + 5000), ..Extras::default() };
    batch.message(&head("short", 0, true, false), PayloadRef::Bytes(b"x"), Some(&extras));
    batch.message(&head("long", 0, true, false), PayloadRef::Bytes(b"x"), None);
    node.submit(Submission { batch, owner: Owner::Nobody });
    let there = || {
        let row = |topic| store.memory.clone().get(&rows::key(REALM, topic)).unwrap().is_some();
        (realm.retained_size().0, row("short"), row("long"))
    };
    let tick = |now_ms| {
        clock.store(now_ms, Ordering::Relaxed);
        node.tick(now_ms);
        there()
    };
    assert_eq!(tick(NOW_MS + 4999), (2, true, true));
    store.set(Fault::Full);
    assert_eq!(tick(NOW_MS + 5000), (2, true, true), "it was put back");
    assert_eq!(tick(NOW_MS + 5000), (2, true, true));
    store.set(Fault::None);
    recover(&node);
    // One walk finds that there is something that expires, the next one that it has.
    tick(NOW_MS + 5001);
    assert_eq!(tick(NOW_MS + 5002), (1, false, true));
}
