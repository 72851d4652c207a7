//! I9: waits end by their deadline (+ one tick), and all waiting of a request by `wait_total_max`.
//! Waiting is all that is neither an open attempt nor a question to billing. The deadline of one wait is
//! what its first ask tells the store; later asks of the same line never prolong it. A node that stands
//! still or ticks late is forgiven so long.

use std::collections::BTreeMap;

use sluice_engine::ledger::history::Line;
use sluice_engine::policy::StickyEnd;
use sluice_engine::store::{Enter, Want};
use sluice_engine::{Ask, Attempt, GateId, RequestId, Span, StoreOp, StoreReply, Time};

use super::{Books, Checker};
use crate::history::{Record, What};
use crate::scenario::FaultKind;

/// Judges I9.
#[derive(Debug, Default)]
pub(super) struct WaitsEnd {
    waits: BTreeMap<RequestId, Wait>,
    /// Per node: standing still since, and for how long in all.
    frozen: BTreeMap<usize, (Option<Time>, Span)>,
}

#[derive(Debug)]
struct Wait {
    node: usize,
    /// Since the arrival, the end of billing, or the end of the last attempt; none during one or the
    /// other.
    since: Option<Time>,
    /// Whether for the user's slot.
    user: bool,
    /// All that was waited before.
    before: Span,
    /// The node's forgiven time at the arrival.
    forgiven: Span,
    /// What it asks for, and until when by the first such ask.
    line: Option<(Aim, Time)>,
}

/// What an ask is after: two aims may be at the same line but differ in how long it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Aim {
    attempt: Attempt,
    line: Line,
    line_max: Option<u32>,
}

impl Checker for WaitsEnd {
    fn id(&self) -> &'static str {
        "I9"
    }

    fn see(&mut self, books: &Books<'_>, record: &Record) -> Result<(), String> {
        let at = record.at;
        if let What::Froze { node } = record.what {
            self.frozen.entry(node).or_default().0 = Some(at);
        }
        if let What::Thawed { node } | What::Crashed { node } = record.what {
            let (since, all) = self.frozen.entry(node).or_default();
            *all = *all + since.take().map_or(Span::ZERO, |since| at.since(since));
        }
        if let What::Reloaded { node, .. } = record.what {
            // What was asked for may be another thing now.
            self.waits.values_mut().filter(|w| w.node == node).for_each(|w| w.line = None);
        }
        if let What::Sent { op, .. } = &record.what
            && let StoreOp::Enter(enter) = &**op
        {
            return self.asked(books, enter, at);
        }
        if let What::Told { node, call, result: Ok(StoreReply::Shut { .. } | StoreReply::Full) } =
            record.what
        {
            self.refused(books, node, call);
        }
        if let What::Arrived { node, req } = record.what {
            let forgiven = self.forgiven(node);
            let before = Span::ZERO;
            let since = Some(at);
            let wait = Wait { node, since, user: true, before, forgiven, line: None };
            self.waits.insert(req, wait);
        }
        if let What::BillingAsked { req, .. } = record.what {
            self.end(books, req, at)?;
        }
        if let What::Billed { req, .. } = record.what {
            self.begin(req, at);
        }
        if let What::Opened { req, .. } = record.what {
            self.end(books, req, at)?;
        }
        if let What::Closed { req, .. } = record.what {
            self.begin(req, at);
        }
        if let What::Finished { req, .. } = record.what {
            self.end(books, req, at)?;
            self.waits.remove(&req);
        }
        Ok(())
    }
}

impl WaitsEnd {
    fn forgiven(&self, node: usize) -> Span {
        self.frozen.get(&node).map_or(Span::ZERO, |(_, all)| *all)
    }

    /// What a wait may last beyond its deadline. One that ends by widening is followed by one that
    /// ends at once: two ticks.
    fn tolerance(&self, books: &Books<'_>, wait: &Wait) -> Span {
        let late = late_max(books, wait.node);
        self.forgiven(wait.node).saturating_sub(wait.forgiven) + late + late
    }

    fn asked(&mut self, books: &Books<'_>, enter: &Enter, at: Time) -> Result<(), String> {
        let req = enter.lease.request;
        let (Some(wait), Some(patience)) = (self.waits.get(&req), enter.patience) else {
            return Ok(());
        };
        let (line, line_max) = match &enter.want {
            Want::User { user, line_max, .. } => (Line::Gate(GateId::User(*user)), Some(*line_max)),
            Want::Gate { account, line_max, .. } => {
                (Line::Gate(GateId::Account(*account)), Some(*line_max))
            }
            Want::Pool { pool, line_max, .. } => (Line::Pool(*pool), *line_max),
        };
        let aim = Aim { attempt: enter.lease.attempt, line, line_max };
        let policy = &books.scenario.policy;
        let mut until = at + patience;
        let tolerance = self.tolerance(books, wait);
        if let Some((before, first)) = wait.line
            && before == aim
        {
            let alike = policy.sticky_line_max == policy.fallback_line_max;
            if until > first + tolerance && !(alike && widens(books, aim)) {
                let more = until.since(first).as_ms();
                return Err(format!("{} prolongs its wait for {line:?} by {more} ms", enter.lease));
            }
            until = first;
        }
        if let Some(wait) = self.waits.get_mut(&req) {
            wait.line = Some((aim, until));
        }
        Ok(())
    }

