//! The keys of `mosquitto.conf`, as those of this broker.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, value};

use super::acl::{Acl, Grant, Rule};
use super::bridge::Bridge;
use super::conf::{Line, Place};
use super::passwords;
use crate::node::users::ANONYMOUS;

/// Role of users for whom the `acl_file` has no lines of their own.
const USER: &str = "user";

/// What became of a `mosquitto.conf`.
#[derive(Debug, Default)]
pub(super) struct Imported {
    /// Without users and roles.
    main: DocumentMut,
    /// Users and roles, if there are any.
    pub users: Option<String>,
    /// Passwords of bridges, by the name of the file that each is to be in.
    pub bridge_passwords: Vec<(String, String)>,
    /// What could not be said, a line for each.
    pub told: Vec<String>,
}

#[derive(Debug)]
struct Listener {
    place: Option<Place>,
    port: String,
    host: Option<String>,
    websockets: bool,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    ca: Option<PathBuf>,
    crl: Option<PathBuf>,
    require_certificate: bool,
    anonymous: Option<bool>,
}

#[derive(Default)]
struct Importer {
    listeners: Vec<Listener>,
    bridge: Option<Bridge>,
    bridges: Vec<Bridge>,
    per_listener: bool,
    anonymous: Option<bool>,
    password_file: Option<PathBuf>,
    acl_file: Option<PathBuf>,
    persistence: Option<bool>,
    location: Option<PathBuf>,
    /// Section, name, number.
    limits: Vec<(&'static str, &'static str, i64)>,
    told: Vec<String>,
}

/// Reads the settings, and the files that they name.
///
/// # Errors
/// The files of passwords or permissions cannot be read: without them the result would be open.
pub(super) fn import(lines: &[Line]) -> Result<Imported, String> {
    let mut importer = Importer::default();
    for line in lines {
        importer.line(line);
    }
    importer.bridges.extend(importer.bridge.take());
    importer.finish()
}

impl Importer {
    fn tell(&mut self, line: &Line, why: impl std::fmt::Display) {
        // Values may be secrets.
        self.told.push(format!("{}: {}: {why}", line.place, line.key));
    }

    fn line(&mut self, line: &Line) {
        if line.key == "connection" {
            self.bridges.extend(self.bridge.replace(Bridge::new(&line.value)));
            return;
        }
        if let Some(bridge) = &mut self.bridge {
            match bridge.set(line) {
                Ok(true) => return,
                Err(why) => return self.tell(line, why),
                Ok(false) => {}
            }
        }
        if !(self.listener_line(line) || self.security_line(line) || self.limit_line(line)) {
            self.tell(line, "has no counterpart");
        }
    }

    fn listener_line(&mut self, line: &Line) -> bool {
        match line.key.as_str() {
            "listener" | "port" => {
                let mut words = line.words().map(str::to_owned);
                let (port, host) = (words.next().unwrap_or_default(), words.next());
                self.bridges.extend(self.bridge.take());
                self.listeners.push(Listener { place: Some(line.place.clone()), port, host, ..Listener::local() });
                return true;
            }
            "per_listener_settings" => {
                self.per_listener = line.value == "true";
                return true;
            }
            _ => {}
        }
        let is_one = [
            "bind_address",
            "protocol",
            "certfile",
            "keyfile",
            "cafile",
            "crlfile",
            "require_certificate",
            "use_identity_as_username",
        ];
        if !is_one.contains(&line.key.as_str()) {
            return false;
        }
        if self.listeners.is_empty() {
            self.listeners.push(Listener::local());
        }
        let Some(listener) = self.listeners.last_mut() else { return false };
        match line.key.as_str() {
            "bind_address" => listener.host = Some(line.value.clone()),
            "protocol" => match line.value.as_str() {
                "websockets" => listener.websockets = true,
                "mqtt" => {}
                _ => self.tell(line, "is neither mqtt nor websockets"),
            },
            "certfile" => listener.cert = Some(line.path()),
            "keyfile" => listener.key = Some(line.path()),
            "cafile" => listener.ca = Some(line.path()),
            "crlfile" => listener.crl = Some(line.path()),
            "require_certificate" => listener.require_certificate = line.value == "true",
            // Said once, with the listener it is about.
            _ if line.value == "true" => {
                self.tell(line, "give users the subject of their certificate, see docs/security.md");
            }
            _ => {}
        }
        true
    }

