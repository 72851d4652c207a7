//! Who holds and waits for what, since when: for operators.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use super::Ledger;
use super::gate::{GateIx, LineIx, Tickets};
use super::history::Line;
use crate::ids::{LeaseId, ModelId, Tag};
use crate::store::{Cause, Limit};
use crate::time::Span;

/// One gate, or one pool's line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineView {
    /// Which.
    pub line: Line,
    /// A gate's limit; `None` for a pool.
    pub limit: Option<Limit>,
    /// Who holds: lease, for how long, whether claimed.
    pub held: Vec<(LeaseId, Span, bool)>,
    /// Who waits: lease, tag, for how long.
    pub waiting: Vec<(LeaseId, Tag, Span)>,
    /// Closed health keys: model (`None`: the account), cause, opening in.
    pub closed: Vec<(Option<ModelId>, Cause, Span)>,
}

impl Ledger {
    /// Gates and lines that somebody holds or waits for, or that health has closed; gates first, by
    /// id.
    /// Linear in leases and gates.
    #[must_use]
    pub fn view(&self) -> Vec<LineView> {
        let mut held: Vec<(GateIx, LeaseId, Span, bool)> = Vec::new();
        for (&node, record) in &self.nodes {
            for (&(request, attempt), lease) in &record.leases {
                if let Some(slot) = lease.slot {
                    let id = LeaseId { node, request, attempt };
                    let claimed = slot.claim_by.is_none();
                    held.push((slot.gate, id, self.raw.since(lease.since), claimed));
                }
            }
        }
        held.sort_unstable_by_key(|(ix, lease, ..)| (*ix, *lease));
        let gates = self.gates.all().map(|(id, ix)| {
            let from = held.partition_point(|(gate, ..)| *gate < ix);
            let of_gate = held[from..].iter().take_while(|(gate, ..)| *gate == ix);
            LineView {
                line: Line::Gate(id),
                limit: Some(self.gates.hot[ix as usize].limit),
                held: of_gate.map(|&(_, lease, span, claimed)| (lease, span, claimed)).collect(),
                waiting: self.tickets(self.gates.line(LineIx::Gate(ix))),
                closed: self.closings(ix),
            }
        });
        let pools = self.gates.all_pools().map(|(id, ix)| LineView {
            line: Line::Pool(id),
            limit: None,
            held: Vec::new(),
            waiting: self.tickets(self.gates.line(LineIx::Pool(ix))),
            closed: Vec::new(),
        });
        let says_something =
            |v: &LineView| !(v.held.is_empty() && v.waiting.is_empty() && v.closed.is_empty());
        gates.chain(pools).filter(says_something).collect()
    }

    fn tickets(&self, tickets: &Tickets) -> Vec<(LeaseId, Tag, Span)> {
        let since = |id: LeaseId| self.lease(id).map_or(self.raw, |lease| lease.since);
        tickets.iter().map(|&(tag, id)| (id, tag, self.raw.since(since(id)))).collect()
    }

    fn closings(&self, ix: GateIx) -> Vec<(Option<ModelId>, Cause, Span)> {
        let health = &self.gates.gate(ix).health;
        let models = health.models.iter().map(|(model, key)| (Some(*model), key));
        core::iter::once((None, &health.account))
            .chain(models)
            .filter(|(_, key)| key.closed_until > self.raw)
            .filter_map(|(of, key)| Some((of, key.cause?, key.closed_until.since(self.raw))))
            .collect()
    }
}
