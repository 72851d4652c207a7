//! Randomness as a value: independent streams derived from one seed.
//!
//! A draw depends on what it is for, never on how many draws came before it anywhere else. Removing
//! one request from a scenario therefore leaves every other draw as it was, which makes shrinking work.

use core::convert::Infallible;
use rand_core::TryRng;
use serde::{Deserialize, Serialize};

/// What a random number is for. The discriminants are part of recorded journals: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u64)]
pub enum Purpose {
    /// Jitter of a request's back-off.
    RequestJitter = 1,
    /// Jitter of the node's own retries (join, owed leaves).
    NodeJitter = 2,
    /// Simulation: what a scenario contains.
    Scenario = 3,
    /// Simulation: what a store does with one operation.
    StoreFault = 4,
    /// Simulation: how an upstream attempt behaves.
    Upstream = 5,
    /// Simulation: how a client behaves.
    Client = 6,
}

/// The root of all streams of one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed(pub u64);

impl Seed {
    /// The stream for `purpose` and `id`, starting at its `n`-th draw group.
    #[must_use]
    pub const fn stream(self, purpose: Purpose, id: u64, n: u64) -> Stream {
        let mut state = mix(self.0 ^ 0x9e37_79b9_7f4a_7c15);
        state = mix(state ^ purpose as u64);
        state = mix(state ^ id.wrapping_mul(0xd6e8_feb8_6659_fd93));
        state = mix(state ^ n.wrapping_mul(0xa5a3_564e_27f8_86d5));
        Stream(state)
    }
}

/// A SplitMix64 generator (Steele, Lea, Flood: *Fast Splittable Pseudorandom Number Generators*, 2014).
/// Our own thirty lines so that an upgrade of a dependency cannot change a replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream(u64);

impl Stream {
    /// The next 64 random bits.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number in `0..n`, `n > 0`; the bias is below `n / 2^64`.
    pub const fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "a range to draw from must not be empty");
        ((self.next() as u128 * n as u128) >> 64) as u64
    }

    /// True in `num` of `den` cases.
    pub const fn chance(&mut self, num: u64, den: u64) -> bool {
        self.below(den) < num
    }
}

impl TryRng for Stream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.next() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.next())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn streams_are_pinned_for_ever() {
        let mut stream = Seed(42).stream(Purpose::RequestJitter, 7, 1);
        let drawn = [stream.next(), stream.next(), stream.below(1000)];
        assert_eq!(drawn, PINNED, "recorded journals depend on these numbers");
    }

    #[test]
    fn streams_of_different_purpose_id_or_group_differ() {
        let first = |p, id, n| Seed(1).stream(p, id, n).next();
        let base = first(Purpose::RequestJitter, 1, 1);
        assert_ne!(base, first(Purpose::NodeJitter, 1, 1));
        assert_ne!(base, first(Purpose::RequestJitter, 2, 1));
        assert_ne!(base, first(Purpose::RequestJitter, 1, 2));
    }

    #[test]
    fn no_two_seeds_or_purposes_share_a_stream() {
        let purposes = [
            Purpose::RequestJitter,
            Purpose::NodeJitter,
            Purpose::Scenario,
            Purpose::StoreFault,
            Purpose::Upstream,
            Purpose::Client,
        ];
        let mut first = BTreeSet::new();
        for seed in 0..100 {
            first.extend(purposes.map(|purpose| Seed(seed).stream(purpose, 1, 1).next()));
        }
        assert_eq!(first.len(), 100 * purposes.len());
    }

    #[test]
    fn a_chance_comes_true_as_often_as_it_says() {
        let mut stream = Seed(42).stream(Purpose::Scenario, 0, 0);
        let mut of_1000 = |num| (0..1000).filter(|_| stream.chance(num, 10)).count();
        assert_eq!((of_1000(0), of_1000(10)), (0, 1000));
        assert!((250..350).contains(&of_1000(3)));
        let mut stream = Seed(42).stream(Purpose::Scenario, 0, 0);
        assert!((0..1000).all(|_| !stream.chance(0, 1)));
    }

    #[test]
    fn a_stream_is_read_as_words_and_as_bytes_alike() {
        let stream = Seed(42).stream(Purpose::Scenario, 0, 0);
        let words = [stream.clone().next(), {
            let mut second = stream.clone();
            second.next();
            second.next()
        }];
        assert_eq!(stream.clone().try_next_u64(), Ok(words[0]));
        assert_eq!(stream.clone().try_next_u32(), Ok((words[0] >> 32) as u32));
        let mut bytes = [0; 12];
        assert_eq!(stream.clone().try_fill_bytes(&mut bytes), Ok(()));
        assert_eq!(bytes[..8], words[0].to_le_bytes());
        assert_eq!(bytes[8..], words[1].to_le_bytes()[..4]);
    }

    const PINNED: [u64; 3] = [8_310_650_889_301_702_773, 3_623_363_313_674_929_252, 272];
}
