//! Worlds without faults: `fair` does exactly what the prediction says, `seed` at least lets an
//! arrival that finds room go at once and no other.

use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;
use sluice_engine::store::{Limit, StoreReply};
use sluice_engine::{AccountId, Event, Outcome, Preset, Time, Verdict};

use super::capacity::Flight;
use super::life::{Billing, Key, Life};
use super::quiet_model::{Calm, Deed, End, Quiet, Stage};
use super::run::{Report, cases, run};
use super::shape::{Shape, account};
use super::world::World;

/// The longest sequence.
const STEPS_MAX: usize = 120;

/// A world and the names of its requests, by their numbers in the prediction.
struct Pair {
    world: World,
    keys: Vec<Key>,
}

impl Pair {
    fn new(shape: &Shape, trace: bool) -> Self {
        let mut world = World::new(shape, trace);
        world.flush();
        Self { world, keys: Vec::new() }
    }

    fn give(&mut self, request: usize, event: impl Fn(Key) -> Event) {
        let key = self.keys[request];
        self.world.give(key.host, event(key));
    }

    fn arrive(&mut self, host: u8, user: u8, pool: u8) -> Key {
        let host = self.world.host(host);
        let spec = self.world.spec(user, pool, None);
        let key = self.world.arrive(host, spec).expect("nobody crashes here");
        self.keys.push(key);
        key
    }

    fn flight(&self, request: usize) -> Option<Flight> {
        let flights = &self.world.reference.capacity.flights;
        flights.iter().find(|flight| flight.key == self.keys[request]).copied()
    }

    fn end(&mut self, request: usize, outcome: Outcome) {
        if let Some(Flight { attempt, .. }) = self.flight(request) {
            self.give(request, |key| Event::Ended { req: key.req, attempt, outcome });
        }
    }

    fn deed(&mut self, model: &Quiet) {
        match model.deed {
            Deed::Nothing => {}
            Deed::Arrive { request } => {
                let r = &model.requests[request];
                let small = |n: usize| u8::try_from(n).expect("a world is small");
                self.arrive(r.host, small(r.user), small(r.pool));
            }
            Deed::Abandon { request } => {
                self.give(request, |key| Event::Abandoned { req: key.req });
                self.end(request, Outcome::Cancelled);
            }
            Deed::Started { request } => {
                if let Some(Flight { attempt, .. }) = self.flight(request) {
                    self.give(request, |key| Event::Started { req: key.req, attempt });
                }
            }
            Deed::End { request, outcome } => self.end(request, outcome),
            Deed::Change(change) => self.world.change(change, [true; 2]),
        }
        self.world.flush();
        self.world.check_ledger();
    }

    fn compare(&mut self, model: &Quiet) {
        for (n, request) in model.requests.iter().enumerate() {
            let key = self.keys[n];
            let life = &self.world.reference.lives[&key];
            let (stage, attempts) = (&request.stage, request.attempts);
            if !agrees(stage, attempts, life) {
                let was = format!("{:?}, open {:?}, {:?}", life.billing, life.open, life.finished);
                let tried = life.tried.clone();
                self.world.reference.complain(format!(
                    "request {n} ({key:?}): predicted {stage:?} after {attempts} attempts, \
                     but it is at {was}, tried {tried:?}"
                ));
                return;
            }
        }
    }

    fn report(self) -> Report {
        let World { trace, reference, .. } = self.world;
        Report { trace: trace.unwrap_or_default(), complaints: reference.complaints }
    }
}

fn agrees(stage: &Stage, attempts: u16, life: &Life) -> bool {
    let waits = life.finished.is_none() && life.open.is_none();
    match stage {
        Stage::UserLine { .. } => waits && life.billing == Billing::NotAsked,
        Stage::AccountLine { .. } => {
            waits && life.billing == Billing::Allowed && life.attempts == attempts
        }
        Stage::Running { account: on, .. } => {
            life.open.is_some_and(|attempt| attempt.0 == attempts)
                && life.finished.is_none()
                && life.tried.last() == Some(&account(*on))
        }
        Stage::Done(ways) => {
            life.finished.is_some_and(|verdict| ways.iter().any(|way| is_way(*way, verdict)))
                && life.attempts == attempts
        }
    }
}

fn is_way(way: End, verdict: Verdict) -> bool {
    match way {
        End::Upstream(last) => {
            matches!(verdict, Verdict::Upstream { outcome, .. } if outcome == last)
        }
        End::UserLineFull => verdict == Verdict::UserLineFull,
        End::UserWaitTimeout => verdict == Verdict::UserWaitTimeout,
        End::UserClosed => verdict == Verdict::UserClosed,
        End::NoAccounts => verdict == Verdict::NoAccounts,
        End::AllShut => matches!(verdict, Verdict::AllShut { .. }),
        End::AccountWaitTimeout => verdict == Verdict::AccountWaitTimeout,
        End::Abandoned => verdict == Verdict::Abandoned,
    }
}

fn play(start: &Quiet, steps: &[Calm], step_done: &dyn Fn(), trace: bool) -> Report {
    let mut model = start.clone();
    let mut pair = Pair::new(&model.shape, trace);
    for step in steps {
        step_done();
        model = Quiet::apply(model, step);
        pair.world.trace(|| format!("== {step:?}"));
        pair.world.advance(Time(model.now * 1_000));
        pair.world.flush();
        pair.deed(&model);
        pair.compare(&model);
        if !pair.world.reference.complaints.is_empty() {
            return pair.report();
        }
    }
    pair.world.heal();
    pair.report()
}

#[test]
fn fair_without_faults_does_exactly_what_is_predicted() {
    run::<Quiet>(cases(256), STEPS_MAX, play);
}

