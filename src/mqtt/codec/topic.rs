//! The form of topic names and topic filters (MQTT 5, 4.7 and 4.8).

use super::Result;
use super::error::DecodeError;
use super::reader::text;

/// What a shared subscription's topic filter begins with (MQTT 5, 4.8.2).
const SHARE_PREFIX: &str = "$share/";

/// `bytes` as a topic name: not empty, well-formed UTF-8 without U+0000, no wildcard character.
pub fn validate_topic_name(bytes: &[u8]) -> Result<&str> {
    let name = text(bytes)?;
    if name.is_empty() {
        return Err(DecodeError::EMPTY_TOPIC);
    }
    if has_wildcard(bytes) { Err(DecodeError::WILDCARD_IN_TOPIC) } else { Ok(name) }
}

/// Checks that the wildcards of a topic filter stand where they may, and that it is not empty.
pub fn validate_topic_filter(filter: &str) -> Result<()> {
    if filter.is_empty() {
        return Err(DecodeError::EMPTY_FILTER);
    }
    if !has_wildcard(filter.as_bytes()) {
        return Ok(());
    }
    let mut levels = filter.split('/');
    while let Some(level) = levels.next() {
        if level.contains('#') && (level.len() > 1 || levels.next().is_some()) {
            return Err(DecodeError::MISPLACED_MULTI_LEVEL);
        }
        if level.contains('+') && level.len() > 1 {
            return Err(DecodeError::MISPLACED_SINGLE_LEVEL);
        }
    }
    Ok(())
}

/// Share name and topic filter of a shared subscription; `None` if `filter` is not one.
pub fn split_shared(filter: &str) -> Option<(&str, &str)> {
    filter.strip_prefix(SHARE_PREFIX)?.split_once('/')
}

/// Checks a topic filter of MQTT 5, which may be that of a shared subscription.
pub fn validate_subscription_filter(filter: &str) -> Result<()> {
    let Some(shared) = filter.strip_prefix(SHARE_PREFIX) else {
        return validate_topic_filter(filter);
    };
    let (name, filter) = shared.split_once('/').ok_or(DecodeError::SHARE_WITHOUT_FILTER)?;
    if name.is_empty() || has_wildcard(name.as_bytes()) {
        return Err(DecodeError::SHARE_NAME_INVALID);
    }
    if filter.is_empty() { Err(DecodeError::SHARE_WITHOUT_FILTER) } else { validate_topic_filter(filter) }
}

pub(super) fn has_wildcard(topic: &[u8]) -> bool {
    memchr::memchr2(b'+', b'#', topic).is_some()
}
