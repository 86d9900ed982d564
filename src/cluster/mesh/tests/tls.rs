//! Links over TLS: only certificates of the cluster's authority are believed, on both sides.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::*;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// The files of a process with a certificate made out to `name` by this authority, who believes `ca`.
    fn files(&self, folder: &Path, name: &str, ca: &Authority) -> TlsFiles {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        let number = std::fs::read_dir(folder).unwrap().count();
        let write = |what: &str, text: String| {
            let path = folder.join(format!("{what}{number}.pem"));
            std::fs::write(&path, text).unwrap();
            path
        };
        TlsFiles {
            ca: write("ca", ca.0.pem()),
            cert: write("cert", cert.pem()),
            key: write("key", key.serialize_pem()),
        }
    }
}

/// Tries to link two processes with these files.
fn meet(e1: Option<TlsFiles>, n1: Option<TlsFiles>) -> (Running, Running) {
    let [a, b] = addresses();
    let cluster = testing::cluster("test", KEY, &[("E1", a), ("N1", b)]);
    let tls = |files: Option<TlsFiles>| files.map(|files| LinkTls::from_files(&files).unwrap());
    let n1 = start_with(&cluster, "N1", tls(n1));
    (start_with(&cluster, "E1", tls(e1)), n1)
}

#[test]
fn two_with_certificates_of_one_authority_are_linked() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new();
    let files = || Some(ca.files(folder.path(), "127.0.0.1", &ca));
    let (mut e1, mut n1) = meet(files(), files());
    e1.check_connected("E1", "N1");
    n1.check_connected("N1", "E1");
    (1..1000).for_each(|number| e1.mesh.send(said("E1", "N1", number)).unwrap());
    (1..1000).for_each(|number| n1.check_said("N1", "E1", number));
}

#[test]
fn a_certificate_of_another_authority_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, other) = (Authority::new(), Authority::new());
    let good = || Some(ca.files(folder.path(), "127.0.0.1", &ca));
    let forged = || Some(other.files(folder.path(), "127.0.0.1", &ca));
    let (e1, _n1) = meet(good(), forged());
    e1.check_trouble("N1", "TLS: invalid peer certificate");
    let (_e1, n1) = meet(forged(), good());
    n1.check_refused("TLS: invalid peer certificate");
}

#[test]
fn a_certificate_for_another_address_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new();
    let files = |name: &str| Some(ca.files(folder.path(), name, &ca));
    let (e1, _n1) = meet(files("127.0.0.1"), files("n2.example.org"));
    e1.check_trouble("N1", "TLS: invalid peer certificate");
}

#[test]
fn plain_and_encrypted_do_not_mix() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new();
    let files = || Some(ca.files(folder.path(), "127.0.0.1", &ca));
    let (_e1, n1) = meet(None, files());
    n1.check_refused("TLS: ");
    let (e1, n1) = meet(files(), None);
    n1.check_refused("what came is no handshake");
    e1.check_trouble("N1", "TLS: ");
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new();
    let good = ca.files(folder.path(), "127.0.0.1", &ca);
    let says = |files: TlsFiles| LinkTls::from_files(&files).err().unwrap().to_string();
    let missing = folder.path().join("missing.pem");
    let shown = missing.display();
    assert!(says(TlsFiles { ca: missing.clone(), ..good.clone() }).starts_with(&format!("cannot read {shown}: ")));
    assert!(says(TlsFiles { cert: missing.clone(), ..good.clone() }).starts_with(&format!("cannot read {shown}: ")));
    assert!(says(TlsFiles { key: missing.clone(), ..good.clone() }).starts_with(&format!("cannot read {shown}: ")));
    let other = ca.files(folder.path(), "127.0.0.1", &ca);
    let mismatch = says(TlsFiles { key: other.key, ..good.clone() });
    assert!(mismatch.starts_with(&format!("the certificate in {} cannot be used", good.cert.display())), "{mismatch}");
}
