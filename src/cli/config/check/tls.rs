//! TLS: certificates of listeners, and whose clients' are believed.

use std::path::{Path, PathBuf};

use super::Check;
use crate::cli::config::listen::Written;
use crate::cli::config::schema::{CertificatePair, File, ListenerTable, Tls};
use crate::net::tls::{CertificateFiles, ClientAuth, Files};

/// The keys of `[tls]` or of a listener.
struct Said<'s> {
    cert: &'s Option<PathBuf>,
    key: &'s Option<PathBuf>,
    more: &'s [CertificatePair],
    client_ca: &'s [PathBuf],
    client_auth: Option<ClientAuth>,
    crl: &'s [PathBuf],
    close_unverified: Option<bool>,
}

impl Said<'_> {
    fn is_nothing(&self) -> bool {
        self.shows_nothing()
            && self.client_ca.is_empty()
            && self.client_auth.is_none()
            && self.crl.is_empty()
            && self.close_unverified.is_none()
    }

    /// No certificate of its own.
    fn shows_nothing(&self) -> bool {
        self.cert.is_none() && self.key.is_none() && self.more.is_empty()
    }
}

impl<'s> From<&'s Tls> for Said<'s> {
    fn from(tls: &'s Tls) -> Self {
        let Tls { cert, key, client_ca, client_auth, crl, close_unverified, certificates } = tls;
        let (more, close_unverified) = (&certificates.0[..], Some(*close_unverified));
        Self { cert, key, more, client_ca, client_auth: *client_auth, crl, close_unverified }
    }
}

impl<'s> From<&'s ListenerTable> for Said<'s> {
    fn from(table: &'s ListenerTable) -> Self {
        let ListenerTable { cert, key, client_ca, client_auth, crl, close_unverified, certificates, .. } = table;
        let (client_auth, close_unverified) = (*client_auth, *close_unverified);
        Self { cert, key, more: &certificates.0, client_ca, client_auth, crl, close_unverified }
    }
}

impl Check {
    /// What `[tls]` says for all listeners; its certificates may be missing.
    pub(super) fn common_tls(&mut self, file: &File) -> Files {
        self.files("tls", &Said::from(&file.tls), &Files::default())
    }

    pub(super) fn tls_files(&mut self, key: &str, is_tls: bool, one: &Written, common: &Files) -> Option<Files> {
        let said = Said::from(&one.table);
        if !is_tls {
            if !said.is_nothing() {
                let protocol = key.trim_start_matches("listen.").split('[').next().unwrap_or_default();
                let what = if said.shows_nothing() { "asks for certificates" } else { "has a certificate" };
                self.wrong(key, format!("{what} but is not TLS: write it as listen.{protocol}s"));
            }
            return None;
        }
        let files = self.files(key, &said, common);
        if files.certificates.is_empty() && said.shows_nothing() && !self.said("tls") {
            self.wrong(key, "needs a certificate: say cert and key here or in [tls]");
        }
        Some(files)
    }

    /// What is said under `table`, and the rest as `common` has it.
    fn files(&mut self, table: &str, said: &Said<'_>, common: &Files) -> Files {
        let mut certificates = self.pair(table, said.cert, said.key).into_iter().collect::<Vec<_>>();
        for (index, pair) in said.more.iter().enumerate() {
            let table = format!("{table}.certificates[{index}]");
            if pair.cert.is_none() && pair.key.is_none() {
                self.wrong(&table, "cert and key are missing");
            }
            certificates.extend(self.pair(&table, &pair.cert, &pair.key));
        }
        if !said.more.is_empty() && said.cert.is_none() && said.key.is_none() {
            self.wrong(table, "cert is missing: the certificate of clients that ask for none of these names");
        }
        if said.shows_nothing() {
            certificates.clone_from(&common.certificates);
        }
        self.all_readable(&format!("{table}.client_ca"), said.client_ca);
        self.all_readable(&format!("{table}.crl"), said.crl);
        let own = |own: &[PathBuf], common: &[PathBuf]| if own.is_empty() { common.to_vec() } else { own.to_vec() };
        let (client_ca, crl) = (own(said.client_ca, &common.client_ca), own(said.crl, &common.crl));
        let unsaid = if said.client_ca.is_empty() { common.client_auth } else { ClientAuth::Required };
        let client_auth = said.client_auth.unwrap_or(unsaid);
        if said.client_auth.is_some_and(|auth| auth != ClientAuth::None) && client_ca.is_empty() {
            self.wrong(&format!("{table}.client_auth"), "client_ca is missing: the authorities that are believed");
        }
        if !said.crl.is_empty() && client_auth == ClientAuth::None {
            self.wrong(&format!("{table}.crl"), "means nothing as long as no certificates are asked for (client_auth)");
        }
        let close_unverified = said.close_unverified.unwrap_or(common.close_unverified);
        Files { certificates, client_auth, client_ca, crl, close_unverified }
    }

    fn pair(&mut self, table: &str, cert: &Option<PathBuf>, key: &Option<PathBuf>) -> Option<CertificateFiles> {
        match (cert, key) {
            (Some(cert), Some(key)) => {
                self.readable(&format!("{table}.cert"), cert);
                self.readable(&format!("{table}.key"), key);
                Some(CertificateFiles { cert: cert.clone(), key: key.clone() })
            }
            (None, None) => None,
            (cert, _) => {
                self.wrong(table, if cert.is_some() { "key is missing" } else { "cert is missing" });
                None
            }
        }
    }

    fn all_readable(&mut self, key: &str, paths: &[PathBuf]) {
        paths.iter().for_each(|path: &PathBuf| self.readable(key, Path::new(path)));
    }
}