    fn security_line(&mut self, line: &Line) -> bool {
        match line.key.as_str() {
            "allow_anonymous" => {
                let said = Some(line.value == "true");
                match self.listeners.last_mut().filter(|_| self.per_listener) {
                    Some(listener) => listener.anonymous = said,
                    None => self.anonymous = said,
                }
            }
            key @ ("password_file" | "acl_file") => {
                let file = if key == "acl_file" { &mut self.acl_file } else { &mut self.password_file };
                if file.replace(line.path()).is_some() {
                    self.tell(
                        line,
                        "is there more than once, for several listeners: users and roles hold for all, the last counts",
                    );
                }
            }
            "persistence" => self.persistence = Some(line.value == "true"),
            "persistence_location" => self.location = Some(line.path()),
            // What they say is so, or is of no interest to anybody here.
            "autosave_interval"
            | "autosave_on_changes"
            | "persistence_file"
            | "pid_file"
            | "user"
            | "sys_interval"
            | "set_tcp_nodelay"
            | "log_dest"
            | "log_timestamp"
            | "log_timestamp_format"
            | "connection_messages"
            | "log_type" => {
                self.tell(line, "is not needed, or is done by who starts the broker");
            }
            _ => return false,
        }
        true
    }

    fn limit_line(&mut self, line: &Line) -> bool {
        let (section, name) = match line.key.as_str() {
            "max_connections" | "global_max_connections" => ("limits", "connections_max"),
            "max_keepalive" => ("mqtt", "server_keep_alive_s"),
            "max_packet_size" | "message_size_limit" => ("mqtt", "packet_bytes_max"),
            "max_inflight_messages" => ("limits", "inflight_max"),
            "max_queued_messages" => ("limits", "backlog_messages_max"),
            "max_queued_bytes" => ("limits", "backlog_bytes_max"),
            "max_topic_alias" => ("mqtt", "topic_alias_max"),
            "max_topic_alias_broker" => ("mqtt", "outbound_topic_alias_max"),
            "persistent_client_expiration" => ("mqtt", "session_expiry_s_max"),
            _ => return false,
        };
        let number = match line.key.as_str() {
            "persistent_client_expiration" => duration_s(&line.value),
            _ => line.value.parse::<i64>().ok(),
        };
        match (line.key.as_str(), number) {
            (_, None) => self.tell(line, "is no number"),
            ("max_keepalive", Some(_)) => {
                self.tell(line, "mqtt.server_keep_alive_s would replace every client's keep alive, not only bound it");
            }
            ("max_connections", Some(-1)) => {}
            (
                "message_size_limit"
                | "max_packet_size"
                | "max_queued_messages"
                | "max_queued_bytes"
                | "max_inflight_messages",
                Some(0),
            ) => {
                self.tell(line, "0 means no limit, which there always is here: the default stands");
            }
            // Mosquitto counts the payload only.
            ("message_size_limit", Some(number)) => {
                self.limits.push((section, name, number.saturating_add(65_535 + 1024)))
            }
            (_, Some(number)) => self.limits.push((section, name, number)),
        }
        true
    }

