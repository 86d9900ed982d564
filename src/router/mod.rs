//! (room)

pub mod index;
pub mod retained;
