//! What the workers of one process have in common besides the store: the access log, the memory for
//! bodies, and what operators are shown of each.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use sluice_storage::Condition;

use crate::telemetry::{AccessWriter, Entry};

/// See the module's documentation.
pub struct Shared {
    /// The access log.
    pub access: AccessWriter,
    /// Bytes of bodies that are held.
    pub(crate) parked: AtomicUsize,
    workers: Vec<Gauges>,
}

#[derive(Default)]
struct Gauges {
    connections: AtomicUsize,
    requests: AtomicUsize,
    /// Looks at the worker's store.
    store: OnceLock<Box<dyn Fn() -> Condition + Send + Sync>>,
}

impl Shared {
    /// For so many workers.
    #[must_use]
    pub fn new(access: AccessWriter, workers: usize) -> Arc<Self> {
        let workers = (0..workers).map(|_| Gauges::default()).collect();
        Arc::new(Self { access, parked: AtomicUsize::new(0), workers })
    }

    /// What operators are shown.
    #[must_use]
    pub fn view(&self) -> Value {
        let one = |gauges: &Gauges| {
            let store = gauges.store.get().map(|look| look()).unwrap_or_default();
            json!({"connections": gauges.connections.load(Ordering::Relaxed),
                   "requests": gauges.requests.load(Ordering::Relaxed),
                   "store": store.service.name(), "store_outages": store.outages,
                   "leases_over_share": store.over_share})
        };
        json!({"access_log_lost": self.access.lost(),
               "parked_bytes": self.parked.load(Ordering::Relaxed),
               "workers": self.workers.iter().map(one).collect::<Vec<_>>()})
    }
}

/// One worker's way to it.
pub(crate) struct Local {
    pub(crate) shared: Arc<Shared>,
    index: usize,
    /// The place where a line of the access log is made.
    line: RefCell<Vec<u8>>,
}

impl Local {
    /// Of the worker of this index.
    pub(crate) fn new(shared: Arc<Shared>, index: usize) -> Rc<Self> {
        assert!(index < shared.workers.len(), "every worker has its place");
        Rc::new(Self { shared, index, line: RefCell::default() })
    }

    fn gauges(&self) -> &Gauges {
        &self.shared.workers[self.index]
    }

    /// How the worker's store is can be seen like this from now on.
    pub(crate) fn watch_store(&self, look: impl Fn() -> Condition + Send + Sync + 'static) {
        drop(self.gauges().store.set(Box::new(look)));
    }

    pub(crate) fn connections(&self, open: usize) {
        self.gauges().connections.store(open, Ordering::Relaxed);
    }

    pub(crate) fn request_begins(&self) {
        self.gauges().requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn request_ends(&self, entry: &Entry) {
        self.gauges().requests.fetch_sub(1, Ordering::Relaxed);
        if self.shared.access.is_on() {
            let mut line = self.line.borrow_mut();
            line.clear();
            entry.write_line(&mut line);
            self.shared.access.line(&line);
        }
    }
}
