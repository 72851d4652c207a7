//! The only file that asks what time it is.
//!
//! Time is counted by tokio's clock from a start that is read once, so that a paused or simulated
//! runtime governs it, and so that it never goes back. A node must not believe in its session for
//! longer than the store does, also not after the machine slept: that wants a clock that runs
//! through suspend (CLOCK_BOOTTIME), while tokio's stands still (CLOCK_MONOTONIC). A machine that
//! is suspended may therefore believe for up to the belief span too long after it wakes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sluice_engine::{Span, Time};
use tokio::time::Instant;

/// A clock that only goes forward. Copies show the same time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Time,
    since: Instant,
}

impl Clock {
    /// Begins at the machine's present time.
    #[must_use]
    pub fn system() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::starting_at(Time(micros(unix)))
    }

    /// Begins now, at a time of the caller's choosing.
    #[must_use]
    pub fn starting_at(start: Time) -> Self {
        Self { start, since: Instant::now() }
    }

    /// When it began.
    #[must_use]
    pub const fn start(&self) -> Time {
        self.start
    }

    /// The time now, in microseconds since the Unix epoch unless begun elsewhere.
    #[must_use]
    pub fn now(&self) -> Time {
        self.start + Span(micros(self.since.elapsed()))
    }

    /// The moment of the runtime's clock at which this clock will show `time`.
    #[must_use]
    pub fn instant(&self, time: Time) -> Instant {
        self.since + duration(time.since(self.start))
    }

    /// A deadline so far from now.
    #[must_use]
    pub fn after(wait: Duration) -> Instant {
        Instant::now() + wait
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A span as the standard library has it.
#[must_use]
pub const fn duration(span: Span) -> Duration {
    Duration::from_micros(span.0)
}
