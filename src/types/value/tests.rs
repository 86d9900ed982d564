use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::cbor::CborReader;
use super::json::JsonReader;
use super::msgpack::MsgPackReader;
use super::raw::split_list;
use super::read::{Reader, Skip, walk};
use super::*;

mod formats;

pub const FORMATS: [Format; 3] = [Format::Json, Format::MsgPack, Format::Cbor];

/// A value that all three formats can say: no NaN, no text that JSON would take for binary.
pub fn any_value() -> impl Strategy<Value = Value> {
    let text = "[^\0].{0,12}|";
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (-200i64..70_000).prop_map(Value::Int),
        any::<u64>().prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(Value::Float),
        prop_oneof![Just(0.0), Just(-0.0), Just(1.0), Just(1e300), Just(5e-324)].prop_map(Value::Float),
        text.prop_map(Value::Text),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
    ];
    scalar.prop_recursive(4, 40, 20, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Value::List),
            prop::collection::vec((text, inner), 0..18).prop_map(Value::Map),
        ]
    })
}

/// Numbers that look random and are the same in every run.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(seed | 1)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound.max(1)
    }
}

/// Runs `check` with broken variants of `seeds`: a fixed number of them, or for `FENNEC_FUZZ_SECONDS` with other dice each time.
pub fn fuzz(seeds: &[Vec<u8>], check: impl Fn(&[u8])) {
    let seconds = std::env::var("FENNEC_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let start = Instant::now();
    let seed = if seconds.is_some() { std::process::id().into() } else { 1 };
    println!("fuzzing with seed {seed}");
    let mut dice = Dice::new(seed);
    let mut rounds = 0;
    while seconds.map_or(rounds < 20_000, |seconds| start.elapsed() < Duration::from_secs(seconds)) {
        rounds += 1;
        let mut bytes = seeds[dice.below(seeds.len())].clone();
        for _ in 0..=dice.below(4) {
            mutate(&mut bytes, seeds, &mut dice);
        }
        check(&bytes);
    }
}

fn mutate(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], dice: &mut Dice) {
    let at = dice.below(bytes.len() + 1);
    match dice.below(6) {
        0 if !bytes.is_empty() => bytes[at.saturating_sub(1)] ^= 1 << dice.below(8),
        1 if !bytes.is_empty() => bytes[at.saturating_sub(1)] = dice.below(256) as u8,
        2 => bytes.truncate(at),
        3 => bytes.insert(at, dice.below(256) as u8),
        4 => {
            let other = &seeds[dice.below(seeds.len())];
            let piece = &other[dice.below(other.len() + 1)..];
            bytes.splice(at..at, piece.iter().take(dice.below(20)).copied());
        }
        _ => {
            let end = (at + dice.below(8)).min(bytes.len());
            bytes.drain(at..end);
        }
    }
}

/// Where the fast scan and the naming walk find the end, which must be the same. Also does all that can be done with it.
fn ends_of<'a, R: Reader<'a>>(mut fast: R, mut slow: R, depth: usize) -> Option<usize> {
    let scanned = fast.scan(depth).map(|()| fast.at());
    let walked = walk(&mut slow, &mut Skip, depth).ok().map(|()| slow.at());
    // CBOR leaves tags and chunks to the walk.
    if scanned.is_some() {
        assert_eq!(scanned, walked);
    }
    walked
}

