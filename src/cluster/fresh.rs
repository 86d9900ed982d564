//! How far the log is, as a majority of the syncs knows: asked by entries for reads of keys ([`crate::node::house`]).

use std::io;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::timeout;

use super::mesh::Mesh;
use crate::node::Node;
use crate::queue::envelope::NodeId;

/// How long a majority of the syncs may take: longer than one of them that has started waits before it votes, while another is dead.
const PATIENCE: Duration = Duration::from_secs(4);

/// What a sync answers: how far the order was when the last vote that it had taken part in had ended ([`crate::queue::sync::SyncRole::took_part`]).
pub fn answer(position: u64) -> Bytes {
    Bytes::copy_from_slice(&position.to_le_bytes())
}

fn read(reply: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(reply.try_into().ok()?))
}

/// Has a node of the entry `own` ask the `syncs` when it needs to. Its thread ends with the node.
///
/// # Errors
/// The system has no threads left.
pub fn run(own: NodeId, syncs: Vec<NodeId>, node: &Arc<Node>, mesh: &Mesh) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let (asks, asked) = sync_channel::<()>(1);
    let (weak, mesh) = (Arc::downgrade(node), mesh.clone());
    let work = move || {
        while asked.recv().is_ok() {
            let found = runtime.block_on(async { timeout(PATIENCE, ask(&own, &syncs, &mesh)).await });
            let Some(node) = weak.upgrade() else { return };
            node.house.freshest(found.ok().flatten());
        }
    };
    std::thread::Builder::new().name("fresh".to_owned()).spawn(work)?;
    // The house asks once at a time.
    node.house.ask_by(Box::new(move || {
        let _ = asks.try_send(());
    }));
    Ok(())
}

/// The highest position of a majority; `None`: there is none that answers.
async fn ask(own: &NodeId, syncs: &[NodeId], mesh: &Mesh) -> Option<u64> {
    let asked = syncs.iter().filter_map(|sync| mesh.ask(own.clone(), sync.clone(), Bytes::new()).ok());
    let replies: FuturesUnordered<_> = asked.map(|asked| asked.reply()).collect();
    highest(syncs.len(), replies.filter_map(|reply| async move { read(&reply?) })).await
}

/// The highest of more than a half of so many.
async fn highest(syncs: usize, positions: impl futures_util::Stream<Item = u64>) -> Option<u64> {
    let first: Vec<u64> = positions.take(syncs / 2 + 1).collect().await;
    (first.len() > syncs / 2).then(|| first.into_iter().max()).flatten()
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn the_highest_position_of_a_majority_counts() {
        let highest = |positions: &'static [u64]| highest(3, stream::iter(positions.iter().copied()));
        assert_eq!(highest(&[4, 7]).await, Some(7));
        assert_eq!(highest(&[4, 5, 9]).await, Some(5), "more than a majority is not waited for");
        assert_eq!(highest(&[9]).await, None);
        assert_eq!(highest(&[]).await, None);
    }

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        assert_eq!(read(&answer(u64::MAX)), Some(u64::MAX));
        assert_eq!(read(b"short"), None);
    }
}
