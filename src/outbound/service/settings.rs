//! What a service is, beside its id, its realm and its topics.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use hyper::Uri;
use serde::{Deserialize, Serialize};

use crate::http::signature::Secret;
use crate::types::topic::Topic;

/// Bounds of an id, and of a URL.
const ID_BYTES_MAX: usize = 100;
const URL_BYTES_MAX: usize = 2000;

pub const EVENTS_MAX: u32 = 100;
pub const BYTES_MAX: u32 = 1024 * 1024;
pub const LINGER_MS: u32 = 50;
pub const TIMEOUT_S: u32 = 60;

/// See the module. Kept as JSON in the log's state, with its token and its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSettings {
    /// `http` or `https`; transactions go to `/transactions/{id}` below it.
    pub url: String,
    /// Sent as `Authorization: Bearer …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Key of the signature (Standard Webhooks), as `whsec_…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Bounds of a transaction: events, and bytes of their topics and payloads.
    pub events_max: u32,
    pub bytes_max: u32,
    /// How long events gather between two transactions that are not full; 1 s at most.
    pub linger_ms: u32,
    /// How long the service may take to answer.
    pub timeout_s: u32,
    /// Where events go that the service refuses, as an MQTT topic name.
    pub dead_letter: String,
    /// PEM file of the authorities that are believed, instead of those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    #[serde(default)]
    pub paused: bool,
    /// It is in the configuration: it may be anywhere in the network, and goes when it is not there any more.
    #[serde(default)]
    pub configured: bool,
}

/// What is wrong with a service, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} {what}")]
pub struct Wrong {
    pub key: &'static str,
    pub what: String,
}

fn wrong(key: &'static str, what: impl Into<String>) -> Wrong {
    Wrong { key, what: what.into() }
}

/// # Errors
/// It is not what an id is.
pub fn check_id(id: &str) -> Result<(), Wrong> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if id.is_empty() || id.len() > ID_BYTES_MAX || !id.bytes().all(good) {
        let what = format!("must be 1 to {ID_BYTES_MAX} letters, digits, '-', '_' or '.'");
        return Err(wrong("id", what));
    }
    Ok(())
}

impl ServiceSettings {
    /// A service at a URL, with defaults for all else.
    pub fn new(id: &str, url: String) -> Self {
        Self {
            url,
            token: None,
            secret: None,
            events_max: EVENTS_MAX,
            bytes_max: BYTES_MAX,
            linger_ms: LINGER_MS,
            timeout_s: TIMEOUT_S,
            dead_letter: format!("dead/service/{id}"),
            ca: None,
            paused: false,
            configured: false,
        }
    }

    /// # Errors
    /// The first thing that cannot be.
    pub fn check(&self) -> Result<(), Wrong> {
        check_url(&self.url)?;
        if let Some(secret) = &self.secret {
            Secret::parse(secret).map_err(|error| wrong("secret", error.to_string()))?;
        }
        if self
            .token
            .as_deref()
            .is_some_and(|token| token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(wrong("token", "must be visible ASCII without spaces"));
        }
        for (key, value, range) in [
            ("events_max", self.events_max, 1..=10_000),
            ("bytes_max", self.bytes_max, 1..=16 * 1024 * 1024),
            ("linger_ms", self.linger_ms, 0..=1000),
            ("timeout_s", self.timeout_s, 1..=600),
        ] {
            if !range.contains(&value) {
                return Err(wrong(key, format!("must be from {} to {}", range.start(), range.end())));
            }
        }
        let topic = Topic::from_name(&self.dead_letter).map_err(|error| wrong("dead_letter", error.to_string()))?;
        if topic.is_reserved() {
            return Err(wrong("dead_letter", "is a topic of the broker's own"));
        }
        Ok(())
    }

    pub fn to_bytes(&self) -> Bytes {
        // Plain values have a form in JSON.
        serde_json::to_vec(self).map(Bytes::from).unwrap_or_default()
    }

    /// # Errors
    /// It was not written by [`ServiceSettings::to_bytes`], or by another version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_s.into())
    }
}

fn check_url(url: &str) -> Result<(), Wrong> {
    if url.len() > URL_BYTES_MAX {
        return Err(wrong("url", format!("must not have more than {URL_BYTES_MAX} bytes")));
    }
    let uri: Uri = url.parse().map_err(|error| wrong("url", format!("is no URL: {error}")))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(wrong("url", "must begin with http:// or https://"));
    }
    let authority = uri.authority().ok_or_else(|| wrong("url", "has no host"))?;
    if authority.as_str().contains('@') {
        return Err(wrong("url", "must not hold a user: use token or secret"));
    }
    if authority.host().is_empty() {
        return Err(wrong("url", "has no host"));
    }
    if uri.query().is_some() || url.contains('#') {
        return Err(wrong("url", "must not have a query or a fragment: /transactions/{id} is put behind it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(url: &str) -> ServiceSettings {
        ServiceSettings::new("a", url.to_owned())
    }

    #[track_caller]
    fn check(settings: &ServiceSettings, expected: &str) {
        let found = settings.check().map_or_else(|wrong| wrong.to_string(), |()| "good".to_owned());
        assert!(found.starts_with(expected), "{found}");
    }

    #[test]
    fn urls_are_http_with_a_host_and_nothing_behind_the_path() {
        for good in ["http://localhost:8080", "https://example.org/hooks/a", "http://[::1]:80/x"] {
            check(&service(good), "good");
        }
        for bad in ["", "example.org", "ftp://a", "http://", "http://u:p@a/", "http://a/?x=1", "http://a/#x"] {
            check(&service(bad), "url ");
        }
        check(&service(&format!("http://a/{}", "x".repeat(3000))), "url must not have more");
    }

    #[test]
    fn every_bound_names_its_key() {
        let good = service("http://a");
        check(&ServiceSettings { events_max: 0, ..good.clone() }, "events_max must be from 1 to 10000");
        check(&ServiceSettings { bytes_max: u32::MAX, ..good.clone() }, "bytes_max");
        check(&ServiceSettings { linger_ms: 1001, ..good.clone() }, "linger_ms must be from 0 to 1000");
        check(&ServiceSettings { timeout_s: 0, ..good.clone() }, "timeout_s");
        check(
            &ServiceSettings { dead_letter: "$SYS/x".into(), ..good.clone() },
            "dead_letter is a topic of the broker",
        );
        check(&ServiceSettings { dead_letter: "a/#".into(), ..good.clone() }, "dead_letter");
        check(&ServiceSettings { token: Some("a b".into()), ..good.clone() }, "token");
        check(&ServiceSettings { secret: Some("short".into()), ..good }, "secret");
    }

    #[test]
    fn ids_are_plain() {
        assert!(["a", "a-b_c.1"].iter().all(|id| check_id(id).is_ok()));
        assert!(["", "a/b", "a b", "ä"].iter().all(|id| check_id(id).is_err()));
        assert!(check_id(&"x".repeat(101)).is_err());
    }

    #[test]
    fn settings_are_read_as_they_were_written() {
        let settings = ServiceSettings { paused: true, secret: Some("whsec_AAAA".into()), ..service("http://a") };
        assert_eq!(ServiceSettings::from_bytes(&settings.to_bytes()).unwrap(), settings);
        assert!(ServiceSettings::from_bytes(b"").is_err());
    }
}
