//! What must always hold, and what must be reached for that to mean anything. Invariants are named
//! by the numbers of the architecture.

use stateright::Property;

use super::config::{Config, LEASES};
use super::model::Protocol;
use super::state::{Entry, Fault, INSTANCES, Mark, Phase, Place, Reply, State};
use super::store::Order;

/// All properties, those that must hold first.
pub(super) fn all() -> Vec<Property<Protocol>> {
    let mut all = promises();
    all.extend(landmarks());
    all
}

fn promises() -> Vec<Property<Protocol>> {
    vec![
        Property::always(
            "I1: an account's slots never exceed its limit",
            |model: &Protocol, state: &State| within_limits(&model.config, state),
        ),
        Property::always(
            "I1: what runs holds the slot it runs on",
            |model: &Protocol, state: &State| runs_are_backed(&model.config, state),
        ),
        Property::always(
            "I1: excess comes only with a lost session",
            |model: &Protocol, state: &State| excess_is_declared(&model.config, state),
        ),
        Property::always(
            "I2: at rest the store has what the nodes have",
            |model: &Protocol, state: &State| {
                !at_rest(&model.config, state) || agrees(&model.config, state)
            },
        ),
        Property::always("I3: a live node's claim is not reaped", |_: &Protocol, state: &State| {
            !blamed(state, Fault::LiveClaimReaped)
        }),
        Property::always(
            "I5: nobody waits for an account with room",
            |model: &Protocol, state: &State| work_is_conserved(&model.config, state),
        ),
        Property::always(
            "I8: nothing is granted after its leave",
            |_: &Protocol, state: &State| !blamed(state, Fault::GrantAfterLeave),
        ),
        Property::always(
            "I8: nothing is forwarded after its end",
            |_: &Protocol, state: &State| !blamed(state, Fault::ForwardAfterEnd),
        ),
    ]
}

fn landmarks() -> Vec<Property<Protocol>> {
    vec![
        Property::sometimes("a grant is claimed", |_: &Protocol, state: &State| {
            state.mark == Mark::Claimed
        }),
        Property::sometimes("a grant passes on", |_: &Protocol, state: &State| {
            state.mark == Mark::PassedOn
        }),
        Property::sometimes("a late enter hits a tombstone", |_: &Protocol, state: &State| {
            state.mark == Mark::TombstoneHit
        }),
        Property::sometimes("an ask is late and changes nothing", |_: &Protocol, state: &State| {
            state.mark == Mark::StaleAsk
        }),
        Property::sometimes(
            "a lease goes on under its next node",
            |_: &Protocol, state: &State| state.mark == Mark::Resumed,
        ),
        Property::sometimes("an orphan is removed by a resync", |_: &Protocol, state: &State| {
            state.mark == Mark::Orphan
        }),
        Property::sometimes("a late join is answered Taken", |_: &Protocol, state: &State| {
            state.mark == Mark::LateJoin
        }),
        Property::sometimes(
            "a restart learns the node to replace",
            |_: &Protocol, state: &State| {
                state.answers.iter().any(|answer| matches!(answer.reply, Reply::Taken(_)))
            },
        ),
        Property::sometimes("a resync enters beyond the limit", |_: &Protocol, state: &State| {
            state.mark == Mark::Over
        }),
        Property::sometimes(
            "a slot outside the new want is given up",
            |_: &Protocol, state: &State| state.mark == Mark::GaveUp,
        ),
        Property::sometimes("an attempt outlives its lease", |_: &Protocol, state: &State| {
            state.unbacked != 0
        }),
        Property::sometimes(
            "all requests are over and the store is empty",
            |model: &Protocol, state: &State| {
                let over = |lease: usize| state.requests[lease].phase == Phase::Over;
                (0..LEASES).all(|lease| model.config.owners[lease].is_none() || over(lease))
                    && at_rest(&model.config, state)
                    && agrees(&model.config, state)
            },
        ),
    ]
}

