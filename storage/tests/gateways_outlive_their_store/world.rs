//! Some gateways, each with engines, that share a store: all of it on one simulated clock.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use sluice_engine::ledger::history::Line;
use sluice_engine::rng::{Purpose, Seed, Stream};
use sluice_engine::roster::{Account, Platform, Pool, PoolKey, Roster, User};
use sluice_engine::store::{Grant, Instance, Limit, Version};
use sluice_engine::{
    AccountId, Action, Ask, Attempt, Config, Engine, Event, Executor, GateId, GroupId, ModelId,
    Outcome, Policy, PoolId, RequestId, RequestSpec, Span, StoreFault, StoreReply, Time, UserId,
    Verdict, turn,
};
use sluice_storage::degraded::{Degraded, Mode, Thresholds};
use sluice_storage::{Condition, Service, Store, Watch};

use crate::host::{Road, Shared};

pub(crate) const START: Time = Time(1_700_000_000_000_000);

type Answer = Result<StoreReply, StoreFault>;
type Trip = Pin<Box<dyn Future<Output = Answer>>>;

/// One running attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) user: UserId,
    pub(crate) account: AccountId,
    attempt: Attempt,
    ends: Time,
    /// Whether a stand-in had given the slot, and after how many outages.
    pub(crate) given: (bool, u64),
}

/// One engine.
pub(crate) struct Worker {
    engine: Engine,
    pub(crate) process: usize,
    arrived: u64,
    pub(crate) running: BTreeMap<RequestId, Running>,
    /// In the order in which they were forwarded.
    pub(crate) forwarded: Vec<RequestId>,
    pub(crate) finished: BTreeMap<RequestId, (Time, Verdict)>,
    pub(crate) arrivals: BTreeMap<RequestId, (Time, UserId)>,
    grants: Arc<Mutex<VecDeque<Grant>>>,
}

pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) shared: Shared,
    pub(crate) processes: Vec<Arc<Degraded<Road>>>,
    pub(crate) workers: Vec<Worker>,
    trips: Vec<(usize, Ask, Trip)>,
    /// Some of them have not set out yet.
    fresh: bool,
    draws: Stream,
    /// How long an attempt runs.
    pub(crate) length: (Span, Span),
    /// Looks at the world after every forward: by which worker, to which account.
    pub(crate) judge: fn(&Self, usize, AccountId),
}

/// Users 1 and 2, the first of which has a limit, and accounts, all in one pool.
pub(crate) fn roster(user: Limit, accounts: &[Limit]) -> Roster {
    let account = |(n, limit): (usize, &Limit)| {
        let account =
            Account { limit: *limit, priority: 50, oauth: false, intercept_warmup: false };
        (AccountId(n as u64 + 1), account)
    };
    let accounts: BTreeMap<_, _> = accounts.iter().enumerate().map(account).collect();
    let key = PoolKey { group: GroupId(1), platform: Platform::Anthropic, model: None };
    let free = User { limit: Limit::Unlimited };
    Roster {
        version: Version { stamp: 1, digest: 0 },
        users: [(UserId(1), User { limit: user }), (UserId(2), free)].into(),
        pools: [(key, Pool { id: PoolId(1), members: accounts.keys().copied().collect() })].into(),
        accounts,
    }
}

struct Hands<'w> {
    degraded: &'w Arc<Degraded<Road>>,
    sent: Rc<RefCell<Vec<(Ask, Trip)>>>,
    begun: Vec<(RequestId, Attempt, AccountId)>,
    ended: Vec<(RequestId, Verdict)>,
}

impl Executor for Hands<'_> {
    fn execute(&mut self, now: Time, action: Action) -> Option<Event> {
        match action {
            Action::Store { call, op } => match self.degraded.try_now(now, op) {
                Ok(reply) => return Some(Event::Store { call, result: Ok(reply) }),
                Err(op) => {
                    let degraded = self.degraded.clone();
                    let trip: Trip = Box::pin(async move { degraded.run(op).await });
                    self.sent.borrow_mut().push((call, trip));
                }
            },
            Action::CheckBilling { req, .. } => {
                return Some(Event::Billing { req, result: Ok(()) });
            }
            Action::Forward { req, attempt, account } => self.begun.push((req, attempt, account)),
            Action::Finish { req, verdict, .. } => self.ended.push((req, verdict)),
            Action::Cancel { .. } | Action::Ping { .. } => {}
        }
        None
    }
}

