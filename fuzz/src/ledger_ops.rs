//! Any operations in any order into a ledger: it never panics, and its invariants hold after each.

use arbitrary::{Result, Unstructured};
use sluice_engine::store::{
    Cause, Enter, HealthChange, HeldLease, Instance, Mark, Resync, Scope, SessionChange, StoreOp,
    StoreReply, Version, WaitingLease, Want,
};
use sluice_engine::{
    AccountId, Ask, Attempt, GateId, LeaseId, Ledger, ModelId, NodeId, PoolId, RequestId,
    SessionKey, Tag, Time, UserId,
};

use crate::{ACCOUNTS, POOLS, below, define, limit, span, step};

/// The most operations of one input.
const OPS_MAX: usize = 400;

/// Runs one input.
///
/// # Panics
/// When an invariant does not hold.
pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let mut world =
        World { ledger: Ledger::new(Time(1)), now: Time(1), nodes: vec![NodeId(0)], tags: vec![] };
    for _ in 0..OPS_MAX {
        if u.is_empty() || world.turn(&mut u).is_err() {
            return;
        }
    }
}

struct World {
    ledger: Ledger,
    now: Time,
    nodes: Vec<NodeId>,
    tags: Vec<Tag>,
}

impl World {
    fn turn(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        self.now = step(u, self.now)?;
        let op = self.op(u)?;
        let (reply, _) = self.ledger.apply(self.now, op);
        match reply {
            StoreReply::Joined { node, .. } | StoreReply::Taken { node } => self.nodes.push(node),
            StoreReply::Held { tag, .. } | StoreReply::Waiting { tag, .. } => self.tags.push(tag),
            StoreReply::Lost
            | StoreReply::Alive { .. }
            | StoreReply::Done
            | StoreReply::Full
            | StoreReply::Shut { .. }
            | StoreReply::Left
            | StoreReply::Surveyed(_)
            | StoreReply::Home(_)
            | StoreReply::Reaped { .. } => {}
        }
        let wrong = self.ledger.check_invariants();
        assert!(wrong.is_empty(), "{wrong:?}");
        Ok(())
    }

    fn op(&self, u: &mut Unstructured<'_>) -> Result<StoreOp> {
        Ok(match below(u, 16)? {
            0 => self.join(u)?,
            1 => StoreOp::Beat { node: self.node(u)?, settled: 0, in_flight: 0 },
            2 => StoreOp::Resync(self.resync(u)?),
            3 => StoreOp::Define(define(u)?),
            4..=9 => StoreOp::Enter(self.enter(u)?),
            10..=12 => {
                let mark = if u.arbitrary()? { Some(mark(u)?) } else { None };
                StoreOp::Leave { lease: self.lease(u)?, mark, fence: u.arbitrary()? }
            }
            13 => StoreOp::Survey {
                pool: PoolId(below(u, POOLS + 1)?),
                model: ModelId(below(u, 2)?),
                session: Some(session(u)?),
                excluded: vec![account(u)?],
                best: u.arbitrary()?,
            },
            14 => self.session_or_health(u)?,
            _ => StoreOp::Reap { max: below(u, 8)? as u32 },
        })
    }

    fn join(&self, u: &mut Unstructured<'_>) -> Result<StoreOp> {
        let instance = Instance(if u.arbitrary()? { "a".into() } else { "b".into() });
        let replaces = if u.ratio(7, 8)? { Some(self.node(u)?) } else { None };
        Ok(StoreOp::Join { instance, replaces, resume: u.arbitrary()?, protocol: 1 })
    }

    fn session_or_health(&self, u: &mut Unstructured<'_>) -> Result<StoreOp> {
        let account = account(u)?;
        if u.arbitrary()? {
            let change = match below(u, 4)? {
                0 => HealthChange::Proved(self.lease(u)?),
                1 => HealthChange::Drain,
                2 => HealthChange::Disable,
                _ => HealthChange::Recover,
            };
            let model = if u.ratio(1, 4)? { Some(ModelId(below(u, 2)?)) } else { None };
            return Ok(StoreOp::Health { account, model, change });
        }
        let change = match below(u, 3)? {
            0 => SessionChange::Bind(account, span(u)?),
            1 => SessionChange::Touch(span(u)?),
            _ => SessionChange::Drop,
        };
        let if_home = if u.arbitrary()? { Some(self::account(u)?) } else { None };
        Ok(StoreOp::Session { key: session(u)?, change, if_home })
    }

