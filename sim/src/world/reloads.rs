//! Whether gateways go by the configuration that they were given: judged by what upstreams and clients
//! see of credentials and keys.

use std::collections::BTreeMap;

use sluice_engine::{AccountId, RequestId, Time};

use super::seen::{ClientEnd, Seen};
use crate::check::{Books, Checker};
use crate::history::{Record, What};
use crate::scenario::{Scenario, generation};

/// The status of a request whose key nobody knows.
const UNKNOWN_KEY: u16 = 401;

/// An account is asked with the credential, and a user served by the key, of a configuration that was
/// in force at the node at some time since the request was sent to it.
#[derive(Debug, Default)]
pub(super) struct InForce {
    /// Each node's rosters, and from when on.
    rosters: BTreeMap<usize, Vec<(Time, usize)>>,
    asked: BTreeMap<RequestId, (usize, Time)>,
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
        if let What::Seen(Seen::Answered { req, end: ClientEnd::Whole { status, .. }, .. }) =
            record.what
        {
            return self.answered(books.scenario, req, status);
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

#[cfg(test)]
mod tests {
    use sluice_engine::Preset;

    use super::*;
    use crate::check::judge_by;
    use crate::history::History;

    const ACCOUNT: AccountId = AccountId(1);

    /// Whether this is accepted, at the times given in milliseconds, where the second roster has the
    /// first request's user no more and the third the first account's second credential.
    fn judged(records: Vec<(u64, What)>) -> bool {
        let mut scenario = Scenario::generate_network(1, Preset::Fair);
        let arrival = scenario.arrivals[0].clone();
        scenario.rosters.truncate(1);
        let first = scenario.rosters[0].clone();
        assert!(first.users.contains_key(&arrival.spec.user) && arrival.id == RequestId(1));
        scenario.rosters.extend([first.clone(), first]);
        scenario.rosters[1].users.remove(&arrival.spec.user);
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
}
