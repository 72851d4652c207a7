//! What is on the menu of a world, and how often: the random side of [`crate::steps`]. Weights are
//! such that leases meet: few slots, few accounts, and most asks by those who have asked before.

use proptest::prelude::*;
use proptest::sample::select;
use sluice_engine::store::{Cause, Limit, Mark, Scope};
use sluice_engine::time::Span;

use crate::steps::{
    Act, After, Among, AskStep, Believed, Beside, ChangeStep, Edit, EnterStep, HealthStep, Lie,
    LieOf, Mix, Pace, Pass, PatienceStep, Replaces, ResyncStep, Step, TagStep, UserLimit,
    VersionStep, WantStep, Who,
};

pub(crate) fn mix() -> impl Strategy<Value = Mix> {
    let often = || prop_oneof![2 => Just(3u32), 1 => Just(1), 1 => Just(8)];
    let pace = prop_oneof![Just(Pace::Still), Just(Pace::Walk), Just(Pace::Run), Just(Pace::Burst)];
    let weights = (often(), often(), often(), often(), often(), often(), often());
    let sick = prop::bool::weighted(0.25);
    (pace, weights, prop::bool::weighted(0.05), sick).prop_map(|(pace, weights, wide, sick)| Mix {
        pace,
        enter: weights.0,
        leave: weights.1,
        nodes: weights.2,
        resync: weights.3,
        define: weights.4,
        health: weights.5,
        again: weights.6,
        wide,
        sick,
    })
}

/// All that can happen, as often as the mix says.
pub(crate) fn menu(mix: Mix) -> BoxedStrategy<Step> {
    let acts = prop_oneof![
        mix.enter * 20 => enter(mix.pace).prop_map(Act::Enter),
        mix.enter * if mix.sick { 4 } else { 1 } => (1u8..=12, enter(mix.pace))
            .prop_map(|(count, step)| Act::Crowd(count, step)),
        mix.leave * if mix.sick { 15 } else { 8 } => leave(mix.sick),
        mix.nodes => join(),
        mix.nodes * 2 => (0u8..3, rarely())
            .prop_map(|(instance, former)| Act::Beat { instance, former }),
        mix.nodes => prop_oneof![Just(0u32), 1u32..4, Just(128)].prop_map(|max| Act::Reap { max }),
        mix.resync => resync().prop_map(Act::Resync),
        mix.define => define(),
        4u32 => survey(),
        4u32 => session(),
        mix.health => health(),
        if mix.sick { 20 } else { 1 } => storm(),
        if mix.sick { 6 } else { 1 } => relapse(),
        1 => (who(Just(Among::All)), account())
            .prop_map(|(who, account)| Act::Rush { who, account }),
        mix.again => (0u8..16).prop_map(Act::Repeat),
        mix.again => (0u8..8).prop_map(Act::Deliver),
    ];
    let acts = if mix.wide { prop_oneof![10 => acts, 1 => sweep()].boxed() } else { acts.boxed() };
    (after(mix.pace), acts).prop_map(|(after, act)| Step { after, act }).boxed()
}

fn after(pace: Pace) -> BoxedStrategy<After> {
    let (still, little, moment, secs) = match pace {
        Pace::Still => (60, 4, 4, 1),
        Pace::Walk => (20, 10, 10, 2),
        Pace::Run => (10, 5, 12, 8),
        Pace::Burst => (60, 1, 1, 4),
    };
    prop_oneof![
        still => Just(After::Nothing),
        little => prop_oneof![Just(1u64), Just(1_000), 1_000u64..50_000, Just(1_000_000)]
            .prop_map(After::Us),
        moment => (0u8..6, beside()).prop_map(|(nth, beside)| After::Moment(nth, beside)),
        secs => select(vec![3u64, 4, 10, 60]).prop_map(|secs| After::Us(secs * 1_000_000)),
        1u32 => select(vec![1u64, 5_000, 7_000_000]).prop_map(After::Back),
    ]
    .boxed()
}

fn beside() -> impl Strategy<Value = Beside> + Clone {
    prop_oneof![3 => Just(Beside::At), 1 => Just(Beside::Before), 1 => Just(Beside::After)]
}

fn rarely() -> impl Strategy<Value = bool> + Clone {
    prop::bool::weighted(0.05)
}

