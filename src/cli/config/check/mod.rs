//! What the keys of a configuration mean together: safety rules, names that must exist, files that must be readable.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tracing_subscriber::EnvFilter;

use super::schema::File;
use super::setting::Reader;
use super::sources::Sources;
use super::value::{Origin, Problem};
use super::{Config, nearest};
use crate::types::limits::Limits;
use crate::types::payload::Codec;
use crate::types::topic::{MatchPolicy, Topic, TopicPattern};

mod access;
mod authenticate;
mod bridges;
mod credentials;
mod durable;
mod listeners;
mod rules;
mod services;
mod tls;
mod uplinks;

/// The configuration, and all that is wrong with it; it is to be used only if that is nothing.
pub(super) fn check(file: File, reader: Reader) -> (Config, Vec<Problem>) {
    let mut check = Check { origins: reader.origins, problems: Vec::new() };
    let realms = check.realms(&file);
    let uplinks = check.uplinks(&file, &realms);
    let mut durable = check.durable(&file, &realms);
    check.kept_for_uplinks(&file, &uplinks, &mut durable);
    let config = Config {
        sources: Sources::default(),
        listeners: check.listeners(&file, &realms),
        store: check.store(&file),
        durable,
        uplinks,
        log: check.log(&file),
        log_format: file.log_format,
        audit_log: file.audit_log.clone(),
        default_realm: Arc::from(&*file.default_realm),
        auto_realms: file.auto_realms,
        limits: Limits {
            outbox_full: file.limits.outbox_full,
            rate_exceeded: file.limits.rate_exceeded,
            memory_bytes_max: file.limits.memory_max.map(|bytes| bytes.0),
            ..reader.limits
        },
        codecs: check.codecs(&file),
        rules: check.rules(&file, &realms),
        refuse_filters: check.refuse_filters(&file),
        allowed_origins: check.allowed_origins(&file),
        ws_echo: None,
        address_header: file.http.client_address_header,
        services: check.services(&file, &realms),
        allow_networks: check.allow_networks(&file),
        hooks: check.hooks(&file, &realms),
        bridges: check.bridges(&file, &realms),
        users_file: file.users_file.clone(),
        jwt: check.jwt(&file),
        authenticators: check.authenticators(&file, &realms),
        auth_hook: check.auth_hook(&file),
        authorize_hook: check.authorize_hook(&file),
        users: check.users(&file, &realms),
        roles: check.roles(&file, &realms),
        realms: realms.names,
    };
    (config, check.problems)
}

/// Finds what is wrong, and where.
pub(super) struct Check {
    /// Where each key that was said was said.
    pub origins: HashMap<String, Origin>,
    pub problems: Vec<Problem>,
}

/// The realms that exist.
struct Realms {
    /// Each once, the default one first.
    names: Vec<Arc<str>>,
    /// Any other may come to exist.
    auto: bool,
}

impl Check {
    /// Where the key, or else the table around it, was said.
    pub fn origin(&self, key: &str) -> Origin {
        let mut key = key;
        loop {
            if let Some(origin) = self.origins.get(key) {
                return origin.clone();
            }
            let Some(end) = key.rfind(['.', '[']) else { return Origin::Default };
            key = &key[..end];
        }
    }

    pub fn said(&self, key: &str) -> bool {
        self.origins.contains_key(key)
    }

    pub fn wrong(&mut self, key: &str, what: impl Into<String>) {
        self.problems.push(Problem { origin: self.origin(key), key: key.to_owned(), what: what.into() });
    }

    /// A key without which its table means nothing.
    fn required(&mut self, table: &str, name: &str, value: &Option<String>) -> Option<Arc<str>> {
        match value.as_deref() {
            Some("") => self.wrong(&format!("{table}.{name}"), "must not be empty"),
            None => self.wrong(table, format!("{name} is missing")),
            Some(value) => return Some(value.into()),
        }
        None
    }

    fn realms(&mut self, file: &File) -> Realms {
        let mut realms = Realms { names: Vec::new(), auto: file.auto_realms };
        self.add_realm(&mut realms, "default_realm", &file.default_realm);
        let mut listed = HashSet::new();
        for (index, realm) in file.realm.0.iter().enumerate() {
            let table = format!("realm[{index}]");
            let Some(name) = self.required(&table, "name", &realm.name) else { continue };
            if !listed.insert(name.clone()) {
                self.wrong(&format!("{table}.name"), format!("{name:?} is there twice"));
            } else if *name != *file.default_realm {
                self.add_realm(&mut realms, &format!("{table}.name"), &name);
            }
        }
        realms
    }

