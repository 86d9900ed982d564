//! TLS for listeners: certificates by name, certificates of clients, and reading all of it again.
//!
//! ```text
//! files --load--> ServerConfig --accept--> Stream whose Peer has the client's certificate
//!   \--changed, or asked to--> a new ServerConfig, or the old one and an error
//! ```
//!
//! Connections keep the configuration that they began with; a reload ends none of them, unless it is to end those whose
//! certificate is not believed any more ([`Files::close_unverified`]).
//!
//! Listeners that ask for certificates resume no sessions: a resumed one would be believed without another look at what was
//! revoked meanwhile.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};

use super::stream::Stream;
use super::x509;
use crate::node::files::Looked;
use crate::types::peer::CertificateName;

mod cut;
mod files;
mod names;
#[cfg(test)]
mod tests;

pub use cut::Cut;
use cut::Cuts;
use files::read_crls;
pub use files::{CertificateFiles, ClientAuth, Files};
pub(crate) use files::{read_authorities, read_chain, read_key};
use names::Names;

/// What is to be mended before TLS can be spoken, by a listener or a client, or what was changed be taken up. Each names its file.
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
    #[error("{} contains no revocation list", path.display())]
    NoCrl { path: PathBuf },
    #[error("the certificate in {} cannot be used with the key in {}: {source}", cert.display(), key.display())]
    Mismatch { cert: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("{} contains what is no authority: {source}", path.display())]
    NoAuthority { path: PathBuf, source: rustls::Error },
    #[error("there is no certificate, or no authority for those of clients")]
    Nothing,
    #[error("certificates of clients cannot be checked: {0}")]
    Clients(VerifierBuilderError),
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// What a TLS listener shows its clients and believes of them. Cloning shares it.
#[derive(Clone)]
pub struct Tls {
    shared: Arc<Shared>,
}

struct Shared {
    files: Files,
    /// By preference; empty: whatever clients offer is passed over.
    alpn: Vec<Vec<u8>>,
    current: RwLock<Loaded>,
    looked: Mutex<Looked>,
    cuts: Cuts,
}

/// What was read of the files.
#[derive(Clone)]
struct Loaded {
    config: Arc<ServerConfig>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    certificates: Arc<[Shown]>,
}

/// A certificate that is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub cert: PathBuf,
    /// When the first certificate of its chain ceases to be valid, in seconds since 1970. `None`: cannot be read.
    pub not_after_s: Option<u64>,
}

impl Tls {
    /// Reads the files. TLS 1.2 and 1.3. `alpn`: the protocols that are spoken, by preference (RFC 7301); a client that offers
    /// only others is refused with the alert that is for that. Empty: whatever it offers is passed over.
    ///
    /// # Errors
    /// A file cannot be read or holds something else, or a key is not its certificate's.
    pub fn load(files: Files, alpn: &[&str]) -> Result<Self, TlsError> {
        let alpn: Vec<Vec<u8>> = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stamp = files.stamp();
        let current = RwLock::new(Loaded::load(&files, &alpn)?);
        let looked = Mutex::new(Looked::new(stamp));
        Ok(Self { shared: Arc::new(Shared { files, alpn, current, looked, cuts: Cuts::default() }) })
    }

