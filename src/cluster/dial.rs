//! Links that this process dials: again and again, with growing waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::greet;
use super::handshake::Purpose;
use super::link::Ended;
use super::mesh::{Peer, Shared, random};
use crate::client::backoff::Backoff;

/// Waits between two tries.
const WAIT_FIRST: Duration = Duration::from_millis(50);
const WAIT_LONGEST: Duration = Duration::from_secs(2);
/// A link that stood for so long was a good one: if it breaks, the first wait is short again.
const STEADY: Duration = Duration::from_secs(1);

/// Keeps the link to a process until this one stops, or it is no peer any more.
pub(super) async fn run(shared: Arc<Shared>, peer: Arc<Peer>) {
    let seed = random().map(u64::from_le_bytes).unwrap_or_default();
    let mut backoff = Backoff::between(WAIT_FIRST, WAIT_LONGEST, seed);
    loop {
        let own = shared.own();
        let dialled = tokio::select! {
            biased;
            _ = peer.over(&shared) => return,
            dialled = greet::dial(&own, shared.tls.as_ref(), &peer.process, Purpose::Link) => dialled,
        };
        match dialled {
            Ok(wire) => {
                let began = Instant::now();
                let cut = peer.seat.was_cut();
                let stop = async {
                    tokio::select! {
                        ended = peer.over(&shared) => ended,
                        () = cut => Ended::Cut,
                    }
                };
                if let Ended::Stopped | Ended::Removed = peer.live(&shared, wire, stop).await {
                    return;
                }
                if began.elapsed() >= STEADY {
                    backoff.reset();
                }
            }
            Err(error) => peer.complain(&error),
        }
        tokio::select! {
            biased;
            _ = peer.over(&shared) => return,
            () = tokio::time::sleep(backoff.after_failure()) => {}
        }
    }
}
