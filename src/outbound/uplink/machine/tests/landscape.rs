//! The example of Landscape's own description of its exchange.

use crate::outbound::uplink::machine::numbering::{Item, Numbering, Verdict};
use crate::outbound::uplink::machine::wire::Ack;

const NOW_MS: u64 = 1000;

/// The letters of the first so many that are ahead.
fn batch(numbering: &Numbering, count: usize) -> String {
    let letter = |item: &Item| match item {
        Item::Event(number) => char::from(b'A' + *number as u8 - 1),
        other => panic!("{other:?}"),
    };
    numbering.ahead().iter().take(count).map(letter).collect()
}

#[test]
fn ten_messages_a_to_j_as_landscape_tells_it() {
    let mut numbering = Numbering::default();
    assert!(matches!(numbering.hear(Ack::default(), NOW_MS), Verdict::Resync(_)));
    (1..=10).for_each(|number| numbering.add(Item::Event(number)));
    let epoch = numbering.epoch();
    let state = |numbering: &Numbering| (numbering.sequence(), numbering.pending_offset());
    assert_eq!(state(&numbering), (0, 0));

    // A batch of three is accepted. It is kept: the peer might still lose it.
    assert_eq!(batch(&numbering, 3), "ABC");
    assert_eq!(numbering.hear(Ack { epoch, next: 3 }, NOW_MS), Verdict::Accepted(3));
    assert_eq!(state(&numbering), (3, 3));

    // A batch of five is accepted: two in a row, so the first may go.
    assert_eq!(batch(&numbering, 5), "DEFGH");
    assert_eq!(numbering.hear(Ack { epoch, next: 8 }, NOW_MS), Verdict::Accepted(5));
    assert_eq!(state(&numbering), (8, 5));

    // The last two are sent; the peer answers with a number inside the second batch.
    assert_eq!(batch(&numbering, 3), "IJ");
    assert_eq!(numbering.hear(Ack { epoch, next: 6 }, NOW_MS), Verdict::Rewound(2));
    assert_eq!(state(&numbering), (6, 3));

    // The stream goes on there, and all of it arrives.
    assert_eq!(batch(&numbering, 10), "GHIJ");
    assert_eq!(numbering.hear(Ack { epoch, next: 10 }, NOW_MS), Verdict::Accepted(4));
    assert_eq!(state(&numbering), (10, 4));
    assert_eq!(batch(&numbering, 10), "");
}
