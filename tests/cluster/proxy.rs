//! A network between the nodes that can be cut: each pair of nodes has a relay of its own.
//!
//! What is cut is dropped as a network drops packets: nobody is told, and what the systems send again arrives when the network is
//! whole. So bytes are held back, and so is the end of a connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// Pieces on their way in one direction: as much as a network holds, more or less.
const UNDER_WAY: usize = 256;
const PIECE_BYTES: usize = 16 << 10;

/// What the network does with bytes from one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// They take so long.
    Open(Duration),
    Cut,
}

/// All of it. Ends with the runtime that it runs on.
pub struct Network {
    runtime: Handle,
    /// From one to another.
    ways: BTreeMap<(&'static str, &'static str), Arc<watch::Sender<Way>>>,
}

impl Network {
    pub fn new(runtime: &Handle) -> Self {
        Self { runtime: runtime.clone(), ways: BTreeMap::new() }
    }

    /// Where `from` finds `to`, which listens on `port`.
    pub fn port(&mut self, from: &'static str, to: &'static str, port: u16) -> u16 {
        let ways = [(from, to), (to, from)].map(|way| {
            let open = || Arc::new(watch::Sender::new(Way::Open(Duration::ZERO)));
            self.ways.entry(way).or_insert_with(open).clone()
        });
        let listener = self.runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).expect("a port");
        let own = listener.local_addr().expect("its address").port();
        self.runtime.spawn(relay(listener, port, ways));
        own
    }

    /// Sets what the network does from these nodes to those.
    pub fn set(&self, from: &[&str], to: &[&str], way: Way) {
        let chosen = self.ways.iter().filter(|((a, b), _)| from.contains(a) && to.contains(b));
        for (_, sender) in chosen {
            sender.send_replace(way);
        }
    }

    /// Makes all of it whole.
    pub fn heal(&self) {
        for sender in self.ways.values() {
            sender.send_replace(Way::Open(Duration::ZERO));
        }
    }
}

async fn relay(listener: TcpListener, port: u16, [there, back]: [Arc<watch::Sender<Way>>; 2]) {
    while let Ok((near, _)) = listener.accept().await {
        let (there, back) = (there.subscribe(), back.subscribe());
        tokio::spawn(async move {
            // Who does not run now refuses, and so does this.
            let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
            tokio::join!(carry(near_read, far_write, there), carry(far_read, near_write, back));
        });
    }
}

/// Carries bytes one way until the connection ends.
async fn carry(from: OwnedReadHalf, to: OwnedWriteHalf, way: watch::Receiver<Way>) {
    let (send, receive) = mpsc::channel(UNDER_WAY);
    tokio::join!(take(from, send, way.clone()), give(to, receive, way));
}

async fn take(mut from: OwnedReadHalf, send: mpsc::Sender<(Instant, Vec<u8>)>, way: watch::Receiver<Way>) {
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        let read = from.read(&mut piece).await.unwrap_or(0);
        let delay = match *way.borrow() {
            Way::Open(delay) => delay,
            Way::Cut => Duration::ZERO,
        };
        piece.truncate(read);
        // An empty piece is the end.
        if send.send((Instant::now() + delay, piece)).await.is_err() || read == 0 {
            return;
        }
    }
}

async fn give(mut to: OwnedWriteHalf, mut receive: mpsc::Receiver<(Instant, Vec<u8>)>, mut way: watch::Receiver<Way>) {
    while let Some((due, piece)) = receive.recv().await {
        sleep_until(due).await;
        let open = way.wait_for(|way| *way != Way::Cut).await.is_ok();
        if !open || piece.is_empty() || to.write_all(&piece).await.is_err() {
            return;
        }
    }
}
