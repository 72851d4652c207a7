//! What may happen to a store, in words that mean something in any world: everything is referred to
//! by its index among what there is at that moment, so that a sequence with a step taken out is
//! still a sequence. [`crate::world`] makes operations of them.

use sluice_engine::store::{Limit, Mark};

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
    /// Those who have slots of one account leave one after the other.
    Storm {
        nth: u8,
        marks: Vec<Mark>,
    },
    /// Whenever the account opens again, a lease has it and leaves with the mark.
    Relapse {
        who: Who,
        account: u8,
        times: u8,
        mark: Mark,
    },
    /// One lease has the account for so many models in turn, and leaves each with the mark.
    Sweep {
        who: Who,
        account: u8,
        first: u8,
        count: u8,
        mark: Mark,
    },
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
    /// There are more models than an account keeps keys for.
    pub(crate) wide: bool,
    /// Attempts end badly, on accounts that take several at once.
    pub(crate) sick: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    Still,
    Walk,
    Run,
    /// Nothing for long, then much at once; patience and ttl are short.
    Burst,
}
