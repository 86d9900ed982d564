//! Older events as user properties of SUBSCRIBE: `after`, `rewind`, `snapshot`.

use super::codec::UserProperties;
use crate::node::past::Since;

/// The older events that a SUBSCRIBE asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub since: Since,
    /// Those that are there now, and no subscription.
    pub snapshot: bool,
}

/// What a SUBSCRIBE asks for; `None`: nothing but what comes from now on.
///
/// # Errors
/// What cannot be asked, in words.
pub fn read(properties: UserProperties<'_>) -> Result<Option<Asked>, &'static str> {
    let (mut since, mut snapshot) = (None, false);
    for (name, value) in properties {
        let found = match name {
            "after" => Since::after_text(value).map_err(
                |_| "the user property after is neither an event id nor a publication id nor an RFC 3339 time",
            )?,
            "rewind" => Since::Last(value.parse().map_err(|_| "the user property rewind is no number of events")?),
            "snapshot" => {
                snapshot = value.parse().map_err(|_| "the user property snapshot is neither true nor false")?;
                continue;
            }
            // Whoever asks for less must not be given all.
            "filter" => return Err("filter is not for MQTT"),
            _ => continue,
        };
        if since.replace(found).is_some() {
            return Err("after or rewind, but once");
        }
    }
    match since {
        Some(since) => Ok(Some(Asked { since, snapshot })),
        None if snapshot => Err("a snapshot needs after or rewind"),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ids::PublicationId;

    fn check(pairs: &[(&str, &str)], expected: Result<Option<(Since, bool)>, &str>) {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let expected = expected.map(|asked| asked.map(|(since, snapshot)| Asked { since, snapshot }));
        assert_eq!(read(UserProperties::new(&pairs)), expected, "{pairs:?}");
    }

    #[test]
    fn older_events_are_asked_for_by_id_time_and_count() {
        let id = "2607272218a1a1";
        check(&[("after", id)], Ok(Some((Since::Event(id.parse().unwrap()), false))));
        check(&[("after", "17")], Ok(Some((Since::Publication(PublicationId(17)), false))));
        check(&[("after", "1970-01-01T00:00:01Z")], Ok(Some((Since::Time(1_000_000), false))));
        check(&[("snapshot", "true"), ("rewind", "3")], Ok(Some((Since::Last(3), true))));
        check(&[("rewind", "3"), ("snapshot", "false"), ("k", "v")], Ok(Some((Since::Last(3), false))));
        check(&[], Ok(None));
        check(&[("k", "v")], Ok(None));
        check(&[("snapshot", "false")], Ok(None));
    }

    #[test]
    fn what_cannot_be_asked_is_told() {
        for text in ["", "yesterday", "-1"] {
            let what = "the user property after is neither an event id nor a publication id nor an RFC 3339 time";
            check(&[("after", text)], Err(what));
        }
        check(&[("rewind", "all")], Err("the user property rewind is no number of events"));
        check(&[("rewind", "1"), ("snapshot", "yes")], Err("the user property snapshot is neither true nor false"));
        check(&[("snapshot", "true")], Err("a snapshot needs after or rewind"));
        check(&[("rewind", "1"), ("after", "1")], Err("after or rewind, but once"));
    }
}
