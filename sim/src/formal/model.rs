//! The model for the checker: which steps a state allows, and what each of them does.

use stateright::{Model, Property};

use super::config::{Config, LEASES, Without};
use super::properties;
use super::state::{
    Answer, Call, INSTANCES, Instance, Joining, Mask, Op, Phase, Place, Request, State,
};
use super::store::Order;

/// The store, its nodes and the network under one [`Config`].
#[derive(Clone, Debug)]
pub(super) struct Protocol {
    /// What is checked.
    pub(super) config: Config,
}

/// One step of one party.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A request arrives, asks again, or asks after a reload: with its first or second want.
    Ask { lease: usize, want: u8 },
    /// A client goes away or an attempt ends.
    End { lease: usize },
    /// An owed `Leave` is sent again.
    Leave { lease: usize },
    /// The belief window is over without an acknowledged beat.
    Doubt { instance: usize },
    /// A beat and its answer.
    Beat { instance: usize },
    /// A `Join` is sent.
    Join { instance: usize },
    /// A `Resync` is sent.
    Resync { instance: usize },
    /// A call is answered `Unknown`.
    Unknown { instance: usize, ask: u8 },
    /// The process dies.
    Crash { instance: usize },
    /// The process starts.
    Start { instance: usize },
    /// An operation reaches the store, once or with a second copy still under way.
    Deliver { at: usize, duplicate: bool, order: Order },
    /// An answer reaches its node.
    Answer { at: usize },
    /// An operation that nobody waits for any more is lost.
    Lose { at: usize },
    /// The store ends a session.
    SessionEnd { instance: usize },
    /// An entry of an ended session is reaped.
    Reap { lease: usize, order: Order },
    /// An ended session of which nothing is left is forgotten.
    Forget { instance: usize },
    /// A grant is not claimed in time.
    PassOn { lease: usize, order: Order },
}

impl Model for Protocol {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State::first(&self.config)]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        // A path that has broken a promise is long enough.
        if state.faults != 0 {
            return;
        }
        for instance in 0..INSTANCES {
            if self.config.leases_of(instance).next().is_some() {
                self.instance_steps(state, instance, steps);
            }
        }
        (0..LEASES)
            .filter(|lease| self.config.owners[*lease].is_some())
            .for_each(|lease| self.lease_steps(state, lease, steps));
        self.network_steps(state, steps);
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let mut next = state.clone();
        next.mark = Default::default();
        self.take(&mut next, step);
        Some(next.canonical(&self.config))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

impl Protocol {
    fn instance_steps(&self, state: &State, instance: usize, steps: &mut Vec<Step>) {
        let (config, member) = (&self.config, &state.instances[instance]);
        if !member.up {
            steps.push(Step::Start { instance });
        } else {
            if config.frail[instance] && state.left.crashes > 0 {
                steps.push(Step::Crash { instance });
            }
            let room = state.may_send(config, instance);
            if member.joining.is_some() && member.join == 0 && room {
                steps.push(Step::Join { instance });
            }
            if member.node != 0 {
                if member.believes && config.frail[instance] && state.left.ends > 0 {
                    steps.push(Step::Doubt { instance });
                }
                if !member.believes || !config.has(Without::Belief) {
                    steps.push(Step::Beat { instance });
                }
                let audits = config.frail[instance] && state.left.audits > 0;
                let wanted = member.due || member.pass.as_of != 0 || audits;
                if member.resync == 0 && room && wanted {
                    steps.push(Step::Resync { instance });
                }
            }
            if state.left.unknowns > 0 {
                self.unknown_steps(state, instance, steps);
            }
        }
        let trusted = member.up && member.believes && state.alive(instance, member.node);
        let may_end = !trusted || !config.has(Without::Belief);
        let ends = config.frail[instance] && state.left.ends > 0;
        if state.store.live[instance] && may_end && ends {
            steps.push(Step::SessionEnd { instance });
        }
        let known = state.store.current[instance] != 0 && !state.store.live[instance];
        let bare = |lease: usize| state.store.entries[lease].place == Place::Nothing;
        if known && config.leases_of(instance).all(bare) {
            steps.push(Step::Forget { instance });
        }
    }

    fn unknown_steps(&self, state: &State, instance: usize, steps: &mut Vec<Step>) {
        let member = &state.instances[instance];
        let calls = self.config.leases_of(instance).flat_map(|lease| {
            let request = &state.requests[lease];
            [request.leave, request.open[0], request.open[1]]
        });
        let open = [member.join, member.resync].into_iter().chain(calls).filter(|ask| *ask != 0);
        steps.extend(open.map(|ask| Step::Unknown { instance, ask }));
    }

    fn lease_steps(&self, state: &State, lease: usize, steps: &mut Vec<Step>) {
        let (config, request) = (&self.config, &state.requests[lease]);
        if state.may_ask(config, lease) {
            let last = if config.wants[lease][0] == config.wants[lease][1] { 0 } else { 1 };
            steps.extend((request.want..=last).map(|want| Step::Ask { lease, want }));
        }
        match request.phase {
            Phase::Waiting | Phase::Held(_) | Phase::Forwarded(_) => {
                steps.push(Step::End { lease });
            }
            Phase::Leaving { .. } => {
                if request.leave == 0 && state.may_send(config, config.owner(lease)) {
                    steps.push(Step::Leave { lease });
                }
            }
            Phase::Idle | Phase::Over => {}
        }
        let orders = || orders(state, 0);
        if state.reapable(config, lease) {
            steps.extend(orders().map(|order| Step::Reap { lease, order }));
        }
        if matches!(state.store.entries[lease].place, Place::Granted(_)) && state.left.passes > 0 {
            steps.extend(orders().map(|order| Step::PassOn { lease, order }));
        }
    }

