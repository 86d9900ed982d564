//! Keeps the floors of the house: a room names only rooms below it, and the files under the bar do no IO.
//!
//! It reads the words of `src/**/*.rs`, comments, strings and `#[cfg(test)]` items aside, and looks at the paths that
//! begin with `crate::` (or climb to the crate's root by `super::`). To add a room, add it to [`FLOORS`]; to put a file
//! under the bar, add it to [`BAR`].

use std::path::{Path, PathBuf};

/// The floors, lowest first. A room may name rooms of lower floors; rooms of one floor do not know each other.
const FLOORS: &[&[&str]] = &[
    &["types"],
    &["router", "queue", "delivery"],
    &["store"],
    &["node"],
    &["net"],
    &["wamp", "mqtt", "http"],
    &["client"],
    &["cluster", "outbound"],
    &["cli"],
];

/// What is plain synchronous code: rooms, or a file or folder of a room, without `.rs`.
const BAR: &[&str] = &[
    "types",
    "router",
    "queue",
    "delivery",
    "client/backoff",
    "client/machine",
    "client/mqtt",
    "client/url",
    "client/wamp",
    "cluster/config",
    "cluster/frame",
    "cluster/handshake",
    "cluster/overview",
    "cluster/pulse",
    "cluster/sync",
    "cluster/retention",
    "cluster/status",
    "mqtt/codec",
    "mqtt/rpc",
    "mqtt/session",
    "mqtt/topic",
    "mqtt/wire",
    "net/pace",
    "net/proxy/header",
    "net/x509",
    "outbound/bridge/echo",
    "outbound/bridge/inward",
    "outbound/bridge/machine",
    "outbound/bridge/outward",
    "outbound/bridge/rules",
    "outbound/bridge/translate",
    "outbound/path",
    "outbound/uplink/machine",
    "wamp/message",
    "wamp/rawsocket",
    "wamp/serializer",
    "wamp/session",
    "wamp/serve",
    "wamp/uri",
    "wamp/wire",
    "outbound/service/machine",
];

/// What no file under the bar may name: the runtime, sockets, the clock, the database.
const FORBIDDEN: &[&[&str]] = &[
    &["tokio"],
    &["tokio_rustls"],
    &["tokio_tungstenite"],
    &["hyper"],
    &["sqlx"],
    &["async"],
    &["await"],
    &["TcpStream"],
    &["TcpListener"],
    &["UdpSocket"],
    &["UnixStream"],
    &["std", "fs"],
    &["std", "process"],
    &["Instant", "now"],
    &["SystemTime", "now"],
];

#[test]
fn every_room_names_only_rooms_below_it() {
    let faults: Vec<String> = sources().iter().flat_map(|source| source.floor_faults(FLOORS)).collect();
    assert!(faults.is_empty(), "the floors are broken:\n{}", faults.join("\n"));
}

#[test]
fn files_under_the_bar_do_no_io_and_ask_no_clock() {
    let faults: Vec<String> = sources().iter().flat_map(|source| source.bar_faults(BAR, FORBIDDEN)).collect();
    assert!(faults.is_empty(), "the bar is broken:\n{}", faults.join("\n"));
}

#[test]
fn both_tables_name_only_what_is_there() {
    let sources = sources();
    let rooms = FLOORS.iter().flat_map(|floor| floor.iter());
    let missing: Vec<&&str> = rooms.chain(BAR).filter(|name| !sources.iter().any(|s| s.is_within(name))).collect();
    assert!(missing.is_empty(), "in a table of tests/floors.rs but not in src: {missing:?}");
}

/// One source file: its path below `src` and its words.
struct Source {
    path: String,
    words: Vec<Word>,
}

