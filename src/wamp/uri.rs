//! Which URIs and URI patterns a realm takes from its WAMP sessions (WAMP, URIs).
//!
//! The loose rules are those of [`Topic::from_uri`] and [`TopicPattern::from_uri`], and always hold; the strict rule, lower-case
//! letters, digits and `_`, is only a recommendation, which an operator may turn on. What MQTT clients publish keeps to
//! neither, so strictness is asked of what WAMP sessions say, never of what they are sent.

use crate::types::topic::{MatchPolicy, Topic, TopicError, TopicPattern};

/// Which rules the URIs of a realm's WAMP sessions keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    #[default]
    Loose,
    Strict,
}

/// Why a text is no URI here: `wamp.error.invalid_uri`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    #[error("the URI {0}")]
    Loose(#[from] TopicError),
    #[error("the URI has characters other than a-z, 0-9 and _, and this realm is strict")]
    NotStrict,
}

/// A URI that is published to, called, or subscribed and registered exactly.
pub fn topic(uri: &str, strictness: Strictness) -> Result<Topic, UriError> {
    let topic = Topic::from_uri(uri)?;
    check_strict(uri, strictness, &[])?;
    Ok(topic)
}

/// A URI that is subscribed or registered with a match policy.
pub fn pattern(uri: &str, policy: MatchPolicy, strictness: Strictness) -> Result<TopicPattern, UriError> {
    let pattern = TopicPattern::from_uri(uri, policy)?;
    let wild: &[&str] = match policy {
        MatchPolicy::Exact if !uri.ends_with('#') => &[],
        MatchPolicy::Exact | MatchPolicy::Fox => &["*", "#"],
        MatchPolicy::Prefix | MatchPolicy::Wildcard => &[""],
    };
    check_strict(uri, strictness, wild)?;
    Ok(pattern)
}

/// The URI of an error, which goes from callee to caller by the same rules, though it is no topic.
pub fn check_error(uri: &str, strictness: Strictness) -> Result<(), UriError> {
    topic(uri, strictness).map(drop)
}

/// Whether only the protocol itself may use the URI: its first component is `wamp` (WAMP, Reserved URIs).
pub fn is_reserved(uri: &str) -> bool {
    uri.split('.').next() == Some("wamp")
}

/// `wild`: the components that stand for something else here. They are in their right places, or `uri` would not even keep
/// the loose rules.
fn check_strict(uri: &str, strictness: Strictness, wild: &[&str]) -> Result<(), UriError> {
    let is_strict = |component: &str| component.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    match strictness {
        Strictness::Loose => Ok(()),
        Strictness::Strict if uri.split('.').all(|component| wild.contains(&component) || is_strict(component)) => {
            Ok(())
        }
        Strictness::Strict => Err(UriError::NotStrict),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Strictness::{Loose, Strict};

    fn check_topic(uri: &str, loose: Result<(), TopicError>, strict: bool) {
        assert_eq!(topic(uri, Loose).map(drop), loose.map_err(UriError::Loose), "{uri:?}");
        assert_eq!(topic(uri, Strict).is_ok(), strict, "{uri:?}");
        assert_eq!(check_error(uri, Strict).is_ok(), strict, "{uri:?}");
    }

    fn check_pattern(uri: &str, policy: MatchPolicy, loose: Result<(), TopicError>, strict: bool) {
        assert_eq!(pattern(uri, policy, Loose).map(drop), loose.map_err(UriError::Loose), "{uri:?} {policy:?}");
        assert_eq!(pattern(uri, policy, Strict).is_ok(), strict, "{uri:?} {policy:?}");
    }

    /// WAMP, URIs: the examples, and what the two regular expressions without empty components tell apart.
    #[test]
    fn components_are_not_empty_and_have_no_white_space_or_hash() {
        for uri in ["com.myapp.mytopic1", "com.myapp.myprocedure1", "com.myapp.myerror1", "a", "_", "0.1_"] {
            check_topic(uri, Ok(()), true);
        }
        for uri in ["com.myApp.x", "com.my-app", "a/b", "$SYS.x", "com.\u{e9}t\u{e9}", "a.*.b", "a+b", "%.a", "a:b"] {
            check_topic(uri, Ok(()), false);
        }
        for uri in ["", ".", "a.", ".a", "a..b", "com.myapp..userevent"] {
            let error = if uri.is_empty() { TopicError::Empty } else { TopicError::EmptyComponent };
            check_topic(uri, Err(error), false);
        }
        for uri in ["a b", " a", "a\t", "a\n", "a.\u{a0}.b", "\u{3000}", "a\u{85}", "a\u{1c}b", "\u{feff}a"] {
            check_topic(uri, Err(TopicError::WhiteSpace), false);
        }
        for uri in ["#a", "a#b", "a.b#", "a.#.b"] {
            check_topic(uri, Err(TopicError::Hash), false);
        }
        check_topic("a.#", Err(TopicError::Hash), false);
        check_topic("a\0b", Err(TopicError::Nul), false);
        check_topic("%", Err(TopicError::EmptyTopic), false);
    }

    #[test]
    fn each_policy_allows_empty_components_where_they_mean_something() {
        use MatchPolicy::{Exact, Fox, Prefix, Wildcard};
        use TopicError::{EmptyComponent, EmptyTopic, Hash, WhiteSpace};
        check_pattern("com.myapp", Exact, Ok(()), true);
        check_pattern("com..myapp", Exact, Err(EmptyComponent), false);

        check_pattern("com.myapp.topic.emergency", Prefix, Ok(()), true);
        check_pattern("com.myapp.", Prefix, Ok(()), true);
        check_pattern("", Prefix, Ok(()), true);
        check_pattern("com.Myapp", Prefix, Ok(()), false);
        for uri in [".", ".com", "com..", "com..myapp"] {
            check_pattern(uri, Prefix, Err(EmptyComponent), false);
        }
        check_pattern("com.#", Prefix, Err(Hash), false);
        check_pattern("com ", Prefix, Err(WhiteSpace), false);

        for uri in ["com.myapp..userevent", "", ".", "..", ".a", "a.", "a..", "a.b"] {
            check_pattern(uri, Wildcard, Ok(()), true);
        }
        check_pattern("com.*.a", Wildcard, Ok(()), false);
        check_pattern("%", Wildcard, Err(EmptyTopic), false);
        check_pattern("com..#", Wildcard, Err(Hash), false);
        check_pattern("com. .a", Wildcard, Err(WhiteSpace), false);

        for policy in [Exact, Fox] {
            for uri in ["#", "com.#", "com.*.#", "*.#"] {
                check_pattern(uri, policy, Ok(()), true);
            }
            check_pattern("com.#.a", policy, Err(Hash), false);
            check_pattern("com.a#", policy, Err(Hash), false);
            check_pattern("com..#", policy, Err(EmptyComponent), false);
            check_pattern("Com.#", policy, Ok(()), false);
        }
        check_pattern("com.*.a", Fox, Ok(()), true);
        check_pattern("com.*.a", Exact, Ok(()), false);
    }

    /// WAMP, Reserved URIs.
    #[test]
    fn wamp_as_the_first_component_is_reserved() {
        for (uri, reserved) in
            [("wamp.error.not_authorized", true), ("wamp", true), ("wampo.x", false), ("a.wamp", false)]
        {
            assert_eq!(is_reserved(uri), reserved, "{uri}");
        }
    }
}
