//! The rules of the store protocol, one test each. [`Store`] is a small vocabulary to write them
//! in: every operation goes through it and is followed by a check of all invariants.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a reply that a test does not expect fails it, whichever it is"
)]

use alloc::vec::Vec;

use super::Ledger;
use super::history::Fact;
use crate::ids::{
    AccountId, Ask, Attempt, GateId, LeaseId, ModelId, NodeId, PoolId, RequestId, Tag, UserId,
};
use crate::store::{
    AccountDef, Cause, Define, Discipline, Enter, Grant, HealthChange, HealthRules, Instance,
    Limit, Mark, PoolDef, Scope, StoreOp, StoreReply, Surveyed, Version, Want,
};
use crate::time::{Span, Time};

mod due;
mod enter;
mod health;
mod invariants;
mod nodes;
mod random;
mod resync;
mod roster;
mod settle;
mod survey;

const A: AccountId = AccountId(1);
const B: AccountId = AccountId(2);
const POOL: PoolId = PoolId(7);
const MODEL: ModelId = ModelId(3);
const OTHER: ModelId = ModelId(4);
const USER: UserId = UserId(5);
const START: Time = Time(1_000_000_000);

/// A ledger, a node that has joined, and the time.
struct Store {
    ledger: Ledger,
    now: Time,
    node: NodeId,
    asks: u64,
    version: u64,
    discipline: Discipline,
    grants: Vec<Grant>,
}

impl Store {
    /// Accounts A and B of so many slots in one pool, settled.
    fn new(a: u32, b: u32) -> Self {
        Self::of(Discipline::Settle, &[account(A, a), account(B, b)])
    }

    fn polled(a: u32, b: u32) -> Self {
        Self::of(Discipline::Poll, &[account(A, a), account(B, b)])
    }

    fn of(discipline: Discipline, accounts: &[AccountDef]) -> Self {
        let mut ledger = Ledger::new(START);
        ledger.record_history();
        let node = NodeId(0);
        let mut store =
            Self { ledger, now: START, node, asks: 0, version: 0, discipline, grants: Vec::new() };
        store.node = store.join("one", None, false);
        store.define(accounts);
        store
    }

    fn apply(&mut self, op: StoreOp) -> StoreReply {
        let (reply, grants) = self.ledger.apply(self.now, op);
        self.grants = grants;
        assert_eq!(self.ledger.check_invariants(), Vec::<String>::new());
        reply
    }

    /// Lets time pass, a second at a time, with sessions kept alive.
    fn pass(&mut self, span: Span) {
        let end = self.now + span;
        while self.now < end {
            self.now = (self.now + Span::from_secs(1)).min(end);
            self.beat();
        }
    }

    fn beat(&mut self) -> StoreReply {
        self.apply(StoreOp::Beat { node: self.node, settled: 0, in_flight: 0 })
    }

    fn join(&mut self, name: &str, replaces: Option<NodeId>, resume: bool) -> NodeId {
        match self.try_join(name, replaces, resume) {
            StoreReply::Joined { node, .. } => node,
            other => panic!("{other:?}"),
        }
    }

    fn try_join(&mut self, name: &str, replaces: Option<NodeId>, resume: bool) -> StoreReply {
        let instance = Instance(name.into());
        self.apply(StoreOp::Join { instance, replaces, resume, protocol: 1 })
    }

    /// A newer roster: these accounts, all of them in the pool.
    fn define(&mut self, accounts: &[AccountDef]) {
        self.version += 1;
        let members = accounts.iter().map(|def| def.account).collect();
        let define = Define {
            version: Version { stamp: self.version, digest: 0 },
            discipline: self.discipline,
            health: HealthRules::default(),
            accounts: accounts.to_vec(),
            pools: vec![PoolDef { pool: POOL, prefer_oauth: false, members }],
        };
        assert_eq!(self.apply(StoreOp::Define(define)), StoreReply::Done);
    }

    fn lease(&self, request: u64) -> LeaseId {
        LeaseId { node: self.node, request: RequestId(request), attempt: Attempt(1) }
    }

    /// A first or further ask for the request's first attempt, with a minute's patience.
    fn ask(&mut self, request: u64, want: Want) -> StoreReply {
        let enter = self.enter(request, want);
        self.apply(StoreOp::Enter(enter))
    }

    fn enter(&mut self, request: u64, want: Want) -> Enter {
        self.asks += 1;
        Enter {
            lease: self.lease(request),
            ask: Ask(self.asks),
            want,
            tag: None,
            patience: Some(Span::from_secs(60)),
            ttl: None,
        }
    }

    /// Asks and must get a slot of that account.
    fn holds(&mut self, request: u64, want: Want, account: AccountId) -> Tag {
        match self.ask(request, want) {
            StoreReply::Held { gate: GateId::Account(gate), tag, .. } if gate == account => tag,
            other => panic!("{other:?}"),
        }
    }

    /// Asks and must wait at that position.
    fn waits(&mut self, request: u64, want: Want, at: u32) -> Tag {
        match self.ask(request, want) {
            StoreReply::Waiting { position, tag, .. } if position == at => tag,
            other => panic!("{other:?}"),
        }
    }

    fn leave(&mut self, request: u64) {
        self.leave_with(request, None);
    }

    fn leave_with(&mut self, request: u64, mark: Option<Mark>) {
        let lease = self.lease(request);
        let reply = self.apply(StoreOp::Leave { lease, mark, fence: false });
        assert_eq!(reply, StoreReply::Done);
    }

    fn health(&mut self, account: AccountId, change: HealthChange) {
        let reply = self.apply(StoreOp::Health { account, model: None, change });
        assert_eq!(reply, StoreReply::Done);
    }

    /// The pool as a newcomer with no home sees it.
    fn survey(&mut self) -> Surveyed {
        let op =
            StoreOp::Survey { pool: POOL, model: MODEL, session: None, excluded: vec![], best: 8 };
        match self.apply(op) {
            StoreReply::Surveyed(surveyed) => *surveyed,
            other => panic!("{other:?}"),
        }
    }

    /// The requests that the last operation granted a slot to.
    fn granted(&self) -> Vec<u64> {
        self.grants.iter().map(|grant| grant.lease.request.0).collect()
    }

    fn held(&self, account: AccountId) -> u32 {
        self.ledger.held(GateId::Account(account))
    }

    /// What has happened since it was last asked.
    fn facts(&mut self) -> Vec<Fact> {
        self.ledger.take_history().into_iter().map(|entry| entry.fact).collect()
    }
}

const fn account(account: AccountId, slots: u32) -> AccountDef {
    AccountDef { account, limit: Limit::Slots(slots), priority: 0, oauth: false }
}

/// Any account of the pool; a line of 3.
fn pool() -> Want {
    pool_for(MODEL, &[])
}

fn pool_for(model: ModelId, excluded: &[AccountId]) -> Want {
    let line_max = Some(3);
    let best = Default::default();
    Want::Pool { pool: POOL, model, best, excluded: excluded.to_vec(), line_max }
}

/// One account; a line of 3.
const fn home(account: AccountId) -> Want {
    Want::Gate { account, model: MODEL, line_max: 3 }
}

/// The user's slot; a line of 3.
const fn user(slots: u32, stamp: u64) -> Want {
    let version = Version { stamp, digest: 0 };
    Want::User { user: USER, limit: Limit::Slots(slots), version, line_max: 3 }
}

/// Closed for so many seconds, as the upstream said.
const fn close(scope: Scope, secs: u64) -> Option<Mark> {
    let span = Span::from_secs(secs);
    Some(Mark::Close { scope, span, cause: Cause::RateLimited, explicit: true })
}
