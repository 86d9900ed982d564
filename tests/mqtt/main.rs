//! MQTT on the wire: a broker in this process, and raw bytes on its sockets.

#[path = "../../src/mqtt/codec/tests/counterexamples.rs"]
mod counterexamples;
mod malformed;
#[path = "../../src/mqtt/codec/tests/notation.rs"]
mod notation;
mod support;
mod tls;
mod websocket;

use std::io::Write;
use std::net::TcpStream;

use argon2::password_hash::{PasswordHasher, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
// Named by `counterexamples`.
use fennec::mqtt::codec::{DecodeError, Level, Role};

use notation::{frame, raw};
use support::{Client, Running, hello};

const LEVELS: [Level; 3] = [Level::V3, Level::V4, Level::V5];

/// A packet as this level writes it: `{}` stands where level 5 has properties.
fn at(level: Level, notation: &str) -> String {
    if level == Level::V5 { notation.to_owned() } else { notation.replace("{} ", "") }
}

#[test]
fn clients_of_all_levels_hear_each_other_with_every_qos() {
    let running = Running::start();
    for to in LEVELS {
        let mut subscriber = running.join(to, "subscriber");
        subscriber.send(&at(to, "82 0001 {} s'a/+' 02"));
        subscriber.expect(&at(to, "90 0001 {} 02"));
        for from in LEVELS {
            let mut publisher = running.join(from, "publisher");
            publisher.send(&at(from, "30 s'a/b' {} 'zero'"));
            publisher.send(&at(from, "32 s'a/b' 0001 {} 'one'"));
            publisher.send(&at(from, "34 s'a/b' 0002 {} 'two'"));
            publisher.expect("40 0001");
            publisher.expect("50 0002");
            publisher.send("62 0002");
            publisher.expect("70 0002");
            subscriber.expect(&at(to, "30 s'a/b' {} 'zero'"));
            let (one, two) = (subscriber.read_frame().unwrap(), subscriber.read_frame().unwrap());
            assert_eq!((one[0], two[0]), (0x32, 0x34));
            let [one, two] = [one, two].map(|packet| format!("{:02X}{:02X}", packet[7], packet[8]));
            subscriber.send(&format!("40 {one}"));
            subscriber.send(&format!("50 {two}"));
            subscriber.expect(&format!("62 {two}"));
            subscriber.send(&format!("70 {two}"));
        }
        subscriber.expect_silence();
    }
}

#[test]
fn packets_may_come_byte_by_byte() {
    let running = Running::start();
    let mut client = running.open();
    let mut trickle = |packet: Vec<u8>| packet.iter().for_each(|byte| client.write(&[*byte]));
    trickle(hello(Level::V5, "slow"));
    trickle(frame("82 0001 {} s'a' 01"));
    trickle(frame("32 s'a' 0002 { 26 s'k' s'v' } 'payload'"));
    trickle(raw("C000"));
    assert_eq!(client.read_frame().unwrap()[..2], [0x20, 0x13]);
    // A broker that was kept waiting reads all of them at once, and sends the events of a read before its answers.
    let mut found: Vec<_> = (0..4).map(|_| client.read_frame().unwrap()).collect();
    let event = found.iter().position(|packet| packet[0] == 0x32).expect("the event");
    assert_eq!(found.remove(event), frame("32 s'a' 0001 { 26 s'k' s'v' } 'payload'"));
    assert_eq!(found, [frame("90 0001 {} 01"), frame("40 0002"), raw("D000")]);
}

#[test]
fn many_packets_may_come_in_one_write() {
    let running = Running::start();
    let mut client = running.join(Level::V4, "quick");
    client.send("82 0001 s'a' 00");
    client.expect("90 0001 00");
    let mut bytes = Vec::new();
    for id in 1..=5000u16 {
        bytes.extend(frame(&format!("32 s'a' {id:04X} 's{id}'")));
    }
    let mut writer = client.socket.try_clone().unwrap();
    let write = std::thread::spawn(move || writer.write_all(&bytes).unwrap());
    let (mut events, mut answers) = (0, 0);
    while answers < 5000 {
        let found = client.read_frame().unwrap();
        if found[0] == 0x30 {
            events += 1;
            assert_eq!(found, frame(&format!("30 s'a' 's{events}'")));
        } else {
            answers += 1;
            assert_eq!(found, frame(&format!("40 {answers:04X}")));
        }
    }
    assert_eq!(events, 5000, "events of a read come before its answers");
    write.join().unwrap();
}

#[test]
fn second_connection_of_a_client_id_ends_the_first() {
    let running = Running::start();
    let mut first = running.join(Level::V5, "one");
    let mut second = running.join(Level::V4, "one");
    first.expect("E0 8E");
    first.expect_end();
    let mut third = running.join(Level::V5, "one");
    second.expect_end();
    third.expect_silence();
}

#[test]
fn will_is_published_when_the_socket_is_cut() {
    let running = Running::start();
    let mut heir = running.join(Level::V4, "heir");
    heir.send("82 0001 s'w' 00");
    heir.expect("90 0001 00");
    let mut mortal = running.open();
    mortal.send("10 s'MQTT' 04 06 0000 s'mortal' s'w' s'gone'");
    mortal.expect("20 0000");
    drop(mortal);
    heir.expect("30 s'w' 'gone'");
}

#[test]
fn delayed_will_and_session_end_with_the_clock() {
    let running = Running::start();
    let mut heir = running.join(Level::V4, "heir");
    heir.send("82 0001 s'w' 00");
    heir.expect("90 0001 00");
    let mut mortal = running.open();
    mortal.send("10 s'MQTT' 05 06 0000 { 11 00000064 } s'mortal' { 18 00000001 } s'w' s'gone'");
    mortal.read_frame();
    drop(mortal);
    heir.expect("30 s'w' 'gone'");
}

#[test]
fn silent_client_is_closed() {
    let running = Running::start();
    let mut client = running.open();
    client.send("10 s'MQTT' 05 02 0001 {} s'silent'");
    client.read_frame();
    client.expect("E0 8D");
    client.expect_end();
}

#[test]
fn session_outlives_its_socket() {
    let running = Running::start();
    let connect = "10 s'MQTT' 04 00 0000 s'kept'";
    let mut client = running.open();
    client.send(connect);
    client.expect("20 0000");
    client.send("82 0001 s'a' 01");
    client.expect("90 0001 01");
    let mut publisher = running.join(Level::V4, "publisher");
    publisher.send("32 s'a' 0001 'first'");
    publisher.expect("40 0001");
    client.expect("32 s'a' 0001 'first'");
    drop(client);
    publisher.send("32 s'a' 0002 'second'");
    publisher.expect("40 0002");
    let mut client = running.open();
    client.send(connect);
    client.expect("20 0100");
    client.expect("3A s'a' 0001 'first'");
    // The cut socket may be seen only now; then this was sent over it already.
    let second = client.read_frame().unwrap();
    assert_eq!(second[0] & 0xf7, 0x32);
    assert_eq!(second[1..], frame("32 s'a' 0002 'second'")[1..]);
}

#[test]
fn retained_messages_greet_late_subscribers() {
    let running = Running::start();
    let mut publisher = running.join(Level::V4, "publisher");
    publisher.send("33 s'a' 0001 'kept'");
    publisher.expect("40 0001");
    let mut late = running.join(Level::V4, "late");
    late.send("82 0001 s'#' 01");
    late.expect("90 0001 01");
    late.expect("33 s'a' 0001 'kept'");
    late.expect_silence();
}

#[test]
fn password_is_checked_while_packets_wait_behind_connect() {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap());
    let salt = SaltString::encode_b64(b"salt of a test").unwrap();
    let hash = argon2.hash_password(b"secret", &salt).unwrap().to_string();
    let running = Running::start_with(&format!("[[user]]\nname = \"joe\"\npassword_hash = {hash:?}\n"));
    let connect = |password: &str| frame(&format!("10 s'MQTT' 04 C2 0000 s'c' s'joe' s'{password}'"));
    for _ in 0..2 {
        let mut client = running.open();
        let mut bytes = connect("secret");
        bytes.extend(frame("82 0001 s'a' 00"));
        bytes.extend(frame("32 s'b' 0002 'x'"));
        client.write(&bytes);
        client.expect("20 0000");
        client.expect("90 0001 00");
        client.expect("40 0002");
    }
    let mut wrong = running.open();
    let mut bytes = connect("wrong");
    bytes.extend(frame("32 s'a' 0002 'x'"));
    wrong.write(&bytes);
    wrong.expect("20 0004");
    wrong.expect_end();
    let mut nobody = running.open();
    nobody.write(&hello(Level::V4, "nobody"));
    nobody.expect("20 0005");
    nobody.expect_end();
}

