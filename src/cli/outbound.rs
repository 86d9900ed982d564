//! What a broker sends elsewhere, on threads of its own: however slow the others are, clients are not delayed.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use super::Failure;
use super::config::Config;
use crate::http::MoreMetrics;
use crate::http::metrics::Text;
use crate::net::clock::Clock;
use crate::node::Node;
use crate::node::log::ClockFn;
use crate::outbound::authorize::HttpHook;
use crate::outbound::bridge::{self, Bridges};
use crate::outbound::post::Poster;
use crate::outbound::service::{Admin, Board, Services, Settings};
use crate::outbound::uplink;

/// How long a start waits for the log to know the services of the configuration.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long bridges may take to say goodbye and to record how far they are.
const BRIDGES_END: Duration = Duration::from_secs(4);

/// See the module. Dropped, it stops.
pub(super) struct Outbound {
    runtime: Runtime,
    node: Arc<Node>,
    board: Arc<Board>,
    uplinks: Arc<uplink::board::Board>,
    stopping: watch::Sender<bool>,
    clock: Clock,
    /// Answers `fennec.service.*`.
    _admin: Arc<Admin>,
    bridges: Bridges,
}

impl Outbound {
    /// `is_alone`: the log is this process's own.
    ///
    /// # Errors
    /// The system has no threads left.
    pub fn start(config: &Config, node: &Arc<Node>, clock: Clock, is_alone: bool) -> Result<Self, Failure> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("outbound").enable_all().build();
        let runtime = runtime.map_err(|error| Failure::Run(format!("cannot start threads: {error}")))?;
        let clock_fn: ClockFn = Arc::new(move || clock.now_ms());
        let settings =
            Settings { services: config.services.clone(), allowed: config.allow_networks.clone(), alone: is_alone };
        let services = Services::new(node.clone(), clock_fn.clone(), settings);
        // Who publishes as soon as the ports are open is to reach them.
        let both = async { tokio::join!(services.configure(), bridge::configure(node, &config.bridges)) };
        let configured = async { tokio::time::timeout(PATIENCE, both).await.is_ok() };
        if !runtime.block_on(configured) {
            tracing::warn!(
                "the log does not know the services and bridges of the configuration yet: they begin when it does"
            );
        }
        if let Some(hook) = &config.authorize_hook {
            let poster = Poster::new(hook).map_err(|what| Failure::Refused(vec![format!("authorize_hook: {what}")]))?;
            node.authorize_hook.set(Arc::new(HttpHook::new(poster, runtime.handle().clone())));
        }
        let board = services.board();
        let admin = Admin::new(node.clone(), board.clone(), clock_fn);
        let (stopping, stopped) = watch::channel(false);
        let bridges = Bridges::start(node, clock, &config.bridges, runtime.handle(), &stopped);
        node.offer("fennec.bridge.status", Arc::new(bridges.statuses()));
        admin.install(runtime.handle());
        runtime.spawn(services.run());
        let uplinks = uplink::start(node, clock, &config.uplinks, runtime.handle(), &stopped);
        Ok(Self { runtime, node: node.clone(), board, uplinks, stopping, clock, _admin: admin, bridges })
    }

    /// What it tells, behind `more`.
    pub fn metrics(&self, more: Option<MoreMetrics>) -> MoreMetrics {
        let (node, board, clock) = (Arc::downgrade(&self.node), self.board.clone(), self.clock);
        let uplinks = self.uplinks.clone();
        let bridges = self.bridges.statuses();
        Arc::new(move |text: &mut Text| {
            if let Some(more) = &more {
                more(text);
            }
            bridges.write(text);
            if let Some(node) = node.upgrade() {
                board.write(text, &node, clock.now_ms());
                uplinks.metrics(clock.now_ms(), text);
            }
        })
    }

    /// Ends what is under way: it is taken up again where it was recorded last.
    pub fn stop(self) {
        // Nobody may listen any more, then there is nobody to tell.
        let _ = self.stopping.send(true);
        let ended = async { tokio::time::timeout(BRIDGES_END, self.bridges.ended()).await };
        if self.runtime.block_on(ended).is_err() {
            tracing::warn!("a bridge has not said goodbye in time");
        }
        self.runtime.shutdown_background();
    }
}
