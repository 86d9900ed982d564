//! What becomes of what is sent: over an open link, a full one, a new one.

use super::*;

fn line(outbox_bytes_max: usize) -> Line {
    let limits = LinkLimits { outbox_bytes_max, frame_bytes_max: 100_000, requests_max: 2, ..LinkLimits::default() };
    Line::new(limits)
}

fn reply(bytes: usize) -> Frame {
    Frame::Reply { id: 1, body: vec![7; bytes].into() }
}

fn ask(line: &Line) -> Result<oneshot::Receiver<Bytes>, NotSent> {
    line.ask(NodeId::entry("E1"), NodeId::storage("N1"), Bytes::new())
}

#[test]
fn nothing_is_sent_without_a_link_and_nothing_is_left_for_the_next() {
    let line = line(1000);
    assert_eq!(line.send(reply(1)), Err(NotSent::NotConnected));
    line.open();
    line.send(reply(1)).unwrap();
    line.close();
    line.open();
    assert!(line.take(Vec::new()).is_none());
}

#[test]
fn large_bodies_are_written_from_where_they_lie() {
    let line = line(1_000_000);
    line.open();
    let body = Bytes::from(vec![7; SHARE_BYTES_MIN]);
    line.send(reply(5)).unwrap();
    line.send(Frame::Reply { id: 1, body: body.clone() }).unwrap();
    line.send(reply(5)).unwrap();
    let taken = line.take(Vec::new()).unwrap();
    assert_eq!(taken.parts.len(), 2, "small frames with the next one's head, then a body");
    assert_eq!(taken.parts[1].as_ptr(), body.as_ptr());
    assert_eq!(taken.bytes(), line.waiting_bytes());
}

#[test]
fn a_full_outbox_of_which_nothing_is_taken_ends_the_link() {
    let line = line(1000);
    line.open();
    line.send(reply(3000)).unwrap();
    let later = || Instant::now() + line.limits.outbox_full;
    assert!(!line.is_stuck(later()), "one frame of any size is nothing");
    line.send(reply(1)).unwrap();
    assert!(!line.is_stuck(Instant::now()) && line.is_stuck(later()));
    let taken = line.take(Vec::new()).unwrap().bytes();
    assert!(line.is_stuck(later()), "what is taken from here is not taken there");
    let before = Instant::now();
    line.left(taken - 1500);
    assert!(!line.is_stuck(before + line.limits.outbox_full), "the peer is slow, but takes something");
    assert!(line.is_stuck(later()));
    line.left(taken - 2500);
    assert!(!line.is_stuck(later()));
}

#[test]
fn an_outbox_that_is_far_too_full_ends_the_link_at_once() {
    for large in [0, 50_000] {
        let line = line(1000);
        line.open();
        line.send(reply(large)).unwrap();
        let sent = (0..30).take_while(|_| line.send(reply(100)).is_ok()).count();
        assert!((15..=20).contains(&sent), "{sent}");
        assert_eq!(line.send(reply(1)), Err(NotSent::Full));
        assert!(line.is_stuck(Instant::now()));
        line.close();
        line.open();
        assert!(!line.is_stuck(Instant::now()), "a new link begins empty");
    }
}

#[test]
fn a_frame_that_cannot_be_said_ends_the_link_and_nothing_is_sent_behind_it() {
    for send in [Line::send, Line::queue] {
        let line = line(1000);
        line.open();
        line.send(reply(1)).unwrap();
        let before = line.waiting_bytes();
        assert!(matches!(send(&line, reply(100_000)), Err(NotSent::Frame(FrameError::TooLong { .. }))));
        assert!(line.is_stuck(Instant::now()));
        assert_eq!(send(&line, reply(1)), Err(NotSent::Full));
        assert_eq!(line.take(Vec::new()).unwrap().bytes(), before, "what was sent before it is written");
        line.close();
        line.open();
        assert!(!line.is_stuck(Instant::now()) && send(&line, reply(1)).is_ok());
    }
}

#[test]
fn what_may_be_dropped_and_is_too_long_is_refused_and_the_link_stays() {
    let line = line(1000);
    line.open();
    assert!(matches!(line.offer(reply(100_000)), Err(NotSent::Frame(FrameError::TooLong { .. }))));
    assert!(line.take(Vec::new()).is_none() && !line.is_stuck(Instant::now()));
}

#[test]
fn behind_what_found_no_room_nothing_is_sent_until_the_link_is_another() {
    let line = line(1000);
    line.open();
    while line.send(reply(100)).is_ok() {}
    line.take(Vec::new()).unwrap();
    line.left(0);
    assert_eq!(line.send(reply(1)), Err(NotSent::Full));
    assert!(line.is_stuck(Instant::now()));
}

#[test]
fn requests_are_answered_once_or_fail_with_their_link() {
    let line = line(1000);
    line.open();
    let (mut first, mut second) = (ask(&line).unwrap(), ask(&line).unwrap());
    assert_eq!(ask(&line).unwrap_err(), NotSent::TooManyRequests);
    line.replied(0, Some(Bytes::from_static(b"a")));
    line.replied(0, Some(Bytes::from_static(b"b")));
    assert_eq!(first.try_recv(), Ok(Bytes::from_static(b"a")));
    line.close();
    assert!(second.try_recv().is_err());
    line.open();
    let mut third = ask(&line).unwrap();
    line.replied(2, None);
    assert_eq!(third.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    drop((ask(&line).unwrap(), ask(&line).unwrap()));
    assert!(ask(&line).is_ok(), "requests that were given up do not count");
}

#[test]
fn a_reply_to_a_request_of_an_earlier_link_is_dropped() {
    let line = line(1000);
    let life = line.open();
    line.close();
    line.open();
    line.reply(life, 1, Some(Bytes::from_static(b"late")));
    assert!(line.take(Vec::new()).is_none());
    line.reply(life + 1, 1, Some(vec![7; 200_000].into()));
    let taken = line.take(Vec::new()).unwrap();
    let mut expected = Vec::new();
    Frame::NoReply { id: 1 }.encode(&mut expected, 1000).unwrap();
    assert_eq!(taken.tail, expected, "a reply that is too long is none");
}
