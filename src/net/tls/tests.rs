use std::fs;
use std::path::Path;

use super::*;

/// Writes `cert` and `key` to files and checks what is wrong with them; `{cert}` and `{key}` stand for the files.
#[track_caller]
fn check(cert: &str, key: &str, expected: Option<&str>) {
    let folder = tempfile::tempdir().unwrap();
    let (cert_path, key_path) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    fs::write(&cert_path, cert).unwrap();
    fs::write(&key_path, key).unwrap();
    let error = Tls::load(Files::of_server(&cert_path, &key_path), &[]).err().map(|error| error.to_string());
    let show = |path: &Path| path.display().to_string();
    let expected = expected.map(|text| text.replace("{cert}", &show(&cert_path)).replace("{key}", &show(&key_path)));
    assert_eq!(error, expected);
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    check(&cert, &key, None);
    check(&format!("{cert}{key}"), &format!("{cert}{key}"), None);
    check("", &key, Some("{cert} contains no certificate"));
    check(&key, &key, Some("{cert} contains no certificate"));
    check(&cert, "", Some("{key} contains no private key"));
    check(&cert, &cert, Some("{key} contains no private key"));
    let mismatch =
        "the certificate in {cert} cannot be used with the key in {key}: keys may not be consistent: KeyMismatch";
    check(&cert, &other.signing_key.serialize_pem(), Some(mismatch));
}

#[test]
fn what_is_no_pem_or_not_there_is_named() {
    let broken = "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cert.pem");
    let says = |path: &Path| Tls::load(Files::of_server(path, path), &[]).err().unwrap().to_string();
    assert!(says(&path).starts_with(&format!("cannot read {}: No such file", path.display())), "{}", says(&path));
    fs::write(&path, broken).unwrap();
    assert!(says(&path).starts_with(&format!("{} is not PEM: ", path.display())), "{}", says(&path));
}

#[test]
fn lists_and_authorities_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.pem");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(&path, made.cert.pem() + &made.signing_key.serialize_pem()).unwrap();
    let missing = folder.path().join("missing.pem");
    let good =
        Files { client_auth: ClientAuth::Required, client_ca: vec![path.clone()], ..Files::of_server(&path, &path) };
    let says = |files: Files| Tls::load(files, &[]).err().map(|error| error.to_string());
    assert_eq!(says(good.clone()), None);
    let crl = says(Files { crl: vec![path.clone()], ..good.clone() });
    assert_eq!(crl, Some(format!("{} contains no revocation list", path.display())));
    let ca = says(Files { client_ca: vec![missing.clone()], ..good.clone() });
    assert!(ca.unwrap().starts_with(&format!("cannot read {}", missing.display())));
    assert!(says(Files { client_ca: Vec::new(), ..good }).is_some(), "nobody could be believed");
}

#[test]
fn changed_files_are_loaded_when_they_have_settled_and_tried_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.pem");
    let write = |not_after: i32| {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(not_after, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        // Another file of the same name, as whoever replaces one atomically makes it.
        let new = folder.path().join("new.pem");
        fs::write(&new, params.self_signed(&key).unwrap().pem() + &key.serialize_pem()).unwrap();
        fs::rename(new, &path).unwrap();
    };
    write(2040);
    let tls = Tls::load(Files::of_server(&path, &path), &[]).unwrap();
    let expiry = || tls.shown()[0].not_after_s;
    assert_eq!(expiry(), Some(2_208_988_800));
    assert!(tls.look(false).is_none(), "nothing was changed");
    write(2041);
    assert!(tls.look(false).is_none(), "it may be changed further");
    assert!(tls.look(false).is_some_and(|done| done.is_ok()));
    assert_eq!(expiry(), Some(2_240_611_200));
    fs::write(&path, "").unwrap();
    assert!(tls.look(false).is_none());
    assert!(tls.look(false).is_some_and(|done| done.is_err()));
    assert!(tls.look(false).is_none(), "what cannot be used is not tried again");
    assert_eq!(expiry(), Some(2_240_611_200), "what was loaded before stays");
    write(2042);
    assert!(tls.look(true).is_some_and(|done| done.is_ok()), "whoever asks is not made to wait");
    assert_eq!(expiry(), Some(2_272_147_200));
}
