//! Gateways whose store goes away under load, and comes back: engines, the wrapper they share a store
//! through, and a ledger for the store, on one simulated clock.
#![expect(clippy::tests_outside_test_module, reason = "this is a test")]

mod host;
mod world;

use std::collections::BTreeMap;

use sluice_engine::ledger::history::Line;
use sluice_engine::store::Limit;
use sluice_engine::{AccountId, GateId, Owner, RequestId, Span, Time, UserId, Verdict};
use sluice_storage::degraded::Mode;
use sluice_storage::{Service, Watch};

use host::Away;
use world::{World, roster};

const FOUR: Limit = Limit::Slots(4);
const OUTAGE: Span = Span::from_secs(20);
/// From the outage until every gateway knows: one time-out, half a second of failures, and a beat.
const NOTICED: Span = Span::from_secs(4);
/// From the store's return until all is as if it had never been away.
const CONVERGED: Span = Span::from_secs(2);
/// Between two requests: two thirds of the slots are in use.
const EVERY: Span = Span::from_ms(250);
/// Seeds of each test.
const SEEDS: u64 = 3;

/// The ways in which a store goes away and comes back: how, and whether with its data.
const WAYS: [(Away, bool); 4] =
    [(Away::Stopped, false), (Away::Stopped, true), (Away::Gone, false), (Away::Gone, true)];

/// Three gateways of two workers, three accounts of four slots, and a user who may six things at once.
fn loaded(seed: u64, mode: Mode) -> World {
    let mut world = World::new(seed, (3, 2), mode, roster(Limit::Slots(6), &[FOUR; 3]));
    assert!(world.all_ready());
    world.judge = within_the_bound;
    world.load(EVERY, Span::from_secs(10));
    world
}

/// Everybody loses the store for a while, under load.
fn outage(world: &mut World, (away, forgets): (Away, bool)) {
    for process in 0..world.processes.len() {
        world.shared.lose(process, away);
    }
    world.load(EVERY, OUTAGE);
    if forgets {
        world.shared.forget();
    }
    for process in 0..world.processes.len() {
        world.shared.find(process);
    }
}

/// I16: what has been given by the store, or by all stand-ins of one outage, is within the limit. So
/// all that runs is within it but for what ran before the last change.
fn within_the_bound(world: &World, worker: usize, account: AccountId) {
    let mut accounts = BTreeMap::new();
    let mut users = BTreeMap::new();
    for running in world.running() {
        *accounts.entry((running.account, running.given)).or_insert(0) += 1;
        *users.entry((running.user, running.given)).or_insert(0) += 1;
    }
    assert!(accounts.values().all(|n| *n <= 4), "{accounts:?}");
    assert!(users.iter().all(|((user, _), n)| *user != UserId(1) || *n <= 6), "{users:?}");
    within_its_share(world, worker, account);
}

/// What a stand-in gives is within its share beside all that runs at its gateway.
fn within_its_share(world: &World, worker: usize, account: AccountId) {
    let process = world.workers[worker].process;
    if world.condition(process).service == Service::Local {
        let view = world.processes[process].view().expect("a stand-in can tell");
        let of = |line: Line| view.iter().find(|view| view.line == line).expect("it has given it");
        let line = of(Line::Gate(GateId::Account(account)));
        let Some(Limit::Slots(share)) = line.limit else { panic!("{line:?}") };
        assert!(line.held.len() <= share as usize, "{line:?}");
    }
}

fn service(world: &World) -> Vec<Service> {
    (0..world.processes.len()).map(|process| world.condition(process).service).collect()
}

/// After the store's return: nothing but the truth, and no request refused for want of a slot.
fn comes_to_rest(world: &mut World) {
    world.load(EVERY, CONVERGED);
    assert_eq!(service(world), [Service::Full; 3]);
    assert!(world.all_ready());
    // Nothing is under way for this moment.
    world.pass(Span::from_ms(20));
    assert_eq!(world.untrue(), Vec::<String>::new());
    world.judge = |world, _, account| {
        let running = world.running().filter(|running| running.account == account);
        assert!(running.count() <= 4, "I1 holds again");
    };
    // What exceeds the limit ends before anything is added.
    world.pass(Span::from_secs(4));
    world.load(EVERY, Span::from_secs(10));
    world.pass(Span::from_secs(10));
    assert_eq!(world.untrue(), Vec::<String>::new());
    assert_eq!(world.shared.with_ledger(sluice_engine::Ledger::view), []);
    for worker in &world.workers {
        assert_eq!(worker.arrivals.len(), worker.finished.len(), "I7");
    }
}

fn is_served(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Upstream { .. })
}

