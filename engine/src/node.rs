//! One node's life in the store: joining, beating, reaping, defining, fencing.
//!
//! A session is believed in for [`crate::Policy::belief`] from the *sending* of the last acknowledged
//! beat; only then may an attempt be forwarded. What the store says to have ended is over for good:
//! the engine joins again, as another node, and its leases are renamed with it.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::core::{Core, Kind};
use crate::ids::{Ask, NodeId};
use crate::lease::Key;
use crate::policy::Policy;
use crate::resync::Pass;
use crate::rng::Purpose;
use crate::store::{Define, PROTOCOL, REAP_MAX, StoreFault, StoreOp, StoreReply};
use crate::time::{Span, Time};
use crate::timer::{Alarm, Reason};

/// The node's standing in the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Session {
    /// The node, between `Joined` and `Lost`.
    node: Option<NodeId>,
    /// Whom the next `Join` replaces, and whether its leases go on.
    replaces: Option<NodeId>,
    resume: bool,
    epoch: Option<u64>,
    believed_until: Time,
    /// The store has this roster, in this session.
    defined: bool,
    /// No ask before the resync that follows a resumed session.
    resuming: bool,
    pub(crate) pass: Option<Pass>,
    /// Beats running whose lease count did not fit.
    mismatches: u8,
    /// The store is away, and a stand-in answers.
    stand_in: bool,
    /// The store is away, and nobody answers.
    away: bool,
    join: Errand,
    beat: Errand,
    define: Errand,
    reap: Errand,
    resync: Errand,
}

/// Something the node does by itself, one call at a time.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Errand {
    /// When to do it next.
    at: Option<Time>,
    /// The unanswered call.
    call: Option<Ask>,
    /// The delay of the last retry.
    delay: Option<Span>,
    /// Retries, to tell apart the draws of jitter.
    tries: u32,
}

impl Errand {
    const fn at(at: Time) -> Self {
        Self { at: Some(at), call: None, delay: None, tries: 0 }
    }

    fn is_due(&self, now: Time) -> bool {
        self.call.is_none() && self.at.is_some_and(|at| at <= now)
    }

    /// It succeeded; next at `at`.
    const fn done(&mut self, at: Option<Time>) {
        *self = Self { at, call: None, delay: None, tries: 0 };
    }

    fn alarm(&self, reason: Reason) -> Option<Alarm> {
        self.at.filter(|_| self.call.is_none()).map(|at| (at, reason))
    }
}

impl Session {
    pub(crate) fn new() -> Self {
        Self {
            node: None,
            replaces: None,
            resume: false,
            epoch: None,
            believed_until: Time::ZERO,
            defined: false,
            resuming: false,
            pass: None,
            mismatches: 0,
            stand_in: false,
            away: false,
            join: Errand::at(Time::ZERO),
            beat: Errand::default(),
            define: Errand::default(),
            reap: Errand::default(),
            resync: Errand::default(),
        }
    }

    pub(crate) const fn node(&self) -> Option<NodeId> {
        self.node
    }

    /// Whether an attempt may be forwarded on what this session holds.
    pub(crate) fn is_believed(&self, now: Time) -> bool {
        self.node.is_some() && now < self.believed_until
    }

    /// Whether the store can make sense of an ask.
    pub(crate) const fn can_ask(&self) -> bool {
        self.node.is_some() && self.defined && !self.resuming
    }

    /// Whether it is the store's fault that it cannot be asked, and not just a matter of one answer.
    pub(crate) const fn is_at_fault(&self) -> bool {
        self.node.is_none() || self.resuming || self.define.tries > 0 || self.resync.tries > 0
    }

    /// A beat is also how the node learns that the store is back.
    fn beat_interval(&self, policy: &Policy) -> Span {
        if self.stand_in { policy.beat_interval.min(AWAY_INTERVAL) } else { policy.beat_interval }
    }

