//! (room)

pub mod users;
