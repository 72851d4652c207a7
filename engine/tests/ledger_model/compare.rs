//! A store beside the naive one: after every operation it must answer and look the same.

use std::fmt::Write as _;
use std::marker::PhantomData;

use proptest_state_machine::StateMachineTest;
use sluice_engine::Ledger;
use sluice_engine::ids::{AccountId, GateId, UserId};
use sluice_engine::ledger::{Counters, LineView};
use sluice_engine::store::{Grant, StoreOp, StoreReply};
use sluice_engine::time::Time;

use crate::naive::{Look, Naive, proper};
use crate::names::Names;
use crate::steps::Step;
use crate::world::{Done, World};

/// What the panics of this test begin with.
pub(crate) const DIFFERENT: &str = "the store is not as the naive model";

/// A store that is compared.
pub(crate) trait Subject {
    fn begin(start: Time) -> Self
    where
        Self: Sized;
    fn apply(&mut self, now: Time, op: StoreOp) -> (StoreReply, Vec<Grant>);
    fn held(&self, gate: GateId) -> u32;
    fn due_now(&self) -> bool;
    fn account_shut(&self, account: AccountId) -> bool;
    fn counters(&self) -> Counters;
    fn looks(&self) -> Vec<Look>;
    /// What it finds wrong with itself.
    fn broken(&self) -> Vec<String>;
}

impl Subject for Ledger {
    fn begin(start: Time) -> Self {
        Self::new(start)
    }

    fn apply(&mut self, now: Time, op: StoreOp) -> (StoreReply, Vec<Grant>) {
        Self::apply(self, now, op)
    }

    fn held(&self, gate: GateId) -> u32 {
        Self::held(self, gate)
    }

    fn due_now(&self) -> bool {
        Self::due_now(self)
    }

    fn account_shut(&self, account: AccountId) -> bool {
        Self::account_shut(self, account)
    }

    fn counters(&self) -> Counters {
        Self::counters(self)
    }

    fn looks(&self) -> Vec<Look> {
        self.view().into_iter().map(look).collect()
    }

    fn broken(&self) -> Vec<String> {
        self.check_invariants()
    }
}

fn look(view: LineView) -> Look {
    let mut look = Look {
        line: view.line,
        limit: view.limit.map(proper),
        held: view.held,
        waiting: view.waiting.into_iter().map(|(lease, tag, _)| (tag, lease)).collect(),
        closed: view.closed,
    };
    look.held.sort();
    look.waiting.sort();
    look.closed.sort();
    look
}

/// A store under comparison.
pub(crate) struct System<S> {
    store: S,
    names: Names,
    /// All that was done, to be read when something is wrong.
    log: String,
}

impl<S: Subject> System<S> {
    pub(crate) fn new(store: S) -> Self {
        Self { store, names: Names::default(), log: String::new() }
    }

    /// What the world has just done is done here.
    pub(crate) fn follow(&mut self, world: &World) -> Result<(), String> {
        let mut done = world.done.iter();
        let followed =
            done.try_for_each(|done| self.follow_one(done).and_then(|()| self.compare(&done.then)));
        followed.map_err(|difference| {
            let looks = self.store.looks();
            format!("{DIFFERENT}\n{}{difference}The store then: {looks:?}", self.log)
        })
    }

    fn follow_one(&mut self, done: &Done) -> Result<(), String> {
        let op = self.names.op(&done.op);
        write!(self.log, "{:>12} {op:?}\n{:>12} ", done.now.0, "").map_err(|e| e.to_string())?;
        let (reply, grants) = self.store.apply(done.now, op);
        writeln!(self.log, "{reply:?} {}", brief(&grants)).map_err(|e| e.to_string())?;
        self.names.learn(&done.reply, &reply)?;
        same("reply", &self.names.reply(&done.reply), &reply)?;
        same("grants", &self.names.grants(&done.grants), &grants)
    }

    fn compare(&self, naive: &Naive) -> Result<(), String> {
        let users = (1..=4).map(|id| GateId::User(UserId(id)));
        for gate in users.chain((1..=6).map(|id| GateId::Account(AccountId(id)))) {
            same(&format!("held({gate})"), &naive.held(gate), &self.store.held(gate))?;
        }
        for id in (1..=6).map(AccountId) {
            let what = format!("account_shut({id})");
            same(&what, &naive.account_shut(id), &self.store.account_shut(id))?;
        }
        same("due_now", &naive.due_now(), &self.store.due_now())?;
        let looks: Vec<Look> = naive.view().into_iter().map(|look| self.names.look(look)).collect();
        let mut theirs = self.store.looks();
        theirs.retain(|look| {
            !(look.held.is_empty() && look.waiting.is_empty() && look.closed.is_empty())
        });
        theirs.sort_by_key(|look| look.line);
        same("view", &looks, &theirs)?;
        same("counters", &naive.counters, &self.store.counters())?;
        same("broken invariants", &Vec::new(), &self.store.broken())
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, got: &T) -> Result<(), String> {
    if expected == got {
        return Ok(());
    }
    Err(format!("{what}\n expected: {expected:?}\n      got: {got:?}\n"))
}

fn brief(grants: &[Grant]) -> String {
    grants.iter().map(|grant| format!("{} gets {}; ", grant.lease, grant.gate)).collect()
}

/// The state machine test of any subject against the world's naive store.
pub(crate) struct Compare<S>(PhantomData<S>);

impl<S: Subject> StateMachineTest for Compare<S> {
    type SystemUnderTest = System<S>;
    type Reference = World;

    fn init_test(world: &World) -> System<S> {
        let mut system = System::new(S::begin(Time(world.setup.start)));
        demand(system.follow(world));
        system
    }

    fn apply(mut system: System<S>, world: &World, _: Step) -> System<S> {
        demand(system.follow(world));
        system
    }
}

fn demand(followed: Result<(), String>) {
    if let Err(difference) = followed {
        panic!("{difference}");
    }
}
