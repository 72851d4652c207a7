//! The command line of the simulator.
#![expect(clippy::print_stdout, reason = "reports are this program's output")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand, ValueEnum};
use sluice_engine::Preset;
use sluice_engine::rng::Seed;
use sluice_sim::formal::{self, Bounds};
use sluice_sim::report;
use sluice_sim::scenario::Lane;
use sluice_sim::scenario::Scenario;
use sluice_sim::shrink;
use sluice_sim::swarm::{self, Care, Outcome, Plan, Source, child};

/// Runs the scheduler engine in simulated deployments under faults, and checks every run against the
/// invariants of the design.
///
/// A seed makes a scenario: nodes, users, accounts, requests, upstream behaviour and faults. The same
/// seed always gives the same run, to the byte.
#[derive(Debug, Parser)]
#[command(name = "sluice-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one scenario and say what is wrong with it.
    Run(RunArgs),
    /// Run many seeds; print those that fail, each with the command that shows it again.
    Swarm(SwarmArgs),
    /// Run seeds in two processes each, and compare what they wrote down, to the byte.
    Twice(TwiceArgs),
    /// Make a failing scenario as small as it goes while the same invariant fails, and print it as JSON.
    Shrink(RunArgs),
    /// Check the formal model of the store protocol exhaustively, within its bounds.
    Formal {
        /// The large bounds: minutes instead of seconds.
        #[arg(long)]
        full: bool,
    },
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Take the scenario from this JSON file instead of from a seed.
    #[arg(value_name = "FILE", conflicts_with = "scenario")]
    file: Option<PathBuf>,
    /// The seed of the scenario; with a file, of what is drawn in its course.
    #[arg(long, required_unless_present_any = ["scenario", "file"])]
    seed: Option<u64>,
    /// The preset of the scheduling policy.
    #[arg(long, value_enum, default_value_t = OnePreset::Fair)]
    preset: OnePreset,
    /// In which world.
    #[arg(long, value_parser = Lane::named, default_value = "des")]
    lane: Lane,
    /// The same as `FILE`.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Print every transition as one line: milliseconds, node, request, what.
    #[arg(long, value_enum)]
    log: Option<Log>,
    /// Print what it came to as a line of JSON.
    #[arg(long)]
    json: bool,
    /// Run it but once, without a journal.
    #[arg(long)]
    quick: bool,
    /// Print the scenario as JSON and stop; its output is what `--scenario` takes.
    #[arg(long)]
    print_scenario: bool,
}

#[derive(Debug, Args)]
struct TwiceArgs {
    /// The seeds, as A..B without B.
    #[arg(long, value_parser = range, default_value = "0..20")]
    seeds: (u64, u64),
    /// In which world.
    #[arg(long, value_parser = Lane::named, default_value = "turmoil")]
    lane: Lane,
}

