//! Drives one engine: hands it events with the time, wakes it when it wants to be woken, and brings
//! what it decides about a request to that request's task.
//!
//! Single-threaded. An event that comes up while the engine is in a turn waits until the turn is
//! over, so that nothing is ever borrowed twice.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use sluice_engine::store::Grant;
use sluice_engine::{Config, Engine, Event, RequestId, Time, turn};
use sluice_storage::Watch;
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep_until;

use crate::clock::Clock;
use crate::directory::{Current, Directory};
use crate::executor::Hands;
use crate::permit::Live;
use crate::vital::spawn_vital;

/// See the module's documentation.
pub struct Driver<S> {
    pub(crate) store: Arc<S>,
    pub(crate) clock: Clock,
    directory: RefCell<Current>,
    pub(crate) requests: RefCell<BTreeMap<RequestId, Rc<Live>>>,
    engine: RefCell<Engine>,
    events: RefCell<VecDeque<Event>>,
    minted: Cell<u64>,
    /// When the timer task will wake by itself.
    armed: Cell<Option<Time>>,
    rearm: Notify,
}

impl<S: Watch> Driver<S> {
    /// Starts an engine: it joins the store at once, and its timers and grants are served by tasks
    /// of the current local set.
    #[must_use]
    pub fn start(
        config: Config,
        store: Arc<S>,
        clock: Clock,
        directory: Arc<Directory>,
    ) -> Rc<Self> {
        let (pushed, grants) = mpsc::unbounded_channel();
        // Bounded by the tickets of this node. A closed channel is a worker that has ended.
        let sink = move |grant: Grant| {
            let _ = pushed.send(grant);
        };
        store.subscribe(config.instance.clone(), Arc::new(sink));
        let engine = Engine::new(config, directory.roster.clone());
        let driver = Rc::new(Self {
            store,
            clock,
            directory: RefCell::new(Rc::new(directory)),
            requests: RefCell::default(),
            engine: RefCell::new(engine),
            events: RefCell::default(),
            minted: Cell::new(0),
            armed: Cell::new(None),
            rearm: Notify::new(),
        });
        spawn_vital("grants", driver.clone().hear_grants(grants));
        spawn_vital("timers", driver.clone().keep_time());
        driver.event(Event::Tick);
        driver
    }

    /// Takes in one event and carries out all that follows from it at once.
    pub fn event(self: &Rc<Self>, event: Event) {
        self.events.borrow_mut().push_back(event);
        let Ok(mut engine) = self.engine.try_borrow_mut() else {
            return;
        };
        while let Some(event) = self.next_event() {
            turn(&mut engine, self.clock.now(), event, &mut Hands { driver: self });
        }
        let wanted = engine.next_timeout().map(|(at, _)| at);
        if wanted.is_some_and(|at| self.armed.get().is_none_or(|armed| at < armed)) {
            self.rearm.notify_one();
        }
    }

    /// What the configuration in force says.
    pub(crate) fn directory(&self) -> Current {
        self.directory.borrow().clone()
    }

    /// Goes by this one from now on, and so does the engine. One that is older than that in force
    /// changes nothing.
    pub(crate) fn reload(self: &Rc<Self>, directory: Arc<Directory>) {
        if directory.roster.version < self.directory.borrow().roster.version {
            return;
        }
        self.event(Event::Policy(Box::new(directory.policy.clone())));
        let roster = directory.roster.clone();
        // Not before: whom the engine names until then is found in the former one.
        self.directory.replace(Rc::new(directory));
        self.event(Event::Roster(roster));
    }

    fn next_event(&self) -> Option<Event> {
        self.events.borrow_mut().pop_front()
    }

    /// The name of a new request.
    pub(crate) fn mint(&self) -> RequestId {
        self.minted.set(self.minted.get() + 1);
        RequestId(self.minted.get())
    }

    /// Whether traffic can be served.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.engine.borrow().ready(self.clock.now())
    }

    /// Requests that have arrived and not finished.
    #[must_use]
    pub fn live_requests(&self) -> usize {
        self.engine.borrow().live_requests()
    }

    /// Tells the tasks of all requests to end them now.
    pub(crate) fn shut_down_requests(&self) {
        for live in self.requests.borrow().values() {
            live.mailbox.shut_down();
        }
    }

    /// Leases owed to the store.
    #[must_use]
    pub fn owed(&self) -> usize {
        self.engine.borrow().owed()
    }

    /// Every local invariant of the engine that does not hold.
    #[must_use]
    pub fn check_invariants(&self) -> Vec<String> {
        self.engine.borrow().check_invariants()
    }

    async fn hear_grants(self: Rc<Self>, mut grants: mpsc::UnboundedReceiver<Grant>) {
        while let Some(Grant { lease, gate }) = grants.recv().await {
            self.event(Event::Granted { lease, gate });
        }
    }

    async fn keep_time(self: Rc<Self>) {
        loop {
            let wanted = self.engine.borrow().next_timeout().map(|(at, _)| at);
            self.armed.set(wanted);
            let Some(at) = wanted else {
                self.rearm.notified().await;
                continue;
            };
            tokio::select! {
                biased; // An earlier wish counts even if the later one has come.
                () = self.rearm.notified() => {}
                () = sleep_until(self.clock.instant(at)) => self.event(Event::Tick),
            }
        }
    }
}
