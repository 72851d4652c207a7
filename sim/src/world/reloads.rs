//! Whether gateways go by the configuration that they were given: judged by what upstreams and clients
//! see of credentials and keys, of accounts that are offered or not, and by the limits that the store
//! keeps.

use std::collections::{BTreeMap, BTreeSet};

use sluice_engine::ledger::history::Fact;
use sluice_engine::store::Limit;
use sluice_engine::{AccountId, GateId, RequestId, RequestSpec, Roster, Time};

use super::seen::{ClientEnd, Refusal, Seen};
use super::setup::account_of;
use crate::check::{Books, Checker};
use crate::history::{Record, What};
use crate::scenario::{FaultKind, Scenario, generation};

/// The status of a request whose key nobody knows.
const UNKNOWN_KEY: u16 = 401;

/// What a client is told if no account can serve it.
const NO_ACCOUNTS: &str = "No available accounts";

/// An account is asked with the credential, and a user served by the key, of a configuration that was
/// in force at the node at some time since the request was sent to it.
///
/// Who is asked, and how many may be at once, the store decides for all nodes, by the newest
/// configuration that any of them has told it, and before a node asks for anything it has told its
/// own. So there every configuration counts that some node was given, and that is no older.
#[derive(Debug, Default)]
pub(super) struct InForce {
    /// Each node's rosters, and from when on.
    rosters: BTreeMap<usize, Vec<(Time, usize)>>,
    asked: BTreeMap<RequestId, (usize, Time)>,
    /// Requests that an upstream has seen.
    opened: BTreeSet<RequestId>,
    /// Accounts that were ever closed for their health.
    closed: BTreeSet<AccountId>,
}

impl Checker for InForce {
    fn id(&self) -> &'static str {
        "reload"
    }

    fn see(&mut self, books: &Books<'_>, record: &Record) -> Result<(), String> {
        if let What::Launched { node, roster } | What::Reloaded { node, roster } = record.what {
            let known = self.rosters.entry(node).or_default();
            let before = known.last().map_or(0, |&(_, roster)| roster);
            known.push((record.at, roster.max(before)));
        }
        if let What::Seen(Seen::Asked { req, node }) = record.what {
            self.asked.insert(req, (node, record.at));
        }
        if let What::Seen(Seen::Presented { req, account, credential }) = record.what {
            return self.presented(books.scenario, req, account, credential);
        }
        if let What::Seen(Seen::Opened { req, account, .. }) = record.what {
            self.opened.insert(req);
            return self.opened(books, req, account);
        }
        if let What::Fact(entry) = &record.what
            && let Fact::Closed { account, .. } = entry.fact
        {
            self.closed.insert(account);
        }
        if let What::Seen(Seen::Answered {
            req,
            end: ClientEnd::Whole { status, .. },
            refusal,
            ..
        }) = &record.what
        {
            self.refused(books, *req, refusal.as_ref())?;
            return self.answered(books.scenario, *req, *status);
        }
        Ok(())
    }
}

impl InForce {
    /// The rosters that the request's node has gone by since the request was sent to it.
    fn in_force(&self, req: RequestId) -> &[(Time, usize)] {
        let Some((node, since)) = self.asked.get(&req) else { return &[] };
        let all = self.rosters.get(node).map_or(&[][..], Vec::as_slice);
        let later = all.partition_point(|(from, _)| from <= since);
        &all[later.saturating_sub(1)..]
    }

