//! Inputs made of inputs: a little wrong, so that they get past the first check.

/// Values at the edge of what fits somewhere.
const EDGES: [u8; 12] = [0, 1, 0x0b, 0x1e, 0x22, 0x5b, 0x7b, 0x7f, 0x80, 0x9b, 0xdd, 0xff];
const INPUT_BYTES_MAX: usize = 64 * 1024;

pub struct Mutator {
    seeds: Vec<Vec<u8>>,
    dice: u64,
}

impl Mutator {
    /// The same inputs in every run, unless other dice are asked for.
    pub fn new(seeds: &[Vec<u8>]) -> Self {
        let seed = std::env::var("FENNEC_FUZZ_SEED").ok();
        let seed = seed.map_or(1, |text| text.parse().expect("FENNEC_FUZZ_SEED: a number"));
        Self { seeds: seeds.to_vec(), dice: 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed) | 1 }
    }

    /// From 0 to `sides`, without that (xorshift64*).
    pub fn roll(&mut self, sides: usize) -> usize {
        self.dice ^= self.dice >> 12;
        self.dice ^= self.dice << 25;
        self.dice ^= self.dice >> 27;
        (self.dice.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % sides.max(1)
    }

    pub fn next(&mut self) -> Vec<u8> {
        let at = self.roll(self.seeds.len());
        let mut input = self.seeds.get(at).cloned().unwrap_or_default();
        for _ in 0..=self.roll(5) {
            self.change(&mut input);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.roll(input.len());
        let end = at + self.roll(input.len().saturating_sub(at).min(16) + 1);
        match self.roll(10) {
            0 if !input.is_empty() => input[at] ^= 1 << self.roll(8),
            1 if !input.is_empty() => input[at] = EDGES[self.roll(EDGES.len())],
            2 if !input.is_empty() => input[at] = input[at].wrapping_add(self.roll(3) as u8).wrapping_sub(1),
            3 => input.truncate(at),
            4 => drop(input.drain(at..end)),
            5 => input.insert(at, self.roll(256) as u8),
            6 => {
                let part = input[at..end].to_vec();
                let times = 1 + self.roll(4);
                drop(input.splice(at..at, part.repeat(times)));
            }
            // A length that says much.
            7 => drop(input.splice(at..end, [0xff; 8][..1 + self.roll(8)].to_vec())),
            // Deep.
            8 => drop(input.splice(at..at, vec![EDGES[self.roll(EDGES.len())]; self.roll(2000)])),
            _ => {
                let other = self.roll(self.seeds.len());
                let other = self.seeds.get(other).cloned().unwrap_or_default();
                let from = self.roll(other.len());
                drop(input.splice(at.., other[from..].iter().copied()));
            }
        }
    }
}
