use bytes::Bytes;

use crate::delivery::outbox::{Full, Outbox, Taken};

fn text(taken: &Taken) -> String {
    let parts = taken.parts.iter().map(|part| &part[..]).chain([&taken.tail[..]]);
    String::from_utf8(parts.collect::<Vec<_>>().concat()).unwrap()
}

#[test]
fn frames_leave_together_in_the_order_in_which_they_came() {
    let mut outbox = Outbox::new(100);
    outbox.push(b"one ").unwrap();
    outbox.push_reply(b"two ");
    outbox.push_shared(Bytes::from_static(b"three "));
    outbox.append(b"four ");
    outbox.reply_with(|out| out.extend_from_slice(b"five"));
    assert_eq!(outbox.bytes(), "one two three four five".len());
    let taken = outbox.take(Vec::new());
    assert_eq!(text(&taken), "one two three four five");
    assert_eq!(taken.bytes(), "one two three four five".len());
    assert!(outbox.is_empty() && text(&outbox.take(Vec::new())).is_empty());
}

#[test]
fn small_frames_share_one_buffer_so_that_they_leave_in_one_write() {
    let mut outbox = Outbox::new(1000);
    (0..50).for_each(|_| outbox.push(b"frame").unwrap());
    let taken = outbox.take(Vec::new());
    assert!(taken.parts.is_empty());
    assert_eq!(taken.tail.len(), 250);
}

#[test]
fn a_shared_frame_is_not_copied() {
    let frame = Bytes::from(vec![7; 100_000]);
    let mut outboxes = [Outbox::new(200_000), Outbox::new(200_000)];
    for outbox in &mut outboxes {
        outbox.push(b"head").unwrap();
        outbox.push_shared(frame.clone());
        let taken = outbox.take(Vec::new());
        assert_eq!(taken.parts[1].as_ptr(), frame.as_ptr());
    }
}

#[test]
fn a_full_outbox_takes_no_event() {
    let mut outbox = Outbox::new(10);
    outbox.push(b"123456").unwrap();
    assert_eq!(outbox.push(b"12345"), Err(Full));
    assert!(outbox.has_room(4) && !outbox.has_room(5));
    outbox.push(b"1234").unwrap();
    assert_eq!(outbox.push(b"1"), Err(Full));
    outbox.take(Vec::new());
    outbox.push(b"12345").unwrap();
}

#[test]
fn an_empty_outbox_takes_one_frame_of_any_size() {
    let mut outbox = Outbox::new(10);
    outbox.push(&[0; 1000]).unwrap();
    assert_eq!(outbox.push(b"1"), Err(Full));
}

#[test]
fn answers_are_never_refused_but_counted_apart() {
    let mut outbox = Outbox::new(10);
    outbox.push(b"1234567890").unwrap();
    outbox.push_reply(b"pong");
    outbox.reply_with(|out| out.extend_from_slice(b"ack"));
    assert_eq!((outbox.bytes(), outbox.reply_bytes()), (17, 7));
    outbox.append_with(|out| out.extend_from_slice(b"call"));
    assert_eq!((outbox.bytes(), outbox.reply_bytes()), (21, 7), "what is no answer does not count as one");
    outbox.take(Vec::new());
    assert_eq!((outbox.bytes(), outbox.reply_bytes()), (0, 0));
}

#[test]
fn a_draft_counts_only_when_it_is_accepted() {
    let mut outbox = Outbox::new(100);
    outbox.push(b"a").unwrap();
    let mark = outbox.mark();
    outbox.draft().extend_from_slice(b"dropped");
    assert_eq!(outbox.bytes(), 1);
    outbox.discard(mark);
    outbox.draft().extend_from_slice(b"head");
    outbox.accept(mark, Some(Bytes::from_static(b"body")));
    assert_eq!(outbox.bytes(), 9);
    assert_eq!(text(&outbox.take(Vec::new())), "aheadbody");
}

#[test]
fn a_packet_identifier_is_written_into_the_frame_that_was_marked() {
    let mut outbox = Outbox::new(100);
    outbox.push(b"....").unwrap();
    let mark = outbox.mark();
    outbox.append(b"[__]");
    outbox.append(b"....");
    outbox.patch(mark + 1, 0x4142);
    assert_eq!(text(&outbox.take(Vec::new())), "....[AB]....");
}

#[test]
fn the_spare_buffer_is_used_again() {
    let mut outbox = Outbox::new(1000);
    let mut spare = Vec::with_capacity(500);
    spare.extend_from_slice(b"written already");
    let address = spare.as_ptr();
    outbox.take(spare);
    outbox.push(b"new").unwrap();
    let taken = outbox.take(Vec::new());
    assert_eq!((text(&taken).as_str(), taken.tail.as_ptr()), ("new", address));
}

#[test]
fn clearing_forgets_everything() {
    let mut outbox = Outbox::new(10);
    outbox.push_shared(Bytes::from_static(b"12345678"));
    outbox.push_reply(b"12345");
    outbox.clear();
    assert_eq!((outbox.bytes(), outbox.reply_bytes()), (0, 0));
    assert_eq!(text(&outbox.take(Vec::new())), "");
}
