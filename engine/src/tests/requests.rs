//! What one request meets on its way.

use super::world::{Road, World, roster, spec};
use crate::roster::Platform;
use crate::store::{Limit, Scope, StoreFault, StoreOp, StoreReply};
use crate::trail::Decision;
use crate::{
    AccountId, Denial, Event, ModelId, Outcome, Owner, Policy, RequestSpec, Span, UserId, Verdict,
};

const ONE: Limit = Limit::Slots(1);
const SECS_30: Span = Span::from_secs(30);

fn upstream(account: u64, attempt: u16, outcome: Outcome) -> Option<Verdict> {
    let (account, attempt) = (AccountId(account), crate::Attempt(attempt));
    Some(Verdict::Upstream { account, attempt, outcome })
}

#[test]
fn a_request_runs_at_once_and_leaves_nothing() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    let r = w.arrive();
    assert_eq!(w.account_of(r), Some(1));
    w.start(r);
    w.end(r, Outcome::Completed);
    assert_eq!(w.verdict(r), upstream(1, 1, Outcome::Completed));
    assert_eq!((w.engine.live_requests(), w.engine.owed()), (0, 0));
    assert!(w.out.ledger.view().is_empty());
}

#[test]
fn nine_at_once_take_nine_accounts() {
    let mut w = World::new(Policy::fair(), &[ONE; 9]);
    w.out.road = Road::Held;
    let all: Vec<_> = (0..9).map(|_| w.arrive()).collect();
    // All survey the same idle pool before any of them enters.
    let mut enters = vec![];
    while !w.out.ops.is_empty() {
        let (call, op) = w.out.ops.remove(0);
        if matches!(&op, StoreOp::Enter(e) if e.lease.attempt.0 == 1) {
            enters.push((call, op));
        } else {
            let reply = w.apply_late(op);
            w.answer(call, Ok(reply));
        }
    }
    assert_eq!(enters.len(), 9);
    w.out.ops = enters;
    w.deliver();
    let mut accounts: Vec<_> = all.iter().filter_map(|r| w.account_of(*r)).collect();
    accounts.sort_unstable();
    assert_eq!(accounts, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn waiters_run_in_the_order_of_their_arrival() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    let rs: Vec<_> = (0..4).map(|_| w.arrive()).collect();
    for pair in rs.windows(2) {
        assert_eq!(w.account_of(pair[1]), None);
        w.end(pair[0], Outcome::Completed);
        w.hint();
        assert_eq!(w.account_of(pair[1]), Some(1), "{} is next", pair[1]);
    }
}

#[test]
fn a_hint_forwards_nothing_until_the_grant_is_claimed() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    let (first, second) = (w.arrive(), w.arrive());
    w.end(first, Outcome::Completed);
    w.out.road = Road::Held;
    w.hint();
    assert_eq!(w.account_of(second), None);
    w.deliver();
    assert_eq!(w.account_of(second), Some(1));
}

#[test]
fn without_any_hint_a_waiter_runs_within_the_backoff_cap() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    let (first, second) = (w.arrive(), w.arrive());
    w.pass(Span::from_secs(10));
    w.end(first, Outcome::Completed);
    w.out.grants.clear();
    w.pass(Span::from_secs(2));
    assert_eq!(w.account_of(second), Some(1));
}

#[test]
fn a_failed_attempt_goes_on_elsewhere_at_its_old_place() {
    let mut w = World::new(Policy::fair(), &[ONE, ONE]);
    let (first, second) = (w.arrive(), w.arrive());
    let (third, fourth) = (w.arrive(), w.arrive());
    assert_eq!((w.account_of(first), w.account_of(second)), (Some(1), Some(2)));
    w.end(first, Outcome::Unreachable);
    w.hint();
    assert_eq!(w.account_of(third), Some(1), "account 1 is not for the first any more");
    w.end(second, Outcome::Completed);
    w.hint();
    assert_eq!(w.account_of(first), Some(2), "before the fourth, which came later");
    assert_eq!(w.account_of(fourth), None);
}

