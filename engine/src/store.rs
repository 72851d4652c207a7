//! The store protocol: every operation and every reply, as plain data.
//!
//! The meaning is [`crate::ledger::Ledger::apply`]; a backend is right when it answers as the ledger
//! does. Operations and replies carry spans, never points in time, because every store has its own
//! clock. docs/scheduling.md tells the story; the comments here state the contract.
//!
//! **Clocks.** A store keeps two readings, advanced by every operation but `Survey`, before anything
//! else: the *raw* reading, which is the machine's but never goes back, and the *store clock*, which
//! swallows gaps: it advances by the raw advance, at most [`GAP_MAX`] a time. Sessions, claims,
//! patience, ttl and tombstones run on the store clock; closings and session homes on the raw one.
//! A deadline has come when the clock is at or past it.
//!
//! **Due list.** Every operation but `Survey` then works off at most [`DUE_PER_OP`] due entries: first
//! those of the store clock by (deadline, lease), then openings by (time, account, model, the account's
//! own key before those of its models). Unclaimed grant: the lease loses everything and its gate is settled.
//! Patience: the ticket is removed. Ttl: the lease is removed and its gate settled. Opening: the
//! account is settled.

use alloc::vec::Vec;
use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::ids::{
    AccountId, Ask, GateId, LeaseId, ModelId, NodeId, PoolId, SessionKey, Tag, UserId,
};
use crate::time::Span;

/// How long a session lasts from its last beat, on the store clock.
pub const SESSION: Span = Span::from_secs(10);
/// How long a grant waits for its claim.
pub const CLAIM_WINDOW: Span = Span::from_secs(3);
/// How long a tombstone keeps a late `Enter` out.
pub const TOMBSTONE: Span = Span::from_secs(60);
/// The most that one operation moves the store clock on.
pub const GAP_MAX: Span = Span::from_secs(4);
/// Due entries worked off by one operation.
pub const DUE_PER_OP: usize = 8;
/// The most leases a `Resync` lists, held, waiting and busy together.
pub const RESYNC_MAX: usize = 256;
/// What an engine asks a `Reap` to work off.
pub const REAP_MAX: u32 = 128;
/// The most accounts a survey returns.
pub const BEST_MAX: usize = 8;
/// Tombstones and ended sessions' bindings forgotten by one operation.
pub const SWEEP_MAX: usize = 200;
/// The protocol spoken here; `Join` carries it.
pub const PROTOCOL: u32 = 1;

/// A live process' name in the store: the configured name and the worker's index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Instance(pub alloc::sync::Arc<str>);

/// How much a gate takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Limit {
    /// Nothing.
    Closed,
    /// So many at once, at least 1.
    Slots(u32),
    /// Any number.
    Unlimited,
}

impl Limit {
    /// Whether one more fits beside `held`.
    #[must_use]
    pub const fn has_room(self, held: u32) -> bool {
        match self {
            Self::Closed => false,
            Self::Slots(n) => held < n,
            Self::Unlimited => true,
        }
    }

    /// `(held + waiting) × 100 / limit`, rounded down; 0 for `Unlimited`, 100 for `Closed`.
    #[must_use]
    pub const fn load_pct(self, held: u32, waiting: u32) -> u32 {
        match self {
            Self::Closed => 100,
            Self::Slots(n) => {
                let load = (held as u64 + waiting as u64) * 100 / n as u64;
                if load > u32::MAX as u64 { u32::MAX } else { load as u32 }
            }
            Self::Unlimited => 0,
        }
    }
}

/// Which of two rosters is newer: the source's own stamp, then the digest of its content. Never a
/// process counter, so that all nodes that read the same source agree.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Version {
    /// The source's time of change, in any unit that grows.
    pub stamp: u64,
    /// The first 8 bytes of the content's SHA-256.
    pub digest: u64,
}

/// How a waiter gets a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Discipline {
    /// Whoever asks first takes it. Nothing settles, no grant is made; a lease that waited keeps
    /// counting in its line until it leaves.
    Poll,
    /// A freed slot is granted to the ticket with the least tag and claimed by its node.
    #[default]
    Settle,
}

