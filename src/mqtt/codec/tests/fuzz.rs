//! Packets that are nearly right: no panic, and what is accepted is understood the same when it is sent on.
//! `FENNEC_FUZZ_SECONDS` makes the random part run for that long.

use std::time::{Duration, Instant};

use super::accepted::ACCEPTED;
use super::*;

const ROUNDS: usize = 20_000;

/// Decodes a frame as everybody might and goes through all that was accepted. Says the frame before it panics.
fn exercise(frame: &[u8]) {
    let outcome = std::panic::catch_unwind(|| {
        let _ = frame_length(frame, 1 << 20);
        let _ = answer_level(frame);
        for level in [Level::V3, Level::V4, Level::V5] {
            for role in [Role::Server, Role::Client] {
                exercise_as(frame, level, role);
            }
        }
    });
    if let Err(panic) = outcome {
        eprintln!("frame: {}", frame.iter().map(|byte| format!("{byte:02X}")).collect::<String>());
        std::panic::resume_unwind(panic);
    }
}

fn exercise_as(frame: &[u8], level: Level, role: Role) {
    let Ok(packet) = decode_any(frame, level, role) else { return };
    let level = if let Any::Connect(connect) = &packet { connect.level } else { level };
    let again = encode_any(&packet, level).expect("what came in can go out");
    assert_eq!(decode_any(&again, level, role).as_ref(), Ok(&packet), "{level:?} {role:?}");
    assert!(again.len() <= frame.len(), "{level:?} {role:?}: longer than what came in");
}

#[test]
fn flipped_bit_is_refused_or_understood() {
    for (_, _, notation) in ACCEPTED {
        let mut frame = frame(notation);
        for bit in 0..frame.len() * 8 {
            frame[bit / 8] ^= 1 << (bit % 8);
            exercise(&frame);
            frame[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn body_cut_short_is_refused_or_understood() {
    for (_, _, notation) in ACCEPTED {
        let whole = frame(notation);
        let body = &whole[whole.len() - body_len(&whole)..];
        for len in 0..body.len() {
            exercise(&with_length(whole[0], &body[..len]));
        }
    }
}

#[test]
fn random_changes_are_refused_or_understood() {
    let until = std::env::var("FENNEC_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).map(Duration::from_secs);
    let started = Instant::now();
    let corpus: Vec<Vec<u8>> = ACCEPTED.iter().map(|(_, _, notation)| frame(notation)).collect();
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let mut rounds = 0;
    while rounds < ROUNDS || until.is_some_and(|until| started.elapsed() < until) {
        exercise(&dice.packet(&corpus));
        rounds += 1;
    }
}

fn body_len(frame: &[u8]) -> usize {
    let (len, _) = reader::varint(&frame[1..]).expect("well-formed").expect("complete");
    len as usize
}

/// xorshift64*: the same packets in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % sides.max(1)
    }

    /// One packet of the corpus after some changes; mostly with a remaining length that fits again.
    fn packet(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let frame = &corpus[self.roll(corpus.len())];
        let mut body = frame[frame.len() - body_len(frame)..].to_vec();
        let mut first = frame[0];
        if self.roll(8) == 0 {
            first = self.roll(256) as u8;
        }
        for _ in 0..=self.roll(4) {
            self.change(&mut body, corpus);
        }
        let mut changed = with_length(first, &body);
        if self.roll(8) == 0 {
            self.change(&mut changed, corpus);
        }
        changed
    }

    fn change(&mut self, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.roll(bytes.len());
        match self.roll(6) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << self.roll(8),
            1 if !bytes.is_empty() => bytes[at] = [0, 1, 2, 0x0B, 0x26, 0x7F, 0x80, 0xFF][self.roll(8)],
            2 if !bytes.is_empty() => bytes[at] = bytes[at].wrapping_add(self.roll(3) as u8).wrapping_sub(1),
            3 => bytes.insert(at, self.roll(256) as u8),
            4 => bytes.truncate(at),
            _ => {
                let other = &corpus[self.roll(corpus.len())];
                let from = self.roll(other.len());
                let to = from + self.roll(other.len() - from + 1);
                bytes.splice(at..at, other[from..to].iter().copied());
            }
        }
    }
}
