//! An engine, a ledger and a bad road between them: whatever the order of events, nothing panics, the
//! invariants of both hold, and every request finishes exactly once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use sluice_engine::rng::Seed;
use sluice_engine::roster::{Account, Platform, Pool, PoolKey, User};
use sluice_engine::store::{Grant, Instance, Limit, Scope, Version};
use sluice_engine::{
    AccountId, Action, Ask, Attempt, Config, Denial, Engine, Event, Executor, GroupId, Ledger,
    ModelId, Outcome, Policy, PoolId, RequestId, RequestSpec, Roster, SessionKey, StoreFault,
    StoreOp, StoreReply, Time, UserId, turn,
};

use crate::{ACCOUNTS, below, limit, span};

/// The most steps of one input.
const STEPS_MAX: usize = 400;

/// Runs one input.
///
/// # Panics
/// When an invariant does not hold.
pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok(mut world) = World::new(&mut u) else { return };
    for _ in 0..STEPS_MAX {
        if u.is_empty() || world.step(&mut u).is_err() {
            return;
        }
    }
}

struct World {
    engine: Engine,
    road: Road,
    now: Time,
    minted: u64,
    stamp: u64,
}

/// What is on its way, and what an outsider has seen.
struct Road {
    ledger: Ledger,
    /// Whether the store answers within the turn.
    at_once: bool,
    ops: Vec<(Ask, StoreOp)>,
    /// Applied once already, or told to have failed; may be applied (again) at any time.
    late: Vec<StoreOp>,
    answers: Vec<(Ask, std::result::Result<StoreReply, StoreFault>)>,
    grants: Vec<Grant>,
    billing: Vec<RequestId>,
    running: BTreeMap<RequestId, Attempt>,
    live: BTreeSet<RequestId>,
}

impl Road {
    fn apply(&mut self, now: Time, op: StoreOp) -> StoreReply {
        let (reply, grants) = self.ledger.apply(now, op);
        self.grants.extend(grants);
        let wrong = self.ledger.check_invariants();
        assert!(wrong.is_empty(), "{wrong:?}");
        reply
    }
}

impl Executor for Road {
    fn execute(&mut self, now: Time, action: Action) -> Option<Event> {
        match action {
            Action::Store { call, op } if self.at_once => {
                let result = Ok(self.apply(now, op));
                return Some(Event::Store { call, result });
            }
            Action::Store { call, op } => self.ops.push((call, op)),
            Action::CheckBilling { req, .. } => self.billing.push(req),
            Action::Forward { req, attempt, .. } => {
                assert!(self.live.contains(&req), "I8: {req} is forwarded after its end");
                let other = self.running.insert(req, attempt);
                assert_eq!(other, None, "{req} has one attempt at a time");
            }
            Action::Cancel { req, attempt } => {
                self.running.remove(&req);
                return Some(Event::Ended { req, attempt, outcome: Outcome::Cancelled });
            }
            Action::Ping { req } => assert!(self.live.contains(&req), "only the living are pinged"),
            Action::Finish { req, .. } => {
                assert!(self.live.remove(&req), "I7: {req} finishes twice");
                assert!(!self.running.contains_key(&req), "{req} finishes while it runs");
            }
        }
        None
    }
}

impl World {
    fn new(u: &mut Unstructured<'_>) -> Result<Self> {
        let policy = if u.arbitrary()? { Policy::seed() } else { Policy::fair() };
        let config = Config { instance: Instance("fuzz".into()), seed: Seed(1), policy };
        let road = Road {
            ledger: Ledger::new(Time(1)),
            at_once: u.arbitrary()?,
            ops: vec![],
            late: vec![],
            answers: vec![],
            grants: vec![],
            billing: vec![],
            running: BTreeMap::new(),
            live: BTreeSet::new(),
        };
        let engine = Engine::new(config, Arc::new(roster(u, 1)?));
        Ok(Self { engine, road, now: Time(1), minted: 0, stamp: 1 })
    }

    fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let event = match below(u, 14)? {
            0..=2 => self.arrive(u)?,
            3 => Event::Abandoned { req: RequestId(below(u, self.minted + 1)?) },
            4..=6 => return self.deliver(u),
            7 => match take(u, &mut self.road.grants)? {
                Some(Grant { lease, gate }) => Event::Granted { lease, gate },
                None => Event::Tick,
            },
            8 => match take(u, &mut self.road.billing)? {
                Some(req) => {
                    let denial = Denial { retry_after: None };
                    let result = if u.ratio(7, 8)? { Ok(()) } else { Err(denial) };
                    Event::Billing { req, result }
                }
                None => Event::Tick,
            },
            9 | 10 => self.upstream(u)?,
            11 => {
                self.stamp += 1;
                Event::Roster(Arc::new(roster(u, self.stamp)?))
            }
            12 => {
                self.now = self.engine.next_timeout().map_or(self.now, |(at, _)| at.max(self.now));
                Event::Tick
            }
            _ => {
                self.now = self.now + span(u)?;
                Event::Tick
            }
        };
        self.turn(event);
        Ok(())
    }

    fn turn(&mut self, event: Event) {
        turn(&mut self.engine, self.now, event, &mut self.road);
        let wrong = self.engine.check_invariants();
        assert!(wrong.is_empty(), "{wrong:?}");
        assert_eq!(self.engine.live_requests(), self.road.live.len(), "I7");
    }

    fn arrive(&mut self, u: &mut Unstructured<'_>) -> Result<Event> {
        self.minted += 1;
        let req = RequestId(self.minted);
        self.road.live.insert(req);
        let session = below(u, 4)?;
        let spec = RequestSpec {
            user: UserId(below(u, 3)?),
            group: GroupId(1),
            platform: Platform::Anthropic,
            model: ModelId(below(u, 3)?),
            session: (session > 0).then_some(SessionKey([session as u8; 16])),
            stream: u.arbitrary()?,
            warmup: u.ratio(1, 16)?,
        };
        Ok(Event::Arrived { req, spec })
    }

    fn upstream(&mut self, u: &mut Unstructured<'_>) -> Result<Event> {
        let running: Vec<_> = self.road.running.iter().map(|(r, a)| (*r, *a)).collect();
        if running.is_empty() {
            return Ok(Event::Tick);
        }
        let (req, attempt) = *u.choose(&running)?;
        if u.ratio(1, 4)? {
            return Ok(Event::Started { req, attempt });
        }
        self.road.running.remove(&req);
        Ok(Event::Ended { req, attempt, outcome: outcome(u)? })
    }

    /// Something on the road arrives, is lost, or is told to be lost and arrives later.
    fn deliver(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let fate = below(u, 8)?;
        if fate == 0 {
            if let Some(op) = take(u, &mut self.road.late)? {
                self.road.apply(self.now, op);
            }
            return Ok(());
        }
        if fate == 1 {
            if let Some((call, result)) = take(u, &mut self.road.answers)? {
                self.turn(Event::Store { call, result });
            }
            return Ok(());
        }
        let Some((call, op)) = take(u, &mut self.road.ops)? else { return Ok(()) };
        let result = match fate {
            2 => Err(StoreFault::Refused),
            6 => Err(StoreFault::Away),
            3 => {
                self.road.late.push(op);
                Err(StoreFault::Unknown)
            }
            4 => {
                self.road.apply(self.now, op.clone());
                self.road.late.push(op);
                Err(StoreFault::Unknown)
            }
            5 => {
                let reply = self.road.apply(self.now, op);
                self.road.answers.push((call, Ok(reply)));
                return Ok(());
            }
            _ => Ok(self.road.apply(self.now, op)),
        };
        self.turn(Event::Store { call, result });
        Ok(())
    }
}

/// Takes any one out of a bag.
fn take<T>(u: &mut Unstructured<'_>, bag: &mut Vec<T>) -> Result<Option<T>> {
    if bag.is_empty() {
        return Ok(None);
    }
    let at = u.choose_index(bag.len())?;
    Ok(Some(bag.swap_remove(at)))
}

fn roster(u: &mut Unstructured<'_>, stamp: u64) -> Result<Roster> {
    let mut roster = Roster { version: Version { stamp, digest: 0 }, ..Roster::default() };
    for id in 0..3 {
        let limit = if id == 0 { Limit::Slots(1) } else { limit(u)? };
        roster.users.insert(UserId(id), User { limit });
    }
    let mut members = Vec::new();
    for id in 1..=ACCOUNTS {
        let account = Account {
            limit: limit(u)?,
            priority: below(u, 2)? as u32,
            oauth: false,
            intercept_warmup: id == 1,
        };
        roster.accounts.insert(AccountId(id), account);
        if u.ratio(3, 4)? {
            members.push(AccountId(id));
        }
    }
    for model in [None, Some(ModelId(1))] {
        let key = PoolKey { group: GroupId(1), platform: Platform::Anthropic, model };
        let members = if model.is_some() { members.clone() } else { vec![AccountId(1)] };
        let id = PoolId(1 + u64::from(model.is_some()));
        roster.pools.insert(key, Pool { id, members });
    }
    Ok(roster)
}

fn outcome(u: &mut Unstructured<'_>) -> Result<Outcome> {
    let retry_after = if u.arbitrary()? { Some(span(u)?) } else { None };
    let scope = if u.arbitrary()? { Scope::Account } else { Scope::Model };
    Ok(match below(u, 10)? {
        0 => Outcome::ClientError { status: 400 },
        1 => Outcome::RateLimited { scope, retry_after },
        2 => Outcome::Overloaded { retry_after },
        3 => Outcome::ServerError { status: 500 },
        4 => Outcome::Unauthorized { status: 401 },
        5 => Outcome::Unreachable,
        6 => Outcome::Truncated,
        7 => Outcome::Cancelled,
        _ => Outcome::Completed,
    })
}
