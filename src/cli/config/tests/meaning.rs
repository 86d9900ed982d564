//! What keys mean together: listeners, realms, users, roles.

use super::*;
use crate::router::authorize::{Action, Who};
use crate::types::topic::{MatchPolicy, Topic};

#[test]
fn addresses_are_ip_and_port() {
    let cases = [
        (":1883", "\":1883\" names no interface: write \"127.0.0.1:1883\", or \"0.0.0.0:1883\" for all"),
        ("*:1883", "\"*:1883\" names no interface: write \"127.0.0.1:1883\", or \"0.0.0.0:1883\" for all"),
        ("1883", "\"1883\" names no interface: write \"127.0.0.1:1883\", or \"0.0.0.0:1883\" for all"),
        ("example.org:1883", "\"example.org:1883\" must have an IP address, or localhost, before its port"),
        ("127.0.0.1", "\"127.0.0.1\" is no address such as \"127.0.0.1:1883\" or \"[::1]:1883\""),
        ("127.0.0.1:70000", "\"127.0.0.1:70000\" is no address such as \"127.0.0.1:1883\" or \"[::1]:1883\""),
    ];
    for (address, what) in cases {
        check(&format!("listen.mqtt = \"{address}\""), &[&format!("fennec.toml:1:15: listen.mqtt: {what}")]);
    }
    let config = Scene::new("listen.mqtt = [\"localhost:7\", \"[::1]:7\", { address = \"127.0.0.1:0\" }]").load();
    let mqtt: Vec<_> = config.listeners.iter().filter(|one| one.protocol == Protocol::Mqtt).collect();
    let shown: Vec<String> = mqtt.iter().map(|one| format!("{} {}", one.key, one.address)).collect();
    assert_eq!(shown, ["listen.mqtt[0] 127.0.0.1:7", "listen.mqtt[1] [::1]:7", "listen.mqtt[2] 127.0.0.1:0"]);
}

#[test]
fn listeners_can_be_turned_off_but_not_all() {
    for off in ["\"off\"", "[]", "\"\""] {
        let config = Scene::new(&format!("[listen]\nmqtt = {off}\nhttp = {off}")).load();
        assert_eq!(config.listeners.iter().map(|one| one.protocol).collect::<Vec<_>>(), [Protocol::RawSocket], "{off}");
    }
    check(
        "[listen]\nmqtt = []\nhttp = []\nrawsocket = []",
        &["fennec.toml:1:1: listen: there is no listener: nobody could connect"],
    );
}

#[test]
fn an_address_is_given_once_but_any_free_port_often() {
    check(
        "[listen]\nhttp = \"127.0.0.1:1883\"",
        &["fennec.toml:2:8: listen.http: 127.0.0.1:1883 is taken by listen.mqtt"],
    );
    Scene::new("[listen]\nmqtt = [\"127.0.0.1:0\", \"127.0.0.1:0\"]").load();
}

#[test]
fn a_listener_beyond_loopback_needs_users_or_a_clear_word() {
    let what = "is not on loopback and there are no users: add a [[user]], or say anonymous = true if everybody who can \
                reach it may come in";
    for address in ["0.0.0.0:1883", "192.168.1.2:1883", "[::]:1883", "[::ffff:10.0.0.1]:1883"] {
        check(&format!("listen.mqtt = \"{address}\""), &[&format!("fennec.toml:1:15: listen.mqtt: {address} {what}")]);
        let anonymous = Scene::new(&format!("anonymous = true\nlisten.mqtt = \"{address}\"")).load();
        assert!(anonymous.listeners.iter().all(|one| one.anonymous == Anonymous::Allowed));
        let users =
            Scene::new(&format!("listen.mqtt = \"{address}\"\n[[user]]\nname = \"a\"\npassword_hash = \"{HASH}\""))
                .load();
        assert!(
            users.listeners.iter().all(|one| one.anonymous == Anonymous::Refused),
            "with users nobody is anonymous unasked, on loopback neither"
        );
    }
    for address in ["127.0.0.1:1", "127.3.2.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "localhost:1"] {
        assert!(
            Scene::new(&format!("listen.mqtt = \"{address}\"")).load().listeners[0].anonymous == Anonymous::Local,
            "{address}"
        );
    }
}

