//! The promise of a store, asked of each kind.

use bytes::Bytes;

use super::memory::MemoryStore;
use super::postgres::PostgresStore;
use super::sqlite::SqliteStore;
use super::*;
use crate::queue::segment::TopicShare;

#[path = "../../tests/support/postgres.rs"]
mod server;

pub(super) use server::store_url as postgres_url;

/// A segment of so many numbers from `first` on, which holds these topics.
pub(super) fn segment(position: u64, first: u64, count: u32, topics: &[(&str, &str)]) -> Segment {
    let share = |&(realm, topic): &(&str, &str)| TopicShare {
        realm: realm.into(),
        topic: topic.into(),
        messages: count,
        bytes: u64::from(count) * 1000,
    };
    Segment {
        position,
        first,
        count,
        at_us: position * 1_000_000,
        minute: 28_000_000 + (position / 10) as u32,
        generator: position % 10,
        body: Bytes::from(format!("body of {position}").repeat(position as usize % 7 * 100 + 1)),
        set_off: if position.is_multiple_of(3) { Bytes::from_static(b"set off") } else { Bytes::new() },
        voids: (0..count).filter(|n| n % 5 == 4).collect(),
        topics: topics.iter().map(share).collect(),
    }
}

/// Segments of ten numbers each: the even positions hold `r a/even`, all hold `r a/all`.
fn log(positions: std::ops::RangeInclusive<u64>) -> Vec<Segment> {
    let one = |position: u64| {
        let topics = [("r", "a/all"), ("r", "a/even")];
        let held = if position.is_multiple_of(2) { &topics[..] } else { &topics[..1] };
        segment(position, position * 10, 10, held)
    };
    positions.map(one).collect()
}

fn append(store: &mut dyn Store, segments: Vec<Segment>) {
    store.commit(&Commit { segments, ..Commit::default() }).unwrap();
}

fn set(store: &mut dyn Store, rows: &[(&[u8], Option<&[u8]>)]) {
    let rows = rows.iter().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect();
    store.commit(&Commit { rows, ..Commit::default() }).unwrap();
}

fn positions(segments: &[Segment]) -> Vec<u64> {
    segments.iter().map(|segment| segment.position).collect()
}

fn segments_come_back_as_they_were(store: &mut dyn Store) {
    let segments = log(1..=9);
    append(store, segments[..4].to_vec());
    append(store, segments[4..].to_vec());
    let mut reader = store.reader().unwrap();
    assert_eq!(reader.segments(0, None, usize::MAX).unwrap(), segments);
    let mut odd = segment(20, 1000, 1, &[]);
    odd.generator = u64::MAX;
    odd.body = Bytes::new();
    odd.set_off = Bytes::new();
    odd.at_us = 1 << 62;
    append(store, vec![odd.clone()]);
    assert_eq!(reader.segments(1000, None, usize::MAX).unwrap(), [odd]);
}

fn reading_begins_with_the_segment_that_holds_the_number(store: &mut dyn Store) {
    append(store, log(1..=3));
    append(store, vec![segment(9, 90, 5, &[])]);
    let mut reader = store.reader().unwrap();
    let mut read = |from| positions(&reader.segments(from, None, usize::MAX).unwrap());
    assert_eq!(read(10), [1, 2, 3, 9]);
    assert_eq!(read(19), [1, 2, 3, 9]);
    assert_eq!(read(20), [2, 3, 9]);
    assert_eq!(read(39), [3, 9]);
    assert_eq!(read(40), [9], "numbers 40 to 89 are missing");
    assert_eq!(read(94), [9]);
    assert_eq!(read(95), [] as [u64; 0]);
    assert_eq!(read(u64::from(u32::MAX)), [] as [u64; 0]);
}

fn reading_is_bounded_by_bytes_but_gets_on(store: &mut dyn Store) {
    let segments = log(1..=100);
    append(store, segments.clone());
    let mut reader = store.reader().unwrap();
    for topics in [None, Some(&[("r", "a/all")][..])] {
        for bytes_max in [0, 1, 5000, 20_000] {
            let (mut from, mut seen) = (0, Vec::new());
            loop {
                let some = reader.segments(from, topics, bytes_max).unwrap();
                let Some(last) = some.last() else { break };
                from = last.last() + 1;
                let all_but_last: usize = some[..some.len() - 1].iter().map(Segment::bytes).sum();
                assert!(all_but_last <= bytes_max, "{all_but_last} bytes for {bytes_max}");
                seen.extend(some);
            }
            assert_eq!(seen, segments);
        }
    }
}

