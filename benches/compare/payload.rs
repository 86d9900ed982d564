//! The 64 bytes that every message carries, and how a message is known again on the other side.
//!
//! ```text
//! text:        fen:PPPPSSSSSSSS................................................
//! json: {"v":"fen:PPPPSSSSSSSS........................................"}
//! ```
//!
//! `PPPP` is the publisher and `SSSSSSSS` the sequence number, one letter `a` to `p` for four bits, the lowest first:
//! text that needs no escaping in JSON and is written and read with a few shifts.

/// Size of a payload in bytes.
pub const SIZE: usize = 64;

/// Bytes of the mark: `fen:`, four letters of the publisher, eight of the sequence number.
pub const MARK_BYTES: usize = 16;

const MAGIC: [u8; 4] = *b"fen:";

/// What the payload looks like to a broker that looks into it (MQTT brokers do not).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    /// Text that is no JSON; a WAMP argument is it in quotes.
    #[default]
    Text,
    /// A JSON object with one field; a WAMP argument is the object.
    Json,
}

impl Shape {
    /// Where the mark begins in the payload.
    pub fn mark_at(self) -> usize {
        match self {
            Shape::Text => 0,
            Shape::Json => 6,
        }
    }

    /// A payload of publisher `publisher` with sequence number 0.
    pub fn template(self, publisher: u16) -> [u8; SIZE] {
        let mut payload = [b'.'; SIZE];
        if self == Shape::Json {
            payload[..6].copy_from_slice(br#"{"v":""#);
            payload[SIZE - 2..].copy_from_slice(br#""}"#);
        }
        let at = self.mark_at();
        payload[at..at + MARK_BYTES].copy_from_slice(&mark(publisher, 0));
        payload
    }

    /// The payload as one WAMP argument in JSON.
    pub fn wamp_argument(self, payload: &[u8]) -> Vec<u8> {
        match self {
            Shape::Text => [b"\"", payload, b"\""].concat(),
            Shape::Json => payload.to_vec(),
        }
    }

    /// Where the payload begins in [`Shape::wamp_argument`].
    pub fn argument_prefix(self) -> usize {
        match self {
            Shape::Text => 1,
            Shape::Json => 0,
        }
    }
}

/// The mark of one message.
pub fn mark(publisher: u16, sequence: u32) -> [u8; MARK_BYTES] {
    let mut mark = [0; MARK_BYTES];
    mark[..4].copy_from_slice(&MAGIC);
    mark[4..8].copy_from_slice(&letters(publisher.into())[..4]);
    mark[8..].copy_from_slice(&letters(sequence));
    mark
}

/// A number as eight letters, the lowest four bits first.
pub fn letters(number: u32) -> [u8; 8] {
    let mut spread = u64::from(number);
    spread = (spread | (spread << 16)) & 0x0000_FFFF_0000_FFFF;
    spread = (spread | (spread << 8)) & 0x00FF_00FF_00FF_00FF;
    spread = (spread | (spread << 4)) & 0x0F0F_0F0F_0F0F_0F0F;
    (spread + 0x6161_6161_6161_6161).to_le_bytes()
}

/// The number that eight letters say; `None` if one of them is not in `a` to `p`.
pub fn number(letters: [u8; 8]) -> Option<u32> {
    let mut spread = u64::from_le_bytes(letters).wrapping_sub(0x6161_6161_6161_6161);
    if spread & 0xF0F0_F0F0_F0F0_F0F0 != 0 {
        return None;
    }
    spread = (spread | (spread >> 4)) & 0x00FF_00FF_00FF_00FF;
    spread = (spread | (spread >> 8)) & 0x0000_FFFF_0000_FFFF;
    Some((spread | (spread >> 16)) as u32)
}

/// What the mark of a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub publisher: u16,
    pub sequence: u32,
    /// Where the mark begins in the bytes that were searched.
    pub at: usize,
}

/// Finds marks in packets of one kind: they stand at the same distance from the packet's end, whatever ids of changing
/// width come before, so only the first is searched for.
#[derive(Debug, Default)]
pub struct Finder {
    from_end: usize,
}

impl Finder {
    /// The mark in `packet`; `None` if there is none.
    pub fn find(&mut self, packet: &[u8]) -> Option<Mark> {
        if let Some(mark) = read(packet, packet.len().wrapping_sub(self.from_end)) {
            return Some(mark);
        }
        let mark = (0..packet.len()).find_map(|at| read(packet, at))?;
        self.from_end = packet.len() - mark.at;
        Some(mark)
    }
}

fn read(packet: &[u8], at: usize) -> Option<Mark> {
    let mark: &[u8; MARK_BYTES] = packet.get(at..)?.first_chunk()?;
    let [m0, m1, m2, m3, p0, p1, p2, p3, sequence @ ..] = *mark;
    if [m0, m1, m2, m3] != MAGIC {
        return None;
    }
    let publisher = number([p0, p1, p2, p3, b'a', b'a', b'a', b'a'])?;
    Some(Mark { publisher: publisher as u16, sequence: number(sequence)?, at })
}
