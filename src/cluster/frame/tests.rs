//! Frames survive the way; whatever else comes is an error and never a panic.

use proptest::prelude::*;

use super::*;
use crate::queue::envelope::{Draft, Elected, Refusal, Resolution, SegmentId};

const BYTES_MAX: usize = 1 << 20;

fn id() -> SegmentId {
    SegmentId { segment: u64::MAX, entry: NodeId::entry("E1"), incarnation: 7 }
}

fn envelope(message: RoleMessage) -> Frame {
    Frame::Envelope(Envelope { from: NodeId::entry("E1"), to: NodeId::storage("N1"), message })
}

fn keep(body: &[u8]) -> Frame {
    envelope(RoleMessage::KeepAdvanceHistory { id: id(), offset: 1, count: 1, body: Bytes::copy_from_slice(body) })
}

/// A frame of each kind, and of each place a body can be in.
fn frames(body: &[u8]) -> Vec<Frame> {
    let body = Bytes::copy_from_slice(body);
    let draft = Draft { id: id(), slot: 0, count: 3, digest: u64::MAX, previous: 0 };
    let resolution = Resolution { first: 1, results: body.clone() };
    vec![
        keep(&body),
        envelope(RoleMessage::AdvanceSegmentResolved { id: id(), position: 1, resolution, heard: 1, room: true }),
        envelope(RoleMessage::Feed { position: 1, segment: body.clone() }),
        envelope(RoleMessage::Body { draft: draft.clone(), body: body.clone() }),
        envelope(RoleMessage::CopyPart { number: 3, part: body.clone(), last: None }),
        envelope(RoleMessage::AdvanceSegmentRefused { id: id(), why: Refusal::Cut }),
        envelope(RoleMessage::ElectSegment { position: 1, elected: Elected::Segment(draft) }),
        Frame::Request { id: 1, from: NodeId::entry("E1"), to: NodeId::sync("S1"), body: body.clone() },
        Frame::Reply { id: u64::MAX, body },
        Frame::NoReply { id: 1 },
        Frame::Ping { at_us: 1 },
        Frame::Pong { at_us: u64::MAX },
    ]
}

fn bytes_of(frame: Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    let body = frame.encode(&mut bytes, BYTES_MAX).unwrap();
    bytes.extend_from_slice(&body);
    bytes
}

/// All frames of the input, and how many bytes are left.
fn read_all(input: &Bytes) -> Result<(Vec<Frame>, usize), FrameError> {
    let (mut rest, mut frames) = (input.clone(), Vec::new());
    while let Front::Whole { head, end } = front(&rest, BYTES_MAX)? {
        frames.push(Frame::decode(&rest, head, end)?);
        rest = rest.slice(end..);
    }
    Ok((frames, rest.len()))
}

#[test]
fn frames_come_as_they_were_sent() {
    for body in [&b""[..], b"\x00\xff", &[7; 70_000]] {
        let sent = frames(body);
        let bytes: Vec<u8> = sent.iter().cloned().flat_map(bytes_of).collect();
        assert_eq!(read_all(&bytes.into()), Ok((sent, 0)));
    }
}

#[test]
fn a_large_body_is_not_copied_and_a_small_one_keeps_nothing_else() {
    let is_within = |input: &Bytes, body: &Bytes| input.as_ptr_range().contains(&body.as_ptr());
    let body_of = |input: &Bytes| match read_all(input).unwrap().0.remove(0) {
        Frame::Reply { body, .. } => body,
        other => panic!("{other:?}"),
    };
    let reply = |body: &[u8]| bytes_of(Frame::Reply { id: 1, body: Bytes::copy_from_slice(body) });
    let large = Bytes::from(reply(&[7; SHARE_BYTES_MIN]));
    assert!(is_within(&large, &body_of(&large)));
    let small = Bytes::from(reply(&[7; SHARE_BYTES_MIN - 1]));
    assert!(!is_within(&small, &body_of(&small)));
}

