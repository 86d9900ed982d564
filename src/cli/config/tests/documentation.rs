//! `docs/configuration.md` says what the program does.

use std::path::{Path, PathBuf};

use super::*;

fn documentation() -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let text = fs::read_to_string(&path).unwrap();
    (path, text)
}

const REFERENCE_START: &str = "<!-- What follows is printed by `fennec check-config --keys`. -->\n\n";

/// With UPDATE_DOCS=1 in the environment the reference is written anew instead.
#[test]
fn the_documentation_has_the_reference_of_every_key() {
    let (path, text) = documentation();
    let (before, after) = text.split_once(REFERENCE_START).unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        return fs::write(path, format!("{before}{REFERENCE_START}{}", reference())).unwrap();
    }
    assert!(after == reference(), "run the tests with UPDATE_DOCS=1 to renew docs/configuration.md");
    for limit in Limits::TABLE {
        assert!(after.contains(&format!("| `{}` |", limit.name)), "{}", limit.key());
    }
}

#[test]
fn the_example_of_the_documentation_is_accepted() {
    let (_, text) = documentation();
    let example = text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let scene = Scene::new(example);
    ["cert.pem", "key.pem"].iter().for_each(|name| fs::write(scene.folder.path().join(name), "").unwrap());
    let config = scene.load();
    assert!(
        config.listeners.len() >= 3
            && !config.users.is_empty()
            && !config.roles.is_empty()
            && !config.codecs.is_empty()
    );
}

#[test]
fn every_example_of_the_page_on_delivery_is_accepted() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/delivery.md");
    let text = fs::read_to_string(path).unwrap();
    let examples: Vec<&str> = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 4, "{examples:?}");
    let configs: Vec<Config> = examples.iter().map(|example| Scene::new(example).load()).collect();
    assert!(configs.iter().any(|config| !config.services.is_empty()));
    assert!(configs.iter().any(|config| !config.hooks.is_empty()));
    assert!(configs.iter().any(|config| !config.bridges.is_empty()));
    assert!(configs.iter().any(|config| config.uplinks.iter().any(|uplink| !uplink.receive.is_empty())));
    assert!(configs.iter().any(|config| config.uplinks.iter().any(|uplink| uplink.timing.bytes_per_s.is_some())));
    assert!(configs.iter().any(|config| !config.allow_networks.is_empty()));
}
