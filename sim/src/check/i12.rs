//! I12: a session is served by its home unless its trail says why not; bindings and requests never
//! cross groups; a session is bound to what one of its requests holds.

use std::collections::BTreeMap;

use sluice_engine::store::SessionChange;
use sluice_engine::trail::{Decision, Trail};
use sluice_engine::{AccountId, Attempt, GateId, RequestId, SessionKey, StoreOp, StoreReply, Time};

use super::{Books, Checker};
use crate::history::{Record, What};

/// When a home was told, and which.
type Seen = (Time, Option<AccountId>);

/// Judges I12.
#[derive(Debug, Default)]
pub(super) struct HomeOrWhy {
    /// Homes that a node was told for a session, and when.
    homes: BTreeMap<(usize, SessionKey), Vec<Seen>>,
    /// What a request was told to hold last.
    held: BTreeMap<RequestId, AccountId>,
    /// Attempts elsewhere than at the home.
    away: BTreeMap<RequestId, Vec<(Attempt, AccountId)>>,
    /// Each node's roster.
    rosters: BTreeMap<usize, usize>,
}

impl Checker for HomeOrWhy {
    fn id(&self) -> &'static str {
        "I12"
    }

    fn see(&mut self, books: &Books<'_>, record: &Record) -> Result<(), String> {
        if let What::Launched { node, roster } = record.what {
            self.rosters.insert(node, roster);
        }
        if let What::Reloaded { node, roster } = record.what {
            let known = self.rosters.entry(node).or_insert(roster);
            *known = (*known).max(roster);
        }
        if let What::Told { node, call, result: Ok(reply) } = &record.what
            && let Some(op) = books.calls.get(&(*node, *call))
        {
            self.told(*node, op, reply, record.at);
        }
        if let What::Sent { op, .. } = &record.what
            && let StoreOp::Session { key, change: SessionChange::Bind(account, _), .. } = **op
        {
            return self.bound(books, key, account);
        }
        if let What::Opened { node, req, attempt, account } = record.what {
            return self.opened(books, node, req, attempt, account);
        }
        if let What::Finished { req, trail, .. } = &record.what {
            self.held.remove(req);
            return self.finished(*req, trail);
        }
        Ok(())
    }
}

impl HomeOrWhy {
    fn told(&mut self, node: usize, op: &StoreOp, reply: &StoreReply, at: Time) {
        if let (StoreOp::Survey { session: Some(key), .. }, StoreReply::Surveyed(surveyed)) =
            (op, reply)
        {
            let home = surveyed.home.map(|home| home.account);
            self.homes.entry((node, *key)).or_default().push((at, home));
        }
        if let (StoreOp::Enter(enter), StoreReply::Held { gate: GateId::Account(account), .. }) =
            (op, reply)
        {
            self.held.insert(enter.lease.request, *account);
        }
    }

    fn bound(&self, books: &Books<'_>, key: SessionKey, account: AccountId) -> Result<(), String> {
        let holds = |req: &RequestId| {
            books.scenario.arrival(*req).is_some_and(|a| a.spec.session == Some(key))
        };
        if !self.held.iter().any(|(req, &held)| held == account && holds(req)) {
            return Err(format!("session {key} is bound to {account}, which none of it holds"));
        }
        let of_key = books.scenario.arrivals.iter().find(|a| a.spec.session == Some(key));
        let group = of_key.map(|a| a.spec.group);
        let serves = books.scenario.rosters.iter().any(|roster| {
            let mut pools = roster.pools.iter().filter(|(k, _)| Some(k.group) == group);
            pools.any(|(_, pool)| pool.members.contains(&account))
        });
        if serves {
            Ok(())
        } else {
            Err(format!("session {key} is bound to {account} of another group"))
        }
    }

