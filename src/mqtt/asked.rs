//! What SUBSCRIBE asks for by user properties: older events (`after`, `rewind`, `snapshot`), and only some of them (`filter`).

use super::codec::UserProperties;
use crate::node::past::Since;
use crate::types::fields::Fields;

/// What a SUBSCRIBE asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asked {
    /// Older events.
    pub since: Option<Since>,
    /// Those that are there now, and no subscription.
    pub snapshot: bool,
    /// Only events whose data have these fields, and as the client wrote them.
    pub fields: Option<(Fields, String)>,
}

/// # Errors
/// What cannot be asked, in words.
pub fn read(properties: UserProperties<'_>) -> Result<Asked, &'static str> {
    let mut asked = Asked::default();
    for (name, value) in properties {
        let since = match name {
            "after" => Since::after_text(value).map_err(
                |_| "the user property after is neither an event id nor a publication id nor an RFC 3339 time",
            )?,
            "rewind" => Since::Last(value.parse().map_err(|_| "the user property rewind is no number of events")?),
            "snapshot" => {
                asked.snapshot = value.parse().map_err(|_| "the user property snapshot is neither true nor false")?;
                continue;
            }
            "filter" => {
                let fields = Fields::parse(value).ok_or("the user property filter is no JSON object")?;
                asked.fields = Some((fields, value.to_owned()));
                continue;
            }
            _ => continue,
        };
        if asked.since.replace(since).is_some() {
            return Err("after or rewind, but once");
        }
    }
    if asked.snapshot && asked.since.is_none() {
        return Err("a snapshot needs after or rewind");
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ids::PublicationId;

    fn check(pairs: &[(&str, &str)], expected: Result<(Option<Since>, bool), &str>) {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let expected = expected.map(|(since, snapshot)| Asked { since, snapshot, fields: None });
        assert_eq!(read(UserProperties::new(&pairs)), expected, "{pairs:?}");
    }

    #[test]
    fn older_events_are_asked_for_by_id_time_and_count() {
        let id = "2607272218a1a1";
        check(&[("after", id)], Ok((Some(Since::Event(id.parse().unwrap())), false)));
        check(&[("after", "17")], Ok((Some(Since::Publication(PublicationId(17))), false)));
        check(&[("after", "1970-01-01T00:00:01Z")], Ok((Some(Since::Time(1_000_000)), false)));
        check(&[("snapshot", "true"), ("rewind", "3")], Ok((Some(Since::Last(3)), true)));
        check(&[("rewind", "3"), ("snapshot", "false"), ("k", "v")], Ok((Some(Since::Last(3)), false)));
        for nothing in [&[][..], &[("k", "v")], &[("snapshot", "false")]] {
            check(nothing, Ok((None, false)));
        }
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
        for text in ["", "[]", "1", "{"] {
            check(&[("filter", text)], Err("the user property filter is no JSON object"));
        }
    }
}
