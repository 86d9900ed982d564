//! The processes of `cluster.toml`: names, addresses, certificates, folders.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::check::ClusterCheck;
use super::schema::{Address, ProcessTable};
use crate::cluster::config::{ClientListener, LinkAddress, Process, ProcessId, TlsFiles};
use crate::queue::envelope::{NodeId, Role};
use crate::store::StoreUrl;

/// Longest id, in bytes.
const ID_BYTES_MAX: usize = 32;

/// What only one may have, and the key that has it.
#[derive(Default)]
struct Owned {
    ids: HashMap<String, String>,
    /// The machine, where an address means another on each, and the address.
    listens: HashMap<(String, SocketAddr), String>,
    links: HashMap<String, String>,
    /// The machine, where a folder is another on each, and the place.
    stores: HashMap<(String, String), String>,
}

impl ClusterCheck<'_> {
    /// Those of which enough is right to look at them further.
    pub(super) fn processes(&mut self) -> Vec<Process> {
        let mut owned = Owned::default();
        self.common_tls();
        let mut processes = Vec::new();
        for (index, table) in self.file.process.0.iter().enumerate() {
            let key = format!("process[{index}]");
            let nodes = self.nodes(&key, table, &mut owned);
            let addresses = self.addresses(&key, table);
            let tls = self.tls(&key, table);
            let stores = self.stores(&key, table, &nodes);
            let clients = self.clients(&key, table, &nodes);
            let Some((link, bind)) = addresses else { continue };
            self.only_once(&key, &mut owned, &link, (bind, table.metrics), &clients, &stores);
            self.secured(&key, &link, bind);
            let id = ProcessId::of(&nodes);
            let metrics = table.metrics.map(|Address(address)| address);
            processes.push(Process { id, nodes, link, bind, tls, clients, metrics, stores });
        }
        processes
    }

    fn nodes(&mut self, key: &str, table: &ProcessTable, owned: &mut Owned) -> Vec<NodeId> {
        let mut nodes = Vec::new();
        let roles = [
            (Role::Entry, "entry", &table.entry),
            (Role::Storage, "ndb", &table.ndb),
            (Role::Sync, "sync", &table.sync),
        ];
        for (role, name, id) in roles {
            let Some(id) = id else { continue };
            let key = format!("{key}.{name}");
            let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if id.is_empty() || id.len() > ID_BYTES_MAX || !id.chars().all(known) || id.starts_with('.') {
                let what = format!(
                    "{id:?} is no id: up to {ID_BYTES_MAX} letters, digits, \"-\", \"_\" and \".\", and no \".\" first"
                );
                self.wrong(&key, what);
            } else if let Some(other) = owned.ids.insert(id.clone(), key.clone()) {
                self.wrong(&key, format!("{id:?} is taken by {other}"));
            } else {
                nodes.push(NodeId { role, name: id.as_str().into() });
            }
        }
        if [&table.entry, &table.ndb, &table.sync].iter().all(|id| id.is_none()) {
            self.wrong(key, "plays no role: say entry, ndb or sync, and the id");
        }
        nodes
    }

    fn addresses(&mut self, key: &str, table: &ProcessTable) -> Option<(LinkAddress, SocketAddr)> {
        let Some(link) = table.link.as_ref().map(|link| link.0.clone()) else {
            self.wrong(key, "link is missing: where the other processes find this one");
            return None;
        };
        let ip = match link.host.as_str() {
            "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            host => host.parse().ok(),
        };
        match (table.bind, ip) {
            (Some(Address(bind)), _) => Some((link, bind)),
            (None, Some(ip)) => {
                let bind = SocketAddr::new(ip, link.port);
                Some((link, bind))
            }
            (None, None) => {
                let what = format!(
                    "{:?} is a name: say in bind, too, which address it listens at, such as \"0.0.0.0:{}\"",
                    link.host, link.port
                );
                self.wrong(&format!("{key}.link"), what);
                None
            }
        }
    }

    fn common_tls(&mut self) {
        let tls = &self.file.tls;
        let insecure = self.file.insecure_links;
        if self.has_tls() {
            if tls.ca.is_none() {
                self.wrong("tls", "ca is missing: who signs the certificates");
            }
            if tls.cert.is_some() != tls.key.is_some() {
                self.wrong("tls", if tls.cert.is_some() { "key is missing" } else { "cert is missing" });
            }
            if insecure {
                self.warn("insecure_links", "means nothing: all links have TLS");
            }
        }
    }

    fn has_tls(&self) -> bool {
        let tls = &self.file.tls;
        self.check.said("tls") || [&tls.ca, &tls.cert, &tls.key].iter().any(|path| path.is_some())
    }

    fn tls(&mut self, key: &str, table: &ProcessTable) -> Option<TlsFiles> {
        let common = &self.file.tls;
        if !self.has_tls() {
            if table.cert.is_some() || table.key.is_some() {
                self.wrong(key, "has a certificate, but there is no [tls] that says who signs it (ca)");
            }
            return None;
        }
        let (cert, private) = match (&table.cert, &table.key) {
            (None, None) => (&common.cert, &common.key),
            own => own,
        };
        match (cert, private, &common.ca) {
            (Some(cert), Some(private), Some(ca)) => {
                Some(TlsFiles { ca: ca.clone(), cert: cert.clone(), key: private.clone() })
            }
            (None, None, _) => {
                self.wrong(key, "has no certificate: say cert and key here or in [tls]");
                None
            }
            (Some(_), None, _) if table.cert.is_some() => {
                self.wrong(key, "key is missing");
                None
            }
            (None, Some(_), _) if table.key.is_some() => {
                self.wrong(key, "cert is missing");
                None
            }
            // Said for [tls] already.
            _ => None,
        }
    }

    /// Links that leave the machine must be encrypted.
    fn secured(&mut self, key: &str, link: &LinkAddress, bind: SocketAddr) {
        let ip_is_local = |ip: IpAddr| ip.to_canonical().is_loopback();
        let link_is_local = link.host == "localhost" || link.host.parse().is_ok_and(ip_is_local);
        if self.has_tls() || self.file.insecure_links || (link_is_local && ip_is_local(bind.ip())) {
            return;
        }
        let (name, address) = if link_is_local { ("bind", bind.to_string()) } else { ("link", link.to_string()) };
        let what = format!(
            "{address} is not on loopback: configure [tls], or say insecure_links = true if nobody else is in that network"
        );
        self.wrong(&format!("{key}.{name}"), what);
    }

    /// Where its storage and its sync keep what they must not forget.
    fn stores(&mut self, key: &str, table: &ProcessTable, nodes: &[NodeId]) -> Vec<(NodeId, StoreUrl)> {
        let keeps = table.ndb.is_some() || table.sync.is_some();
        if !keeps && table.data.is_some() {
            self.wrong(&format!("{key}.data"), "is for ndb and sync only: an entry keeps nothing");
        }
        if table.ndb.is_none() && table.store.is_some() {
            self.wrong(&format!("{key}.store"), "is for ndb only");
        }
        let data: Option<&PathBuf> = table.data.as_ref().or(self.file.data.as_ref());
        let mut stores = Vec::new();
        for node in nodes.iter().filter(|node| node.role != Role::Entry) {
            match (&table.store, data) {
                (Some(store), _) if node.role == Role::Storage => stores.push((node.clone(), store.0.clone())),
                (_, Some(data)) => stores.push((node.clone(), StoreUrl::Folder(data.join(&*node.name)))),
                (_, None) => self
                    .wrong(key, format!("data is missing: the folder in which {node} keeps what it must not forget")),
            }
        }
        stores
    }

    fn clients(&mut self, key: &str, table: &ProcessTable, nodes: &[NodeId]) -> Vec<ClientListener> {
        let protocols = [
            ("mqtt", &table.mqtt),
            ("mqtts", &table.mqtts),
            ("http", &table.http),
            ("https", &table.https),
            ("rawsocket", &table.rawsocket),
            ("rawsockets", &table.rawsockets),
        ];
        let mut clients = Vec::new();
        for (protocol, addresses) in protocols {
            if !addresses.is_empty() && table.entry.is_none() {
                self.wrong(&format!("{key}.{protocol}"), "is for entries only: clients connect nowhere else");
            }
            clients.extend(addresses.iter().map(|Address(address)| ClientListener { protocol, address: *address }));
        }
        if clients.is_empty() && nodes.iter().any(|node| node.role == Role::Entry) {
            self.warn(key, "takes no clients: say where in mqtt, http or rawsocket");
        }
        clients
    }

    /// No address and no folder may be there twice. Addresses that mean another place on each machine count for processes only
    /// that are dialled at the same host.
    fn only_once(
        &mut self,
        key: &str,
        owned: &mut Owned,
        link: &LinkAddress,
        (bind, metrics): (SocketAddr, Option<Address>),
        clients: &[ClientListener],
        stores: &[(NodeId, StoreUrl)],
    ) {
        if let Some(other) = owned.links.insert(link.to_string(), key.to_owned()) {
            // The same listener, most often: one word is enough.
            return self.wrong(&format!("{key}.link"), format!("{link} is taken by {other}"));
        }
        let machine = |address: SocketAddr| {
            let ip = address.ip().to_canonical();
            if ip.is_loopback() || ip.is_unspecified() { link.host.clone() } else { String::new() }
        };
        let bind_key = if self.check.said(&format!("{key}.bind")) { "bind" } else { "link" };
        let listens = clients.iter().map(|client| (client.protocol, client.address));
        let metrics = metrics.map(|Address(address)| ("metrics", address));
        let listens = listens.chain([(bind_key, bind)]).chain(metrics);
        for (name, address) in listens {
            let place = format!("{key}.{name}");
            if let Some(other) = owned.listens.insert((machine(address), address), place.clone()) {
                self.wrong(&place, format!("{address} is taken by {other}"));
            }
        }
        for (node, store) in stores {
            let (machine, place) = match store {
                StoreUrl::Folder(folder) => (link.host.clone(), display(folder)),
                StoreUrl::Postgres(url) => (String::new(), url.clone()),
                StoreUrl::Memory => continue,
            };
            if let Some(other) = owned.stores.insert((machine, place), node.to_string()) {
                self.wrong(key, format!("{node} would keep its data where {other} does: {store}"));
            }
        }
    }
}

fn display(path: &Path) -> String {
    path.display().to_string()
}
