//! Gates and pools in dense arrays: what a survey scans is 32 bytes a gate, in a row.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use super::health::{Door, Health};
use crate::ids::{GateId, LeaseId, ModelId, PoolId, Tag};
use crate::store::{Limit, Version};
use crate::time::{Span, Time};

/// A gate's place in the arrays.
pub(super) type GateIx = u32;
/// A pool's place in its array.
pub(super) type PoolIx = u32;
/// Tickets in order.
pub(super) type Tickets = BTreeSet<(Tag, LeaseId)>;

/// What ranking looks at.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Hot {
    pub(super) last_assigned: u64,
    pub(super) limit: Limit,
    pub(super) held: u32,
    /// Tickets in its own line.
    pub(super) waiting: u32,
    pub(super) priority: u32,
    pub(super) oauth: bool,
    /// Its health or operator state may say no: look at the gate.
    pub(super) guarded: bool,
}

impl Hot {
    pub(super) const fn load_pct(&self) -> u32 {
        self.limit.load_pct(self.held, self.waiting)
    }

    pub(super) const fn has_room(&self) -> bool {
        self.limit.has_room(self.held)
    }
}

/// What an operator has said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Operator {
    #[default]
    Serving,
    Draining,
    Disabled,
}

/// The rest of a gate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Gate {
    pub(super) id: GateId,
    /// A user's: the roster its limit is from.
    pub(super) version: Version,
    /// An account's: whether the roster lists it.
    pub(super) listed: bool,
    pub(super) operator: Operator,
    pub(super) health: Health,
    pub(super) pools: Vec<PoolIx>,
    pub(super) line: Tickets,
}

/// The accounts that a ticket may wait for together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Pool {
    pub(super) id: PoolId,
    pub(super) prefer_oauth: bool,
    /// By account id, so that the place breaks ties.
    pub(super) members: Vec<GateIx>,
    pub(super) line: Tickets,
}

/// By which way a gate is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum LineIx {
    /// The gate itself.
    Gate(GateIx),
    /// Its pool.
    Pool(PoolIx),
}

/// Whether a gate can be used, room aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Yes,
    /// Half-open, and somebody else is the probe.
    Probing,
    /// Closed by health for so long.
    Shut(Span),
    No,
}

/// All gates and pools.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Gates {
    pub(super) hot: Vec<Hot>,
    cold: Vec<Option<Gate>>,
    free: Vec<GateIx>,
    #[serde(with = "super::as_list")]
    index: BTreeMap<GateId, GateIx>,
    pools: Vec<Option<Pool>>,
    free_pools: Vec<PoolIx>,
    pool_index: BTreeMap<PoolId, PoolIx>,
}

impl Gates {
    pub(super) fn find(&self, id: GateId) -> Option<GateIx> {
        self.index.get(&id).copied()
    }

    pub(super) fn find_pool(&self, id: PoolId) -> Option<PoolIx> {
        self.pool_index.get(&id).copied()
    }

    pub(super) fn gate(&self, ix: GateIx) -> &Gate {
        self.cold[ix as usize].as_ref().expect("an index is given out for a gate that is there")
    }

    pub(super) fn gate_mut(&mut self, ix: GateIx) -> &mut Gate {
        self.cold[ix as usize].as_mut().expect("an index is given out for a gate that is there")
    }

    pub(super) fn pool(&self, ix: PoolIx) -> &Pool {
        self.pools[ix as usize].as_ref().expect("an index is given out for a pool that is there")
    }

    pub(super) fn pool_mut(&mut self, ix: PoolIx) -> &mut Pool {
        self.pools[ix as usize].as_mut().expect("an index is given out for a pool that is there")
    }

