//! Taking a roster in.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::gate::{GateIx, LineIx, PoolIx};
use super::history::Fact;
use super::{Key, Ledger};
use crate::ids::{AccountId, GateId, LeaseId, NodeId, PoolId};
use crate::store::{AccountDef, Define, Discipline, Limit, PoolDef, StoreReply};

impl Ledger {
    #[cold]
    pub(super) fn define(&mut self, define: Define) -> StoreReply {
        if define.version <= self.version {
            return StoreReply::Done;
        }
        let former = self.discipline;
        self.version = define.version;
        self.discipline = define.discipline;
        self.rules = define.health;
        self.define_accounts(define.accounts);
        self.define_pools(define.pools);
        if former == Discipline::Poll && self.discipline == Discipline::Settle {
            self.stop_counting_the_held();
        }
        self.settle_all();
        self.idle.extend(self.gates.all().map(|(_, ix)| LineIx::Gate(ix)));
        self.idle.extend(self.gates.all_pools().map(|(_, ix)| LineIx::Pool(ix)));
        StoreReply::Done
    }

    fn define_accounts(&mut self, accounts: Vec<AccountDef>) {
        let defs: BTreeMap<AccountId, AccountDef> =
            accounts.into_iter().map(|def| (def.account, def)).collect();
        let unlisted: Vec<GateIx> = self
            .gates
            .all()
            .filter(|(id, _)| matches!(id, GateId::Account(id) if !defs.contains_key(id)))
            .map(|(_, ix)| ix)
            .collect();
        for ix in unlisted {
            self.gates.gate_mut(ix).listed = false;
            self.limit(ix, Limit::Closed, false);
        }
        for def in defs.into_values() {
            let (ix, made) = self.gates.make(GateId::Account(def.account));
            self.gates.gate_mut(ix).listed = true;
            let hot = &mut self.gates.hot[ix as usize];
            hot.priority = def.priority;
            hot.oauth = def.oauth;
            self.limit(ix, def.limit.normal(), made);
        }
    }

    fn limit(&mut self, ix: GateIx, limit: Limit, made: bool) {
        let former = core::mem::replace(&mut self.gates.hot[ix as usize].limit, limit);
        if former != limit || made {
            self.note(|gates| Fact::Limited { gate: gates.gate(ix).id, limit });
        }
    }

    /// The account's gate; one that no roster has listed is closed.
    pub(super) fn make_account(&mut self, account: AccountId) -> GateIx {
        let gate = GateId::Account(account);
        let (ix, made) = self.gates.make(gate);
        if made {
            self.note(|_| Fact::Limited { gate, limit: Limit::Closed });
        }
        ix
    }

    fn define_pools(&mut self, pools: Vec<PoolDef>) {
        let former: Vec<PoolIx> = self.gates.all_pools().map(|(_, ix)| ix).collect();
        for ix in former {
            let members = core::mem::take(&mut self.gates.pool_mut(ix).members);
            for member in members {
                self.gates.gate_mut(member).pools.clear();
            }
        }
        let defs: BTreeMap<PoolId, PoolDef> =
            pools.into_iter().map(|def| (def.pool, def)).collect();
        for def in defs.into_values() {
            let pool = self.gates.make_pool(def.pool);
            let mut members = def.members;
            members.sort_unstable();
            members.dedup();
            let members: Vec<GateIx> =
                members.into_iter().map(|account| self.make_account(account)).collect();
            for &member in &members {
                self.gates.gate_mut(member).pools.push(pool);
            }
            let record = self.gates.pool_mut(pool);
            record.prefer_oauth = def.prefer_oauth;
            record.members = members;
        }
    }

    /// From `Poll` to `Settle`: who has a slot waits no more.
    fn stop_counting_the_held(&mut self) {
        let id = |node: NodeId, key: &Key| LeaseId { node, request: key.0, attempt: key.1 };
        let mut held = Vec::new();
        for (node, record) in &self.nodes {
            let leases = record.leases.iter();
            let both = leases.filter(|(_, lease)| lease.slot.is_some() && lease.line.is_some());
            held.extend(both.map(|(key, _)| id(*node, key)));
        }
        for lease in held {
            self.leave_line(lease);
        }
    }

    /// Settles every gate, users first, by id.
    pub(super) fn settle_all(&mut self) {
        let all: Vec<GateIx> = self.gates.all().map(|(_, ix)| ix).collect();
        for ix in all {
            self.settle(ix);
        }
    }
}
