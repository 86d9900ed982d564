//! `fennec.service.*`: services are listed, added, removed, tried, moved, paused at run time.
//!
//! What is asked for goes through the log, so it does not matter which entry of a cluster is asked. Who may call these procedures is
//! a matter of roles; who adds a service must be allowed to subscribe to its topics, too.

use std::sync::{Arc, Weak};

use tokio::runtime::Handle;

use super::PREFIX;
use super::board::Board;
use super::machine::Stored;
use super::settings::{ServiceSettings, Wrong, check_id};
use crate::node::Node;
use crate::node::consumer::{ConsumerError, ConsumerInfo};
use crate::node::house::{Failure, Guest, GuestCall, NamedArguments};
use crate::node::log::ClockFn;
use crate::node::past::{Since, Target};
use crate::queue::state::rows;
use crate::router::authorize::Action;
use crate::types::time::rfc3339;
use crate::types::topic::{MatchPolicy, TopicPattern};
use crate::types::value::Value;

/// Services that may be there.
const SERVICES_MAX: usize = 10_000;
const TOPICS_MAX: usize = 100;
const PROCEDURES: [&str; 7] = [
    "fennec.service.list",
    "fennec.service.add",
    "fennec.service.remove",
    "fennec.service.retry",
    "fennec.service.replay",
    "fennec.service.pause",
    "fennec.service.resume",
];

/// See the module.
pub struct Admin {
    node: Arc<Node>,
    board: Arc<Board>,
    clock: ClockFn,
}

impl From<ConsumerError> for Failure {
    fn from(error: ConsumerError) -> Self {
        match error {
            ConsumerError::NotFound => no_such_service(),
            ConsumerError::TooLarge => Failure::invalid(error.to_string()),
            _ => Failure::new("fennec.error.store_unavailable", error.to_string()),
        }
    }
}

impl From<Wrong> for Failure {
    fn from(wrong: Wrong) -> Self {
        Failure::invalid(wrong.to_string())
    }
}

fn no_such_service() -> Failure {
    Failure::new("fennec.error.no_such_service", "there is no service of this id")
}

fn id(given: &mut NamedArguments) -> Result<String, Failure> {
    let id = given.required("id")?;
    check_id(&id)?;
    Ok(id)
}

/// Where calls of one procedure come in.
struct Entrance {
    admin: Weak<Admin>,
    runtime: Handle,
}

impl Guest for Entrance {
    fn take(&self, call: GuestCall) {
        if let Some(admin) = self.admin.upgrade() {
            self.runtime.spawn(async move { admin.handle(call).await });
        }
    }
}

impl Admin {
    pub fn new(node: Arc<Node>, board: Arc<Board>, clock: ClockFn) -> Arc<Self> {
        Arc::new(Self { node, board, clock })
    }

    /// Answers the procedures, with tasks of this runtime.
    pub fn install(self: &Arc<Self>, runtime: &Handle) {
        for procedure in PROCEDURES {
            let entrance = Entrance { admin: Arc::downgrade(self), runtime: runtime.clone() };
            self.node.offer(procedure, Arc::new(entrance));
        }
    }

    async fn handle(&self, call: GuestCall) {
        let answer = match call.procedure() {
            "fennec.service.list" => self.list(&call).await,
            "fennec.service.add" => self.add(&call).await,
            "fennec.service.remove" => self.remove(&call).await,
            "fennec.service.retry" => self.retry(&call).await,
            "fennec.service.replay" => self.replay(&call).await,
            "fennec.service.pause" => self.pause(&call, true).await,
            "fennec.service.resume" => self.pause(&call, false).await,
            _ => return,
        };
        call.answer(answer);
    }

    async fn list(&self, call: &GuestCall) -> Result<Value, Failure> {
        let mut given = call.named("id")?;
        let only = given.text("id")?;
        given.end()?;
        let mut services = Vec::new();
        for info in self.node.consumers.list(PREFIX) {
            let id = info.name.strip_prefix(PREFIX).unwrap_or_default();
            if *info.realm == *call.realm().name && only.as_deref().is_none_or(|only| only == id) {
                // One that was removed just now is not there.
                services.extend(self.entry(id, &info).await);
            }
        }
        if only.is_some() && services.is_empty() {
            return Err(no_such_service());
        }
        Ok(Value::map([("services", Value::List(services))]))
    }