fn reading_of_topics_finds_just_the_segments_that_hold_them(store: &mut dyn Store) {
    append(store, log(1..=20));
    append(store, vec![segment(30, 300, 1, &[("r", "b"), ("s", "a/even")])]);
    let mut reader = store.reader().unwrap();
    let mut read = |from, topics: &[(&str, &str)]| positions(&reader.segments(from, Some(topics), usize::MAX).unwrap());
    assert_eq!(read(0, &[("r", "a/even")]), (1..=10).map(|n| n * 2).collect::<Vec<_>>());
    assert_eq!(read(185, &[("r", "a/even")]), [18, 20], "the segment that holds the number is one of them");
    assert_eq!(read(190, &[("r", "b"), ("r", "a/even"), ("r", "none")]), [20, 30]);
    assert_eq!(read(0, &[("s", "a/even")]), [30]);
    assert_eq!(read(0, &[("s", "a/all")]), [] as [u64; 0]);
    assert_eq!(read(0, &[]), [] as [u64; 0]);
    let many: Vec<String> = (0..500).map(|n| format!("a/{n}")).collect();
    let mut many: Vec<(&str, &str)> = many.iter().map(|name| ("r", &**name)).collect();
    many.push(("r", "b"));
    assert_eq!(read(0, &many), [30]);
}

fn segments_of_very_many_topics_are_found_by_each(store: &mut dyn Store) {
    let names: Vec<String> = (0..300).map(|n| format!("device/{n}")).collect();
    let topics: Vec<(&str, &str)> = names.iter().map(|name| ("r", &**name)).collect();
    append(store, vec![segment(1, 1, 1, &[("r", "x")]), segment(2, 2, 300, &topics), segment(3, 400, 1, &topics[..1])]);
    append(store, vec![segment(4, 401, 300, &topics[..299])]);
    let mut reader = store.reader().unwrap();
    let mut read = |topics: &[(&str, &str)]| {
        let found = reader.segments(0, Some(topics), usize::MAX).unwrap();
        (positions(&found), found.last().map(|segment| segment.topics.len()))
    };
    assert_eq!(read(&topics[..1]), (vec![2, 3, 4], Some(299)));
    assert_eq!(read(&topics[299..]), (vec![2], Some(300)));
    assert_eq!(read(&topics), (vec![2, 3, 4], Some(299)));
    assert_eq!(read(&[("r", "x")]), (vec![1], Some(1)));
    assert_eq!(reader.topics("r", "device/", None, 1000).unwrap().len(), 300);
    store.commit(&Commit { dropped: vec![2, 3], ..Commit::default() }).unwrap();
    assert_eq!(positions(&reader.segments(0, Some(&topics[..1]), usize::MAX).unwrap()), [4]);
}

fn headers_tell_all_but_the_messages(store: &mut dyn Store) {
    append(store, log(1..=5));
    append(store, vec![segment(6, 60, 1, &[])]);
    let mut reader = store.reader().unwrap();
    let mut expected: Vec<Header> = log(1..=5).iter().map(Header::of).collect();
    expected.push(Header::of(&segment(6, 60, 1, &[])));
    assert_eq!(reader.headers(0, 100).unwrap(), expected);
    assert_eq!(reader.headers(20, 2).unwrap(), expected[1..3]);
    assert_eq!(reader.headers(21, 100).unwrap(), expected[2..], "a segment that began before is not among them");
    assert!(reader.headers(61, 100).unwrap().is_empty());
}

fn reading_backwards_meets_every_segment(store: &mut dyn Store) {
    append(store, log(1..=5));
    let mut reader = store.reader().unwrap();
    assert_eq!(reader.segment_before(10).unwrap(), None);
    assert_eq!(reader.segment_before(0).unwrap(), None);
    let (mut number, mut seen) = (1000, Vec::new());
    while let Some(segment) = reader.segment_before(number).unwrap() {
        number = segment.first;
        seen.push(segment);
    }
    seen.reverse();
    assert_eq!(seen, log(1..=5));
    assert_eq!(reader.segment_before(25).unwrap().unwrap().position, 1, "the segment of 25 itself does not count");
}

