//! A small swarm of whole gateways on every change; the large ones are run by the command line.

use std::process::Command;

#[test]
fn forty_seeds_of_each_preset_break_no_invariant() {
    let mut swarm = Command::new(env!("CARGO_BIN_EXE_sluice-sim"));
    swarm.args(["swarm", "--lane", "turmoil", "--quick", "--seeds", "0..40"]);
    let done = swarm.output().expect("the program is there");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
}
