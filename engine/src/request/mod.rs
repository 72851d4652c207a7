//! The life of one request: one function a transition.
//!
//! user's slot → billing → selection → account's slot → upstream → (selection again, or) the end.
//! Every transition returns the verdict if it ends the request; the engine then gives back what the
//! request still claims. Asking and waiting are in `asking`, selection in `choosing`, the upstream
//! attempt in `serving`.

use alloc::boxed::Box;
use alloc::vec::Vec;
use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::action::{Action, Verdict};
use crate::core::Core;
use crate::event::{Denial, Outcome, RequestSpec};
use crate::ids::{AccountId, Ask, Attempt, RequestId, Tag};
use crate::lease::Claim;
use crate::select::{AIMS_MAX, Aim};
use crate::store::Surveyed;
use crate::time::{Span, Time};
use crate::timer::{Alarm, Reason};
use crate::trail::{Decision, Passed, Trail};

mod asking;
mod choosing;
mod serving;

/// Where a request is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// Asking or waiting for its user's slot.
    User,
    /// May the user spend? No waiting for a slot: its answer always comes.
    Billing { since: Time },
    /// A survey is needed, or awaited.
    Choosing,
    /// Asking or waiting for an account's slot.
    Account,
    /// An attempt is running.
    Upstream {
        account: AccountId,
        since: Time,
        probe: bool,
        /// The first semantic byte has reached the client.
        started: bool,
        /// It was cancelled, and this will be the verdict.
        ending: Option<Verdict>,
    },
}

/// What is known of the pool.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Survey {
    None,
    Asked(Ask),
    Known(Box<Surveyed>),
}

/// One live request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) id: RequestId,
    pub(crate) spec: RequestSpec,
    pub(crate) stage: Stage,
    arrived: Time,
    /// Time spent upstream or on billing: the rest was waiting.
    served: Span,
    pub(crate) user: Claim,
    pub(crate) account: Option<Claim>,
    /// The number of the newest attempt.
    attempts: u16,
    /// The account's place in order, kept over attempts.
    tag: Option<Tag>,
    survey: Survey,
    aims: ArrayVec<Aim, AIMS_MAX>,
    home: Option<AccountId>,
    passed: Option<Passed>,
    /// Accounts that failed this request.
    excluded: Vec<AccountId>,
    /// Accounts that the store has in the pool but this node's roster has not.
    not_offered: Vec<AccountId>,
    switches: u16,
    server_errors: u16,
    last_failure: Option<(AccountId, Attempt, Outcome)>,
    /// When the present wait ends.
    pub(crate) deadline: Option<Time>,
    /// When to survey again.
    survey_at: Option<Time>,
    /// Since the store's last fault something else has cost it time: a line, accounts that were full or
    /// shut, an attempt. If not, the store has.
    held_up: bool,
    survey_delay: Option<Span>,
    survey_tries: u32,
    ping_at: Option<Time>,
    /// Its entry in the engine's timers.
    pub(crate) armed: Option<Alarm>,
    pub(crate) trail: Trail,
}

impl Request {
    pub(crate) fn new(core: &Core, id: RequestId, spec: RequestSpec) -> Self {
        let ping_at = spec.stream.then(|| core.now + core.config.policy.ping_interval);
        let mut trail = Trail { steps: Vec::with_capacity(8), dropped: 0 };
        trail.push(core.now, Decision::Arrived);
        Self {
            id,
            spec,
            stage: Stage::User,
            arrived: core.now,
            served: Span::ZERO,
            user: Claim::new(Attempt(0), None),
            account: None,
            attempts: 0,
            tag: None,
            survey: Survey::None,
            aims: ArrayVec::new(),
            home: None,
            passed: None,
            excluded: Vec::new(),
            not_offered: Vec::new(),
            switches: 0,
            server_errors: 0,
            last_failure: None,
            deadline: None,
            survey_at: None,
            held_up: false,
            survey_delay: None,
            survey_tries: 0,
            ping_at,
            armed: None,
            trail,
        }
    }

    /// Asks for the user's slot, and surveys the pool in the same round trip.
    pub(crate) fn arrive(&mut self, core: &mut Core) -> Option<Verdict> {
        self.begin_wait(core, core.config.policy.user_patience);
        let verdict = self.ask(core);
        if verdict.is_none() && core.session.can_ask() {
            self.send_survey(core);
        }
        verdict
    }

    /// The user's slot is held: may the user spend?
    fn check_billing(&mut self, core: &mut Core) {
        self.stage = Stage::Billing { since: core.now };
        self.deadline = None;
        let (req, user) = (self.id, self.spec.user);
        core.actions.push_back(Action::CheckBilling { req, user });
    }

    /// The answer of billing.
    pub(crate) fn billed(
        &mut self,
        core: &mut Core,
        result: Result<(), Denial>,
    ) -> Option<Verdict> {
        let Stage::Billing { since } = self.stage else { return None };
        self.served = self.served + core.now.since(since);
        match result {
            Ok(()) => {
                self.trail.push(core.now, Decision::Billed);
                self.choose(core)
            }
            Err(denial) => Some(Verdict::BillingDenied(denial)),
        }
    }

    /// The client is gone.
    pub(crate) fn abandon(&mut self, core: &mut Core) -> Option<Verdict> {
        self.end_early(core, Verdict::Abandoned)
    }

