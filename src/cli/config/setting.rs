//! What a key can be set to: how each type is read from a value and shown in the reference.

use std::collections::HashMap;
use std::path::PathBuf;

use super::nearest;
use super::value::{Entry, Node, Origin, Problem, Value};
use crate::types::limits::{Limit, Limits, Unit};

/// A key of the configuration, for the reference and for the names of environment variables.
pub(super) struct Key {
    pub name: &'static str,
    /// Markdown; may have several lines.
    pub doc: String,
    pub shape: Shape,
    /// As TOML; `None`: there is none.
    pub default: Option<String>,
}

#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// A value; the words say which are allowed.
    Value(&'static str),
    /// One such value or several.
    List(&'static str),
    Table(fn() -> Vec<Key>),
    Tables(fn() -> Vec<Key>),
}

pub(super) trait Setting: Sized {
    const SHAPE: Shape;

    /// The value, or `None` after telling the reader what is wrong with it.
    fn read(node: &Node, reader: &mut Reader) -> Option<Self>;

    /// As TOML.
    fn show(&self) -> Option<String>;
}

/// A table whose keys are known.
pub(super) trait Section: Default {
    /// As limits name it; empty for tables without limits.
    const NAME: &'static str;

    fn keys() -> Vec<Key>;

    /// Reads the key of this name. False: there is none.
    fn set(&mut self, name: &str, node: &Node, reader: &mut Reader) -> bool;
}

/// Reads a tree of values into sections, and keeps what was wrong and where everything stood.
#[derive(Default)]
pub(super) struct Reader {
    pub problems: Vec<Problem>,
    pub limits: Limits,
    /// Where each key that was said was said, by dotted key.
    pub origins: HashMap<String, Origin>,
    path: String,
}

impl Reader {
    /// The dotted key that is being read.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn wrong(&mut self, origin: &Origin, what: impl Into<String>) {
        self.problems.push(Problem { origin: origin.clone(), key: self.path.clone(), what: what.into() });
    }

    /// Reads one step further down; `step` is a key or an index such as `[2]`.
    pub(super) fn below<T>(&mut self, step: &str, origin: &Origin, read: impl FnOnce(&mut Reader) -> T) -> T {
        let length = self.path.len();
        if length > 0 && !step.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(step);
        self.origins.insert(self.path.clone(), origin.clone());
        let result = read(self);
        self.path.truncate(length);
        result
    }

    pub(super) fn section<S: Section>(&mut self, node: &Node) -> Option<S> {
        let Value::Table(entries) = &node.value else {
            self.wrong(&node.origin, "must be a table");
            return None;
        };
        let mut section = S::default();
        for entry in entries {
            self.below(&entry.key, &entry.node.origin, |reader| reader.entry(&mut section, entry));
        }
        Some(section)
    }

    fn entry<S: Section>(&mut self, section: &mut S, entry: &Entry) {
        if section.set(&entry.key, &entry.node, self) || self.limit(S::NAME, entry) {
            return;
        }
        let keys = S::keys();
        let names = keys.iter().map(|key| key.name);
        self.wrong(&entry.key_origin, nearest::unknown("key", &entry.key, names));
    }

    fn limit(&mut self, section: &str, entry: &Entry) -> bool {
        let Some(limit) = Limits::TABLE.iter().find(|limit| limit.section == section && limit.name == entry.key) else {
            return false;
        };
        let set = read_number(&entry.node, limit.unit).and_then(|number| match u64::try_from(number) {
            Ok(number) => {
                self.limits.set(section, limit.name, number).unwrap_or(Ok(())).map_err(|range| range.to_string())
            }
            Err(_) => Err(format!("must be from {} to {}", limit.min, limit.max)),
        });
        if let Err(what) = set {
            self.wrong(&entry.node.origin, what);
        }
        true
    }
}

/// The limits of a section, as keys of it.
pub(super) fn limit_keys(section: &str) -> impl Iterator<Item = Key> {
    Limits::TABLE.iter().filter(move |limit| limit.section == section).map(|limit: &Limit| Key {
        name: limit.name,
        doc: format!("{} From {} to {}.", limit.doc, limit.min, limit.max),
        shape: Shape::Value(match limit.unit {
            Unit::Bytes => BYTES,
            Unit::Count | Unit::Seconds => NUMBER,
        }),
        default: Some(limit.default.to_string()),
    })
}

