//! Random sequences, in both disciplines: nothing panics, all invariants hold after every
//! operation, and a copy or a stored ledger goes on as the original does.

use super::*;
use crate::ids::SessionKey;
use crate::rng::{Purpose, Seed, Stream};
use crate::store::{HeldLease, Resync, SessionChange, WaitingLease};

const SEQUENCES: u64 = 2_000;
const OPS: u64 = 200;

/// Draws operations over a small world, so that they meet.
struct Dice {
    rng: Stream,
    now: Time,
    asks: u64,
    stamp: u64,
    nodes: Vec<NodeId>,
}

impl Dice {
    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.rng.below(of.len() as u64) as usize]
    }

    fn account(&mut self) -> AccountId {
        AccountId(1 + self.rng.below(4))
    }

    fn model(&mut self) -> ModelId {
        ModelId(self.rng.below(3))
    }

    fn span(&mut self) -> Span {
        let secs = self.one(&[0, 1, 2, 3, 5, 30, 700, u64::MAX]);
        Span::from_secs(secs)
    }

    fn limit(&mut self) -> Limit {
        self.one(&[
            Limit::Closed,
            Limit::Slots(0),
            Limit::Slots(1),
            Limit::Slots(2),
            Limit::Unlimited,
        ])
    }

    fn node(&mut self) -> NodeId {
        if self.nodes.is_empty() || self.rng.chance(1, 50) {
            return NodeId(self.rng.below(9));
        }
        let nodes = self.nodes.clone();
        self.one(&nodes)
    }

    fn lease(&mut self) -> LeaseId {
        let (node, request) = (self.node(), RequestId(self.rng.below(6)));
        LeaseId { node, request, attempt: Attempt(self.rng.below(2) as u16) }
    }

    fn accounts(&mut self) -> Vec<AccountId> {
        (0..self.rng.below(3)).map(|_| self.account()).collect()
    }

    fn want(&mut self) -> Want {
        let line_max = self.rng.below(3) as u32;
        match self.rng.below(8) {
            0 | 1 => Want::User {
                user: UserId(self.rng.below(2)),
                limit: self.limit(),
                version: Version { stamp: self.rng.below(4), digest: 0 },
                line_max,
            },
            2 | 3 => Want::Gate { account: self.account(), model: self.model(), line_max },
            _ => Want::Pool {
                pool: PoolId(self.rng.below(3)),
                model: self.model(),
                best: self.accounts().into_iter().collect(),
                excluded: if self.rng.chance(1, 4) { self.accounts() } else { vec![] },
                line_max: self.rng.chance(5, 6).then_some(line_max),
            },
        }
    }

    fn mark(&mut self) -> Option<Mark> {
        let scope = self.one(&[Scope::Account, Scope::Model]);
        let cause = self.one(&[Cause::RateLimited, Cause::Overloaded]);
        let (span, explicit) = (self.span(), self.rng.chance(1, 2));
        let close = Mark::Close { scope, span, cause, explicit };
        self.one(&[None, Some(Mark::Ok), Some(Mark::Failed(scope)), Some(close)])
            .or_else(|| self.rng.chance(1, 20).then_some(Mark::Quarantine))
    }

    fn enter(&mut self) -> Enter {
        self.asks += 1;
        let ask = if self.rng.chance(1, 10) { self.rng.below(self.asks) } else { self.asks };
        let fabricated = self.rng.chance(1, 12);
        Enter {
            lease: self.lease(),
            ask: Ask(ask),
            want: self.want(),
            tag: fabricated.then(|| Tag(self.rng.below(3_000))),
            patience: self.rng.chance(7, 8).then(|| self.span()),
            ttl: self.rng.chance(1, 4).then(|| self.span()),
        }
    }

    fn resync(&mut self) -> Resync {
        self.asks += 1;
        let node = self.node();
        let held = |dice: &mut Self| HeldLease {
            lease: dice.lease(),
            gate: if dice.rng.chance(1, 3) {
                GateId::User(UserId(dice.rng.below(2)))
            } else {
                GateId::Account(dice.account())
            },
            limit: dice.rng.chance(1, 2).then(|| (dice.limit(), Version::default())),
            model: dice.model(),
            tag: Tag(dice.rng.below(3_000)),
            ttl: dice.rng.chance(1, 2).then(|| dice.span()),
        };
        let waiting = |dice: &mut Self| WaitingLease {
            lease: dice.lease(),
            want: dice.want(),
            tag: Tag(dice.rng.below(3_000)),
            patience: dice.span(),
            ttl: None,
        };
        Resync {
            node,
            ask: Ask(self.asks),
            as_of: Ask(self.asks.saturating_sub(self.rng.below(8))),
            busy: (0..self.rng.below(3)).map(|_| self.lease()).collect(),
            held: (0..self.rng.below(3)).map(|_| held(self)).collect(),
            waiting: (0..self.rng.below(3)).map(|_| waiting(self)).collect(),
            last: self.rng.chance(1, 2),
        }
    }

    fn define(&mut self, discipline: Option<Discipline>) -> Define {
        self.stamp += self.rng.below(2);
        let drawn = self.one(&[Discipline::Settle, Discipline::Poll]);
        let mut accounts = Vec::new();
        for _ in 0..self.rng.below(6) {
            let (account, limit) = (self.account(), self.limit());
            let (priority, oauth) = (self.rng.below(2) as u32, self.rng.chance(1, 2));
            accounts.push(AccountDef { account, limit, priority, oauth });
        }
        let pool = |dice: &mut Self| PoolDef {
            pool: PoolId(dice.rng.below(3)),
            prefer_oauth: dice.rng.chance(1, 2),
            members: (0..dice.rng.below(5)).map(|_| dice.account()).collect(),
        };
        Define {
            version: Version { stamp: self.stamp, digest: self.rng.below(2) },
            discipline: discipline.unwrap_or(drawn),
            health: HealthRules { failures_to_eject: 2, ..HealthRules::default() },
            accounts,
            pools: (0..self.rng.below(4)).map(|_| pool(self)).collect(),
        }
    }

    fn join(&mut self) -> StoreOp {
        let instance = Instance(self.one(&["one", "two", "three"]).into());
        let replaces = self.rng.chance(3, 4).then(|| self.node());
        StoreOp::Join { instance, replaces, resume: self.rng.chance(1, 2), protocol: 1 }
    }

    fn health(&mut self) -> StoreOp {
        let proved = HealthChange::Proved(self.lease());
        let (drain, disable) = (HealthChange::Drain, HealthChange::Disable);
        let recover = HealthChange::Recover;
        StoreOp::Health {
            account: self.account(),
            model: self.rng.chance(1, 3).then(|| self.model()),
            change: self.one(&[proved, proved, drain, disable, recover, recover, recover]),
        }
    }

    fn op(&mut self, discipline: Option<Discipline>) -> StoreOp {
        let pass = self.one(&[0, 0, 0, 1, 300_000, 1_000_000, 3_000_000]);
        self.now = self.now + Span(pass);
        match self.rng.below(100) {
            0..50 => StoreOp::Enter(self.enter()),
            50..74 => StoreOp::Leave {
                lease: self.lease(),
                mark: self.mark(),
                fence: self.rng.chance(1, 20),
            },
            74..82 => StoreOp::Beat { node: self.node(), settled: 0, in_flight: 0 },
            82..85 => self.join(),
            85..88 => StoreOp::Define(self.define(discipline)),
            88..91 => StoreOp::Resync(self.resync()),
            91..94 => self.health(),
            94..96 => StoreOp::Reap { max: self.rng.below(5) as u32 },
            96..98 => StoreOp::Session {
                key: SessionKey([self.rng.below(2) as u8; 16]),
                change: SessionChange::Bind(self.account(), self.span()),
                if_home: self.rng.chance(1, 2).then(|| self.account()),
            },
            _ => StoreOp::Survey {
                pool: PoolId(self.rng.below(4)),
                model: self.model(),
                session: Some(SessionKey([self.rng.below(2) as u8; 16])),
                excluded: self.accounts(),
                best: self.rng.below(12) as u8,
            },
        }
    }
}

