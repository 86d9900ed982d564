//! What a run found out.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::load::Measured;
use crate::tracker::Faults;

/// A measured quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// What the case counts, per second.
    PerSecond,
    /// CPU time of the broker per counted message, in microseconds.
    BrokerUs,
    /// CPU time of the broker's busiest thread in percent of the elapsed time.
    BusiestThreadPercent,
    /// CPU time of the driver per counted message, in microseconds.
    DriverUs,
    /// Microseconds from the intended time of sending to the arrival.
    P50Us,
    P99Us,
    P999Us,
    MaxUs,
    /// Rate with other subscriptions present, in percent of the rate without, in the same broker.
    KeptPercent,
    ConnectsPerSecond,
    /// Resident memory of the broker per idle connection, in kB.
    KbPerConnection,
}

impl Metric {
    pub fn title(self) -> &'static str {
        match self {
            Metric::PerSecond => "per second",
            Metric::BrokerUs => "broker CPU us",
            Metric::BusiestThreadPercent => "busiest thread %",
            Metric::DriverUs => "driver CPU us",
            Metric::P50Us => "p50 us",
            Metric::P99Us => "p99 us",
            Metric::P999Us => "p99.9 us",
            Metric::MaxUs => "max us",
            Metric::KeptPercent => "kept %",
            Metric::ConnectsPerSecond => "connects/s",
            Metric::KbPerConnection => "kB each",
        }
    }
}

/// The result of one run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    pub metrics: BTreeMap<Metric, f64>,
    /// Messages or connections counted while measuring.
    pub counted: u64,
    pub faults: Faults,
}

impl Outcome {
    /// Rate and CPU of a load.
    pub fn of(measured: &Measured) -> Self {
        let elapsed_s = measured.elapsed.as_secs_f64();
        let mut outcome = Self { counted: measured.counted, faults: measured.faults, ..Self::default() };
        outcome.set(Metric::PerSecond, measured.counted as f64 / elapsed_s);
        // With nothing counted there is no share of anything.
        let share_us = |ns: u64| ns as f64 / 1000.0 / measured.counted.max(1) as f64;
        outcome.set(Metric::DriverUs, share_us(measured.driver.total_ns));
        if let Some(broker) = measured.broker {
            outcome.set(Metric::BrokerUs, share_us(broker.total_ns));
            let busiest = broker.busiest_thread_ns as f64 / measured.elapsed.as_nanos() as f64;
            outcome.set(Metric::BusiestThreadPercent, busiest * 100.0);
        }
        outcome
    }

    pub fn set(&mut self, metric: Metric, value: f64) {
        self.metrics.insert(metric, value);
    }
}
