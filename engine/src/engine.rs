//! The engine: takes events, keeps requests and the node's session, emits actions.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::action::{Action, Verdict};
use crate::core::{Call, Core, Kind};
use crate::event::{Event, RequestSpec};
use crate::ids::{Ask, LeaseId, NodeId, RequestId};
use crate::invariants;
use crate::lease::Standing;
use crate::node::NodeNews;
use crate::policy::{OnSessionLost, Policy};
use crate::request::{Request, Stage};
use crate::resync;
use crate::rng::Seed;
use crate::roster::Roster;
use crate::store::{Instance, Limit, StoreFault, StoreReply};
use crate::time::Time;
use crate::timer::{Alarm, Timers};
use crate::trail::{Decision, Trail};

/// What an engine is made with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    /// Its name in the store, unique per live process and worker.
    pub instance: Instance,
    /// The root of its randomness.
    pub seed: Seed,
    /// Its knobs.
    pub policy: Policy,
}

/// The scheduler of one node. It joins the store by itself on its first event.
///
/// Inputs are [`handle`](Self::handle)d, one at a time, with a time that never goes back; after each,
/// [`poll_action`](Self::poll_action) is called until it returns `None`, before the next event or in
/// between as answers come. [`next_timeout`](Self::next_timeout) says when a [`Event::Tick`] is
/// needed; extra ticks do no harm. [`crate::turn`] does all of this.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Engine {
    core: Core,
    requests: BTreeMap<RequestId, Box<Request>>,
    newest: Option<RequestId>,
    timers: Timers,
}

impl Engine {
    /// An engine without a session; any event, `Tick` for instance, makes it join.
    #[must_use]
    pub fn new(config: Config, roster: Arc<Roster>) -> Self {
        Self {
            core: Core::new(config, roster),
            requests: BTreeMap::new(),
            newest: None,
            timers: Timers::default(),
        }
    }

    /// Takes in one event. A `now` before an earlier one counts as that.
    ///
    /// # Panics
    /// If an arriving request's id is not above all earlier ones: the caller minted it twice.
    pub fn handle(&mut self, now: Time, event: Event) {
        self.core.now = self.core.now.max(now);
        self.wake_due_requests();
        match event {
            Event::Arrived { req, spec } => self.arrived(req, spec),
            Event::Abandoned { req } => self.with_request(req, |core, r| r.abandon(core)),
            Event::Store { call, result } => self.store_answered(call, result),
            Event::Granted { lease, .. } => self.granted(lease),
            Event::Billing { req, result } => {
                self.with_request(req, |core, r| r.billed(core, result));
            }
            Event::Started { req, attempt } => {
                self.with_request(req, |core, r| r.started(core, attempt));
            }
            Event::Ended { req, attempt, outcome } => {
                self.with_request(req, |core, r| r.ended(core, attempt, outcome));
            }
            Event::Roster(roster) => self.new_roster(roster),
            Event::Policy(policy) => {
                self.core.config.policy = self.core.config.policy.renewed(*policy);
            }
            Event::Tick => {}
        }
        self.do_errands();
    }

