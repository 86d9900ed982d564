//! Mosquitto's `acl_file`, as roles.
//!
//! ```text
//! topic …            (before any user)  -> role "anonymous"
//! user NAME, topic …                    -> a role of its own
//! pattern …                             -> every role; a user without lines of its own has the role "user"
//! ```
//!
//! In Mosquitto a `deny` beats every other line; here the more specific of two permissions does. An allowing line that would win
//! against a denial is left out and named: the result never allows what Mosquitto refused.

use std::collections::BTreeMap;
use std::path::Path;

use super::conf::{Place, lines};
use crate::router::authorize::{covers, overrules};
use crate::types::topic::TopicPattern;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    Read,
    Write,
    ReadWrite,
    Deny,
}

impl Grant {
    pub fn actions(self) -> &'static [&'static str] {
        match self {
            Grant::Read => &["subscribe"],
            Grant::Write => &["publish"],
            Grant::ReadWrite | Grant::Deny => &["publish", "subscribe"],
        }
    }
}

/// One line.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub place: Place,
    pub grant: Grant,
    pub topic: String,
}

/// The whole file.
#[derive(Debug, Default)]
pub(super) struct Acl {
    anonymous: Vec<Rule>,
    /// By user name.
    users: BTreeMap<String, Vec<Rule>>,
    patterns: Vec<Rule>,
}

impl Acl {
    /// Reads it; tells what of it cannot be said here.
    pub fn read(file: &Path, text: &str, tell: &mut Vec<String>) -> Acl {
        let mut acl = Acl::default();
        let mut user: Option<String> = None;
        for line in lines(file, text) {
            match line.key.as_str() {
                "user" if !line.value.is_empty() => {
                    acl.users.entry(line.value.clone()).or_default();
                    user = Some(line.value);
                }
                kind @ ("topic" | "pattern") => match rule(&line.value, line.place.clone(), kind == "pattern") {
                    Err(why) => tell.push(format!("{}: {kind} {}: {why}", line.place, line.value)),
                    Ok(rule) if kind == "pattern" => acl.patterns.push(rule),
                    Ok(rule) => match &user {
                        Some(user) => acl.users.entry(user.clone()).or_default().push(rule),
                        None => acl.anonymous.push(rule),
                    },
                },
                _ => tell.push(format!("{}: {} {}: is no line of an acl_file", line.place, line.key, line.value)),
            }
        }
        acl
    }

    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(String::as_str)
    }

    /// What a user may do; `None` as the name: one without lines of its own.
    pub fn of_user(&self, name: Option<&str>, tell: &mut Vec<String>) -> Vec<Rule> {
        let own = name.and_then(|name| self.users.get(name)).into_iter().flatten();
        settle(own.chain(&self.patterns).cloned().collect(), tell)
    }

    /// What clients without a name may do: patterns with a user name say nothing about them.
    pub fn of_anonymous(&self, tell: &mut Vec<String>) -> Vec<Rule> {
        let patterns = self.patterns.iter().filter(|rule| !rule.topic.contains("%u"));
        settle(self.anonymous.iter().chain(patterns).cloned().collect(), tell)
    }
}

fn rule(text: &str, place: Place, is_pattern: bool) -> Result<Rule, String> {
    let (first, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let grant = match first {
        "read" => Some(Grant::Read),
        "write" => Some(Grant::Write),
        "readwrite" => Some(Grant::ReadWrite),
        "deny" => Some(Grant::Deny),
        _ => None,
    };
    let (grant, topic) = match grant {
        Some(grant) if !rest.trim().is_empty() => (grant, rest.trim()),
        _ => (Grant::ReadWrite, text.trim()),
    };
    if !is_pattern && (topic.contains("%u") || topic.contains("%c")) {
        return Err("has %u or %c for itself, which would stand for a name here".to_owned());
    }
    TopicPattern::from_filter(topic).map_err(|error| error.to_string())?;
    Ok(Rule { place, grant, topic: topic.to_owned() })
}

/// Leaves out what a denial beats in Mosquitto and would not beat here.
fn settle(rules: Vec<Rule>, tell: &mut Vec<String>) -> Vec<Rule> {
    // Whatever name a placeholder stands for.
    let pattern = |rule: &Rule| {
        let any =
            |level: &str| if level.contains("%u") || level.contains("%c") { "+".to_owned() } else { level.to_owned() };
        TopicPattern::from_filter(&rule.topic.split('/').map(any).collect::<Vec<_>>().join("/")).ok()
    };
    let denials: Vec<(TopicPattern, Place)> = rules
        .iter()
        .filter(|rule| rule.grant == Grant::Deny)
        .filter_map(|rule| Some((pattern(rule)?, rule.place.clone())))
        .collect();
    let mut told = |line: String| {
        if !tell.contains(&line) {
            tell.push(line);
        }
    };
    let mut stays = |rule: &Rule| {
        let Some(allowed) = pattern(rule).filter(|_| rule.grant != Grant::Deny) else { return true };
        let (place, topic) = (&rule.place, &rule.topic);
        if let Some((_, by)) =
            denials.iter().find(|(denied, _)| covers(denied, &allowed) || overrules(&allowed, denied))
        {
            told(format!(
                "{place}: {topic}: is left out: the denial of {by} beats it in Mosquitto, and would not here"
            ));
            return false;
        }
        let within = denials.iter().find(|(denied, _)| covers(&allowed, denied));
        if let Some((_, by)) = within.filter(|_| rule.grant != Grant::Write) {
            told(format!(
                "{place}: {topic}: cannot be subscribed to as a whole: {by} denies a part of it, and here SUBSCRIBE is refused then"
            ));
        }
        true
    };
    rules.into_iter().filter(|rule| stays(rule)).collect()
}
