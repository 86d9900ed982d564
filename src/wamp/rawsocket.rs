//! WAMP over RawSocket (WAMP, RawSocket Transport): handshake and frames, without IO.
//!
//! ```text
//! handshake, both ways   0x7f │ length:4 serializer:4 │ 0 │ 0     length: 2^(9 + n) bytes are accepted
//! refusal                0x7f │ error:4  0:4          │ 0 │ 0
//! frame                  0:4 extra:1 kind:3 │ length:24 │ payload
//! ```
//!
//! `extra` is the 25th bit of the length, set only for exactly 16 MiB.

use crate::types::payload::Format;

#[cfg(test)]
mod tests;

/// The first byte of a handshake; no HTTP request begins with it.
pub const MAGIC: u8 = 0x7f;
/// Bytes of a handshake request, of its reply, and of a frame's header.
pub const HEADER_BYTES: usize = 4;
/// The smallest limit of message lengths that a handshake can name.
pub const MESSAGE_BYTES_MIN: usize = 1 << 9;
/// The largest one, and the largest message that a frame can hold.
pub const MESSAGE_BYTES_MAX: usize = 1 << 24;

/// What a peer asks for, or agrees to, in its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    pub format: Format,
    /// The longest message it is willing to receive, without the frame's header.
    pub message_bytes_max: usize,
}

/// Why a connection is refused. The discriminants are the codes of the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("serializer unsupported")]
    Serializer = 1,
    #[error("maximum message length unacceptable")]
    MessageLength = 2,
    #[error("use of reserved bits")]
    ReservedBits = 3,
    #[error("maximum connection count reached")]
    Connections = 4,
}

/// A handshake that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// To be closed without an answer.
    #[error("not a RawSocket handshake")]
    NotRawSocket,
    /// To be answered with [`Refusal::reply`], then closed; on the client's side, what the router answered.
    #[error("RawSocket refused: {0}")]
    Refused(Refusal),
    /// A client's matter: the router answered what it may not.
    #[error("the router's RawSocket handshake breaks the protocol")]
    BadReply,
}

impl Refusal {
    /// The router's answer.
    pub fn reply(self) -> [u8; HEADER_BYTES] {
        [MAGIC, (self as u8) << 4, 0, 0]
    }

    fn from_code(code: u8) -> Option<Refusal> {
        [Refusal::Serializer, Refusal::MessageLength, Refusal::ReservedBits, Refusal::Connections]
            .into_iter()
            .find(|refusal| *refusal as u8 == code)
    }
}

impl Handshake {
    /// Reads a client's request.
    pub fn read_request(bytes: [u8; HEADER_BYTES]) -> Result<Handshake, HandshakeError> {
        let [magic, second, reserved @ ..] = bytes;
        if magic != MAGIC {
            return Err(HandshakeError::NotRawSocket);
        }
        if reserved != [0, 0] {
            return Err(HandshakeError::Refused(Refusal::ReservedBits));
        }
        Self::from_second(second).ok_or(HandshakeError::Refused(Refusal::Serializer))
    }

    /// Reads the router's reply to `request`.
    pub fn read_reply(self, bytes: [u8; HEADER_BYTES]) -> Result<Handshake, HandshakeError> {
        let [magic, second, reserved @ ..] = bytes;
        if magic != MAGIC {
            return Err(HandshakeError::NotRawSocket);
        }
        if second & 0x0f == 0 {
            let refusal = Refusal::from_code(second >> 4);
            return Err(refusal.map_or(HandshakeError::BadReply, HandshakeError::Refused));
        }
        match Self::from_second(second) {
            Some(reply) if reply.format == self.format && reserved == [0, 0] => Ok(reply),
            _ => Err(HandshakeError::BadReply),
        }
    }

    /// A request, or the reply that accepts one. The limit is rounded down to a power of two that the handshake can say.
    pub fn write(self) -> [u8; HEADER_BYTES] {
        let limit = self.message_bytes_max.clamp(MESSAGE_BYTES_MIN, MESSAGE_BYTES_MAX);
        let exponent = limit.ilog2() as u8 - 9;
        let serializer = match self.format {
            Format::Json => 1,
            Format::MsgPack => 2,
            Format::Cbor => 3,
        };
        [MAGIC, exponent << 4 | serializer, 0, 0]
    }

    fn from_second(byte: u8) -> Option<Handshake> {
        let format = match byte & 0x0f {
            1 => Format::Json,
            2 => Format::MsgPack,
            3 => Format::Cbor,
            _ => return None,
        };
        Some(Handshake { format, message_bytes_max: MESSAGE_BYTES_MIN << (byte >> 4) })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    Message = 0,
    /// To be answered at once by a pong with the same payload.
    Ping = 1,
    Pong = 2,
}

/// A received frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub kind: FrameKind,
    pub payload: &'a [u8],
}

/// A frame that a peer may not send. The connection is failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("reserved bits in a RawSocket frame")]
    ReservedBits,
    #[error("unknown RawSocket frame type {0}")]
    UnknownKind(u8),
    #[error("a RawSocket frame of {bytes} bytes, {max} are allowed")]
    TooLarge { bytes: usize, max: usize },
}

/// Takes the first frame of `input`, once all of it is there; `input` then begins behind it. `message_bytes_max` is the limit
/// that this side named in the handshake; it holds for pings too.
///
/// # Errors
/// A forbidden frame is refused as soon as its header is there.
#[inline]
pub fn read_frame<'a>(input: &mut &'a [u8], message_bytes_max: usize) -> Result<Option<Frame<'a>>, FrameError> {
    let Some(([first, length @ ..], rest)) = input.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    if first & 0xf0 != 0 {
        return Err(FrameError::ReservedBits);
    }
    let kind = match first & 0x07 {
        0 => FrameKind::Message,
        1 => FrameKind::Ping,
        2 => FrameKind::Pong,
        other => return Err(FrameError::UnknownKind(other)),
    };
    let extra = usize::from(first & 0x08 != 0) << 24;
    let bytes = extra | length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    let max = message_bytes_max.min(MESSAGE_BYTES_MAX);
    if bytes > max {
        return Err(FrameError::TooLarge { bytes, max });
    }
    let Some((payload, rest)) = rest.split_at_checked(bytes) else { return Ok(None) };
    *input = rest;
    Ok(Some(Frame { kind, payload }))
}

/// The header of a frame with `bytes` of payload, [`MESSAGE_BYTES_MAX`] at most.
#[inline]
pub fn header(kind: FrameKind, bytes: usize) -> [u8; HEADER_BYTES] {
    debug_assert!(bytes <= MESSAGE_BYTES_MAX);
    let [_, _, _, _, extra, length @ ..] = (bytes as u64).to_be_bytes();
    [kind as u8 | extra << 3, length[0], length[1], length[2]]
}

/// Appends the answer to a ping.
pub fn write_pong(payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&header(FrameKind::Pong, payload.len()));
    out.extend_from_slice(payload);
}
