//! `fennec log`: prints what the broker has kept of durable topics.
//!
//! It subscribes as any client does that resumes (docs/durable.md): without `--follow` for a snapshot, which the broker ends.

use std::time::SystemTime;

use super::Failure;
use super::ask::json;
use super::client_args::{LogArgs, PointInTime};
use super::connect::{Link, block_on, notice};
use super::lines::Output;
use super::stop::Stop;
use crate::client::machine::{Event, Message, Subscription};
use crate::client::url::Protocol;
use crate::node::past::Since;
use crate::types::event::Qos;
use crate::types::payload::Codec;
use crate::types::time::rfc3339;
use crate::types::topic::Topic;
use crate::types::value::Value;

/// Before any event.
const BEGINNING: &str = "1970-01-01T00:00:00Z";
/// How the broker ends a snapshot.
const END: &str = "fennec.close.snapshot_end";

pub(super) fn run(args: LogArgs) -> Result<(), Failure> {
    block_on(log(args))
}

async fn log(args: LogArgs) -> Result<(), Failure> {
    if args.connect.mqtt.is_some() {
        return Err(Failure::Refused(vec!["the log is read over WAMP: --wamp".to_owned()]));
    }
    if let Some(Err(error)) = args.after.as_deref().map(Since::after_text) {
        return Err(Failure::Refused(vec![format!("--after {error}")]));
    }
    let mut stop = Stop::new()?;
    let mut output = Output::new(false);
    let link = tokio::select! {
        link = Link::open(&args.connect, Protocol::Wamp, None) => link?,
        () = stop.asked() => return Ok(()),
    };
    let mut reading = Reading { link, from: from(&args), args, seen: 0, has_told_gap: false };
    let ended = tokio::select! {
        ended = reading.run(&mut output) => ended,
        () = stop.asked() => Ok(()),
    };
    output.flush()?;
    reading.link.client.close().await;
    ended
}

/// Where to begin.
fn from(args: &LogArgs) -> (&'static str, Value) {
    let time = |text: &str| ("after", Value::from(text));
    match (&args.after, &args.since, args.rewind) {
        // A number is a publication id.
        (Some(id), _, _) => ("after", id.parse::<u64>().map_or_else(|_| Value::from(id.as_str()), Value::from)),
        (_, Some(PointInTime::At(text)), _) => time(text),
        (_, Some(PointInTime::Ago(ago)), _) => {
            let at = SystemTime::now().checked_sub(*ago).and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
            let at_us = at.map_or(0, |at| u64::try_from(at.as_micros()).unwrap_or(u64::MAX));
            time(&rfc3339(at_us))
        }
        (_, _, Some(count)) => ("rewind", Value::from(count)),
        _ => time(BEGINNING),
    }
}

/// The log under way.
struct Reading {
    link: Link,
    args: LogArgs,
    /// The option that says where to begin, or to go on.
    from: (&'static str, Value),
    seen: u64,
    has_told_gap: bool,
}

impl Reading {
    async fn run(&mut self, output: &mut Output) -> Result<(), Failure> {
        self.subscribe()?;
        while self.args.count.is_none_or(|count| self.seen < count) {
            let Some(event) = self.link.next(output).await? else { break };
            match event {
                Ok(Event::Message(message)) => self.message(&message, output)?,
                Ok(Event::Subscribed { outcome, .. }) => drop(outcome?),
                Ok(Event::Unsubscribed { reason, .. }) if reason == END => {
                    self.tell_if_nothing();
                    break;
                }
                Ok(Event::Unsubscribed { reason, .. }) => {
                    return Err(Failure::Broker(format!("the broker gives up reading: {reason}")));
                }
                Ok(_) => {}
                Err(error) if error.may_pass() => {
                    self.link.again(error).await?;
                    self.subscribe()?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Nothing at all may mean that another topic was meant, or that this one is not durable.
    fn tell_if_nothing(&self) {
        let LogArgs { topic, after, since, rewind, .. } = &self.args;
        if self.seen > 0 || after.is_some() || since.is_some() || rewind.is_some() {
            return;
        }
        match Topic::from_name(topic) {
            Ok(meant) if topic.contains('/') => {
                notice(&format!("nothing is kept of {topic}; topics are spelt as WAMP spells them: {}", meant.uri()));
            }
            _ => notice(&format!("nothing is kept of {topic}")),
        }
    }

    fn subscribe(&mut self) -> Result<(), Failure> {
        let snapshot = (!self.args.follow).then_some(("snapshot", Value::Bool(true)));
        let options: Vec<_> = [self.from.clone()].into_iter().chain(snapshot).collect();
        self.link.client.machine().subscribe(&Subscription {
            topic: &self.args.topic,
            qos: Qos::AtLeastOnce,
            retained: false,
            no_local: false,
            retain_as_published: false,
            policy: self.args.policy,
            options: &options,
        })?;
        Ok(())
    }

    fn message(&mut self, message: &Message, output: &mut Output) -> Result<(), Failure> {
        let detail = |name: &str| message.details.iter().find(|(key, _)| key == name).map(|(_, value)| value);
        let is_cut = detail("recovered").and_then(Value::as_bool) == Some(false);
        if is_cut && !self.has_told_gap && self.from.1 != Value::from(BEGINNING) {
            let first = detail("first_available").and_then(Value::as_str).unwrap_or("the next one");
            notice(&format!("some events are not kept any more; the first that is there is {first}"));
            self.has_told_gap = true;
        }
        let id = detail("event_id").and_then(Value::as_str);
        if let Some(id) = id {
            self.from = ("after", Value::from(id));
        }
        self.seen += 1;
        if self.args.json {
            return output.message(message);
        }
        let value = message.payload.as_ref().document(Codec::Auto);
        output.line(&format!("{}\t{}\t{}", id.unwrap_or("-"), message.topic, json(&value)))
    }
}
