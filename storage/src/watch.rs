//! What a store tells unasked: the grants it makes, who holds and waits for what, and how well it
//! serves.
//!
//! Apart from [`Store`], because a grant is only a hint and a view is only for people: a runtime
//! that hears neither still works.

use std::future::Future;
use std::sync::Arc;

use sluice_engine::StoreFault;
use sluice_engine::ledger::LineView;
use sluice_engine::store::{Grant, Instance};

use crate::Store;

/// Takes the grants of one instance. Called from whatever thread made the grant, also from within
/// an operation of the instance itself: it must neither block nor call the store.
pub type GrantSink = Arc<dyn Fn(Grant) + Send + Sync>;

/// A store that can be listened to and looked into.
pub trait Watch: Store {
    /// From now on the grants of every node of `instance` go to `sink`, in place of a former one.
    fn subscribe(&self, instance: Instance, sink: GrantSink);

    /// Who holds and waits for what, if the store can tell at once.
    fn view(&self) -> Option<Vec<LineView>>;

    /// Who holds and waits for what. It may cost the store more than an operation does.
    ///
    /// # Errors
    /// The store cannot be asked.
    fn lines(&self) -> impl Future<Output = Result<Vec<LineView>, StoreFault>> + Send {
        async { self.view().ok_or(StoreFault::Refused) }
    }

    /// How well it serves now.
    fn condition(&self) -> Condition {
        Condition::default()
    }
}

/// How well a store serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Now.
    pub service: Service,
    /// How often it has gone away since the process began.
    pub outages: u64,
    /// Leases that ran when it went away, and were beyond this node's share: over all outages.
    pub over_share: u64,
}

/// Who answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Service {
    /// The store.
    #[default]
    Full,
    /// A stand-in, from this node's share of every limit.
    Local,
    /// Nobody: every request is told that the store is away.
    Away,
}

impl Service {
    /// As operators are shown it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Local => "local",
            Self::Away => "away",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_shown_one_word_for_who_answers() {
        let all = [Service::Full, Service::Local, Service::Away];
        assert_eq!(all.map(Service::name), ["full", "local", "away"]);
    }
}
