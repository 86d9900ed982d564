//! What connects the gates: rooms of one floor do not know each other, so WebSockets that the HTTP gate opened are handed to the
//! MQTT and WAMP gates here.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use super::config::{Config, Protocol};
use crate::http::longpoll::{LongPollGate, Opened, Protocol as PollProtocol};
use crate::http::{self, MoreMetrics, Place, Upgraded, WebSocketGate};
use crate::mqtt;
use crate::mqtt::session::MqttGate;
use crate::net::clock::Clock;
use crate::net::pump::{Pump, drive};
use crate::net::websocket::echo::Echo;
use crate::net::websocket::{Keepalive, Stream, WebSocket};
use crate::node::Node;
use crate::types::payload::Format;
use crate::types::peer::Peer;
use crate::types::topic::TopicPattern;
use crate::wamp::serializer::{self, Encoding};
use crate::wamp::session::Access;
use crate::wamp::{self};

/// What every connection needs.
#[derive(Clone)]
pub(super) struct House {
    pub node: Arc<Node>,
    pub clock: Clock,
    pub refuse_filters: Vec<TopicPattern>,
}

impl House {
    pub fn mqtt_settings(&self, realm: Option<Arc<str>>, anonymous: bool) -> Arc<mqtt::Settings> {
        Arc::new(mqtt::Settings { realm, anonymous, refuse_filters: self.refuse_filters.clone() })
    }

    pub fn mqtt(&self, settings: &Arc<mqtt::Settings>, peer: Arc<Peer>) -> MqttGate {
        MqttGate::new(self.node.clone(), settings.clone(), peer, self.clock.now_ms())
    }

    /// The server behind all HTTP listeners.
    pub fn http(
        &self,
        config: &Config,
        listeners: &[(Protocol, bool, SocketAddr)],
        more_metrics: Option<MoreMetrics>,
    ) -> Arc<http::Server> {
        let wamp_door = Arc::new(WampDoor(self.clone()));
        let wamp: Arc<dyn WebSocketGate> = wamp_door.clone();
        let mqtt: Arc<dyn WebSocketGate> = Arc::new(MqttDoor(self.clone()));
        let mut websockets = vec![("/ws", wamp.clone()), ("/wamp", wamp), ("/mqtt", mqtt)];
        if let Some(path) = &config.ws_echo {
            // Once, for all of the process's life.
            websockets.push((path.clone().leak(), Arc::new(EchoDoor(self.clone()))));
        }
        let settings = http::Settings {
            allowed_origins: config.allowed_origins.clone(),
            websockets,
            long_poll: Some(wamp_door),
            address_header: config.address_header,
            places: listeners.iter().filter_map(place).collect(),
            admin_apart: listeners.iter().any(|(protocol, ..)| *protocol == Protocol::Admin),
            hooks: config.hooks.iter().map(|hook| hook.clone().open()).collect(),
            more_metrics,
        };
        http::Server::new(self.node.clone(), self.clock, settings)
    }
}

/// What clients are told of.
fn place((protocol, tls, address): &(Protocol, bool, SocketAddr)) -> Option<Place> {
    let (what, scheme) = match (protocol, tls) {
        (Protocol::Mqtt, false) => ("MQTT", "mqtt"),
        (Protocol::Mqtt, true) => ("MQTT over TLS", "mqtts"),
        (Protocol::Http, false) => ("HTTP and WebSocket", "http"),
        (Protocol::Http, true) => ("HTTP and WebSocket over TLS", "https"),
        (Protocol::RawSocket, false) => ("WAMP over RawSocket", "rs"),
        (Protocol::RawSocket, true) => ("WAMP over RawSocket and TLS", "rss"),
        (Protocol::Admin | Protocol::Metrics, _) => return None,
    };
    Some(Place { what: what.to_owned(), url: format!("{scheme}://{address}") })
}

struct WampDoor(House);