#[test]
fn a_listener_may_differ_from_the_global_word_on_anonymous() {
    let users = format!("[[user]]\nname = \"a\"\npassword_hash = \"{HASH}\"\n");
    let config = Scene::new(&format!(
        "anonymous = true\n[listen]\nmqtt = [\"0.0.0.0:1\", {{ address = \"0.0.0.0:2\", anonymous = false }}]\n{users}"
    ))
    .load();
    assert_eq!(
        config.listeners.iter().map(|one| one.anonymous == Anonymous::Allowed).collect::<Vec<_>>(),
        [true, false, true, true]
    );
    let config =
        Scene::new(&format!("[listen]\nmqtt = {{ address = \"0.0.0.0:1\", anonymous = true }}\n{users}")).load();
    assert_eq!(
        config.listeners.iter().map(|one| one.anonymous == Anonymous::Allowed).collect::<Vec<_>>(),
        [true, false, false]
    );
    check("anonymous = false", &["fennec.toml:1:13: anonymous: is false and there are no users: nobody could come in"]);
    check(
        "[listen]\nmqtt = { address = \"127.0.0.1:1\", anonymous = false }",
        &["fennec.toml:2:47: listen.mqtt.anonymous: is false and there are no users: nobody could come in"],
    );
}

#[test]
fn tls_listeners_need_a_certificate_that_can_be_read() {
    check(
        "listen.mqtts = \"127.0.0.1:8883\"",
        &["fennec.toml:1:16: listen.mqtts: needs a certificate: say cert and key here or in [tls]"],
    );
    check(
        "listen.mqtts = { address = \"127.0.0.1:8883\", cert = \"fennec.toml\" }",
        &["fennec.toml:1:16: listen.mqtts: key is missing"],
    );
    check("tls.key = \"fennec.toml\"", &["fennec.toml:1:1: tls: cert is missing"]);
    check(
        "[tls]\ncert = \"a.pem\"\nkey = \".\"",
        &[
            "fennec.toml:2:8: tls.cert: cannot read a.pem: No such file or directory (os error 2)",
            "fennec.toml:3:7: tls.key: cannot read .: is a directory",
        ],
    );
    check(
        "listen.mqtt = { address = \"127.0.0.1:1\", cert = \"fennec.toml\", key = \"fennec.toml\" }",
        &["fennec.toml:1:15: listen.mqtt: has a certificate but is not TLS: write it as listen.mqtts"],
    );
}

#[test]
fn a_listener_takes_its_own_certificate_before_the_common_one() {
    let scene = Scene::new(
        "[tls]\ncert = \"c1\"\nkey = \"k1\"\n[listen]\nhttps = \"127.0.0.1:2\"\n\
         mqtts = { address = \"127.0.0.1:1\", cert = \"c2\", key = \"k2\" }",
    );
    let path = |name: &str| scene.folder.path().join(name);
    ["c1", "k1", "c2", "k2"].iter().for_each(|name| fs::write(path(name), "").unwrap());
    let tls: Vec<_> = scene.load().listeners.into_iter().filter_map(|one| one.tls).collect();
    let files = |cert, key| crate::net::tls::Files::of_server(&path(cert), &path(key));
    assert_eq!(tls, [files("c2", "k2"), files("c1", "k1")], "and paths are relative to the file");
}