fn check_anything(format: Format, bytes: &[u8]) {
    match format {
        Format::Json => {
            let end = ends_of(JsonReader::new(bytes), JsonReader::new(bytes), 0);
            let mut fast = JsonReader::new(bytes);
            assert_eq!(fast.scan(0).is_some(), end.is_some(), "{bytes:?}");
        }
        Format::MsgPack => {
            let end = ends_of(MsgPackReader::new(bytes), MsgPackReader::new(bytes), 0);
            let mut fast = MsgPackReader::new(bytes);
            assert_eq!(fast.scan(0).is_some(), end.is_some(), "{bytes:?}");
        }
        Format::Cbor => {
            ends_of(CborReader::new(bytes), CborReader::new(bytes), 0);
        }
    }
    // Unchecked bytes must not hurt either.
    let raw = Raw::checked(format, bytes);
    let _ = (raw.to_value(), raw.is_null(), raw.is_list(), raw.is_map(), raw.is_empty_container());
    let _ = (raw.as_bool(), raw.as_u64(), raw.as_text(), raw.as_binary(), raw.get("a"));
    let _ = (raw.items().count(), raw.entries().count());
    let Ok(raw) = Raw::parse(format, bytes) else { return };
    let value = raw.to_value();
    for target in FORMATS {
        let mut transcoded = Vec::new();
        raw.encode(target, &mut transcoded);
        let again = Raw::parse(target, &transcoded).unwrap_or_else(|error| panic!("{error}: {bytes:?}"));
        if target != format {
            assert_eq!(transcoded, value.to_bytes(target), "{bytes:?}");
        }
        assert_eq!(again.is_list(), raw.is_list());
        assert_eq!(again.is_map(), raw.is_map());
    }
    if raw.is_list() {
        assert_eq!(raw.items().count(), value.as_list().map_or(0, <[Value]>::len));
        assert_eq!(raw.items().map(Raw::to_value).count() == 0, raw.is_empty_container());
    }
}

fn decode(format: Format, bytes: &[u8]) -> Value {
    Value::decode(format, bytes).unwrap_or_else(|error| panic!("{error}: {bytes:?}"))
}

fn fault(format: Format, bytes: &[u8]) -> String {
    check_anything(format, bytes);
    Value::decode(format, bytes).expect_err("malformed").to_string()
}

fn json(text: &str) -> Value {
    check_anything(Format::Json, text.as_bytes());
    decode(Format::Json, text.as_bytes())
}

#[test]
fn keys_that_are_no_text_become_text() {
    let expected = Value::map([
        ("1", Value::Int(0)),
        ("-1", Value::Int(0)),
        ("true", Value::Int(0)),
        ("null", Value::Int(0)),
        ("1.5", Value::Int(0)),
        ("\0AQ==", Value::Int(0)),
    ]);
    let msgpack = [&[0x86, 1, 0, 0xff, 0, 0xc3, 0, 0xc0, 0][..], &[0xca, 0x3f, 0xc0, 0, 0, 0, 0xc4, 1, 1, 0]].concat();
    let cbor = [&[0xa6, 1, 0, 0x20, 0, 0xf5, 0, 0xf6, 0][..], &[0xf9, 0x3e, 0, 0, 0x41, 1, 0]].concat();
    assert_eq!(decode(Format::MsgPack, &msgpack), expected);
    assert_eq!(decode(Format::Cbor, &cbor), expected);
    assert_eq!(
        Value::decode(Format::Json, &expected.to_bytes(Format::Json)),
        Ok(expected),
        "binary keys are written as JSON writes binary"
    );
}

#[test]
fn deeper_than_the_limit_is_refused_without_overflow() {
    let around = |open: &[u8], inner: &[u8], close: &[u8], depth: usize| {
        [open.repeat(depth - 1), inner.to_vec(), close.repeat(depth - 1)].concat()
    };
    type Nesting<'a> = (Format, &'a [u8], &'a [u8], &'a [u8]);
    let cases: [Nesting; 6] = [
        (Format::Json, b"[", b"[]", b"]"),
        (Format::Json, b"{\"a\":", b"{}", b"}"),
        (Format::MsgPack, &[0x91], &[0x90], &[]),
        (Format::MsgPack, &[0x81, 1], &[0x80], &[]),
        (Format::Cbor, &[0x81], &[0x80], &[]),
        (Format::Cbor, &[0x9f], &[0x80], &[0xff]),
    ];
    for (format, open, inner, close) in cases {
        let deepest = around(open, inner, close, DEPTH_MAX);
        check_anything(format, &deepest);
        assert!(Value::decode(format, &deepest).is_ok(), "{format} {open:?}");
        for depth in [DEPTH_MAX + 1, 100_000] {
            let deeper = around(open, inner, close, depth);
            assert!(fault(format, &deeper).starts_with("nested too deeply"), "{format} {open:?}");
        }
    }
    let tags = [vec![0xc1; 100_000], vec![0x01]].concat();
    assert_eq!(decode(Format::Cbor, &tags), Value::Int(1));
}

