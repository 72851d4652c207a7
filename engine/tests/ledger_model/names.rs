//! Two stores that follow the same rules need not draw the same numbers: what they draw is compared
//! up to a renaming that keeps the order.

use sluice_engine::ids::{LeaseId, NodeId, Tag};
use sluice_engine::store::{Grant, HealthChange, StoreOp, StoreReply, Surveyed};

use crate::naive::Look;

/// Which number of the subject's stands for which of the model's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    nodes: Pairs,
    tags: Pairs,
    stamps: Pairs,
}

/// Pairs of (the model's, the subject's), in order of both. A number that is in no pair was made up
/// by the test and means itself; so does 0.
#[derive(Clone, Debug, Default)]
struct Pairs(Vec<(u64, u64)>);

impl Pairs {
    fn meet(&mut self, what: &str, model: u64, subject: u64) -> Result<(), String> {
        if (model == 0) != (subject == 0) {
            return Err(format!("{what} {model} of the model is the subject's {subject}"));
        }
        let place = self.0.partition_point(|(known, _)| *known < model);
        if let Some((known, name)) = self.0.get(place)
            && *known == model
        {
            if *name == subject {
                return Ok(());
            }
            return Err(format!("{what} {model} was the subject's {name}, is {subject} now"));
        }
        let above = place.checked_sub(1).is_none_or(|below| self.0[below].1 < subject);
        let below = self.0.get(place).is_none_or(|(_, name)| subject < *name);
        if model != 0 && !(above && below) {
            return Err(format!("{what} {model} is the subject's {subject}: out of order"));
        }
        self.0.insert(place, (model, subject));
        Ok(())
    }

    fn name(&self, model: u64) -> u64 {
        self.0.iter().find(|(known, _)| *known == model).map_or(model, |(_, name)| *name)
    }
}

impl Names {
    /// Takes notice of what is new in two answers, which are to be compared then.
    pub(crate) fn learn(&mut self, model: &StoreReply, subject: &StoreReply) -> Result<(), String> {
        match (model, subject) {
            (StoreReply::Joined { node, .. }, StoreReply::Joined { node: name, .. }) => {
                self.nodes.meet("node", node.0, name.0)
            }
            (StoreReply::Held { tag, .. }, StoreReply::Held { tag: name, .. })
            | (StoreReply::Waiting { tag, .. }, StoreReply::Waiting { tag: name, .. }) => {
                self.tags.meet("tag", tag.0, name.0)
            }
            (StoreReply::Surveyed(model), StoreReply::Surveyed(subject)) => {
                for (a, b) in model.best.iter().zip(&subject.best) {
                    self.stamps.meet("stamp", a.last_assigned, b.last_assigned)?;
                }
                Ok(())
            }
            (_, _) => Ok(()),
        }
    }

    pub(crate) fn node(&self, node: NodeId) -> NodeId {
        NodeId(self.nodes.name(node.0))
    }

    pub(crate) fn tag(&self, tag: Tag) -> Tag {
        Tag(self.tags.name(tag.0))
    }

    pub(crate) fn lease(&self, lease: LeaseId) -> LeaseId {
        LeaseId { node: self.node(lease.node), ..lease }
    }

    pub(crate) fn grants(&self, grants: &[Grant]) -> Vec<Grant> {
        grants.iter().map(|g| Grant { lease: self.lease(g.lease), gate: g.gate }).collect()
    }

    pub(crate) fn look(&self, mut look: Look) -> Look {
        for held in &mut look.held {
            held.0 = self.lease(held.0);
        }
        for waiting in &mut look.waiting {
            *waiting = (self.tag(waiting.0), self.lease(waiting.1));
        }
        look
    }

    pub(crate) fn reply(&self, reply: &StoreReply) -> StoreReply {
        match reply.clone() {
            StoreReply::Joined { node, session, epoch, stand_in } => {
                StoreReply::Joined { node: self.node(node), session, epoch, stand_in }
            }
            StoreReply::Taken { node } => StoreReply::Taken { node: self.node(node) },
            StoreReply::Alive { members, epoch, leases } => {
                let members = members.into_iter().map(|node| self.node(node)).collect();
                StoreReply::Alive { members, epoch, leases }
            }
            StoreReply::Held { gate, tag, probe } => {
                StoreReply::Held { gate, tag: self.tag(tag), probe }
            }
            StoreReply::Waiting { position, tag, opens_in } => {
                StoreReply::Waiting { position, tag: self.tag(tag), opens_in }
            }
            StoreReply::Surveyed(surveyed) => {
                StoreReply::Surveyed(Box::new(self.surveyed(*surveyed)))
            }
            reply @ (StoreReply::Lost
            | StoreReply::Done
            | StoreReply::Full
            | StoreReply::Shut { .. }
            | StoreReply::Left
            | StoreReply::Home(_)
            | StoreReply::Reaped { .. }) => reply,
        }
    }

    fn surveyed(&self, mut surveyed: Surveyed) -> Surveyed {
        for candidate in &mut surveyed.best {
            candidate.last_assigned = self.stamps.name(candidate.last_assigned);
        }
        surveyed
    }

    pub(crate) fn op(&self, op: &StoreOp) -> StoreOp {
        let mut op = op.clone();
        match &mut op {
            StoreOp::Join { replaces, .. } => *replaces = replaces.map(|node| self.node(node)),
            StoreOp::Beat { node, .. } => *node = self.node(*node),
            StoreOp::Resync(resync) => {
                resync.node = self.node(resync.node);
                for lease in &mut resync.busy {
                    *lease = self.lease(*lease);
                }
                for held in &mut resync.held {
                    held.lease = self.lease(held.lease);
                    held.tag = self.tag(held.tag);
                }
                for waiting in &mut resync.waiting {
                    waiting.lease = self.lease(waiting.lease);
                    waiting.tag = self.tag(waiting.tag);
                }
            }
            StoreOp::Enter(enter) => {
                enter.lease = self.lease(enter.lease);
                enter.tag = enter.tag.map(|tag| self.tag(tag));
            }
            StoreOp::Leave { lease, .. } => *lease = self.lease(*lease),
            StoreOp::Health { change: HealthChange::Proved(lease), .. } => {
                *lease = self.lease(*lease);
            }
            StoreOp::Health { .. }
            | StoreOp::Define(_)
            | StoreOp::Survey { .. }
            | StoreOp::Session { .. }
            | StoreOp::Reap { .. } => {}
        }
        op
    }
}
