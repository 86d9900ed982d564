//! (room)

pub mod authorize;
pub mod index;
pub mod retained;
