//! `cluster.toml`: read, checked as a whole, and made a [`Cluster`].
//!
//! The file is the same for all processes of a cluster, each of which finds its own part by its ids. Of other machines it names
//! files, which cannot be looked at here: whether its own can be read a process sees when it starts.

use std::path::Path;
use std::sync::Arc;

use super::setting::{Reader, Section};
use super::value::{Problem, file_problem};
use super::{reference, sort, sources};
use crate::cluster::config::Cluster;

mod check;
mod processes;
mod schema;
mod slots;
#[cfg(test)]
mod tests;

/// A file without mistakes.
#[derive(Debug)]
pub struct Loaded {
    pub cluster: Arc<Cluster>,
    /// What works, and is most likely not meant; with its place.
    pub warnings: Vec<Problem>,
}

/// Reads and checks the file, and the one with the key if it names one.
///
/// # Errors
/// Every mistake, in the order of their places. None shows the key.
pub fn load(path: &Path) -> Result<Loaded, Vec<Problem>> {
    let tree = sources::read_file(path)?;
    let mut reader = Reader::default();
    let file = reader.section::<schema::File>(&tree).unwrap_or_default();
    let mut problems = std::mem::take(&mut reader.problems);
    // What the keys mean together is not asked of a file of which only a part was understood.
    if problems.is_empty() {
        match check::check(&file, reader.origins, file_problem(path, String::new()).origin) {
            Ok((cluster, mut warnings)) => {
                sort(&mut warnings);
                return Ok(Loaded { cluster: Arc::new(cluster), warnings });
            }
            Err(found) => problems = found,
        }
    }
    sort(&mut problems);
    Err(problems)
}

/// Every key there is, with type, default and meaning (Markdown).
pub fn keys() -> String {
    reference::markdown_of(schema::File::keys())
}