/// A name, `::`, or one character of punctuation, with the line it stands on.
#[derive(Clone, Debug)]
struct Word {
    text: String,
    line: usize,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Source { path: path.to_owned(), words: without_test_items(words(text)) }
    }

    /// The room the file is in; none for the crate's root.
    fn room(&self) -> Option<&str> {
        let room = self.path.split('/').next()?.trim_end_matches(".rs");
        (!matches!(room, "lib" | "main")).then_some(room)
    }

    /// Whether the file is `name` or lies in the folder `name`.
    fn is_within(&self, name: &str) -> bool {
        self.path.strip_prefix(name).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    }

    /// How many `super` lead from the file's module to the crate's root.
    fn depth(&self) -> usize {
        let parts = self.path.split('/').count();
        if self.path.ends_with("/mod.rs") { parts - 1 } else { parts }
    }

    fn floor_faults(&self, floors: &[&[&str]]) -> Vec<String> {
        let Some(room) = self.room() else { return Vec::new() };
        let floor_of = |name: &str| floors.iter().position(|floor| floor.contains(&name));
        let Some(floor) = floor_of(room) else {
            return vec![format!("src/{}: the room `{room}` is on no floor of tests/floors.rs", self.path)];
        };
        let allowed = |named: &str| named == room || floor_of(named).is_none_or(|below| below < floor);
        let faults = self.rooms_named().into_iter().filter(|word| !allowed(&word.text));
        faults.map(|word| format!("src/{}:{}: `{room}` names `{}`", self.path, word.line, word.text)).collect()
    }

    /// The first names after `crate::`, and after as many `super::` as lead to the crate's root.
    fn rooms_named(&self) -> Vec<Word> {
        let mut named = Vec::new();
        let mut at = 0;
        while at < self.words.len() {
            let begins = at == 0 || self.words[at - 1].text != "::";
            let supers = self.words[at..].chunks(2).take_while(|pair| is_step(pair, "super")).count();
            if is_step(&self.words[at..], "crate") {
                named.extend(first_names(&self.words[at + 2..]));
            } else if begins && supers >= self.depth() {
                named.extend(first_names(&self.words[at + 2 * supers..]));
            }
            at += 1;
        }
        named
    }

    fn bar_faults(&self, bar: &[&str], forbidden: &[&[&str]]) -> Vec<String> {
        if !bar.iter().any(|name| self.is_within(name)) {
            return Vec::new();
        }
        let mut faults = Vec::new();
        for at in 0..self.words.len() {
            let found = forbidden.iter().filter(|path| self.names_path(at, path));
            faults
                .extend(found.map(|p| format!("src/{}:{}: names `{}`", self.path, self.words[at].line, p.join("::"))));
        }
        faults
    }

    /// Whether the words from `at` on spell `path`, `::` between its names.
    fn names_path(&self, at: usize, path: &[&str]) -> bool {
        path.iter().enumerate().all(|(step, name)| {
            let word = self.words.get(at + 2 * step);
            let joined = step == 0 || self.words.get(at + 2 * step - 1).is_some_and(|word| word.text == "::");
            joined && word.is_some_and(|word| word.text == *name)
        })
    }
}

/// Whether `words` begin with `name::`.
fn is_step(words: &[Word], name: &str) -> bool {
    words.len() >= 2 && words[0].text == name && words[1].text == "::"
}

/// What stands right after `crate::`: one name, or of a group in braces the first name of every member.
fn first_names(words: &[Word]) -> Vec<Word> {
    if words.first().is_none_or(|word| word.text != "{") {
        return words.first().cloned().into_iter().collect();
    }
    let mut names = Vec::new();
    let mut depth = 0;
    let mut before = "";
    for word in words {
        match word.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            name if depth == 1 && matches!(before, "{" | ",") && is_name(name) => names.push(word.clone()),
            _ => {}
        }
        if depth == 0 {
            break;
        }
        before = &word.text;
    }
    names
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// Drops each item under `#[cfg(test)]`: up to its `;`, or to the end of its braces.
fn without_test_items(words: Vec<Word>) -> Vec<Word> {
    const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let texts = words[at..].iter().take(TEST.len()).map(|word| word.text.as_str());
        if texts.eq(TEST) {
            at = end_of_item(&words, at + TEST.len());
        } else {
            kept.push(words[at].clone());
            at += 1;
        }
    }
    kept
}

/// The index after the item that begins at `at`.
fn end_of_item(words: &[Word], at: usize) -> usize {
    let mut depth = 0;
    for (index, word) in words.iter().enumerate().skip(at) {
        match word.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" if depth == 1 => return index + 1,
            "}" | ")" | "]" => depth -= 1,
            ";" if depth == 0 => return index + 1,
            _ => {}
        }
    }
    words.len()
}

/// The words of a Rust source, without comments, strings and characters.
fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let length = token_length(rest, first);
        let token = &rest[..length];
        if !first.is_whitespace() && !is_silent(token) {
            words.push(Word { text: token.to_owned(), line });
        }
        line += token.matches('\n').count();
        rest = &rest[length..];
    }
    words
}

/// Whether a token is a comment, a string, a character or a lifetime.
fn is_silent(token: &str) -> bool {
    token.len() > 1 && (token.starts_with(['/', '"', '\'']) || token.ends_with(['"', '#']))
}

/// The length in bytes of the token at the head of `rest`, whose first character is `first`.
fn token_length(rest: &str, first: char) -> usize {
    let until = |end: &str, from: usize| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    match first {
        '/' if rest.starts_with("//") => until("\n", 0),
        '/' if rest.starts_with("/*") => block_comment_length(rest),
        '"' => quoted_length(rest, 1, '"'),
        '\'' if is_character(rest) => quoted_length(rest, 1, '\''),
        '\'' => 1 + name_length(&rest[1..]),
        ':' if rest.starts_with("::") => 2,
        'r' | 'b' | 'c' if raw_string_hashes(rest).is_some() => {
            let (start, hashes) = raw_string_hashes(rest).unwrap_or_default();
            until(&format!("\"{}", "#".repeat(hashes)), start)
        }
        'b' | 'c' if rest[1..].starts_with('"') => quoted_length(rest, 2, '"'),
        'b' if rest[1..].starts_with('\'') => quoted_length(rest, 2, '\''),
        _ if is_name(rest) => name_length(rest),
        _ => first.len_utf8(),
    }
}

fn name_length(rest: &str) -> usize {
    rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
}

