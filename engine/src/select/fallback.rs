//! Layer 3: waiting, for the pool or for one account of it; and the choice without load batching.

use super::{Aim, Fallback, Policy, Surveyed, Target};
use crate::ids::AccountId;
use crate::trail::Layer;

/// Where to wait. `home` is the session's home where layer 1 aims at it.
pub(super) fn aim(policy: &Policy, survey: &Surveyed, home: Option<AccountId>) -> Aim {
    let legacy = (!policy.load_batch).then(|| home.or(survey.first)).flatten();
    let (layer, target) = match (policy.fallback, legacy) {
        (Fallback::First, Some(account)) => (Layer::Legacy, Target::Account(account)),
        (Fallback::Pool, Some(account)) => {
            (Layer::Legacy, Target::Pool([account].into_iter().collect()))
        }
        (Fallback::First, None) => match survey.first {
            Some(first) => (Layer::Fallback, Target::Account(first)),
            // Every account is closed, the first opens in time: whichever that will be.
            None => (Layer::Fallback, Target::Pool(super::ArrayVec::new())),
        },
        (Fallback::Pool, None) => {
            let best: super::ArrayVec<_, _> = survey.best.iter().map(|c| c.account).collect();
            let layer = if best.is_empty() { Layer::Fallback } else { Layer::Load };
            (layer, Target::Pool(best))
        }
    };
    Aim {
        layer,
        target,
        line_max: Some(policy.fallback_line_max),
        patience: policy.fallback_patience,
        widens: false,
        full_passes: false,
    }
}
