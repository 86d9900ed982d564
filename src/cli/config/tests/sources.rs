//! Which source wins, and what is wrong with each.

use std::ffi::OsString;

use super::super::{schema, sources};
use super::*;
use crate::types::limits::OutboxFull;

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let scene = Scene::new(
        "log = \"error\"\ndefault_realm = \"file\"\n[limits]\ndrain_s = 1\nsessions_max = 1\ninflight_max = 1",
    )
    .env("FENNEC_LOG", "warn")
    .env("FENNEC_LIMITS_DRAIN_S", "2")
    .env("FENNEC_LIMITS_SESSIONS_MAX", "2")
    .env("FENNEC_LIMITS_OUTBOX_FULL", "disconnect")
    .env("FENNEC_LISTEN_MQTT", "127.0.0.1:2, 127.0.0.1:3")
    .env("HOME", "/nobody/cares")
    .flag("--log", "log", "debug")
    .flag("--set limits.drain_s", "limits.drain_s", "3")
    .flag("--http", "listen.http", "off");
    let config = scene.load();
    assert_eq!((config.log.as_str(), &*config.default_realm), ("debug", "file"));
    assert_eq!((config.limits.drain_s, config.limits.sessions_max, config.limits.inflight_max), (3, 2, 1));
    assert_eq!(config.limits.outbox_full, OutboxFull::Disconnect);
    let ports: Vec<u16> = config.listeners.iter().map(|one| one.address.port()).collect();
    assert_eq!(ports, [2, 3, 9001]);
}

#[test]
fn the_last_word_on_data_and_memory_counts() {
    let memory = |scene: Scene| scene.load().store.url == StoreUrl::Memory;
    assert!(memory(Scene::new("memory = true")));
    assert!(memory(Scene::new("data = \"x\"").env("FENNEC_MEMORY", "true")));
    assert!(!memory(Scene::new("memory = true").env("FENNEC_DATA", "x")));
    assert!(!memory(Scene::new("memory = true").env("FENNEC_MEMORY", "false")));
    assert!(memory(Scene::new("data = \"x\"").env("FENNEC_DATA", "y").flag("--memory", "memory", "true")));
    check(
        "data = \"x\"\nmemory = true",
        &["fennec.toml:1:8: data: says where state is kept, and so does memory: keep one of them"],
    );
}

#[test]
fn the_store_may_be_said_by_each_of_its_keys_and_the_last_word_counts() {
    let postgres = "postgres://me:SECRET@h:5433/db?schema=s";
    let url = |scene: Scene| scene.load().store.url;
    let database = StoreUrl::Postgres(postgres.to_owned());
    assert_eq!(url(Scene::new(&format!("store = {postgres:?}"))), database);
    assert_eq!(url(Scene::new("store = \"postgresql:///db\"")), StoreUrl::Postgres("postgresql:///db".to_owned()));
    assert_eq!(url(Scene::new("data = \"x\"").env("FENNEC_STORE", postgres)), database);
    assert_eq!(url(Scene::new("memory = true").flag("--store", "store", postgres)), database);
    assert_eq!(url(Scene::new("").env("FENNEC_STORE", postgres).flag("--memory", "memory", "true")), StoreUrl::Memory);
    assert_eq!(
        url(Scene::new("").env("FENNEC_STORE", postgres).flag("--data", "data", "y")),
        StoreUrl::Folder("y".into())
    );
    assert_eq!(url(Scene::new("store = \"memory\"")), StoreUrl::Memory);
    let scene = Scene::new("store = \"x\"");
    assert_eq!(scene.load().store.url, StoreUrl::Folder(scene.folder.path().join("x")));
    assert_eq!(url(Scene::new("").env("FENNEC_STORE", "y")), StoreUrl::Folder("y".into()));
}

#[test]
fn two_words_in_one_place_on_where_state_is_kept_are_refused() {
    let twice = |key: &str, other: &str, at: &str| {
        format!("fennec.toml:{at}: {key}: says where state is kept, and so does {other}: keep one of them")
    };
    check("data = \"x\"\nstore = \"x\"", &[&twice("store", "data", "2:9")]);
    check("memory = true\nstore = \"x\"", &[&twice("store", "memory", "2:9")]);
    Scene::new("memory = false\nstore = \"x\"").load();
    let scene = Scene::new("").env("FENNEC_DATA", "x").env("FENNEC_STORE", "y");
    assert_eq!(scene.problems(), ["FENNEC_STORE: says where state is kept, and so does data: keep one of them"]);
}

#[test]
fn paths_in_a_file_are_relative_to_it_and_others_to_the_working_directory() {
    let scene = Scene::new("data = \"x\"");
    assert_eq!(scene.load().store.url, StoreUrl::Folder(scene.folder.path().join("x")));
    assert_eq!(Scene::new("").env("FENNEC_DATA", "y").load().store.url, StoreUrl::Folder("y".into()));
    assert_eq!(Scene::new("data = \"/abs\"").load().store.url, StoreUrl::Folder("/abs".into()));
}

