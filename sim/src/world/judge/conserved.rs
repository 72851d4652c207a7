//! A node has no more requests than clients (I7): a request whose client has left leaves, too.
#![expect(clippy::wildcard_enum_match_arm, reason = "of all that happens a judge sees little")]

use std::collections::{BTreeMap, BTreeSet};

use sluice_engine::store::Want;
use sluice_engine::{Attempt, RequestId, Span, StoreFault, StoreOp, StoreReply, Time, UserId};

use super::calm::{clients, touched};
use crate::check::{Books, Checker};
use crate::history::{Record, What};
use crate::world::seen::Seen;
use crate::world::setup::{DRAIN_MAX, user_of};

/// See the module's documentation. They are counted, by the users that they are of.
#[derive(Debug, Default)]
pub(super) struct NoMoreThanClients {
    /// Clients of a node, and since when each needs nothing any more.
    clients: BTreeMap<RequestId, (usize, Option<Time>)>,
    /// Requests, by the store's names, that have asked for their user's slot and not left it.
    live: BTreeMap<(usize, UserId), BTreeSet<RequestId>>,
}

/// From a client's end to that of its request: on its way, and with what may come after an answer.
const AFTERWARDS: Span = Span::from_ms(3_000);

impl Checker for NoMoreThanClients {
    fn id(&self) -> &'static str {
        "I7"
    }

    fn see(&mut self, books: &Books<'_>, record: &Record) -> Result<(), String> {
        let at = record.at;
        match &record.what {
            What::Seen(Seen::Asked { req, node }) => {
                self.clients.insert(*req, (*node, None));
            }
            What::Seen(Seen::Answered { req, .. }) => {
                if let Some((_, ended)) = self.clients.get_mut(req) {
                    *ended = Some(at);
                }
            }
            What::Crashed { node } => self.live.retain(|(of, _), _| of != node),
            What::Told {
                node, result: Ok(StoreReply::Lost | StoreReply::Joined { .. }), ..
            } => {
                // What it had is named anew as it asks again.
                self.live.retain(|(of, _), _| of != node);
            }
            What::Told {
                node,
                call,
                result: Ok(StoreReply::Full | StoreReply::Shut { .. }) | Err(StoreFault::Refused),
            } => {
                // As far as this goes it has nothing that would have to be left.
                if let Some(StoreOp::Enter(enter)) =
                    books.calls.get(&(*node, *call)).map(|op| &**op)
                    && enter.lease.attempt == Attempt(0)
                {
                    self.left(enter.lease.request);
                }
            }
            What::Sent { node, op, .. } => return self.sent(books, *node, op, at),
            _ => {}
        }
        Ok(())
    }
}

impl NoMoreThanClients {
    fn sent(
        &mut self,
        books: &Books<'_>,
        node: usize,
        op: &StoreOp,
        at: Time,
    ) -> Result<(), String> {
        match op {
            StoreOp::Enter(enter) => {
                let Want::User { user, .. } = enter.want else { return Ok(()) };
                let live = self.live.entry((node, user)).or_default();
                live.insert(enter.lease.request);
                let count = live.len();
                let most = self.clients_of(books, node, user, at);
                if count > most && !touched(books.scenario, node, at, clients) {
                    return Err(format!(
                        "node {node} has {count} requests of {user}, for {most} clients"
                    ));
                }
            }
            StoreOp::Leave { lease, .. } if lease.attempt == Attempt(0) => {
                self.left(lease.request);
            }
            _ => {}
        }
        Ok(())
    }

    fn left(&mut self, req: RequestId) {
        for live in self.live.values_mut() {
            live.remove(&req);
        }
    }

    fn clients_of(&self, books: &Books<'_>, node: usize, user: UserId, at: Time) -> usize {
        let drains = books.scenario.network.as_ref().is_some_and(|network| network.drain);
        let lasts = AFTERWARDS + if drains { DRAIN_MAX } else { Span::ZERO };
        let counts = |(req, (of, ended)): (&RequestId, &(usize, Option<Time>))| {
            let own = books.scenario.arrival(*req).map(|arrival| user_of(arrival.spec.user));
            *of == node && own == Some(user) && ended.is_none_or(|ended| at.since(ended) < lasts)
        };
        self.clients.iter().filter(|&one| counts(one)).count()
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use sluice_engine::store::{Enter, Limit, Version};
    use sluice_engine::{Ask, LeaseId, NodeId};

    use super::*;
    use crate::scenario::Scenario;
    use crate::world::judge::kit::{accepts_at, calm};
    use crate::world::seen::ClientEnd;

    fn lease(n: u64) -> LeaseId {
        LeaseId { node: NodeId(1), request: RequestId(n), attempt: Attempt(0) }
    }

    fn enters(scenario: &Scenario, n: u64) -> What {
        let want = Want::User {
            user: user_of(scenario.arrivals[0].spec.user),
            limit: Limit::Unlimited,
            version: Version { stamp: 1, digest: 1 },
            line_max: 1,
        };
        let (tag, patience, ttl) = (None, None, None);
        let enter = Enter { lease: lease(n), ask: Ask(n), want, tag, patience, ttl };
        What::Sent { node: 0, call: Ask(n), op: Rc::new(StoreOp::Enter(enter)) }
    }

    fn leaves(n: u64) -> What {
        let op = StoreOp::Leave { lease: lease(n), mark: None, fence: false };
        What::Sent { node: 0, call: Ask(100 + n), op: Rc::new(op) }
    }

    #[test]
    fn requests_without_clients_are_found() {
        let scenario = calm();
        let req = scenario.arrivals[0].id;
        let asked = || What::Seen(Seen::Asked { req, node: 0 });
        let left = || {
            let (end, refusal, bytes) = (ClientEnd::Left, None, (0, 0));
            What::Seen(Seen::Answered { req, end, refusal, bytes })
        };
        let enters = |n| enters(&scenario, n);
        let judged = |records: Vec<(u64, What)>| {
            let in_us = records.into_iter().map(|(ms, what)| (1_000 * ms, what));
            accepts_at(NoMoreThanClients::default(), &scenario, in_us.collect())
        };
        assert!(judged(vec![(0, asked()), (1, enters(1)), (9_000, enters(1))]));
        assert!(!judged(vec![(0, asked()), (1, enters(1)), (2, enters(2))]));
        assert!(judged(vec![(0, asked()), (1, enters(1)), (2, leaves(1)), (3, enters(2))]));
        assert!(judged(vec![(0, asked()), (1, left()), (2_000, enters(1))]), "not yet noticed");
        assert!(!judged(vec![(0, asked()), (1, left()), (4_000, enters(1))]));
    }
}
