//! The durable log: ordered by advance segments, decided by the roles entry, storage and sync.
//!
//! ```text
//! publisher -> Batch -> EntryRole (open segment) -> StorageRole (kept) -> SyncRole (position) -> State::apply -> RESOLVED, FEED
//! ```
//!
//! 1. Messages that must be durable, and what changes a persistent session, are encoded once into a [`message::Batch`].
//! 2. The entry appends batches to the open *advance segment*; the storage trims it as soon as it can take it (in one process:
//!    when the last commit is done), so light load makes segments of one message and heavy load segments of thousands.
//! 3. A sync gives the segment its position; the storage applies it to the [`state`] in position order: messages are numbered,
//!    conditions judged, waiting publishes granted, wills set off.
//! 4. The outcome goes back to who published, the segment itself to the subscribers.
//!
//! All of it is plain synchronous code: `handle(now, from, message) -> outputs`. No sockets, clocks, tasks, random numbers or disk;
//! whoever drives the roles commits what a storage puts out. Left out: links between processes (`cluster`), reading the past
//! (`node::log`).

pub mod blocks;
pub mod change;
pub mod command;
pub mod condition;
pub mod digest;
pub mod entry;
pub mod envelope;
#[doc(hidden)]
pub mod faults;
pub mod lease;
pub mod message;
pub mod outcome;
pub mod publication;
pub mod quorum;
pub mod relay;
pub mod retention;
pub mod segment;
pub mod solo;
pub mod state;
pub mod storage;
pub mod sync;

#[cfg(test)]
mod tests;
