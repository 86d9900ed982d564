//! Bad days of the store: the built binary on a disk that is full or broken, on a damaged database, beside another broker.
#![cfg(target_os = "linux")]

mod broker;
mod client;
mod clock;
mod damaged;
mod full;
mod second;

#[allow(dead_code)] // each of the tests that share it uses a part
#[path = "../support/postgres.rs"]
mod postgres;

/// Held by who must not be disturbed in the use of the database server.
static SERVER: std::sync::Mutex<()> = std::sync::Mutex::new(());
