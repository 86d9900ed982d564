//! Counters of the node. Connections count in a [`Tally`] of their own and add it up once per batch.

use std::sync::atomic::{AtomicU64, Ordering};

/// Protocols that are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Mqtt,
    Wamp,
    Http,
}

impl Protocol {
    pub const ALL: [Protocol; 3] = [Self::Mqtt, Self::Wamp, Self::Http];

    pub fn name(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Wamp => "wamp",
            Self::Http => "http",
        }
    }
}

/// Why an event did not reach a subscriber, or a publish was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    /// The outbox or backlog of the subscriber was full.
    QueueFull,
    /// Larger than the subscriber takes.
    TooLarge,
    /// Its payload cannot be said in the subscriber's encoding.
    Untranslatable,
    /// The publisher may not publish there.
    NotAuthorized,
    /// The store of retained values was full.
    RetainedFull,
    /// The link to another entry of the cluster was full or gone.
    LinkFull,
    /// There was no memory for more.
    MemoryFull,
}

impl Drop {
    pub const ALL: [Drop; 7] = [
        Self::QueueFull,
        Self::TooLarge,
        Self::Untranslatable,
        Self::NotAuthorized,
        Self::RetainedFull,
        Self::LinkFull,
        Self::MemoryFull,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::TooLarge => "too_large",
            Self::Untranslatable => "untranslatable",
            Self::NotAuthorized => "not_authorized",
            Self::RetainedFull => "retained_full",
            Self::LinkFull => "link_full",
            Self::MemoryFull => "memory_full",
        }
    }
}

/// A limit that was reached, and what was done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// A connection was closed at once: as many as there may be, of all or of its address.
    Connections,
    ConnectionsPerAddress,
    /// A session was refused: its user has as many connections as it may.
    ConnectionsPerUser,
    /// A connection waited to be accepted, or was closed: its address made too many.
    Connects,
    ConnectsPerAddress,
    /// A login had to wait, or was refused: too many waited.
    AuthDelayed,
    AuthRefused,
    /// A client was not read for a moment, or was disconnected: it sent too fast.
    RatePaused,
    RateDisconnected,
    /// An HTTP request was refused: its client asked too much before.
    RateRefused,
    /// There was no memory: a connection was closed at once, a request or publication refused, a slow reader disconnected.
    MemoryConnections,
    MemoryRequests,
    MemoryShed,
}

impl Limited {
    pub const ALL: [Limited; 13] = [
        Self::Connections,
        Self::ConnectionsPerAddress,
        Self::ConnectionsPerUser,
        Self::Connects,
        Self::ConnectsPerAddress,
        Self::AuthDelayed,
        Self::AuthRefused,
        Self::RatePaused,
        Self::RateDisconnected,
        Self::RateRefused,
        Self::MemoryConnections,
        Self::MemoryRequests,
        Self::MemoryShed,
    ];

    /// What the metrics call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ConnectionsPerAddress => "connections_per_address",
            Self::ConnectionsPerUser => "connections_per_user",
            Self::Connects => "connects_per_second",
            Self::ConnectsPerAddress => "connects_per_second_per_address",
            Self::AuthDelayed => "auth_delayed",
            Self::AuthRefused => "auth_refused",
            Self::RatePaused => "rate_paused",
            Self::RateDisconnected => "rate_disconnected",
            Self::RateRefused => "rate_refused",
            Self::MemoryConnections => "memory_connections",
            Self::MemoryRequests => "memory_requests",
            Self::MemoryShed => "memory_shed",
        }
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What one connection counted since it last added up.
        #[derive(Clone, Copy, Debug, Default)]
        pub struct Tally { $($(#[$doc])* pub $name: u64,)* pub dropped: [u64; Drop::ALL.len()] }

        /// The totals of one protocol.
        #[derive(Debug, Default)]
        pub struct Totals { $($(#[$doc])* pub $name: AtomicU64,)* pub dropped: [AtomicU64; Drop::ALL.len()] }

        impl Totals {
            /// Adds a tally and clears it.
            pub fn add(&self, tally: &mut Tally) {
                $(add(&self.$name, tally.$name);)*
                for (total, count) in self.dropped.iter().zip(tally.dropped) {
                    add(total, count);
                }
                *tally = Tally::default();
            }
        }
    };
}

counters! {
    /// Bytes read from and written to sockets (after TLS and WebSocket unframing for input).
    bytes_in,
    bytes_out,
    /// Packets (MQTT) or messages (WAMP, HTTP) read.
    messages_in,
    /// Publications taken.
    publishes_in,
    /// Copies put into outboxes, by the protocol of the publisher.
    deliveries,
    /// Bytes of these copies.
    delivery_bytes,
    /// Connections taken, and ended.
    connections_opened,
    connections_closed,
    /// Connections closed at once, for there were as many as there may be.
    connections_refused,
    /// Connections that ended before they had a session: bad handshake, refused, timed out.
    handshake_failures,
    /// Connections that asked with wrong credentials.
    auth_failures,
    /// Protocol errors that closed a connection.
    protocol_errors,
    /// Calls taken.
    calls_in,
}

impl Tally {
    pub fn drop(&mut self, reason: Drop, count: u64) {
        self.dropped[reason as usize] += count;
    }
}

fn add(total: &AtomicU64, count: u64) {
    if count != 0 {
        total.fetch_add(count, Ordering::Relaxed);
    }
}

/// Upper bounds of the histogram's buckets, in microseconds.
pub const BUCKETS_US: [u64; 12] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000, 10_000_000];

/// Durations, in buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    pub fn observe_us(&self, us: u64) {
        let at = BUCKETS_US.iter().position(|bound| us <= *bound).unwrap_or(BUCKETS_US.len());
        self.buckets[at].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// `(count up to each bound, count of all, sum in microseconds)`.
    pub fn read(&self) -> ([u64; BUCKETS_US.len()], u64, u64) {
        let mut below = 0;
        let bounds = std::array::from_fn(|i| {
            below += self.buckets[i].load(Ordering::Relaxed);
            below
        });
        let all = below + self.buckets[BUCKETS_US.len()].load(Ordering::Relaxed);
        (bounds, all, self.sum_us.load(Ordering::Relaxed))
    }
}

/// Everything the node counts.
#[derive(Debug, Default)]
pub struct Metrics {
    totals: [Totals; Protocol::ALL.len()],
    limited: [AtomicU64; Limited::ALL.len()],
    /// From the first byte of a connection to its session.
    pub handshake: Histogram,
    /// From a read batch to the moment its deliveries lie in their outboxes.
    pub batch: Histogram,
    /// From CALL to its final answer.
    pub call: Histogram,
}

impl Metrics {
    /// Connections that are open, of all protocols.
    pub fn connections_open(&self) -> u64 {
        let open = |totals: &Totals| {
            let closed = totals.connections_closed.load(Ordering::Relaxed);
            totals.connections_opened.load(Ordering::Relaxed).saturating_sub(closed)
        };
        self.totals.iter().map(open).sum()
    }

    /// A limit was reached so many times.
    pub fn limited(&self, limit: Limited, count: u64) {
        add(&self.limited[limit as usize], count);
    }

    /// How often a limit was reached.
    pub fn times_limited(&self, limit: Limited) -> u64 {
        self.limited[limit as usize].load(Ordering::Relaxed)
    }

    pub fn of(&self, protocol: Protocol) -> &Totals {
        &self.totals[protocol as usize]
    }
}
