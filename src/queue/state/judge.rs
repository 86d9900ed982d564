//! Publishes that the state decides on, waits, grants.

use super::StateError;
use super::keys::{candidate, expiry_us};
use super::locks::Waiter;
use super::matching::{Candidate, Test};
use super::rows::{self, WaitRow};
use super::step::Step;
use crate::queue::condition::Condition;
use crate::queue::message::{Batch, Events, Extras, Head, Malformed, Message, Run, Runs};
use crate::queue::outcome::{Done, Outcome, Void, WaitEnd};

/// What a publish that waits takes in memory, near enough for a bound.
const WAITER_BYTES: usize = 256;

/// What becomes of a publish that asks something of its key.
enum Verdict {
    Apply,
    Wait(Test),
    Void(Void),
}

impl Step<'_> {
    /// Events of a judged run. Returns how many of them count, and their bytes.
    pub fn judged(&mut self, offset: u32, head: &Head<'_>, events: &Events<'_>) -> Result<(u32, u64), StateError> {
        let (mut count, mut share) = (0, (0, 0));
        for message in events.iter() {
            let message = message?;
            if count == events.count {
                return Err(Malformed.into());
            }
            if self.judge(offset.saturating_add(count), head, &message)? {
                share = (share.0 + 1, share.1 + message.payload.len() as u64);
            }
            count += 1;
        }
        if count == events.count { Ok(share) } else { Err(Malformed.into()) }
    }

    fn judge(&mut self, offset: u32, head: &Head<'_>, message: &Message<'_>) -> Result<bool, StateError> {
        let extras = message.extras()?.unwrap_or_default();
        if let Some(why) = extras.packet.as_ref().and_then(|packet| self.refuses(head.realm, packet)) {
            self.except(offset, Outcome::Void(why));
            return Ok(false);
        }
        if let Some(entered) = &extras.entered {
            if let Some(why) = self.refuses_entry(head.realm, entered) {
                self.except(offset, Outcome::Void(why));
                return Ok(false);
            }
            // Whatever becomes of it, its number is done with.
            self.remember_entry(self.number(offset), head.realm, entered);
        }
        let verdict = match &extras.condition {
            Some(condition) => self.ask(head, condition)?,
            None => Verdict::Apply,
        };
        if let Verdict::Void(why) = verdict {
            // PUBREC with an error frees the packet identifier (MQTT 5, 4.3.3): it is not remembered.
            self.except(offset, Outcome::Void(why));
            return Ok(false);
        }
        if let Some(packet) = &extras.packet {
            self.remember_packet(head.realm, packet);
        }
        let number = self.number(offset);
        if let Verdict::Wait(test) = verdict {
            self.except(offset, Outcome::Waiting { ticket: number });
            self.wait(number, head, message, extras, test)?;
            return Ok(false);
        }
        if head.retain {
            self.set_key(head, number, message.payload, message.raw_extras());
            self.hold(head, number, message.payload, extras.condition, self.entry);
        }
        Ok(true)
    }

    fn ask(&mut self, head: &Head<'_>, condition: &Condition) -> Result<Verdict, StateError> {
        let session = head.publisher.map_or(0, |session| session.0);
        if condition.will.is_some() && self.state.locks.count_of(session) >= self.state.limits.locks_per_session_max {
            return Ok(Verdict::Void(Void::QuotaExceeded));
        }
        let Some(when) = &condition.when else { return Ok(Verdict::Apply) };
        let Some(test) = Test::parse(when) else { return Ok(Verdict::Void(Void::ConditionFailed)) };
        let key = rows::topic_id(head.realm, head.topic);
        let bytes = self.value(&key)?;
        let value = candidate(&key, bytes.as_deref())?;
        if test.holds(value.as_ref()) && !self.has_heir(&key, value.as_ref()) {
            return Ok(Verdict::Apply);
        }
        Ok(match condition.watch {
            false => Verdict::Void(Void::ConditionFailed),
            true if self.may_wait(&key, session) => Verdict::Wait(test),
            true => Verdict::Void(Void::QuotaExceeded),
        })
    }

    /// Whether the key will go to somebody who waits already. Only one that has changed at this position can: others were given
    /// away when they changed.
    fn has_heir(&self, key: &str, value: Option<&Candidate<'_>>) -> bool {
        let is_heir = |waiter: &Waiter| !waiter.is_late(self.now_us) && waiter.test.holds(value);
        self.is_touched(key) && self.state.waits.of_key(key).any(|(_, waiter)| is_heir(waiter))
    }

    fn may_wait(&self, key: &str, session: u64) -> bool {
        let (waits, limits) = (&self.state.waits, &self.state.limits);
        waits.count_for(key) < limits.waits_per_key_max
            && waits.count_of(session) < limits.waits_per_session_max
            && waits.bytes() < limits.wait_bytes_max
    }

    fn wait(
        &mut self,
        ticket: u64,
        head: &Head<'_>,
        message: &Message<'_>,
        extras: Extras,
        test: Test,
    ) -> Result<(), StateError> {
        let key: Box<str> = rows::topic_id(head.realm, head.topic).into();
        let timeout_ms = extras.condition.as_ref().and_then(|condition| condition.timeout_ms);
        let timeout_us = timeout_ms.map(|ms| self.now_us.saturating_add(ms.saturating_mul(1000)));
        // An event that has expired would be no value to anybody: it had better not become one.
        let expires_us = extras.expires_at_ms.map(|ms| ms.saturating_mul(1000));
        let deadline_us = timeout_us.into_iter().chain(expires_us).min();
        let mut event = Batch::default();
        event.message(head, message.payload, Some(&extras));
        let row = WaitRow { entry: self.entry, deadline_us, event: event.into_bytes() };
        let bytes = rows::encode(&row);
        let waiter = Waiter {
            key: key.clone(),
            session: head.publisher.map_or(0, |session| session.0),
            entry: self.entry,
            test,
            deadline_us,
            bytes: bytes.len() + WAITER_BYTES,
        };
        self.set(rows::wait(ticket), bytes);
        self.state.add_wait(ticket, waiter);
        self.watch_expiry(&key)
    }

    /// Remembers when the value of a key expires, if somebody waits for it.
    fn watch_expiry(&mut self, key: &str) -> Result<(), StateError> {
        let mut expires_at_us = None;
        if self.state.waits.has(key)
            && let Some(bytes) = self.value(key)?
        {
            expires_at_us = expiry_us(key, &bytes)?;
        }
        self.state.set_key_expiry(key, expires_at_us);
        Ok(())
    }

    /// Gives a key that has changed to those who wait for it, one after the other, as long as a condition holds.
    pub fn grant(&mut self, key: &str) -> Result<(), StateError> {
        while let Some(ticket) = self.next_heir(key)? {
            if self.state.waits.get(ticket).is_some_and(|waiter| waiter.is_late(self.now_us)) {
                self.end_wait(ticket, WaitEnd::Timeout);
            } else {
                self.grant_to(ticket)?;
            }
        }
        self.watch_expiry(key)
    }

    /// The first of those who wait for a key whose condition holds.
    fn next_heir(&mut self, key: &str) -> Result<Option<u64>, StateError> {
        let bytes = self.value(key)?;
        let value = candidate(key, bytes.as_deref())?;
        let heir = self.state.waits.of_key(key).find(|(_, waiter)| waiter.test.holds(value.as_ref()));
        Ok(heir.map(|(ticket, _)| ticket))
    }

    fn grant_to(&mut self, ticket: u64) -> Result<(), StateError> {
        let row_key = rows::wait(ticket);
        let bytes = self.get(&row_key)?.ok_or_else(|| rows::damaged(&row_key))?;
        let row: WaitRow = rows::decode(&row_key, &bytes)?;
        let (head, message, extras) = read_wait(&row).ok_or_else(|| rows::damaged(&row_key))?;
        self.forget_wait(ticket);
        let condition = extras.condition;
        let number = self.publish(&head, message.payload, Extras { condition: None, packet: None, ..extras })?;
        self.out.later.push(Outcome::Granted { ticket, number });
        if head.retain {
            self.hold(&head, number, message.payload, condition, row.entry);
        }
        Ok(())
    }

    pub fn end_wait(&mut self, ticket: u64, why: WaitEnd) {
        if self.forget_wait(ticket) {
            self.out.later.push(Outcome::Ended { ticket, why });
        }
    }

    fn forget_wait(&mut self, ticket: u64) -> bool {
        let is_there = self.state.remove_wait(ticket);
        if is_there {
            self.remove(rows::wait(ticket));
        }
        is_there
    }

    pub fn cancel(&mut self, realm: &str, session: u64, ticket: u64) -> Done {
        let is_own = |waiter: &Waiter| waiter.session == session && rows::split(&waiter.key).0 == realm;
        if !self.state.waits.get(ticket).is_some_and(is_own) {
            return Done::NotFound;
        }
        self.end_wait(ticket, WaitEnd::Canceled);
        Done::Yes
    }
}

impl Waiter {
    /// What is remembered of a row of so many bytes; `None`: it is damaged.
    pub fn of(row: &WaitRow, bytes: usize) -> Option<Self> {
        let (head, _, extras) = read_wait(row)?;
        Some(Self {
            key: rows::topic_id(head.realm, head.topic).into(),
            session: head.publisher.map_or(0, |session| session.0),
            entry: row.entry,
            test: Test::parse(extras.condition?.when.as_ref()?)?,
            deadline_us: row.deadline_us,
            bytes: bytes + WAITER_BYTES,
        })
    }
}

/// The event of a row of a publish that waits.
fn read_wait(row: &WaitRow) -> Option<(Head<'_>, Message<'_>, Extras)> {
    let Run::Events(head, events) = Runs::new(&row.event).next()?.ok()? else { return None };
    let message = events.iter().next()?.ok()?;
    let extras = message.extras().ok()??;
    // It is published as an event that nobody has to judge any more.
    Some((Head { judged: false, ..head }, message, extras))
}
