//! Whether a store is taken to be away: a pure state machine with hysteresis.
//!
//! It changes its mind only when several outcomes in a row, over some time, speak against it. One
//! slow moment of the store, with a hundred operations under way, is not an outage; and one answer
//! out of a store that comes and goes is not its return, since every change costs each node a new
//! session and a resync.

use sluice_engine::{Span, Time};

/// What it takes to change one's mind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Failures in a row before the store counts as away, at least 1.
    pub failures: u32,
    /// From the first of these failures to the one that decides.
    pub failing: Span,
    /// Successes in a row before it counts as back, at least 1.
    pub successes: u32,
    /// From the first of these successes to the one that decides.
    pub succeeding: Span,
    /// While it is away: between two tries.
    pub probe_interval: Span,
}

impl Default for Thresholds {
    /// Away after half a second of failures, back after two tries.
    fn default() -> Self {
        Self {
            failures: 3,
            failing: Span::from_ms(500),
            successes: 2,
            succeeding: Span::from_ms(200),
            probe_interval: Span::from_ms(200),
        }
    }
}

/// What is known of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circuit {
    /// It answers: everything is sent.
    Closed,
    /// It does not: nothing is sent but a try now and then.
    Open,
    /// The last try was answered: another one decides.
    HalfOpen,
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(super) struct Breaker {
    thresholds: Thresholds,
    open: bool,
    /// Outcomes in a row that speak against `open`.
    against: u32,
    /// When the first of them came.
    since: Time,
    /// Not before then.
    next_probe: Time,
}

impl Breaker {
    pub(super) const fn new(thresholds: Thresholds) -> Self {
        Self { thresholds, open: false, against: 0, since: Time::ZERO, next_probe: Time::ZERO }
    }

    pub(super) const fn circuit(&self) -> Circuit {
        match (self.open, self.against) {
            (false, _) => Circuit::Closed,
            (true, 0) => Circuit::Open,
            (true, _) => Circuit::HalfOpen,
        }
    }

    /// Whether the store counts as away.
    pub(super) const fn is_open(&self) -> bool {
        self.open
    }

    /// Whether it may be tried whether the store is back.
    pub(super) fn is_probe_due(&self, now: Time) -> bool {
        self.open && self.next_probe <= now
    }

    /// Such a try begins.
    pub(super) fn probe(&mut self, now: Time) {
        self.next_probe = now + self.thresholds.probe_interval;
    }

    /// Notes what came of an operation. Says whether that changed its mind.
    pub(super) fn note(&mut self, now: Time, answered: bool) -> bool {
        if answered != self.open {
            self.against = 0;
            return false;
        }
        if self.against == 0 {
            self.since = now;
        }
        self.against = self.against.saturating_add(1);
        let (count, span) = if self.open {
            (self.thresholds.successes, self.thresholds.succeeding)
        } else {
            (self.thresholds.failures, self.thresholds.failing)
        };
        let decided = self.against >= count && now.since(self.since) >= span;
        if decided {
            self.open = !self.open;
            self.against = 0;
            self.probe(now);
        }
        decided
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time(1_000_000_000) + Span::from_ms(ms)
    }

    fn breaker() -> Breaker {
        Breaker::new(Thresholds::default())
    }

    /// One that has just opened, at 500 ms.
    fn open() -> Breaker {
        let mut breaker = breaker();
        assert!(!breaker.note(at(0), false));
        assert!(!breaker.note(at(499), false));
        assert!(breaker.note(at(500), false));
        breaker
    }

    #[test]
    fn many_failures_in_one_moment_are_no_outage() {
        let mut breaker = breaker();
        for _ in 0..1000 {
            assert!(!breaker.note(at(300), false));
        }
        assert!(!breaker.note(at(799), false));
        assert_eq!(breaker.circuit(), Circuit::Closed);
        assert!(breaker.note(at(800), false));
        assert_eq!(breaker.circuit(), Circuit::Open);
    }

    #[test]
    fn two_failures_are_too_few_however_far_apart() {
        let mut breaker = breaker();
        assert!(!breaker.note(at(0), false));
        assert!(!breaker.note(at(60_000), false));
        assert!(breaker.note(at(60_001), false));
    }

    #[test]
    fn one_answer_begins_the_count_anew() {
        let mut breaker = breaker();
        for ms in [0, 200, 400] {
            assert!(!breaker.note(at(ms), false));
        }
        assert!(!breaker.note(at(450), true));
        for ms in [500, 700, 999] {
            assert!(!breaker.note(at(ms), false));
        }
        assert!(breaker.note(at(1000), false));
    }

    #[test]
    fn a_store_that_is_away_is_tried_now_and_then() {
        let (closed, mut breaker) = (breaker(), open());
        assert!(!breaker.is_probe_due(at(699)), "it failed just now");
        assert!(breaker.is_probe_due(at(700)));
        breaker.probe(at(710));
        assert!(!breaker.is_probe_due(at(909)));
        assert!(breaker.is_probe_due(at(910)), "whether or not the last try has come to an end");
        assert!(!closed.is_probe_due(at(5_000)), "one that is there is not tried");
    }

    #[test]
    fn it_is_back_after_two_answers_some_time_apart() {
        let mut breaker = open();
        assert!(!breaker.note(at(1000), true));
        assert_eq!(breaker.circuit(), Circuit::HalfOpen);
        assert!(!breaker.note(at(1000), true), "a late answer from the same moment");
        assert!(!breaker.note(at(1199), true));
        assert!(breaker.note(at(1200), true));
        assert_eq!(breaker.circuit(), Circuit::Closed);
    }

    #[test]
    fn a_try_that_fails_in_between_begins_the_return_anew() {
        let mut breaker = open();
        assert!(!breaker.note(at(1000), true));
        assert!(!breaker.note(at(1200), false));
        assert_eq!(breaker.circuit(), Circuit::Open);
        assert!(!breaker.note(at(1400), true));
        assert!(!breaker.note(at(1500), true));
        assert!(breaker.note(at(1600), true));
    }

    #[test]
    fn what_led_to_one_change_does_not_count_for_the_next() {
        let mut breaker = open();
        assert!(!breaker.note(at(1000), true));
        assert!(breaker.note(at(1200), true));
        for ms in [1200, 1400, 1699] {
            assert!(!breaker.note(at(ms), false));
        }
        assert!(breaker.note(at(1700), false));
    }
}
