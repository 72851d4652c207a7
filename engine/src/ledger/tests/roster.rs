//! `Define`: rosters, limits, disciplines.

use super::*;

#[test]
fn only_a_higher_version_changes_anything() {
    let mut store = Store::new(1, 0);
    store.version -= 1;
    store.define(&[account(A, 5)]);
    store.holds(1, home(A), A);
    store.waits(2, home(A), 1);
    store.define(&[account(A, 5)]);
    assert_eq!(store.granted(), [2]);
}

#[test]
fn a_raised_limit_settles_users_first_then_accounts_by_id() {
    let mut store = Store::new(1, 1);
    store.holds(1, home(A), A);
    store.holds(2, home(B), B);
    store.waits(3, home(B), 1);
    store.waits(4, home(A), 1);
    store.define(&[account(B, 2), account(A, 2)]);
    assert_eq!(store.granted(), [4, 3]);
}

#[test]
fn a_lowered_limit_lets_those_who_hold_go_on_and_nobody_in() {
    let mut store = Store::new(2, 0);
    store.holds(1, home(A), A);
    store.holds(2, home(A), A);
    store.define(&[account(A, 1)]);
    store.waits(3, home(A), 1);
    store.leave(1);
    assert_eq!(store.granted(), []);
    store.holds(2, home(A), A);
    store.leave(2);
    assert_eq!(store.granted(), [3]);
}

#[test]
fn an_unlisted_account_is_closed_until_it_is_empty_and_then_forgotten() {
    let mut store = Store::new(1, 1);
    store.holds(1, home(A), A);
    store.waits(2, home(A), 1);
    store.define(&[account(B, 1)]);
    assert_eq!(store.ask(2, home(A)), StoreReply::Shut { opens_in: None });
    assert_eq!(store.ask(3, home(A)), StoreReply::Shut { opens_in: None });
    store.leave(1);
    assert_eq!(store.ledger.gates.find(GateId::Account(A)), None);
}

#[test]
fn an_unlisted_pool_is_empty_and_forgotten_with_its_last_ticket() {
    let mut store = Store::new(1, 0);
    store.holds(1, pool(), A);
    store.waits(2, pool(), 1);
    let define = Define {
        version: Version { stamp: 9, digest: 9 },
        discipline: Discipline::Settle,
        health: HealthRules::default(),
        accounts: vec![account(A, 2)],
        pools: vec![],
    };
    store.apply(StoreOp::Define(define));
    assert_eq!((store.granted(), store.survey().open), (vec![], 0));
    assert_eq!(store.ask(2, pool()), StoreReply::Shut { opens_in: None });
    assert_eq!(store.ledger.gates.find_pool(POOL), None);
}

#[test]
fn no_slots_is_closed_and_repetitions_are_one() {
    let mut store = Store::of(
        Discipline::Settle,
        &[account(A, 0), account(B, 1), account(B, 1), account(A, 0)],
    );
    assert_eq!(store.survey().open, 1);
    assert!(store.ledger.account_shut(A));
    assert_eq!(store.ask(1, home(A)), StoreReply::Shut { opens_in: None });
    let gate = GateId::Account(A);
    assert!(store.facts().contains(&Fact::Limited { gate, limit: Limit::Closed }));
}

#[test]
fn from_poll_to_settle_holders_stop_counting_and_everything_settles() {
    let mut store = Store::polled(1, 0);
    store.holds(1, pool(), A);
    store.waits(2, pool(), 1);
    store.waits(3, pool(), 2);
    store.leave(1);
    store.holds(3, pool(), A);
    store.discipline = Discipline::Settle;
    store.define(&[account(A, 2)]);
    assert_eq!(store.granted(), [2]);
    store.waits(4, pool(), 1);
}

#[test]
fn from_settle_to_poll_grants_stay_to_be_claimed() {
    let mut store = Store::new(1, 0);
    store.holds(1, pool(), A);
    store.waits(2, pool(), 1);
    store.waits(3, pool(), 2);
    store.leave(1);
    store.discipline = Discipline::Poll;
    store.define(&[account(A, 1)]);
    store.holds(2, pool(), A);
    store.leave(2);
    assert_eq!(store.granted(), []);
    store.holds(3, pool(), A);
}

#[test]
fn in_poll_a_leftover_grant_passes_to_nobody() {
    let mut store = Store::new(1, 0);
    store.holds(1, pool(), A);
    store.waits(2, pool(), 1);
    store.waits(3, pool(), 2);
    store.leave(1);
    store.discipline = Discipline::Poll;
    store.define(&[account(A, 1)]);
    store.pass(Span::from_secs(3));
    assert_eq!((store.granted(), store.held(A)), (vec![], 0));
}

#[test]
fn in_poll_a_reload_leaves_holders_in_their_line() {
    let mut store = Store::polled(1, 0);
    store.holds(1, pool(), A);
    store.waits(2, pool(), 1);
    store.leave(1);
    store.holds(2, pool(), A);
    store.define(&[account(A, 1)]);
    store.waits(3, pool(), 2);
}

#[test]
fn a_limit_is_told_when_it_changes_and_only_then() {
    let limits = |store: &mut Store| -> Vec<Fact> {
        let mut facts = store.facts();
        facts.retain(|fact| matches!(fact, Fact::Limited { .. }));
        facts
    };
    let told = |gate, limit| [Fact::Limited { gate, limit }];
    let mut store = Store::new(1, 1);
    limits(&mut store);
    store.define(&[account(A, 1), account(B, 2)]);
    assert_eq!(limits(&mut store), told(GateId::Account(B), Limit::Slots(2)));

    let gate = GateId::User(USER);
    store.ask(1, user(0, 1));
    assert_eq!(limits(&mut store), told(gate, Limit::Closed), "of a gate that is made");
    store.ask(1, user(1, 2));
    assert_eq!(limits(&mut store), told(gate, Limit::Slots(1)));
    store.ask(2, user(1, 3));
    assert_eq!(limits(&mut store), []);
    store.ask(2, user(2, 4));
    assert_eq!(limits(&mut store), told(gate, Limit::Slots(2)));
}

#[test]
fn an_unlisted_account_is_remembered_while_its_health_says_something() {
    let shut = |mark: Option<Mark>, marks: u32| {
        let mut store = Store::new(9, 1);
        for _ in 0..marks {
            store.holds(1, home(A), A);
            store.leave_with(1, mark);
        }
        store.define(&[account(B, 1)]);
        store.define(&[account(A, 9), account(B, 1)]);
        store
    };
    let mut store = shut(close(Scope::Account, 60), 1);
    assert!(matches!(store.ask(2, home(A)), StoreReply::Waiting { opens_in: Some(_), .. }));
    let mut store = shut(close(Scope::Model, 60), 1);
    assert!(matches!(store.ask(2, home(A)), StoreReply::Waiting { opens_in: Some(_), .. }));
    for scope in [Scope::Account, Scope::Model] {
        let failed = Some(Mark::Failed(scope));
        let mut store = shut(failed, HealthRules::default().failures_to_eject - 1);
        store.holds(2, home(A), A);
        store.leave_with(2, failed);
        assert!(matches!(store.ask(3, home(A)), StoreReply::Waiting { opens_in: Some(_), .. }));
    }
}
