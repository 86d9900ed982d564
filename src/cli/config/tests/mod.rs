//! Configurations and what is said about them: mistakes with their places, which source wins, what is open to whom.

use std::fs;

use super::*;
use crate::store::{StoreUrl, SyncMode};

mod bridges;
mod certificates;
mod documentation;
mod meaning;
mod services;
mod sources;

mod uplinks;

/// A hash of nothing in particular.
const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A folder with a configuration file, an environment and flags.
struct Scene {
    folder: tempfile::TempDir,
    sources: Sources,
}

impl Scene {
    fn new(file: &str) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fennec.toml");
        fs::write(&path, file).unwrap();
        Scene { folder, sources: Sources { file: Some(path), ..Sources::default() } }
    }

    fn env(mut self, name: &str, value: &str) -> Scene {
        self.sources.env.push((name.into(), value.into()));
        self
    }

    fn flag(mut self, name: &str, key: &str, value: &str) -> Scene {
        self.sources.flags.push(Flag { name: name.into(), key: key.into(), value: value.into() });
        self
    }

    fn load(&self) -> Config {
        Config::load(&self.sources).unwrap_or_else(|problems| panic!("{problems:#?}"))
    }

    /// What is wrong, a line each, with the folder left out.
    fn problems(&self) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        let problems = Config::load(&self.sources).err().unwrap_or_default();
        problems.iter().map(|problem| problem.to_string().replace(&folder, "")).collect()
    }
}

#[track_caller]
fn check(file: &str, expected: &[&str]) {
    assert_eq!(Scene::new(file).problems(), expected, "{file}");
}

#[test]
fn an_empty_file_and_none_give_the_default() {
    for config in [Scene::new("").load(), Config::load(&Sources::default()).unwrap()] {
        let listeners: Vec<String> =
            config.listeners.iter().map(|one| format!("{} {}", one.key, one.address)).collect();
        assert_eq!(
            listeners,
            ["listen.mqtt 127.0.0.1:1883", "listen.http 127.0.0.1:9000", "listen.rawsocket 127.0.0.1:9001"]
        );
        assert!(
            config
                .listeners
                .iter()
                .all(|one| one.anonymous == Anonymous::Local && one.tls.is_none() && one.realm.is_none())
        );
        assert_eq!(
            config.store,
            StoreSettings { url: StoreUrl::Folder("./fennec-data".into()), ..StoreSettings::default() }
        );
        assert_eq!(config.durable, []);
        assert_eq!((&*config.default_realm, config.realms.len()), ("realm1", 1));
        assert_eq!(config.limits, Limits::default());
        assert_eq!((config.log.as_str(), config.log_format), ("info", LogFormat::Human));
    }
}

#[test]
fn unknown_keys_are_named_with_place_and_nearest() {
    check("lgo = 1", &["fennec.toml:1:1: lgo: unknown key; did you mean \"log\"?"]);
    check("\n\n  zzz = 1", &["fennec.toml:3:3: zzz: unknown key"]);
    check("[lisen]\nmqtt = 1", &["fennec.toml:1:2: lisen: unknown key; did you mean \"listen\"?"]);
    check("[listen]\nmqqt = \"x\"", &["fennec.toml:2:1: listen.mqqt: unknown key; did you mean \"mqtt\"?"]);
    check(
        "limits.sesions_max = 1",
        &["fennec.toml:1:8: limits.sesions_max: unknown key; did you mean \"sessions_max\"?"],
    );
    check("[mqtt]\nsessions_max = 1", &["fennec.toml:2:1: mqtt.sessions_max: unknown key"]);
    check(
        "[[realm]]\nname = \"a\"\n[[realm]]\nnam = \"b\"",
        &["fennec.toml:4:1: realm[1].nam: unknown key; did you mean \"name\"?"],
    );
    check(
        "[listen]\nmqtt = { adress = \"127.0.0.1:1\" }",
        &[
            "fennec.toml:2:8: listen.mqtt: address is missing",
            "fennec.toml:2:10: listen.mqtt.adress: unknown key; did you mean \"address\"?",
        ],
    );
}

#[test]
fn wrong_types_are_named_with_place() {
    check("memory = 1", &["fennec.toml:1:10: memory: must be true or false"]);
    check("memory = \"true\"", &["fennec.toml:1:10: memory: must be true or false"]);
    check("data = 5", &["fennec.toml:1:8: data: must be text"]);
    check("data = \"\"", &["fennec.toml:1:8: data: must not be empty"]);
    check("log_format = \"xml\"", &["fennec.toml:1:14: log_format: must be one of \"human\" \"json\""]);
    check("listen = 3", &["fennec.toml:1:10: listen: must be a table"]);
    check("[listen]\nmqtt = 1883", &["fennec.toml:2:8: listen.mqtt: must be an address or a table with one"]);
    check("[user]\nname = \"a\"", &["fennec.toml:1:1: user: must be a list of tables"]);
    check("realm = [\"a\"]", &["fennec.toml:1:10: realm[0]: must be a table"]);
    check("[limits]\nsessions_max = \"5\"", &["fennec.toml:2:16: limits.sessions_max: must be a whole number"]);
    check("[limits]\nsessions_max = 1.5", &["fennec.toml:2:16: limits.sessions_max: must be a whole number"]);
    check(
        "[mqtt]\npacket_bytes_max = \"16 MB\"",
        &["fennec.toml:2:20: mqtt.packet_bytes_max: must be a number of bytes, or text such as \"16 MiB\""],
    );
    check("[mqtt]\nrefuse_filters = [\"a\", 1]", &["fennec.toml:2:24: mqtt.refuse_filters[1]: must be text"]);
}

