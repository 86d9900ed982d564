//! `docs/cluster/configuration.md` says what the program does.

use std::path::PathBuf;

use super::*;

const REFERENCE_START: &str = "<!-- What follows is printed by `fennec cluster check --keys`. -->\n\n";

fn documentation() -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cluster/configuration.md");
    let text = fs::read_to_string(&path).unwrap();
    (path, text)
}

/// With UPDATE_DOCS=1 in the environment the reference is written anew instead.
#[test]
fn the_documentation_has_the_reference_of_every_key() {
    let (path, text) = documentation();
    let (before, after) = text.split_once(REFERENCE_START).unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        return fs::write(path, format!("{before}{REFERENCE_START}{}", keys())).unwrap();
    }
    assert!(after == keys(), "run the tests with UPDATE_DOCS=1 to renew docs/cluster/configuration.md");
}

#[test]
fn the_examples_of_the_documentation_are_accepted_without_a_warning() {
    let (_, text) = documentation();
    let examples: Vec<&str> = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 2);
    for example in examples {
        let scene = Scene::new(example);
        fs::write(scene.folder.path().join("cluster.key"), "k".repeat(44)).unwrap();
        let Loaded { cluster, warnings } = scene.loaded();
        assert_eq!(scene.lines(&warnings), Vec::<String>::new());
        assert_eq!((cluster.nodes_of(Role::Sync).count(), cluster.copies(), cluster.storage_quorum), (3, 3, 2));
    }
}