    /// The next action, in the order in which they are to be carried out; `None` when there is none
    /// until the next event.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<Action> {
        let action = self.core.actions.pop_front();
        if action.is_none() {
            self.rearm_touched();
        }
        action
    }

    /// When the engine wants a `Tick`, and why. May change after every event, once its actions have
    /// been drained.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Alarm> {
        let debts = self.core.debts.next_due().map(|at| (at, crate::timer::Reason::Leave));
        [self.timers.first(), self.core.session.next_alarm(), debts].into_iter().flatten().min()
    }

    /// The node, while it has a session that it has not been told to have lost.
    #[must_use]
    pub const fn node(&self) -> Option<NodeId> {
        self.core.session.node()
    }

    /// Whether it believes in its session at `now` and the store knows its roster: ready for traffic.
    #[must_use]
    pub fn ready(&self, now: Time) -> bool {
        self.core.session.is_believed(now) && self.core.session.can_ask()
    }

    /// The roster it decides by.
    #[must_use]
    pub const fn roster(&self) -> &Arc<Roster> {
        &self.core.roster
    }

    /// Requests that have arrived and not finished.
    #[must_use]
    pub fn live_requests(&self) -> usize {
        self.requests.len()
    }

    /// Leases owed to the store.
    #[must_use]
    pub fn owed(&self) -> usize {
        self.core.debts.len()
    }

    /// What has been decided so far about a live request.
    #[must_use]
    pub fn trail(&self, req: RequestId) -> Option<&Trail> {
        self.requests.get(&req).map(|r| &r.trail)
    }

    /// Every local invariant that does not hold, by what is wrong. Linear in the live requests. Legal
    /// after a full drain.
    #[must_use]
    pub fn check_invariants(&self) -> Vec<String> {
        invariants::check(&self.core, &self.requests, &self.timers)
    }

    fn arrived(&mut self, req: RequestId, spec: RequestSpec) {
        assert!(self.newest < Some(req), "request ids are minted strictly increasing");
        self.newest = Some(req);
        let mut request = Box::new(Request::new(&self.core, req, spec));
        let verdict = if self.requests.len() >= self.core.config.policy.requests_max as usize {
            Some(Verdict::Overloaded)
        } else {
            request.arrive(&mut self.core)
        };
        match verdict {
            Some(verdict) => finish(&mut self.core, &mut self.timers, request, verdict),
            None => {
                self.requests.insert(req, request);
                self.core.touched.push(req);
            }
        }
    }

    /// One transition of a live request; the end, if that is what it comes to.
    fn with_request(
        &mut self,
        req: RequestId,
        transition: impl FnOnce(&mut Core, &mut Request) -> Option<Verdict>,
    ) {
        let Some(request) = self.requests.get_mut(&req) else { return };
        match transition(&mut self.core, request) {
            None => self.core.touched.push(req),
            Some(verdict) => {
                if let Some(request) = self.requests.remove(&req) {
                    finish(&mut self.core, &mut self.timers, request, verdict);
                }
            }
        }
    }

    /// The same transition for all, in order of arrival.
    fn with_all(&mut self, mut transition: impl FnMut(&mut Core, &mut Request) -> Option<Verdict>) {
        let all: Vec<RequestId> = self.requests.keys().copied().collect();
        for req in all {
            self.with_request(req, &mut transition);
        }
    }

    /// Every waiter asks, those first that have waited longest: the store may have forgotten their
    /// tickets, and then serves whoever asks first.
    fn ask_in_order(&mut self) {
        let place = |r: &Request| (r.place().is_none(), r.place());
        let mut all: Vec<_> = self.requests.iter().map(|(req, r)| (place(r), *req)).collect();
        all.sort_unstable();
        for (_, req) in all {
            self.with_request(req, |core, r| r.ask_now(core));
        }
    }

    fn granted(&mut self, lease: LeaseId) {
        if self.core.session.node() == Some(lease.node) {
            self.with_request(lease.request, |core, r| r.hinted(core, lease.attempt));
        }
    }

    #[cold]
    fn new_roster(&mut self, roster: Arc<Roster>) {
        if roster.version > self.core.roster.version {
            self.core.roster = roster;
            self.core.session.undefine(self.core.now);
        }
    }

    fn store_answered(&mut self, call: Ask, result: Result<StoreReply, StoreFault>) {
        let Some(Call { node, version, kind }) = self.core.calls.remove(&call) else { return };
        let same_node = node.is_some() && node == self.core.session.node();
        let lost = result == Ok(StoreReply::Lost);
        if lost && same_node {
            self.lose_session();
        }
        match kind {
            Kind::Enter(req, attempt) => {
                let asked = (attempt, same_node && !lost, version);
                self.with_request(req, |core, r| r.entered(core, call, asked, result));
            }
            Kind::Survey(req) => {
                // A store that has lost the session may have lost the roster with it.
                let current = same_node && version == self.core.roster.version;
                self.with_request(req, |core, r| r.surveyed(core, call, current, result));
            }
            Kind::Leave(key) if same_node && !lost => match result {
                Ok(_) => self.core.debts.paid(key),
                Err(_) => self.core.leave_failed(key),
            },
            Kind::Leave(_) | Kind::Proved | Kind::Note => {}
            Kind::Join { .. } | Kind::Beat { .. } | Kind::Define | Kind::Reap | Kind::Resync => {
                self.node_answered(call, kind, result);
            }
        }
    }

    #[cold]
    fn node_answered(&mut self, call: Ask, kind: Kind, result: Result<StoreReply, StoreFault>) {
        let was_away = self.core.session.is_away();
        let news = self.core.node_answer(call, kind, result);
        self.act_on(news);
        match (was_away, self.core.session.is_away()) {
            (false, true) => {
                self.with_all(|_, r| r.is_waiting().then_some(Verdict::StoreUnavailable));
            }
            // What it holds too much of is known here: it must not wait for its turn.
            (true, false) => self.core.debts.hasten(self.core.now),
            (false, false) | (true, true) => {}
        }
    }

    fn act_on(&mut self, news: NodeNews) {
        match news {
            NodeNews::None => {}
            NodeNews::AskNow => self.ask_in_order(),
            NodeNews::ResyncAnswered(result) => self.resync_answered(result),
        }
    }

    fn resync_answered(&mut self, result: Result<(), StoreFault>) {
        let Some(mut pass) = self.core.session.pass.take() else { return };
        let (listed, was_last) = pass.answered();
        match result {
            Ok(()) if was_last => {
                let news = self.core.resync_done();
                self.act_on(news);
            }
            Ok(()) => {
                self.core.session.pass = Some(pass);
                self.core.resync_goes_on();
                resync::send_next(&mut self.core, &self.requests);
            }
            Err(fault) => {
                if fault == StoreFault::Unknown {
                    for (req, attempt) in listed {
                        self.with_request(req, |_, r| {
                            r.doubt(attempt);
                            None
                        });
                    }
                }
                self.core.resync_failed();
            }
        }
    }

    /// The store has ended the session. What runs, runs on under the next one, or is cut short.
    #[cold]
    fn lose_session(&mut self) {
        self.core.session_lost();
        let abort = self.core.config.policy.on_session_lost == OnSessionLost::Abort;
        self.with_all(|core, r| {
            r.session_lost();
            if abort && !r.is_waiting() { r.end_early(core, Verdict::SessionLost) } else { None }
        });
    }

    fn wake_due_requests(&mut self) {
        while let Some(alarm) = self.timers.first().filter(|(at, _)| *at <= self.core.now) {
            self.timers.rearm(Some(alarm), None);
            let Some(req) = alarm.1.request() else { continue };
            self.with_request(req, |core, r| {
                r.armed = None;
                r.wake(core)
            });
        }
    }

    /// What the node does by itself when its time has come.
    fn do_errands(&mut self) {
        self.core.node_tick();
        if self.core.beat_is_due() {
            let (settled, in_flight) = self.count_leases();
            self.core.send_beat(settled, in_flight);
        }
        if self.core.resync_is_due() {
            resync::send_next(&mut self.core, &self.requests);
        }
        self.core.pay_due_debts();
    }

    /// Leases that are in the store for sure, and leases that may be.
    #[cold]
    fn count_leases(&self) -> (u32, u32) {
        let (mut settled, mut in_flight) = (0u32, self.core.debts.len() as u32);
        let (now, ttl) = (self.core.now, self.core.config.policy.lease_ttl);
        let claims = self.requests.values().flat_map(|r| r.claims());
        for claim in claims.filter(|claim| !claim.has_expired(now, ttl)) {
            let sure = claim.pending.is_none() && !claim.unsettled;
            if sure && claim.standing != Standing::Nothing {
                settled += 1;
            } else if claim.may_exist() {
                in_flight += 1;
            }
        }
        (settled, in_flight)
    }

    fn rearm_touched(&mut self) {
        while let Some(req) = self.core.touched.pop() {
            if let Some(request) = self.requests.get_mut(&req) {
                let alarm = request.alarm();
                self.timers.rearm(request.armed, alarm);
                request.armed = alarm;
            }
        }
    }
}

