//! A link over a pipe: what comes through, and what ends it.

use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::cluster::line::{LinkLimits, NotSent};
use crate::queue::envelope::{Envelope, RoleMessage};

const PIPE_BYTES: usize = 64 * 1024;

fn e1() -> NodeId {
    NodeId::entry("E1")
}

fn n1() -> NodeId {
    NodeId::storage("N1")
}

/// One side: a process that plays one node.
struct Side {
    ends: Ends,
    inbox: Arc<Inbox>,
    life: u64,
}

fn side(own: NodeId, there: NodeId, limits: &LinkLimits, inbox_bytes: usize) -> Side {
    let inbox = Inbox::new(inbox_bytes);
    let line = Arc::new(Line::new(limits.clone()));
    let life = line.open();
    let ends = Ends { there: vec![there].into(), here: vec![(own, inbox.clone())].into(), line };
    Side { ends, inbox, life }
}

fn pair(limits: &LinkLimits, inbox_bytes: usize) -> (Side, Side) {
    (side(e1(), n1(), limits, inbox_bytes), side(n1(), e1(), limits, inbox_bytes))
}

fn keep(offset: u32, bytes: usize) -> Frame {
    let id = crate::queue::envelope::SegmentId { segment: 1, entry: e1(), incarnation: 1 };
    let message = RoleMessage::KeepAdvanceHistory { id, offset, count: 1, body: vec![offset as u8; bytes].into() };
    Frame::Envelope(Envelope { from: e1(), to: n1(), message })
}

/// Offset and length of each body that waits, all of which must be whole.
fn kept(inbox: &Inbox) -> Vec<(u32, usize)> {
    let events = inbox.take(Some(Duration::ZERO)).unwrap();
    let one = |event| match event {
        Event::Envelope(Envelope { message: RoleMessage::KeepAdvanceHistory { offset, body, .. }, .. }) => {
            assert!(body.iter().all(|byte| *byte == offset as u8));
            (offset, body.len())
        }
        other => panic!("{other:?}"),
    };
    events.into_iter().map(one).collect()
}

async fn never() -> Ended {
    std::future::pending().await
}

/// Runs both sides until both have ended; `first` ends when `until` is ready.
async fn run_both(a: &Side, b: &Side, until: impl Future<Output = Ended>) -> (Ended, Ended) {
    let (a_io, b_io) = duplex(PIPE_BYTES);
    tokio::join!(run(a_io, &a.ends, a.life, until), run(b_io, &b.ends, b.life, never()))
}

async fn stop() -> Ended {
    Ended::Stopped
}

/// Runs one side against whatever `other` does with the other end.
async fn run_against<F: Future<Output = DuplexStream>>(
    side: &Side,
    other: impl FnOnce(DuplexStream) -> F,
) -> (Ended, DuplexStream) {
    let (io, far) = duplex(PIPE_BYTES);
    tokio::join!(run(io, &side.ends, side.life, never()), other(far))
}

fn bytes_of(frame: Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    let body = frame.encode(&mut bytes, usize::MAX).unwrap();
    bytes.extend_from_slice(&body);
    bytes
}

#[tokio::test]
async fn frames_of_all_sizes_arrive_in_order_before_a_link_ends_in_peace() {
    let (a, b) = pair(&LinkLimits::default(), usize::MAX);
    let sizes = [0, 1, 100, 16 * 1024 - 1, 16 * 1024, 70_000, 5, 300_000, 7];
    let sent: Vec<(u32, usize)> = (1..).zip(sizes.into_iter().cycle().take(500)).collect();
    sent.iter().for_each(|(offset, bytes)| a.ends.line.send(keep(*offset, *bytes)).unwrap());
    let (ended, other) = run_both(&a, &b, stop()).await;
    assert!(matches!((ended, other), (Ended::Stopped, Ended::Closed)));
    assert_eq!(kept(&b.inbox), sent);
    assert_eq!(a.ends.line.waiting_bytes(), 0);
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let (a, b) = (&a.ends.line.counters, &b.ends.line.counters);
    assert_eq!(count(&a.bytes_out), count(&b.bytes_in));
    assert!(count(&b.frames_in) >= 500 && count(&b.frames_in) == count(&a.frames_out));
}

#[tokio::test]
async fn questions_are_answered_over_the_link() {
    let (a, b) = pair(&LinkLimits::default(), usize::MAX);
    let ask = |text: &'static str| a.ends.line.ask(e1(), n1(), Bytes::from_static(text.as_bytes())).unwrap();
    let (good, dropped) = (ask("good"), ask("dropped"));
    let answers = async {
        let (mut answered, mut seen) = (0, 0);
        while seen < 2 {
            tokio::task::yield_now().await;
            for event in b.inbox.take(Some(Duration::ZERO)).unwrap() {
                let Event::Request { from, body, answer } = event else { panic!("{event:?}") };
                assert_eq!(from, e1());
                seen += 1;
                if body == "good" {
                    answer.reply(Bytes::from_static(b"yes"));
                    answered += 1;
                }
            }
        }
        answered
    };
    let until = async {
        assert_eq!(answers.await, 1);
        assert_eq!((good.await.unwrap(), dropped.await.is_err()), (Bytes::from_static(b"yes"), true));
        Ended::Stopped
    };
    run_both(&a, &b, until).await;
}

