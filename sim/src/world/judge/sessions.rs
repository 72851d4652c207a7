//! Each conversation is one session, of one group (I12). Their keys are known to gateways only, and so
//! they are counted.

use std::collections::{BTreeMap, BTreeSet};

use sluice_engine::{GroupId, PoolId, SessionKey, StoreOp, UserId};

use crate::check::{Books, Checker};
use crate::history::{Record, What};
use crate::scenario::Scenario;
use crate::world::seen::Seen;
use crate::world::setup::{conversation, groups_of_pools};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct OneSessionEach {
    groups: BTreeMap<PoolId, GroupId>,
    /// What has been asked so far: by whom, in which group, and how it begins.
    conversations: BTreeSet<(UserId, GroupId, String)>,
    keys: BTreeMap<SessionKey, GroupId>,
}

impl OneSessionEach {
    pub(super) fn of(scenario: &Scenario) -> Self {
        let groups = groups_of_pools(scenario);
        Self { groups, conversations: BTreeSet::new(), keys: BTreeMap::new() }
    }
}

impl Checker for OneSessionEach {
    fn id(&self) -> &'static str {
        "I12"
    }

    fn see(&mut self, books: &Books<'_>, record: &Record) -> Result<(), String> {
        if let What::Seen(Seen::Asked { req, .. }) = record.what
            && let Some(arrival) = books.scenario.arrival(req)
        {
            let spec = &arrival.spec;
            self.conversations.insert((spec.user, spec.group, conversation(arrival)));
        }
        let What::Sent { op, .. } = &record.what else { return Ok(()) };
        let StoreOp::Survey { pool, session, .. } = &**op else { return Ok(()) };
        let Some(key) = *session else {
            return Err("a request has no session, though all conversations begin somehow".into());
        };
        let Some(&group) = self.groups.get(pool) else {
            return Err(format!("{pool} is nobody's"));
        };
        if *self.keys.entry(key).or_insert(group) != group {
            return Err(format!("session {key} is used in two groups"));
        }
        let (keys, asked) = (self.keys.len(), self.conversations.len());
        if keys > asked {
            return Err(format!("there are {keys} sessions, of {asked} conversations"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use sluice_engine::{Ask, ModelId};

    use super::*;
    use crate::world::judge::kit::{accepts, calm};

    /// One conversation, and surveys of these pools for these sessions.
    fn judged(surveys: &[(usize, Option<u8>)]) -> bool {
        let scenario = calm();
        let groups = groups_of_pools(&scenario);
        let asked = What::Seen(Seen::Asked { req: scenario.arrivals[0].id, node: 0 });
        let survey = |&(pool, key): &(usize, Option<u8>)| {
            let pool = *groups.keys().nth(pool).expect("there are so many");
            let session = key.map(|key| SessionKey([key; 16]));
            let (model, excluded, best) = (ModelId(1), Vec::new(), 1);
            let op = StoreOp::Survey { pool, model, session, excluded, best };
            What::Sent { node: 0, call: Ask(1), op: Rc::new(op) }
        };
        let records = [asked].into_iter().chain(surveys.iter().map(survey)).collect();
        accepts(OneSessionEach::of(&scenario), &scenario, records)
    }

    #[test]
    fn a_conversation_is_one_session() {
        assert!(judged(&[(0, Some(1)), (0, Some(1))]));
        assert!(!judged(&[(0, Some(1)), (0, Some(2))]));
        assert!(!judged(&[(0, None)]));
    }
}
