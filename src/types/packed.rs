//! MessagePack from elsewhere as one of our own types.

use rmp_serde::Deserializer;
use rmp_serde::decode::Error;
use serde::Deserialize;

/// Nothing of ours nests so deep.
const DEPTH_MAX: usize = 64;

/// Reads a value. What nests deeper than any of ours is refused, though it may stand where it would be passed over: each level
/// takes room on the stack.
///
/// # Errors
/// The bytes are no such value.
pub fn from_slice<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Error> {
    let mut deserializer = Deserializer::from_read_ref(bytes);
    deserializer.set_max_depth(DEPTH_MAX);
    T::deserialize(&mut deserializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Known {
        a: u8,
    }

    #[test]
    fn what_nests_deep_is_refused_even_where_it_would_be_passed_over() {
        let map = |other: &[u8]| [b"\x82\xa1b", other, b"\xa1a\x07"].concat();
        assert_eq!(from_slice::<Known>(&map(&[0xc0])).ok(), Some(Known { a: 7 }));
        let nested = |depth: usize| [vec![0x91; depth], vec![0xc0]].concat();
        assert_eq!(from_slice::<Known>(&map(&nested(10))).ok(), Some(Known { a: 7 }));
        for depth in [DEPTH_MAX, 1000, 100_000] {
            assert!(from_slice::<Known>(&map(&nested(depth))).is_err(), "{depth}");
        }
    }
}
