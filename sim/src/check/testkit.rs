//! Planted histories for the checkers' own tests.

use std::rc::Rc;

use sluice_engine::ledger::history::{Ending, Entry, Fact, Line, Way};
use sluice_engine::rng::Seed;
use sluice_engine::roster::{Account, Platform, Pool, PoolKey, User};
use sluice_engine::store::{
    AccountDef, Cause, Define, Discipline, Enter, HealthRules, Instance, Limit, PoolDef, SESSION,
    Version, Want,
};
use sluice_engine::trail::{Decision, Trail};
use sluice_engine::{
    AccountId, Ask, Attempt, GateId, GroupId, LeaseId, ModelId, NodeId, Outcome, Policy, PoolId,
    Preset, RequestId, RequestSpec, Roster, SessionKey, Span, StoreFault, StoreOp, StoreReply, Tag,
    Time, UserId, Verdict,
};

use super::{Checker, Violation, judge_by};
use crate::history::{History, What};
use crate::scenario::{Answer, Arrival, CancelWay, NodeSpec, Scenario};

/// Builds a history step by step: one node, one pool of three accounts, requests 1 to 9 of user 1.
pub(super) struct Kit {
    scenario: Scenario,
    history: History,
    now: Time,
}

pub(super) fn account(id: u64) -> GateId {
    GateId::Account(AccountId(id))
}

pub(super) fn user(id: u64) -> GateId {
    GateId::User(UserId(id))
}

pub(super) fn node(id: u64) -> NodeId {
    NodeId(id)
}

pub(super) fn lease(req: u64, attempt: u16) -> LeaseId {
    LeaseId { node: NodeId(1), request: RequestId(req), attempt: Attempt(attempt) }
}

pub(super) fn session() -> SessionKey {
    SessionKey([7; 16])
}

fn scenario() -> Scenario {
    let spec = RequestSpec {
        user: UserId(1),
        group: GroupId(1),
        platform: Platform::Anthropic,
        model: ModelId(1),
        session: Some(session()),
        stream: true,
        warmup: false,
    };
    let answer = Answer { first_byte: None, end: Span::from_ms(1), outcome: Outcome::Completed };
    let arrival = |id| Arrival {
        id: RequestId(id),
        at: Time::ZERO,
        node: 0,
        spec: spec.clone(),
        leaves: None,
        billing: Span::ZERO,
        denial: None,
        answers: vec![answer],
        cancel: CancelWay::AtOnce,
    };
    let mut roster = Roster::default();
    roster.users.insert(UserId(1), User { limit: Limit::Slots(2) });
    let members: Vec<AccountId> = (1..=3).map(AccountId).collect();
    for &id in &members {
        let limit = Limit::Slots(1);
        let account = Account { limit, priority: 0, oauth: false, intercept_warmup: false };
        roster.accounts.insert(id, account);
    }
    let key = PoolKey { group: GroupId(1), platform: Platform::Anthropic, model: None };
    roster.pools.insert(key, Pool { id: PoolId(1), members });
    Scenario {
        seed: Seed(0),
        preset: Preset::Fair,
        policy: Policy::fair(),
        nodes: vec![NodeSpec {
            name: "node-0".into(),
            offset: Span::ZERO,
            delay_max: Span::ZERO,
            instant: 0,
            spurious: 0,
        }],
        rosters: vec![roster],
        arrivals: (1..=9).map(arrival).collect(),
        sick: Vec::new(),
        faults: Vec::new(),
        safety_end: Time(1_000_000_000),
        network: None,
    }
}

impl Kit {
    pub(super) fn new() -> Self {
        Self { scenario: scenario(), history: History::default(), now: Time::ZERO }
    }

    pub(super) fn judge(&self, checker: impl Checker + 'static) -> Option<Violation> {
        judge_by(vec![Box::new(checker)], &self.scenario, &self.history).pop()
    }

    pub(super) fn push(&mut self, what: What) -> &mut Self {
        self.history.push(self.now, what);
        self
    }

    /// Time passes, for the store as well.
    pub(super) fn wait(&mut self, ms: u64) -> &mut Self {
        self.now = self.now + Span::from_ms(ms);
        self.applying(StoreOp::Reap { max: 0 })
    }

    pub(super) fn fact(&mut self, fact: Fact) -> &mut Self {
        let entry = Entry { raw: self.now, clock: self.now, fact };
        self.push(What::Fact(entry))
    }

