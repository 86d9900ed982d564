//! `fennec pub`: publishes a message, once or several times, or each line of standard input.

use std::io::{BufRead, Read, stdin};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, sleep_until};

use super::Failure;
use super::client_args::PubArgs;
use super::connect::{Link, Waiting, block_on, qos};
use super::stop::Stop;
use crate::client::machine::{Event, Publication};
use crate::client::url::Protocol;
use crate::types::event::{Properties, Qos};
use crate::types::payload::PayloadRef;

/// Largest message: no MQTT packet can hold a larger one.
const MESSAGE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Lines read ahead.
const LINES_AHEAD: usize = 64;
/// What "--timeout 0" means: for ever.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

pub(super) fn run(args: PubArgs) -> Result<(), Failure> {
    block_on(publish(args))
}

async fn publish(args: PubArgs) -> Result<(), Failure> {
    let source = Source::new(&args)?;
    let keeps_on = args.lines || args.repeat != 1;
    let timeout = if args.timeout.is_zero() { FOR_EVER } else { args.timeout };
    let what = What {
        topic: args.topic,
        qos: qos(args.qos),
        retain: args.retain,
        expiry_s: args.expiry,
        properties: Properties {
            response_topic: args.response_topic,
            correlation_data: args.correlation_data.map(Bytes::from),
            ..args.properties.properties()
        },
    };
    let link = Link::open(&args.connect, Protocol::Mqtt, None).await?;
    let mut stop = Stop::new()?;
    let mut publishing = Publishing { link, source, what, keeps_on, timeout, unacknowledged: 0 };
    let ended = tokio::select! {
        ended = publishing.run() => ended,
        () = stop.asked() => publishing.interrupted(),
    };
    publishing.link.client.close().await;
    ended
}

/// A command under way.
struct Publishing {
    link: Link,
    source: Source,
    what: What,
    /// A lost connection is made again.
    keeps_on: bool,
    /// For acknowledgements after the last message.
    timeout: Duration,
    unacknowledged: usize,
}

/// What all messages have in common.
struct What {
    topic: String,
    qos: Qos,
    retain: bool,
    expiry_s: Option<u32>,
    properties: Properties,
}

impl Publishing {
    async fn run(&mut self) -> Result<(), Failure> {
        let mut until = None;
        let mut _waiting = None;
        loop {
            while let Some(event) = self.link.client.waiting_event() {
                self.take(event)?;
            }
            if until.is_some() && self.unacknowledged == 0 {
                return Ok(());
            }
            let has_room = self.link.client.machine().has_room();
            tokio::select! {
                message = self.source.next(), if until.is_none() && has_room => match message {
                    Some(message) => self.send(&message?).await?,
                    None => {
                        until = Some(Instant::now() + self.timeout);
                        _waiting = Some(Waiting::new(format_args!("waiting for acknowledgements")));
                    }
                },
                event = self.link.client.event() => match event {
                    Ok(event) => self.take(event)?,
                    Err(error) if self.keeps_on && error.may_pass() => _ = self.link.again(error).await?,
                    Err(error) => return Err(error.into()),
                },
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                    let what = format!("{} messages were not acknowledged in time", self.unacknowledged);
                    return Err(Failure::TimedOut(what));
                }
            }
        }
    }

    fn interrupted(&self) -> Result<(), Failure> {
        match self.unacknowledged {
            0 => Ok(()),
            count => Err(Failure::Run(format!("interrupted; {count} messages were not acknowledged"))),
        }
    }

    async fn send(&mut self, message: &[u8]) -> Result<(), Failure> {
        let publication = Publication {
            topic: &self.what.topic,
            payload: PayloadRef::Bytes(message),
            qos: self.what.qos,
            retain: self.what.retain,
            properties: &self.what.properties,
            expiry_s: self.what.expiry_s,
            options: &[],
        };
        self.link.client.machine().publish(&publication)?;
        self.unacknowledged += 1;
        // So that no more is read than the broker takes. If the connection is lost, the next event tells.
        let _ = self.link.client.flush().await;
        Ok(())
    }

    fn take(&mut self, event: Event) -> Result<(), Failure> {
        if let Event::Published { outcome, .. } = event {
            self.unacknowledged -= 1;
            outcome?;
        }
        Ok(())
    }
}

/// Where messages come from, and how fast.
struct Source {
    messages: Messages,
    pace: Option<Interval>,
    /// The next message may go.
    is_due: bool,
}

enum Messages {
    Same { message: Bytes, left: u64 },
    Lines(mpsc::Receiver<Result<Bytes, Failure>>),
}

impl Source {
    fn new(args: &PubArgs) -> Result<Self, Failure> {
        let left = if args.repeat == 0 { u64::MAX } else { args.repeat };
        let messages = match (&args.message, &args.file) {
            (Some(message), _) => Messages::Same { message: Bytes::from(message.clone()), left },
            (None, Some(path)) => Messages::Same { message: read_message(path)?, left },
            (None, None) => Messages::Lines(read_lines()),
        };
        let pace = args.rate.map(|rate| {
            let mut pace = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
            // What the clock's grain or the broker holds up is made up for.
            pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
            pace
        });
        Ok(Self { messages, pace, is_due: false })
    }

    /// The next message when its time has come. Dropped early, nothing is lost.
    async fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        if let Some(pace) = &mut self.pace
            && !self.is_due
        {
            pace.tick().await;
            self.is_due = true;
        }
        let message = match &mut self.messages {
            Messages::Same { left: 0, .. } => None,
            Messages::Same { message, left } => {
                *left -= 1;
                Some(Ok(message.clone()))
            }
            Messages::Lines(lines) => lines.recv().await,
        };
        self.is_due = false;
        message
    }
}

fn read_message(path: &Path) -> Result<Bytes, Failure> {
    let mut message = Vec::new();
    let read = match path.to_str() {
        Some("-") => stdin().lock().take(MESSAGE_BYTES_MAX).read_to_end(&mut message),
        _ => std::fs::File::open(path).and_then(|file| file.take(MESSAGE_BYTES_MAX).read_to_end(&mut message)),
    };
    let failed = |error| Failure::Refused(vec![format!("--file: cannot read {}: {error}", path.display())]);
    read.map_err(failed)?;
    Ok(message.into())
}

/// Lines of standard input, without their ends. Read by a thread of their own, which nobody waits for in the end.
fn read_lines() -> mpsc::Receiver<Result<Bytes, Failure>> {
    let (sender, lines) = mpsc::channel(LINES_AHEAD);
    std::thread::spawn(move || {
        let mut input = stdin().lock();
        loop {
            let mut line = Vec::new();
            let next = match (&mut input).take(MESSAGE_BYTES_MAX).read_until(b'\n', &mut line) {
                Ok(0) => return,
                Ok(_) => Ok(without_line_end(line)),
                Err(error) => Err(Failure::Run(format!("cannot read standard input: {error}"))),
            };
            let failed = next.is_err();
            if sender.blocking_send(next).is_err() || failed {
                return;
            }
        }
    });
    lines
}

fn without_line_end(mut line: Vec<u8>) -> Bytes {
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    line.into()
}
