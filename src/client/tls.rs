//! Which brokers are trusted.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::net::tls::{TlsError, read_authorities, read_chain, read_key};

/// Whose certificates are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Of the authorities that the system knows.
    #[default]
    System,
    /// Of the authorities in this PEM file only.
    File(PathBuf),
    /// Anybody's. The connection is encrypted and whoever is in its way can read it.
    Anybody,
}

/// What a client shows a broker that asks for a certificate, as PEM files: the chain, its own first, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// What the user must mend before a TLS connection can be tried.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("the system has no certificates of authorities; name a file with them, or install ca-certificates")]
    NoSystemRoots,
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Trust {
    /// What makes TLS connections under this trust.
    ///
    /// # Errors
    /// What is to be mended.
    pub fn connector(&self) -> Result<TlsConnector, TrustError> {
        self.connector_as(None)
    }

    /// The same, for a client that shows a certificate if it is asked for one.
    ///
    /// # Errors
    /// What is to be mended.
    pub fn connector_as(&self, credentials: Option<&Credentials>) -> Result<TlsConnector, TrustError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions().map_err(TlsError::Setup)?;
        let builder = match self {
            Trust::System => builder.with_root_certificates(system_roots()?),
            Trust::File(path) => builder.with_root_certificates(read_authorities([path])?),
            Trust::Anybody => {
                let verifier = Arc::new(Credulous(provider));
                builder.dangerous().with_custom_certificate_verifier(verifier)
            }
        };
        let config = match credentials {
            None => builder.with_no_client_auth(),
            Some(Credentials { cert, key }) => {
                let mismatch = |source| TlsError::Mismatch { cert: cert.clone(), key: key.clone(), source };
                builder.with_client_auth_cert(read_chain(cert)?, read_key(key)?).map_err(mismatch)?
            }
        };
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

fn system_roots() -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    // Some systems have files among them that are no certificates: what can be read counts.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TrustError::NoSystemRoots) } else { Ok(roots) }
}

/// Believes every certificate, but not every signature: the peer must have the key of the certificate that it shows.
#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;

    use super::*;

    fn authority() -> CertifiedKey<rcgen::KeyPair> {
        generate_simple_self_signed(["localhost".to_owned()]).unwrap()
    }

    /// Whether a client of this trust believes a server that shows `own` and calls itself `name`.
    fn believes(trust: &Trust, own: &CertifiedKey<rcgen::KeyPair>, name: &'static str) -> bool {
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let acceptor: TlsAcceptor =
            Arc::new(builder.with_single_cert(vec![own.cert.der().clone()], key).unwrap()).into();
        let connector = trust.connector().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (client, server) = tokio::io::duplex(16 * 1024);
            let name = ServerName::try_from(name).unwrap();
            tokio::join!(connector.connect(name, client), acceptor.accept(server)).0.is_ok()
        })
    }

    #[test]
    fn only_the_trusted_are_believed() {
        let (own, other) = (authority(), authority());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, own.cert.pem()).unwrap();
        let file = Trust::File(path);
        assert!(believes(&file, &own, "localhost"));
        assert!(!believes(&file, &own, "example.org"), "another name");
        assert!(!believes(&file, &other, "localhost"), "another authority");
        assert!(believes(&Trust::Anybody, &other, "example.org"));
    }

    #[test]
    fn a_file_without_certificates_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let told = || Trust::File(path.clone()).connector().map(drop).unwrap_err().to_string();
        assert!(told().starts_with(&format!("cannot read {}: ", path.display())));
        std::fs::write(&path, "text").unwrap();
        assert_eq!(told(), format!("{} contains no certificate", path.display()));
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert!(told().starts_with(&format!("{} contains what is no authority: ", path.display())), "{}", told());
    }
}
