//! A process of a cluster in Prometheus' text format: its links, and each node that it plays.
//!
//! A process plays at most one node of each role, so what belongs to one role needs no label.

use super::board::{Board, Place};
use super::config::role_name;
use super::counts::{Counts, ROUNDS};
use super::mesh::{LinkStats, Mesh};
use super::overview::{State, state_of};
use super::status::{EntryStatus, NodeStatus, Report};
use crate::http::metrics::{Text, escaped, read};
use crate::node::log::Kept;
use crate::queue::envelope::NodeId;
use crate::queue::storage::StorageReport;
use crate::queue::sync::{Standing, SyncReport};

/// Writes all of it.
pub fn write(text: &mut Text, mesh: &Mesh, board: &Board) {
    write_links(text, &mesh.stats());
    let help = "Connections of others that became no link.";
    text.counter("fennec_links_refused_total", help, mesh.refused().count);
    let nodes = board.read();
    write_nodes(text, &nodes);
    for ((_, Place { counts, .. }), status) in board.places().zip(nodes) {
        match status.report {
            Some(Report::Entry(entry)) => write_entry(text, &entry, counts),
            Some(Report::Storage(storage)) => write_storage(text, &storage, counts),
            Some(Report::Sync(sync)) => write_sync(text, &sync, counts),
            None => {}
        }
    }
}