fn times_and_event_ids_lead_to_numbers(store: &mut dyn Store) {
    let mut reader = store.reader().unwrap();
    assert_eq!((reader.first_since(0).unwrap(), reader.first_of(0, 0).unwrap()), (None, None));
    append(store, log(1..=40));
    // Two segments of one time.
    let mut twin = segment(41, 410, 10, &[]);
    twin.at_us = 40_000_000;
    append(store, vec![twin]);
    assert_eq!(reader.first_since(0).unwrap(), Some(10));
    assert_eq!(reader.first_since(7_000_000).unwrap(), Some(70));
    assert_eq!(reader.first_since(7_000_001).unwrap(), Some(80));
    assert_eq!(reader.first_since(40_000_000).unwrap(), Some(400));
    assert_eq!(reader.first_since(40_000_001).unwrap(), None);
    assert_eq!(reader.first_of(28_000_002, 5).unwrap(), Some(250));
    assert_eq!(reader.first_of(28_000_002, 15).unwrap(), Some(300));
    assert_eq!(reader.first_of(28_000_001, u64::MAX).unwrap(), Some(200));
    assert_eq!(reader.first_of(29_000_000, 0).unwrap(), None);
}

fn topics_are_listed_in_order_of_their_bytes(store: &mut dyn Store) {
    let names = ["a/b", "a", "a/ä", "a/B", "a/b/c", "b", "a/\u{10FFFF}"];
    let topics: Vec<(&str, &str)> = names.iter().map(|name| ("r", *name)).collect();
    append(store, vec![segment(1, 1, 1, &topics), segment(2, 2, 1, &[("s", "a/z")])]);
    let mut reader = store.reader().unwrap();
    let mut list = |prefix: &str, after: Option<&str>, limit| {
        let names = reader.topics("r", prefix, after, limit).unwrap();
        names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(list("", None, 100), "a a/B a/b a/b/c a/ä a/\u{10FFFF} b");
    assert_eq!(list("a/", None, 2), "a/B a/b");
    assert_eq!(list("a/", Some("a/b"), 100), "a/b/c a/ä a/\u{10FFFF}");
    assert_eq!(list("a/", Some("a"), 1), "a/B", "what is before the prefix does not shift it");
    assert_eq!(list("a/", Some("b"), 100), "");
    assert_eq!(list("c", None, 100), "");
    assert!(reader.topics("t", "", None, 100).unwrap().is_empty());
}

fn topics_of_deleted_segments_vanish_in_time(store: &mut dyn Store) {
    let topics: Vec<String> = (0..100).map(|n| format!("t{n}")).collect();
    let all = (1..=100).map(|n| segment(n, n, 1, &[("r", &topics[n as usize - 1])]));
    append(store, all.collect());
    for position in 1..100 {
        store.commit(&Commit { dropped: vec![position], ..Commit::default() }).unwrap();
    }
    let mut reader = store.reader().unwrap();
    assert_eq!(reader.topics("r", "", None, 1000).unwrap().last().unwrap().to_string(), "t99");
    for n in 0..20 {
        append(store, vec![segment(200 + n, 200 + n, 1, &[("r", "t99")])]);
        store.commit(&Commit { dropped: vec![200 + n], ..Commit::default() }).unwrap();
    }
    assert_eq!(reader.topics("r", "", None, 1000).unwrap().len(), 1, "only t99 is held");
    append(store, vec![segment(300, 300, 1, &[("r", "t5")])]);
    assert_eq!(
        positions(&reader.segments(0, Some(&[("r", "t5")]), usize::MAX).unwrap()),
        [300],
        "and they can come back"
    );
}

fn rows_are_set_replaced_and_removed(store: &mut dyn Store) {
    set(store, &[(b"a", Some(b"1")), (b"", Some(b"")), (b"b\0", Some(b"2"))]);
    assert_eq!(store.get(b"a").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(store.get(b"").unwrap().as_deref(), Some(&b""[..]));
    assert_eq!(store.get(b"b").unwrap(), None);
    set(store, &[(b"a", Some(b"3")), (b"b\0", None), (b"none", None)]);
    assert_eq!(store.get(b"a").unwrap().as_deref(), Some(&b"3"[..]));
    assert_eq!(store.get(b"b\0").unwrap(), None);
    let long = vec![7; 100_000];
    set(store, &[(&long, Some(&long)), (&long[1..], Some(b"shorter"))]);
    assert_eq!(store.get(&long).unwrap().as_ref(), Some(&long));
    assert_eq!(store.get(&long[1..]).unwrap().as_deref(), Some(&b"shorter"[..]));
    let rows = store.reader().unwrap().scan(&long[..50_000], None, 10).unwrap();
    assert_eq!(rows.iter().map(|(key, _)| key.len()).collect::<Vec<_>>(), [99_999, 100_000]);
}

fn very_many_rows_go_into_one_commit(store: &mut dyn Store) {
    let key = |n: u32| n.to_be_bytes().to_vec();
    let rows = (0..5000).rev().map(|n| (key(n), Some(vec![n as u8; 10])));
    store.commit(&Commit { rows: rows.collect(), ..Commit::default() }).unwrap();
    let rows = (0..5000).map(|n| (key(n), (n % 3 != 0).then(|| vec![1])));
    store.commit(&Commit { rows: rows.collect(), ..Commit::default() }).unwrap();
    let kept: Vec<Row> = (0..5000).filter(|n| n % 3 != 0).map(|n| (key(n), vec![1])).collect();
    assert_eq!(store.reader().unwrap().scan(b"", None, 10_000).unwrap(), kept);
    assert_eq!(store.reader().unwrap().stats().unwrap().rows, kept.len() as u64);
}

fn rows_are_scanned_by_prefix_in_order_of_keys(store: &mut dyn Store) {
    let keys: [&[u8]; 8] = [b"a", b"a\0", b"a\x01", b"a\xff", b"a\xff\xff", b"a\xff\xffz", b"b", b"\xff\xff"];
    set(store, &keys.map(|key| (key, Some(key))));
    let mut reader = store.reader().unwrap();
    let mut scan = |prefix: &[u8], after: Option<&[u8]>, limit| {
        let rows = reader.scan(prefix, after, limit).unwrap();
        rows.into_iter()
            .map(|(key, value)| {
                assert_eq!(key, value);
                key
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(scan(b"", None, 100), keys);
    assert_eq!(scan(b"a", None, 100), keys[..6]);
    assert_eq!(scan(b"a", None, 2), keys[..2]);
    assert_eq!(scan(b"a", Some(b"a\0"), 2), keys[2..4]);
    assert_eq!(scan(b"a\xff", None, 100), keys[3..6]);
    assert_eq!(scan(b"\xff", None, 100), keys[7..]);
    assert_eq!(scan(b"b", Some(b"a"), 100), keys[6..7]);
    assert!(scan(b"a", Some(b"b"), 100).is_empty());
}

fn dropped_segments_are_gone_and_others_stay(store: &mut dyn Store) {
    append(store, log(1..=9));
    store.commit(&Commit { dropped: vec![1, 2, 5, 77], segments: log(10..=10), ..Commit::default() }).unwrap();
    let mut reader = store.reader().unwrap();
    assert_eq!(positions(&reader.segments(0, None, usize::MAX).unwrap()), [3, 4, 6, 7, 8, 9, 10]);
    assert_eq!(positions(&reader.segments(0, Some(&[("r", "a/even")]), usize::MAX).unwrap()), [4, 6, 8, 10]);
    assert_eq!(positions(&reader.segments(55, None, 1).unwrap()), [6]);
    let stats = reader.stats().unwrap();
    assert_eq!((stats.segments, stats.first_number, stats.last_number, stats.last_position), (7, 30, 109, 10));
    let all: Vec<u64> = (1..=10).collect();
    store.commit(&Commit { dropped: all, ..Commit::default() }).unwrap();
    assert!(reader.segments(0, None, usize::MAX).unwrap().is_empty());
    let stats = reader.stats().unwrap();
    assert_eq!((stats.segments, stats.segment_bytes, stats.first_number, stats.last_number), (0, 0, 0, 0));
    append(store, log(11..=11));
    assert_eq!(reader.segments(0, None, usize::MAX).unwrap(), log(11..=11));
}

fn rewritten_segments_take_the_place_of_the_old(store: &mut dyn Store) {
    append(store, log(1..=4));
    let mut less = log(2..=2).remove(0);
    less.body = Bytes::from_static(b"less");
    less.topics.truncate(1);
    let unknown = segment(7, 70, 10, &[]);
    store.commit(&Commit { rewritten: vec![less.clone(), unknown], ..Commit::default() }).unwrap();
    let mut reader = store.reader().unwrap();
    let read = reader.segments(0, None, usize::MAX).unwrap();
    assert_eq!(read[1], less);
    assert_eq!(positions(&read), [1, 2, 3, 4], "what was deleted does not come back");
    assert_eq!(positions(&reader.segments(0, Some(&[("r", "a/even")]), usize::MAX).unwrap()), [4]);
    let bytes: usize = read.iter().map(|segment| segment.body.len() + segment.set_off.len()).sum();
    assert_eq!(reader.stats().unwrap().segment_bytes, bytes as u64);
}

fn a_position_is_taken_once(store: &mut dyn Store) {
    append(store, log(1..=3));
    let rows = vec![(b"k".to_vec(), Some(b"v".to_vec()))];
    let again = store.commit(&Commit { segments: log(3..=3), rows, ..Commit::default() });
    assert!(matches!(again, Err(StoreError::Damaged(_))), "{again:?}");
    assert_eq!(store.get(b"k").unwrap(), None, "nothing of it is there");
    append(store, log(4..=4));
    assert_eq!(positions(&store.reader().unwrap().segments(0, None, usize::MAX).unwrap()), [1, 2, 3, 4]);
}

fn the_counts_are_right(store: &mut dyn Store) {
    let mut reader = store.reader().unwrap();
    let stats = reader.stats().unwrap();
    assert_eq!(Stats { disk_bytes: 0, ..stats }, Stats::default());
    let segments = log(1..=600);
    let bytes: usize = segments.iter().map(|segment| segment.body.len() + segment.set_off.len()).sum();
    for segments in segments.chunks(7) {
        append(store, segments.to_vec());
    }
    set(store, &[(b"k", Some(b"v"))]);
    let stats = reader.stats().unwrap();
    let expected = Stats {
        segments: 600,
        segment_bytes: bytes as u64,
        first_number: 10,
        last_number: 6009,
        last_position: 600,
        rows: 1,
        disk_bytes: stats.disk_bytes,
    };
    assert_eq!(stats, expected);
    assert!(stats.disk_bytes >= stats.segment_bytes);
    assert_eq!(store.reader().unwrap().stats().unwrap(), expected, "a new reader says the same");
}

fn syncing_reopening_and_maintenance_change_nothing(store: &mut dyn Store) {
    append(store, log(1..=50));
    let mut reader = store.reader().unwrap();
    store.sync().unwrap();
    store.reopen().unwrap();
    while store.maintain().unwrap() {}
    append(store, vec![segment(51, 510, 10, &[("r", "new")])]);
    store.commit(&Commit { dropped: (1..=48).collect(), ..Commit::default() }).unwrap();
    while store.maintain().unwrap() {}
    for reader in [&mut reader, &mut store.reader().unwrap()] {
        assert_eq!(positions(&reader.segments(0, None, usize::MAX).unwrap()), [49, 50, 51]);
        assert_eq!(positions(&reader.segments(0, Some(&[("r", "new")]), usize::MAX).unwrap()), [51]);
    }
}

fn what_is_done_at_random_is_as_in_memory(store: &mut dyn Store) {
    let mut seed = 1_u64;
    let mut dice = move |sides: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % sides
    };
    let mut model = MemoryStore::default();
    let (mut position, mut number) = (0, 1);
    for _ in 0..150 {
        let mut commit = Commit::default();
        for _ in 0..dice(4) {
            position += 1 + dice(3);
            let count = 1 + dice(20) as u32;
            let names: Vec<String> = (0..dice(60)).map(|_| format!("t/{}", dice(200))).collect();
            let mut topics: Vec<(&str, &str)> = names.iter().map(|name| ("r", &**name)).collect();
            topics.sort_unstable();
            topics.dedup();
            commit.segments.push(segment(position, number, count, &topics));
            number += u64::from(count);
        }
        let mut rows = std::collections::BTreeMap::new();
        for _ in 0..dice(300) {
            rows.insert(dice(2000).to_be_bytes()[6..].to_vec(), (dice(3) > 0).then(|| vec![dice(256) as u8; 5]));
        }
        commit.rows = rows.into_iter().collect();
        let last = commit.segments.first().map_or(position, |segment| segment.position - 1);
        if dice(4) == 0 {
            commit.dropped = (0..dice(10)).map(|_| 1 + dice(last + 1)).filter(|&position| position <= last).collect();
        }
        model.commit(&commit).unwrap();
        store.commit(&commit).unwrap();
    }
    let (mut model, mut reader) = (model.reader().unwrap(), store.reader().unwrap());
    assert_eq!(reader.segments(0, None, usize::MAX), model.segments(0, None, usize::MAX));
    assert_eq!(reader.scan(b"", None, usize::MAX >> 1), model.scan(b"", None, usize::MAX >> 1));
    for topic in 0..200 {
        let topic = format!("t/{topic}");
        let (topics, from) = ([("r", &*topic)], dice(number));
        assert_eq!(
            reader.segments(from, Some(&topics), 3000),
            model.segments(from, Some(&topics), 3000),
            "{topic} from {from}"
        );
    }
    assert_eq!(reader.integrity().unwrap(), [""; 0]);
    let (stats, expected) = (reader.stats().unwrap(), model.stats().unwrap());
    assert_eq!(Stats { disk_bytes: 0, ..stats }, Stats { disk_bytes: 0, ..expected });
}

fn compacting_changes_nothing(store: &mut dyn Store) {
    append(store, log(1..=50));
    set(store, &[(b"k", Some(b"v"))]);
    store.commit(&Commit { dropped: (1..=40).collect(), ..Commit::default() }).unwrap();
    store.compact().unwrap();
    append(store, log(51..=51));
    let mut reader = store.reader().unwrap();
    assert_eq!(reader.segments(0, None, usize::MAX).unwrap(), log(41..=51));
    assert_eq!(store.get(b"k").unwrap().as_deref(), Some(&b"v"[..]));
    assert_eq!(reader.integrity().unwrap(), [""; 0]);
}

/// All of them, for the stores that `$open` makes: what it gives is dropped when the test is done, the store first.
macro_rules! keeps_the_promise {
    ($kind:ident, $open:expr, $($rule:ident)*) => {
        mod $kind {
            $(
                #[test]
                fn $rule() {
                    let Some((mut store, _home)) = $open else { return };
                    super::$rule(&mut *store);
                }
            )*
        }
    };
    ($kind:ident, $open:expr) => {
        keeps_the_promise!(
            $kind,
            $open,
            segments_come_back_as_they_were
            reading_begins_with_the_segment_that_holds_the_number
            reading_is_bounded_by_bytes_but_gets_on
            reading_of_topics_finds_just_the_segments_that_hold_them
            segments_of_very_many_topics_are_found_by_each
            headers_tell_all_but_the_messages
            reading_backwards_meets_every_segment
            times_and_event_ids_lead_to_numbers
            topics_are_listed_in_order_of_their_bytes
            topics_of_deleted_segments_vanish_in_time
            rows_are_set_replaced_and_removed
            very_many_rows_go_into_one_commit
            rows_are_scanned_by_prefix_in_order_of_keys
            dropped_segments_are_gone_and_others_stay
            rewritten_segments_take_the_place_of_the_old
            a_position_is_taken_once
            the_counts_are_right
            syncing_reopening_and_maintenance_change_nothing
            what_is_done_at_random_is_as_in_memory
            compacting_changes_nothing
        );
    };
}

/// A store in a folder of its own.
pub(super) fn in_folder() -> (Box<dyn Store>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let (store, aside) = SqliteStore::open(folder.path(), SyncMode::Never, true).unwrap();
    assert_eq!(aside, None);
    (Box::new(store), folder)
}

keeps_the_promise!(
    memory,
    Some((Box::new(crate::store::memory::MemoryStore::default()) as Box<dyn crate::store::Store>, ()))
);
keeps_the_promise!(
    faulty,
    Some((
        Box::new(crate::store::faulty::FaultyStore::new(crate::store::SyncMode::Interval).0)
            as Box<dyn crate::store::Store>,
        ()
    ))
);
keeps_the_promise!(
    remote,
    Some((Box::new(crate::store::remote::tests::Distant::default()) as Box<dyn crate::store::Store>, ()))
);
keeps_the_promise!(sqlite, Some(crate::store::tests::in_folder()));

/// A store in a schema of its own; `None`: there is no server.
fn in_schema() -> Option<(Box<dyn Store>, ())> {
    let store = PostgresStore::open(&postgres_url()?, SyncMode::Never).unwrap();
    Some((Box::new(store), ()))
}

keeps_the_promise!(postgres, crate::store::tests::in_schema());

#[tokio::test]
async fn stores_can_be_opened_and_dropped_within_a_task() {
    let url = postgres_url().map(StoreUrl::Postgres);
    let folder = tempfile::tempdir().unwrap();
    for url in [Some(StoreUrl::Memory), Some(StoreUrl::Folder(folder.path().to_owned())), url].into_iter().flatten() {
        let mut opened = open(&StoreSettings { url, ..StoreSettings::default() }).unwrap();
        append(&mut *opened.store, log(1..=1));
        assert_eq!(opened.store.reader().unwrap().segments(0, None, 1).unwrap(), log(1..=1));
    }
}