    fn finish(mut self) -> Result<Imported, String> {
        let mut main = DocumentMut::new();
        let users = self.users()?;
        if users.is_some() {
            main["users_file"] = value("");
        }
        match (self.persistence, self.location.take()) {
            (Some(false), _) => main["memory"] = value(true),
            (_, Some(location)) => main["data"] = value(location.join("fennec").display().to_string()),
            _ => {}
        }
        let anonymous = self.anonymous.unwrap_or(false);
        if self.anonymous.is_some() || users.is_some() || !self.listeners.is_empty() {
            main["anonymous"] = value(anonymous);
        }
        main["listen"] = Item::Table(self.listen());
        for (section, name, number) in std::mem::take(&mut self.limits) {
            main.entry(section).or_insert(Item::Table(Table::new()))[name] = value(number);
        }
        let mut bridge_passwords = Vec::new();
        let mut bridges = ArrayOfTables::new();
        for mut bridge in std::mem::take(&mut self.bridges) {
            if let Some(password) = bridge.password.take() {
                let file = format!("bridge-{}.password", bridge.name.replace(['/', '.'], "-"));
                bridge.set_password_file(&file);
                bridge_passwords.push((file, password));
            }
            bridges.push(bridge.finish());
        }
        if !bridges.is_empty() {
            main["bridge"] = Item::ArrayOfTables(bridges);
        }
        Ok(Imported { main, users, bridge_passwords, told: self.told })
    }

    fn listen(&mut self) -> Table {
        let mut lists: [(&str, Array); 4] = ["mqtt", "mqtts", "http", "https"].map(|name| (name, Array::new()));
        let mut listeners = std::mem::take(&mut self.listeners);
        if listeners.is_empty() {
            listeners.push(Listener::local());
        }
        for listener in listeners {
            match listener.table() {
                Ok(table) => {
                    let at = 2 * usize::from(listener.websockets) + usize::from(listener.cert.is_some());
                    lists[at].1.push(table);
                }
                Err(why) => {
                    let place = listener.place.map(|place| format!("{place}: ")).unwrap_or_default();
                    self.told.push(format!("{place}listener {}: {why}", listener.port));
                }
            }
        }
        let mut listen = Table::new();
        for (name, list) in lists {
            // What Mosquitto did not open stays closed.
            listen[name] = if list.is_empty() { value("off") } else { value(list) };
        }
        listen["rawsocket"] = value("off");
        listen
    }

    /// Users and roles, as TOML.
    fn users(&mut self) -> Result<Option<String>, String> {
        let text_of = |path: &Path| {
            let bytes = std::fs::read(path).map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
            Ok::<_, String>(String::from_utf8_lossy(&bytes).into_owned())
        };
        let Some(password_file) = self.password_file.take() else {
            return self.roles_of_nobody(text_of);
        };
        let users = passwords::read(&password_file, &text_of(&password_file)?, &mut self.told);
        let acl = match self.acl_file.take() {
            Some(path) => Some(Acl::read(&path, &text_of(&path)?, &mut self.told)),
            None => None,
        };
        let mut document = DocumentMut::new();
        let mut list = ArrayOfTables::new();
        let mut roles = ArrayOfTables::new();
        for (name, hash) in &users {
            let mut table = Table::new();
            table["name"] = value(name);
            table["password_hash"] = value(hash);
            if let Some(acl) = &acl {
                let own = acl.users().any(|user| user == name);
                table["role"] = value(if own { role_of(name) } else { USER.to_owned() });
            }
            list.push(table);
        }
        if let Some(acl) = &acl {
            for name in acl.users() {
                if users.iter().any(|(user, _)| user == name) {
                    roles.push(role(&role_of(name), &acl.of_user(Some(name), &mut self.told)));
                } else {
                    self.told.push(format!("acl_file: user {name:?} has no password and is left out"));
                }
            }
            roles.push(role(USER, &acl.of_user(None, &mut self.told)));
            roles.push(role(ANONYMOUS, &acl.of_anonymous(&mut self.told)));
        }
        document["user"] = Item::ArrayOfTables(list);
        document["role"] = Item::ArrayOfTables(roles);
        Ok(Some(document.to_string()))
    }

