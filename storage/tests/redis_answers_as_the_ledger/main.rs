//! The scripts against the ledger: random sequences of operations are run on both, by one clock. Every
//! reply, every grant that is pushed, who holds and waits for what, and what is counted must be the
//! same; a difference is made as short as possible and printed.
//!
//! `SLUICE_CASES` sets the number of sequences, `SLUICE_SEED` which ones. The sequences are those by
//! which the engine's own tests compare the ledger with a naive model. Without a redis-server on the
//! path the tests say so and do nothing.
#![expect(clippy::tests_outside_test_module, reason = "this is a test")]
#![expect(
    dead_code,
    unused_imports,
    reason = "the naive model is shared with the engine's tests, which use all of it"
)]

mod costs;
#[path = "../../../engine/tests/ledger_model/menu.rs"]
mod menu;
#[path = "../../../engine/tests/ledger_model/naive/mod.rs"]
mod naive;
#[path = "../../../engine/tests/ledger_model/names.rs"]
mod names;
mod redis;
#[path = "../../../engine/tests/ledger_model/steps.rs"]
mod steps;
mod tampered;
#[path = "../../../engine/tests/ledger_model/world/mod.rs"]
mod world;

use std::cell::RefCell;
use std::fmt::{Debug, Write as _};
use std::sync::atomic::Ordering;

use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use proptest_state_machine::ReferenceStateMachine;
use sluice_engine::ledger::LineView;
use sluice_engine::store::{GAP_MAX, HomeState, REAP_MAX, StoreOp, StoreReply};
use sluice_engine::{Ledger, ModelId, PoolId, Span, Time};
use sluice_storage::redis::protocol::epoch;
use sluice_test_redis::{Cluster, Server};

use names::Names;
use redis::{CELL, Redis};
use world::{Done, World};

/// Both stores.
struct Pair<'a> {
    ledger: Ledger,
    redis: &'a mut Redis,
    names: Names,
    surveys: u64,
    /// The latest time of all.
    latest: Time,
    /// All that was done, to be read when something is wrong.
    log: String,
}

impl<'a> Pair<'a> {
    fn new(world: &World, redis: &'a mut Redis) -> Self {
        redis.clear();
        let ledger = Ledger::new(Time(world.setup.start));
        Self {
            ledger,
            redis,
            names: Names::default(),
            surveys: 0,
            latest: Time::ZERO,
            log: String::new(),
        }
    }

    /// What the world has just done is done to both.
    fn follow(&mut self, world: &World) -> Result<(), String> {
        let followed = world.done.iter().try_for_each(|done| self.follow_one(done));
        followed.map_err(|difference| format!("{}{difference}", self.log))
    }

    fn follow_one(&mut self, done: &Done) -> Result<(), String> {
        let op = self.names.op(&done.op);
        writeln!(self.log, "{:>12} {op:?}", done.now.0).map_err(|error| error.to_string())?;
        self.run(done.now, op, Some(&done.reply))?;
        same("view", &self.ledger.view().into_iter().map(long_view).collect::<Vec<_>>(), &{
            let view = self.redis.view()?;
            view.into_iter().map(long_view).collect()
        })?;
        same("counters", &self.ledger.counters(), &self.redis.counters())?;
        // How the accounts rank is seen by surveys only.
        self.surveys += 1;
        let survey = StoreOp::Survey {
            pool: PoolId(self.surveys % 3 + 1),
            model: ModelId(self.surveys % 2 + 1),
            session: None,
            excluded: Vec::new(),
            best: 8,
        };
        self.run(done.now, survey, None)
    }

    fn run(&mut self, now: Time, op: StoreOp, model: Option<&StoreReply>) -> Result<(), String> {
        self.latest = self.latest.max(now);
        let (reply, grants) = self.ledger.apply(now, op.clone());
        if let Some(model) = model {
            writeln!(self.log, "{:>12} {reply:?}", "").map_err(|error| error.to_string())?;
            self.names.learn(model, &reply)?;
        }
        let (theirs, pushed) = self.redis.apply(now, &op)?;
        same("reply", &long_reply(self.of_this_run(reply)), &long_reply(theirs))?;
        same("grants", &grants, &pushed)
    }

