//! The HTTP gate on a port of its own, with a node in this process and a plain HTTP client.

mod access;
mod admin;
mod broker;
mod call;
mod durable;
mod metrics;
mod publish;
mod rates;
mod stream;
mod subscribe;
mod websocket;
