//! TLS, certificates, users and passwords.

use std::path::Path;

use fennec::mqtt::codec::Level;
use fennec::types::event::Qos;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use crate::fennec::{Fennec, bridge, topic};
use crate::free_port;
use crate::mosquitto::{self, Mosquitto};

/// Writes an authority, and certificates of it for a server and a client.
fn write_certificates(folder: &Path) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_cert = authority.self_signed(&authority_key).unwrap();
    std::fs::write(folder.join("ca.pem"), authority_cert.pem()).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let uses = [("server", ExtendedKeyUsagePurpose::ServerAuth), ("client", ExtendedKeyUsagePurpose::ClientAuth)];
    for (name, usage) in uses {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let cert = params.signed_by(&key, &issuer).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), cert.pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

#[test]
fn a_bridge_goes_through_tls_and_shows_its_certificate() {
    if !mosquitto::is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    write_certificates(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let secure = free_port();
    let other = Mosquitto::start_with(|_| {
        format!(
            "listener {secure} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n",
            file("ca.pem"),
            file("server.pem"),
            file("server.key")
        )
    });
    let lines = |credentials: &str| {
        format!("address = 'mqtts://localhost:{secure}'\ncafile = '{}'\n{credentials}", file("ca.pem"))
    };
    let topics = topic("#", "out", 1, "here/", "there/");
    let own = format!("cert = '{}'\nkey = '{}'\n", file("client.pem"), file("client.key"));
    let mut broker = Fennec::start(&bridge(0, Level::V5, &lines(&own), &topics));
    let (mut here, mut there) = (broker.client(Level::V5, "here"), other.client(Level::V5, "there"));
    there.subscribe("there/#");
    here.publish("here/x", "1", Qos::AtLeastOnce);
    broker.is_up();
    assert_eq!(there.next().text(), "there/x=1");
    let mut without = Fennec::start(&bridge(0, Level::V5, &lines(""), &topics));
    without.says("a bridge is down");
}

#[test]
fn the_password_is_read_from_the_environment_or_a_file_and_never_logged() {
    if !mosquitto::is_installed() {
        return;
    }
    let other = Mosquitto::start_with(|folder| {
        let users = folder.join("users");
        std::fs::write(&users, "bridge:secret-of-the-bridge\n").unwrap();
        let made = std::process::Command::new("mosquitto_passwd").arg("-U").arg(&users).status();
        assert!(made.is_ok_and(|status| status.success()), "mosquitto_passwd");
        format!("password_file {}\n", users.display())
    });
    let topics = topic("#", "out", 1, "here/", "there/");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "secret-of-the-bridge\n").unwrap();
    for source in
        ["password_env = 'TEST_BRIDGE_PASSWORD'".to_owned(), format!("password_file = '{}'", file.path().display())]
    {
        let lines = format!("user = 'bridge'\n{source}\n");
        let mut broker = Fennec::start(&bridge(other.port(), Level::V4, &lines, &topics));
        broker.is_up();
        let log = broker.stop();
        assert!(!log.contains("secret-of-the-bridge"), "{log}");
    }
    std::fs::write(file.path(), "another\n").unwrap();
    let lines = format!("user = 'bridge'\npassword_file = '{}'\n", file.path().display());
    let mut broker = Fennec::start(&bridge(other.port(), Level::V5, &lines, &topics));
    assert!(broker.says("a bridge is down").contains("not authorized"));
}