    pub(super) fn applying(&mut self, op: StoreOp) -> &mut Self {
        let (raw, clock) = (self.now, self.now);
        self.push(What::Applying { from: Some(0), call: Ask(0), op: Rc::new(op), raw, clock })
    }

    pub(super) fn applied(&mut self, op: StoreOp, reply: StoreReply) -> &mut Self {
        let op = Rc::new(op);
        self.push(What::Applied { from: Some(0), call: Ask(0), op, reply, due: false })
    }

    pub(super) fn join(&mut self, id: u64) -> &mut Self {
        let instance = Instance("node-0".into());
        self.fact(Fact::Joined { instance, node: node(id), replaces: None, resume: false })
    }

    pub(super) fn rejoin(&mut self, id: u64, former: NodeId, resume: bool) -> &mut Self {
        let instance = Instance("node-0".into());
        self.fact(Fact::Joined { instance, node: node(id), replaces: Some(former), resume })
    }

    pub(super) fn limit(&mut self, gate: GateId, limit: Limit) -> &mut Self {
        self.fact(Fact::Limited { gate, limit })
    }

    pub(super) fn grant(
        &mut self,
        req: u64,
        attempt: u16,
        gate: GateId,
        held: u32,
        limit: Limit,
    ) -> &mut Self {
        self.granted(req, attempt, gate, held, limit, Way::Entered)
    }

    pub(super) fn settle(
        &mut self,
        req: u64,
        attempt: u16,
        gate: GateId,
        held: u32,
        limit: Limit,
    ) -> &mut Self {
        let held = held.min(1);
        self.granted(req, attempt, gate, held, limit, Way::Settled)
    }

    fn granted(
        &mut self,
        req: u64,
        attempt: u16,
        gate: GateId,
        held: u32,
        limit: Limit,
        way: Way,
    ) -> &mut Self {
        let (lease, model, tag) = (lease(req, attempt), ModelId(1), Tag(req));
        self.fact(Fact::Granted { lease, gate, model, tag, way, held, limit })
    }

    pub(super) fn claim(&mut self, req: u64, attempt: u16, gate: GateId) -> &mut Self {
        self.fact(Fact::Claimed { lease: lease(req, attempt), gate })
    }

    pub(super) fn end(&mut self, req: u64, attempt: u16, gate: GateId, how: Ending) -> &mut Self {
        self.fact(Fact::Ended { lease: lease(req, attempt), gate, how })
    }

    pub(super) fn leave(&mut self, req: u64, attempt: u16) -> &mut Self {
        self.fact(Fact::Left { lease: lease(req, attempt), fence: false })
    }

    pub(super) fn close_key(&mut self, id: u64, ms: u64, cause: Cause) -> &mut Self {
        let until = self.now + Span::from_ms(ms);
        self.fact(Fact::Closed { account: AccountId(id), model: None, until, cause })
    }

    pub(super) fn define(&mut self, pool: u64, members: &[u64]) -> &mut Self {
        let members: Vec<AccountId> = members.iter().copied().map(AccountId).collect();
        let accounts = members.iter().map(|&account| AccountDef {
            account,
            limit: Limit::Slots(1),
            priority: 0,
            oauth: false,
        });
        let op = StoreOp::Define(Define {
            version: Version { stamp: 1, digest: 1 },
            discipline: Discipline::Settle,
            health: HealthRules::default(),
            accounts: accounts.collect(),
            pools: vec![PoolDef { pool: PoolId(pool), prefer_oauth: false, members }],
        });
        self.applying(op.clone()).applied(op, StoreReply::Done)
    }

    pub(super) fn enter(
        req: u64,
        attempt: u16,
        pool: u64,
        ask: u64,
        tag: Option<Tag>,
        ms: u64,
    ) -> StoreOp {
        StoreOp::Enter(Enter {
            lease: lease(req, attempt),
            ask: Ask(ask),
            want: Want::Pool {
                pool: PoolId(pool),
                model: ModelId(1),
                best: [].into_iter().collect(),
                excluded: Vec::new(),
                line_max: Some(10),
            },
            tag,
            patience: Some(Span::from_ms(ms)),
            ttl: None,
        })
    }

    pub(super) fn queue(
        &mut self,
        req: u64,
        attempt: u16,
        pool: u64,
        tag: u64,
        patience_ms: u64,
    ) -> &mut Self {
        let op = Self::enter(req, attempt, pool, req, None, patience_ms);
        let line = Line::Pool(PoolId(pool));
        self.applying(op.clone());
        self.fact(Fact::Queued { lease: lease(req, attempt), line, tag: Tag(tag) });
        let reply = StoreReply::Waiting { position: 1, tag: Tag(tag), opens_in: None };
        self.applied(op, reply)
    }