impl WebSocketGate for WampDoor {
    fn choose(&self, offered: &str) -> Option<&'static str> {
        Encoding::choose(offered).map(Encoding::subprotocol)
    }

    fn example(&self) -> &'static str {
        "wamp.2.json"
    }

    fn uses_cookies(&self) -> bool {
        true
    }

    fn run(&self, upgraded: Upgraded) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let House { node, clock, .. } = self.0.clone();
        let Some(encoding) = Encoding::from_subprotocol(upgraded.subprotocol) else { return Box::pin(async {}) };
        let access = Access { anonymous: upgraded.anonymous, cookie: upgraded.cookie };
        Box::pin(async move {
            let gate = wamp::serve::websocket(&node, access, upgraded.peer, encoding, clock.now_ms());
            drive(Pump::new(upgraded.stream, gate, clock).paced(&node).with_input(upgraded.early)).await;
        })
    }
}

impl LongPollGate for WampDoor {
    fn choose(&self, offered: &[String]) -> Option<PollProtocol> {
        let encoding = offered.iter().find_map(|name| Encoding::from_subprotocol(name))?;
        Some(PollProtocol {
            name: encoding.subprotocol(),
            text: serializer::is_text(encoding.format),
            batched: encoding.batched,
            content_type: match encoding.format {
                Format::Json => "application/json",
                Format::MsgPack => "application/msgpack",
                Format::Cbor => "application/cbor",
            },
        })
    }

    fn run(&self, opened: Opened) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let House { node, clock, .. } = self.0.clone();
        let Some(encoding) = Encoding::from_subprotocol(opened.protocol.name) else { return Box::pin(async {}) };
        let access = Access { anonymous: opened.anonymous, cookie: None };
        Box::pin(async move {
            let gate = wamp::serve::long_poll(&node, access, opened.peer, encoding, clock.now_ms());
            // A pipe stays where it is.
            let _ = Pump::new(opened.pipe, gate, clock).paced(&node).await;
        })
    }
}

struct MqttDoor(House);

impl WebSocketGate for MqttDoor {
    fn choose(&self, offered: &str) -> Option<&'static str> {
        // `mqttv3.1` is what clients of level 3 say.
        let known = |name: &str| ["mqtt", "mqttv3.1"].into_iter().find(|known| *known == name.trim());
        offered.split(',').find_map(known)
    }

    fn example(&self) -> &'static str {
        "mqtt"
    }

    fn run(&self, upgraded: Upgraded) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let house = self.0.clone();
        Box::pin(async move {
            let settings = house.mqtt_settings(upgraded.entrance.realm.clone(), upgraded.anonymous);
            let now_ms = house.clock.now_ms();
            let limits = &house.node.limits;
            let keepalive = Keepalive {
                interval_ms: u64::from(limits.mqtt_websocket_ping_interval_s) * 1000,
                timeout_ms: u64::from(limits.mqtt_websocket_ping_timeout_s) * 1000,
            };
            let frame_bytes_max = limits.mqtt_packet_bytes_max;
            let gate = WebSocket::new(
                Stream::new(house.mqtt(&settings, upgraded.peer).over_websocket()),
                frame_bytes_max,
                keepalive,
                now_ms,
            );
            drive(Pump::new(upgraded.stream, gate, house.clock).paced(&house.node).with_input(upgraded.early)).await;
        })
    }
}

/// For test suites of WebSocket.
struct EchoDoor(House);

impl WebSocketGate for EchoDoor {
    fn choose(&self, _: &str) -> Option<&'static str> {
        Some("")
    }

    fn example(&self) -> &'static str {
        ""
    }

    fn run(&self, upgraded: Upgraded) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let House { node, clock, .. } = self.0.clone();
        Box::pin(async move {
            let keepalive = Keepalive { interval_ms: 0, timeout_ms: 0 };
            let message_bytes_max = node.limits.wamp_websocket_bytes_max;
            let gate = WebSocket::new(Echo::default(), message_bytes_max, keepalive, clock.now_ms());
            drive(Pump::new(upgraded.stream, gate, clock).with_input(upgraded.early)).await;
        })
    }
}