#[test]
fn nothing_is_tried_after_the_first_semantic_byte() {
    let mut w = World::new(Policy::fair(), &[ONE, ONE]);
    let r = w.arrive();
    w.start(r);
    w.end(r, Outcome::ServerError { status: 500 });
    assert_eq!(w.verdict(r), upstream(1, 1, Outcome::ServerError { status: 500 }));
}

#[test]
fn a_poison_request_does_not_walk_the_pool() {
    let mut w = World::new(Policy::fair(), &[ONE; 6]);
    let r = w.arrive();
    let failure = Outcome::ServerError { status: 500 };
    for account in 1..=3 {
        assert_eq!(w.account_of(r), Some(account));
        w.end(r, failure);
    }
    assert_eq!(w.verdict(r), upstream(3, 3, failure));
}

#[test]
fn the_switches_of_a_protocol_are_bounded() {
    let switches = |platform| {
        let mut roster = roster(1, ONE, &[ONE; 15]);
        let pools = core::mem::take(&mut roster.pools);
        let keys = pools.into_iter().map(|(mut key, pool)| {
            key.platform = platform;
            (key, pool)
        });
        roster.pools = keys.collect();
        let mut w = World::apart(Policy::fair(), roster);
        w.tick();
        w.tick();
        let r = w.arrive_as(RequestSpec { platform, ..spec() });
        let mut attempts = 0;
        while w.account_of(r).is_some() {
            attempts += 1;
            w.end(r, Outcome::Unreachable);
        }
        attempts - 1
    };
    assert_eq!(switches(Platform::Anthropic), 10);
    assert_eq!(switches(Platform::Antigravity), 10);
    assert_eq!(switches(Platform::OpenAi), 3);
    assert_eq!(switches(Platform::Gemini), 3);
}

#[test]
fn when_all_have_failed_the_last_failure_is_the_answer() {
    let mut w = World::new(Policy::fair(), &[ONE, ONE]);
    let r = w.arrive();
    w.end(r, Outcome::Unreachable);
    let overloaded = Outcome::Overloaded { retry_after: None };
    w.end(r, overloaded);
    assert_eq!(w.verdict(r), upstream(2, 2, overloaded));
}

#[test]
fn a_shut_pool_is_waited_for_or_told_when_it_opens() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    let closed = |secs| Outcome::RateLimited {
        scope: Scope::Account,
        retry_after: Some(Span::from_secs(secs)),
    };
    let r = w.arrive();
    w.end(r, closed(10));
    let waits = w.arrive();
    w.pass(Span::from_secs(9));
    assert_eq!(w.account_of(waits), None);
    w.pass(Span::from_ms(1_001));
    assert_eq!(w.account_of(waits), Some(1), "position 1 asks at the opening");
    w.end(waits, closed(60));
    let told = w.arrive();
    let opens_in = Some(Span::from_secs(60));
    assert_eq!(w.verdict(told), Some(Verdict::AllShut { opens_in }));
    assert_eq!(w.verdict(told).map(Verdict::owner), Some(Owner::Upstream));
}

#[test]
fn refusals_name_what_was_refused() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    let unknown_user = w.arrive_as(RequestSpec { user: UserId(9), ..spec() });
    assert_eq!(w.verdict(unknown_user), Some(Verdict::UserClosed));
    let no_pool = w.arrive_as(RequestSpec { platform: Platform::OpenAi, ..spec() });
    assert_eq!(w.verdict(no_pool), Some(Verdict::NoAccounts));
    let denial = Denial { retry_after: Some(SECS_30) };
    w.out.billing = Err(denial);
    let poor = w.arrive();
    assert_eq!(w.verdict(poor), Some(Verdict::BillingDenied(denial)));
    assert!(w.out.ledger.view().is_empty(), "nothing is held for the refused");
}

#[test]
fn a_users_line_holds_twenty_and_no_more() {
    let mut w = World::apart(Policy::fair(), roster(1, ONE, &[Limit::Unlimited]));
    w.tick();
    w.tick();
    let all: Vec<_> = (0..22).map(|_| w.arrive()).collect();
    assert_eq!(w.account_of(all[0]), Some(1));
    assert_eq!(w.verdict(all[20]), None, "the twentieth waits");
    assert_eq!(w.verdict(all[21]), Some(Verdict::UserLineFull));
    w.pass(SECS_30);
    assert_eq!(w.verdict(all[1]), Some(Verdict::UserWaitTimeout));
}

