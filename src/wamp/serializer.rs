//! The serializations of WAMP, and how serialized messages are put into frames.
//!
//! ```text
//! WebSocket              header │ message
//! WebSocket, batched     header │ message 0x1e │ message 0x1e …             (JSON)
//!                        header │ length:u32 message │ length:u32 message …  (MessagePack, CBOR)
//! RawSocket              type:u8 length:u24 │ message
//! ```
//!
//! What is sent is one message per frame, batched or not, so that a frame can be shared by all peers with the same [`Wire`].

use super::message::{Message, encode};
use super::rawsocket;
use crate::types::payload::Format;

#[cfg(test)]
mod tests;

/// The separator of batched JSON that the specification names.
pub const SEPARATOR: u8 = 0x1e;
/// The separator that autobahn-js and others took from the "\30" of the specification, reading it as decimal 24.
pub const SEPARATOR_DECIMAL: u8 = 0x18;

/// What a WebSocket subprotocol stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Encoding {
    pub format: Format,
    /// Several messages may come in one frame.
    pub batched: bool,
}

impl Encoding {
    const NAMES: [(&'static str, Encoding); 6] = [
        ("wamp.2.json", Encoding { format: Format::Json, batched: false }),
        ("wamp.2.msgpack", Encoding { format: Format::MsgPack, batched: false }),
        ("wamp.2.cbor", Encoding { format: Format::Cbor, batched: false }),
        ("wamp.2.json.batched", Encoding { format: Format::Json, batched: true }),
        ("wamp.2.msgpack.batched", Encoding { format: Format::MsgPack, batched: true }),
        ("wamp.2.cbor.batched", Encoding { format: Format::Cbor, batched: true }),
    ];

    /// What the WebSocket subprotocol `name` stands for, if it is one of WAMP's.
    pub fn from_subprotocol(name: &str) -> Option<Encoding> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, encoding)| *encoding)
    }

    pub fn subprotocol(self) -> &'static str {
        Self::NAMES.iter().find(|(_, encoding)| *encoding == self).map_or("", |(name, _)| name)
    }

    /// The first that is known among the subprotocols a client offers (the value of `Sec-WebSocket-Protocol`; it lists them
    /// by preference: RFC 6455, 4.1).
    pub fn choose(offered: &str) -> Option<Encoding> {
        offered.split(',').find_map(|name| Self::from_subprotocol(name.trim()))
    }

    /// The messages of one received frame.
    pub fn messages(self, frame: &[u8]) -> Messages<'_> {
        Messages { encoding: self, rest: frame, started: false, separator: None }
    }
}

/// Whether frames of the format are text (WAMP, WebSocket Transport).
pub fn is_text(format: Format) -> bool {
    format == Format::Json
}

/// A frame that is no batch. The peer's fault: the transport is failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("a batch without messages")]
    Empty,
    #[error("a batch that ends within a message")]
    CutOff,
}

/// The encoded messages of one received frame, in their order.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    encoding: Encoding,
    rest: &'a [u8],
    started: bool,
    separator: Option<u8>,
}

impl<'a> Messages<'a> {
    /// The separator of batched JSON that the peer used so far in this frame: it wants the same in answers.
    pub fn separator(&self) -> Option<u8> {
        self.separator
    }

    fn next_in_batch(&mut self) -> Option<Result<&'a [u8], BatchError>> {
        if self.rest.is_empty() {
            return (!self.started).then_some(Err(BatchError::Empty));
        }
        if self.encoding.format == Format::Json {
            return Some(Ok(self.until_separator()));
        }
        let message = self.rest.split_first_chunk::<4>().and_then(|(len, rest)| {
            let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
            rest.split_at_checked(len)
        });
        match message {
            Some((message, rest)) => {
                self.rest = rest;
                Some(Ok(message))
            }
            None => {
                self.rest = &[];
                Some(Err(BatchError::CutOff))
            }
        }
    }

    /// The separators are control characters, which never stand in JSON as they are. The last message may lack its own.
    fn until_separator(&mut self) -> &'a [u8] {
        match memchr::memchr2(SEPARATOR, SEPARATOR_DECIMAL, self.rest) {
            Some(at) => {
                self.separator = Some(self.rest[at]);
                let message = &self.rest[..at];
                self.rest = &self.rest[at + 1..];
                message
            }
            None => std::mem::take(&mut self.rest),
        }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<&'a [u8], BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let next = if self.encoding.batched { self.next_in_batch() } else { (!self.started).then_some(Ok(self.rest)) };
        self.started = true;
        next
    }
}

