//! Topic filters as SUBSCRIBE and UNSUBSCRIBE carry them, shared subscriptions included.

use crate::types::topic::{TopicError, TopicPattern};

/// What a shared subscription's topic filter begins with (MQTT 5, 4.8.2). `$share` without the slash is a plain filter.
const SHARE: &str = "$share/";

/// A topic filter, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter<'a> {
    /// The share name; the sessions that have one and the same name and pattern share its messages.
    pub group: Option<&'a str>,
    pub pattern: TopicPattern,
}

/// Why a topic filter is invalid: reason code 0x8F, before MQTT 5 the end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error("the topic filter {0}")]
    Topic(#[from] TopicError),
    #[error("the share name is empty")]
    ShareNameEmpty,
    #[error("the share name contains a wildcard (+ or #)")]
    ShareNameWildcard,
    #[error("the shared subscription has no topic filter after its share name")]
    ShareFilterMissing,
}

impl<'a> Filter<'a> {
    /// Reads `$share/{share name}/{filter}` (MQTT 5, 4.8.2) or a plain filter (MQTT 5, 4.7.1).
    pub fn parse(text: &'a str) -> Result<Self, FilterError> {
        let Some(shared) = text.strip_prefix(SHARE) else {
            return Ok(Self { group: None, pattern: TopicPattern::from_filter(text)? });
        };
        let (group, filter) = shared.split_once('/').unwrap_or((shared, ""));
        if group.is_empty() {
            Err(FilterError::ShareNameEmpty)
        } else if group.contains(['+', '#']) {
            Err(FilterError::ShareNameWildcard)
        } else if group.contains('\0') {
            Err(FilterError::Topic(TopicError::Nul))
        } else if filter.is_empty() {
            Err(FilterError::ShareFilterMissing)
        } else {
            Ok(Self { group: Some(group), pattern: TopicPattern::from_filter(filter)? })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(Option<&str>, &str), FilterError>) {
        let found = Filter::parse(text);
        let found = found.as_ref().map(|filter| (filter.group, filter.pattern.filter().unwrap_or_default()));
        assert_eq!(found, expected.as_ref().copied(), "{text:?}");
    }

    #[test]
    fn a_plain_filter_has_no_group() {
        check("a/b", Ok((None, "a/b")));
        check("sport/+/player1", Ok((None, "sport/+/player1")));
        check("$SYS/#", Ok((None, "$SYS/#")));
    }

    #[test]
    fn only_share_and_a_slash_begin_a_shared_subscription() {
        check("$share", Ok((None, "$share")));
        check("$shared/a/b", Ok((None, "$shared/a/b")));
        check("/$share/a/b", Ok((None, "/$share/a/b")));
        check("$SHARE/a/b", Ok((None, "$SHARE/a/b")));
    }

    /// The examples of MQTT 5, 4.8.2.
    #[test]
    fn a_share_name_is_followed_by_a_filter() {
        check("$share/consumer1/sport/tennis/+", Ok((Some("consumer1"), "sport/tennis/+")));
        check("$share/consumer2/sport/tennis/+", Ok((Some("consumer2"), "sport/tennis/+")));
        check("$share/consumer1//finance", Ok((Some("consumer1"), "/finance")));
        check("$share/consumer1/sport/tennis/#", Ok((Some("consumer1"), "sport/tennis/#")));
        check("$share/g//", Ok((Some("g"), "/")));
        check("$share/g/#", Ok((Some("g"), "#")));
        check("$share/g/$SYS/#", Ok((Some("g"), "$SYS/#")));
        check("$share/$share/$share/a", Ok((Some("$share"), "$share/a")));
    }

    /// [MQTT-4.8.2-1], [MQTT-4.8.2-2].
    #[test]
    fn a_share_name_is_not_empty_and_has_no_wildcard() {
        check("$share/", Err(FilterError::ShareNameEmpty));
        check("$share//", Err(FilterError::ShareNameEmpty));
        check("$share//a", Err(FilterError::ShareNameEmpty));
        check("$share/+/a", Err(FilterError::ShareNameWildcard));
        check("$share/#", Err(FilterError::ShareNameWildcard));
        check("$share/g+/a", Err(FilterError::ShareNameWildcard));
        check("$share/#g/a", Err(FilterError::ShareNameWildcard));
        check("$share/g\0/a", Err(FilterError::Topic(TopicError::Nul)));
    }

    /// [MQTT-4.8.2-2].
    #[test]
    fn a_shared_subscription_has_a_valid_filter() {
        check("$share/g", Err(FilterError::ShareFilterMissing));
        check("$share/g/", Err(FilterError::ShareFilterMissing));
        check("$share/g/a#", Err(FilterError::Topic(TopicError::MisplacedMulti)));
        check("$share/g/#/a", Err(FilterError::Topic(TopicError::MisplacedMulti)));
        check("$share/g/a+", Err(FilterError::Topic(TopicError::MisplacedSingle)));
    }

    #[test]
    fn an_error_says_what_is_wrong() {
        let error = |text| Filter::parse(text).map_err(|error| error.to_string());
        assert_eq!(error("a#"), Err("the topic filter has a # that is not the whole last level".into()));
        assert_eq!(error("$share/g"), Err("the shared subscription has no topic filter after its share name".into()));
    }
}
