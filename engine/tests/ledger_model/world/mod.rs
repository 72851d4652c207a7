//! A small world around the naive store: machines, nodes, requests and rosters, and what they have
//! been told. It makes operations of steps, and is the reference that proptest drives.

use std::fmt;

use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;
use sluice_engine::ids::{Ask, GateId, LeaseId, NodeId, Tag};
use sluice_engine::store::{
    Cause, Define, GAP_MAX, Grant, Instance, Limit, Mark, PROTOCOL, Scope, StoreOp, StoreReply,
    Version,
};
use sluice_engine::time::{Span, Time};

use crate::menu::{edit, limit, menu, mix};
use crate::naive::{Lease, Naive, Place};
use crate::steps::{
    Act, After, Among, AskStep, Edit, EnterStep, Mix, PatienceStep, Step, TagStep, WantStep, Who,
};

mod ops;
mod roster;

/// What a case begins with.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) start: u64,
    pub(crate) polls: bool,
    pub(crate) care: Care,
    /// Which numbers of the health fold.
    pub(crate) rules: u8,
    pub(crate) instances: u8,
    pub(crate) users: u8,
    pub(crate) accounts: u8,
    pub(crate) pools: u8,
    pub(crate) models: u8,
    pub(crate) limits: Vec<Limit>,
    pub(crate) edits: Vec<Edit>,
    pub(crate) mix: Mix,
}

/// What is done for the sessions, of its own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Care {
    /// They are kept alive by beats.
    Beats,
    /// Who is told `Lost` joins again.
    Joins,
    Nothing,
}

/// One operation, and what the naive store made of it.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(crate) now: Time,
    pub(crate) op: StoreOp,
    pub(crate) reply: StoreReply,
    pub(crate) grants: Vec<Grant>,
    pub(crate) notes: Vec<&'static str>,
    /// The naive store afterwards.
    pub(crate) then: Naive,
}

/// The reference's whole state.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) setup: Setup,
    menu: BoxedStrategy<Step>,
    pub(crate) naive: Naive,
    /// The machine's reading, which may go back.
    machine: u64,
    asks: u64,
    roster: Define,
    users: Vec<(Limit, Version)>,
    stamps: u64,
    /// The nodes that each instance has been, the latest last.
    nodes: Vec<Vec<NodeId>>,
    /// The `as_of` of each instance's running pass, and of the one before.
    passes: Vec<(Ask, Ask)>,
    /// Which instances have been told that their node is lost.
    lost: Vec<bool>,
    tags: Vec<(LeaseId, Tag)>,
    sent: Vec<StoreOp>,
    held_back: Vec<StoreOp>,
    /// What the last step did.
    pub(crate) done: Vec<Done>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.setup.fmt(f)
    }
}

impl ReferenceStateMachine for World {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        let start = prop_oneof![Just(1_000_000u64), Just(0), Just(1), Just(1_700_000_000_000_000)];
        let accounts = prop_oneof![2 => 1u8..=2, 3 => 1u8..=5];
        let sizes = (1u8..=3, 1u8..=4, accounts, 1u8..=3, 1u8..=3);
        let limits = prop::collection::vec(limit(), 9);
        let edits = prop::collection::vec(edit(), 0..8);
        let rules = prop_oneof![5 => 0u8..3, 1 => Just(3)];
        let care =
            prop_oneof![8 => Just(Care::Beats), 6 => Just(Care::Joins), 1 => Just(Care::Nothing)];
        (start, prop::bool::weighted(0.25), care, rules, sizes, limits, edits, mix())
            .prop_map(|(start, polls, care, rules, sizes, limits, edits, mix)| Setup {
                start,
                polls,
                care,
                rules,
                instances: sizes.0,
                users: sizes.1,
                accounts: if mix.sick { sizes.2.min(2) } else { sizes.2 },
                pools: sizes.3,
                models: if mix.wide { 100 } else { sizes.4 },
                limits: limits
                    .into_iter()
                    .map(|limit| match limit {
                        Limit::Slots(1) if mix.sick => Limit::Slots(3),
                        Limit::Slots(2) if mix.sick => Limit::Unlimited,
                        Limit::Slots(_) | Limit::Closed | Limit::Unlimited => limit,
                    })
                    .collect(),
                edits,
                mix,
            })
            .prop_map(Self::new)
            .boxed()
    }

    fn transitions(state: &Self) -> BoxedStrategy<Step> {
        state.menu.clone()
    }

    fn apply(mut state: Self, step: &Step) -> Self {
        state.step(step);
        state
    }
}

