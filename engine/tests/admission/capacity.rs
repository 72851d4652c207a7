//! How many may run: what the store has been told of limits, which sessions it keeps alive, and
//! which attempts and users' slots count against which limit.
//!
//! An attempt is *sound* while the session under which its slot was granted has never ended and its
//! ttl is not over: only sound ones are bound by the limit, the others are the declared excess.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_engine::store::{GAP_MAX, Limit, SESSION, StoreOp, StoreReply};
use sluice_engine::{AccountId, Attempt, NodeId, Roster, Span, Time, UserId};

use super::life::Key;

/// An attempt that is open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flight {
    pub(crate) key: Key,
    pub(crate) attempt: Attempt,
    pub(crate) account: AccountId,
    pub(crate) node: NodeId,
    pub(crate) asked: Time,
    pub(crate) started: bool,
    pub(crate) cancelled: bool,
    pub(crate) sound: bool,
}

/// A user's slot in use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UserSlot {
    pub(crate) key: Key,
    pub(crate) user: UserId,
    pub(crate) node: NodeId,
    pub(crate) asked: Time,
    pub(crate) sound: bool,
}

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Capacity {
    clock: Time,
    raw: Option<Time>,
    sessions: BTreeMap<NodeId, Time>,
    /// Rosters the store was told, by the observation from which on.
    pub(crate) defined: Vec<(u64, Arc<Roster>)>,
    pub(crate) flights: Vec<Flight>,
    pub(crate) slots: Vec<UserSlot>,
    pub(crate) sessions_ended: u64,
}

impl Capacity {
    /// An operation was applied at this reading of the store's machine.
    pub(crate) fn applied(&mut self, raw: Time, op: &StoreOp, reply: &StoreReply) {
        if matches!(op, StoreOp::Survey { .. }) {
            return;
        }
        let step = raw.since(self.raw.unwrap_or(raw));
        self.clock = self.clock + step.min(GAP_MAX);
        self.raw = Some(self.raw.map_or(raw, |last| last.max(raw)));
        self.end_sessions();
        match (op, reply) {
            (StoreOp::Join { .. }, StoreReply::Joined { node, .. })
            | (StoreOp::Beat { node, .. }, StoreReply::Alive { .. }) => {
                self.sessions.insert(*node, self.clock + SESSION);
            }
            _ => {}
        }
        if let (StoreOp::Join { replaces: Some(former), .. }, StoreReply::Joined { .. }) =
            (op, reply)
        {
            self.sessions.remove(former);
            self.forget(*former);
        }
    }

    fn end_sessions(&mut self) {
        let clock = self.clock;
        let ended = self.sessions.iter().filter(|(_, end)| **end <= clock);
        let ended: Vec<NodeId> = ended.map(|(node, _)| *node).collect();
        for node in ended {
            self.sessions.remove(&node);
            self.sessions_ended += 1;
            self.forget(node);
        }
    }

    fn forget(&mut self, node: NodeId) {
        self.flights.iter_mut().filter(|f| f.node == node).for_each(|f| f.sound = false);
        self.slots.iter_mut().filter(|s| s.node == node).for_each(|s| s.sound = false);
    }

    /// Whether the store keeps this session alive, as of its last operation.
    pub(crate) fn alive(&self, node: NodeId) -> bool {
        self.sessions.contains_key(&node)
    }

    pub(crate) fn define(&mut self, mark: u64, roster: &Arc<Roster>) {
        let newer = self.defined.last().is_none_or(|(_, r)| r.version < roster.version);
        if newer {
            self.defined.push((mark, Arc::clone(roster)));
        }
    }

    /// The rosters that held at some time since this observation.
    pub(crate) fn defined_since(&self, mark: u64) -> impl Iterator<Item = &Arc<Roster>> {
        since(&self.defined, mark)
    }

    /// The highest limit that the store had for this account since this observation.
    pub(crate) fn limit_since(&self, account: AccountId, mark: u64) -> Limit {
        let limit = |roster: &Arc<Roster>| roster.accounts.get(&account).map(|a| a.limit);
        self.defined_since(mark).filter_map(limit).max().unwrap_or(Limit::Closed)
    }

    /// Sound attempts open on this account.
    pub(crate) fn open_on(&self, account: AccountId, now: Time, ttl: Option<Span>) -> u32 {
        let young = |asked: Time| ttl.is_none_or(|ttl| now.since(asked) < ttl);
        let counts = |f: &&Flight| f.account == account && f.sound && young(f.asked);
        count(self.flights.iter().filter(counts))
    }

    /// Sound slots of this user in use.
    pub(crate) fn slots_of(&self, user: UserId, now: Time, ttl: Option<Span>) -> u32 {
        let young = |asked: Time| ttl.is_none_or(|ttl| now.since(asked) < ttl);
        count(self.slots.iter().filter(|s| s.user == user && s.sound && young(s.asked)))
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).expect("a run has few requests")
}

/// What held at some time since this observation, in a list of what held from when on.
pub(crate) fn since<T>(list: &[(u64, T)], mark: u64) -> impl Iterator<Item = &T> {
    let first = list.iter().rposition(|(from, _)| *from <= mark).unwrap_or(0);
    list[first..].iter().map(|(_, item)| item)
}

/// Whether so many fit within a limit.
pub(crate) const fn fits(limit: Limit, open: u32) -> bool {
    match limit {
        Limit::Closed => open == 0,
        Limit::Slots(n) => open <= n,
        Limit::Unlimited => true,
    }
}
