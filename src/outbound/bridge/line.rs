//! The connection of a bridge: to one of several addresses, again and again.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until, timeout};

use super::Config;
use crate::client::Error;
use crate::client::backoff::Backoff;
use crate::client::mqtt::SPEECH;
use crate::client::transport::{Exchange, Transport};

/// How long a connection may take, from the name to the end of TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Waits between tries.
const WAIT_FIRST: Duration = Duration::from_secs(1);
const WAIT_LONGEST: Duration = Duration::from_secs(60);
/// A connection that stood for so long was a good one.
const GOOD: Duration = Duration::from_secs(10);
/// How long what was said last may take to be sent.
const FAREWELL: Duration = Duration::from_secs(1);

type Attempt = Pin<Box<dyn Future<Output = Result<Transport, Error>> + Send>>;

enum State {
    Waiting(Instant),
    Connecting(Attempt),
    Open(Box<Transport>, Instant),
}

/// What has become of the line.
pub(super) enum News {
    Connected,
    Bytes(Bytes),
    /// All that was queued is sent.
    Flushed,
    Nothing,
    Failed(Error),
}

/// See the module.
pub(super) struct Line {
    state: State,
    /// Of the configured addresses.
    address: usize,
    backoff: Backoff,
}

impl Line {
    /// A line whose first try is now. `seed` should differ from bridge to bridge.
    pub fn new(seed: u64) -> Self {
        let backoff = Backoff::between(WAIT_FIRST, WAIT_LONGEST, seed);
        Self { state: State::Waiting(Instant::now()), address: 0, backoff }
    }

    pub fn address(&self) -> usize {
        self.address
    }

    /// Gives the connection up. The next try is made after a while, at the next address if this one failed.
    pub fn lose(&mut self, addresses: usize) -> Duration {
        let was_good = matches!(&self.state, State::Open(_, since) if since.elapsed() >= GOOD);
        if was_good {
            self.backoff.reset();
        } else {
            self.address = (self.address + 1) % addresses.max(1);
        }
        let wait = self.backoff.anywhere_after_failure();
        self.state = State::Waiting(Instant::now() + wait);
        wait
    }

    /// Makes the connection anew, at the same address.
    pub fn again(&mut self) {
        self.state = State::Waiting(Instant::now());
    }

    /// The next try is made now.
    pub fn hurry(&mut self) {
        if let State::Waiting(until) = &mut self.state {
            self.backoff.reset();
            *until = Instant::now();
        }
    }

    pub fn queue(&mut self, bytes: Bytes) {
        if let State::Open(transport, _) = &mut self.state {
            transport.queue(bytes);
        }
    }

    /// Whether more should be queued.
    pub fn has_room(&self) -> bool {
        matches!(&self.state, State::Open(transport, _) if !transport.is_pending())
    }

    /// Goes on. `reads`: what the other broker sends is wanted. Dropped early, nothing is lost.
    pub async fn next(&mut self, config: &Config, reads: bool) -> News {
        match &mut self.state {
            State::Waiting(until) => {
                sleep_until(*until).await;
                self.state = State::Connecting(connect(config, self.address));
                News::Nothing
            }
            State::Connecting(attempt) => match attempt.await {
                Ok(transport) => {
                    self.state = State::Open(Box::new(transport), Instant::now());
                    News::Connected
                }
                Err(error) => News::Failed(error),
            },
            State::Open(transport, _) if reads || transport.is_pending() => match transport.exchange().await {
                Ok(Exchange::Unit(bytes)) => News::Bytes(bytes),
                Ok(Exchange::Flushed) => News::Flushed,
                Ok(Exchange::Sign) => News::Nothing,
                Err(error) => News::Failed(error),
            },
            State::Open(..) => std::future::pending().await,
        }
    }

    /// Sends what was said last, and closes.
    pub async fn close(self) {
        if let State::Open(transport, _) = self.state {
            // Whether it was heard or not, the connection ends here.
            let _ = timeout(FAREWELL, transport.close()).await;
        }
    }
}

fn connect(config: &Config, address: usize) -> Attempt {
    let (trust, credentials) = (config.trust.clone(), config.credentials.clone());
    let url = config.addresses.get(address).cloned();
    Box::pin(async move {
        let url = url.ok_or_else(|| Error::Invalid("there is no address".to_owned()))?;
        let attempt = Transport::connect_as(&url, &trust, credentials.as_ref(), SPEECH);
        timeout(CONNECT_TIMEOUT, attempt).await.unwrap_or_else(|_| {
            Err(Error::Unreachable { url: url.to_string(), what: format!("no answer in {CONNECT_TIMEOUT:?}") })
        })
    })
}
