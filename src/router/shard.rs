//! Which node has a resource (WAMP, Sharded Registration, Sharded Subscription).
//!
//! By rendezvous hashing: of all nodes the one whose key weighs most together with the resource's. So all who know the same nodes agree,
//! and when a node comes or goes only those resources move that it gets or had. Who knows only some of the nodes, the one that weighs most
//! among them, agrees too: so each entry of a cluster finds the node among its own callees that another has chosen among all.

use sha2::{Digest, Sha256};

use crate::types::ids::SessionId;

/// The key of a node, or what stands for it: a hash that is the same on all machines.
pub type NodeHash = u64;

/// The node of this key; without one that of a session alone.
pub fn node(key: Option<&str>, session: SessionId) -> NodeHash {
    match key {
        Some(key) => hash(b"key", key.as_bytes()),
        None => hash(b"session", &session.0.to_le_bytes()),
    }
}

/// The node of this key.
pub fn node_of_key(key: &str) -> NodeHash {
    hash(b"key", key.as_bytes())
}

/// The node that has this resource; `None` if there is none at all.
pub fn node_of(resource: &str, nodes: impl Iterator<Item = NodeHash>) -> Option<NodeHash> {
    let resource = hash(b"resource", resource.as_bytes());
    nodes.max_by_key(|node| (mix(*node ^ resource), *node))
}

fn hash(kind: &[u8], text: &[u8]) -> u64 {
    let digest = Sha256::new().chain_update(kind).chain_update([0]).chain_update(text).finalize();
    u64::from_le_bytes(std::array::from_fn(|at| digest[at]))
}

/// The finalizer of splitmix64.
fn mix(bits: u64) -> u64 {
    let z = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(count: u64) -> Vec<NodeHash> {
        (0..count).map(|number| node_of_key(&format!("node{number}"))).collect()
    }

    #[test]
    fn a_resource_moves_only_to_a_node_that_comes() {
        let (few, many) = (nodes(4), nodes(5));
        let mut moved = 0;
        for resource in 0..1000 {
            let resource = format!("r{resource}");
            let before = node_of(&resource, few.iter().copied());
            let after = node_of(&resource, many.iter().copied());
            if before != after {
                assert_eq!(after, Some(many[4]));
                moved += 1;
            }
        }
        assert!((120..280).contains(&moved), "a fifth of them: {moved}");
    }

    #[test]
    fn resources_are_spread_over_the_nodes() {
        let nodes = nodes(4);
        for node in &nodes {
            let own = (0..1000).filter(|r| node_of(&format!("r{r}"), nodes.iter().copied()) == Some(*node)).count();
            assert!((180..320).contains(&own), "a quarter of them: {own}");
        }
    }

    #[test]
    fn who_knows_the_heaviest_node_alone_agrees() {
        let nodes = nodes(6);
        for resource in ["a", "b", "c"] {
            let chosen = node_of(resource, nodes.iter().copied()).unwrap();
            let some = nodes.iter().copied().filter(|node| *node == chosen || node % 2 == 0);
            assert_eq!(node_of(resource, some), Some(chosen));
        }
        assert_eq!(node_of("a", std::iter::empty()), None);
    }

    #[test]
    fn hashes_are_those_of_all_versions() {
        // Entries of a cluster must agree.
        assert_eq!(node(Some("node23"), SessionId(1)), node_of_key("node23"));
        assert_ne!(node(None, SessionId(1)), node(None, SessionId(2)));
    }
}
