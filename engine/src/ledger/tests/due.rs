//! The due list and the clocks.

use super::*;

fn brief(store: &mut Store, request: u64, secs: u64) {
    let mut enter = store.enter(request, pool());
    enter.patience = Some(Span::from_secs(secs));
    enter.tag = Some(Tag(request));
    assert!(matches!(store.apply(StoreOp::Enter(enter)), StoreReply::Waiting { .. }));
}

fn waiting(store: &Store) -> Vec<u64> {
    let lines = store.ledger.view();
    lines.iter().flat_map(|line| &line.waiting).map(|(lease, ..)| lease.request.0).collect()
}

#[test]
fn one_operation_works_off_eight_by_deadline_then_lease() {
    let mut store = Store::new(1, 0);
    store.holds(100, pool(), A);
    for request in (1..=12).rev() {
        brief(&mut store, request, if request > 10 { 1 } else { 2 });
    }
    store.now = store.now + Span::from_secs(2);
    store.apply(StoreOp::Define(Define {
        version: Version::default(),
        discipline: Discipline::Settle,
        health: HealthRules::default(),
        accounts: vec![],
        pools: vec![],
    }));
    assert_eq!(waiting(&store), [7, 8, 9, 10]);
    assert!(store.ledger.due_now());
    store.beat();
    assert_eq!(waiting(&store), []);
    assert!(!store.ledger.due_now());
}

#[test]
fn a_reap_works_off_up_to_max_more() {
    let mut store = Store::new(1, 0);
    store.holds(100, pool(), A);
    for request in 1..=12 {
        brief(&mut store, request, 2);
    }
    store.now = store.now + Span::from_secs(2);
    assert_eq!(store.apply(StoreOp::Reap { max: 3 }), StoreReply::Reaped { more: true });
    assert_eq!(waiting(&store), [12]);
    assert_eq!(store.apply(StoreOp::Reap { max: 0 }), StoreReply::Reaped { more: false });
}

#[test]
fn the_store_clock_comes_before_openings() {
    let mut store = Store::new(1, 0);
    store.holds(1, pool(), A);
    store.leave_with(1, close(Scope::Account, 4));
    store.waits(50, pool(), 1);
    for request in 2..=9 {
        brief(&mut store, request, 4);
    }
    store.now = store.now + Span::from_secs(4);
    store.beat();
    assert_eq!((store.granted(), waiting(&store)), (vec![], vec![50]));
    store.beat();
    assert_eq!(store.granted(), [50]);
}

#[test]
fn a_gap_moves_the_store_clock_four_seconds_and_the_raw_one_all_the_way() {
    let mut store = Store::new(1, 0);
    store.holds(1, pool(), A);
    store.leave_with(1, close(Scope::Account, 50));
    store.waits(2, pool(), 1);
    store.now = store.now + Span::from_secs(3600);
    assert!(matches!(store.beat(), StoreReply::Alive { .. }), "its session outlives the gap");
    assert_eq!(store.granted(), [2], "patience did too, and the account has opened");
    store.now = store.now - Span::from_secs(1800);
    store.beat();
    assert_eq!(store.held(A), 1, "a step back stops the clocks");
    store.now = store.now + Span::from_secs(1803);
    store.beat();
    assert_eq!(store.held(A), 0, "three seconds after the grant");
}

#[test]
fn a_survey_moves_no_clock() {
    let mut store = Store::new(1, 0);
    store.holds(1, pool(), A);
    store.waits(2, pool(), 1);
    store.leave(1);
    store.now = store.now + Span::from_secs(4);
    store.survey();
    assert_eq!(store.held(A), 1);
    store.beat();
    assert_eq!(store.held(A), 0);
}

#[test]
fn a_counter_at_the_end_of_time_still_counts() {
    let mut ledger = Ledger::new(Time(u64::MAX));
    let instance = Instance("one".into());
    let join = StoreOp::Join { instance, replaces: None, resume: false, protocol: 1 };
    let (reply, _) = ledger.apply(Time(u64::MAX), join);
    assert!(matches!(reply, StoreReply::Joined { .. }));
    assert_eq!(Ledger::new(Time(0)).epoch(), 1);
}

#[test]
fn a_grant_whose_ttl_ends_before_its_claim_window_expires() {
    let mut store = Store::new(1, 0);
    store.holds(1, pool(), A);
    let mut brief = store.enter(2, pool());
    brief.ttl = Some(Span::from_secs(2));
    store.apply(StoreOp::Enter(brief));
    store.leave(1);
    store.now = store.now + Span::from_secs(4);
    store.beat();
    let counters = store.ledger.counters();
    assert_eq!((counters.leases_expired, counters.grants_passed_on), (1, 0));
}

#[test]
fn a_users_gate_that_the_due_list_empties_is_forgotten_before_the_operation() {
    let mut store = Store::new(1, 0);
    let mut brief = store.enter(1, user(3, 5));
    brief.ttl = Some(Span::from_secs(1));
    store.apply(StoreOp::Enter(brief));
    store.now = store.now + Span::from_secs(1);
    store.ask(2, user(1, 4));
    store.waits(3, user(1, 4), 1);
}

#[test]
fn an_opening_that_has_come_stays_due_whatever_a_mark_does_to_other_keys() {
    let mut store = Store::new(20, 0);
    for request in 1..=10 {
        let model = ModelId(request);
        store.holds(request, Want::Gate { account: A, model, line_max: 3 }, A);
    }
    for request in 1..=9 {
        store.leave_with(request, close(Scope::Model, 4));
    }
    store.now = store.now + Span::from_secs(4);
    store.leave_with(10, close(Scope::Model, 4));
    assert!(store.ledger.due_now(), "eight of nine have been worked off");
    store.beat();
    assert!(!store.ledger.due_now());
}