#[test]
fn the_21st_that_waits_for_its_user_is_turned_away() {
    let arrive = || Calm::Arrive { host: 0, user: 0, pool: 0 };
    let full = Limit::Slots(1);
    let mut shape = Quiet::new(lone_shape(full)).shape;
    shape.users = vec![full];
    let steps: Vec<Calm> = std::iter::repeat_with(arrive).take(22).collect();
    let mut pair = Pair::new(&shape, false);
    let mut model = Quiet::new(shape);
    for step in &steps {
        model = Quiet::apply(model, step);
        pair.world.advance(Time(model.now * 1_000));
        pair.deed(&model);
        pair.compare(&model);
    }
    let verdict = |n: usize| pair.world.reference.lives[&pair.keys[n]].finished;
    assert_eq!((verdict(20), verdict(21)), (None, Some(Verdict::UserLineFull)));
    assert_eq!(pair.report().complaints, Vec::<String>::new());
}

/// One engine, one user, one account, all with this limit.
pub(crate) fn lone_shape(limit: Limit) -> Shape {
    use super::quiet_model::{KNOBS, NONE};
    use super::shape::AccountPlan;
    Shape {
        preset: Preset::Fair,
        engines: 1,
        users: vec![limit],
        accounts: vec![AccountPlan { limit, priority: 0, intercept: false }],
        pools: vec![vec![0]],
        knobs: KNOBS,
        faults: NONE,
        prompt: true,
    }
}

/// The same steps for the `seed` preset, which promises less.
struct Polled;

impl ReferenceStateMachine for Polled {
    type State = Quiet;
    type Transition = Calm;

    fn init_state() -> BoxedStrategy<Quiet> {
        let seed = |mut quiet: Quiet| {
            quiet.shape.preset = Preset::Seed;
            quiet
        };
        Quiet::init_state().prop_map(seed).boxed()
    }

    fn transitions(state: &Quiet) -> BoxedStrategy<Calm> {
        Quiet::transitions(state)
    }

    fn apply(state: Quiet, _calm: &Calm) -> Quiet {
        state
    }
}

impl Pair {
    fn newest_limit(&self, account: AccountId) -> Limit {
        self.world.roster().accounts.get(&account).map_or(Limit::Closed, |a| a.limit)
    }

    /// Whether an arrival finds room; `None` where lines make that hard to say from outside.
    fn finds_room(&self, user: u8, pool: u8) -> Option<bool> {
        let reference = &self.world.reference;
        let spec = self.world.spec(user, pool, None);
        let roster = self.world.roster();
        let limit = roster.users.get(&spec.user).map_or(Limit::Closed, |user| user.limit);
        let now = reference.now;
        let user_room = limit.has_room(reference.capacity.slots_of(spec.user, now, None));
        let pool = roster.pool(spec.group, spec.platform, spec.model)?;
        let room = |account: &AccountId| {
            let open = reference.capacity.open_on(*account, now, None);
            self.newest_limit(*account).has_room(open)
        };
        let account_room = pool.members.iter().any(room);
        let waited = |life: &Life| {
            let ask = |attempt: &u16| *attempt > 0;
            life.asks.iter().any(|(attempt, _)| ask(attempt)) && life.waited.0 > 0
                || life.asks.values().any(|a| matches!(a.reply, Some(StoreReply::Waiting { .. })))
        };
        let lines = reference.live().any(|(_, life)| waited(life));
        if user_room && account_room && lines { None } else { Some(user_room && account_room) }
    }

    fn polled(&mut self, step: &Calm) {
        match *step {
            Calm::Arrive { host, user, pool } => {
                let room = self.finds_room(user, pool);
                let key = self.arrive(host, user, pool);
                let went = self.world.reference.lives[&key].open.is_some();
                if room.is_some_and(|room| room != went) {
                    let what = format!("{key:?} found room: {room:?}, forwarded: {went}");
                    self.world.reference.complain(what);
                }
            }
            Calm::Abandon { nth } => {
                let live = self.world.reference.live().map(|(key, _)| *key);
                let live: Vec<Key> = live.collect();
                if let Some(at) = super::net::pick(&live, nth) {
                    self.world.give(live[at].host, Event::Abandoned { req: live[at].req });
                    self.end_cancelled();
                }
            }
            Calm::Started { nth } => self.world.started(nth),
            Calm::End { nth, outcome } => self.world.end(nth, outcome),
            Calm::Advance { .. } => {}
            Calm::Change(change) => self.world.change(change, [true; 2]),
        }
    }

    fn end_cancelled(&mut self) {
        let flights = &self.world.reference.capacity.flights;
        if let Some(nth) = flights.iter().position(|flight| flight.cancelled) {
            self.world.end(u8::try_from(nth).expect("few at once"), Outcome::Cancelled);
        }
    }
}

fn play_polled(start: &Quiet, steps: &[Calm], step_done: &dyn Fn(), trace: bool) -> Report {
    let mut pair = Pair::new(&start.shape, trace);
    for step in steps {
        step_done();
        pair.world.trace(|| format!("== {step:?}"));
        let ms = if let Calm::Advance { ms } = step { *ms } else { 1 };
        pair.world.advance(Time(pair.world.now.0 + ms * 1_000));
        pair.polled(step);
        pair.world.flush();
        pair.world.check_ledger();
        if !pair.world.reference.complaints.is_empty() {
            return pair.report();
        }
    }
    pair.world.heal();
    pair.report()
}

#[test]
fn seed_without_faults_lets_an_arrival_go_at_once_if_and_only_if_there_is_room() {
    run::<Polled>(cases(256), STEPS_MAX, play_polled);
}