    /// The handshake.
    ///
    /// # Errors
    /// The client broke it off, speaks something else, or showed no certificate that is believed.
    pub async fn accept(&self, stream: Stream) -> io::Result<Stream> {
        let config = self.shared.current.read().config.clone();
        let (mut stream, chain) = stream.secure(TlsAcceptor::from(config.clone())).await?;
        if !chain.is_empty() && self.shared.files.close_unverified {
            let cut = Arc::new(Cut::new(chain));
            stream.cut_by(cut.clone());
            self.shared.cuts.add(&cut);
            let now = self.shared.current.read().clone();
            // What was revoked during the handshake was revoked before it ended.
            if !Arc::ptr_eq(&now.config, &config) && !now.believes(&cut) {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
        }
        Ok(stream)
    }

    /// Reads the files again if they were changed, and have stayed so since the last look: whoever writes several is given the
    /// time. `at_once`: whether changed or not. To be called where blocking hurts nobody. `None`: nothing was to be done.
    ///
    /// # Errors
    /// As [`Tls::load`]; what was loaded before stays. The same files are not tried again unasked.
    pub fn look(&self, at_once: bool) -> Option<Result<(), TlsError>> {
        let mut looked = self.shared.looked.lock();
        if !looked.is_due(self.shared.files.stamp(), at_once) {
            return None;
        }
        let loaded = Loaded::load(&self.shared.files, &self.shared.alpn);
        Some(loaded.map(|loaded| *self.shared.current.write() = loaded))
    }

    /// Ends the connections whose certificate is not believed any more, if it is to. Takes some microseconds for each that
    /// showed one. Tells how many it were.
    pub fn cut_unverified(&self) -> usize {
        let current = self.shared.current.read().clone();
        let gone = self.shared.cuts.open().into_iter().filter(|cut| !cut.is_done() && !current.believes(cut));
        gone.inspect(|cut| cut.end()).count()
    }

    /// The certificates that are shown now.
    pub fn shown(&self) -> Arc<[Shown]> {
        self.shared.current.read().certificates.clone()
    }
}

impl Loaded {
    fn load(files: &Files, alpn: &[Vec<u8>]) -> Result<Self, TlsError> {
        let (names, certificates) = load_certificates(files)?;
        let verifier = load_verifier(files)?;
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(TlsError::Setup)?;
        let mut config = match &verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier.clone()),
            None => builder.with_no_client_auth(),
        }
        .with_cert_resolver(Arc::new(names));
        if verifier.is_some() {
            config.session_storage = Arc::new(NoServerSessionStorage {});
        }
        config.alpn_protocols = alpn.to_vec();
        Ok(Self { config: Arc::new(config), verifier, certificates })
    }

    fn believes(&self, cut: &Cut) -> bool {
        let Some((own, intermediates)) = cut.chain.split_first() else { return true };
        let verified = self.verifier.as_ref().map(|by| by.verify_client_cert(own, intermediates, UnixTime::now()));
        verified.is_none_or(|verified| verified.is_ok())
    }
}

fn load_certificates(files: &Files) -> Result<(Names, Arc<[Shown]>), TlsError> {
    let (mut names, mut shown): (Option<Names>, _) = (None, Vec::new());
    for CertificateFiles { cert, key } in &files.certificates {
        let chain = read_chain(cert)?;
        let facts: Vec<_> = chain.iter().map(|der| x509::facts(der)).collect();
        let pair = CertifiedKey::from_der(chain, read_key(key)?, &ring::default_provider());
        let mismatch = |source| TlsError::Mismatch { cert: cert.clone(), key: key.clone(), source };
        let pair = Arc::new(pair.map_err(mismatch)?);
        let names = names.get_or_insert_with(|| Names::new(pair.clone()));
        if let Some(Some(own)) = facts.first() {
            let dns = own.names.iter().filter_map(|name| match name {
                CertificateName::Dns(name) => Some(name.clone()),
                _ => None,
            });
            dns.for_each(|name| names.add(&name, &pair));
        }
        let not_after_s = facts.iter().flatten().map(|facts| facts.not_after_s).min();
        shown.push(Shown { cert: cert.clone(), not_after_s });
    }
    Ok((names.ok_or(TlsError::Nothing)?, shown.into()))
}

fn load_verifier(files: &Files) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    if files.client_auth == ClientAuth::None {
        return Ok(None);
    }
    let roots = read_authorities(&files.client_ca)?;
    if roots.is_empty() {
        return Err(TlsError::Nothing);
    }
    let crls = files.crl.iter().map(|path| read_crls(path)).collect::<Result<Vec<_>, _>>()?;
    let provider = Arc::new(ring::default_provider());
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if !crls.is_empty() {
        builder = builder.with_crls(crls.into_iter().flatten()).enforce_revocation_expiration();
    }
    if files.client_auth == ClientAuth::Optional {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map(Some).map_err(TlsError::Clients)
}
