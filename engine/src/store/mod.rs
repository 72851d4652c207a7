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

use alloc::boxed::Box;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, GateId, LeaseId, ModelId, NodeId, PoolId, SessionKey, Tag};
use crate::time::Span;

mod enter;
mod health;
mod resync;
mod survey;

pub use enter::{Enter, Want};
pub use health::{Cause, HealthChange, HealthRules, MODEL_KEYS_MAX, Mark, Scope};
pub use resync::{HeldLease, Resync, WaitingLease};
pub use survey::{Candidate, Home, HomeState, Surveyed};

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
/// The most bindings of sessions kept; then what ends first gives way.
pub const SESSIONS_MAX: usize = 262_144;
/// Resync passes of a node whose notes are kept. Two overlap when a call comes late, after a reconnect.
pub const PASSES_MAX: usize = 4;
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

    /// The same limit in one form: no slots is `Closed`.
    #[must_use]
    pub const fn normal(self) -> Self {
        match self {
            Self::Closed | Self::Slots(0) => Self::Closed,
            Self::Slots(_) | Self::Unlimited => self,
        }
    }

    /// `(held + waiting) × 100 / limit`, rounded down; 0 for `Unlimited`, 100 for `Closed`.
    #[must_use]
    pub const fn load_pct(self, held: u32, waiting: u32) -> u32 {
        match self {
            Self::Closed | Self::Slots(0) => 100,
            Self::Slots(_) if held == 0 && waiting == 0 => 0,
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

impl StoreOp {
    /// The node it names: without a live session of that node's the answer is [`StoreReply::Lost`].
    #[must_use]
    pub const fn node(&self) -> Option<NodeId> {
        match self {
            Self::Beat { node, .. } => Some(*node),
            Self::Resync(resync) => Some(resync.node),
            Self::Enter(enter) => Some(enter.lease.node),
            Self::Leave { lease, .. } => Some(lease.node),
            Self::Health { change: HealthChange::Proved(lease), .. } => Some(lease.node),
            Self::Join { .. }
            | Self::Define(_)
            | Self::Survey { .. }
            | Self::Session { .. }
            | Self::Health { .. }
            | Self::Reap { .. } => None,
        }
    }
}

/// What the store answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
        /// The store is away, and a stand-in answers from this node's share of every limit.
        stand_in: bool,
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
    /// `Survey`. Boxed, because every other answer is small, and all are moved about.
    Surveyed(Box<Surveyed>),
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
    /// Certainly not applied, and nothing will be for a while: who waits for the store is to be told
    /// so now.
    Away,
}

/// A slot handed to a ticket: to be pushed to the lease's node as a hint to claim it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grant {
    /// Whose.
    pub lease: LeaseId,
    /// Where.
    pub gate: GateId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_counts_who_holds_and_who_waits() {
        assert_eq!(Limit::Slots(4).load_pct(0, 0), 0);
        assert_eq!(Limit::Slots(4).load_pct(0, 1), 25);
        assert_eq!(Limit::Slots(4).load_pct(3, 3), 150);
        assert_eq!(Limit::Slots(3).load_pct(1, 0), 33);
        assert_eq!(Limit::Slots(1).load_pct(u32::MAX, u32::MAX), u32::MAX);
        assert_eq!(Limit::Unlimited.load_pct(9, 9), 0);
        assert_eq!((Limit::Closed.load_pct(0, 0), Limit::Slots(0).load_pct(0, 0)), (100, 100));
    }
}