impl World {
    /// So many processes of so many workers, which have joined and beaten.
    pub(crate) fn new(
        seed: u64,
        (processes, workers): (usize, usize),
        mode: Mode,
        roster: Roster,
    ) -> Self {
        let shared = Shared::new(START);
        let roster = Arc::new(roster);
        let road = |process| Road { shared: shared.clone(), process };
        let degraded = |process| Degraded::new(road(process), mode, Thresholds::default());
        let all: Vec<_> = (0..processes).map(|process| Arc::new(degraded(process))).collect();
        let worker = |n: usize| {
            let instance = Instance(format!("{}/{}", n / workers, n % workers).into());
            let grants = Arc::<Mutex<VecDeque<Grant>>>::default();
            let heard = grants.clone();
            let sink = move |grant| heard.lock().expect("no panic").push_back(grant);
            all[n / workers].subscribe(instance.clone(), Arc::new(sink));
            let seed = Seed(seed * 100 + n as u64);
            Worker {
                engine: Engine::new(
                    Config { instance, seed, policy: Policy::fair() },
                    roster.clone(),
                ),
                process: n / workers,
                arrived: 0,
                running: BTreeMap::new(),
                forwarded: Vec::new(),
                finished: BTreeMap::new(),
                arrivals: BTreeMap::new(),
                grants,
            }
        };
        let workers = (0..processes * workers).map(worker).collect();
        let mut world = Self {
            now: START,
            shared,
            processes: all,
            workers,
            trips: Vec::new(),
            fresh: false,
            draws: Seed(seed).stream(Purpose::Client, 1, 1),
            length: (Span::from_ms(200), Span::from_secs(4)),
            judge: |_, _, _| {},
        };
        for n in 0..world.workers.len() {
            world.event(n, Event::Tick);
        }
        world.pass(Span::from_secs(7));
        world
    }

    fn draw(&mut self, (least, most): (Span, Span)) -> Span {
        Span(least.0 + self.draws.below(most.0 - least.0 + 1))
    }

    pub(crate) fn condition(&self, process: usize) -> Condition {
        self.processes[process].condition()
    }

    pub(crate) fn arrive(&mut self, worker: usize, user: UserId) -> RequestId {
        let record = &mut self.workers[worker];
        record.arrived += 1;
        let req = RequestId(record.arrived);
        record.arrivals.insert(req, (self.now, user));
        let spec = RequestSpec {
            user,
            group: GroupId(1),
            platform: Platform::Anthropic,
            model: ModelId(1),
            session: None,
            stream: false,
            warmup: false,
        };
        self.event(worker, Event::Arrived { req, spec });
        req
    }

