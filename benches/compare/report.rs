//! The report: medians of the rounds, ratios to the peers, floors; as text (Markdown tables) and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::case::{Bound, CASES, Case};
use crate::outcome::{Metric, Outcome};
use crate::peer::PeerKind;
use crate::tracker::Faults;

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    pub case: &'static str,
    pub peer: PeerKind,
    pub round: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// All rounds of one case with one peer.
#[derive(Clone, Debug, Serialize)]
struct Summary {
    peer: PeerKind,
    medians: BTreeMap<Metric, f64>,
    /// Smallest and largest of the rounds.
    ranges: BTreeMap<Metric, (f64, f64)>,
    /// Of all rounds together.
    faults: Faults,
    failed_rounds: usize,
}

#[derive(Serialize)]
struct CaseReport {
    case: &'static str,
    what: &'static str,
    peers: Vec<Summary>,
    floors: Vec<FloorReport>,
}

#[derive(Serialize)]
struct FloorReport {
    floor: String,
    measured: Option<f64>,
    reached: Option<bool>,
}

/// The report on everything that was run.
#[derive(Serialize)]
pub struct Report {
    cases: Vec<CaseReport>,
    runs: Vec<Record>,
}

impl Report {
    pub fn new(runs: Vec<Record>) -> Self {
        let has_runs = |case: &&Case| runs.iter().any(|run| run.case == case.name);
        let cases = CASES.iter().filter(has_runs).map(|case| CaseReport::new(case, &runs)).collect();
        Self { cases, runs }
    }

    /// As Markdown.
    pub fn text(&self) -> String {
        self.cases.iter().map(CaseReport::text).collect::<Vec<_>>().join("\n")
    }

    /// As JSON, every single run included.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}

impl CaseReport {
    fn new(case: &Case, runs: &[Record]) -> Self {
        let mut peers: Vec<PeerKind> = runs.iter().filter(|run| run.case == case.name).map(|run| run.peer).collect();
        peers.sort_unstable();
        peers.dedup();
        let summary = |peer: &PeerKind| {
            let of_peer = |run: &&Record| run.case == case.name && run.peer == *peer;
            Summary::new(*peer, runs.iter().filter(of_peer))
        };
        let peers: Vec<Summary> = peers.iter().map(summary).collect();
        let floors = floors(case, &peers);
        Self { case: case.name, what: case.what, peers, floors }
    }

    fn text(&self) -> String {
        let mut metrics: Vec<Metric> = self.peers.iter().flat_map(|peer| peer.medians.keys().copied()).collect();
        metrics.sort_unstable();
        metrics.dedup();
        let mut head = vec!["".to_string()];
        head.extend(metrics.iter().map(|metric| metric.title().to_string()));
        head.extend(["faults", "fennec is"].map(String::from));
        let rows = self.peers.iter().map(|peer| self.row(peer, &metrics));
        let mut text = format!("### {}\n\n{}\n\n", self.case, self.what);
        text.push_str(&table(&head, &rows.collect::<Vec<_>>()));
        for floor in &self.floors {
            let verdict = match (floor.measured, floor.reached) {
                (Some(measured), Some(true)) => format!("{}, reached", number(measured)),
                (Some(measured), Some(false)) => format!("{}, NOT reached", number(measured)),
                _ => continue,
            };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "- {}: {verdict}", floor.floor);
        }
        text
    }

    fn row(&self, peer: &Summary, metrics: &[Metric]) -> Vec<String> {
        let mut row = vec![peer.peer.name().to_string()];
        row.extend(metrics.iter().map(|metric| peer.cell(*metric)));
        row.push(peer.faults_text());
        row.push(self.ratio_to(peer).unwrap_or_default());
        row
    }

    /// How fennec compares to a peer, in the first quantity that both have.
    fn ratio_to(&self, peer: &Summary) -> Option<String> {
        let fennec = self.peers.iter().find(|peer| peer.peer == PeerKind::Fennec)?;
        if peer.peer == PeerKind::Fennec {
            return None;
        }
        let main = [Metric::P50Us, Metric::ConnectsPerSecond, Metric::PerSecond];
        let metric = main.into_iter().find(|metric| peer.medians.contains_key(metric))?;
        let ratio = fennec.medians.get(&metric)? / peer.medians.get(&metric)?;
        Some(format!("{ratio:.2} x ({})", metric.title()))
    }
}

