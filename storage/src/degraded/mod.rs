//! A store that may go away, and what is done meanwhile.
//!
//! A [circuit breaker](Thresholds) decides whether the store is away. Then, by [`Mode`], a stand-in
//! takes its place, a ledger with this node's share of every limit, or nobody does and every request
//! is told so. An engine learns of either change by what it knows already: its session is over, it
//! joins again, and it resyncs what runs. docs/storage.md says what can be exceeded by how much.
//!
//! **Architecture Invariant:** there is no task and no clock here. The time is that of the callers, and
//! whether the store is back is tried with the beats that they send anyway; so it does the same in a
//! simulation.

mod breaker;
mod shares;
mod stand_in;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use sluice_engine::ledger::LineView;
use sluice_engine::store::Instance;
use sluice_engine::{NodeId, StoreFault, StoreOp, StoreReply, Time};

use crate::sinks::{Sinks, held, push};
use crate::{Condition, GrantSink, Service, Store, Watch};
use breaker::Breaker;
pub use breaker::{Circuit, Thresholds};
use shares::Shares;
use stand_in::{StandIn, for_store, is_of_stand_in};

/// What is done while the store is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Requests go on within this node's share of every limit.
    #[default]
    Local,
    /// Every request is told that the store is away.
    Reject,
}

/// See the module's documentation. One for all workers of a process, which then have their
/// shares together, or one for each.
pub struct Degraded<S> {
    inner: S,
    mode: Mode,
    state: Mutex<State>,
    /// Of the stand-in's grants.
    sinks: Mutex<Sinks>,
}

struct State {
    /// The latest time that a caller has named.
    now: Time,
    breaker: Breaker,
    /// Takes the store's place while it is away, in [`Mode::Local`].
    stand_in: Option<StandIn>,
    /// The store knows a roster, as far as we know.
    defined: bool,
    /// The nodes that the process' instances were in the store last.
    own: BTreeMap<Instance, NodeId>,
    /// All nodes that the store has named last.
    members: Vec<NodeId>,
    outages: u64,
    /// Of stand-ins that have ended.
    over_share: u64,
}

/// What is to be done with an operation.
enum Way {
    /// The store is asked.
    Store,
    /// The store is asked whether it is back.
    Probe,
    /// The stand-in answers.
    StandIn,
    /// That is the answer.
    Answer(Result<StoreReply, StoreFault>),
}

/// What has to be known of an operation when its answer comes.
enum Sent {
    Join(Instance),
    Define,
    /// Says nothing of whether the store can be written to.
    Reading,
    Writing,
}

impl Sent {
    fn of(op: &StoreOp) -> Self {
        match op {
            StoreOp::Join { instance, .. } => Self::Join(instance.clone()),
            StoreOp::Define(_) => Self::Define,
            StoreOp::Survey { .. } => Self::Reading,
            StoreOp::Beat { .. }
            | StoreOp::Resync(_)
            | StoreOp::Enter(_)
            | StoreOp::Leave { .. }
            | StoreOp::Session { .. }
            | StoreOp::Health { .. }
            | StoreOp::Reap { .. } => Self::Writing,
        }
    }
}

impl<S: Watch> Degraded<S> {
    /// `inner`, and `mode` for when it is away.
    #[must_use]
    pub fn new(inner: S, mode: Mode, thresholds: Thresholds) -> Self {
        let state = State {
            now: Time::ZERO,
            breaker: Breaker::new(thresholds),
            stand_in: None,
            defined: true,
            own: BTreeMap::new(),
            members: Vec::new(),
            outages: 0,
            over_share: 0,
        };
        Self { inner, mode, state: Mutex::new(state), sinks: Mutex::default() }
    }

    /// The store itself.
    #[must_use]
    pub const fn inner(&self) -> &S {
        &self.inner
    }

    /// What is known of the store.
    #[must_use]
    pub fn circuit(&self) -> Circuit {
        held(&self.state).breaker.circuit()
    }

    fn way(state: &State, op: &StoreOp) -> Way {
        match &state.stand_in {
            Some(stand_in) => Self::way_beside(stand_in, state, op),
            // A session with a stand-in has ended; its node has to join where it belongs now.
            None if op.node().is_some_and(is_of_stand_in) => Way::Answer(Ok(StoreReply::Lost)),
            None if state.breaker.is_open() => Self::way_to_nobody(state, op),
            // An empty pool would be told as one that is closed.
            None if matches!(op, StoreOp::Survey { .. }) && !state.defined => {
                Way::Answer(Err(StoreFault::Refused))
            }
            None => Way::Store,
        }
    }

    /// Everything is for the stand-in, but for a beat now and then.
    fn way_beside(stand_in: &StandIn, state: &State, op: &StoreOp) -> Way {
        if op.node().is_some_and(|node| !is_of_stand_in(node)) {
            return Way::Answer(Ok(StoreReply::Lost));
        }
        if matches!(op, StoreOp::Survey { .. }) && !stand_in.is_defined() {
            return Way::Answer(Err(StoreFault::Refused));
        }
        let probes = matches!(op, StoreOp::Beat { .. }) && state.breaker.is_probe_due(state.now);
        if probes { Way::Probe } else { Way::StandIn }
    }

    /// What an engine tries again and again until it is done may see whether the store is back.
    fn way_to_nobody(state: &State, op: &StoreOp) -> Way {
        let is_tried =
            matches!(op, StoreOp::Beat { .. } | StoreOp::Join { .. } | StoreOp::Define(_));
        if is_tried && state.breaker.is_probe_due(state.now) {
            Way::Probe
        } else {
            Way::Answer(Err(StoreFault::Away))
        }
    }

