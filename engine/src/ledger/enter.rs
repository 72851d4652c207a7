//! `Enter`: get or keep a place. The steps are numbered as in [`crate::store::Enter`].

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::gate::{GateIx, LineIx, PoolIx, Use};
use super::history::{Ending, Fact, Way};
use super::survey::Hopes;
use super::{Lease, Ledger, Slot};
use crate::ids::{AccountId, Ask, GateId, LeaseId, ModelId, Tag, UserId};
use crate::store::{Discipline, Enter, Limit, StoreReply, Version, Want};
use crate::time::Span;

/// A want, by places in the arrays.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    line: LineIx,
    model: ModelId,
    excluded: Vec<GateIx>,
    pub(super) line_max: Option<u32>,
}

impl Ledger {
    pub(super) fn enter(&mut self, enter: Enter) -> StoreReply {
        let id = enter.lease;
        if self.has_tombstone(id) {
            return StoreReply::Left;
        }
        match self.lease(id) {
            None => return self.enter_anew(&enter),
            Some(lease) if enter.ask <= lease.ask => return self.report(id),
            Some(_) => {}
        }
        self.with_lease(id, |lease| lease.ask = enter.ask);
        // A user's raised limit may serve this very lease, so what it has is looked at afterwards.
        let wanted = self.wanted_settled(&enter.want);
        let known = self.lease(id).map(|lease| (lease.slot, lease.tag));
        let mut given_up = None;
        if let Some((Some(slot), _)) = known {
            if wanted.as_ref().is_some_and(|wanted| self.is_inside(id, slot.gate, wanted)) {
                if let Some(tag) = enter.tag {
                    self.retag(id, tag);
                }
                return self.claim(id);
            }
            given_up = self.release(id, Ending::Declined);
            self.leave_line(id);
        }
        let tag = enter.tag.or_else(|| known.map(|(_, tag)| tag));
        let reply = match wanted {
            Some(wanted) => self.place(&enter, tag, &wanted),
            None => self.shut(id, None),
        };
        if let Some(ix) = given_up {
            self.settle(ix);
        }
        if self.lease(id).is_some_and(|lease| lease.slot.is_none() && lease.line.is_none()) {
            self.take_away(id, Ending::Declined);
        }
        reply
    }

    /// A lease that is not known gets a place, or does not become known.
    fn enter_anew(&mut self, enter: &Enter) -> StoreReply {
        match self.wanted_settled(&enter.want) {
            Some(wanted) => self.place(enter, enter.tag, &wanted),
            None => StoreReply::Shut { opens_in: None },
        }
    }

    /// The want by places, and a user's gate brought up to date.
    fn wanted_settled(&mut self, want: &Want) -> Option<Wanted> {
        let wanted = self.wanted(want)?;
        if let (Want::User { .. }, LineIx::Gate(ix)) = (want, wanted.line) {
            self.settle(ix);
        }
        Some(wanted)
    }

    pub(super) fn has_tombstone(&self, id: LeaseId) -> bool {
        let node = self.nodes.get(&id.node);
        let until = node.and_then(|node| node.tombstones.get(&(id.request, id.attempt)));
        until.is_some_and(|until| self.clock < *until)
    }

    /// The want by places; `None` if there is no such gate or pool.
    pub(super) fn wanted(&mut self, want: &Want) -> Option<Wanted> {
        match want {
            Want::User { user, limit, version, line_max } => {
                let ix = self.define_user(*user, *limit, *version);
                Some(Wanted::of_gate(ix, ModelId(0), *line_max))
            }
            Want::Gate { account, model, line_max } => {
                let ix = self.gates.find(GateId::Account(*account))?;
                Some(Wanted::of_gate(ix, *model, *line_max))
            }
            Want::Pool { pool, model, best: _, excluded, line_max } => Some(Wanted {
                line: LineIx::Pool(self.gates.find_pool(*pool)?),
                model: *model,
                excluded: self.indices(excluded),
                line_max: *line_max,
            }),
        }
    }

    /// The user's gate, with the newest limit.
    pub(super) fn define_user(&mut self, user: UserId, limit: Limit, version: Version) -> GateIx {
        let limit = limit.normal();
        let (ix, made) = self.gates.make(GateId::User(user));
        if made {
            self.idle.push(LineIx::Gate(ix));
        }
        if version >= self.gates.gate(ix).version {
            self.gates.gate_mut(ix).version = version;
            let former = core::mem::replace(&mut self.gates.hot[ix as usize].limit, limit);
            if former != limit || made {
                self.note(|_| Fact::Limited { gate: GateId::User(user), limit });
            }
        }
        ix
    }