fn who(among: impl Strategy<Value = Among>) -> impl Strategy<Value = Who> {
    (among, any::<u8>(), 0u8..3, 0u8..4, 0u8..2, prop::bool::weighted(0.02)).prop_map(
        |(among, nth, instance, request, attempt, former)| Who {
            among,
            nth,
            instance,
            request,
            attempt,
            former,
        },
    )
}

/// Now and then one that there is not.
fn account() -> impl Strategy<Value = u8> + Clone {
    prop_oneof![20 => 0u8..5, 1 => Just(5)]
}

/// Now and then one that there is not.
fn pool() -> impl Strategy<Value = u8> + Clone {
    prop_oneof![20 => 0u8..3, 1 => Just(3)]
}

/// Of limits that matter: one slot the most.
pub(crate) fn limit() -> impl Strategy<Value = Limit> + Clone {
    prop_oneof![
        24 => Just(Limit::Slots(1)),
        12 => Just(Limit::Slots(2)),
        6 => Just(Limit::Slots(3)),
        1 => Just(Limit::Slots(0)),
        1 => Just(Limit::Closed),
        4 => Just(Limit::Unlimited),
    ]
}

fn user_limit() -> impl Strategy<Value = UserLimit> {
    prop_oneof![
        8 => Just(UserLimit::AsKnown),
        3 => limit().prop_map(UserLimit::Newer),
        1 => limit().prop_map(UserLimit::Older),
        1 => limit().prop_map(UserLimit::Other),
    ]
}

fn want(same: u32) -> impl Strategy<Value = WantStep> {
    let model = || prop::option::weighted(0.1, 0u8..4);
    let line_max = || prop_oneof![3 => Just(20u32), 2 => 0u32..3];
    let some_accounts = || prop_oneof![4 => Just(0u8), 1 => any::<u8>()];
    prop_oneof![
        same => Just(WantStep::Same),
        3 => (0u8..5, user_limit(), line_max())
            .prop_map(|(user, limit, line_max)| WantStep::User { user, limit, line_max }),
        3 => (account(), model(), line_max())
            .prop_map(|(account, model, line_max)| WantStep::Gate { account, model, line_max }),
        8 => (
            pool(),
            model(),
            prop::collection::vec(account(), 0..3),
            some_accounts(),
            prop::option::weighted(0.8, line_max()),
        )
            .prop_map(|(pool, model, best, excluded, line_max)| WantStep::Pool {
                pool,
                model,
                best,
                excluded,
                line_max,
            }),
    ]
}

fn tag() -> impl Strategy<Value = TagStep> {
    prop_oneof![
        6 => Just(TagStep::Right),
        4 => Just(TagStep::Absent),
        2 => any::<u8>().prop_map(TagStep::Nth),
        1 => Just(TagStep::Lowest),
    ]
}

fn patience(pace: Pace) -> BoxedStrategy<PatienceStep> {
    let usual = prop_oneof![
        8 => Just(PatienceStep::Us(30_000_000)),
        4 => select(vec![0u64, 1, 1_000, 1_000_000, 2_000_000, 5_000_000, u64::MAX])
            .prop_map(PatienceStep::Us),
        3 => (0u8..4, beside()).prop_map(|(nth, beside)| PatienceStep::Moment(nth, beside)),
        1 => Just(PatienceStep::None),
    ];
    match pace {
        Pace::Still | Pace::Walk | Pace::Run => usual.boxed(),
        Pace::Burst => prop_oneof![3 => Just(PatienceStep::Us(2_000_000)), 2 => usual].boxed(),
    }
}

fn ttl(pace: Pace) -> BoxedStrategy<Option<u64>> {
    let some = || select(vec![4_000_000u64, 0, 1, 1_000_000, 3_000_000, 900_000_000, u64::MAX]);
    match pace {
        Pace::Still | Pace::Walk | Pace::Run => prop::option::weighted(0.15, some()).boxed(),
        Pace::Burst => prop::option::weighted(0.6, some()).boxed(),
    }
}

