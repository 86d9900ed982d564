//! What goes over a link: length-delimited MessagePack.
//!
//! ```text
//! frame = head bytes u32 | body bytes u32 | head, MessagePack of a Frame | body
//! ```
//!
//! Numbers are little-endian. The one large field that some frames have stands behind the MessagePack, so that it is written
//! from where it lies and read without a copy. How long a frame may be is for the reader to say: next to nothing as long as the
//! peer has not proved who it is.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::delivery::outbox::SHARE_BYTES_MIN;
use crate::queue::envelope::{Envelope, NodeId, RoleMessage};

#[cfg(test)]
mod tests;

/// Bytes before the MessagePack.
pub const HEADER_BYTES: usize = 8;
/// A head has no large fields, but lists in it (members, filters) may be long.
pub const HEAD_BYTES_MAX: usize = 1 << 20;

/// What one process says to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Frame {
    /// From role to role.
    Envelope(Envelope),
    /// A question beside what the roles say. Ids are the asking side's own, and new in each life of a link.
    Request {
        id: u64,
        from: NodeId,
        to: NodeId,
        body: Bytes,
    },
    Reply {
        id: u64,
        body: Bytes,
    },
    /// From an entry to an entry or a storage, beside what the roles say; nobody answers.
    Beside {
        from: NodeId,
        to: NodeId,
        what: Beside,
        body: Bytes,
    },
    /// There will be no reply.
    NoReply {
        id: u64,
    },
    /// Asks for a pong with the same number: microseconds of the asking side's own clock.
    Ping {
        at_us: u64,
    },
    Pong {
        at_us: u64,
    },
}

/// What entries say to each other, and to storages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Beside {
    /// What somebody is subscribed to: see [`super::interest`].
    Interest,
    /// Events that are not durable: see [`crate::node::peers`].
    Events,
    /// Consumer groups with members at several entries: see [`crate::node::groups`].
    Groups,
    /// What somebody is registered for: see [`super::interest`].
    Callees,
    /// Calls and their answers: see [`crate::node::peers::calls`].
    Calls,
    /// To a storage, what is to stay: see [`super::retention`].
    Policies,
}

/// The peer does not keep to the format; or it is of another version. The link is closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {bytes} bytes, more than the {bytes_max} that are taken")]
    TooLong { bytes: u64, bytes_max: usize },
    #[error("a frame that is none: {0}")]
    Malformed(String),
}

/// What is at the front of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Front {
    /// A frame, and the offset behind it.
    Whole { head: std::ops::Range<usize>, end: usize },
    /// The beginning of one. Its length, header included, if that is known; else 0.
    Part { needs: usize },
}

impl Frame {
    /// Appends the frame but for its body, which is returned: it has to be written next.
    ///
    /// # Errors
    /// The frame is longer than `bytes_max`; nothing is appended.
    pub fn encode(mut self, into: &mut Vec<u8>, bytes_max: usize) -> Result<Bytes, FrameError> {
        let body = self.body_mut().map(std::mem::take).unwrap_or_default();
        let start = into.len();
        into.extend_from_slice(&[0; HEADER_BYTES]);
        let written = rmp_serde::encode::write(into, &self);
        let head_bytes = into.len() - start - HEADER_BYTES;
        let bytes = head_bytes as u64 + body.len() as u64;
        let bytes_max = bytes_max.min(u32::MAX as usize);
        let wrong = match written {
            Err(error) => Some(FrameError::Malformed(error.to_string())),
            Ok(()) if bytes > bytes_max as u64 => Some(FrameError::TooLong { bytes, bytes_max }),
            Ok(()) if head_bytes > HEAD_BYTES_MAX => {
                Some(FrameError::TooLong { bytes: head_bytes as u64, bytes_max: HEAD_BYTES_MAX })
            }
            Ok(()) => None,
        };
        if let Some(wrong) = wrong {
            into.truncate(start);
            return Err(wrong);
        }
        into[start..start + 4].copy_from_slice(&(head_bytes as u32).to_le_bytes());
        into[start + 4..start + 8].copy_from_slice(&(body.len() as u32).to_le_bytes());
        Ok(body)
    }

    /// Reads a frame that [`front`] found in `input`.
    ///
    /// # Errors
    /// It is malformed.
    pub fn decode(input: &Bytes, head: std::ops::Range<usize>, end: usize) -> Result<Self, FrameError> {
        let malformed = |what: &str| FrameError::Malformed(what.to_owned());
        let whole = input.get(..end).ok_or_else(|| malformed("its end is not there"))?;
        let mut frame: Frame = read(&whole[head.clone()])?;
        let length = end.saturating_sub(head.end);
        if length > 0 {
            let body = frame.body_mut().filter(|body| body.is_empty());
            let body = body.ok_or_else(|| malformed("it has a body too many"))?;
            // A small body of its own, so that a few bytes do not keep all that was read with them.
            *body = match length >= SHARE_BYTES_MIN {
                true => input.slice(head.end..end),
                false => Bytes::copy_from_slice(&input[head.end..end]),
            };
        }
        Ok(frame)
    }

    /// The large field, if such frames have one.
    fn body_mut(&mut self) -> Option<&mut Bytes> {
        match self {
            Frame::Request { body, .. } | Frame::Reply { body, .. } | Frame::Beside { body, .. } => Some(body),
            Frame::Envelope(Envelope { message, .. }) => match message {
                RoleMessage::KeepAdvanceHistory { body, .. } | RoleMessage::Body { body, .. } => Some(body),
                RoleMessage::CopyPart { part, .. } => Some(part),
                RoleMessage::AdvanceSegmentResolved { resolution, .. } => Some(&mut resolution.results),
                RoleMessage::Feed { segment, .. } => Some(segment),
                _ => None,
            },
            Frame::NoReply { .. } | Frame::Ping { .. } | Frame::Pong { .. } => None,
        }
    }
}

/// Reads MessagePack.
pub(super) fn read<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, FrameError> {
    crate::types::packed::from_slice(bytes).map_err(|error| FrameError::Malformed(error.to_string()))
}

/// Looks for a frame at the front of `input`, of at most `bytes_max` bytes behind its header.
///
/// # Errors
/// It is longer than that; or its head is longer than heads are.
pub fn front(input: &[u8], bytes_max: usize) -> Result<Front, FrameError> {
    let Some((header, _)) = input.split_first_chunk::<HEADER_BYTES>() else {
        return Ok(Front::Part { needs: 0 });
    };
    let number = |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| header[at + byte]));
    let (head, body) = (number(0), number(4));
    let bytes = u64::from(head) + u64::from(body);
    if bytes > bytes_max as u64 {
        return Err(FrameError::TooLong { bytes, bytes_max });
    }
    if head as usize > HEAD_BYTES_MAX {
        return Err(FrameError::TooLong { bytes: head.into(), bytes_max: HEAD_BYTES_MAX });
    }
    let end = HEADER_BYTES + bytes as usize;
    match input.len() >= end {
        true => Ok(Front::Whole { head: HEADER_BYTES..HEADER_BYTES + head as usize, end }),
        false => Ok(Front::Part { needs: end }),
    }
}
