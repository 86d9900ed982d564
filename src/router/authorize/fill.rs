//! Placeholders in the patterns of permissions: `%u` for the name of the user, `%c` for the client id.
//!
//! Names are chosen by people and devices, so a name must never make a pattern mean more. It fills one level, or part of one,
//! whatever it is; and where it is not fit for that (it is empty or absent, holds `/`, `+`, `#` or a control character, or would make
//! the first level one of the broker's own), an allowing permission falls away, and a denying one holds for any name in its place.

use super::Who;
use crate::types::topic::{MatchPolicy, PatternLevel, Topic, TopicPattern};

const PLACEHOLDERS: [&str; 2] = ["%u", "%c"];

pub(super) fn has_placeholder(pattern: &TopicPattern) -> bool {
    let is_in = |text: &str| PLACEHOLDERS.iter().any(|placeholder| text.contains(placeholder));
    match pattern.prefix() {
        Some(prefix) => is_in(prefix),
        None => pattern.levels().any(|level| matches!(level, PatternLevel::Exact(text) if is_in(text))),
    }
}

/// Whether a permission may have this pattern; else, as the rest of a sentence, why not.
pub fn check_placeholders(pattern: &TopicPattern) -> Result<(), &'static str> {
    let last = pattern.prefix().and_then(|prefix| prefix.rsplit('.').next());
    match last.is_some_and(|last| PLACEHOLDERS.iter().any(|placeholder| last.contains(placeholder))) {
        true => Err("would match users whose names only begin alike: write a dot behind the placeholder"),
        false => Ok(()),
    }
}

/// The pattern for somebody; `None`: the permission falls away.
pub(super) fn fill(pattern: &TopicPattern, allow: bool, who: Who<'_>) -> Option<TopicPattern> {
    if !has_placeholder(pattern) {
        return Some(pattern.clone());
    }
    match pattern.prefix() {
        Some(prefix) => fill_prefix(prefix, allow, who),
        None => fill_levels(pattern, allow, who),
    }
}

fn fill_levels(pattern: &TopicPattern, allow: bool, who: Who<'_>) -> Option<TopicPattern> {
    let mut levels = Vec::new();
    for (at, level) in pattern.levels().enumerate() {
        levels.push(match level {
            PatternLevel::Exact(text) => {
                match fill_text(text, who).filter(|filled| at > 0 || is_common(text, filled)) {
                    Some(filled) => filled,
                    None if allow => return None,
                    None => "+".to_owned(),
                }
            }
            PatternLevel::Single => "+".to_owned(),
            PatternLevel::Multi => "#".to_owned(),
        });
    }
    TopicPattern::from_filter(&levels.join("/")).ok()
}

fn fill_prefix(prefix: &str, allow: bool, who: Who<'_>) -> Option<TopicPattern> {
    let (mut components, mut is_wide) = (Vec::new(), false);
    for (at, component) in prefix.split('.').enumerate() {
        let filled = fill_text(component, who).filter(|filled| at > 0 || is_common(component, filled));
        match filled.map(|filled| if filled == component { filled } else { spelt(&filled) }) {
            Some(filled) => components.push(filled),
            None if allow => return None,
            None => {
                is_wide = true;
                break;
            }
        }
    }
    if is_wide {
        // A denial of all that begins as the prefix does before the name.
        components.push(String::new());
    }
    TopicPattern::from_uri(&components.join("."), MatchPolicy::Prefix).ok()
}

/// A level as one component of a URI.
fn spelt(level: &str) -> String {
    Topic::from_name(level).map_or_else(|_| "%".to_owned(), |topic| topic.uri().to_owned())
}

/// The text with its placeholders filled in, each of them once; `None`: a name is not fit for it.
fn fill_text(text: &str, who: Who<'_>) -> Option<String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        filled.push_str(&rest[..at]);
        rest = &rest[at..];
        let name = match rest.as_bytes().get(1) {
            Some(b'u') => who.user,
            Some(b'c') => who.client_id.unwrap_or_default(),
            _ => {
                filled.push('%');
                rest = &rest[1..];
                continue;
            }
        };
        if name.is_empty() || name.contains(['/', '+', '#']) || name.contains(char::is_control) {
            return None;
        }
        filled.push_str(name);
        rest = &rest[2..];
    }
    filled.push_str(rest);
    Some(filled)
}

/// Whether a first level that was filled in is not the broker's own.
fn is_common(text: &str, filled: &str) -> bool {
    text == filled || Topic::from_name(filled).is_ok_and(|topic| !topic.is_reserved())
}
