//! I2: every grant ends exactly once, and nobody has two slots by one lease.

use sluice_engine::ledger::history::Fact;

use super::books::key;
use super::{Books, Checker};
use crate::history::{Record, What};

/// Judges I2.
#[derive(Debug, Default)]
pub(super) struct GrantsEnd;

impl Checker for GrantsEnd {
    fn id(&self) -> &'static str {
        "I2"
    }

    fn see(&mut self, books: &Books<'_>, record: &Record) -> Result<(), String> {
        if let What::Over { quiet: true, .. } = record.what
            && let Some((left, held)) = books.leases.first_key_value()
        {
            return Err(format!("the grant of {left:?} never ended: {held:?}"));
        }
        let What::Fact(entry) = &record.what else { return Ok(()) };
        if let Fact::Granted { lease, gate, .. } = entry.fact
            && let Some(held) = books.leases.get(&key(lease))
        {
            return Err(format!("{lease} is granted {gate} while it has {}", held.gate));
        }
        if let Fact::Claimed { lease, gate } = entry.fact {
            let held = books.leases.get(&key(lease));
            if held.is_none_or(|h| h.gate != gate || h.claimed) {
                return Err(format!("{lease} claims {gate} but has {held:?}"));
            }
        }
        if let Fact::Ended { lease, gate, how } = entry.fact {
            let held = books.leases.get(&key(lease));
            if held.is_none_or(|h| h.gate != gate) {
                return Err(format!("{lease} ends at {gate} ({how:?}) but has {held:?}"));
            }
        }
        if let Fact::Renamed { from, to } = entry.fact
            && (books.leases.contains_key(&key(to)) || books.tickets.contains_key(&key(to)))
        {
            return Err(format!("{from} goes on as {to}, which is there already"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testkit::{Kit, account};
    use sluice_engine::ledger::history::Ending;
    use sluice_engine::store::Limit::Slots;

    #[test]
    fn a_grant_that_ends_once_is_accepted() {
        let mut kit = Kit::new();
        kit.grant(1, 1, account(1), 1, Slots(2)).end(1, 1, account(1), Ending::Left).over();
        assert_eq!(kit.judge(GrantsEnd), None);
    }

    #[test]
    fn a_second_end_a_second_slot_and_no_end_are_rejected() {
        let mut twice = Kit::new();
        twice.grant(1, 1, account(1), 1, Slots(2)).end(1, 1, account(1), Ending::Left);
        twice.end(1, 1, account(1), Ending::PassedOn);
        assert!(twice.judge(GrantsEnd).is_some());
        let mut two = Kit::new();
        two.grant(1, 1, account(1), 1, Slots(2)).grant(1, 1, account(2), 1, Slots(2));
        assert!(two.judge(GrantsEnd).is_some());
        let mut never = Kit::new();
        never.grant(1, 1, account(1), 1, Slots(2)).over();
        assert!(never.judge(GrantsEnd).is_some());
    }
}
