//! I5, work conservation: after any operation, once the due list is empty at its time, no gate is open
//! with room while a ticket waits that may be served there.

use sluice_engine::ledger::history::Line;
use sluice_engine::store::Discipline;
use sluice_engine::{GateId, StoreOp};

use super::{Books, Checker};
use crate::history::{Record, What};

/// Judges I5.
#[derive(Debug, Default)]
pub(super) struct WorkConserved;

impl Checker for WorkConserved {
    fn id(&self) -> &'static str {
        "I5"
    }

    fn see(&mut self, books: &Books<'_>, record: &Record) -> Result<(), String> {
        let What::Applied { due: false, op, .. } = &record.what else { return Ok(()) };
        if books.discipline != Some(Discipline::Settle)
            || matches!(**op, StoreOp::Survey { .. } | StoreOp::Define(_))
        {
            return Ok(());
        }
        for (key, ticket) in &books.tickets {
            let gates: Vec<GateId> = match ticket.line {
                Line::Gate(gate) => vec![gate],
                Line::Pool(pool) => {
                    let members = books.pools.get(&pool).map_or(&[][..], |m| m);
                    members.iter().map(|&a| GateId::Account(a)).collect()
                }
            };
            for gate in gates {
                let room = books
                    .gates
                    .get(&gate)
                    .is_some_and(|g| g.limit.is_some_and(|l| l.has_room(g.held)));
                if room && books.eligible(ticket, gate, None) {
                    return Err(format!("{key:?} waits in {:?} beside free {gate}", ticket.line));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testkit::{Kit, account};
    use sluice_engine::StoreReply;
    use sluice_engine::ledger::history::Ending;
    use sluice_engine::store::{Cause, Limit::Slots};

    #[test]
    fn waiting_beside_a_full_gate_is_accepted() {
        let mut kit = Kit::new();
        kit.define(1, &[1]).limit(account(1), Slots(1)).grant(1, 1, account(1), 1, Slots(1));
        kit.queue(2, 1, 1, 2, 5_000);
        assert_eq!(kit.judge(WorkConserved), None);
    }

    #[test]
    fn waiting_beside_a_free_gate_is_rejected() {
        let mut kit = Kit::new();
        kit.define(1, &[1]).limit(account(1), Slots(1)).grant(1, 1, account(1), 1, Slots(1));
        kit.queue(2, 1, 1, 2, 5_000).end(1, 1, account(1), Ending::Left);
        kit.applied(StoreOp::Reap { max: 1 }, StoreReply::Reaped { more: false });
        assert!(kit.judge(WorkConserved).is_some());
    }

    #[test]
    fn waiting_beside_an_account_that_has_opened_again_is_rejected() {
        let mut kit = Kit::new();
        kit.define(1, &[1]).limit(account(1), Slots(1)).close_key(1, 1_000, Cause::Ejected);
        kit.queue(2, 1, 1, 2, 5_000);
        assert_eq!(kit.judge(WorkConserved), None);
        kit.wait(1_000).applied(StoreOp::Reap { max: 1 }, StoreReply::Reaped { more: false });
        assert!(kit.judge(WorkConserved).is_some());
    }

    #[test]
    fn a_ticket_whose_patience_is_over_may_be_passed_by() {
        let mut kit = Kit::new();
        kit.define(1, &[1]).limit(account(1), Slots(1)).grant(1, 1, account(1), 1, Slots(1));
        kit.queue(2, 1, 1, 2, 5_000).wait(5_000).end(1, 1, account(1), Ending::Left);
        kit.applied(StoreOp::Reap { max: 1 }, StoreReply::Reaped { more: false });
        assert_eq!(kit.judge(WorkConserved), None);
    }
}
