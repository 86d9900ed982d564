//! What stands between the network and the protocols: TLS, proxies and limits, with the broker as a child process.

mod broker;
mod limits;
mod memory;
mod mqtt;
mod pki;
mod proxy;
mod tls;
mod tools;
