//! Ids that all entries of a cluster give to the same thing without asking each other: made of what it is.
//!
//! So what two entries tell of a subscription or registration is known to be of one. Nobody finds a pattern with the id of a given other
//! one; should two patterns of one entry meet all the same, the second gets the next that is free there.

use sha2::{Digest, Sha256};

use crate::types::ids::ID_MAX;
use crate::types::topic::TopicPattern;

/// The id of what these parts make up beside a pattern, unless it is `taken`: 1 to [`ID_MAX`].
pub fn id(pattern: &TopicPattern, parts: &[&[u8]], taken: impl Fn(u64) -> bool) -> u64 {
    let (uri, policy) = pattern.uri();
    let mut hash = Sha256::new();
    for part in [policy.as_str().as_bytes(), uri.as_bytes()].iter().chain(parts) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let mut id = u64::from_le_bytes(std::array::from_fn(|at| digest[at])) % ID_MAX + 1;
    while taken(id) {
        id = id % ID_MAX + 1;
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::topic::MatchPolicy;

    #[test]
    fn an_id_is_of_the_pattern_and_its_parts_alone_and_free() {
        let pattern = |uri, policy| TopicPattern::from_uri(uri, policy).unwrap();
        let exact = pattern("a.b", MatchPolicy::Exact);
        let plain = id(&exact, &[], |_| false);
        assert_eq!(id(&exact, &[], |_| false), plain);
        let others = [
            id(&pattern("a.b", MatchPolicy::Prefix), &[], |_| false),
            id(&pattern("a.c", MatchPolicy::Exact), &[], |_| false),
            id(&exact, &[b""], |_| false),
            id(&exact, &[b"a", b"b"], |_| false),
            id(&exact, &[b"ab", b""], |_| false),
        ];
        for (at, other) in others.iter().enumerate() {
            assert!((1..=ID_MAX).contains(other) && *other != plain && !others[..at].contains(other));
        }
        assert_eq!(id(&exact, &[], |taken| taken == plain), plain % ID_MAX + 1);
    }
}