#[test]
fn values_out_of_range_are_named_with_the_range() {
    check("[mqtt]\nreceive_max = 0", &["fennec.toml:2:15: mqtt.receive_max: must be from 1 to 65535"]);
    check("[mqtt]\nreceive_max = -1", &["fennec.toml:2:15: mqtt.receive_max: must be from 1 to 65535"]);
    check("[mqtt]\nreceive_max = 65536", &["fennec.toml:2:15: mqtt.receive_max: must be from 1 to 65535"]);
    check(
        "[mqtt]\nreceive_max = 99999999999999999999",
        &["fennec.toml:2:15: mqtt.receive_max: must be a whole number"],
    );
    check(
        "[wamp]\nrawsocket_bytes_max = \"1 GiB\"",
        &["fennec.toml:2:23: wamp.rawsocket_bytes_max: must be from 512 to 16777216"],
    );
    check(
        "[mqtt]\npacket_bytes_max = \"9000000 TiB\"",
        &["fennec.toml:2:20: mqtt.packet_bytes_max: must be from 1024 to 268435460"],
    );
}

#[test]
fn what_is_no_toml_is_named_with_place() {
    check("data = \"x", &["fennec.toml:1:10: not TOML: invalid basic string, expected `\"`"]);
    check("a = 1\na = 2", &["fennec.toml:2:1: not TOML: duplicate key"]);
    let problems = Scene::new("é = \"ü\"\n[a\nb = = 1").problems();
    assert!(problems.len() > 1, "every mistake is told, not only the first: {problems:?}");
    assert!(problems.iter().all(|line| line.starts_with("fennec.toml:")), "{problems:?}");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let sources = Sources { file: Some("/no/such/file.toml".into()), ..Sources::default() };
    let problems = Config::load(&sources).unwrap_err();
    let expected = "/no/such/file.toml: cannot read the configuration: No such file or directory (os error 2)";
    assert_eq!(problems.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
    let scene = Scene::new("");
    fs::write(scene.folder.path().join("fennec.toml"), b"\xff").unwrap();
    assert_eq!(scene.problems(), ["fennec.toml: is not UTF-8 text"]);
}

#[test]
fn all_mistakes_are_told_in_the_order_of_the_file() {
    check(
        "zz1 = 1\nmemory = 3\n[limits]\ndrain_s = -1\n[http]\nallowed_origins = 1",
        &[
            "fennec.toml:1:1: zz1: unknown key",
            "fennec.toml:2:10: memory: must be true or false",
            "fennec.toml:4:11: limits.drain_s: must be from 0 to 3600",
            "fennec.toml:6:19: http.allowed_origins: must be text",
        ],
    );
}

#[test]
fn secrets_are_never_shown() {
    let secret = "$argon2id$v=19$m=8,t=1,p=1$U0VDUkVU$U0VDUkVUU0VDUkVUU0VDUkVUU0VDUkVUU0VDUkVUU0U";
    let good =
        format!("[[user]]\nname = \"a\"\npassword_hash = \"{secret}\"\nwampcra = {{ key = \"SECRET\", salt = \"x\" }}");
    let shown = format!("{:?}", Scene::new(&good).load());
    assert!(!shown.contains("U0VDUkVU") && !shown.contains("SECRET"), "{shown}");
    let shown = Scene::new("store = \"postgres://me:SECRET@h/db?password=SECRET\"").load();
    assert!(!format!("{shown:?} {}", shown.store.url).contains("SECRET"), "{shown:?}");
    for bad in [
        "store = \"postgres://me:SE CRET@h/db\"",
        "store = \"mysql://me:SECRET@h/db\"",
        "store = \"postgres://me:SECRET@h/db\"\nmemory = true",
        "store = [\"SECRET\"]",
        "[[user]]\nname = \"a\"\npassword_hash = \"SECRET\"",
        "[[user]]\nname = \"a\"\npassword_hash = [\"SECRET\"]",
        "[[user]]\nname = \"a\"\nwampcra = \"SECRET\"",
        "[[user]]\nname = \"a\"\nwampcra = { key = [\"SECRET\"] }",
        "[[user]]\nname = \"a\"\npassword_hash = \"SECRET",
    ] {
        let problems = Scene::new(bad).problems();
        assert!(!problems.is_empty() && problems.iter().all(|line| !line.contains("SECRET")), "{problems:?}");
    }
}
