//! WebSocket as the driver speaks it: the handshake, masked frames, and the frames of a server.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest wait for an answer during a handshake.
const ANSWER: Duration = Duration::from_secs(10);
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// A frame from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub opcode: u8,
    pub body_at: usize,
    pub end: usize,
}

pub const TEXT: u8 = 1;
pub const PING: u8 = 9;
/// Opcode, length and masking key of a frame of less than 126 bytes.
pub const MASKED_HEADER_BYTES: usize = 6;

/// The first frame in `input`; `None` if it is not complete. Servers do not mask, and what the driver receives is too
/// small to be sent in fragments.
pub fn frame(input: &[u8]) -> io::Result<Option<Frame>> {
    let Some([first, second]) = input.first_chunk() else { return Ok(None) };
    if first & 0x80 == 0 || second & 0x80 != 0 {
        return Err(io::Error::other("a fragmented or masked frame from the server"));
    }
    let (body_at, body_bytes) = match second {
        126 => match input.get(2..4).and_then(|bytes| bytes.first_chunk()) {
            Some(bytes) => (4, usize::from(u16::from_be_bytes(*bytes))),
            None => return Ok(None),
        },
        127 => return Err(io::Error::other("a frame of more than 64 KiB from the server")),
        short => (2, usize::from(*short)),
    };
    let end = body_at + body_bytes;
    Ok((input.len() >= end).then_some(Frame { opcode: first & 0x0F, body_at, end }))
}

/// Appends a text frame as servers send it.
pub fn push_unmasked(out: &mut Vec<u8>, body: &[u8]) {
    push_header(out, TEXT, 0, body.len());
    out.extend_from_slice(body);
}

fn push_header(out: &mut Vec<u8>, opcode: u8, mask_bit: u8, body_bytes: usize) {
    out.push(0x80 | opcode);
    match body_bytes {
        short @ 0..126 => out.push(mask_bit | short as u8),
        long => {
            out.push(mask_bit | 126);
            out.extend((long as u16).to_be_bytes());
        }
    }
}

/// Appends a masked frame of at most 64 KiB.
pub fn push_masked(out: &mut Vec<u8>, opcode: u8, body: &[u8], key: u32) {
    push_header(out, opcode, 0x80, body.len());
    let key = key.to_ne_bytes();
    out.extend(key);
    let body_at = out.len();
    out.extend_from_slice(body);
    mask(&mut out[body_at..], key, 0);
}

/// Masks bytes that stand at `at` in the body of a frame.
pub fn mask(bytes: &mut [u8], key: [u8; 4], at: usize) {
    let turned: [u8; 4] = std::array::from_fn(|place| key[(place + at) % 4]);
    let wide = u32::from_ne_bytes(turned);
    let mut chunks = bytes.chunks_exact_mut(4);
    for chunk in &mut chunks {
        let masked = chunk.first_chunk().map_or(0, |chunk| u32::from_ne_bytes(*chunk)) ^ wide;
        chunk.copy_from_slice(&masked.to_ne_bytes());
    }
    chunks.into_remainder().iter_mut().zip(turned).for_each(|(byte, key)| *byte ^= key);
}

/// Masking keys: as different from each other as a browser's, though nobody needs to be unable to guess them here.
pub struct Keys(u32);

impl Keys {
    /// `seed` may be any number.
    pub fn new(seed: u32) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9) | 1)
    }

    /// The next key (xorshift).
    pub fn next_key(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }
}

/// Connects and upgrades to a WebSocket of `subprotocol`.
pub fn connect(addr: SocketAddr, path: &str, subprotocol: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER))?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ZmVubmVjLWJlbmNobWFyaw==\r\n\
         Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head);
    match head.starts_with("HTTP/1.1 101") && head.contains(subprotocol) {
        true => Ok(stream),
        false => Err(io::Error::other(format!("no WebSocket: {}", head.lines().next().unwrap_or_default()))),
    }
}

/// Reads the body of one text frame, and nothing beyond it.
pub fn read_text(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 2];
    stream.read_exact(&mut bytes)?;
    loop {
        if let Some(frame) = frame(&bytes)? {
            return match frame.opcode {
                TEXT => Ok(bytes.split_off(frame.body_at)),
                other => Err(io::Error::other(format!("a frame of kind {other} during the handshake"))),
            };
        }
        let had = bytes.len();
        bytes.resize(had + 1, 0);
        stream.read_exact(&mut bytes[had..])?;
    }
}
