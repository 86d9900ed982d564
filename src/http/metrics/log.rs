//! The durable log's part of `/metrics`.

use super::{Text, escaped, read};
use crate::node::Node;
use crate::node::log::{Kept, Log, Report};
use crate::queue::state::Behind;

pub(super) fn write(text: &mut Text, node: &Node, readers_behind: usize) {
    let log = &node.log;
    write_work(text, log);
    write_kept(text, &log.report());
    write_readers(text, log, readers_behind);
}

fn write_work(text: &mut Text, log: &Log) {
    let counts = &log.counts;
    text.counter("fennec_log_messages_total", "Messages stored in the log.", read(&counts.messages));
    text.counter("fennec_log_bytes_total", "Bytes of these.", read(&counts.bytes));
    text.histogram("fennec_log_commit_seconds", "What one commit takes.", &counts.commit);
    text.gauge("fennec_log_last_number", "Number of the last message of the log.", log.fed());
    text.gauge("fennec_log_unresolved_bytes", "Bytes that wait to be stored.", log.unresolved_bytes());
    let stopped = u8::from(log.health().is_some());
    text.gauge("fennec_log_stopped", "1 while the store cannot be written: durable publishing has stopped.", stopped);
    text.counter("fennec_log_failures_total", "How often that began.", read(&counts.failures));
    text.gauge("fennec_log_alarms", "What is wrong since the start and will not pass by itself.", log.alarms().len());
}

fn write_kept(text: &mut Text, report: &Report) {
    let labels = |kept: &Kept| {
        let realm = kept.realm.as_deref().unwrap_or("*");
        format!("realm=\"{}\",pattern=\"{}\"", escaped(realm), escaped(&kept.pattern.to_string()))
    };
    for (name, help, of) in [
        ("fennec_log_kept_messages", "Messages that the log holds, by [[durable]].", (|kept| kept.messages) as Figure),
        ("fennec_log_kept_bytes", "Bytes of these.", |kept| kept.bytes),
    ] {
        if !report.kept.is_empty() {
            text.family(name, "gauge", help);
        }
        report.kept.iter().for_each(|kept| text.sample(name, &labels(kept), of(kept)));
    }
    let help = "Messages given up before all had read them: there was more than limits.session_log_bytes_max.";
    text.counter("fennec_log_lost_messages_total", help, report.lost);
}

type Figure = fn(&Kept) -> u64;

fn write_readers(text: &mut Text, log: &Log, readers_behind: usize) {
    let census = log.report().census;
    text.gauge("fennec_log_sessions", "Persistent sessions that the log is kept for.", census.sessions);
    let help = "Numbers of the log that the last of them is behind its end, of whichever topics.";
    text.gauge("fennec_log_session_lag_max", help, census.session_behind_max);
    text.gauge("fennec_log_subscriptions", "Named durable subscriptions and groups.", census.durables);
    let help = "Numbers of the log that the last of them is behind its end, of whichever topics.";
    text.gauge("fennec_log_subscription_lag_max", help, census.durable_behind_max);
    if !census.durables_behind.is_empty() {
        text.family("fennec_log_subscription_lag", "gauge", "The same of those that are behind most, 100 at most.");
    }
    for Behind { realm, name, behind } in &census.durables_behind {
        let labels = format!("realm=\"{}\",name=\"{}\"", escaped(realm), escaped(name));
        text.sample("fennec_log_subscription_lag", &labels, behind);
    }
    text.gauge("fennec_log_waits", "Publishes that wait for their condition.", census.waits);
    text.gauge("fennec_log_locks", "Keys that are held.", census.locks);
    text.gauge("fennec_log_readers_behind", "Cursors of connected sessions that read on in the log.", readers_behind);
    let reading = log.history.counts();
    let hits = read(&reading.hits);
    text.counter("fennec_log_history_hits_total", "Looks into the past that were answered from memory.", hits);
    let fetches = read(&reading.fetches);
    text.counter("fennec_log_history_reads_total", "Reads of the store for those who look into the past.", fetches);
    text.counter("fennec_log_history_read_bytes_total", "Bytes of these.", read(&reading.fetched_bytes));
    text.counter("fennec_log_history_failures_total", "Those that failed.", read(&reading.failures));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::state::Census;
    use crate::types::topic::TopicPattern;

    #[test]
    fn names_that_people_chose_cannot_break_the_format() {
        let name = "a\"} 1\n\\".to_owned();
        let census = Census {
            durables_behind: vec![Behind { realm: "r".into(), name: name.clone(), behind: 7 }],
            ..Census::default()
        };
        let pattern = TopicPattern::from_filter("a\"b/#").unwrap();
        let kept = Kept { realm: Some(name), pattern, messages: 1, bytes: 2 };
        let mut text = Text::default();
        write_kept(&mut text, &Report { kept: vec![kept], lost: 0, census });
        let line = "fennec_log_kept_bytes{realm=\"a\\\"} 1\\n\\\\\",pattern=\"a\\\"b/#\"} 2";
        assert!(text.0.lines().any(|found| found == line), "{}", text.0);
    }
}
