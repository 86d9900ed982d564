//! A cursor over the body of a packet.

use super::error::DecodeError;
use super::{PacketId, Result};

/// What is left to read. Every method takes from the front or fails with the rule that is broken.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Fails if something is left.
    #[inline]
    pub(super) fn finish(&self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::TRAILING_BYTES) }
    }

    #[inline]
    pub(super) fn bytes(&mut self, len: usize) -> Result<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::TRUNCATED)?;
        self.rest = rest;
        Ok(bytes)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::TRUNCATED)?;
        self.rest = rest;
        Ok(*bytes)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_be_bytes)
    }

    #[inline]
    pub(super) fn packet_id(&mut self) -> Result<PacketId> {
        PacketId::new(self.u16()?).ok_or(DecodeError::PACKET_ID_ZERO)
    }

    /// A variable byte integer in its only allowed form, the shortest (MQTT 5, 1.5.5).
    #[inline]
    pub(super) fn varint(&mut self) -> Result<u32> {
        match self.rest.split_first() {
            Some((&byte, rest)) if byte < 0x80 => {
                self.rest = rest;
                Ok(byte.into())
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u32> {
        let (value, len) = varint(self.rest)?.ok_or(DecodeError::TRUNCATED)?;
        if len != varint_len(value) {
            return Err(DecodeError::VARINT_NOT_MINIMAL);
        }
        self.rest = self.rest.get(len..).unwrap_or_default();
        Ok(value)
    }

    /// Binary data: two bytes of length, then the bytes (MQTT 5, 1.5.6).
    #[inline]
    pub(super) fn binary(&mut self) -> Result<&'a [u8]> {
        let len = self.u16()?;
        self.bytes(len.into())
    }

    /// A UTF-8 encoded string (MQTT 5, 1.5.4).
    #[inline]
    pub(super) fn string(&mut self) -> Result<&'a str> {
        text(self.binary()?)
    }
}

/// `bytes` as text without U+0000.
pub(super) fn text(bytes: &[u8]) -> Result<&str> {
    let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::INVALID_UTF8)?;
    if memchr::memchr(0, bytes).is_some() { Err(DecodeError::NUL_IN_STRING) } else { Ok(text) }
}

/// The variable byte integer at the start of `bytes` and how many bytes it takes, whether or not that is the shortest
/// form. `None` if its end is not there yet.
pub(super) fn varint(bytes: &[u8]) -> Result<Option<(u32, usize)>> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(DecodeError::VARINT_TOO_LONG) }
}

/// Bytes that `value` takes as a variable byte integer.
#[inline]
pub(super) const fn varint_len(value: u32) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}