#[test]
fn realms_that_are_named_must_exist() {
    check(
        "[[realm]]\nname = \"shop\"\n[listen]\nmqtt = { address = \"127.0.0.1:1\", realm = \"shp\" }",
        &["fennec.toml:4:43: listen.mqtt.realm: unknown realm \"shp\"; did you mean \"shop\"?"],
    );
    check(
        &format!("[[user]]\nname = \"a\"\npassword_hash = \"{HASH}\"\nrealms = [\"realm1\", \"x\"]"),
        &["fennec.toml:4:10: user[0].realms: unknown realm \"x\""],
    );
    check(
        "default_realm = \"a b\"",
        &["fennec.toml:1:17: default_realm: \"a b\" is no realm: it contains white space"],
    );
    check("[[realm]]\n", &["fennec.toml:1:1: realm[0]: name is missing"]);
    check(
        "[[realm]]\nname = \"a\"\n[[realm]]\nname = \"a\"",
        &["fennec.toml:4:8: realm[1].name: \"a\" is there twice"],
    );
    Scene::new("auto_realms = true\nlisten.mqtt = { address = \"127.0.0.1:1\", realm = \"any\" }").load();
}

#[test]
fn the_default_realm_exists_and_may_be_listed_too() {
    let config = Scene::new("default_realm = \"b\"\n[[realm]]\nname = \"a\"\n[[realm]]\nname = \"b\"").load();
    let realms: Vec<&str> = config.realms.iter().map(|name| &**name).collect();
    assert_eq!(realms, ["b", "a"]);
}

#[test]
fn users_are_checked() {
    check("[[user]]\n", &["fennec.toml:1:1: user[0]: name is missing"]);
    check(
        "[[user]]\nname = \"a\"",
        &["fennec.toml:1:1: user[0]: password_hash or wampcra is missing: nobody could come in"],
    );
    check(
        "[[user]]\nname = \"a\"\npassword_hash = \"s3cret\"",
        &["fennec.toml:3:17: user[0].password_hash: is no PHC string ($argon2id$...)"],
    );
    check(
        "[[user]]\nname = \"a\"\nwampcra = { key = \"k\" }\n[[user]]\nname = \"a\"\nwampcra = { key = \"\", keylen = 0 }",
        &[
            "fennec.toml:5:8: user[1].name: user \"a\" is there twice",
            "fennec.toml:6:19: user[1].wampcra.key: must not be empty",
            "fennec.toml:6:32: user[1].wampcra.keylen: must be from 1 to 1024",
        ],
    );
    check(
        "[[user]]\nname = \"a\"\nwampcra = { key = \"k\" }\nrole = \"r\"",
        &["fennec.toml:4:8: user[0].role: unknown role \"r\""],
    );
    check(
        "anonymous = false\n[[role]]\nname = \"reader\"\n[[user]]\nname = \"a\"\nwampcra = { key = \"k\" }\nrole = \"raeder\"\n\
         [[user]]\nname = \"b\"\nwampcra = { key = \"k\" }",
        &[
            "fennec.toml:7:8: user[0].role: unknown role \"raeder\"; did you mean \"reader\"?",
            "fennec.toml:8:1: user[1]: role is missing: there are roles, so every user needs one",
        ],
    );
}

#[test]
fn roles_are_checked() {
    let role = "[[role]]\nname = \"anonymous\"\npermissions = ";
    let at = "fennec.toml:3:16: role[0].permissions[0]";
    check(&format!("{role}[{{ action = \"call\" }}]"), &[&format!("{at}: topic or uri is missing")]);
    check(&format!("{role}[{{ topic = \"a\" }}]"), &[&format!("{at}: action is missing")]);
    check(
        &format!("{role}[{{ action = \"call\", topic = \"a/#/b\" }}]"),
        &["fennec.toml:3:43: role[0].permissions[0].topic: \"a/#/b\" has a # that is not the whole last level"],
    );
    check(
        &format!("{role}[{{ action = \"call\", topic = \"a\", uri = \"a\" }}]"),
        &["fennec.toml:3:54: role[0].permissions[0].uri: says again what topic says: keep one of them"],
    );
    check(
        &format!("{role}[{{ action = [\"call\", \"read\"], topic = \"a\" }}]"),
        &[
            "fennec.toml:3:36: role[0].permissions[0].action[1]: must be one of \"publish\" \"subscribe\" \"call\" \"register\"",
        ],
    );
    check(
        &format!("{role}[{{ action = \"call\", topic = \"a\", match = \"prefix\" }}]"),
        &["fennec.toml:3:56: role[0].permissions[0].match: is for uri only; a topic has its wildcards in it"],
    );
    check(
        "[[role]]\nname = \"reader\"",
        &["listen.mqtt: lets anonymous clients in, but no [[role]] is named \"anonymous\" to say what they may do"],
    );
}

