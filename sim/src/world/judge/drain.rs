//! A gateway's end: told to drain it takes nobody new and cuts nobody off; told to end it says so to
//! whoever is left, gives back what it holds, and ends.
#![expect(clippy::wildcard_enum_match_arm, reason = "of all that happens a judge sees little")]

use std::collections::BTreeMap;

use sluice_engine::{RequestId, Span, Time};

use super::calm::{clients, is_slow, store, touched};
use crate::check::{Books, Checker};
use crate::history::{Record, What};
use crate::world::seen::{ClientEnd, Refusal, Seen};

/// A connection and its request may be under way for so long.
const UNDER_WAY: Span = Span::from_ms(600);
/// What the end may take once it has to come: last words, giving back, and a tick or two.
const ENDS_WITHIN: Span = Span::from_ms(2_300);

/// What a client is told whose answer is cut off.
const LAST_WORDS: &str = "shutting down";

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Drains {
    told: BTreeMap<usize, Told>,
    asked: BTreeMap<RequestId, Asked>,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    drain: Time,
    close: Option<Time>,
    gone: bool,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    node: usize,
    at: Time,
    /// Of one that was leaving, and must not take it.
    late: bool,
}

impl Checker for Drains {
    fn id(&self) -> &'static str {
        "drain"
    }

    fn see(&mut self, books: &Books<'_>, record: &Record) -> Result<(), String> {
        let at = record.at;
        for (node, told) in &self.told {
            if !told.gone && told.close.is_some_and(|close| at > close + ENDS_WITHIN) {
                return Err(format!(
                    "node {node} was told to end at {:?}, and does not",
                    told.close
                ));
            }
        }
        match &record.what {
            What::Crashed { node } | What::Launched { node, .. } => {
                self.told.remove(node);
                let of_node = self.asked.values_mut().filter(|asked| asked.node == *node);
                of_node.for_each(|asked| asked.late = false);
            }
            What::Seen(Seen::Told { node, closing }) => {
                let told = Told { drain: at, close: None, gone: false };
                let told = self.told.entry(*node).or_insert(told);
                if *closing {
                    told.close.get_or_insert(at);
                }
            }
            What::Seen(Seen::Gone { node }) => return self.gone(books, *node, at),
            What::Seen(Seen::Asked { req, node }) => {
                let told = self.told.get(node);
                let late = told.is_some_and(|told| at > told.drain + UNDER_WAY);
                self.asked.insert(*req, Asked { node: *node, at, late });
            }
            What::Seen(Seen::Answered { req, end, refusal, .. }) => {
                let end_of_it = |r: &Refusal| r.message.contains(LAST_WORDS);
                let told = refusal.as_ref().is_some_and(end_of_it);
                return self.answered(books, *req, (end, told), at);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Drains {
    fn gone(&mut self, books: &Books<'_>, node: usize, at: Time) -> Result<(), String> {
        if let Some(told) = self.told.get_mut(&node) {
            told.gone = true;
        }
        if touched(books.scenario, node, at, store) || books.forgot.is_some() {
            return Ok(());
        }
        let own = |id| books.sessions.get(id).is_some_and(|session| session.node == node);
        let kept = books.leases.keys().find(|(_, _, id)| own(id));
        kept.map_or(Ok(()), |(req, ..)| Err(format!("node {node} ends and keeps a lease of {req}")))
    }

    fn answered(
        &mut self,
        books: &Books<'_>,
        req: RequestId,
        (end, told_so): (&ClientEnd, bool),
        at: Time,
    ) -> Result<(), String> {
        let Some(Asked { node, at: since, late }) = self.asked.remove(&req) else {
            return Ok(());
        };
        let Some(told) = self.told.get(&node) else { return Ok(()) };
        if late && matches!(end, ClientEnd::Whole { .. }) {
            return Err(format!("node {node} is leaving, and takes {req}"));
        }
        let held = touched(books.scenario, node, at, clients) || is_slow(books.scenario, req);
        let cut = matches!(end, ClientEnd::Cut { .. });
        if cut && since + UNDER_WAY < told.drain && !held {
            return Err(format!("node {node} is leaving, and cuts off {req} without a word"));
        }
        if told_so && told.close.is_none() {
            return Err(format!("node {node} ends {req} before it is told to"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::judge::kit::{accepts_at, calm};

    const REQ: RequestId = RequestId(1);

    fn told(closing: bool) -> What {
        What::Seen(Seen::Told { node: 0, closing })
    }

    fn asked() -> What {
        What::Seen(Seen::Asked { req: REQ, node: 0 })
    }

    fn answered(end: ClientEnd, words: Option<&str>) -> What {
        let refusal = words.map(|words| Refusal {
            kind: "api_error".to_owned(),
            message: words.to_owned(),
            retry_after: None,
        });
        What::Seen(Seen::Answered { req: REQ, end, refusal, bytes: (0, 0) })
    }

    const WHOLE: ClientEnd = ClientEnd::Whole { status: 200, stream: None };
    const CUT: ClientEnd = ClientEnd::Cut { silent: false };
    const GONE: What = What::Seen(Seen::Gone { node: 0 });

    fn judged(records: Vec<(u64, What)>) -> bool {
        let in_us = records.into_iter().map(|(ms, what)| (1_000 * ms, what));
        accepts_at(Drains::default(), &calm(), in_us.collect())
    }

    #[test]
    fn who_leaves_takes_nobody_new() {
        let late = |ms| vec![(0, told(false)), (ms, asked()), (ms + 10, answered(WHOLE, None))];
        assert!(judged(late(100)), "it was under way");
        assert!(!judged(late(700)));
        let mut again = late(700);
        again.insert(2, (705, What::Launched { node: 0, roster: 0 }));
        assert!(judged(again), "the next process may");
    }

    #[test]
    fn who_leaves_cuts_nobody_off_before_it_has_to() {
        let ends = |end, words| vec![(0, asked()), (700, told(false)), (900, answered(end, words))];
        assert!(judged(ends(WHOLE, None)));
        assert!(!judged(ends(CUT, None)));
        assert!(!judged(ends(WHOLE, Some("The gateway is shutting down"))));
        let mut closed = ends(WHOLE, Some("The gateway is shutting down"));
        closed.insert(2, (800, told(true)));
        assert!(judged(closed));
    }

    #[test]
    fn who_has_to_end_ends() {
        let ends = |ms| vec![(0, told(false)), (10, told(true)), (ms, GONE), (ms + 1, asked())];
        assert!(judged(ends(2_000)));
        assert!(!judged(ends(3_000)));
    }
}
