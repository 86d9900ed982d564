//! Lists of a segment as bytes of a column.
//!
//! ```text
//! voids  = varint…                             each the distance from the one before
//! shares = (topic id, messages, bytes) varint… each
//! varint = 7 bits a byte, low ones first; the high bit: more follows
//! ```

use crate::store::StoreError;

/// What a segment holds of one topic, by the store's id of the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub topic: u64,
    pub messages: u32,
    pub bytes: u64,
}

pub(super) fn write_voids(voids: &[u32]) -> Vec<u8> {
    let mut out = Vec::with_capacity(voids.len());
    let mut before = 0;
    for &void in voids {
        write(u64::from(void.wrapping_sub(before)), &mut out);
        before = void;
    }
    out
}

pub(super) fn read_voids(bytes: &[u8]) -> Result<Vec<u32>, StoreError> {
    let (mut rest, mut voids, mut before) = (bytes, Vec::new(), 0u32);
    while !rest.is_empty() {
        before = before.wrapping_add(read_u32(&mut rest)?);
        voids.push(before);
    }
    Ok(voids)
}

pub(super) fn write_shares(shares: impl Iterator<Item = Share>) -> Vec<u8> {
    let mut out = Vec::new();
    for share in shares {
        write(share.topic, &mut out);
        write(u64::from(share.messages), &mut out);
        write(share.bytes, &mut out);
    }
    out
}

pub(super) fn read_shares(bytes: &[u8]) -> Result<Vec<Share>, StoreError> {
    let (mut rest, mut shares) = (bytes, Vec::new());
    while !rest.is_empty() {
        let (topic, messages, bytes) = (read(&mut rest)?, read_u32(&mut rest)?, read(&mut rest)?);
        shares.push(Share { topic, messages, bytes });
    }
    Ok(shares)
}

fn write(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read(rest: &mut &[u8]) -> Result<u64, StoreError> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first().ok_or_else(malformed)?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(malformed())
}

fn read_u32(rest: &mut &[u8]) -> Result<u32, StoreError> {
    u32::try_from(read(rest)?).map_err(|_| malformed())
}

fn malformed() -> StoreError {
    StoreError::Damaged("a segment's list of topics or voids cannot be read".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_back_as_they_were() {
        for voids in [vec![], vec![0], vec![1, 2, 300, 70_000, u32::MAX]] {
            assert_eq!(read_voids(&write_voids(&voids)), Ok(voids));
        }
        let shares =
            [Share { topic: 1, messages: 2, bytes: 3 }, Share { topic: 1 << 40, messages: u32::MAX, bytes: u64::MAX }];
        assert_eq!(read_shares(&write_shares(shares.into_iter())), Ok(shares.to_vec()));
    }

    #[test]
    fn damaged_lists_are_refused() {
        for bytes in [&[0x80][..], &[1, 2], &[1, 0xff, 0xff, 0xff, 0xff, 0x7f, 1], &[0xff; 12]] {
            assert!(matches!(read_shares(bytes), Err(StoreError::Damaged(_))), "{bytes:?}");
        }
        assert!(read_voids(&[0xff; 6]).is_err());
    }
}
