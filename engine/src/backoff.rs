//! How long to wait before asking again, in integers: × 1.5, ± 20 %, between the first delay and the cap.

use crate::rng::Stream;
use crate::time::Span;

/// The delay after `previous`, or the `first` one exactly.
#[must_use]
pub(crate) fn next(previous: Option<Span>, first: Span, max: Span, rng: &mut Stream) -> Span {
    let Some(previous) = previous else { return first };
    let grown = previous.0.saturating_mul(3) / 2;
    let capped = grown.min(max.0);
    let jittered = u128::from(capped) * u128::from(800 + rng.below(401)) / 1000;
    let jittered = u64::try_from(jittered).unwrap_or(u64::MAX);
    Span(jittered.clamp(first.0.min(max.0), max.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Seed};

    const FIRST: Span = Span::from_ms(100);
    const MAX: Span = Span::from_secs(2);

    #[test]
    fn the_first_delay_is_exact() {
        let mut rng = Seed(1).stream(Purpose::RequestJitter, 1, 1);
        assert_eq!(next(None, FIRST, MAX, &mut rng), FIRST);
    }

    #[test]
    fn later_delays_grow_by_half_within_a_fifth_up_to_the_cap() {
        let bounds = [(100, 120, 180), (1000, 1200, 1800), (1600, 1600, 2000), (2000, 1600, 2000)];
        for (previous, low, high) in bounds {
            let (mut least, mut most) = (u64::MAX, 0);
            for n in 0..2000 {
                let mut rng = Seed(7).stream(Purpose::RequestJitter, 1, n);
                let ms = next(Some(Span::from_ms(previous)), FIRST, MAX, &mut rng).as_ms();
                assert!((low..=high).contains(&ms), "{ms} ms after {previous} ms");
                least = least.min(ms);
                most = most.max(ms);
            }
            assert!(least < low + (high - low) / 10, "jitter reaches down to {low}, got {least}");
            assert!(most > high - (high - low) / 10, "jitter reaches up to {high}, got {most}");
        }
    }

    #[test]
    fn no_delay_is_shorter_than_the_first() {
        let mut rng = Seed(1).stream(Purpose::RequestJitter, 1, 1);
        assert_eq!(next(Some(Span::from_ms(10)), FIRST, MAX, &mut rng), FIRST);
    }
}
