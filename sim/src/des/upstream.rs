//! The scripted upstreams: what an attempt meets, and how a cancelled one ends.

use sluice_engine::{AccountId, Attempt, Event, Outcome, RequestId};

use super::node::Mail;
use super::world::{Open, World};
use crate::history::What;
use crate::scenario::{Answer, Arrival, CancelWay};

impl World<'_> {
    pub(super) fn open_attempt(
        &mut self,
        node: usize,
        req: RequestId,
        attempt: Attempt,
        account: AccountId,
    ) {
        self.history.push(self.now, What::Opened { node, req, attempt, account });
        let Some(arrival) = self.scenario.arrival(req) else { return };
        let answer = self.answer(arrival, attempt, account);
        let token = self.token();
        if let Some(first) = answer.first_byte {
            self.mail(self.now + first, node, Mail::First { req, attempt });
        }
        self.mail(self.now + answer.end, node, Mail::End { req, attempt, token });
        let open = Open {
            account,
            node,
            outcome: answer.outcome,
            started: false,
            cancelled: false,
            token,
        };
        let before = self.open.insert((req, attempt), open);
        assert!(before.is_none(), "{req}.{attempt} is forwarded while it is open");
    }

    fn answer(&self, arrival: &Arrival, attempt: Attempt, account: AccountId) -> Answer {
        let spell = |s: &&crate::scenario::Sick| {
            s.account == account && s.from <= self.now && self.now < s.until && !self.healed
        };
        if let Some(sick) = self.scenario.sick.iter().find(spell) {
            return sick.answer;
        }
        let last = arrival.answers.len() - 1;
        arrival.answers[usize::from(attempt.0.saturating_sub(1)).min(last)]
    }

    pub(super) fn cancel_attempt(
        &mut self,
        node: usize,
        req: RequestId,
        attempt: Attempt,
    ) -> Option<Event> {
        self.history.push(self.now, What::Cancelled { node, req, attempt });
        let way = self.scenario.arrival(req)?.cancel;
        let token = self.token();
        let open = self.open.get_mut(&(req, attempt))?;
        open.cancelled = true;
        match way {
            CancelWay::Drained => None,
            CancelWay::After(span) => {
                open.outcome = Outcome::Cancelled;
                open.token = token;
                self.mail(self.now + span, node, Mail::End { req, attempt, token });
                None
            }
            CancelWay::AtOnce => {
                self.open.remove(&(req, attempt));
                let outcome = Outcome::Cancelled;
                let what = What::Closed { node, req, attempt, outcome: Some(outcome) };
                self.history.push(self.now, what);
                Some(Event::Ended { req, attempt, outcome })
            }
        }
    }
}
