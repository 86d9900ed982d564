//! Reading a store that another process has.
//!
//! ```text
//! RemoteReader --Question--> (a link) --> answer(reader, question) --Answer--> RemoteReader
//! ```
//!
//! Both are plain values for MessagePack. Whose store is asked, and that it is far enough, is the asker's business ([`Ask`]). An
//! answer is bounded, whatever is asked for: a large one comes in parts.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Row, Stats, StoreError, StoreReader};
use crate::queue::retention::Header;
use crate::queue::segment::Segment;

#[cfg(test)]
pub(super) mod tests;

/// Bytes of one answer, near enough; a single row or segment may be larger.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Rows, headers or names of one answer.
const ANSWER_COUNT_MAX: usize = 10_000;

/// A call of a [`StoreReader`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    Scan { prefix: Bytes, after: Option<Bytes>, limit: usize },
    Segments { from: u64, topics: Option<Vec<(String, String)>>, bytes_max: usize },
    Headers { from: u64, limit: usize },
    SegmentBefore { number: u64 },
    FirstSince { at_us: u64 },
    FirstOf { minute: u32, generator: u64 },
    Topics { realm: String, prefix: String, after: Option<String>, limit: usize },
    Stats,
}

/// What comes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// `more`: there are others behind these.
    Rows {
        rows: Vec<(Bytes, Bytes)>,
        more: bool,
    },
    Segments(Vec<Segment>),
    Headers(Vec<Header>),
    Segment(Option<Segment>),
    Number(Option<u64>),
    Topics(Vec<Box<str>>),
    Stats(Stats),
    Failed(StoreError),
}

/// Reads for somebody else.
pub fn answer(reader: &mut dyn StoreReader, question: &Question) -> Answer {
    try_answer(reader, question).unwrap_or_else(Answer::Failed)
}

fn try_answer(reader: &mut dyn StoreReader, question: &Question) -> Result<Answer, StoreError> {
    Ok(match question {
        Question::Scan { prefix, after, limit } => scan(reader, prefix, after.as_deref(), *limit)?,
        Question::Segments { from, topics, bytes_max } => {
            let topics: Option<Vec<(&str, &str)>> =
                topics.as_ref().map(|topics| topics.iter().map(|(realm, name)| (&**realm, &**name)).collect());
            Answer::Segments(reader.segments(*from, topics.as_deref(), (*bytes_max).min(ANSWER_BYTES_MAX))?)
        }
        Question::Headers { from, limit } => Answer::Headers(reader.headers(*from, (*limit).min(ANSWER_COUNT_MAX))?),
        Question::SegmentBefore { number } => Answer::Segment(reader.segment_before(*number)?),
        Question::FirstSince { at_us } => Answer::Number(reader.first_since(*at_us)?),
        Question::FirstOf { minute, generator } => Answer::Number(reader.first_of(*minute, *generator)?),
        Question::Topics { realm, prefix, after, limit } => {
            Answer::Topics(reader.topics(realm, prefix, after.as_deref(), (*limit).min(ANSWER_COUNT_MAX))?)
        }
        Question::Stats => Answer::Stats(reader.stats()?),
    })
}

