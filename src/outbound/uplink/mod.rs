//! Store and forward between an edge and a centre, over links that come and go.
//!
//! ```text
//! edge: log --consumer--> numbers --CALL fennec.uplink.exchange--> centre: checked, published, number recorded in one commit
//!       log <-----------------------RESULT------------------------ numbers <--consumer-- log
//! ```
//!
//! What is published at the edge on the configured topics reaches the centre once per number and in the order of the numbers; the
//! centre sends down in the answers by the same rules. The edge opens the one connection, so it works through NAT and proxies.
//!
//! - [`machine`]: the rules, without IO.
//! - [`outgoing`], [`incoming`]: the two ends of a direction at work.
//! - [`edge`], [`centre`]: who connects, and who answers.
//! - [`board`], [`meta`]: what is told of them.

pub mod board;
mod centre;
mod edge;
mod incoming;
pub mod machine;
mod meta;
mod outgoing;

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::net::clock::Clock;
use crate::node::Node;
use board::Board;
use centre::Centre;
pub use edge::Uplink;

const EXCHANGE: &str = "fennec.uplink.exchange";
const WAIT: &str = "fennec.uplink.wait";
const STATUS: &str = "fennec.uplink.status";

/// Answers edges from now on, and runs the uplinks of this broker until it stops.
pub fn start(
    node: &Arc<Node>,
    clock: Clock,
    uplinks: &[Uplink],
    runtime: &Handle,
    stopped: &watch::Receiver<bool>,
) -> Arc<Board> {
    let board: Arc<Board> = Arc::default();
    Centre::open(node, clock, board.clone(), runtime.clone());
    for uplink in uplinks {
        let (node, after) = (node.clone(), node.log.fed());
        let around = edge::Surroundings { node, clock, board: board.clone(), stopped: stopped.clone(), after };
        runtime.spawn(edge::run(Arc::new(uplink.clone()), around));
    }
    board
}