#[test]
fn without_roles_everything_is_allowed_and_with_them_what_they_say() {
    let may = |config: &Config, realm: &str, role: &str, action, name: &str| {
        let authorizer = config.authorizer(realm);
        let topic = Topic::from_name(name).unwrap();
        authorizer.rights(role, Who::default()).is_some_and(|rights| rights.allows(action, &topic))
    };
    let open = Scene::new("").load();
    assert!(
        may(&open, "realm1", "anonymous", Action::Publish, "a") && may(&open, "realm1", "user", Action::Register, "a")
    );
    assert!(!may(&open, "realm1", "other", Action::Publish, "a"));
    let config = Scene::new(
        "[[realm]]\nname = \"shop\"\n\
         [[role]]\nname = \"anonymous\"\npermissions = [{ action = [\"publish\", \"call\"], uri = \"com.app.\", match = \"prefix\" }]\n\
         [[role]]\nname = \"anonymous\"\nrealms = \"shop\"\n\
         [[role.permissions]]\naction = \"publish\"\ntopic = \"#\"\n\
         [[role.permissions]]\naction = \"publish\"\ntopic = \"com/app/secret\"\nallow = false\n",
    )
    .load();
    for (realm, action, name, expected) in [
        ("realm1", Action::Publish, "com/app/x", true),
        ("realm1", Action::Call, "com/app/x", true),
        ("realm1", Action::Subscribe, "com/app/x", false),
        ("realm1", Action::Publish, "other", false),
        ("realm1", Action::Publish, "com/app/secret", true),
        ("shop", Action::Publish, "other", true),
        ("shop", Action::Publish, "com/app/secret", false),
        ("shop", Action::Call, "com/app/x", true),
    ] {
        assert_eq!(may(&config, realm, "anonymous", action, name), expected, "{realm} {action:?} {name}");
    }
}

#[test]
fn log_filters_are_checked() {
    check("log = \"debgu\"", &["fennec.toml:1:7: log: unknown level \"debgu\"; did you mean \"debug\"?"]);
    let problems = Scene::new("log = \"fennec=loud\"").problems();
    assert!(problems.len() == 1 && problems[0].starts_with("fennec.toml:1:7: log: \"fennec=loud\" is no log filter: "));
    for filter in ["info", "warn,fennec::mqtt=debug", "off", "fennec=trace,error", "fennec::mqtt[session]=debug"] {
        assert_eq!(Scene::new(&format!("log = \"{filter}\"")).load().log, filter);
    }
}

#[test]
fn origins_are_checked_and_compared_in_lower_case() {
    check(
        "[http]\nallowed_origins = [\"https://a.example\", \"a.example\", \"https://a.example/\"]",
        &[
            "fennec.toml:2:19: http.allowed_origins: \"a.example\" is no origin such as \"https://app.example.org\", \"null\" or \"*\"",
            "fennec.toml:2:19: http.allowed_origins: \"https://a.example/\" is no origin such as \"https://app.example.org\", \"null\" or \"*\"",
        ],
    );
    let config = Scene::new("[http]\nallowed_origins = [\"HTTPS://A.example:8443\", \"null\", \"*\"]").load();
    assert_eq!(config.allowed_origins, ["https://a.example:8443", "null", "*"]);
}

