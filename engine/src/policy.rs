//! Every knob of the scheduler, with its unit in its name, and the two presets.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

use crate::roster::Platform;
use crate::store::{Discipline, HealthRules};
use crate::time::Span;

/// A named set of knobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Preset {
    /// The chart to the letter, with exact tickets in place of drifting counters.
    Seed,
    /// Slots are handed over in order of arrival; nobody waits beside an idle account.
    #[default]
    Fair,
}

/// Where a request waits when no account has room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fallback {
    /// For the first-ranked account only.
    First,
    /// For any account of the pool.
    Pool,
}

/// What follows when the patience for a session's home is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StickyEnd {
    /// The request ends with a timeout.
    Timeout,
    /// The ticket widens to the pool, at its old place in order; the home is kept.
    Widen,
}

/// What follows when a home's line is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LineFull {
    /// The request ends: its line is full.
    Reject,
    /// The next layer of selection.
    NextLayer,
}

/// What becomes of running streams when the node has lost its session in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnSessionLost {
    /// They finish; what they exceed is counted.
    Finish,
    /// They are cancelled.
    Abort,
}

/// Switches to another account that a request may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switches {
    /// For the Anthropic and Code Assist protocols.
    pub anthropic_max: u16,
    /// For the OpenAI protocol.
    pub openai_max: u16,
    /// For the Gemini protocol.
    pub gemini_max: u16,
    /// Of these, for plain 5xx answers: a poison request must not walk the pool.
    pub server_error_max: u16,
}

/// Every knob. [`Policy::seed`] and [`Policy::fair`] set all of them; each can be changed on its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// How waiters get slots.
    pub discipline: Discipline,
    /// Whether accounts are ranked by load; if not, the first by priority and last assignment is taken.
    pub load_batch: bool,
    /// Where a request waits.
    pub fallback: Fallback,
    /// The most tickets in a line of the fallback.
    pub fallback_line_max: u32,
    /// How long a request waits for an account.
    pub fallback_patience: Span,
    /// The most tickets waiting for a session's home.
    pub sticky_line_max: u32,
    /// How long a request waits for its session's home.
    pub sticky_patience: Span,
    /// What follows then.
    pub sticky_end: StickyEnd,
    /// What follows when the home's line is full.
    pub sticky_full: LineFull,
    /// How long a binding lasts from its last use.
    pub session_ttl: Span,
    /// The most tickets in a user's line, beyond what the user may run.
    pub extra_wait_slots: u32,
    /// How long a request waits for its user's slot.
    pub user_patience: Span,
    /// The most that a request waits in all.
    pub wait_total_max: Span,
    /// How long a lease lives whatever happens; `None`: as long as its node's session.
    pub lease_ttl: Option<Span>,
    /// Between two reaps on account of time alone; `None`: after every acknowledged beat.
    pub reap_interval: Option<Span>,
    /// Switches to another account.
    pub switches: Switches,
    /// From the arrival until the last moment at which an attempt may begin.
    pub failover_time_max: Span,
    /// How long an account is closed for a 429 that names no time.
    pub rate_limit_guess: Span,
    /// How long an account is closed for a 529 that names no time.
    pub overload_guess: Span,
    /// The numbers of the health fold.
    pub health: HealthRules,
    /// First delay before a waiting request asks again; each further one is 1.5 times as long, ± 20 %.
    pub backoff: Span,
    /// The longest such delay.
    pub backoff_max: Span,
    /// Between pings to a waiting streaming client.
    pub ping_interval: Span,
    /// Between beats.
    pub beat_interval: Span,
    /// How long a session is believed in from the sending of its last acknowledged beat.
    pub belief: Span,
    /// Between audits of the node's leases in the store.
    pub audit_interval: Span,
    /// What becomes of running streams without a session.
    pub on_session_lost: OnSessionLost,
    /// Live requests of one engine; a further one is refused.
    pub requests_max: u32,
    /// Leaves owed to the store; beyond it they are dropped and a resync puts the store right.
    pub debts_max: u32,
}

impl Policy {
    /// The knobs of a preset.
    #[must_use]
    pub fn preset(preset: Preset) -> Self {
        match preset {
            Preset::Seed => Self::seed(),
            Preset::Fair => Self::fair(),
        }
    }

