//! Services and hooks: what is sent to other HTTP servers, and what they post here.

use std::collections::HashSet;

use super::{Check, Realms};
use crate::cli::config::schema::{self, File};
use crate::http::hooks::{Hook, Proof, is_name};
use crate::http::signature::Secret;
use crate::outbound::service::Configured;
use crate::outbound::service::address::Network;
use crate::outbound::service::settings::{ServiceSettings, check_id};
use crate::types::topic::{MatchPolicy, Topic, TopicPattern};

impl Check {
    pub(super) fn services(&mut self, file: &File, realms: &Realms) -> Vec<Configured> {
        let mut services: Vec<Configured> = Vec::new();
        for (index, service) in file.service.0.iter().enumerate() {
            let table = format!("service[{index}]");
            let Some(service) = self.service(file, realms, &table, service) else { continue };
            if services.iter().any(|other| (&other.id, &other.realm) == (&service.id, &service.realm)) {
                self.wrong(&format!("{table}.id"), format!("{:?} is there twice", service.id));
            }
            services.push(service);
        }
        services
    }

    fn service(&mut self, file: &File, realms: &Realms, table: &str, service: &schema::Service) -> Option<Configured> {
        let id = self.required(table, "id", &service.id);
        let url = self.required(table, "url", &service.url);
        let patterns = self.patterns(table, service);
        let realm = self.realm_of(file, realms, table, service.realm.as_ref());
        let (id, url) = (id?, url?);
        if let Err(wrong) = check_id(&id) {
            self.wrong(&format!("{table}.id"), wrong.what);
        }
        let mut settings = ServiceSettings::new(&id, url.to_string());
        (settings.token, settings.secret) = (service.token.clone(), service.secret.clone());
        (settings.events_max, settings.bytes_max) = (service.events_max, service.bytes_max);
        (settings.linger_ms, settings.timeout_s) = (service.linger_ms, service.timeout_s);
        settings.dead_letter = service.dead_letter.clone().unwrap_or(settings.dead_letter);
        settings.ca = service.ca.clone();
        settings.configured = true;
        if let Some(ca) = &settings.ca {
            self.readable(&format!("{table}.ca"), ca);
        }
        if let Err(wrong) = settings.check() {
            self.wrong(&format!("{table}.{}", wrong.key), wrong.what);
        }
        Some(Configured { id: id.to_string(), realm, patterns, settings })
    }

    fn patterns(&mut self, table: &str, service: &schema::Service) -> Vec<TopicPattern> {
        let mut patterns = Vec::new();
        let from_uri = |text: &str| TopicPattern::from_uri(text, MatchPolicy::Fox);
        for (key, texts, read) in [
            ("topics", &service.topics, &TopicPattern::from_filter as &dyn Fn(&str) -> _),
            ("uris", &service.uris, &from_uri),
        ] {
            for text in texts {
                match read(text) {
                    Ok(pattern) => patterns.push(pattern),
                    Err(error) => self.wrong(&format!("{table}.{key}"), format!("{text:?} {error}")),
                }
            }
        }
        if service.topics.is_empty() && service.uris.is_empty() {
            self.wrong(table, "topics or uris are missing");
        }
        patterns
    }

    fn realm_of(&mut self, file: &File, realms: &Realms, table: &str, said: Option<&String>) -> String {
        if let Some(realm) = said {
            self.known_realm(realms, &format!("{table}.realm"), realm);
        }
        said.unwrap_or(&file.default_realm).clone()
    }

    pub(super) fn allow_networks(&mut self, file: &File) -> Vec<Network> {
        let mut networks = Vec::new();
        for text in &file.services.allow_networks {
            match text.parse() {
                Ok(network) => networks.push(network),
                Err(error) => self.wrong("services.allow_networks", format!("{text:?} {error}")),
            }
        }
        networks
    }

    pub(super) fn hooks(&mut self, file: &File, realms: &Realms) -> Vec<Hook> {
        let (mut hooks, mut names) = (Vec::new(), HashSet::new());
        for (index, hook) in file.hook.0.iter().enumerate() {
            let table = format!("hook[{index}]");
            let name = self.required(&table, "name", &hook.name);
            let secret = self.required(&table, "secret", &hook.secret);
            let topic = self.topic_of(&table, hook);
            let realm = self.realm_of(file, realms, &table, hook.realm.as_ref());
            let (Some(name), Some(secret), Some(topic)) = (name, secret, topic) else { continue };
            if !is_name(&name) {
                self.wrong(&format!("{table}.name"), "must be letters, digits, '-', '_' or '.'");
            } else if !names.insert(name.clone()) {
                self.wrong(&format!("{table}.name"), format!("{name:?} is there twice"));
            }
            let secret = match hook.proof {
                Proof::Standard => Secret::parse(&secret),
                Proof::Github | Proof::Bearer => Ok(Secret::plain(&secret)),
            };
            match secret {
                Ok(secret) => hooks.push(Hook { name: name.to_string(), realm, topic, proof: hook.proof, secret }),
                Err(error) => self.wrong(&format!("{table}.secret"), error.to_string()),
            }
        }
        hooks
    }

    fn topic_of(&mut self, table: &str, hook: &schema::Hook) -> Option<Topic> {
        let (key, text, read) = match (&hook.topic, &hook.uri) {
            (Some(topic), None) => ("topic", topic, Topic::from_name(topic)),
            (None, Some(uri)) => ("uri", uri, Topic::from_uri(uri)),
            (None, None) => {
                self.wrong(table, "topic or uri is missing");
                return None;
            }
            (Some(_), Some(_)) => {
                self.wrong(&format!("{table}.uri"), "says again what topic says: keep one of them");
                return None;
            }
        };
        let key = format!("{table}.{key}");
        match read {
            Ok(topic) if topic.is_reserved() => self.wrong(&key, "belongs to the broker"),
            Ok(topic) => return Some(topic),
            Err(error) => self.wrong(&key, format!("{text:?} {error}")),
        }
        None
    }
}