    /// Permissions without a file of passwords: nobody has a name.
    fn roles_of_nobody(&mut self, text_of: impl Fn(&Path) -> Result<String, String>) -> Result<Option<String>, String> {
        let Some(path) = self.acl_file.take() else { return Ok(None) };
        let acl = Acl::read(&path, &text_of(&path)?, &mut self.told);
        for name in acl.users() {
            self.told.push(format!("acl_file: user {name:?} has no password and is left out"));
        }
        let mut document = DocumentMut::new();
        let mut roles = ArrayOfTables::new();
        roles.push(role(ANONYMOUS, &acl.of_anonymous(&mut self.told)));
        document["role"] = Item::ArrayOfTables(roles);
        Ok(Some(document.to_string()))
    }
}

impl Listener {
    /// What Mosquitto opens if nothing is said.
    fn local() -> Self {
        Self {
            place: None,
            port: "1883".to_owned(),
            host: Some("localhost".to_owned()),
            websockets: false,
            cert: None,
            key: None,
            ca: None,
            crl: None,
            require_certificate: false,
            anonymous: None,
        }
    }

    /// As an entry of `[listen]`; else why it cannot be one.
    fn table(&self) -> Result<toml_edit::InlineTable, String> {
        let port: u16 = self.port.parse().ok().filter(|port| *port != 0).ok_or("has no TCP port")?;
        let host = match self.host.as_deref() {
            None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Some("localhost") => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Some(host) => host.parse().map_err(|_| format!("{host:?} is no IP address"))?,
        };
        let mut table = toml_edit::InlineTable::new();
        table.insert("address", std::net::SocketAddr::new(host, port).to_string().into());
        let mut file = |name: &str, path: &Option<PathBuf>| {
            if let Some(path) = path {
                table.insert(name, path.display().to_string().into());
            }
        };
        file("cert", &self.cert);
        file("key", &self.key);
        if self.cert.is_some() && self.ca.is_some() {
            file("client_ca", &self.ca);
            file("crl", &self.crl);
            table.insert("client_auth", if self.require_certificate { "required" } else { "optional" }.into());
        }
        if let Some(anonymous) = self.anonymous {
            table.insert("anonymous", anonymous.into());
        }
        Ok(table)
    }
}

/// The name of the role that has a user's own lines.
fn role_of(user: &str) -> String {
    if [USER, ANONYMOUS].contains(&user) { format!("mosquitto-{user}") } else { user.to_owned() }
}

fn role(name: &str, rules: &[Rule]) -> Table {
    let mut table = Table::new();
    table["name"] = value(name);
    let mut permissions = ArrayOfTables::new();
    for rule in rules {
        let mut permission = Table::new();
        permission["action"] = match rule.grant.actions() {
            [one] => value(*one),
            all => value(all.iter().copied().collect::<Array>()),
        };
        permission["topic"] = value(&rule.topic);
        if rule.grant == Grant::Deny {
            permission["allow"] = value(false);
        }
        permissions.push(permission);
    }
    if !permissions.is_empty() {
        table["permissions"] = Item::ArrayOfTables(permissions);
    }
    table
}

/// A number and a unit: `2w`; months have 30 days, years 365.
fn duration_s(text: &str) -> Option<i64> {
    let unit = text.chars().last()?;
    let number: i64 = text.strip_suffix(unit)?.trim().parse().ok()?;
    let seconds = match unit {
        'h' => 3600,
        'd' => 86_400,
        'w' => 604_800,
        'm' => 2_592_000,
        'y' => 31_536_000,
        _ => return None,
    };
    number.checked_mul(seconds)
}

impl Imported {
    /// The configuration; its users are in the file of this name, if there are any.
    pub fn config(&self, users_file: &str) -> String {
        let mut main = self.main.clone();
        if self.users.is_some() {
            main["users_file"] = value(users_file);
        }
        main.to_string()
    }

    /// All in one.
    pub fn in_one(&self) -> String {
        let mut main = self.main.clone();
        main.remove("users_file");
        main.to_string() + "\n" + self.users.as_deref().unwrap_or_default()
    }
}
