//! Drawing from a stream with words instead of arithmetic.

use sluice_engine::rng::{Purpose, Seed, Stream};
use sluice_engine::{Span, Time};

/// A stream of draws.
#[derive(Clone, Debug)]
pub struct Draw(Stream);

impl Draw {
    /// The draws of a scenario for its part `id`, `n`.
    #[must_use]
    pub const fn scenario(seed: Seed, id: u64, n: u64) -> Self {
        Self(seed.stream(Purpose::Scenario, id, n))
    }

    /// The draws of a stream.
    #[must_use]
    pub const fn of(stream: Stream) -> Self {
        Self(stream)
    }

    /// A number in `low..=high`.
    pub const fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.0.below(high - low + 1)
    }

    /// A length in `low..=high` milliseconds, to the microsecond.
    pub const fn ms(&mut self, low: u64, high: u64) -> Span {
        Span(self.range(low * 1_000, high * 1_000))
    }

    /// True in `num` of `den` cases.
    pub const fn chance(&mut self, num: u64, den: u64) -> bool {
        self.0.chance(num, den)
    }

    /// True in `n` of thousand cases.
    pub const fn thousandth(&mut self, n: u32) -> bool {
        n > 0 && self.0.chance(n as u64, 1_000)
    }

    /// One of several.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.0.below(of.len() as u64) as usize]
    }

    /// The index of one of several weights, of which one at least is above 0.
    pub fn weighted(&mut self, weights: &[u64]) -> usize {
        let mut roll = self.0.below(weights.iter().sum());
        for (index, &weight) in weights.iter().enumerate() {
            if roll < weight {
                return index;
            }
            roll -= weight;
        }
        unreachable!("the roll is below the sum of the weights")
    }

    /// Weights of `n` kinds in the way of swarm testing: most kinds are absent, one at least is not,
    /// and those present have wildly different weights.
    pub fn swarm(&mut self, n: usize) -> Vec<u64> {
        let present = self.range(1, n as u64);
        let mut weights = vec![0; n];
        for _ in 0..present {
            let index = self.0.below(n as u64) as usize;
            weights[index] = self.range(1, 100);
        }
        weights
    }

    /// A moment at one of these, or a millisecond or microsecond off.
    pub fn near(&mut self, anchors: &[Span]) -> Span {
        let at = self.pick(anchors);
        match self.range(0, 6) {
            0 => at.saturating_sub(Span::from_ms(1)),
            1 => at + Span::from_ms(1),
            2 => at.saturating_sub(Span::from_us(1)),
            3 => at + Span::from_us(1),
            4 => at.saturating_sub(self.ms(0, 3)),
            5 => at + self.ms(0, 3),
            _ => at,
        }
    }

    /// A moment before `end`.
    pub const fn before(&mut self, end: Time) -> Time {
        Time(self.0.below(if end.0 == 0 { 1 } else { end.0 }))
    }
}