/// The end of a request: gives back what it claims, and says how it ended.
fn finish(core: &mut Core, timers: &mut Timers, mut request: Box<Request>, verdict: Verdict) {
    debug_assert!(
        request.account.is_none() || !matches!(request.stage, Stage::User | Stage::Billing { .. }),
        "an account is asked for after billing"
    );
    let verdict = if core.session.is_stand_in() {
        for_want_of_store(core, &request, verdict)
    } else {
        verdict
    };
    timers.rearm(request.armed.take(), None);
    if let Some(account) = request.account.take() {
        core.release(request.id, &account, None);
    }
    core.release(request.id, &request.user, None);
    let trail = core::mem::take(&mut request.trail);
    core.actions.push_back(Action::Finish { req: request.id, verdict, trail });
}

/// While a stand-in answers there is only a share of each limit to be had: who gets nothing is told
/// that it is the store's fault, and not that there is a limit.
#[cold]
fn for_want_of_store(core: &Core, request: &Request, verdict: Verdict) -> Verdict {
    let user = core.roster.users.get(&request.spec.user);
    let open = user.is_some_and(|user| user.limit.normal() != Limit::Closed);
    match verdict {
        Verdict::UserLineFull
        | Verdict::UserWaitTimeout
        | Verdict::AccountLineFull
        | Verdict::AccountWaitTimeout
        | Verdict::AllShut { .. } => Verdict::StoreUnavailable,
        Verdict::UserClosed if open => Verdict::StoreUnavailable,
        Verdict::Upstream { .. }
        | Verdict::Intercepted { .. }
        | Verdict::UserClosed
        | Verdict::BillingDenied(_)
        | Verdict::NoAccounts
        | Verdict::StoreUnavailable
        | Verdict::Overloaded
        | Verdict::SessionLost
        | Verdict::Abandoned => verdict,
    }
}

impl Request {
    /// A call that listed this lease may yet be applied.
    fn doubt(&mut self, attempt: crate::ids::Attempt) {
        let claims = core::iter::once(&mut self.user).chain(&mut self.account);
        for claim in claims.filter(|claim| claim.attempt == attempt) {
            claim.doubt = true;
        }
    }
}

impl Trail {
    /// How many attempts it records.
    #[must_use]
    pub fn attempts(&self) -> usize {
        let forwarded =
            |step: &&crate::trail::Step| matches!(step.what, Decision::Forwarded { .. });
        self.steps.iter().filter(forwarded).count()
    }
}
