//! What may happen to an operation on its way to a store and back: plain data from a seed, shared
//! by [`crate::FaultyStore`] and the discrete-event simulation.

use serde::{Deserialize, Serialize};
use sluice_engine::Span;
use sluice_engine::rng::{Purpose, Seed};

/// What happens to one operation.
///
/// An operation whose answer was delivered is never applied again afterwards: clients make one
/// attempt, so a second application can only come of a command left in a dead socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// Applied `there` after sending, answered `back` later.
    Answered {
        /// From sending to application.
        there: Span,
        /// From application to the answer.
        back: Span,
        /// Applied a second time before the answer is delivered.
        twice: bool,
    },
    /// Never applied; the sender is told so after `told`.
    Refused {
        /// From sending to the refusal.
        told: Span,
    },
    /// The sender is told `Unknown` after `told`; applied at none, one or two moments after
    /// sending, which may be long after that.
    Unknown {
        /// From sending to the time-out.
        told: Span,
        /// First application.
        first: Option<Span>,
        /// Second application.
        second: Option<Span>,
    },
}

/// How often, in thousandths, and how badly things go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    /// Refused.
    pub refused: u32,
    /// Applied, answer lost.
    pub lost: u32,
    /// Answered `Unknown`, applied later (or never).
    pub late: u32,
    /// Applied twice.
    pub twice: u32,
    /// The longest way in either direction; drawn per operation, so that operations overtake.
    pub delay_max: Span,
    /// How long a sender waits for an answer.
    pub timeout: Span,
    /// The longest that a late application stays away.
    pub late_max: Span,
}

impl Rates {
    /// Nothing goes wrong, and every way takes between nothing and `delay_max`.
    #[must_use]
    pub const fn healthy(delay_max: Span) -> Self {
        Self {
            refused: 0,
            lost: 0,
            late: 0,
            twice: 0,
            delay_max,
            timeout: Span::from_ms(300),
            late_max: Span::from_secs(5),
        }
    }

    /// What happens to the `n`-th operation of sender `id`.
    #[must_use]
    pub const fn fate(&self, seed: Seed, id: u64, n: u64) -> Fate {
        let mut draw = seed.stream(Purpose::StoreFault, id, n);
        let roll = draw.below(1000) as u32;
        let there = Span(draw.below(self.delay_max.0 + 1));
        let back = Span(draw.below(self.delay_max.0 + 1));
        let later = Span(draw.below(self.late_max.0 + 1));
        let told = self.timeout;
        let mut limit = self.refused;
        if roll < limit {
            return Fate::Refused { told: there };
        }
        limit += self.lost;
        if roll < limit {
            return Fate::Unknown { told, first: Some(there), second: None };
        }
        limit += self.late;
        if roll < limit {
            let first = if draw.chance(1, 8) { None } else { Some(later) };
            return Fate::Unknown { told, first, second: None };
        }
        limit += self.twice;
        if roll < limit {
            return if draw.chance(1, 2) {
                Fate::Answered { there, back, twice: true }
            } else {
                Fate::Unknown { told, first: Some(there), second: Some(later) }
            };
        }
        Fate::Answered { there, back, twice: false }
    }
}
