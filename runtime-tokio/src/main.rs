//! The command line.

use std::io::{self, BufRead as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sluice_runtime_tokio::auth::KeyHash;
use sluice_runtime_tokio::config::Config;
use sluice_runtime_tokio::{demo, serve, telemetry};

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
    /// Reads a key from standard input and prints the hash to be put into the configuration.
    HashKey,
}

#[expect(clippy::print_stdout, reason = "what a command answers belongs on standard output")]
fn main() -> ExitCode {
    let cli = Cli::parse();
    telemetry::log_to_stderr(&cli.log);
    let done = match cli.command {
        Command::Demo { listen, admin_listen } => demo::run(listen, admin_listen),
        Command::Serve { config, workers, check } => run(&config, workers, check),
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
        let admin = addresses.admin.as_ref().map(ToString::to_string);
        tracing::info!(listen = %addresses, admin, "serving");
    })
}

fn hash_key() -> io::Result<String> {
    let mut key = String::new();
    io::stdin().lock().read_line(&mut key)?;
    Ok(KeyHash::of(key.trim()).to_hex())
}
