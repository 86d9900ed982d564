//! `fennec sub`: prints what is published.

use tokio::time::{Instant, sleep_until};

use super::Failure;
use super::client_args::SubArgs;
use super::connect::{Link, Waiting, block_on, qos};
use super::lines::Output;
use super::stop::Stop;
use crate::client::Error;
use crate::client::machine::{Event, Subscription};
use crate::client::url::Protocol;

pub(super) fn run(args: SubArgs) -> Result<(), Failure> {
    block_on(subscribe(args))
}

async fn subscribe(args: SubArgs) -> Result<(), Failure> {
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let mut stop = Stop::new()?;
    let mut output = Output::new(args.raw);
    let link = tokio::select! {
        link = Link::open(&args.connect, Protocol::Mqtt, None) => link?,
        () = stop.asked() => return Ok(()),
        () = until(deadline) => return timed_out(&args, 0),
    };
    let mut subscribing = Subscribing { link, args, seen: 0, unanswered: 0, waiting: None };
    let ended = tokio::select! {
        ended = subscribing.run(&mut output) => ended,
        () = stop.asked() => Ok(()),
        () = until(deadline) => timed_out(&subscribing.args, subscribing.seen),
    };
    output.flush()?;
    drop(subscribing.waiting);
    subscribing.link.client.close().await;
    ended
}

fn timed_out(args: &SubArgs, seen: u64) -> Result<(), Failure> {
    match args.count {
        Some(count) => Err(Failure::TimedOut(format!("{seen} of {count} messages came in time"))),
        None => Ok(()),
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// A command under way.
struct Subscribing {
    link: Link,
    args: SubArgs,
    seen: u64,
    /// Topics whose subscription is not acknowledged.
    unanswered: usize,
    waiting: Option<Waiting>,
}

impl Subscribing {
    /// Runs until all that was wanted has come, or nobody reads it any more.
    async fn run(&mut self, output: &mut Output) -> Result<(), Failure> {
        self.subscribe()?;
        while self.args.count.is_none_or(|count| self.seen < count) {
            let Some(event) = self.link.next(output).await? else { break };
            match event {
                Ok(Event::Message(message)) => {
                    self.waiting = None;
                    self.seen += 1;
                    output.message(&message)?;
                }
                Ok(Event::Subscribed { outcome, .. }) => self.subscribed(outcome.map(drop))?,
                Ok(Event::Unsubscribed { topic, reason }) => {
                    return Err(Failure::Broker(format!("the subscription to {topic} was taken away: {reason}")));
                }
                Ok(_) => {}
                Err(error) if !self.args.no_reconnect && error.may_pass() => {
                    self.waiting = None;
                    if !self.link.again(error).await?.resumed {
                        self.subscribe()?;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn subscribe(&mut self) -> Result<(), Failure> {
        for topic in &self.args.topics {
            let subscription = Subscription {
                topic,
                qos: qos(self.args.qos),
                retained: !self.args.no_retained,
                no_local: false,
                retain_as_published: self.args.retain_as_published,
                policy: self.args.policy,
                options: &[],
            };
            self.link.client.machine().subscribe(&subscription)?;
        }
        self.unanswered = self.args.topics.len();
        Ok(())
    }

    fn subscribed(&mut self, outcome: Result<(), Error>) -> Result<(), Failure> {
        outcome?;
        self.unanswered -= 1;
        if self.unanswered == 0 {
            let topics = self.args.topics.join(", ");
            self.link.tell(format_args!("subscribed to {topics}"));
            if self.seen == 0 {
                self.waiting = Some(Waiting::new(format_args!("waiting for messages on {topics}")));
            }
        }
        Ok(())
    }
}
