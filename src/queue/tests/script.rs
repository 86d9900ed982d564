//! Runs trace scripts. A script is blocks of commands, each with the trace it must leave:
//!
//! ```text
//! # Why.
//! publish E1 hello
//! ---
//! E1 -> N1 BEGIN 1000
//! …
//! ```
//!
//! A blank line ends the trace. `UPDATE_SCRIPTS=1 cargo test queue::tests` writes the traces as they are now: read what
//! changed.

use std::fmt::Write;
use std::path::PathBuf;

use super::cluster::Cluster;

/// Runs one script.
#[track_caller]
pub fn check(name: &str) {
    let path = folder().join(name);
    let expected = std::fs::read_to_string(&path).unwrap();
    let actual = run(&expected);
    if std::env::var_os("UPDATE_SCRIPTS").is_some() {
        std::fs::write(&path, actual).unwrap();
    } else if actual != expected {
        panic!("{name} goes otherwise:\n{}", difference(&expected, &actual));
    }
}

/// All scripts there are, sorted.
pub fn names() -> Vec<String> {
    let entries = std::fs::read_dir(folder()).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/queue")
}

/// The script with the traces that its commands leave.
fn run(script: &str) -> String {
    let mut cluster = Cluster::default();
    let mut written = String::new();
    let mut lines = script.lines();
    let mut commands = Vec::new();
    while let Some(line) = lines.next() {
        if line == "---" {
            let mut trace = String::new();
            for command in commands.drain(..) {
                trace.extend(cluster.command(command).iter().map(|line| format!("{line}\n")));
            }
            let trace = if trace.is_empty() { "nothing\n" } else { &trace };
            let _ = writeln!(written, "---\n{trace}");
            // The trace that was expected.
            lines.by_ref().take_while(|line| !line.is_empty()).for_each(drop);
        } else {
            let _ = writeln!(written, "{line}");
            commands.extend(Some(line).filter(|line| !line.is_empty() && !line.starts_with('#')));
        }
    }
    assert!(commands.is_empty(), "commands without a trace: {commands:?}");
    written.truncate(written.trim_end().len());
    written.push('\n');
    written
}

/// The first lines that differ, with what comes before.
fn difference(expected: &str, actual: &str) -> String {
    let same = expected.lines().zip(actual.lines()).take_while(|(expected, actual)| expected == actual).count();
    let part = |text: &str, sign: char| -> String {
        text.lines().skip(same).take(6).map(|line| format!("{sign} {line}\n")).collect()
    };
    let before: String =
        expected.lines().take(same).skip(same.saturating_sub(6)).map(|line| format!("  {line}\n")).collect();
    format!("{before}{}{}", part(expected, '-'), part(actual, '+'))
}

#[test]
fn a_trace_that_differs_is_seen() {
    let script = "# Two.\nnodes E1 N1\ninit E1\n---\n";
    let actual = run(script);
    assert!(actual.contains("INIT"), "{actual}");
    assert_eq!(run(&actual), actual);
    assert_ne!(run(&actual.replace("init E1", "clock 5")), actual);
    assert_eq!(difference("a\nb\nc\n", "a\nx\nc\n"), "  a\n- b\n- c\n+ x\n+ c\n");
}