    /// Step 2: whether what the lease has is what it wants.
    fn is_inside(&self, id: LeaseId, ix: GateIx, wanted: &Wanted) -> bool {
        let member = match wanted.line {
            LineIx::Gate(gate) => gate == ix,
            LineIx::Pool(pool) => self.gates.gate(ix).pools.contains(&pool),
        };
        let lease = (wanted.model, Some(id));
        member
            && !wanted.excluded.contains(&ix)
            && self.gates.usable(ix, wanted.line, self.raw, lease) == Use::Yes
    }

    pub(super) fn claim(&mut self, id: LeaseId) -> StoreReply {
        let claimed = self.with_lease(id, |lease| {
            lease.slot.as_mut().and_then(|slot| slot.claim_by.take().map(|_| slot.gate))
        });
        if let Some(Some(ix)) = claimed {
            self.note(|gates| Fact::Claimed { lease: id, gate: gates.gate(ix).id });
        }
        self.report(id)
    }

    /// What the lease has.
    fn report(&self, id: LeaseId) -> StoreReply {
        self.report_opening(id, None)
    }

    /// What the lease has, and when its first candidate opens.
    fn report_opening(&self, id: LeaseId, opens_in: Option<Span>) -> StoreReply {
        let Some(lease) = self.lease(id) else { return StoreReply::Full };
        match (lease.slot, lease.line) {
            // A grant is not held until it is claimed: a twice-delivered ask must not be told so.
            (Some(Slot { claim_by: Some(_), .. }), _) => {
                StoreReply::Waiting { position: 1, tag: lease.tag, opens_in: None }
            }
            (Some(slot), _) => StoreReply::Held {
                gate: self.gates.gate(slot.gate).id,
                tag: lease.tag,
                probe: self.is_probe(id, slot.gate),
            },
            (None, Some(line)) => StoreReply::Waiting {
                position: self.position(line, lease.tag, id),
                tag: lease.tag,
                opens_in,
            },
            (None, None) => StoreReply::Full,
        }
    }

    fn position(&self, line: LineIx, tag: Tag, id: LeaseId) -> u32 {
        self.gates.line(line).range(..=(tag, id)).count() as u32
    }

    /// Steps 4 to 6, for a lease without a slot.
    fn place(&mut self, enter: &Enter, tag: Option<Tag>, wanted: &Wanted) -> StoreReply {
        let id = enter.lease;
        if let Some(ix) = self.find_room(enter, tag, wanted) {
            self.describe(enter, tag, wanted);
            self.assign(id, ix, Way::Entered);
            return self.report(id);
        }
        let hopes = self.hopes(id, wanted);
        let patience = enter.patience.unwrap_or(Span::ZERO);
        if hopes.open == 0 && hopes.opens_in.is_none_or(|opens| opens > patience) {
            return self.shut(id, hopes.opens_in);
        }
        let Some(line_max) = wanted.line_max else { return StoreReply::Full };
        let in_line = self.lease(id).is_some_and(|lease| lease.line == Some(wanted.line));
        let full = self.gates.line(wanted.line).len() >= line_max as usize;
        if !in_line && full && enter.tag.is_none() {
            return StoreReply::Full;
        }
        if !in_line {
            self.leave_line(id);
        }
        self.describe(enter, tag, wanted);
        if self.lease(id).is_some_and(|lease| lease.line.is_none()) {
            self.join_line(id, wanted.line);
        }
        self.report_opening(id, hopes.opens_in.filter(|_| hopes.open == 0))
    }

    /// Step 4: the first candidate that takes the lease.
    fn find_room(&mut self, enter: &Enter, tag: Option<Tag>, wanted: &Wanted) -> Option<GateIx> {
        let id = enter.lease;
        let pool = match wanted.line {
            LineIx::Gate(ix) => return self.takes(ix, id, tag, wanted).then_some(ix),
            LineIx::Pool(pool) => pool,
        };
        let best: &[AccountId] = match &enter.want {
            Want::Pool { best, .. } => best,
            Want::User { .. } | Want::Gate { .. } => &[],
        };
        for account in best {
            let Some(ix) = self.gates.find(GateId::Account(*account)) else { continue };
            let member = self.gates.gate(ix).pools.contains(&pool);
            if member && !wanted.excluded.contains(&ix) && self.takes(ix, id, tag, wanted) {
                return Some(ix);
            }
        }
        let mut tried = self.indices(best);
        while let Some(ix) = self.best_of_rest(id, pool, wanted, &tried) {
            if self.takes(ix, id, tag, wanted) {
                return Some(ix);
            }
            tried.push(ix);
        }
        None
    }