    async fn entry(&self, id: &str, info: &ConsumerInfo) -> Option<Value> {
        let place = self.node.consumer_place(&info.realm, &info.name).await.ok()?;
        let stored: Stored = serde_json::from_slice(&place.state).unwrap_or_default();
        let settings = ServiceSettings::from_bytes(&info.row.settings).ok()?;
        let seen = self.board.get(&info.realm, &info.name);
        let topics = info.row.patterns.iter().map(|text| Value::from(spelt(text))).collect();
        let status = seen.as_ref().map_or(stored.status, |seen| seen.status);
        let status = if settings.paused { "paused" } else { status.name() };
        let mut entry = vec![
            ("id", Value::from(id)),
            ("url", Value::from(settings.url.as_str())),
            ("topics", Value::List(topics)),
            ("status", Value::from(status)),
            ("attempts", Value::from(u64::from(seen.as_ref().map_or(stored.attempts, |seen| seen.attempts)))),
            ("dead_letters", Value::from(stored.buried)),
            ("configured", Value::Bool(settings.configured)),
            ("signed", Value::Bool(settings.secret.is_some())),
        ];
        if stored.since_ms > 0 {
            entry.push(("since", Value::from(rfc3339(stored.since_ms * 1000))));
        }
        let error = seen.as_ref().map_or(&stored.last_error, |seen| &seen.last_error);
        entry.extend(error.as_deref().map(|error| ("error", Value::from(error))));
        if let Some(seen) = &seen {
            let (lag, now_ms) = (self.node.consumers.lag(&info.realm, &info.name), (self.clock)());
            let age_s = lag.oldest_us.map_or(0, |us| now_ms.saturating_sub(us / 1000) / 1000);
            entry.push(("lag", Value::from(lag.events)));
            entry.push(("lag_s", Value::from(age_s)));
            entry.push(("sent", Value::from(seen.events)));
            entry.push(("lost", Value::from(seen.lost)));
            if seen.next_try_ms > now_ms {
                entry.push(("next_try", Value::from(rfc3339(seen.next_try_ms * 1000))));
            }
        }
        Some(Value::map(entry))
    }

    /// Adds a service, or changes one that was added.
    async fn add(&self, call: &GuestCall) -> Result<Value, Failure> {
        let mut given = call.named("id")?;
        let id = id(&mut given)?;
        let name = format!("{PREFIX}{id}");
        let known = self.node.consumers.info(&call.realm().name, &name);
        let before = known.as_ref().and_then(|known| ServiceSettings::from_bytes(&known.row.settings).ok());
        if before.as_ref().is_some_and(|before| before.configured) {
            return Err(Failure::new(
                "fennec.error.configured",
                "this service is in the configuration: change it there",
            ));
        }
        if known.is_none() && self.node.consumers.list(PREFIX).len() >= SERVICES_MAX {
            return Err(Failure::new("fennec.error.quota_exceeded", "there are as many services as may be"));
        }
        let url = given.required("url")?;
        let mut settings = ServiceSettings::new(&id, url);
        settings.paused = before.is_some_and(|before| before.paused);
        (settings.token, settings.secret) = (given.text("token")?, given.text("secret")?);
        given.uint("events_max", &mut settings.events_max)?;
        given.uint("bytes_max", &mut settings.bytes_max)?;
        given.uint("linger_ms", &mut settings.linger_ms)?;
        given.uint("timeout_s", &mut settings.timeout_s)?;
        if let Some(uri) = given.text("dead_letter")? {
            let topic = crate::types::topic::Topic::from_uri(&uri);
            settings.dead_letter =
                topic.map_err(|error| Failure::invalid(format!("dead_letter {error}")))?.name().to_owned();
        }
        let topics = given.texts("topics")?;
        given.end()?;
        settings.check()?;
        let patterns = Self::patterns(call, &topics)?;
        self.node.set_consumer(&call.realm().name, &name, &patterns, settings.to_bytes(), None).await?;
        Ok(Value::map([("id", Value::from(id))]))
    }

