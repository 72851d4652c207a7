//! The small world: one engine, one ledger, a road between them that the scenario controls.

use alloc::sync::Arc;
use std::collections::BTreeMap;

use crate::journal::Journal;
use crate::ledger::Ledger;
use crate::rng::Seed;
use crate::roster::{Account, Platform, Pool, PoolKey, Roster, User};
use crate::store::{Grant, Instance, Limit, StoreFault, StoreOp, StoreReply, Version};
use crate::trail::Decision;
use crate::{
    AccountId, Action, Ask, Attempt, Config, Engine, Event, Executor, GateId, GroupId, ModelId,
    Outcome, Policy, PoolId, RequestId, RequestSpec, SessionKey, Span, Time, UserId, Verdict,
    drive,
};

pub(super) const POOL: PoolId = PoolId(1);

/// What the scenario does with store operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Road {
    /// Answered within the turn.
    Open,
    /// Kept until the scenario decides.
    Held,
    /// Told at once to have failed like this, and not applied.
    Broken(StoreFault),
}

pub(super) struct World {
    pub(super) engine: Engine,
    pub(super) out: Out,
    pub(super) now: Time,
    pub(super) journal: Journal,
    minted: u64,
}

/// What the engine has asked for.
pub(super) struct Out {
    pub(super) ledger: Ledger,
    pub(super) road: Road,
    pub(super) ops: Vec<(Ask, StoreOp)>,
    /// Reaps asked for.
    pub(super) reaps: u32,
    pub(super) grants: Vec<Grant>,
    pub(super) forwarded: BTreeMap<RequestId, (Attempt, AccountId)>,
    pub(super) cancelled: Vec<RequestId>,
    pub(super) pings: Vec<(Time, RequestId)>,
    pub(super) finished: BTreeMap<RequestId, Verdict>,
    pub(super) billing: Result<(), crate::Denial>,
}

impl Executor for Out {
    fn execute(&mut self, now: Time, action: Action) -> Option<Event> {
        if let Action::Store { op: StoreOp::Reap { .. }, .. } = action {
            self.reaps += 1;
        }
        match action {
            Action::Store { call, op } => match self.road {
                Road::Open => {
                    let result = Ok(self.apply(now, op));
                    return Some(Event::Store { call, result });
                }
                Road::Held => self.ops.push((call, op)),
                Road::Broken(fault) => {
                    self.ops.push((call, op));
                    return Some(Event::Store { call, result: Err(fault) });
                }
            },
            Action::CheckBilling { req, .. } => {
                return Some(Event::Billing { req, result: self.billing });
            }
            Action::Forward { req, attempt, account } => {
                self.forwarded.insert(req, (attempt, account));
            }
            Action::Cancel { req, .. } => self.cancelled.push(req),
            Action::Ping { req } => self.pings.push((now, req)),
            Action::Finish { req, verdict, .. } => {
                let former = self.finished.insert(req, verdict);
                assert_eq!(former, None, "I7: {req} finishes once");
            }
        }
        None
    }
}

impl Out {
    fn apply(&mut self, now: Time, op: StoreOp) -> StoreReply {
        let (reply, grants) = self.ledger.apply(now, op);
        self.grants.extend(grants);
        assert_eq!(self.ledger.check_invariants(), Vec::<String>::new());
        reply
    }
}

/// Accounts by limit, ids from 1, all in one pool; user 1 with this limit.
pub(super) fn roster(stamp: u64, user: Limit, accounts: &[Limit]) -> Roster {
    let account = |(n, limit): (usize, &Limit)| {
        let account =
            Account { limit: *limit, priority: 50, oauth: false, intercept_warmup: false };
        (AccountId(n as u64 + 1), account)
    };
    let accounts: BTreeMap<_, _> = accounts.iter().enumerate().map(account).collect();
    let key = PoolKey { group: GroupId(1), platform: Platform::Anthropic, model: None };
    Roster {
        version: Version { stamp, digest: 0 },
        users: [(UserId(1), User { limit: user })].into(),
        pools: [(key, Pool { id: POOL, members: accounts.keys().copied().collect() })].into(),
        accounts,
    }
}

pub(super) fn spec() -> RequestSpec {
    RequestSpec {
        user: UserId(1),
        group: GroupId(1),
        platform: Platform::Anthropic,
        model: ModelId(1),
        session: None,
        stream: true,
        warmup: false,
    }
}

impl World {
    /// An engine that has joined and told its roster.
    pub(super) fn new(policy: Policy, accounts: &[Limit]) -> Self {
        let mut world = Self::apart(policy, roster(1, Limit::Slots(100), accounts));
        world.tick();
        world.tick();
        assert!(world.engine.ready(world.now));
        world
    }

