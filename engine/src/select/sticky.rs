//! Layer 1: the session's home.

use super::{Aim, HomeState, LineFull, Passed, Policy, StickyEnd, Target};
use crate::ids::AccountId;
use crate::store::Home;
use crate::trail::Layer;

/// The home, or why it is passed over.
pub(super) fn aim(
    policy: &Policy,
    home: Home,
    failed: impl Fn(AccountId) -> bool,
) -> Result<Aim, Passed> {
    if failed(home.account) {
        return Err(Passed::Failed);
    }
    match home.state {
        HomeState::Shut(_) => Err(Passed::Shut),
        HomeState::Gone => Err(Passed::Gone),
        HomeState::Room | HomeState::Full => Ok(Aim {
            layer: Layer::Sticky,
            target: Target::Account(home.account),
            line_max: Some(policy.sticky_line_max),
            patience: policy.sticky_patience,
            widens: policy.sticky_end == StickyEnd::Widen,
            full_passes: policy.sticky_full == LineFull::NextLayer,
        }),
    }
}
