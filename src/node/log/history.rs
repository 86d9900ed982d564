//! The past of the log, for those who read it: what was fed last, from memory; what is older, from the store.
//!
//! ```text
//! feed thread --fed_segment--> recent ----\
//!                                          look(number) --> Segment | Live | Wait ... link.wake()
//! store --reading threads--> chunks ------/
//! ```
//!
//! A *chunk* is what one fetch brought: consecutive segments, or those of them that hold certain topics. It serves all who come by
//! while it is there; the next one is fetched ahead. Memory is bounded: half for what is recent, half for chunks.
//!
//! A store that cannot be read is tried again until it can; who waits goes on waiting.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::node::link::Link;
use crate::queue::segment::Segment;
use crate::store::{StoreError, StoreReader};

#[cfg(test)]
mod tests;

/// Bytes of segments that are kept in memory.
pub const HISTORY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// What one fetch is to bring is this part of what is kept in memory; less, at least that, while many wait.
const CHUNK_PART: usize = 32;
const CHUNK_PART_MIN: usize = 512;
/// Questions of [`History::ask`] that wait. Each acknowledgement of an event by its id may be one, and clients send many at once.
const ASKS_MAX: usize = 4096;
/// How long a chunk stays that its waiters have not looked at, although others wait for its room.
const FRESH: Duration = Duration::from_millis(200);
/// How soon a store that failed is tried again, at first and at last.
const RETRY: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Topics whose segments alone are of interest: of one realm, by name.
#[derive(Clone, Copy, Debug)]
pub struct Topics<'a> {
    pub realm: &'a str,
    pub names: &'a [Box<str>],
}

/// What [`History::look`] finds.
#[derive(Clone, Debug)]
pub enum Look {
    /// The segment that holds the number, or the next one behind it: in between there is nothing to be had.
    Segment(Arc<Segment>),
    /// There is nothing to be had up to this number, which is not below the one that was asked for.
    Nothing { to: u64 },
    /// The number will be fed.
    Live,
    /// It is being read. The link is woken then: ask again.
    Wait,
}

/// Too many questions wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many others read the log")]
pub struct Busy;

/// What a reading thread is asked to do.
pub type Question = Box<dyn FnOnce(&mut dyn StoreReader) + Send>;

/// What reading has cost so far.
#[derive(Debug, Default)]
pub struct HistoryCounts {
    /// Looks that were answered from memory.
    pub hits: AtomicU64,
    pub fetches: AtomicU64,
    pub fetched_bytes: AtomicU64,
    pub failures: AtomicU64,
}

/// See the module.
pub struct History {
    shared: Arc<Shared>,
}

struct Shared {
    inner: Mutex<Inner>,
    /// Somebody asks for something.
    asked: Condvar,
    /// Number of the last message that the feed has begun to route; what comes later will be fed.
    fed: AtomicU64,
    /// Number of the last message that has been offered to all.
    routed: AtomicU64,
    bytes_max: usize,
    fresh: Duration,
    counts: HistoryCounts,
}

struct Inner {
    /// Ascending, without gaps from `recent_from` to what is fed.
    recent: VecDeque<Arc<Segment>>,
    recent_bytes: usize,
    recent_from: u64,
    chunks: Vec<Chunk>,
    chunk_bytes: usize,
    fetches: Vec<Fetch>,
    asks: VecDeque<Question>,
    /// Where there are no threads.
    inline: Option<Box<dyn StoreReader>>,
    /// Counts looks, for [`Chunk::used`].
    looks: u64,
    stopping: bool,
}

struct Chunk {
    want: Topicwise,
    /// It has all there is to be had of `from` up to `to`.
    from: u64,
    to: u64,
    segments: Vec<Arc<Segment>>,
    bytes: usize,
    /// When it was looked at last; 0: it was not.
    used: u64,
    /// Somebody has been woken for it.
    awaited: bool,
    fetched: Instant,
}

