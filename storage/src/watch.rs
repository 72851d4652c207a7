//! What a store tells unasked: the grants it makes, and who holds and waits for what.
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
}
