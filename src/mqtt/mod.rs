//! (room)

pub mod codec;
