use crate::payload::*;

#[test]
fn every_number_is_read_as_it_was_written() {
    for value in [0, 1, 15, 16, 0xABCD, 0x1234_5678, u32::MAX] {
        assert_eq!(number(letters(value)), Some(value));
    }
    assert_eq!(&letters(0x21), b"bcaaaaaa");
}

#[test]
fn letters_out_of_the_alphabet_are_no_number() {
    for strange in [b'`', b'q', b'.', b'A', 0, 0xFF] {
        assert_eq!(number([b'a', b'a', strange, b'a', b'a', b'a', b'a', b'a']), None, "{strange}");
    }
}

#[test]
fn a_mark_is_found_wherever_ids_push_it() {
    let mut finder = Finder::default();
    for shape in [Shape::Text, Shape::Json] {
        for prefix in ["", "[36,1,2,{},[", "[36,1234567,2,{},["] {
            let packet = [prefix.as_bytes(), &shape.template(513), b"]]"].concat();
            let at = prefix.len() + shape.mark_at();
            assert_eq!(finder.find(&packet), Some(Mark { publisher: 513, sequence: 0, at }));
        }
    }
    assert_eq!(finder.find(b"fen:aaaaaaaaaaa"), None);
    assert_eq!(finder.find(b""), None);
}

#[test]
fn json_payload_is_json_of_the_right_size() {
    let object: serde_json::Value = serde_json::from_slice(&Shape::Json.template(3)).unwrap();
    assert!(object["v"].as_str().unwrap().starts_with("fen:daaa"));
}