fn enter(pace: Pace) -> impl Strategy<Value = EnterStep> {
    let again = prop_oneof![
        4 => Just(Among::Waiting),
        4 => Just(Among::Unclaimed),
        1 => Just(Among::Held),
        1 => Just(Among::All),
    ];
    let who_wants = prop_oneof![
        5 => (who(Just(Among::All)), want(1)),
        4 => (who(again), want(30)),
    ];
    let ask = prop_oneof![
        14 => Just(AskStep::Newer),
        1 => Just(AskStep::Same),
        1 => Just(AskStep::Older),
    ];
    (who_wants, ask, tag(), patience(pace), ttl(pace), rarely()).prop_map(
        |((who, want), ask, tag, patience, ttl, held_back)| EnterStep {
            who,
            ask,
            want,
            tag,
            patience,
            ttl,
            held_back,
        },
    )
}

/// Lengths of closings and bindings, from nothing to beyond every cap.
fn length() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![
        4 => select(vec![2_000_000u64, 500_000, 3_000_000, 5_000_000]),
        1 => select(vec![0u64, 1, 100_000_000, 900_000_000_000, u64::MAX]),
    ]
}

fn mark(sick: bool) -> impl Strategy<Value = Mark> {
    let scope = || prop_oneof![Just(Scope::Account), Just(Scope::Model)];
    let cause = prop_oneof![Just(Cause::RateLimited), Just(Cause::Overloaded)];
    prop_oneof![
        if sick { 4 } else { 5 } => Just(Mark::Ok),
        5 => scope().prop_map(Mark::Failed),
        5 => (scope(), length(), cause, any::<bool>()).prop_map(|(scope, us, cause, explicit)| {
            Mark::Close { scope, span: Span(us), cause, explicit }
        }),
        2 => Just(Mark::Quarantine),
    ]
}

fn sweep() -> impl Strategy<Value = Act> {
    let many = prop_oneof![1u8..80, Just(65)];
    let mark = prop_oneof![2 => mark(false), 1 => Just(Mark::Failed(Scope::Model))];
    (who(Just(Among::All)), account(), 0u8..40, many, mark).prop_map(
        |(who, account, first, count, mark)| Act::Sweep { who, account, first, count, mark },
    )
}

fn storm() -> impl Strategy<Value = Act> {
    let cause = prop_oneof![Just(Cause::RateLimited), Just(Cause::Overloaded)];
    let close = (length(), cause).prop_map(|(us, cause)| {
        let (scope, span) = (Scope::Account, Span(us));
        Mark::Close { scope, span, cause, explicit: true }
    });
    let mark = prop_oneof![2 => mark(true), 1 => close];
    (any::<u8>(), prop::collection::vec(mark, 2..5))
        .prop_map(|(nth, marks)| Act::Storm { nth, marks })
}

fn relapse() -> impl Strategy<Value = Act> {
    let mark = prop_oneof![
        2 => Just(Mark::Quarantine),
        2 => Just(Mark::Failed(Scope::Account)),
        1 => Just(Mark::Failed(Scope::Model)),
    ];
    (who(Just(Among::All)), account(), 1u8..5, mark)
        .prop_map(|(who, account, times, mark)| Act::Relapse { who, account, times, mark })
}

fn leave(sick: bool) -> impl Strategy<Value = Act> {
    let among = prop_oneof![
        10 => Just(Among::Held),
        2 => Just(Among::Waiting),
        if sick { 6 } else { 2 } => Just(Among::Probes),
        1 => Just(Among::Unclaimed),
        2 => Just(Among::All),
    ];
    let mark = prop::option::weighted(if sick { 0.9 } else { 0.7 }, mark(sick));
    (who(among), mark, prop::bool::weighted(0.2), rarely())
        .prop_map(|(who, mark, fence, held_back)| Act::Leave { who, mark, fence, held_back })
}

fn join() -> impl Strategy<Value = Act> {
    let replaces = prop_oneof![
        6 => Just(Replaces::Right),
        1 => Just(Replaces::Nobody),
        1 => Just(Replaces::Wrong),
    ];
    (0u8..3, replaces, any::<bool>()).prop_map(|(instance, replaces, resume)| Act::Join {
        instance,
        replaces,
        resume,
    })
}

