//! A cluster.
pub mod ndb;