    /// See [`Preset::Fair`].
    #[must_use]
    pub fn fair() -> Self {
        Self {
            discipline: Discipline::Settle,
            load_batch: true,
            fallback: Fallback::Pool,
            fallback_line_max: 1_000,
            fallback_patience: Span::from_secs(30),
            sticky_line_max: 3,
            sticky_patience: Span::from_secs(2),
            sticky_end: StickyEnd::Widen,
            sticky_full: LineFull::NextLayer,
            session_ttl: Span::from_secs(3600),
            extra_wait_slots: 20,
            user_patience: Span::from_secs(30),
            wait_total_max: Span::from_secs(90),
            lease_ttl: None,
            reap_interval: None,
            switches: Switches {
                anthropic_max: 10,
                openai_max: 3,
                gemini_max: 3,
                server_error_max: 2,
            },
            failover_time_max: Span::from_secs(180),
            rate_limit_guess: Span::from_secs(30),
            overload_guess: Span::from_secs(30),
            health: HealthRules::default(),
            backoff: Span::from_ms(100),
            backoff_max: Span::from_secs(2),
            ping_interval: Span::from_secs(15),
            beat_interval: Span::from_secs(3),
            belief: Span::from_secs(6),
            audit_interval: Span::from_secs(300),
            on_session_lost: OnSessionLost::Finish,
            requests_max: 100_000,
            debts_max: 65_536,
        }
    }

    /// See [`Preset::Seed`].
    #[must_use]
    pub fn seed() -> Self {
        Self {
            discipline: Discipline::Poll,
            fallback: Fallback::First,
            fallback_line_max: 100,
            sticky_patience: Span::from_secs(45),
            sticky_end: StickyEnd::Timeout,
            sticky_full: LineFull::NextLayer,
            lease_ttl: Some(Span::from_secs(15 * 60)),
            reap_interval: Some(Span::from_secs(30)),
            ..Self::fair()
        }
    }

    /// Switches allowed to a request of this protocol.
    #[must_use]
    pub const fn switches_max(&self, platform: Platform) -> u16 {
        match platform {
            Platform::Anthropic | Platform::Antigravity => self.switches.anthropic_max,
            Platform::OpenAi => self.switches.openai_max,
            Platform::Gemini => self.switches.gemini_max,
        }
    }

    /// `new`, but for the knobs that an engine keeps for life: what leases that are held were granted
    /// for (how slots are handed on, how long a lease lives), and the rhythm of the node's session.
    #[must_use]
    pub const fn renewed(&self, new: Self) -> Self {
        Self {
            discipline: self.discipline,
            lease_ttl: self.lease_ttl,
            reap_interval: self.reap_interval,
            beat_interval: self.beat_interval,
            belief: self.belief,
            audit_interval: self.audit_interval,
            ..new
        }
    }

    /// Every knob that is out of its range.
    ///
    /// # Errors
    /// All mistakes at once, each with the knob, its value and what it must be.
    pub fn validate(&self) -> Result<(), Vec<KnobError>> {
        let mut errors = Vec::new();
        let mut need = |ok: bool, knob: &'static str, value: String, must: &'static str| {
            if !ok {
                errors.push(KnobError { knob, value, must });
            }
        };
        let ms = |span: Span| alloc::format!("{} ms", span.as_ms());
        let positive = [
            ("fallback_patience", self.fallback_patience),
            ("sticky_patience", self.sticky_patience),
            ("session_ttl", self.session_ttl),
            ("user_patience", self.user_patience),
            ("wait_total_max", self.wait_total_max),
            ("failover_time_max", self.failover_time_max),
            ("rate_limit_guess", self.rate_limit_guess),
            ("overload_guess", self.overload_guess),
            ("backoff", self.backoff),
            ("ping_interval", self.ping_interval),
            ("beat_interval", self.beat_interval),
            ("audit_interval", self.audit_interval),
            ("health.ejection", self.health.ejection),
            ("health.quarantine", self.health.quarantine),
        ];
        for (knob, span) in positive {
            need(span >= Span::from_ms(1), knob, ms(span), "at least 1 ms");
        }
        for (knob, span) in [("lease_ttl", self.lease_ttl), ("reap_interval", self.reap_interval)] {
            let span = span.unwrap_or(Span::MAX);
            need(span >= Span::from_secs(1), knob, ms(span), "at least 1 s, or absent");
        }
        let count = |n: u32| alloc::format!("{n}");
        for (knob, n) in [
            ("fallback_line_max", self.fallback_line_max),
            ("sticky_line_max", self.sticky_line_max),
            ("requests_max", self.requests_max),
            ("debts_max", self.debts_max),
            ("health.failures_to_eject", self.health.failures_to_eject),
        ] {
            need(n >= 1, knob, count(n), "at least 1");
        }
        need(
            self.backoff_max >= self.backoff,
            "backoff_max",
            ms(self.backoff_max),
            "at least backoff",
        );
        need(
            self.health.ejection_max >= self.health.ejection,
            "health.ejection_max",
            ms(self.health.ejection_max),
            "at least health.ejection",
        );
        need(
            self.health.quarantine_max >= self.health.quarantine,
            "health.quarantine_max",
            ms(self.health.quarantine_max),
            "at least health.quarantine",
        );
        need(
            self.belief > self.beat_interval && self.belief < crate::store::SESSION,
            "belief",
            ms(self.belief),
            "longer than beat_interval and shorter than the session of 10 s",
        );
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::fair()
    }
}

