//! Values of the configuration before anybody knows what they mean, each with the place it came from.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

/// Where a value was said. Later variants win over earlier ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    /// Line and column count from 1; column in characters.
    File {
        path: Arc<Path>,
        line: usize,
        column: usize,
    },
    /// The name of an environment variable.
    Env(String),
    /// A flag as it is typed, such as `--mqtt`.
    Flag(String),
}

impl Origin {
    /// The greater wins.
    pub(super) fn priority(&self) -> u8 {
        match self {
            Origin::Default => 0,
            Origin::File { .. } => 1,
            Origin::Env(_) => 2,
            Origin::Flag(_) => 3,
        }
    }

    /// The folder that a relative path is relative to: that of the configuration file; else (`None`) the working directory.
    pub(super) fn folder(&self) -> Option<&Path> {
        match self {
            Origin::File { path, .. } => path.parent(),
            _ => None,
        }
    }
}

/// One thing that is wrong with the configuration; prints as one line that names where, which key and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub origin: Origin,
    /// Dotted key, such as `listen.mqtt` or `user[2].role`; empty for what concerns a whole file.
    pub key: String,
    /// Never quotes the value of a secret.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Default => {}
            Origin::File { path, line: 0, .. } => write!(f, "{}: ", path.display())?,
            Origin::File { path, line, column } => write!(f, "{}:{line}:{column}: ", path.display())?,
            Origin::Env(name) => return write!(f, "{name}: {}", self.what),
            Origin::Flag(name) => return write!(f, "{name}: {}", self.what),
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Text of which the type is not said: from the environment or a flag. Becomes what its key wants.
    Word(String),
    Text(String),
    Int(i64),
    Bool(bool),
    List(Vec<Node>),
    Table(Vec<Entry>),
    /// What no key wants: floats, dates, numbers beyond 64 bits.
    Other,
}

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub value: Value,
    pub origin: Origin,
}

/// A key of a table and its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    pub key_origin: Origin,
    pub node: Node,
}

impl Node {
    pub(super) fn word(text: &str, origin: Origin) -> Node {
        Node { value: Value::Word(text.to_owned()), origin }
    }

    /// The text, of whatever sort.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) | Value::Word(text) => Some(text),
            _ => None,
        }
    }

    /// Puts `node` at `path` in this table, over what was there, making tables on the way.
    pub(super) fn put(&mut self, path: &[&str], node: Node) {
        let Some((key, rest)) = path.split_first() else {
            *self = node;
            return;
        };
        if !matches!(self.value, Value::Table(_)) {
            self.value = Value::Table(Vec::new());
        }
        let Value::Table(entries) = &mut self.value else { return };
        let at = entries.iter().position(|entry| entry.key == *key).unwrap_or_else(|| {
            let empty = Node { value: Value::Table(Vec::new()), origin: node.origin.clone() };
            entries.push(Entry { key: (*key).to_owned(), key_origin: node.origin.clone(), node: empty });
            entries.len() - 1
        });
        entries[at].node.put(rest, node);
    }
}

/// Reads TOML. Fails with every syntax error, not only the first.
pub(super) fn parse(path: &Path, text: &str) -> Result<Node, Vec<Problem>> {
    let places = Places { path: Arc::from(path), text };
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let span = table.span();
        return Ok(Node { value: places.table(table.get_ref()), origin: places.origin(span) });
    }
    let problem = |error: toml::de::Error| Problem {
        origin: places.origin(error.span().unwrap_or(0..0)),
        key: String::new(),
        what: format!("not TOML: {}", error.message()),
    };
    Err(errors.into_iter().map(problem).collect())
}

/// The name a file goes by in messages.
pub(super) fn file_problem(path: &Path, what: String) -> Problem {
    let origin = Origin::File { path: PathBuf::from(path).into(), line: 0, column: 0 };
    Problem { origin, key: String::new(), what }
}

struct Places<'t> {
    path: Arc<Path>,
    text: &'t str,
}

impl Places<'_> {
    fn origin(&self, span: Range<usize>) -> Origin {
        let before = &self.text[..self.text.floor_char_boundary(span.start)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Origin::File {
            path: self.path.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    fn table(&self, table: &DeTable<'_>) -> Value {
        let entry = |(key, value): (&toml::Spanned<toml::de::DeString<'_>>, &toml::Spanned<DeValue<'_>>)| Entry {
            key: key.get_ref().to_string(),
            key_origin: self.origin(key.span()),
            node: self.node(value),
        };
        Value::Table(table.iter().map(entry).collect())
    }

    fn node(&self, spanned: &toml::Spanned<DeValue<'_>>) -> Node {
        let value = match spanned.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Int(number),
                Err(_) => Value::Other,
            },
            DeValue::Boolean(yes) => Value::Bool(*yes),
            DeValue::Array(items) => Value::List(items.iter().map(|item| self.node(item)).collect()),
            DeValue::Table(table) => self.table(table),
            DeValue::Float(_) | DeValue::Datetime(_) => Value::Other,
        };
        Node { value, origin: self.origin(spanned.span()) }
    }
}
