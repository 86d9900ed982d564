//! Floor 0: the words every other room uses. Plain data, no protocol rules, no IO.

pub mod event;
pub mod event_id;
pub mod fields;
pub mod ids;
pub mod limits;
pub mod network;
pub mod passthru;
pub mod payload;
pub mod peer;
pub mod rate;
pub mod time;
pub mod topic;
pub mod value;