impl World {
    fn new(setup: Setup) -> Self {
        let users = setup.limits.iter().skip(5).map(|limit| (*limit, roster::version(1))).collect();
        let mut world = Self {
            menu: menu(setup.mix),
            naive: Naive::new(Time(setup.start)),
            machine: setup.start,
            asks: 0,
            roster: roster::first(&setup),
            users,
            stamps: 1,
            nodes: vec![Vec::new(); usize::from(setup.instances)],
            passes: vec![(Ask(0), Ask(0)); usize::from(setup.instances)],
            lost: vec![false; usize::from(setup.instances)],
            tags: Vec::new(),
            sent: Vec::new(),
            held_back: Vec::new(),
            done: Vec::new(),
            setup,
        };
        world.run(StoreOp::Define(world.roster.clone()));
        for instance in 0..world.setup.instances {
            world.run(StoreOp::Join {
                instance: name(instance),
                replaces: None,
                resume: false,
                protocol: PROTOCOL,
            });
        }
        world
    }

    pub(crate) fn step(&mut self, step: &Step) {
        self.done.clear();
        if self.setup.care == Care::Beats {
            self.keep_alive();
        }
        let moved = match step.after {
            After::Nothing => self.machine,
            After::Us(us) => self.machine.max(self.naive.raw.0) + us,
            After::Moment(nth, beside) => self.naive.raw.0 + self.moment(nth, beside).0,
            After::Back(us) => self.machine.saturating_sub(us),
        };
        self.machine = moved;
        match &step.act {
            Act::Crowd(count, enter) => self.crowd(*count, enter),
            Act::Sweep { who, account, first, count, mark } => {
                for nth in 0..*count {
                    self.have_and_leave(*who, *account, Some(*first + nth), *mark);
                }
            }
            Act::Storm { nth, marks } => self.storm(*nth, marks),
            Act::Relapse { who, account, times, mark } => {
                for _ in 0..*times {
                    self.machine = self.naive.raw.0 + self.opening_of(*account).0;
                    self.have_and_leave(*who, *account, None, *mark);
                }
            }
            Act::Rush { who, account } => self.rush(*who, *account),
            act @ (Act::Enter(_)
            | Act::Leave { .. }
            | Act::Join { .. }
            | Act::Beat { .. }
            | Act::Resync(_)
            | Act::Define { .. }
            | Act::Survey { .. }
            | Act::Session { .. }
            | Act::Health { .. }
            | Act::Reap { .. }
            | Act::Repeat(_)
            | Act::Deliver(_)) => self.act(act),
        }
    }

    fn have_and_leave(&mut self, who: Who, account: u8, model: Option<u8>, mark: Mark) {
        let who = Who { among: Among::All, ..who };
        self.act(&Act::Enter(at_gate(who, account, model, PatienceStep::None)));
        self.act(&Act::Leave { who, mark: Some(mark), fence: false, held_back: false });
    }

    fn rush(&mut self, who: Who, account: u8) {
        let who = Who { among: Among::All, former: false, ..who };
        let (scope, cause) = (Scope::Account, Cause::RateLimited);
        let span = Span::from_secs(2);
        let close = Mark::Close { scope, span, cause, explicit: true };
        self.have_and_leave(who, account, None, close);
        let opens_in = self.opening_of(account);
        let patient = Who { attempt: 1 - who.attempt, ..who };
        let long = PatienceStep::Us(opens_in.0 + 1_000_000);
        self.act(&Act::Enter(at_gate(patient, account, None, long)));
        let short = PatienceStep::Us(opens_in.0);
        self.crowd(12, &at_gate(who, account, None, short));
        self.machine = self.naive.raw.0 + opens_in.0;
        let other = Who { instance: who.instance + 1, ..patient };
        self.act(&Act::Enter(EnterStep {
            tag: TagStep::Absent,
            ..at_gate(other, account, None, long)
        }));
    }

    fn storm(&mut self, nth: u8, marks: &[Mark]) {
        let held = |l: &Lease| match &l.place {
            Place::Held(held) => Some((l.id, held.gate)),
            Place::Waiting(_) => None,
        };
        let all: Vec<(LeaseId, GateId)> = self.naive.leases.iter().filter_map(held).collect();
        let Some(one) = usize::from(nth).checked_rem(all.len()).map(|nth| all[nth]) else {
            return;
        };
        let same = all.iter().filter(|(_, gate)| *gate == one.1);
        for ((lease, _), mark) in same.zip(marks) {
            self.run(StoreOp::Leave { lease: *lease, mark: Some(*mark), fence: false });
        }
    }

