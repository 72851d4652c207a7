//! What a run has met, counted by name: proof that the tests are not blind.

use std::collections::BTreeMap;

use sluice_engine::Verdict;

/// Situations met, and how often.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(pub(crate) BTreeMap<&'static str, u64>);

impl Seen {
    pub(crate) fn note(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    pub(crate) fn note_if(&mut self, met: bool, what: &'static str) {
        if met {
            self.note(what);
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (what, n) in &other.0 {
            *self.0.entry(what).or_default() += n;
        }
    }
}

pub(crate) const fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Upstream { .. } => "verdict: upstream",
        Verdict::Intercepted { .. } => "verdict: intercepted",
        Verdict::UserLineFull => "verdict: user line full",
        Verdict::UserWaitTimeout => "verdict: user wait timeout",
        Verdict::UserClosed => "verdict: user closed",
        Verdict::BillingDenied(_) => "verdict: billing denied",
        Verdict::NoAccounts => "verdict: no accounts",
        Verdict::AllShut { .. } => "verdict: all shut",
        Verdict::AccountLineFull => "verdict: account line full",
        Verdict::AccountWaitTimeout => "verdict: account wait timeout",
        Verdict::StoreUnavailable => "verdict: store unavailable",
        Verdict::Overloaded => "verdict: overloaded",
        Verdict::SessionLost => "verdict: session lost",
        Verdict::Abandoned => "verdict: abandoned",
    }
}
