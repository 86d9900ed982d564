//! A toy relay instead of a broker: what it reads from any client it writes to every client that subscribed.
//!
//! It knows no topics, QoS or queues, so it is the ceiling: what the driver and the kernel can do, whatever a broker
//! does. One thread reads all that can be read, then writes once to every subscriber.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use crate::mqtt_load::frame;
use crate::wire::{Poller, Wire};

const FOREVER: Duration = Duration::from_secs(3600);
/// Token of the listener; connections count from 0.
const LISTENER: usize = usize::MAX;

struct Client {
    /// `None` when the client is gone.
    wire: Option<Wire>,
    subscribed: bool,
}

/// Serves until the process ends.
pub fn serve(addr: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(addr)?;
    let poller = Poller::new()?;
    poller.add_listener(&listener, LISTENER)?;
    let mut clients: Vec<Client> = Vec::new();
    let mut publishes = Vec::new();
    loop {
        let mut accept = false;
        poller.wait(FOREVER, |token, readable, writable| match clients.get_mut(token) {
            Some(Client { wire: Some(wire), .. }) => {
                wire.readable |= readable;
                wire.writable |= writable;
            }
            _ => accept |= token == LISTENER,
        })?;
        if accept {
            let wire = Wire::new(listener.accept()?.0)?;
            poller.add(&wire, clients.len())?;
            clients.push(Client { wire: Some(wire), subscribed: false });
        }
        clients.iter_mut().for_each(|client| client.read(&mut publishes));
        clients.iter_mut().for_each(|client| client.write(&publishes));
        publishes.clear();
    }
}

impl Client {
    /// Appends what the client publishes. A client whose connection fails is forgotten.
    fn read(&mut self, publishes: &mut Vec<u8>) {
        let Some(wire) = &mut self.wire else { return };
        while wire.readable {
            let read = wire.read().map(drop).and_then(|()| take_packets(wire, &mut self.subscribed, publishes));
            if read.is_err() {
                self.wire = None;
                return;
            }
        }
    }

    fn write(&mut self, publishes: &[u8]) {
        let Some(wire) = &mut self.wire else { return };
        if self.subscribed {
            wire.replies.extend(publishes);
        }
        if wire.writable && wire.flush_replies().is_err() {
            self.wire = None;
        }
    }
}

/// Answers CONNECT and SUBSCRIBE (of one filter); nothing else comes but publishes.
fn take_packets(wire: &mut Wire, subscribed: &mut bool, publishes: &mut Vec<u8>) -> io::Result<()> {
    let (input, replies) = wire.input_and_replies();
    let (mut at, mut publishes_from) = (0, 0);
    while let Some((_, packet_bytes)) = frame(&input[at..])? {
        match input[at..at + packet_bytes] {
            [0x10, ..] => replies.extend([0x20, 2, 0, 0]),
            [0x82, _, id_high, id_low, ..] => {
                replies.extend([0x90, 3, id_high, id_low, 0]);
                *subscribed = true;
            }
            _ => {
                at += packet_bytes;
                continue;
            }
        }
        at += packet_bytes;
        publishes_from = at;
    }
    publishes.extend(&input[publishes_from..at]);
    wire.consume(at);
    Ok(())
}