    fn crowd(&mut self, count: u8, enter: &EnterStep) {
        for (nth, request) in (0..count).zip((0..4).cycle()) {
            let instance = nth / 4;
            let who = Who { among: Among::All, instance, request, former: false, ..enter.who };
            self.act(&Act::Enter(EnterStep { who, ..enter.clone() }));
        }
    }

    fn act(&mut self, act: &Act) {
        if self.setup.care == Care::Joins {
            self.join_again();
        }
        if let Some((op, held_back)) = self.op(act) {
            if held_back {
                self.held_back.push(op);
            } else {
                self.run(op);
            }
        }
    }

    /// Before the time goes on, which it does by [`GAP_MAX`] an operation at most.
    fn keep_alive(&mut self) {
        for session in self.naive.sessions.clone() {
            let left = session.ends.since(self.naive.clock);
            if self.naive.lives(session.node) && left <= GAP_MAX {
                self.run(StoreOp::Beat { node: session.node, settled: 0, in_flight: 0 });
            }
        }
    }

    /// Sometimes without its leases.
    fn join_again(&mut self) {
        for (instance, lost) in (0u8..).zip(std::mem::take(&mut self.lost)) {
            if lost {
                let current = self.naive.sessions.iter().find(|s| s.instance == name(instance));
                self.run(StoreOp::Join {
                    instance: name(instance),
                    replaces: current.map(|session| session.node),
                    resume: !self.asks.is_multiple_of(4),
                    protocol: PROTOCOL,
                });
            }
        }
        self.lost = vec![false; usize::from(self.setup.instances)];
    }

    fn run(&mut self, op: StoreOp) {
        let now = Time(self.machine);
        let (reply, grants) = self.naive.apply(now, &op);
        self.learn(&op, &reply);
        self.sent.push(op.clone());
        let notes = std::mem::take(&mut self.naive.notes);
        let then = self.naive.clone();
        self.done.push(Done { now, op, reply, grants, notes, then });
    }

    fn learn(&mut self, op: &StoreOp, reply: &StoreReply) {
        let named = match op {
            StoreOp::Beat { node, .. } => Some(*node),
            StoreOp::Resync(resync) => Some(resync.node),
            StoreOp::Enter(enter) => Some(enter.lease.node),
            StoreOp::Leave { lease, .. } => Some(lease.node),
            StoreOp::Join { .. }
            | StoreOp::Define(_)
            | StoreOp::Survey { .. }
            | StoreOp::Session { .. }
            | StoreOp::Health { .. }
            | StoreOp::Reap { .. } => None,
        };
        if *reply == StoreReply::Lost {
            for (nodes, lost) in self.nodes.iter().zip(&mut self.lost) {
                *lost |= nodes.last().copied() == named;
            }
        }
        if let (StoreOp::Join { instance, resume, .. }, StoreReply::Joined { node, .. }) =
            (op, reply)
        {
            let nodes = (0u8..).zip(&mut self.nodes).find(|(i, _)| name(*i) == *instance);
            let (_, nodes) = nodes.expect("one of ours");
            if let Some(former) = nodes.last().copied()
                && *resume
            {
                for (lease, _) in &mut self.tags {
                    if lease.node == former {
                        lease.node = *node;
                    }
                }
            }
            nodes.push(*node);
        }
        if let (
            StoreOp::Enter(enter),
            StoreReply::Held { tag, .. } | StoreReply::Waiting { tag, .. },
        ) = (op, reply)
        {
            self.tags.retain(|(lease, _)| *lease != enter.lease);
            self.tags.push((enter.lease, *tag));
        }
    }
}

pub(crate) fn name(instance: u8) -> Instance {
    Instance(format!("host/{instance}").into())
}

/// An ask for one account.
fn at_gate(who: Who, account: u8, model: Option<u8>, patience: PatienceStep) -> EnterStep {
    EnterStep {
        who,
        ask: AskStep::Newer,
        want: WantStep::Gate { account, model, line_max: 20 },
        tag: TagStep::Right,
        patience,
        ttl: None,
        held_back: false,
    }
}