const NUMBER: &str = "whole number";
const BYTES: &str = "number of bytes, or text such as \"16 MiB\"";

fn read_number(node: &Node, unit: Unit) -> Result<i128, String> {
    let number = match &node.value {
        Value::Int(number) => Some(i128::from(*number)),
        Value::Word(word) => number_in(word.trim(), unit),
        Value::Text(text) if unit == Unit::Bytes => number_in(text.trim(), unit),
        _ => None,
    };
    number.ok_or_else(|| format!("must be a {}", if unit == Unit::Bytes { BYTES } else { NUMBER }))
}

fn number_in(text: &str, unit: Unit) -> Option<i128> {
    const FACTORS: [(&str, i128); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
    let suffix = FACTORS
        .into_iter()
        .filter(|_| unit == Unit::Bytes)
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, factor)));
    let (digits, factor) = suffix.unwrap_or((text, 1));
    digits.trim_end().replace('_', "").parse::<i64>().ok().map(|number| i128::from(number) * factor)
}

impl Setting for bool {
    const SHAPE: Shape = Shape::Value("true or false");

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Bool(yes) => Some(*yes),
            Value::Word(word) if word == "true" => Some(true),
            Value::Word(word) if word == "false" => Some(false),
            _ => {
                reader.wrong(&node.origin, "must be true or false");
                None
            }
        }
    }

    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Setting for u32 {
    const SHAPE: Shape = Shape::Value(NUMBER);

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let number = read_number(node, Unit::Count)
            .and_then(|number| u32::try_from(number).map_err(|_| format!("must be from 0 to {}", u32::MAX)));
        number.map_err(|what| reader.wrong(&node.origin, what)).ok()
    }

    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Setting for u64 {
    const SHAPE: Shape = Shape::Value(NUMBER);

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        read_count(node, Unit::Count, reader)
    }

    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ByteCount(pub u64);

impl Setting for ByteCount {
    const SHAPE: Shape = Shape::Value(BYTES);

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        read_count(node, Unit::Bytes, reader).map(ByteCount)
    }

    fn show(&self) -> Option<String> {
        Some(self.0.to_string())
    }
}

fn read_count(node: &Node, unit: Unit, reader: &mut Reader) -> Option<u64> {
    let number = read_number(node, unit)
        .and_then(|number| u64::try_from(number).map_err(|_| "must not be negative, nor that large".to_owned()));
    number.map_err(|what| reader.wrong(&node.origin, what)).ok()
}

impl Setting for String {
    const SHAPE: Shape = Shape::Value("text");

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = node.text();
        if text.is_none() {
            reader.wrong(&node.origin, "must be text");
        }
        text.map(str::to_owned)
    }

    fn show(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}

impl Setting for PathBuf {
    const SHAPE: Shape = Shape::Value("path");

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let path = String::read(node, reader)?;
        if path.is_empty() {
            reader.wrong(&node.origin, "must not be empty");
            return None;
        }
        Some(node.origin.folder().map_or_else(|| PathBuf::from(&path), |folder| folder.join(&path)))
    }

    fn show(&self) -> Option<String> {
        Some(format!("{:?}", self.display().to_string()))
    }
}

impl<T: Setting> Setting for Option<T> {
    const SHAPE: Shape = T::SHAPE;

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        T::read(node, reader).map(Some)
    }

    fn show(&self) -> Option<String> {
        self.as_ref().and_then(T::show)
    }
}

/// One value stands for a list of one; in the environment and on the command line commas separate.
impl<T: Setting> Setting for Vec<T> {
    const SHAPE: Shape = match T::SHAPE {
        Shape::Value(words) => Shape::List(words),
        other => other,
    };

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let before = reader.problems.len();
        let items = items(node);
        let mut list = Vec::new();
        for (index, item) in items.iter().enumerate() {
            list.extend(match items.len() {
                1 => T::read(item, reader),
                _ => reader.below(&format!("[{index}]"), &item.origin, |reader| T::read(item, reader)),
            });
        }
        (reader.problems.len() == before).then_some(list)
    }

    fn show(&self) -> Option<String> {
        let items: Vec<String> = self.iter().filter_map(T::show).collect();
        Some(if let [item] = &items[..] { item.clone() } else { format!("[{}]", items.join(", ")) })
    }
}