    fn add_realm(&mut self, realms: &mut Realms, key: &str, name: &str) {
        if let Err(error) = Topic::from_uri(name) {
            self.wrong(key, format!("{name:?} is no realm: it {error}"));
        }
        realms.names.push(name.into());
    }

    fn known_realm(&mut self, realms: &Realms, key: &str, name: &str) {
        if !realms.auto && !realms.names.iter().any(|known| **known == *name) {
            let names = realms.names.iter().map(|name| &**name);
            self.wrong(key, nearest::unknown(&format!("realm {name:?}"), name, names));
        }
    }

    fn log(&mut self, file: &File) -> String {
        const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
        if let Err(error) = EnvFilter::try_new(&file.log) {
            self.wrong("log", format!("{:?} is no log filter: {error}", file.log));
        }
        // A filter takes any single word for a part of the program, and then logs nothing.
        let words = file.log.split(',').map(str::trim);
        for word in words.filter(|word| !word.contains(['=', '[', ':']) && !LEVELS.contains(word) && *word != "fennec")
        {
            self.wrong("log", nearest::unknown(&format!("level {word:?}"), word, LEVELS));
        }
        file.log.clone()
    }

    fn codecs(&mut self, file: &File) -> Vec<(TopicPattern, Codec)> {
        let mut codecs = Vec::new();
        for (index, rule) in file.topic.0.iter().enumerate() {
            let table = format!("topic[{index}]");
            codecs.extend(
                self.pattern(&table, &rule.topic, &rule.uri, rule.r#match).map(|pattern| (pattern, rule.codec)),
            );
        }
        codecs
    }

    /// The pattern of a table that has it in either spelling.
    fn pattern(
        &mut self,
        table: &str,
        topic: &Option<String>,
        uri: &Option<String>,
        policy: MatchPolicy,
    ) -> Option<TopicPattern> {
        let (name, text, read) = match (topic, uri) {
            (Some(topic), None) => ("topic", topic, TopicPattern::from_filter(topic)),
            (None, Some(uri)) => ("uri", uri, TopicPattern::from_uri(uri, policy)),
            (None, None) => {
                self.wrong(table, "topic or uri is missing");
                return None;
            }
            (Some(_), Some(_)) => {
                self.wrong(&format!("{table}.uri"), "says again what topic says: keep one of them");
                return None;
            }
        };
        let policy_key = format!("{table}.match");
        if name == "topic" && self.said(&policy_key) {
            self.wrong(&policy_key, "is for uri only; a topic has its wildcards in it");
        }
        read.map_err(|error| self.wrong(&format!("{table}.{name}"), format!("{text:?} {error}"))).ok()
    }

    fn refuse_filters(&mut self, file: &File) -> Vec<TopicPattern> {
        let mut filters = Vec::new();
        for text in &file.mqtt.refuse_filters {
            match TopicPattern::from_filter(text) {
                Ok(filter) => filters.push(filter),
                Err(error) => self.wrong("mqtt.refuse_filters", format!("{text:?} {error}")),
            }
        }
        filters
    }

    fn allowed_origins(&mut self, file: &File) -> Vec<String> {
        let origins = file.http.allowed_origins.iter();
        for origin in origins.clone().filter(|origin| !is_origin(origin)) {
            let what = format!("{origin:?} is no origin such as \"https://app.example.org\", \"null\" or \"*\"");
            self.wrong("http.allowed_origins", what);
        }
        origins.map(|origin| origin.to_lowercase()).collect()
    }
}

/// Scheme, host and perhaps port, as browsers send them (RFC 6454, 7), or one of the two words.
fn is_origin(text: &str) -> bool {
    let host =
        |text: &str| text.split_once("://").filter(|(scheme, _)| !scheme.is_empty()).map(|(_, host)| host.to_owned());
    matches!(text, "null" | "*")
        || host(text)
            .is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', '*']) && !host.contains(' '))
}