/// An account as the store needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AccountDef {
    /// Whose.
    pub account: AccountId,
    /// How much it takes at once.
    pub limit: Limit,
    /// Lower is preferred.
    pub priority: u32,
    /// Whether pools that prefer such accounts rank it first among equals.
    pub oauth: bool,
}

/// A pool as the store needs it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PoolDef {
    /// Which.
    pub pool: PoolId,
    /// Whether OAuth accounts rank before others that are equal so far (Gemini).
    pub prefer_oauth: bool,
    /// Its accounts, without repetition.
    pub members: Vec<AccountId>,
}

/// The numbers of the health fold, see [`Mark`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HealthRules {
    /// Failures in a row that eject; 1 or more.
    pub failures_to_eject: u32,
    /// Length of the first ejection; each further one is twice as long.
    pub ejection: Span,
    /// The longest ejection.
    pub ejection_max: Span,
    /// Length of the first quarantine; each further one is twice as long.
    pub quarantine: Span,
    /// The longest quarantine.
    pub quarantine_max: Span,
    /// The longest closing for a rate limit.
    pub rate_limit_max: Span,
    /// The longest closing for overload.
    pub overload_max: Span,
}

impl Default for HealthRules {
    fn default() -> Self {
        Self {
            failures_to_eject: 5,
            ejection: Span::from_secs(10),
            ejection_max: Span::from_secs(300),
            quarantine: Span::from_secs(60),
            quarantine_max: Span::from_secs(3600),
            rate_limit_max: Span::from_secs(8 * 24 * 3600),
            overload_max: Span::from_secs(600),
        }
    }
}

/// What a mark speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// The whole account.
    Account,
    /// The account for the lease's model only.
    Model,
}

/// Why something is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// The upstream said 429.
    RateLimited,
    /// The upstream said 529.
    Overloaded,
    /// Failures in a row.
    Ejected,
    /// The credential was refused.
    Quarantined,
}

/// What an attempt's outcome says about its account.
///
/// Folded only by the `Leave` that removes a *claimed* held lease on an account, before the slot is
/// handed on. Health is kept per key: the account's own, and one per model (at most
/// [`MODEL_KEYS_MAX`]). A lease is *stale* for a key when it was granted before the key's latest
/// closing: then only an explicit `Close` while the key is still closed has an effect (it may lengthen
/// that closing), and it changes nothing else.
///
/// A key that closes becomes half-open: from its opening on, at most one lease granted since is under
/// it, the *probe*. It stays half-open until the probe is proved or leaves `Ok`; if the probe ends in
/// any other way, without a mark that closes the key, the next lease is the probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Mark {
    /// Clears failures, ejections, quarantines and half-open of the account's key and of the model's.
    Ok,
    /// One more failure in a row; the key is ejected when it is half-open or has
    /// `failures_to_eject` of them, and then its failures count from 0 again. The n-th ejection lasts
    /// `ejection × 2^(n-1)`, at most `ejection_max`.
    Failed(Scope),
    /// Closed for `span`, capped by the cause's maximum; never shortens a closing.
    Close {
        /// What is closed.
        scope: Scope,
        /// For how long from now.
        span: Span,
        /// Why: `RateLimited` or `Overloaded`.
        cause: Cause,
        /// The upstream named the time itself; otherwise it is our guess.
        explicit: bool,
    },
    /// The account's key is closed for `quarantine × 2^(n-1)`, at most `quarantine_max`.
    Quarantine,
}

/// Model keys that one account keeps. A further model takes the place of the least model whose key is
/// neither closed nor half-open, else its marks count for the whole account.
pub const MODEL_KEYS_MAX: usize = 64;

