//! What can be done wrong, a function for each way. None waits for an answer.

mod http;
mod mqtt;
mod rawsocket;
mod tls;
mod websocket;

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use crate::dice::Dice;

/// Where to do it.
#[derive(Clone)]
pub struct Target {
    pub mqtt: u16,
    pub mqtts: u16,
    pub http: u16,
    pub rawsocket: u16,
}

/// Connections that are left open.
pub type Held = Vec<TcpStream>;

pub type Way = fn(&Target, &mut Dice) -> Held;

pub const WAYS: &[Way] = &[
    mqtt::noise,
    mqtt::half_a_connect,
    mqtt::huge_lengths,
    mqtt::wrong_password,
    mqtt::bad_text,
    mqtt::giant_topics,
    mqtt::one_id_for_many,
    mqtt::subscribe_to_everything,
    mqtt::subscribe_and_never_read,
    mqtt::packets_in_the_wrong_order,
    mqtt::come_and_go,
    websocket::half_an_upgrade,
    websocket::upgrade_and_silence,
    websocket::bad_frames,
    websocket::frames_without_end,
    websocket::nested_json,
    websocket::lengths_in_messages,
    websocket::messages_in_the_wrong_order,
    websocket::wrong_tickets,
    websocket::subscribe_and_never_read,
    websocket::mqtt_in_pieces,
    http::slow_heads,
    http::slow_bodies,
    http::long_heads,
    http::bad_bodies,
    http::noise,
    http::polls_that_nobody_asks_for,
    http::subscriptions_that_nobody_reads,
    rawsocket::half_handshakes,
    rawsocket::bad_handshakes,
    rawsocket::huge_lengths,
    rawsocket::pings_and_never_read,
    rawsocket::bad_frames,
    tls::half_a_hello,
    tls::plain_text,
    tls::noise,
];

/// A connection on which writing does not wait for long. `None`: the broker takes no more for the moment.
fn open(port: u16) -> Option<TcpStream> {
    let socket = TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), Duration::from_secs(10)).ok()?;
    socket.set_nodelay(true).ok()?;
    socket.set_write_timeout(Some(Duration::from_millis(200))).ok()?;
    Some(socket)
}

/// Opens a connection and writes all this, or as much as is taken.
fn say(port: u16, parts: &[&[u8]]) -> Held {
    let Some(mut socket) = open(port) else { return Vec::new() };
    // The broker may have closed it by now, as it should.
    let _ = parts.iter().try_for_each(|part| socket.write_all(part));
    vec![socket]
}

/// The same several times.
fn say_each(port: u16, all: &[Vec<u8>]) -> Held {
    all.iter().flat_map(|bytes| say(port, &[bytes])).collect()
}