    /// After a refusal a request may choose again.
    fn refused(&mut self, books: &Books<'_>, node: usize, call: Ask) {
        if let Some(op) = books.calls.get(&(node, call))
            && let StoreOp::Enter(enter) = &**op
            && let Some(wait) = self.waits.get_mut(&enter.lease.request)
        {
            wait.line = None;
        }
    }

    fn begin(&mut self, req: RequestId, at: Time) {
        if let Some(wait) = self.waits.get_mut(&req) {
            wait.since = Some(at);
            wait.user = false;
            wait.line = None;
        }
    }

    /// The time since the wait began counts as waiting.
    fn add(&mut self, req: RequestId, at: Time) {
        if let Some(wait) = self.waits.get_mut(&req)
            && let Some(since) = wait.since.take()
        {
            wait.before = wait.before + at.since(since);
        }
    }

    fn end(&mut self, books: &Books<'_>, req: RequestId, at: Time) -> Result<(), String> {
        let Some(wait) = self.waits.get(&req) else { return Ok(()) };
        let Some(since) = wait.since else { return Ok(()) };
        let policy = &books.scenario.policy;
        let forgiven = self.tolerance(books, wait);
        let total = wait.before + at.since(since);
        if total > policy.wait_total_max + forgiven {
            return Err(format!("{req} waited {} ms in all", total.as_ms()));
        }
        let this = at.since(since);
        if wait.user && this > policy.user_patience + forgiven {
            return Err(format!("{req} waited {} ms for its user", this.as_ms()));
        }
        if let Some((aim, until)) = wait.line
            && let next = if widens(books, aim) { policy.fallback_patience } else { Span::ZERO }
            && at > until + next + forgiven
        {
            let more = at.since(until).as_ms();
            return Err(format!("{req} waited {more} ms too long for {:?}", aim.line));
        }
        self.add(req, at);
        Ok(())
    }
}

/// Whether another wait follows this one. It may not be seen to begin: an answer that is under way may
/// serve it, or nothing can be asked just then.
fn widens(books: &Books<'_>, aim: Aim) -> bool {
    let policy = &books.scenario.policy;
    policy.sticky_end == StickyEnd::Widen
        && aim.line_max == Some(policy.sticky_line_max)
        && matches!(aim.line, Line::Gate(GateId::Account(_)))
}

fn late_max(books: &Books<'_>, of: usize) -> Span {
    let mut most = Span::ZERO;
    for fault in &books.scenario.faults {
        if let FaultKind::Ticks { node, late_max } = fault.kind
            && node == of
        {
            most = most.max(late_max);
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testkit::Kit;
    use sluice_engine::Verdict;

    #[test]
    fn a_wait_that_ends_by_its_deadline_is_accepted() {
        let mut kit = Kit::new();
        kit.arrive(1, 1).wait(30_000).finish(1, Verdict::UserWaitTimeout);
        assert_eq!(kit.judge(WaitsEnd::default()), None);
    }

    #[test]
    fn a_wait_beyond_its_deadline_is_rejected() {
        let mut kit = Kit::new();
        kit.arrive(1, 1).wait(30_001).finish(1, Verdict::UserWaitTimeout);
        assert!(kit.judge(WaitsEnd::default()).is_some());
    }

    #[test]
    fn a_wait_that_later_asks_prolong_is_rejected() {
        let mut kit = Kit::new();
        kit.arrive(1, 1).billing(1).ask(1, 1, 1, 1, None).wait(100);
        assert_eq!(kit.judge(WaitsEnd::default()), None);
        kit.ask(1, 1, 1, 2, None);
        assert!(kit.judge(WaitsEnd::default()).is_some());
    }

    #[test]
    fn all_waiting_together_is_bounded() {
        let mut kit = Kit::new();
        kit.arrive(1, 1).billing(1);
        for attempt in 1..5 {
            kit.wait(25_000).open(1, attempt, attempt.into()).wait(60_000).close(1, attempt);
        }
        assert!(kit.judge(WaitsEnd::default()).is_some());
    }

    #[test]
    fn a_node_that_stands_still_is_forgiven() {
        let mut kit = Kit::new();
        kit.arrive(1, 1).push(What::Froze { node: 0 }).wait(40_000);
        kit.push(What::Thawed { node: 0 }).finish(1, Verdict::UserWaitTimeout);
        assert_eq!(kit.judge(WaitsEnd::default()), None);
    }
}