#[tokio::test]
async fn pings_measure_the_way() {
    let (a, b) = pair(&LinkLimits::default(), usize::MAX);
    let until = async {
        while a.ends.line.counters.rtt_us.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        Ended::Stopped
    };
    run_both(&a, &b, until).await;
}

#[tokio::test]
async fn a_frame_that_is_too_long_ends_the_link() {
    let limits = LinkLimits { frame_bytes_max: 1000, ..LinkLimits::default() };
    let (a, _) = pair(&limits, usize::MAX);
    let (ended, _far) = run_against(&a, |mut far| async {
        far.write_all(&[1, 0, 0, 0, 0xe8, 3, 0, 0]).await.unwrap();
        far
    })
    .await;
    assert_eq!(ended.to_string(), "a frame of 1001 bytes, more than the 1000 that are taken has come");
}

#[tokio::test]
async fn what_is_no_frame_ends_the_link_and_what_came_before_counts() {
    let (_, b) = pair(&LinkLimits::default(), usize::MAX);
    let (ended, _far) = run_against(&b, |mut far| async {
        far.write_all(&[bytes_of(keep(1, 10)), vec![1, 0, 0, 0, 0, 0, 0, 0, 0xc1]].concat()).await.unwrap();
        far
    })
    .await;
    assert!(matches!(ended, Ended::Frame(FrameError::Malformed(_))), "{ended:?}");
    assert_eq!(kept(&b.inbox), [(1, 10)]);
}

#[tokio::test]
async fn nobody_speaks_for_another_process() {
    let (_, mut b) = pair(&LinkLimits::default(), usize::MAX);
    b.ends.there = vec![NodeId::sync("S1")].into();
    let send = |mut far: DuplexStream| async {
        far.write_all(&bytes_of(keep(1, 10))).await.unwrap();
        far
    };
    let (ended, _far) = run_against(&b, send).await;
    assert!(matches!(&ended, Ended::NotItsNode(node) if *node == e1()), "{ended:?}");
    b.ends.there = vec![e1()].into();
    b.ends.here = vec![(NodeId::sync("S1"), b.inbox.clone())].into();
    let (ended, _far) = run_against(&b, send).await;
    assert!(matches!(&ended, Ended::NotOurNode(node) if *node == n1()), "{ended:?}");
    assert_eq!(kept(&b.inbox), []);
}

#[tokio::test]
async fn a_silent_link_is_dead() {
    let limits = LinkLimits {
        ping_every: Duration::from_millis(10),
        silence: Duration::from_millis(30),
        ..LinkLimits::default()
    };
    let (a, _) = pair(&limits, usize::MAX);
    let (ended, far) = run_against(&a, |far| async { far }).await;
    assert!(matches!(ended, Ended::Silent(_)), "{ended:?}");
    drop(far);
}

#[tokio::test]
async fn a_link_that_is_not_read_is_stuck_and_not_silent() {
    let limits = LinkLimits {
        ping_every: Duration::from_millis(20),
        silence: Duration::from_millis(500),
        outbox_bytes_max: 1000,
        outbox_full: Duration::from_millis(1200),
        ..LinkLimits::default()
    };
    // The role of the other side takes nothing.
    let (a, b) = pair(&limits, 1);
    let fill = async {
        for offset in 1.. {
            match a.ends.line.send(keep(offset, 500)) {
                Ok(()) if a.ends.line.waiting_bytes() < 1500 => tokio::task::yield_now().await,
                Ok(()) => break,
                Err(error) => panic!("{error}"),
            }
        }
        never().await
    };
    let (a_io, b_io) = duplex(PIPE_BYTES);
    let b_run = run(b_io, &b.ends, b.life, never());
    let mut b_run = std::pin::pin!(b_run);
    let ended = tokio::select! {
        ended = run(a_io, &a.ends, a.life, fill) => ended,
        ended = &mut b_run => panic!("the side that does not read ended: {ended:?}"),
    };
    assert!(matches!(ended, Ended::Stuck), "{ended:?}");
}

#[tokio::test]
async fn far_too_much_ends_a_link_at_once() {
    let limits = LinkLimits { outbox_bytes_max: 100_000, ..LinkLimits::default() };
    let (a, _) = pair(&limits, usize::MAX);
    while a.ends.line.send(keep(1, 1000)).is_ok() {}
    assert_eq!(a.ends.line.send(keep(1, 1000)), Err(NotSent::Full));
    let (ended, _far) = run_against(&a, |far| async { far }).await;
    assert!(matches!(ended, Ended::Stuck), "{ended:?}");
}
