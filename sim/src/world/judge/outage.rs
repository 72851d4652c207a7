//! While the store is away nothing is forwarded, and who is sent away is told so: 503 and when to come
//! again, never 429 (I16, I15). That is the mode of a gateway without a share of its own.
#![expect(clippy::wildcard_enum_match_arm, reason = "of all that happens a judge sees little")]

use std::collections::BTreeSet;

use sluice_engine::{RequestId, Span, Time};

use super::calm::{talkers, touched};
use crate::check::{Books, Checker};
use crate::history::{Record, What};
use crate::world::seen::{ClientEnd, Refusal, Seen, StreamEnd};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Rejects {
    /// Since when it is away.
    since: Option<Time>,
    /// Requests of the present outage.
    asked: BTreeSet<RequestId>,
}

/// What was under way when the store went away reaches an upstream within this time.
const UNDER_WAY: Span = Span::from_secs(3);

impl Checker for Rejects {
    fn id(&self) -> &'static str {
        "I16"
    }

    fn see(&mut self, books: &Books<'_>, record: &Record) -> Result<(), String> {
        let at = record.at;
        match &record.what {
            // It may be back though another outage would have lasted longer.
            What::StoreAway(false) => (self.since, self.asked) = (None, BTreeSet::new()),
            What::StoreAway(true) => self.since = self.since.or(Some(at)),
            What::Seen(Seen::Asked { req, .. }) if self.since.is_some() => {
                self.asked.insert(*req);
            }
            What::Seen(Seen::Opened { req, node, .. }) => {
                let late = self.since.is_some_and(|since| at > since + UNDER_WAY);
                // What was sent after the store had gone cannot have been given a slot, however late it is.
                let new = self.asked.contains(req);
                if new || late && !touched(books.scenario, *node, at, talkers) {
                    return Err(format!("{req} is forwarded though the store is away"));
                }
            }
            What::Seen(Seen::Answered { req, end, refusal, .. }) if self.asked.contains(req) => {
                return told(*req, end, refusal.as_ref());
            }
            _ => {}
        }
        Ok(())
    }
}

fn told(req: RequestId, end: &ClientEnd, refusal: Option<&Refusal>) -> Result<(), String> {
    let ClientEnd::Whole { status, stream } = end else { return Ok(()) };
    let again = refusal.is_some_and(|refusal| refusal.retry_after.is_some());
    let right = match (status, stream) {
        // Who has no key, or is not active, is known without the store.
        (401 | 403, None) => true,
        // Told in a stream that had been opened with a ping.
        (200, Some(StreamEnd::Error)) => {
            refusal.is_some_and(|refusal| refusal.kind != "rate_limit_error")
        }
        (503, None) => again,
        _ => false,
    };
    if right {
        return Ok(());
    }
    Err(format!("{req} is told {status} {refusal:?} though the store is away"))
}

#[cfg(test)]
mod tests {
    use sluice_engine::AccountId;

    use super::*;
    use crate::world::judge::kit::{accepts, accepts_at, calm};

    const REQ: RequestId = RequestId(1);

    fn judged(status: u16, retry_after: Option<u64>) -> bool {
        let message = String::new();
        let refusal = Refusal { kind: "api_error".to_owned(), message, retry_after };
        let end = ClientEnd::Whole { status, stream: None };
        let records = vec![
            What::StoreAway(true),
            What::Seen(Seen::Asked { req: REQ, node: 0 }),
            What::Seen(Seen::Answered { req: REQ, end, refusal: Some(refusal), bytes: (0, 0) }),
        ];
        accepts(Rejects::default(), &calm(), records)
    }

    #[test]
    fn a_store_that_is_away_is_told_as_what_it_is() {
        assert!(judged(503, Some(2)));
        assert!(!judged(503, None), "nobody knows when to come again");
        assert!(!judged(429, Some(2)), "it is nobody's limit");
        assert!(!judged(200, None));
    }

    #[test]
    fn nothing_is_forwarded_without_the_store() {
        let opened = |ms: u64| {
            let opened = Seen::Opened {
                req: REQ,
                attempt: 1,
                account: AccountId(1),
                node: 0,
                near: ([10, 0, 0, 1], 1).into(),
                kept: false,
                open: Vec::new(),
                idle: 0,
            };
            vec![(1_000, What::StoreAway(true)), (1_000 * ms, What::Seen(opened))]
        };
        let judged = |records| accepts_at(Rejects::default(), &calm(), records);
        assert!(judged(opened(1_000)), "it was under way");
        assert!(!judged(opened(5_000)));
        let mut back = opened(5_000);
        back.insert(1, (2_000, What::StoreAway(false)));
        assert!(judged(back));
        let mut new = opened(1_000);
        new.insert(1, (2_000, What::Seen(Seen::Asked { req: REQ, node: 0 })));
        assert!(!judged(new), "it was not under way");
    }
}
