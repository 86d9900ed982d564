//! Every decoder is given bytes that are nearly right. Whatever they are: no panic, no more memory than the input can ask for,
//! no more time than a moment, and what is understood is understood again when it is written out.
//!
//! Each target runs some thousand rounds with every `cargo test`; `FENNEC_FUZZ_SECONDS` makes it run for that long, and
//! `FENNEC_FUZZ_SEED` gives other dice. What fails is printed in hexadecimal. The session machines have fuzz tests of their own,
//! beside their other tests: `src/mqtt/session/tests/fuzz.rs`, `src/wamp/session/tests/fuzz.rs`.

mod broker;
mod config;
#[path = "../../src/mqtt/codec/tests/counterexamples.rs"]
mod counterexamples;
mod inside;
mod memory;
mod mutate;
#[path = "../../src/mqtt/codec/tests/notation.rs"]
mod notation;
mod wire;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

// Named by `counterexamples`.
use fennec::mqtt::codec::{DecodeError, Level, Role};

use memory::Meter;
use mutate::Mutator;

/// An input may take so long, by a debug build on a machine that does much else. It takes some microseconds.
const MOMENT: Duration = Duration::from_secs(10);
/// Bytes that may be allocated whatever the input is, and for each of its bytes: a list of nulls is a list of values.
const BYTES_ALWAYS: usize = 4 << 20;
const BYTES_PER_BYTE: usize = 256;

/// How long the random part runs, if that was asked for.
fn asked_time() -> Option<Duration> {
    let seconds = std::env::var("FENNEC_FUZZ_SECONDS").ok()?;
    Some(Duration::from_secs(seconds.parse().expect("FENNEC_FUZZ_SECONDS: a number")))
}

/// Gives `target` the seeds, then what becomes of them.
fn fuzz(rounds: usize, seeds: &[Vec<u8>], target: impl Fn(&[u8])) {
    seeds.iter().for_each(|seed| exercise(seed, &target));
    let (asked, began) = (asked_time(), Instant::now());
    let mut mutator = Mutator::new(seeds);
    let mut round = 0;
    while round < rounds || asked.is_some_and(|time| began.elapsed() < time) {
        exercise(&mutator.next(), &target);
        round += 1;
    }
}

fn exercise(input: &[u8], target: &impl Fn(&[u8])) {
    let (meter, began) = (Meter::start(), Instant::now());
    let outcome = catch_unwind(AssertUnwindSafe(|| target(input)));
    let (took, bytes) = (began.elapsed(), meter.peak());
    let hex = || input.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    if let Err(panic) = outcome {
        eprintln!("input: {}", hex());
        resume_unwind(panic);
    }
    assert!(took < MOMENT, "{took:?} for {}", hex());
    assert!(bytes < BYTES_ALWAYS + BYTES_PER_BYTE * input.len(), "{bytes} bytes for {}", hex());
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}
