//! The MQTT gate: levels 3 (3.1), 4 (3.1.1) and 5 on one port.
//!
//! ```text
//! bytes --codec--> packet --session--> Publisher / Realm / Clients (node) --> mailboxes
//!                                 \--> acknowledgements, in the order of the packets, with the deliveries of the batch
//! ```
//!
//! - [`codec`]: the wire format.
//! - [`topic`]: topic filters.
//! - [`wire`]: events as PUBLISH packets.
//! - [`session`]: the machine of one connection.
//! - [`rpc`]: calls by publications under `$rpc/`.
//! - [`condition`], [`asked`]: what PUBLISH and SUBSCRIBE ask for by user properties.
//! - [`restore`]: sessions as the log had them, when the broker starts.
//! - [`mirror`]: sessions of a cluster that are connected at other entries.

mod asked;
pub mod codec;
mod condition;
pub mod mirror;
mod restore;
mod rpc;
pub mod session;
pub mod topic;
pub mod wire;

use std::sync::Arc;

pub use restore::{RestoreError, restore};

use crate::types::topic::TopicPattern;

/// What a listener says about the MQTT clients that come through it.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Realm of clients that name none, in place of the default one.
    pub realm: Option<Arc<str>>,
    /// Whether clients that do not say who they are may come in.
    pub anonymous: bool,
    /// Nobody may subscribe to a filter within one of these.
    pub refuse_filters: Vec<TopicPattern>,
}
