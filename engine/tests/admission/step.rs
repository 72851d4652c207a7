//! What can happen in a world, one thing at a time. Steps name what they act on by an index modulo
//! the number there is at that moment, so that every step is legal anywhere and shrinking is free.

use proptest::prelude::*;
use sluice_engine::store::{Limit, Scope};
use sluice_engine::{Outcome, Span};

use super::shape::{Faults, Shape, limit};

/// What becomes of one store operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Applied and answered now.
    Answer,
    /// Applied now, answered by a later [`Step::Answer`].
    Hold,
    /// Applied twice, then answered now.
    Twice,
    /// Applied, but the sender is told `Unknown`; with `again` it may be applied once more.
    Lose { again: bool },
    /// Not applied; the sender is told `Refused`.
    Refuse,
    /// The sender is told `Unknown`; applied by a later [`Step::Late`], or never.
    Late,
}

/// A change of the roster.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    AccountLimit {
        account: u8,
        limit: Limit,
    },
    UserLimit {
        user: u8,
        limit: Limit,
    },
    /// Into the pool, or out of it.
    Member {
        pool: u8,
        account: u8,
    },
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Arrive {
        host: u8,
        user: u8,
        pool: u8,
        session: Option<u8>,
        warmup: bool,
    },
    Abandon {
        nth: u8,
    },
    Store {
        nth: u8,
        fate: Fate,
    },
    /// A held answer is delivered.
    Answer {
        nth: u8,
    },
    /// An operation that was answered `Unknown` is applied after all; `keep`: it may be once more.
    Late {
        nth: u8,
        keep: bool,
    },
    /// A hint is delivered; `keep`: it may be once more.
    Hint {
        nth: u8,
        keep: bool,
    },
    LoseHint {
        nth: u8,
    },
    Started {
        nth: u8,
    },
    End {
        nth: u8,
        outcome: Outcome,
    },
    Bill {
        nth: u8,
        denied: bool,
    },
    /// Time passes; `frozen`: nobody is woken meanwhile.
    Advance {
        ms: u32,
        frozen: bool,
    },
    /// To an engine's next time-out; `early`: a microsecond short of it.
    Wake {
        host: u8,
        early: bool,
    },
    /// From now on the store answers at once, or only when told to.
    Prompt(bool),
    /// Everything on its way arrives, and everything that follows from it.
    Flush,
    /// A new roster, given to the engines in `to`.
    Change {
        change: Change,
        to: [bool; 2],
    },
    /// The newest roster is given to one engine.
    Reload {
        host: u8,
    },
    Crash {
        host: u8,
    },
    Restart {
        host: u8,
    },
    /// Everything gets well and comes to rest.
    Heal,
}

fn fate(faults: Faults) -> BoxedStrategy<Fate> {
    prop_oneof![
        12 => Just(Fate::Answer),
        3 => Just(Fate::Hold),
        faults.twice => Just(Fate::Twice),
        faults.lose => any::<bool>().prop_map(|again| Fate::Lose { again }),
        faults.refuse => Just(Fate::Refuse),
        faults.late => Just(Fate::Late),
    ]
    .boxed()
}

fn outcome(faults: Faults) -> BoxedStrategy<Outcome> {
    let spans = || prop::option::of((1u64..40).prop_map(Span::from_secs));
    let scope = prop_oneof![Just(Scope::Account), Just(Scope::Model)];
    let limited = (scope, spans())
        .prop_map(|(scope, retry_after)| Outcome::RateLimited { scope, retry_after });
    prop_oneof![
        8 => Just(Outcome::Completed),
        1 => Just(Outcome::ClientError { status: 400 }),
        faults.failures => prop_oneof![
            limited,
            spans().prop_map(|retry_after| Outcome::Overloaded { retry_after }),
            Just(Outcome::ServerError { status: 500 }),
            Just(Outcome::Unauthorized { status: 401 }),
            Just(Outcome::Unreachable),
            Just(Outcome::Truncated),
        ],
    ]
    .boxed()
}

pub(crate) fn change() -> BoxedStrategy<Change> {
    let nth = 0u8..8;
    prop_oneof![
        3 => (nth.clone(), limit())
            .prop_map(|(account, limit)| Change::AccountLimit { account, limit }),
        2 => (nth.clone(), limit()).prop_map(|(user, limit)| Change::UserLimit { user, limit }),
        2 => (nth.clone(), nth).prop_map(|(pool, account)| Change::Member { pool, account }),
    ]
    .boxed()
}

fn advance(faults: Faults) -> BoxedStrategy<Step> {
    let ms = || prop_oneof![4 => 0u32..=300, 3 => 300u32..=3_500, 1 => 3_500u32..=35_000];
    prop_oneof![
        8 => ms().prop_map(|ms| Step::Advance { ms, frozen: false }),
        faults.freeze => ms().prop_map(|ms| Step::Advance { ms, frozen: true }),
        faults.freeze => (6_000u32..=90_000).prop_map(|ms| Step::Advance { ms, frozen: true }),
    ]
    .boxed()
}

fn arrival() -> BoxedStrategy<Step> {
    let session = prop::option::weighted(0.4, 0u8..3);
    (0u8..2, 0u8..3, 0u8..2, session, prop::bool::weighted(0.1))
        .prop_map(|(host, user, pool, session, warmup)| Step::Arrive {
            host,
            user,
            pool,
            session,
            warmup,
        })
        .boxed()
}

/// Steps for the tests with faults.
pub(crate) fn step(shape: &Shape) -> BoxedStrategy<Step> {
    let faults = shape.faults;
    let nth = || 0u8..32;
    // The last in line and the first are the most likely to matter.
    let op = || prop_oneof![2 => Just(0u8), 1 => nth()];
    let network = prop_oneof![
        10 => (op(), fate(faults)).prop_map(|(nth, fate)| Step::Store { nth, fate }),
        3 => nth().prop_map(|nth| Step::Answer { nth }),
        faults.late + faults.lose => (nth(), prop::bool::weighted(0.2))
            .prop_map(|(nth, keep)| Step::Late { nth, keep }),
        4 => (nth(), prop::bool::weighted(0.2)).prop_map(|(nth, keep)| Step::Hint { nth, keep }),
        faults.lose => nth().prop_map(|nth| Step::LoseHint { nth }),
        3 => (nth(), prop::bool::weighted(0.1))
            .prop_map(|(nth, denied)| Step::Bill { nth, denied }),
        4 => Just(Step::Flush),
        1 => prop::bool::weighted(0.3).prop_map(Step::Prompt),
    ];
    let upstream = prop_oneof![
        1 => nth().prop_map(|nth| Step::Started { nth }),
        2 => (nth(), outcome(faults)).prop_map(|(nth, outcome)| Step::End { nth, outcome }),
    ];
    let rare = prop_oneof![
        1 => (0u8..2).prop_map(|host| Step::Restart { host }),
        faults.crash => (0u8..2).prop_map(|host| Step::Crash { host }),
        faults.roster => (change(), any::<[bool; 2]>())
            .prop_map(|(change, to)| Step::Change { change, to }),
        faults.roster => (0u8..2).prop_map(|host| Step::Reload { host }),
    ];
    prop_oneof![
        60 => arrival(),
        110 => network,
        50 => upstream,
        30 => advance(faults),
        20 => (0u8..2, prop::bool::weighted(0.2))
            .prop_map(|(host, early)| Step::Wake { host, early }),
        faults.abandon * 2 => nth().prop_map(|nth| Step::Abandon { nth }),
        2 * (1 + faults.crash + faults.roster) => rare,
        1 => Just(Step::Heal),
    ]
    .boxed()
}