/// Plays one sequence. `discipline`: the only one rosters name, or any.
fn play(seed: u64, discipline: Option<Discipline>, mut also: impl FnMut(&mut Ledger, u64)) {
    let rng = Seed(seed).stream(Purpose::Scenario, 0, 0);
    let start = Time(1_000);
    let mut dice = Dice { rng, now: start, asks: 0, stamp: 1, nodes: vec![] };
    let mut ledger = Ledger::new(start);
    for n in 0..OPS {
        let op = match n {
            0..3 => dice.join(),
            3 => StoreOp::Define(dice.define(discipline)),
            _ => dice.op(discipline),
        };
        let (reply, _) = ledger.apply(dice.now, op.clone());
        if let StoreReply::Joined { node, .. } = reply {
            dice.nodes.push(node);
            if dice.nodes.len() > 3 {
                dice.nodes.remove(0);
            }
        }
        let wrong = ledger.check_invariants();
        assert!(wrong.is_empty(), "seed {seed}, operation {n}, {op:?}: {wrong:?}");
        also(&mut ledger, n);
    }
}

#[test]
fn settling_keeps_every_invariant_over_random_operations() {
    (0..SEQUENCES).for_each(|seed| play(seed, Some(Discipline::Settle), |_, _| {}));
}

#[test]
fn polling_keeps_every_invariant_over_random_operations() {
    (0..SEQUENCES).for_each(|seed| play(seed, Some(Discipline::Poll), |_, _| {}));
}

#[test]
fn changing_disciplines_keeps_every_invariant_over_random_operations() {
    (0..SEQUENCES).for_each(|seed| play(seed, None, |_, _| {}));
}

#[test]
fn a_stored_ledger_and_a_copy_go_on_as_the_original() {
    for seed in 0..20 {
        let mut states = Vec::new();
        play(seed, None, |ledger, n| {
            if n % 50 == 20 {
                *ledger = ledger.clone();
            }
            states.push(postcard::to_allocvec(ledger).expect("a ledger can be written"));
        });
        play(seed, None, |ledger, n| {
            let bytes = postcard::to_allocvec(ledger).expect("a ledger can be written");
            assert_eq!(bytes, states[n as usize], "seed {seed}, operation {n}");
            *ledger = postcard::from_bytes(&bytes).expect("what was written can be read");
        });
    }
}