    pub(super) fn unqueue(&mut self, req: u64, attempt: u16, pool: u64) -> &mut Self {
        let line = Line::Pool(PoolId(pool));
        self.fact(Fact::Unqueued { lease: lease(req, attempt), line })
    }

    pub(super) fn send(&mut self, call: u64, op: StoreOp) -> &mut Self {
        self.push(What::Sent { node: 0, call: Ask(call), op: Rc::new(op) })
    }

    pub(super) fn ask(
        &mut self,
        req: u64,
        attempt: u16,
        pool: u64,
        call: u64,
        tag: Option<Tag>,
    ) -> &mut Self {
        self.send(call, Self::enter(req, attempt, pool, call, tag, 5_000))
    }

    pub(super) fn survey(&mut self, call: u64) -> &mut Self {
        let (pool, model, excluded) = (PoolId(1), ModelId(1), Vec::new());
        let session = Some(session());
        self.send(call, StoreOp::Survey { pool, model, session, excluded, best: 8 })
    }

    pub(super) fn tell(&mut self, call: u64, reply: StoreReply) -> &mut Self {
        self.push(What::Told { node: 0, call: Ask(call), result: Ok(reply) })
    }

    /// A session begins, and the node is told so at once.
    pub(super) fn join_told(&mut self, call: u64, id: u64) -> &mut Self {
        let instance = Instance("node-0".into());
        self.send(call, StoreOp::Join { instance, replaces: None, resume: false, protocol: 1 });
        let joined =
            StoreReply::Joined { node: node(id), session: SESSION, epoch: 1, stand_in: false };
        self.tell(call, joined)
    }

    /// An ask is told that it holds.
    pub(super) fn held_told(
        &mut self,
        call: u64,
        req: u64,
        attempt: u16,
        gate: GateId,
    ) -> &mut Self {
        let held = StoreReply::Held { gate, tag: Tag(req), probe: false };
        self.ask(req, attempt, 1, call, None).tell(call, held)
    }

    pub(super) fn tell_fault(&mut self, call: u64, fault: StoreFault) -> &mut Self {
        self.push(What::Told { node: 0, call: Ask(call), result: Err(fault) })
    }

    pub(super) fn launch(&mut self) -> &mut Self {
        self.push(What::Launched { node: 0, roster: 0 })
    }

    pub(super) fn arrive(&mut self, req: u64, _user: u64) -> &mut Self {
        self.push(What::Arrived { node: 0, req: RequestId(req) })
    }

    pub(super) fn billing(&mut self, req: u64) -> &mut Self {
        let req = RequestId(req);
        self.push(What::BillingAsked { node: 0, req });
        self.push(What::Billed { node: 0, req, result: Ok(()) })
    }

    pub(super) fn open(&mut self, req: u64, attempt: u16, account: u64) -> &mut Self {
        let (req, attempt, account) = (RequestId(req), Attempt(attempt), AccountId(account));
        self.push(What::Opened { node: 0, req, attempt, account })
    }

    pub(super) fn start(&mut self, req: u64, attempt: u16) -> &mut Self {
        self.push(What::Started { node: 0, req: RequestId(req), attempt: Attempt(attempt) })
    }

    pub(super) fn close(&mut self, req: u64, attempt: u16) -> &mut Self {
        self.close_as(req, attempt, Outcome::Completed)
    }

    pub(super) fn close_as(&mut self, req: u64, attempt: u16, outcome: Outcome) -> &mut Self {
        let (req, attempt, outcome) = (RequestId(req), Attempt(attempt), Some(outcome));
        self.push(What::Closed { node: 0, req, attempt, outcome })
    }

    pub(super) fn finish(&mut self, req: u64, verdict: Verdict) -> &mut Self {
        self.finish_with(req, verdict, &[])
    }

    pub(super) fn finish_with(
        &mut self,
        req: u64,
        verdict: Verdict,
        decisions: &[Decision],
    ) -> &mut Self {
        let mut trail = Trail::default();
        for &what in decisions {
            trail.push(self.now, what);
        }
        let (req, trail) = (RequestId(req), Box::new(trail));
        self.push(What::Finished { node: 0, req, verdict, trail })
    }

    pub(super) fn over(&mut self) -> &mut Self {
        self.push(What::Over { quiet: true, why: String::new() })
    }
}