/// A knob out of its range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnobError {
    /// Its name.
    pub knob: &'static str,
    /// What it was.
    pub value: String,
    /// What it must be.
    pub must: &'static str,
}

impl fmt::Display for KnobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {} but must be {}", self.knob, self.value, self.must)
    }
}

impl core::error::Error for KnobError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_presets_are_valid() {
        assert_eq!(Policy::fair().validate(), Ok(()));
        assert_eq!(Policy::seed().validate(), Ok(()));
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let mut policy = Policy::fair();
        policy.sticky_line_max = 0;
        policy.backoff = Span::ZERO;
        policy.belief = Span::from_secs(10);
        let errors = policy.validate().expect_err("three knobs are wrong");
        let knobs: Vec<_> = errors.iter().map(|e| e.knob).collect();
        assert_eq!(knobs, ["backoff", "sticky_line_max", "belief"]);
        assert_eq!(alloc::format!("{}", errors[1]), "sticky_line_max is 0 but must be at least 1");
    }

    #[test]
    fn the_seed_preset_differs_from_fair_where_it_says_so() {
        let seed = Policy::preset(Preset::Seed);
        assert_eq!(seed, Policy::seed());
        assert_eq!(Policy::preset(Preset::Fair), Policy::default());
        assert_eq!(seed.discipline, Discipline::Poll);
        assert_eq!((seed.fallback, seed.fallback_line_max), (Fallback::First, 100));
        assert_eq!(seed.sticky_patience, Span::from_secs(45));
        assert_eq!((seed.sticky_end, seed.sticky_full), (StickyEnd::Timeout, LineFull::NextLayer));
        assert_eq!(seed.lease_ttl, Some(Span::from_secs(900)));
        assert_eq!(seed.reap_interval, Some(Span::from_secs(30)));
    }

    #[test]
    fn an_engine_keeps_some_knobs_for_life() {
        let renewed = Policy::fair().renewed(Policy {
            ping_interval: Span(7),
            beat_interval: Span(1),
            belief: Span(2),
            audit_interval: Span(3),
            ..Policy::seed()
        });
        let kept = (renewed.discipline, renewed.lease_ttl, renewed.reap_interval);
        assert_eq!(kept, (Discipline::Settle, None, None));
        assert_eq!((renewed.ping_interval, renewed.fallback), (Span(7), Fallback::First));
        let rhythm = (renewed.beat_interval, renewed.belief, renewed.audit_interval);
        let fair = Policy::fair();
        assert_eq!(rhythm, (fair.beat_interval, fair.belief, fair.audit_interval));
    }

    #[test]
    fn the_belief_lies_between_the_beat_and_the_session() {
        let valid = |belief| Policy { belief, ..Policy::fair() }.validate().is_ok();
        let beat = Policy::fair().beat_interval;
        assert!(!valid(beat));
        assert!(valid(beat + Span::from_us(1)));
        assert!(valid(crate::store::SESSION.saturating_sub(Span::from_us(1))));
        assert!(!valid(crate::store::SESSION));
    }
}
