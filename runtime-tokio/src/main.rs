//! The command line.

use std::io::{self, BufRead as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sluice_engine::rng::Seed;
use sluice_runtime_tokio::auth::KeyHash;
use sluice_runtime_tokio::config::Config;
use sluice_runtime_tokio::{demo, mock, serve, telemetry};

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
        /// Only checks the file.
        #[arg(long)]
        check: bool,
    },
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
    /// Reads a key from standard input and prints the hash to be put into the configuration.
    HashKey,
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

#[expect(clippy::print_stdout, reason = "what a command answers belongs on standard output")]
fn main() -> ExitCode {
    let cli = Cli::parse();
    telemetry::log_to_stderr(&cli.log);
    let done = match cli.command {
        Command::Demo { listen, admin_listen } => demo::run(listen, admin_listen),
        Command::Serve { config, workers, check } => run(&config, workers, check),
        Command::MockUpstream { listen, script, seed } => {
            mock::command::run(listen, script.as_deref(), Seed(seed))
        }
        Command::HashKey => hash_key().map(|hash| println!("{hash}")),
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

fn run(path: &std::path::Path, workers: Option<usize>, check: bool) -> io::Result<()> {
    let mut config = Config::load(path).map_err(io::Error::other)?;
    if let Some(workers) = workers.filter(|&workers| workers > 0) {
        config.server.workers = workers;
    }
    if check {
        sluice_runtime_tokio::directory::Directory::new(&config).map_err(io::Error::other)?;
        return Ok(());
    }
    serve::run(config, |addresses| {
        let admin = addresses.admin.map(|admin| admin.to_string());
        tracing::info!(listen = %addresses.listen, admin, "serving");
    })
}

fn hash_key() -> io::Result<String> {
    let mut key = String::new();
    io::stdin().lock().read_line(&mut key)?;
    Ok(KeyHash::of(key.trim()).to_hex())
}
