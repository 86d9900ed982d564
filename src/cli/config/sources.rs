//! Where the configuration is said: a file, the environment, flags. All become one tree of values; a flag wins over the
//! environment, that over the file, that over the defaults.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::nearest;
use super::schema::{Row, rows};
use super::value::{Node, Origin, Problem, Value, file_problem, parse};

/// What variables of fennec begin with.
const PREFIX: &str = "FENNEC_";
/// Names the configuration file; the flag is `--config`.
const CONFIG: &str = "FENNEC_CONFIG";
/// What variables of the client commands begin with, which are no configuration.
const CLIENT_PREFIX: &str = "FENNEC_CLIENT_";

/// All that was said and not yet understood.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file to read; else the one that `FENNEC_CONFIG` names, else none.
    pub file: Option<PathBuf>,
    /// Environment variables; those that do not begin with `FENNEC_` are passed over.
    pub env: Vec<(OsString, OsString)>,
    /// Flags in the order they were given; of the same key the last wins.
    pub flags: Vec<Flag>,
}

/// A flag that sets a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// As typed, such as `--mqtt`; for messages.
    pub name: String,
    /// Dotted key, such as `listen.mqtt`.
    pub key: String,
    pub value: String,
}

/// Without the environment, which may hold secrets.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("file", &self.config_file()).finish_non_exhaustive()
    }
}

impl Sources {
    /// The file that will be read, if any.
    pub fn config_file(&self) -> Option<PathBuf> {
        let named = || self.env.iter().find(|(name, value)| name == CONFIG && !value.is_empty());
        self.file.clone().or_else(|| named().map(|(_, value)| PathBuf::from(value)))
    }

    /// One tree of everything; with it what was wrong with its sources.
    pub(super) fn merge(&self) -> (Node, Vec<Problem>) {
        let mut problems = Vec::new();
        let mut tree = Node { value: Value::Table(Vec::new()), origin: Origin::Default };
        if let Some(path) = self.config_file() {
            match read_file(&path) {
                Ok(node) => tree = node,
                Err(mut found) => problems.append(&mut found),
            }
        }
        let rows: Vec<Row> = rows().into_iter().filter(|row| !row.listed).collect();
        for (name, value) in &self.env {
            if let Err(problem) = put_variable(&mut tree, &rows, name, value) {
                problems.push(problem);
            }
        }
        for flag in &self.flags {
            if let Err(problem) = put_flag(&mut tree, &rows, flag) {
                problems.push(problem);
            }
        }
        (tree, problems)
    }
}

/// The environment variable that sets a key.
pub(super) fn variable(row: &Row) -> String {
    let words: Vec<String> = row.tables.iter().chain([&row.key.name]).map(|word| word.to_uppercase()).collect();
    format!("{PREFIX}{}", words.join("_"))
}

/// The file as a tree of values.
pub(super) fn read_file(path: &Path) -> Result<Node, Vec<Problem>> {
    let problem = |what: String| vec![file_problem(path, what)];
    let bytes = std::fs::read(path).map_err(|error| problem(format!("cannot read the configuration: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|_| problem("is not UTF-8 text".to_owned()))?;
    parse(path, &text)
}

fn put_variable(tree: &mut Node, rows: &[Row], name: &OsString, value: &OsString) -> Result<(), Problem> {
    let is_ours = |name: &&str| name.starts_with(PREFIX) && !name.starts_with(CLIENT_PREFIX) && *name != CONFIG;
    let Some(name) = name.to_str().filter(is_ours) else { return Ok(()) };
    let origin = Origin::Env(name.to_owned());
    let problem = |what: String| Problem { origin: origin.clone(), key: String::new(), what };
    let text = value.to_str();
    let Some(row) = rows.iter().find(|row| variable(row) == name) else {
        if is_service_link(name, text.unwrap_or_default()) {
            return Ok(());
        }
        // Without what all of them begin with: it would make any two look alike.
        let names: Vec<String> = rows.iter().map(variable).chain([CONFIG.to_owned()]).collect();
        let nearest = nearest::nearest(&name[PREFIX.len()..], names.iter().map(|name| &name[PREFIX.len()..]));
        let hint = nearest.map_or_else(String::new, |nearest| format!("; did you mean \"{PREFIX}{nearest}\"?"));
        return Err(problem(format!("unknown variable{hint}")));
    };
    let text = text.ok_or_else(|| problem("is not UTF-8 text".to_owned()))?;
    tree.put(&path_of(row), Node::word(text, origin.clone()));
    Ok(())
}

fn put_flag(tree: &mut Node, rows: &[Row], flag: &Flag) -> Result<(), Problem> {
    let origin = Origin::Flag(flag.name.clone());
    let Some(row) = rows.iter().find(|row| path_of(row).join(".") == flag.key) else {
        let names: Vec<String> = rows.iter().map(|row| path_of(row).join(".")).collect();
        let what = nearest::unknown(&format!("key {:?}", flag.key), &flag.key, names.iter().map(String::as_str));
        return Err(Problem { origin, key: String::new(), what });
    };
    tree.put(&path_of(row), Node::word(&flag.value, origin));
    Ok(())
}

fn path_of(row: &Row) -> Vec<&'static str> {
    row.tables.iter().copied().chain([row.key.name]).collect()
}

/// Whether a container platform put the variable there for a service that is called `fennec` or `fennec-…`, as Kubernetes and
/// Docker links do: `FENNEC_SERVICE_HOST`, `FENNEC_PORT=tcp://…`, `FENNEC_PORT_1883_TCP_ADDR`. Nobody can help those.
fn is_service_link(name: &str, value: &str) -> bool {
    let port_of = |name: &str| {
        let (_, rest) = name.split_once("_PORT_")?;
        let (port, protocol) = rest.split_once('_')?;
        let protocols = ["TCP", "UDP", "SCTP"];
        Some(port.parse::<u16>().is_ok() && protocols.iter().any(|known| protocol.starts_with(known)))
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && value.contains("://"))
        || port_of(name) == Some(true)
}
