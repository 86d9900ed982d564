//! Frames in a file, each of which is on disk before the next is written.
//!
//! ```text
//! file:  frame frame … zeros, or what was there before
//! frame: length u32 | digest u64 | MessagePack | zeros  little endian; the length is that of the MessagePack
//! ```
//!
//! A frame begins and ends at a multiple of [`BLOCK_BYTES`]: no write touches what is on disk already, and it goes to where something
//! was written before, so that the file system has nothing of its own to write.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::digest::digest;

/// Length and digest.
pub const HEAD_BYTES: usize = 12;
/// What a disk writes whole or not at all.
pub const BLOCK_BYTES: usize = 512;

/// A frame with this.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_into(&mut frame, value);
    frame
}

/// The same, in the place of what `frame` holds.
pub fn encode_into<T: Serialize + ?Sized>(frame: &mut Vec<u8>, value: &T) {
    frame.clear();
    frame.resize(HEAD_BYTES, 0);
    rmp_serde::encode::write(frame, value).expect("it is written to memory");
    let body = &frame[HEAD_BYTES..];
    let (len, digest) = (body.len() as u32, digest(body));
    frame[..4].copy_from_slice(&len.to_le_bytes());
    frame[4..HEAD_BYTES].copy_from_slice(&digest.to_le_bytes());
    frame.resize(frame.len().next_multiple_of(BLOCK_BYTES), 0);
}

/// What the frame at the beginning holds, and its bytes; `None`: it is not as it was written, or of something else.
pub fn decode<T: DeserializeOwned>(file: &[u8]) -> Option<(T, usize)> {
    let ([a, b, c, d, digest_bytes @ ..], rest) = file.split_first_chunk::<HEAD_BYTES>()?;
    let len = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
    let body = rest.get(..len).filter(|_| len > 0)?;
    if digest(body) != u64::from_le_bytes(*digest_bytes) {
        return None;
    }
    let value = rmp_serde::from_slice(body).ok()?;
    Some((value, (HEAD_BYTES + len).next_multiple_of(BLOCK_BYTES)))
}

/// Where frames may begin behind what is at the beginning.
pub fn later(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    (BLOCK_BYTES..file.len()).step_by(BLOCK_BYTES).map(|at| &file[at..])
}
