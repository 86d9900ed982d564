//! Sockets, TLS, WebSocket frames, and the loop that moves bytes between them and a session.
//!
//! ```text
//! socket --read--> Pump --bytes--> Gate (a session machine) --frames--> its mailbox --take--> Pump --one write--> socket
//! ```
//!
//! One task per connection. It reads into a buffer that all connections of its thread share, lets the gate handle every packet
//! of the read, and writes what waits in one call. Connections run on one single-threaded runtime per core ([`workers`]): in
//! measurements of a relay, a work-stealing runtime cost 10 to 40 % more per message on two cores. They start together and
//! spread over the threads when there is work for more than one ([`balance`]).

pub mod balance;
pub mod clock;
pub mod gate;
pub mod listen;
pub mod pace;
pub mod proxy;
pub mod pump;
pub mod read_buffer;
pub mod seats;
pub mod stream;
pub mod tls;
pub mod websocket;
pub mod workers;
pub mod x509;
