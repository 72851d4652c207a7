//! I6: within one line order is by tag, also across attempts; no ticket is overtaken by a later one
//! that wants the same. And an engine, once told a tag, sends it with every later ask.

use std::collections::BTreeMap;

use sluice_engine::ledger::history::{Fact, Way};
use sluice_engine::store::{Discipline, Enter};
use sluice_engine::{Ask, GateId, LeaseId, ModelId, RequestId, StoreOp, StoreReply, Tag};

use super::books::{Ticket, key};
use super::{Books, Checker};
use crate::history::{Record, What};

/// Judges I6.
#[derive(Debug, Default)]
pub(super) struct InOrder {
    /// The newest ask sent by a lease.
    newest: BTreeMap<(RequestId, u16), Ask>,
    /// The tag told for a request's user slot, or for its accounts.
    told: BTreeMap<(RequestId, bool), Tag>,
}

impl Checker for InOrder {
    fn id(&self) -> &'static str {
        "I6"
    }

    fn see(&mut self, books: &Books<'_>, record: &Record) -> Result<(), String> {
        if let What::Fact(entry) = &record.what
            && let Fact::Granted { lease, gate, model, tag, way, .. } = entry.fact
            && way != Way::Resynced
            && books.discipline == Some(Discipline::Settle)
        {
            return overtaken(books, lease, gate, model, tag);
        }
        if let What::Sent { op, .. } = &record.what
            && let StoreOp::Enter(enter) = &**op
        {
            return self.sent(enter);
        }
        if let What::Told { node, call, result: Ok(reply) } = &record.what
            && let Some(op) = books.calls.get(&(*node, *call))
            && let StoreOp::Enter(enter) = &**op
            && let StoreReply::Held { tag, .. } | StoreReply::Waiting { tag, .. } = reply
            && self.newest.get(&(enter.lease.request, enter.lease.attempt.0)) == Some(&enter.ask)
        {
            self.told.entry(line(enter)).or_insert(*tag);
        }
        Ok(())
    }
}

impl InOrder {
    fn sent(&mut self, enter: &Enter) -> Result<(), String> {
        self.newest.insert((enter.lease.request, enter.lease.attempt.0), enter.ask);
        let told = self.told.get(&line(enter)).copied();
        if told.is_some() && enter.tag != told {
            return Err(format!("{} asks at {:?} but was told {told:?}", enter.lease, enter.tag));
        }
        Ok(())
    }
}

/// The user's line has a tag of its own; all attempts share another.
const fn line(enter: &Enter) -> (RequestId, bool) {
    (enter.lease.request, enter.lease.attempt.0 == 0)
}

fn overtaken(
    books: &Books<'_>,
    lease: LeaseId,
    gate: GateId,
    model: ModelId,
    tag: Tag,
) -> Result<(), String> {
    let asking = books.applying.as_deref().and_then(|op| match op {
        StoreOp::Enter(enter) => Some(key(enter.lease)),
        StoreOp::Join { .. }
        | StoreOp::Beat { .. }
        | StoreOp::Resync(_)
        | StoreOp::Define(_)
        | StoreOp::Leave { .. }
        | StoreOp::Survey { .. }
        | StoreOp::Session { .. }
        | StoreOp::Health { .. }
        | StoreOp::Reap { .. } => None,
    });
    // In a resync or a new definition all is settled at the end, when the records do not yet say so.
    let same_model = |t: &Ticket| match (&t.want, gate) {
        (Some(sluice_engine::store::Want::Pool { model: m, .. }), _)
        | (Some(sluice_engine::store::Want::Gate { model: m, .. }), _) => *m == model,
        (Some(sluice_engine::store::Want::User { .. }), _) => true,
        (None, _) => false,
    };
    for (&other, ticket) in &books.tickets {
        if other != key(lease)
            && Some(other) != asking
            && (ticket.tag, other_lease(other)) < (tag, lease)
            && same_model(ticket)
            && books.eligible(ticket, gate, Some(key(lease)))
        {
            return Err(format!(
                "{lease} at {tag} is granted {gate} before {other:?} at {}",
                ticket.tag
            ));
        }
    }
    Ok(())
}

const fn other_lease((request, attempt, node): super::books::Key) -> LeaseId {
    LeaseId { node, request, attempt }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testkit::{Kit, account, lease};
    use sluice_engine::AccountId;
    use sluice_engine::ledger::history::Ending;
    use sluice_engine::store::{Cause, Limit::Slots};

    fn full_with_two_waiting() -> Kit {
        let mut kit = Kit::new();
        kit.define(1, &[1]).limit(account(1), Slots(1)).grant(1, 1, account(1), 1, Slots(1));
        kit.queue(2, 1, 1, 2, 5_000).queue(3, 1, 1, 3, 5_000);
        kit.end(1, 1, account(1), Ending::Left);
        kit
    }

    #[test]
    fn the_first_in_line_is_served_first() {
        let mut kit = full_with_two_waiting();
        kit.unqueue(2, 1, 1).settle(2, 1, account(1), 2, Slots(1));
        assert_eq!(kit.judge(InOrder::default()), None);
    }

    #[test]
    fn a_later_ticket_before_it_is_rejected() {
        let mut kit = full_with_two_waiting();
        kit.unqueue(3, 1, 1).settle(3, 1, account(1), 3, Slots(1));
        assert!(kit.judge(InOrder::default()).is_some());
    }

    #[test]
    fn a_later_probe_before_it_is_rejected() {
        let mut kit = Kit::new();
        kit.define(1, &[1]).limit(account(1), Slots(1)).close_key(1, 1_000, Cause::Ejected);
        kit.queue(2, 1, 1, 2, 5_000).wait(1_000);
        kit.fact(Fact::Probing { account: AccountId(1), model: None, lease: lease(3, 1) });
        kit.grant(3, 1, account(1), 1, Slots(1));
        assert!(kit.judge(InOrder::default()).is_some());
    }

    #[test]
    fn an_ask_without_the_told_tag_is_rejected() {
        let mut kit = Kit::new();
        kit.ask(1, 1, 1, 1, None)
            .tell(1, StoreReply::Waiting { position: 1, tag: Tag(5), opens_in: None });
        kit.ask(1, 1, 1, 2, Some(Tag(5)));
        assert_eq!(kit.judge(InOrder::default()), None);
        kit.ask(1, 2, 1, 3, None);
        assert!(kit.judge(InOrder::default()).is_some());
    }
}