type LinkFigure = (&'static str, &'static str, &'static str, fn(&LinkStats) -> Option<f64>);

const LINKS: [LinkFigure; 10] = [
    ("fennec_link_up", "gauge", "1 while the link to this process stands.", |link| Some(f64::from(link.connected))),
    ("fennec_link_reconnects_total", "counter", "How often it was made anew.", |link| Some(link.reconnects as f64)),
    ("fennec_link_received_bytes_total", "counter", "Bytes read from it.", |link| Some(link.bytes_in as f64)),
    ("fennec_link_sent_bytes_total", "counter", "Bytes written to it.", |link| Some(link.bytes_out as f64)),
    ("fennec_link_received_frames_total", "counter", "Frames read from it.", |link| Some(link.frames_in as f64)),
    ("fennec_link_sent_frames_total", "counter", "Frames given to it.", |link| Some(link.frames_out as f64)),
    ("fennec_link_waiting_bytes", "gauge", "Bytes that wait to be written.", |link| Some(link.waiting_bytes as f64)),
    ("fennec_link_rtt_seconds", "gauge", "Of the last ping.", |link| link.rtt_us.map(|us| us as f64 / 1e6)),
    ("fennec_link_events_total", "counter", "Frames of events beside the log that were sent.", |link| {
        Some(link.events_out as f64)
    }),
    ("fennec_link_events_dropped_total", "counter", "Those dropped, for the link was full or gone.", |link| {
        Some(link.events_dropped as f64)
    }),
];

fn write_links(text: &mut Text, links: &[LinkStats]) {
    for (name, kind, help, figure) in LINKS {
        text.family(name, kind, help);
        for link in links {
            if let Some(value) = figure(link) {
                text.sample(name, &format!("peer=\"{}\"", escaped(&link.process.to_string())), value);
            }
        }
    }
}

fn write_nodes(text: &mut Text, nodes: &[NodeStatus]) {
    let labels = |node: &NodeId| format!("node=\"{}\",role=\"{}\"", escaped(&node.name), role_name(node.role));
    text.family("fennec_node_works", "gauge", "1 while the node does what it is for; /readyz says why if it does not.");
    for said in nodes {
        let works = state_of(Some(said)).0 == State::Works;
        text.sample("fennec_node_works", &labels(&said.node), u8::from(works));
    }
    let help = "Position of the log that it was fed, has applied or, of a sync, knows to be decided.";
    text.family("fennec_node_position", "gauge", help);
    for said in nodes {
        if let Some(report) = &said.report {
            text.sample("fennec_node_position", &labels(&said.node), report.position());
        }
    }
    text.family("fennec_node_silent_seconds", "gauge", "Since it last said how it is: more than one, and it hangs.");
    for said in nodes {
        if let Some(age_ms) = said.age_ms {
            text.sample("fennec_node_silent_seconds", &labels(&said.node), age_ms as f64 / 1e3);
        }
    }
}

fn write_entry(text: &mut Text, entry: &EntryStatus, counts: &Counts) {
    let role = &entry.role;
    text.counter("fennec_entry_lives_total", "Lives that the cluster has accepted.", read(&counts.lives));
    let lag = role.resolved.saturating_sub(role.fed);
    text.gauge("fennec_entry_lag", "Positions that were resolved here and not fed yet.", lag);
    text.gauge("fennec_entry_unresolved_segments", "Segments without a result.", role.segments);
    let help = "Bytes of these, and of what waits for a segment.";
    text.gauge("fennec_entry_unresolved_bytes", help, role.bytes);
    let help = "For so long clients may be told that they hold locks, if no sync answers any more.";
    text.gauge("fennec_entry_lease_seconds", help, role.lease_left_us as f64 / 1e6);
    text.counter("fennec_entry_calls_out_total", "Calls sent to callees at other entries.", entry.calls_out);
    text.counter("fennec_entry_calls_in_total", "Calls of other entries to callees here.", entry.calls_in);
    let help = "From the opening of a segment to its result.";
    text.histogram("fennec_entry_resolve_seconds", help, &counts.resolve);
}

fn write_storage(text: &mut Text, storage: &StorageReport, counts: &Counts) {
    text.gauge("fennec_ndb_counts", "1 while its disk is one that the cluster knows.", u8::from(storage.counts));
    text.gauge("fennec_ndb_copying", "1 while it copies from a peer what it has missed.", u8::from(storage.copies));
    text.counter("fennec_ndb_segments_total", "Segments that were applied.", read(&counts.segments));
    text.counter("fennec_ndb_bytes_total", "Bytes of these.", read(&counts.bytes));
    text.histogram("fennec_ndb_keep_seconds", "What one write of segments takes, with its fsync.", &counts.disk);
    text.histogram("fennec_ndb_commit_seconds", "What one commit of what is applied takes.", &counts.commit);
    text.gauge("fennec_ndb_pending_segments", "Segments that are not elected.", storage.segments);
    text.gauge("fennec_ndb_sealed_segments", "Of these the ones that are on disk.", storage.sealed);
    text.gauge("fennec_ndb_pending_bytes", "Bytes of all of them.", storage.bytes);
    text.gauge("fennec_ndb_elected", "Decisions that wait to be applied.", storage.elected);
    text.gauge("fennec_ndb_wanted_bodies", "Bodies that peers are asked for.", storage.wanted);
    let help = "Bodies that peers were asked for, for they were elected without this storage.";
    text.counter("fennec_ndb_fetched_bodies_total", help, read(&counts.fetched_bodies));
    let help = "Bytes of copies that came from peers.";
    text.counter("fennec_ndb_copied_bytes_total", help, read(&counts.copied_bytes));
    write_kept(text, counts);
    text.gauge("fennec_ndb_followers", "Entries that it feeds.", storage.followers);
}

/// What retention leaves.
fn write_kept(text: &mut Text, counts: &Counts) {
    let (kept, lost) = counts.kept();
    let labels = |kept: &Kept| {
        let realm = kept.realm.as_deref().unwrap_or("*");
        format!("realm=\"{}\",pattern=\"{}\"", escaped(realm), escaped(&kept.pattern.to_string()))
    };
    if !kept.is_empty() {
        let name = "fennec_ndb_kept_messages";
        text.family(name, "gauge", "Messages that the log holds, by [[durable]].");
        kept.iter().for_each(|kept| text.sample(name, &labels(kept), kept.messages));
        let name = "fennec_ndb_kept_bytes";
        text.family(name, "gauge", "Bytes of these.");
        kept.iter().for_each(|kept| text.sample(name, &labels(kept), kept.bytes));
    }
    let help = "Segments that were deleted, for they are not to stay.";
    text.counter("fennec_ndb_given_up_segments_total", help, read(&counts.given_up));
    let help = "Messages given up before all had read them: there was more than limits.session_log_bytes_max.";
    text.counter("fennec_ndb_lost_messages_total", help, lost);
}

fn write_sync(text: &mut Text, sync: &SyncReport, counts: &Counts) {
    let votes = u8::from(sync.standing == Standing::Votes);
    text.gauge("fennec_sync_votes", "1 while it has a vote.", votes);
    text.gauge("fennec_sync_drafts", "Segments that storages have and that are not elected.", sync.drafts);
    text.gauge("fennec_sync_commands", "Commands that wait for a position.", sync.commands);
    let help = "Decisions that are kept, for not all storages that have to have applied them.";
    text.gauge("fennec_sync_kept_decisions", help, sync.decisions);
    let name = "fennec_sync_decided_total";
    text.family(name, "counter", "Decisions, by the rounds of the vote that this sync took part in; 0: it was told.");
    for (rounds, count) in counts.decided.iter().enumerate() {
        let more = if rounds + 1 == ROUNDS { "+" } else { "" };
        text.sample(name, &format!("rounds=\"{rounds}{more}\""), read(count));
    }
    let help = "What it has said in votes, each on disk first.";
    text.counter("fennec_sync_statements_total", help, read(&counts.statements));
    text.histogram("fennec_sync_fsync_seconds", "What one fsync of what it says takes.", &counts.disk);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_peers_cannot_break_the_format() {
        let link = LinkStats {
            process: "a\"b".into(),
            connected: true,
            since: std::time::Duration::ZERO,
            reconnects: 3,
            bytes_in: 0,
            bytes_out: 0,
            frames_in: 0,
            frames_out: 0,
            events_out: 0,
            events_dropped: 0,
            rtt_us: None,
            waiting_bytes: 0,
            trouble: None,
        };
        let mut text = Text::default();
        write_links(&mut text, &[link]);
        let text = text.into_string();
        assert!(text.lines().any(|line| line == "fennec_link_reconnects_total{peer=\"a\\\"b\"} 3"), "{text}");
        assert!(!text.lines().any(|line| line.starts_with("fennec_link_rtt_seconds")), "{text}");
    }

    #[test]
    fn votes_are_counted_by_their_rounds() {
        let counts = Counts::default();
        [0, 1, 1, 9].into_iter().for_each(|rounds| counts.decided_in(rounds));
        let mut text = Text::default();
        write_sync(&mut text, &SyncReport::default(), &counts);
        let text = text.into_string();
        for line in ["{rounds=\"0\"} 1", "{rounds=\"1\"} 2", "{rounds=\"2\"} 0", "{rounds=\"4+\"} 1"] {
            assert!(text.contains(&format!("fennec_sync_decided_total{line}\n")), "{text}");
        }
    }
}
