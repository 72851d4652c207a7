//! What a request used is noted once, and is what its upstream has said (I14).
#![expect(clippy::wildcard_enum_match_arm, reason = "of all that happens a judge sees little")]

use std::collections::{BTreeMap, BTreeSet};

use sluice_engine::RequestId;

use crate::check::{Books, Checker};
use crate::history::{Record, What};
use crate::world::answer::{TOKENS_BEFORE, of_upstream_id, tokens};
use crate::world::seen::{ClientEnd, Logged, Seen};

/// See the module's documentation. The lines of all gateways' access logs are known in the end.
#[derive(Debug, Default)]
pub(super) struct NotedOnce {
    answered: BTreeMap<RequestId, ClientEnd>,
    spoke: BTreeSet<(RequestId, u16)>,
    logged: BTreeSet<RequestId>,
}

impl Checker for NotedOnce {
    fn id(&self) -> &'static str {
        "I14"
    }

    fn see(&mut self, _: &Books<'_>, record: &Record) -> Result<(), String> {
        match &record.what {
            What::Seen(Seen::Answered { req, end, .. }) => {
                self.answered.insert(*req, end.clone());
            }
            What::Seen(Seen::Speaks { req, attempt, status: 200, .. }) => {
                self.spoke.insert((*req, *attempt));
            }
            What::Seen(Seen::Logged { req, line, .. }) => {
                if !self.logged.insert(*req) {
                    return Err(format!("{req} is noted twice"));
                }
                return self.used(*req, line).map_err(|why| format!("{req}: {why}: {line:?}"));
            }
            What::Over { quiet: true, .. } => {
                let whole = |end: &ClientEnd| matches!(end, ClientEnd::Whole { .. });
                let mut unknown =
                    self.answered.iter().filter(|(req, _)| !self.logged.contains(req));
                if let Some((req, _)) = unknown.find(|(_, end)| whole(end)) {
                    return Err(format!("{req} is answered, and never noted"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl NotedOnce {
    fn used(&self, req: RequestId, line: &Logged) -> Result<(), String> {
        let Some(id) = &line.upstream_id else {
            return if line.tokens == (0, 0) { Ok(()) } else { Err("used nowhere".to_owned()) };
        };
        let (of, attempt) = of_upstream_id(id).ok_or("no upstream's name")?;
        if of != req {
            return Err(format!("{of}'s is noted as its"));
        }
        let (input, output) = tokens(req, attempt);
        let allowed = match &*line.verdict {
            "completed" => vec![(input, output)],
            // It may have said all, or only begun.
            _ if line.started => vec![(input, TOKENS_BEFORE), (input, output)],
            _ => vec![(0, 0), (input, TOKENS_BEFORE), (input, output)],
        };
        let said_all = line.tokens != (input, output) || self.spoke.contains(&(req, attempt));
        if allowed.contains(&line.tokens) && said_all {
            return Ok(());
        }
        Err(format!("{allowed:?} was used"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::answer::upstream_id;
    use crate::world::judge::kit::{accepts, calm};

    const REQ: RequestId = RequestId(7);

    fn judged(verdict: &str, started: bool, used: (u64, u64)) -> bool {
        let line = line(verdict, started, used);
        accepts(NotedOnce::default(), &calm(), vec![spoke(), logged(line)])
    }

    fn line(verdict: &str, started: bool, tokens: (u64, u64)) -> Logged {
        let (verdict, upstream_id) = (verdict.to_owned(), Some(upstream_id(REQ, 2)));
        Logged { status: 200, verdict, attempts: 2, started, tokens, upstream_id }
    }

    fn spoke() -> What {
        let account = sluice_engine::AccountId(1);
        let (attempt, status, retry_after, timely) = (2, 200, None, true);
        What::Seen(Seen::Speaks { req: REQ, attempt, account, status, retry_after, timely })
    }

    fn logged(line: Logged) -> What {
        What::Seen(Seen::Logged { node: 0, req: REQ, line })
    }

    #[test]
    fn usage_is_what_the_upstream_said() {
        let (input, output) = tokens(REQ, 2);
        assert!(judged("completed", true, (input, output)));
        assert!(!judged("completed", true, (input, 2 * output)));
        assert!(!judged("completed", true, (0, 0)));
        assert!(!judged("completed", true, tokens(REQ, 1)), "another attempt's");
        assert!(judged("abandoned", true, (input, TOKENS_BEFORE)));
        assert!(!judged("abandoned", true, (0, 0)), "what was begun was used");
        assert!(judged("abandoned", false, (0, 0)));
        let nowhere = Logged { upstream_id: None, ..line("abandoned", false, (1, 1)) };
        assert!(!accepts(NotedOnce::default(), &calm(), vec![logged(nowhere)]));
    }

    #[test]
    fn every_answer_is_noted_once() {
        let whole = || {
            let end = ClientEnd::Whole { status: 200, stream: None };
            What::Seen(Seen::Answered { req: REQ, end, refusal: None, bytes: (0, 0) })
        };
        let over = || What::Over { quiet: true, why: String::new() };
        let noted = || logged(line("completed", true, tokens(REQ, 2)));
        let judged = |records| accepts(NotedOnce::default(), &calm(), records);
        assert!(judged(vec![whole(), spoke(), noted(), over()]));
        assert!(!judged(vec![whole(), spoke(), over()]));
        assert!(!judged(vec![spoke(), noted(), noted()]));
    }
}
