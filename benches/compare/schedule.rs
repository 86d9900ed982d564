//! When the messages of an open loop are meant to leave.

use std::time::Duration;

/// A clock that ticks at a fixed rate; at every tick the same number of messages leave, each in a write of its own.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    pub ticks_per_second: u64,
    pub messages_per_tick: u64,
}

impl Schedule {
    pub const fn new(ticks_per_second: u64, messages_per_tick: u64) -> Self {
        Self { ticks_per_second, messages_per_tick }
    }

    /// How many messages should have left when `elapsed` has passed since the start.
    pub fn due(&self, elapsed: Duration) -> u64 {
        let ticks = elapsed.as_nanos() * u128::from(self.ticks_per_second) / 1_000_000_000;
        (ticks as u64 + 1) * self.messages_per_tick
    }

    /// When message `number`, from 0, is meant to leave.
    pub fn time_of(&self, number: u64) -> Duration {
        // A tick begins with the nanosecond in which `due` counts it.
        Duration::from_nanos((number / self.messages_per_tick * 1_000_000_000).div_ceil(self.ticks_per_second))
    }

    /// How many messages leave in `time`.
    pub fn messages_in(&self, time: Duration) -> u64 {
        (time.as_secs_f64() * self.ticks_per_second as f64) as u64 * self.messages_per_tick
    }
}
