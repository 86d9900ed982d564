//! Listeners: their certificates, and who may come in through them.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::{Check, Realms};
use crate::cli::config::listen::{Listeners, Written};
use crate::cli::config::schema::File;
use crate::cli::config::{Listener, Protocol};
use crate::net::listen::Proxying;
use crate::node::users::{ANONYMOUS, Anonymous};
use crate::types::network::Network;

impl Check {
    pub(super) fn listeners(&mut self, file: &File, realms: &Realms) -> Vec<Listener> {
        let tls = self.common_tls(file);
        let trusted = self.networks("trusted_proxies", &file.trusted_proxies);
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
                let (proxy, trusted_proxies) = self.proxies(&key, one, &trusted);
                listeners.push(Listener {
                    protocol,
                    address: one.address,
                    tls: files,
                    proxy,
                    trusted_proxies,
                    realm: one.table.realm.as_deref().map(Into::into),
                    anonymous,
                    key,
                });
            }
        }
        self.check_all(file, &listeners);
        listeners
    }

    /// Whether connections begin with a PROXY header, and who may say for whom it connects.
    fn proxies(&mut self, key: &str, one: &Written, common: &Arc<[Network]>) -> (Option<Proxying>, Arc<[Network]>) {
        let trusted = match &one.table.trusted_proxies {
            Some(own) => self.networks(&format!("{key}.trusted_proxies"), own),
            None => common.clone(),
        };
        if one.table.proxy_protocol && trusted.is_empty() {
            self.wrong(&format!("{key}.proxy_protocol"), "nobody may connect: say which trusted_proxies do");
        }
        if one.table.proxy_certificates && !one.table.proxy_protocol {
            self.wrong(&format!("{key}.proxy_certificates"), "means nothing without proxy_protocol = true");
        }
        let proxying = Proxying { trusted: trusted.clone(), certificates: one.table.proxy_certificates };
        (one.table.proxy_protocol.then_some(proxying), trusted)
    }

    fn networks(&mut self, key: &str, texts: &[String]) -> Arc<[Network]> {
        let mut networks = Vec::new();
        for text in texts {
            match text.parse() {
                Ok(network) => networks.push(network),
                Err(error) => self.wrong(key, format!("{text:?} {error}")),
            }
        }
        networks.into()
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
        if file.anonymous == Some(false) && has_no_users(file) {
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
        let no_users = has_no_users(file);
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

/// Nobody can come in by name. Whoever names a file of users means to have some, and may add them any time.
fn has_no_users(file: &File) -> bool {
    file.user.0.is_empty()
        && file.users_file.is_none()
        && file.jwt.0.is_empty()
        && file.authenticator.0.is_empty()
        && file.auth_hook.url.is_none()
}
