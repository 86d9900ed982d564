//! Bridges: this broker as a client of another MQTT broker, whose topics and its own become each other's.
//!
//! ```text
//! log ------cursor--> Machine { Outward } --MQTT--> other broker
//! live events -queue->                                  |
//! log <----publish--- Machine { Inward } <----MQTT------'
//! ```
//!
//! - [`rules`]: which topics, and what they are called there. [`translate`]: events in the words of the other side.
//! - [`outward`], [`inward`], [`echo`]: what is owed in each direction; [`machine`]: the connection's protocol around them.
//!
//! Events go out from a place in the log that is recorded when they are done there, so that nothing of it is lost while the other
//! broker is away. What comes in is acknowledged when it is in the log.

pub mod echo;
pub mod inward;
pub mod machine;
pub mod outward;
pub mod rules;
pub mod translate;
