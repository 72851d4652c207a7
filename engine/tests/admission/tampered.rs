//! The reference notices what is wrong: worlds that are tampered with, and what is said of them.

use std::cell::RefCell;

use sluice_engine::policy::OnSessionLost;
use sluice_engine::store::Limit;
use sluice_engine::{Outcome, Span};

use super::faulty::{Chart, Fair, Faulty, STEPS_MAX, Which, play_in};
use super::quiet::lone_shape;
use super::run::draw;
use super::seen::Seen;
use super::shape::{AccountPlan, Shape};
use super::step::Step;
use super::world::{Tamper, World};

/// Sequences in which the complaint must be heard.
const SEQUENCES: u32 = 1_000;

/// Plays sequences until the complaint is heard.
fn is_heard<P: Which>(tamper: Tamper, complaint: &str) {
    let seen = RefCell::new(Seen::default());
    let heard = draw::<Faulty<P>>(SEQUENCES, STEPS_MAX).any(|(shape, steps)| {
        let world = World::tampered(&shape, false, Some(tamper));
        let report = play_in(world, &steps, &|| (), &seen);
        report.complaints.iter().any(|what| what.contains(complaint))
    });
    assert!(heard, "{tamper:?} goes unnoticed in {SEQUENCES} sequences");
}

#[test]
fn a_slot_too_many_on_an_account_is_noticed() {
    is_heard::<Fair>(Tamper::AccountRoom, "attempts, limit");
    is_heard::<Chart>(Tamper::AccountRoom, "attempts, limit");
}

#[test]
fn a_slot_too_many_for_a_user_is_noticed() {
    is_heard::<Fair>(Tamper::UserRoom, "beyond the user's slot");
    is_heard::<Chart>(Tamper::UserRoom, "beyond the user's slot");
}

#[test]
fn a_forward_without_a_slot_is_noticed() {
    is_heard::<Fair>(Tamper::FalseHeld, "attempts, limit");
}

#[test]
fn a_wait_that_ends_too_early_is_noticed() {
    let hasty = Tamper::Policy(|policy| policy.user_patience = Span::from_secs(5));
    is_heard::<Fair>(hasty, "its patience was not over");
    let hasty = Tamper::Policy(|policy| policy.fallback_patience = Span::from_secs(5));
    is_heard::<Fair>(hasty, "its patience was not over");
}

#[test]
fn a_wait_that_ends_too_late_is_noticed() {
    let patient = Tamper::Policy(|policy| {
        policy.user_patience = Span::from_secs(80);
    });
    is_heard::<Fair>(patient, "its patience for the user's slot was over");
}

#[test]
fn a_forward_without_belief_in_the_session_is_noticed() {
    let trusting = Tamper::Policy(|policy| policy.belief = Span::from_secs(300));
    is_heard::<Fair>(trusting, "does not believe in its session");
}

#[test]
fn a_switch_too_many_is_noticed() {
    let stubborn = Tamper::Policy(|policy| policy.switches.server_error_max = 9);
    let plan = AccountPlan { limit: Limit::Unlimited, priority: 0, intercept: false };
    let pools = vec![(0..4).collect()];
    let shape = Shape { accounts: vec![plan; 4], pools, ..lone_shape(Limit::Unlimited) };
    let arrive = Step::Arrive { host: 0, user: 0, pool: 0, session: None, warmup: false };
    let fail = Step::End { nth: 0, outcome: Outcome::ServerError { status: 500 } };
    let steps = [arrive, fail.clone(), fail.clone(), fail];
    let complaints = |tamper| {
        let world = World::tampered(&shape, false, tamper);
        play_in(world, &steps, &|| (), &RefCell::default()).complaints
    };
    assert_eq!(complaints(None), Vec::<String>::new());
    assert!(complaints(Some(stubborn))[0].contains("too many switches after 5xx"));
}

#[test]
fn streams_that_are_aborted_against_the_policy_are_noticed() {
    let abort = Tamper::Policy(|policy| policy.on_session_lost = OnSessionLost::Abort);
    is_heard::<Fair>(abort, "without a reason");
}
