//! What matches topics: MQTT's filters and WAMP's match policies in one type.

use std::fmt;
use std::str::FromStr;

use super::mapping;
use super::{Topic, TopicError};
use crate::types::limits::{PATTERN_LEVELS_MAX, TOPIC_BYTES_MAX};

/// What matches topics. Two patterns are equal when they are of one kind and spelt alike; a WAMP wildcard pattern without a
/// wildcard is not the exact pattern of the same topic (WAMP counts them as two subscriptions).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TopicPattern {
    kind: Kind,
    /// `Exact`: a topic name. `Wildcard`: a topic filter of at most [`PATTERN_LEVELS_MAX`] levels. `Prefix`: the beginning of a URI.
    text: Box<str>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Exact,
    Wildcard,
    Prefix,
}

/// One level of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PatternLevel<'a> {
    /// This level, in its MQTT spelling.
    Exact(&'a str),
    /// Exactly one level, which may be empty: MQTT `+`, WAMP's empty component.
    Single,
    /// Any number of levels, none too; only as the last: MQTT `#`.
    Multi,
}

/// How WAMP reads a URI pattern (option `match` of SUBSCRIBE and REGISTER).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MatchPolicy {
    /// The topic itself; but with `#` as its last component the pattern is read as [`MatchPolicy::Fox`].
    #[default]
    Exact,
    /// Every URI that begins with this text, in the middle of a component too.
    Prefix,
    /// An empty component matches any one component.
    Wildcard,
    /// As fox-wamp: `*` matches any one component, a last `#` any number of them. A level that is just `*` is written `%2A`.
    Fox,
}

/// The name of a match policy that fennec does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("match is none of exact, prefix, wildcard, fox")]
pub struct UnknownMatchPolicy;

impl TopicPattern {
    /// The pattern that MQTT writes as `filter` (MQTT 5, 4.7.1); without a wildcard it is the exact pattern.
    pub fn from_filter(filter: &str) -> Result<Self, TopicError> {
        mapping::check_bytes(filter)?;
        if !filter.bytes().any(|b| b == b'+' || b == b'#') {
            return Ok(Self { kind: Kind::Exact, text: filter.into() });
        }
        let mut levels = filter.split('/').peekable();
        let mut count = 0;
        while let Some(level) = levels.next() {
            count += 1;
            if level.contains('#') && (level != "#" || levels.peek().is_some()) {
                return Err(TopicError::MisplacedMulti);
            }
            if level.contains('+') && level != "+" {
                return Err(TopicError::MisplacedSingle);
            }
        }
        if count > PATTERN_LEVELS_MAX {
            return Err(TopicError::TooManyLevels);
        }
        Ok(Self { kind: Kind::Wildcard, text: filter.into() })
    }

    /// The pattern that WAMP writes as `uri` with this match policy (WAMP, Pattern-based Subscription; loose rules).
    pub fn from_uri(uri: &str, policy: MatchPolicy) -> Result<Self, TopicError> {
        match policy {
            MatchPolicy::Exact if uri == "#" || uri.ends_with(".#") => Self::from_fox(uri),
            MatchPolicy::Exact => Ok(Self { kind: Kind::Exact, text: mapping::name_of_uri(uri)?.into() }),
            MatchPolicy::Prefix => Self::from_prefix(uri),
            MatchPolicy::Wildcard => Self::from_wildcard(uri),
            MatchPolicy::Fox => Self::from_fox(uri),
        }
    }

    /// The pattern that matches this topic alone.
    pub fn exact(topic: &Topic) -> Self {
        Self { kind: Kind::Exact, text: topic.name().into() }
    }

    fn from_prefix(uri: &str) -> Result<Self, TopicError> {
        mapping::check_uri_chars(uri)?;
        // Only the last component may be empty: nothing begins with an empty one.
        if uri.starts_with('.') || uri.contains("..") {
            return Err(TopicError::EmptyComponent);
        }
        Ok(Self { kind: Kind::Prefix, text: uri.into() })
    }

    fn from_wildcard(uri: &str) -> Result<Self, TopicError> {
        mapping::check_uri_chars(uri)?;
        let filter = filter_of(uri, |component, filter| {
            if component.is_empty() {
                filter.push('+');
            } else {
                mapping::push_level(component, filter);
            }
            Ok(())
        })?;
        Self::from_levels(filter, Kind::Wildcard)
    }

