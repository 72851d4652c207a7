//! What may happen to a store, in words that mean something in any world: everything is referred to
//! by its index among what there is at that moment, so that a sequence with a step taken out is
//! still a sequence. [`crate::world`] makes operations of them.

use proptest::prelude::*;
use proptest::sample::select;
use sluice_engine::store::{Cause, Limit, Mark, Scope};
use sluice_engine::time::Span;

/// One thing that happens, and how long after the one before.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) after: After,
    pub(crate) act: Act,
}

/// How the machine's reading goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum After {
    Nothing,
    Us(u64),
    /// To the n-th moment at which something is due, or a microsecond beside it.
    Moment(u8, Beside),
    /// The machine's clock is set back.
    Back(u64),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Beside {
    At,
    Before,
    After,
}

#[derive(Clone, Debug)]
pub(crate) enum Act {
    Enter(EnterStep),
    /// So many requests of all instances want the same at once.
    Crowd(u8, EnterStep),
    Leave {
        who: Who,
        mark: Option<Mark>,
        fence: bool,
        held_back: bool,
    },
    Join {
        instance: u8,
        replaces: Replaces,
        resume: bool,
    },
    Beat {
        instance: u8,
        former: bool,
    },
    Resync(ResyncStep),
    Define {
        version: VersionStep,
        edits: Vec<Edit>,
    },
    Survey {
        pool: u8,
        model: u8,
        session: Option<u8>,
        excluded: u8,
        best: u8,
    },
    Session {
        key: u8,
        change: ChangeStep,
        believed: Believed,
    },
    Health {
        account: u8,
        model: Option<u8>,
        change: HealthStep,
    },
    Reap {
        max: u32,
    },
    /// An operation arrives once more.
    Repeat(u8),
    /// An operation that was held back arrives.
    Deliver(u8),
}

/// Which lease: one that there is, or any that there could be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who {
    pub(crate) among: Among,
    pub(crate) nth: u8,
    pub(crate) instance: u8,
    pub(crate) request: u8,
    pub(crate) attempt: u8,
    /// Of a node that has been succeeded.
    pub(crate) former: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Among {
    All,
    Held,
    Waiting,
    Unclaimed,
    Probes,
}

