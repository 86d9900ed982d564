//! Links that others dial: greeting whoever comes, and running one link for each process.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::handshake::{Greeted, Purpose, Refusal};
use super::link::Ended;
use super::mesh::{Peer, Shared};
use super::seat::{Arrived, Claim};
use super::{ask, greet};
use crate::net::listen::Listener;

/// Handshakes at a time; further connections are closed at once. Those whom it hits come again.
const GREETINGS_MAX: usize = 256;

/// Greets until the process stops.
pub(super) async fn run(shared: Arc<Shared>, listener: Listener) {
    let mut greetings = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = shared.stopped() => return,
            Some(_) = greetings.join_next() => {}
            (socket, peer) = listener.accept() => {
                if greetings.len() < GREETINGS_MAX {
                    greetings.spawn(greet(shared.clone(), socket, peer));
                }
            }
        }
    }
}

async fn greet(shared: Arc<Shared>, socket: TcpStream, address: SocketAddr) {
    let admit = |greeted: &Greeted| shared.admit(greeted);
    match greet::accept(&shared.own(), shared.tls.as_ref(), socket, admit).await {
        Ok((wire, Admitted::Peer(peer, claim))) => peer.seat.arrive(Arrived { wire, claim }),
        Ok((wire, Admitted::Asks)) => {
            if let Err(error) = ask::answer(wire, &shared).await {
                tracing::debug!(%address, "a question is not answered: {error}");
            }
        }
        Err(error) => shared.refuse(address, &error),
    }
}

/// Who is let in.
enum Admitted {
    Peer(Arc<Peer>, Claim),
    Asks,
}

impl Shared {
    /// Gives a process that has proved itself its seat. Whoever only asks gets none.
    fn admit(&self, greeted: &Greeted) -> Result<Admitted, Refusal> {
        if greeted.purpose == Purpose::Ask {
            return Ok(Admitted::Asks);
        }
        let name = || greeted.process.to_string();
        let peer = self.peer_of(&greeted.process).ok_or_else(|| Refusal::UnknownProcess { found: name() })?;
        let claim = peer.seat.claim(greeted.life).map_err(|_| Refusal::SecondProcess { process: name() })?;
        Ok(Admitted::Peer(peer, claim))
    }
}

/// Runs the link to a process that dials, one life after the other.
pub(super) async fn keep(shared: Arc<Shared>, peer: Arc<Peer>) {
    loop {
        let Arrived { wire, claim } = tokio::select! {
            biased;
            _ = peer.over(&shared) => return,
            arrived = peer.seat.next() => arrived,
        };
        let cut = peer.seat.was_cut();
        let stop = async {
            tokio::select! {
                ended = peer.over(&shared) => ended,
                () = peer.seat.replaced() => Ended::Replaced,
                () = cut => Ended::Cut,
            }
        };
        let ended = peer.live(&shared, wire, stop).await;
        drop(claim);
        if matches!(ended, Ended::Stopped | Ended::Removed) {
            return;
        }
    }
}
