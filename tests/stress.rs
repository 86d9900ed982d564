//! Clients that ask much of a broker, or give it nothing back: its memory stays within its limits, and nobody else is hurt.
//!
//! Each test has a broker of its own as a child process, so that its memory can be measured apart from the test's.
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use fennec::mqtt::codec::{
    Ack, AckType, Connect, ConnectProperties, Level, Packet, PacketId, Publish, ReasonCode, Role, Subscribe,
    Subscription, Subscriptions, UserProperties, decode, frame_length,
};
use fennec::types::event::Qos;

const MIB: usize = 1024 * 1024;
/// How long anything may take: far longer than it does, so that only what never comes fails.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a client that asks little may wait while others ask much. It waits for a few milliseconds.
const UNHURT: Duration = Duration::from_secs(2);

/// A broker with these settings.
struct Broker {
    child: Child,
    port: u16,
    /// Resident bytes when nobody had connected.
    idle: usize,
}

impl Broker {
    fn start(settings: &[&str]) -> Self {
        Self::start_with(&["--memory"], settings)
    }

    fn start_with(store: &[&str], settings: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fennec"));
        command.args(store);
        command.args(["--mqtt", "127.0.0.1:0", "--http", "off", "--rawsocket", "off", "--log", "error"]);
        settings.iter().for_each(|setting| {
            command.args(["--set", setting]);
        });
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port_of = |line: String| {
            line.trim().strip_prefix("mqtt ")?.split_whitespace().next()?.rsplit_once(':')?.1.parse().ok()
        };
        let port = lines.map_while(Result::ok).find_map(port_of).expect("the port");
        let mut broker = Broker { child, port, idle: 0 };
        broker.idle = broker.memory("VmRSS:");
        broker
    }

