//! What can be seen of the store without changing it: the rank of accounts, `Survey`, the view.

use arrayvec::ArrayVec;
use sluice_engine::ids::{AccountId, GateId, LeaseId, ModelId, PoolId, SessionKey, Tag};
use sluice_engine::ledger::history::Line;
use sluice_engine::store::{BEST_MAX, Candidate, Cause, Home, HomeState, Limit, Surveyed, Want};
use sluice_engine::time::{Span, Time};

use super::enter::proper;
use super::{Naive, Place, Standing, line_of};

/// Priority, load, last assigned, not OAuth, id: the lesser is tried first.
type Rank = (u32, u32, u64, bool, AccountId);

/// What one gate or line looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) line: Line,
    pub(crate) limit: Option<Limit>,
    pub(crate) held: Vec<(LeaseId, Span, bool)>,
    pub(crate) waiting: Vec<(Tag, LeaseId)>,
    pub(crate) closed: Vec<(Option<ModelId>, Cause, Span)>,
}

impl Naive {
    fn rank(&self, pool: PoolId, id: AccountId) -> Rank {
        let prefer_oauth = self.pool(pool).is_some_and(|p| p.prefer_oauth);
        let Some(account) = self.account(id) else { return (0, 100, 0, false, id) };
        let gate = GateId::Account(id);
        let own_line = self.line_length(Line::Gate(gate));
        (
            account.priority,
            self.limit(gate).load_pct(self.held(gate), own_line),
            account.last_assigned,
            prefer_oauth && !account.oauth,
            id,
        )
    }

    fn members(&self, pool: PoolId) -> Vec<AccountId> {
        self.pool(pool).map(|p| p.members.clone()).unwrap_or_default()
    }

    pub(crate) fn ranked_members(&self, pool: PoolId) -> Vec<AccountId> {
        let mut ranks: Vec<Rank> =
            self.members(pool).into_iter().map(|id| self.rank(pool, id)).collect();
        ranks.sort();
        ranks.into_iter().map(|rank| rank.4).collect()
    }

    pub(crate) fn survey(
        &self,
        pool: PoolId,
        model: ModelId,
        session: Option<SessionKey>,
        excluded: &[AccountId],
        best_max: usize,
    ) -> Surveyed {
        let want = Want::Pool {
            pool,
            model,
            best: ArrayVec::new(),
            excluded: excluded.to_vec(),
            line_max: None,
        };
        let standing = |id: AccountId| self.standing(GateId::Account(id), &want, None);
        let mut surveyed = Surveyed::default();
        let mut without_load: Vec<(u32, u64, bool, AccountId)> = Vec::new();
        for id in self.ranked_members(pool) {
            let (priority, load_pct, last_assigned, not_oauth, _) = self.rank(pool, id);
            let candidate = Candidate { account: id, priority, load_pct, last_assigned };
            match standing(id) {
                Standing::Open => {
                    if load_pct < 100 && surveyed.best.len() < best_max.min(BEST_MAX) {
                        surveyed.best.push(candidate);
                    }
                    without_load.push((priority, last_assigned, not_oauth, id));
                }
                Standing::Probed => without_load.push((priority, last_assigned, not_oauth, id)),
                Standing::Closed(_) | Standing::Never => {}
            }
        }
        surveyed.open = without_load.len() as u32;
        surveyed.first = without_load.into_iter().min().map(|first| first.3);
        if surveyed.open == 0 {
            surveyed.opens_in = self.first_opening(self.members(pool).into_iter().map(standing));
        }
        surveyed.home = session
            .and_then(|key| self.home(key))
            .map(|home| self.survey_home(home, pool, model, excluded));
        surveyed
    }

    fn first_opening(&self, standings: impl Iterator<Item = Standing>) -> Option<Span> {
        let mut spans = Vec::new();
        for standing in standings {
            if let Standing::Closed(until) = standing {
                spans.push(until.since(self.raw));
            }
        }
        spans.into_iter().min()
    }

    /// A home is wanted as a gate, so a draining one is no less a home.
    fn survey_home(
        &self,
        account: AccountId,
        pool: PoolId,
        model: ModelId,
        excluded: &[AccountId],
    ) -> Home {
        let gate = GateId::Account(account);
        let state = if excluded.contains(&account) || !self.members(pool).contains(&account) {
            HomeState::Gone
        } else {
            match self.standing_of_account(account, model, None, true) {
                Standing::Never => HomeState::Gone,
                Standing::Closed(until) => HomeState::Shut(until.since(self.raw)),
                Standing::Probed => HomeState::Full,
                Standing::Open if self.has_room(gate) => HomeState::Room,
                Standing::Open => HomeState::Full,
            }
        };
        Home { account, state, line: self.line_length(Line::Gate(gate)) }
    }

    /// Every gate and line that somebody holds or waits for, or that health has closed.
    pub(crate) fn view(&self) -> Vec<Look> {
        let mut lines: Vec<Line> = Vec::new();
        for lease in &self.leases {
            match &lease.place {
                Place::Held(held) => {
                    lines.push(Line::Gate(held.gate));
                    lines.extend(held.counted);
                }
                Place::Waiting(ticket) => lines.push(line_of(&ticket.want)),
            }
        }
        for account in &self.accounts {
            if account.keys.iter().any(|k| self.raw < k.until) {
                lines.push(Line::Gate(GateId::Account(account.id)));
            }
        }
        lines.sort();
        lines.dedup();
        lines.into_iter().map(|line| self.look(line)).collect()
    }

    fn look(&self, line: Line) -> Look {
        let mut look = Look { line, limit: None, held: vec![], waiting: vec![], closed: vec![] };
        for lease in &self.leases {
            if let Place::Held(held) = &lease.place
                && Line::Gate(held.gate) == line
            {
                let span = self.raw.since(held.since);
                look.held.push((lease.id, span, held.claim_by.is_none()));
            }
        }
        look.waiting = self.line(line);
        look.held.sort();
        look.waiting.sort();
        if let Line::Gate(gate) = line {
            look.limit = Some(proper(self.limit(gate)));
            if let GateId::Account(id) = gate {
                look.closed = self.closings(id);
            }
        }
        look
    }

    fn closings(&self, id: AccountId) -> Vec<(Option<ModelId>, Cause, Span)> {
        let mut closings = Vec::new();
        for key in self.account(id).map(|a| a.keys.clone()).unwrap_or_default() {
            if self.raw < key.until {
                closings.push((key.model, key.cause, key.until.since(self.raw)));
            }
        }
        closings.sort();
        closings
    }

    /// How far it is to everything that time will bring, in order: where it pays to look.
    pub(crate) fn moments(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        let of_clock = |at: Time| at.since(self.clock);
        let of_raw = |at: Time| at.since(self.raw);
        spans.extend(self.dues_of_clock().into_iter().map(|(at, _, _)| of_clock(at)));
        spans.extend(self.openings().into_iter().map(|(at, _, _)| of_raw(at)));
        spans.extend(self.sessions.iter().map(|s| of_clock(s.ends)));
        spans.extend(self.tombstones.iter().map(|(_, until)| of_clock(*until)));
        spans.extend(self.bindings.iter().map(|(_, _, ends)| of_raw(*ends)));
        spans.retain(|span| *span > Span::ZERO && *span < Span::from_secs(1 << 30));
        spans.sort();
        spans
    }
}
