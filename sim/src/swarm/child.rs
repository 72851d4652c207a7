//! One seed in a process of its own: this program again.

use std::io::Read as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use sluice_engine::{Preset, Time};

use super::{Care, Outcome, Source, name};
use crate::check::Violation;

/// How often a child is looked at, and after how many looks it is taken for one that never ends.
const LOOK: Duration = Duration::from_millis(10);
const LOOKS_MAX: u32 = 30_000;

/// Runs a seed in a process of its own. One that dies, or never ends, is a violation like any other.
#[must_use]
pub fn run(source: Source<'_>, seed: u64, preset: Preset, care: Care) -> Outcome {
    attempt(source, seed, preset, care).unwrap_or_else(|what| Outcome {
        seed,
        preset,
        lane: source.lane(),
        violations: vec![Violation { id: "process".into(), at: Time::ZERO, what }],
        records: 0,
        requests: 0,
        digest: String::new(),
    })
}

fn attempt(source: Source<'_>, seed: u64, preset: Preset, care: Care) -> Result<Outcome, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.args(["run", "--json", "--seed", &seed.to_string()]);
    match source {
        Source::Lane(lane) => command.args(["--lane", lane.name(), "--preset", name(preset)]),
        Source::File(path, _) => command.arg(path),
    };
    if !care.twice {
        command.arg("--quick");
    }
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.map_err(|error| error.to_string())?;
    let mut output = child.stdout.take().ok_or("no output")?;
    // It is read as it comes: a child that cannot write does not end.
    let reading = thread::spawn(move || {
        let mut text = String::new();
        output.read_to_string(&mut text).map(|_| text)
    });
    let status = end(&mut child)?;
    let text = reading.join().map_err(|_| "its output")?.map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| format!("its process ended with {status}: {error}"))
}

fn end(child: &mut Child) -> Result<ExitStatus, String> {
    for _ in 0..LOOKS_MAX {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            return Ok(status);
        }
        thread::sleep(LOOK);
    }
    // Should it have ended this very moment, there is nothing to be killed.
    let _ = child.kill();
    let _ = child.wait();
    Err("its process never ends".to_owned())
}