    fn resync(&self, u: &mut Unstructured<'_>) -> Result<Resync> {
        let node = self.node(u)?;
        let mut resync = Resync {
            node,
            ask: Ask(below(u, 32)?),
            as_of: Ask(below(u, 32)?),
            busy: vec![],
            held: vec![],
            waiting: vec![],
            last: u.arbitrary()?,
        };
        for _ in 0..below(u, 4)? {
            let lease = LeaseId { node, ..self.lease(u)? };
            let tag = self.tag(u)?.unwrap_or_default();
            match below(u, 3)? {
                0 => resync.busy.push(lease),
                1 => {
                    let gate = gate(u)?;
                    let limit = Some((limit(u)?, Version::default()));
                    let model = ModelId(below(u, 2)?);
                    resync.held.push(HeldLease { lease, gate, limit, model, tag, ttl: None });
                }
                _ => {
                    let (want, patience) = (want(u)?, span(u)?);
                    resync.waiting.push(WaitingLease { lease, want, tag, patience, ttl: None });
                }
            }
        }
        Ok(resync)
    }

    fn enter(&self, u: &mut Unstructured<'_>) -> Result<Enter> {
        Ok(Enter {
            lease: self.lease(u)?,
            ask: Ask(below(u, 32)?),
            want: want(u)?,
            tag: self.tag(u)?,
            patience: if u.ratio(7, 8)? { Some(span(u)?) } else { None },
            ttl: if u.ratio(1, 8)? { Some(span(u)?) } else { None },
        })
    }

    fn node(&self, u: &mut Unstructured<'_>) -> Result<NodeId> {
        let newest = self.nodes.len().saturating_sub(3);
        Ok(*u.choose(&self.nodes[newest..])?)
    }

    fn lease(&self, u: &mut Unstructured<'_>) -> Result<LeaseId> {
        let (request, attempt) = (RequestId(below(u, 12)?), Attempt(below(u, 2)? as u16));
        Ok(LeaseId { node: self.node(u)?, request, attempt })
    }

    fn tag(&self, u: &mut Unstructured<'_>) -> Result<Option<Tag>> {
        if self.tags.is_empty() || u.arbitrary()? {
            return Ok(None);
        }
        let newest = self.tags.len().saturating_sub(16);
        Ok(Some(*u.choose(&self.tags[newest..])?))
    }
}

fn account(u: &mut Unstructured<'_>) -> Result<AccountId> {
    Ok(AccountId(below(u, ACCOUNTS + 2)?))
}

fn session(u: &mut Unstructured<'_>) -> Result<SessionKey> {
    Ok(SessionKey([below(u, 3)? as u8; 16]))
}

fn gate(u: &mut Unstructured<'_>) -> Result<GateId> {
    Ok(if u.arbitrary()? {
        GateId::User(UserId(below(u, 3)?))
    } else {
        GateId::Account(account(u)?)
    })
}

fn want(u: &mut Unstructured<'_>) -> Result<Want> {
    let model = ModelId(below(u, 2)?);
    let line_max = below(u, 4)? as u32;
    Ok(match below(u, 6)? {
        0 | 1 => {
            let version = Version { stamp: below(u, 4)?, digest: 0 };
            Want::User { user: UserId(below(u, 3)?), limit: limit(u)?, version, line_max }
        }
        2 => Want::Gate { account: account(u)?, model, line_max },
        _ => {
            let best = [account(u)?, account(u)?].into_iter().collect();
            let excluded = if u.ratio(1, 4)? { vec![account(u)?] } else { vec![] };
            let line_max = if u.ratio(3, 4)? { Some(line_max) } else { None };
            Want::Pool { pool: PoolId(1 + below(u, POOLS)?), model, best, excluded, line_max }
        }
    })
}

fn mark(u: &mut Unstructured<'_>) -> Result<Mark> {
    let scope = if u.arbitrary()? { Scope::Account } else { Scope::Model };
    let cause = if u.arbitrary()? { Cause::RateLimited } else { Cause::Overloaded };
    Ok(match below(u, 4)? {
        0 => Mark::Ok,
        1 => Mark::Failed(scope),
        2 => Mark::Close { scope, span: span(u)?, cause, explicit: u.arbitrary()? },
        _ => Mark::Quarantine,
    })
}