fn lie() -> impl Strategy<Value = Lie> {
    let what = prop_oneof![
        1 => Just(LieOf::Busy),
        1 => (0u8..5, user_limit()).prop_map(|(user, limit)| LieOf::HeldUser { user, limit }),
        3 => account().prop_map(|account| LieOf::HeldAccount { account }),
        3 => (want(6), select(vec![30_000_000u64, 0, 1, 2_000_000]))
            .prop_map(|(want, patience)| LieOf::Waiting { want, patience }),
    ];
    let among = prop_oneof![Just(Among::All), Just(Among::Held), Just(Among::Waiting)];
    (who(among), tag(), ttl(Pace::Walk), what).prop_map(|(who, tag, ttl, what)| Lie {
        who,
        tag,
        ttl,
        what,
    })
}

fn resync() -> impl Strategy<Value = ResyncStep> {
    let some = || prop_oneof![2 => Just(0u16), 1 => any::<u16>()];
    let pass = prop_oneof![3 => Just(Pass::Fresh), 2 => Just(Pass::Running), 1 => Just(Pass::Old)];
    let flags = (rarely(), prop::bool::weighted(0.7), any::<bool>(), prop::bool::weighted(0.15));
    (0u8..3, pass, some(), some(), prop::collection::vec(lie(), 0..3), flags).prop_map(
        |(instance, pass, omitted, busy, lies, (former, truth, last, held_back))| ResyncStep {
            instance,
            former,
            pass,
            truth,
            omitted,
            busy,
            lies,
            last,
            held_back,
        },
    )
}

fn define() -> impl Strategy<Value = Act> {
    let version = prop_oneof![
        6 => Just(VersionStep::Newer),
        1 => Just(VersionStep::SameStampHigherDigest),
        1 => Just(VersionStep::Same),
        1 => Just(VersionStep::Older),
    ];
    (version, prop::collection::vec(edit(), 0..4))
        .prop_map(|(version, edits)| Act::Define { version, edits })
}

pub(crate) fn edit() -> impl Strategy<Value = Edit> {
    let members = prop_oneof![2 => Just(0x1fu8), 1 => any::<u8>()];
    prop_oneof![
        18 => (0u8..5, limit()).prop_map(|(account, limit)| Edit::Limit(account, limit)),
        6 => (0u8..5, 0u32..3).prop_map(|(account, priority)| Edit::Priority(account, priority)),
        3 => (0u8..5).prop_map(Edit::Oauth),
        2 => (0u8..5).prop_map(Edit::Unlist),
        9 => (0u8..3, members).prop_map(|(pool, members)| Edit::Members(pool, members)),
        1 => (0u8..3).prop_map(Edit::UnlistPool),
        3 => (0u8..3).prop_map(Edit::PreferOauth),
        3 => Just(Edit::Discipline),
        3 => (0u8..4).prop_map(Edit::Rules),
    ]
}

fn survey() -> impl Strategy<Value = Act> {
    let excluded = prop_oneof![2 => Just(0u8), 1 => any::<u8>()];
    let best = prop_oneof![Just(8u8), 0u8..4, Just(255)];
    (pool(), 0u8..4, prop::option::weighted(0.7, 0u8..2), excluded, best).prop_map(
        |(pool, model, session, excluded, best)| Act::Survey {
            pool,
            model,
            session,
            excluded,
            best,
        },
    )
}

fn session() -> impl Strategy<Value = Act> {
    let change = prop_oneof![
        4 => (account(), prop_oneof![2 => Just(100_000_000), 1 => length()])
            .prop_map(|(account, us)| ChangeStep::Bind(account, us)),
        2 => length().prop_map(ChangeStep::Touch),
        1 => Just(ChangeStep::Drop),
    ];
    let believed = prop_oneof![
        4 => Just(Believed::Right),
        1 => Just(Believed::None),
        1 => account().prop_map(Believed::Account),
    ];
    (0u8..2, change, believed).prop_map(|(key, change, believed)| Act::Session {
        key,
        change,
        believed,
    })
}

fn health() -> impl Strategy<Value = Act> {
    let among =
        prop_oneof![5 => Just(Among::Probes), 1 => Just(Among::Held), 1 => Just(Among::All)];
    let change = prop_oneof![
        4 => who(among).prop_map(HealthStep::Proved),
        1 => Just(HealthStep::Drain),
        1 => Just(HealthStep::Disable),
        8 => Just(HealthStep::Recover),
    ];
    (account(), prop::option::weighted(0.3, 0u8..4), change)
        .prop_map(|(account, model, change)| Act::Health { account, model, change })
}
