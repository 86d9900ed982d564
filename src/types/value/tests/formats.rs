//! What each format may say, and what is wrong with the rest.

use super::*;

#[test]
fn json_reads_what_the_grammar_allows() {
    assert_eq!(json(" \r\n\t[ ] "), Value::List(vec![]));
    assert_eq!(json("{ }"), Value::Map(vec![]));
    assert_eq!(json("null"), Value::Null);
    assert_eq!(json("[true , false]"), Value::List(vec![true.into(), false.into()]));
    assert_eq!(json(r#" {"a" : {"b":[1 ,-2]} } "#).get("a").unwrap().get("b").unwrap().as_list().unwrap().len(), 2);
    assert_eq!(json(r#""\"\\\/\b\f\n\r\t\u00e4\ud83d\ude00\u0041""#), "\"\\/\u{8}\u{c}\n\r\tä😀A".into());
    assert_eq!(json(r#""ä😀 sixteen or more bytes of text""#), "ä😀 sixteen or more bytes of text".into());
    assert_eq!(json("\"\u{7f}\""), "\u{7f}".into());
}

#[test]
fn json_numbers_are_integers_if_they_fit() {
    assert_eq!(json("0"), Value::Int(0));
    assert_eq!(json("-9223372036854775808"), Value::Int(i64::MIN));
    assert_eq!(json("9223372036854775807"), Value::Int(i64::MAX));
    assert_eq!(json("18446744073709551615"), Value::Uint(u64::MAX));
    assert_eq!(json("18446744073709551616"), Value::Float(18446744073709551616.0));
    assert_eq!(json("1.0"), Value::Float(1.0));
    assert_eq!(json("1e2"), Value::Float(100.0));
    assert_eq!(json("-0.5E-1"), Value::Float(-0.05));
    assert!(matches!(json("-0"), Value::Float(zero) if zero == 0.0 && zero.is_sign_negative()));
    assert_eq!(json("1e999"), Value::Float(f64::INFINITY));
}

#[test]
fn malformed_json_is_refused_with_its_place() {
    let cases = [
        ("", "a value is missing at byte 0"),
        ("  ", "a value is missing at byte 2"),
        ("[1,]", "not a JSON value at byte 3"),
        ("[,1]", "not a JSON value at byte 1"),
        ("[1 2]", "a comma is missing at byte 3"),
        ("[1", "a list or object without end at byte 2"),
        ("[1}", "a comma is missing at byte 2"),
        ("{\"a\":1]", "a comma is missing at byte 6"),
        ("{\"a\"}", "a colon is missing at byte 4"),
        ("{\"a\":}", "not a JSON value at byte 5"),
        ("{a:1}", "a key is missing at byte 1"),
        ("{\"a\":1,}", "a key is missing at byte 7"),
        ("{1:1}", "a key is missing at byte 1"),
        ("[] []", "more after the value at byte 3"),
        ("nul", "not a JSON value at byte 0"),
        ("True", "not a JSON value at byte 0"),
        ("NaN", "not a JSON value at byte 0"),
        ("01", "more after the value at byte 1"),
        ("-", "a malformed number at byte 0"),
        ("+1", "not a JSON value at byte 0"),
        (".5", "not a JSON value at byte 0"),
        ("[1.]", "a malformed number at byte 1"),
        ("1e", "a malformed number at byte 0"),
        ("1e+", "a malformed number at byte 0"),
        ("-01", "more after the value at byte 2"),
        ("0x10", "more after the value at byte 1"),
        ("\"abc", "a string without end at byte 4"),
        ("\"abcdefgh", "a string without end at byte 9"),
        ("\"a\nb\"", "a control character in a string at byte 2"),
        ("\"abcdefgh\u{1f}\"", "a control character in a string at byte 9"),
        ("\"abcd\u{0}efgh\"", "a control character in a string at byte 5"),
        (r#""\x""#, "a broken escape at byte 1"),
        (r#""\"#, "a broken escape at byte 1"),
        (r#""\u12""#, "a broken escape at byte 1"),
        (r#""\u12g4""#, "a broken escape at byte 1"),
        (r#""\ud83d""#, "a broken escape at byte 1"),
        (r#""\ud83d\u0041""#, "a broken escape at byte 1"),
        (r#""\ude00""#, "a broken escape at byte 1"),
        ("'a'", "not a JSON value at byte 0"),
        ("[1]//", "more after the value at byte 3"),
        ("\u{feff}1", "not a JSON value at byte 0"),
    ];
    for (text, expected) in cases {
        assert_eq!(fault(Format::Json, text.as_bytes()), expected, "{text}");
    }
    assert_eq!(fault(Format::Json, b"[\"ab\xffc\"]"), "invalid UTF-8 at byte 4");
    assert_eq!(fault(Format::Json, b"\"\xed\xa0\x80\""), "invalid UTF-8 at byte 1");
    assert_eq!(fault(Format::Json, b"{\"\xc3\":1}"), "invalid UTF-8 at byte 2");
}

#[test]
fn json_text_of_nul_and_base64_is_binary() {
    assert_eq!(json(r#""\u0000EOP/kA==""#), Value::Bytes(vec![0x10, 0xe3, 0xff, 0x90]));
    assert_eq!(json(r#""\u0000EOP/kA""#), Value::Bytes(vec![0x10, 0xe3, 0xff, 0x90]));
    assert_eq!(json(r#""\u0000""#), Value::Bytes(vec![]));
    assert_eq!(json(r#""\u0000 no base64""#), "\0 no base64".into());
    assert_eq!(Value::Bytes(vec![0x10, 0xe3, 0xff, 0x90]).to_bytes(Format::Json), br#""\u0000EOP/kA==""#);
}

#[test]
fn json_is_written_compact_with_the_escapes_it_needs() {
    let value = Value::map([
        ("a\"b", Value::List(vec![Value::Null, true.into(), Value::Int(i64::MIN), Value::Uint(u64::MAX)])),
        ("c\\\n\u{1}", Value::Float(1.0)),
        ("", Value::List(vec![f64::NAN.into(), f64::INFINITY.into(), 1e21.into(), Value::Map(vec![])])),
        ("ä", "ö\u{7f}".into()),
    ]);
    let text = String::from_utf8(value.to_bytes(Format::Json)).unwrap();
    let expected = concat!(
        r#"{"a\"b":[null,true,-9223372036854775808,18446744073709551615],"c\\\n\u0001":1.0,"#,
        r#""":[null,null,1e21,{}],"ä":"ö"#,
        "\u{7f}\"}"
    );
    assert_eq!(text, expected);
}

#[test]
fn msgpack_reads_every_marker() {
    let cases: &[(&[u8], Value)] = &[
        (&[0x00], Value::Int(0)),
        (&[0x7f], Value::Int(127)),
        (&[0xe0], Value::Int(-32)),
        (&[0xff], Value::Int(-1)),
        (&[0xc0], Value::Null),
        (&[0xc2], false.into()),
        (&[0xc3], true.into()),
        (&[0xcc, 0xff], Value::Int(255)),
        (&[0xcd, 1, 0], Value::Int(256)),
        (&[0xce, 0, 1, 0, 0], Value::Int(65536)),
        (&[0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Value::Uint(u64::MAX)),
        (&[0xd0, 0x80], Value::Int(-128)),
        (&[0xd1, 0x80, 0], Value::Int(-32768)),
        (&[0xd2, 0x80, 0, 0, 0], Value::Int(-2147483648)),
        (&[0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0], Value::Int(i64::MIN)),
        (&[0xca, 0x3f, 0x80, 0, 0], Value::Float(1.0)),
        (&[0xcb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0], Value::Float(1.0)),
        (&[0xa1, b'a'], "a".into()),
        (&[0xd9, 1, b'a'], "a".into()),
        (&[0xda, 0, 1, b'a'], "a".into()),
        (&[0xdb, 0, 0, 0, 1, b'a'], "a".into()),
        (&[0xc4, 1, 7], Value::Bytes(vec![7])),
        (&[0xc5, 0, 1, 7], Value::Bytes(vec![7])),
        (&[0xc6, 0, 0, 0, 1, 7], Value::Bytes(vec![7])),
        (&[0x91, 1], Value::List(vec![Value::Int(1)])),
        (&[0xdc, 0, 1, 1], Value::List(vec![Value::Int(1)])),
        (&[0xdd, 0, 0, 0, 1, 1], Value::List(vec![Value::Int(1)])),
        (&[0x81, 0xa1, b'a', 1], Value::map([("a", Value::Int(1))])),
        (&[0xde, 0, 1, 0xa1, b'a', 1], Value::map([("a", Value::Int(1))])),
        (&[0xdf, 0, 0, 0, 1, 0xa1, b'a', 1], Value::map([("a", Value::Int(1))])),
        (&[0xd4, 0, 0], Value::Null),
        (&[0xc7, 0, 0], Value::Null),
        (&[0xd4, 5, 9], Value::Bytes(vec![9])),
        (&[0xd8, 5, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], Value::Bytes((0..16).collect())),
        (&[0xc8, 0, 1, 5, 9], Value::Bytes(vec![9])),
        (&[0xc9, 0, 0, 0, 1, 5, 9], Value::Bytes(vec![9])),
        (&[0xd6, 0xff, 0, 0, 0, 60], Value::Int(60)),
        (&[0xd7, 0xff, 0x77, 0x35, 0x94, 0, 0, 0, 0, 60], Value::Float(60.5)),
        (&[0xc7, 12, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Value::Int(-1)),
    ];
    for (bytes, expected) in cases {
        check_anything(Format::MsgPack, bytes);
        assert_eq!(&decode(Format::MsgPack, bytes), expected, "{bytes:?}");
        for end in 0..bytes.len() {
            assert_eq!(
                fault(Format::MsgPack, &bytes[..end]),
                format!("a value is cut off at byte {}", cut_at(bytes, end))
            );
        }
    }
    assert_eq!(fault(Format::MsgPack, &[0xc1]), "the byte 0xc1, which MessagePack never uses at byte 1");
    assert_eq!(fault(Format::MsgPack, &[0xa2, b'a', 0xff]), "invalid UTF-8 at byte 2");
    assert_eq!(fault(Format::MsgPack, &[0x81, 0x90, 1]), "a list or map as key at byte 2");
    assert_eq!(fault(Format::MsgPack, &[0x81, 0xdc, 0, 0, 1]), "a list or map as key at byte 4");
    assert_eq!(fault(Format::MsgPack, &[0x81, 0xdf, 0, 0, 0, 0, 1]), "a list or map as key at byte 6");
    assert_eq!(fault(Format::MsgPack, &[1, 2]), "more after the value at byte 1");
    assert_eq!(fault(Format::MsgPack, &[0xdf, 0xff, 0xff, 0xff, 0xff]), "a value is cut off at byte 5");
}

/// Where the walk stands when it misses the rest.
fn cut_at(bytes: &[u8], end: usize) -> usize {
    let mut reader = MsgPackReader::new(&bytes[..end]);
    walk(&mut reader, &mut Skip, 0).expect_err("cut off").at
}

#[test]
fn cbor_reads_every_major_type() {
    let cases: &[(&[u8], Value)] = &[
        (&[0x00], Value::Int(0)),
        (&[0x17], Value::Int(23)),
        (&[0x18, 0x18], Value::Int(24)),
        (&[0x19, 1, 0], Value::Int(256)),
        (&[0x1a, 0, 1, 0, 0], Value::Int(65536)),
        (&[0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Value::Uint(u64::MAX)),
        (&[0x20], Value::Int(-1)),
        (&[0x3b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Value::Int(i64::MIN)),
        (&[0x3b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Value::Float(-18446744073709551616.0)),
        (&[0x41, 7], Value::Bytes(vec![7])),
        (&[0x61, b'a'], "a".into()),
        (&[0x78, 1, b'a'], "a".into()),
        (&[0x79, 0, 1, b'a'], "a".into()),
        (&[0x5f, 0x41, 1, 0x42, 2, 3, 0xff], Value::Bytes(vec![1, 2, 3])),
        (&[0x7f, 0x61, b'a', 0x60, 0x61, b'b', 0xff], "ab".into()),
        (&[0x81, 1], Value::List(vec![Value::Int(1)])),
        (&[0x9f, 1, 0x9f, 0xff, 0xff], Value::List(vec![Value::Int(1), Value::List(vec![])])),
        (&[0xa1, 0x61, b'a', 1], Value::map([("a", Value::Int(1))])),
        (&[0xbf, 0x61, b'a', 1, 0xff], Value::map([("a", Value::Int(1))])),
        (&[0xf4], false.into()),
        (&[0xf5], true.into()),
        (&[0xf6], Value::Null),
        (&[0xf7], Value::Null),
        (&[0xf9, 0x3c, 0], Value::Float(1.0)),
        (&[0xf9, 0x00, 0x01], Value::Float(5.960464477539063e-8)),
        (&[0xf9, 0xfc, 0], Value::Float(f64::NEG_INFINITY)),
        (&[0xf9, 0x7b, 0xff], Value::Float(65504.0)),
        (&[0xfa, 0x3f, 0x80, 0, 0], Value::Float(1.0)),
        (&[0xfb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0], Value::Float(1.0)),
        (&[0xc1, 0x18, 60], Value::Int(60)),
        (&[0xd9, 0xd9, 0xf7, 0x81, 1], Value::List(vec![Value::Int(1)])),
        (&[0xc2, 0x42, 1, 0], Value::Int(256)),
        (&[0xc3, 0x42, 1, 0], Value::Int(-257)),
        (&[0xc2, 0x49, 1, 0, 0, 0, 0, 0, 0, 0, 0], Value::Float(18446744073709551616.0)),
        (&[0xc2, 0x5f, 0x41, 1, 0xff], Value::Int(1)),
        (&[0xc3, 0x40], Value::Int(-1)),
    ];
    for (bytes, expected) in cases {
        check_anything(Format::Cbor, bytes);
        assert_eq!(&decode(Format::Cbor, bytes), expected, "{bytes:?}");
        for end in 0..bytes.len() {
            assert!(fault(Format::Cbor, &bytes[..end]).starts_with("a value is cut off"), "{:?}", &bytes[..end]);
        }
    }
    let faults: &[(&[u8], &str)] = &[
        (&[0xff], "an end of nothing at byte 1"),
        (&[0x1f], "an end of nothing at byte 1"),
        (&[0xdf], "an end of nothing at byte 1"),
        (&[0xbf, 0x61, b'a', 0xff], "an end of nothing at byte 4"),
        (&[0x82, 1, 0xff], "an end of nothing at byte 3"),
        (&[0x1c], "a reserved length at byte 1"),
        (&[0xf0], "an unknown simple value at byte 1"),
        (&[0xf8, 0x14], "an unknown simple value at byte 2"),
        (&[0x5f, 0x61, b'a', 0xff], "a chunk of another type at byte 2"),
        (&[0x5f, 0x5f, 0xff, 0xff], "a chunk of another type at byte 2"),
        (&[0x61, 0xff], "invalid UTF-8 at byte 1"),
        // Half a character in each chunk.
        (&[0x7f, 0x61, 0xc3, 0x61, 0xa4, 0xff], "invalid UTF-8 at byte 2"),
        (&[0xa1, 0x80, 1], "a list or map as key at byte 2"),
        (&[0xa1, 0xc1, 0x80, 1], "a list or map as key at byte 3"),
        (&[0x01, 0x01], "more after the value at byte 1"),
        (&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "a value is cut off at byte 9"),
        (&[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "a value is cut off at byte 9"),
        (&[0x7b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "a value is cut off at byte 9"),
        (&[0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "a value is cut off at byte 9"),
    ];
    for (bytes, expected) in faults {
        assert_eq!(&fault(Format::Cbor, bytes), expected, "{bytes:?}");
    }
}
