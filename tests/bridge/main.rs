//! Bridges to brokers that others wrote: Mosquitto, which must be installed, and `rumqttd` in this process.
//!
//! Between the two brokers stands a relay, which can cut the link and lead it to another place, so that a broker that is started
//! anew may have another port. Nothing waits for time to pass, but for events; what must not come is asked for behind something
//! that must.

mod client;
mod cuts;
mod exchange;
mod fennec;
mod loops;
mod mosquitto;
mod relay;
mod restarts;
mod retained;
mod rumqttd;
mod secrets;

use std::time::Duration;

/// Far longer than anything takes, so that only what never comes fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("its address").port()
}
