//! The file of users and roles that stands beside the configuration, and is changed while the broker runs.
//!
//! Its tables become part of the same tree of values, so they are read and checked as those of the configuration are, and
//! together with them.

use std::path::PathBuf;

use super::nearest;
use super::sources::{Sources, read_file};
use super::value::{Entry, Node, Problem, Value, file_problem, parse};

/// What the file may hold.
const TABLES: [&str; 2] = ["user", "role"];
const KEY: &str = "users_file";

/// The file of users that is configured, if any. Says nothing about the rest of the configuration.
pub fn file_of(sources: &Sources) -> Option<PathBuf> {
    path_in(&sources.merge().0)
}

fn path_in(tree: &Node) -> Option<PathBuf> {
    let Value::Table(entries) = &tree.value else { return None };
    let entry = entries.iter().find(|entry| entry.key == KEY)?;
    let written = entry.node.text().filter(|text| !text.is_empty())?;
    Some(entry.node.origin.folder().map_or_else(|| PathBuf::from(written), |folder| folder.join(written)))
}

/// Adds the tables of the file of users to the tree, if it names one. `instead`: what that file would hold. Returns what is
/// wrong with it.
pub(super) fn include(tree: &mut Node, instead: Option<&str>) -> Vec<Problem> {
    let Some(path) = path_in(tree) else { return Vec::new() };
    let read = match instead {
        Some(text) => parse(&path, text),
        None => read_file(&path),
    };
    let read = match read {
        Ok(read) => read,
        Err(problems) => return problems,
    };
    let Value::Table(entries) = read.value else { return vec![file_problem(&path, "is no table".to_owned())] };
    let mut problems = Vec::new();
    for entry in entries {
        match (TABLES.contains(&entry.key.as_str()), &entry.node.value) {
            (true, Value::List(_)) => add(tree, entry),
            (true, _) => problems.push(problem(&entry, format!("is a list of tables: write [[{}]]", entry.key))),
            (false, _) => {
                let what = nearest::unknown("key in a file of users", &entry.key, TABLES);
                problems.push(problem(&entry, what));
            }
        }
    }
    problems
}

fn problem(entry: &Entry, what: String) -> Problem {
    Problem { origin: entry.key_origin.clone(), key: entry.key.clone(), what }
}

/// Behind those that are there.
fn add(tree: &mut Node, entry: Entry) {
    let Value::Table(entries) = &mut tree.value else { return };
    let (Some(known), Value::List(more)) = (entries.iter_mut().find(|known| known.key == entry.key), &entry.node.value)
    else {
        return entries.push(entry);
    };
    // Anything else is wrong, and will be said to be.
    if let Value::List(list) = &mut known.node.value {
        list.extend(more.iter().cloned());
    }
}