/// Where a lease wants a slot. Taken from the current roster at every ask.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Want {
    /// The user's own slot. The ask defines the gate: a `version` at or above the gate's known one
    /// sets its limit (and settles it if it was raised).
    User {
        /// Whose.
        user: UserId,
        /// How many at once.
        limit: Limit,
        /// The roster this limit is from.
        version: Version,
        /// The most tickets in the line.
        line_max: u32,
    },
    /// One account: a session's home.
    Gate {
        /// Which.
        account: AccountId,
        /// For which model.
        model: ModelId,
        /// The most tickets in the account's own line.
        line_max: u32,
    },
    /// Any account of a pool.
    Pool {
        /// Which pool.
        pool: PoolId,
        /// For which model.
        model: ModelId,
        /// Tried first, in this order.
        best: ArrayVec<AccountId, BEST_MAX>,
        /// Never these.
        excluded: Vec<AccountId>,
        /// The most tickets in the pool's line; without it there is no waiting.
        line_max: Option<u32>,
    },
}

/// Get or keep a place.
///
/// *Usable* for the lease is: a user gate whose limit is not `Closed`; an account whose limit is not
/// `Closed`, that is not disabled (nor draining, for a `Pool`), is not excluded and is a member of the
/// pool, and whose account key and model key are open: the closing is over, and if half-open there is
/// no probe or the probe is this lease.
///
/// 1. A tombstone answers `Left`. An ask not above the lease's known one changes nothing and reports
///    what the lease has (a grant is reported as `Held` but not claimed; `opens_in` is `None`); a
///    lease that has nothing has no known ask.
/// 2. Held or granted on a usable gate inside the want: `Held`, the grant is claimed.
/// 3. Held or granted elsewhere: that slot is given up; the rest follows with the lease's tag; the old
///    gate is settled at the end.
/// 4. The candidates are tried in order: `best`, then the pool's other members by rank. A candidate
///    takes the lease if it is usable and has room, after every waiting ticket of a lesser tag
///    that settle would serve there has been served (`Settle`), or just so (`Poll`).
/// 5. None has it. If no candidate is usable or merely full or under probe now, and none that is only
///    health-closed opens within `patience` (`None` = 0): `Shut`, and the old ticket is removed.
/// 6. No line in the want: `Full`. Already in that line: it stays there at its tag with the
///    new patience. The line has `line_max` tickets and this ask carries no tag: `Full`. In both cases
///    of `Full` the old ticket stays as it was. Otherwise: a ticket in the line, at the tag.
///
/// A lease's tag is the ask's, else the one it has, else a new one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Enter {
    /// For whom.
    pub lease: LeaseId,
    /// Orders the operations on the lease: the higher is the later.
    pub ask: Ask,
    /// Where.
    pub want: Want,
    /// The place in order, once known; also from an earlier attempt of the request.
    pub tag: Option<Tag>,
    /// How much longer a ticket may wait, on the store clock; ends at the grant.
    pub patience: Option<Span>,
    /// How long the lease lives from its grant (or from the moment it is held), on the store clock.
    pub ttl: Option<Span>,
}

/// A held lease, as its node knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HeldLease {
    /// The lease.
    pub lease: LeaseId,
    /// Where it is held.
    pub gate: GateId,
    /// For a user gate: its limit, and the roster that is from.
    pub limit: Option<(Limit, Version)>,
    /// For an account: the model it serves.
    pub model: ModelId,
    /// Its place in order.
    pub tag: Tag,
    /// What is left of its ttl.
    pub ttl: Option<Span>,
}

/// A waiting lease, as its node knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WaitingLease {
    /// The lease.
    pub lease: LeaseId,
    /// Where it waits; with a line.
    pub want: Want,
    /// Its place in order.
    pub tag: Tag,
    /// How much longer.
    pub patience: Span,
    /// As in [`Enter`].
    pub ttl: Option<Span>,
}

/// Tells the store what a node really has. One pass is a run of calls with the same `as_of`.
///
/// For each listed lease that has no tombstone and whose known ask is below `ask`: held ones are held
/// on their gate from now on, claimed, over the limit if need be (an unknown gate is created; given
/// up first wherever else they were), stale for every closing there has been; waiting ones that have nothing get a ticket, whatever
/// `line_max` says, those that wait elsewhere move, those that are held or granted stay so. Their known
/// ask becomes `ask`. Listed and busy leases are noted as seen by this pass. At `last`, the node's
/// leases with a known ask at or below `as_of` that this pass has not seen are left, without mark or
/// tombstone (`leases_orphaned_total`). At the end every gate is settled, users first, by id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Resync {
    /// Whose.
    pub node: NodeId,
    /// This call's number.
    pub ask: Ask,
    /// The node's call number when the pass began.
    pub as_of: Ask,
    /// Leases with an operation unanswered: not touched.
    pub busy: Vec<LeaseId>,
    /// Leases held.
    pub held: Vec<HeldLease>,
    /// Leases waiting.
    pub waiting: Vec<WaitingLease>,
    /// The pass ends here.
    pub last: bool,
}

