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
    /// CPU time of everything else on the machine in percent of one core.
    OthersPercent,
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
    /// What a subscriber that was away receives per second until it has everything.
    DrainPerSecond,
    /// Bytes that the broker wrote to disk per message.
    DiskBytes,
    /// Milliseconds from the start of the broker's process until it answers `/readyz` with 200 and accepts an MQTT client.
    ReadyMs,
    /// Resident memory of the broker when it is ready, in MB.
    ResidentMb,
    /// By how much the broker's resident memory grew at most meanwhile, in MB.
    GrownMb,
    /// CPU time of all processes of a cluster in percent of one core, while nobody wants anything.
    IdlePercent,
    /// The longest time without an acknowledgement, in milliseconds: while all nodes worked, while a sync, a storage, another entry
    /// was away, and when one came back.
    PauseNoneMs,
    PauseSyncMs,
    PauseStorageMs,
    PauseEntryMs,
    PauseBackMs,
}

impl Metric {
    pub fn title(self) -> &'static str {
        match self {
            Metric::PerSecond => "per second",
            Metric::BrokerUs => "broker CPU us",
            Metric::BusiestThreadPercent => "busiest thread %",
            Metric::DriverUs => "driver CPU us",
            Metric::OthersPercent => "others CPU %",
            Metric::P50Us => "p50 us",
            Metric::P99Us => "p99 us",
            Metric::P999Us => "p99.9 us",
            Metric::MaxUs => "max us",
            Metric::KeptPercent => "kept %",
            Metric::ConnectsPerSecond => "connects/s",
            Metric::KbPerConnection => "kB each",
            Metric::DrainPerSecond => "drain/s",
            Metric::DiskBytes => "disk bytes",
            Metric::ReadyMs => "ready ms",
            Metric::ResidentMb => "MB resident",
            Metric::GrownMb => "MB grown",
            Metric::IdlePercent => "idle CPU %",
            Metric::PauseNoneMs => "all there ms",
            Metric::PauseSyncMs => "without a sync ms",
            Metric::PauseStorageMs => "without a storage ms",
            Metric::PauseEntryMs => "without another entry ms",
            Metric::PauseBackMs => "one comes back ms",
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
        let spent = &measured.spent;
        let mut outcome = Self { counted: measured.counted, faults: measured.faults, ..Self::default() };
        outcome.set(Metric::PerSecond, measured.counted as f64 / spent.elapsed.as_secs_f64());
        // With nothing counted there is no share of anything.
        let share_us = |ns: u64| ns as f64 / 1000.0 / measured.counted.max(1) as f64;
        let percent = |ns: u64| ns as f64 * 100.0 / spent.elapsed.as_nanos() as f64;
        outcome.set(Metric::DriverUs, share_us(spent.driver.total_ns));
        outcome.set(Metric::OthersPercent, percent(spent.others_ns));
        if let Some(broker) = spent.broker {
            outcome.set(Metric::BrokerUs, share_us(broker.total_ns));
            outcome.set(Metric::BusiestThreadPercent, percent(broker.busiest_thread_ns));
        }
        outcome
    }

    /// Files a value under another name.
    pub fn rename(&mut self, from: Metric, to: Metric) {
        if let Some(value) = self.metrics.remove(&from) {
            self.metrics.insert(to, value);
        }
    }

    pub fn set(&mut self, metric: Metric, value: f64) {
        self.metrics.insert(metric, value);
    }
}
