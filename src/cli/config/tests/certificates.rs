//! Certificates of both sides, and proxies.

use super::*;
use crate::net::tls::{CertificateFiles, ClientAuth, Files};

/// What the first TLS listener of this file has, in a folder with the files it names.
fn files(config: &str) -> (Scene, Files) {
    let scene = Scene::new(config);
    ["a", "b", "c", "ca", "other-ca", "crl"]
        .iter()
        .for_each(|name| fs::write(scene.folder.path().join(name), "").unwrap());
    let found = scene.load().listeners.into_iter().find_map(|one| one.tls).expect("a TLS listener");
    (scene, found)
}

const LISTENER: &str = "[listen]\nmqtts = \"127.0.0.1:1\"\n[tls]\ncert = \"a\"\nkey = \"a\"\n";

#[test]
fn who_names_authorities_wants_certificates() {
    let (scene, all) = files(&format!("{LISTENER}client_ca = \"ca\"\ncrl = \"crl\"\nclose_unverified = true"));
    let path = |name: &str| scene.folder.path().join(name);
    assert_eq!(all.client_auth, ClientAuth::Required);
    assert_eq!((&all.client_ca[..], &all.crl[..]), (&[path("ca")][..], &[path("crl")][..]));
    assert!(all.close_unverified);
    assert_eq!(files(LISTENER).1.client_auth, ClientAuth::None);
    let optional = files(&format!("{LISTENER}client_ca = \"ca\"\nclient_auth = \"optional\"")).1;
    assert_eq!(optional.client_auth, ClientAuth::Optional);
}

#[test]
fn what_a_listener_says_itself_counts_before_the_common() {
    let (scene, own) = files(
        "[listen]\nmqtts = { address = \"127.0.0.1:1\", client_ca = \"other-ca\", cert = \"b\", key = \"b\" }\n\
         [tls]\ncert = \"a\"\nkey = \"a\"\nclient_ca = \"ca\"\nclient_auth = \"none\"\ncertificates = [{ cert = \"c\", key = \"c\" }]",
    );
    let path = |name: &str| scene.folder.path().join(name);
    assert_eq!(own.certificates, [CertificateFiles { cert: path("b"), key: path("b") }]);
    assert_eq!((own.client_auth, own.client_ca), (ClientAuth::Required, vec![path("other-ca")]));
}

#[test]
fn further_certificates_come_behind_the_first() {
    let (scene, all) = files(&format!("{LISTENER}certificates = [{{ cert = \"b\", key = \"c\" }}]"));
    let path = |name: &str| scene.folder.path().join(name);
    let pair = |cert, key| CertificateFiles { cert: path(cert), key: path(key) };
    assert_eq!(all.certificates, [pair("a", "a"), pair("b", "c")]);
}

#[test]
fn what_makes_no_sense_together_is_named() {
    let file = "fennec.toml";
    let tls =
        |more: &str| format!("[listen]\nmqtts = \"127.0.0.1:1\"\n[tls]\ncert = \"{file}\"\nkey = \"{file}\"\n{more}");
    check(
        &tls("client_auth = \"required\""),
        &["fennec.toml:6:15: tls.client_auth: client_ca is missing: the authorities that are believed"],
    );
    check(
        &tls("crl = \"fennec.toml\""),
        &["fennec.toml:6:7: tls.crl: means nothing as long as no certificates are asked for (client_auth)"],
    );
    check(
        &tls("certificates = [{ cert = \"fennec.toml\" }]"),
        &["fennec.toml:6:17: tls.certificates[0]: key is missing"],
    );
    check(
        "listen.mqtt = { address = \"127.0.0.1:1\", client_auth = \"required\" }",
        &["fennec.toml:1:15: listen.mqtt: asks for certificates but is not TLS: write it as listen.mqtts"],
    );
}

#[test]
fn proxies_are_networks_and_a_listener_for_them_needs_some() {
    let listener = |more: &str| format!("listen.mqtt = {{ address = \"127.0.0.1:1\", {more} }}");
    check(
        &listener("proxy_protocol = true"),
        &["fennec.toml:1:59: listen.mqtt.proxy_protocol: nobody may connect: say which trusted_proxies do"],
    );
    check(
        &listener("proxy_certificates = true"),
        &["fennec.toml:1:63: listen.mqtt.proxy_certificates: means nothing without proxy_protocol = true"],
    );
    check(
        "trusted_proxies = [\"10.0.0.0/33\"]",
        &[
            "fennec.toml:1:19: trusted_proxies: \"10.0.0.0/33\" must be an address, or one with a prefix length such as 10.0.0.0/8",
        ],
    );
    let config = Scene::new(&format!("trusted_proxies = \"10.0.0.0/8\"\n{}", listener("proxy_protocol = true"))).load();
    let mqtt = &config.listeners[0];
    assert_eq!(mqtt.trusted_proxies[..], ["10.0.0.0/8".parse().unwrap()]);
    assert!(mqtt.proxy.as_ref().is_some_and(|proxy| proxy.trusted == mqtt.trusted_proxies && !proxy.certificates));
    assert!(config.listeners[1].proxy.is_none() && !config.listeners[1].trusted_proxies.is_empty());
}
