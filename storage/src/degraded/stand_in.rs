//! What answers in the store's place while it is away: a ledger with this node's share of every
//! limit.
//!
//! All its numbers, node ids and tags, are above [`FIRST`], which no store reaches: so it shows in an
//! operation whose session it belongs to, and a ticket from before the outage comes before one that
//! was drawn here. On the way back to the store such a tag becomes the node's id there
//! ([`for_store`]), which the store drew when the node came back: after all tickets from before,
//! before all that are drawn from then on, and among themselves by lease, as they arrived.

use sluice_engine::ledger::{Applied, LineView};
use sluice_engine::store::{Define, Resync, Want};
use sluice_engine::{GateId, Ledger, NodeId, StoreOp, StoreReply, Tag, Time};

use super::shares::Shares;

/// Above whatever a store draws, which begins at its time in microseconds.
const FIRST: u64 = 1 << 62;

/// Whether a node's session is one of a stand-in.
pub(super) const fn is_of_stand_in(node: NodeId) -> bool {
    node.0 >= FIRST
}

/// See the module's documentation.
pub(super) struct StandIn {
    ledger: Ledger,
    shares: Shares,
    /// It knows a roster.
    defined: bool,
}

impl StandIn {
    /// One that begins now. Later ones draw higher numbers, as the time grows.
    pub(super) fn new(now: Time, shares: Shares) -> Self {
        Self { ledger: Ledger::new(reading(now)), shares, defined: false }
    }

    /// Whether it can tell what accounts there are.
    pub(super) const fn is_defined(&self) -> bool {
        self.defined
    }

    pub(super) fn apply(&mut self, now: Time, op: StoreOp) -> Applied {
        self.defined |= matches!(op, StoreOp::Define(_));
        let op = self.shared(op);
        let (mut reply, grants) = self.ledger.apply(reading(now), op);
        if let StoreReply::Joined { stand_in, .. } = &mut reply {
            *stand_in = true;
        }
        (reply, grants)
    }

    pub(super) fn view(&self) -> Vec<LineView> {
        self.ledger.view()
    }

    /// Leases that were running when it began, beyond its share.
    pub(super) const fn over_share(&self) -> u64 {
        self.ledger.counters().over_limit
    }

    /// The operation with our share in the place of every limit.
    fn shared(&self, mut op: StoreOp) -> StoreOp {
        match &mut op {
            StoreOp::Define(Define { accounts, .. }) => {
                for def in accounts {
                    def.limit = self.shares.of(GateId::Account(def.account), def.limit);
                }
            }
            StoreOp::Enter(enter) => self.share_want(&mut enter.want),
            StoreOp::Resync(Resync { held, waiting, .. }) => {
                for lease in held {
                    if let Some((limit, _)) = &mut lease.limit {
                        *limit = self.shares.of(lease.gate, *limit);
                    }
                }
                waiting.iter_mut().for_each(|lease| self.share_want(&mut lease.want));
            }
            StoreOp::Join { .. }
            | StoreOp::Beat { .. }
            | StoreOp::Leave { .. }
            | StoreOp::Survey { .. }
            | StoreOp::Session { .. }
            | StoreOp::Health { .. }
            | StoreOp::Reap { .. } => {}
        }
        op
    }

    fn share_want(&self, want: &mut Want) {
        if let Want::User { user, limit, .. } = want {
            *limit = self.shares.of(GateId::User(*user), *limit);
        }
    }
}

/// Its clock: the callers', set so far ahead that what it draws is above [`FIRST`].
const fn reading(now: Time) -> Time {
    Time(FIRST.saturating_add(now.0))
}

/// The operation as the store is to be asked: no tag in it was drawn by a stand-in.
pub(super) fn for_store(mut op: StoreOp) -> StoreOp {
    match &mut op {
        StoreOp::Enter(enter) => {
            if let Some(tag) = &mut enter.tag {
                translate(tag, enter.lease.node);
            }
        }
        StoreOp::Resync(Resync { node, held, waiting, .. }) => {
            held.iter_mut().for_each(|lease| translate(&mut lease.tag, *node));
            waiting.iter_mut().for_each(|lease| translate(&mut lease.tag, *node));
        }
        StoreOp::Join { .. }
        | StoreOp::Beat { .. }
        | StoreOp::Define(_)
        | StoreOp::Leave { .. }
        | StoreOp::Survey { .. }
        | StoreOp::Session { .. }
        | StoreOp::Health { .. }
        | StoreOp::Reap { .. } => {}
    }
    op
}

const fn translate(tag: &mut Tag, node: NodeId) {
    if tag.0 >= FIRST {
        *tag = Tag(node.0);
    }
}
