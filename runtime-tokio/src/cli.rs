//! The command line.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sluice_engine::LeaseId;
use sluice_engine::rng::Seed;

use crate::auth::KeyHash;
use crate::config::{Config, Store, version_text};
use crate::reload::Source;
use crate::{demo, mock, serve, telemetry};

mod doctor;
mod gates;
mod store;

/// A gateway for LLM APIs: users share accounts fairly, sessions stay at home, failures are passed
/// over.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// What the log shows: error, warn, info, debug, or a filter like "info,hyper=debug".
    #[arg(long, global = true, default_value = "info")]
    log: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a gateway with made-up accounts and users, and prints what to try. Needs nothing.
    Demo {
        /// Where clients connect; port 0 takes any free one.
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
        listen: SocketAddr,
        /// Where operators connect; without it, any free port of this machine.
        #[arg(long, value_name = "ADDR")]
        admin_listen: Option<SocketAddr>,
    },
    /// Runs the gateway as a configuration file says; see sluice.example.toml.
    Serve {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Threads, instead of what the file says.
        #[arg(long, value_name = "N")]
        workers: Option<usize>,
    },
    /// Checks a configuration file, and names every mistake in it.
    Check {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Looks whether what a configuration names can be used: the Redis of its store, above all, and
    /// the way to its accounts. Sends them nothing.
    Doctor {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Prints who holds and waits for what, since when, on which node, over all gateways that share a
    /// Redis.
    Gates {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Takes a lease out of its slot or line, in the Redis that gateways share. A request that really
    /// runs goes on, and its gateway enters it again within seconds.
    Release {
        /// As `sluice gates` has it, such as n1790000000000000.r7.a1.
        #[arg(value_parser = store::lease)]
        lease: LeaseId,
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Makes keys for users, and hashes of them for the configuration.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Runs a made-up upstream that speaks the Messages protocol, to try gateways and clients on.
    #[command(long_about = MOCK_ABOUT, after_long_help = mock_help())]
    MockUpstream {
        /// Where clients connect; port 0 takes any free one.
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8090")]
        listen: SocketAddr,
        /// How it behaves, key by key; without it, any key is answered at once.
        #[arg(long, value_name = "FILE")]
        script: Option<PathBuf>,
        /// What goes wrong with the n-th request of a key follows from this number.
        #[arg(long, value_name = "N", default_value_t = 1)]
        seed: u64,
    },
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Prints a new key, which is kept nowhere, and the line for its user's `keys`.
    New {
        /// The group whose accounts the key opens.
        #[arg(long, value_name = "NAME", default_value = "main")]
        group: String,
    },
    /// Reads a key from standard input and prints the line for its user's `keys`.
    Hash {
        /// The group whose accounts the key opens.
        #[arg(long, value_name = "NAME", default_value = "main")]
        group: String,
    },
}

const MOCK_ABOUT: &str = "\
Runs a made-up upstream that speaks the Messages protocol, to try gateways and clients on.

It answers POST /v1/messages, plain and streaming, with made-up words, or with a call of a tool if
the request demands one. A script makes accounts (keys) slow, full or failing. The first line of its
output is {\"upstream\":\"http://ADDRESS\"}. What it has seen, above all how many requests of a key
were open at once, is at / for people and at /_mock/stats and /_mock/left for programs.

Nothing is sent anywhere. Keys are shown as they come: use made-up ones.";

fn mock_help() -> String {
    let example = mock::command::EXAMPLE.replace('\n', "\n  ");
    format!(
        "A script, for instance:\n\n  {}\n\n\
         Kinds of faults: status, redirect, html, reset, torn, truncated, stall, error_event.\n\
         Everything a script can say is in docs/mock-upstream.md.",
        example.trim_end()
    )
}

/// The program: does what its arguments say.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    telemetry::log_to_stderr(&cli.log);
    let done = match perform(cli.command) {
        Ok(done) => done,
        Err(failed) => return failed,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sluice: {error}");
            if error.kind() == io::ErrorKind::AddrInUse {
                eprintln!("sluice: another program listens there; choose a port with --listen");
            }
            ExitCode::FAILURE
        }
    }
}

/// The outer error is one of which everything has been said.
#[expect(clippy::print_stdout, reason = "what a command answers belongs on standard output")]
fn perform(command: Command) -> Result<io::Result<()>, ExitCode> {
    Ok(match command {
        Command::Demo { listen, admin_listen } => demo::run(listen, admin_listen),
        Command::Serve { config: path, workers } => {
            let config = load(&path)?;
            run(path, config, workers)
        }
        Command::Check { config: path } => {
            let config = load(&path)?;
            println!("{}: ok\n{}", path.display(), summary(&config));
            Ok(())
        }
        Command::Doctor { config } => doctor::run(&load(&config)?),
        Command::Gates { config, json } => gates::run(&load(&config)?, json),
        Command::Release { lease, config } => store::release(&load(&config)?, lease),
        Command::Key(KeyCommand::New { group }) => KeyHash::new_key().map(|key| {
            println!("{key}\n{}", key_line(KeyHash::of(&key), &group));
        }),
        Command::Key(KeyCommand::Hash { group }) => read_key().map(|key| {
            println!("{}", key_line(KeyHash::of(&key), &group));
        }),
        Command::MockUpstream { listen, script, seed } => {
            mock::command::run(listen, script.as_deref(), Seed(seed))
        }
    })
}

/// Reads a configuration; prints its warnings, or everything that is wrong with it.
fn load(path: &Path) -> Result<Config, ExitCode> {
    let config = Config::load(path).map_err(|error| {
        eprintln!("{error}");
        let count = error.mistakes.len();
        let noun = if count == 1 { "mistake" } else { "mistakes" };
        eprintln!("sluice: {count} {noun} in {}", path.display());
        ExitCode::FAILURE
    })?;
    for warning in &config.warnings {
        eprintln!("{} (warning)", warning.in_file(Some(path)));
    }
    Ok(config)
}

fn run(path: PathBuf, mut config: Config, workers: Option<usize>) -> io::Result<()> {
    let source = Source::new(path, config.clone());
    if let Some(workers) = workers.filter(|&workers| workers > 0) {
        config.server.workers = workers;
    }
    let version = version_text(config.version);
    serve::run(config, Some(source), |addresses| {
        let admin = addresses.admin.as_ref().map(ToString::to_string);
        tracing::info!(listen = %addresses, admin, config = version, "serving");
    })
}

fn summary(config: &Config) -> String {
    let listen: Vec<_> = config.server.listen.0.iter().map(ToString::to_string).collect();
    let admin = config.server.admin_listen.as_ref();
    let store = match &config.store {
        Store::Memory => "memory".to_owned(),
        Store::Redis(url) => url.to_string(),
    };
    format!(
        "store: {store}\nusers: {}\ngroups: {}\naccounts: {}\nlisteners: {} for clients, {} for operators",
        config.users.len(),
        config.groups.len(),
        config.accounts.len(),
        listen.join(" and "),
        admin.map_or_else(|| "none".to_owned(), ToString::to_string),
    )
}

/// What a user's `keys` hold of a key.
fn key_line(hash: KeyHash, group: &str) -> String {
    let group = group.replace('\\', "\\\\").replace('"', "\\\"");
    format!("{{ sha256 = \"{}\", group = \"{group}\" }}", hash.to_hex())
}

fn read_key() -> io::Result<String> {
    /// The longest key, in bytes: what fits into a header.
    const KEY_BYTES_MAX: u64 = 4096;
    let input = io::stdin();
    if input.is_terminal() {
        eprintln!("Type or paste the key, then Enter:");
    }
    let mut line = String::new();
    input.lock().take(KEY_BYTES_MAX + 1).read_line(&mut line)?;
    let key = line.trim();
    let size = key.len() as u64;
    if !(1..=KEY_BYTES_MAX).contains(&size) || !key.bytes().all(|b| b.is_ascii_graphic()) {
        let what = "a key is 1 to 4096 visible ASCII characters in one line, without spaces";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    Ok(key.to_owned())
}
