//! A publisher and a subscriber who do all as they should, one message after the other.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::PATIENCE;
use crate::broker::Ports;

/// Between two messages.
const PACE: Duration = Duration::from_millis(5);

/// How a pair fared.
pub struct Report {
    pub name: &'static str,
    /// Messages whose publication was acknowledged.
    pub sent: u64,
    /// Messages that came, each once and in their order.
    pub received: u64,
    /// From before a message is written until it is read.
    pub p99: Duration,
    pub max: Duration,
}

pub struct Pair {
    name: &'static str,
    stop: Sender<()>,
    publisher: JoinHandle<u64>,
    subscriber: JoinHandle<Vec<Duration>>,
}

impl Pair {
    pub fn mqtt(ports: &Ports) -> Self {
        let (mut publisher, mut subscriber) =
            (Mqtt::join(ports["mqtt"], "good-publisher"), Mqtt::join(ports["mqtt"], "good-subscriber"));
        subscriber.write(&packet(0x82, &[&[0, 1], &string("good/mqtt")[..], &[1]].concat()));
        assert_eq!(subscriber.read(), (0x90, vec![0, 1, 1]));
        let publish = move |number: u64, text: &str| {
            let id = (number % 60_000 + 1) as u16;
            let body = [&string("good/mqtt")[..], &id.to_be_bytes(), text.as_bytes()].concat();
            publisher.write(&packet(0x32, &body));
            assert_eq!(publisher.read(), (0x40, id.to_be_bytes().to_vec()), "PUBACK {number}");
        };
        let receive = move || {
            let (first, body) = subscriber.read();
            assert_eq!(first, 0x32);
            let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
            let (id, payload) = body[2 + topic..].split_at(2);
            subscriber.write(&packet(0x40, id));
            String::from_utf8(payload.to_vec()).expect("text")
        };
        Self::start("MQTT", publish, receive)
    }

    pub fn wamp(ports: &Ports) -> Self {
        let (mut publisher, mut subscriber) = (Wamp::join(ports), Wamp::join(ports));
        subscriber.write(r#"[32,1,{},"good.wamp"]"#);
        assert!(subscriber.read().starts_with("[33,1,"));
        let publish = move |number: u64, text: &str| {
            let request = number + 1;
            publisher.write(&format!(r#"[16,{request},{{"acknowledge":true}},"good.wamp",["{text}"]]"#));
            let published = publisher.read();
            assert!(published.starts_with(&format!("[17,{request},")), "{published}");
        };
        let receive = move || {
            let event = subscriber.read();
            assert!(event.starts_with("[36,"), "{event}");
            let text = event.rsplit_once("[\"").expect("an argument").1;
            text.trim_end_matches("\"]]").to_owned()
        };
        Self::start("WAMP", publish, receive)
    }

    fn start(
        name: &'static str,
        mut publish: impl FnMut(u64, &str) + Send + 'static,
        mut receive: impl FnMut() -> String + Send + 'static,
    ) -> Self {
        let began = Instant::now();
        let (stop, stopped) = channel();
        let publisher = thread::spawn(move || {
            let mut number = 0;
            while stopped.recv_timeout(PACE) == Err(RecvTimeoutError::Timeout) {
                publish(number, &format!("{number} {}", began.elapsed().as_micros()));
                number += 1;
            }
            publish(number, "end");
            number
        });
        let subscriber = thread::spawn(move || {
            let mut latencies = Vec::new();
            loop {
                let text = receive();
                if text == "end" {
                    return latencies;
                }
                let (number, at_us) = text.split_once(' ').expect("a number and a time");
                assert_eq!(number, latencies.len().to_string(), "{name}: each once and in order");
                let at = Duration::from_micros(at_us.parse().expect("a time"));
                latencies.push(began.elapsed().saturating_sub(at));
            }
        });
        Self { name, stop, publisher, subscriber }
    }

    /// Ends it when all that was sent has come.
    pub fn finish(self) -> Report {
        self.stop.send(()).expect("it publishes still");
        let sent = self.publisher.join().expect("it publishes to the end");
        let mut latencies = self.subscriber.join().expect("it receives to the end");
        latencies.sort_unstable();
        let at = |share: usize| latencies.get((latencies.len() * share / 100).min(latencies.len() - 1)).copied();
        let (p99, max) = (at(99).unwrap_or_default(), at(100).unwrap_or_default());
        Report { name: self.name, sent, received: latencies.len() as u64, p99, max }
    }
}

fn open(port: u16) -> TcpStream {
    let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

/// MQTT 3.1.1 with packets of less than 128 bytes.
struct Mqtt(TcpStream);

pub fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut rest = body.len();
    loop {
        let more = if rest > 127 { 0x80 } else { 0 };
        packet.push((rest % 128) as u8 | more);
        rest /= 128;
        if rest == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

/// CONNECT of level 4 with a clean session.
pub fn connect(client_id: &str) -> Vec<u8> {
    packet(0x10, &[&string("MQTT")[..], &[4, 2, 0, 0], &string(client_id)].concat())
}

impl Mqtt {
    fn join(port: u16, client_id: &str) -> Self {
        let mut client = Self(open(port));
        client.write(&connect(client_id));
        assert_eq!(client.read(), (0x20, vec![0, 0]));
        client
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    fn read(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).expect("a packet");
        let mut body = vec![0; usize::from(head[1])];
        self.0.read_exact(&mut body).expect("the rest of a packet");
        (head[0], body)
    }
}

/// Asks whether the broker has time.
pub struct Probe(Mqtt);

impl Probe {
    pub fn join(port: u16, client_id: &str) -> Self {
        Self(Mqtt::join(port, client_id))
    }

    pub fn ping(&mut self) {
        self.0.write(&[0xc0, 0]);
        assert_eq!(self.0.read(), (0xd0, Vec::new()));
    }
}

/// JSON over RawSocket.
struct Wamp(TcpStream);

pub const HELLO: &str = r#"[1,"realm1",{"roles":{"publisher":{},"subscriber":{},"caller":{},"callee":{}}}]"#;

impl Wamp {
    fn join(ports: &Ports) -> Self {
        let mut client = Self(open(ports["rawsocket"]));
        client.0.write_all(&[0x7f, 0xf1, 0, 0]).unwrap();
        let mut answer = [0; 4];
        client.0.read_exact(&mut answer).unwrap();
        client.write(HELLO);
        let welcome = client.read();
        assert!(welcome.starts_with("[2,"), "{welcome}");
        client
    }

    fn write(&mut self, message: &str) {
        let head = (message.len() as u32).to_be_bytes();
        self.0.write_all(&[&head[..], message.as_bytes()].concat()).unwrap();
    }

    fn read(&mut self) -> String {
        let mut head = [0; 4];
        self.0.read_exact(&mut head).expect("a message");
        let mut body = vec![0; u32::from_be_bytes(head) as usize];
        self.0.read_exact(&mut body).expect("the rest of a message");
        String::from_utf8(body).expect("JSON")
    }
}
