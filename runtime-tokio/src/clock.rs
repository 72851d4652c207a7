//! The only file that asks what time it is.
//!
//! A node must not believe in its session for longer than the store does, also not after the machine
//! slept. The system's clock therefore runs through suspend (CLOCK_BOOTTIME); timers, which tokio
//! counts on CLOCK_MONOTONIC, are set from it anew at every turn. A clock begun elsewhere counts by
//! tokio's, so that a paused or simulated runtime governs it. Neither ever goes back.
#![expect(clippy::disallowed_methods, reason = "this is the clock")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use sluice_engine::{Span, Time};
use tokio::time::Instant;

/// A clock that only goes forward. Copies show the same time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Time,
    since: Since,
}

/// When it was `start`.
#[derive(Clone, Copy, Debug)]
enum Since {
    /// Since the machine's boot, suspended or not.
    Boot(Duration),
    Runtime(Instant),
}

impl Clock {
    /// Begins at the machine's present time.
    #[must_use]
    pub fn system() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Time(micros(unix)), since: Since::Boot(since_boot()) }
    }

    /// Begins now, at a time of the caller's choosing, and counts by tokio's clock.
    #[must_use]
    pub fn starting_at(start: Time) -> Self {
        Self { start, since: Since::Runtime(Instant::now()) }
    }

    /// When it began.
    #[must_use]
    pub const fn start(&self) -> Time {
        self.start
    }

    /// The time now, in microseconds since the Unix epoch unless begun elsewhere.
    #[must_use]
    pub fn now(&self) -> Time {
        let gone = match self.since {
            Since::Boot(then) => since_boot().saturating_sub(then),
            Since::Runtime(then) => then.elapsed(),
        };
        self.start + Span(micros(gone))
    }

    /// The moment of the runtime's clock at which this clock will show `time`.
    #[must_use]
    pub fn instant(&self, time: Time) -> Instant {
        Instant::now() + duration(time.since(self.now()))
    }

    /// A deadline so far from now.
    #[must_use]
    pub fn after(wait: Duration) -> Instant {
        Instant::now() + wait
    }
}

fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let secs = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(secs, u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A span as the standard library has it.
#[must_use]
pub const fn duration(span: Span) -> Duration {
    Duration::from_micros(span.0)
}
