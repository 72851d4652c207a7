//! What faults of a scenario excuse: as little as can be helped.

use sluice_engine::{RequestId, Span, Time};

use crate::scenario::{FaultKind, Place, Scenario};

/// Whether nothing has gone wrong yet: no fault has touched a process, a link or the store.
pub(super) fn calm(scenario: &Scenario, at: Time) -> bool {
    let harmless = |kind: &FaultKind| matches!(kind, FaultKind::Operator { .. });
    scenario.faults.iter().all(|fault| harmless(&fault.kind) || at < fault.at)
}

/// Whether the way between a node and others of this kind may have been out of order by `at`. What was
/// held up once can be late ever after.
pub(super) fn touched(
    scenario: &Scenario,
    node: usize,
    at: Time,
    others: fn(Place) -> bool,
) -> bool {
    scenario.faults.iter().any(|fault| {
        let hurts = match fault.kind {
            FaultKind::Cut { from: a, to: b, .. } | FaultKind::Hold { a, b, .. } => {
                let own = Place::Node(node);
                (a == own && others(b)) || (b == own && others(a))
            }
            FaultKind::Freeze { node: of, .. } => of == node,
            FaultKind::Away { .. } => others(Place::Store),
            FaultKind::UpstreamDown { account, .. } => others(Place::Upstream(account)),
            FaultKind::Crash { .. }
            | FaultKind::Leave { .. }
            | FaultKind::Rates { .. }
            | FaultKind::Grants { .. }
            | FaultKind::Clock { .. }
            | FaultKind::Reload { .. }
            | FaultKind::Ticks { .. }
            | FaultKind::Operator { .. } => false,
        };
        hurts && fault.at <= at
    })
}

/// The clients.
pub(super) const fn clients(place: Place) -> bool {
    matches!(place, Place::Clients)
}

/// The store.
pub(super) const fn store(place: Place) -> bool {
    matches!(place, Place::Store)
}

/// Anybody who takes part in an answer.
pub(super) const fn talkers(place: Place) -> bool {
    matches!(place, Place::Clients | Place::Upstream(_))
}

/// Whether a client takes its time.
pub(super) fn is_slow(scenario: &Scenario, req: RequestId) -> bool {
    let reader = scenario.network.as_ref().and_then(|network| network.readers.get(&req));
    reader.is_some_and(|reader| reader.pace > Span::ZERO || reader.bytes.is_some())
}
