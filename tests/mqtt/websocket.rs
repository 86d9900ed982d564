//! MQTT over WebSocket (MQTT 5, 6): the packets are a stream, however the frames cut it.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use fennec::cli::config::Protocol;
use fennec::mqtt::codec::Level;

use crate::notation::frame;
use crate::support::{Client, Running, connect, hello, publish_of};

const BINARY: u8 = 0x82;

/// A socket whose reads are the payloads of binary frames, and whose writes are put into one each.
struct WebSocket {
    socket: TcpStream,
    /// Of the frame that is being read.
    left: u64,
    /// Status code of the close frame that ended it.
    closed: Option<u16>,
}

impl WebSocket {
    fn open(running: &Running) -> Client<WebSocket> {
        let address = running.broker().address(Protocol::Http, false).unwrap();
        let mut socket = connect(address);
        write!(
            socket,
            "GET /mqtt HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\n\r\n"
        )
        .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101 ") && head.contains("sec-websocket-protocol: mqtt"), "{head}");
        Client::new(WebSocket { socket, left: 0, closed: None })
    }

    /// Sends a frame, masked with zeros.
    fn send(&mut self, first: u8, payload: &[u8]) {
        let mut bytes = vec![first];
        match payload.len() {
            short @ ..126 => bytes.push(0x80 | short as u8),
            medium @ ..0x10000 => {
                bytes.push(0x80 | 126);
                bytes.extend((medium as u16).to_be_bytes());
            }
            long => {
                bytes.push(0x80 | 127);
                bytes.extend((long as u64).to_be_bytes());
            }
        }
        bytes.extend([0; 4]);
        bytes.extend(payload);
        self.socket.write_all(&bytes).unwrap();
    }

    /// Reads the head of the next frame; false if that closes the connection.
    fn next(&mut self) -> io::Result<bool> {
        let mut head = [0; 2];
        self.socket.read_exact(&mut head)?;
        self.left = match head[1] {
            126 => self.number(2)?,
            127 => self.number(8)?,
            short => u64::from(short),
        };
        if head[0] == 0x88 {
            self.closed = Some(self.number(2)? as u16);
            return Ok(false);
        }
        assert_eq!(head[0], BINARY);
        Ok(true)
    }

    fn number(&mut self, width: usize) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.socket.read_exact(&mut bytes[8 - width..])?;
        Ok(u64::from_be_bytes(bytes))
    }
}

impl Read for WebSocket {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while self.left == 0 {
            if self.closed.is_some() || !self.next()? {
                return Ok(0);
            }
        }
        let max = bytes.len().min(self.left as usize);
        let count = self.socket.read(&mut bytes[..max])?;
        self.left -= count as u64;
        Ok(count)
    }
}

impl Write for WebSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(BINARY, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

fn start() -> Running {
    Running::start_with("[listen]\nhttp = \"127.0.0.1:0\"\n")
}

#[test]
fn clients_of_both_transports_meet() {
    let running = start();
    let mut web = WebSocket::open(&running);
    web.join(Level::V5, "web");
    web.send("82 0001 {} s'a' 01");
    web.expect("90 0001 {} 01");
    let mut plain = running.join(Level::V4, "plain");
    plain.send("82 0001 s'b' 00");
    plain.expect("90 0001 00");
    plain.send("32 s'a' 0002 'x'");
    plain.expect("40 0002");
    web.expect("32 s'a' 0001 {} 'x'");
    web.send("40 0001");
    web.send("30 s'b' {} 'y'");
    plain.expect("30 s'b' 'y'");
}

/// [MQTT-6.0.0-2]: packets need not begin where frames do.
#[test]
fn frames_may_cut_packets_anywhere() {
    let running = start();
    let mut web = WebSocket::open(&running);
    let mut bytes = hello(Level::V4, "web");
    bytes.extend(frame("82 0001 s'a' 00"));
    for byte in bytes {
        web.write(&[byte]);
    }
    web.expect("20 0000");
    web.expect("90 0001 00");
    let many = frame("30 s'a' 'x'").repeat(1000);
    web.write(&many);
    for _ in 0..1000 {
        web.expect("30 s'a' 'x'");
    }
    let large = publish_of("a", &vec![b'x'; 300_000]);
    large.chunks(1000).for_each(|piece| web.write(piece));
    assert!(web.read_frame().unwrap() == large);
}

/// A packet that is gathered from many frames costs no more than one that comes whole.
#[test]
fn large_packet_may_come_in_tiny_frames() {
    let running = start();
    let mut web = WebSocket::open(&running);
    web.join(Level::V4, "web");
    web.send("82 0001 s'a' 00");
    web.expect("90 0001 00");
    let large = publish_of("a", &vec![b'x'; 16_000_000]);
    let mut frames = Vec::new();
    for piece in large.chunks(64) {
        frames.extend([BINARY, 0x80 | piece.len() as u8, 0, 0, 0, 0]);
        frames.extend(piece);
    }
    web.socket.socket.write_all(&frames).unwrap();
    assert!(web.read_frame().unwrap() == large);
}

/// [MQTT-6.0.0-1]
#[test]
fn text_frame_closes_the_connection() {
    let running = start();
    let mut witness = running.join(Level::V4, "witness");
    let mut web = WebSocket::open(&running);
    web.join(Level::V5, "web");
    web.socket.send(0x81, b"text");
    web.expect_end();
    assert!(web.socket.closed.is_some());
    witness.expect_silence();
}

#[test]
fn packet_that_breaks_a_rule_is_told_before_the_close() {
    let running = start();
    let mut web = WebSocket::open(&running);
    web.join(Level::V5, "web");
    web.send("36 s'a' 0001 {}");
    assert_eq!(web.read_frame().unwrap()[2], 0x81);
    web.expect_end();
    assert!(web.socket.closed.is_some());
}

#[test]
fn will_is_published_when_the_websocket_is_cut() {
    let running = start();
    let mut heir = running.join(Level::V4, "heir");
    heir.send("82 0001 s'w' 00");
    heir.expect("90 0001 00");
    let mut web = WebSocket::open(&running);
    web.send("10 s'MQTT' 04 06 0000 s'web' s'w' s'gone'");
    web.expect("20 0000");
    drop(web);
    heir.expect("30 s'w' 'gone'");
}
