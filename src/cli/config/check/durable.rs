//! What is kept, where, and for how long.

use std::path::PathBuf;

use super::{Check, Realms};
use crate::cli::config::DurablePolicy;
use crate::cli::config::schema::{self, File};
use crate::router::dealer::is_reserved;
use crate::store::{StoreSettings, StoreUrl};

/// How often the log may be told to be synced: every 10 ms to once an hour.
const SYNC_INTERVAL_MS: std::ops::RangeInclusive<u32> = 10..=3_600_000;

impl Check {
    pub(super) fn store(&mut self, file: &File) -> StoreSettings {
        if !SYNC_INTERVAL_MS.contains(&file.sync_interval_ms) {
            let (min, max) = (SYNC_INTERVAL_MS.start(), SYNC_INTERVAL_MS.end());
            self.wrong("sync_interval_ms", format!("must be from {min} to {max}"));
        }
        StoreSettings {
            url: self.store_url(file),
            sync: file.sync,
            sync_interval_ms: u64::from(file.sync_interval_ms),
            strict: file.strict,
        }
    }

    /// Three keys say where: `memory`, `data` and `store`. What was said last counts: `--data` turns off what the file says of
    /// `memory`. Two in one place contradict each other.
    fn store_url(&mut self, file: &File) -> StoreUrl {
        let folder = |path: &PathBuf| StoreUrl::Folder(path.clone());
        let said = [
            ("memory", file.memory.then_some(StoreUrl::Memory)),
            ("data", self.said("data").then(|| folder(&file.data))),
            ("store", file.store.as_ref().map(|store| store.0.clone())),
        ];
        let mut last: Option<(&str, StoreUrl)> = None;
        for (key, url) in said {
            let Some(url) = url else { continue };
            let priority = self.origin(key).priority();
            match &last {
                Some((other, _)) if self.origin(other).priority() > priority => {}
                Some((other, _)) if self.origin(other).priority() == priority => {
                    let what = format!("says where state is kept, and so does {other}: keep one of them");
                    self.wrong(key, what);
                }
                _ => last = Some((key, url)),
            }
        }
        // `memory = false` in a stronger place takes back what a weaker one says; then it is the default folder.
        last.map_or_else(|| folder(&file.data), |(_, url)| url)
    }

    pub(super) fn durable(&mut self, file: &File, realms: &Realms) -> Vec<DurablePolicy> {
        let mut policies: Vec<DurablePolicy> = Vec::new();
        for (index, durable) in file.durable.0.iter().enumerate() {
            let table = format!("durable[{index}]");
            if let Some(policy) = self.durable_policy(realms, &table, durable) {
                let is_same = |other: &DurablePolicy| other.pattern == policy.pattern && other.realm == policy.realm;
                if policies.iter().any(is_same) {
                    self.wrong(&table, "its pattern is there twice");
                }
                policies.push(policy);
            }
        }
        policies
    }

    fn durable_policy(&mut self, realms: &Realms, table: &str, durable: &schema::Durable) -> Option<DurablePolicy> {
        if let Some(realm) = &durable.realm {
            self.known_realm(realms, &format!("{table}.realm"), realm);
        }
        let bounds = [
            ("max_age_s", Some(u64::from(durable.max_age_s))),
            ("max_bytes", Some(durable.max_bytes.0)),
            ("max_messages", durable.max_messages),
        ];
        for (name, _) in bounds.into_iter().filter(|(_, bound)| *bound == Some(0)) {
            self.wrong(&format!("{table}.{name}"), "must be at least 1: leave the table out to keep nothing");
        }
        let pattern = self.pattern(table, &durable.topic, &durable.uri, durable.r#match)?;
        if is_reserved(&pattern) {
            let name = if durable.topic.is_some() { "topic" } else { "uri" };
            self.wrong(&format!("{table}.{name}"), "belongs to the broker: its events are never kept");
        }
        Some(DurablePolicy {
            pattern,
            realm: durable.realm.as_deref().map(Into::into),
            max_age_s: u64::from(durable.max_age_s),
            max_bytes: durable.max_bytes.0,
            max_messages: durable.max_messages,
        })
    }
}
