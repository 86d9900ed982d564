//! A WAMP client made of a socket, and values encoded by other people's crates.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

/// Longer than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    MsgPack,
    Cbor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    WebSocket(Format),
    Batched(Format),
    RawSocket(Format),
}

use Format::{Cbor, Json, MsgPack};

pub const TRANSPORTS: [Transport; 9] = [
    Transport::WebSocket(Json),
    Transport::WebSocket(MsgPack),
    Transport::WebSocket(Cbor),
    Transport::Batched(Json),
    Transport::Batched(MsgPack),
    Transport::Batched(Cbor),
    Transport::RawSocket(Json),
    Transport::RawSocket(MsgPack),
    Transport::RawSocket(Cbor),
];

impl Format {
    fn encode(self, value: &Value) -> Vec<u8> {
        match self {
            Json => serde_json::to_vec(value).unwrap(),
            MsgPack => rmp_serde::to_vec(value).unwrap(),
            Cbor => {
                let mut out = Vec::new();
                ciborium::into_writer(value, &mut out).unwrap();
                out
            }
        }
    }

    fn decode(self, bytes: &[u8]) -> Value {
        match self {
            Json => serde_json::from_slice(bytes).unwrap(),
            MsgPack => rmp_serde::from_slice(bytes).unwrap(),
            Cbor => ciborium::from_reader(bytes).unwrap(),
        }
    }
}

impl Transport {
    pub fn format(self) -> Format {
        match self {
            Self::WebSocket(format) | Self::Batched(format) | Self::RawSocket(format) => format,
        }
    }

    /// A message as the body of a frame or request.
    pub fn pack(self, message: &Value) -> Vec<u8> {
        let body = self.format().encode(message);
        match self {
            Self::Batched(Json) => [&body[..], &[0x1e]].concat(),
            Self::Batched(_) => [&(body.len() as u32).to_be_bytes()[..], &body].concat(),
            _ => body,
        }
    }

    /// The messages of a body.
    pub fn unpack(self, body: &[u8]) -> Vec<Value> {
        let format = self.format();
        match (self, format) {
            (Self::Batched(_), Json) => {
                let messages = body.split(|byte| *byte == 0x1e).filter(|message| !message.is_empty());
                messages.map(|message| format.decode(message)).collect()
            }
            (Self::Batched(_), _) => {
                let (mut rest, mut messages) = (body, Vec::new());
                while let Some((len, behind)) = rest.split_first_chunk::<4>() {
                    let (message, behind) = behind.split_at(u32::from_be_bytes(*len) as usize);
                    messages.push(format.decode(message));
                    rest = behind;
                }
                messages
            }
            _ => vec![format.decode(body)],
        }
    }

    pub fn subprotocol(self) -> String {
        let name = match self.format() {
            Json => "json",
            MsgPack => "msgpack",
            Cbor => "cbor",
        };
        let batched = if matches!(self, Self::Batched(_)) { ".batched" } else { "" };
        format!("wamp.2.{name}{batched}")
    }
}

pub struct Client {
    pub socket: TcpStream,
    transport: Transport,
    /// Messages of a batch that were not asked for yet.
    waiting: Vec<Value>,
}

impl Client {
    /// Connects, without HELLO.
    pub fn connect(address: SocketAddr, transport: Transport) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        let mut client = Self { socket, transport, waiting: Vec::new() };
        match transport {
            Transport::RawSocket(format) => client.shake_hands(format),
            _ => client.upgrade(),
        }
        client
    }

    /// Connects and joins `realm1` as nobody in particular.
    pub fn join(address: SocketAddr, transport: Transport) -> Self {
        let mut client = Self::connect(address, transport);
        let roles = json!({"publisher": {}, "subscriber": {}, "caller": {}, "callee": {}});
        client.send(&json!([1, "realm1", {"roles": roles}]));
        let welcome = client.receive();
        assert_eq!(welcome[0], 2, "{welcome}");
        client
    }

    fn shake_hands(&mut self, format: Format) {
        let serializer = match format {
            Json => 1,
            MsgPack => 2,
            Cbor => 3,
        };
        self.socket.write_all(&[0x7f, 0xf0 | serializer, 0, 0]).unwrap();
        assert_eq!(self.read(4), [0x7f, 0xf0 | serializer, 0, 0]);
    }

    fn upgrade(&mut self) {
        let subprotocol = self.transport.subprotocol();
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
        );
        self.socket.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.extend(self.read(1));
        }
        let answer = String::from_utf8(answer).unwrap().to_lowercase();
        assert!(answer.starts_with("http/1.1 101"), "{answer}");
        assert!(answer.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{answer}");
        assert!(answer.contains(&format!("sec-websocket-protocol: {subprotocol}\r\n")), "{answer}");
    }

    fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.socket.read_exact(&mut bytes).unwrap();
        bytes
    }

    pub fn send(&mut self, message: &Value) {
        let body = self.transport.pack(message);
        let frame = match self.transport {
            Transport::RawSocket(_) => rawsocket_frame(0, &body),
            _ => websocket_frame(if self.transport.format() == Json { 0x81 } else { 0x82 }, &body),
        };
        self.socket.write_all(&frame).unwrap();
    }

    /// The next message.
    pub fn receive(&mut self) -> Value {
        if !self.waiting.is_empty() {
            return self.waiting.remove(0);
        }
        let format = self.transport.format();
        let (kind, body) = self.receive_frame();
        match self.transport {
            Transport::RawSocket(_) => {
                assert_eq!(kind, 0);
                return format.decode(&body);
            }
            _ => assert_eq!(kind, if format == Json { 0x81 } else { 0x82 }, "{body:x?}"),
        }
        self.waiting = self.transport.unpack(&body);
        self.waiting.remove(0)
    }

    /// The next frame: its first byte, and its payload.
    pub fn receive_frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.read(2);
        if let Transport::RawSocket(_) = self.transport {
            let rest = self.read(2);
            let len = usize::from(head[0] >> 3 & 1) << 24
                | usize::from(head[1]) << 16
                | usize::from(rest[0]) << 8
                | usize::from(rest[1]);
            return (head[0] & 7, self.read(len));
        }
        let len = match head[1] {
            126 => usize::from(u16::from_be_bytes(self.read(2).try_into().unwrap())),
            127 => u64::from_be_bytes(self.read(8).try_into().unwrap()) as usize,
            len => usize::from(len),
        };
        (head[0], self.read(len))
    }

    /// Whether the broker closes the connection, with nothing more to say.
    pub fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        matches!(self.socket.read(&mut byte), Ok(0))
    }

    /// Receives what begins so.
    #[track_caller]
    pub fn expect(&mut self, begins: Value) {
        check(&self.receive(), &begins);
    }

    /// Sends a message and compares the answer's beginning.
    #[track_caller]
    pub fn check(&mut self, sent: Value, begins: Value) -> Value {
        self.send(&sent);
        let received = self.receive();
        self::check(&received, &begins);
        received
    }
}

/// Whether a message begins with these elements.
#[track_caller]
pub fn check(received: &Value, begins: &Value) {
    let (all, wanted) = (received.as_array().unwrap(), begins.as_array().unwrap());
    assert!(all.starts_with(wanted), "received {received}, expected {begins} …");
}

pub fn rawsocket_frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u32).to_be_bytes();
    [&[kind | (len[0] << 3), len[1], len[2], len[3]], payload].concat()
}

/// A masked frame.
pub fn websocket_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len @ 126..=65_535 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ MASK[at % 4]));
    frame
}
