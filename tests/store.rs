//! `fennec store` as a child process, on stores that were filled beforehand.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use fennec::queue::segment::{Segment, TopicShare};
use fennec::store::{Commit, Opened, StoreSettings, StoreUrl, open};

#[path = "support/postgres.rs"]
mod postgres;

fn fennec(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fennec"));
    let inherited = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FENNEC_"));
    inherited.for_each(|(name, _)| {
        command.env_remove(name);
    });
    command.arg("store").args(arguments).output().unwrap()
}

fn check(output: &Output, code: i32, stdout: &str, stderr: &str) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let found = (output.status.code(), text(&output.stdout), text(&output.stderr));
    assert_eq!(found, (Some(code), stdout.to_owned(), stderr.to_owned()));
}

fn opened(folder: &Path) -> Opened {
    let url = StoreUrl::Folder(folder.to_owned());
    open(&StoreSettings { url, strict: true, ..StoreSettings::default() }).unwrap()
}

/// A folder with three segments of two numbers without messages, and as many rows as are given.
fn filled(rows: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let segment = |position: u64| Segment {
        position,
        first: position * 2,
        count: 2,
        at_us: 1_700_000_000_000_000 + position * 1_000_000,
        minute: 28_333_333,
        generator: position,
        body: vec![3, 2, 0, 0, 0].into(),
        topics: vec![TopicShare { realm: "r".into(), topic: "t".into(), messages: 0, bytes: 0 }],
        ..Segment::default()
    };
    let rows = rows.iter().map(|key| (key.as_bytes().to_vec(), Some(b"value".to_vec())));
    let commit = Commit { segments: (1..=3).map(segment).collect(), rows: rows.collect(), ..Commit::default() };
    opened(folder.path()).store.commit(&commit).unwrap();
    folder
}