#[test]
fn serde_refuses_what_is_too_deep() {
    let deep = |depth: usize| [vec![0x91; depth], vec![1]].concat();
    assert!(rmp_serde::from_slice::<Value>(&deep(DEPTH_MAX)).is_ok());
    assert!(rmp_serde::from_slice::<Value>(&deep(DEPTH_MAX + 1)).is_err());
}

#[test]
fn a_list_is_split_into_its_elements() {
    let mut elements = [&[] as &[u8]; 4];
    let text = br#" [ 16 , {"a": [1, 2]} ,"x\"]", [ ] ] "#;
    assert_eq!(split_list(Format::Json, text, &mut elements), Ok(Some(4)));
    assert_eq!(elements, [&b"16"[..], br#"{"a": [1, 2]}"#, br#""x\"]""#, b"[ ]"]);
    let cbor = [0x9f, 0x01, 0x61, b'a', 0x9f, 0xff, 0xff];
    assert_eq!(split_list(Format::Cbor, &cbor, &mut elements), Ok(Some(3)));
    assert_eq!(elements[..3], [&[0x01][..], &[0x61, b'a'], &[0x9f, 0xff]]);
    assert_eq!(split_list(Format::Json, b"[1,2,3,4,5]", &mut elements), Ok(None));
    assert_eq!(split_list(Format::Json, b"{}", &mut elements), Ok(None));
    assert!(split_list(Format::Json, b"[1] 2", &mut elements).is_err());
}

#[test]
fn parts_are_looked_up_without_decoding() {
    for format in FORMATS {
        let value = Value::map([
            ("a", Value::Int(1)),
            ("b", Value::List(vec!["x".into(), Value::Bytes(vec![0])])),
            ("a", Value::Int(2)),
            ("n", Value::Null),
        ]);
        let bytes = value.to_bytes(format);
        let raw = Raw::parse(format, &bytes).unwrap();
        assert_eq!(raw.get("a").and_then(Raw::as_u64), Some(2), "of duplicates the last");
        assert_eq!(value.get("a"), Some(&Value::Int(2)));
        assert!(raw.get("n").unwrap().is_null());
        let items: Vec<_> = raw.get("b").unwrap().items().collect();
        assert_eq!(items[0].as_text().as_deref(), Some("x"));
        assert_eq!(items[0].as_binary(), None);
        assert_eq!(items[1].as_text(), None);
        assert_eq!(items[1].as_binary().as_deref(), Some(&[0][..]));
        assert_eq!(raw.items().count(), 0);
        assert_eq!(raw.as_u64(), None);
    }
    for text in ["1.0", "1e3", "-1", "\"1\"", "18446744073709551616", "", "[1]"] {
        assert_eq!(Raw::checked(Format::Json, text.as_bytes()).as_u64(), None, "{text}");
    }
    assert_eq!(Raw::checked(Format::Json, b"18446744073709551615").as_u64(), Some(u64::MAX));
    assert_eq!(Raw::checked(Format::MsgPack, &[0xd1, 1, 0]).as_u64(), Some(256), "a positive signed integer");
}

#[test]
fn a_float_without_a_fraction_is_an_integer_in_messagepack_and_cbor() {
    let cases = [
        (0.0, Some(0)),
        (4_294_967_296.0, Some(1 << 32)),
        (9_007_199_254_740_992.0, Some(1 << 53)),
        (9_007_199_254_740_994.0, None),
        (1.5, None),
        (-1.0, None),
        (f64::NAN, None),
        (f64::INFINITY, None),
    ];
    for (float, expected) in cases {
        let [msgpack, cbor] = [0xcb, 0xfb].map(|tag| [&[tag], &f64::to_be_bytes(float)[..]].concat());
        assert_eq!(Raw::checked(Format::MsgPack, &msgpack).as_u64(), expected, "{float}");
        assert_eq!(Raw::checked(Format::Cbor, &cbor).as_u64(), expected, "{float}");
        assert_eq!(Value::Float(float).as_u64(), expected, "{float}");
    }
}

proptest! {
    #[test]
    fn every_format_reads_what_it_wrote(value in any_value()) {
        for format in FORMATS {
            let bytes = value.to_bytes(format);
            check_anything(format, &bytes);
            prop_assert_eq!(&decode(format, &bytes), &value);
        }
    }

    #[test]
    fn other_libraries_read_what_is_written_and_the_reverse(value in any_value()) {
        let json = value.to_bytes(Format::Json);
        let parsed: Value = serde_json::from_slice(&json).unwrap();
        prop_assert!(nearly_equal(&parsed, &value), "{:?}", parsed);
        prop_assert_eq!(&decode(Format::Json, &serde_json::to_vec(&value).unwrap()), &value);

        let msgpack: Value = rmp_serde::from_slice(&value.to_bytes(Format::MsgPack)).unwrap();
        prop_assert_eq!(&msgpack, &value);
        prop_assert_eq!(&decode(Format::MsgPack, &rmp_serde::to_vec(&value).unwrap()), &value);

        let cbor: Value = ciborium::from_reader(value.to_bytes(Format::Cbor).as_slice()).unwrap();
        prop_assert_eq!(&cbor, &value);
        let mut written = Vec::new();
        ciborium::into_writer(&value, &mut written).unwrap();
        prop_assert_eq!(&decode(Format::Cbor, &written), &value);
    }

    #[test]
    fn json_is_accepted_where_serde_json_accepts_it(bytes in "[\\[\\]{}:,\"a1e.+\\-0\\\\u\u{1}ä tfn]{0,12}|(\\[|\\{\"a\":|\"b\"|,|1|-0|1e5|\\]|\\}|true|null| ){0,10}") {
        let theirs = serde_json::from_str::<serde_json::Value>(&bytes).is_ok();
        prop_assert_eq!(Raw::parse(Format::Json, bytes.as_bytes()).is_ok(), theirs, "{}", bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_truncation_and_no_flipped_bit_panics(value in any_value()) {
        for format in FORMATS {
            let bytes = value.to_bytes(format);
            for end in 0..bytes.len() {
                check_anything(format, &bytes[..end]);
            }
            // Longer values repeat themselves.
            for bit in 0..(bytes.len() * 8).min(800) {
                let mut bytes = bytes.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                check_anything(format, &bytes);
            }
        }
    }
}

/// serde_json rounds the last digit of some floats.
fn nearly_equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Float(left), Value::Float(right)) => (left - right).abs() <= right.abs() * 1e-15,
        (Value::List(left), Value::List(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| nearly_equal(left, right))
        }
        (Value::Map(left), Value::Map(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| left.0 == right.0 && nearly_equal(&left.1, &right.1))
        }
        _ => left == right,
    }
}

#[test]
fn broken_bytes_are_refused_or_read_alike_by_all_walks() {
    let value = Value::map([
        ("key", Value::List(vec![Value::Int(-5), Value::Float(1.5), "text ä\n".into(), Value::Bytes(vec![1, 2, 3])])),
        ("other", Value::map([("deep", Value::List(vec![Value::Null, Value::Bool(true), Value::Uint(u64::MAX)]))])),
    ]);
    for format in FORMATS {
        let mut seeds = vec![value.to_bytes(format), Value::List(vec![]).to_bytes(format)];
        if format == Format::Cbor {
            seeds.push(vec![
                0xbf, 0x7f, 0x61, b'a', 0xff, 0xc2, 0x5f, 0x41, 1, 0xff, 0x61, b'b', 0xd8, 0x20, 0x9f, 0xf9, 0, 0,
                0xff, 0xff,
            ]);
        }
        fuzz(&seeds, |bytes| check_anything(format, bytes));
    }
}
