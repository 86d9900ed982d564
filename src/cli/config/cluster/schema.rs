//! Every key of `cluster.toml`.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::cli::config::listen::parse_address;
use crate::cli::config::setting::{Reader, Setting, Shape, Tables, sections};
use crate::cli::config::store::StoreText;
use crate::cli::config::value::Node;
use crate::cluster::config::LinkAddress;

sections! {
    /// The whole file, as it was said.
    pub(super) struct File in "" {
        /// Name of the cluster: processes of another are not linked. Required.
        name: Option<String> = None,
        /// The secret that all processes share, at least 32 characters. This or `key_file` is required.
        key: Option<String> = None,
        /// A file with the secret; white space around it does not count.
        key_file: Option<PathBuf> = None,
        /// Storages that must have a message on disk before it is acknowledged: from 1 to the number of copies. Unless said: more
        /// than a half of them.
        storage_quorum: Option<u32> = None,
        /// Storages that keep each message. Unless said: all, if there are no more than 3.
        copies: Option<u32> = None,
        /// The storages of each slot, as lists of their ids. Unless said: as many as `copies` in each, in the order of the file.
        slots: Option<Vec<Vec<String>>> = None,
        /// Let links that leave the machine go without TLS.
        insecure_links: bool = false,
        /// A link that brings nothing for so long is dead: from 300 to 60000. It is asked three times as often.
        link_silence_ms: u32 = 3000,
        /// Folder for what storages and syncs keep, each in a folder of its own name below it.
        data: Option<PathBuf> = None,
        /// TLS of the links. With it all links have TLS, and both sides of each show a certificate.
        tls: Tls = Tls::default(),
        /// The processes.
        process: Tables<ProcessTable> = Tables::default(),
    }

    /// TLS of the links.
    pub(super) struct Tls in "" {
        /// Certificates of whoever signs those of the processes, PEM.
        ca: Option<PathBuf> = None,
        /// Certificate chain of a process, PEM: the same path on each machine, unless a process says its own.
        cert: Option<PathBuf> = None,
        /// Private key of the certificate, PEM.
        key: Option<PathBuf> = None,
    }

    /// A process.
    pub(super) struct ProcessTable in "" {
        /// Id of the entry that it plays: clients connect there. Each process plays at least one of `entry`, `ndb` and `sync`.
        entry: Option<String> = None,
        /// Id of the storage that it plays.
        ndb: Option<String> = None,
        /// Id of the sync that it plays.
        sync: Option<String> = None,
        /// Where the other processes find it: IP address or host name, and port. A certificate must be made out to it. Required.
        link: Option<LinkText> = None,
        /// IP address and port where it listens for them. Unless said: `link`.
        bind: Option<Address> = None,
        /// Folder for what its storage and its sync keep, each in a folder of its own name below it; instead of the common one.
        data: Option<PathBuf> = None,
        /// Where it answers `GET /metrics`, `/healthz` and `/readyz`, and asks nobody who they are. An entry has them with `http`, too.
        metrics: Option<Address> = None,
        /// Where its storage keeps the log, if elsewhere: a folder, or a database as `postgres://user:password@host/database`.
        store: Option<StoreText> = None,
        /// Its certificate chain, instead of that of `[tls]`.
        cert: Option<PathBuf> = None,
        /// Private key of the certificate.
        key: Option<PathBuf> = None,
        /// Of an entry: where it takes MQTT.
        mqtt: Vec<Address> = Vec::new(),
        /// MQTT with TLS. The certificate is that of the broker's own configuration.
        mqtts: Vec<Address> = Vec::new(),
        /// HTTP and WebSocket.
        http: Vec<Address> = Vec::new(),
        /// The same with TLS.
        https: Vec<Address> = Vec::new(),
        /// WAMP over RawSocket.
        rawsocket: Vec<Address> = Vec::new(),
        /// The same with TLS.
        rawsockets: Vec<Address> = Vec::new(),
    }
}

/// An address to listen at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address(pub SocketAddr);

impl Setting for Address {
    const SHAPE: Shape = Shape::Value("address such as \"127.0.0.1:1883\"");

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = String::read(node, reader)?;
        match parse_address(&text) {
            Ok(address) if address.port() == 0 => {
                reader.wrong(&node.origin, "must have a port that others can know, not 0");
                None
            }
            Ok(address) => Some(Self(address)),
            Err(what) => {
                reader.wrong(&node.origin, what);
                None
            }
        }
    }

    fn show(&self) -> Option<String> {
        Some(format!("\"{}\"", self.0))
    }
}

/// An address to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LinkText(pub LinkAddress);

impl Setting for LinkText {
    const SHAPE: Shape = Shape::Value("address such as \"10.0.0.1:7000\" or \"n1.example.org:7000\"");

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = String::read(node, reader)?;
        match parse_link(&text) {
            Ok(address) => Some(Self(address)),
            Err(what) => {
                reader.wrong(&node.origin, what);
                None
            }
        }
    }

    fn show(&self) -> Option<String> {
        Some(format!("\"{}\"", self.0))
    }
}

fn parse_link(text: &str) -> Result<LinkAddress, String> {
    let no_address = || format!("{text:?} is no address such as \"10.0.0.1:7000\" or \"n1.example.org:7000\"");
    let address = match text.parse::<SocketAddr>() {
        Ok(address) => LinkAddress { host: address.ip().to_string(), port: address.port() },
        Err(_) => {
            let (host, port) = text.rsplit_once(':').ok_or_else(no_address)?;
            let is_name = |host: &str| {
                let is_label = |label: &str| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
                let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
                host.len() <= 253 && host.split('.').all(is_label) && host.chars().all(known)
            };
            let port = port.parse().ok().filter(|_| is_name(host)).ok_or_else(no_address)?;
            LinkAddress { host: host.to_owned(), port }
        }
    };
    if address.port == 0 {
        return Err("must have a port that others can know, not 0".to_owned());
    }
    if address.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_unspecified()) {
        let what =
            format!("{} cannot be dialled: say bind = \"{text}\", and here the address that others use", address.host);
        return Err(what);
    }
    Ok(address)
}
