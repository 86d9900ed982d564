//! Lists for people: a line for each entry below the heads, in columns.

use crate::cli::ask::json;
use crate::cli::columns::columns;
use crate::types::value::Value;

/// A column: its head, and the entry's field.
pub(super) type Column = (&'static str, &'static str);

pub(super) const SESSIONS: [Column; 12] = [
    ("SESSION", "session"),
    ("PROTOCOL", "protocol"),
    ("USER", "authid"),
    ("ROLE", "authrole"),
    ("CLIENT", "client_id"),
    ("CONNECTED", "connected"),
    ("SUBS", "subscriptions"),
    ("OUTBOX", "outbox_bytes"),
    ("BACKLOG", "backlog_messages"),
    ("INFLIGHT", "inflight_messages"),
    ("LAG", "lag"),
    ("OLDEST", "oldest_s"),
];
pub(super) const SUBSCRIPTIONS: [Column; 5] =
    [("ID", "id"), ("MATCH", "match"), ("SUBSCRIBERS", "subscribers"), ("CREATED", "created"), ("URI", "uri")];
pub(super) const REGISTRATIONS: [Column; 6] = [
    ("ID", "id"),
    ("MATCH", "match"),
    ("INVOKE", "invoke"),
    ("CALLEES", "callees"),
    ("CREATED", "created"),
    ("URI", "uri"),
];
pub(super) const RETAINED: [Column; 3] = [("BYTES", "bytes"), ("EVENT", "event_id"), ("TOPIC", "topic")];
pub(super) const DURABLES: [Column; 6] = [
    ("NAME", "name"),
    ("USER", "authid"),
    ("GROUP", "group"),
    ("CONNECTED", "connected"),
    ("LAG", "lag"),
    ("TOPIC", "topic"),
];
pub(super) const USERS: [Column; 4] =
    [("NAME", "name"), ("ROLE", "role"), ("REALMS", "realms"), ("METHODS", "methods")];

pub(super) fn table(entries: &[Value], fields: &[Column]) -> Vec<String> {
    let heads: Vec<String> = fields.iter().map(|(head, _)| (*head).to_owned()).collect();
    let cells = |entry: &Value| fields.iter().map(|(_, field)| cell(entry.get(field))).collect();
    columns(&std::iter::once(heads).chain(entries.iter().map(cells)).collect::<Vec<_>>())
}

/// A value as it stands in a table; what is not there is a dash.
fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::Text(text)) => text.clone(),
        Some(Value::Bool(true)) => "yes".to_owned(),
        Some(Value::Bool(false)) => "no".to_owned(),
        Some(other) => json(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::payload::Format;

    #[test]
    fn a_table_has_a_line_for_each_entry_in_columns_and_nothing_that_moves_the_cursor() {
        let entry = |text: &str| Value::decode(Format::Json, text.as_bytes()).unwrap();
        let lines = table(
            &[entry(r#"{"bytes":12,"event_id":null,"topic":"a.b"}"#), entry(r#"{"bytes":3,"topic":"a\u001b[2J"}"#)],
            &RETAINED,
        );
        assert_eq!(lines, ["BYTES  EVENT  TOPIC", "12     -      a.b", "3      -      a?[2J"]);
        assert_eq!(table(&[], &DURABLES), ["NAME  USER  GROUP  CONNECTED  LAG  TOPIC"]);
    }
}
