//! Waiting ends: a gateway lets go of an upstream that does not begin, or does not go on, in time, and
//! of one whose client has left.

use crate::check::{Books, Checker};
use crate::history::{Record, What};
use crate::world::seen::{Deadline, Seen};

use super::calm::{clients, is_slow, talkers, touched};

/// See the module's documentation. The upstream has seen whether the gateway was still there.
#[derive(Debug, Default)]
pub(super) struct LetsGo;

impl Checker for LetsGo {
    fn id(&self) -> &'static str {
        "deadline"
    }

    fn see(&mut self, books: &Books<'_>, record: &Record) -> Result<(), String> {
        let What::Seen(Seen::Overdue { req, attempt, node, deadline }) = record.what else {
            return Ok(());
        };
        let (scenario, at) = (books.scenario, record.at);
        let excused = match deadline {
            // It runs from the moment at which the request was sent, whatever becomes of it.
            Deadline::Head => false,
            // Who cannot hand on what has come asks for no more.
            Deadline::Idle => is_slow(scenario, req) || touched(scenario, node, at, talkers),
            Deadline::Client => touched(scenario, node, at, clients),
        };
        if excused {
            return Ok(());
        }
        Err(format!("node {node} still waits for attempt {attempt} of {req}: {deadline:?}"))
    }
}

#[cfg(test)]
mod tests {
    use sluice_engine::{AccountId, RequestId, Span, Time};

    use super::*;
    use crate::scenario::{Fault, FaultKind, Place, Reader};
    use crate::world::judge::kit::{accepts, calm};

    fn overdue(deadline: Deadline) -> Vec<What> {
        let (req, attempt, node) = (RequestId(1), 1, 0);
        vec![What::Seen(Seen::Overdue { req, attempt, node, deadline })]
    }

    #[test]
    fn who_waits_on_is_found() {
        for deadline in [Deadline::Head, Deadline::Idle, Deadline::Client] {
            assert!(!accepts(LetsGo, &calm(), overdue(deadline)), "{deadline:?}");
        }
        assert!(accepts(LetsGo, &calm(), vec![]));
    }

    #[test]
    fn only_what_cannot_be_known_or_handed_on_is_excused() {
        let mut scenario = calm();
        let (a, b, lasts) = (Place::Clients, Place::Node(0), Span::from_ms(1));
        scenario.faults.push(Fault { at: Time(0), kind: FaultKind::Hold { a, b, lasts } });
        assert!(accepts(LetsGo, &scenario, overdue(Deadline::Client)));
        assert!(accepts(LetsGo, &scenario, overdue(Deadline::Idle)));
        assert!(!accepts(LetsGo, &scenario, overdue(Deadline::Head)));
        let mut scenario = calm();
        let upstream = Place::Upstream(AccountId(1));
        let kind = FaultKind::Hold { a: upstream, b: Place::Node(0), lasts };
        scenario.faults.push(Fault { at: Time(0), kind });
        assert!(!accepts(LetsGo, &scenario, overdue(Deadline::Client)));
        let mut scenario = calm();
        let slow = Reader { pace: Span::from_ms(1), ..Reader::default() };
        scenario.network.as_mut().expect("one").readers.insert(RequestId(1), slow);
        assert!(accepts(LetsGo, &scenario, overdue(Deadline::Idle)));
    }
}
