//! What one exhaustive run checks and how far, and the rules that can be taken away to see it fail.

pub use super::state::Budget;
use super::state::{ACCOUNTS, INSTANCES, Mask};

/// Requests, each with one lease.
pub(super) const LEASES: usize = 3;

/// A rule of the design, to be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Without {
    /// A fenced `Leave` leaves a tombstone.
    Tombstones,
    /// A `Leave` is fenced while a `Resync` that lists its lease has had no answer.
    FenceForResync,
    /// A resync names the leases that have an operation unanswered.
    Busy,
    /// A lease whose `Leave` is owed counts as busy also while that is not under way.
    OwedIsBusy,
    /// A resync spares leases that asked after it began.
    AsOf,
    /// An `Enter` with an ask not above the known one changes nothing.
    AskOrder,
    /// A `Resync` does not touch a lease whose known ask is not below its own.
    AskOrderInResync,
    /// Only the reply to the newest ask is acted on.
    NewestAsk,
    /// A slot that comes after its request's end is not taken.
    LateHeldDropped,
    /// A grant is claimed before its request is forwarded.
    Claim,
    /// A node stops believing its session before the store ends it.
    Belief,
    /// A `Join` has to name the node it replaces.
    Replaces,
    /// No `Enter` for a lease while a `Resync` that lists it has had no answer.
    QuietDuringResync,
    /// Reaping takes all tickets before the first slot.
    TicketsFirst,
    /// An ask that changes nothing is not told `Held` for a grant it does not claim.
    StaleAskSeesNoGrant,
    /// What was held but not forwarded is asked for again after a session was lost.
    AskAgainAfterLost,
    /// A resync follows every resuming `Join`, also when nothing runs.
    ResyncAfterResume,
    /// A resync pass of which a call was answered `Unknown` is begun anew.
    PassBegunAnew,
    /// A resync call of an older pass than the newest one orphans nothing.
    NewestPass,
}

impl Without {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::Tombstones,
        Self::FenceForResync,
        Self::Busy,
        Self::OwedIsBusy,
        Self::AsOf,
        Self::AskOrder,
        Self::AskOrderInResync,
        Self::NewestAsk,
        Self::LateHeldDropped,
        Self::Claim,
        Self::Belief,
        Self::Replaces,
        Self::QuietDuringResync,
        Self::TicketsFirst,
        Self::StaleAskSeesNoGrant,
        Self::AskAgainAfterLost,
        Self::ResyncAfterResume,
        Self::PassBegunAnew,
        Self::NewestPass,
    ];
}

/// One exhaustive run.
#[derive(Clone, Debug)]
pub struct Config {
    /// What it is called in reports.
    pub name: &'static str,
    /// Which instance each request belongs to; `None` for one that never arrives.
    pub owners: [Option<u8>; LEASES],
    /// What each request wants, first by its first roster, then by its second; sets of accounts.
    pub wants: [[Mask; 2]; LEASES],
    /// Each account's slots.
    pub limits: [usize; ACCOUNTS],
    /// Messages of one instance in flight at one time.
    pub flight_max: usize,
    /// `Enter`s of one lease without an answer at one time: 1 or 2.
    pub open_max: usize,
    /// Whether a resync pass takes one call for each lease, or one for all.
    pub split_passes: bool,
    /// Which instances may crash, lose their session or audit; messages suffer for all.
    pub frail: [bool; INSTANCES],
    /// What may go wrong.
    pub budget: Budget,
    /// The rule taken away, if any.
    pub without: Option<Without>,
}

impl Config {
    /// Whether this rule is in force.
    pub(super) fn has(&self, rule: Without) -> bool {
        self.without != Some(rule)
    }

    /// The instance of a lease.
    pub(super) fn owner(&self, lease: usize) -> usize {
        self.owners[lease].map_or(INSTANCES, usize::from)
    }

    /// The leases of an instance.
    pub(super) fn leases_of(&self, instance: usize) -> impl Iterator<Item = usize> + '_ {
        (0..LEASES).filter(move |lease| self.owner(*lease) == instance)
    }
}
