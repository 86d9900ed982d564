//! Messages that are read.

use bytes::Bytes;

use super::{
    Batch, COMMAND, EVENTS, EXCLUDE_PUBLISHER, Extras, FORMAT_SHIFT, GAP, HAS_PUBLISHER, Head, JUDGED, NONE, RETAIN,
    four,
};
use crate::queue::command::Command;
use crate::types::event::Qos;
use crate::types::ids::SessionId;
use crate::types::packed;
use crate::types::payload::{Format, PayloadRef};

/// Bytes that are no messages: the store's damage, or a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no messages of a segment")]
pub struct Malformed;

/// Part of a segment.
#[derive(Clone, Debug)]
pub enum Run<'a> {
    /// So many events.
    Events(Head<'a>, Events<'a>),
    /// One command.
    Command(&'a [u8]),
    /// So many numbers without a message.
    Gap(u32),
}

/// The events of a run.
#[derive(Clone, Copy, Debug)]
pub struct Events<'a> {
    pub count: u32,
    format: Option<Format>,
    bytes: &'a [u8],
}

/// One event of a run.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub payload: PayloadRef<'a>,
    extras: Option<&'a [u8]>,
}

/// The runs of a segment's bytes, in order. Ends behind the first that is malformed.
#[derive(Clone, Debug)]
pub struct Runs<'a> {
    rest: &'a [u8],
}

impl<'a> Runs<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not read yet: whoever stops between two runs goes on with these bytes.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn read(&mut self) -> Result<Run<'a>, Malformed> {
        let mut reader = Reader { rest: self.rest };
        let run = match reader.u8()? {
            EVENTS => {
                let flags = reader.u8()?;
                let realm = reader.text()?;
                let topic = reader.text()?;
                let publisher = if flags & HAS_PUBLISHER == 0 { None } else { Some(SessionId(reader.u64()?)) };
                let format = match flags >> FORMAT_SHIFT & 3 {
                    0 => None,
                    1 => Some(Format::Json),
                    2 => Some(Format::MsgPack),
                    _ => Some(Format::Cbor),
                };
                let qos = match flags & 3 {
                    0 => Qos::AtMostOnce,
                    1 => Qos::AtLeastOnce,
                    2 => Qos::ExactlyOnce,
                    _ => return Err(Malformed),
                };
                let head = Head {
                    realm,
                    topic,
                    publisher,
                    exclude_publisher: flags & EXCLUDE_PUBLISHER != 0,
                    qos,
                    retain: flags & RETAIN != 0,
                    format,
                    judged: flags & JUDGED != 0,
                };
                let (count, len) = (reader.u32()?, reader.u32()?);
                Run::Events(head, Events { count, format, bytes: reader.take(len as usize)? })
            }
            COMMAND => {
                let len = reader.u32()?;
                Run::Command(reader.take(len as usize)?)
            }
            GAP => Run::Gap(reader.u32()?),
            _ => return Err(Malformed),
        };
        self.rest = reader.rest;
        Ok(run)
    }
}

impl<'a> Iterator for Runs<'a> {
    type Item = Result<Run<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let run = self.read();
        if run.is_err() {
            self.rest = &[];
        }
        Some(run)
    }
}

/// The same messages without those of some topics, whose numbers become gaps.
///
/// # Errors
/// The bytes are damaged.
pub fn without(bytes: &[u8], dead: impl Fn(&Head<'_>) -> bool) -> Result<Bytes, Malformed> {
    let mut kept = Batch::default();
    let mut runs = Runs::new(bytes);
    loop {
        let from = bytes.len() - runs.rest.len();
        let Some(run) = runs.next() else { return Ok(kept.into_bytes()) };
        match run? {
            Run::Events(head, events) if dead(&head) => {
                // What was written counts no more than fits; what is damaged may say anything.
                kept.count.checked_add(events.count).ok_or(Malformed)?;
                kept.gap(events.count);
            }
            _ => kept.bytes.extend_from_slice(&bytes[from..bytes.len() - runs.rest.len()]),
        }
    }
}

/// Reads a command of a [`Run::Command`].
///
/// # Errors
/// It is none.
pub fn read_command(bytes: &[u8]) -> Result<Command, Malformed> {
    packed::from_slice(bytes).map_err(|_| Malformed)
}

impl<'a> Events<'a> {
    /// Bytes of its messages.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The messages, in order. Ends behind the first that is malformed.
    pub fn iter(&self) -> impl Iterator<Item = Result<Message<'a>, Malformed>> + use<'a> {
        let mut rest = *self;
        std::iter::from_fn(move || rest.take_first())
    }

    /// The first message, which is none of them any more. Behind one that is malformed there are none.
    #[inline]
    pub fn take_first(&mut self) -> Option<Result<Message<'a>, Malformed>> {
        if self.bytes.is_empty() {
            return None;
        }
        let mut reader = Reader { rest: self.bytes };
        let message = read_message(&mut reader, self.format);
        self.bytes = if message.is_ok() { reader.rest } else { &[] };
        Some(message)
    }

    /// Without what has so many bytes at the front: whole messages that were taken before.
    pub fn without_first(mut self, bytes: usize) -> Self {
        self.bytes = self.bytes.get(bytes..).unwrap_or_default();
        self
    }
}

#[inline]
fn read_message<'a>(reader: &mut Reader<'a>, format: Option<Format>) -> Result<Message<'a>, Malformed> {
    let word = reader.u32()?;
    let mut body = Reader { rest: reader.take((word >> 1) as usize)? };
    let extras = match word & 1 {
        0 => None,
        _ => {
            let len = body.u32()?;
            Some(body.take(len as usize)?)
        }
    };
    Ok(Message { payload: body.payload(format)?, extras })
}

impl<'a> Message<'a> {
    pub fn has_extras(&self) -> bool {
        self.extras.is_some()
    }

    /// [`Message::extras`], still encoded.
    pub fn raw_extras(&self) -> Option<&'a [u8]> {
        self.extras
    }

    /// What the message brings beside its payload.
    ///
    /// # Errors
    /// The bytes are damaged.
    pub fn extras(&self) -> Result<Option<Extras>, Malformed> {
        self.extras.map(|bytes| packed::from_slice(bytes).map_err(|_| Malformed)).transpose()
    }
}

/// Takes bytes from the front.
pub(in crate::queue) struct Reader<'a> {
    pub rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    #[inline]
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(four(self.take(4)?, 0)))
    }

    pub fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from(self.u32()?) | u64::from(self.u32()?) << 32)
    }

    /// A text behind its length in two bytes.
    fn text(&mut self) -> Result<&'a str, Malformed> {
        let len = self.take(2)?;
        let text = self.take(usize::from(u16::from_le_bytes([len[0], len[1]])))?;
        std::str::from_utf8(text).map_err(|_| Malformed)
    }

    /// All the rest, as [`write_payload`] wrote it.
    #[inline]
    pub fn payload(&mut self, format: Option<Format>) -> Result<PayloadRef<'a>, Malformed> {
        match format {
            None => Ok(PayloadRef::Bytes(std::mem::take(&mut self.rest))),
            Some(format) => Ok(PayloadRef::Args { format, args: self.part()?, kwargs: self.part()? }),
        }
    }

    /// A part of a payload that may be absent.
    fn part(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match self.u32()? {
            NONE => Ok(None),
            len => Ok(Some(self.take(len as usize)?)),
        }
    }
}