/// What is around a message on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    WebSocket,
    /// A batch of one. `separator` ends JSON messages; others begin with their length.
    WebSocketBatched {
        separator: u8,
    },
    RawSocket,
}

/// How messages are written for a peer. Peers with equal wires can be sent the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wire {
    pub format: Format,
    pub framing: Framing,
}

/// A message that no frame of the wire can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {bytes} bytes is too large for its frame")]
pub struct TooLarge {
    pub bytes: usize,
}

/// Room for the header of most frames, and of all RawSocket frames.
const HEADER_BYTES: usize = 4;

impl Wire {
    pub fn websocket(encoding: Encoding) -> Wire {
        let framing = match encoding.batched {
            true => Framing::WebSocketBatched { separator: SEPARATOR },
            false => Framing::WebSocket,
        };
        Wire { format: encoding.format, framing }
    }

    pub fn rawsocket(format: Format) -> Wire {
        Wire { format, framing: Framing::RawSocket }
    }

    /// What it goes through, in a word.
    pub fn transport(self) -> &'static str {
        match self.framing {
            Framing::WebSocket | Framing::WebSocketBatched { .. } => "websocket",
            Framing::RawSocket => "rawsocket",
        }
    }

    /// Appends a whole frame with `message`. Returns how many bytes the message has without the frame, to be compared with
    /// what the peer is willing to receive.
    ///
    /// # Errors
    /// As [`Wire::frame`].
    pub fn append(self, message: &Message<'_>, out: &mut Vec<u8>) -> Result<usize, TooLarge> {
        self.frame(out, |out| encode(message, self.format, out))
    }

    /// Appends a whole frame with the message that `write` appends. Returns how many bytes the message has without the frame.
    ///
    /// # Errors
    /// Nothing is appended if the message has more than 16 MiB on RawSocket, or 4 GiB in a batch.
    pub fn frame(self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> Result<usize, TooLarge> {
        let start = out.len();
        let prefix_bytes = match self.framing {
            Framing::WebSocketBatched { .. } if self.format != Format::Json => 4,
            _ => 0,
        };
        out.resize(start + HEADER_BYTES + prefix_bytes, 0);
        let body = out.len();
        write(out);
        let bytes = out.len() - body;
        let fits = match self.framing {
            Framing::RawSocket => bytes <= rawsocket::MESSAGE_BYTES_MAX,
            Framing::WebSocketBatched { .. } => u32::try_from(bytes).is_ok(),
            Framing::WebSocket => true,
        };
        if !fits {
            out.truncate(start);
            return Err(TooLarge { bytes });
        }
        match self.framing {
            Framing::RawSocket => {
                out[start..body].copy_from_slice(&rawsocket::header(rawsocket::FrameKind::Message, bytes));
            }
            Framing::WebSocketBatched { separator } if self.format == Format::Json => {
                out.push(separator);
                fill_websocket_header(is_text(self.format), start, out);
            }
            Framing::WebSocketBatched { .. } => {
                out[start + HEADER_BYTES..body].copy_from_slice(&(bytes as u32).to_be_bytes());
                fill_websocket_header(is_text(self.format), start, out);
            }
            Framing::WebSocket => fill_websocket_header(is_text(self.format), start, out),
        }
        Ok(bytes)
    }
}

/// Writes the header of an unfragmented, unmasked frame (RFC 6455, 5.2) for what stands behind `start` and the room left for
/// it, which is made smaller or larger where the header needs it.
fn fill_websocket_header(text: bool, start: usize, out: &mut Vec<u8>) {
    let len = out.len() - start - HEADER_BYTES;
    let first = if text { 0x81 } else { 0x82 };
    match len {
        0..=125 => {
            out.copy_within(start + HEADER_BYTES.., start + 2);
            out.truncate(start + 2 + len);
            out[start..start + 2].copy_from_slice(&[first, len as u8]);
        }
        126..=0xffff => {
            out[start..start + 2].copy_from_slice(&[first, 126]);
            out[start + 2..start + 4].copy_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            let mut header = [first, 127, 0, 0, 0, 0, 0, 0, 0, 0];
            header[2..].copy_from_slice(&(len as u64).to_be_bytes());
            out.splice(start..start + HEADER_BYTES, header);
        }
    }
}