    fn from_fox(uri: &str) -> Result<Self, TopicError> {
        if uri.is_empty() {
            return Err(TopicError::Empty);
        }
        let (path, multi) = match uri.strip_suffix('#') {
            Some("") => return Self::from_filter("#"),
            Some(path) => (path.strip_suffix('.').ok_or(TopicError::Hash)?, true),
            None => (uri, false),
        };
        mapping::check_uri_chars(path)?;
        let mut kind = if multi { Kind::Wildcard } else { Kind::Exact };
        let mut filter = filter_of(path, |component, filter| {
            if component.is_empty() {
                return Err(TopicError::EmptyComponent);
            }
            if component == "*" {
                kind = Kind::Wildcard;
                filter.push('+');
            } else {
                mapping::push_level(&star::read(component), filter);
            }
            Ok(())
        })?;
        if multi {
            filter.push_str("/#");
        }
        Self::from_levels(filter, kind)
    }

    fn from_levels(filter: String, kind: Kind) -> Result<Self, TopicError> {
        if filter.is_empty() {
            Err(TopicError::EmptyTopic)
        } else if filter.len() > TOPIC_BYTES_MAX {
            Err(TopicError::TooLong)
        } else if filter.split('/').nth(PATTERN_LEVELS_MAX).is_some() {
            Err(TopicError::TooManyLevels)
        } else {
            Ok(Self { kind, text: filter.into() })
        }
    }

    /// The MQTT spelling; none for a prefix pattern, which MQTT cannot say.
    pub fn filter(&self) -> Option<&str> {
        match self.kind {
            Kind::Exact | Kind::Wildcard => Some(&self.text),
            Kind::Prefix => None,
        }
    }

    /// The WAMP spelling and the match policy to read it by; [`TopicPattern::from_uri`] makes the same pattern of them.
    pub fn uri(&self) -> (String, MatchPolicy) {
        let policy = self.policy();
        let uri = match policy {
            MatchPolicy::Exact => mapping::uri_of_name(&self.text),
            MatchPolicy::Prefix => self.text.to_string(),
            MatchPolicy::Wildcard | MatchPolicy::Fox => self.wildcard_uri(policy),
        };
        (uri, policy)
    }

    fn wildcard_uri(&self, policy: MatchPolicy) -> String {
        let mut uri = String::with_capacity(self.text.len() + 8);
        for (i, level) in self.levels().enumerate() {
            if i > 0 {
                uri.push('.');
            }
            match (level, policy) {
                (PatternLevel::Single, MatchPolicy::Fox) => uri.push('*'),
                (PatternLevel::Single, _) => {}
                (PatternLevel::Multi, _) => uri.push('#'),
                (PatternLevel::Exact(level), MatchPolicy::Fox) => star::push_component(level, &mut uri),
                (PatternLevel::Exact(level), _) => mapping::push_component(level, &mut uri),
            }
        }
        uri
    }

    /// The match policy that says this pattern in WAMP; [`MatchPolicy::Fox`] only if it ends with [`PatternLevel::Multi`].
    pub fn policy(&self) -> MatchPolicy {
        match self.kind {
            Kind::Exact => MatchPolicy::Exact,
            Kind::Prefix => MatchPolicy::Prefix,
            Kind::Wildcard if self.text.ends_with('#') => MatchPolicy::Fox,
            Kind::Wildcard => MatchPolicy::Wildcard,
        }
    }

    /// The name of the one topic that an exact pattern matches.
    pub fn exact_name(&self) -> Option<&str> {
        (self.kind == Kind::Exact).then_some(&self.text)
    }

    /// What the URI of a topic begins with that a prefix pattern matches.
    pub fn prefix(&self) -> Option<&str> {
        (self.kind == Kind::Prefix).then_some(&self.text)
    }

