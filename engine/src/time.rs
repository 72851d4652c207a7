//! Time as a value. The engine is given the time with every event and asks nobody for it.

use core::ops::{Add, Sub};
use serde::{Deserialize, Serialize};

/// A point in time, in microseconds since an epoch of the caller's choosing.
///
/// A node's own clock and a store's clock are different epochs; operations and replies of the store
/// therefore carry [`Span`]s, never a `Time`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Time(pub u64);

/// A length of time in microseconds, never negative.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Span(pub u64);

impl Time {
    /// The epoch itself.
    pub const ZERO: Self = Self(0);

    /// The span from `earlier` to `self`; zero when `earlier` is in fact later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// The longest span there is.
    pub const MAX: Self = Self(u64::MAX);

    /// A span of `us` microseconds.
    #[must_use]
    pub const fn from_us(us: u64) -> Self {
        Self(us)
    }

    /// A span of `ms` milliseconds, saturating.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000))
    }

    /// A span of `secs` seconds, saturating.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Whole milliseconds, rounded down.
    #[must_use]
    pub const fn as_ms(self) -> u64 {
        self.0 / 1_000
    }

    /// Whole seconds, rounded up: what `retry-after` wants.
    #[must_use]
    pub const fn as_secs_ceil(self) -> u64 {
        self.0.div_ceil(1_000_000)
    }

    /// `self - other`, zero when `other` is longer.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// `self × 2^n`, saturating.
    #[must_use]
    pub const fn doubled(self, n: u32) -> Self {
        if n >= 63 {
            return Self(if self.0 == 0 { 0 } else { u64::MAX });
        }
        Self(self.0.saturating_mul(1 << n))
    }
}

impl Add<Span> for Time {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Add for Span {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub<Span> for Time {
    type Output = Self;
    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubling_ends_at_the_longest_span() {
        assert_eq!(Span(3).doubled(2), Span(12));
        assert_eq!(Span(1).doubled(62), Span(1 << 62));
        assert_eq!(Span(1).doubled(63), Span::MAX);
        assert_eq!(Span(5).doubled(62), Span::MAX);
        assert_eq!(Span::ZERO.doubled(63), Span::ZERO);
    }
}
