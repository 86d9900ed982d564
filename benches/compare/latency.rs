//! Percentiles of latencies.

use crate::load::Measured;
use crate::outcome::{Metric, Outcome};

/// Adds the percentiles of all messages of the run but those of the first `skipped`, which warmed up.
pub fn add_percentiles(outcome: &mut Outcome, measured: &Measured, skipped: usize) {
    let mut latencies_ns: Vec<u64> = measured.latencies_ns.iter().skip(skipped).copied().collect();
    latencies_ns.sort_unstable();
    let metrics = [(Metric::P50Us, 0.5), (Metric::P99Us, 0.99), (Metric::P999Us, 0.999), (Metric::MaxUs, 1.0)];
    for (metric, share) in metrics {
        if let Some(ns) = percentile(&latencies_ns, share) {
            outcome.set(metric, ns as f64 / 1000.0);
        }
    }
}

/// The smallest of the sorted values that is not exceeded by `share` of them.
fn percentile(sorted: &[u64], share: f64) -> Option<u64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}
