//! What becomes of the settings of a Mosquitto. Users and permissions are told in `tests/access/import.rs`, by clients.

use std::path::Path;

use super::{conf, settings};

/// The configuration, and what is said.
fn import(text: &str) -> (String, Vec<String>) {
    let imported = settings::import(&conf::lines(Path::new("/etc/m.conf"), text)).unwrap();
    (imported.in_one(), imported.told)
}

#[test]
fn settings_have_their_counterparts() {
    let (config, told) = import(
        "listener 1883 127.0.0.1\nlistener 8883\ncertfile c.pem\nkeyfile k.pem\ncafile ca.pem\nrequire_certificate true\n\
         listener 9001 ::1\nprotocol websockets\nallow_anonymous false\npersistence true\npersistence_location /var/m/\n\
         max_connections -1\nmax_inflight_messages 20\nmax_queued_messages 1000\nmax_packet_size 4096\npersistent_client_expiration 2w\n",
    );
    for line in [
        r#"mqtt = [{ address = "127.0.0.1:1883" }]"#,
        r#"mqtts = [{ address = "0.0.0.0:8883", cert = "/etc/c.pem", key = "/etc/k.pem", client_ca = "/etc/ca.pem", client_auth = "required" }]"#,
        r#"http = [{ address = "[::1]:9001" }]"#,
        r#"rawsocket = "off""#,
        "anonymous = false",
        r#"data = "/var/m/fennec""#,
        "inflight_max = 20",
        "backlog_messages_max = 1000",
        "packet_bytes_max = 4096",
        "session_expiry_s_max = 1209600",
    ] {
        assert!(config.contains(&format!("{line}\n")), "{line} is not in\n{config}");
    }
    assert!(!config.contains("connections_max") && told.is_empty(), "{told:?}\n{config}");
}

#[test]
fn a_bridge_keeps_its_topics_and_its_password_goes_to_a_file() {
    let text = "connection up\naddress a.example b.example:8883\ntopic t/# both 1 here/ there/\ntopic x in\nremote_username joe\n\
                remote_password sesame\nbridge_cafile ca.pem\nround_robin true\n";
    let imported = settings::import(&conf::lines(Path::new("/etc/m.conf"), text)).unwrap();
    let config = imported.config("users.toml");
    for part in [
        r#"address = ["mqtts://a.example:8883", "mqtts://b.example:8883"]"#,
        r#"password_file = "bridge-up.password""#,
        "pattern = \"t/#\"\ndirection = \"both\"\nqos = 1\nlocal = \"here/\"\nremote = \"there/\"\n",
        "pattern = \"x\"\ndirection = \"in\"\nqos = 0\n",
    ] {
        assert!(config.contains(part), "{part} is not in\n{config}");
    }
    assert_eq!(imported.bridge_passwords, [("bridge-up.password".to_owned(), "sesame".to_owned())]);
    assert_eq!(imported.told, ["/etc/m.conf:8: round_robin: has no counterpart for bridges"]);
}

#[test]
fn what_has_no_counterpart_is_named_and_values_are_not_shown() {
    let (config, told) = import(
        "# nothing\nlistener 0 /run/m.sock\nlistener 1884 some.host\nplugin /x.so\npsk_hint secret\nmax_keepalive 60\nmax_queued_bytes 0\n\
         max_inflight_messages many\nuse_identity_as_username true\n",
    );
    let named = [
        "m.conf:2: listener 0:",
        "m.conf:3: listener 1884:",
        ":4: plugin:",
        ":5: psk_hint:",
        ":6: max_keepalive:",
        ":7: ",
        ":8: ",
        ":9: use_identity",
    ];
    for one in named {
        assert!(told.iter().any(|line| line.contains(one)), "{one} is not in {told:?}");
    }
    assert!(!told.iter().any(|line| line.contains("secret")) && told.len() == named.len(), "{told:?}");
    assert!(config.contains("mqtt = \"off\""), "{config}");
}
