//! A world for benches: one engine and one ledger, every answer at once, nothing in between.

use std::sync::Arc;

use sluice_engine::ledger::Ledger;
use sluice_engine::rng::Seed;
use sluice_engine::roster::{Account, Platform, Pool, PoolKey, Roster, User};
use sluice_engine::store::{Instance, Limit, Version};
use sluice_engine::{
    AccountId, Action, Attempt, Config, Engine, Event, Executor, GroupId, ModelId, Outcome, Policy,
    PoolId, RequestId, RequestSpec, Span, Time, UserId, turn,
};

/// The only pool of [`roster`].
pub const POOL: PoolId = PoolId(1);
/// The only model that is asked for.
pub const MODEL: ModelId = ModelId(1);

/// One user and so many accounts of 10 slots, in one pool.
#[must_use]
pub fn roster(accounts: u64) -> Roster {
    let account =
        Account { limit: Limit::Slots(10), priority: 50, oauth: false, intercept_warmup: false };
    let ids = || (1..=accounts).map(AccountId);
    let key = PoolKey { group: GroupId(1), platform: Platform::Anthropic, model: None };
    Roster {
        version: Version { stamp: 1, digest: 0 },
        users: [(UserId(1), User { limit: Limit::Slots(1_000) })].into(),
        accounts: ids().map(|id| (id, account)).collect(),
        pools: [(key, Pool { id: POOL, members: ids().collect() })].into(),
    }
}

/// A ledger that answers everything at once.
pub struct Here {
    /// The ledger.
    pub ledger: Ledger,
    /// Requests that were forwarded, in order.
    pub forwarded: Vec<RequestId>,
    /// Requests that have finished.
    pub finished: u64,
}

impl Executor for Here {
    fn execute(&mut self, now: Time, action: Action) -> Option<Event> {
        match action {
            Action::Store { call, op } => {
                let (reply, _) = self.ledger.apply(now, op);
                Some(Event::Store { call, result: Ok(reply) })
            }
            Action::CheckBilling { req, .. } => Some(Event::Billing { req, result: Ok(()) }),
            Action::Forward { req, .. } => {
                self.forwarded.push(req);
                None
            }
            Action::Finish { .. } => {
                self.finished += 1;
                None
            }
            Action::Cancel { .. } | Action::Ping { .. } => None,
        }
    }
}

/// An engine with its ledger, joined and ready.
pub struct World {
    /// The engine.
    pub engine: Engine,
    /// What it runs on.
    pub here: Here,
    now: Time,
    minted: u64,
}

impl World {
    /// So many accounts, the `fair` preset.
    #[must_use]
    pub fn new(accounts: u64) -> Self {
        let config =
            Config { instance: Instance("bench/0".into()), seed: Seed(1), policy: Policy::fair() };
        let ledger = Ledger::new(Time(1_000_000));
        let mut world = Self {
            engine: Engine::new(config, Arc::new(roster(accounts))),
            here: Here { ledger, forwarded: Vec::new(), finished: 0 },
            now: Time(1_000_000),
            minted: 0,
        };
        world.tick();
        world.tick();
        assert!(world.engine.ready(world.now), "a memory store is joined at once");
        world
    }

    /// One request, from its arrival to its end.
    pub fn request(&mut self) {
        self.arrive();
        let req = self.here.forwarded.pop().expect("nothing is in its way");
        self.end(req);
    }

    /// A request arrives.
    pub fn arrive(&mut self) {
        self.minted += 1;
        let spec = RequestSpec {
            user: UserId(1),
            group: GroupId(1),
            platform: Platform::Anthropic,
            model: MODEL,
            session: None,
            stream: true,
            warmup: false,
        };
        self.turn(Event::Arrived { req: RequestId(self.minted), spec });
    }

    /// A forwarded request is answered.
    pub fn end(&mut self, req: RequestId) {
        let attempt = Attempt(1);
        self.turn(Event::Started { req, attempt });
        self.turn(Event::Ended { req, attempt, outcome: Outcome::Completed });
    }

    /// Time passes.
    pub fn tick(&mut self) {
        self.turn(Event::Tick);
    }

    fn turn(&mut self, event: Event) {
        self.now = self.now + Span::from_us(1);
        turn(&mut self.engine, self.now, event, &mut self.here);
    }
}