    /// When all sessions have ended and are reaped, nothing is left of leases and lines.
    fn end(&mut self) -> Result<(), String> {
        for _ in 0..12 {
            self.run(self.latest + GAP_MAX, StoreOp::Reap { max: REAP_MAX }, None)?;
        }
        let kept = ["counts", "ends", "epoch", "g", "h", "open", "p", "roster", "s"];
        let mut left = self.redis.keys();
        left.retain(|key| !kept.iter().any(|kept| key.strip_prefix("{test}:") == Some(kept)));
        left.extend(self.redis.users());
        same("keys that are left", &Vec::new(), &left)
    }

    /// The epoch as this server has it.
    fn of_this_run(&self, mut reply: StoreReply) -> StoreReply {
        if let StoreReply::Joined { epoch: of, .. } | StoreReply::Alive { epoch: of, .. } =
            &mut reply
        {
            *of = epoch(*of, self.redis.run);
        }
        reply
    }
}

fn same<T: PartialEq + Debug>(what: &str, ledger: &T, redis: &T) -> Result<(), String> {
    if ledger == redis {
        return Ok(());
    }
    Err(format!("{what}\n  ledger: {ledger:?}\n   redis: {redis:?}\n"))
}

/// What lies beyond the year 2255 is never, and there both stores may differ.
fn long(span: Span) -> Span {
    if span >= Span(1 << 52) { Span::MAX } else { span }
}

fn long_reply(mut reply: StoreReply) -> StoreReply {
    match &mut reply {
        StoreReply::Waiting { opens_in: Some(span), .. }
        | StoreReply::Shut { opens_in: Some(span) } => *span = long(*span),
        StoreReply::Surveyed(surveyed) => {
            surveyed.opens_in = surveyed.opens_in.map(long);
            if let Some(home) = &mut surveyed.home
                && let HomeState::Shut(span) = &mut home.state
            {
                *span = long(*span);
            }
        }
        StoreReply::Lost
        | StoreReply::Joined { .. }
        | StoreReply::Taken { .. }
        | StoreReply::Alive { .. }
        | StoreReply::Done
        | StoreReply::Held { .. }
        | StoreReply::Waiting { .. }
        | StoreReply::Full
        | StoreReply::Shut { .. }
        | StoreReply::Left
        | StoreReply::Home(_)
        | StoreReply::Reaped { .. } => {}
    }
    reply
}

fn long_view(mut view: LineView) -> LineView {
    for (_, _, span) in &mut view.closed {
        *span = long(*span);
    }
    view
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("it is a number"))
}

/// A sequence of 200 steps, each of them a choice of choices, takes more stack than a test has.
fn on_a_large_stack(test: fn()) {
    let running = std::thread::Builder::new().stack_size(1 << 28).spawn(test);
    running.expect("there is memory").join().expect("the test has said why");
}

#[test]
fn redis_answers_as_the_ledger() {
    on_a_large_stack(|| {
        if let Some(server) = Server::start("ledger", &[]) {
            compare(&server, cases());
        }
    });
}

#[test]
fn a_cluster_answers_as_the_ledger() {
    on_a_large_stack(|| {
        if let Some(cluster) = Cluster::start("cluster") {
            compare(cluster.owner(CELL), cases().div_ceil(4));
        }
    });
}

fn cases() -> u32 {
    number("SLUICE_CASES").map_or(64, |cases| cases as u32)
}

fn compare(server: &Server, cases: u32) {
    let redis = RefCell::new(Redis::new(server, |text| text));
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(number("SLUICE_SEED").unwrap_or(1)),
        max_shrink_iters: number("SLUICE_SHRINK").map_or(5_000, |most| most as u32),
        ..Config::default()
    });
    let sequences = World::sequential_strategy(1..=200);
    let result = runner.run(&sequences, |(mut world, steps, seen)| {
        let mut redis = redis.borrow_mut();
        let mut pair = Pair::new(&world, &mut redis);
        pair.follow(&world).map_err(TestCaseError::fail)?;
        for step in steps {
            if let Some(seen) = &seen {
                seen.fetch_add(1, Ordering::SeqCst);
            }
            world.step(&step);
            pair.follow(&world).map_err(TestCaseError::fail)?;
        }
        pair.end().map_err(TestCaseError::fail)
    });
    if let Err(difference) = result {
        panic!("{difference}");
    }
}
