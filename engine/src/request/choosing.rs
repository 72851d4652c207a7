//! Choosing an account: survey, plan, and one aim after the other.

use alloc::vec::Vec;
use arrayvec::ArrayVec;

use super::{Request, Stage, Survey};
use crate::action::Verdict;
use crate::core::{Core, Kind};
use crate::ids::{AccountId, Ask, Attempt};
use crate::lease::Claim;
use crate::rng::Purpose;
use crate::select::{self, Aim, Target};
use crate::store::{BEST_MAX, StoreFault, StoreOp, StoreReply, Surveyed};
use crate::time::Span;
use crate::trail::{Decision, Layer, Passed};

impl Request {
    /// Chooses by the survey it has, or gets one.
    pub(super) fn choose(&mut self, core: &mut Core) -> Option<Verdict> {
        if self.stage != Stage::Choosing {
            self.stage = Stage::Choosing;
            self.begin_wait(core, core.config.policy.fallback_patience);
        }
        self.survey_at = None;
        match core::mem::replace(&mut self.survey, Survey::None) {
            Survey::Known(surveyed) => self.follow(core, &surveyed),
            Survey::Asked(call) => {
                self.survey = Survey::Asked(call);
                None
            }
            Survey::None => {
                if core.session.can_ask() {
                    if !self.send_survey(core) {
                        return Some(self.or_last_failure(Verdict::NoAccounts));
                    }
                } else if core.session.is_away() {
                    return Some(Verdict::StoreUnavailable);
                } else {
                    self.held_up &= !core.session.is_at_fault();
                    self.choose_again_later(core);
                }
                None
            }
        }
    }

    /// Surveys the pool; `false` if the roster has no account for this request.
    pub(super) fn send_survey(&mut self, core: &mut Core) -> bool {
        let spec = &self.spec;
        let pool = core.roster.pool(spec.group, spec.platform, spec.model);
        let Some(pool) = pool.filter(|pool| !pool.members.is_empty()) else { return false };
        let (pool, model, session) = (pool.id, spec.model, spec.session);
        let excluded = self.out_of_question();
        let call = core.call(Kind::Survey(self.id), |_, _| StoreOp::Survey {
            pool,
            model,
            session,
            excluded,
            best: BEST_MAX as u8,
        });
        self.survey = Survey::Asked(call);
        true
    }

    /// The answer to a survey.
    pub(crate) fn surveyed(
        &mut self,
        core: &mut Core,
        call: Ask,
        current: bool,
        result: Result<StoreReply, StoreFault>,
    ) -> Option<Verdict> {
        if !matches!(self.survey, Survey::Asked(asked) if asked == call) {
            return None;
        }
        self.held_up &= result.is_ok();
        let away = result == Err(StoreFault::Away);
        self.survey = match result {
            Ok(StoreReply::Surveyed(surveyed)) if current => Survey::Known(surveyed),
            Ok(_) | Err(_) => Survey::None,
        };
        if self.stage != Stage::Choosing {
            return None;
        }
        match self.survey {
            Survey::Known(_) => self.choose(core),
            Survey::None | Survey::Asked(_) if away => {
                core.session.want_beat(core.now);
                Some(Verdict::StoreUnavailable)
            }
            Survey::None | Survey::Asked(_) => {
                self.choose_again_later(core);
                None
            }
        }
    }

    /// Accounts that failed this request, and those that only another node's roster offers.
    pub(super) fn out_of_question(&self) -> Vec<AccountId> {
        self.excluded.iter().chain(&self.not_offered).copied().collect()
    }

    /// Surveys again after a back-off delay.
    #[cold]
    pub(super) fn choose_again_later(&mut self, core: &Core) {
        if self.stage != Stage::Choosing {
            self.stage = Stage::Choosing;
            self.begin_wait(core, core.config.policy.fallback_patience);
        }
        self.survey = Survey::None;
        let (purpose, id) = (Purpose::RequestJitter, !self.id.0);
        let delay = core.next_delay(self.survey_delay, purpose, id, self.survey_tries);
        self.survey_tries = self.survey_tries.saturating_add(1);
        self.survey_delay = Some(delay);
        self.survey_at = Some(core.now + delay);
    }

