//! Asking the store for a slot, and waiting for it.

use super::{Request, Stage, Survey};
use crate::action::Verdict;
use crate::core::{Core, Kind};
use crate::ids::{Ask, Attempt, GateId, NodeId};
use crate::lease::Standing;
use crate::rng::Purpose;
use crate::select::{Aim, Target};
use crate::store::{Enter, StoreFault, StoreOp, StoreReply, Version, Want};
use crate::time::Span;
use crate::trail::{Decision, Layer, Passed};

impl Request {
    /// Asks for the slot it needs now, unless an ask is unanswered.
    pub(super) fn ask(&mut self, core: &mut Core) -> Option<Verdict> {
        let claim = self.seeking_mut()?;
        if claim.pending.is_some() {
            claim.again = true;
            return None;
        }
        let node = core.session.node().filter(|_| core.session.can_ask());
        let Some(node) = node else {
            if core.session.is_away() {
                return Some(Verdict::StoreUnavailable);
            }
            if core.session.is_at_fault() {
                self.held_up = false;
            }
            self.ask_later(core, None);
            return None;
        };
        match self.want(core) {
            Some(want) => {
                self.send_enter(core, node, want);
                None
            }
            None => self.nothing_to_want(core),
        }
    }

    fn send_enter(&mut self, core: &mut Core, node: NodeId, want: Want) {
        let (id, deadline) = (self.id, self.deadline);
        let Some(claim) = self.seeking_mut() else { return };
        let lease = core.lease(node, (id, claim.attempt));
        let tag = claim.tag;
        let patience = deadline.map(|at| at.since(core.now));
        let ttl = core.config.policy.lease_ttl;
        let call = core.call(Kind::Enter(id, claim.attempt), |_, ask| {
            StoreOp::Enter(Enter { lease, ask, want, tag, patience, ttl })
        });
        claim.pending = Some(call);
        claim.ask_at = None;
        claim.again = false;
    }

    /// What it wants now, from the current roster; `None` if the roster has no such thing.
    pub(crate) fn want(&self, core: &Core) -> Option<Want> {
        let spec = &self.spec;
        if self.stage == Stage::User {
            let limit = core.roster.users.get(&spec.user)?.limit;
            let version = core.roster.version;
            let line_max = core.config.policy.extra_wait_slots;
            return Some(Want::User { user: spec.user, limit, version, line_max });
        }
        let pool = core.roster.pool(spec.group, spec.platform, spec.model)?;
        let aim = self.aims.first()?;
        match &aim.target {
            Target::Account(account) => {
                let account = *account;
                let line_max = aim.line_max.unwrap_or(0);
                let wanted = pool.members.contains(&account);
                wanted.then_some(Want::Gate { account, model: spec.model, line_max })
            }
            Target::Pool(best) => Some(Want::Pool {
                pool: pool.id,
                model: spec.model,
                best: best.clone(),
                excluded: self.out_of_question(),
                line_max: aim.line_max,
            }),
        }
    }

    /// The roster has changed under its feet.
    #[cold]
    fn nothing_to_want(&mut self, core: &mut Core) -> Option<Verdict> {
        if self.stage == Stage::User {
            return Some(Verdict::UserClosed);
        }
        if core.roster.pool(self.spec.group, self.spec.platform, self.spec.model).is_none() {
            return Some(self.or_last_failure(Verdict::NoAccounts));
        }
        if self.aims.first().is_some_and(|aim| aim.layer == Layer::Sticky) {
            self.pass_home(core, Passed::Gone);
            return self.next_aim(core);
        }
        self.not_offered.extend(self.aims.first().and_then(Aim::preferred));
        self.choose_again_later(core);
        None
    }

    /// The answer to an ask for this attempt. Only the newest one's counts.
    pub(crate) fn entered(
        &mut self,
        core: &mut Core,
        call: Ask,
        (attempt, same_node, version): (Attempt, bool, Version),
        result: Result<StoreReply, StoreFault>,
    ) -> Option<Verdict> {
        let claim = self.seeking_mut().filter(|claim| claim.attempt == attempt)?;
        if claim.pending != Some(call) {
            return None;
        }
        claim.pending = None;
        if !same_node {
            // The lease has another name by now; its place in order stays what it was told.
            if let Ok(StoreReply::Held { tag, .. } | StoreReply::Waiting { tag, .. }) = result {
                claim.tag = claim.tag.or(Some(tag));
            }
            claim.unsettled = true;
            self.held_up = false;
            return self.ask(core);
        }
        match result {
            Ok(reply) => {
                claim.unsettled = false;
                self.answered(core, reply, version == core.roster.version)
            }
            Err(fault) => {
                claim.unsettled = true;
                claim.doubt |= fault == StoreFault::Unknown;
                self.held_up = false;
                self.trail.push(core.now, Decision::Doubt { fault });
                if fault == StoreFault::Away {
                    // With beats it is tried whether the store is back.
                    core.session.want_beat(core.now);
                    return Some(Verdict::StoreUnavailable);
                }
                self.ask_later(core, None);
                None
            }
        }
    }

