//! PEM files: which there are, and what is read of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::TlsError;
use crate::node::files::Stamp;

/// What a TLS listener reads, and reads again when it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// At least one. The first is shown to clients that ask for a name which no certificate has, or for none.
    pub certificates: Vec<CertificateFiles>,
    pub client_auth: ClientAuth,
    /// Authorities that certificates of clients are believed from; at least one, if any are asked for.
    pub client_ca: Vec<PathBuf>,
    /// Lists of what these authorities revoked.
    pub crl: Vec<PathBuf>,
    /// Connections end when their certificate is not believed any more.
    pub close_unverified: bool,
}

/// A certificate chain (the server's own first) and its private key; they may be the same file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// None is asked for.
    #[default]
    None,
    /// One is asked for. Who has none comes in all the same, who has one that is not believed does not.
    Optional,
    Required,
}

impl Files {
    /// One certificate, and none is asked of clients.
    pub fn of_server(cert: &Path, key: &Path) -> Self {
        let certificates = vec![CertificateFiles { cert: cert.to_owned(), key: key.to_owned() }];
        Self { certificates, ..Self::default() }
    }

    /// The files as they are now.
    pub(super) fn stamp(&self) -> Stamp {
        let servers = self.certificates.iter().flat_map(|pair| [&pair.cert, &pair.key]);
        Stamp::of(servers.chain(&self.client_ca).chain(&self.crl))
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

/// The authorities in these PEM files; at least one in each.
pub(crate) fn read_authorities<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for path in paths {
        let path = path.as_ref();
        for der in read_chain(path)? {
            roots.add(der).map_err(|source| TlsError::NoAuthority { path: path.to_owned(), source })?;
        }
    }
    Ok(roots)
}

/// The private key in a PEM file (PKCS #8, PKCS #1 or SEC 1).
pub(crate) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey { path: path.to_owned() },
        other => not_pem(path, &other),
    })
}

/// The revocation lists in a PEM file; at least one.
pub(super) fn read_crls(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let pem = read(path)?;
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&pem).collect();
    let lists = lists.map_err(|error| not_pem(path, &error))?;
    if lists.is_empty() {
        return Err(TlsError::NoCrl { path: path.to_owned() });
    }
    Ok(lists)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source: io::Error| TlsError::Unreadable { path: path.to_owned(), source })
}

fn not_pem(path: &Path, error: &pem::Error) -> TlsError {
    TlsError::NotPem { path: path.to_owned(), what: error.to_string() }
}