    /// The rosters by which the store may have decided what becomes of the request.
    fn decisive<'a>(
        &self,
        scenario: &'a Scenario,
        req: RequestId,
    ) -> impl Iterator<Item = &'a Roster> + use<'a> {
        let first = self.in_force(req).first().map_or(0, |&(_, roster)| roster);
        let given = self.rosters.values().filter_map(|known| known.last());
        let newest = given.map(|&(_, roster)| roster).max().unwrap_or(first);
        scenario.rosters[first..=newest].iter()
    }

    /// Whether the store has lost all it knew since the request was sent: until its node hears of that
    /// an older roster may be told first, or none be known.
    fn forgotten(&self, books: &Books<'_>, req: RequestId) -> bool {
        let since = self.asked.get(&req).map(|&(_, at)| at);
        books.forgot.is_some() && books.forgot >= since
    }

    fn opened(&self, books: &Books<'_>, req: RequestId, account: AccountId) -> Result<(), String> {
        let Some(arrival) = books.scenario.arrival(req) else { return Ok(()) };
        let rosters = || self.decisive(books.scenario, req);
        if !rosters().any(|roster| offers(roster, &arrival.spec, account)) {
            return Err(format!("{req} comes to {account}, which is not offered to it"));
        }
        let gate = books.gates.get(&GateId::Account(account_of(account)));
        let Some(kept) = gate.and_then(|gate| gate.limit) else { return Ok(()) };
        let in_force = rosters().any(|roster| limit(roster, account) == kept.normal());
        if in_force || self.forgotten(books, req) {
            return Ok(());
        }
        Err(format!("{req} comes to {account} by a limit of {kept:?}, which is not in force"))
    }

    /// Who is told that there are no accounts is told so for a reason: none is offered, or what is may
    /// be closed, by its operator or for its health.
    fn refused(
        &self,
        books: &Books<'_>,
        req: RequestId,
        refusal: Option<&Refusal>,
    ) -> Result<(), String> {
        let scenario = books.scenario;
        let none = refusal.is_some_and(|refusal| refusal.message == NO_ACCOUNTS);
        let Some(arrival) = scenario.arrival(req) else { return Ok(()) };
        if !none || self.opened.contains(&req) || self.forgotten(books, req) {
            return Ok(());
        }
        let operated = |of: AccountId| {
            let by = |kind: &FaultKind| matches!(*kind, FaultKind::Operator { account, .. } if account == of);
            scenario.faults.iter().any(|fault| by(&fault.kind))
        };
        let open = |of: AccountId| !operated(of) && !self.closed.contains(&account_of(of));
        let offered = |of: AccountId| {
            self.decisive(scenario, req).all(|roster| offers(roster, &arrival.spec, of))
        };
        let mut all = scenario.rosters.iter().flat_map(|roster| roster.accounts.keys().copied());
        let Some(account) = all.find(|&of| open(of) && offered(of)) else { return Ok(()) };
        Err(format!("{req} is told that there are no accounts, though {account} is offered to it"))
    }

    fn presented(
        &self,
        scenario: &Scenario,
        req: RequestId,
        account: AccountId,
        credential: usize,
    ) -> Result<(), String> {
        let fits = |&(_, roster): &(Time, usize)| {
            scenario.rosters[roster].accounts.contains_key(&account)
                && generation(scenario, roster, account) == credential
        };
        let rosters = self.in_force(req);
        if rosters.iter().any(fits) {
            return Ok(());
        }
        Err(format!("{req} comes to {account} with credential {credential} under {rosters:?}"))
    }

    fn answered(&self, scenario: &Scenario, req: RequestId, status: u16) -> Result<(), String> {
        let Some(arrival) = scenario.arrival(req) else { return Ok(()) };
        let knows = |&(_, roster): &(Time, usize)| {
            scenario.rosters[roster].users.contains_key(&arrival.spec.user)
        };
        let rosters = self.in_force(req);
        let wrong = match status {
            UNKNOWN_KEY => rosters.iter().all(knows),
            200 => !rosters.iter().any(knows),
            _ => false,
        };
        if wrong {
            return Err(format!("{req} is answered with {status} under {rosters:?}"));
        }
        Ok(())
    }
}

/// What is kept of an account that there is not.
fn limit(roster: &Roster, account: AccountId) -> Limit {
    roster.accounts.get(&account).map_or(Limit::Closed, |account| account.limit.normal())
}

/// Whether an account may serve such requests.
fn offers(roster: &Roster, spec: &RequestSpec, account: AccountId) -> bool {
    let pool = roster.pool(spec.group, spec.platform, spec.model);
    limit(roster, account) != Limit::Closed
        && pool.is_some_and(|pool| pool.members.contains(&account))
}

#[cfg(test)]
mod tests {
    use sluice_engine::Preset;
    use sluice_engine::ledger::history::Entry;

    use super::*;
    use crate::check::judge_by;
    use crate::history::History;

    const ACCOUNT: AccountId = AccountId(1);

    /// Whether this is accepted, at the times given in milliseconds, where the second roster has the
    /// first request's user no more, the third the first account's second credential, and the fourth
    /// the first account closed. The others have it open, and in every pool.
    fn judged(records: Vec<(u64, What)>) -> bool {
        let mut scenario = Scenario::generate_network(1, Preset::Fair);
        let arrival = scenario.arrivals[0].clone();
        scenario.rosters.truncate(1);
        scenario.faults.clear();
        let mut first = scenario.rosters[0].clone();
        assert!(first.users.contains_key(&arrival.spec.user) && arrival.id == RequestId(1));
        first.accounts.get_mut(&ACCOUNT).expect("it is there").limit = Limit::Slots(1);
        first.pools.values_mut().for_each(|pool| pool.members = vec![ACCOUNT]);
        scenario.rosters = vec![first; 4];
        scenario.rosters[1].users.remove(&arrival.spec.user);
        scenario.rosters[3].accounts.get_mut(&ACCOUNT).expect("it is there").limit = Limit::Closed;
        let network = scenario.network.as_mut().expect("of the network lane");
        network.rotated = [(2, ACCOUNT)].into();
        let mut history = History::default();
        for (ms, what) in records {
            history.push(Time(ms * 1_000), what);
        }
        judge_by(vec![Box::<InForce>::default()], &scenario, &history).is_empty()
    }

    fn launched() -> (u64, What) {
        (0, What::Launched { node: 0, roster: 0 })
    }

    fn reloaded(ms: u64, roster: usize) -> (u64, What) {
        (ms, What::Reloaded { node: 0, roster })
    }