/// The nodes of a list, or of what stands for one.
pub(super) fn items(node: &Node) -> Vec<Node> {
    match &node.value {
        Value::List(items) => items.clone(),
        Value::Word(words) => words.split(',').map(|word| Node::word(word.trim(), node.origin.clone())).collect(),
        _ => vec![node.clone()],
    }
}

/// A list of tables, such as all `[[user]]`.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables<S>(pub Vec<S>);

impl<S: Section> Setting for Tables<S> {
    const SHAPE: Shape = Shape::Tables(S::keys);

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let Value::List(items) = &node.value else {
            reader.wrong(&node.origin, "must be a list of tables");
            return None;
        };
        let mut tables = Vec::new();
        for (index, item) in items.iter().enumerate() {
            // A table that is wrong keeps its place, so that the index of the others is that of the file.
            let read = |reader: &mut Reader| reader.section::<S>(item).unwrap_or_default();
            tables.push(reader.below(&format!("[{index}]"), &item.origin, read));
        }
        Some(Tables(tables))
    }

    fn show(&self) -> Option<String> {
        None
    }
}

/// Makes tables of the configuration: the struct that holds one, its keys with their documentation, and its reading. The text
/// after `in` is the table's name as limits know it.
macro_rules! sections {
    ($(
        $(#[doc = $about:literal])*
        $visibility:vis struct $Section:ident in $name:literal {
            $($(#[doc = $doc:literal])* $field:ident: $type:ty = $default:expr,)*
        }
    )*) => {$(
        $(#[doc = $about])*
        #[derive(Clone, Debug)]
        $visibility struct $Section {
            $($(#[doc = $doc])* pub $field: $type,)*
        }

        impl Default for $Section {
            fn default() -> Self {
                $Section { $($field: $default,)* }
            }
        }

        impl $crate::cli::config::setting::Section for $Section {
            const NAME: &'static str = $name;

            fn keys() -> Vec<$crate::cli::config::setting::Key> {
                let own: Vec<$crate::cli::config::setting::Key> = vec![$($crate::cli::config::setting::Key {
                    name: stringify!($field).trim_start_matches("r#"),
                    doc: concat!($($doc, "\n"),*).trim().replace("\n ", "\n"),
                    shape: <$type as $crate::cli::config::setting::Setting>::SHAPE,
                    default: <$type as $crate::cli::config::setting::Setting>::show(&$default),
                },)*];
                own.into_iter().chain($crate::cli::config::setting::limit_keys($name)).collect()
            }

            #[allow(unused_variables, reason = "a table may have limits only")]
            fn set(
                &mut self,
                name: &str,
                node: &$crate::cli::config::value::Node,
                reader: &mut $crate::cli::config::setting::Reader,
            ) -> bool {
                $(if name == stringify!($field).trim_start_matches("r#") {
                    if let Some(value) = $crate::cli::config::setting::Setting::read(node, reader) {
                        self.$field = value;
                    }
                    return true;
                })*
                false
            }
        }

        impl $crate::cli::config::setting::Setting for $Section {
            const SHAPE: $crate::cli::config::setting::Shape =
                $crate::cli::config::setting::Shape::Table(<$Section as $crate::cli::config::setting::Section>::keys);

            fn read(
                node: &$crate::cli::config::value::Node,
                reader: &mut $crate::cli::config::setting::Reader,
            ) -> Option<Self> {
                reader.section(node)
            }

            fn show(&self) -> Option<String> {
                None
            }
        }
    )*};
}
pub(super) use sections;

/// Makes an enum a setting: one of some words.
macro_rules! choices {
    ($type:ty { $($word:literal => $value:expr,)* }) => {
        impl $crate::cli::config::setting::Setting for $type {
            const SHAPE: $crate::cli::config::setting::Shape =
                $crate::cli::config::setting::Shape::Value(concat!("one of", $(" `", $word, "`"),*));

            fn read(
                node: &$crate::cli::config::value::Node,
                reader: &mut $crate::cli::config::setting::Reader,
            ) -> Option<Self> {
                match node.text() {
                    $(Some($word) => Some($value),)*
                    _ => {
                        reader.wrong(&node.origin, concat!("must be one of", $(" \"", $word, "\""),*));
                        None
                    }
                }
            }

            fn show(&self) -> Option<String> {
                $(if *self == $value { return Some(concat!("\"", $word, "\"").to_owned()) })*
                None
            }
        }
    };
}
pub(super) use choices;