    fn network_steps(&self, state: &State, steps: &mut Vec<Step>) {
        for (at, call) in state.calls.iter().enumerate() {
            let instance = usize::from(call.instance);
            let want = match call.op {
                Op::Enter { want, .. } => want,
                Op::Leave { .. } | Op::Resync { .. } | Op::Join { .. } => 0,
            };
            let copy = state.left.duplicates > 0 && state.may_send(&self.config, instance);
            for order in orders(state, want) {
                steps.push(Step::Deliver { at, duplicate: false, order });
                if copy {
                    steps.push(Step::Deliver { at, duplicate: true, order });
                }
            }
            if !state.listens(&self.config, instance, call.ask) {
                steps.push(Step::Lose { at });
            }
        }
        steps.extend((0..state.answers.len()).map(|at| Step::Answer { at }));
    }

    fn take(&self, next: &mut State, step: Step) {
        let config = &self.config;
        match step {
            Step::Ask { lease, want } => next.ask(config, lease, want),
            Step::End { lease } => next.end(config, lease),
            Step::Leave { lease } => {
                if let Phase::Leaving { fence } = next.requests[lease].phase {
                    next.send_leave(config, lease, fence);
                }
            }
            Step::Doubt { instance } => next.instances[instance].believes = false,
            Step::Beat { instance } => next.beat(config, instance),
            Step::Join { instance } => {
                if let Some(joining) = next.instances[instance].joining {
                    next.send_join(config, instance, joining);
                }
            }
            Step::Resync { instance } => {
                let member = &next.instances[instance];
                if !member.due && member.pass.as_of == 0 {
                    spend(&mut next.left.audits);
                }
                next.send_resync(config, instance);
            }
            Step::Unknown { instance, ask } => {
                spend(&mut next.left.unknowns);
                next.give_up(config, instance, ask);
            }
            Step::Crash { instance } => {
                spend(&mut next.left.crashes);
                self.crash(next, instance);
            }
            Step::Start { instance } => {
                let joining = Some(Joining { replaces: 0, resume: false });
                next.instances[instance] = Instance { up: true, joining, ..Instance::default() };
            }
            Step::Deliver { at, duplicate, order } => self.deliver(next, at, duplicate, order),
            Step::Answer { at } => {
                let answer = next.answers.remove(at);
                next.answered(config, &answer);
            }
            Step::Lose { at } => drop(next.calls.remove(at)),
            Step::SessionEnd { instance } => {
                spend(&mut next.left.ends);
                next.store.live[instance] = false;
            }
            Step::Reap { lease, order } => next.reap(config, lease, order),
            Step::Forget { instance } => next.store.current[instance] = 0,
            Step::PassOn { lease, order } => {
                spend(&mut next.left.passes);
                next.pass_on(config, lease, order);
            }
        }
    }

    fn crash(&self, next: &mut State, instance: usize) {
        for lease in self.config.leases_of(instance) {
            let request = &mut next.requests[lease];
            if request.phase != Phase::Idle {
                *request = Request { phase: Phase::Over, ..Request::default() };
            }
        }
        next.instances[instance] = Instance::default();
    }

    fn deliver(&self, next: &mut State, at: usize, duplicate: bool, order: Order) {
        let call: Call = next.calls.remove(at);
        if duplicate {
            spend(&mut next.left.duplicates);
            next.calls.push(call);
        }
        let reply = next.apply(&self.config, &call, order);
        if next.listens(&self.config, call.instance.into(), call.ask) {
            next.answers.push(Answer { instance: call.instance, ask: call.ask, reply });
        }
    }
}

/// A step in words, told by the state it starts from.
pub(super) fn describe(step: Step, before: &State) -> String {
    match step {
        Step::Deliver { at, duplicate, .. } => {
            let Call { instance, node, ask, op } = before.calls[at];
            let copy = if duplicate { ", a copy stays under way" } else { "" };
            format!("the store takes {op:?} (i{instance}, n{node}, #{ask}){copy}")
        }
        Step::Answer { at } => {
            let Answer { instance, ask, reply } = before.answers[at];
            format!("i{instance} hears {reply:?} to #{ask}")
        }
        Step::Lose { at } => format!("lost: {:?}", before.calls[at]),
        Step::Ask { .. }
        | Step::End { .. }
        | Step::Leave { .. }
        | Step::Doubt { .. }
        | Step::Beat { .. }
        | Step::Join { .. }
        | Step::Resync { .. }
        | Step::Unknown { .. }
        | Step::Crash { .. }
        | Step::Start { .. }
        | Step::SessionEnd { .. }
        | Step::Reap { .. }
        | Step::Forget { .. }
        | Step::PassOn { .. } => format!("{step:?}"),
    }
}

/// The orders that can make a difference: of accounts if both may be taken, of tickets if two wait.
fn orders(state: &State, want: Mask) -> impl Iterator<Item = Order> {
    let waits = |lease: &usize| matches!(state.store.entries[*lease].place, Place::Waiting(_));
    let tickets = (0..LEASES).filter(waits).count();
    let leases: &[bool] = if tickets > 1 { &[false, true] } else { &[false] };
    let accounts: &[bool] =
        if want.count_ones() > 1 || tickets > 0 { &[false, true] } else { &[false] };
    accounts.iter().flat_map(move |down| {
        leases.iter().map(|ldown| Order { accounts_down: *down, leases_down: *ldown })
    })
}

fn spend(budget: &mut u8) {
    if *budget != u8::MAX {
        *budget -= 1;
    }
}