#[test]
fn a_frame_in_parts_is_waited_for() {
    let bytes = bytes_of(keep(&[7; 100]));
    for cut in 0..bytes.len() {
        let needs = if cut < HEADER_BYTES { 0 } else { bytes.len() };
        assert_eq!(front(&bytes[..cut], BYTES_MAX), Ok(Front::Part { needs }), "{cut}");
    }
}

#[test]
fn a_frame_longer_than_the_bound_is_refused_by_its_header_alone() {
    let header = |head: u32, body: u32| [head.to_le_bytes(), body.to_le_bytes()].concat();
    let too_long = |bytes, bytes_max| Err(FrameError::TooLong { bytes, bytes_max });
    assert_eq!(front(&header(100, 3997), 4096), too_long(4097, 4096));
    assert_eq!(front(&header(100, 3996), 4096), Ok(Front::Part { needs: 4104 }));
    assert_eq!(front(&header(u32::MAX, u32::MAX), usize::MAX), too_long(u32::MAX.into(), HEAD_BYTES_MAX));
    assert_eq!(front(&header(u32::MAX, u32::MAX), 1 << 30), too_long(2 * u64::from(u32::MAX), 1 << 30));
}

#[test]
fn a_frame_that_the_peer_would_refuse_is_not_sent() {
    let mut bytes = b"before".to_vec();
    let refused = keep(&[7; 5000]).encode(&mut bytes, 4096);
    assert!(matches!(refused, Err(FrameError::TooLong { bytes: 5001.., bytes_max: 4096 })), "{refused:?}");
    assert_eq!(bytes, b"before");
}

#[test]
fn a_body_where_none_can_be_is_an_error() {
    let mut bytes = bytes_of(Frame::NoReply { id: 1 });
    bytes[4] = 1;
    bytes.push(7);
    let error = read_all(&bytes.into()).unwrap_err();
    assert_eq!(error.to_string(), "a frame that is none: it has a body too many");
}

proptest! {
    #[test]
    fn any_bytes_are_a_frame_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_all(&bytes.clone().into());
        // As the head of a frame, too: random bytes are seldom a header that makes sense.
        let header = [(bytes.len() as u32).to_le_bytes(), [0; 4]].concat();
        let _ = read_all(&[header, bytes].concat().into());
    }

    #[test]
    fn a_damaged_frame_is_another_or_an_error(
        which in 0..10usize,
        at in any::<proptest::sample::Index>(),
        to in any::<u8>(),
    ) {
        let mut bytes = bytes_of(frames(b"body").swap_remove(which));
        let at = at.index(bytes.len());
        bytes[at] = to;
        let _ = read_all(&bytes.into());
    }

    #[test]
    fn however_the_stream_is_cut_the_frames_are_the_same(
        bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 1..5),
        cuts in proptest::collection::vec(1..40usize, 1..20),
    ) {
        let sent: Vec<Frame> = bodies.iter().flat_map(|body| frames(body)).collect();
        let stream: Vec<u8> = sent.iter().cloned().flat_map(bytes_of).collect();
        let (mut kept, mut found, mut at) = (Vec::new(), Vec::new(), 0);
        for cut in cuts.iter().cycle() {
            let end = (at + cut).min(stream.len());
            kept.extend_from_slice(&stream[at..end]);
            at = end;
            let input = Bytes::from(std::mem::take(&mut kept));
            let (frames, left) = read_all(&input).unwrap();
            found.extend(frames);
            kept = input[input.len() - left..].to_vec();
            if at == stream.len() {
                break;
            }
        }
        prop_assert_eq!(found, sent);
        prop_assert!(kept.is_empty());
    }
}

/// Segments and parts of copies may be longer than heads are.
#[test]
fn a_large_body_passes_in_each_place_that_bodies_have() {
    let large = vec![7; HEAD_BYTES_MAX + 1];
    for frame in frames(&large) {
        let kind = format!("{frame:.20?}");
        assert!(frame.encode(&mut Vec::new(), 2 * HEAD_BYTES_MAX).is_ok(), "{kind}");
    }
}
