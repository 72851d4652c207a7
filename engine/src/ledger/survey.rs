//! Ranking: one scan over what is hot, keeping the best few.

use alloc::vec::Vec;
use arrayvec::ArrayVec;

use super::Ledger;
use super::gate::{GateIx, Hot, LineIx, PoolIx, Use};
use crate::ids::{AccountId, GateId, ModelId, PoolId, SessionKey};
use crate::store::{BEST_MAX, Candidate, Home, HomeState, Surveyed};
use crate::time::{Span, Time};

/// Order of preference as one number: priority, load, last assignment, not OAuth, from the top. The
/// place in the pool, which is by id, breaks ties.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(u128);

impl Rank {
    const LOAD: u128 = 0xffff_ffff << 64;

    const fn of(hot: &Hot, prefer_oauth: bool) -> Self {
        let not_oauth = (prefer_oauth && !hot.oauth) as u128;
        let assigned = (hot.last_assigned as u128) << 1 & (u64::MAX as u128);
        let load = (hot.load_pct() as u128) << 64;
        Self((hot.priority as u128) << 96 | load | assigned | not_oauth)
    }

    const fn is_loaded(self) -> bool {
        (self.0 & Self::LOAD) >> 64 >= 100
    }

    /// The rank with load left out of it.
    const fn without_load(self) -> Self {
        Self(self.0 & !Self::LOAD)
    }
}

/// What the members of a pool come to, besides the best.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hopes {
    /// Usable, full or not, under probe or not.
    pub(super) open: u32,
    /// When the first of those that are only health-closed opens.
    pub(super) opens_in: Option<Span>,
}

impl Hopes {
    pub(super) fn count(&mut self, of: Use) {
        match of {
            Use::Yes | Use::Probing => self.open += 1,
            Use::Shut(span) => {
                self.opens_in = Some(self.opens_in.map_or(span, |least| least.min(span)));
            }
            Use::No => {}
        }
    }
}

impl Ledger {
    pub(super) fn survey(
        &self,
        now: Time,
        pool: PoolId,
        model: ModelId,
        session: Option<SessionKey>,
        excluded: &[AccountId],
        best: u8,
    ) -> Surveyed {
        let raw = self.raw.max(now);
        let pool = self.gates.find_pool(pool);
        let mut surveyed = Surveyed::default();
        if let Some(pool) = pool {
            let excluded = self.indices(excluded);
            let best = usize::from(best).min(BEST_MAX);
            self.rank_members(raw, pool, model, &excluded, best, &mut surveyed);
        }
        let home = session.and_then(|key| self.sessions.home(raw, key));
        surveyed.home = home.map(|home| self.survey_home(raw, home, pool, model, excluded));
        surveyed
    }

    fn rank_members(
        &self,
        raw: Time,
        pool: PoolIx,
        model: ModelId,
        excluded: &[GateIx],
        best_max: usize,
        surveyed: &mut Surveyed,
    ) {
        let mut best: ArrayVec<(Rank, GateIx), BEST_MAX> = ArrayVec::new();
        let mut first: Option<(Rank, GateIx)> = None;
        let mut hopes = Hopes::default();
        let prefer_oauth = self.gates.pool(pool).prefer_oauth;
        for &ix in &self.gates.pool(pool).members {
            if excluded.contains(&ix) {
                continue;
            }
            let of = self.gates.usable(ix, LineIx::Pool(pool), raw, (model, None));
            hopes.count(of);
            if !matches!(of, Use::Yes | Use::Probing) {
                continue;
            }
            let rank = self.rank(ix, prefer_oauth);
            let unloaded = rank.without_load();
            if first.is_none_or(|(least, _)| unloaded < least) {
                first = Some((unloaded, ix));
            }
            if of == Use::Yes && !rank.is_loaded() {
                keep_best(&mut best, best_max, (rank, ix));
            }
        }
        surveyed.best = best.iter().filter_map(|&(_, ix)| self.candidate(ix)).collect();
        surveyed.first = first.and_then(|(_, ix)| self.account(ix));
        surveyed.open = hopes.open;
        surveyed.opens_in = hopes.opens_in.filter(|_| hopes.open == 0);
    }

    pub(super) fn rank(&self, ix: GateIx, prefer_oauth: bool) -> Rank {
        Rank::of(&self.gates.hot[ix as usize], prefer_oauth)
    }

    fn candidate(&self, ix: GateIx) -> Option<Candidate> {
        let Hot { priority, last_assigned, .. } = self.gates.hot[ix as usize];
        let load_pct = self.gates.hot[ix as usize].load_pct();
        Some(Candidate { account: self.account(ix)?, priority, load_pct, last_assigned })
    }

    pub(super) fn account(&self, ix: GateIx) -> Option<AccountId> {
        match self.gates.gate(ix).id {
            GateId::Account(account) => Some(account),
            GateId::User(_) => None,
        }
    }

    /// The accounts that are known, by their places.
    pub(super) fn indices(&self, accounts: &[AccountId]) -> Vec<GateIx> {
        accounts.iter().filter_map(|id| self.gates.find(GateId::Account(*id))).collect()
    }

    fn survey_home(
        &self,
        raw: Time,
        account: AccountId,
        pool: Option<PoolIx>,
        model: ModelId,
        excluded: &[AccountId],
    ) -> Home {
        let gone = Home { account, state: HomeState::Gone, line: 0 };
        let Some(ix) = self.gates.find(GateId::Account(account)) else { return gone };
        let hot = &self.gates.hot[ix as usize];
        let member = pool.is_some_and(|pool| self.gates.gate(ix).pools.contains(&pool));
        let state = match self.gates.usable(ix, LineIx::Gate(ix), raw, (model, None)) {
            _ if !member || excluded.contains(&account) => HomeState::Gone,
            Use::No => HomeState::Gone,
            Use::Shut(span) => HomeState::Shut(span),
            Use::Yes if hot.has_room() => HomeState::Room,
            Use::Yes | Use::Probing => HomeState::Full,
        };
        Home { account, state, line: hot.waiting }
    }
}

/// Keeps the least `max` in order; earlier ones stay before equals.
fn keep_best(best: &mut ArrayVec<(Rank, GateIx), BEST_MAX>, max: usize, candidate: (Rank, GateIx)) {
    if best.len() >= max {
        match best.last() {
            Some(worst) if candidate.0 < worst.0 => {
                best.pop();
            }
            _ => return,
        }
    }
    let at = best.partition_point(|kept| kept.0 <= candidate.0);
    best.insert(at, candidate);
}
