//! I17: what a run writes down does not depend on the process it runs in. Two processes have other
//! addresses, another entropy and another time of day.

use std::process::Command;

fn twice(lane: &str) {
    let mut twice = Command::new(env!("CARGO_BIN_EXE_sluice-sim"));
    let done = twice.args(["twice", "--lane", lane, "--seeds", "500..520"]).output();
    let done = done.expect("the program is there");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
}

#[test]
fn twenty_seeds_of_engines_and_a_ledger() {
    twice("des");
}

#[test]
fn twenty_seeds_of_whole_gateways() {
    twice("turmoil");
}