    fn patterns(call: &GuestCall, topics: &[String]) -> Result<Vec<TopicPattern>, Failure> {
        if topics.is_empty() || topics.len() > TOPICS_MAX {
            return Err(Failure::invalid(format!("topics must be a list of 1 to {TOPICS_MAX} patterns")));
        }
        let mut patterns = Vec::new();
        for text in topics {
            let pattern = TopicPattern::from_uri(text, MatchPolicy::Fox);
            let pattern = pattern.map_err(|error| Failure::invalid(format!("the topic {text:?} {error}")))?;
            if !call.may_all(Action::Subscribe, &pattern) {
                return Err(Failure::new(
                    "wamp.error.not_authorized",
                    format!("not authorized to subscribe to {text}"),
                ));
            }
            patterns.push(pattern);
        }
        Ok(patterns)
    }

    async fn remove(&self, call: &GuestCall) -> Result<Value, Failure> {
        let (name, info) = self.named(call, |_| Ok(()))?;
        if ServiceSettings::from_bytes(&info.row.settings).is_ok_and(|settings| settings.configured) && self.is_alone()
        {
            return Err(Failure::new(
                "fennec.error.configured",
                "this service is in the configuration: remove it there",
            ));
        }
        self.node.remove_consumer(&call.realm().name, &name).await?;
        Ok(Value::Null)
    }

    fn is_alone(&self) -> bool {
        self.node.entry.get().is_none()
    }

    async fn retry(&self, call: &GuestCall) -> Result<Value, Failure> {
        let (name, _) = self.named(call, |_| Ok(()))?;
        self.node.nudge_consumer(&call.realm().name, &name).await?;
        Ok(Value::Null)
    }

    /// Moves a service to behind an event, or to a time.
    async fn replay(&self, call: &GuestCall) -> Result<Value, Failure> {
        let mut since = None;
        let (name, info) = self.named(call, |given| {
            let after = given.required("after")?;
            since = Some(Since::after_text(&after).map_err(|error| Failure::invalid(format!("after {error}")))?);
            Ok(())
        })?;
        let since = since.ok_or_else(|| Failure::invalid("the argument after is missing"))?;
        let pattern =
            info.row.patterns.first().and_then(|text| rows::read_pattern(text)).ok_or_else(no_such_service)?;
        let target = Target { realm: call.realm().name.clone(), pattern, filter: None };
        let (tell, told) = tokio::sync::oneshot::channel();
        let found = move |_: &Arc<Node>, found| drop(tell.send(found));
        self.node
            .find_since(target, since, found)
            .map_err(|busy| Failure::new("wamp.error.unavailable", busy.to_string()))?;
        let found = told.await.map_err(|_| Failure::new("wamp.error.unavailable", "the broker stops"))?;
        let found = found.map_err(|error| Failure::new("fennec.error.store_unavailable", error.to_string()))?;
        self.node.move_consumer(&call.realm().name, &name, found.after).await?;
        Ok(Value::map([("recovered", Value::Bool(found.recovered))]))
    }

    async fn pause(&self, call: &GuestCall, paused: bool) -> Result<Value, Failure> {
        let (name, info) = self.named(call, |_| Ok(()))?;
        let settings = ServiceSettings::from_bytes(&info.row.settings);
        let settings = settings.map_err(|error| Failure::new("wamp.error.unavailable", error.to_string()))?;
        let settings = ServiceSettings { paused, ..settings };
        let patterns: Vec<_> = info.row.patterns.iter().filter_map(|text| rows::read_pattern(text)).collect();
        self.node.set_consumer(&call.realm().name, &name, &patterns, settings.to_bytes(), None).await?;
        Ok(Value::Null)
    }

    /// The consumer of the service that a call names.
    fn named(
        &self,
        call: &GuestCall,
        more: impl FnOnce(&mut NamedArguments) -> Result<(), Failure>,
    ) -> Result<(String, ConsumerInfo), Failure> {
        let mut given = call.named("id")?;
        let name = format!("{PREFIX}{}", id(&mut given)?);
        more(&mut given)?;
        given.end()?;
        let info = self.node.consumers.info(&call.realm().name, &name).ok_or_else(no_such_service)?;
        Ok((name, info))
    }
}

/// A stored pattern as WAMP writes it.
fn spelt(text: &str) -> String {
    rows::read_pattern(text).map_or_else(|| text.to_owned(), |pattern| pattern.uri().0)
}