    fn asked(ms: u64) -> (u64, What) {
        (ms, What::Seen(Seen::Asked { req: RequestId(1), node: 0 }))
    }

    fn presented(ms: u64, credential: usize) -> (u64, What) {
        let req = RequestId(1);
        (ms, What::Seen(Seen::Presented { req, account: ACCOUNT, credential }))
    }

    fn answered(ms: u64, status: u16) -> (u64, What) {
        let end = ClientEnd::Whole { status, stream: None };
        (ms, What::Seen(Seen::Answered { req: RequestId(1), end, refusal: None, bytes: (0, 0) }))
    }

    #[test]
    fn a_credential_of_a_configuration_in_force_is_accepted_and_any_other_rejected() {
        assert!(judged(vec![launched(), asked(1), presented(2, 0)]));
        assert!(!judged(vec![launched(), asked(1), presented(2, 1)]), "too early");
        assert!(judged(vec![launched(), asked(1), reloaded(2, 2), presented(3, 0)]));
        assert!(judged(vec![launched(), asked(1), reloaded(2, 2), presented(3, 1)]));
        assert!(!judged(vec![launched(), reloaded(1, 2), asked(2), presented(3, 0)]), "too late");
    }

    #[test]
    fn a_key_counts_as_long_as_it_is_in_force() {
        assert!(judged(vec![launched(), asked(1), answered(2, 200)]));
        assert!(!judged(vec![launched(), asked(1), answered(2, 401)]));
        assert!(judged(vec![launched(), asked(1), reloaded(2, 1), answered(3, 200)]));
        assert!(judged(vec![launched(), asked(1), reloaded(2, 1), answered(3, 401)]));
        assert!(!judged(vec![launched(), reloaded(1, 1), asked(2), answered(3, 200)]));
        assert!(judged(vec![launched(), reloaded(1, 1), asked(2), answered(3, 401)]));
    }

    fn opened(ms: u64) -> (u64, What) {
        let seen = Seen::Opened {
            req: RequestId(1),
            attempt: 1,
            account: ACCOUNT,
            node: 0,
            near: ([10, 0, 0, 1], 1).into(),
            kept: false,
            open: Vec::new(),
            idle: 0,
        };
        (ms, What::Seen(seen))
    }

    /// The store keeps this limit from here on.
    fn limited(ms: u64, limit: Limit) -> (u64, What) {
        let (raw, clock) = (Time(ms), Time(ms));
        let gate = GateId::Account(account_of(ACCOUNT));
        (ms, What::Fact(Entry { raw, clock, fact: Fact::Limited { gate, limit } }))
    }

    #[test]
    fn an_account_that_is_not_offered_any_more_is_not_asked() {
        assert!(judged(vec![launched(), asked(1), opened(2)]));
        assert!(
            judged(vec![launched(), asked(1), reloaded(2, 3), opened(3)]),
            "it was begun before"
        );
        assert!(!judged(vec![launched(), reloaded(1, 3), asked(2), opened(3)]));
        let elsewhere = (2, What::Launched { node: 1, roster: 0 });
        assert!(!judged(vec![launched(), reloaded(1, 3), elsewhere, asked(2), opened(3)]), "older");
        let elsewhere = (2, What::Launched { node: 1, roster: 3 });
        let asked_of_it = vec![launched(), reloaded(1, 2), elsewhere, asked(2), opened(3)];
        assert!(judged(asked_of_it), "both may be what the store goes by");
    }

    #[test]
    fn a_limit_that_the_store_keeps_is_one_in_force() {
        let judged = |limit| judged(vec![launched(), limited(1, limit), asked(2), opened(3)]);
        assert!(judged(Limit::Slots(1)));
        assert!(!judged(Limit::Slots(2)));
    }

    #[test]
    fn who_is_offered_an_account_that_nobody_has_closed_is_not_told_that_there_is_none() {
        let refusal = |ms: u64, message: &str| {
            let (kind, message) = ("api_error".to_owned(), message.to_owned());
            let refusal = Some(Refusal { kind, message, retry_after: Some(1) });
            let end = ClientEnd::Whole { status: 503, stream: None };
            (ms, What::Seen(Seen::Answered { req: RequestId(1), end, refusal, bytes: (0, 0) }))
        };
        let none = |ms| refusal(ms, NO_ACCOUNTS);
        assert!(!judged(vec![launched(), asked(1), none(2)]));
        assert!(judged(vec![launched(), asked(1), refusal(2, "Too many requests")]));
        assert!(judged(vec![launched(), asked(1), opened(2), none(3)]), "it has failed");
        assert!(judged(vec![launched(), asked(1), reloaded(2, 3), none(3)]), "it was closed");
        assert!(!judged(vec![launched(), reloaded(1, 2), asked(2), none(3)]));
        assert!(judged(vec![launched(), asked(1), (2, What::Forgot), none(3)]), "it knows nothing");
    }
}
