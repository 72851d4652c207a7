//! What a gateway keeps is bounded, and the bound is no tighter than it says.

use std::collections::BTreeMap;

use sluice_engine::{RequestId, Span, Time};

use super::calm::{talkers, touched};
use crate::check::{Books, Checker};
use crate::history::{Record, What};
use crate::world::seen::Seen;
use crate::world::setup::{DRAIN_MAX, LONG_BODIES_MAX};

/// No more connections are kept for an account than allowed.
#[derive(Debug, Default)]
pub(super) struct KeepsFew;

impl Checker for KeepsFew {
    fn id(&self) -> &'static str {
        "kept"
    }

    fn see(&mut self, books: &Books<'_>, record: &Record) -> Result<(), String> {
        let What::Seen(Seen::Opened { account, node, idle, .. }) = record.what else {
            return Ok(());
        };
        let Some(network) = &books.scenario.network else { return Ok(()) };
        let most = network.extras.idle_connections.unwrap_or(usize::MAX);
        // Where links are slow an answer may be under way long after its upstream has said it.
        let busy = touched(books.scenario, node, record.at, talkers);
        if idle > most && !busy {
            return Err(format!("node {node} keeps {idle} connections to {account}, not {most}"));
        }
        Ok(())
    }
}

/// Nobody is refused for want of memory while few are there.
#[derive(Debug, Default)]
pub(super) struct HasRoom {
    /// When each request was there, as far as anybody outside knows.
    there: BTreeMap<RequestId, (usize, Option<Time>)>,
}

/// A request may be in memory for so long after its client has all, or has gone.
const AFTERWARDS: Span = Span(DRAIN_MAX.0 + 3_000_000);
/// How such a refusal begins.
const NO_ROOM: &str = "Too many requests in the gateway";

impl Checker for HasRoom {
    fn id(&self) -> &'static str {
        "memory"
    }

    fn see(&mut self, books: &Books<'_>, record: &Record) -> Result<(), String> {
        let at = record.at;
        if let What::Seen(Seen::Asked { req, node }) = record.what {
            self.there.insert(req, (node, None));
        }
        let What::Seen(Seen::Answered { req, refusal, .. }) = &record.what else { return Ok(()) };
        let Some(&(node, _)) = self.there.get(req) else { return Ok(()) };
        self.there.insert(*req, (node, Some(at)));
        let refused = refusal.as_ref().is_some_and(|refusal| refusal.message.starts_with(NO_ROOM));
        let long = books.scenario.network.as_ref().is_some_and(|n| n.extras.long_bodies);
        let by_memory =
            long && books.scenario.arrivals.len() < books.scenario.policy.requests_max as usize;
        let near = |&&(of, until): &&(usize, Option<Time>)| {
            of == node && until.is_none_or(|until| at.since(until) < AFTERWARDS)
        };
        let count = self.there.values().filter(near).count();
        if refused && by_memory && count <= LONG_BODIES_MAX {
            return Err(format!("node {node} has no room for {req}, of {count} that are there"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sluice_engine::AccountId;

    use super::*;
    use crate::scenario::Scenario;
    use crate::world::judge::kit::{accepts, calm};
    use crate::world::seen::{ClientEnd, Refusal};

    fn with(change: impl FnOnce(&mut crate::scenario::Extras)) -> Scenario {
        let mut scenario = calm();
        change(&mut scenario.network.as_mut().expect("one").extras);
        scenario
    }

    #[test]
    fn connections_beyond_the_bound_are_found() {
        let opened = |idle| {
            vec![What::Seen(Seen::Opened {
                req: RequestId(1),
                attempt: 1,
                account: AccountId(1),
                node: 0,
                near: ([10, 0, 0, 1], 1).into(),
                kept: false,
                open: Vec::new(),
                idle,
            })]
        };
        let scenario = with(|extras| extras.idle_connections = Some(1));
        assert!(accepts(KeepsFew, &scenario, opened(1)));
        assert!(!accepts(KeepsFew, &scenario, opened(2)));
        assert!(accepts(KeepsFew, &calm(), opened(2)), "there is no bound");
    }

    #[test]
    fn who_is_refused_is_one_of_many() {
        let scenario = with(|extras| extras.long_bodies = true);
        let refusal = Refusal {
            kind: "overloaded_error".to_owned(),
            message: NO_ROOM.to_owned(),
            retry_after: Some(2),
        };
        let end = ClientEnd::Whole { status: 503, stream: None };
        let beside = |many: u64| {
            let asked = |n| What::Seen(Seen::Asked { req: RequestId(n), node: 0 });
            let (req, refusal) = (RequestId(1), Some(refusal.clone()));
            let told = Seen::Answered { req, end: end.clone(), refusal, bytes: (0, 0) };
            (1..=many).map(asked).chain([What::Seen(told)]).collect::<Vec<_>>()
        };
        assert!(!accepts(HasRoom::default(), &scenario, beside(6)));
        assert!(accepts(HasRoom::default(), &scenario, beside(7)));
        assert!(accepts(HasRoom::default(), &calm(), beside(1)), "it may be the engine's bound");
    }
}
