//! I15: the error class names the fault's owner: client, policy, upstream, store; never a full line or
//! a timeout for a store fault or a cancel. A verdict must match what really happened.

use std::collections::BTreeMap;

use sluice_engine::{
    Ask, Attempt, RequestId, Span, StoreFault, StoreOp, StoreReply, Time, Verdict, store::Limit,
};

use super::books::Request;
use super::{Books, Checker};
use crate::history::{Record, What};
use crate::scenario::{Arrival, FaultKind};

/// How long a store's trouble may show in verdicts after it ended.
const ECHO: Span = Span::from_secs(12);

/// Within this time and the longest back-off delay a request that waits has been answered, or told that
/// it is not: longer than any time-out.
const ANSWER: Span = Span::from_ms(700);

/// What the asks of one request were told.
#[derive(Debug, Default)]
struct Told {
    newest: BTreeMap<Attempt, Ask>,
    /// The newest answer, by lease, and the one before: when, and `true` for a certain one.
    last: BTreeMap<Attempt, [(Time, bool); 2]>,
    waiting: [bool; 2],
    full: [bool; 2],
    shut: bool,
    /// When an ask first had no certain answer, since it was last told to wait.
    fault: Option<Time>,
}

impl Told {
    /// Whether a line or an account has had it wait.
    fn held_up(&self) -> bool {
        self.shut || self.waiting.contains(&true) || self.full.contains(&true)
    }
}

/// Judges I15.
#[derive(Debug, Default)]
pub(super) struct Owners {
    told: BTreeMap<RequestId, Told>,
    /// Per node: when the store last gave it trouble.
    trouble: BTreeMap<usize, Time>,
    /// Per node: when the store last answered it.
    answered: BTreeMap<usize, Time>,
    /// Per node: when it last stood still.
    thawed: BTreeMap<usize, Time>,
    /// Per node: when it last lost its session.
    lost: BTreeMap<usize, Time>,
    /// Per node: when a survey last found nothing open.
    all_shut: BTreeMap<usize, Time>,
    /// The highest roster that reached anybody.
    roster: usize,
    away: bool,
}

impl Checker for Owners {
    fn id(&self) -> &'static str {
        "I15"
    }

    fn see(&mut self, books: &Books<'_>, record: &Record) -> Result<(), String> {
        let at = record.at;
        if let What::StoreAway(away) = record.what {
            self.away = away;
        }
        if let What::Reloaded { roster, .. } = record.what {
            self.roster = self.roster.max(roster);
        }
        if let What::Launched { node, .. } | What::Froze { node } | What::Thawed { node } =
            record.what
        {
            self.trouble.insert(node, at);
        }
        if let What::Thawed { node } = record.what {
            self.thawed.insert(node, at);
        }
        if let What::Sent { op, .. } = &record.what
            && let StoreOp::Enter(enter) = &**op
        {
            let told = self.told.entry(enter.lease.request).or_default();
            told.newest.insert(enter.lease.attempt, enter.ask);
        }
        if let What::Told { node, call, result } = &record.what {
            self.hear(books, *node, *call, result, at);
        }
        if let What::Finished { node, req, verdict, .. } = &record.what {
            let (Some(request), Some(arrival)) =
                (books.requests.get(req), books.scenario.arrival(*req))
            else {
                return Ok(());
            };
            let case = Case { books, request, arrival, node: *node, at };
            let fair = self.fair(&case, verdict);
            return fair.map_err(|why| format!("{req} ends with {verdict:?}: {why}"));
        }
        Ok(())
    }
}

/// A finish to be judged.
struct Case<'a, 'b> {
    books: &'a Books<'b>,
    request: &'a Request,
    arrival: &'a Arrival,
    node: usize,
    at: Time,
}

impl Owners {
    fn hear(
        &mut self,
        books: &Books<'_>,
        node: usize,
        call: Ask,
        result: &Result<StoreReply, StoreFault>,
        at: Time,
    ) {
        if matches!(result, Err(_) | Ok(StoreReply::Lost | StoreReply::Left)) {
            self.trouble.insert(node, at);
        } else {
            self.answered.insert(node, at);
        }
        if matches!(result, Ok(StoreReply::Lost)) {
            self.lost.insert(node, at);
        }
        if let Ok(StoreReply::Surveyed(surveyed)) = result
            && surveyed.open == 0
        {
            self.all_shut.insert(node, at);
        }
        let Some(op) = books.calls.get(&(node, call)) else { return };
        let StoreOp::Enter(enter) = &**op else { return };
        let told = self.told.entry(enter.lease.request).or_default();
        if told.newest.get(&enter.lease.attempt) != Some(&enter.ask) {
            return;
        }
        let last = told.last.entry(enter.lease.attempt).or_insert([(Time::ZERO, false); 2]);
        *last = [(at, result.is_ok()), last[0]];
        let account = usize::from(enter.lease.attempt.0 > 0);
        if result.is_err() {
            told.fault.get_or_insert(at);
        }
        if let Ok(reply) = result {
            told.waiting[account] |= matches!(reply, StoreReply::Waiting { .. });
            told.full[account] |= matches!(reply, StoreReply::Full);
            told.shut |= account == 1 && matches!(reply, StoreReply::Shut { .. });
            if matches!(
                reply,
                StoreReply::Waiting { .. } | StoreReply::Full | StoreReply::Shut { .. }
            ) {
                told.fault = None;
            }
        }
    }

