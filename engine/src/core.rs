//! What every transition may touch beside its own request: time, roster, session, calls, debts, actions.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::backoff;
use crate::engine::Config;
use crate::ids::{Ask, Attempt, LeaseId, NodeId, RequestId};
use crate::lease::{Claim, Debts, Key};
use crate::node::Session;
use crate::rng::Purpose;
use crate::roster::Roster;
use crate::store::{Mark, StoreOp, Version};
use crate::time::{Span, Time};

/// A store call that has no answer yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Call {
    /// The node it was made as; `None` for one whose answer counts in any session.
    pub(crate) node: Option<NodeId>,
    /// The roster it was made from.
    pub(crate) version: Version,
    pub(crate) kind: Kind,
}

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Join {
        sent: Time,
    },
    Beat {
        sent: Time,
        settled: u32,
        in_flight: u32,
    },
    Define,
    Resync,
    Reap,
    Enter(RequestId, Attempt),
    Survey(RequestId),
    Leave(Key),
    /// A probe's proof: nothing follows from the answer, but for the loss of the session.
    Proved,
    /// A session's binding: nothing follows from the answer.
    Note,
}

/// See the module's documentation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) now: Time,
    pub(crate) roster: Arc<Roster>,
    pub(crate) session: Session,
    pub(crate) debts: Debts,
    pub(crate) calls: BTreeMap<Ask, Call>,
    last_call: Ask,
    pub(crate) actions: VecDeque<Action>,
    /// Requests whose alarm may have changed since the last drain.
    pub(crate) touched: Vec<RequestId>,
}

impl Core {
    pub(crate) fn new(config: Config, roster: Arc<Roster>) -> Self {
        Self {
            config,
            now: Time::ZERO,
            roster,
            session: Session::new(),
            debts: Debts::default(),
            calls: BTreeMap::new(),
            last_call: Ask(0),
            actions: VecDeque::new(),
            touched: Vec::new(),
        }
    }

    /// The number of the newest call.
    pub(crate) const fn last_call(&self) -> Ask {
        self.last_call
    }

    /// Sends an operation that carries its own call number.
    pub(crate) fn call(&mut self, kind: Kind, op: impl FnOnce(&Self, Ask) -> StoreOp) -> Ask {
        self.last_call = Ask(self.last_call.0 + 1);
        let call = self.last_call;
        let op = op(self, call);
        let node = match kind {
            Kind::Join { .. } | Kind::Define | Kind::Reap | Kind::Note => None,
            Kind::Beat { .. }
            | Kind::Resync
            | Kind::Enter(..)
            | Kind::Leave(_)
            | Kind::Survey(_)
            | Kind::Proved => self.session.node(),
        };
        self.calls.insert(call, Call { node, version: self.roster.version, kind });
        self.actions.push_back(Action::Store { call, op });
        call
    }

    /// The lease of a claim under the node's present name.
    pub(crate) const fn lease(&self, node: NodeId, key: Key) -> LeaseId {
        LeaseId { node, request: key.0, attempt: key.1 }
    }

    /// Gives back what a claim has or might have. The mark is for a lease that was forwarded.
    pub(crate) fn release(&mut self, req: RequestId, claim: &Claim, mark: Option<Mark>) {
        if !claim.may_exist() {
            return;
        }
        let key = (req, claim.attempt);
        if self.session.node().is_none() {
            // Between sessions: the resync after joining leaves out what is not held any more.
            return;
        }
        if self.debts.len() >= self.config.policy.debts_max as usize {
            self.debts.clear();
            self.session.want_resync(self.now);
        }
        let fence = claim.unsure() || self.session.is_listing(key);
        self.debts.owe(key, mark, fence);
        self.send_leave(key, mark, fence);
    }

    pub(crate) fn send_leave(&mut self, key: Key, mark: Option<Mark>, fence: bool) {
        let Some(node) = self.session.node() else { return };
        let lease = self.lease(node, key);
        self.call(Kind::Leave(key), |_, _| StoreOp::Leave { lease, mark, fence });
    }

    /// The debt's leave was not acknowledged: again later.
    #[cold]
    pub(crate) fn leave_failed(&mut self, key: Key) {
        let Some(debt) = self.debts.get(key) else { return };
        let id = key.0.0.wrapping_mul(1 << 16).wrapping_add(u64::from(key.1.0));
        let delay = self.next_delay(debt.delay, Purpose::NodeJitter, id, debt.tries);
        self.debts.postpone(key, self.now + delay, delay);
    }

    /// The next back-off delay of something.
    pub(crate) fn next_delay(
        &self,
        previous: Option<Span>,
        purpose: Purpose,
        id: u64,
        n: u32,
    ) -> Span {
        let mut rng = self.config.seed.stream(purpose, id, u64::from(n));
        let policy = &self.config.policy;
        backoff::next(previous, policy.backoff, policy.backoff_max, &mut rng)
    }
}