    fn opened(
        &mut self,
        books: &Books<'_>,
        node: usize,
        req: RequestId,
        attempt: Attempt,
        account: AccountId,
    ) -> Result<(), String> {
        let Some(spec) = books.scenario.arrival(req).map(|a| &a.spec) else { return Ok(()) };
        let roster = self.rosters.get(&node).and_then(|&r| books.scenario.rosters.get(r));
        let offers = roster.is_some_and(|roster| {
            let pool = roster.pool(spec.group, spec.platform, spec.model);
            pool.is_some_and(|p| p.members.contains(&account))
        });
        if !offers {
            return Err(format!("{req}.{attempt} goes to {account}, which does not serve it"));
        }
        let Some(key) = spec.session else { return Ok(()) };
        let Some(request) = books.requests.get(&req) else { return Ok(()) };
        let Some(homes) = self.homes.get(&(node, key)) else { return Ok(()) };
        let mut since = homes.iter().filter(|(at, _)| *at >= request.arrived).map(|(_, home)| home);
        let Some(&Some(home)) = since.next() else { return Ok(()) };
        if home != account && since.all(|&other| other == Some(home)) {
            self.away.entry(req).or_default().push((attempt, home));
        }
        Ok(())
    }

    /// Attempts away from home must be explained before they were made.
    fn finished(&mut self, req: RequestId, trail: &Trail) -> Result<(), String> {
        let Some(away) = self.away.remove(&req) else { return Ok(()) };
        if trail.dropped > 0 {
            return Ok(());
        }
        for (attempt, home) in away {
            let steps = trail.steps.iter().map(|s| s.what);
            let mut before = steps.take_while(
                |what| !matches!(what, Decision::Forwarded { attempt: a, .. } if *a == attempt),
            );
            let explained =
                |what| matches!(what, Decision::HomePassed { home: h, .. } if h == home);
            if !before.any(explained) {
                return Err(format!("{req}.{attempt} is not served by its home {home}: why?"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testkit::{Kit, session};
    use sluice_engine::Verdict;
    use sluice_engine::store::{Home, HomeState, Surveyed};
    use sluice_engine::trail::Passed;

    fn at_home_1() -> Kit {
        let mut kit = Kit::new();
        kit.launch().arrive(1, 1).survey(1);
        let home = Home { account: AccountId(1), state: HomeState::Full, line: 0 };
        kit.tell(
            1,
            StoreReply::Surveyed(Box::new(Surveyed { home: Some(home), ..Surveyed::default() })),
        );
        kit
    }

    #[test]
    fn served_at_home_or_with_a_reason_is_accepted() {
        let mut kit = at_home_1();
        kit.open(1, 1, 1).finish(1, Verdict::Abandoned);
        assert_eq!(kit.judge(HomeOrWhy::default()), None);
        let mut kit = at_home_1();
        let why = Decision::HomePassed { home: AccountId(1), why: Passed::Patience };
        kit.open(1, 1, 2).finish_with(1, Verdict::Abandoned, &[why]);
        assert_eq!(kit.judge(HomeOrWhy::default()), None);
    }

    #[test]
    fn served_elsewhere_without_a_reason_is_rejected() {
        let mut kit = at_home_1();
        kit.open(1, 1, 2).finish(1, Verdict::Abandoned);
        assert!(kit.judge(HomeOrWhy::default()).is_some());
    }

    #[test]
    fn an_account_outside_the_pool_is_rejected() {
        let mut kit = Kit::new();
        kit.launch().arrive(1, 1).open(1, 1, 9);
        assert!(kit.judge(HomeOrWhy::default()).is_some());
    }

    #[test]
    fn binding_to_what_nobody_holds_is_rejected() {
        let mut kit = Kit::new();
        let change = SessionChange::Bind(AccountId(1), sluice_engine::Span::from_secs(1));
        kit.arrive(1, 1).send(3, StoreOp::Session { key: session(), change, if_home: None });
        assert!(kit.judge(HomeOrWhy::default()).is_some());
    }
}
