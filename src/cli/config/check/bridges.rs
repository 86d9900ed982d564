//! Bridges to other brokers.

use std::collections::HashSet;
use std::path::Path;

use super::{Check, Realms};
use crate::cli::config::schema::{self, File};
use crate::client::tls::{Credentials, Trust};
use crate::client::url::{Protocol, Url};
use crate::mqtt::codec::Level;
use crate::outbound::bridge::Config;
use crate::outbound::bridge::machine::Settings;
use crate::outbound::bridge::outward::OutwardLimits;
use crate::outbound::bridge::rules::{Rule, Rules};
use crate::types::event::Qos;

/// What a client id or name may at most have: so much every broker takes as part of a topic or id.
const NAME_BYTES_MAX: usize = 200;
/// Events under way: their numbers are recorded together.
const WINDOW: std::ops::RangeInclusive<u32> = 1..=5000;
const ACK_TIMEOUT_S: std::ops::RangeInclusive<u32> = 1..=3600;
/// More filters than this have no packet identifiers of their own.
const TOPICS_MAX: usize = 1000;

impl Check {
    pub(super) fn bridges(&mut self, file: &File, realms: &Realms) -> Vec<Config> {
        let (mut names, mut client_ids) = (HashSet::new(), HashSet::new());
        let mut bridges = Vec::new();
        for (index, bridge) in file.bridge.0.iter().enumerate() {
            let table = format!("bridge[{index}]");
            let Some(config) = self.bridge(file, realms, &table, bridge) else { continue };
            if !names.insert(config.name.clone()) {
                self.wrong(&format!("{table}.name"), format!("bridge {:?} is there twice", config.name));
            } else if !client_ids.insert(config.client.client_id.clone()) {
                let what = format!("another bridge has the client id {:?}, too", config.client.client_id);
                self.wrong(&format!("{table}.client_id"), what);
            }
            bridges.push(config);
        }
        bridges
    }

    fn bridge(&mut self, file: &File, realms: &Realms, table: &str, bridge: &schema::Bridge) -> Option<Config> {
        let name = self.required(table, "name", &bridge.name)?;
        self.bridge_name(&format!("{table}.name"), &name);
        if let Some(realm) = &bridge.realm {
            self.known_realm(realms, &format!("{table}.realm"), realm);
        }
        let addresses = self.bridge_addresses(table, bridge);
        let (trust, credentials) = self.bridge_tls(table, bridge, &addresses);
        let client = self.bridge_client(table, &name, bridge);
        let rules = self.bridge_rules(table, bridge);
        Some(Config {
            name: name.to_string(),
            realm: bridge.realm.as_deref().unwrap_or(&file.default_realm).into(),
            addresses,
            trust,
            credentials,
            client,
            rules,
        })
    }

