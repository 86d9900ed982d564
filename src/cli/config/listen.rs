//! Listeners as they are written: an address, a table, or a list of both.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::schema::ListenerTable;
use super::setting::{Reader, Setting, Shape, items};
use super::value::{Node, Value};

/// The listeners of one protocol.
#[derive(Clone, Debug)]
pub(super) struct Listeners(pub Vec<Written>);

/// A listener and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Written {
    /// Dotted key, such as `listen.mqtt[1]`; empty for a default.
    pub key: String,
    pub address: SocketAddr,
    pub table: ListenerTable,
}

impl Listeners {
    pub(super) fn none() -> Listeners {
        Listeners(Vec::new())
    }

    /// A default: this port of the loopback interface.
    pub(super) fn loopback(port: u16) -> Listeners {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Listeners(vec![Written { key: String::new(), address, table: ListenerTable::default() }])
    }
}

/// `off`, an empty text or an empty list: no listener. Commas separate in the environment and on the command line.
impl Setting for Listeners {
    const SHAPE: Shape = Shape::Value("address, table (see \"Listeners\"), or a list of these; `off` for none");

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        if matches!(node.text(), Some("off" | "")) {
            return Some(Listeners::none());
        }
        let items = items(node);
        let mut written = Vec::new();
        for (index, item) in items.iter().enumerate() {
            written.extend(match &node.value {
                Value::List(_) => reader.below(&format!("[{index}]"), &item.origin, |reader| read_one(item, reader)),
                _ => read_one(item, reader),
            });
        }
        (written.len() == items.len()).then_some(Listeners(written))
    }

    fn show(&self) -> Option<String> {
        match &self.0[..] {
            [] => Some("\"off\"".to_owned()),
            written => Some(written.iter().map(|one| format!("\"{}\"", one.address)).collect::<Vec<_>>().join(", ")),
        }
    }
}

fn read_one(node: &Node, reader: &mut Reader) -> Option<Written> {
    let table = match &node.value {
        Value::Table(_) => reader.section(node)?,
        _ => ListenerTable { address: node.text().map(str::to_owned), ..ListenerTable::default() },
    };
    let address = match table.address.as_deref().map(parse_address) {
        Some(Ok(address)) => address,
        Some(Err(what)) => {
            reader.wrong(&node.origin, what);
            return None;
        }
        None => {
            let table = matches!(node.value, Value::Table(_));
            reader.wrong(
                &node.origin,
                if table { "address is missing" } else { "must be an address or a table with one" },
            );
            return None;
        }
    };
    Some(Written { key: reader.path().to_owned(), address, table })
}

/// An IP address, or `localhost`, and a port. Other host names are not taken: what they mean may change under a running
/// broker, and whether a listener is on loopback must be certain.
pub(super) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    match (host, port.parse()) {
        ("localhost", Ok(port)) => Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)),
        ("" | "*", Ok(port)) => {
            let port: u16 = port;
            Err(format!("{text:?} names no interface: write \"127.0.0.1:{port}\", or \"0.0.0.0:{port}\" for all"))
        }
        (_, Ok(_)) => Err(format!("{text:?} must have an IP address, or localhost, before its port")),
        (_, Err(_)) => Err(format!("{text:?} is no address such as \"127.0.0.1:1883\" or \"[::1]:1883\"")),
    }
}
