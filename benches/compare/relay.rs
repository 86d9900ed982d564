//! A toy relay instead of a broker: what it reads from any client it writes to every client that subscribed.
//!
//! It knows no topics, QoS or queues, so it is the ceiling: what the driver and the kernel can do, whatever a broker
//! does. A thread per connection, reads of 256 KiB, one write per subscriber and read.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::mqtt_load::frame;

const READ_BYTES: usize = 256 * 1024;

type Subscribers = Arc<Mutex<Vec<TcpStream>>>;

/// Serves until the process ends.
pub fn serve(addr: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(addr)?;
    let subscribers = Subscribers::default();
    loop {
        let (stream, _) = listener.accept()?;
        let subscribers = subscribers.clone();
        // A client that goes ends its thread with an error, which is how the relay forgets it.
        thread::spawn(move || relay(stream, &subscribers));
    }
}

fn relay(mut stream: TcpStream, subscribers: &Subscribers) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = vec![0; READ_BYTES];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut input[filled..])?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        let (mut at, mut publishes_from) = (0, 0);
        while let Some((_, packet_bytes)) = frame(&input[at..filled])? {
            if input[at] >> 4 != 3 {
                answer(&mut stream, &input[at..at + packet_bytes], subscribers)?;
                publishes_from = at + packet_bytes;
            }
            at += packet_bytes;
        }
        forward(&input[publishes_from..at], subscribers)?;
        input.copy_within(at..filled, 0);
        filled -= at;
    }
}

/// CONNECT and SUBSCRIBE, of one filter, are answered; nothing else comes but publishes.
fn answer(stream: &mut TcpStream, packet: &[u8], subscribers: &Subscribers) -> io::Result<()> {
    match packet[0] >> 4 {
        1 => stream.write_all(&[0x20, 2, 0, 0]),
        8 => {
            subscribers.lock().unwrap_or_else(PoisonError::into_inner).push(stream.try_clone()?);
            stream.write_all(&[0x90, 3, packet[2], packet[3], 0])
        }
        _ => Ok(()),
    }
}

fn forward(publishes: &[u8], subscribers: &Subscribers) -> io::Result<()> {
    if publishes.is_empty() {
        return Ok(());
    }
    let mut subscribers = subscribers.lock().unwrap_or_else(PoisonError::into_inner);
    subscribers.iter_mut().try_for_each(|subscriber| subscriber.write_all(publishes))
}
