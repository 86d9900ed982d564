//! Appends one packet to a buffer. Lengths that stand before what they measure are filled in afterwards.

use super::error::EncodeError;
use super::reader::varint_len;
use super::{Level, PacketId, ReasonCode};

/// Largest value of a variable byte integer, and so of a packet without its fixed header (MQTT 5, 1.5.5).
pub(super) const VARINT_MAX: usize = 268_435_455;

/// A packet being written. Errors are kept until [`Writer::finish`], which then takes everything back.
pub struct Writer<'v> {
    out: &'v mut Vec<u8>,
    start: usize,
    level: Level,
    failed: Option<EncodeError>,
}

impl<'v> Writer<'v> {
    /// Begins a packet with this first byte; one byte is held for its remaining length.
    #[inline]
    pub(super) fn new(out: &'v mut Vec<u8>, first: u8, level: Level) -> Self {
        let start = out.len();
        out.extend_from_slice(&[first, 0]);
        Self { out, start, level, failed: None }
    }

    /// Ends the packet, of which `payload_len` bytes are still to be appended by the caller. Returns by how many bytes
    /// everything after the remaining length moved.
    #[inline]
    pub(super) fn finish(mut self, payload_len: usize) -> Result<usize, EncodeError> {
        let body_at = self.start + 2;
        let shift = self.close_length(body_at, payload_len);
        match self.failed {
            None => Ok(shift),
            Some(error) => {
                self.out.truncate(self.start);
                Err(error)
            }
        }
    }

    /// Bytes of this packet so far.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.out.len() - self.start
    }

    pub(super) fn fail(&mut self, error: EncodeError) {
        self.failed.get_or_insert(error);
    }

    #[inline]
    pub(super) fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    #[inline]
    pub(super) fn u16(&mut self, value: u16) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    #[inline]
    pub(super) fn u32(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    #[inline]
    pub(super) fn packet_id(&mut self, id: PacketId) {
        self.u16(id.get());
    }

    #[inline]
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub(super) fn varint(&mut self, value: u32) {
        if value as usize > VARINT_MAX {
            self.fail(EncodeError::PacketTooLong);
        }
        let (bytes, len) = varint_bytes(value);
        self.bytes(&bytes[..len]);
    }

    #[inline]
    pub(super) fn binary(&mut self, bytes: &[u8]) {
        match u16::try_from(bytes.len()) {
            Ok(len) => {
                self.u16(len);
                self.bytes(bytes);
            }
            Err(_) => self.fail(EncodeError::FieldTooLong),
        }
    }

    pub(super) fn string(&mut self, text: &str) {
        if memchr::memchr(0, text.as_bytes()).is_some() {
            self.fail(EncodeError::NulInString);
        }
        self.binary(text.as_bytes());
    }

    /// A property block, which levels before 5 do not have: there `write` is not called.
    #[inline]
    pub(super) fn properties(&mut self, write: impl FnOnce(&mut Self)) {
        if self.level < Level::V5 {
            return;
        }
        self.out.push(0);
        let block_at = self.out.len();
        write(self);
        self.close_length(block_at, 0);
    }

    /// A reason code followed by a property block; both are left out when they say nothing (MQTT 5, 3.4.2.1).
    pub(super) fn reason_and_properties(&mut self, reason: ReasonCode, write: impl FnOnce(&mut Self)) {
        if self.level < Level::V5 {
            return;
        }
        let at = self.out.len();
        self.u8(reason as u8);
        self.properties(write);
        if self.out.len() == at + 2 {
            let keep = if reason == ReasonCode::Success { 0 } else { 1 };
            self.out.truncate(at + keep);
        }
    }

    /// Fills in the length byte before `at` with what follows it plus `extra`, making room if one byte is too few.
    #[inline]
    fn close_length(&mut self, at: usize, extra: usize) -> usize {
        let len = self.out.len() - at + extra;
        if len < 0x80 {
            self.out[at - 1] = len as u8;
            return 0;
        }
        self.close_long_length(at, len)
    }

    fn close_long_length(&mut self, at: usize, len: usize) -> usize {
        if len > VARINT_MAX {
            self.fail(EncodeError::PacketTooLong);
            return 0;
        }
        let (bytes, width) = varint_bytes(len as u32);
        let end = self.out.len();
        self.out.extend_from_slice(&bytes[1..width]);
        self.out.copy_within(at..end, at + width - 1);
        self.out[at - 1..at - 1 + width].copy_from_slice(&bytes[..width]);
        width - 1
    }
}

/// `value` as a variable byte integer, and how many of the bytes that takes.
pub(super) fn varint_bytes(mut value: u32) -> ([u8; 4], usize) {
    let len = varint_len(value);
    let mut bytes = [0; 4];
    for (at, byte) in bytes.iter_mut().enumerate().take(len) {
        let more = if at + 1 < len { 0x80 } else { 0 };
        *byte = (value & 0x7f) as u8 | more;
        value >>= 7;
    }
    (bytes, len)
}