    fn follow(&mut self, core: &mut Core, surveyed: &Surveyed) -> Option<Verdict> {
        let excluded = &self.excluded;
        let plan = select::plan(&core.config.policy, surveyed, |home| excluded.contains(&home));
        self.home = surveyed.home.map(|home| home.account);
        self.passed = None;
        self.survey_delay = None;
        if let Some((home, why)) = plan.passed {
            self.passed = Some(why);
            self.trail.push(core.now, Decision::HomePassed { home, why });
        }
        if plan.aims.is_empty() {
            return Some(self.or_last_failure(Verdict::AllShut { opens_in: plan.opens_in }));
        }
        if let Some(verdict) = self.intercept(core, surveyed, &plan.aims) {
            return Some(verdict);
        }
        self.aims = plan.aims;
        self.aim(core)
    }

    /// Whether the gateway answers this warm-up request itself, in the name of the account that would
    /// have been asked first.
    fn intercept(
        &self,
        core: &Core,
        surveyed: &Surveyed,
        aims: &ArrayVec<Aim, { select::AIMS_MAX }>,
    ) -> Option<Verdict> {
        if !self.spec.warmup {
            return None;
        }
        let account = aims.first().and_then(Aim::preferred).or(surveyed.first)?;
        let intercepts = core.roster.accounts.get(&account).is_some_and(|a| a.intercept_warmup);
        intercepts.then_some(Verdict::Intercepted { account })
    }

    /// Asks for what the first aim says, under the lease of this attempt.
    fn aim(&mut self, core: &mut Core) -> Option<Verdict> {
        let aim = self.aims.first()?;
        let (layer, account, patience) = (aim.layer, aim.preferred(), aim.patience);
        self.trail.push(core.now, Decision::Chosen { layer, account });
        self.stage = Stage::Account;
        if self.account.is_none() {
            self.attempts += 1;
            self.account = Some(Claim::new(Attempt(self.attempts), self.tag));
        }
        if let Some(claim) = &mut self.account {
            claim.delay = None;
        }
        self.begin_wait(core, patience);
        self.ask(core)
    }

    /// The first aim is given up; the next one is asked for, by the same lease.
    pub(super) fn next_aim(&mut self, core: &mut Core) -> Option<Verdict> {
        if self.aims.len() < 2 {
            return Some(self.or_last_failure(Verdict::AccountLineFull));
        }
        self.aims.remove(0);
        self.aim(core)
    }

    /// No room, and no place in the line.
    #[cold]
    pub(super) fn account_full(&mut self, core: &mut Core, current: bool) -> Option<Verdict> {
        let aim = self.aims.first()?;
        if aim.full_passes {
            if aim.layer == Layer::Sticky {
                self.pass_home(core, Passed::LineFull);
            }
            return self.next_aim(core);
        }
        if !current {
            self.choose_again_later(core);
            return None;
        }
        Some(Verdict::AccountLineFull)
    }

    /// Nothing opens in time.
    #[cold]
    pub(super) fn account_shut(
        &mut self,
        core: &mut Core,
        opens_in: Option<Span>,
        current: bool,
    ) -> Option<Verdict> {
        let aim = self.aims.first()?;
        if aim.layer == Layer::Sticky {
            self.pass_home(core, Passed::Shut);
            return self.next_aim(core);
        }
        if matches!(aim.target, Target::Account(_)) {
            // The one account it waited for has closed; another may be open.
            self.survey = Survey::None;
            return self.choose(core);
        }
        if !current {
            self.choose_again_later(core);
            return None;
        }
        Some(self.or_last_failure(Verdict::AllShut { opens_in }))
    }

    /// The session's home will not serve this request.
    #[cold]
    pub(super) fn pass_home(&mut self, core: &Core, why: Passed) {
        if let Some(home) = self.home {
            self.passed = Some(why);
            self.trail.push(core.now, Decision::HomePassed { home, why });
        }
    }

    /// The last attempt's failure says more than that there is nothing else to try.
    pub(super) fn or_last_failure(&self, verdict: Verdict) -> Verdict {
        match self.last_failure {
            Some((account, attempt, outcome)) => Verdict::Upstream { account, attempt, outcome },
            None => verdict,
        }
    }
}