fn scan(reader: &mut dyn StoreReader, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Answer, StoreError> {
    let limit = limit.min(ANSWER_COUNT_MAX);
    let found = reader.scan(prefix, after, limit)?;
    let count = found.len();
    let mut bytes = 0;
    let fits = |(key, value): &Row| {
        let before = bytes;
        bytes += key.len() + value.len();
        before < ANSWER_BYTES_MAX
    };
    let rows: Vec<_> = found.into_iter().take_while(fits).map(|(key, value)| (key.into(), value.into())).collect();
    let more = rows.len() < count || count == limit;
    Ok(Answer::Rows { rows, more })
}

/// Has another process answer.
pub trait Ask: Send {
    /// Blocks until there is an answer, or there will be none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: nobody answers.
    fn ask(&mut self, question: Question) -> Result<Answer, StoreError>;
}

/// See the module.
pub struct RemoteReader<A>(A);

impl<A: Ask> RemoteReader<A> {
    pub fn new(ask: A) -> Self {
        Self(ask)
    }

    fn ask<T>(&mut self, question: Question, read: impl FnOnce(Answer) -> Option<T>) -> Result<T, StoreError> {
        match self.0.ask(question)? {
            Answer::Failed(error) => Err(error),
            answer => read(answer).ok_or_else(|| StoreError::Unusable("another question was answered".to_owned())),
        }
    }
}

impl<A: Ask> StoreReader for RemoteReader<A> {
    fn scan(&mut self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, StoreError> {
        let prefix = Bytes::copy_from_slice(prefix);
        let mut all: Vec<Row> = Vec::new();
        let mut after = after.map(Bytes::copy_from_slice);
        while all.len() < limit {
            let question = Question::Scan { prefix: prefix.clone(), after: after.clone(), limit: limit - all.len() };
            let (rows, more) = self.ask(question, |answer| match answer {
                Answer::Rows { rows, more } => Some((rows, more)),
                _ => None,
            })?;
            after = rows.last().map(|(key, _)| key.clone());
            all.extend(rows.into_iter().map(|(key, value)| (key.into(), value.into())));
            if !more || after.is_none() {
                break;
            }
        }
        Ok(all)
    }

    fn segments(
        &mut self,
        from: u64,
        topics: Option<&[(&str, &str)]>,
        bytes_max: usize,
    ) -> Result<Vec<Segment>, StoreError> {
        let own = |(realm, name): &(&str, &str)| ((*realm).to_owned(), (*name).to_owned());
        let topics = topics.map(|topics| topics.iter().map(own).collect());
        self.ask(Question::Segments { from, topics, bytes_max }, |answer| match answer {
            Answer::Segments(segments) => Some(segments),
            _ => None,
        })
    }

    fn headers(&mut self, from: u64, limit: usize) -> Result<Vec<Header>, StoreError> {
        let mut all: Vec<Header> = Vec::new();
        while all.len() < limit {
            let from = all.last().map_or(from, |last| last.first + 1);
            let part = (limit - all.len()).min(ANSWER_COUNT_MAX);
            let found = self.ask(Question::Headers { from, limit: part }, |answer| match answer {
                Answer::Headers(headers) => Some(headers),
                _ => None,
            })?;
            let is_last = found.len() < part;
            all.extend(found);
            if is_last {
                break;
            }
        }
        Ok(all)
    }

    fn segment_before(&mut self, number: u64) -> Result<Option<Segment>, StoreError> {
        self.ask(Question::SegmentBefore { number }, |answer| match answer {
            Answer::Segment(segment) => Some(segment),
            _ => None,
        })
    }

    fn first_since(&mut self, at_us: u64) -> Result<Option<u64>, StoreError> {
        self.ask(Question::FirstSince { at_us }, number)
    }

    fn first_of(&mut self, minute: u32, generator: u64) -> Result<Option<u64>, StoreError> {
        self.ask(Question::FirstOf { minute, generator }, number)
    }

    fn topics(
        &mut self,
        realm: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Box<str>>, StoreError> {
        let mut all: Vec<Box<str>> = Vec::new();
        while all.len() < limit {
            let (realm, prefix) = (realm.to_owned(), prefix.to_owned());
            let after = all.last().map(|last| String::from(&**last)).or_else(|| after.map(str::to_owned));
            let part = (limit - all.len()).min(ANSWER_COUNT_MAX);
            let found = self.ask(Question::Topics { realm, prefix, after, limit: part }, |answer| match answer {
                Answer::Topics(topics) => Some(topics),
                _ => None,
            })?;
            let is_last = found.len() < part;
            all.extend(found);
            if is_last {
                break;
            }
        }
        Ok(all)
    }

    fn stats(&mut self) -> Result<Stats, StoreError> {
        self.ask(Question::Stats, |answer| match answer {
            Answer::Stats(stats) => Some(stats),
            _ => None,
        })
    }
}

fn number(answer: Answer) -> Option<Option<u64>> {
    match answer {
        Answer::Number(number) => Some(number),
        _ => None,
    }
}
