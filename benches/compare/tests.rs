//! Tests of the load driver: what it counts must be right before anything is concluded from it.

// The modules are those of the bench; what only its `main` uses is idle here.
#![allow(dead_code)]

mod board;
mod cpu;
mod latency;
mod load;
mod mqtt_load;
mod nats;
mod outcome;
mod payload;
mod publish;
mod receive;
mod schedule;
mod tracker;
mod wamp_load;
mod websocket;
mod wire;

/// One file per module under test.
mod tests {
    mod latency;
    mod mqtt_load;
    mod nats;
    mod payload;
    mod schedule;
    mod tracker;
    mod wamp_load;
    mod websocket;
}