impl Summary {
    fn new<'a>(peer: PeerKind, runs: impl Iterator<Item = &'a Record>) -> Self {
        let mut values: BTreeMap<Metric, Vec<f64>> = BTreeMap::new();
        let (mut faults, mut failed_rounds) = (Faults::default(), 0);
        for run in runs {
            let Some(outcome) = &run.outcome else {
                failed_rounds += 1;
                continue;
            };
            faults.add(outcome.faults);
            for (metric, value) in &outcome.metrics {
                values.entry(*metric).or_default().push(*value);
            }
        }
        values.values_mut().for_each(|values| values.sort_by(f64::total_cmp));
        let medians = values.iter().map(|(metric, values)| (*metric, median(values))).collect();
        let range = |values: &[f64]| (values[0], values[values.len() - 1]);
        let ranges = values.iter().map(|(metric, values)| (*metric, range(values))).collect();
        Self { peer, medians, ranges, faults, failed_rounds }
    }

    fn faults_text(&self) -> String {
        let faults = [
            (self.faults.lost, "lost"),
            (self.faults.duplicates, "twice"),
            (self.faults.reordered, "out of order"),
            (self.faults.acks_reordered, "acknowledged out of order"),
            (self.faults.strange, "strange"),
            (self.failed_rounds as u64, "rounds failed"),
        ];
        let faults = faults.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
        let faults: Vec<String> = faults.collect();
        if faults.is_empty() { "none".into() } else { faults.join(", ") }
    }

    fn cell(&self, metric: Metric) -> String {
        let Some(median) = self.medians.get(&metric) else { return "-".into() };
        match (metric, self.ranges.get(&metric)) {
            (Metric::PerSecond | Metric::ConnectsPerSecond | Metric::DrainPerSecond, Some((least, most))) => {
                format!("{} ({} - {})", number(*median), number(*least), number(*most))
            }
            _ => number(*median),
        }
    }
}

/// The middle of sorted values, of which there is at least one.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

fn floors(case: &Case, peers: &[Summary]) -> Vec<FloorReport> {
    let value =
        |peer: PeerKind, metric: Metric| peers.iter().find(|summary| summary.peer == peer)?.medians.get(&metric);
    let report = |floor: &crate::case::Floor| {
        let title = floor.metric.title();
        let measured =
            value(PeerKind::Fennec, floor.metric).or_else(|| value(PeerKind::Running, floor.metric)).copied();
        let (bound, least, text) = match floor.bound {
            Bound::Least(bound) => (Some(bound), true, format!("{title} at least {}", number(bound))),
            Bound::Most(bound) => (Some(bound), false, format!("{title} at most {}", number(bound))),
            Bound::LeastTimes(times, peer) => {
                let bound = value(peer, floor.metric).map(|value| value * times);
                (bound, true, format!("{title} at least {times} x {}", peer.name()))
            }
            Bound::MostTimes(times, peer) => {
                let bound = value(peer, floor.metric).map(|value| value * times);
                (bound, false, format!("{title} at most {times} x {}", peer.name()))
            }
        };
        let reached =
            measured.zip(bound).map(|(measured, bound)| if least { measured >= bound } else { measured <= bound });
        FloorReport { floor: text, measured, reached }
    };
    case.floors.iter().map(report).collect()
}

/// Three or four digits and a word for the size.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{:.2} M", value / 1e6),
        size if size >= 1e4 => format!("{:.1} k", value / 1e3),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// A Markdown table that also reads well as plain text.
fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].len()).chain([head[column].len(), 3]);
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &[String]| {
        let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width));
        format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
    };
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let mut text = line(head) + &line(&rule);
    rows.iter().for_each(|row| text.push_str(&line(row)));
    text.push('\n');
    text
}
