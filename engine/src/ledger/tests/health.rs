//! Marks, closings, probes.

use super::*;
use crate::store::MODEL_KEYS_MAX;

const EJECTION: u64 = 10;

/// One lease after the other that leaves with the mark.
fn fail(store: &mut Store, times: u32) {
    for _ in 0..times {
        store.holds(1, home(A), A);
        store.leave_with(1, Some(Mark::Failed(Scope::Account)));
    }
}

fn opens_in(store: &mut Store) -> Option<u64> {
    store.survey().opens_in.map(Span::as_secs_ceil)
}

/// Account A, closed and open again, with request 2 as its probe.
fn probing() -> Store {
    let mut store = Store::new(5, 0);
    store.holds(1, home(A), A);
    store.leave_with(1, close(Scope::Account, 1));
    store.pass(Span::from_secs(1));
    let asked = store.ask(2, pool());
    assert!(matches!(asked, StoreReply::Held { probe: true, .. }), "{asked:?}");
    store
}

#[test]
fn failures_in_a_row_eject_and_a_success_in_between_starts_anew() {
    let mut store = Store::new(9, 0);
    fail(&mut store, 4);
    store.holds(2, home(A), A);
    store.leave_with(2, Some(Mark::Ok));
    fail(&mut store, 4);
    assert_eq!(opens_in(&mut store), None);
    fail(&mut store, 1);
    assert_eq!(opens_in(&mut store), Some(EJECTION));
}

#[test]
fn each_ejection_is_twice_as_long_up_to_a_cap_and_a_success_forgets_them() {
    let mut store = Store::new(9, 0);
    fail(&mut store, 5);
    for length in [10, 20, 40, 80, 160, 300, 300] {
        assert_eq!(opens_in(&mut store), Some(length));
        store.pass(Span::from_secs(length));
        fail(&mut store, 1);
    }
    store.pass(Span::from_secs(300));
    store.holds(1, home(A), A);
    store.leave_with(1, Some(Mark::Ok));
    fail(&mut store, 5);
    assert_eq!(opens_in(&mut store), Some(EJECTION));
}

#[test]
fn quarantines_grow_likewise() {
    let mut store = Store::new(9, 0);
    for length in [60, 120, 240, 480, 960, 1920, 3600, 3600] {
        store.holds(1, home(A), A);
        store.leave_with(1, Some(Mark::Quarantine));
        assert_eq!(opens_in(&mut store), Some(length));
        store.pass(Span::from_secs(length));
    }
}

#[test]
fn a_closing_is_capped_by_its_cause_and_concerns_its_scope() {
    let mut store = Store::new(9, 0);
    store.holds(1, pool(), A);
    let cause = Cause::Overloaded;
    let span = Span::MAX;
    let mark = Mark::Close { scope: Scope::Model, span, cause, explicit: false };
    store.leave_with(1, Some(mark));
    assert_eq!(opens_in(&mut store), Some(600));
    assert!(!store.ledger.account_shut(A));
    store.holds(2, pool_for(OTHER, &[]), A);
}

#[test]
fn only_the_leave_that_removes_a_claimed_slot_folds_its_mark() {
    let mut store = Store::new(1, 0);
    store.holds(1, pool(), A);
    store.waits(2, pool(), 1);
    store.leave(1);
    store.leave_with(2, close(Scope::Account, 60));
    store.leave_with(2, close(Scope::Account, 60));
    assert_eq!(opens_in(&mut store), None);
}

#[test]
fn a_mark_from_before_the_closing_only_lengthens_it_and_only_if_explicit() {
    let mut store = Store::new(9, 0);
    for request in 1..=6 {
        store.holds(request, home(A), A);
    }
    store.leave_with(1, close(Scope::Account, 30));
    store.leave_with(2, Some(Mark::Ok));
    store.leave_with(3, Some(Mark::Quarantine));
    let (span, cause) = (Span::from_secs(90), Cause::RateLimited);
    let guess = Mark::Close { scope: Scope::Account, span, cause, explicit: false };
    store.leave_with(4, Some(guess));
    assert_eq!(opens_in(&mut store), Some(30));
    store.leave_with(5, close(Scope::Account, 20));
    assert_eq!(opens_in(&mut store), Some(30), "never shorter");
    store.leave_with(5, close(Scope::Account, 50));
    store.leave_with(6, close(Scope::Account, 50));
    assert_eq!(opens_in(&mut store), Some(50));
    store.waits(7, home(A), 1);
    store.pass(Span::from_secs(49));
    assert_eq!(store.held(A), 0);
    store.pass(Span::from_secs(1));
    assert_eq!(store.held(A), 1, "granted at the later opening");
}

