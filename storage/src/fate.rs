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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What happens to the first thousands of operations.
    fn fates(rates: Rates) -> Vec<Fate> {
        (0..5_000).map(|n| rates.fate(Seed(3), 0, n)).collect()
    }

    fn short() -> Rates {
        Rates { late_max: Span(3), ..Rates::healthy(Span(3)) }
    }

    #[test]
    fn on_a_healthy_road_everything_is_answered_once() {
        for fate in fates(short()) {
            assert!(matches!(fate, Fate::Answered { twice: false, .. }), "{fate:?}");
        }
    }

    #[test]
    fn of_a_thousand_in_a_thousand_nothing_else_happens() {
        for fate in fates(Rates { refused: 1_000, ..short() }) {
            assert!(matches!(fate, Fate::Refused { .. }), "{fate:?}");
        }
        for fate in fates(Rates { lost: 1_000, ..short() }) {
            assert!(
                matches!(fate, Fate::Unknown { first: Some(at), second: None, .. } if at <= Span(3)),
                "{fate:?}"
            );
        }
        for fate in fates(Rates { late: 1_000, ..short() }) {
            assert!(matches!(fate, Fate::Unknown { second: None, .. }), "{fate:?}");
        }
        for fate in fates(Rates { twice: 1_000, ..short() }) {
            let twice = matches!(
                fate,
                Fate::Answered { twice: true, .. }
                    | Fate::Unknown { first: Some(_), second: Some(_), .. }
            );
            assert!(twice, "{fate:?}");
        }
    }

    #[test]
    fn mishaps_are_as_frequent_as_their_rates() {
        let rates = Rates { refused: 100, lost: 200, late: 300, twice: 300, ..short() };
        let mut counts = [0; 5];
        for fate in fates(rates) {
            let kind = match fate {
                Fate::Refused { .. } => 0,
                // One in eight of those that are late never comes; the others look like lost ones.
                Fate::Unknown { second: None, .. } => 1,
                Fate::Unknown { .. } => 2,
                Fate::Answered { twice: true, .. } => 3,
                Fate::Answered { .. } => 4,
            };
            counts[kind] += 1;
        }
        let want = [500, 2_500, 750, 750, 500];
        for (count, want) in counts.into_iter().zip(want) {
            assert!(count * 10 > want * 8 && count * 10 < want * 12, "{counts:?}");
        }
    }

    #[test]
    fn ways_take_anything_up_to_the_longest() {
        let (mut there, mut back, mut later) = <(BTreeSet<_>, BTreeSet<_>, BTreeSet<_>)>::default();
        for fate in fates(Rates { late: 500, ..short() }) {
            match fate {
                Fate::Answered { there: one, back: other, .. } => {
                    there.insert(one);
                    back.insert(other);
                }
                Fate::Unknown { first, .. } => later.extend(first),
                Fate::Refused { .. } => panic!("nothing is refused"),
            }
        }
        let all = BTreeSet::from([0, 1, 2, 3].map(Span));
        assert_eq!([there, back, later], [all.clone(), all.clone(), all]);
    }
}