/// The roster's part that the store needs, whole.
///
/// A version not above the known one changes nothing. Otherwise: listed accounts are created or
/// changed, an unlisted one is `Closed`, an unlisted pool is empty; tickets stay where they are. Then
/// every gate is settled, users first, by id. From `Settle` to `Poll`, grants stay to be claimed;
/// from `Poll` to `Settle`, held leases stop counting in lines.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Define {
    /// Which roster.
    pub version: Version,
    /// How waiters get slots.
    pub discipline: Discipline,
    /// The numbers of the health fold.
    pub health: HealthRules,
    /// All accounts.
    pub accounts: Vec<AccountDef>,
    /// All pools.
    pub pools: Vec<PoolDef>,
}

/// What becomes of a session's binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SessionChange {
    /// This account is its home, for so long.
    Bind(AccountId, Span),
    /// It lasts so long from now; nothing if there is no home.
    Touch(Span),
    /// It has no home.
    Drop,
}

/// A change of an account's health that no attempt's end makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HealthChange {
    /// The probe under this lease showed its first semantic byte: the keys it probes are half-open no
    /// more. Nothing if the lease is no probe.
    Proved(LeaseId),
    /// Operator: only `Gate` wants are served. Lasts until `Recover`, whatever `Define` says.
    Drain,
    /// Operator: nothing is served.
    Disable,
    /// Operator: serving again, and with no `model` every key is as new; with one, that model's key.
    Recover,
}

/// A store operation. Every one that names a node is answered [`StoreReply::Lost`], without effect but
/// for clocks and due list, when that node has no live session.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StoreOp {
    /// The only way a session begins. `Taken` unless `replaces` names the instance's current node, or
    /// it has none (its last one was reaped). `resume: false` drops the former node's tickets, then its leases, by lease,
    /// settling each gate as it is freed. `resume: true` renames what it still has to the new node and
    /// drops its tombstones.
    Join {
        /// The process' name.
        instance: Instance,
        /// The node to be succeeded.
        replaces: Option<NodeId>,
        /// Whether the former node's leases go on.
        resume: bool,
        /// The protocol spoken, [`PROTOCOL`].
        protocol: u32,
    },
    /// Keeps the session alive for [`SESSION`] from now.
    Beat {
        /// Whose.
        node: NodeId,
        /// Leases the node believes to be in the store for sure.
        settled: u32,
        /// Leases that may or may not be there.
        in_flight: u32,
    },
    /// See [`Resync`].
    Resync(Resync),
    /// See [`Define`].
    Define(Define),
    /// See [`Enter`].
    Enter(Enter),
    /// Out of its slot or line. The mark is folded before the slot is settled. With `fence` a
    /// tombstone is left for [`TOMBSTONE`], whether or not there was anything to leave.
    Leave {
        /// Whose.
        lease: LeaseId,
        /// What the attempt says about its account.
        mark: Option<Mark>,
        /// Whether a late `Enter` of the lease may still come.
        fence: bool,
    },
    /// Computes, stores nothing, and moves no clock.
    Survey {
        /// Which pool.
        pool: PoolId,
        /// For which model.
        model: ModelId,
        /// Whose home to look up.
        session: Option<SessionKey>,
        /// Not these.
        excluded: Vec<AccountId>,
        /// How many of the best, at most [`BEST_MAX`].
        best: u8,
    },
    /// Changes the binding only if the home is still `if_home`; answers the home afterwards.
    Session {
        /// Which session.
        key: SessionKey,
        /// What to do.
        change: SessionChange,
        /// The home the caller believes in.
        if_home: Option<AccountId>,
    },
    /// See [`HealthChange`].
    Health {
        /// Which account.
        account: AccountId,
        /// For `Recover`: only this model's key.
        model: Option<ModelId>,
        /// What to do.
        change: HealthChange,
    },
    /// Works off up to `max` more: due entries; then tickets of all ended sessions by lease; then
    /// their leases by lease, settling each gate as it is freed. A session of which nothing is left is
    /// forgotten.
    Reap {
        /// The most to work off.
        max: u32,
    },
}