#[test]
fn a_stale_mark_after_the_opening_has_no_effect() {
    let mut store = Store::new(9, 0);
    store.holds(1, home(A), A);
    store.holds(2, home(A), A);
    store.leave_with(1, close(Scope::Account, 1));
    store.pass(Span::from_secs(1));
    store.leave_with(2, close(Scope::Account, 60));
    assert_eq!(opens_in(&mut store), None);
}

#[test]
fn a_half_open_key_lets_one_probe_in_and_its_success_opens_it() {
    let mut store = probing();
    store.waits(3, pool(), 1);
    store.waits(4, pool(), 2);
    let surveyed = store.survey();
    assert_eq!((surveyed.best.len(), surveyed.first, surveyed.open), (0, Some(A), 1));
    store.leave_with(2, Some(Mark::Ok));
    assert_eq!(store.granted(), [3, 4]);
}

#[test]
fn a_proved_probe_opens_its_key_while_it_goes_on() {
    let mut store = probing();
    store.waits(3, pool(), 1);
    let stranger = store.lease(99);
    store.health(A, HealthChange::Proved(stranger));
    assert_eq!(store.granted(), []);
    let probe = store.lease(2);
    store.health(A, HealthChange::Proved(probe));
    assert_eq!((store.granted(), store.held(A)), (vec![3], 2));
}

#[test]
fn a_probe_that_ends_without_a_failure_lets_the_next_one_in() {
    let mut store = probing();
    store.waits(3, pool(), 1);
    store.waits(4, pool(), 2);
    store.leave(2);
    assert_eq!(store.granted(), [3]);
}

#[test]
fn a_probe_that_fails_ejects_at_once() {
    let mut store = probing();
    store.waits(3, pool(), 1);
    store.leave_with(2, Some(Mark::Failed(Scope::Account)));
    assert_eq!((store.granted(), opens_in(&mut store)), (vec![], Some(EJECTION)));
}

#[test]
fn who_held_before_the_closing_keeps_its_place_beside_the_probe() {
    let mut store = Store::new(5, 0);
    store.holds(1, home(A), A);
    store.holds(9, home(A), A);
    store.leave_with(1, close(Scope::Account, 1));
    store.pass(Span::from_secs(1));
    let gate = GateId::Account(A);
    let tag = store.holds(9, home(A), A);
    let held = StoreReply::Held { gate, tag, probe: false };
    assert_eq!(store.ask(9, home(A)), held);
    assert!(matches!(store.ask(2, home(A)), StoreReply::Held { probe: true, .. }));
}

#[test]
fn a_model_beyond_the_bound_takes_the_least_settled_place_or_counts_for_the_account() {
    let mut store = Store::new(9, 0);
    let count = MODEL_KEYS_MAX as u64;
    let mark = |store: &mut Store, model: u64, mark: Option<Mark>| {
        let gate = Want::Gate { account: A, model: ModelId(model), line_max: 3 };
        store.holds(1, gate, A);
        store.leave_with(1, mark);
    };
    mark(&mut store, 1, Some(Mark::Failed(Scope::Model)));
    for model in 2..=count {
        mark(&mut store, model, close(Scope::Model, 60));
    }
    mark(&mut store, 100, close(Scope::Model, 60));
    assert!(!store.ledger.account_shut(A), "it has taken the place of model 1");
    mark(&mut store, 101, close(Scope::Model, 60));
    assert!(store.ledger.account_shut(A));
    assert_eq!(store.ledger.view()[0].closed.len(), MODEL_KEYS_MAX + 1);
}

#[test]
fn recovering_makes_every_key_as_new_or_one() {
    let mut store = Store::new(9, 0);
    store.holds(1, pool(), A);
    store.holds(2, pool(), A);
    store.leave_with(1, close(Scope::Model, 60));
    store.leave_with(2, close(Scope::Account, 60));
    store.waits(3, pool(), 1);
    let (account, change) = (A, HealthChange::Recover);
    store.apply(StoreOp::Health { account, model: Some(MODEL), change });
    assert_eq!(store.granted(), []);
    store.facts();
    store.health(A, change);
    assert_eq!(store.granted(), [3]);
    assert!(store.facts().contains(&Fact::Proved { account: A, model: None }));
    assert!(!store.ledger.due_now());
    assert!(store.ledger.openings.is_empty());
}

#[test]
fn the_operators_word_outlives_rosters_and_the_account() {
    let mut store = Store::new(1, 1);
    store.health(A, HealthChange::Disable);
    store.define(&[account(B, 1)]);
    store.define(&[account(A, 1), account(B, 0)]);
    assert_eq!(store.ask(1, home(A)), StoreReply::Shut { opens_in: None });
    store.health(A, HealthChange::Recover);
    store.holds(1, home(A), A);
}