    /// Whether the gate takes the lease, after all who come before it.
    fn takes(&mut self, ix: GateIx, id: LeaseId, tag: Option<Tag>, wanted: &Wanted) -> bool {
        let free = |ledger: &Self| {
            let usable = ledger.gates.usable(ix, wanted.line, ledger.raw, (wanted.model, Some(id)));
            usable == Use::Yes && ledger.gates.hot[ix as usize].has_room()
        };
        if !free(self) {
            return false;
        }
        if self.discipline == Discipline::Settle {
            self.serve(ix, tag.map(|tag| (tag, id)), Some(id));
        }
        free(self)
    }

    /// The best by rank of the members that have not been tried and have room.
    fn best_of_rest(
        &self,
        id: LeaseId,
        pool: PoolIx,
        wanted: &Wanted,
        tried: &[GateIx],
    ) -> Option<GateIx> {
        let pool = self.gates.pool(pool);
        let rest = pool.members.iter().copied().filter(|ix| {
            self.gates.hot[*ix as usize].has_room()
                && !tried.contains(ix)
                && !wanted.excluded.contains(ix)
                && self.gates.usable(*ix, wanted.line, self.raw, (wanted.model, Some(id)))
                    == Use::Yes
        });
        rest.min_by_key(|ix| self.rank(*ix, pool.prefer_oauth))
    }

    /// Step 5: what the candidates let hope for.
    fn hopes(&self, id: LeaseId, wanted: &Wanted) -> Hopes {
        let mut hopes = Hopes::default();
        let lease = (wanted.model, Some(id));
        let mut count =
            |ix: GateIx| hopes.count(self.gates.usable(ix, wanted.line, self.raw, lease));
        match wanted.line {
            LineIx::Gate(ix) => count(ix),
            LineIx::Pool(pool) => {
                let members = self.gates.pool(pool).members.iter().copied();
                members.filter(|ix| !wanted.excluded.contains(ix)).for_each(count);
            }
        }
        hopes
    }

    fn shut(&mut self, id: LeaseId, opens_in: Option<Span>) -> StoreReply {
        if self.lease(id).is_some() {
            self.remove(id, Ending::Declined);
        }
        StoreReply::Shut { opens_in }
    }

    /// Writes down what the lease wants from now on.
    pub(super) fn describe(&mut self, enter: &Enter, tag: Option<Tag>, wanted: &Wanted) {
        let id = enter.lease;
        let (model, ttl) = (wanted.model, enter.ttl);
        let excluded = match &enter.want {
            Want::Pool { excluded, .. } => excluded.clone(),
            Want::User { .. } | Want::Gate { .. } => Vec::new(),
        };
        let patience_ends = self.clock + enter.patience.unwrap_or(Span::ZERO);
        if self.lease(id).is_none() {
            let tag = tag.unwrap_or_else(|| Tag(self.draw()));
            let fresh = self.fresh(enter.ask, tag);
            return self.begin(id, Lease { model, excluded, ttl, patience_ends, ..fresh });
        }
        if let Some(tag) = tag {
            self.retag(id, tag);
        }
        self.with_lease(id, |lease| {
            lease.model = model;
            lease.excluded = excluded;
            lease.ttl = ttl;
            lease.patience_ends = patience_ends;
        });
    }

    /// A lease that has nothing yet.
    pub(super) fn fresh(&self, ask: Ask, tag: Tag) -> Lease {
        Lease {
            ask,
            tag,
            since: self.raw,
            model: ModelId(0),
            excluded: Vec::new(),
            ttl: None,
            slot: None,
            line: None,
            patience_ends: self.clock,
        }
    }

    /// From now on the lease is known.
    pub(super) fn begin(&mut self, id: LeaseId, fresh: Lease) {
        if let Some(node) = self.nodes.get_mut(&id.node) {
            node.leases.insert((id.request, id.attempt), Box::new(fresh));
        }
    }
}

impl Wanted {
    fn of_gate(ix: GateIx, model: ModelId, line_max: u32) -> Self {
        Self { line: LineIx::Gate(ix), model, excluded: Vec::new(), line_max: Some(line_max) }
    }

    pub(super) const fn line(&self) -> LineIx {
        self.line
    }
}