    /// Names and client ids are parts of topics and of a list that blanks divide.
    fn bridge_name(&mut self, key: &str, name: &str) {
        let is_good = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '/' | '+' | '#');
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(is_good) {
            self.wrong(key, format!("{name:?} must have 1 to {NAME_BYTES_MAX} characters, and no blank, /, + or #"));
        }
    }

    fn bridge_addresses(&mut self, table: &str, bridge: &schema::Bridge) -> Vec<Url> {
        let key = format!("{table}.address");
        if bridge.address.is_empty() {
            self.wrong(table, "address is missing");
        }
        let mut addresses = Vec::new();
        for text in &bridge.address {
            match Url::parse(text, Protocol::Mqtt) {
                Ok(url) if url.user.is_some() || url.password.is_some() => {
                    self.wrong(&key, "has a user or a password in it: say them by user and password_file");
                }
                Ok(url) => addresses.push(url),
                Err(error) => self.wrong(&key, error.to_string()),
            }
        }
        addresses
    }

    fn bridge_tls(&mut self, table: &str, bridge: &schema::Bridge, addresses: &[Url]) -> (Trust, Option<Credentials>) {
        let said = [
            ("cafile", bridge.cafile.is_some()),
            ("insecure", bridge.insecure),
            ("cert", bridge.cert.is_some()),
            ("key", bridge.key.is_some()),
        ];
        if !addresses.is_empty() && !addresses.iter().any(|url| url.tls) {
            for (name, _) in said.into_iter().filter(|(_, said)| *said) {
                self.wrong(&format!("{table}.{name}"), "is for mqtts:// and wss:// only");
            }
        }
        if bridge.insecure && bridge.cafile.is_some() {
            self.wrong(&format!("{table}.insecure"), "believes every certificate, so cafile means nothing: keep one");
        }
        let trust = match &bridge.cafile {
            _ if bridge.insecure => Trust::Anybody,
            Some(path) => Trust::File(path.clone()),
            None => Trust::System,
        };
        let credentials = match (&bridge.cert, &bridge.key) {
            (Some(cert), Some(key)) => Some(Credentials { cert: cert.clone(), key: key.clone() }),
            (None, None) => None,
            (Some(_), None) => {
                self.wrong(table, "key is missing: cert needs it");
                None
            }
            (None, Some(_)) => {
                self.wrong(table, "cert is missing: key needs it");
                None
            }
        };
        if (bridge.cafile.is_some() || credentials.is_some())
            && let Err(error) = trust.connector_as(credentials.as_ref())
        {
            let name = if bridge.cafile.is_some() && trust.connector().is_err() { "cafile" } else { "cert" };
            self.wrong(&format!("{table}.{name}"), error.to_string());
        }
        (trust, credentials)
    }

    fn bridge_client(&mut self, table: &str, name: &str, bridge: &schema::Bridge) -> Settings {
        let client_id = bridge.client_id.clone().unwrap_or_else(|| format!("{}.{name}", host_name()));
        self.bridge_name(&format!("{table}.client_id"), &client_id);
        let keep_alive_s = u16::try_from(bridge.keep_alive_s).unwrap_or_else(|_| {
            self.wrong(&format!("{table}.keep_alive_s"), "must be from 0 to 65535");
            0
        });
        for (name, value, range) in
            [("window", bridge.window, WINDOW), ("ack_timeout_s", bridge.ack_timeout_s, ACK_TIMEOUT_S)]
        {
            if !range.contains(&value) {
                self.wrong(&format!("{table}.{name}"), format!("must be from {} to {}", range.start(), range.end()));
            }
        }
        let password = self.bridge_password(table, bridge);
        Settings {
            level: bridge.version,
            client_id,
            user: bridge.user.clone(),
            password,
            keep_alive_s,
            session_expiry_s: if bridge.clean_start { 0 } else { u32::MAX },
            bridge_bit: bridge.try_private,
            limits: OutwardLimits {
                window_max: bridge.window as usize,
                queue_max: bridge.queue_messages as usize,
                queue_bytes_max: usize::try_from(bridge.queue_bytes.0).unwrap_or(usize::MAX),
                ack_timeout_ms: u64::from(bridge.ack_timeout_s) * 1000,
            },
        }
    }

    /// No message shows it.
    fn bridge_password(&mut self, table: &str, bridge: &schema::Bridge) -> Option<String> {
        let (password, key) = match (&bridge.password_file, &bridge.password_env) {
            (None, None) => return None,
            (Some(path), None) => (read_first_line(path), "password_file"),
            (None, Some(name)) => {
                (std::env::var(name).map_err(|_| format!("the variable {name} is not set")), "password_env")
            }
            (Some(_), Some(_)) => {
                self.wrong(&format!("{table}.password_env"), "says again what password_file says: keep one of them");
                return None;
            }
        };
        if bridge.user.is_none() && bridge.version < Level::V5 {
            self.wrong(&format!("{table}.{key}"), "needs a user: MQTT 3.1.1 has no password without one");
        }
        password.map_err(|what| self.wrong(&format!("{table}.{key}"), what)).ok()
    }

    fn bridge_rules(&mut self, table: &str, bridge: &schema::Bridge) -> Rules {
        if bridge.topic.0.is_empty() {
            self.wrong(table, "topic is missing: nothing would cross");
        }
        if bridge.topic.0.len() > TOPICS_MAX {
            self.wrong(&format!("{table}.topic"), format!("there may be {TOPICS_MAX} of them"));
        }
        let mut rules = Vec::new();
        for (index, topic) in bridge.topic.0.iter().enumerate() {
            let table = format!("{table}.topic[{index}]");
            rules.extend(self.bridge_rule(&table, topic));
        }
        Rules::new(rules)
    }

    fn bridge_rule(&mut self, table: &str, topic: &schema::BridgeTopic) -> Option<Rule> {
        let qos = match topic.qos {
            0 => Qos::AtMostOnce,
            1 => Qos::AtLeastOnce,
            2 => Qos::ExactlyOnce,
            _ => {
                self.wrong(&format!("{table}.qos"), "must be 0, 1 or 2");
                return None;
            }
        };
        let Some(pattern) = &topic.pattern else {
            self.wrong(table, "pattern is missing");
            return None;
        };
        match Rule::new(pattern, topic.direction, qos, &topic.local, &topic.remote) {
            Ok(rule) => Some(rule),
            Err(error) => {
                self.wrong(&format!("{table}.{}", error.part()), error.to_string());
                None
            }
        }
    }
}

fn read_first_line(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// The name of this machine, as the kernel knows it.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name.trim().chars().filter(|c| !c.is_whitespace() && !matches!(c, '/' | '+' | '#')).collect();
    if name.is_empty() { "fennec".to_owned() } else { name }
}