struct Fetch {
    want: Topicwise,
    from: u64,
    waiters: Vec<Arc<Link>>,
    running: bool,
    /// After failures: when to try again, and how long that was to wait.
    retry: Option<(Instant, Duration)>,
}

/// Owned [`Topics`], or `None` for all.
type Topicwise = Option<(Box<str>, Box<[Box<str>]>)>;

fn is_same(owned: &Topicwise, topics: Option<Topics<'_>>) -> bool {
    match (owned, topics) {
        (None, None) => true,
        (Some((realm, names)), Some(topics)) => **realm == *topics.realm && **names == *topics.names,
        _ => false,
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new(HISTORY_BYTES_MAX)
    }
}

impl History {
    /// A history that keeps about so many bytes in memory. Nothing older than what it is fed can be had before it is given a reader.
    pub fn new(bytes_max: usize) -> Self {
        let inner = Inner {
            recent: VecDeque::new(),
            recent_bytes: 0,
            recent_from: 1,
            chunks: Vec::new(),
            chunk_bytes: 0,
            fetches: Vec::new(),
            asks: VecDeque::new(),
            inline: None,
            looks: 0,
            stopping: false,
        };
        let shared = Shared {
            inner: Mutex::new(inner),
            asked: Condvar::new(),
            fed: AtomicU64::new(0),
            routed: AtomicU64::new(0),
            bytes_max,
            fresh: FRESH,
            counts: HistoryCounts::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// A history that holds no chunk for who is slow to look at it.
    #[cfg(test)]
    pub fn impatient(bytes_max: usize) -> Self {
        let mut history = Self::new(bytes_max);
        if let Some(shared) = Arc::get_mut(&mut history.shared) {
            shared.fresh = Duration::ZERO;
        }
        history
    }

    /// The log goes on behind this number: everything up to it is in the store. To be called before the first segment is fed.
    pub fn begin(&self, last: u64) {
        let mut inner = self.shared.inner.lock();
        inner.recent_from = last + 1;
        self.shared.routed.store(last, Ordering::Release);
        self.shared.fed.store(last, Ordering::Release);
    }

    /// Gives a reader a thread of its own, which ends when the history is dropped.
    ///
    /// # Errors
    /// The system has no threads left.
    pub fn start(&self, reader: Box<dyn StoreReader>) -> std::io::Result<()> {
        let shared = self.shared.clone();
        std::thread::Builder::new().name("history".to_owned()).spawn(move || shared.run(reader))?;
        Ok(())
    }

    /// Does one piece of a reading thread's work; `false`: there is none now.
    #[cfg(test)]
    pub fn work(&self, reader: &mut dyn StoreReader) -> bool {
        let job = self.shared.try_job(&mut self.shared.inner.lock(), true);
        job.map(|job| self.shared.work(job, reader)).is_ok()
    }

    /// Has whoever asks read by himself.
    pub fn inline(&self, reader: Box<dyn StoreReader>) {
        self.shared.inner.lock().inline = Some(reader);
    }

    /// The feed begins to route a segment; all before it have been offered.
    pub fn fed_segment(&self, segment: Arc<Segment>) {
        if segment.count == 0 {
            return;
        }
        let mut inner = self.shared.inner.lock();
        let fed = self.fed();
        if segment.first > fed + 1 {
            // What is missing has to be looked for in the store.
            inner.recent.clear();
            inner.recent_bytes = 0;
            inner.recent_from = segment.first;
        }
        self.shared.routed.store(fed, Ordering::Release);
        self.shared.fed.store(segment.last(), Ordering::Release);
        inner.recent_bytes += segment.bytes();
        inner.recent.push_back(segment);
        while inner.recent_bytes > self.shared.bytes_max / 2
            && inner.recent.len() > 1
            && let Some(oldest) = inner.recent.pop_front()
        {
            inner.recent_bytes -= oldest.bytes();
            inner.recent_from = oldest.last() + 1;
        }
    }

    /// Number of the last message that the feed has begun to route: later ones will be offered to all who are subscribed now.
    pub fn fed(&self) -> u64 {
        self.shared.fed.load(Ordering::Acquire)
    }

    /// All messages up to this one have been offered to who was subscribed.
    pub fn routed(&self) -> u64 {
        self.shared.routed.load(Ordering::Acquire)
    }

    pub fn counts(&self) -> &HistoryCounts {
        &self.shared.counts
    }

    /// Looks for a number and what follows it; with `topics`, for what holds one of them.
    pub fn look(&self, number: u64, topics: Option<Topics<'_>>, link: &Arc<Link>) -> Look {
        let mut inner = self.shared.inner.lock();
        let fed = self.fed();
        if number > fed {
            return Look::Live;
        }
        if number >= inner.recent_from {
            self.shared.counts.hits.fetch_add(1, Ordering::Relaxed);
            let at = inner.recent.partition_point(|segment| segment.last() < number);
            return inner.recent.get(at).map_or(Look::Nothing { to: fed }, |segment| Look::Segment(segment.clone()));
        }
        if let Some(found) = self.look_at_chunks(&mut inner, number, topics, fed) {
            self.shared.counts.hits.fetch_add(1, Ordering::Relaxed);
            return found;
        }
        if inner.inline.is_some() {
            return self.read_inline(&mut inner, number, topics, fed);
        }
        inner.request(number, topics, Some(link));
        self.shared.asked.notify_one();
        Look::Wait
    }

    fn look_at_chunks(&self, inner: &mut Inner, number: u64, topics: Option<Topics<'_>>, fed: u64) -> Option<Look> {
        inner.looks += 1;
        let looks = inner.looks;
        let covers = |chunk: &&mut Chunk| (chunk.from..=chunk.to).contains(&number) && is_same(&chunk.want, topics);
        let chunk = inner.chunks.iter_mut().find(covers)?;
        let first_look = chunk.used == 0;
        chunk.used = looks;
        let (look, ahead) = chunk.look(number);
        if first_look {
            // Its room may be taken now.
            self.shared.asked.notify_one();
        }
        if ahead <= fed && ahead < inner.recent_from && inner.request_ahead(ahead, topics) {
            self.shared.asked.notify_one();
        }
        Some(look)
    }

    fn read_inline(&self, inner: &mut Inner, number: u64, topics: Option<Topics<'_>>, fed: u64) -> Look {
        let Some(reader) = inner.inline.as_mut() else { return Look::Wait };
        let want = topics.map(|topics| (topics.realm.into(), topics.names.into()));
        match self.shared.fetch(&mut **reader, &want, number, self.shared.bytes_max / CHUNK_PART) {
            Ok(segments) => {
                let mut chunk = Chunk::new(want, number, fed, segments);
                chunk.used = inner.looks;
                let (look, _) = chunk.look(number);
                inner.keep(chunk, self.shared.bytes_max);
                look
            }
            Err(_) => Look::Wait,
        }
    }

    /// Has a reading thread answer a question, some time.
    ///
    /// # Errors
    /// As many wait as may.
    pub fn ask(&self, question: Question) -> Result<(), Busy> {
        let mut inner = self.shared.inner.lock();
        if let Some(mut reader) = inner.inline.take() {
            // The question may look at the history itself.
            drop(inner);
            question(&mut *reader);
            self.shared.inner.lock().inline = Some(reader);
            return Ok(());
        }
        if inner.asks.len() >= ASKS_MAX {
            return Err(Busy);
        }
        inner.asks.push_back(question);
        self.shared.asked.notify_one();
        Ok(())
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.shared.inner.lock().stopping = true;
        self.shared.asked.notify_all();
    }
}

impl Chunk {
    /// What a fetch from `from` on brought, when all up to `fed` was in the store.
    fn new(want: Topicwise, from: u64, fed: u64, segments: Vec<Segment>) -> Self {
        let to = segments.last().map_or(fed.max(from), Segment::last);
        let bytes = segments.iter().map(Segment::bytes).sum();
        let segments = segments.into_iter().map(Arc::new).collect();
        Self { want, from, to, segments, bytes, used: 0, awaited: false, fetched: Instant::now() }
    }

    /// What there is from a number on that it covers, and from where on more should be fetched ahead (never, if not yet).
    fn look(&self, number: u64) -> (Look, u64) {
        let at = self.segments.partition_point(|segment| segment.last() < number);
        let ahead = if at >= self.segments.len() / 2 { self.to + 1 } else { u64::MAX };
        let look = self.segments.get(at).map_or(Look::Nothing { to: self.to }, |found| Look::Segment(found.clone()));
        (look, ahead)
    }
}

impl Inner {
    /// Has something fetched for whoever waits for it.
    fn request(&mut self, number: u64, topics: Option<Topics<'_>>, link: Option<&Arc<Link>>) {
        let known = self.fetches.iter_mut().find(|fetch| fetch.from == number && is_same(&fetch.want, topics));
        let Some(fetch) = known else {
            let want = topics.map(|topics| (topics.realm.into(), topics.names.into()));
            let waiters = link.cloned().into_iter().collect();
            self.fetches.push(Fetch { want, from: number, waiters, running: false, retry: None });
            return;
        };
        if let Some(link) = link
            && !fetch.waiters.iter().any(|known| Arc::ptr_eq(known, link))
        {
            fetch.waiters.push(link.clone());
        }
    }

    /// Has something fetched that nobody waits for yet; `false` if that is not to be.
    fn request_ahead(&mut self, number: u64, topics: Option<Topics<'_>>) -> bool {
        let there =
            self.chunks.iter().any(|chunk| (chunk.from..=chunk.to).contains(&number) && is_same(&chunk.want, topics));
        let asked = self.fetches.iter().any(|fetch| fetch.from == number && is_same(&fetch.want, topics));
        // Those who wait come first.
        let busy = self.fetches.iter().any(|fetch| !fetch.running);
        if there || asked || busy {
            return false;
        }
        self.request(number, topics, None);
        true
    }

    /// Takes a chunk in, and lets others go for it.
    fn keep(&mut self, chunk: Chunk, bytes_max: usize) {
        while self.chunk_bytes + chunk.bytes > bytes_max / 2 {
            // First what was looked at longest ago, then what nobody came for.
            let used = self.chunks.iter().enumerate().filter(|(_, chunk)| chunk.used > 0);
            let oldest = used.min_by_key(|(_, chunk)| chunk.used).map(|(at, _)| at);
            let at = match oldest {
                Some(at) => at,
                None if self.chunks.is_empty() => break,
                None => 0,
            };
            let gone = self.chunks.remove(at);
            self.chunk_bytes -= gone.bytes;
        }
        self.chunk_bytes += chunk.bytes;
        self.chunks.push(chunk);
    }

    /// Until when to wait with another chunk, for it could drive out one for which somebody has just been woken.
    fn must_hold(&self, bytes_max: usize, patience: Duration) -> Option<Instant> {
        let fresh = self.chunks.iter().filter(|chunk| chunk.used == 0 && chunk.awaited);
        let bytes: usize = fresh.clone().map(|chunk| chunk.bytes).sum();
        if bytes + bytes_max / CHUNK_PART <= bytes_max / 2 {
            return None;
        }
        fresh.map(|chunk| chunk.fetched + patience).min().filter(|until| *until > Instant::now())
    }
}

/// What a reading thread does next.
enum Job {
    Fetch { want: Topicwise, from: u64, bytes: usize },
    Answer(Question),
    Stop,
}

impl Shared {
    fn run(&self, mut reader: Box<dyn StoreReader>) {
        let mut turn = false;
        loop {
            turn = !turn;
            match self.next_job(turn) {
                Job::Stop => return,
                job => self.work(job, &mut *reader),
            }
        }
    }

    fn work(&self, job: Job, reader: &mut dyn StoreReader) {
        match job {
            Job::Fetch { want, from, bytes } => {
                let fed = self.fed.load(Ordering::Acquire);
                let fetched = self.fetch(reader, &want, from, bytes);
                self.settle(want, from, fed, fetched);
            }
            Job::Answer(question) => question(reader),
            Job::Stop => {}
        }
    }

    /// Waits for something to do.
    fn next_job(&self, questions_first: bool) -> Job {
        let mut inner = self.inner.lock();
        loop {
            match self.try_job(&mut inner, questions_first) {
                Ok(job) => return job,
                Err(Some(until)) => drop(self.asked.wait_until(&mut inner, until)),
                Err(None) => self.asked.wait(&mut inner),
            }
        }
    }

    /// Something to do now, or until when there is nothing if nobody asks for anything. Questions and fetches take turns.
    fn try_job(&self, inner: &mut Inner, questions_first: bool) -> Result<Job, Option<Instant>> {
        if inner.stopping {
            return Ok(Job::Stop);
        }
        if questions_first && let Some(question) = inner.asks.pop_front() {
            return Ok(Job::Answer(question));
        }
        self.next_fetch(inner).or_else(|until| inner.asks.pop_front().map(Job::Answer).ok_or(until))
    }

    /// A fetch that can be made now, or until when there is none if nobody asks for another.
    fn next_fetch(&self, inner: &mut Inner) -> Result<Job, Option<Instant>> {
        if !inner.fetches.iter().any(|fetch| !fetch.running) {
            return Err(None);
        }
        if let Some(until) = inner.must_hold(self.bytes_max, self.fresh) {
            return Err(Some(until));
        }
        let least = self.bytes_max / CHUNK_PART_MIN;
        let bytes = (self.bytes_max / 4 / inner.fetches.len()).clamp(least, self.bytes_max / CHUNK_PART);
        let now = Instant::now();
        let due = |fetch: &&mut Fetch| !fetch.running && fetch.retry.is_none_or(|(at, _)| at <= now);
        match inner.fetches.iter_mut().find(due) {
            Some(fetch) => {
                fetch.running = true;
                Ok(Job::Fetch { want: fetch.want.clone(), from: fetch.from, bytes })
            }
            None => Err(inner.fetches.iter().filter_map(|fetch| fetch.retry.map(|(at, _)| at)).min()),
        }
    }

    fn fetch(
        &self,
        reader: &mut dyn StoreReader,
        want: &Topicwise,
        from: u64,
        bytes: usize,
    ) -> Result<Vec<Segment>, StoreError> {
        let topics: Option<Vec<(&str, &str)>> =
            want.as_ref().map(|(realm, names)| names.iter().map(|name| (&**realm, &**name)).collect());
        let fetched = reader.segments(from, topics.as_deref(), bytes);
        match &fetched {
            Ok(segments) => {
                let bytes: usize = segments.iter().map(Segment::bytes).sum();
                self.counts.fetches.fetch_add(1, Ordering::Relaxed);
                self.counts.fetched_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            }
            Err(error) => {
                self.counts.failures.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%error, from, "the log cannot be read");
            }
        }
        fetched
    }

    /// Keeps what a fetch brought and wakes who waits for it; one that failed is made again later.
    fn settle(&self, want: Topicwise, from: u64, fed: u64, fetched: Result<Vec<Segment>, StoreError>) {
        let mut inner = self.inner.lock();
        let Some(at) = inner.fetches.iter().position(|fetch| fetch.running && fetch.from == from && fetch.want == want)
        else {
            return;
        };
        let Ok(segments) = fetched else {
            let fetch = &mut inner.fetches[at];
            let wait = fetch.retry.map_or(RETRY, |(_, wait)| (wait * 2).min(RETRY_MAX));
            (fetch.running, fetch.retry) = (false, Some((Instant::now() + wait, wait)));
            return;
        };
        let fetch = inner.fetches.remove(at);
        let mut chunk = Chunk::new(want, from, fed, segments);
        chunk.awaited = !fetch.waiters.is_empty();
        inner.keep(chunk, self.bytes_max);
        drop(inner);
        fetch.waiters.iter().for_each(|link| link.wake());
    }
}
