//! What becomes of an answer: what is sent next, what is buried, what is told of the service.

use super::{End, Task};
use crate::node::consumer::Bounds;
use crate::outbound::service::body::Body;
use crate::outbound::service::client::Heard;
use crate::outbound::service::machine::{Answer, Status, Transaction, Verdict};
use crate::outbound::service::{PREFIX, letter, meta};

impl Task<'_> {
    /// The service has answered, or has not.
    pub(super) async fn hear(&mut self, heard: Heard) -> Result<(), End> {
        let now_ms = self.now_ms();
        let answer = match heard {
            Heard::Else(answer) => answer,
            Heard::Accepted(None) => Answer::Accepted { next: None },
            Heard::Accepted(Some(id)) => {
                let next = self.bodies.front().and_then(|body| body.number_from(id));
                Answer::Accepted { next: Some(next.unwrap_or(u64::MAX)) }
            }
        };
        let failed = !matches!(answer, Answer::Accepted { .. });
        let oldest = self.machine.stored().planned.front().cloned();
        let verdict = self.machine.answered(answer, now_ms, self.shared.node.random());
        self.count(&verdict, failed);
        self.obey(verdict, oldest).await?;
        if !self.machine.keeps_bodies() {
            self.bodies.clear();
        }
        self.tell();
        Ok(())
    }

    async fn obey(&mut self, verdict: Verdict, oldest: Option<Transaction>) -> Result<(), End> {
        let body = match verdict {
            Verdict::Again => return Ok(()),
            _ => self.bodies.pop_front(),
        };
        let (Some(body), Some(oldest)) = (body, oldest) else { return Ok(()) };
        match verdict {
            Verdict::Done | Verdict::Again => {}
            Verdict::Rest { next } => {
                let rest = body.split_at(next).map_or(body, |(_, rest)| rest);
                self.machine.replace_oldest([rest.transaction(oldest.suspect)]);
                self.bodies.push_front(rest);
            }
            Verdict::Halve => {
                let parts = body.halves().map_or_else(|| vec![body], |(first, second)| vec![first, second]);
                self.machine.replace_oldest(parts.iter().map(|part| part.transaction(true)));
                parts.into_iter().rev().for_each(|part| self.bodies.push_front(part));
            }
            Verdict::Bury { status, why } => self.bury(&oldest, status, &why).await?,
        }
        Ok(())
    }

    /// Writes the dead letter of an event, to be published with the next record.
    async fn bury(&mut self, dead: &Transaction, status: u16, why: &str) -> Result<(), End> {
        self.bodies.clear();
        self.reads_for = None;
        self.consumer.rewind(dead.first - 1);
        let bounds = Bounds { events_max: 1, bytes_max: usize::MAX, until: Some(dead.up_to) };
        let batch = loop {
            match self.consumer.next(bounds).await {
                Ok(batch) => break batch,
                Err(news) => self.hear_news(news)?,
            }
        };
        tracing::warn!(service = self.id(), event = dead.first_id, status, why, "a service refuses an event for good");
        for past in &batch.events {
            let service = self.name.strip_prefix(PREFIX).unwrap_or(self.name);
            let cause = letter::Cause { service, status, why };
            letter::write(&past.event, &self.realm.name, &self.settings.dead_letter, &cause, &mut self.letters);
        }
        Ok(())
    }

    /// Nothing of a planned transaction is in the log any more.
    pub(super) fn vanished(&mut self, at: usize) {
        let now_ms = self.now_ms();
        if let Some(gone) = self.machine.vanished(at, now_ms) {
            tracing::warn!(
                service = self.id(),
                transaction = gone.id(),
                "a transaction is given up: its events are gone"
            );
            self.shared.board.put(&self.realm.name, self.name, |seen| seen.lost += u64::from(gone.events));
        }
        self.tell();
    }

    fn count(&self, verdict: &Verdict, failed: bool) {
        let events = match verdict {
            Verdict::Done => self.bodies.front().map_or(0, Body::events),
            Verdict::Rest { next } => {
                let before = self.bodies.front().and_then(|body| body.split_at(*next));
                before.map_or(0, |(before, _)| before.events())
            }
            _ => 0,
        };
        self.shared.board.put(&self.realm.name, self.name, |seen| {
            seen.failures += u64::from(failed);
            seen.transactions += u64::from(*verdict == Verdict::Done);
            seen.events += events as u64;
        });
    }

    /// Tells what the service has become, and shows how it is.
    pub(super) fn tell(&mut self) {
        self.show();
        let now_ms = self.now_ms();
        if let Some(status) = self.machine.take_became() {
            let stored = self.machine.stored();
            let error = stored.last_error.as_deref().unwrap_or_default();
            match status {
                Status::Up => tracing::info!(service = self.id(), "a service is up again"),
                _ => tracing::warn!(service = self.id(), status = status.name(), error, "a service is not up"),
            }
            meta::tell(&self.shared.node, &self.realm, self.id(), status, stored, now_ms);
        }
    }

    pub(super) fn show(&self) {
        let stored = self.machine.stored();
        self.shared.board.put(&self.realm.name, self.name, |seen| {
            (seen.status, seen.attempts, seen.paused) = (stored.status, stored.attempts, self.settings.paused);
            (seen.last_error, seen.buried) = (stored.last_error.clone(), stored.buried);
            seen.next_try_ms = self.machine.due_ms().unwrap_or(0);
        });
    }
}