#[test]
fn waiting_ends_with_the_patience_and_in_all_with_the_total() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    let (_runs, waits) = (w.arrive(), w.arrive());
    w.pass(Span::from_us(29_999_999));
    assert_eq!(w.verdict(waits), None);
    w.pass(Span::from_us(1));
    assert_eq!(w.verdict(waits), Some(Verdict::AccountWaitTimeout));

    let policy = Policy { wait_total_max: Span::from_secs(12), ..Policy::fair() };
    let mut w = World::new(policy, &[ONE]);
    let (_runs, waits) = (w.arrive(), w.arrive());
    w.pass(Span::from_secs(12));
    assert_eq!(w.verdict(waits), Some(Verdict::AccountWaitTimeout));
}

#[test]
fn time_upstream_is_no_waiting_but_ends_the_time_for_attempts() {
    let policy = Policy { wait_total_max: Span::from_secs(12), ..Policy::fair() };
    let mut w = World::new(policy.clone(), &[ONE, ONE]);
    let r = w.arrive();
    w.pass(Span::from_secs(100));
    w.end(r, Outcome::Unreachable);
    assert_eq!(w.account_of(r), Some(2), "it has not waited at all");

    let mut w = World::new(policy, &[ONE, ONE]);
    let r = w.arrive();
    w.pass(Span::from_secs(180));
    w.end(r, Outcome::Unreachable);
    assert_eq!(w.verdict(r), upstream(1, 1, Outcome::Unreachable), "no attempt begins so late");
}

#[test]
fn a_waiting_stream_is_pinged_and_others_are_not() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    let start = w.now;
    w.arrive();
    let waits = w.arrive();
    w.arrive_as(RequestSpec { stream: false, ..spec() });
    w.pass(Span::from_us(29_999_999));
    assert_eq!(w.out.pings, [(start + Span::from_secs(15), waits)]);
}

#[test]
fn a_session_stays_at_home_spills_and_comes_back() {
    let mut w = World::new(Policy::fair(), &[ONE, ONE]);
    let first = w.arrive_in_session(7);
    assert_eq!(w.account_of(first), Some(1));
    let second = w.arrive_in_session(7);
    assert_eq!(w.account_of(second), None, "it waits for its home");
    w.pass(Span::from_us(1_999_999));
    assert_eq!(w.account_of(second), None);
    w.pass(Span::from_us(1));
    assert_eq!(w.account_of(second), Some(2), "its patience for the home is over");
    w.end(first, Outcome::Completed);
    w.end(second, Outcome::Completed);
    let third = w.arrive_in_session(7);
    assert_eq!(w.account_of(third), Some(1), "the home was kept");
}

#[test]
fn a_session_moves_from_a_home_that_fails_it() {
    let mut w = World::new(Policy::fair(), &[ONE, ONE]);
    let r = w.arrive_in_session(7);
    w.end(r, Outcome::Unreachable);
    assert_eq!(w.account_of(r), Some(2));
    w.end(r, Outcome::Completed);
    let next = w.arrive_in_session(7);
    assert_eq!(w.account_of(next), Some(2));
}

#[test]
fn the_fourth_in_a_homes_line_goes_elsewhere() {
    let mut w = World::new(Policy::fair(), &[ONE, ONE]);
    let rs: Vec<_> = (0..5).map(|_| w.arrive_in_session(7)).collect();
    assert_eq!(w.account_of(rs[0]), Some(1));
    assert!(rs[1..4].iter().all(|r| w.account_of(*r).is_none()));
    assert_eq!(w.account_of(rs[4]), Some(2));
}