#[test]
fn stats_tell_what_is_there_also_while_it_is_in_use() {
    let folder = filled(&["a", "b"]);
    let path = folder.path().to_str().unwrap();
    let _used = opened(folder.path());
    let output = fennec(&["stats", "--data", path]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let expected = [
        path,
        "segments  3 (15 bytes)",
        "numbers   2 to 7",
        "times     2023-11-14T22:13:21Z to 2023-11-14T22:13:23Z",
        "position  3",
        "rows      2",
    ];
    assert_eq!(lines[..6], expected);
    let output = fennec(&["stats", "--data", path, "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["segments"], &json["first_at_us"]), (&3.into(), &1_700_000_001_000_000_u64.into()));
}

#[test]
fn check_tells_every_problem_and_ends_with_1() {
    let folder = filled(&["?"]);
    let path = folder.path().to_str().unwrap();
    let _used = opened(folder.path());
    let stdout = "position 1 is to hold t of r, but does not\nposition 2 is to hold t of r, but does not\n\
                  position 3 is to hold t of r, but does not\nthe row ? cannot be read\n\
                  the state ends with position 0 and number 0, the log with 3 and 7\n";
    check(&fennec(&["check", "--data", path]), 1, stdout, &format!("fennec: {path}: 5 problems\n"));
    let output = fennec(&["check", "--data", path, "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((json["problems"].as_array().unwrap().len(), &json["numbers"]), (5, &6.into()));
    let empty = tempfile::tempdir().unwrap();
    drop(opened(empty.path()));
    let path = empty.path().to_str().unwrap();
    check(&fennec(&["check", "--data", path]), 0, &format!("{path}: ok (0 segments, 0 rows)\n"), "");
}

#[test]
fn what_needs_the_store_for_itself_is_refused_while_it_is_in_use() {
    let folder = filled(&[]);
    let path = folder.path().to_str().unwrap();
    let file = folder.path().join("file");
    let file = file.to_str().unwrap();
    let used = opened(folder.path());
    let in_use = format!("fennec: in use by another broker: the folder {path} (process {})\n", std::process::id());
    for command in [&["compact", "--data", path][..], &["export", file, "--data", path]] {
        check(&fennec(command), 1, "", &in_use);
    }
    assert!(!Path::new(file).exists());
    drop(used);
    let output = fennec(&["compact", "--data", path]);
    assert!(output.status.success(), "{output:?}");
    let exported = fennec(&["export", file, "--data", path]);
    check(&exported, 0, &format!("{file}: 3 segments, 0 rows\n"), "");
    let _used = opened(folder.path());
    check(&fennec(&["import", file, "--data", path]), 1, "", &in_use);
}

#[test]
fn a_store_moves_from_one_database_to_another_and_back() {
    let folder = filled(&["a", "b"]);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (from, first, second, to) = (path(""), path("first"), path("second"), path("to"));
    let there = postgres::store_url().unwrap_or_else(|| path("there"));
    assert!(fennec(&["export", &first, "--data", &from]).status.success());
    let output = fennec(&["import", &first, "--store", &there]);
    assert!(output.status.success(), "{output:?}");
    let output = fennec(&["export", &second, "--store", &there]);
    assert!(output.status.success(), "{output:?}");
    assert!(fs::read(&first).unwrap() == fs::read(&second).unwrap());
    check(&fennec(&["import", &second, "--data", &to]), 0, &format!("{to}: 3 segments, 2 rows\n"), "");
    let not_empty = format!("fennec: {to} is not empty: import into a new one\n");
    check(&fennec(&["import", &second, "--data", &to]), 1, "", &not_empty);
    let stdout = fennec(&["export", "-", "--data", &to]).stdout;
    assert!(stdout == fs::read(&first).unwrap(), "and to standard output");
}

#[test]
fn nothing_is_made_where_there_is_no_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none");
    let path = path.to_str().unwrap();
    for command in ["stats", "check", "compact"] {
        check(&fennec(&[command, "--data", path]), 1, "", &format!("fennec: there is no store in {path}\n"));
    }
    assert!(!Path::new(path).exists());
    let refused = "fennec: the configuration keeps everything in memory: there is no store\n";
    check(&fennec(&["stats", "--store", "memory"]), 2, "", refused);
}

/// Events go by the configuration of the broker; without it nobody can say which have to stay.
#[test]
fn compact_gives_up_what_need_not_be_kept_where_the_configuration_says_so() {
    let folder = filled(&[]);
    let path = folder.path().to_str().unwrap();
    let segments = || {
        let output = fennec(&["stats", "--data", path, "--json"]);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        json["segments"].clone()
    };
    let file = folder.path().join("fennec.toml");
    let config = file.to_str().unwrap();
    for (text, left) in [(None, 3), (Some("[[durable]]\ntopic = 't'\nmax_age_s = 3_000_000_000\n"), 3), (Some(""), 0)] {
        let mut arguments = vec!["compact", "--data", path];
        if let Some(text) = text {
            fs::write(&file, text).unwrap();
            arguments.extend(["--config", config]);
        }
        let output = fennec(&arguments);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(segments(), left, "{text:?}");
    }
}

#[test]
fn a_store_into_which_an_import_was_not_finished_says_so() {
    let folder = filled(&[]);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (file, to) = (path("file"), path("to"));
    assert!(fennec(&["export", &file, "--data", &path("")]).status.success());
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 10]).unwrap();
    check(&fennec(&["import", &file, "--data", &to]), 1, "", &format!("fennec: {file}: it ends in the middle\n"));
    let problem = "an import into it was not finished: remove it, and import again\n";
    check(&fennec(&["check", "--data", &to]), 1, problem, &format!("fennec: {to}: 1 problems\n"));
}

#[test]
fn files_are_not_overwritten_and_halves_not_left() {
    let folder = filled(&[]);
    let path = folder.path().to_str().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "precious").unwrap();
    let output = fennec(&["export", file.to_str().unwrap(), "--data", path]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    let to = folder.path().join("to");
    let output = fennec(&["import", file.to_str().unwrap(), "--data", to.to_str().unwrap()]);
    let stderr = format!("fennec: {}: it ends in the middle\n", file.display());
    check(&output, 1, "", &stderr);
}
