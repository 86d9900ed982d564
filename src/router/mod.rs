

pub mod broker;
pub mod index;
pub mod retained;
