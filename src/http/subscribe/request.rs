//! What `GET /subscribe` is asked for.

use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};

use crate::http::answer::Failure;
use crate::http::fields::parameters;
use crate::node::past::Since;
use crate::types::fields::Fields;
use crate::types::topic::{MatchPolicy, TopicError, TopicPattern};

/// What a browser has seen before its connection broke (WHATWG HTML, 9.2.4).
pub static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

const KNOWN: &str = "topic, match, mqtt_topic, realm, retained, filter, after, rewind, snapshot, durable";

/// What is to be subscribed to.
#[derive(Debug, Default, PartialEq)]
pub struct Request {
    pub realm: Option<String>,
    pub patterns: Vec<TopicPattern>,
    /// Retained values come first.
    pub retained: bool,
    /// Older events come first.
    pub since: Option<Since>,
    /// It ends with what is there.
    pub snapshot: bool,
    /// Name of the durable subscription that it is.
    pub durable: Option<Arc<str>>,
    /// Only events with these fields.
    pub filter: Option<Arc<Fields>>,
}

impl Request {
    /// Reads the query. `topic` (a URI, read by `match`) and `mqtt_topic` (a filter) may be there several times. What the client
    /// has seen counts more than what its URL, which stays the same, says of the past.
    ///
    /// # Errors
    /// A parameter is unknown or wrong, there is no topic, or what is asked for does not go together.
    pub fn read(query: &str, last_event_id: Option<&HeaderValue>) -> Result<Self, Failure> {
        let parameters = parameters(query)?;
        let policy = parameters.iter().rev().find(|(name, _)| name == "match").map(|(_, value)| value.parse());
        let policy: MatchPolicy =
            policy.transpose().map_err(|error| Failure::Invalid(format!("{error}")))?.unwrap_or_default();
        let mut request = Self::default();
        for (name, value) in parameters {
            request.set(&name, value, policy)?;
        }
        if let Some(seen) = last_event_id.filter(|seen| !seen.is_empty()) {
            let text = seen.to_str().unwrap_or_default();
            request.since = Some(after("Last-Event-ID", text)?);
        }
        request.check()?;
        Ok(request)
    }

    fn set(&mut self, name: &str, value: String, policy: MatchPolicy) -> Result<(), Failure> {
        match name {
            "topic" => self.add("topic", TopicPattern::from_uri(&value, policy))?,
            "mqtt_topic" => self.add("mqtt_topic", TopicPattern::from_filter(&value))?,
            "realm" => self.realm = Some(value),
            "retained" => self.retained = is_true("retained", &value)?,
            "snapshot" => self.snapshot = is_true("snapshot", &value)?,
            "after" => self.set_since(after("after", &value)?)?,
            "rewind" => {
                let count = value.parse().map(Since::Last);
                self.set_since(count.map_err(|_| Failure::Invalid("rewind must be a number of events".to_owned()))?)?;
            }
            "durable" if (1..=256).contains(&value.len()) && !value.contains('\0') => self.durable = Some(value.into()),
            "durable" => return Err(Failure::Invalid("durable must be a name of 1 to 256 bytes".to_owned())),
            "filter" => {
                let fields = Fields::parse(&value).map(Arc::new);
                self.filter =
                    Some(fields.ok_or_else(|| Failure::Invalid("filter must be a JSON object of fields".to_owned()))?);
            }
            "match" => {}
            _ => return Err(Failure::Invalid(format!("there is no parameter {name:?}; there are {KNOWN}"))),
        }
        Ok(())
    }

    fn set_since(&mut self, since: Since) -> Result<(), Failure> {
        match self.since.replace(since) {
            None => Ok(()),
            Some(_) => Err(Failure::Invalid("after and rewind exclude each other".to_owned())),
        }
    }

