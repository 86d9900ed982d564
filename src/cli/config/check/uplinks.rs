//! Uplinks of this broker to central ones.

use std::fs;
use std::sync::Arc;

use super::{Check, Realms};
use crate::cli::config::DurablePolicy;
use crate::cli::config::schema::{self, File};
use crate::client::tls::Trust;
use crate::client::url::{Protocol, Url};
use crate::outbound::uplink::Uplink;
use crate::outbound::uplink::machine::pace::Timing;
use crate::outbound::uplink::machine::sender::Bounds;
use crate::router::dealer::is_reserved;
use crate::types::topic::{Topic, TopicPattern};

/// Patterns that one uplink may have in each direction.
const PATTERNS_MAX: usize = 64;
/// Messages of one batch: more would not fit into what is recorded of them.
const BATCH_MESSAGES: std::ops::RangeInclusive<u32> = 1..=1000;

impl Check {
    pub(super) fn uplinks(&mut self, file: &File, realms: &Realms) -> Vec<Uplink> {
        let mut uplinks: Vec<Uplink> = Vec::new();
        for (index, uplink) in file.uplink.0.iter().enumerate() {
            let table = format!("uplink[{index}]");
            if let Some(uplink) = self.uplink(file, realms, &table, uplink) {
                if uplinks.iter().any(|other| other.id == uplink.id) {
                    self.wrong(&format!("{table}.id"), format!("{:?} is there twice", uplink.id));
                }
                uplinks.push(uplink);
            }
        }
        uplinks
    }

    /// What uplinks send is kept in the log, unless `[[durable]]` says how.
    pub(super) fn kept_for_uplinks(&self, file: &File, uplinks: &[Uplink], policies: &mut Vec<DurablePolicy>) {
        for uplink in uplinks {
            let Some(said) = file.uplink.0.iter().find(|said| said.id.as_deref() == Some(&*uplink.id)) else {
                continue;
            };
            for pattern in &uplink.topics {
                let realm = Some(uplink.realm.clone());
                let is_same = |other: &DurablePolicy| other.pattern == *pattern && other.realm == realm;
                if policies.iter().any(is_same) {
                    continue;
                }
                policies.push(DurablePolicy {
                    pattern: pattern.clone(),
                    realm,
                    max_age_s: u64::from(said.max_age_s).max(1),
                    max_bytes: said.max_bytes.0.max(1),
                    max_messages: None,
                });
            }
        }
    }

    fn uplink(&mut self, file: &File, realms: &Realms, table: &str, uplink: &schema::Uplink) -> Option<Uplink> {
        let key = |name: &str| format!("{table}.{name}");
        let id = self.required(table, "id", &uplink.id);
        if id.as_ref().is_some_and(|id| id.contains('/') || id.len() > 128 || id.chars().any(char::is_control)) {
            self.wrong(&key("id"), "must be at most 128 bytes, without '/' and control characters");
        }
        let realm: Arc<str> = uplink.realm.as_deref().unwrap_or(&file.default_realm).into();
        if uplink.realm.is_some() {
            self.known_realm(realms, &key("realm"), &realm);
        }
        let centre_realm = uplink.centre_realm.clone().unwrap_or_else(|| realm.to_string());
        if let Err(error) = Topic::from_uri(&centre_realm) {
            self.wrong(&key("centre_realm"), format!("{centre_realm:?} is no realm: it {error}"));
        }
        let url = self.required(table, "url", &uplink.url).and_then(|text| {
            let read = Url::parse(&text, Protocol::Wamp);
            read.map_err(|error| self.wrong(&key("url"), error.to_string())).ok()
        });
        let topics = self.uplink_patterns(&key("topics"), &uplink.topics);
        let receive = self.uplink_patterns(&key("receive"), &uplink.receive);
        if uplink.topics.is_empty() && uplink.receive.is_empty() {
            self.wrong(table, "topics is missing: nothing would be sent");
        }
        self.uplink_bounds(table, uplink);
        Some(Uplink {
            id: id?.to_string(),
            realm,
            url: url?,
            centre_realm,
            user: uplink.user.clone(),
            password: self.uplink_password(table, uplink),
            trust: uplink.ca.clone().map_or(Trust::System, Trust::File),
            topics,
            receive,
            bounds: Bounds {
                messages_max: uplink.batch_messages as usize,
                bytes_max: usize::try_from(uplink.batch_bytes.0).unwrap_or(usize::MAX),
                live_percent: u8::try_from(uplink.live_percent).unwrap_or(100),
                age_us_max: Some(u64::from(uplink.max_age_s).saturating_mul(1_000_000)),
            },
            timing: Timing {
                spacing_ms: uplink.spacing_ms.into(),
                heartbeat_ms: u64::from(uplink.heartbeat_s) * 1000,
                backoff_ms_max: u64::from(uplink.backoff_max_s) * 1000,
                bytes_per_s: uplink.bytes_per_s.map(|bytes| bytes.0),
                ..Timing::default()
            },
        })
    }

    fn uplink_bounds(&mut self, table: &str, uplink: &schema::Uplink) {
        if !BATCH_MESSAGES.contains(&uplink.batch_messages) {
            let (min, max) = (BATCH_MESSAGES.start(), BATCH_MESSAGES.end());
            self.wrong(&format!("{table}.batch_messages"), format!("must be from {min} to {max}"));
        }
        if uplink.live_percent > 100 {
            self.wrong(&format!("{table}.live_percent"), "must be from 0 to 100");
        }
        let bounds = [
            ("batch_bytes", uplink.batch_bytes.0),
            ("bytes_per_s", uplink.bytes_per_s.map_or(1, |bytes| bytes.0)),
            ("max_age_s", uplink.max_age_s.into()),
            ("max_bytes", uplink.max_bytes.0),
            ("heartbeat_s", uplink.heartbeat_s.into()),
            ("backoff_max_s", uplink.backoff_max_s.into()),
        ];
        for (name, _) in bounds.into_iter().filter(|(_, bound)| *bound == 0) {
            self.wrong(&format!("{table}.{name}"), "must be at least 1");
        }
    }

    fn uplink_patterns(&mut self, key: &str, texts: &[String]) -> Vec<TopicPattern> {
        let mut patterns: Vec<TopicPattern> = Vec::new();
        if texts.len() > PATTERNS_MAX {
            self.wrong(key, format!("there may be at most {PATTERNS_MAX}"));
        }
        for text in texts {
            match TopicPattern::from_filter(text) {
                Ok(pattern) if is_reserved(&pattern) => {
                    self.wrong(key, format!("{text:?} belongs to the broker: it is never sent"));
                }
                Ok(pattern) if patterns.contains(&pattern) => self.wrong(key, format!("{text:?} is there twice")),
                Ok(pattern) => patterns.push(pattern),
                Err(error) => self.wrong(key, format!("{text:?} {error}")),
            }
        }
        patterns
    }

    fn uplink_password(&mut self, table: &str, uplink: &schema::Uplink) -> Option<String> {
        let Some(path) = &uplink.password_file else { return uplink.password.clone() };
        let key = format!("{table}.password_file");
        if uplink.password.is_some() {
            self.wrong(&key, "says again what password says: keep one of them");
        }
        match fs::read_to_string(path) {
            Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) => {
                self.wrong(&key, format!("cannot read {}: {error}", path.display()));
                None
            }
        }
    }
}