    fn memory(&self, what: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    /// The most bytes that it ever had beyond those it had when idle.
    fn peak(&self) -> usize {
        self.memory("VmHWM:").saturating_sub(self.idle)
    }

    fn check_peak(&self, max: usize) {
        let peak = self.peak();
        assert!(peak < max, "{} MiB", peak / MIB);
    }

    fn join(&self, client_id: &str) -> Client {
        self.join_as(&connect(client_id, 0))
    }

    fn join_as(&self, connect: &Connect<'_>) -> Client {
        let mut client = Client::open(self.port);
        let mut frame = Vec::new();
        connect.encode(&mut frame).unwrap();
        client.write(&frame);
        let connack = client.read();
        assert_eq!((connack[0], connack[3]), (0x20, 0), "{connack:02x?}");
        client
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended by itself, which other assertions notice.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn connect(client_id: &str, session_expiry_s: u32) -> Connect<'_> {
    Connect {
        level: Level::V5,
        clean_start: session_expiry_s == 0,
        keep_alive_s: 0,
        client_id,
        will: None,
        user_name: None,
        password: None,
        properties: ConnectProperties { session_expiry_s, ..ConnectProperties::default() },
    }
}

struct Client {
    socket: TcpStream,
    unread: Vec<u8>,
    /// Of `unread`: what is done with.
    at: usize,
    buffer: Vec<u8>,
}

impl Client {
    fn open(port: u16) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket, unread: Vec::new(), at: 0, buffer: vec![0; 256 * 1024] }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// The next packet; `None` is the end of the connection.
    fn try_read(&mut self) -> Option<Vec<u8>> {
        loop {
            let unread = &self.unread[self.at..];
            if let Some(length) = frame_length(unread, usize::MAX).unwrap()
                && length <= unread.len()
            {
                let frame = unread[..length].to_vec();
                self.at += length;
                return Some(frame);
            }
            self.unread.drain(..self.at);
            self.at = 0;
            match self.socket.read(&mut self.buffer) {
                Ok(0) => return None,
                Ok(count) => self.unread.extend_from_slice(&self.buffer[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }

    fn read(&mut self) -> Vec<u8> {
        self.try_read().expect("a packet")
    }

    /// Subscribes to all these filters in one packet.
    fn subscribe(&mut self, filters: &[String], qos: Qos) {
        let subscription = |filter| Subscription { filter, qos, ..Subscription::default() };
        let subscriptions: Vec<_> = filters.iter().map(|filter| subscription(filter)).collect();
        let packet = Subscribe {
            packet_id: packet_id(1),
            subscription_identifier: None,
            user_properties: UserProperties::default(),
            subscriptions: Subscriptions::new(&subscriptions),
        };
        let mut frame = Vec::new();
        packet.encode(Level::V5, &mut frame).unwrap();
        self.write(&frame);
        match decode(&self.read(), Level::V5, Role::Client).unwrap() {
            Packet::Suback(suback) => {
                assert!(suback.reasons.iter().all(|reason| !reason.is_error()));
                assert_eq!(suback.reasons.iter().count(), filters.len());
            }
            other => panic!("{other:?}"),
        }
    }

    /// Reads a PUBLISH and acknowledges it if that is due: its payload.
    fn take(&mut self) -> Vec<u8> {
        let frame = self.read();
        let Packet::Publish(publish) = decode(&frame, Level::V5, Role::Client).unwrap() else {
            panic!("no PUBLISH: {:02x?}", &frame[..frame.len().min(40)])
        };
        if let Some(packet_id) = publish.packet_id {
            self.acknowledge(packet_id);
        }
        publish.payload.to_vec()
    }

    fn acknowledge(&mut self, packet_id: PacketId) {
        let mut ack = Vec::new();
        Ack::new(packet_id, ReasonCode::Success).encode(AckType::Puback, Level::V5, &mut ack).unwrap();
        self.write(&ack);
    }

    /// Asserts that the broker answers, and soon.
    fn check_unhurt(&mut self) {
        let asked = Instant::now();
        self.write(&[0xc0, 0]);
        assert_eq!(self.read(), [0xd0, 0]);
        assert!(asked.elapsed() < UNHURT, "{:?}", asked.elapsed());
    }
}

fn packet_id(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

fn publish(topic: &str, payload: &[u8], packet_id: Option<PacketId>, retain: bool, out: &mut Vec<u8>) {
    let qos = if packet_id.is_some() { Qos::AtLeastOnce } else { Qos::AtMostOnce };
    let publish = Publish { qos, packet_id, retain, topic: topic.as_bytes(), payload, ..Publish::default() };
    publish.encode(Level::V5, out).unwrap();
}

/// A payload that begins with its number.
fn numbered(number: u64, bytes: usize) -> Vec<u8> {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(bytes, b'x');
    payload
}

fn number_of(payload: &[u8]) -> u64 {
    u64::from_be_bytes(payload[..8].try_into().unwrap())
}

/// It gets as much as it reads, in order, while a quick one gets everything.
#[test]
fn slow_reader_costs_an_outbox_and_misses_events() {
    const BATCHES: u64 = 150;
    const BATCH: u64 = 16;
    const BYTES: usize = 64 * 1024;
    let broker = Broker::start(&["limits.outbox_bytes_max=4194304"]);
    let (mut slow, mut quick, mut publisher) = (broker.join("slow"), broker.join("quick"), broker.join("publisher"));
    slow.subscribe(&["a".to_owned()], Qos::AtMostOnce);
    quick.subscribe(&["a".to_owned()], Qos::AtMostOnce);
    let mut heard = Vec::new();
    for batch in 0..BATCHES {
        let mut bytes = Vec::new();
        (0..BATCH).for_each(|at| publish("a", &numbered(batch * BATCH + at, BYTES), None, false, &mut bytes));
        publisher.write(&bytes);
        for at in 0..BATCH {
            assert_eq!(number_of(&quick.take()), batch * BATCH + at, "the quick reader misses nothing");
        }
        heard.push(number_of(&slow.take()));
    }
    broker.check_peak(16 * MIB);
    // It goes on when it has read what waits: a last message finds room then.
    let mut last = Vec::new();
    publish("a", &numbered(u64::MAX, 8), None, false, &mut last);
    while heard.last() != Some(&u64::MAX) {
        publisher.write(&last);
        heard.push(number_of(&slow.take()));
    }
    assert!(heard.is_sorted_by(|a, b| a < b), "in order");
    assert!((heard.len() as u64) < BATCHES * BATCH, "and not all");
}

#[test]
fn reader_that_stops_costs_its_queues_and_no_more() {
    const COUNT: u64 = 3000;
    const BYTES: usize = 64 * 1024;
    let folder = tempfile::tempdir().unwrap();
    let settings =
        ["limits.outbox_bytes_max=4194304", "limits.backlog_bytes_max=8388608", "limits.log_cache_bytes_max=4194304"];
    let broker = Broker::start_with(&["--data", folder.path().to_str().unwrap()], &settings);
    let (mut quick, mut publisher) = (broker.join("quick"), broker.join("publisher"));
    quick.subscribe(&["a".to_owned()], Qos::AtLeastOnce);
    // One stops reading, one reads and acknowledges nothing, one went away.
    let mut stopped = broker.join("stopped");
    stopped.subscribe(&["a".to_owned()], Qos::AtLeastOnce);
    let mut silent = broker.join("silent");
    silent.subscribe(&["a".to_owned()], Qos::AtLeastOnce);
    let mut away = broker.join_as(&connect("away", 1000));
    away.subscribe(&["a".to_owned()], Qos::AtLeastOnce);
    drop(away);
    let silent = thread::spawn(move || {
        let mut sink = vec![0; 64 * 1024];
        while silent.socket.read(&mut sink).is_ok_and(|count| count > 0) {}
    });
    let mut bytes = Vec::new();
    for number in 0..COUNT {
        bytes.clear();
        let id = packet_id((number % 60_000) as u16 + 1);
        publish("a", &numbered(number, BYTES), Some(id), false, &mut bytes);
        publisher.write(&bytes);
        assert_eq!(number_of(&quick.take()), number);
        assert_eq!(publisher.read()[0], 0x40, "the publisher gets its PUBACK");
    }
    // For each of the two that are there at most: outbox, backlog, and as much unacknowledged. The one that is away costs nothing
    // but the log, which is on disk.
    broker.check_peak(96 * MIB);
    quick.check_unhurt();
    drop(broker);
    silent.join().unwrap();
}

/// Sends one message of so many bytes through a broker, while somebody else asks for little.
fn pass_large(broker: &Broker, payload_bytes: usize) {
    let (mut subscriber, mut publisher) = (broker.join("subscriber"), broker.join("publisher"));
    subscriber.subscribe(&["a".to_owned()], Qos::AtLeastOnce);
    let payload = numbered(7, payload_bytes);
    let mut packet = Vec::new();
    publish("a", &payload, Some(packet_id(1)), false, &mut packet);
    let write = thread::spawn(move || {
        publisher.write(&packet);
        assert_eq!(publisher.read()[0], 0x40);
    });
    let mut bystander = broker.join("bystander");
    let read = thread::spawn(move || subscriber.take());
    while !read.is_finished() {
        bystander.check_unhurt();
    }
    assert!(read.join().unwrap() == payload);
    write.join().unwrap();
}

#[test]
fn large_messages_pass_and_cost_their_size() {
    let broker = Broker::start(&[]);
    pass_large(&broker, MIB);
    broker.check_peak(16 * MIB);
    // The packet is as large as it may be.
    pass_large(&broker, 16 * MIB - b"\x32\x80\x80\x80\x08\0\x01a\0\x01\0".len());
    broker.check_peak(40 * MIB);
}

#[test]
fn huge_message_passes_where_it_is_allowed() {
    let broker = Broker::start(&["mqtt.packet_bytes_max=268435460"]);
    pass_large(&broker, 200 * MIB);
    broker.check_peak(320 * MIB);
}

#[test]
fn message_beyond_the_limit_is_refused_before_it_has_come() {
    let broker = Broker::start(&[]);
    let mut sender = broker.join("sender");
    // The header of a PUBLISH of 256 MiB.
    sender.write(&[0x30, 0xff, 0xff, 0xff, 0x7f]);
    let said = sender.read();
    assert_eq!((said[0], said[2]), (0xe0, 0x95));
    assert!(sender.try_read().is_none());
    broker.check_peak(4 * MIB);
}

/// Headers that announce much and deliver nothing.
#[test]
fn announced_packets_cost_nothing_before_they_come() {
    let broker = Broker::start(&["mqtt.packet_bytes_max=268435460"]);
    let mut clients: Vec<Client> = (0..100).map(|number| broker.join(&format!("c{number}"))).collect();
    for client in &mut clients {
        client.write(&[0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1, b'a']);
    }
    broker.join("bystander").check_unhurt();
    broker.check_peak(16 * MIB);
}

#[test]
fn many_retained_topics_are_sent_to_those_who_read_and_wait_for_those_who_do_not() {
    const TOPICS: usize = 100_000;
    let broker = Broker::start(&[]);
    let mut publisher = broker.join("publisher");
    let mut bytes = Vec::new();
    for number in 0..TOPICS {
        publish(&format!("house/{}/sensor/{number}", number % 100), b"21.5", None, true, &mut bytes);
    }
    // The log takes them in their order: when it has the last one, it has all.
    publish("house/0/sensor/0", b"21.5", Some(packet_id(1)), true, &mut bytes);
    publisher.write(&bytes);
    assert_eq!(publisher.read()[0], 0x40);
    let stored = broker.peak();
    let mut lazy: Vec<Client> = (0..20).map(|number| broker.join(&format!("lazy{number}"))).collect();
    for client in &mut lazy {
        // Asks for all of them many times over, and reads nothing of it.
        client.subscribe(&["#".to_owned()], Qos::AtMostOnce);
        let mut again = Vec::new();
        for _ in 0..100 {
            again.extend_from_slice(b"\x82\x07\0\x02\0\0\x01#\0");
        }
        client.write(&again);
    }
    let mut subscriber = broker.join("subscriber");
    let mut bystander = broker.join("bystander");
    subscriber.subscribe(&["house/#".to_owned()], Qos::AtLeastOnce);
    let mut topics = std::collections::HashSet::new();
    for count in 0..TOPICS {
        let frame = subscriber.read();
        let Packet::Publish(publish) = decode(&frame, Level::V5, Role::Client).unwrap() else { panic!() };
        assert!(publish.retain && publish.payload == b"21.5");
        assert!(topics.insert(publish.topic.to_vec()));
        if count % 10_000 == 0 {
            bystander.check_unhurt();
        }
    }
    subscriber.check_unhurt();
    let beyond = broker.peak() - stored;
    assert!(beyond < 16 * MIB, "{} MiB beyond the {} of the store", beyond / MIB, stored / MIB);
}

#[test]
fn many_subscriptions_of_one_client_come_and_go() {
    const SUBSCRIPTIONS: usize = 10_000;
    let broker = Broker::start(&[]);
    let mut bystander = broker.join("bystander");
    bystander.subscribe(&["#".to_owned()], Qos::AtMostOnce);
    let filter = |number: usize| match number % 3 {
        0 => format!("a/{number}"),
        1 => format!("a/{number}/+"),
        _ => format!("a/{number}/#"),
    };
    let filters: Vec<String> = (0..SUBSCRIPTIONS).map(filter).collect();
    for _ in 0..3 {
        let mut client = broker.join("many");
        client.subscribe(&filters, Qos::AtMostOnce);
        let mut bytes = Vec::new();
        (0..SUBSCRIPTIONS)
            .for_each(|number| publish(&format!("a/{number}/x"), &numbered(number as u64, 8), None, false, &mut bytes));
        bystander.write(&bytes);
        let expected = (0..SUBSCRIPTIONS).filter(|number| number % 3 != 0);
        for number in expected {
            assert_eq!(number_of(&client.take()), number as u64);
        }
        for number in 0..SUBSCRIPTIONS {
            assert_eq!(number_of(&bystander.take()), number as u64);
        }
        bystander.check_unhurt();
    }
    broker.check_peak(32 * MIB);
}

/// Takes the session over, hears what is there, and is taken over in its turn, until it has been so often enough.
fn fight(port: u16, rounds: usize) -> Vec<u64> {
    let mut heard = Vec::new();
    let mut frame = Vec::new();
    connect("contested", 1000).encode(&mut frame).unwrap();
    for _ in 0..rounds {
        let mut client = Client::open(port);
        client.write(&frame);
        // The other may be quicker than our CONNACK.
        while let Some(packet) = client.try_read() {
            match decode(&packet, Level::V5, Role::Client).unwrap() {
                Packet::Publish(publish) => {
                    heard.push(number_of(publish.payload));
                    let mut ack = Vec::new();
                    let packet_id = publish.packet_id.unwrap();
                    Ack::new(packet_id, ReasonCode::Success).encode(AckType::Puback, Level::V5, &mut ack).unwrap();
                    if client.socket.write_all(&ack).is_err() {
                        break;
                    }
                }
                Packet::Disconnect(disconnect) => assert_eq!(disconnect.reason, ReasonCode::SessionTakenOver),
                _ => {}
            }
        }
    }
    heard
}

#[test]
fn two_clients_that_fight_for_one_id_lose_nothing_and_hurt_nobody() {
    const ROUNDS: usize = 200;
    const MESSAGES: u64 = 3000;
    let broker = Broker::start(&["mqtt.takeover_delay_s_max=0"]);
    let mut first = broker.join_as(&connect("contested", 1000));
    first.subscribe(&["a".to_owned()], Qos::AtLeastOnce);
    let port = broker.port;
    let fighters = [(); 2].map(|()| thread::spawn(move || fight(port, ROUNDS)));
    let mut publisher = broker.join("publisher");
    let mut bytes = Vec::new();
    for number in 0..MESSAGES {
        bytes.clear();
        publish("a", &numbered(number, 100), Some(packet_id(number as u16 + 1)), false, &mut bytes);
        publisher.write(&bytes);
        let puback = publisher.read();
        assert_eq!((puback[0], puback[1]), (0x40, 2), "somebody is subscribed all the time");
    }
    // The last one standing is ended by another one, again and again, until both have fought all their rounds.
    let mut heard = Vec::new();
    while !fighters.iter().all(thread::JoinHandle::is_finished) {
        let mut frame = Vec::new();
        connect("contested", 1000).encode(&mut frame).unwrap();
        let mut other = Client::open(port);
        other.write(&frame);
        // A fighter may take the session before the CONNACK is written.
        if let Some(connack) = other.try_read() {
            assert_eq!((connack[0], connack[3]), (0x20, 0), "{connack:02x?}");
        }
        publisher.check_unhurt();
    }
    for fighter in fighters {
        heard.extend(fighter.join().unwrap());
    }
    let mut survivor = broker.join_as(&connect("contested", 1000));
    bytes.clear();
    publish("a", &numbered(MESSAGES, 100), Some(packet_id(60_000)), false, &mut bytes);
    publisher.write(&bytes);
    while heard.last() != Some(&MESSAGES) {
        heard.push(number_of(&survivor.take()));
    }
    // What a connection was sent and did not come to read is sent again to the next.
    heard.sort_unstable();
    heard.dedup();
    assert!(heard.iter().copied().eq(0..=MESSAGES), "{} of {}", heard.len(), MESSAGES + 1);
    broker.check_peak(16 * MIB);
}