#[derive(Debug, Args)]
struct SwarmArgs {
    /// The seeds, as A..B without B.
    #[arg(long, value_parser = range, default_value = "0..1000")]
    seeds: (u64, u64),
    /// Run for so many minutes instead, from the first seed on.
    #[arg(long)]
    minutes: Option<u64>,
    /// In which world.
    #[arg(long, value_parser = Lane::named, default_value = "des")]
    lane: Lane,
    /// Take the scenario from this file for every seed; only what is drawn in its course differs.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["lane", "preset"])]
    scenario: Option<PathBuf>,
    /// Which presets to run for every seed.
    #[arg(long, value_enum, default_value_t = Presets::Both)]
    preset: Presets,
    /// Threads; by default as many as there are cores.
    #[arg(long)]
    jobs: Option<usize>,
    /// Stop at the first seed that fails; those under way are brought to their end.
    #[arg(long)]
    until_failed: bool,
    /// Print every failing seed as a line of JSON.
    #[arg(long)]
    json: bool,
    /// Stop looking at details: every 16th seed is otherwise run twice and journalled (I17, I18).
    #[arg(long)]
    quick: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OnePreset {
    /// The chart to the letter: waiters poll.
    Seed,
    /// The default: slots are handed over in order.
    Fair,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Presets {
    Both,
    Seed,
    Fair,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Log {
    /// One line a transition.
    Short,
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let parse = |n: &str| n.trim().parse::<u64>().map_err(|e| format!("{n:?}: {e}"));
    let (from, to) = text.split_once("..").ok_or("two numbers with `..` between, as 0..1000")?;
    let (from, to) = (parse(from)?, parse(to)?);
    if from < to { Ok((from, to)) } else { Err("the first number must be the smaller one".into()) }
}

fn main() -> ExitCode {
    // Panics inside a run are reported as violations of their seed, not where they happen.
    swarm::keep_panics();
    match Cli::parse().command {
        Command::Run(args) => run(&args),
        Command::Swarm(args) => run_swarm(&args),
        Command::Twice(args) => run_twice(&args),
        Command::Shrink(args) => run_shrink(&args),
        Command::Formal { full } => run_formal(full),
    }
}

#[expect(clippy::disallowed_methods, reason = "the person who waits is told how long it took")]
fn run_formal(full: bool) -> ExitCode {
    let begun = Instant::now();
    let report = formal::check(&if full { Bounds::full() } else { Bounds::quick() });
    println!("{report}");
    println!("{} s", begun.elapsed().as_secs());
    if report.holds() && report.missed().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(args: &RunArgs) -> ExitCode {
    let Some(scenario) = load(args) else { return ExitCode::from(2) };
    if args.print_scenario {
        let text = serde_json::to_string_pretty(&scenario).expect("a scenario is plain data");
        println!("{text}");
        return ExitCode::SUCCESS;
    }
    report_run(args, &scenario)
}

fn run_shrink(args: &RunArgs) -> ExitCode {
    let Some(scenario) = load(args) else { return ExitCode::from(2) };
    let Some(small) = shrink::shrink(&scenario) else {
        eprintln!("sluice-sim: nothing is wrong with this scenario");
        return ExitCode::from(2);
    };
    if args.log.is_some() {
        return report_run(args, &small);
    }
    let text = serde_json::to_string_pretty(&small).expect("a scenario is plain data");
    println!("{text}");
    ExitCode::FAILURE
}

fn report_run(args: &RunArgs, scenario: &Scenario) -> ExitCode {
    let care = Care { twice: !args.quick, journal: !args.quick };
    let (outcome, history) = Outcome::of(scenario, care);
    let code = ExitCode::from(u8::from(!outcome.violations.is_empty()));
    if args.json {
        println!("{}", json(&outcome));
        return code;
    }
    if let Some(Log::Short) = args.log {
        print!("{}", report::short_log(&history));
    }
    println!(
        "{} requests, {} nodes, {} faults, {} records, digest {}",
        outcome.requests,
        scenario.nodes.len(),
        scenario.faults.len(),
        outcome.records,
        &outcome.digest[..16],
    );
    for violation in &outcome.violations {
        println!("VIOLATION {violation}");
    }
    code
}

fn json(outcome: &Outcome) -> String {
    serde_json::to_string(outcome).expect("an outcome is plain data")
}

fn run_twice(args: &TwiceArgs) -> ExitCode {
    let mut differ = 0;
    for seed in args.seeds.0..args.seeds.1 {
        for preset in [Preset::Seed, Preset::Fair] {
            let run = || child::run(Source::Lane(args.lane), seed, preset, Care::default());
            let (one, other) = (run(), run());
            if one.digest != other.digest || one.digest.is_empty() {
                differ += 1;
                println!("{}: {} and {}", one.command(), one.digest, other.digest);
            }
        }
    }
    println!("{} seeds of both presets, {differ} differ", args.seeds.1 - args.seeds.0);
    ExitCode::from(u8::from(differ > 0))
}

/// The scenario that the arguments name; if there is none, says why.
fn load(args: &RunArgs) -> Option<Scenario> {
    let Some(path) = args.scenario.as_ref().or(args.file.as_ref()) else {
        let preset = match args.preset {
            OnePreset::Seed => Preset::Seed,
            OnePreset::Fair => Preset::Fair,
        };
        return Some(args.lane.scenario(args.seed.unwrap_or_default(), preset));
    };
    let mut scenario = read(path)?;
    scenario.seed = args.seed.map_or(scenario.seed, Seed);
    Some(scenario)
}

fn read(path: &Path) -> Option<Scenario> {
    let read = std::fs::read_to_string(path).map_err(|e| e.to_string());
    match read.and_then(|text| serde_json::from_str(&text).map_err(|e| e.to_string())) {
        Ok(scenario) => Some(scenario),
        Err(why) => {
            eprintln!("sluice-sim: {}: {why}", path.display());
            None
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the person who waits is told how long it took")]
fn run_swarm(args: &SwarmArgs) -> ExitCode {
    let of_file = match args.scenario.as_deref().map(|path| (path, read(path))) {
        None => None,
        Some((path, Some(scenario))) => Some((path, scenario)),
        Some((_, None)) => return ExitCode::from(2),
    };
    let source = of_file
        .as_ref()
        .map_or(Source::Lane(args.lane), |(path, scenario)| Source::File(path, scenario.lane()));
    let presets = match (&of_file, args.preset) {
        (Some((_, scenario)), _) => vec![scenario.preset],
        (None, Presets::Both) => vec![Preset::Seed, Preset::Fair],
        (None, Presets::Seed) => vec![Preset::Seed],
        (None, Presets::Fair) => vec![Preset::Fair],
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = args.jobs.unwrap_or(cores);
    let quick = args.quick;
    let care = move |seed: u64| {
        let close = !quick && seed.is_multiple_of(16);
        Care { twice: close, journal: close }
    };
    let every = match source.lane() {
        Lane::Des => 1_000,
        Lane::Turmoil => 100,
    };
    let begun = Instant::now();
    let (mut done, mut requests, mut records) = (0_u64, 0, 0);
    // Looked at by those who begin another seed.
    let failed = AtomicU64::new(0);
    let limit = args.minutes.map(|minutes| Duration::from_secs(60 * minutes));
    let seeds = (args.seeds.0, limit.map_or(args.seeds.1, |_| u64::MAX));
    let plan = Plan { seeds, presets: &presets, source, jobs };
    let enough = || {
        limit.is_some_and(|limit| begun.elapsed() > limit)
            || args.until_failed && failed.load(Ordering::Relaxed) > 0
    };
    swarm::swarm(plan, care, enough, |outcome| {
        done += 1;
        requests += outcome.requests;
        records += outcome.records;
        if !outcome.violations.is_empty() {
            failed.fetch_add(1, Ordering::Relaxed);
            if args.json {
                println!("{}", json(&outcome));
                eprintln!("{}", source.command(&outcome));
            } else {
                println!("{}", source.command(&outcome));
                for violation in &outcome.violations {
                    println!("    VIOLATION {violation}");
                }
            }
        }
        if done.is_multiple_of(every) {
            eprintln!("{done} scenarios, {} failed", failed.load(Ordering::Relaxed));
        }
    });
    let ms = begun.elapsed().as_millis().max(1);
    let failed = failed.into_inner();
    eprintln!(
        "{done} scenarios ({requests} requests, {records} records) in {}.{} s, {} a second; {failed} failed",
        ms / 1_000,
        ms % 1_000 / 100,
        u128::from(done) * 1_000 / ms,
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
