//! What entries say to each other about calls, as bytes.
//!
//! ```text
//! frame = sender's life u64 | receiver's life u64 | head len u32 | head, MessagePack | payload: bytes, or args | kwargs
//! ```
//!
//! Numbers are little-endian. A payload is as the caller or callee has encoded it. A frame may be cut behind its head: then it tells
//! what got lost.

use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::queue::message::Malformed;
use crate::router::dealer::Notes;
use crate::router::output::{InterruptMode, InvocationPolicy, Refusal};
use crate::router::rules::Disclosure;
use crate::types::passthru::Passthru;
use crate::types::payload::{Format, PayloadRef};

/// Bytes before the head.
const START: usize = 20;

/// Lives of a pair of entries, as the sender of a frame sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lives {
    pub own: u64,
    pub peer: u64,
}

/// All but the payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head<'a> {
    pub realm: &'a str,
    /// The number of the call at its caller's entry, of this pair and realm.
    pub id: u64,
    #[serde(borrow)]
    pub what: What<'a>,
    shape: Shape,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum What<'a> {
    /// To the callee's entry.
    Call {
        /// In its MQTT spelling.
        procedure: &'a str,
        /// In its stored spelling: what the callee is registered with.
        pattern: String,
        policy: InvocationPolicy,
        #[serde(borrow)]
        caller: Caller<'a>,
        disclose_me: bool,
        receive_progress: bool,
        /// It is the first of several parts.
        progress: bool,
        /// 0: none.
        timeout_ms: u64,
        #[serde(borrow)]
        notes: NotesRow<'a>,
    },
    /// To the callee's entry, a further part of the call.
    More {
        progress: bool,
        passthru: Option<Passthru>,
    },
    Interrupt {
        mode: InterruptMode,
        why: Refusal,
    },
    /// To the caller's.
    Result {
        progress: bool,
        passthru: Option<Passthru>,
    },
    /// The callee's own error.
    Failed {
        uri: &'a str,
        passthru: Option<Passthru>,
    },
    /// The router's.
    Refused {
        why: Refusal,
    },
    /// The call and its payload, which were given to nobody.
    Returned {
        why: Refusal,
        procedure: &'a str,
        #[serde(borrow)]
        caller: Caller<'a>,
        disclose_me: bool,
        timeout_ms: u64,
        #[serde(borrow)]
        notes: NotesRow<'a>,
    },
    /// Not about a call: callees of this user, or of this client of the user, are to be revoked.
    TakeOver {
        pattern: String,
        authid: &'a str,
        client_id: Option<&'a str>,
    },
}

/// [`Notes`] as they are sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NotesRow<'a> {
    pub passthru: Option<Passthru>,
    pub takes_passthru: bool,
    pub trust: Option<u32>,
    pub disclosure: Disclosure,
    pub resource_key: Option<&'a str>,
}

impl<'a> From<Notes<'a>> for NotesRow<'a> {
    fn from(notes: Notes<'a>) -> Self {
        let Notes { passthru, takes_passthru, trust, disclosure, resource_key } = notes;
        Self { passthru: passthru.cloned(), takes_passthru, trust, disclosure, resource_key }
    }
}

impl NotesRow<'_> {
    pub fn as_notes(&self) -> Notes<'_> {
        let &Self { ref passthru, takes_passthru, trust, disclosure, resource_key } = self;
        Notes { passthru: passthru.as_ref(), takes_passthru, trust, disclosure, resource_key }
    }
}

/// Session, authid, authrole.
pub type Caller<'a> = (u64, Option<&'a str>, Option<&'a str>);

/// How the payload's bytes are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Shape {
    Bytes(u32),
    /// Format as in [`FORMATS`], bytes of args and kwargs.
    Args(u8, Option<u32>, Option<u32>),
}

const FORMATS: [Format; 3] = [Format::Json, Format::MsgPack, Format::Cbor];

/// A frame, read.
pub struct Opened<'a> {
    /// As its sender saw them.
    pub lives: Lives,
    pub head: Head<'a>,
    /// `None`: it got lost.
    pub payload: Option<PayloadRef<'a>>,
}

impl<'a> Opened<'a> {
    /// # Errors
    /// It is no frame.
    pub fn read(frame: &'a [u8]) -> Result<Self, Malformed> {
        let (lives, behind) = read_start(frame)?;
        let head: Head<'a> = rmp_serde::from_slice(&frame[START..behind]).map_err(|_| Malformed)?;
        let body = &frame[behind..];
        let payload = head.shape.read(body);
        // Cut, but not in the middle.
        if payload.is_none() && !body.is_empty() {
            return Err(Malformed);
        }
        Ok(Self { lives, head, payload })
    }
}

/// Writes a frame.
pub fn write(lives: Lives, realm: &str, id: u64, what: What<'_>, payload: PayloadRef<'_>) -> Bytes {
    let mut out = Vec::with_capacity(START + 128 + realm.len() + payload.len());
    out.extend_from_slice(&lives.own.to_le_bytes());
    out.extend_from_slice(&lives.peer.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    let head = Head { realm, id, what, shape: Shape::of(payload) };
    // Writing plain values to memory cannot fail.
    let _ = rmp_serde::encode::write(&mut out, &head);
    let head_len = (out.len() - START) as u32;
    out[START - 4..START].copy_from_slice(&head_len.to_le_bytes());
    match payload {
        PayloadRef::Bytes(bytes) => out.extend_from_slice(bytes),
        PayloadRef::Args { args, kwargs, .. } => {
            [args, kwargs].into_iter().flatten().for_each(|part| out.extend_from_slice(part));
        }
    }
    Bytes::from(out)
}

/// The frame without its payload; as it is if it is none.
pub fn cut(frame: &Bytes) -> Bytes {
    match read_start(frame) {
        Ok((_, behind)) => Bytes::copy_from_slice(&frame[..behind]),
        Err(Malformed) => Bytes::new(),
    }
}

/// The lives, and where the head ends.
fn read_start(frame: &[u8]) -> Result<(Lives, usize), Malformed> {
    let (start, behind) = frame.split_first_chunk::<START>().ok_or(Malformed)?;
    let life = |at: Range<usize>| start[at].iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let head_len = life(16..20) as usize;
    if head_len > behind.len() {
        return Err(Malformed);
    }
    Ok((Lives { own: life(0..8), peer: life(8..16) }, START + head_len))
}

impl Shape {
    fn of(payload: PayloadRef<'_>) -> Self {
        let len = |part: &[u8]| part.len() as u32;
        match payload {
            PayloadRef::Bytes(bytes) => Shape::Bytes(len(bytes)),
            PayloadRef::Args { format, args, kwargs } => {
                let format = FORMATS.iter().position(|known| *known == format).unwrap_or_default();
                Shape::Args(format as u8, args.map(len), kwargs.map(len))
            }
        }
    }

    /// The payload, if it is all there.
    fn read(self, body: &[u8]) -> Option<PayloadRef<'_>> {
        match self {
            Shape::Bytes(len) => (body.len() == len as usize).then_some(PayloadRef::Bytes(body)),
            Shape::Args(format, args, kwargs) => {
                let (args_len, kwargs_len) = (args.unwrap_or(0) as usize, kwargs.unwrap_or(0) as usize);
                if body.len() != args_len.checked_add(kwargs_len)? {
                    return None;
                }
                let (first, second) = body.split_at_checked(args_len)?;
                let format = *FORMATS.get(usize::from(format))?;
                Some(PayloadRef::Args { format, args: args.map(|_| first), kwargs: kwargs.map(|_| second) })
            }
        }
    }
}