    /// Ends with this verdict: at once, or when the running attempt has been stopped.
    pub(crate) fn end_early(&mut self, core: &mut Core, verdict: Verdict) -> Option<Verdict> {
        let Stage::Upstream { ending, .. } = &mut self.stage else { return Some(verdict) };
        if ending.is_none() {
            *ending = Some(verdict);
            let (req, attempt) = (self.id, Attempt(self.attempts));
            core.actions.push_back(Action::Cancel { req, attempt });
        }
        None
    }

    /// Something it waits for has come in time.
    pub(crate) fn wake(&mut self, core: &mut Core) -> Option<Verdict> {
        let due = |at: Option<Time>| at.is_some_and(|at| at <= core.now);
        if due(self.deadline) {
            return self.wait_over(core);
        }
        if due(self.ping_at) && self.is_waiting() {
            self.ping_at = Some(core.now + core.config.policy.ping_interval);
            core.actions.push_back(Action::Ping { req: self.id });
        }
        if due(self.seeking().and_then(|claim| claim.ask_at)) {
            return self.ask(core);
        }
        if due(self.survey_at) && self.stage == Stage::Choosing {
            return self.choose(core);
        }
        None
    }

    /// The store makes sense of asks from now on.
    #[cold]
    pub(crate) fn ask_now(&mut self, core: &mut Core) -> Option<Verdict> {
        self.not_offered.clear();
        match self.stage {
            Stage::User | Stage::Account => self.ask(core),
            Stage::Choosing => self.choose(core),
            Stage::Billing { .. } | Stage::Upstream { .. } => None,
        }
    }

    /// Its next alarm.
    pub(crate) fn alarm(&self) -> Option<Alarm> {
        if !self.is_waiting() {
            return None;
        }
        let asking = self.seeking().and_then(|claim| claim.ask_at);
        [
            (self.deadline, Reason::Patience(self.id)),
            (asking.or(self.survey_at), Reason::Ask(self.id)),
            (self.ping_at, Reason::Ping(self.id)),
        ]
        .into_iter()
        .filter_map(|(at, reason)| Some((at?, reason)))
        .min()
    }

    /// The place in order of what it waits for, once told.
    pub(crate) fn place(&self) -> Option<Tag> {
        self.seeking().and_then(|claim| claim.tag)
    }

    /// Its claims on the store.
    pub(crate) fn claims(&self) -> impl Iterator<Item = &Claim> {
        core::iter::once(&self.user).chain(&self.account)
    }

    /// Whether it goes on because this held claim is held.
    pub(crate) fn relies_on(&self, claim: &Claim) -> bool {
        match self.stage {
            Stage::User => false,
            Stage::Billing { .. } | Stage::Choosing | Stage::Account => claim.attempt == Attempt(0),
            Stage::Upstream { .. } => true,
        }
    }

    /// Whether no attempt is running.
    pub(crate) const fn is_waiting(&self) -> bool {
        !matches!(self.stage, Stage::Upstream { .. })
    }

    /// Starts the clock of a wait, within what is left of all waiting.
    fn begin_wait(&mut self, core: &Core, patience: Span) {
        let waited = core.now.since(self.arrived).saturating_sub(self.served);
        let policy = &core.config.policy;
        let left = policy.wait_total_max.saturating_sub(waited);
        let last_start = self.arrived + policy.failover_time_max;
        self.deadline = Some((core.now + patience.min(left)).min(last_start));
    }

    /// The end of the present wait has come.
    #[cold]
    fn wait_over(&mut self, core: &mut Core) -> Option<Verdict> {
        if matches!(self.stage, Stage::Billing { .. } | Stage::Upstream { .. }) {
            return None;
        }
        let widens =
            self.stage == Stage::Account && self.aims.first().is_some_and(|aim| aim.widens);
        if widens && !self.is_out_of_time(core) {
            self.pass_home(core, Passed::Patience);
            return self.next_aim(core);
        }
        Some(match self.stage {
            _ if !self.held_up => Verdict::StoreUnavailable,
            Stage::User => Verdict::UserWaitTimeout,
            Stage::Choosing | Stage::Account | Stage::Billing { .. } | Stage::Upstream { .. } => {
                self.or_last_failure(Verdict::AccountWaitTimeout)
            }
        })
    }

    /// Whether no further wait would be of any length.
    fn is_out_of_time(&self, core: &Core) -> bool {
        let policy = &core.config.policy;
        let gone = core.now.since(self.arrived);
        gone.saturating_sub(self.served) >= policy.wait_total_max
            || gone >= policy.failover_time_max
    }

    /// The claim that it asks for now.
    fn seeking(&self) -> Option<&Claim> {
        match self.stage {
            Stage::User => Some(&self.user),
            Stage::Account => self.account.as_ref(),
            Stage::Billing { .. } | Stage::Choosing | Stage::Upstream { .. } => None,
        }
    }

    fn seeking_mut(&mut self) -> Option<&mut Claim> {
        match self.stage {
            Stage::User => Some(&mut self.user),
            Stage::Account => self.account.as_mut(),
            Stage::Billing { .. } | Stage::Choosing | Stage::Upstream { .. } => None,
        }
    }
}