    /// Whether a stand-in answers for the store.
    pub(crate) const fn is_stand_in(&self) -> bool {
        self.stand_in
    }

    /// Whether nobody answers, and nobody will for a while.
    pub(crate) const fn is_away(&self) -> bool {
        self.away
    }

    /// Whether an unanswered `Resync` lists this lease.
    pub(crate) fn is_listing(&self, key: Key) -> bool {
        self.pass.as_ref().is_some_and(|pass| pass.is_listing(key))
    }

    /// A resync as soon as may be.
    pub(crate) fn want_resync(&mut self, now: Time) {
        if self.resync.call.is_none() {
            self.resync.at = Some(now);
        }
    }

    /// A beat as soon as may be: something waits to be believed.
    pub(crate) fn want_beat(&mut self, now: Time) {
        if self.beat.call.is_none() && self.beat.delay.is_none() {
            self.beat.at = Some(now);
        }
    }

    /// The store must be told the roster again; no ask before it knows.
    pub(crate) fn undefine(&mut self, now: Time) {
        self.defined = false;
        if self.node.is_some() {
            // An unanswered one was for a former roster: its answer will not count.
            self.define = Errand::at(now);
        }
    }

    pub(crate) fn next_alarm(&self) -> Option<Alarm> {
        [
            self.join.alarm(Reason::Join),
            self.beat.alarm(Reason::Beat),
            self.reap.alarm(Reason::Reap),
            self.define.alarm(Reason::Define),
            // It waits for the roster to be known; that answer comes as an event.
            self.resync.alarm(Reason::Resync).filter(|_| self.defined),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

/// What the engine has to do after an answer that concerned the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeNews {
    /// Nothing.
    None,
    /// Asks can be made now: every waiter asks.
    AskNow,
    /// A chunk of the resync was answered: the next, or the end.
    ResyncAnswered(Result<(), StoreFault>),
}

impl Core {
    /// Does what is due, but for beats and resyncs, which need the requests.
    pub(crate) fn node_tick(&mut self) {
        if self.session.join.is_due(self.now) {
            self.send_join();
        }
        if self.session.define.is_due(self.now) {
            self.send_define();
        }
        if self.session.reap.is_due(self.now) {
            self.send_reap();
        }
    }

    pub(crate) fn beat_is_due(&self) -> bool {
        self.session.beat.is_due(self.now)
    }

    pub(crate) fn resync_is_due(&self) -> bool {
        self.session.resync.is_due(self.now) && self.session.defined
    }

    #[cold]
    fn send_join(&mut self) {
        let (replaces, resume) = (self.session.replaces, self.session.resume);
        let kind = Kind::Join { sent: self.now };
        let call = self.call(kind, |core, _| StoreOp::Join {
            instance: core.config.instance.clone(),
            replaces,
            resume,
            protocol: PROTOCOL,
        });
        self.session.join.call = Some(call);
    }

    #[cold]
    fn send_define(&mut self) {
        let call = self.call(Kind::Define, |core, _| {
            StoreOp::Define(Define {
                version: core.roster.version,
                discipline: core.config.policy.discipline,
                health: core.config.policy.health,
                accounts: core.roster.account_defs(),
                pools: core.roster.pool_defs(),
            })
        });
        self.session.define.call = Some(call);
    }

    #[cold]
    fn send_reap(&mut self) {
        let call = self.call(Kind::Reap, |_, _| StoreOp::Reap { max: REAP_MAX });
        self.session.reap.call = Some(call);
    }

    /// `settled` leases are in the store for sure, `in_flight` more may be.
    #[cold]
    pub(crate) fn send_beat(&mut self, settled: u32, in_flight: u32) {
        let Some(node) = self.session.node else { return };
        let kind = Kind::Beat { sent: self.now, settled, in_flight };
        let call = self.call(kind, |_, _| StoreOp::Beat { node, settled, in_flight });
        self.session.beat.call = Some(call);
    }

    pub(crate) const fn resync_sent(&mut self, call: Ask) {
        self.session.resync.call = Some(call);
    }

    /// The pass is over.
    pub(crate) fn resync_done(&mut self) -> NodeNews {
        let next = self.now + self.config.policy.audit_interval;
        self.session.resync.done(Some(next));
        self.session.mismatches = 0;
        if core::mem::take(&mut self.session.resuming) { NodeNews::AskNow } else { NodeNews::None }
    }

    /// The pass is to begin anew, later.
    pub(crate) fn resync_failed(&mut self) {
        let errand = self.session.resync;
        self.session.resync = self.retry(errand);
    }

    /// The chunk was answered; the next one follows at once.
    pub(crate) const fn resync_goes_on(&mut self) {
        self.session.resync.call = None;
    }

    /// An answer to one of the node's own calls.
    pub(crate) fn node_answer(
        &mut self,
        call: Ask,
        kind: Kind,
        result: Result<StoreReply, StoreFault>,
    ) -> NodeNews {
        let session = &self.session;
        let errand = match kind {
            Kind::Join { .. } => session.join,
            Kind::Beat { .. } => session.beat,
            Kind::Define => session.define,
            Kind::Reap => session.reap,
            Kind::Resync => session.resync,
            Kind::Enter(..) | Kind::Survey(_) | Kind::Leave(_) | Kind::Proved | Kind::Note => {
                return NodeNews::None;
            }
        };
        if errand.call != Some(call) {
            // Made in a former session, or for a former roster: nothing follows from it.
            return NodeNews::None;
        }
        match result {
            Ok(_) => self.session.away = false,
            Err(StoreFault::Away) => self.session.away = true,
            // What was sent to see whether it is back.
            Err(StoreFault::Refused | StoreFault::Unknown) => {}
        }
        match kind {
            Kind::Join { sent } => self.join_answer(sent, &result),
            Kind::Beat { sent, settled, in_flight } => {
                let expected = settled..=settled.saturating_add(in_flight);
                self.beat_answer(sent, &expected, &result);
            }
            Kind::Define => return self.define_answer(result.is_ok()),
            Kind::Reap => self.reap_answer(&result),
            Kind::Resync => return NodeNews::ResyncAnswered(result.map(|_| ())),
            Kind::Enter(..) | Kind::Survey(_) | Kind::Leave(_) | Kind::Proved | Kind::Note => {}
        }
        NodeNews::None
    }

    fn join_answer(&mut self, sent: Time, result: &Result<StoreReply, StoreFault>) {
        match *result {
            Ok(StoreReply::Joined { node, epoch, stand_in, session: _ }) => {
                self.session.stand_in = stand_in;
                self.joined(sent, node, epoch);
            }
            Ok(StoreReply::Taken { node }) => {
                // A former incarnation, or an answer that was lost: succeed it.
                let errand = self.session.join;
                let again = self.session.replaces == Some(node);
                self.session.replaces = Some(node);
                self.session.join = if again { self.retry(errand) } else { Errand::at(self.now) };
            }
            Ok(_) | Err(_) => {
                let errand = self.session.join;
                self.session.join = self.retry(errand);
            }
        }
    }

    fn joined(&mut self, sent: Time, node: NodeId, epoch: u64) {
        let policy = &self.config.policy;
        let session = &mut self.session;
        session.node = Some(node);
        session.believed_until = sent + policy.belief;
        session.epoch = Some(epoch);
        session.mismatches = 0;
        session.join.done(None);
        session.beat = Errand::at(sent + session.beat_interval(policy));
        session.reap = match policy.reap_interval {
            Some(interval) => Errand::at(self.now + interval),
            None => Errand::default(),
        };
        session.resync =
            Errand::at(if session.resume { self.now } else { self.now + policy.audit_interval });
        session.resuming = session.resume;
        session.resume = true;
        self.debts.clear();
        self.session.undefine(self.now);
    }

    fn beat_answer(
        &mut self,
        sent: Time,
        expected: &core::ops::RangeInclusive<u32>,
        result: &Result<StoreReply, StoreFault>,
    ) {
        let Ok(StoreReply::Alive { epoch, leases, .. }) = *result else {
            let errand = self.session.beat;
            self.session.beat = self.retry(errand);
            return;
        };
        let policy = &self.config.policy;
        let next = (sent + self.session.beat_interval(policy)).max(self.now);
        let reap_now = policy.reap_interval.is_none();
        self.session.believed_until = self.session.believed_until.max(sent + policy.belief);
        self.session.beat.done(Some(next));
        if self.session.epoch.replace(epoch) != Some(epoch) {
            self.session.want_resync(self.now);
            self.session.undefine(self.now);
        }
        if expected.contains(&leases) {
            self.session.mismatches = 0;
        } else {
            self.session.mismatches += 1;
            if self.session.mismatches >= MISMATCHES_MAX {
                self.session.mismatches = 0;
                self.session.want_resync(self.now);
            }
        }
        if reap_now && self.session.reap.call.is_none() {
            self.session.reap = Errand::at(self.now);
        }
    }

    fn define_answer(&mut self, ok: bool) -> NodeNews {
        if !ok {
            let errand = self.session.define;
            self.session.define = self.retry(errand);
            return NodeNews::None;
        }
        self.session.define.done(None);
        self.session.defined = true;
        if self.session.can_ask() { NodeNews::AskNow } else { NodeNews::None }
    }

    fn reap_answer(&mut self, result: &Result<StoreReply, StoreFault>) {
        let more = matches!(result, Ok(StoreReply::Reaped { more: true }));
        let next = self.config.policy.reap_interval.map(|interval| self.now + interval);
        self.session.reap.done(if more { Some(self.now) } else { next });
    }

    /// The store says that the session is over: join again, with everything that runs.
    pub(crate) fn session_lost(&mut self) {
        let session = &mut self.session;
        session.replaces = session.node.take();
        session.defined = false;
        session.pass = None;
        session.beat = Errand::default();
        session.define = Errand::default();
        session.reap = Errand::default();
        session.resync = Errand::default();
        session.join = Errand::at(self.now);
        self.debts.clear();
    }

    fn retry(&mut self, errand: Errand) -> Errand {
        let tries = errand.tries.saturating_add(1);
        let delay = if self.session.away {
            AWAY_INTERVAL
        } else {
            self.next_delay(errand.delay, Purpose::NodeJitter, self.last_call().0, tries)
        };
        Errand { at: Some(self.now + delay), call: None, delay: Some(delay), tries }
    }

    /// Sends again the leaves that are due.
    pub(crate) fn pay_due_debts(&mut self) {
        let mut due = Vec::new();
        while let Some(debt) = self.debts.pop_due(self.now) {
            due.push(debt);
        }
        for (key, debt) in due {
            self.send_leave(key, debt.mark, debt.fence);
        }
    }
}

/// How often the node tries whether a store that is away is back. Such tries are answered at once by
/// what stands before the store, and few of them reach it.
const AWAY_INTERVAL: Span = Span::from_ms(250);

/// Beats running whose count may be off before a resync: one may meet an operation between two lines.
const MISMATCHES_MAX: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_at_fault_without_a_session_or_while_one_is_set_up_in_vain() {
        let joined = || Session { node: Some(NodeId(1)), ..Session::new() };
        let tried = Errand { tries: 1, ..Errand::default() };
        assert!(Session::new().is_at_fault());
        assert!(!joined().is_at_fault());
        assert!(Session { resuming: true, ..joined() }.is_at_fault());
        assert!(Session { define: tried, ..joined() }.is_at_fault());
        assert!(Session { resync: tried, ..joined() }.is_at_fault());
    }
}
