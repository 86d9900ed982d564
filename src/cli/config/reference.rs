//! The reference of all keys, as it stands in `docs/configuration.md` and as `fennec check-config --keys` prints it.

use std::fmt::Write;

use super::schema::{File, ListenerTable};
use super::setting::{Key, Section, Shape};

/// Every key: a Markdown table for each table of the configuration.
pub fn markdown() -> String {
    markdown_of(File::keys())
}

pub(super) fn markdown_of(keys: Vec<Key>) -> String {
    let mut text = String::new();
    table(&mut text, "", false, keys);
    text
}

/// One table, then those within it.
fn table(text: &mut String, path: &str, listed: bool, keys: Vec<Key>) {
    let (values, tables): (Vec<Key>, Vec<Key>) =
        keys.into_iter().partition(|key| matches!(key.shape, Shape::Value(_) | Shape::List(_)));
    if !values.is_empty() {
        text.push_str("| Key | Value | Default | Meaning |\n|---|---|---|---|\n");
    }
    for key in values {
        let shape = match key.shape {
            Shape::Value(words) => words.to_owned(),
            Shape::List(words) => format!("{words}; or a list"),
            Shape::Table(_) | Shape::Tables(_) => continue,
        };
        let default = key.default.map_or_else(|| "—".to_owned(), |default| format!("`{default}`"));
        line(text, format_args!("| `{}` | {shape} | {default} | {} |", key.name, one_line(&key.doc)));
    }
    for key in tables {
        let inner = if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
        let (title, keys, listed) = match key.shape {
            Shape::Table(keys) if listed => (inner.clone(), keys(), listed),
            Shape::Table(keys) => (format!("[{inner}]"), keys(), listed),
            Shape::Tables(keys) => (format!("[[{inner}]]"), keys(), true),
            Shape::Value(_) | Shape::List(_) => continue,
        };
        line(text, format_args!("\n### `{title}`\n\n{}\n", one_line(&key.doc)));
        table(text, &inner, listed, keys);
        if inner == "listen" {
            text.push_str("\n#### A listener as a table\n\n");
            table(text, &inner, true, ListenerTable::keys());
        }
    }
}

fn one_line(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "{line}");
}
