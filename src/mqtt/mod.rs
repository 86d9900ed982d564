//! (room)

pub mod topic;
