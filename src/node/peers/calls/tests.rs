use super::frame::{Caller, NotesRow, write};
use super::*;
use crate::router::output::{InterruptMode, InvocationPolicy};
use crate::router::rules::Disclosure;
use crate::types::passthru::{Attribute, Passthru};
use crate::types::payload::Format;

const LIVES: Lives = Lives { own: 1, peer: u64::MAX };

fn call(caller: Caller<'_>) -> What<'_> {
    What::Call {
        procedure: "app/add",
        pattern: "exact:app.add".to_owned(),
        policy: InvocationPolicy::RoundRobin,
        caller,
        disclose_me: true,
        receive_progress: false,
        progress: true,
        timeout_ms: 70_000,
        notes: NotesRow {
            passthru: passthru(),
            takes_passthru: true,
            trust: Some(3),
            disclosure: Disclosure::Forced,
            resource_key: Some("sn1"),
        },
    }
}

fn passthru() -> Option<Passthru> {
    Passthru::new([(Attribute::PptScheme, "x_own".to_owned())])
}

fn all() -> Vec<What<'static>> {
    vec![
        call((9, Some("joe"), None)),
        What::Interrupt { mode: InterruptMode::Kill, why: Refusal::Timeout },
        What::More { progress: true, passthru: passthru() },
        What::Result { progress: true, passthru: None },
        What::Failed { uri: "app.error", passthru: passthru() },
        What::Refused { why: Refusal::TooManyCallsBetweenEntries },
        What::Returned {
            why: Refusal::NoAvailableCallee,
            procedure: "app/add",
            caller: (9, None, Some("user")),
            disclose_me: false,
            timeout_ms: 1,
            notes: NotesRow::default(),
        },
        What::TakeOver { pattern: "prefix:app.".to_owned(), authid: "joe", client_id: Some("c1") },
    ]
}

fn payloads() -> Vec<PayloadRef<'static>> {
    let mut all = vec![PayloadRef::NONE, PayloadRef::Bytes(b"bytes")];
    for format in [Format::Json, Format::MsgPack, Format::Cbor] {
        for (args, kwargs) in
            [(None, None), (Some(&b"[1]"[..]), None), (None, Some(&b"{}"[..])), (Some(b""), Some(b"x"))]
        {
            all.push(PayloadRef::Args { format, args, kwargs });
        }
    }
    all
}

fn same(a: PayloadRef<'_>, b: PayloadRef<'_>) -> bool {
    format!("{a:?}") == format!("{b:?}")
}

#[test]
fn a_frame_is_read_as_it_was_written() {
    for what in all() {
        for payload in payloads() {
            let frame = write(LIVES, "realm1", 7, what.clone(), payload);
            let opened = Opened::read(&frame).unwrap();
            assert_eq!((opened.lives, opened.head.realm, opened.head.id), (LIVES, "realm1", 7));
            assert_eq!(opened.head.what, what);
            assert!(same(opened.payload.unwrap(), payload), "{payload:?}");
        }
    }
}

#[test]
fn a_payload_is_not_encoded_anew() {
    let args = [0x81, 0xf9, 0x3c, 0x00];
    let payload = PayloadRef::Args { format: Format::Cbor, args: Some(&args), kwargs: None };
    let frame = write(LIVES, "realm1", 7, call((9, None, None)), payload);
    assert!(frame.ends_with(&args));
}

#[test]
fn a_frame_that_was_cut_tells_what_got_lost() {
    for what in all() {
        let frame = cut(&write(LIVES, "realm1", 7, what.clone(), PayloadRef::Bytes(b"bytes")));
        let opened = Opened::read(&frame).unwrap();
        assert_eq!((opened.head.what, opened.payload.is_none()), (what, true));
    }
    assert!(cut(&Bytes::from_static(b"no frame")).is_empty());
}

#[test]
fn bytes_that_are_no_frame_are_refused_and_nothing_panics() {
    let frame = write(LIVES, "realm1", 7, call((9, Some("joe"), Some("user"))), PayloadRef::Bytes(b"bytes"));
    let whole_without = cut(&frame).len();
    for len in (0..frame.len()).filter(|len| *len != whole_without) {
        assert!(Opened::read(&frame[..len]).is_err(), "{len} bytes");
    }
    for at in 0..frame.len() {
        for byte in [0, 0x7f, 0xc1, 0xff] {
            let mut other = frame.to_vec();
            other[at] = byte;
            let _ = Opened::read(&other);
        }
    }
}
