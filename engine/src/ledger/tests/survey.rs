//! `Survey`: ranks, homes, openings.

use super::*;
use crate::store::{HomeState, SessionChange};

const KEY: crate::ids::SessionKey = crate::ids::SessionKey([9; 16]);

fn survey(store: &mut Store, session: bool, excluded: &[AccountId], best: u8) -> Surveyed {
    let session = session.then_some(KEY);
    let excluded = excluded.to_vec();
    match store.apply(StoreOp::Survey { pool: POOL, model: MODEL, session, excluded, best }) {
        StoreReply::Surveyed(surveyed) => *surveyed,
        other => panic!("{other:?}"),
    }
}

fn order(surveyed: &Surveyed) -> Vec<u64> {
    surveyed.best.iter().map(|candidate| candidate.account.0).collect()
}

#[test]
fn rank_is_priority_then_load_then_last_assignment_then_id() {
    let of = |id, slots, priority| AccountDef { priority, ..account(AccountId(id), slots) };
    let roster = [of(1, 4, 1), of(2, 4, 0), of(3, 4, 0), of(4, 4, 0), of(5, 2, 0), of(6, 0, 0)];
    let mut store = Store::of(Discipline::Settle, &roster);
    assert_eq!(order(&store.survey()), [2, 3, 4, 5, 1]);
    store.holds(1, home(AccountId(2)), AccountId(2));
    store.holds(2, home(AccountId(5)), AccountId(5));
    assert_eq!(order(&store.survey()), [3, 4, 2, 5, 1]);
    store.holds(3, home(AccountId(3)), AccountId(3));
    store.leave(3);
    let surveyed = store.survey();
    assert_eq!(order(&surveyed), [4, 3, 2, 5, 1]);
    let loads: Vec<u32> = surveyed.best.iter().map(|candidate| candidate.load_pct).collect();
    assert_eq!(loads, [0, 0, 25, 50, 0]);
    assert_eq!((surveyed.first, surveyed.open), (Some(AccountId(4)), 5));
    assert_eq!(order(&survey(&mut store, false, &[AccountId(4)], 2)), [3, 2]);
    assert!(survey(&mut store, false, &[], 0).best.is_empty());
}

#[test]
fn oauth_comes_first_among_equals_where_the_pool_prefers_it() {
    let mut store = Store::new(1, 1);
    let mut define = Define {
        version: Version { stamp: 5, digest: 0 },
        discipline: Discipline::Settle,
        health: HealthRules::default(),
        accounts: vec![account(A, 1), AccountDef { oauth: true, ..account(B, 1) }],
        pools: vec![PoolDef { pool: POOL, prefer_oauth: false, members: vec![A, B] }],
    };
    store.apply(StoreOp::Define(define.clone()));
    assert_eq!(order(&store.survey()), [1, 2]);
    define.version.stamp += 1;
    define.pools[0].prefer_oauth = true;
    store.apply(StoreOp::Define(define));
    let surveyed = store.survey();
    assert_eq!((order(&surveyed), surveyed.first), (vec![2, 1], Some(B)));
}

#[test]
fn a_full_account_is_first_but_not_best_and_its_own_line_is_load() {
    let mut store = Store::new(1, 4);
    store.holds(1, home(A), A);
    store.holds(2, home(B), B);
    let surveyed = store.survey();
    assert_eq!((order(&surveyed), surveyed.first, surveyed.open), (vec![2], Some(A), 2));
    for request in 3..6 {
        store.holds(request, home(B), B);
    }
    store.waits(6, home(B), 1);
    assert!(store.survey().best.is_empty());
    store.define(&[account(A, 1), account(B, 5)]);
    assert_eq!(store.survey().best.len(), 0);
}

#[test]
fn the_first_opening_is_told_only_when_nobody_is_open() {
    let mut store = Store::new(2, 2);
    store.holds(1, home(A), A);
    store.holds(2, home(B), B);
    store.leave_with(1, close(Scope::Account, 50));
    assert_eq!(store.survey().opens_in, None);
    store.leave_with(2, close(Scope::Model, 40));
    assert_eq!(store.survey().opens_in, Some(Span::from_secs(40)));
    let excluded = survey(&mut store, false, &[B], 8);
    assert_eq!(excluded.opens_in, Some(Span::from_secs(50)));
}

