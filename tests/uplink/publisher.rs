//! A device that publishes numbers, and knows which of them were acknowledged.

use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fennec::client::machine::{Event, Publication};
use fennec::client::tls::Trust;
use fennec::client::url::{Protocol, Url};
use fennec::client::{Client, Error, Target, wamp};
use fennec::types::event::{Properties, Qos};
use fennec::types::payload::{Format, PayloadRef};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Publishes until it is told to stop.
pub struct Publisher {
    port: Arc<AtomicU16>,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<u64>>>,
    task: JoinHandle<()>,
}

impl Publisher {
    pub fn start(runtime: &Handle, port: u16, topic: &'static str) -> Self {
        let (port, stop) = (Arc::new(AtomicU16::new(port)), Arc::new(AtomicBool::new(false)));
        let acknowledged: Arc<Mutex<Vec<u64>>> = Arc::default();
        let task = runtime.spawn(run(port.clone(), topic, stop.clone(), acknowledged.clone()));
        Self { port, stop, acknowledged, task }
    }

    /// The broker has another port now.
    pub fn lead_to(&self, port: u16) {
        self.port.store(port, Ordering::SeqCst);
    }

    pub fn count(&self) -> usize {
        self.acknowledged.lock().expect("nobody has panicked").len()
    }

    /// Stops it; what was acknowledged, in order.
    pub fn stop(self, runtime: &Handle) -> Vec<u64> {
        self.stop.store(true, Ordering::SeqCst);
        runtime.block_on(self.task).expect("it ends well");
        std::mem::take(&mut self.acknowledged.lock().expect("nobody has panicked"))
    }
}

async fn run(port: Arc<AtomicU16>, topic: &str, stop: Arc<AtomicBool>, acknowledged: Arc<Mutex<Vec<u64>>>) {
    let mut number = 0;
    while !stop.load(Ordering::SeqCst) {
        // A new client each time: what was not acknowledged is not sent again, for that might be once too often.
        let mut client = client(port.load(Ordering::SeqCst));
        if client.connect().await.is_err() {
            sleep(Duration::from_millis(20)).await;
            continue;
        }
        while !stop.load(Ordering::SeqCst) {
            number += 1;
            match timeout(Duration::from_secs(20), publish(&mut client, topic, number)).await {
                Ok(Ok(())) => acknowledged.lock().expect("nobody has panicked").push(number),
                _ => break,
            }
        }
    }
}

fn client(port: u16) -> Client {
    let url = Url::parse(&format!("ws://127.0.0.1:{port}/ws"), Protocol::Wamp).expect("a URL");
    let format = Format::Json;
    let options =
        wamp::Options { realm: "realm1".to_owned(), user: None, password: None, format, keep_alive: Duration::ZERO };
    let target = Target { url, trust: Trust::System, timeout: Duration::from_secs(20) };
    Client::new(target, wamp::speech(format), Box::new(wamp::Wamp::new(options)))
}

async fn publish(client: &mut Client, topic: &str, number: u64) -> Result<(), Error> {
    let args = format!("[{number}]");
    let token = client.machine().publish(&Publication {
        topic,
        payload: PayloadRef::Args { format: Format::Json, args: Some(args.as_bytes()), kwargs: None },
        qos: Qos::AtLeastOnce,
        retain: false,
        properties: &Properties::default(),
        expiry_s: None,
        options: &[],
    })?;
    loop {
        if let Event::Published { token: of, outcome } = client.event().await?
            && of == token
        {
            return outcome.map(drop);
        }
    }
}