    /// The levels of an exact or wildcard pattern; of a prefix pattern none.
    pub fn levels(&self) -> impl Iterator<Item = PatternLevel<'_>> {
        let wildcard = self.kind == Kind::Wildcard;
        self.filter().into_iter().flat_map(|filter| filter.split('/')).map(move |level| match level {
            "+" if wildcard => PatternLevel::Single,
            "#" if wildcard => PatternLevel::Multi,
            _ => PatternLevel::Exact(level),
        })
    }

    /// Whether it begins with a wildcard and so passes by the topics that begin with `$` (MQTT 5, 4.7.2). The empty prefix
    /// counts as one.
    pub fn passes_hidden_by(&self) -> bool {
        match self.kind {
            Kind::Exact => false,
            Kind::Prefix => self.text.is_empty(),
            Kind::Wildcard => !matches!(self.levels().next(), Some(PatternLevel::Exact(_))),
        }
    }

    /// Whether it matches this topic, level by level: what the index answers for many patterns at once.
    pub fn matches(&self, topic: &Topic) -> bool {
        if topic.is_hidden() && self.passes_hidden_by() {
            return false;
        }
        match self.kind {
            Kind::Exact => *self.text == *topic.name(),
            Kind::Prefix => topic.uri().starts_with(&*self.text),
            Kind::Wildcard => self.matches_levels(topic),
        }
    }

    fn matches_levels(&self, topic: &Topic) -> bool {
        let mut levels = topic.levels();
        for wanted in self.levels() {
            match (wanted, levels.next()) {
                (PatternLevel::Multi, _) => return true,
                (PatternLevel::Single, Some(_)) => {}
                (PatternLevel::Exact(wanted), Some(level)) if wanted == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }

    /// For a prefix pattern: what the MQTT spelling of every topic it matches begins with, and whether, the other way round,
    /// every topic that begins so (and is not hidden from it) is matched.
    pub fn name_prefix(&self) -> Option<(String, bool)> {
        let prefix = self.prefix()?;
        let mut name = String::with_capacity(prefix.len());
        let (whole, part) = prefix.rsplit_once('.').unzip();
        for component in whole.into_iter().flat_map(|whole: &str| whole.split('.')) {
            mapping::push_level(component, &mut name);
            name.push('/');
        }
        // Up to the first character that one of the protocols may write in another way, the spellings go together.
        let part = part.unwrap_or(prefix);
        let same = part.bytes().take_while(|byte| mapping::is_same_in_both(*byte)).count();
        name.push_str(&part[..same]);
        Some((name, same == part.len()))
    }
}

/// `uri` with each component turned into a level of a filter by `push`.
fn filter_of(
    uri: &str,
    mut push: impl FnMut(&str, &mut String) -> Result<(), TopicError>,
) -> Result<String, TopicError> {
    let mut filter = String::with_capacity(uri.len());
    for (i, component) in uri.split('.').enumerate() {
        if i > 0 {
            filter.push('/');
        }
        push(component, &mut filter)?;
    }
    Ok(filter)
}

/// The escape of a fox pattern for a level that is just `*`: `%2A`; and, so that this can be said too, one more `25` in
/// `%2A`, `%252A`, and so on, as everywhere in [`mapping`].
mod star {
    use std::borrow::Cow;

    use super::mapping;

    /// The component that a component of a fox pattern stands for.
    pub(super) fn read(component: &str) -> Cow<'_, str> {
        match component.strip_prefix('%') {
            Some("2A") => "*".into(),
            Some(rest) if looks_escaped(component) => format!("%{}", &rest[2..]).into(),
            _ => component.into(),
        }
    }

    pub(super) fn push_component(level: &str, uri: &mut String) {
        let start = uri.len();
        mapping::push_component(level, uri);
        let component = &uri[start..];
        if component == "*" {
            uri.replace_range(start.., "%2A");
        } else if looks_escaped(component) {
            uri.insert_str(start + 1, "25");
        }
    }

    fn looks_escaped(component: &str) -> bool {
        component.strip_prefix('%').is_some_and(|rest| rest.trim_start_matches("25") == "2A")
    }
}

impl MatchPolicy {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Prefix => "prefix",
            Self::Wildcard => "wildcard",
            Self::Fox => "fox",
        }
    }
}

impl FromStr for MatchPolicy {
    type Err = UnknownMatchPolicy;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "exact" => Ok(Self::Exact),
            "prefix" => Ok(Self::Prefix),
            "wildcard" => Ok(Self::Wildcard),
            "fox" => Ok(Self::Fox),
            _ => Err(UnknownMatchPolicy),
        }
    }
}

impl fmt::Debug for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicPattern::{:?}({:?})", self.policy(), self.text)
    }
}

/// As MQTT writes it; a prefix pattern as its URI and an ellipsis.
impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix() {
            Some(prefix) => write!(f, "{prefix}…"),
            None => f.write_str(&self.text),
        }
    }
}
