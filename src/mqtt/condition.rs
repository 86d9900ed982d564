//! Conditions on keys as user properties of PUBLISH: `when` and `will`.

use bytes::Bytes;

use super::codec::PublishProperties;
use crate::queue::condition::{Condition, KeyWill, StoredFormat, When};
use crate::types::payload::Format;
use crate::types::value::raw::Raw;

/// What a PUBLISH asks of the retained value that it changes; `None`: nothing.
///
/// # Errors
/// What cannot be asked, in words.
pub fn read(properties: &PublishProperties<'_>, retain: bool) -> Result<Option<Condition>, &'static str> {
    let mut condition = Condition::default();
    let mut watch = false;
    for (name, value) in properties.user_properties {
        match name {
            "when" => condition.when = Some(read_when(value)?),
            "will" => condition.will = Some(read_will(value)?),
            "watch" => watch = true,
            _ => {}
        }
    }
    let asked = condition != Condition::default();
    // What waits would hold up all later acknowledgements.
    if watch && (retain || asked) {
        return Err("watch is not for MQTT: call fennec.key.watch or fennec.lock.acquire");
    }
    Ok(asked.then_some(condition))
}

fn read_when(value: &str) -> Result<When, &'static str> {
    match parse(value) {
        Some(raw) if raw.is_null() => Ok(When::Absent),
        Some(raw) if raw.is_map() => Ok(When::Fields(value.to_owned())),
        _ => Err("the user property when is neither null nor a JSON object"),
    }
}

fn read_will(value: &str) -> Result<KeyWill, &'static str> {
    match parse(value) {
        Some(raw) if raw.is_null() => Ok(KeyWill::Erase),
        Some(_) => Ok(KeyWill::Set {
            format: StoredFormat::Bytes,
            args: Some(Bytes::copy_from_slice(value.as_bytes())),
            kwargs: None,
        }),
        None => Err("the user property will is no JSON"),
    }
}

fn parse(text: &str) -> Option<Raw<'_>> {
    Raw::parse(Format::Json, text.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::codec::UserProperties;

    fn check(pairs: &[(&str, &str)], retain: bool, expected: Result<Option<Condition>, &str>) {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let properties =
            PublishProperties { user_properties: UserProperties::new(&pairs), ..PublishProperties::default() };
        assert_eq!(read(&properties, retain), expected, "{pairs:?}");
    }

    fn will(text: &'static str) -> Option<KeyWill> {
        Some(KeyWill::Set { format: StoredFormat::Bytes, args: Some(text.into()), kwargs: None })
    }

    #[test]
    fn conditions_are_json_in_user_properties() {
        let when = |when| Ok(Some(Condition { when: Some(when), ..Condition::default() }));
        check(&[("when", "null")], true, when(When::Absent));
        check(&[("when", " {\"a\":1} ")], true, when(When::Fields(" {\"a\":1} ".to_owned())));
        let both = Condition { when: Some(When::Absent), will: Some(KeyWill::Erase), ..Condition::default() };
        check(&[("other", "x"), ("will", "null"), ("when", "null")], true, Ok(Some(both)));
        for text in ["{\"free\":true}", "\"x\"", "17", "[]"] {
            check(&[("will", text)], true, Ok(Some(Condition { will: will(text), ..Condition::default() })));
        }
    }

    #[test]
    fn what_is_no_condition_is_told() {
        for text in ["", "1", "[]", "\"x\"", "{", "{} {}", "nul"] {
            check(&[("when", text)], true, Err("the user property when is neither null nor a JSON object"));
        }
        for text in ["", "{", "free"] {
            check(&[("will", text)], true, Err("the user property will is no JSON"));
        }
        let watch = Err("watch is not for MQTT: call fennec.key.watch or fennec.lock.acquire");
        check(&[("watch", "true"), ("when", "null")], true, watch.clone());
        check(&[("watch", "true")], true, watch);
    }

    #[test]
    fn other_user_properties_are_the_applications() {
        check(&[], true, Ok(None));
        check(&[("k", "null")], true, Ok(None));
        check(&[("watch", "Rolex")], false, Ok(None));
    }
}
