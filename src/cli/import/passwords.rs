//! Mosquitto's `password_file`: a user and a hash a line.

use std::path::Path;

use super::conf::Place;
use crate::node::users::check_hash;

/// `(name, hash)` of each; tells what cannot be used.
pub(super) fn read(file: &Path, text: &str, tell: &mut Vec<String>) -> Vec<(String, String)> {
    let mut users: Vec<(String, String)> = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
    {
        let place = Place { file: file.into(), line: index + 1 };
        // The rest of the line may be a secret, and is not shown.
        let Some((name, hash)) = line.trim_end().split_once(':') else {
            tell.push(format!("{place}: has no colon between user and hash"));
            continue;
        };
        if let Err(problem) = check_hash(hash) {
            let hint = "run `mosquitto_passwd -U` on a copy of the file if its passwords are in plain text";
            tell.push(format!("{place}: the hash of {name:?} {problem}; {hint}"));
        } else if users.iter().any(|(known, _)| known == name) {
            tell.push(format!("{place}: user {name:?} is there twice: the first counts"));
        } else {
            users.push((name.to_owned(), hash.to_owned()));
        }
    }
    users
}
