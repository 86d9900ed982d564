//! Looks whether all that a store holds is as it must be.
//!
//! ```text
//! the database itself -> segments: order, numbers, messages that can be read -> rows: keys, values, whether they fit the segments
//! ```
//!
//! Reads everything, in slices. Numbers may be missing between segments: what was given up leaves gaps.

use std::collections::BTreeSet;

use super::transfer::UNFINISHED;
use super::{StoreError, StoreReader};
use crate::queue::message::{Malformed, Run, Runs};
use crate::queue::segment::Segment;
use crate::queue::state::rows::{self, KeyRow, RowKey};
use crate::queue::state::{RowsFailed, State};

/// Problems that are told; of more there is only the count.
const PROBLEMS_MAX: usize = 100;
const SEGMENT_BYTES: usize = 4 << 20;
const ROWS: usize = 500;

/// What was looked at, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub segments: u64,
    /// Numbers that segments have, those without a message among them.
    pub numbers: u64,
    pub rows: u64,
    pub problems: Vec<String>,
    /// How many more there are.
    pub more_problems: u64,
}

impl Report {
    fn problem(&mut self, problem: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        } else {
            self.more_problems += 1;
        }
    }
}

/// Looks through a store. What is damaged is a problem of the report.
///
/// # Errors
/// It cannot be read for another reason.
pub fn check(reader: &mut dyn StoreReader) -> Result<Report, StoreError> {
    let mut report = Report::default();
    for problem in told(reader.integrity(), &mut report)?.unwrap_or_default() {
        report.problem(problem);
    }
    let last = check_segments(reader, &mut report)?;
    check_rows(reader, &mut report)?;
    check_state(reader, last.as_ref(), &mut report)?;
    Ok(report)
}

/// Damage becomes a problem.
fn told<T>(result: Result<T, StoreError>, report: &mut Report) -> Result<Option<T>, StoreError> {
    match result {
        Err(StoreError::Damaged(why)) => {
            report.problem(why);
            Ok(None)
        }
        result => result.map(Some),
    }
}

/// Returns the last segment.
fn check_segments(reader: &mut dyn StoreReader, report: &mut Report) -> Result<Option<Segment>, StoreError> {
    let mut last: Option<Segment> = None;
    loop {
        let from = last.as_ref().map_or(0, |segment| segment.last() + 1);
        let Some(segments) = told(reader.segments(from, None, SEGMENT_BYTES), report)? else { return Ok(last) };
        if segments.is_empty() {
            return Ok(last);
        }
        for segment in segments {
            report.segments += 1;
            report.numbers += u64::from(segment.count);
            check_order(last.as_ref(), &segment, report);
            check_messages(&segment, report);
            last = Some(segment);
        }
    }
}

fn check_order(before: Option<&Segment>, segment: &Segment, report: &mut Report) {
    let Some(before) = before else { return };
    let position = segment.position;
    if position <= before.position {
        report.problem(format!("position {position} comes behind {}", before.position));
    }
    if segment.first <= before.last() {
        let (first, last) = (segment.first, before.last());
        report.problem(format!("position {position} begins with number {first}, but those before go to {last}"));
    }
    if segment.at_us < before.at_us {
        report.problem(format!("position {position} has an earlier time than the one before"));
    }
    if (segment.minute, segment.generator) <= (before.minute, before.generator) {
        report.problem(format!("position {position} has event ids that do not follow those before"));
    }
}

fn check_messages(segment: &Segment, report: &mut Report) {
    let mut topics = BTreeSet::new();
    let counted = count(&segment.body, &mut topics)
        .and_then(|body| count(&segment.set_off, &mut topics).map(|set_off| (body, set_off)));
    let position = segment.position;
    let Ok((body, set_off)) = counted else {
        return report.problem(format!("position {position} has messages that cannot be read"));
    };
    if body + set_off != u64::from(segment.count) {
        report.problem(format!("position {position} has {} messages, not {}", body + set_off, segment.count));
    }
    let ascending = segment.voids.windows(2).all(|pair| pair[0] < pair[1]);
    if !ascending || segment.voids.last().is_some_and(|&void| u64::from(void) >= body) {
        report.problem(format!("position {position} has void messages that are none"));
    }
    for share in &segment.topics {
        if !topics.contains(&(&*share.realm, &*share.topic)) {
            report.problem(format!("position {position} is to hold {} of {}, but does not", share.topic, share.realm));
        }
    }
}

/// Counts the numbers, and collects the topics of the events.
fn count<'a>(bytes: &'a [u8], topics: &mut BTreeSet<(&'a str, &'a str)>) -> Result<u64, Malformed> {
    let mut count = 0;
    for run in Runs::new(bytes) {
        count += match run? {
            Run::Events(head, events) => {
                let mut messages = 0;
                for message in events.iter() {
                    message?.extras()?;
                    messages += 1;
                }
                if messages != events.count {
                    return Err(Malformed);
                }
                topics.insert((head.realm, head.topic));
                u64::from(messages)
            }
            Run::Command(_) => 1,
            Run::Gap(count) => u64::from(count),
        };
    }
    Ok(count)
}

fn check_rows(reader: &mut dyn StoreReader, report: &mut Report) -> Result<(), StoreError> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let Some(rows) = told(reader.scan(b"", after.as_deref(), ROWS), report)? else { return Ok(()) };
        for (key, value) in &rows {
            report.rows += 1;
            if key == UNFINISHED {
                report.problem("an import into it was not finished: remove it, and import again".to_owned());
                continue;
            }
            let parsed = RowKey::parse(key);
            let readable = match parsed {
                None => key.starts_with(&[rows::NODE]),
                Some(RowKey::Key { .. }) => KeyRow::decode(value).is_ok(),
                // The others are read as the state is.
                Some(_) => true,
            };
            if !readable {
                report.problem(format!("the row {} cannot be read", key.escape_ascii()));
            }
        }
        match rows.into_iter().next_back() {
            Some((key, _)) => after = Some(key),
            None => return Ok(()),
        }
    }
}

/// Loads the state as a broker would.
fn check_state(reader: &mut dyn StoreReader, last: Option<&Segment>, report: &mut Report) -> Result<(), StoreError> {
    let mut failed = None;
    let loaded = State::load(&mut |prefix, after, limit| {
        reader.scan(prefix, after, limit).map_err(|error| {
            let told = RowsFailed(error.to_string());
            failed = Some(error);
            told
        })
    });
    match (loaded, failed) {
        (_, Some(error)) => told(Err::<(), _>(error), report).map(|_| ()),
        (Err(error), None) => {
            report.problem(error.to_string());
            Ok(())
        }
        (Ok(state), None) => {
            let Some(last) = last else { return Ok(()) };
            if (state.position(), state.last_number()) < (last.position, last.last()) {
                report.problem(format!(
                    "the state ends with position {} and number {}, the log with {} and {}",
                    state.position(),
                    state.last_number(),
                    last.position,
                    last.last()
                ));
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
