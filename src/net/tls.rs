//! TLS for listeners: certificate and key from PEM files, and the handshake.
//!
//! No protocol is negotiated (ALPN): each listener speaks one, and a client that offers others is served all the same.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use super::stream::Stream;

/// What the operator must mend before a TLS listener can start. Each names its file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is not PEM: {what}", path.display())]
    NotPem { path: PathBuf, what: String },
    #[error("{} contains no certificate", path.display())]
    NoCertificate { path: PathBuf },
    #[error("{} contains no private key", path.display())]
    NoKey { path: PathBuf },
    #[error("the certificate in {} cannot be used with the key in {}: {source}", cert.display(), key.display())]
    Mismatch { cert: PathBuf, key: PathBuf, source: rustls::Error },
}

/// What a TLS listener shows its clients. Cloning shares it.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
}

impl Tls {
    /// From a PEM file with the certificate chain (the server's own first) and one with its private key (PKCS #8, PKCS #1 or
    /// SEC 1); they may be the same file. TLS 1.2 and 1.3; no certificate is asked of clients.
    ///
    /// # Errors
    /// A file cannot be read or holds something else, or the key is not the certificate's.
    pub fn from_files(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let mismatch = |source| TlsError::Mismatch { cert: cert.to_owned(), key: key.to_owned(), source };
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(mismatch)?
            .with_no_client_auth()
            .with_single_cert(read_chain(cert)?, read_key(key)?)
            .map_err(mismatch)?;
        Ok(Self { acceptor: Arc::new(config).into() })
    }

    /// The handshake.
    ///
    /// # Errors
    /// The client broke it off, speaks something else, or took longer than `timeout`.
    pub async fn accept(&self, stream: Stream, timeout: Duration) -> io::Result<Stream> {
        let handshake = stream.secure(&self.acceptor);
        tokio::time::timeout(timeout, handshake).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// The certificates in a PEM file; at least one.
pub(crate) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| not_pem(path, &error))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(chain)
}

/// The private key in a PEM file.
pub(crate) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey { path: path.to_owned() },
        other => not_pem(path, &other),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })
}

fn not_pem(path: &Path, error: &pem::Error) -> TlsError {
    TlsError::NotPem { path: path.to_owned(), what: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes `cert` and `key` to files and checks what is wrong with them; `{cert}` and `{key}` stand for the files.
    #[track_caller]
    fn check(cert: &str, key: &str, expected: Option<&str>) {
        let folder = tempfile::tempdir().unwrap();
        let (cert_path, key_path) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        std::fs::write(&cert_path, cert).unwrap();
        std::fs::write(&key_path, key).unwrap();
        let error = Tls::from_files(&cert_path, &key_path).err().map(|error| error.to_string());
        let show = |path: &Path| path.display().to_string();
        let expected =
            expected.map(|text| text.replace("{cert}", &show(&cert_path)).replace("{key}", &show(&key_path)));
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
        let says = |path: &Path| Tls::from_files(path, path).err().unwrap().to_string();
        assert!(says(&path).starts_with(&format!("cannot read {}: No such file", path.display())), "{}", says(&path));
        std::fs::write(&path, broken).unwrap();
        assert!(says(&path).starts_with(&format!("{} is not PEM: ", path.display())), "{}", says(&path));
    }
}