/// An account as selection sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Candidate {
    /// Which.
    pub account: AccountId,
    /// Lower first.
    pub priority: u32,
    /// `(held + own line) × 100 / limit`.
    pub load_pct: u32,
    /// The store's stamp of its last assignment, 0 for never; the lesser first.
    pub last_assigned: u64,
}

/// A session's home, as a survey finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Home {
    /// Which account.
    pub account: AccountId,
    /// What can be done with it.
    pub state: HomeState,
    /// Tickets in its own line.
    pub line: u32,
}

/// What can be done with a session's home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HomeState {
    /// Usable, with room.
    Room,
    /// Usable but full, or half-open with the probe out.
    Full,
    /// Closed by health, opening in so long.
    Shut(Span),
    /// Limit `Closed`, disabled, not a member of the pool, or excluded.
    Gone,
}

/// What a survey returns.
///
/// Ranked are the members that are usable for a newcomer (see [`Enter`]), by (priority, load %, last assigned, not OAuth where
/// the pool prefers OAuth, id).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Surveyed {
    /// The best by rank among those with load below 100 %.
    pub best: ArrayVec<Candidate, BEST_MAX>,
    /// The first by rank with load left out of it, full or not, under probe or not: where `seed` waits.
    pub first: Option<AccountId>,
    /// The session's home, if it has one.
    pub home: Option<Home>,
    /// Members that are usable, full or not, under probe or not.
    pub open: u32,
    /// When none is: in how long the first of those that health has closed opens.
    pub opens_in: Option<Span>,
}

/// What the store answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "a survey is moved a few times a request; boxing it would cost an allocation each"
)]
pub enum StoreReply {
    /// The named node has no live session. Final for that node.
    Lost,
    /// `Join`: a session has begun.
    Joined {
        /// The new node.
        node: NodeId,
        /// How long it lasts from now.
        session: Span,
        /// The store's identity: another one means another history.
        epoch: u64,
    },
    /// `Join`: the instance's current node is this one.
    Taken {
        /// The node to replace.
        node: NodeId,
    },
    /// `Beat`: the session goes on.
    Alive {
        /// All nodes with a live session, in order.
        members: Vec<NodeId>,
        /// As in `Joined`.
        epoch: u64,
        /// The node's leases and tickets in the store.
        leases: u32,
    },
    /// `Resync`, `Define`, `Leave`, `Health`: done.
    Done,
    /// `Enter`: the lease has a slot.
    Held {
        /// Where.
        gate: GateId,
        /// Its place in order, to be sent with later asks and attempts.
        tag: Tag,
        /// The lease is a half-open key's probe.
        probe: bool,
    },
    /// `Enter`: the lease waits.
    Waiting {
        /// Its place in its line, from 1.
        position: u32,
        /// Its place in order.
        tag: Tag,
        /// No candidate is open now; the first opens in so long.
        opens_in: Option<Span>,
    },
    /// `Enter`: no room, and no place in the line.
    Full,
    /// `Enter`: nothing opens within the patience.
    Shut {
        /// When the first candidate opens, if any does by itself.
        opens_in: Option<Span>,
    },
    /// `Enter`: the lease has left before.
    Left,
    /// `Survey`.
    Surveyed(Surveyed),
    /// `Session`: the home now.
    Home(Option<AccountId>),
    /// `Reap`.
    Reaped {
        /// There is more to do now.
        more: bool,
    },
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StoreFault {
    /// The operation was certainly not applied.
    Refused,
    /// It may have been applied, or may yet be.
    Unknown,
}

/// A slot handed to a ticket: to be pushed to the lease's node as a hint to claim it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grant {
    /// Whose.
    pub lease: LeaseId,
    /// Where.
    pub gate: GateId,
}
