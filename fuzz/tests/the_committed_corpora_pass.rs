//! Every input that fuzzing has kept is run again, on any toolchain.

use std::fs;
use std::path::Path;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let entries = fs::read_dir(&folder).expect("the corpus is committed");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} holds inputs", folder.display());
    for path in paths {
        let input = fs::read(&path).expect("readable");
        // Shown when the run panics.
        eprintln!("{}", path.display());
        run(&input);
    }
}

#[test]
fn ledger_ops() {
    replay("ledger_ops", sluice_fuzz::ledger_ops::run);
}

#[test]
fn engine_events() {
    replay("engine_events", sluice_fuzz::engine_events::run);
}

#[test]
fn scenario() {
    replay("scenario", sluice_fuzz::scenario::run);
}

#[test]
fn config() {
    replay("config", sluice_fuzz::config::run);
}

#[test]
fn skim() {
    replay("skim", sluice_fuzz::skim::run);
}

#[test]
fn sse() {
    replay("sse", sluice_fuzz::sse::run);
}

#[test]
fn translate_request() {
    replay("translate_request", sluice_fuzz::translate_request::run);
}

#[test]
fn translate_response() {
    replay("translate_response", sluice_fuzz::translate_response::run);
}

#[test]
fn translate_stream() {
    replay("translate_stream", sluice_fuzz::translate_stream::run);
}