#[test]
fn in_local_mode_requests_go_on_within_the_shares() {
    for (seed, way) in (0..SEEDS).flat_map(|seed| WAYS.map(|way| (seed, way))) {
        let mut world = loaded(seed, Mode::Local);
        let lost = world.now;
        outage(&mut world, way);
        assert_eq!(service(&world), [Service::Local; 3]);
        let begun = |at: Time| at > lost + NOTICED && at < lost + OUTAGE;
        let local: usize = world
            .workers
            .iter()
            .map(|worker| worker.arrivals.values().filter(|(at, _)| begun(*at)).count())
            .sum();
        comes_to_rest(&mut world);
        let mut served = 0;
        for (worker, req, _, verdict) in world.verdicts() {
            assert_ne!(verdict.owner(), Owner::Policy, "seed {seed}: {verdict:?}");
            let (at, _) = world.workers[worker].arrivals[&req];
            served += usize::from(begun(at) && is_served(verdict));
        }
        assert!(served * 10 >= local * 9, "seed {seed}: {served} of {local} served");
    }
}

#[test]
fn in_reject_mode_every_request_is_told_so_at_once() {
    for (seed, way) in (0..SEEDS).flat_map(|seed| WAYS.map(|way| (seed, way))) {
        let mut world = loaded(seed, Mode::Reject);
        let lost = world.now;
        outage(&mut world, way);
        let back = world.now;
        assert_eq!(service(&world), [Service::Away; 3]);
        comes_to_rest(&mut world);
        let mut refused = 0;
        for (worker, req, ended, verdict) in world.verdicts() {
            assert_ne!(verdict.owner(), Owner::Policy, "seed {seed}: {verdict:?}");
            let (began, _) = world.workers[worker].arrivals[&req];
            if began < lost && !is_served(verdict) {
                assert!(ended < lost + NOTICED, "seed {seed}: it hung until {ended:?}");
            }
            if began > lost + NOTICED && began < back {
                assert_eq!(verdict, Verdict::StoreUnavailable, "seed {seed}");
                assert!(ended.since(began) < Span::from_ms(100), "seed {seed}");
                refused += 1;
            }
            if began > back + CONVERGED {
                assert!(is_served(verdict), "seed {seed}: {verdict:?}");
            }
        }
        assert!(refused > 50, "seed {seed}: {refused}");
    }
}

#[test]
fn who_waits_keeps_its_place_through_an_outage_and_the_return() {
    for (seed, (away, forgets)) in (0..SEEDS).flat_map(|seed| WAYS.map(|way| (seed, way))) {
        let free = roster(Limit::Unlimited, &[Limit::Slots(1)]);
        let mut world = World::new(seed, (1, 1), Mode::Local, free);
        world.length = (Span::from_secs(2), Span::from_secs(2));
        let mut asked: Vec<RequestId> = Vec::new();
        let mut ask = |world: &mut World, n: u64| {
            for n in 0..n {
                asked.push(world.arrive(0, UserId(1 + n % 2)));
                world.pass(Span::from_ms(20));
            }
        };
        ask(&mut world, 4);
        world.shared.lose(0, away);
        world.pass(Span::from_secs(3));
        assert_eq!(world.condition(0).service, Service::Local);
        ask(&mut world, 4);
        world.pass(Span::from_secs(3));
        if forgets {
            world.shared.forget();
        }
        world.shared.find(0);
        world.pass(CONVERGED);
        assert_eq!(world.condition(0).service, Service::Full);
        ask(&mut world, 3);
        world.pass(Span::from_secs(60));
        assert_eq!(world.workers[0].forwarded, asked, "seed {seed}, {away:?}");
    }
}

#[test]
fn a_gateway_that_is_cut_off_takes_no_more_than_its_share() {
    for seed in 0..SEEDS {
        let mut world = loaded(seed, Mode::Local);
        world.judge = within_its_share;
        world.shared.lose(0, Away::Gone);
        world.load(EVERY, OUTAGE);
        assert_eq!(service(&world), [Service::Local, Service::Full, Service::Full]);
        world.shared.find(0);
        comes_to_rest(&mut world);
    }
}

#[test]
fn what_ran_when_the_store_went_away_runs_on_and_is_counted() {
    let mut world = World::new(1, (2, 1), Mode::Local, roster(Limit::Unlimited, &[FOUR]));
    world.length = (Span::from_secs(60), Span::from_secs(60));
    for _ in 0..4 {
        world.arrive(0, UserId(2));
        world.pass(Span::from_ms(20));
    }
    assert_eq!(world.running().count(), 4);
    (0..2).for_each(|process| world.shared.lose(process, Away::Gone));
    world.pass(NOTICED);
    for _ in 0..4 {
        world.arrive(1, UserId(2));
        world.pass(Span::from_ms(20));
    }
    let share = world.workers[1].running.len();
    assert_eq!(world.workers[0].running.len(), 4);
    assert_eq!(world.condition(0).over_share, share as u64, "4 run, 4 - share are its own");
    assert_eq!(world.condition(1).over_share, 0);
    assert!((1..4).contains(&share), "seed 1 gives both of them something: {share}");
}
