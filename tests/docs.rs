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

/// Sections of MQTT 5.0 with normative statements: the numbers of the first and the last.
const MQTT_5: &str = "\
    1.5.4-1..3 1.5.5-1..1 1.5.7-1..1 2.1.3-1..1 2.2.1-2..6 2.2.2-1..1 3.1.0-1..2 3.1.2-1..30 3.1.3-1..12 \
    3.1.4-1..6 3.2.0-1..2 3.2.2-1..22 3.3.1-1..13 3.3.2-1..20 3.3.4-1..10 3.4.2-1..3 3.5.2-1..3 3.6.1-1..1 \
    3.6.2-1..3 3.7.2-1..3 3.8.1-1..1 3.8.3-1..5 3.8.4-1..8 3.9.2-1..2 3.9.3-1..2 3.10.1-1..1 3.10.3-1..2 \
    3.10.4-1..6 3.11.2-1..2 3.11.3-1..2 3.12.4-1..1 3.14.0-1..1 3.14.1-1..1 3.14.2-1..4 3.14.4-1..3 3.15.1-1..1 \
    3.15.2-1..3 4.1.0-1..2 4.2-1..1 4.3.1-1..1 4.3.2-1..5 4.3.3-1..13 4.4.0-1..2 4.5.0-1..2 4.6.0-1..6 \
    4.7.0-1..1 4.7.1-1..2 4.7.2-1..1 4.7.3-1..4 4.8.2-1..6 4.9.0-1..3 4.12.0-1..7 4.12.1-1..2 4.13.1-1..1 \
    4.13.2-1..1 6.0.0-1..4";

/// The same of 3.1.1.
const MQTT_3_1_1: &str = "\
    1.5.3-1..3 2.2.2-1..2 2.3.1-1..7 3.1.0-1..2 3.1.2-1..24 3.1.3-1..11 3.1.4-1..5 3.2.0-1..1 3.2.2-1..6 \
    3.3.1-1..12 3.3.2-1..3 3.3.4-1..1 3.3.5-1..2 3.6.1-1..1 3.8.1-1..1 3.8.3-1..4 3.8.4-1..6 3.9.3-1..2 \
    3.10.1-1..1 3.10.3-1..2 3.10.4-1..6 3.12.4-1..1 3.14.1-1..1 3.14.4-1..3 4.1.0-1..2 4.2.0-1..1 4.3.1-1..1 \
    4.3.2-1..2 4.3.3-1..2 4.4.0-1..1 4.5.0-1..2 4.6.0-1..6 4.7.1-1..3 4.7.2-1..1 4.7.3-1..4 4.8.0-1..2 \
    6.0.0-1..4 7.0.0-1..2 7.1.1-1..1 7.1.2-1..1";

/// The statements of a cell: `3.1.0-1, 2; 3.1.4-3`.
fn statements(cell: &str) -> Vec<String> {
    let mut all = Vec::new();
    for group in cell.split(';').map(str::trim).filter(|group| !group.is_empty()) {
        let (section, numbers) = group.split_once('-').unwrap_or_else(|| panic!("no statement: {group}"));
        all.extend(numbers.split(',').map(|number| format!("{section}-{}", number.trim())));
    }
    all
}

/// What `1.5.4-1..3` stands for.
fn statements_of(section: &str) -> Vec<String> {
    let (name, numbers) = section.split_once('-').expect("a section and its numbers");
    let (first, last) = numbers.split_once("..").expect("the first and the last");
    let numbers = first.parse::<u32>().unwrap()..=last.parse().unwrap();
    numbers.map(|number| format!("{name}-{number}")).collect()
}

#[test]
fn every_normative_statement_of_mqtt_stands_in_the_table_once() {
    let page = read("docs/mqtt.md");
    let behind = page.split_once("## Statement by statement").expect("the heading").1;
    let section = behind.split("\n## ").next().unwrap_or_default();
    let is_row = |line: &&str| line.starts_with('|') && !line.starts_with("|---") && !line.starts_with("| 5.0 ");
    let rows: Vec<Vec<&str>> =
        section.lines().filter(is_row).map(|line| line.split('|').map(str::trim).collect()).collect();
    for (column, sections) in [(1, MQTT_5), (2, MQTT_3_1_1)] {
        let mut found: Vec<String> = rows.iter().flat_map(|row| statements(row[column])).collect();
        let mut expected: Vec<String> = sections.split_whitespace().flat_map(statements_of).collect();
        found.sort();
        expected.sort();
        let missing: Vec<_> = expected.iter().filter(|one| !found.contains(one)).collect();
        let unknown: Vec<_> = found.iter().filter(|one| !expected.contains(one)).collect();
        let twice: Vec<_> = found.windows(2).filter(|two| two[0] == two[1]).map(|two| &two[0]).collect();
        assert!(missing.is_empty() && unknown.is_empty() && twice.is_empty(), "{missing:?} {unknown:?} {twice:?}");
    }
    for row in rows {
        let needs_none = row[3] == "client" || ["none", "conformance"].iter().any(|word| row[3].starts_with(word));
        assert!(needs_none || row[4].contains('`'), "no test is named for {row:?}");
    }
}

#[test]
fn tests_that_the_page_of_mqtt_names_exist() {
    let functions_of_all = all_functions();
    let page = read("docs/mqtt.md");
    let is_name = |word: &&str| {
        word.matches('_').count() > 2 && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let named: Vec<_> = page.split('`').filter(is_name).collect();
    assert!(named.len() > 100, "only {} tests are named", named.len());
    let wrong: Vec<_> = named.into_iter().filter(|name| !functions_of_all.contains(*name)).collect();
    assert!(wrong.is_empty(), "docs/mqtt.md names what is no test: {wrong:?}");
}
