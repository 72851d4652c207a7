//! Sessions of nodes: joining, beating, and clearing up after the dead.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use super::history::{Ending, Fact};
use super::{Ledger, Node};
use crate::ids::{GateId, LeaseId, NodeId};
use crate::store::{Instance, SESSION, SWEEP_MAX, StoreReply};

impl Ledger {
    #[cold]
    pub(super) fn join(
        &mut self,
        instance: Instance,
        replaces: Option<NodeId>,
        resume: bool,
    ) -> StoreReply {
        let former = self.instances.get(&instance).copied();
        if let Some(node) = former.filter(|node| replaces != Some(*node)) {
            return StoreReply::Taken { node };
        }
        let node = NodeId(self.draw());
        let record = Node {
            instance: instance.clone(),
            ends: self.clock + SESSION,
            leases: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            tombstones_by_end: VecDeque::new(),
            passes: BTreeMap::new(),
        };
        self.nodes.insert(node, record);
        self.instances.insert(instance.clone(), node);
        self.note(|_| Fact::Joined { instance, node, replaces: former, resume });
        if let Some(former) = former {
            if resume {
                self.rename(former, node);
            } else {
                for lease in self.tickets_then_leases(former) {
                    self.remove(lease, Ending::Joined);
                }
            }
            self.nodes.remove(&former);
        }
        StoreReply::Joined { node, session: SESSION, epoch: self.epoch, stand_in: false }
    }

    /// All leases of a node go on under another's name.
    fn rename(&mut self, former: NodeId, node: NodeId) {
        let Some(record) = self.nodes.get_mut(&former) else { return };
        let leases = core::mem::take(&mut record.leases);
        for ((request, attempt), lease) in &leases {
            let from = LeaseId { node: former, request: *request, attempt: *attempt };
            let to = LeaseId { node, ..from };
            if let Some(at) = lease.due() {
                self.due.remove(&(at, from));
                self.due.insert((at, to));
            }
            if let Some(line) = lease.line {
                self.gates.dequeue(line, lease.tag, from);
                self.gates.enqueue(line, lease.tag, to);
            }
            if let Some(slot) = lease.slot
                && let GateId::Account(_) = self.gates.gate(slot.gate).id
            {
                let health = &mut self.gates.gate_mut(slot.gate).health;
                for key in core::iter::once(&mut health.account).chain(health.models.values_mut()) {
                    if key.probe == Some(from) {
                        key.probe = Some(to);
                    }
                }
            }
            self.note(|_| Fact::Renamed { from, to });
        }
        if let Some(record) = self.nodes.get_mut(&node) {
            record.leases = leases;
        }
    }

    #[cold]
    pub(super) fn beat(&mut self, node: NodeId) -> StoreReply {
        let clock = self.clock;
        let Some(record) = self.nodes.get_mut(&node) else { return StoreReply::Lost };
        record.ends = clock + SESSION;
        record.sweep_tombstones(clock);
        let leases = record.leases.len() as u32;
        self.note(|_| Fact::Beaten { node });
        let live = |(node, record): (&NodeId, &Node)| (clock < record.ends).then_some(*node);
        let members = self.nodes.iter().filter_map(live).collect();
        StoreReply::Alive { members, epoch: self.epoch, leases }
    }

    #[cold]
    pub(super) fn reap(&mut self, max: u32) -> StoreReply {
        let max = max as usize;
        let mut left = max - self.work_off_due(max);
        let dead: Vec<NodeId> =
            self.nodes.iter().filter(|(_, n)| n.ends <= self.clock).map(|(id, _)| *id).collect();
        for held in [false, true] {
            for &node in &dead {
                for lease in self.tickets_then_leases(node) {
                    let is_held = self.lease(lease).is_some_and(|lease| lease.slot.is_some());
                    if is_held != held {
                        continue;
                    }
                    if left == 0 {
                        break;
                    }
                    left -= 1;
                    self.counters.leases_reaped += 1;
                    self.remove(lease, Ending::Reaped);
                }
            }
        }
        let mut more = self.due_now();
        for node in dead {
            if self.nodes.get(&node).is_some_and(|record| !record.leases.is_empty()) {
                more = true;
            } else if let Some(record) = self.nodes.remove(&node) {
                self.instances.remove(&record.instance);
            }
        }
        StoreReply::Reaped { more }
    }
}

impl Node {
    fn sweep_tombstones(&mut self, clock: crate::time::Time) {
        for _ in 0..SWEEP_MAX {
            let Some((_, key)) = self.tombstones_by_end.front().filter(|(at, _)| *at <= clock)
            else {
                return;
            };
            if self.tombstones.get(key).is_some_and(|until| *until <= clock) {
                self.tombstones.remove(key);
            }
            self.tombstones_by_end.pop_front();
        }
    }
}