    /// An engine that has had no event yet.
    pub(super) fn apart(policy: Policy, roster: Roster) -> Self {
        let config = Config { instance: Instance("small/0".into()), seed: Seed(1), policy };
        let now = Time(1_000_000_000);
        Self {
            engine: Engine::new(config, Arc::new(roster)),
            out: Out {
                ledger: Ledger::new(now),
                road: Road::Open,
                ops: vec![],
                reaps: 0,
                grants: vec![],
                forwarded: BTreeMap::new(),
                cancelled: vec![],
                pings: vec![],
                finished: BTreeMap::new(),
                billing: Ok(()),
            },
            now,
            journal: Journal::new(50, 3),
            minted: 0,
        }
    }

    pub(super) fn turn(&mut self, event: Event) {
        let (engine, out) = (&mut self.engine, &mut self.out);
        drive::turn_with(engine, self.now, event, out, &mut self.journal);
        assert_eq!(self.engine.check_invariants(), Vec::<String>::new());
    }

    pub(super) fn tick(&mut self) {
        self.turn(Event::Tick);
    }

    pub(super) fn arrive(&mut self) -> RequestId {
        self.arrive_as(spec())
    }

    pub(super) fn arrive_in_session(&mut self, session: u8) -> RequestId {
        self.arrive_as(RequestSpec { session: Some(SessionKey([session; 16])), ..spec() })
    }

    pub(super) fn arrive_as(&mut self, spec: RequestSpec) -> RequestId {
        self.minted += 1;
        let req = RequestId(self.minted);
        self.turn(Event::Arrived { req, spec });
        req
    }

    /// Lets time pass, waking the engine whenever it wants that.
    pub(super) fn pass(&mut self, span: Span) {
        let end = self.now + span;
        while let Some((at, reason)) = self.engine.next_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            let before = self.engine.next_timeout();
            self.tick();
            assert_ne!(self.engine.next_timeout(), before, "{reason:?} makes it spin");
        }
        self.now = end;
        self.tick();
    }

    /// Delivers the pushed hints.
    pub(super) fn hint(&mut self) {
        for Grant { lease, gate } in core::mem::take(&mut self.out.grants) {
            self.turn(Event::Granted { lease, gate });
        }
    }

    /// Applies and answers the kept operations, oldest first, and those that follow from them.
    pub(super) fn deliver(&mut self) {
        while !self.out.ops.is_empty() {
            let (call, op) = self.out.ops.remove(0);
            let result = Ok(self.out.apply(self.now, op));
            self.turn(Event::Store { call, result });
        }
    }

    /// Takes the oldest kept operation of that kind; what becomes of it is the scenario's matter.
    pub(super) fn take(&mut self, kind: impl Fn(&StoreOp) -> bool) -> (Ask, StoreOp) {
        let at = self.out.ops.iter().position(|(_, op)| kind(op));
        self.out.ops.remove(at.expect("the engine has asked for it"))
    }

    /// Applies and answers an operation that was taken.
    pub(super) fn deliver_one(&mut self, (call, op): (Ask, StoreOp)) {
        let reply = self.apply_late(op);
        self.answer(call, Ok(reply));
    }

    /// What has been decided about a live request.
    pub(super) fn told(&self, req: RequestId) -> Vec<Decision> {
        let trail = self.engine.trail(req).expect("it is live");
        trail.steps.iter().map(|step| step.what).collect()
    }

    /// Applies an operation that was thought lost.
    pub(super) fn apply_late(&mut self, op: StoreOp) -> StoreReply {
        self.out.apply(self.now, op)
    }

    pub(super) fn answer(&mut self, call: Ask, result: Result<StoreReply, StoreFault>) {
        self.turn(Event::Store { call, result });
    }

    pub(super) fn start(&mut self, req: RequestId) {
        let (attempt, _) = self.out.forwarded[&req];
        self.turn(Event::Started { req, attempt });
    }

    pub(super) fn end(&mut self, req: RequestId, outcome: Outcome) {
        let (attempt, _) = self.out.forwarded.remove(&req).expect("it is running");
        self.turn(Event::Ended { req, attempt, outcome });
    }

    pub(super) fn account_of(&self, req: RequestId) -> Option<u64> {
        self.out.forwarded.get(&req).map(|(_, account)| account.0)
    }

    pub(super) fn verdict(&self, req: RequestId) -> Option<Verdict> {
        self.out.finished.get(&req).copied()
    }

    pub(super) fn held(&self, account: u64) -> u32 {
        self.out.ledger.held(GateId::Account(AccountId(account)))
    }

    pub(super) fn reload(&mut self, roster: Roster) {
        self.turn(Event::Roster(Arc::new(roster)));
    }
}
