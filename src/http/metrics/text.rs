//! The text format itself.

use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::net::clock::Clock;
use crate::node::metrics::{BUCKETS_US, Histogram};

/// A text that is being written. Writing to a string cannot fail.
#[derive(Debug, Default)]
pub struct Text(pub(super) String);

impl Text {
    /// Begins the samples of a name; `kind`: `counter`, `gauge` or `histogram`.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// A sample of the family that was begun. `labels`: as they are written between the braces.
    pub fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    /// A family of one gauge.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, "", value);
    }

    /// A family of one counter.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help);
        self.sample(name, "", value);
    }

    /// A family of one histogram.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        let (below, all, sum_us) = histogram.read();
        self.family(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        for (bound_us, count) in BUCKETS_US.iter().zip(below) {
            self.sample(&bucket, &format!("le=\"{}\"", seconds(*bound_us)), count);
        }
        self.sample(&bucket, "le=\"+Inf\"", all);
        self.sample(&format!("{name}_sum"), "", seconds(sum_us));
        self.sample(&format!("{name}_count"), "", all);
    }

    /// What runs, since when.
    pub fn program(&mut self, clock: Clock) {
        self.family("fennec_build_info", "gauge", "What runs; always 1.");
        self.sample("fennec_build_info", &format!("version=\"{}\"", env!("CARGO_PKG_VERSION")), 1);
        let started_ms = clock.now_ms() - clock.uptime_ms();
        let help = "Start of the process, in seconds since 1970.";
        self.gauge("process_start_time_seconds", help, started_ms as f64 / 1e3);
    }

    /// All of it.
    pub fn into_string(self) -> String {
        self.0
    }
}

/// The value of a label, such that it cannot break the format.
pub fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// What a counter shows.
pub fn read(total: &AtomicU64) -> u64 {
    total.load(Ordering::Relaxed)
}
