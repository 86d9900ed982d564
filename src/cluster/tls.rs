//! TLS of links: both sides show a certificate that the cluster's authority has signed. TLS 1.3 only: all ends are ours.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, ServerConfig, version};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::config::TlsFiles;
use super::handshake::Channel;
use crate::net::tls::{TlsError, read_authorities, read_chain, read_key};

/// What the exported secret is for (RFC 5705).
const LABEL: &[u8] = b"EXPORTER-fennec-cluster-link";

/// Both ends of TLS. Cloning shares it.
#[derive(Clone)]
pub struct LinkTls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl LinkTls {
    /// Reads the files of a process.
    ///
    /// # Errors
    /// A file cannot be read or holds something else, or the key is not the certificate's.
    pub fn from_files(files: &TlsFiles) -> Result<Self, TlsError> {
        let TlsFiles { ca, cert, key } = files;
        let roots = Arc::new(read_authorities([ca])?);
        let provider = Arc::new(ring::default_provider());
        let mismatch = |source| TlsError::Mismatch { cert: cert.clone(), key: key.clone(), source };
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
        let verifier = verifier.build().map_err(TlsError::Clients)?;
        let accepts = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&version::TLS13])
            .map_err(TlsError::Setup)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(read_chain(cert)?, read_key(key)?)
            .map_err(mismatch)?;
        let dials = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .map_err(TlsError::Setup)?
            .with_root_certificates(roots)
            .with_client_auth_cert(read_chain(cert)?, read_key(key)?)
            .map_err(mismatch)?;
        Ok(Self { acceptor: Arc::new(accepts).into(), connector: Arc::new(dials).into() })
    }

    /// As the side that dialled `host`, to which the certificate of the other must be made out.
    pub(super) async fn dial(
        &self,
        host: &str,
        socket: TcpStream,
    ) -> std::io::Result<(client::TlsStream<TcpStream>, Channel)> {
        let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        let stream = self.connector.connect(name, socket).await?;
        let channel = stream.get_ref().1.export_keying_material(Channel::default(), LABEL, None);
        Ok((stream, channel.map_err(std::io::Error::other)?))
    }

    /// As the side that accepted.
    pub(super) async fn accept(&self, socket: TcpStream) -> std::io::Result<(server::TlsStream<TcpStream>, Channel)> {
        let stream = self.acceptor.accept(socket).await?;
        let channel = stream.get_ref().1.export_keying_material(Channel::default(), LABEL, None);
        Ok((stream, channel.map_err(std::io::Error::other)?))
    }
}