#[test]
fn a_warm_up_is_intercepted_in_the_name_of_the_account_to_be_asked() {
    let mut roster = roster(1, ONE, &[ONE, ONE]);
    let first = roster.accounts.get_mut(&AccountId(1)).expect("it is there");
    first.intercept_warmup = true;
    let mut w = World::apart(Policy::fair(), roster);
    w.tick();
    w.tick();
    let warmup = RequestSpec { warmup: true, ..spec() };
    let r = w.arrive_as(warmup.clone());
    assert_eq!(w.verdict(r), Some(Verdict::Intercepted { account: AccountId(1) }));
    assert!(w.out.ledger.view().is_empty());
    let real = w.arrive();
    assert_eq!(w.account_of(real), Some(1), "only warm-ups are");
    let elsewhere = w.arrive_as(RequestSpec { model: ModelId(5), ..warmup });
    assert_eq!(w.verdict(elsewhere), None, "account 2 would be asked, and waits for its user");
}

#[test]
fn an_abandoned_request_gives_back_what_it_has_at_every_stage() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    let (runs, waits) = (w.arrive(), w.arrive());
    w.turn(Event::Abandoned { req: waits });
    assert_eq!(w.verdict(waits), Some(Verdict::Abandoned));
    w.turn(Event::Abandoned { req: runs });
    assert_eq!(w.out.cancelled, [runs]);
    assert_eq!(w.verdict(runs), None, "its attempt is open until it has ended");
    assert_eq!(w.held(1), 1);
    w.turn(Event::Abandoned { req: runs });
    assert_eq!(w.out.cancelled.len(), 1, "cancelled once");
    w.end(runs, Outcome::Cancelled);
    assert_eq!(w.verdict(runs), Some(Verdict::Abandoned));
    assert!(w.out.ledger.view().is_empty());
}

#[test]
fn an_enter_that_comes_after_its_leave_takes_nothing() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    w.out.road = Road::Held;
    let r = w.arrive();
    let (_, late) = w.out.ops.remove(0);
    assert!(matches!(late, StoreOp::Enter(_)));
    w.turn(Event::Abandoned { req: r });
    w.deliver();
    assert_eq!(w.apply_late(late), StoreReply::Left);
    assert!(w.out.ledger.view().is_empty());
}

#[test]
fn an_enter_of_unknown_fate_that_comes_after_the_end_takes_nothing() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    w.out.road = Road::Broken(StoreFault::Unknown);
    let r = w.arrive();
    let (_, late) = w.out.ops.remove(0);
    assert!(matches!(late, StoreOp::Enter(_)));
    w.out.road = Road::Open;
    w.turn(Event::Abandoned { req: r });
    assert_eq!(w.apply_late(late), StoreReply::Left);
    assert!(w.out.ledger.view().is_empty());
}

#[test]
fn a_lost_answer_is_asked_for_again_by_the_same_lease() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    w.out.road = Road::Broken(StoreFault::Unknown);
    let r = w.arrive();
    let leases = |w: &World| -> Vec<_> {
        let enter = |op: &StoreOp| {
            let StoreOp::Enter(enter) = op else { return None };
            Some((enter.lease, enter.ask))
        };
        w.out.ops.iter().filter_map(|(_, op)| enter(op)).collect()
    };
    w.pass(Span::from_ms(100));
    let asked = leases(&w);
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].0, asked[1].0, "the same lease");
    assert!(asked[0].1 < asked[1].1, "by a later ask");
    w.pass(SECS_30);
    assert_eq!(w.verdict(r), Some(Verdict::StoreUnavailable));
    assert_eq!(w.verdict(r).map(Verdict::owner), Some(Owner::Store));
}

#[test]
fn a_fault_that_kept_a_request_from_asking_is_the_stores() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    w.out.road = Road::Held;
    w.reload(roster(2, Limit::Slots(100), &[ONE]));
    let (define, _) = w.out.ops.remove(0);
    let r = w.arrive();
    // By now it tries seldom enough to miss what comes.
    w.pass(Span::from_ms(900));
    w.answer(define, Err(StoreFault::Unknown));
    while w.out.ops.is_empty() {
        w.pass(Span::from_ms(1));
    }
    let (define, op) = w.out.ops.remove(0);
    assert!(matches!(op, StoreOp::Define(_)), "before the request tries to ask again");
    w.answer(define, Ok(StoreReply::Done));
    w.pass(SECS_30);
    assert_eq!(w.verdict(r), Some(Verdict::StoreUnavailable));
}

