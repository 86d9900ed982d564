use crate::load::{Fed, Sink, Source};
use crate::payload::{self, Shape};
use crate::tracker::{Faults, Tracker};
use crate::wamp_load::*;
use crate::websocket::mask;

/// The messages in masked frames, and the keys that these used.
fn unmask(mut frames: &[u8]) -> (Vec<serde_json::Value>, Vec<[u8; 4]>) {
    let (mut messages, mut keys) = (Vec::new(), Vec::new());
    while let [0x81, length, k0, k1, k2, k3, rest @ ..] = frames {
        let (body, rest) = rest.split_at(usize::from(length & 0x7F));
        let (mut body, key) = (body.to_vec(), [*k0, *k1, *k2, *k3]);
        mask(&mut body, key, 0);
        messages.push(serde_json::from_slice(&body).unwrap());
        keys.push(key);
        frames = rest;
    }
    assert!(frames.is_empty());
    (messages, keys)
}

#[test]
fn requests_count_from_one_through_all_widths() {
    for (shape, request, code) in [(Shape::Text, Request::Publish, 16), (Shape::Json, Request::Call, 48)] {
        let mut source = WampSource::new(0, request, "bench.0", shape);
        let mut next = 0;
        while next < 12_000 {
            assert!(source.fill(2500) > 0);
            for message in unmask(source.bytes()).0 {
                let mut payload = shape.template(0);
                payload[shape.mark_at()..shape.mark_at() + 16].copy_from_slice(&payload::mark(0, next));
                let argument: serde_json::Value = serde_json::from_slice(&shape.wamp_argument(&payload)).unwrap();
                assert_eq!(message, serde_json::json!([code, next + 1, {}, "bench.0", [argument]]));
                next += 1;
            }
        }
    }
}

#[test]
fn neighbouring_frames_have_different_keys() {
    let mut source = WampSource::new(0, Request::Publish, "bench.0", Shape::Text);
    source.fill(9);
    let (_, keys) = unmask(source.bytes());
    assert!(keys.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn an_invocation_is_answered_with_its_argument() {
    for shape in [Shape::Text, Shape::Json] {
        let argument = String::from_utf8(shape.wamp_argument(&shape.template(0))).unwrap();
        let body = format!(r#"[68,4711,12,{{}},[{argument}]]"#);
        let frame = [&[0x81, body.len() as u8], body.as_bytes()].concat();
        let (mut replies, mut tracker) = (Vec::new(), Tracker::new(1));
        let consumed = WampSink::new(shape).feed(&frame, &mut replies, &mut tracker).unwrap();
        assert_eq!((consumed, tracker.faults(&[1])), (frame.len(), Faults::default()));
        let argument: serde_json::Value = serde_json::from_str(&argument).unwrap();
        assert_eq!(unmask(&replies).0, [serde_json::json!([70, 4711, {}, [argument]])]);
    }
}

#[test]
fn results_complete_calls_and_an_error_ends_the_run() {
    let mut source = WampSource::new(0, Request::Call, "bench.echo", Shape::Text);
    source.fill(1);
    let result = format!(r#"[50,1,{{}},["{}"]]"#, String::from_utf8_lossy(&Shape::Text.template(0)));
    let frame = [&[0x81, result.len() as u8], result.as_bytes()].concat();
    let fed = source.feed(&frame, &mut Vec::new()).unwrap();
    assert_eq!((fed, source.faults()), (Fed { consumed: frame.len(), acked: 1 }, Faults::default()));
    let error = br#"[8,48,1,{},"wamp.error.no_such_procedure"]"#;
    let frame = [&[0x81, error.len() as u8], &error[..]].concat();
    assert!(source.feed(&frame, &mut Vec::new()).unwrap_err().to_string().contains("no_such_procedure"));
}
