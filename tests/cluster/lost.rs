//! What is gone for longer: an entry, and the quorum.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use fennec::client::Client;
use fennec::client::machine::{Event, Subscription};
use fennec::types::event::Qos;
use fennec::types::payload::Codec;
use fennec::types::topic::MatchPolicy;
use tokio::time::timeout;

use crate::LIMIT;
use crate::broker::{Cluster, Ports, SILENCE, STORAGES, SYNCS};
use crate::clients::publish;
use crate::people::{acquire, join};

/// CONNECT of MQTT 3.1.1 with a clean session and a will: QoS 1, of the text "gone".
fn connect_with_will(ports: Ports, topic: &str) -> TcpStream {
    let text = |text: &str| [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat();
    let mut body = [text("MQTT"), vec![4, 0b0000_1110, 0, 0]].concat();
    body.extend([text("mortal"), text(topic), text("gone")].concat());
    let mut socket = TcpStream::connect(("127.0.0.1", ports.mqtt)).expect("the entry listens");
    socket.write_all(&[&[0x10, body.len() as u8], &body[..]].concat()).expect("a CONNECT");
    let mut connack = [0; 4];
    std::io::Read::read_exact(&mut socket, &mut connack).expect("a CONNACK");
    assert_eq!(connack, [0x20, 2, 0, 0]);
    socket
}

async fn hears_will(client: &mut Client) {
    loop {
        if let Event::Message(message) = client.event().await.expect("a connection") {
            assert_eq!(message.payload.as_ref().document(Codec::Auto).as_str(), Some("gone"));
            return;
        }
    }
}

async fn subscribe(client: &mut Client, topic: &str) {
    let subscription = Subscription {
        topic,
        qos: Qos::AtLeastOnce,
        retained: false,
        no_local: false,
        retain_as_published: false,
        policy: MatchPolicy::Exact,
        options: &[],
    };
    client.machine().subscribe(&subscription).expect("a subscription");
    loop {
        if let Event::Subscribed { outcome, .. } = client.event().await.expect("a connection") {
            outcome.expect("it may subscribe");
            return;
        }
    }
}

#[test]
fn of_an_entry_that_is_lost_wills_are_published_and_locks_released() {
    let mut cluster = Cluster::start(LIMIT);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    let _mortal = connect_with_will(cluster.ports(0), "crash/will");
    let (mut holder, mut heir, mut mourner) = runtime.block_on(async {
        let mut holder = join(cluster.ports(0)).await;
        acquire(&mut holder, "locks.one").await;
        let mut mourner = join(cluster.ports(2)).await;
        subscribe(&mut mourner, "crash.will").await;
        (holder, join(cluster.ports(1)).await, mourner)
    });
    let early = runtime.block_on(async { timeout(Duration::from_millis(300), acquire(&mut heir, "locks.one")).await });
    assert!(early.is_err(), "the lock is held");
    cluster.kill("E1");
    let inherited = runtime.block_on(async {
        assert!(holder.event().await.is_err());
        // The first call still waits.
        let granted = async { while !matches!(heir.event().await.expect("a connection"), Event::Returned { .. }) {} };
        timeout(LIMIT, async { tokio::join!(granted, hears_will(&mut mourner)) }).await
    });
    assert!(inherited.is_ok(), "the will and the lock did not come\n{}", cluster.all_said());
}

#[test]
fn an_entry_that_stood_still_for_too_long_holds_nothing_when_it_goes_on() {
    let cluster = Cluster::start_with(LIMIT, SILENCE);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    let mut mortal = connect_with_will(cluster.ports(0), "crash/will");
    let (mut holder, mut heir, mut mourner) = runtime.block_on(async {
        let mut holder = join(cluster.ports(0)).await;
        acquire(&mut holder, "locks.one").await;
        let mut mourner = join(cluster.ports(2)).await;
        subscribe(&mut mourner, "crash.will").await;
        (holder, join(cluster.ports(1)).await, mourner)
    });
    cluster.pause("E1", false);
    let inherited = runtime.block_on(async {
        timeout(LIMIT, async { tokio::join!(acquire(&mut heir, "locks.one"), hears_will(&mut mourner)) }).await
    });
    assert!(inherited.is_ok(), "the will and the lock did not come\n{}", cluster.all_said());
    cluster.pause("E1", true);
    // Its clients learn that by losing their connections, and come again to its next life.
    let ended = runtime.block_on(async { timeout(LIMIT, async { while holder.event().await.is_ok() {} }).await });
    assert!(ended.is_ok(), "the old holder is still connected\n{}", cluster.all_said());
    mortal.set_read_timeout(Some(LIMIT)).expect("a limit");
    assert!(!matches!(std::io::Read::read(&mut mortal, &mut [0; 8]), Ok(count) if count > 0));
    cluster.until("the entry takes clients again", LIMIT, |cluster| {
        cluster.said("E1").matches("this life of the entry has begun").count() >= 2
    });
    cluster.wait_for_entries(LIMIT);
    let again = runtime.block_on(async {
        let mut holder = join(cluster.ports(0)).await;
        timeout(Duration::from_millis(300), acquire(&mut holder, "locks.one")).await
    });
    assert!(again.is_err(), "the heir has the lock");
    drop(heir);
}

#[test]
fn without_a_quorum_publications_are_refused_and_with_it_again_they_are_not() {
    let mut cluster = Cluster::start(LIMIT);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    let mut client = runtime.block_on(join(cluster.ports(0)));
    let mut told = |cluster: &Cluster, text: &str| {
        let published = runtime.block_on(async { timeout(LIMIT, publish(&mut client, "crash.a", text)).await });
        published.unwrap_or_else(|_| panic!("no answer\n{}", cluster.all_said()))
    };
    told(&cluster, "a 1").expect("an acknowledgement");
    for minority in [[STORAGES[0], STORAGES[1]], [SYNCS[1], SYNCS[2]]] {
        minority.iter().for_each(|id| cluster.kill(id));
        cluster.until("it says that it is not ready", LIMIT, |cluster| cluster.get(0, "/readyz").contains(" 503 "));
        let why = cluster.get(0, "/readyz");
        assert!(why.contains("too few"), "{why}");
        let refused = told(&cluster, "a 2");
        assert!(refused.is_err(), "{refused:?}");
        cluster.begin_and_link(minority[0], LIMIT);
        cluster.until("it is ready again", LIMIT, |cluster| cluster.get(0, "/readyz").contains(" 200 "));
        told(&cluster, "a 3").expect("an acknowledgement");
        cluster.begin_and_link(minority[1], LIMIT);
    }
}