/// Tells `'a'` from the lifetime `'a`.
fn is_character(rest: &str) -> bool {
    let mut after = rest.chars().skip(1);
    match (after.next(), after.next()) {
        (Some('\\'), _) => true,
        (_, second) => second == Some('\''),
    }
}

/// The length up to the closing `quote`, where the text starts at `from` and a backslash hides what follows it.
fn quoted_length(rest: &str, from: usize, quote: char) -> usize {
    let mut hidden = false;
    for (at, c) in rest.char_indices().skip(from) {
        match c {
            _ if hidden => hidden = false,
            '\\' => hidden = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Where the text of `r#"…"#` starts, and how many `#` close it; none if it is no raw string.
fn raw_string_hashes(rest: &str) -> Option<(usize, usize)> {
    let letters = rest.find('r').filter(|at| *at <= 1 && (*at == 0 || rest.starts_with(['b', 'c'])))? + 1;
    let hashes = rest[letters..].find(|c| c != '#')?;
    rest[letters + hashes..].starts_with('"').then_some((letters + hashes + 1, hashes))
}

/// The length of a block comment; such comments nest.
fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        let (step, change) = match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (2, 1),
            [b'*', b'/', ..] => (2, -1),
            _ => (1, 0),
        };
        at += step;
        depth += change;
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// All sources of the crate but the files of unit tests.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    paths.sort();
    let read = |path: &PathBuf| {
        let below = path.strip_prefix(&root).expect("below src").to_str().expect("a name in UTF-8").replace('\\', "/");
        Source::new(&below, &std::fs::read_to_string(path).expect("a readable source"))
    };
    paths.iter().map(read).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        let is_test = path.file_stem().is_some_and(|stem| stem == "tests");
        if path.is_dir() && !is_test {
            collect(&path, paths);
        } else if !is_test && path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

/// What the keeper itself promises, on sources made up for it.
mod keeper {
    use super::*;

    const HOUSE: &[&[&str]] = &[&["low"], &["left", "right"], &["high"]];

    #[track_caller]
    fn check(path: &str, text: &str, expected: &[&str]) {
        let source = Source::new(path, text);
        let mut faults = source.floor_faults(HOUSE);
        faults.extend(source.bar_faults(&["low", "left/rules"], FORBIDDEN));
        assert_eq!(faults, expected);
    }

    #[test]
    fn a_room_below_may_be_named() {
        check("left/mod.rs", "use crate::low::Thing;\nuse crate::left::Own;\nuse std::fmt;", &[]);
    }

    #[test]
    fn a_room_above_or_beside_may_not() {
        check("left/a.rs", "\nuse crate::high;", &["src/left/a.rs:2: `left` names `high`"]);
        check("left/a.rs", "fn f() { crate::right::g() }", &["src/left/a.rs:1: `left` names `right`"]);
    }

    #[test]
    fn every_member_of_a_group_is_looked_at() {
        let text = "use crate::{low::{self, high}, right::{a, b}, high};";
        check("left/a.rs", text, &["src/left/a.rs:1: `left` names `right`", "src/left/a.rs:1: `left` names `high`"]);
    }

    #[test]
    fn climbing_to_the_root_is_seen() {
        check("left/a.rs", "use super::super::high;", &["src/left/a.rs:1: `left` names `high`"]);
        check("left/mod.rs", "use super::high;", &["src/left/mod.rs:1: `left` names `high`"]);
        check("left/a.rs", "use super::high;", &[]);
    }

    #[test]
    fn comments_strings_and_tests_are_not_looked_at() {
        check("left/a.rs", "// crate::high\n/* /* crate::high */ crate::high */ //! [`crate::high`]", &[]);
        check("left/a.rs", "const A: &str = \"\\\"crate::high\"; const B: &str = r#\"\"crate::high\"#;", &[]);
        check(
            "left/a.rs",
            "#[cfg(test)]\nmod tests { mod a { use crate::high; } }\n#[cfg(test)] use crate::high;",
            &[],
        );
        let after = "#[cfg(test)] mod tests { fn f() {} }\nfn f<'a>(c: char) { c == '\"'; crate::high::g() }";
        check("left/a.rs", after, &["src/left/a.rs:2: `left` names `high`"]);
    }

    #[test]
    fn a_room_without_a_floor_is_a_fault() {
        check("attic/mod.rs", "", &["src/attic/mod.rs: the room `attic` is on no floor of tests/floors.rs"]);
        check("lib.rs", "use crate::high;", &[]);
    }

    #[test]
    fn the_bar_covers_folders_and_files() {
        check(
            "low/a.rs",
            "use std::time::Instant;\nlet t = Instant::now();",
            &["src/low/a.rs:2: names `Instant::now`"],
        );
        check("left/rules.rs", "use tokio::time;", &["src/left/rules.rs:1: names `tokio`"]);
        check("left/rules/a.rs", "async fn f() {}", &["src/left/rules/a.rs:1: names `async`"]);
        check("left/rules_not.rs", "use tokio::time;", &[]);
    }
}
