//! What must hold inside a ledger after every operation. Linear and slow: for tests and
//! simulations.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Ledger;
use super::gate::{GateIx, LineIx};
use crate::ids::{GateId, LeaseId};
use crate::store::Discipline;

impl Ledger {
    /// Every invariant that does not hold, each by its number or as `structure`.
    #[must_use]
    pub fn check_invariants(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        self.check_leases(&mut wrong);
        self.check_gates(&mut wrong);
        self.check_health(&mut wrong);
        if self.discipline == Discipline::Settle && !self.due_now() {
            self.check_work_conservation(&mut wrong);
        }
        if !self.sessions.is_consistent() {
            wrong.push("structure: sessions and their ends differ".into());
        }
        wrong
    }

    fn all_leases(&self) -> impl Iterator<Item = (LeaseId, &super::Lease)> {
        self.nodes.iter().flat_map(|(&node, record)| {
            let id = move |key: &super::Key| LeaseId { node, request: key.0, attempt: key.1 };
            record.leases.iter().map(move |(key, lease)| (id(key), &**lease))
        })
    }

    /// Counts on gates, tickets in lines and the due list are what the leases say.
    fn check_leases(&self, wrong: &mut Vec<String>) {
        let mut held: BTreeMap<GateIx, u32> = BTreeMap::new();
        let (mut tickets, mut due) = (0, 0);
        for (id, lease) in self.all_leases() {
            if lease.slot.is_none() && lease.line.is_none() {
                wrong.push(format!("structure: {id} is known but has nothing"));
            }
            if lease.slot.is_some() && lease.line.is_some() && self.discipline != Discipline::Poll {
                wrong.push(format!("structure: {id} has a slot and a ticket"));
            }
            if let Some(slot) = lease.slot {
                *held.entry(slot.gate).or_default() += 1;
            }
            if let Some(line) = lease.line {
                tickets += 1;
                if !self.gates.line(line).contains(&(lease.tag, id)) {
                    wrong.push(format!("structure: {id} is not in its line"));
                }
            }
            if let Some(at) = lease.due() {
                due += 1;
                if !self.due.contains(&(at, id)) {
                    wrong.push(format!("structure: {id} is not on the due list"));
                }
            }
        }
        if due != self.due.len() {
            wrong.push("structure: the due list holds what is not due".into());
        }
        let gates = self.gates.all().map(|(_, ix)| self.gates.line(LineIx::Gate(ix)).len());
        let pools = self.gates.all_pools().map(|(_, ix)| self.gates.line(LineIx::Pool(ix)).len());
        if tickets != gates.sum::<usize>() + pools.sum::<usize>() {
            wrong.push("structure: a line holds a ticket that nobody has".into());
        }
        for (id, ix) in self.gates.all() {
            let count = held.get(&ix).copied().unwrap_or_default();
            let known = self.gates.hot[ix as usize].held;
            if count != known {
                wrong.push(format!("structure: {id} counts {known} held, leases say {count}"));
            }
        }
    }

    fn check_gates(&self, wrong: &mut Vec<String>) {
        for (id, ix) in self.gates.all() {
            let (hot, gate) = (&self.gates.hot[ix as usize], self.gates.gate(ix));
            if hot.waiting as usize != gate.line.len() {
                wrong.push(format!("structure: {id} miscounts its line"));
            }
            for &pool in &gate.pools {
                if !self.gates.pool(pool).members.contains(&ix) {
                    wrong.push(format!("structure: {id} is in a pool that does not know it"));
                }
            }
        }
        for (id, pool) in self.gates.all_pools() {
            for &member in &self.gates.pool(pool).members {
                let pools = &self.gates.gate(member).pools;
                if pools.iter().filter(|known| **known == pool).count() != 1 {
                    wrong.push(format!("structure: a member does not know {id}"));
                }
            }
        }
    }

    /// Probes hold slots of the gate they probe; closings that are not over are on the list, and nothing
    /// else but those whose opening is not worked off yet.
    fn check_health(&self, wrong: &mut Vec<String>) {
        for (at, account, of) in &self.openings {
            let gate = self.gates.find(GateId::Account(*account)).map(|ix| self.gates.gate(ix));
            let key = gate.and_then(|gate| gate.health.key(*of));
            if key.is_none_or(|key| key.closed_until != *at) {
                wrong.push(format!("structure: {account} has an opening without a closing"));
            }
        }
        for (id, ix) in self.gates.all() {
            let health = &self.gates.gate(ix).health;
            let models = health.models.iter().map(|(model, key)| (Some(*model), key));
            for (of, key) in core::iter::once((None, &health.account)).chain(models) {
                let holds = |lease: LeaseId| {
                    let slot = self.lease(lease).and_then(|lease| lease.slot);
                    slot.is_some_and(|slot| slot.gate == ix)
                };
                if key.probe.is_some_and(|lease| !holds(lease)) {
                    wrong.push(format!("I13: the probe of {id} holds no slot of it"));
                }
                let GateId::Account(account) = id else { continue };
                let listed = self.openings.contains(&(key.closed_until, account, of));
                if key.closed_until > self.raw && !listed {
                    wrong.push(format!("structure: the opening of {id} is not on the list"));
                }
            }
        }
    }

    /// I5: no gate is open with room while a ticket waits that may have it.
    fn check_work_conservation(&self, wrong: &mut Vec<String>) {
        for (id, ix) in self.gates.all() {
            if !self.gates.hot[ix as usize].has_room() {
                continue;
            }
            let pools = self.gates.gate(ix).pools.iter().map(|pool| LineIx::Pool(*pool));
            for line in core::iter::once(LineIx::Gate(ix)).chain(pools) {
                let waits = self.gates.line(line).iter();
                for (_, lease) in waits.filter(|(_, lease)| self.may_have(*lease, line, ix)) {
                    wrong.push(format!("I5: {lease} waits while {id} has room"));
                }
            }
        }
    }
}
