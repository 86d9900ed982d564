//! The README says which state survives what; `docs/durable.md` names the tests that say so.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// First cells of the rows of the first table behind a heading.
fn first_cells<'a>(page: &'a str, heading: &str) -> Vec<&'a str> {
    let behind = page.split_once(heading).expect("the heading").1;
    let table = behind.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    table.skip(2).filter_map(|row| row.split('|').nth(1)).map(str::trim).collect()
}

/// Names of all functions in the Rust files of a folder.
fn functions(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let named = text.lines().filter_map(|line| line.trim().strip_prefix("fn ")?.split_once("()"));
            names.extend(named.map(|(name, _)| name.to_owned()));
        }
    }
}

#[test]
fn every_row_of_the_table_of_what_survives_has_tests() {
    let (readme, durable) = (read("README.md"), read("docs/durable.md"));
    let rows = first_cells(&readme, "## Which state survives what");
    assert!(rows.len() > 5, "{rows:?}");
    assert_eq!(first_cells(&durable, "## How it is tested"), rows);
}

/// All functions without arguments.
fn all_functions() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    ["src", "tests"].iter().for_each(|folder| functions(&root.join(folder), &mut names));
    names
}

#[test]
fn tests_that_the_pages_of_tls_and_limits_name_exist() {
    let mut functions_of_all = BTreeSet::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    ["src", "tests"].iter().for_each(|folder| functions(&root.join(folder), &mut functions_of_all));
    let (tls, limits) = (read("docs/tls.md"), read("docs/limits.md"));
    let of_tls = tls.split_once("## How it is tested").unwrap().1.to_owned();
    // The last cell of tables with five columns.
    let of_limits: String =
        limits.lines().filter_map(|line| line.strip_suffix('|')?.split('|').nth(5)).collect::<Vec<_>>().join(" ");
    let named: Vec<_> = [&of_tls, &of_limits]
        .iter()
        .flat_map(|text| text.split('`'))
        .filter(|word| word.contains('_') && !word.contains(' '))
        .collect();
    assert!(named.len() > 20, "{named:?}");
    for name in named {
        assert!(functions_of_all.contains(name), "{name} is named, but no test");
    }
}

#[test]
fn tests_that_are_named_exist() {
    let functions_of_all = all_functions();
    let durable = read("docs/durable.md");
    let tested = durable.split_once("## How it is tested").unwrap().1;
    // Names of tests are sentences; others are short.
    let named: Vec<_> = tested.split('`').filter(|word| word.matches('_').count() > 2 && !word.contains(' ')).collect();
    assert!(named.len() > 15, "{named:?}");
    for name in named {
        assert!(functions_of_all.contains(name), "docs/durable.md names {name}, which is no test");
    }
}

/// The cells of the rows of all tables behind a heading.
fn rows<'a>(page: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let behind = page.split_once(heading).expect("the heading").1;
    let cells = |line: &'a str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>();
    let mut rows = Vec::new();
    for table in behind.split("\n\n").filter(|part| part.trim_start().starts_with('|')) {
        rows.extend(table.trim().lines().skip(2).map(cells));
    }
    rows
}

#[test]
fn every_row_of_the_wamp_specification_names_tests_that_exist() {
    let functions_of_all = all_functions();
    let wamp = read("docs/wamp.md");
    let rows = rows(&wamp, "## What of the specification, and how it is tested");
    assert!(rows.len() > 40, "{}", rows.len());
    for row in rows {
        let [what, status, tests] = row[..] else { panic!("three cells: {row:?}") };
        assert!(status.starts_with("yes") || status.starts_with("differs"), "{what}: {status}");
        let tests: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "{what} has no test");
        for name in tests {
            assert!(functions_of_all.contains(name), "docs/wamp.md names {name}, which is no test");
        }
    }
}

#[test]
fn every_feature_that_welcome_announces_is_documented() {
    let (wamp, hello) = (read("docs/wamp.md"), read("src/wamp/session/hello/mod.rs"));
    let announced: Vec<&str> = hello
        .split("_FEATURES: [&str;")
        .skip(1)
        .flat_map(|list| list.split_once("];").expect("an end").0.split('"').skip(1).step_by(2))
        .collect();
    assert!(announced.len() > 20, "{announced:?}");
    for feature in announced {
        assert!(wamp.contains(&format!("`{feature}`")), "docs/wamp.md does not name {feature}");
    }
}
