//! An MQTT 5 client of few words.

use std::io::{self, Read, Write};

/// CONNACK, SUBACK and PUBACK codes.
pub const SUCCESS: u8 = 0;
pub const BAD_PASSWORD: u8 = 0x86;
pub const NOT_AUTHORIZED: u8 = 0x87;
pub const TOO_FAST: u8 = 0x96;
pub const QUOTA_EXCEEDED: u8 = 0x97;

pub struct Client<S> {
    pub socket: S,
    /// 0: none.
    pub keep_alive_s: u8,
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let (mut packet, mut len) = (vec![first], body.len());
    loop {
        let more = u8::from(len > 127) << 7;
        packet.push((len & 127) as u8 | more);
        len >>= 7;
        if more == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

/// A packet that publishes. `id` 0: with QoS 0.
pub fn publish(topic: &str, payload: &[u8], retain: bool, id: u16) -> Vec<u8> {
    let packet_id = if id == 0 { Vec::new() } else { id.to_be_bytes().to_vec() };
    packet(0x30 | u8::from(id > 0) << 1 | u8::from(retain), &[&text(topic), &packet_id, &[0][..], payload].concat())
}

impl<S: Read + Write> Client<S> {
    pub fn new(socket: S) -> Self {
        Self { socket, keep_alive_s: 0 }
    }

    /// Sends CONNECT. `login`: user and password.
    pub fn hello(&mut self, client_id: &str, login: Option<(&str, &str)>) -> io::Result<()> {
        let flags = if login.is_some() { 0xc2 } else { 0x02 };
        let mut body = [&text("MQTT")[..], &[5, flags, 0, self.keep_alive_s, 0], &text(client_id)].concat();
        if let Some((user, password)) = login {
            body.extend([text(user), text(password)].concat());
        }
        self.socket.write_all(&packet(0x10, &body))
    }

    /// Connects; the code of CONNACK.
    pub fn join(&mut self, client_id: &str, login: Option<(&str, &str)>) -> io::Result<u8> {
        self.hello(client_id, login)?;
        let (first, body) = self.read()?;
        assert_eq!(first, 0x20, "{body:02x?}");
        Ok(body[1])
    }

    /// The next packet: its first byte and body.
    pub fn read(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut byte = [0];
        self.socket.read_exact(&mut byte)?;
        let (first, mut len) = (byte[0], 0);
        for shift in (0..28).step_by(7) {
            self.socket.read_exact(&mut byte)?;
            len |= usize::from(byte[0] & 127) << shift;
            if byte[0] < 128 {
                break;
            }
        }
        let mut body = vec![0; len];
        self.socket.read_exact(&mut body)?;
        Ok((first, body))
    }

    /// Reads up to a packet that begins with this byte; events are passed over, and counted.
    pub fn read_until(&mut self, wanted: u8) -> (Vec<u8>, usize) {
        let mut events = 0;
        loop {
            let (first, body) = self.read().expect("an answer");
            if first == wanted {
                return (body, events);
            }
            assert_eq!(first & 0xf0, 0x30, "{body:02x?}");
            events += 1;
        }
    }

    /// The code of SUBACK.
    pub fn subscribe(&mut self, filter: &str) -> u8 {
        self.socket.write_all(&packet(0x82, &[&[0, 1, 0], &text(filter)[..], &[0]].concat())).unwrap();
        *self.read_until(0x90).0.last().unwrap()
    }

    /// Publishes with QoS 1; the code of PUBACK.
    pub fn publish(&mut self, topic: &str, payload: &[u8], retain: bool) -> u8 {
        self.socket.write_all(&publish(topic, payload, retain, 1)).unwrap();
        self.read_until(0x40).0.get(2).copied().unwrap_or(SUCCESS)
    }

    /// Whether the connection answers. Events before the answer are counted.
    pub fn ping(&mut self) -> io::Result<usize> {
        self.socket.write_all(&[0xc0, 0])?;
        let mut events = 0;
        loop {
            match self.read()? {
                (0xd0, _) => return Ok(events),
                (first, body) => assert_eq!(first & 0xf0, 0x30, "{body:02x?}"),
            }
            events += 1;
        }
    }
}
