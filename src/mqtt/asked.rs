//! What SUBSCRIBE asks for by user properties: older events (`after`, `rewind`, `snapshot`), only some of them (`filter`), and of a
//! shared subscription how it treats what its members do not acknowledge (`ack_timeout`, `deliveries_max`, `dead_letter_topic`,
//! `order_by`).

use super::codec::UserProperties;
use crate::node::past::Since;
use crate::queue::command::DurableRow;
use crate::types::fields::Fields;
use crate::types::topic::Topic;

/// What a SUBSCRIBE asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asked {
    /// Older events.
    pub since: Option<Since>,
    /// Those that are there now, and no subscription.
    pub snapshot: bool,
    /// Only events whose data have these fields, and as the client wrote them.
    pub fields: Option<(Fields, String)>,
    /// What is said of the group, if it is a shared subscription of a session that is kept.
    pub group: DurableRow,
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
            _ => {
                read_group(name, value, &mut asked.group)?;
                continue;
            }
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

/// What concerns shared subscriptions.
fn read_group(name: &str, value: &str, group: &mut DurableRow) -> Result<(), &'static str> {
    match name {
        "ack_timeout" => {
            let wrong = "the user property ack_timeout is no number of milliseconds";
            group.ack_timeout_ms = value.parse().map_err(|_| wrong)?;
        }
        "deliveries_max" => {
            let wrong = "the user property deliveries_max is no number below 65536";
            group.deliveries_max = value.parse().map_err(|_| wrong)?;
        }
        "dead_letter_topic" => {
            Topic::from_name(value).map_err(|_| "the user property dead_letter_topic is no topic name")?;
            group.dead_letter_topic = Some(value.to_owned());
        }
        "order_by" => group.order_by = Some(value.to_owned()),
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ids::PublicationId;

    fn check(pairs: &[(&str, &str)], expected: Result<(Option<Since>, bool), &str>) {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let expected = expected.map(|(since, snapshot)| Asked { since, snapshot, ..Asked::default() });
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
    fn a_shared_subscription_says_how_it_treats_what_is_not_acknowledged() {
        let pairs =
            [("ack_timeout", "500"), ("deliveries_max", "3"), ("dead_letter_topic", "dead"), ("order_by", "id")];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let expected = DurableRow {
            ack_timeout_ms: 500,
            deliveries_max: 3,
            dead_letter_topic: Some("dead".to_owned()),
            order_by: Some("id".to_owned()),
            ..DurableRow::default()
        };
        assert_eq!(read(UserProperties::new(&pairs)).map(|asked| asked.group), Ok(expected));
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
        check(&[("ack_timeout", "soon")], Err("the user property ack_timeout is no number of milliseconds"));
        check(&[("deliveries_max", "65536")], Err("the user property deliveries_max is no number below 65536"));
        check(&[("dead_letter_topic", "a/#")], Err("the user property dead_letter_topic is no topic name"));
        for text in ["", "[]", "1", "{"] {
            check(&[("filter", text)], Err("the user property filter is no JSON object"));
        }
    }
}
