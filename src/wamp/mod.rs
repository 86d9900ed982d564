//! (room)

pub mod uri;
