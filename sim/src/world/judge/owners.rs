//! A client is told what its last upstream has said, and whose fault it is (I15), while nothing has
//! gone wrong on the way.
#![expect(clippy::wildcard_enum_match_arm, reason = "of all that happens a judge sees little")]

use std::collections::{BTreeMap, BTreeSet};

use sluice_engine::RequestId;

use super::calm::{calm, is_slow};
use crate::check::{Books, Checker};
use crate::history::{Record, What};
use crate::world::seen::{ClientEnd, Refusal, Seen, StreamEnd};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct TellsTheTruth {
    /// The last attempt of each request, and what it was answered.
    last: BTreeMap<RequestId, (u16, Option<Said>)>,
    /// Requests that were refused as wrong.
    refused: BTreeSet<RequestId>,
}

#[derive(Clone, Copy, Debug)]
struct Said {
    status: u16,
    timely: bool,
}

/// A refusal that is the request's own fault, wherever it is sent.
const fn is_clients(status: u16) -> bool {
    matches!(status, 400 | 404..=428 | 430..=499)
}

impl Checker for TellsTheTruth {
    fn id(&self) -> &'static str {
        "I15"
    }

    fn see(&mut self, books: &Books<'_>, record: &Record) -> Result<(), String> {
        match &record.what {
            What::Seen(Seen::Opened { req, attempt, .. }) => {
                if self.refused.contains(req) {
                    return Err(format!("{req} was refused as wrong, and is tried again"));
                }
                let extras = books.scenario.network.as_ref().map(|network| &network.extras);
                let user = books.scenario.arrival(*req).map(|arrival| arrival.spec.user);
                if extras.zip(user).is_some_and(|(extras, user)| extras.penniless.contains(&user)) {
                    return Err(format!("{req} is served, though its user cannot pay"));
                }
                self.last.insert(*req, (*attempt, None));
            }
            What::Seen(Seen::Speaks { req, attempt, status, timely, .. }) => {
                let said = Said { status: *status, timely: *timely };
                if let Some((last, heard)) = self.last.get_mut(req)
                    && last == attempt
                {
                    *heard = Some(said);
                }
                if is_clients(*status) {
                    self.refused.insert(*req);
                }
            }
            What::Seen(Seen::Answered {
                req,
                end: ClientEnd::Whole { status, stream },
                refusal,
                ..
            }) if calm(books.scenario, record.at) && !is_slow(books.scenario, *req) => {
                return self.answered(*req, (*status, *stream), refusal.as_ref());
            }
            _ => {}
        }
        Ok(())
    }
}

impl TellsTheTruth {
    fn answered(
        &self,
        req: RequestId,
        (status, stream): (u16, Option<StreamEnd>),
        refusal: Option<&Refusal>,
    ) -> Result<(), String> {
        let Some(&(_, Some(said))) = self.last.get(&req) else { return Ok(()) };
        let begun = stream == Some(StreamEnd::Error);
        let kind = refusal.map(|refusal| &*refusal.kind).unwrap_or_default();
        let truth = match said.status {
            200 if !said.timely => true,
            200 => status == 200 && !begun,
            of_client if is_clients(of_client) => begun || status == of_client,
            // Others may be tried, and what they come to counts. But it is known what this was.
            429 | 529 => kind != "upstream_error",
            _ => true,
        };
        if truth {
            return Ok(());
        }
        Err(format!("{req} is told {status} {refusal:?}, but its upstream has said {said:?}"))
    }
}

#[cfg(test)]
mod tests {
    use sluice_engine::AccountId;

    use super::*;
    use crate::world::judge::kit::{accepts, calm};

    const REQ: RequestId = RequestId(1);

    fn opened(attempt: u16) -> What {
        What::Seen(Seen::Opened {
            req: REQ,
            attempt,
            account: AccountId(1),
            node: 0,
            near: ([10, 0, 0, 1], 1).into(),
            kept: false,
            open: Vec::new(),
            idle: 0,
        })
    }

    fn said(status: u16, timely: bool) -> What {
        let (account, retry_after) = (AccountId(1), None);
        What::Seen(Seen::Speaks { req: REQ, attempt: 1, account, status, retry_after, timely })
    }

    fn told(status: u16, stream: Option<StreamEnd>, kind: Option<&str>) -> What {
        let refusal = kind.map(|kind| Refusal {
            kind: kind.to_owned(),
            message: String::new(),
            retry_after: None,
        });
        let end = ClientEnd::Whole { status, stream };
        What::Seen(Seen::Answered { req: REQ, end, refusal, bytes: (0, 0) })
    }

    fn judged(records: Vec<What>) -> bool {
        accepts(TellsTheTruth::default(), &calm(), records)
    }

    #[test]
    fn a_good_answer_is_passed_on() {
        let end = |timely, told| judged(vec![opened(1), said(200, timely), told]);
        assert!(end(true, told(200, Some(StreamEnd::Stop), None)));
        assert!(!end(true, told(502, None, Some("upstream_error"))));
        assert!(!end(true, told(200, Some(StreamEnd::Error), Some("api_error"))));
        assert!(end(false, told(502, None, Some("upstream_error"))), "it came too late");
    }

    #[test]
    fn a_refusal_is_passed_on_and_the_end() {
        let end = |last| judged(vec![opened(1), said(400, true), last]);
        assert!(end(told(400, None, Some("invalid_request_error"))));
        assert!(!end(told(502, None, Some("upstream_error"))));
        assert!(!end(opened(2)));
    }

    #[test]
    fn a_limit_of_an_upstream_is_not_told_as_its_failure() {
        let end = |last| judged(vec![opened(1), said(529, true), last]);
        assert!(end(told(503, None, Some("overloaded_error"))));
        assert!(!end(told(502, None, Some("upstream_error"))));
    }

    #[test]
    fn who_cannot_pay_is_not_served() {
        let mut scenario = calm();
        let first = scenario.arrivals[0].clone();
        let broke = [first.spec.user];
        scenario.network.as_mut().expect("one").extras.penniless.extend(broke);
        let What::Seen(Seen::Opened { attempt, account, node, near, kept, open, idle, .. }) =
            opened(1)
        else {
            unreachable!("that is what it is")
        };
        let req = first.id;
        let seen = Seen::Opened { req, attempt, account, node, near, kept, open, idle };
        let records = || vec![What::Seen(seen.clone())];
        assert!(!accepts(TellsTheTruth::default(), &scenario, records()));
        assert!(accepts(TellsTheTruth::default(), &calm(), records()));
    }
}