#[test]
fn mistakes_in_the_environment_and_in_flags_are_named() {
    let cases = [
        (
            Scene::new("").env("FENNEC_LISTN_MQTT", "x"),
            "FENNEC_LISTN_MQTT: unknown variable; did you mean \"FENNEC_LISTEN_MQTT\"?",
        ),
        (Scene::new("").env("FENNEC_MEMORY", "yes"), "FENNEC_MEMORY: must be true or false"),
        (Scene::new("").env("FENNEC_LIMITS_DRAIN_S", "-1"), "FENNEC_LIMITS_DRAIN_S: must be from 0 to 3600"),
        (Scene::new("").env("FENNEC_LIMITS_DRAIN_S", "soon"), "FENNEC_LIMITS_DRAIN_S: must be a whole number"),
        (
            Scene::new("").env("FENNEC_LISTEN_MQTT", "127.0.0.1:1,nowhere"),
            "FENNEC_LISTEN_MQTT: \"nowhere\" is no address such as \"127.0.0.1:1883\" or \"[::1]:1883\"",
        ),
        (Scene::new("").flag("--log", "log", "loud"), "--log: unknown level \"loud\""),
        (
            Scene::new("").flag("--set limits.drain", "limits.drain", "3"),
            "--set limits.drain: unknown key \"limits.drain\"; did you mean \"limits.drain_s\"?",
        ),
        (
            Scene::new("").flag("--set user", "user", "x"),
            "--set user: unknown key \"user\"; did you mean \"users_file\"?",
        ),
    ];
    for (scene, expected) in cases {
        assert_eq!(scene.problems(), [expected]);
    }
}

#[test]
fn a_variable_that_is_no_text_is_a_mistake() {
    use std::os::unix::ffi::OsStringExt;
    let mut scene = Scene::new("");
    scene.sources.env.push(("FENNEC_LOG".into(), OsString::from_vec(vec![0xff])));
    assert_eq!(scene.problems(), ["FENNEC_LOG: is not UTF-8 text"]);
}

#[test]
fn the_environment_may_name_the_file_and_the_flag_wins() {
    let scene = Scene::new("default_realm = \"a\"");
    let file = scene.sources.file.clone().unwrap();
    let env = vec![("FENNEC_CONFIG".into(), file.clone().into_os_string())];
    let sources = Sources { env: env.clone(), ..Sources::default() };
    assert_eq!(sources.config_file(), Some(file));
    assert_eq!(&*Config::load(&sources).unwrap().default_realm, "a");
    let other = Scene::new("default_realm = \"b\"");
    let sources = Sources { env, file: other.sources.file.clone(), ..Sources::default() };
    assert_eq!(&*Config::load(&sources).unwrap().default_realm, "b");
    let unset = Sources { env: vec![("FENNEC_CONFIG".into(), "".into())], ..Sources::default() };
    assert_eq!(unset.config_file(), None);
}

#[test]
fn variables_that_container_platforms_make_for_a_service_are_passed_over() {
    let scene = Scene::new("")
        .env("FENNEC_SERVICE_HOST", "10.0.0.1")
        .env("FENNEC_SERVICE_PORT", "1883")
        .env("FENNEC_SERVICE_PORT_MQTT", "1883")
        .env("FENNEC_PORT", "tcp://10.0.0.1:1883")
        .env("FENNEC_PORT_1883_TCP", "tcp://10.0.0.1:1883")
        .env("FENNEC_PORT_1883_TCP_ADDR", "10.0.0.1")
        .env("FENNEC_MQTT_PORT_1883_TCP_PORT", "1883");
    scene.load();
    assert_eq!(Scene::new("").env("FENNEC_PORT", "1883").problems(), ["FENNEC_PORT: unknown variable"]);
}

#[test]
fn variables_of_the_client_commands_are_no_configuration() {
    Scene::new("").env("FENNEC_CLIENT_USER", "alice").env("FENNEC_CLIENT_PASSWORD", "secret").load();
}

#[test]
fn every_key_outside_of_lists_has_a_variable_of_its_own_that_takes_its_default() {
    let rows: Vec<schema::Row> = schema::rows().into_iter().filter(|row| !row.listed).collect();
    let names: std::collections::HashSet<String> = rows.iter().map(sources::variable).collect();
    assert_eq!(names.len(), rows.len(), "two keys share a variable");
    for row in &rows {
        let Some(default) = row.key.default.as_deref().filter(|default| *default != "[]") else { continue };
        let scene = Scene::new("").env(&sources::variable(row), default.trim_matches('"'));
        assert_eq!(scene.problems(), [""; 0], "{} = {default}", sources::variable(row));
    }
}

#[test]
fn every_limit_can_be_set_in_the_file_at_both_ends() {
    for limit in Limits::TABLE {
        for value in [limit.min, limit.max] {
            let config = Scene::new(&format!("{} = {value}", limit.key())).load();
            assert_eq!(config.limits.get(limit.section, limit.name), Some(value), "{}", limit.key());
        }
    }
}
