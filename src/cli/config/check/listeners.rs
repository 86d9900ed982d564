//! Listeners: their certificates, and who may come in through them.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::{Check, Realms};
use crate::cli::config::listen::{Listeners, Written};
use crate::cli::config::schema::File;
use crate::cli::config::{Listener, Protocol, TlsFiles};
use crate::node::users::{ANONYMOUS, Anonymous};

impl Check {
    pub(super) fn listeners(&mut self, file: &File, realms: &Realms) -> Vec<Listener> {
        let tls = self.common_tls(file);
        let mut listeners = Vec::new();
        for (name, protocol, is_tls, written) in by_protocol(file) {
            for one in &written.0 {
                let key = if one.key.is_empty() { format!("listen.{name}") } else { one.key.clone() };
                if let Some(realm) = &one.table.realm {
                    self.known_realm(realms, &format!("{key}.realm"), realm);
                }
                let by_certificate = matches!(protocol, Protocol::Admin | Protocol::Metrics);
                let is_tls = is_tls || (by_certificate && (one.table.cert.is_some() || one.table.key.is_some()));
                let files = self.tls_files(&key, is_tls, one, &tls);
                let anonymous = match protocol {
                    // Nobody is asked who it is.
                    Protocol::Metrics => Anonymous::Refused,
                    _ => self.anonymous(file, &key, one),
                };
                listeners.push(Listener {
                    protocol,
                    address: one.address,
                    tls: files,
                    realm: one.table.realm.as_deref().map(Into::into),
                    anonymous,
                    key,
                });
            }
        }
        self.check_all(file, &listeners);
        listeners
    }

    fn check_all(&mut self, file: &File, listeners: &[Listener]) {
        if listeners.is_empty() {
            self.wrong("listen", "there is no listener: nobody could connect");
        }
        let mut taken: HashMap<SocketAddr, &str> = HashMap::new();
        for listener in listeners.iter().filter(|listener| listener.address.port() != 0) {
            if let Some(other) = taken.insert(listener.address, &listener.key) {
                self.wrong(&listener.key, format!("{} is taken by {other}", listener.address));
            }
        }
        if file.anonymous == Some(false) && file.user.0.is_empty() {
            self.wrong("anonymous", "is false and there are no users: nobody could come in");
        }
        let roles = &file.role.0;
        let needs_role = !roles.is_empty() && !roles.iter().any(|role| role.name.as_deref() == Some(ANONYMOUS));
        if let Some(open) = listeners.iter().find(|listener| needs_role && listener.anonymous != Anonymous::Refused) {
            let what =
                format!("lets anonymous clients in, but no [[role]] is named {ANONYMOUS:?} to say what they may do");
            self.wrong(&open.key, what);
        }
    }

    /// Whether anonymous clients may come in here. A listener that others than this machine can reach must not be open
    /// because nobody thought of it.
    fn anonymous(&mut self, file: &File, key: &str, one: &Written) -> Anonymous {
        let no_users = file.user.0.is_empty();
        let loopback = one.address.ip().to_canonical().is_loopback();
        match one.table.anonymous.or(file.anonymous) {
            Some(said) => {
                if !said && no_users && one.table.anonymous.is_some() {
                    self.wrong(&format!("{key}.anonymous"), "is false and there are no users: nobody could come in");
                }
                if said { Anonymous::Allowed } else { Anonymous::Refused }
            }
            None if no_users && !loopback => {
                let what = format!(
                    "{} is not on loopback and there are no users: add a [[user]], or say anonymous = true if everybody who \
                     can reach it may come in",
                    one.address
                );
                self.wrong(key, what);
                Anonymous::Refused
            }
            None if no_users => Anonymous::Local,
            None => Anonymous::Refused,
        }
    }

    fn common_tls(&mut self, file: &File) -> Option<TlsFiles> {
        match (&file.tls.cert, &file.tls.key) {
            (Some(cert), Some(key)) => {
                self.readable("tls.cert", cert);
                self.readable("tls.key", key);
                Some(TlsFiles { cert: cert.clone(), key: key.clone() })
            }
            (None, None) => None,
            (cert, _) => {
                self.wrong("tls", if cert.is_some() { "key is missing" } else { "cert is missing" });
                None
            }
        }
    }

    fn tls_files(&mut self, key: &str, is_tls: bool, one: &Written, common: &Option<TlsFiles>) -> Option<TlsFiles> {
        match (is_tls, &one.table.cert, &one.table.key) {
            (false, None, None) => None,
            (false, ..) => {
                let protocol = key.trim_start_matches("listen.").split('[').next().unwrap_or_default();
                self.wrong(key, format!("has a certificate but is not TLS: write it as listen.{protocol}s"));
                None
            }
            (true, Some(cert), Some(private)) => {
                self.readable(&format!("{key}.cert"), cert);
                self.readable(&format!("{key}.key"), private);
                Some(TlsFiles { cert: cert.clone(), key: private.clone() })
            }
            (true, None, None) => {
                if common.is_none() && !self.said("tls") {
                    self.wrong(key, "needs a certificate: say cert and key here or in [tls]");
                }
                common.clone()
            }
            (true, cert, _) => {
                self.wrong(key, if cert.is_some() { "key is missing" } else { "cert is missing" });
                None
            }
        }
    }

    pub(super) fn readable(&mut self, key: &str, path: &Path) {
        if let Err(error) =
            fs::File::open(path).and_then(|file| file.metadata()).and_then(|found| match found.is_dir() {
                true => Err(std::io::ErrorKind::IsADirectory.into()),
                false => Ok(()),
            })
        {
            self.wrong(key, format!("cannot read {}: {error}", path.display()));
        }
    }
}

fn by_protocol(file: &File) -> [(&'static str, Protocol, bool, &Listeners); 8] {
    let listen = &file.listen;
    [
        ("mqtt", Protocol::Mqtt, false, &listen.mqtt),
        ("mqtts", Protocol::Mqtt, true, &listen.mqtts),
        ("http", Protocol::Http, false, &listen.http),
        ("https", Protocol::Http, true, &listen.https),
        ("rawsocket", Protocol::RawSocket, false, &listen.rawsocket),
        ("rawsockets", Protocol::RawSocket, true, &listen.rawsockets),
        ("admin", Protocol::Admin, false, &listen.admin),
        ("metrics", Protocol::Metrics, false, &listen.metrics),
    ]
}
