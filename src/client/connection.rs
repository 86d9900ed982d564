//! A machine and the connection it speaks on.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::Error;
use super::machine::{Event, Machine, Opened};
use super::tls::Trust;
use super::transport::{Exchange, Speech, Transport};
use super::url::Url;

#[cfg(test)]
mod tests;

/// How long the broker may take to close after a goodbye.
const FAREWELL: Duration = Duration::from_secs(1);

/// Where a client connects to, and how patiently.
#[derive(Clone, Debug)]
pub struct Target {
    pub url: Url,
    pub trust: Trust,
    /// For all of one try: from the name to the end of the login.
    pub timeout: Duration,
}

/// A client of a broker. It connects when told to, and again when told to again; commands go to its machine.
pub struct Client {
    target: Target,
    speech: Speech,
    machine: Box<dyn Machine>,
    transport: Option<Transport>,
    /// Why the connection ended, told after the events that came before.
    ended: Option<Error>,
    heart: Heart,
}

/// When the connection last showed that it is alive.
struct Heart {
    sent: Instant,
    heard: Instant,
    /// The broker was asked for a sign of life, and nothing was heard since.
    asked: Option<Instant>,
    /// Zero: never asks.
    interval: Duration,
}

impl Client {
    pub fn new(target: Target, speech: Speech, machine: Box<dyn Machine>) -> Self {
        Self { target, speech, machine, transport: None, ended: None, heart: Heart::new(Instant::now()) }
    }

    pub fn url(&self) -> &Url {
        &self.target.url
    }

    /// The next connection goes there, for the broker has moved.
    pub fn redirect(&mut self, url: Url) {
        self.target.url = url;
    }

    /// The machine, for commands. What they send leaves with the next [`Client::event`] or [`Client::flush`].
    pub fn machine(&mut self) -> &mut dyn Machine {
        &mut *self.machine
    }

    /// Tries once to connect and log in. A connection that was there is dropped, with the events it has not told.
    ///
    /// # Errors
    /// Any but [`Error::Lost`].
    pub async fn connect(&mut self) -> Result<Opened, Error> {
        let limit = self.target.timeout;
        match timeout(limit, self.try_connect()).await {
            Ok(Err(Error::Lost(what))) => Err(self.unreachable(what)),
            Ok(opened) => opened,
            Err(_) => {
                self.transport = None;
                Err(self.unreachable(format!("no answer in {limit:?}")))
            }
        }
    }

    async fn try_connect(&mut self) -> Result<Opened, Error> {
        self.transport = None;
        let transport = Transport::connect(&self.target.url, &self.target.trust, self.speech).await?;
        self.machine.open(transport.unit_bytes_max());
        self.transport = Some(transport);
        self.ended = None;
        self.heart = Heart::new(Instant::now());
        loop {
            match self.event().await? {
                Event::Opened(opened) => {
                    self.heart.interval = opened.keep_alive;
                    return Ok(opened);
                }
                other => tracing::debug!(?other, "before the connection stood"),
            }
        }
    }

    fn unreachable(&self, what: String) -> Error {
        Error::Unreachable { url: self.target.url.to_string(), what }
    }

    /// The next event that is there already.
    pub fn waiting_event(&mut self) -> Option<Event> {
        self.machine.next_event()
    }

    /// The next event. Dropped early, nothing is lost.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn event(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.machine.next_event() {
                return Ok(event);
            }
            if let Some(error) = &self.ended {
                return Err(error.clone());
            }
            self.step().await;
        }
    }

    /// Waits until all that was said is on its way. Events that come meanwhile wait.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn flush(&mut self) -> Result<(), Error> {
        loop {
            if let Some(error) = &self.ended {
                return Err(error.clone());
            }
            self.queue()?;
            if self.transport.as_ref().is_some_and(|transport| !transport.is_pending()) {
                return Ok(());
            }
            self.step().await;
        }
    }

    /// Says goodbye and waits a little for the broker to hear it.
    pub async fn close(mut self) {
        self.machine.close();
        if self.ended.is_some() || self.queue().is_err() {
            return;
        }
        if let Some(transport) = self.transport.take() {
            // Whether it was heard or not, the connection ends here.
            let _ = timeout(FAREWELL, transport.close()).await;
        }
    }

    /// Hands what the machine says to the transport.
    fn queue(&mut self) -> Result<(), Error> {
        let Some(transport) = &mut self.transport else {
            return Err(Error::Lost("there is no connection".to_owned()));
        };
        while let Some(unit) = self.machine.next_output() {
            transport.queue(unit);
        }
        Ok(())
    }

    async fn step(&mut self) {
        if let Err(error) = self.try_step().await {
            self.transport = None;
            self.ended = Some(error);
        }
    }

    async fn try_step(&mut self) -> Result<(), Error> {
        self.queue()?;
        let deadline = self.heart.deadline();
        let beat = async {
            match deadline {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let Some(transport) = &mut self.transport else { return Ok(()) };
        tokio::select! {
            // What waits to be read is a sign of life, however long nobody looked.
            biased;
            exchange = transport.exchange() => match exchange? {
                Exchange::Unit(unit) => {
                    self.heart.hear(Instant::now());
                    self.machine.receive(unit)?;
                }
                Exchange::Sign => self.heart.hear(Instant::now()),
                Exchange::Flushed => self.heart.sent = Instant::now(),
            },
            () = beat => {
                self.heart.beat(Instant::now())?;
                if !self.machine.ping() {
                    transport.ping();
                }
            }
        }
        Ok(())
    }
}

impl Heart {
    fn new(now: Instant) -> Self {
        Self { sent: now, heard: now, asked: None, interval: Duration::ZERO }
    }

    fn hear(&mut self, now: Instant) {
        self.heard = now;
        self.asked = None;
    }

    fn deadline(&self) -> Option<Instant> {
        let since = self.asked.unwrap_or(self.sent.min(self.heard));
        (!self.interval.is_zero()).then(|| since + self.interval)
    }

    /// The deadline has passed: the broker is to be asked for a sign of life, or has not given one.
    fn beat(&mut self, now: Instant) -> Result<(), Error> {
        if self.asked.is_some() {
            return Err(Error::Lost("the broker does not answer".to_owned()));
        }
        self.asked = Some(now);
        Ok(())
    }
}
