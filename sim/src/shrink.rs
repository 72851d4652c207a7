//! Makes a failing scenario smaller: drops halves, then quarters, then single items of its faults,
//! requests and spells, and simplifies what is left, as long as the same invariant fails.

use std::borrow::Cow;

use sluice_engine::Span;

use crate::scenario::Scenario;
use crate::swarm::{self, Care};

/// The smallest scenario found that fails as this one does; `None` if nothing is wrong with it.
#[must_use]
pub fn shrink(scenario: &Scenario) -> Option<Scenario> {
    let id = failing(scenario)?;
    let mut best = scenario.clone();
    loop {
        let before = size(&best);
        let fails = |s: &Scenario| failing(s).as_deref() == Some(&*id);
        drop_items(&mut best, &fails, |s| &mut s.faults);
        drop_items(&mut best, &fails, |s| &mut s.arrivals);
        drop_items(&mut best, &fails, |s| &mut s.sick);
        simplify(&mut best, &fails);
        if size(&best) >= before {
            return Some(best);
        }
    }
}

/// The first invariant that fails.
fn failing(scenario: &Scenario) -> Option<Cow<'static, str>> {
    swarm::run(scenario, Care { twice: scenario.network.is_some(), journal: false })
        .1
        .first()
        .map(|v| v.id.clone())
}

/// What counts as smaller.
fn size(s: &Scenario) -> usize {
    s.faults.len() + s.arrivals.len() + s.sick.len()
}

fn drop_items<T: Clone>(
    best: &mut Scenario,
    fails: &impl Fn(&Scenario) -> bool,
    items: impl Fn(&mut Scenario) -> &mut Vec<T>,
) {
    let mut chunk = items(best).len().div_ceil(2);
    while chunk > 0 {
        let mut from = 0;
        while from < items(best).len() {
            let mut candidate = best.clone();
            let list = items(&mut candidate);
            let to = (from + chunk).min(list.len());
            list.drain(from..to);
            if fails(&candidate) {
                *best = candidate;
            } else {
                from += chunk;
            }
        }
        chunk = if chunk == 1 { 0 } else { chunk.div_ceil(2) };
    }
}

fn simplify(best: &mut Scenario, fails: &impl Fn(&Scenario) -> bool) {
    let mut attempt = |change: &dyn Fn(&mut Scenario)| {
        let mut candidate = best.clone();
        change(&mut candidate);
        if candidate != *best && fails(&candidate) {
            *best = candidate;
        }
    };
    attempt(&|s| {
        if let Some(network) = &mut s.network {
            network.readers.clear();
            network.shred = None;
        }
    });
    attempt(&|s| {
        if let Some(network) = &mut s.network {
            (network.random_order, network.drain) = (false, false);
        }
    });
    attempt(&|s| s.nodes.iter_mut().for_each(|n| n.spurious = 0));
    attempt(&|s| s.nodes.iter_mut().for_each(|n| n.offset = Span::ZERO));
    attempt(&|s| s.nodes.iter_mut().for_each(|n| n.instant = 0));
    attempt(&|s| s.nodes.iter_mut().for_each(|n| n.delay_max = Span::ZERO));
    attempt(&|s| s.arrivals.iter_mut().for_each(|a| a.leaves = None));
    attempt(&|s| s.arrivals.iter_mut().for_each(|a| a.spec.session = None));
    attempt(&|s| s.arrivals.iter_mut().for_each(|a| a.billing = Span::ZERO));
    attempt(&|s| s.arrivals.iter_mut().for_each(|a| a.node = 0));
    attempt(&|s| s.arrivals.iter_mut().for_each(|a| drop(a.answers.drain(1..))));
}
