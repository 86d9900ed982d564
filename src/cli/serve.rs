//! `fennec serve`: starts the broker, says where it is, and stops it when told to.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::args::ServeArgs;
use super::broker::Broker;
use super::config::{Config, Protocol};
use super::stop::Stop;
use super::{Failure, log, print};
use crate::store::StoreUrl;

pub(super) fn run(args: ServeArgs) -> Result<(), Failure> {
    let ws_echo = args.ws_echo.clone();
    let mut config = Config::load(&args.sources()).map_err(Failure::of_problems)?;
    config.ws_echo = ws_echo;
    log::start(&config.log, config.log_format, config.audit_log.as_deref())
        .map_err(|error| Failure::Run(format!("cannot log: {error}")))?;
    tracing::debug!(?config, "configuration");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Run(format!("cannot start threads: {error}")))?;
    // From here on a signal drains, also one that comes while ports are taken.
    let mut stop = runtime.block_on(async { Stop::new() })?;
    let broker = Broker::start(&config)?;
    let data = match &config.store.url {
        StoreUrl::Memory => "in memory".to_owned(),
        url => url.to_string(),
    };
    print(&banner(&config, &broker, &data))?;
    runtime.block_on(stop.asked());
    tracing::info!("stopping");
    let again = Arc::new(AtomicBool::new(false));
    let heard = again.clone();
    runtime.spawn(async move {
        stop.asked().await;
        heard.store(true, Ordering::Relaxed);
    });
    broker.stop(|| again.load(Ordering::Relaxed));
    runtime.shutdown_background();
    Ok(())
}

/// Says what runs where, one listener a line, and what to try first.
/// `data`: where what is durable is kept.
pub(super) fn banner(config: &Config, broker: &Broker, data: &str) -> String {
    let mut text = format!("fennec {}\n", env!("CARGO_PKG_VERSION"));
    for (protocol, tls, address) in &broker.listeners {
        let (name, what) = match (protocol, tls) {
            (Protocol::Mqtt, false) => ("mqtt", "MQTT 3.1, 3.1.1 and 5"),
            (Protocol::Mqtt, true) => ("mqtts", "MQTT 3.1, 3.1.1 and 5 over TLS"),
            (Protocol::Http, false) => ("http", "WAMP on /ws, MQTT on /mqtt, and HTTP"),
            (Protocol::Http, true) => ("https", "WAMP on /ws, MQTT on /mqtt, and HTTP, over TLS"),
            (Protocol::RawSocket, false) => ("rawsocket", "WAMP over RawSocket"),
            (Protocol::RawSocket, true) => ("rawsockets", "WAMP over RawSocket and TLS"),
            (Protocol::Admin, false) => ("admin", "the admin API"),
            (Protocol::Admin, true) => ("admin", "the admin API over TLS"),
            (Protocol::Metrics, false) => ("metrics", "metrics"),
            (Protocol::Metrics, true) => ("metrics", "metrics over TLS"),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name:<10} {address:<21} {what}");
    }
    let _ = writeln!(text, "  {:<10} {}", "realm", config.default_realm);
    let _ = writeln!(text, "  {:<10} {data}", "data");
    if let Some(address) = broker.address(Protocol::Mqtt, false) {
        let port = address.port();
        let who = if config.users.is_empty() { "" } else { " -u USER -P PASSWORD" };
        let _ = writeln!(
            text,
            "try:  mosquitto_sub -p {port}{who} -t 'app/#' -v &  mosquitto_pub -p {port}{who} -t app/hello -m world"
        );
    }
    text
}
