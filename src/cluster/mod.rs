//! A cluster.
pub mod entry;
pub mod ndb;
pub mod sync;
#[cfg(test)]
mod tests;
