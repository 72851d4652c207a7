//! Layer 2: the least loaded accounts with room. Without a line, because waiting is layer 3's; where
//! layer 3 waits for the whole pool, both are one question to the store, and layer 3 asks it.

use super::{Aim, Fallback, Policy, Surveyed, Target};
use crate::trail::Layer;

/// The best accounts, if layer 3 will not ask for them too.
pub(super) fn aim(policy: &Policy, survey: &Surveyed) -> Option<Aim> {
    if policy.fallback == Fallback::Pool || survey.best.is_empty() {
        return None;
    }
    Some(Aim {
        layer: Layer::Load,
        target: Target::Pool(survey.best.iter().map(|c| c.account).collect()),
        line_max: None,
        patience: policy.fallback_patience,
        widens: false,
        full_passes: true,
    })
}