    fn fair(&self, case: &Case<'_, '_>, verdict: &Verdict) -> Result<(), &'static str> {
        let none = Told::default();
        let told = self.told.get(&case.arrival.id).unwrap_or(&none);
        let request = case.request;
        let lately = |of: &BTreeMap<usize, Time>, since: Time| {
            of.get(&case.node).is_some_and(|&at| at >= since)
        };
        let must = |ok: bool, why: &'static str| if ok { Ok(()) } else { Err(why) };
        let certain = |user: bool| {
            let mut of = told.last.iter().filter(|(a, _)| (a.0 == 0) == user);
            // A deadline beats an answer that comes at the same moment.
            of.next_back().is_some_and(|(_, [last, before])| {
                if last.0 == case.at && before.0 > Time::ZERO { before.1 } else { last.1 }
            })
        };
        // A deadline beats an answer that comes at the same moment.
        let fault = told.fault.is_some_and(|fault| fault < case.at);
        let late = case
            .books
            .scenario
            .faults
            .iter()
            .any(|f| matches!(f.kind, FaultKind::Ticks { node, .. } if node == case.node));
        let stood_still = !fault && (late || lately(&self.thawed, request.arrived));
        match *verdict {
            Verdict::Upstream { account, attempt, outcome } => must(
                request.tries.last().is_some_and(|t| {
                    t.attempt == attempt && t.account == account && t.closed == Some(Some(outcome))
                }),
                "its last attempt did not end so",
            ),
            Verdict::Intercepted { account } => {
                let flags = |r: &sluice_engine::Roster| {
                    r.accounts.get(&account).is_some_and(|a| a.intercept_warmup)
                };
                let known = self.known(case.books).any(flags);
                must(case.arrival.spec.warmup && known, "nobody intercepts it")
            }
            Verdict::UserLineFull => must(told.full[0], "its user's line was never full"),
            Verdict::UserWaitTimeout => {
                let told = told.waiting[0] && certain(true);
                must(told || stood_still, "it was not told to wait for its user")
            }
            Verdict::UserClosed => {
                let user = case.arrival.spec.user;
                let closed = |r: &sluice_engine::Roster| {
                    r.users.get(&user).is_none_or(|u| u.limit == Limit::Closed)
                };
                must(self.known(case.books).any(closed), "its user is open")
            }
            Verdict::BillingDenied(denial) => {
                must(case.arrival.denial == Some(denial), "billing did not refuse so")
            }
            Verdict::NoAccounts => must(self.no_accounts(case), "there are accounts for it"),
            Verdict::AllShut { .. } => must(
                told.shut || lately(&self.all_shut, request.arrived),
                "it was never told that all is shut",
            ),
            Verdict::AccountLineFull => must(told.full[1], "no account's line was full"),
            // The account's share of all waiting may be used up before its first answer: by waiting
            // for the user, or by accounts that were full or shut; but not by a store that is silent.
            Verdict::AccountWaitTimeout => must(
                if told.waiting[1] {
                    certain(false)
                } else {
                    let before = told.held_up();
                    let silent = case.books.scenario.policy.backoff_max + ANSWER;
                    before && !fault && lately(&self.answered, case.at - silent)
                } || stood_still,
                "it was not told to wait for an account",
            ),
            Verdict::StoreUnavailable => {
                let since = request.arrived - ECHO;
                let policy = &case.books.scenario.policy;
                let shortest = policy.user_patience.min(policy.fallback_patience);
                let waits_end = request.arrived + shortest.min(policy.wait_total_max);
                let silent = !told.held_up() && case.at >= waits_end;
                must(self.away || lately(&self.trouble, since) || silent, "the store was well")
            }
            Verdict::Overloaded => {
                let live = |r: &&Request| r.node == case.node && r.live();
                let live = case.books.requests.values().filter(live).count();
                must(live > case.books.scenario.policy.requests_max as usize, "there was room")
            }
            Verdict::SessionLost => {
                must(lately(&self.lost, request.arrived), "its node lost no session")
            }
            Verdict::Abandoned => must(request.abandoned.is_some(), "its client is there"),
        }
    }

    /// The rosters that any node may decide by.
    fn known<'a>(&self, books: &Books<'a>) -> impl Iterator<Item = &'a sluice_engine::Roster> {
        books.scenario.rosters.iter().take(self.roster + 1)
    }

    fn no_accounts(&self, case: &Case<'_, '_>) -> bool {
        let spec = &case.arrival.spec;
        self.known(case.books).any(|roster| {
            roster.pool(spec.group, spec.platform, spec.model).is_none_or(|pool| {
                !pool.members.iter().any(|account| roster.accounts.contains_key(account))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testkit::Kit;
    use sluice_engine::{AccountId, Outcome, Tag};

    fn waiting() -> StoreReply {
        StoreReply::Waiting { position: 1, tag: Tag(1), opens_in: None }
    }

    #[test]
    fn a_timeout_after_waiting_is_accepted() {
        let mut kit = Kit::new();
        kit.arrive(1, 1).ask(1, 0, 1, 1, None).tell(1, waiting()).wait(30_000);
        kit.finish(1, Verdict::UserWaitTimeout);
        assert_eq!(kit.judge(Owners::default()), None);
    }

    #[test]
    fn a_timeout_without_an_answer_or_after_a_fault_is_rejected() {
        let mut kit = Kit::new();
        kit.arrive(1, 1).ask(1, 0, 1, 1, None).wait(30_000).finish(1, Verdict::UserWaitTimeout);
        assert!(kit.judge(Owners::default()).is_some());
        let mut kit = Kit::new();
        kit.arrive(1, 1).ask(1, 0, 1, 1, None).tell(1, waiting());
        kit.ask(1, 0, 1, 2, Some(Tag(1))).tell_fault(2, StoreFault::Unknown);
        kit.finish(1, Verdict::UserWaitTimeout);
        assert!(kit.judge(Owners::default()).is_some());
    }

    #[test]
    fn accounts_that_were_full_excuse_a_timeout_unless_the_store_is_silent() {
        let ended_after_silence_of = |ms| {
            let mut kit = Kit::new();
            kit.arrive(1, 1).wait(20_000).ask(1, 1, 1, 1, None).tell(1, StoreReply::Full);
            kit.wait(ms).finish(1, Verdict::AccountWaitTimeout).judge(Owners::default())
        };
        assert_eq!(ended_after_silence_of(2_700), None);
        assert!(ended_after_silence_of(2_701).is_some());
    }

    #[test]
    fn blaming_the_store_needs_a_store_fault() {
        let mut kit = Kit::new();
        kit.wait(60_000).arrive(1, 1).finish(1, Verdict::StoreUnavailable);
        assert!(kit.judge(Owners::default()).is_some());
        let mut kit = Kit::new();
        kit.wait(60_000).arrive(1, 1).ask(1, 0, 1, 1, None).tell_fault(1, StoreFault::Refused);
        kit.finish(1, Verdict::StoreUnavailable);
        assert_eq!(kit.judge(Owners::default()), None);
    }

    #[test]
    fn a_store_that_said_nothing_until_the_end_of_the_wait_is_at_fault() {
        let ended_after = |ms, reply: Option<StoreReply>| {
            let mut kit = Kit::new();
            kit.wait(60_000).arrive(1, 1).ask(1, 1, 1, 1, None);
            if let Some(reply) = reply {
                kit.tell(1, reply);
            }
            kit.wait(ms).finish(1, Verdict::StoreUnavailable).judge(Owners::default())
        };
        assert_eq!(ended_after(30_000, None), None);
        assert!(ended_after(29_999, None).is_some());
        assert!(ended_after(30_000, Some(waiting())).is_some());
    }

    #[test]
    fn an_upstream_verdict_must_be_what_the_upstream_said() {
        let said = Verdict::Upstream {
            account: AccountId(1),
            attempt: Attempt(1),
            outcome: Outcome::Unreachable,
        };
        let mut kit = Kit::new();
        kit.arrive(1, 1).open(1, 1, 1).close_as(1, 1, Outcome::Unreachable).finish(1, said);
        assert_eq!(kit.judge(Owners::default()), None);
        let mut kit = Kit::new();
        kit.arrive(1, 1).open(1, 1, 1).close_as(1, 1, Outcome::Completed).finish(1, said);
        assert!(kit.judge(Owners::default()).is_some());
    }

    #[test]
    fn full_lines_closed_users_and_gone_clients_must_be_real() {
        for verdict in [
            Verdict::UserLineFull,
            Verdict::AccountLineFull,
            Verdict::AccountWaitTimeout,
            Verdict::UserClosed,
            Verdict::NoAccounts,
            Verdict::AllShut { opens_in: None },
            Verdict::Overloaded,
            Verdict::SessionLost,
            Verdict::Abandoned,
            Verdict::Intercepted { account: AccountId(1) },
        ] {
            let mut kit = Kit::new();
            kit.arrive(1, 1).finish(1, verdict);
            assert!(kit.judge(Owners::default()).is_some(), "{verdict:?}");
        }
    }
}
