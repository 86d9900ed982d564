//! The rules of an uplink, without IO. Both ends send and receive by the same ones.
//!
//! ```text
//! log --lanes--> items --numbering--> batch ==exchange==> receiving --> log of the other end
//! ```
//!
//! - [`numbering`]: which number a message has, what is kept to be sent again, and what an answer means.
//! - [`lanes`]: how far the log was read: live, backlog, and what the other end does not accept yet.
//! - [`sender`]: puts both together and says what is to be read, recorded and sent next.
//! - [`receiving`]: what of a batch is taken.
//! - [`pace`]: when the next exchange is due.
//! - [`wire`]: an exchange as it is sent.

pub mod lanes;
pub mod numbering;
pub mod pace;
pub mod receiving;
pub mod sender;
pub mod wire;

#[cfg(test)]
mod tests;