    /// Asks the store, and notes what that says about it.
    async fn ask(&self, op: StoreOp) -> Result<StoreReply, StoreFault> {
        let sent = Sent::of(&op);
        let mut op = for_store(op);
        if let StoreOp::Join { instance, resume, .. } = &mut op {
            // What a node of this name has there is another process', unless this one has been it.
            *resume &= held(&self.state).own.contains_key(instance);
        }
        let result = self.inner.run(op).await;
        self.learn(&sent, result.as_ref().map_err(|fault| *fault));
        if let (Sent::Join(_), Ok(StoreReply::Joined { node, .. })) = (&sent, &result) {
            // Whom to share with, in case that the store goes away before the first beat.
            let beat = StoreOp::Beat { node: *node, settled: 0, in_flight: 0 };
            let around = self.inner.run(beat).await;
            self.learn(&Sent::Writing, around.as_ref().map_err(|fault| *fault));
        }
        result
    }

    fn learn(&self, sent: &Sent, result: Result<&StoreReply, StoreFault>) {
        let mut state = held(&self.state);
        match (sent, result) {
            (Sent::Join(instance), Ok(StoreReply::Joined { node, .. })) => {
                state.own.insert(instance.clone(), *node);
            }
            (Sent::Define, Ok(StoreReply::Done)) => state.defined = true,
            (_, Ok(StoreReply::Alive { members, .. })) => state.members.clone_from(members),
            // It may have forgotten everything; whoever is told so tells it the roster again.
            (_, Ok(StoreReply::Lost)) => state.defined = false,
            (_, _) => {}
        }
        let now = state.now;
        let says_nothing = matches!((sent, result), (Sent::Reading, Ok(_)));
        if says_nothing || !state.breaker.note(now, result.is_ok()) {
            return;
        }
        if state.breaker.is_open() {
            state.outages += 1;
            if self.mode == Mode::Local {
                let shares = Shares::new(state.members.clone(), state.own.values().copied());
                state.stand_in = Some(StandIn::new(now, shares));
                held(&self.sinks).forget_nodes();
            }
        } else if let Some(stand_in) = state.stand_in.take() {
            state.over_share += stand_in.over_share();
            state.defined = false;
        }
    }

    /// What the stand-in answers; without one its sessions are over.
    fn stand_in(&self, mut state: MutexGuard<'_, State>, op: StoreOp) -> StoreReply {
        let now = state.now;
        let Some(stand_in) = &mut state.stand_in else { return StoreReply::Lost };
        let sent = Sent::of(&op);
        let (reply, grants) = stand_in.apply(now, op);
        // Known before another thread can make a grant to the new node.
        if let (Sent::Join(instance), StoreReply::Joined { node, .. }) = (sent, &reply) {
            held(&self.sinks).join(instance, *node);
        }
        drop(state);
        push(&self.sinks, &grants);
        reply
    }

    /// Sends the operation to see whether the store is back.
    async fn probe(&self, op: StoreOp) -> Result<StoreReply, StoreFault> {
        let StoreOp::Beat { node, .. } = op else { return self.ask(op).await };
        // Of a stand-in's node the store knows nothing: whatever it answers says that it is there.
        let result = self.ask(op.clone()).await;
        let state = held(&self.state);
        if is_of_stand_in(node) {
            return Ok(self.stand_in(state, op));
        }
        // Until it is back for good, nobody is to begin anything.
        if state.breaker.is_open() && result.is_ok() { Err(StoreFault::Away) } else { result }
    }
}

impl<S: Watch> Store for Degraded<S> {
    fn try_now(&self, now: Time, op: StoreOp) -> Result<StoreReply, StoreOp> {
        let mut state = held(&self.state);
        state.now = state.now.max(now);
        match Self::way(&state, &op) {
            Way::Store => {
                drop(state);
                let sent = Sent::of(&op);
                let reply = self.inner.try_now(now, for_store(op))?;
                self.learn(&sent, Ok(&reply));
                Ok(reply)
            }
            Way::StandIn => Ok(self.stand_in(state, op)),
            Way::Answer(Ok(reply)) => Ok(reply),
            Way::Answer(Err(_)) | Way::Probe => Err(op),
        }
    }

    async fn run(&self, op: StoreOp) -> Result<StoreReply, StoreFault> {
        let probes = {
            let mut state = held(&self.state);
            match Self::way(&state, &op) {
                Way::Store => false,
                Way::Probe => {
                    let now = state.now;
                    state.breaker.probe(now);
                    true
                }
                Way::StandIn => return Ok(self.stand_in(state, op)),
                Way::Answer(result) => return result,
            }
        };
        if probes { self.probe(op).await } else { self.ask(op).await }
    }
}

impl<S: Watch> Watch for Degraded<S> {
    fn subscribe(&self, instance: Instance, sink: GrantSink) {
        held(&self.sinks).subscribe(instance.clone(), sink.clone());
        self.inner.subscribe(instance, sink);
    }

    fn view(&self) -> Option<Vec<LineView>> {
        match &held(&self.state).stand_in {
            Some(stand_in) => Some(stand_in.view()),
            None => self.inner.view(),
        }
    }

    async fn lines(&self) -> Result<Vec<LineView>, StoreFault> {
        let here = held(&self.state).stand_in.as_ref().map(|stand_in| stand_in.view());
        match here {
            Some(view) => Ok(view),
            None => self.inner.lines().await,
        }
    }

    fn condition(&self) -> Condition {
        let state = held(&self.state);
        let (service, running) = match (&state.stand_in, state.breaker.is_open()) {
            (Some(stand_in), _) => (Service::Local, stand_in.over_share()),
            (None, true) => (Service::Away, 0),
            (None, false) => (Service::Full, 0),
        };
        let over_share = state.over_share + running;
        Condition { service, outages: state.outages, over_share }
    }
}

#[cfg(test)]
mod tests;