#[test]
fn connection_beyond_the_limit_is_closed_and_the_others_go_on() {
    let running = Running::start_with("[limits]\nconnections_max = 2\n");
    let (mut one, mut two) = (running.join(Level::V4, "one"), running.join(Level::V4, "two"));
    let mut three = running.open();
    assert_eq!(three.read_frame(), None);
    one.expect_silence();
    two.expect_silence();
}

#[test]
fn stopping_broker_says_goodbye() {
    let running = Running::start();
    let mut level_5 = running.join(Level::V5, "new");
    let mut level_4 = running.join(Level::V4, "old");
    let readers = std::thread::spawn(move || {
        level_5.expect("E0 8B");
        level_5.expect_end();
        level_4.expect_end();
    });
    running.stop();
    readers.join().unwrap();
}

/// Half of the clients send something and go without a word, some in the middle of a packet.
#[test]
fn clients_that_come_and_go_leave_nothing_behind() {
    let running = Running::start();
    let mut witness = running.join(Level::V4, "witness");
    for round in 0..50 {
        let clients: Vec<Client<TcpStream>> = (0..4)
            .map(|number| {
                let mut client = running.join(LEVELS[number % 3], &format!("c{number}"));
                client.write(&frame(&at(LEVELS[number % 3], "82 0001 {} s'a' 00"))[..4 + round % 5]);
                client
            })
            .collect();
        drop(clients);
    }
    let realm = running.broker().node.realm("realm1").unwrap();
    // Cut sockets are seen in their turn; an answer may come before.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while realm.sessions_len() > 1 || realm.subscriptions_len() > 0 {
        assert!(std::time::Instant::now() < until, "{} sessions are left", realm.sessions_len());
        witness.expect_silence();
    }
}
