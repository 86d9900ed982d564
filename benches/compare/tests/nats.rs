use crate::load::{Fed, Source};
use crate::nats::NatsSource;
use crate::payload::{Shape, letters};
use crate::tracker::Faults;

fn acknowledgement(number: u32) -> Vec<u8> {
    let letters = String::from_utf8(letters(number).to_vec()).unwrap();
    let body = format!("{{\"stream\":\"BENCH\", \"seq\":{}}}", number + 1);
    format!("MSG _INBOX.2.{letters} 1 {}\r\n{body}\r\n", body.len()).into_bytes()
}

#[test]
fn a_publish_names_its_payload_and_where_its_acknowledgement_goes() {
    let mut source = NatsSource::new(2, Shape::Text);
    source.fill(2);
    let packet = source.bytes()[source.bytes().len() / 2..].to_vec();
    let text = String::from_utf8(packet).unwrap();
    let (head, rest) = text.split_once("\r\n").unwrap();
    assert_eq!(head, "PUB bench.2 _INBOX.2.baaaaaaa 64");
    assert_eq!((rest.len(), &rest[64..]), (66, "\r\n"));
}

#[test]
fn acknowledgements_are_counted_whole_and_in_order() {
    let mut source = NatsSource::new(2, Shape::Text);
    source.fill(3);
    let input = [acknowledgement(0), b"PING\r\n".to_vec(), acknowledgement(1)].concat();
    for cut in 0..input.len() {
        let mut source = NatsSource::new(2, Shape::Text);
        let mut replies = Vec::new();
        let first = source.feed(&input[..cut], &mut replies).unwrap();
        let second = source.feed(&input[first.consumed..], &mut replies).unwrap();
        assert_eq!((first.acked + second.acked, first.consumed + second.consumed), (2, input.len()), "{cut}");
        assert_eq!((&replies[..], source.faults()), (&b"PONG\r\n"[..], Faults::default()), "{cut}");
    }
    let routed = b"MSG _INBOX.2.aaaaaaaa 1  27\r\n{\"stream\":\"BENCH\", \"seq\":1}\r\n";
    assert_eq!(NatsSource::new(2, Shape::Text).feed(routed, &mut Vec::new()).unwrap().acked, 1);
    let mut replies = Vec::new();
    assert_eq!(source.feed(&acknowledgement(1), &mut replies).unwrap().acked, 1);
    assert_eq!(source.faults().acks_reordered, 1);
}

#[test]
fn a_message_that_is_not_stored_ends_the_run() {
    let mut source = NatsSource::new(2, Shape::Text);
    let refused = b"MSG _INBOX.2.aaaaaaaa 1 14\r\n{\"error\":{...}}"[..42].to_vec();
    let refused = [&refused[..], b"\r\n"].concat();
    assert!(source.feed(&refused, &mut Vec::new()).is_err());
    assert_eq!(source.feed(b"", &mut Vec::new()).unwrap(), Fed::default());
    assert!(source.feed(b"-ERR 'no'\r\n", &mut Vec::new()).is_err());
}