#[derive(Clone, Debug)]
pub(crate) struct EnterStep {
    pub(crate) who: Who,
    pub(crate) ask: AskStep,
    pub(crate) want: WantStep,
    pub(crate) tag: TagStep,
    pub(crate) patience: PatienceStep,
    pub(crate) ttl: Option<u64>,
    pub(crate) held_back: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum AskStep {
    Newer,
    Same,
    Older,
}

#[derive(Clone, Debug)]
pub(crate) enum WantStep {
    /// As the lease wants already.
    Same,
    User {
        user: u8,
        limit: UserLimit,
        line_max: u32,
    },
    Gate {
        account: u8,
        model: Option<u8>,
        line_max: u32,
    },
    Pool {
        pool: u8,
        model: Option<u8>,
        best: Vec<u8>,
        excluded: u8,
        line_max: Option<u32>,
    },
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum UserLimit {
    AsKnown,
    Newer(Limit),
    Older(Limit),
    Other(Limit),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum TagStep {
    Right,
    Absent,
    /// The n-th tag that has been told to anybody.
    Nth(u8),
    /// Lower than any.
    Lowest,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum PatienceStep {
    None,
    Us(u64),
    /// Until the n-th moment at which something is due, or beside it.
    Moment(u8, Beside),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Replaces {
    Right,
    Nobody,
    Wrong,
}

#[derive(Clone, Debug)]
pub(crate) struct ResyncStep {
    pub(crate) instance: u8,
    pub(crate) former: bool,
    pub(crate) pass: Pass,
    /// Lists what the node has, but for those whose bit is in `omitted`; those in `busy` as busy.
    pub(crate) truth: bool,
    pub(crate) omitted: u16,
    pub(crate) busy: u16,
    pub(crate) lies: Vec<Lie>,
    pub(crate) last: bool,
    pub(crate) held_back: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Pass {
    Fresh,
    Running,
    Old,
}

/// A lease of which the node believes something else than the store.
#[derive(Clone, Debug)]
pub(crate) struct Lie {
    pub(crate) who: Who,
    pub(crate) tag: TagStep,
    pub(crate) ttl: Option<u64>,
    pub(crate) what: LieOf,
}

#[derive(Clone, Debug)]
pub(crate) enum LieOf {
    Busy,
    HeldUser { user: u8, limit: UserLimit },
    HeldAccount { account: u8 },
    Waiting { want: WantStep, patience: u64 },
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum VersionStep {
    Newer,
    SameStampHigherDigest,
    Same,
    Older,
}

/// One difference between two rosters.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Edit {
    Limit(u8, Limit),
    Priority(u8, u32),
    Oauth(u8),
    Unlist(u8),
    Members(u8, u8),
    UnlistPool(u8),
    PreferOauth(u8),
    Discipline,
    Rules(u8),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum ChangeStep {
    Bind(u8, u64),
    Touch(u64),
    Drop,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Believed {
    Right,
    None,
    Account(u8),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum HealthStep {
    Proved(Who),
    Drain,
    Disable,
    Recover,
}

/// How often what happens: drawn anew for each case, so that each case is about something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mix {
    pub(crate) pace: Pace,
    pub(crate) enter: u32,
    pub(crate) leave: u32,
    pub(crate) nodes: u32,
    pub(crate) resync: u32,
    pub(crate) define: u32,
    pub(crate) health: u32,
    pub(crate) again: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    Still,
    Walk,
    Run,
    /// Nothing for long, then much at once; patience and ttl are short.
    Burst,
}

pub(crate) fn mix() -> impl Strategy<Value = Mix> {
    let often = || prop_oneof![2 => Just(3u32), 1 => Just(1), 1 => Just(8)];
    let pace = prop_oneof![Just(Pace::Still), Just(Pace::Walk), Just(Pace::Run), Just(Pace::Burst)];
    (pace, often(), often(), often(), often(), often(), often(), often()).prop_map(
        |(pace, enter, leave, nodes, resync, define, health, again)| Mix {
            pace,
            enter,
            leave,
            nodes,
            resync,
            define,
            health,
            again,
        },
    )
}

/// All that can happen, as often as the mix says.
pub(crate) fn menu(mix: Mix) -> BoxedStrategy<Step> {
    let acts = prop_oneof![
        mix.enter * 20 => enter(mix.pace).prop_map(Act::Enter),
        mix.enter => (1u8..=12, enter(mix.pace)).prop_map(|(count, step)| Act::Crowd(count, step)),
        mix.leave * 8 => leave(),
        mix.nodes => join(),
        mix.nodes * 2 => (0u8..3, rarely()).prop_map(|(instance, former)| Act::Beat { instance, former }),
        mix.nodes => prop_oneof![Just(0u32), 1u32..4, Just(128)].prop_map(|max| Act::Reap { max }),
        mix.resync => resync().prop_map(Act::Resync),
        mix.define => define(),
        4u32 => survey(),
        4u32 => session(),
        mix.health => health(),
        mix.again => (0u8..16).prop_map(Act::Repeat),
        mix.again => (0u8..8).prop_map(Act::Deliver),
    ];
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
        moment => (account(), beside()).prop_map(|(nth, beside)| After::Moment(nth, beside)),
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
    let line_max = || prop_oneof![3 => Just(8u32), 2 => 0u32..3];
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
        4 => select(vec![0u64, 1, 1_000, 1_000_000, 2_000_000, 5_000_000])
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
    let some = || select(vec![3_000_001u64, 4_000_000, 5_000_000, 900_000_000]);
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
        1 => select(vec![0u64, 1, 100_000_000, 900_000_000_000]),
    ]
}

fn mark() -> impl Strategy<Value = Mark> {
    let scope = || prop_oneof![Just(Scope::Account), Just(Scope::Model)];
    let cause = prop_oneof![Just(Cause::RateLimited), Just(Cause::Overloaded)];
    prop_oneof![
        5 => Just(Mark::Ok),
        5 => scope().prop_map(Mark::Failed),
        5 => (scope(), length(), cause, any::<bool>()).prop_map(|(scope, us, cause, explicit)| {
            Mark::Close { scope, span: Span(us), cause, explicit }
        }),
        2 => Just(Mark::Quarantine),
    ]
}

fn leave() -> impl Strategy<Value = Act> {
    let among = prop_oneof![
        10 => Just(Among::Held),
        2 => Just(Among::Waiting),
        2 => Just(Among::Probes),
        1 => Just(Among::Unclaimed),
        2 => Just(Among::All),
    ];
    (who(among), prop::option::weighted(0.7, mark()), prop::bool::weighted(0.2), rarely())
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
        6 => (0u8..5, limit()).prop_map(|(account, limit)| Edit::Limit(account, limit)),
        2 => (0u8..5, 0u32..3).prop_map(|(account, priority)| Edit::Priority(account, priority)),
        1 => (0u8..5).prop_map(Edit::Oauth),
        1 => (0u8..5).prop_map(Edit::Unlist),
        3 => (0u8..3, members).prop_map(|(pool, members)| Edit::Members(pool, members)),
        1 => (0u8..3).prop_map(Edit::UnlistPool),
        1 => (0u8..3).prop_map(Edit::PreferOauth),
        1 => Just(Edit::Discipline),
        1 => (0u8..4).prop_map(Edit::Rules),
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
        4 => (account(), length()).prop_map(|(account, us)| ChangeStep::Bind(account, us)),
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
        5 => Just(HealthStep::Recover),
    ];
    (account(), prop::option::weighted(0.3, 0u8..4), change)
        .prop_map(|(account, model, change)| Act::Health { account, model, change })
}
