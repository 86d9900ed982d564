//! The receiving end of one direction at work: publishes what comes, once per number, in one commit with the number.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::machine::receiving::{Plan, plan};
use super::machine::wire::{Ack, Exchange, Kind, Message};
use super::outgoing::broker_id;
use crate::node::Node;
use crate::node::log::{Submission, tickets::Owner};
use crate::node::realm::Realm;
use crate::queue::command::{Command, SourceStep};
use crate::queue::message::{Batch, EnteredRow, Posting};
use crate::queue::outcome::{Done, Outcome, Refused};
use crate::types::event::{Event, Properties, Qos};
use crate::types::ids::PublicationId;
use crate::types::payload::PayloadRef;
use crate::types::topic::Topic;

/// See the module.
pub struct Incoming {
    node: Arc<Node>,
    realm: Arc<Realm>,
    source: String,
    /// As the log said last, on this connection.
    known: Option<Ack>,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// What is expected now.
    pub ack: Ack,
    pub messages: u64,
    /// Not published, for whoever sent them may not publish there.
    pub refused: u64,
    /// Not published, for they had been here before.
    pub returned: u64,
    /// Places where something may be missing, and how much at most.
    pub gaps: u64,
    pub lost_max: u64,
    /// A later epoch has begun.
    pub begun: bool,
}

/// Nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the broker stops")]
    Stopping,
}

impl Incoming {
    /// What enters the realm from this source.
    pub fn new(node: &Arc<Node>, realm: &Arc<Realm>, source: String) -> Self {
        Self { node: node.clone(), realm: realm.clone(), source, known: None }
    }

    /// Another connection: what the log says may have changed meanwhile.
    pub fn connected(&mut self) {
        self.known = None;
    }

    /// What is expected next.
    ///
    /// # Errors
    /// See [`NotTaken`].
    pub async fn expected(&mut self) -> Result<Ack, NotTaken> {
        if let Some(known) = self.known {
            return Ok(known);
        }
        let ack = self.submit(Batch::default()).await?;
        self.known = Some(ack);
        Ok(ack)
    }

    /// Takes a batch: `may` says which topics may be published to.
    ///
    /// # Errors
    /// See [`NotTaken`].
    pub async fn take(
        &mut self,
        exchange: &Exchange,
        may: &(dyn Fn(&Topic) -> bool + Send + Sync),
        now_ms: u64,
    ) -> Result<Taken, NotTaken> {
        let known = self.expected().await?;
        let mut taken = Taken { ack: known, ..Taken::default() };
        let plan = plan(known, exchange);
        let behind = match plan {
            Plan::Refuse => return Ok(taken),
            Plan::Begin => 0,
            Plan::Take { behind } if behind == exchange.messages.len() => return Ok(taken),
            Plan::Take { behind } => behind,
        };
        let mut batch = Batch::default();
        if plan == Plan::Begin {
            taken.begun = true;
            let step = SourceStep::Begin { epoch: exchange.epoch, next: exchange.sequence };
            batch.command(&self.command(step));
        }
        self.add_all(exchange, behind, may, now_ms, &mut batch, &mut taken);
        self.known = None;
        taken.ack = self.submit(batch).await?;
        self.known = Some(taken.ack);
        Ok(taken)
    }

    fn add_all(
        &self,
        exchange: &Exchange,
        behind: usize,
        may: &(dyn Fn(&Topic) -> bool + Send + Sync),
        now_ms: u64,
        batch: &mut Batch,
        taken: &mut Taken,
    ) {
        let own = broker_id(&self.node);
        let epoch = exchange.epoch;
        // The first of those numbers that bring nothing and were not skipped yet.
        let mut skipped: Option<u64> = None;
        let numbers = exchange.sequence + behind as u64..;
        for (number, message) in numbers.zip(&exchange.messages[behind..]) {
            let Some((topic, payload)) = self.published(message, &own, may, taken) else {
                skipped.get_or_insert(number);
                continue;
            };
            if let Some(from) = skipped.take() {
                batch.command(&self.command(SourceStep::Skip { epoch, from, to: number }));
            }
            taken.messages += 1;
            self.add(&topic, payload, message, (epoch, number), now_ms, batch);
        }
        if let Some(from) = skipped {
            let to = exchange.sequence + exchange.messages.len() as u64;
            batch.command(&self.command(SourceStep::Skip { epoch, from, to }));
        }
    }

