//! (room)

pub mod codec;
pub mod topic;