    /// Requests come, one about every so often, for so long.
    pub(crate) fn load(&mut self, every: Span, span: Span) {
        let end = self.now + span;
        loop {
            let gap = self.draw((Span::ZERO, Span(2 * every.0)));
            if self.now + gap > end {
                self.pass(end.since(self.now));
                return;
            }
            self.pass(gap);
            let worker = self.draws.below(self.workers.len() as u64) as usize;
            let user = UserId(1 + self.draws.below(2));
            self.arrive(worker, user);
        }
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, span: Span) {
        let end = self.now + span;
        while let Some(at) = self.next().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.step();
        }
        self.now = end;
        self.step();
    }

    fn next(&self) -> Option<Time> {
        if self.fresh {
            return Some(self.now);
        }
        let ends = self.workers.iter().flat_map(|worker| worker.running.values());
        let wishes = self.workers.iter().filter_map(|worker| worker.engine.next_timeout());
        let wishes = wishes.map(|(at, _)| at).chain(ends.map(|running| running.ends));
        wishes.chain(self.shared.next_deadline()).min()
    }

    /// All that is due now.
    fn step(&mut self) {
        self.shared.set_now(self.now);
        self.deliver();
        for n in 0..self.workers.len() {
            let due = |(req, running): (&RequestId, &Running)| {
                (running.ends <= self.now).then_some((*req, running.attempt))
            };
            let ended: Vec<_> = self.workers[n].running.iter().filter_map(due).collect();
            for (req, attempt) in ended {
                self.workers[n].running.remove(&req);
                self.event(n, Event::Ended { req, attempt, outcome: Outcome::Completed });
            }
            let wish = self.workers[n].engine.next_timeout();
            if wish.is_some_and(|(at, _)| at <= self.now) {
                self.event(n, Event::Tick);
            }
        }
    }

    /// Answers and grants that have come.
    fn deliver(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut again = true;
        while again || self.fresh {
            again = false;
            self.fresh = false;
            for (n, call, mut trip) in std::mem::take(&mut self.trips) {
                match trip.as_mut().poll(&mut cx) {
                    Poll::Pending => self.trips.push((n, call, trip)),
                    Poll::Ready(result) => {
                        again = true;
                        self.event(n, Event::Store { call, result });
                    }
                }
            }
            for n in 0..self.workers.len() {
                let grants = std::mem::take(&mut *self.workers[n].grants.lock().expect("no panic"));
                for Grant { lease, gate } in grants {
                    again = true;
                    self.event(n, Event::Granted { lease, gate });
                }
            }
        }
    }

    fn event(&mut self, n: usize, event: Event) {
        let sent = Rc::default();
        let worker = &mut self.workers[n];
        let degraded = &self.processes[worker.process];
        let mut hands =
            Hands { degraded, sent: Rc::clone(&sent), begun: Vec::new(), ended: Vec::new() };
        turn(&mut worker.engine, self.now, event, &mut hands);
        assert_eq!(worker.engine.check_invariants(), Vec::<String>::new());
        let (begun, ended) = (hands.begun, hands.ended);
        let condition = degraded.condition();
        let now = self.now;
        worker.finished.extend(ended.into_iter().map(|(req, verdict)| (req, (now, verdict))));
        let sent: Vec<_> = sent.take();
        self.fresh |= !sent.is_empty();
        self.trips.extend(sent.into_iter().map(|(call, trip)| (n, call, trip)));
        for (req, attempt, account) in begun {
            let ends = self.now + self.draw(self.length);
            let worker = &mut self.workers[n];
            let (_, user) = worker.arrivals[&req];
            let given = (condition.service == Service::Local, condition.outages);
            worker.forwarded.push(req);
            worker.running.insert(req, Running { user, account, attempt, ends, given });
            (self.judge)(self, n, account);
        }
    }

    /// All attempts that run.
    pub(crate) fn running(&self) -> impl Iterator<Item = &Running> {
        self.workers.iter().flat_map(|worker| worker.running.values())
    }

    /// Every engine has a session that it believes in.
    pub(crate) fn all_ready(&self) -> bool {
        self.workers.iter().all(|worker| worker.engine.ready(self.now))
    }

    /// What runs without the store holding its slot, or the other way round.
    pub(crate) fn untrue(&self) -> Vec<String> {
        let view = self.shared.with_ledger(sluice_engine::Ledger::view);
        let mut held: Vec<_> = view
            .iter()
            .filter(|line| matches!(line.line, Line::Gate(GateId::Account(_))))
            .flat_map(|line| line.held.iter().map(|(lease, ..)| (line.line, *lease)))
            .collect();
        let mut untrue = Vec::new();
        for worker in &self.workers {
            for (req, running) in &worker.running {
                let gate = Line::Gate(GateId::Account(running.account));
                let at = held.iter().position(|(line, lease)| {
                    *line == gate
                        && Some(lease.node) == worker.engine.node()
                        && (lease.request, lease.attempt) == (*req, running.attempt)
                });
                match at {
                    Some(at) => drop(held.swap_remove(at)),
                    None => untrue.push(format!("{req} runs at {gate:?} without a slot")),
                }
            }
        }
        untrue.extend(held.iter().map(|(line, lease)| format!("{lease} has a slot of {line:?}")));
        untrue
    }

    pub(crate) fn verdicts(&self) -> impl Iterator<Item = (usize, RequestId, Time, Verdict)> {
        self.workers.iter().enumerate().flat_map(|(n, worker)| {
            worker.finished.iter().map(move |(req, (at, verdict))| (n, *req, *at, *verdict))
        })
    }
}