    fn answered(&mut self, core: &mut Core, reply: StoreReply, current: bool) -> Option<Verdict> {
        let is_user = self.stage == Stage::User;
        self.held_up |= matches!(
            reply,
            StoreReply::Waiting { .. } | StoreReply::Full | StoreReply::Shut { .. }
        );
        match reply {
            StoreReply::Held { gate, tag, probe } => {
                let claim = self.seeking_mut()?;
                claim.standing = Standing::Held { gate, probe, since: core.now };
                claim.tag = Some(tag);
                claim.ask_at = None;
                match gate {
                    GateId::User(_) if is_user => self.user_held(core),
                    GateId::Account(account) if !is_user => self.account_held(core, account, probe),
                    GateId::User(_) | GateId::Account(_) => Some(Verdict::StoreUnavailable),
                }
            }
            StoreReply::Waiting { position, tag, opens_in } => {
                let claim = self.seeking_mut()?;
                claim.standing = Standing::Waiting;
                claim.tag = Some(tag);
                let again = claim.again;
                self.queued(core, position);
                if again {
                    return self.ask(core);
                }
                self.ask_later(core, opens_in.filter(|_| position == 1));
                None
            }
            StoreReply::Full => {
                if self.seeking()?.again {
                    return self.ask(core);
                }
                if is_user { Some(Verdict::UserLineFull) } else { self.account_full(core, current) }
            }
            StoreReply::Shut { opens_in } => {
                let claim = self.seeking_mut()?;
                claim.standing = Standing::Nothing;
                if claim.again {
                    return self.ask(core);
                }
                if is_user {
                    return Some(Verdict::UserClosed);
                }
                self.account_shut(core, opens_in, current)
            }
            // Its own tombstone, or nonsense: not a store to go on with.
            StoreReply::Left
            | StoreReply::Lost
            | StoreReply::Joined { .. }
            | StoreReply::Taken { .. }
            | StoreReply::Alive { .. }
            | StoreReply::Done
            | StoreReply::Surveyed(_)
            | StoreReply::Home(_)
            | StoreReply::Reaped { .. } => Some(Verdict::StoreUnavailable),
        }
    }

    fn user_held(&mut self, core: &mut Core) -> Option<Verdict> {
        self.trail.push(core.now, Decision::UserHeld);
        self.check_billing(core);
        None
    }

    fn queued(&mut self, core: &Core, position: u32) {
        let user = self.stage == Stage::User;
        let what =
            if user { Decision::UserQueued { position } } else { Decision::Queued { position } };
        if user {
            // By the time it has the slot, the pool will look different.
            self.survey = Survey::None;
        }
        let same = |d: &Decision| core::mem::discriminant(d) == core::mem::discriminant(&what);
        match self.trail.steps.last_mut() {
            Some(step) if same(&step.what) => {}
            _ => self.trail.push(core.now, what),
        }
    }

    /// The store may have handed it a slot: claim it.
    pub(crate) fn hinted(&mut self, core: &mut Core, attempt: Attempt) -> Option<Verdict> {
        self.seeking().filter(|claim| claim.attempt == attempt)?;
        self.ask(core)
    }

    /// Asks again after the next back-off delay, or when its candidate opens.
    pub(super) fn ask_later(&mut self, core: &Core, opens_in: Option<Span>) {
        let id = self.id.0;
        let Some(claim) = self.seeking_mut() else { return };
        let delay = core.next_delay(claim.delay, Purpose::RequestJitter, id, claim.asks);
        claim.asks = claim.asks.saturating_add(1);
        claim.delay = Some(delay);
        claim.ask_at = Some(core.now + opens_in.map_or(delay, |opens| opens.min(delay)));
    }

    /// The session in the store is over; the claims go on under another name.
    pub(crate) fn session_lost(&mut self) {
        if matches!(self.survey, Survey::Known(_)) {
            // Of a store, perhaps, that has forgotten the accounts as well.
            self.survey = Survey::None;
        }
        if let Some(claim) = self.seeking_mut() {
            // Whether it still stands where it stood, the next ask will tell.
            claim.unsettled = true;
            self.held_up = false;
        }
    }
}