#[test]
fn a_home_is_told_with_what_can_be_done_with_it() {
    let mut store = Store::new(1, 1);
    let span = Span::from_secs(600);
    let bind = |account| SessionChange::Bind(account, span);
    let op = StoreOp::Session { key: KEY, change: bind(A), if_home: None };
    assert_eq!(store.apply(op), StoreReply::Home(Some(A)));
    let state = |store: &mut Store, excluded: &[AccountId]| {
        let home = survey(store, true, excluded, 8).home.expect("it is bound");
        (home.state, home.line)
    };
    assert_eq!(state(&mut store, &[]), (HomeState::Room, 0));
    assert_eq!(state(&mut store, &[A]), (HomeState::Gone, 0));
    store.holds(1, home(A), A);
    store.waits(2, home(A), 1);
    assert_eq!(state(&mut store, &[]), (HomeState::Full, 1));
    store.health(A, HealthChange::Drain);
    assert_eq!(state(&mut store, &[]), (HomeState::Full, 1), "it still serves its sessions");
    store.health(A, HealthChange::Disable);
    assert_eq!(state(&mut store, &[]).0, HomeState::Gone);
    store.health(A, HealthChange::Recover);
    store.leave_with(1, close(Scope::Account, 30));
    assert_eq!(state(&mut store, &[]).0, HomeState::Shut(Span::from_secs(30)));
    store.define(&[account(B, 1)]);
    assert_eq!(state(&mut store, &[]).0, HomeState::Gone);
    store.pass(Span::from_secs(600));
    assert_eq!(survey(&mut store, true, &[], 8).home, None);
}

#[test]
fn a_half_open_home_with_its_probe_out_is_full() {
    let mut store = Store::new(2, 2);
    let change = SessionChange::Bind(A, Span::from_secs(600));
    store.apply(StoreOp::Session { key: KEY, change, if_home: None });
    store.holds(1, home(A), A);
    store.leave_with(1, close(Scope::Account, 1));
    store.pass(Span::from_secs(1));
    let state = |store: &mut Store| survey(store, true, &[], 8).home.map(|home| home.state);
    assert_eq!(state(&mut store), Some(HomeState::Room));
    store.holds(2, home(A), A);
    assert_eq!(state(&mut store), Some(HomeState::Full));
}

#[test]
fn the_view_shows_who_holds_and_waits_and_what_is_closed() {
    let mut store = Store::new(1, 1);
    store.holds(1, home(A), A);
    store.holds(2, home(B), B);
    let tag = store.waits(3, pool(), 1);
    store.leave_with(2, close(Scope::Account, 30));
    store.pass(Span::from_secs(2));
    let view = store.ledger.view();
    let span = Span::from_secs(2);
    assert_eq!(view.len(), 3);
    assert_eq!(view[0].held, [(store.lease(1), span, true)]);
    assert_eq!(view[1].closed, [(None, Cause::RateLimited, Span::from_secs(28))]);
    assert_eq!(view[2].waiting, [(store.lease(3), tag, span)]);
}

#[test]
fn among_equals_the_lesser_id_is_first_and_best() {
    let mut store = Store::new(1, 1);
    let surveyed = survey(&mut store, false, &[], 1);
    assert_eq!((order(&surveyed), surveyed.first), (vec![1], Some(A)));
}

#[test]
fn of_two_assigned_one_after_the_other_the_earlier_is_better() {
    let mut store = Store::new(1, 1);
    for request in 1..=4 {
        // An ask that brings its tag draws one number only, so that the stamps follow each other.
        for account in [B, A] {
            let mut enter = store.enter(request, home(account));
            enter.tag = Some(Tag(request));
            store.apply(StoreOp::Enter(enter));
            store.leave(request);
        }
        assert_eq!(order(&store.survey()), [2, 1]);
        // A node draws one more: the next two begin at an odd number if these began at an even one.
        store.join(if request % 2 == 0 { "even" } else { "odd" }, None, false);
        store.pass(Span::from_secs(10));
        store.apply(StoreOp::Reap { max: 9 });
    }
}

#[test]
fn the_view_shows_every_gate_with_its_own_holders() {
    let mut store = Store::new(2, 1);
    store.holds(1, home(B), B);
    store.holds(2, home(A), A);
    store.holds(3, home(A), A);
    let holders: Vec<Vec<u64>> = store
        .ledger
        .view()
        .iter()
        .map(|line| line.held.iter().map(|(lease, ..)| lease.request.0).collect())
        .collect();
    assert_eq!(holders, [vec![2, 3], vec![1]]);
}

#[test]
fn the_view_shows_a_closing_until_it_opens() {
    let mut store = Store::new(1, 0);
    store.holds(1, home(A), A);
    store.leave_with(1, close(Scope::Account, 1));
    store.now = store.now + Span(999_999);
    store.beat();
    assert_eq!(store.ledger.view()[0].closed, [(None, Cause::RateLimited, Span(1))]);
    store.now = store.now + Span(1);
    store.beat();
    assert_eq!(store.ledger.view(), []);
}