    /// All gates, users first, by id.
    pub(super) fn all(&self) -> impl Iterator<Item = (GateId, GateIx)> + '_ {
        self.index.iter().map(|(id, ix)| (*id, *ix))
    }

    pub(super) fn all_pools(&self) -> impl Iterator<Item = (PoolId, PoolIx)> + '_ {
        self.pool_index.iter().map(|(id, ix)| (*id, *ix))
    }

    /// The gate, made if need be: closed, unlisted, empty.
    pub(super) fn make(&mut self, id: GateId) -> (GateIx, bool) {
        if let Some(ix) = self.find(id) {
            return (ix, false);
        }
        let hot = Hot {
            last_assigned: 0,
            limit: Limit::Closed,
            held: 0,
            waiting: 0,
            priority: u32::MAX,
            oauth: false,
            guarded: false,
        };
        let gate = Gate {
            id,
            version: Version::default(),
            listed: false,
            operator: Operator::default(),
            health: Health::default(),
            pools: Vec::new(),
            line: Tickets::new(),
        };
        let ix = match self.free.pop() {
            Some(ix) => {
                self.hot[ix as usize] = hot;
                self.cold[ix as usize] = Some(gate);
                ix
            }
            None => {
                self.hot.push(hot);
                self.cold.push(Some(gate));
                (self.cold.len() - 1) as GateIx
            }
        };
        self.index.insert(id, ix);
        (ix, true)
    }

    pub(super) fn make_pool(&mut self, id: PoolId) -> PoolIx {
        if let Some(ix) = self.find_pool(id) {
            return ix;
        }
        let pool = Pool { id, prefer_oauth: false, members: Vec::new(), line: Tickets::new() };
        let ix = match self.free_pools.pop() {
            Some(ix) => {
                self.pools[ix as usize] = Some(pool);
                ix
            }
            None => {
                self.pools.push(Some(pool));
                (self.pools.len() - 1) as PoolIx
            }
        };
        self.pool_index.insert(id, ix);
        ix
    }

    /// Forgets a gate that says nothing any more.
    pub(super) fn drop_if_idle(&mut self, ix: GateIx, raw: Time) -> Option<Gate> {
        let (hot, gate) = (&self.hot[ix as usize], self.cold[ix as usize].as_ref()?);
        let idle = hot.held == 0 && hot.waiting == 0 && !gate.listed && gate.pools.is_empty();
        let plain = gate.operator == Operator::Serving && gate.health.is_clean(raw);
        if !idle || !plain {
            return None;
        }
        let id = gate.id;
        self.index.remove(&id);
        self.free.push(ix);
        self.cold[ix as usize].take()
    }

    /// Forgets a pool without members that nobody waits for.
    pub(super) fn drop_pool_if_idle(&mut self, ix: PoolIx) {
        let Some(pool) = &self.pools[ix as usize] else { return };
        if pool.members.is_empty() && pool.line.is_empty() {
            let id = pool.id;
            self.pool_index.remove(&id);
            self.pools[ix as usize] = None;
            self.free_pools.push(ix);
        }
    }

    pub(super) fn line(&self, line: LineIx) -> &Tickets {
        match line {
            LineIx::Gate(ix) => &self.gate(ix).line,
            LineIx::Pool(ix) => &self.pool(ix).line,
        }
    }

    pub(super) fn enqueue(&mut self, line: LineIx, tag: Tag, lease: LeaseId) {
        match line {
            LineIx::Gate(ix) => {
                if self.gate_mut(ix).line.insert((tag, lease)) {
                    self.hot[ix as usize].waiting += 1;
                }
            }
            LineIx::Pool(ix) => {
                self.pool_mut(ix).line.insert((tag, lease));
            }
        }
    }

    pub(super) fn dequeue(&mut self, line: LineIx, tag: Tag, lease: LeaseId) {
        match line {
            LineIx::Gate(ix) => {
                if self.gate_mut(ix).line.remove(&(tag, lease)) {
                    self.hot[ix as usize].waiting -= 1;
                }
            }
            LineIx::Pool(ix) => {
                self.pool_mut(ix).line.remove(&(tag, lease));
            }
        }
    }

    /// Brings the short cut up to date after a change of health or operator state.
    pub(super) fn guard(&mut self, ix: GateIx, raw: Time) {
        let gate = self.gate(ix);
        let plain = gate.operator == Operator::Serving && gate.health.is_plain(raw);
        self.hot[ix as usize].guarded = !plain;
    }

    /// Whether `lease` (`None`: a newcomer) can use the gate for `model`, wanted by `line`.
    #[inline]
    pub(super) fn usable(
        &self,
        ix: GateIx,
        line: LineIx,
        raw: Time,
        (model, lease): (ModelId, Option<LeaseId>),
    ) -> Use {
        let hot = &self.hot[ix as usize];
        match hot.limit {
            Limit::Closed | Limit::Slots(0) => Use::No,
            Limit::Slots(_) | Limit::Unlimited if !hot.guarded => Use::Yes,
            Limit::Slots(_) | Limit::Unlimited => self.guarded(ix, line, raw, model, lease),
        }
    }

    #[cold]
    fn guarded(
        &self,
        ix: GateIx,
        line: LineIx,
        raw: Time,
        model: ModelId,
        lease: Option<LeaseId>,
    ) -> Use {
        let gate = self.gate(ix);
        match (gate.operator, line) {
            (Operator::Disabled, _) | (Operator::Draining, LineIx::Pool(_)) => return Use::No,
            (Operator::Serving, _) | (Operator::Draining, LineIx::Gate(_)) => {}
        }
        match gate.health.door(raw, model, lease) {
            Door::Open => Use::Yes,
            Door::Probing => Use::Probing,
            Door::Shut(span) => Use::Shut(span),
        }
    }
}
