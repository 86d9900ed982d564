//! A digest of a segment's body, to notice that two nodes do not have the same bytes.
//!
//! It guards against damage and mistakes, not against peers that lie: those have to know the cluster's key first. All nodes of
//! a cluster must compute the same, whatever machine or version they are: it is never changed.

/// Fractional digits of pi: numbers with nothing up their sleeves.
const KEYS: [u64; 5] =
    [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7345, 0xa409_3822_299f_31d1, 0x082e_fa98_ec4e_6c89, 0x4528_21e6_38d0_1377];

/// 64 bits that depend on every byte and on the length.
pub fn digest(bytes: &[u8]) -> u64 {
    // Two lanes, so that one multiplication need not wait for the other.
    let mut lanes = [KEYS[0], KEYS[1]];
    let (blocks, tail) = bytes.as_chunks::<32>();
    for block in blocks {
        lanes[0] = fold(word(block, 0) ^ lanes[0], word(block, 8) ^ KEYS[2]);
        lanes[1] = fold(word(block, 16) ^ lanes[1], word(block, 24) ^ KEYS[3]);
    }
    let mut last = [0; 32];
    last[..tail.len()].copy_from_slice(tail);
    lanes[0] = fold(word(&last, 0) ^ lanes[0], word(&last, 8) ^ KEYS[2]);
    lanes[1] = fold(word(&last, 16) ^ lanes[1], word(&last, 24) ^ KEYS[3]);
    fold(lanes[0] ^ bytes.len() as u64, lanes[1] ^ KEYS[4])
}

#[inline]
fn word(block: &[u8; 32], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|byte| block[at + byte]))
}

/// Both halves of a product, one upon the other; `a` itself, too, so that a factor of zero does not swallow it.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64 ^ a.rotate_left(32)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_bit_and_the_length_count() {
        let zeros = [0_u8; 100];
        let mut seen: HashSet<u64> = (0..=100).map(|len| digest(&zeros[..len])).collect();
        for bit in 0..800 {
            let mut bytes = zeros;
            bytes[bit / 8] |= 1 << (bit % 8);
            seen.insert(digest(&bytes));
        }
        assert_eq!(seen.len(), 101 + 800);
    }

    #[test]
    fn the_order_of_blocks_counts() {
        let (a, b) = ([1_u8; 32], [2_u8; 32]);
        assert_ne!(digest(&[a, b].concat()), digest(&[b, a].concat()));
    }

    #[test]
    fn all_versions_agree() {
        let text: Vec<u8> = (0..200).collect();
        assert_eq!(
            [digest(b""), digest(b"fennec"), digest(&text)],
            [17_249_096_710_624_226_190, 4_082_974_409_951_338_328, 13_372_262_405_942_181_763]
        );
    }
}