#[test]
fn codecs_and_refused_filters_are_patterns_of_either_spelling() {
    let config = Scene::new(
        "mqtt.refuse_filters = \"a/#\"\n\
         [[topic]]\ntopic = \"raw/+\"\ncodec = \"raw\"\n[[topic]]\nuri = \"x.y\"\nmatch = \"prefix\"\ncodec = \"cbor\"",
    )
    .load();
    let filter = |text| TopicPattern::from_filter(text).unwrap();
    assert_eq!(config.refuse_filters, [filter("a/#")]);
    let prefix = TopicPattern::from_uri("x.y", MatchPolicy::Prefix).unwrap();
    assert_eq!(config.codecs, [(filter("raw/+"), Codec::Raw), (prefix, Codec::Cbor)]);
    check(
        "mqtt.refuse_filters = \"a/#/b\"",
        &["fennec.toml:1:23: mqtt.refuse_filters: \"a/#/b\" has a # that is not the whole last level"],
    );
}

#[test]
fn how_safe_the_store_is_can_be_said() {
    let config = Scene::new("memory = true\nsync = \"interval\"\nsync_interval_ms = 200\nstrict = true").load();
    let expected =
        StoreSettings { url: StoreUrl::Memory, sync: SyncMode::Interval, sync_interval_ms: 200, strict: true };
    assert_eq!(config.store, expected);
    check(
        "sync = \"sometimes\"\nsync_interval_ms = 9",
        &["fennec.toml:1:8: sync: must be one of \"always\" \"interval\" \"never\""],
    );
    check("sync_interval_ms = 9", &["fennec.toml:1:20: sync_interval_ms: must be from 10 to 3600000"]);
}

#[test]
fn durable_topics_are_patterns_with_bounds() {
    let config = Scene::new(
        "[[realm]]\nname = \"other\"\n\
         [[durable]]\ntopic = \"a/#\"\nrealm = \"other\"\nmax_age_s = 60\nmax_bytes = \"2 MiB\"\nmax_messages = 10\n\
         [[durable]]\nuri = \"a.\"\nmatch = \"prefix\"",
    )
    .load();
    let other = DurablePolicy {
        pattern: TopicPattern::from_filter("a/#").unwrap(),
        realm: Some("other".into()),
        max_age_s: 60,
        max_bytes: 2 << 20,
        max_messages: Some(10),
    };
    let default = DurablePolicy {
        pattern: TopicPattern::from_uri("a.", MatchPolicy::Prefix).unwrap(),
        realm: None,
        max_age_s: 7 * 24 * 3600,
        max_bytes: 1 << 30,
        max_messages: None,
    };
    assert_eq!(config.durable, [other, default]);
}

#[test]
fn what_is_wrong_with_durable_topics_is_named() {
    check("[[durable]]\nmax_bytes = 5", &["fennec.toml:1:1: durable[0]: topic or uri is missing"]);
    check(
        "[[durable]]\ntopic = \"a/#/b\"",
        &["fennec.toml:2:9: durable[0].topic: \"a/#/b\" has a # that is not the whole last level"],
    );
    check(
        "[[durable]]\ntopic = \"a\"\nrealm = \"relm1\"\nmax_age_s = 0\nmax_messages = -1",
        &["fennec.toml:5:16: durable[0].max_messages: must not be negative, nor that large"],
    );
    check(
        "[[durable]]\ntopic = \"a\"\nrealm = \"relm1\"\nmax_age_s = 0",
        &[
            "fennec.toml:3:9: durable[0].realm: unknown realm \"relm1\"; did you mean \"realm1\"?",
            "fennec.toml:4:13: durable[0].max_age_s: must be at least 1: leave the table out to keep nothing",
        ],
    );
    check(
        "[[durable]]\ntopic = \"$SYS/#\"\n[[durable]]\nuri = \"wamp.session\"\nmatch = \"prefix\"",
        &[
            "fennec.toml:2:9: durable[0].topic: belongs to the broker: its events are never kept",
            "fennec.toml:4:7: durable[1].uri: belongs to the broker: its events are never kept",
        ],
    );
    check(
        "[[durable]]\ntopic = \"a\"\n[[durable]]\ntopic = \"a\"\nrealm = \"realm1\"\n[[durable]]\nuri = \"a\"",
        &["fennec.toml:6:1: durable[2]: its pattern is there twice"],
    );
}
