//! The upstream attempt: from the slot to the end of the answer, or on to the next account.

use super::{Request, Stage, Survey};
use crate::action::{Action, Verdict};
use crate::core::{Core, Kind};
use crate::event::Outcome;
use crate::failover::{self, Spent};
use crate::ids::{AccountId, Attempt};
use crate::store::{HealthChange, SessionChange, StoreOp};
use crate::trail::{Decision, Passed};

impl Request {
    /// The account's slot is held. It is used only while the session is believed in, and only if the
    /// current roster still offers the account.
    pub(super) fn account_held(
        &mut self,
        core: &mut Core,
        account: AccountId,
        probe: bool,
    ) -> Option<Verdict> {
        let spec = &self.spec;
        let pool = core.roster.pool(spec.group, spec.platform, spec.model);
        let offered = pool.is_some_and(|pool| pool.members.contains(&account));
        let believed = core.session.is_believed(core.now);
        if self.deadline.is_some_and(|at| at <= core.now) {
            return self.wait_over(core);
        }
        if offered && believed {
            self.forward(core, account, probe);
            return None;
        }
        if let Some(claim) = &mut self.account {
            claim.unsettled = true;
        }
        if believed {
            // A newer roster has reached the store by another node: that slot is given back at once.
            self.not_offered.push(account);
            return self.ask(core);
        }
        self.held_up = false;
        self.trail.push(core.now, Decision::Disbelieved);
        core.session.want_beat(core.now);
        self.ask_later(core, None);
        None
    }

    fn forward(&mut self, core: &mut Core, account: AccountId, probe: bool) {
        let (req, attempt) = (self.id, Attempt(self.attempts));
        self.tag = self.account.as_ref().and_then(|claim| claim.tag);
        self.deadline = None;
        self.held_up = true;
        self.stage =
            Stage::Upstream { account, since: core.now, probe, started: false, ending: None };
        self.trail.push(core.now, Decision::Forwarded { attempt, account });
        self.bind(core, account);
        core.actions.push_back(Action::Forward { req, attempt, account });
    }

    /// Binds the session, keeps its binding alive, or moves it from a home that is not well.
    fn bind(&mut self, core: &mut Core, account: AccountId) {
        let Some(key) = self.spec.session else { return };
        let ttl = core.config.policy.session_ttl;
        let moves = match self.passed {
            Some(Passed::Shut | Passed::Gone | Passed::Failed) => true,
            Some(Passed::LineFull | Passed::Patience) | None => self.home.is_none(),
        };
        let change = if moves && self.home != Some(account) {
            self.trail.push(core.now, Decision::Bound { account });
            SessionChange::Bind(account, ttl)
        } else {
            SessionChange::Touch(ttl)
        };
        let if_home = self.home;
        core.call(Kind::Note, |_, _| StoreOp::Session { key, change, if_home });
        if moves {
            self.home = Some(account);
        }
    }

    /// The first semantic byte has reached the client: no other account will be tried.
    pub(crate) fn started(&mut self, core: &mut Core, of: Attempt) -> Option<Verdict> {
        let Stage::Upstream { account, probe, started, .. } = &mut self.stage else { return None };
        if of.0 != self.attempts || *started {
            return None;
        }
        *started = true;
        let (account, probe) = (*account, *probe);
        self.trail.push(core.now, Decision::Started { attempt: of });
        if let Some(node) = core.session.node().filter(|_| probe) {
            let lease = core.lease(node, (self.id, of));
            let change = HealthChange::Proved(lease);
            core.call(Kind::Proved, |_, _| StoreOp::Health { account, model: None, change });
        }
        None
    }

    /// The attempt is over: marks its account, and tries another or ends.
    pub(crate) fn ended(
        &mut self,
        core: &mut Core,
        of: Attempt,
        outcome: Outcome,
    ) -> Option<Verdict> {
        let Stage::Upstream { account, since, started, ending, .. } = self.stage else {
            return None;
        };
        if of.0 != self.attempts {
            return None;
        }
        self.trail.push(core.now, Decision::Ended { attempt: of, outcome });
        self.served = self.served + core.now.since(since);
        if let Some(claim) = self.account.take() {
            core.release(self.id, &claim, failover::mark(&core.config.policy, outcome));
        }
        if ending.is_some() {
            return ending;
        }
        let policy = &core.config.policy;
        let spent = Spent {
            switches: self.switches,
            server_errors: self.server_errors,
            late: core.now.since(self.arrived) >= policy.failover_time_max,
        };
        let switches_max = policy.switches_max(self.spec.platform);
        if started || !failover::may_switch(policy, switches_max, spent, outcome) {
            return Some(Verdict::Upstream { account, attempt: of, outcome });
        }
        self.switches += 1;
        self.server_errors += u16::from(matches!(outcome, Outcome::ServerError { .. }));
        self.last_failure = Some((account, of, outcome));
        self.excluded.push(account);
        self.survey = Survey::None;
        self.choose(core)
    }
}