    fn add(&mut self, field: &'static str, pattern: Result<TopicPattern, TopicError>) -> Result<(), Failure> {
        let pattern = pattern.map_err(|error| Failure::InvalidTopic { field, error })?;
        if !self.patterns.contains(&pattern) {
            self.patterns.push(pattern);
        }
        Ok(())
    }

    /// Whether the subscription is one of its own, not the copies of several topics put together.
    pub fn is_single(&self) -> bool {
        self.snapshot || self.durable.is_some() || self.filter.is_some()
    }

    fn check(&self) -> Result<(), Failure> {
        let wrong = match () {
            () if self.patterns.is_empty() => "topic is missing: /subscribe?topic=app.topic",
            () if self.is_single() && self.patterns.len() > 1 => "filter, snapshot and durable are for one topic only",
            () if self.snapshot && self.durable.is_some() => "snapshot and durable exclude each other",
            () if self.snapshot && self.since.is_none() && !self.retained => {
                "a snapshot needs one of after, rewind and retained"
            }
            () => return Ok(()),
        };
        Err(Failure::Invalid(wrong.to_owned()))
    }
}

fn after(name: &str, text: &str) -> Result<Since, Failure> {
    Since::after_text(text).map_err(|error| Failure::Invalid(format!("{name} {error}")))
}

fn is_true(name: &str, value: &str) -> Result<bool, Failure> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Failure::Invalid(format!("{name} must be true or false"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ids::PublicationId;

    #[track_caller]
    fn check(query: &str, expected: &[(&str, MatchPolicy)]) {
        let patterns = expected.iter().map(|(uri, policy)| TopicPattern::from_uri(uri, *policy).expect("a pattern"));
        let request = Request::read(query, None).map(|request| request.patterns);
        assert_eq!(request, Ok(patterns.collect()), "{query:?}");
    }

    #[test]
    fn topics_are_read_as_their_match_says() {
        check("topic=a.b", &[("a.b", MatchPolicy::Exact)]);
        check("topic=a.b&match=prefix", &[("a.b", MatchPolicy::Prefix)]);
        check("match=wildcard&topic=a..c", &[("a..c", MatchPolicy::Wildcard)]);
        check("topic=a.%23", &[("a.#", MatchPolicy::Exact)]);
        check("mqtt_topic=a/%2B/c&topic=x&topic=x", &[("a.*.c", MatchPolicy::Fox), ("x", MatchPolicy::Exact)]);
    }

    #[test]
    fn what_was_seen_counts_more_than_the_url() {
        let seen = HeaderValue::from_static("2611220618a1a1");
        let since = |query, seen| Request::read(query, seen).expect("a request").since;
        assert_eq!(since("topic=a", None), None);
        assert_eq!(since("topic=a&rewind=3", None), Some(Since::Last(3)));
        assert_eq!(since("topic=a&after=17", None), Some(Since::Publication(PublicationId(17))));
        assert_eq!(since("topic=a&after=1970-01-01T00:00:01Z", None), Some(Since::Time(1_000_000)));
        let event = "2611220618a1a1".parse().map(Since::Event).ok();
        assert_eq!(since("topic=a&rewind=3", Some(&seen)), event);
        assert_eq!(since("topic=a&rewind=3", Some(&HeaderValue::from_static(""))), Some(Since::Last(3)));
    }

    #[test]
    fn a_wrong_query_is_refused() {
        for query in [
            "",
            "topic=",
            "topic=a..b",
            "topic=a&match=no",
            "topics=a",
            "mqtt_topic=a%23",
            "topic=a&retained=x",
            "topic=a&after=yesterday",
            "topic=a&after=1&rewind=1",
            "topic=a&rewind=-1",
            "topic=a&snapshot=true",
            "topic=a&snapshot=true&rewind=1&durable=d",
            "topic=a&topic=b&durable=d",
            "topic=a&topic=b&filter={}",
            "topic=a&filter=[]",
            "topic=a&durable=",
        ] {
            assert!(Request::read(query, None).is_err(), "{query:?}");
        }
    }
}