#[test]
fn a_leave_is_owed_until_the_store_has_it() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    let r = w.arrive();
    w.out.road = Road::Broken(StoreFault::Refused);
    w.end(r, Outcome::Completed);
    assert_eq!(w.verdict(r), upstream(1, 1, Outcome::Completed), "the client does not wait");
    assert_eq!((w.engine.owed(), w.held(1)), (2, 1));
    w.out.road = Road::Open;
    w.pass(Span::from_ms(100));
    assert_eq!((w.engine.owed(), w.held(1)), (0, 0));
}

#[test]
fn a_reload_is_told_to_the_store_and_every_waiter_asks_again() {
    let mut w = World::new(Policy::fair(), &[ONE, Limit::Closed]);
    let (runs, waits) = (w.arrive(), w.arrive());
    w.reload(roster(2, Limit::Slots(100), &[Limit::Closed, ONE]));
    assert_eq!(w.account_of(waits), Some(2), "without waiting for its back-off");
    w.reload(roster(1, Limit::Slots(100), &[ONE, ONE]));
    let third = w.arrive();
    assert_eq!(w.account_of(third), None, "an older roster changes nothing");
    w.end(runs, Outcome::Completed);
    assert_eq!(w.account_of(third), None, "account 1 is closed");
}

#[test]
fn new_knobs_hold_for_what_comes_after_them() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    let (_runs, waits) = (w.arrive(), w.arrive());
    let short = Policy { fallback_patience: Span::from_secs(1), ..Policy::fair() };
    w.turn(Event::Policy(Box::new(short)));
    w.reload(roster(2, Limit::Slots(100), &[ONE]));
    let later = w.arrive();
    w.pass(Span::from_secs(2));
    assert_eq!(w.verdict(waits), None, "its patience is what it was when it began to wait");
    assert_eq!(w.verdict(later), Some(Verdict::AccountWaitTimeout));
}

#[test]
fn who_waited_for_one_account_that_closes_chooses_again() {
    let mut w = World::new(Policy::seed(), &[ONE, ONE]);
    let (_first, _second) = (w.arrive(), w.arrive());
    let waits = w.arrive();
    w.reload(roster(2, Limit::Slots(100), &[Limit::Closed, Limit::Slots(2)]));
    assert_eq!(w.account_of(waits), Some(2), "it waited for account 1");
}

#[test]
fn a_slot_of_an_account_that_the_roster_does_not_offer_is_given_back() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    let newer = roster(2, Limit::Slots(100), &[ONE, ONE]);
    let define = StoreOp::Define(crate::store::Define {
        version: newer.version,
        discipline: crate::store::Discipline::Settle,
        health: Policy::fair().health,
        accounts: newer.account_defs(),
        pools: newer.pool_defs(),
    });
    let _runs = w.arrive();
    w.apply_late(define);
    let waits = w.arrive();
    assert_eq!(w.account_of(waits), None);
    assert_eq!((w.held(1), w.held(2)), (1, 0), "account 2 is known to another node only");
}

#[test]
fn the_trail_tells_the_story() {
    let mut w = World::new(Policy::fair(), &[ONE, ONE]);
    let r = w.arrive();
    w.end(r, Outcome::Unreachable);
    w.start(r);
    let trail = w.engine.trail(r).expect("it is live");
    let attempt = crate::Attempt;
    let told: Vec<_> = trail.steps.iter().map(|step| step.what).collect();
    let first = AccountId(1);
    let second = AccountId(2);
    let layer = crate::trail::Layer::Load;
    assert_eq!(
        told,
        [
            Decision::Arrived,
            Decision::UserHeld,
            Decision::Billed,
            Decision::Chosen { layer, account: Some(first) },
            Decision::Forwarded { attempt: attempt(1), account: first },
            Decision::Ended { attempt: attempt(1), outcome: Outcome::Unreachable },
            Decision::Chosen { layer, account: Some(second) },
            Decision::Forwarded { attempt: attempt(2), account: second },
            Decision::Started { attempt: attempt(2) },
        ]
    );
    assert_eq!(trail.attempts(), 2);
}