#[test]
fn a_closing_draws_one_stamp_and_other_marks_none() {
    let mut store = Store::new(9, 0);
    let tag = store.holds(1, home(A), A);
    store.leave_with(1, Some(Mark::Failed(Scope::Account)));
    let next = store.holds(2, home(A), A);
    assert_eq!(next, Tag(tag.0 + 2), "a tag and a stamp for the first lease");
    store.leave_with(2, close(Scope::Model, 1));
    store.pass(Span::from_secs(1));
    assert_eq!(store.holds(3, home(A), A), Tag(next.0 + 3));

    store.leave_with(3, Some(Mark::Ok));
    store.holds(4, pool_for(OTHER, &[]), A);
    let last = store.holds(5, pool_for(OTHER, &[]), A);
    store.leave_with(4, close(Scope::Account, 1));
    store.leave_with(5, close(Scope::Account, 2));
    store.pass(Span::from_secs(2));
    assert_eq!(store.holds(6, home(A), A), Tag(last.0 + 3), "lengthening draws nothing");
}

#[test]
fn a_models_key_remembers_its_closing_after_a_success() {
    let mut store = Store::new(9, 0);
    for request in 1..=2 {
        store.holds(request, home(A), A);
    }
    store.leave_with(1, close(Scope::Model, 1));
    store.pass(Span::from_secs(1));
    store.holds(3, home(A), A);
    store.leave_with(3, Some(Mark::Ok));
    store.leave_with(2, close(Scope::Model, 60));
    assert_eq!(opens_in(&mut store), None, "from before the closing");
}

#[test]
fn the_cause_of_a_closing_changes_only_with_its_end() {
    let mut store = Store::new(9, 0);
    for request in 1..=3 {
        store.holds(request, home(A), A);
    }
    store.leave_with(1, Some(Mark::Quarantine));
    let cause = |store: &Store| store.ledger.view()[0].closed[0].1;
    store.leave_with(2, close(Scope::Account, 60));
    assert_eq!(cause(&store), Cause::Quarantined);
    store.leave_with(3, close(Scope::Account, 61));
    assert_eq!(cause(&store), Cause::RateLimited);
}

#[test]
fn failures_from_before_a_closing_do_not_count() {
    let mut store = Store::new(9, 0);
    let failures = u64::from(HealthRules::default().failures_to_eject);
    for request in 1..=failures + 1 {
        store.holds(request, home(A), A);
    }
    store.leave_with(1, close(Scope::Account, 5));
    for request in 2..=failures + 1 {
        store.leave_with(request, Some(Mark::Failed(Scope::Account)));
    }
    assert_eq!(opens_in(&mut store), Some(5));
    store.pass(Span::from_secs(5));
    assert_eq!(opens_in(&mut store), None);
}

#[test]
fn a_closing_of_no_length_is_over_at_once_and_leaves_nothing_due() {
    let mut store = Store::new(1, 0);
    store.holds(1, home(A), A);
    store.leave_with(1, close(Scope::Account, 0));
    assert!(!store.ledger.due_now());
    let asked = store.ask(2, home(A));
    assert!(matches!(asked, StoreReply::Held { probe: true, .. }), "{asked:?}");
}

#[test]
fn a_key_is_told_to_be_proved_when_it_is_half_open_no_more() {
    let proved = |store: &mut Store| -> Vec<Fact> {
        let mut facts = store.facts();
        facts.retain(|fact| matches!(fact, Fact::Proved { .. }));
        facts
    };
    let ok = Some(Mark::Ok);
    let mut store = probing();
    assert_eq!(proved(&mut store), []);
    store.leave_with(2, ok);
    assert_eq!(proved(&mut store), [Fact::Proved { account: A, model: None }]);
    store.holds(3, home(A), A);
    store.leave_with(3, ok);
    assert_eq!(proved(&mut store), [], "it was open");

    store.holds(4, home(A), A);
    store.leave_with(4, close(Scope::Model, 1));
    store.pass(Span::from_secs(1));
    store.holds(5, home(A), A);
    store.leave_with(5, close(Scope::Model, 1));
    assert_eq!(proved(&mut store), [], "closed again, so still half-open");
    store.pass(Span::from_secs(1));
    store.holds(6, home(A), A);
    store.leave_with(6, ok);
    assert_eq!(proved(&mut store), [Fact::Proved { account: A, model: Some(MODEL) }]);
}
