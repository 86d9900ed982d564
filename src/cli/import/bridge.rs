//! `connection` and what follows it, as `[[bridge]]`.

use toml_edit::{Array, ArrayOfTables, Item, Table, value};

use super::conf::Line;

/// One bridge, while its lines are read.
pub(super) struct Bridge {
    table: Table,
    topics: ArrayOfTables,
    is_tls: bool,
    addresses: Vec<String>,
    /// Written to a file of its own, for a configuration names files of passwords.
    pub password: Option<String>,
    pub name: String,
}

impl Bridge {
    pub fn new(name: &str) -> Self {
        let mut table = Table::new();
        table["name"] = value(name);
        // Mosquitto's own default.
        table["version"] = value("3.1.1");
        let (topics, addresses) = (ArrayOfTables::new(), Vec::new());
        Self { table, topics, is_tls: false, addresses, password: None, name: name.to_owned() }
    }

    /// Takes a line. `Err`: why it means nothing here; `Ok(false)`: it is no line of a bridge.
    pub fn set(&mut self, line: &Line) -> Result<bool, String> {
        let text = line.value.as_str();
        match line.key.as_str() {
            "address" | "addresses" => self.addresses.extend(line.words().map(str::to_owned)),
            "topic" => self.topic(line)?,
            "remote_username" | "username" => self.table["user"] = value(text),
            "remote_password" | "password" => self.password = Some(text.to_owned()),
            "remote_clientid" | "clientid" => self.table["client_id"] = value(text),
            "cleansession" => self.table["clean_start"] = value(text == "true"),
            "try_private" => self.table["try_private"] = value(text == "true"),
            "keepalive_interval" => {
                let seconds: i64 = text.parse().map_err(|_| "is no number".to_owned())?;
                self.table["keep_alive_s"] = value(seconds);
            }
            "bridge_protocol_version" => match text {
                "mqttv50" => self.table["version"] = value("5"),
                "mqttv311" => {}
                _ => return Err("is spoken as 3.1.1".to_owned()),
            },
            "bridge_cafile" => {
                self.is_tls = true;
                self.table["cafile"] = value(line.path().display().to_string());
            }
            "bridge_certfile" => self.table["cert"] = value(line.path().display().to_string()),
            "bridge_keyfile" => self.table["key"] = value(line.path().display().to_string()),
            "bridge_insecure" => self.table["insecure"] = value(text == "true"),
            "start_type" if text == "automatic" => {}
            "notifications" if text == "false" => {}
            "bridge_capath"
            | "bridge_identity"
            | "bridge_psk"
            | "bridge_alpn"
            | "bridge_attempt_unsubscribe"
            | "bridge_bind_address"
            | "bridge_max_packet_size"
            | "bridge_outgoing_retain"
            | "bridge_require_ocsp"
            | "bridge_tls_version"
            | "bridge_max_topic_alias"
            | "bridge_tcp_keepalive"
            | "bridge_tcp_user_timeout"
            | "bridge_reload_type"
            | "idle_timeout"
            | "local_cleansession"
            | "local_clientid"
            | "local_password"
            | "local_username"
            | "notifications"
            | "notifications_local_only"
            | "notification_topic"
            | "restart_timeout"
            | "round_robin"
            | "start_type"
            | "threshold" => return Err("has no counterpart for bridges".to_owned()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// `topic PATTERN [[out|in|both] [qos [local [remote]]]]`; `""` is an empty prefix or pattern.
    fn topic(&mut self, line: &Line) -> Result<(), String> {
        let mut words = line.words().map(|word| if word == "\"\"" { "" } else { word });
        let pattern = words.next().ok_or("has no pattern")?;
        let mut table = Table::new();
        table["pattern"] = value(pattern);
        let direction = words.next().unwrap_or("out");
        if !["out", "in", "both"].contains(&direction) {
            return Err(format!("{direction:?} is none of out, in, both"));
        }
        table["direction"] = value(direction);
        let qos: i64 = words
            .next()
            .unwrap_or("0")
            .parse()
            .ok()
            .filter(|qos| (0..=2).contains(qos))
            .ok_or("has no QoS of 0, 1 or 2")?;
        table["qos"] = value(qos);
        for name in ["local", "remote"] {
            if let Some(prefix) = words.next().filter(|prefix| !prefix.is_empty()) {
                table[name] = value(prefix);
            }
        }
        self.topics.push(table);
        Ok(())
    }

    pub fn set_password_file(&mut self, path: &str) {
        self.table["password_file"] = value(path);
    }

    pub fn finish(mut self) -> Table {
        let scheme = if self.is_tls { "mqtts" } else { "mqtt" };
        let with_port = |address: &String| match address.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => format!("{scheme}://{address}"),
            _ => format!("{scheme}://{address}:{}", if scheme == "mqtts" { 8883 } else { 1883 }),
        };
        self.table["address"] = value(self.addresses.iter().map(with_port).collect::<Array>());
        self.table["topic"] = Item::ArrayOfTables(self.topics);
        self.table
    }
}
