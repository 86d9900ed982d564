//! A broker in this process, and clients that read and write bytes in the notation of the codec's tests.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use fennec::cli::broker::Broker;
use fennec::cli::config::{Config, Flag, Protocol, Sources};
use fennec::mqtt::codec::{Level, Publish, frame_length};

use crate::notation::{frame, raw};

/// How long anything may take: far longer than it does, so that only what never comes fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A broker on ports of its own.
pub struct Running(Option<Broker>);

impl Running {
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// With this configuration file. Listens on MQTT, and on more if the file says so.
    pub fn start_with(file: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fennec.toml");
        std::fs::write(&path, file).unwrap();
        let flag = |key: &str, value: &str| Flag { name: key.into(), key: key.into(), value: value.into() };
        let mut flags = vec![flag("memory", "true")];
        for (key, address) in [("mqtt", "127.0.0.1:0"), ("http", "off"), ("rawsocket", "off")] {
            if !file.contains(&format!("{key} =")) {
                flags.push(flag(&format!("listen.{key}"), address));
            }
        }
        let config = Config::load(&Sources { file: Some(path), env: Vec::new(), flags }).unwrap();
        Self(Some(Broker::start(&config).unwrap()))
    }

    pub fn broker(&self) -> &Broker {
        self.0.as_ref().unwrap()
    }

    pub fn address(&self, tls: bool) -> SocketAddr {
        self.broker().address(Protocol::Mqtt, tls).unwrap()
    }

    /// A connection on which nothing was said yet.
    pub fn open(&self) -> Client<TcpStream> {
        Client::new(connect(self.address(false)))
    }

    /// A client with a clean session that was let in.
    pub fn join(&self, level: Level, client_id: &str) -> Client<TcpStream> {
        let mut client = self.open();
        client.join(level, client_id);
        client
    }

    /// Stops the broker as SIGTERM does.
    pub fn stop(mut self) {
        self.0.take().unwrap().stop(|| false);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(broker) = self.0.take() {
            broker.stop(|| true);
        }
    }
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

/// CONNECT of a clean session without a keep alive.
pub fn hello(level: Level, client_id: &str) -> Vec<u8> {
    frame(&match level {
        Level::V3 => format!("10 s'MQIsdp' 03 02 0000 s'{client_id}'"),
        Level::V4 => format!("10 s'MQTT' 04 02 0000 s'{client_id}'"),
        Level::V5 => format!("10 s'MQTT' 05 02 0000 {{}} s'{client_id}'"),
    })
}

/// A PUBLISH with QoS 0 at level 4.
pub fn publish_of(topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let publish = Publish { topic: topic.as_bytes(), payload, ..Publish::default() };
    publish.encode(Level::V4, &mut packet).unwrap();
    packet
}

/// One connection.
pub struct Client<S> {
    pub socket: S,
    /// What was read and not yet looked at.
    pub unread: Vec<u8>,
}

impl<S: Read + Write> Client<S> {
    pub fn new(socket: S) -> Self {
        Self { socket, unread: Vec::new() }
    }

    pub fn join(&mut self, level: Level, client_id: &str) {
        self.write(&hello(level, client_id));
        let connack = self.read_frame().expect("a CONNACK");
        assert_eq!((connack[0], connack[3]), (0x20, 0), "{connack:02x?}");
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
        self.socket.flush().unwrap();
    }

    /// Sends a packet.
    pub fn send(&mut self, notation: &str) {
        self.write(&frame(notation));
    }

    /// Reads a packet, which must be this one.
    pub fn expect(&mut self, notation: &str) {
        let found = self.read_frame();
        assert_eq!(found, Some(frame(notation)), "expected {notation}");
    }

    /// Reads a packet; `None` is the end of the connection.
    pub fn read_frame(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(length) =
                frame_length(&self.unread, usize::MAX).unwrap().filter(|len| *len <= self.unread.len())
            {
                return Some(self.unread.drain(..length).collect());
            }
            let mut bytes = [0; 64 * 1024];
            match self.socket.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => self.unread.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }

    /// Asserts that the broker closes the connection and says nothing more.
    pub fn expect_end(&mut self) {
        let found = self.read_frame();
        assert_eq!(found, None, "more came before the end");
        assert!(self.unread.is_empty(), "half a packet came before the end: {:02x?}", self.unread);
    }

    /// Asserts that nothing is on its way: an answer comes, and nothing before it.
    pub fn expect_silence(&mut self) {
        self.write(&raw("C000"));
        self.expect("D0");
    }
}