fn blamed(state: &State, fault: Fault) -> bool {
    state.faults & fault as u8 != 0
}

/// What was entered beyond the limit is the declared excess and does not count here; it does count
/// against every grant, so that what is left can never exceed the limit.
fn within_limits(config: &Config, state: &State) -> bool {
    let on = |account: usize| {
        let counts = |entry: &&Entry| match entry.place {
            Place::Granted(at) | Place::Held(at) => usize::from(at) == account && !entry.over,
            Place::Nothing | Place::Waiting(_) => false,
        };
        state.store.entries.iter().filter(counts).count()
    };
    config.limits.iter().enumerate().all(|(account, limit)| on(account) <= *limit)
}

/// The excess that a resync may enter comes from attempts that went on without a session, or from a
/// duplicated resync.
fn excess_is_declared(config: &Config, state: &State) -> bool {
    let (before, left) = (&config.budget, &state.left);
    let excused = left.ends != before.ends || left.duplicates != before.duplicates;
    excused || state.store.entries.iter().all(|entry| !entry.over)
}

/// Not so only for an attempt whose session ended and was reaped under it, until a resync has listed
/// it again.
fn runs_are_backed(config: &Config, state: &State) -> bool {
    (0..LEASES).all(|lease| match state.requests[lease].phase {
        Phase::Forwarded(account) => {
            let current = state.store.current[config.owner(lease)];
            let held = state.store.entries[lease].place == Place::Held(account) && current != 0;
            held || state.unbacked & (1 << lease) != 0
        }
        Phase::Idle | Phase::Waiting | Phase::Held(_) | Phase::Leaving { .. } | Phase::Over => true,
    })
}

fn work_is_conserved(config: &Config, state: &State) -> bool {
    (0..config.limits.len()).all(|account| {
        let waits = |entry: &Entry| match entry.place {
            Place::Waiting(want) => want & (1 << account) != 0,
            Place::Nothing | Place::Granted(_) | Place::Held(_) => false,
        };
        let full = state.taken(account as u8) >= config.limits[account];
        full || !state.store.entries.iter().any(waits)
    })
}

/// Nothing is under way, unanswered or owed, and all sessions last.
fn at_rest(config: &Config, state: &State) -> bool {
    let settled = |instance: usize| {
        let member = &state.instances[instance];
        member.up
            && state.alive(instance, member.node)
            && !member.due
            && member.resync == 0
            && member.pass.as_of == 0
            && config.leases_of(instance).all(|lease| {
                let request = &state.requests[lease];
                request.open == [0, 0] && !matches!(request.phase, Phase::Leaving { .. })
            })
    };
    state.calls.is_empty() && state.answers.is_empty() && (0..INSTANCES).all(settled)
}

/// A duplicated operation can come after all that its node knows of it, and is then repaired by the
/// next audit; without duplicates nothing needs repair.
fn agrees(config: &Config, state: &State) -> bool {
    let duplicated = state.left.duplicates != config.budget.duplicates;
    if !duplicated {
        return same(state);
    }
    let mut audited = state.clone();
    for instance in 0..INSTANCES {
        loop {
            audited.send_resync(config, instance);
            let call = audited.calls.pop().expect("just sent");
            audited.apply(config, &call, Order::default());
            if audited.instances[instance].pass.leases == 0 {
                break;
            }
        }
    }
    same(&audited)
}

fn same(state: &State) -> bool {
    (0..LEASES).all(|lease| {
        let (request, place) = (&state.requests[lease], state.store.entries[lease].place);
        match request.phase {
            Phase::Held(account) | Phase::Forwarded(account) => place == Place::Held(account),
            // Its grant may have passed on, its ask may never have come, or it has not asked under
            // its present node: it asks again.
            Phase::Waiting => {
                let again = request.unknown || request.newest == 0;
                place != Place::Nothing || again || state.passed & (1 << lease) != 0
            }
            Phase::Idle | Phase::Leaving { .. } | Phase::Over => place == Place::Nothing,
        }
    })
}
