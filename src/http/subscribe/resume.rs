//! Where a subscription begins that asks for older events, or has a name.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Request;
use crate::http::Server;
use crate::http::answer::Failure;
use crate::http::route::Guest;
use crate::node::log::Submission;
use crate::node::log::tickets::Owner;
use crate::node::past::{Found, Since, Target};
use crate::queue::command::{Command, DurableRow};
use crate::queue::message::Batch;
use crate::queue::outcome::{Done, Outcome, Refused};
use crate::queue::state::rows::pattern_text;
use crate::store::StoreError;
use crate::types::topic::TopicPattern;

impl Server {
    /// For each of the topics where it begins; `None`: with what is published from now on.
    ///
    /// # Errors
    /// The log cannot be read or written, or the name is another user's.
    pub(super) async fn find_places(&self, guest: &Guest, request: &Request) -> Result<Vec<Option<Found>>, Failure> {
        let mut places = Vec::with_capacity(request.patterns.len());
        for pattern in &request.patterns {
            let target =
                Target { realm: guest.realm.name.clone(), pattern: pattern.clone(), filter: request.filter.clone() };
            let found = match &request.since {
                Some(since) => Some(self.find(target.clone(), since.clone()).await?),
                None => None,
            };
            places.push(match &request.durable {
                Some(name) => Some(self.open_durable(guest, name, pattern, target, found).await?),
                None => found,
            });
        }
        Ok(places)
    }

    async fn find(&self, target: Target, since: Since) -> Result<Found, Failure> {
        let (tell, told) = oneshot::channel();
        // If nobody waits any more, nobody misses the answer.
        self.node.find_since(target, since, move |_, found| drop(tell.send(found)))?;
        answered(told).await
    }

    /// Makes or takes up a named durable subscription; where it goes on.
    async fn open_durable(
        &self,
        guest: &Guest,
        name: &Arc<str>,
        pattern: &TopicPattern,
        target: Target,
        found: Option<Found>,
    ) -> Result<Found, Failure> {
        let row = DurableRow {
            pattern: pattern_text(pattern),
            authid: guest.identity.authid.clone(),
            since: found.map(|found| found.after),
            ..DurableRow::default()
        };
        if !guest.realm.has_room_for_durable(name, self.node.limits.durable_subscriptions_max) {
            return Err(Failure::TooManyDurables);
        }
        guest.realm.hand_over_durable(&self.node, name, &row.authid);
        let (realm, durable) = (guest.realm.name.to_string(), Box::new(row.clone()));
        self.apply(Command::Durable { realm, name: name.to_string(), durable }).await?;
        guest.realm.note_durable(&self.node, name, row);
        let (tell, told) = oneshot::channel();
        self.node.find_durable(target, name, move |_, found| drop(tell.send(found)))?;
        answered(told).await
    }

    /// Has the log apply a command.
    async fn apply(&self, command: Command) -> Result<(), Failure> {
        let mut batch = Batch::default();
        batch.command(&command);
        let (tell, told) = oneshot::channel();
        let tell = parking_lot::Mutex::new(Some(tell));
        let owner = Owner::Function(Arc::new(move |outcome| {
            if let Some(tell) = tell.lock().take() {
                // As above.
                drop(tell.send(outcome));
            }
        }));
        self.node.submit(Submission { batch, owner });
        match told.await {
            Ok(Outcome::Done(Done::Conflict)) => Err(Failure::Conflict),
            Ok(Outcome::Refused { why, .. }) => Err(why.into()),
            Ok(_) => Ok(()),
            Err(_) => Err(Refused::Stopping.into()),
        }
    }
}

async fn answered(told: oneshot::Receiver<Result<Found, StoreError>>) -> Result<Found, Failure> {
    match told.await {
        Ok(found) => Ok(found?),
        Err(_) => Err(Refused::Stopping.into()),
    }
}