    /// Topic and payload of what is to be published; `None`: the message brings nothing, or must not.
    fn published<'a>(
        &self,
        message: &'a Message,
        own: &str,
        may: &(dyn Fn(&Topic) -> bool + Send + Sync),
        taken: &mut Taken,
    ) -> Option<(Arc<Topic>, PayloadRef<'a>)> {
        match message.kind {
            Kind::Gap => {
                taken.gaps += 1;
                taken.lost_max = taken.lost_max.saturating_add(message.lost_max);
                return None;
            }
            Kind::Nothing => return None,
            Kind::Event | Kind::Value if message.passed.iter().any(|broker| broker == own) => {
                taken.returned += 1;
                return None;
            }
            Kind::Event | Kind::Value => {}
        }
        let topic = Topic::from_name(&message.topic).ok().filter(|topic| !topic.is_reserved() && may(topic));
        let payload = message.payload();
        let keeps = |payload: PayloadRef<'_>| message.retain && !payload.is_empty();
        let has_room = |topic: &Topic| !payload.is_some_and(keeps) || self.realm.has_room_for(topic, message.bytes());
        let published = topic.filter(has_room).map(Arc::new).zip(payload);
        taken.refused += u64::from(published.is_none());
        published
    }

    fn add(
        &self,
        topic: &Arc<Topic>,
        payload: PayloadRef<'_>,
        message: &Message,
        (epoch, number): (u64, u64),
        now_ms: u64,
        batch: &mut Batch,
    ) {
        // What another broker trusts is its own affair.
        let properties = message.properties.clone().map(|row| Properties { trust: None, ..row.into() });
        let properties = properties.map(Arc::new);
        let event = Event {
            topic,
            payload,
            codec: self.realm.codec(topic),
            qos: qos(message.qos),
            retain: message.retain,
            // It gets its own with its number.
            publication: PublicationId(0),
            place: None,
            properties: properties.as_ref(),
            publisher: None,
            expires_at_ms: message.expires_in_ms.map(|ms| now_ms.saturating_add(ms)),
            expires_in_s: None,
        };
        let entered = EnteredRow { source: self.source.clone(), epoch, number, passed: message.passed.clone() };
        let posting = Posting { realm: &self.realm.name, entered: Some(&entered), ..Posting::default() };
        batch.event(&event, &posting);
    }

    fn command(&self, step: SourceStep) -> Command {
        Command::Source { realm: self.realm.name.to_string(), name: self.source.clone(), step }
    }

    /// Gives the log a batch; what is expected behind it.
    async fn submit(&self, mut batch: Batch) -> Result<Ack, NotTaken> {
        batch.command(&self.command(SourceStep::Ask));
        let (tell, told) = oneshot::channel();
        let (tell, count) = (Mutex::new(Some(tell)), batch.count);
        let left = Mutex::new(u64::from(count));
        let hear = move |outcome| {
            let mut left = left.lock();
            let (messages, answer) = match outcome {
                Outcome::Events { count, .. } => (u64::from(count), None),
                Outcome::Refused { count, why } => (u64::from(count), Some(Err(why))),
                Outcome::Done(Done::Next { epoch, next }) => (1, Some(Ok(Ack { epoch, next }))),
                Outcome::Void(_) | Outcome::Done(_) | Outcome::Waiting { .. } => (1, None),
                Outcome::Granted { .. } | Outcome::Ended { .. } => (0, None),
            };
            *left = left.saturating_sub(messages);
            let is_over = *left == 0 || matches!(answer, Some(Err(_)));
            if let Some(answer) = answer.filter(|_| is_over)
                && let Some(tell) = tell.lock().take()
            {
                // Nobody may wait any more.
                let _ = tell.send(answer);
            }
        };
        self.node.submit(Submission { batch, owner: Owner::Function(Arc::new(hear)) });
        match told.await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(NotTaken::Stopping),
        }
    }
}

fn qos(number: u8) -> Qos {
    match number {
        0 => Qos::AtMostOnce,
        1 => Qos::AtLeastOnce,
        _ => Qos::ExactlyOnce,
    }
}
