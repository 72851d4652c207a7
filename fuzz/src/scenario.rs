//! A scenario of the simulator, changed by the input: whatever happens in it, no judge finds anything.
//!
//! A seed alone reaches only what the generator thinks of. Here its scenario is bent further: requests
//! moved together, faults repeated and put where they hurt, clients that leave in the same moment.

use arbitrary::{Result, Unstructured};
use sluice_engine::{Preset, Span, Time};
use sluice_sim::scenario::Scenario;
use sluice_sim::swarm::{self, Care};

use crate::{below, span};

/// The most changes of one input.
const CHANGES_MAX: usize = 64;

/// Runs one input.
///
/// # Panics
/// When a judge finds something, or the run panics.
pub fn run(data: &[u8]) {
    let Ok(scenario) = scenario(&mut Unstructured::new(data)) else { return };
    let (_, violations) = swarm::run(&scenario, Care::default());
    assert!(violations.is_empty(), "{violations:#?}\n{}", as_json(&scenario));
}

fn as_json(scenario: &Scenario) -> String {
    serde_json::to_string(scenario).expect("plain data")
}

fn scenario(u: &mut Unstructured<'_>) -> Result<Scenario> {
    let preset = *u.choose(&[Preset::Fair, Preset::Seed])?;
    let mut scenario = Scenario::generate(u.arbitrary()?, preset);
    for _ in 0..CHANGES_MAX {
        if u.is_empty() {
            break;
        }
        change(&mut scenario, u)?;
    }
    // What the generator promises.
    scenario.arrivals.sort_by_key(|arrival| arrival.at);
    let mut ids: Vec<_> = scenario.arrivals.iter().map(|arrival| arrival.id).collect();
    ids.sort_unstable();
    for (arrival, id) in scenario.arrivals.iter_mut().zip(ids) {
        arrival.id = id;
    }
    scenario.faults.sort_by_key(|fault| fault.at);
    Ok(scenario)
}

fn change(scenario: &mut Scenario, u: &mut Unstructured<'_>) -> Result<()> {
    let end = scenario.safety_end;
    let moved = |from: Time, u: &mut Unstructured<'_>| {
        let by = span(u)?;
        let to = if u.arbitrary()? { from + by } else { from - by };
        Ok(to.min(end - Span(1)))
    };
    let (arrivals, faults) = (&mut scenario.arrivals, &mut scenario.faults);
    let arrival = if arrivals.is_empty() { 0 } else { below(u, arrivals.len() as u64)? as usize };
    let fault = if faults.is_empty() { 0 } else { below(u, faults.len() as u64)? as usize };
    match below(u, 6)? {
        0 if arrivals.len() > 1 => drop(arrivals.remove(arrival)),
        1 if !arrivals.is_empty() => arrivals[arrival].at = moved(arrivals[arrival].at, u)?,
        2 if !arrivals.is_empty() => arrivals[arrival].leaves = Some(span(u)?),
        3 if !faults.is_empty() => drop(faults.remove(fault)),
        4 if !faults.is_empty() => faults[fault].at = moved(faults[fault].at, u)?,
        5 if !faults.is_empty() => {
            let mut again = faults[fault].clone();
            again.at = moved(again.at, u)?;
            faults.push(again);
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_one_scenario_and_another_input_another() {
        let of = |bytes: &[u8]| as_json(&scenario(&mut Unstructured::new(bytes)).expect("enough"));
        let mut bytes: Vec<u8> = (0..200).collect();
        let first = of(&bytes);
        assert_eq!(first, of(&bytes));
        bytes[100] ^= 0xff;
        assert_ne!(first, of(&bytes));
    }
}
