//! Leases held and owed: what one request claims from the store, and what the node still has to give back.

use alloc::collections::{BTreeMap, BTreeSet};
use serde::{Deserialize, Serialize};

use crate::ids::{Ask, Attempt, GateId, RequestId, Tag};
use crate::store::Mark;
use crate::time::{Span, Time};

/// A lease without its node, which may change its name.
pub(crate) type Key = (RequestId, Attempt);

/// What the store has answered for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Standing {
    /// Nothing, as far as answers go.
    Nothing,
    /// A ticket.
    Waiting,
    /// A slot, since then.
    Held { gate: GateId, probe: bool, since: Time },
}

/// One lease of a live request: the user's slot, or one account attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Claim {
    pub(crate) attempt: Attempt,
    pub(crate) standing: Standing,
    /// Its place in order, once told.
    pub(crate) tag: Option<Tag>,
    /// The newest ask, while it is unanswered. Only its reply is acted on, and there is never another.
    pub(crate) pending: Option<Ask>,
    /// Some `Enter` of it, or a `Resync` listing it, had no answer but `Unknown`.
    pub(crate) doubt: bool,
    /// What the store has is not known: no answer yet, or none that is certain.
    pub(crate) unsettled: bool,
    /// Ask again as soon as the unanswered ask is answered: a grant was pushed, or another want.
    pub(crate) again: bool,
    /// When to ask again.
    pub(crate) ask_at: Option<Time>,
    /// The delay that `ask_at` came from.
    pub(crate) delay: Option<Span>,
    /// Asks made, to tell apart the draws of jitter.
    pub(crate) asks: u32,
}

impl Claim {
    pub(crate) const fn new(attempt: Attempt, tag: Option<Tag>) -> Self {
        Self {
            attempt,
            standing: Standing::Nothing,
            tag,
            pending: None,
            doubt: false,
            unsettled: true,
            again: false,
            ask_at: None,
            delay: None,
            asks: 0,
        }
    }

    pub(crate) const fn gate(&self) -> Option<GateId> {
        match self.standing {
            Standing::Held { gate, .. } => Some(gate),
            Standing::Nothing | Standing::Waiting => None,
        }
    }

    /// Whether the store may have something under this lease.
    pub(crate) fn may_exist(&self) -> bool {
        self.unsure() || self.standing != Standing::Nothing
    }

    /// Whether its slot has outlived the ttl of leases.
    pub(crate) fn has_expired(&self, now: Time, ttl: Option<Span>) -> bool {
        match (self.standing, ttl) {
            (Standing::Held { since, .. }, Some(ttl)) => now.since(since) >= ttl,
            (Standing::Held { .. }, None) | (Standing::Nothing | Standing::Waiting, _) => false,
        }
    }

    /// Whether an `Enter` of it may yet be applied.
    pub(crate) const fn unsure(&self) -> bool {
        self.pending.is_some() || self.doubt
    }
}

/// A `Leave` that the store has not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Debt {
    pub(crate) mark: Option<Mark>,
    pub(crate) fence: bool,
    /// When to send it again; `None` while it is unanswered.
    pub(crate) retry_at: Option<Time>,
    /// The delay that `retry_at` came from.
    pub(crate) delay: Option<Span>,
    /// Attempts made, to tell apart the draws of jitter.
    pub(crate) tries: u32,
}

/// All debts of a node.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Debts {
    #[serde(with = "as_list")]
    owed: BTreeMap<Key, Debt>,
    due: BTreeSet<(Time, Key)>,
}

impl Debts {
    /// Owes a leave that is being sent now.
    pub(crate) fn owe(&mut self, key: Key, mark: Option<Mark>, fence: bool) {
        let debt = Debt { mark, fence, retry_at: None, delay: None, tries: 0 };
        let former = self.owed.insert(key, debt);
        debug_assert!(former.is_none(), "a lease leaves once");
    }

    pub(crate) fn get(&self, key: Key) -> Option<Debt> {
        self.owed.get(&key).copied()
    }

    /// The store knows.
    pub(crate) fn paid(&mut self, key: Key) {
        if let Some(Debt { retry_at: Some(at), .. }) = self.owed.remove(&key) {
            self.due.remove(&(at, key));
        }
    }

    /// The store may not know: again after `delay`.
    pub(crate) fn postpone(&mut self, key: Key, at: Time, delay: Span) {
        if let Some(debt) = self.owed.get_mut(&key) {
            debt.retry_at = Some(at);
            debt.delay = Some(delay);
            debt.tries = debt.tries.saturating_add(1);
            self.due.insert((at, key));
        }
    }

    /// What was to be sent again later is to be sent again now.
    pub(crate) fn hasten(&mut self, now: Time) {
        let postponed = core::mem::take(&mut self.due).into_iter().map(|(_, key)| key);
        for key in postponed {
            if let Some(debt) = self.owed.get_mut(&key) {
                debt.retry_at = Some(now);
                self.due.insert((now, key));
            }
        }
    }

    /// The next debt to be sent again now.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<(Key, Debt)> {
        let (_, key) = self.due.first().filter(|(at, _)| *at <= now).copied()?;
        self.due.pop_first();
        let debt = self.owed.get_mut(&key).expect("what is due is owed");
        debt.retry_at = None;
        Some((key, *debt))
    }

    pub(crate) fn next_due(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.owed.keys().copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.owed.len()
    }

    /// The session they were owed in is over, or a resync will put the store right.
    pub(crate) fn clear(&mut self) {
        self.owed.clear();
        self.due.clear();
    }
}

/// JSON has no maps with structured keys.
mod as_list {
    use super::{BTreeMap, Debt, Key};
    use alloc::vec::Vec;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        owed: &BTreeMap<Key, Debt>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(owed)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<Key, Debt>, D::Error> {
        Vec::<(Key, Debt)>::deserialize(deserializer).map(BTreeMap::from_iter)
    }
}
